//! What a corrupt party needs: taking its own messages apart, changing them, and signing them anew.
//! The layouts are written down here a second time, so the tests also notice a change on the wire.

use std::cell::Cell;

use quorate_core::curve::PointBytes;
use quorate_core::hash::{Digest, Transcript};
use quorate_core::party::{Holders, PartyId};
use quorate_core::session::{Header, Protocol};
use quorate_core::wire::{self, Bytes64};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{Packet, SessionSigner as _, session_key};

/// A signed message of a key generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forged<B> {
    /// Who, where to, which session.
    pub header: Header,
    /// What.
    pub body: B,
    /// By the session key, over both.
    pub signature: Bytes64,
}

/// R1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// n_i.
    pub nonce: [u8; 32],
    /// com_i.
    pub commitment: Digest,
}

/// R2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Open {
    /// sid.
    pub sid: Digest,
    /// Φ_i.
    pub coefficients: Vec<PointBytes>,
    /// r_i.
    pub blind: [u8; 32],
    /// K_i.
    pub proof_nonce: PointBytes,
    /// z_i.
    pub proof: [u8; 32],
    /// Commitments to σ_ij.
    pub pairs: Vec<Digest>,
    /// Commitments to c_iA.
    #[serde(with = "string")]
    pub sets: Vec<Digest>,
}

/// A contribution and its blinding.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// σ_ij or c_iA.
    pub value: [u8; 32],
    /// What hides it in its commitment.
    pub blind: [u8; 32],
}

/// Lists that are one string of bytes on the wire.
mod string {
    use serde::{
        Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error,
    };

    use super::{bytes_of, parse};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        list: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        list.iter().flat_map(bytes_of).collect::<Vec<u8>>().serialize(to)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: Serialize + DeserializeOwned,
        D: Deserializer<'de>,
    {
        let bytes = Vec::<u8>::deserialize(from)?;
        // A digest, or a value with its blinding: arrays have no lengths.
        let size = std::mem::size_of::<T>();
        match bytes.len() % size {
            0 => Ok(bytes.chunks(size).map(parse).collect()),
            _ => Err(D::Error::custom("a list that is cut off")),
        }
    }
}

/// R3.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deal {
    /// th.
    pub transcript: Digest,
    /// f_i(j).
    pub share: [u8; 32],
    /// Opens σ_ij.
    pub pair: Opening,
    /// Opens c_iA.
    #[serde(with = "string")]
    pub sets: Vec<Opening>,
    /// The digests of the dealer's R3 to all others.
    pub others: Vec<Digest>,
}

impl Deal {
    /// The digest of this one, as it stands in the list for all others.
    #[must_use]
    pub fn own_digest(&self) -> Digest {
        let mut bytes = bytes_of(self);
        let list = bytes_of(&self.others).len();
        bytes.truncate(bytes.len() - list);
        Transcript::new("dkg-body").bytes(&Sha256::digest(bytes)).finish()
    }

    /// The digest of the list, as the signature of `dealer` covers it.
    #[must_use]
    pub fn list_digest(&self, holders: Holders, dealer: PartyId, to: PartyId) -> Digest {
        let place = holders.parties().without(dealer).position(to).unwrap_or_default();
        let mut list = self.others.clone();
        list.insert(place.min(list.len()), self.own_digest());
        list.iter().fold(Transcript::new("dkg-deals"), |t, digest| t.bytes(digest)).finish()
    }
}

/// One dealer's broadcast as somebody saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The body's hash.
    pub body: Digest,
    /// The dealer's signature.
    pub signature: Bytes64,
}

/// A complaint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Complaint {
    /// Somebody saw something else than the accuser.
    Echo {
        /// Who.
        with: PartyId,
        /// R1 and R2 of every dealer.
        seen: Vec<(Option<Seen>, Option<Seen>)>,
    },
    /// A bad private message.
    BadDeal {
        /// Who sent it.
        dealer: PartyId,
        /// The dealer's R2, with the commitments hashed by receiver.
        open: Box<OpenTree>,
        /// On R2.
        open_signature: Bytes64,
        /// Its R3 for the accuser.
        deal: Box<Deal>,
        /// On R3.
        deal_signature: Bytes64,
    },
}

/// R2 as its signature covers it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenTree {
    /// sid.
    pub sid: Digest,
    /// Φ_i.
    pub coefficients: Vec<PointBytes>,
    /// r_i.
    pub blind: [u8; 32],
    /// K_i.
    pub proof_nonce: PointBytes,
    /// z_i.
    pub proof: [u8; 32],
    /// How many commitments to σ_ij.
    pub pairs: u16,
    /// How many commitments to c_iA.
    pub sets: u16,
    /// For every other holder, the hash of those that concern it.
    pub receivers: Vec<Digest>,
}

impl OpenTree {
    /// The tree over an R2 of `dealer`.
    #[must_use]
    pub fn of(holders: Holders, dealer: PartyId, open: &Open) -> Self {
        let Open { sid, coefficients, blind, proof_nonce, proof, pairs, sets } = open.clone();
        let receiver = |(place, j): (usize, PartyId)| {
            let start = Transcript::new("dkg-open-to").party(j);
            let start = pairs.get(place).into_iter().fold(start, |t, pair| t.bytes(pair));
            let both = holders.nonce_sets().filter(|set| set.contains(dealer)).zip(&sets);
            both.filter(|(set, _)| set.contains(j)).fold(start, |t, (_, set)| t.bytes(set)).finish()
        };
        let others = holders.parties().without(dealer);
        let receivers = others.iter().enumerate().map(receiver).collect();
        let (pairs, sets) = (pairs.len() as u16, sets.len() as u16);
        Self { sid, coefficients, blind, proof_nonce, proof, pairs, sets, receivers }
    }

