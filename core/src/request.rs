//! A client's signed wish: the payload before hashing, so that every party can judge it by itself.

mod approvals;
mod signers;
mod veto;

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::policy::ethereum::Address;
use crate::wire::{self, Bytes64, DecodeError, NoRoom, Read, Reader};

pub use crate::derive::Derivation;
pub use approvals::{ApproveError, MAX_APPROVALS, approval_digest};
pub use signers::{MAX_SIGNATURES, approval_text};
pub use veto::{VETO, Veto, VetoError, veto_digest};

/// A payload has at most so many bytes.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// A label has at most so many bytes.
pub const MAX_LABEL: usize = 256;
/// An encoded signed request has at most so many bytes.
pub const MAX_REQUEST: usize = MAX_PAYLOAD
    + MAX_LABEL
    + 256
    + MAX_APPROVALS * approvals::ENTRY
    + MAX_SIGNATURES * signers::ENTRY;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl Read<'_> for $name {
            fn read(from: &mut Reader<'_>) -> Self {
                Self(from.field())
            }
        }

        impl $name {
            /// The 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identifier! {
    /// A key, by its random identifier.
    KeyId
}
identifier! {
    /// A network, by its random identifier.
    NetworkId
}

/// A client's Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientKey(pub [u8; 32]);

impl Read<'_> for ClientKey {
    fn read(from: &mut Reader<'_>) -> Self {
        Self(from.field())
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is to be signed, before hashing. A new kind gets a new variant at the end: old bytes stay valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload<'a> {
    /// An unsigned transaction of any type, as [`crate::policy::ethereum::Transaction`] reads it.
    EthereumTransaction(&'a [u8]),
    /// A message for people (EIP-191, version 0x45), without the prefix.
    EthereumMessage(&'a [u8]),
    /// EIP-712, in the form of [`crate::policy::ethereum::typed_data`].
    EthereumTypedData(&'a [u8]),
    /// 32 bytes that nobody can judge: only a policy that says so allows it.
    Digest([u8; 32]),
}

/// The kind of a [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadKind {
    /// An unsigned transaction.
    EthereumTransaction,
    /// A message for people.
    EthereumMessage,
    /// EIP-712.
    EthereumTypedData,
    /// A bare digest.
    Digest,
}

impl PayloadKind {
    /// The stable name: what a request's hash binds, and what people read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EthereumTransaction => "ethereum-transaction",
            Self::EthereumMessage => "ethereum-message",
            Self::EthereumTypedData => "ethereum-typed-data",
            Self::Digest => "digest",
        }
    }
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Payload<'_> {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        match self {
            Self::EthereumTransaction(_) => PayloadKind::EthereumTransaction,
            Self::EthereumMessage(_) => PayloadKind::EthereumMessage,
            Self::EthereumTypedData(_) => PayloadKind::EthereumTypedData,
            Self::Digest(_) => PayloadKind::Digest,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::EthereumTransaction(bytes)
            | Self::EthereumMessage(bytes)
            | Self::EthereumTypedData(bytes) => bytes,
            Self::Digest(digest) => digest,
        }
    }
}

/// The wish itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest<'a> {
    /// The network.
    pub network: NetworkId,
    /// The key.
    pub key: KeyId,
    /// Which descendant.
    pub derivation: Derivation,
    /// What.
    #[serde(borrow)]
    pub payload: Payload<'a>,
    /// Free text for people and logs.
    pub label: &'a str,
    /// Unix seconds; afterwards nobody signs it.
    pub expires: u64,
    /// Tells two equal wishes apart.
    pub nonce: [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Encoded<'a> {
    version: u8,
    #[serde(borrow)]
    request: SignRequest<'a>,
    client: ClientKey,
    signature: Bytes64,
    /// Approvers in ascending order, each with its signature.
    approvals: &'a [u8],
    /// Accounts in ascending order, each with its signature.
    signatures: &'a [u8],
}

