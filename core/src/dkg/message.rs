//! The messages of a key generation. All are signed by the sender's session key over header and body,
//! so that they can serve as evidence; of R3, one signature serves all receivers.

use heapless::Vec;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroize;

use super::SessionSigner;
use crate::curve::PointBytes;
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::key::KeyTerms;
use crate::party::{PartyId, PartySet};
use crate::secret::SecretBytes;
use crate::session::{Header, Protocol};
use crate::wire::{self, Bytes64, Read, Reader, Write, Writer};
use crate::{read_fields, write_fields};

/// R1: a nonce and the commitment to R2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// n_i.
    pub nonce: [u8; 32],
    /// com_i = H("dkg-com", ctx0, i, n_i, Φ_i, r_i).
    pub commitment: Digest,
}

/// What R2 opens and proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening<const N: usize> {
    /// The sender's sid: a difference means that somebody equivocated in R1.
    pub(super) sid: Digest,
    /// Φ_i: exactly T points.
    pub(super) coefficients: Vec<PointBytes, N>,
    /// r_i.
    pub(super) blind: [u8; 32],
    /// K_i.
    pub(super) proof_nonce: PointBytes,
    /// z_i.
    pub(super) proof: [u8; 32],
}

/// R2: the opening, the proof of possession, and commitments to what R3 will carry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Open<'a, const N: usize> {
    pub(super) opening: Opening<N>,
    /// Commitments to σ_ij, for every other holder j.
    pub(super) pairs: Vec<Digest, N>,
    /// Commitments to c_iA, for every A ∋ i, of 32 bytes each.
    #[serde(borrow)]
    pub(super) sets: Lent<'a>,
}

impl<const N: usize> Open<'_, N> {
    /// What stays of R2 once its commitments are hashed by receiver, or `None` if the last commitment is
    /// cut off.
    pub(super) fn tree(self, terms: &KeyTerms, dealer: PartyId) -> Option<OpenTree<N>> {
        let (sets, []) = self.sets.0.as_chunks::<32>() else { return None };
        let receivers = receivers(terms, dealer, &self.pairs, sets.iter().copied());
        let (pairs, sets) = (self.pairs.len() as u16, u16::try_from(sets.len()).ok()?);
        Some(OpenTree { opening: self.opening, pairs, sets, receivers })
    }
}

/// R2 as its signature covers it: the commitments are hashed by receiver, and their numbers are told, so
/// that one private message can be judged without the commitments to everybody else's
/// (`docs/PROTOCOL.md` §3 step 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenTree<const N: usize> {
    pub(super) opening: Opening<N>,
    pub(super) pairs: u16,
    pub(super) sets: u16,
    /// D_j for every other holder j.
    pub(super) receivers: Vec<Digest, N>,
}

impl<const N: usize> OpenTree<N> {
    /// H("dkg-open", sid, Φ, r_i, K_i, z_i, how many pairs and sets, all D_j).
    pub(super) fn digest(&self) -> Digest {
        let Opening { sid, coefficients, blind, proof_nonce, proof } = &self.opening;
        let start = Transcript::new("dkg-open").bytes(sid).u16(coefficients.len() as u16);
        let phi = coefficients.iter().fold(start, |t, point| t.bytes(&point.0));
        let proven = phi.bytes(blind).bytes(&proof_nonce.0).bytes(proof);
        let counted = proven.u16(self.pairs).u16(self.sets);
        self.receivers.iter().fold(counted, |t, receiver| t.bytes(receiver)).finish()
    }
}

/// D_j while it grows.
pub(super) struct Receiver(Transcript);

impl Receiver {
    pub(super) fn new(j: PartyId) -> Self {
        Self(Transcript::new("dkg-open-to").party(j))
    }

    pub(super) fn take(&mut self, commitment: &Digest) {
        self.0.put(commitment);
    }

