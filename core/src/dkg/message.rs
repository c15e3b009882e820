//! The messages of a key generation. All are signed by the sender's session key over header and body,
//! so that they can serve as evidence.

use heapless::Vec;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::SessionSigner;
use crate::curve::PointBytes;
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::party::PartyId;
use crate::secret::SecretBytes;
use crate::session::Header;
use crate::wire::{self, Bytes64};

/// R1: a nonce and the commitment to R2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// n_i.
    pub nonce: [u8; 32],
    /// com_i = H("dkg-com", ctx0, i, n_i, Φ_i, r_i).
    pub commitment: Digest,
}

/// R2: the opening, commitments to what R3 will carry, and the proof of possession.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open<const N: usize, const K: usize> {
    /// The sender's sid: a difference means that somebody equivocated in R1.
    pub(super) sid: Digest,
    /// Φ_i: exactly T points.
    pub(super) coefficients: Vec<PointBytes, N>,
    /// r_i.
    pub(super) blind: [u8; 32],
    /// Commitments to σ_ij, for every other holder j.
    pub(super) pairs: Vec<Digest, N>,
    /// Commitments to c_iA, for every A ∋ i.
    pub(super) sets: Vec<Digest, K>,
    /// K_i.
    pub(super) proof_nonce: PointBytes,
    /// z_i.
    pub(super) proof: [u8; 32],
}

/// A secret contribution with the blinding that opens its commitment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) value: SecretBytes,
    pub(super) blind: SecretBytes,
}

impl Opening {
    /// H("con", sid, kind, i, to whom or which set, value, blind).
    pub(super) fn pair_commitment(&self, sid: &Digest, from: PartyId, to: PartyId) -> Digest {
        let start = Transcript::new("con").bytes(sid).bytes(b"pair").party(from).party(to);
        start.bytes(self.value.expose()).bytes(self.blind.expose()).finish()
    }

    /// The same for a set A.
    pub(super) fn set_commitment(
        &self,
        sid: &Digest,
        from: PartyId,
        set: crate::party::PartySet,
    ) -> Digest {
        let start = Transcript::new("con").bytes(sid).bytes(b"set").party(from).set(set);
        start.bytes(self.value.expose()).bytes(self.blind.expose()).finish()
    }
}

/// R3, private to one party: its share of f_i and the openings that concern it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deal<const K: usize> {
    /// The sender's th.
    pub(super) transcript: Digest,
    /// f_i(j), 32 big-endian bytes.
    pub(super) share: SecretBytes,
    /// Opens σ_ij.
    pub(super) pair: Opening,
    /// Opens c_iA for every A ∋ i, j, in order.
    pub(super) sets: Vec<Opening, K>,
}

/// What a signed message can carry.
pub(super) trait Body: Serialize + DeserializeOwned {}
impl Body for Commit {}
impl<const N: usize, const K: usize> Body for Open<N, K> {}
impl<const K: usize> Body for Deal<K> {}
impl<const N: usize, const K: usize> Body for Complaint<N, K> {}

/// A message with the signature of the sender's session key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Signed<B> {
    pub(super) header: Header,
    pub(super) body: B,
    pub(super) signature: Bytes64,
}

/// The digest that is signed: H("dkg-msg", header, H(body)). The body enters by its hash, so that two
/// hashes and two signatures prove an equivocation.
pub(super) fn signed_digest(header: &Header, body: &Digest) -> Digest {
    Transcript::new("dkg-msg").bytes(&hash_of("dkg-header", header)).bytes(body).finish()
}

fn hash_of<T: Serialize>(tag: &str, value: &T) -> Digest {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    wire::encode_to(value, |bytes| hash.update(bytes));
    Transcript::new(tag).bytes(&hash.finalize()).finish()
}

impl<B: Serialize> Signed<B> {
    pub(super) fn new(header: Header, body: B, signer: &impl SessionSigner) -> Self {
        let signature = signer.sign(&signed_digest(&header, &hash_of("dkg-body", &body)));
        Self { header, body, signature }
    }
}

impl<B: Body> Signed<B> {
    pub(super) fn body_digest(&self) -> Digest {
        hash_of("dkg-body", &self.body)
    }

    pub(super) fn verify(&self, key: &Identity) -> bool {
        key.verify(&signed_digest(&self.header, &self.body_digest()), &self.signature)
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.header == other.header && self.body_digest() == other.body_digest()
    }
}

/// One dealer's broadcast as a party saw it: body hash and signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) body: Digest,
    pub(super) signature: Bytes64,
}

impl Seen {
    pub(super) fn of<B: Body>(message: &Signed<B>) -> Self {
        Self { body: message.body_digest(), signature: message.signature }
    }
}

/// What a party saw of one dealer when it complained: R1 and R2, as far as they had arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Views {
    pub(super) commit: Option<Seen>,
    pub(super) open: Option<Seen>,
}

/// "Party `with` and I cannot have seen the same; this is what I saw", by dealer in increasing order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Echo<const N: usize> {
    pub(super) with: PartyId,
    pub(super) seen: Vec<Views, N>,
}

/// A complaint to all; it always ends the run.
// No allocator here: the larger variant is the price, and it lives only while it is judged.
#[expect(clippy::large_enum_variant)]
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Complaint<const N: usize, const K: usize> {
    /// What the accuser saw, as in [`Echo`].
    Echo(Echo<N>),
    /// "This dealer's private message to me is bad": the message itself, and the R2 that it betrays,
    /// both signed, so that the judge depends on nothing that it may not have got.
    BadDeal { open: Signed<Open<N, K>>, deal: Signed<Deal<K>> },
}

/// A [`Complaint`] on its way out; it has the same encoding.
#[derive(Serialize)]
pub(super) enum Accusation<'a, const N: usize, const K: usize> {
    Echo(&'a Echo<N>),
    BadDeal { open: &'a Signed<Open<N, K>>, deal: &'a Signed<Deal<K>> },
}