crate::read_fields!(SignRequest<'de> { network, key, derivation, payload, label, expires, nonce });
crate::read_fields!(Encoded<'de> { version, request, client, signature, approvals, signatures });

impl<'a> Read<'a> for Payload<'a> {
    fn read(from: &mut Reader<'a>) -> Self {
        match from.variant(4) {
            0 => Self::EthereumTransaction(from.field()),
            1 => Self::EthereumMessage(from.field()),
            2 => Self::EthereumTypedData(from.field()),
            _ => Self::Digest(from.field()),
        }
    }
}

/// A request whose client signature, and approvals, have been checked.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a>(Encoded<'a>);

/// Why bytes are no signed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes do not decode.
    Decode(DecodeError),
    /// The payload or the label is too long.
    TooLong,
    /// The client's signature is wrong.
    Signature,
    /// The approvals are not whole, too many, out of order, or two of one approver.
    Approvals,
    /// This approver's signature is wrong.
    Approval(ClientKey),
    /// The signatures of accounts are not whole, too many, out of order, or two of one account.
    Signers,
    /// This account's signature is wrong.
    Signer(Address),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "the request does not decode: {error}"),
            Self::TooLong => f.write_str("the request's payload or label is too long"),
            Self::Signature => f.write_str("the client's signature on the request is wrong"),
            Self::Approvals => f.write_str("the request's list of approvals is malformed"),
            Self::Approval(approver) => {
                write!(f, "the approval of {approver} is not for this request")
            }
            Self::Signers => f.write_str("the request's list of account signatures is malformed"),
            Self::Signer(account) => {
                write!(f, "the signature of account {account} is not for this request")
            }
        }
    }
}

impl core::error::Error for RequestError {}

impl SignRequest<'_> {
    /// H("request", …): what the client signs, and the idempotency key. It covers the client's key but
    /// not the signature, so that nobody can make two requests of one.
    #[must_use]
    #[inline(never)]
    pub fn hash(&self, client: &ClientKey) -> Digest {
        let start = Transcript::new("request")
            .bytes(&[wire::VERSION])
            .bytes(&self.network.0)
            .bytes(&self.key.0);
        self.derivation
            .bind(start)
            .bytes(self.payload.kind().name().as_bytes())
            .bytes(self.payload.bytes())
            .bytes(self.label.as_bytes())
            .u64(self.expires)
            .bytes(&self.nonce)
            .bytes(&client.0)
            .finish()
    }

    /// Signs the request with a client's key and encodes both.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_REQUEST`].
    pub fn sign<'b>(&self, key: &SigningKey, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let client = ClientKey(key.verifying_key().to_bytes());
        let signature = Bytes64(key.sign(&self.hash(&client)).to_bytes());
        let (version, approvals, signatures) = (wire::VERSION, &[][..], &[][..]);
        let encoded = Encoded { version, request: *self, client, signature, approvals, signatures };
        wire::encode(&encoded, buffer).map(|bytes| &*bytes)
    }
}