    /// Its hash.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let start = Transcript::new("dkg-open").bytes(&self.sid);
        let start = start.u16(self.coefficients.len() as u16);
        let start = self.coefficients.iter().fold(start, |t, point| t.bytes(&point.0));
        let start = start.bytes(&self.blind).bytes(&self.proof_nonce.0).bytes(&self.proof);
        let start = start.u16(self.pairs).u16(self.sets);
        self.receivers.iter().fold(start, |t, receiver| t.bytes(receiver)).finish()
    }
}

/// A message of a signing session, R1; the header's session is D0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nonce {
    /// Who, which session.
    pub header: Header,
    /// R_i.
    pub point: PointBytes,
}

/// A message of a signing session, R2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Who, which session.
    pub header: Header,
    /// μ_i.
    pub mu: [u8; 32],
    /// ν_i.
    pub nu: [u8; 32],
}

/// A message of a Schnorr session, R2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Response {
    /// Who, which session.
    pub header: Header,
    /// z_i.
    pub response: [u8; 32],
}

/// The kind of an undamaged packet: protocol and round.
#[must_use]
pub fn kind(packet: &Packet) -> Option<(Protocol, u8)> {
    Header::peek(&packet.bytes).ok().map(|header| (header.protocol, header.round))
}

/// The message in `bytes`.
///
/// # Panics
/// If it is none: the test is wrong.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn parse<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> T {
    wire::decode(bytes).expect("a well-formed message of this kind")
}

/// The bytes of `message`.
#[must_use]
pub fn bytes_of<T: Serialize>(message: &T) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    wire::encode(message, &mut buffer).map(|bytes| bytes.to_vec()).unwrap_or_default()
}

thread_local! {
    /// The holders of the run that this thread simulates last: an R2 is hashed by receiver, and R3 are in a list.
    static HOLDERS: Cell<Option<Holders>> = const { Cell::new(None) };
}

/// Whoever runs a key generation says who holds the key, before it signs a message anew.
pub fn remember_holders(holders: Holders) {
    HOLDERS.set(Some(holders));
}

/// The body of a message of a key generation.
pub trait Body: Serialize + DeserializeOwned {
    /// Its hash behind `header`, as the sender's signature covers it.
    fn digest(&self, _header: &Header) -> Digest {
        hash_of("dkg-body", self)
    }
}

impl Body for Commit {}
impl Body for Complaint {}
impl Body for Open {
    fn digest(&self, header: &Header) -> Digest {
        let tree = |holders| OpenTree::of(holders, header.from, self).digest();
        HOLDERS.get().map(tree).unwrap_or_default()
    }
}
impl Body for Deal {
    fn digest(&self, header: &Header) -> Digest {
        let list = |(holders, to)| self.list_digest(holders, header.from, to);
        HOLDERS.get().zip(header.to).map(list).unwrap_or_default()
    }
}

fn hash_of<T: Serialize>(tag: &str, value: &T) -> Digest {
    Transcript::new(tag).bytes(&Sha256::digest(bytes_of(value))).finish()
}

/// What the sender of a message signs: of R3 too, it is for all.
#[must_use]
pub fn signed_digest(header: &Header, body: &Digest) -> Digest {
    let header = Header { to: None, ..*header };
    Transcript::new("dkg-msg").bytes(&hash_of("dkg-header", &header)).bytes(body).finish()
}

/// A message signed by the session key of `header.from`.
#[must_use]
pub fn signed<B: Body>(header: Header, body: B) -> Forged<B> {
    let digest = signed_digest(&header, &body.digest(&header));
    let signature = session_key(header.from).sign(&digest);
    Forged { header, body, signature }
}

/// `packet` with a changed body, signed anew.
#[must_use]
pub fn resigned<B: Body>(mut packet: Packet, change: impl FnOnce(&mut B)) -> Packet {
    let mut message: Forged<B> = parse(&packet.bytes);
    change(&mut message.body);
    packet.bytes = bytes_of(&signed(message.header, message.body));
    packet
}

/// `packet` with a changed message that carries no signature.
#[must_use]
pub fn changed<T: Serialize + DeserializeOwned>(
    mut packet: Packet,
    change: impl FnOnce(&mut T),
) -> Packet {
    let mut message: T = parse(&packet.bytes);
    change(&mut message);
    packet.bytes = bytes_of(&message);
    packet
}

/// com_i of an opening, for a corrupt party that knows in R1 what it will open in R2.
#[must_use]
pub fn commitment(context: &Digest, dealer: PartyId, nonce: &[u8; 32], open: &Open) -> Digest {
    let start = Transcript::new("dkg-com").bytes(context).party(dealer).bytes(nonce);
    let start = start.u16(open.coefficients.len() as u16);
    open.coefficients.iter().fold(start, |t, point| t.bytes(&point.0)).bytes(&open.blind).finish()
}