    /// H("dkg-open-to", j, the commitment to σ_ij, those to c_iA for every A ∋ i, j in order).
    pub(super) fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// D_j for every other holder j, over as many commitments as there are; their numbers are judged later.
pub(super) fn receivers<const N: usize>(
    terms: &KeyTerms,
    dealer: PartyId,
    pairs: &[Digest],
    sets: impl Iterator<Item = Digest>,
) -> Vec<Digest, N> {
    let others = terms.holders.parties().without(dealer);
    let mut growing: Vec<(PartyId, Receiver), N> =
        others.iter().take(N).map(|j| (j, Receiver::new(j))).collect();
    for ((_, receiver), commitment) in growing.iter_mut().zip(pairs) {
        receiver.take(commitment);
    }
    for (set, commitment) in terms.holders.nonce_sets_of(dealer).zip(sets) {
        for (_, receiver) in growing.iter_mut().filter(|(j, _)| set.contains(*j)) {
            receiver.take(&commitment);
        }
    }
    growing.into_iter().map(|(_, receiver)| receiver.finish()).collect()
}

/// A secret contribution with the blinding that opens its commitment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contribution {
    pub(super) value: SecretBytes,
    pub(super) blind: SecretBytes,
}

impl Contribution {
    /// Both halves of 64 bytes.
    fn new(bytes: &[u8; 64]) -> Self {
        let ([value, blind], _) = bytes.as_chunks::<32>() else {
            return Self { value: SecretBytes::default(), blind: SecretBytes::default() };
        };
        Self { value: SecretBytes::new(*value), blind: SecretBytes::new(*blind) }
    }

    /// H("con", sid, "pair", i, j, value, blinding).
    pub(super) fn pair_commitment(&self, sid: &Digest, from: PartyId, to: PartyId) -> Digest {
        let start = Transcript::new("con").bytes(sid).bytes(b"pair").party(from).party(to);
        start.bytes(self.value.expose()).bytes(self.blind.expose()).finish()
    }

    /// H("con", sid, "set", i, A, value, blinding).
    pub(super) fn set_commitment(&self, sid: &Digest, from: PartyId, set: PartySet) -> Digest {
        let start = Transcript::new("con").bytes(sid).bytes(b"set").party(from).set(set);
        start.bytes(self.value.expose()).bytes(self.blind.expose()).finish()
    }
}

/// Contributions to nonce keys, of 64 bytes each: in the frame that they came in, or kept.
pub trait Contributions: Serialize + Write {
    /// All of them, one after the other.
    fn bytes(&self) -> &[u8];
}

/// In the frame that they came in: the list is by far the longest part of a message, and is not copied.
#[derive(Clone, Copy, Deserialize)]
pub struct Lent<'a>(#[serde(borrow)] &'a [u8]);

/// Kept here, and wiped.
pub struct Kept<const K: usize>(Vec<[u8; 64], K>);

impl Contributions for Lent<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl<const K: usize> Contributions for Kept<K> {
    fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }
}

impl Lent<'_> {
    /// Whether these are whole, and no more than a party can have.
    pub(super) fn fits<const K: usize>(&self) -> bool {
        self.0.len().is_multiple_of(64) && self.0.len() <= 64 * K
    }
}

impl<const K: usize> Kept<K> {
    /// A copy of `lent`, which fits.
    pub(super) fn of(lent: Lent<'_>) -> Self {
        Self(lent.0.as_chunks().0.iter().take(K).copied().collect())
    }

    pub(super) fn add(&mut self, contribution: &Contribution) {
        let mut bytes = [0; 64];
        let halves = contribution.value.expose().iter().chain(contribution.blind.expose());
        bytes.iter_mut().zip(halves).for_each(|(to, from)| *to = *from);
        // A party has no more nonce keys than K.
        let _ = self.0.push(bytes);
        bytes.zeroize();
    }
}

impl<const K: usize> Default for Kept<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<const K: usize> Drop for Kept<K> {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

// In one piece: the encoding is that of a list of bytes.
impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.bytes())
    }
}

impl<const K: usize> Serialize for Kept<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.bytes())
    }
}

impl core::fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Contributions(..)")
    }
}

impl<const K: usize> core::fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Contributions(..)")
    }
}

/// R3, private to one party: its share of f_i and the openings that concern it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deal<C> {
    /// The sender's th.
    pub(super) transcript: Digest,
    /// f_i(j), 32 big-endian bytes.
    pub(super) share: SecretBytes,
    /// Opens σ_ij.
    pub(super) pair: Contribution,
    /// Opens c_iA for every A ∋ i, j, in order.
    pub(super) sets: C,
}