impl<'a> SignedRequest<'a> {
    /// Reads and checks a request: version, limits, canonical encoding, and all signatures.
    ///
    /// # Errors
    /// [`RequestError`].
    #[inline(never)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RequestError> {
        let parsed = Self::parse_again(bytes)?;
        if !Identity::Ed25519(parsed.0.client.0).verify(&parsed.hash(), &parsed.0.signature) {
            return Err(RequestError::Signature);
        }
        parsed.check_approvals()?;
        parsed.check_signatures()?;
        Ok(parsed)
    }

    /// Reads bytes once more that [`Self::parse`] has accepted, and that nobody else could change since: no
    /// signature is looked at.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse_again(bytes: &'a [u8]) -> Result<Self, RequestError> {
        match bytes.first() {
            Some(&wire::VERSION) if bytes.len() <= MAX_REQUEST => {}
            Some(&wire::VERSION) => return Err(RequestError::TooLong),
            Some(&version) => return Err(RequestError::Decode(DecodeError::Version(version))),
            None => return Err(RequestError::Decode(DecodeError::Malformed)),
        }
        let encoded: Encoded<'a> = wire::read(bytes).map_err(RequestError::Decode)?;
        let SignRequest { payload, label, .. } = encoded.request;
        if payload.bytes().len() > MAX_PAYLOAD || label.len() > MAX_LABEL {
            return Err(RequestError::TooLong);
        }
        Ok(Self(encoded))
    }

    /// The idempotency key.
    #[must_use]
    #[inline(never)]
    pub fn hash(&self) -> Digest {
        self.0.request.hash(&self.0.client)
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self) -> &ClientKey {
        &self.0.client
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &NetworkId {
        &self.0.request.network
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.0.request.key
    }

    /// Which of the key's descendants signs.
    #[must_use]
    pub fn derivation(&self) -> &Derivation {
        &self.0.request.derivation
    }

    /// What.
    #[must_use]
    pub fn payload(&self) -> Payload<'a> {
        self.0.request.payload
    }

    /// Free text.
    #[must_use]
    pub fn label(&self) -> &'a str {
        self.0.request.label
    }

    /// Unix seconds.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.0.request.expires
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::approvals::ENTRY as APPROVAL;
    use super::*;

    fn request(derivation: Derivation) -> SignRequest<'static> {
        SignRequest {
            network: NetworkId([1; 16]),
            key: KeyId([2; 16]),
            derivation,
            payload: Payload::EthereumTransaction(&[2, 0xc0]),
            label: "rent",
            expires: 1_800_000_000,
            nonce: [3; 16],
        }
    }

    #[test]
    fn requests_are_read_as_serde_reads_them() {
        crate::wire::agree!(Payload<'_>, SignRequest<'_>, Encoded<'_>);
    }

    fn encoded(derivation: Derivation, buffer: &mut [u8]) -> &[u8] {
        request(derivation).sign(&SigningKey::from_bytes(&[7; 32]), buffer).unwrap()
    }

    /// The longest of each kind, and the root.
    fn derivations() -> [Derivation; 3] {
        let path = crate::derive::Path::new(&[0x7fff_ffff; 10]).unwrap();
        let text = core::str::from_utf8(&[b'x'; 64]).unwrap();
        [Derivation::Root, Derivation::Path(path), Derivation::Context(text.parse().unwrap())]
    }

    #[test]
    fn requests_of_before_derived_keys_keep_their_bytes_and_hash() {
        let mut buffer = [0; 512];
        let bytes = encoded(Derivation::Root, &mut buffer);
        assert_eq!(bytes[33..37], [0, 0, 2, 2], "root, transaction, two bytes, its type");
        let client = ClientKey(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes());
        let hash = Transcript::new("request")
            .bytes(&[1])
            .bytes(&[1; 16])
            .bytes(&[2; 16])
            .bytes(b"root")
            .bytes(b"ethereum-transaction")
            .bytes(&[2, 0xc0])
            .bytes(b"rent")
            .u64(1_800_000_000)
            .bytes(&[3; 16])
            .bytes(&client.0)
            .finish();
        assert_eq!(SignedRequest::parse(bytes).unwrap().hash(), hash);
    }

    #[test]
    fn the_derivation_is_part_of_what_is_signed() {
        let client = ClientKey([5; 32]);
        let [root, path, context] = derivations();
        let of = |indices: &[u32]| Derivation::Path(crate::derive::Path::new(indices).unwrap());
        let text = Derivation::Context("y".parse().unwrap());
        let all = [root, path, of(&[0x7fff_ffff; 9]), of(&[5]), of(&[6]), context, text];
        for (place, one) in all.iter().enumerate() {
            for other in &all[..place] {
                assert_ne!(request(*one).hash(&client), request(*other).hash(&client));
            }
            let mut buffer = [0; 512];
            let parsed = SignedRequest::parse(encoded(*one, &mut buffer)).unwrap();
            assert_eq!(parsed.derivation(), one);
        }
    }

    #[test]
    fn the_kind_of_the_payload_is_part_of_what_is_signed() {
        let client = ClientKey(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes());
        let kinds = [
            Payload::EthereumTransaction(&[4; 32]),
            Payload::EthereumMessage(&[4; 32]),
            Payload::EthereumTypedData(&[4; 32]),
            Payload::Digest([4; 32]),
        ];
        let mut hashes = [[0; 32]; 4];
        for ((tag, payload), hash) in kinds.iter().enumerate().zip(&mut hashes) {
            let request = SignRequest { payload: *payload, ..request(Derivation::Root) };
            let mut buffer = [0; 512];
            let bytes = request.sign(&SigningKey::from_bytes(&[7; 32]), &mut buffer).unwrap();
            assert_eq!(usize::from(bytes[34]), tag, "the variants keep their places");
            let parsed = SignedRequest::parse(bytes).unwrap();
            assert_eq!(parsed.payload(), *payload);
            *hash = Transcript::new("request")
                .bytes(&[1])
                .bytes(&[1; 16])
                .bytes(&[2; 16])
                .bytes(b"root")
                .bytes(payload.kind().name().as_bytes())
                .bytes(&[4; 32])
                .bytes(b"rent")
                .u64(1_800_000_000)
                .bytes(&[3; 16])
                .bytes(&client.0)
                .finish();
            assert_eq!(parsed.hash(), *hash);
        }
        let different = |a: usize, b: usize| hashes[a] != hashes[b];
        assert!((0..4).all(|a| (0..a).all(|b| different(a, b))));
    }

    #[test]
    fn the_longest_request_has_room() {
        let (payload, label) = ([7; MAX_PAYLOAD], [b'x'; MAX_LABEL]);
        for derivation in derivations() {
            let request = SignRequest {
                payload: Payload::EthereumTransaction(&payload),
                label: core::str::from_utf8(&label).unwrap(),
                expires: u64::MAX,
                ..request(derivation)
            };
            let mut buffer = [0; MAX_REQUEST];
            let bytes = request.sign(&SigningKey::from_bytes(&[7; 32]), &mut buffer).unwrap();
            assert!(SignedRequest::parse(bytes).is_ok(), "{derivation}");
        }
    }

    #[test]
    fn approvals_are_added_in_any_order_and_counted_once() {
        let mut buffer = [0; MAX_REQUEST];
        let bytes = encoded(Derivation::Root, &mut buffer);
        let hash = SignedRequest::parse(bytes).unwrap().hash();
        let key = |seed: u8| SigningKey::from_bytes(&[seed; 32]);
        let with = |seeds: &[u8]| {
            seeds.iter().fold(bytes.to_vec(), |bytes, seed| {
                let mut buffer = [0; MAX_REQUEST];
                let parsed = SignedRequest::parse(&bytes).unwrap();
                parsed.approve(&key(*seed), &mut buffer).unwrap().to_vec()
            })
        };
        let both = with(&[1, 2]);
        assert_eq!(both, with(&[2, 1]));
        let parsed = SignedRequest::parse(&both).unwrap();
        assert_eq!(parsed.hash(), hash, "an approved request is the same request");
        assert_eq!(parsed.approvers().count(), 2);
        assert_eq!(parsed.approve(&key(1), &mut [0; MAX_REQUEST]), Err(ApproveError::Twice));
        let most = with(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let most = SignedRequest::parse(&most).unwrap();
        assert_eq!(most.approve(&key(9), &mut [0; MAX_REQUEST]), Err(ApproveError::TooMany));
        // Every bit of an approval counts.
        let end = both.len() - 1;
        let start = end - 2 * APPROVAL;
        for bit in start * 8..end * 8 {
            let mut altered = both.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SignedRequest::parse(&altered).is_err(), "bit {bit}");
        }
        // One approval twice, and the two in the other order.
        let (head, tail) = both.split_at(start);
        let (one, tail) = tail.split_at(APPROVAL);
        let (other, no_accounts) = tail.split_at(APPROVAL);
        for wrong in [[one, one], [other, one]] {
            let wrong = [head, wrong[0], wrong[1], no_accounts].concat();
            assert_eq!(SignedRequest::parse(&wrong).err(), Some(RequestError::Approvals));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        for derivation in derivations() {
            refuses_damage(derivation);
        }
    }

    fn refuses_damage(derivation: Derivation) {
        let mut buffer = [0; 512];
        let bytes = encoded(derivation, &mut buffer);
        let hash = SignedRequest::parse(bytes).unwrap().hash();
        assert_eq!(hash, SignedRequest::parse(bytes).unwrap().hash());
        let mut copy = [0; 512];
        for bit in 0..bytes.len() * 8 {
            let copy = &mut copy[..bytes.len()];
            copy.copy_from_slice(bytes);
            copy[bit / 8] ^= 1 << (bit % 8);
            assert!(SignedRequest::parse(copy).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(SignedRequest::parse(&bytes[..length]).is_err(), "length {length}");
        }
    }
}
