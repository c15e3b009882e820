//! FROST (RFC 9591) for any T of n, over secp256k1 for BIP-340 and BIP-341 and over Ed25519, with
//! `frost-core` doing the arithmetic (`docs/PROTOCOL.md` §7). Feature `frost`; needs an allocator.
//!
//! The stateless modes need 2T−1 members and keep no secret between signatures; FROST needs any T, and
//! has nonces that must never be used twice. What is here is the care for those ([`NoncePool`]), the
//! binding of everything to its key, epoch and session, and blame. A key of [`crate::dkg`] signs in both
//! ways; a key from `frost-core`'s own key generation is taken over as one that FROST alone can use
//! ([`PublicRecord::import`], [`SecretRecord::import`]).

mod aggregate;
mod convert;
mod key;
mod offers;
mod pool;
mod sign;
mod suite;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::party::{PartyId, PartySet};
use crate::schnorr::{MAX_PAYLOAD, Target, Tweak};
use crate::session::{Header, Protocol};
use crate::wire::{self, NoRoom};

pub use crate::nonce::Failure;
pub use crate::schnorr::{Signature, verification_key, verify};
pub use aggregate::Aggregator;
pub use key::{FrostKey, FrostPublic, FrostTerms, KeyError, PublicRecord, SecretRecord};
pub use offers::{MAX_POOLS, Offers};
pub use pool::{Change, MAX_NONCES, MAX_OFFER, MAX_POOL, NoncePool, PoolError};
pub use sign::{Consumed, Listed, ReserveError, Reserved, Signer};
pub use suite::FrostSuite;

/// No share message is longer.
pub const MAX_MESSAGE: usize = crate::nonce::MAX_MESSAGE;

/// No encoded list of commitments is longer: 255 members, 100 bytes each, and what stands before.
pub const MAX_LIST: usize = 26 * 1024 + 256;

/// What a signing session is about; every member checks it before it makes a session of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignTerms<M> {
    /// The session's id.
    pub session: Digest,
    /// S: T holders or more.
    pub quorum: PartySet,
    /// Who shows the list and collects the shares.
    pub coordinator: PartyId,
    /// What becomes of the group key before it signs.
    pub tweak: Tweak,
    /// What is signed.
    pub message: M,
}

impl<M: AsRef<[u8]>> SignTerms<M> {
    /// The rules of §7 that need no secret.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn check<G: FrostSuite>(&self, public: &FrostPublic<G>) -> Result<(), SignError> {
        let (threshold, found) = (public.threshold(), self.quorum.len());
        if found < threshold {
            return Err(SignError::QuorumTooSmall { threshold, found });
        }
        if !public.parties().contains_all(&self.quorum) {
            return Err(SignError::NotAHolder);
        }
        if self.message.as_ref().len() > MAX_PAYLOAD {
            return Err(SignError::MessageTooLong);
        }
        Ok(())
    }

    fn header<G: FrostSuite>(&self, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        Header {
            version: wire::VERSION,
            suite: G::SUITE,
            protocol: Protocol::Frost,
            round,
            session: self.session,
            from,
            to,
        }
    }
}

/// Why a session cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// |S| < T.
    QuorumTooSmall {
        /// T.
        threshold: usize,
        /// |S|.
        found: usize,
    },
    /// A member of S holds no share.
    NotAHolder,
    /// This party is not in S.
    NotInQuorum,
    /// A message longer than [`MAX_PAYLOAD`].
    MessageTooLong,
    /// The suite knows no such tweak of its keys, or this key has none.
    Tweak,
    /// These members offered no commitment that is left.
    NoCommitment(PartySet),
    /// Another key, epoch, party or coordinator than that of the session.
    OtherKey,
    /// A value came out as 0, with negligible probability.
    Degenerate,
}

impl core::fmt::Display for SignError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::QuorumTooSmall { threshold, found } => {
                write!(f, "this key is signed for by at least {threshold} parties, not {found}")
            }
            Self::NotAHolder => f.write_str("a member of the quorum holds no share of the key"),
            Self::NotInQuorum => f.write_str("this party is not in the quorum"),
            Self::MessageTooLong => f.write_str("the message is longer than 16 KiB"),
            Self::Tweak => f.write_str("a key of this suite cannot be tweaked in this way"),
            Self::NoCommitment(parties) => {
                write!(f, "no nonce commitment is left of parties {parties}")
            }
            Self::OtherKey => f.write_str("the session is another key's, party's or coordinator's"),
            Self::Degenerate => f.write_str("a value came out as zero; try again"),
        }
    }
}

impl core::error::Error for SignError {}

/// What both ends compute from the terms.
struct Prepared<G: FrostSuite> {
    /// Y with its shares, where it is not X itself.
    target: Option<Target<G>>,
    /// Everything that is signed, for whom and by whom.
    digest: Digest,
}

impl<G: FrostSuite> Prepared<G> {
    fn new<M: AsRef<[u8]>>(
        public: &FrostPublic<G>,
        terms: &SignTerms<M>,
    ) -> Result<Self, SignError> {
        let message = terms.message.as_ref();
        let start = Transcript::new("frost-terms")
            .bytes(public.context())
            .bytes(G::STANDARD.as_bytes())
            .bytes(&public.group_key().0)
            .bytes(&terms.session)
            .set(terms.quorum)
            .party(terms.coordinator)
            .u32(message.len() as u32)
            .bytes(&Transcript::new("message").bytes(message).finish());
        let (target, end) = match &terms.tweak {
            Tweak::None => (None, start),
            tweak => {
                let point = public.commitment().first().ok_or(SignError::Degenerate)?;
                let target =
                    Target::new(point, public.group_key(), tweak).map_err(|_| SignError::Tweak)?;
                let end = target.bind(start);
                (Some(target), end)
            }
        };
        Ok(Self { target, digest: end.finish() })
    }
}

/// R2, the coordinator to all members: one commitment of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CommitmentList {
    header: Header,
    /// H("frost-terms", …).
    terms: Digest,
    entries: Vec<offers::Entry>,
}

/// R3, to the coordinator: z_i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare {
    header: Header,
    /// H("frost-list", …): what was answered.
    inputs: Digest,
    /// z_i, 32 big-endian bytes.
    response: [u8; 32],
}

impl SignatureShare {
    /// Encodes the share for the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_MESSAGE`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        wire::encode(self, buffer).map(|bytes| &*bytes)
    }
}