impl<C: Contributions> Deal<C> {
    pub(super) fn contributions(&self) -> impl Iterator<Item = Contribution> {
        self.sets.bytes().as_chunks().0.iter().map(Contribution::new)
    }
}

impl Deal<Lent<'_>> {
    /// A copy that outlives the frame.
    pub(super) fn keep<const K: usize>(self) -> Deal<Kept<K>> {
        let Self { transcript, share, pair, sets } = self;
        Deal { transcript, share, pair, sets: Kept::of(sets) }
    }
}

/// R3 as it is sent: one signature of its dealer covers those to all receivers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Dealt<const N: usize, C> {
    pub(super) deal: Deal<C>,
    /// The digests of the dealer's R3 to all others, in the order of the receivers. They tell nothing: each is of
    /// a share and of blindings.
    pub(super) others: Vec<Digest, N>,
}

impl<const N: usize, C: Contributions> Dealt<N, C> {
    /// What the signature covers, or `None` if there are not as many digests as there must be.
    pub(super) fn digest(&self, terms: &KeyTerms, dealer: PartyId, to: PartyId) -> Option<Digest> {
        let receivers = terms.holders.parties().without(dealer);
        let (before, after) = self.others.split_at_checked(receivers.position(to)?)?;
        let own = body_digest(&self.deal);
        (self.others.len() + 1 == receivers.len())
            .then(|| deals_digest(before.iter().chain([&own]).chain(after)))
    }
}

/// H("dkg-deals", the digests of a dealer's R3, in the order of their receivers).
pub(super) fn deals_digest<'a>(digests: impl Iterator<Item = &'a Digest>) -> Digest {
    digests.fold(Transcript::new("dkg-deals"), |t, digest| t.bytes(digest)).finish()
}

/// The header of a message of a key generation.
#[inline(never)]
pub(super) fn header(
    terms: &KeyTerms,
    session: &Digest,
    round: u8,
    from: PartyId,
    to: Option<PartyId>,
) -> Header {
    Header {
        version: wire::VERSION,
        suite: terms.suite,
        protocol: Protocol::Dkg,
        round,
        session: *session,
        from,
        to,
    }
}

/// The digest that is signed: H("dkg-msg", header, H(body)). The body enters by its hash, so that two
/// hashes and two signatures prove an equivocation.
pub(super) fn signed_digest(header: &Header, body: &Digest) -> Digest {
    Transcript::new("dkg-msg").bytes(&hash_of("dkg-header", header)).bytes(body).finish()
}

/// H("dkg-body", SHA-256(encoding)): what the signature covers of R1 and of complaints, and of one R3 in the list.
pub(super) fn body_digest(body: &dyn Write) -> Digest {
    hash_of("dkg-body", body)
}

fn hash_of(tag: &str, value: &dyn Write) -> Digest {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    wire::write_to(value, &mut |bytes| hash.update(bytes));
    Transcript::new(tag).bytes(&hash.finalize()).finish()
}

/// A message with the signature of the sender's session key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Signed<B> {
    pub(super) header: Header,
    pub(super) body: B,
    pub(super) signature: Bytes64,
}

impl<B> Signed<B> {
    /// Signs `body`, which goes to all and whose digest is `digest`.
    pub(super) fn new(
        header: Header,
        body: B,
        digest: &Digest,
        signer: &impl SessionSigner,
    ) -> Self {
        let signature = signer.sign(&signed_digest(&header, digest));
        Self { header, body, signature }
    }
}

/// Reads a message whose header fits already.
pub(super) fn read<'a, B: Read<'a>>(bytes: &'a [u8]) -> Option<Signed<B>> {
    wire::read(bytes).ok()
}

/// One message as its receiver can show it: body digest and signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The digest of the body.
    pub(super) body: Digest,
    /// By the sender's session key.
    pub(super) signature: Bytes64,
}

impl Seen {
    pub(super) fn is_signed(&self, header: &Header, key: &Identity) -> bool {
        key.verify(&signed_digest(header, &self.body), &self.signature)
    }
}

