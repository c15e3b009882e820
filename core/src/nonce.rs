//! Verifiable pseudorandom nonces (`docs/PROTOCOL.md` §6.1, §6.2), shared by the stateless schemes: the
//! rules for a quorum and its salts, R1 with the nonce points, and the degree check that makes every
//! party that does not abort see the same R.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::curve::{AffineBytes, Group};
use crate::derive::DeriveError;
use crate::hash::{Digest, Transcript};
use crate::party::{Holders, PartyId, PartySet};
use crate::session::{Abort, Fault, Header, Refusal};
use crate::vss::{self, Entry};
use crate::wire::{self, DecodeError, NoRoom};

/// A member's 32 fresh public bytes.
pub type Salt = [u8; 32];

/// No message of a stateless signing session is longer.
pub const MAX_MESSAGE: usize = 256;

/// Why a session cannot be: the caller or the coordinator misused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// |S| ≠ 2T−1.
    QuorumSize {
        /// 2T−1.
        expected: usize,
        /// |S|.
        found: usize,
    },
    /// A member of S holds no share.
    NotAHolder,
    /// This party is not in S.
    NotInQuorum,
    /// h ≡ 0 modulo p: anybody can forge on it.
    ZeroDigest,
    /// There is no such derived key.
    Derivation(DeriveError),
    /// Salts are not exactly one of every member of S.
    Salts,
    /// The salt of this party is missing or was altered.
    OwnSalt,
    /// A larger quorum than this build has room for.
    TooLarge,
    /// A message longer than [`crate::schnorr::MAX_PAYLOAD`].
    MessageTooLong,
    /// The suite knows no such tweak of its keys, or this key has none.
    Tweak,
    /// The key's public record is malformed, or of another suite.
    PublicRecord,
    /// k_i came out as 0; with other salts it will not.
    Degenerate,
}

impl core::fmt::Display for SignError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::QuorumSize { expected, found } => {
                write!(f, "this key is signed for by exactly {expected} parties, not {found}")
            }
            Self::NotAHolder => f.write_str("a member of the quorum holds no share of the key"),
            Self::NotInQuorum => f.write_str("this party is not in the quorum"),
            Self::ZeroDigest => {
                f.write_str("a digest that is 0 modulo the group order is never signed")
            }
            Self::Derivation(error) => error.fmt(f),
            Self::Salts => {
                f.write_str("there must be exactly one salt of every member of the quorum")
            }
            Self::OwnSalt => f.write_str("this party's salt is missing or was altered"),
            Self::TooLarge => f.write_str("the quorum is larger than this build has room for"),
            Self::MessageTooLong => f.write_str("the message is longer than 16 KiB"),
            Self::Tweak => f.write_str("a key of this suite cannot be tweaked in this way"),
            Self::PublicRecord => f.write_str("the key's public record is not of this suite"),
            Self::Degenerate => f.write_str("a value came out as zero; try again"),
        }
    }
}

impl core::error::Error for SignError {}

/// |S| = 2T−1 exactly and S ⊆ N.
pub(crate) fn check_quorum(quorum: &PartySet, holders: &Holders) -> Result<(), SignError> {
    if quorum.len() != holders.quorum() {
        let (expected, found) = (holders.quorum(), quorum.len());
        return Err(SignError::QuorumSize { expected, found });
    }
    if !holders.parties().contains_all(quorum) {
        return Err(SignError::NotAHolder);
    }
    Ok(())
}

/// One salt of every member, in increasing order.
pub(crate) fn check_salts(quorum: &PartySet, salts: &[(PartyId, Salt)]) -> Result<(), SignError> {
    if !quorum.iter().eq(salts.iter().map(|(id, _)| *id)) {
        return Err(SignError::Salts);
    }
    Ok(())
}

/// What a member checks besides: it is in S, there is room, and its own salt is there, unchanged.
pub(crate) fn check_member<const S: usize>(
    quorum: &PartySet,
    me: PartyId,
    salts: &[(PartyId, Salt)],
    own_salt: &Salt,
) -> Result<(), SignError> {
    if !quorum.contains(me) {
        return Err(SignError::NotInQuorum);
    }
    if quorum.len() > S {
        return Err(SignError::TooLarge);
    }
    check_salts(quorum, salts)?;
    if !salts.iter().any(|(id, salt)| *id == me && salt == own_salt) {
        return Err(SignError::OwnSalt);
    }
    Ok(())
}

/// ρ = H(all salts, by member).
pub(crate) fn salt_digest(salts: &[(PartyId, Salt)]) -> Digest {
    salts
        .iter()
        .fold(Transcript::new("salt").u16(salts.len() as u16), |t, (id, salt)| {
            t.party(*id).bytes(salt)
        })
        .finish()
}

