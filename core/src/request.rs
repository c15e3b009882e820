//! A client's signed wish: the payload before hashing, so that every party can judge it by itself.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::wire::{self, Bytes64, DecodeError, NoRoom};

pub use crate::derive::Derivation;

/// A payload has at most so many bytes.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// A label has at most so many bytes.
pub const MAX_LABEL: usize = 256;
/// An encoded signed request has at most so many bytes.
pub const MAX_REQUEST: usize = MAX_PAYLOAD + MAX_LABEL + 256;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

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

/// What is to be signed, before hashing. There is no variant for a bare digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload<'a> {
    /// An unsigned EIP-1559 transaction.
    EthereumTransaction(&'a [u8]),
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
}

/// A request whose client signature has been checked.
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
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "the request does not decode: {error}"),
            Self::TooLong => f.write_str("the request's payload or label is too long"),
            Self::Signature => f.write_str("the client's signature on the request is wrong"),
        }
    }
}

impl core::error::Error for RequestError {}

impl SignRequest<'_> {
    /// H("request", …): what the client signs, and the idempotency key. It covers the client's key but
    /// not the signature, so that nobody can make two requests of one.
    #[must_use]
    pub fn hash(&self, client: &ClientKey) -> Digest {
        let Payload::EthereumTransaction(payload) = self.payload;
        let start = Transcript::new("request")
            .bytes(&[wire::VERSION])
            .bytes(&self.network.0)
            .bytes(&self.key.0);
        self.derivation
            .bind(start)
            .bytes(b"ethereum-transaction")
            .bytes(payload)
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
        let encoded = Encoded { version: wire::VERSION, request: *self, client, signature };
        wire::encode(&encoded, buffer).map(|bytes| &*bytes)
    }
}

impl<'a> SignedRequest<'a> {
    /// Reads and checks a request: version, limits, canonical encoding, client signature.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RequestError> {
        match bytes.first() {
            Some(&wire::VERSION) if bytes.len() <= MAX_REQUEST => {}
            Some(&wire::VERSION) => return Err(RequestError::TooLong),
            Some(&version) => return Err(RequestError::Decode(DecodeError::Version(version))),
            None => return Err(RequestError::Decode(DecodeError::Malformed)),
        }
        let encoded: Encoded<'a> = wire::decode(bytes).map_err(RequestError::Decode)?;
        let Payload::EthereumTransaction(payload) = encoded.request.payload;
        if payload.len() > MAX_PAYLOAD || encoded.request.label.len() > MAX_LABEL {
            return Err(RequestError::TooLong);
        }
        let parsed = Self(encoded);
        if !Identity::Ed25519(encoded.client.0).verify(&parsed.hash(), &encoded.signature) {
            return Err(RequestError::Signature);
        }
        Ok(parsed)
    }

    /// The idempotency key.
    #[must_use]
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