/// What a party saw of one dealer: R1 and R2, as far as they had arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Views {
    pub(super) commit: Option<Seen>,
    pub(super) open: Option<Seen>,
}

/// "Party `with` and I cannot have seen the same; this is what I saw", by dealer in increasing order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo<const N: usize> {
    pub(super) with: PartyId,
    pub(super) seen: Vec<Views, N>,
}

/// R2 with the dealer's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOpen<const N: usize> {
    pub(super) tree: OpenTree<N>,
    pub(super) signature: Bytes64,
}

/// R3 with the dealer's signature. It is private no more: its run has failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignedDeal<const N: usize, C> {
    pub(super) dealt: Dealt<N, C>,
    pub(super) signature: Bytes64,
}

impl<const N: usize> SignedDeal<N, Lent<'_>> {
    /// A copy that outlives the frame.
    pub(super) fn keep<const K: usize>(self) -> SignedDeal<N, Kept<K>> {
        let Dealt { deal, others } = self.dealt;
        SignedDeal { dealt: Dealt { deal: deal.keep(), others }, signature: self.signature }
    }
}

read_fields!(Commit { nonce, commitment });
write_fields!(Commit { nonce, commitment });
read_fields!(['de, const N: usize] 'de Opening<N> { sid, coefficients, blind, proof_nonce, proof });
read_fields!(['de, const N: usize] 'de Open<'de, N> { opening, pairs, sets });
read_fields!(['de, const N: usize] 'de OpenTree<N> { opening, pairs, sets, receivers });
read_fields!(Contribution { value, blind });
write_fields!(Contribution { value, blind });
read_fields!(['de, C: Read<'de>] 'de Deal<C> { transcript, share, pair, sets });
read_fields!(['de, B: Read<'de>] 'de Signed<B> { header, body, signature });
read_fields!(Seen { body, signature });
write_fields!(Seen { body, signature });
read_fields!(Views { commit, open });
write_fields!(Views { commit, open });
read_fields!(['de, const N: usize] 'de Echo<N> { with, seen });
read_fields!(['de, const N: usize] 'de SignedOpen<N> { tree, signature });
read_fields!(['de, const N: usize, C: Read<'de>] 'de Dealt<N, C> { deal, others });
read_fields!(['de, const N: usize, C: Read<'de>] 'de SignedDeal<N, C> { dealt, signature });

write_fields!([const N: usize] Opening<N> { sid, coefficients, blind, proof_nonce, proof });
write_fields!([const N: usize] OpenTree<N> { opening, pairs, sets, receivers });
write_fields!([C: Write] Deal<C> { transcript, share, pair, sets });
write_fields!([B: Write] Signed<B> { header, body, signature });
write_fields!([const N: usize] Echo<N> { with, seen });
write_fields!([const N: usize] SignedOpen<N> { tree, signature });
write_fields!([const N: usize, C: Write] Dealt<N, C> { deal, others });
write_fields!([const N: usize, C: Write] SignedDeal<N, C> { dealt, signature });

impl Write for Lent<'_> {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self.0);
    }
}

impl<const K: usize> Write for Kept<K> {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self.bytes());
    }
}

impl<const N: usize, C: Write> Write for Complaint<N, C> {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Echo(echo) => {
                to.variant(0);
                echo.write(to);
            }
            Self::BadDeal { dealer, open, deal } => {
                to.variant(1);
                dealer.write(to);
                open.write(to);
                deal.write(to);
            }
        }
    }
}

impl<const N: usize> Write for Told<N> {
    fn write(&self, to: &mut Writer<'_>) {
        let Self::Echo(echo) = self;
        to.variant(0);
        echo.write(to);
    }
}

impl<'a> Read<'a> for Lent<'a> {
    fn read(from: &mut Reader<'a>) -> Self {
        Self(from.field())
    }
}

impl<'a, const N: usize, C: Read<'a>> Read<'a> for Complaint<N, C> {
    fn read(from: &mut Reader<'a>) -> Self {
        match from.variant(2) {
            0 => Self::read_echo(from),
            _ => Self::read_bad_deal(from),
        }
    }
}

// Apart, since each is large for a chip's stack.
impl<'a, const N: usize, C: Read<'a>> Complaint<N, C> {
    #[inline(never)]
    fn read_echo(from: &mut Reader<'a>) -> Self {
        Self::Echo(from.field())
    }

    #[inline(never)]
    fn read_bad_deal(from: &mut Reader<'a>) -> Self {
        let (dealer, open, deal) = (from.field(), from.field(), from.field());
        Self::BadDeal { dealer, open, deal }
    }
}

/// The longest encoding of a number of holders or of nonce keys.
const COUNT: usize = 3;
/// Of every header and signature: version, suite, protocol, round, session, from, to.
pub(super) const FRAME: usize = 4 + 32 + 1 + 2 + 64;

/// Of an [`OpenTree`] with its signature.
pub(super) const fn open_length(holders: usize) -> usize {
    let opening = 32 + (COUNT + 33 * holders) + 32 + 33 + 32;
    opening + 2 * COUNT + (COUNT + 32 * holders) + 64
}

/// Of a [`Complaint`] without its frame.
pub(super) const fn complaint_length(holders: usize, nonce_keys: usize) -> usize {
    let echo = 1 + 1 + COUNT + holders * 2 * (1 + 32 + 64);
    let deal = 32 + 32 + 64 + (COUNT + 64 * nonce_keys) + (COUNT + 32 * holders);
    longer(echo, 1 + 1 + open_length(holders) + deal + 64)
}

const fn longer(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// No message is longer.
pub(super) const fn max_length(holders: usize, nonce_keys: usize) -> usize {
    let commitments = COUNT + 32 * nonce_keys;
    // R3 is part of a complaint about it.
    let body = longer(open_length(holders) + commitments, complaint_length(holders, nonce_keys));
    FRAME + body
}

/// A complaint to all; it always ends the run, so a party has one at most.
// No allocator here: the larger variant is the price.
#[expect(clippy::large_enum_variant)]
#[derive(Debug, Serialize, Deserialize)]
pub enum Complaint<const N: usize, C> {
    /// What the accuser saw.
    Echo(Echo<N>),
    /// "This dealer's private message to me is bad": the message itself, and the R2 that it betrays,
    /// both signed, so that the judge depends on nothing that it may not have got.
    BadDeal {
        /// Who sent both.
        dealer: PartyId,
        /// What it promised to all.
        open: SignedOpen<N>,
        /// What it sent to the accuser.
        deal: SignedDeal<N, C>,
    },
}

impl<const N: usize> Complaint<N, Lent<'_>> {
    /// A copy that outlives the frame.
    pub(super) fn keep<const K: usize>(self) -> Complaint<N, Kept<K>> {
        match self {
            Self::Echo(echo) => Complaint::Echo(echo),
            Self::BadDeal { dealer, open, deal } => {
                let deal = deal.keep();
                Complaint::BadDeal { dealer, open, deal }
            }
        }
    }
}

/// [`Complaint::Echo`] on its way out: the same encoding, without the room for a private message.
#[derive(Serialize)]
pub(super) enum Told<const N: usize> {
    Echo(Echo<N>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_serde_reads_them() {
        crate::wire::agree!(Signed<Commit>, Signed<Open<'_, 3>>, Signed<Dealt<3, Lent<'_>>>);
        crate::wire::agree!(Signed<Complaint<3, Lent<'_>>>, Complaint<3, Lent<'_>>, Echo<3>);
    }

    #[test]
    fn messages_are_written_as_serde_writes_them() {
        crate::wire::written!(Signed<Commit>, OpenTree<3>, Signed<Dealt<3, Lent<'_>>>);
        crate::wire::written!(Signed<Complaint<3, Lent<'_>>>, Complaint<3, Lent<'_>>, Echo<3>);
        let echo = Echo { with: PartyId::new(2).unwrap(), seen: Vec::new() };
        let (told, complaint) =
            (Told::<3>::Echo(echo.clone()), Complaint::<3, Lent<'_>>::Echo(echo));
        assert_eq!(body_digest(&told), body_digest(&complaint));
        let (mut kept, lent) = (Kept::<2>::default(), [7; 64]);
        kept.0.push(lent).unwrap();
        assert_eq!(body_digest(&kept), body_digest(&Lent(&lent)));
    }
}