/// R1: R_i, bound to D0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncePoint {
    pub(crate) header: Header,
    /// D0.
    pub(crate) inputs: Digest,
    /// R_i.
    pub(crate) point: AffineBytes,
}

/// R1 as it arrives: at most one R_j of every member, all under one D0. S is the capacity of the
/// quorum.
pub(crate) struct NonceList<G: Group, const S: usize> {
    /// Of R1; the sender is filled in.
    header: Header,
    quorum: PartySet,
    degree: usize,
    /// D0.
    inputs: Digest,
    entries: Vec<(Entry<G>, AffineBytes), S>,
}

impl<G: Group, const S: usize> NonceList<G, S> {
    pub(crate) fn new(header: Header, quorum: PartySet, degree: usize, inputs: Digest) -> Self {
        Self { header, quorum, degree, inputs, entries: Vec::new() }
    }

    /// D0.
    pub(crate) fn inputs(&self) -> &Digest {
        &self.inputs
    }

    /// All entries; by party, once [`Self::value_at_zero`] has been asked for.
    pub(crate) fn entries(&self) -> &[(Entry<G>, AffineBytes)] {
        &self.entries
    }

    /// Puts this party's own R_i = k_i·G in and gives it encoded.
    pub(crate) fn add_own(
        &mut self,
        me: PartyId,
        nonce: &G::Scalar,
    ) -> Result<AffineBytes, SignError> {
        let point = G::mul_base(nonce);
        let own = G::point_to_affine(&point).ok_or(SignError::Degenerate)?;
        self.entries.push((Entry { id: me, point }, own)).map_err(|_| SignError::TooLarge)?;
        Ok(own)
    }

    /// Encodes R1 of `me`, to all other members.
    pub(crate) fn message<'b>(
        &self,
        me: PartyId,
        own: AffineBytes,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], NoRoom> {
        let header = Header { from: me, ..self.header };
        let message = NoncePoint { header, inputs: self.inputs, point: own };
        wire::encode(&message, buffer).map(|bytes| &*bytes)
    }

    /// The members whose R_j has not arrived.
    pub(crate) fn missing(&self) -> PartySet {
        let there: PartySet = self.entries.iter().map(|(entry, _)| entry.id).collect();
        self.quorum.difference(&there)
    }

    /// Takes the R_j that arrived at `me`.
    pub(crate) fn take(&mut self, from: PartyId, me: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        if !self.quorum.contains(from) {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        check_header(bytes, &Header { from, ..self.header }, me)?;
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let message: NoncePoint = wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier)) = self.entries.iter().find(|(entry, _)| entry.id == from) {
            let same = (*earlier, self.inputs) == (message.point, message.inputs);
            return Err(if same {
                Failure::Refused(Refusal::Duplicate)
            } else {
                blame(Fault::Equivocation)
            });
        }
        if message.inputs != self.inputs {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        let point = G::point_from_affine(&message.point).ok_or(blame(Fault::InvalidPoint))?;
        let entry = (Entry { id: from, point }, message.point);
        self.entries.push(entry).map_err(|_| Failure::Refused(Refusal::NotAMember(from)))
    }

    /// DegCheck_d over the complete list, and R = the value at 0 (`docs/PROTOCOL.md` §2). Without the
    /// check a liar could show two honest parties two different R under one k_i.
    pub(crate) fn value_at_zero(&mut self) -> Result<G::Point, Failure> {
        self.entries.sort_unstable_by_key(|(entry, _)| entry.id);
        let points: Vec<Entry<G>, S> = self.entries.iter().map(|(entry, _)| *entry).collect();
        if !vss::on_polynomial(&points, self.degree) {
            return Err(Failure::Aborted(Abort::OffPolynomial(self.quorum)));
        }
        vss::value_at_zero(&points, self.degree).ok_or(Failure::Aborted(Abort::Degenerate))
    }
}

/// Whether a message of at most [`MAX_MESSAGE`] bytes has the header that its sender, the channel's
/// peer, must give it.
pub(crate) fn check_header(bytes: &[u8], expected: &Header, me: PartyId) -> Result<(), Failure> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Failure::Refused(DecodeError::TooLong.into()));
    }
    let header = Header::peek(bytes).map_err(|error| Failure::Refused(error.into()))?;
    header.check(expected, expected.from, me).map_err(Failure::Refused)
}

/// Why a message had no effect, or ended the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The message was dropped.
    Refused(Refusal),
    /// The session is over.
    Aborted(Abort),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Aborted(abort) => abort.fmt(f),
        }
    }
}

impl core::error::Error for Failure {}
