//! Verifiable pseudorandom nonces (`docs/PROTOCOL.md` §6.1, §6.2), and the session around them that all
//! stateless schemes share: the rules for a quorum and its salts, R1 with the nonce points, the degree
//! check that makes every party that does not abort see the same R, R2 with the shares.
//!
//! [`Signer`] is a member, [`Combiner`] the coordinator; a scheme ([`crate::ecdsa`],
//! [`crate::schnorr`]) says what D0 binds, how a member answers, and how answers become a signature.
//!
//! A session is named by D0: everything that is signed, for whom, and with which salts. So a message of
//! another D0 is one of another session, and is dropped.

mod combine;
mod inspect;
mod list;
mod signer;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::curve::{Group, PointBytes, Suite};
use crate::derive::DeriveError;
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Header, Protocol, Refusal};
use crate::wire::{self, DecodeError};

pub use combine::Combiner;
pub use inspect::{Inspected, inspect};
pub use signer::{SignatureShare, Signer};
#[cfg(feature = "frost")]
pub(crate) use signer::{encoded, encoding};

pub(crate) use list::NonceList;

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
    /// The same computation gave two results ([`Guard::Recompute`]).
    ComputationFault,
}

/// Whether results are computed twice and compared before they leave: a glitched R_i or share could give
/// away the key (`docs/PROTOCOL.md` §6.2). It doubles the work, and chips need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Computed once.
    #[default]
    Off,
    /// Computed twice, and compared.
    Recompute,
}

/// What a stateless scheme adds to the session that all of them share.
pub trait Scheme: private::Sealed {
    /// The key's group.
    type Group: Group;
    /// In every header.
    const PROTOCOL: Protocol;
    /// A member's answer, the body of R2.
    type Response: Copy + PartialEq + Serialize + DeserializeOwned;
    /// How many scalars that is.
    const SCALARS: usize;

    /// Of the key.
    fn group(&self) -> Self::Group;

    /// Adds everything that the answer depends on and the scheme holds.
    #[must_use]
    fn bind(&self, to: Transcript) -> Transcript;

    /// The answer to a complete list that passed the degree check. It never depends on anything but the
    /// arguments.
    ///
    /// # Errors
    /// [`Abort::Degenerate`] for a value that is 0.
    fn respond<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<Self::Group, N, K>,
        nonce: &SecretScalar<Self::Group>,
        round: &Round<'_, Self::Group>,
    ) -> Result<Answer, Abort>;
}

/// The scalars of [`Scheme::Response`], in 32 big-endian bytes each; a scheme with one leaves the second 0.
pub type Answer = [[u8; 32]; 2];

/// How the answers of a scheme become a signature.
pub trait Combine {
    /// The scheme.
    type Scheme: Scheme;
    /// What comes out.
    type Signature;

    /// The verified signature of all answers, by party.
    ///
    /// # Errors
    /// [`Abort`] with the culprit, where the scheme can tell.
    fn finish(
        &self,
        round: &Round<'_, <Self::Scheme as Scheme>::Group>,
        responses: &[(PartyId, <Self::Scheme as Scheme>::Response)],
    ) -> Result<Self::Signature, Abort>;
}

pub(crate) mod private {
    /// Whoever could add a scheme could answer twice under one nonce.
    pub trait Sealed {}
}

/// R1 as all honest members have it.
#[derive(Clone, Copy)]
pub struct Round<'a, G: Group> {
    /// D0.
    pub session: &'a Digest,
    /// S.
    pub quorum: PartySet,
    /// Who collects the answers.
    pub coordinator: PartyId,
    /// All R_j, by party.
    pub entries: &'a [(PartyId, PointBytes)],
    /// R, cleared of the cofactor.
    pub point: &'a G::Point,
    /// R, encoded.
    pub bytes: PointBytes,
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
            Self::ComputationFault => {
                f.write_str("the same computation gave two results: this machine cannot be trusted")
            }
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
#[inline(never)]
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
#[inline(never)]
pub(crate) fn salt_digest(salts: &[(PartyId, Salt)]) -> Digest {
    salts
        .iter()
        .fold(Transcript::new("salt").u16(salts.len() as u16), |t, (id, salt)| {
            t.party(*id).bytes(salt)
        })
        .finish()
}

/// R1: R_i, bound to D0 by the header's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncePoint {
    pub(crate) header: Header,
    /// R_i.
    pub(crate) point: PointBytes,
}

crate::read_fields!(NoncePoint { header, point });
crate::write_fields!(NoncePoint { header, point });

/// R2 as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShareMessage<R> {
    pub(crate) header: Header,
    pub(crate) response: R,
}

/// A scheme's constants.
#[derive(Clone, Copy)]
struct Kind {
    suite: Suite,
    protocol: Protocol,
    scalars: usize,
}

impl Kind {
    fn of<P: Scheme>(group: P::Group) -> Self {
        Self { suite: group.suite(), protocol: P::PROTOCOL, scalars: P::SCALARS }
    }

    /// Whether keys of this suite sign by this protocol.
    fn is_possible(self) -> bool {
        self.suite.is_ecdsa() == (self.protocol == Protocol::Ecdsa)
    }

    /// The header of a message in the session that D0 names.
    fn header(self, session: Digest, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        let (version, suite, protocol) = (wire::VERSION, self.suite, self.protocol);
        Header { version, suite, protocol, round, session, from, to }
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
