//! FROST (RFC 9591) for any T of n, over secp256k1 for BIP-340 and BIP-341 and over Ed25519
//! (`docs/PROTOCOL.md` §7). Hashes are those of `frost-core`'s ciphersuites, and it judges whose share is
//! wrong; points and nonces are computed here. Feature `frost`; needs an allocator.
//!
//! The stateless modes need 2T−1 members and keep no secret between signatures; FROST needs any T, and
//! has nonces that must never be used twice. What is here is the care for those ([`NoncePool`]), the
//! binding of everything to its key, epoch and session, and blame. A key of [`crate::dkg`] signs in both
//! ways; a key from `frost-core`'s own key generation is taken over as one that FROST alone can use
//! ([`PublicRecord::import`], [`SecretRecord::import`]).
//!
//! Four parties in one thread: a key of a dealer of `frost-core`, taken over, and a signature by three.
//!
//! ```
//! # use std::collections::BTreeMap;
//! # use frost_core::keys::{IdentifierList, KeyPackage, generate_with_dealer};
//! # use quorate_core::curve::{Fixed as _, SchnorrSecp256k1 as G};
//! # use quorate_core::frost::*;
//! # use quorate_core::party::{PartyId, PartySet};
//! # use quorate_core::schnorr::Tweak;
//! # use quorate_core::secret::{HedgedRng, SecretBytes};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([1; 32]);
//! // T = 2 of 4. Records are stored, secret ones sealed; all parties compare `record.digest()`.
//! let (suite, network, key, context) = (G::SUITE, [1; 16], [2; 16], [3; 32]);
//! let (parties, threshold) = (PartySet::first(4), 2);
//! let terms = FrostTerms { suite, network, key, epoch: 0, parties, threshold, context };
//! type C = <G as FrostSuite>::Ciphersuite;
//! let (shares, public) = generate_with_dealer::<C, _>(4, 2, IdentifierList::Default, &mut rng)?;
//! let (record, mut keys) = (PublicRecord::<4>::import::<G>(terms, &public)?, Vec::new());
//! for share in shares.into_values() {
//!     let secret = SecretRecord::import::<G, 4>(&record, &KeyPackage::try_from(share)?)?;
//!     keys.push(FrostKey::<G>::open(&record, secret.party, secret)?);
//! }
//!
//! // Ahead of any request: nonces into a pool, their commitments to the coordinator, party 1.
//! let (public, one) = (keys[0].public(), keys[0].party());
//! let (mut offers, mut pools) = (Offers::new(public, one), BTreeMap::new());
//! for key in &keys {
//!     // Not zeros, but 32 bytes of the system, and a session and counter that do not repeat.
//!     let hedge = SecretBytes::random(&mut rng);
//!     let pool = NoncePool::generate(key, 0, 8, &mut HedgedRng::new(&[0; 32], &hedge, &[0; 32], 0))?;
//!     offers.take(key.party(), pool.offer(one, &mut [0; MAX_OFFER])?)?;
//!     pools.insert(key.party(), pool);
//! }
//!
//! // A signature by parties 1, 2 and 4.
//! let quorum = parties.without(keys[2].party());
//! let (session, tweak, message) = ([9; 32], Tweak::None, b"thirty-two bytes of a sighash ...");
//! let terms = SignTerms { session, quorum, coordinator: one, tweak, message };
//! let mut aggregator = Aggregator::new(public, terms, &mut offers)?;
//! let (mut buffer, mut signature) = (vec![0; MAX_LIST], None);
//! let list = aggregator.list_message(&mut buffer)?;
//! for key in keys.iter().filter(|key| quorum.contains(key.party())) {
//!     let listed = Signer::new(key, terms)?.handle_list(one, list)?;
//!     let reserved = listed.reserve(key, pools.get_mut(&key.party()).unwrap())?;
//!     // Here the changed pool is sealed and written, durably: only then there is a nonce to sign with.
//!     let consumed = reserved.persist(|change| Ok::<_, PoolError>(drop(change.record().to_vec())))?;
//!     let share = consumed.sign(key)?;
//!     signature = aggregator.handle_share(key.party(), share.encode(&mut [0; MAX_MESSAGE])?)?;
//! }
//! let name = verification_key::<G>(public.group_key(), &tweak)?;
//! assert!(verify::<G>(&name, message, &signature.unwrap()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it takes of memory, in bytes: first the values themselves on a 32-bit chip (`footprint.rs` pins
//! the numbers), then what they keep on the heap and the most that a session has there, for |S| = T and
//! a message of 32 bytes (`tests/tests/frost_memory.rs` counts, on a 64-bit host: a chip's pointers take
//! half). Buffers for messages are the caller's.
//!
//! | | Key | Pool | Member's session | Offers | Coordinator's session | It names culprits |
//! |---|---|---|---|---|---|---|
//! | BIP-340, values | 188 | 128 | 724 | 80 | 540 | |
//! | Ed25519, values | 188 | 128 | 804 | 80 | 580 | |
//! | either, in [`crate::curve::AnyGroup`] | 192 | 128 | 824 | | | |
//! | BIP-340, heap, 2 of 3 | 240 | 1104 | 2886 | 1968 | 6144 | 13454 |
//! | 3 of 7 | 360 | 1104 | 5398 | 4496 | 8672 | 14269 |
//! | 4 of 16 | 480 | 1104 | 7910 | 10112 | 11200 | 15060 |
//! | Ed25519, heap, 2 of 3 | 320 | 1104 | 2636 | 1968 | 7002 | 13164 |
//! | 3 of 7 | 480 | 1104 | 6098 | 4496 | 11719 | 17874 |
//! | 4 of 16 | 640 | 1104 | 10840 | 10112 | 12596 | 18744 |
//!
//! The pool holds 8 nonces, 138 bytes each, and the offers 8 of every holder. The most of a session is
//! the sum of multiplied points.

mod aggregate;
mod binding;
mod convert;
mod key;
mod limit;
mod offers;
mod pool;
mod sign;
mod suite;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::curve::{PointBytes, Suite};
use crate::hash::{Digest, Transcript};
use crate::nonce::{encoded, encoding};
use crate::party::{PartyId, PartySet};
use crate::schnorr::{MAX_PAYLOAD, Target, Tweak};
use crate::session::{Header, Protocol};
use crate::wire::{self, NoRoom, Read, Reader, Write, Writer};

pub use crate::nonce::{Failure, Guard};
pub use crate::schnorr::{Signature, verification_key, verify};
pub use aggregate::Aggregator;
pub use key::{FrostKey, FrostPublic, FrostTerms, KeyError, PublicRecord, SecretRecord};
pub use offers::{MAX_POOLS, Offers};
pub use pool::{Change, MAX_NONCES, MAX_OFFER, MAX_POOL, NoncePool, PoolError};
pub use sign::{Consumed, Listed, ReserveError, Reserved, Signer};
pub(crate) use suite::sealed::Sealed;
pub use suite::{FrostGroup, FrostSuite};

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
    /// The same, with the message where it is.
    fn lent(&self) -> SignTerms<&[u8]> {
        let Self { session, quorum, coordinator, tweak, ref message } = *self;
        SignTerms { session, quorum, coordinator, tweak, message: message.as_ref() }
    }

    /// The rules of §7 that need no secret.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn check<G: FrostGroup>(&self, public: &FrostPublic<G>) -> Result<(), SignError> {
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

    /// Once for both suites.
    #[inline(never)]
    fn bind(&self, (context, group_key): (&Digest, &PointBytes), standard: &str) -> Transcript {
        let message = self.message.as_ref();
        Transcript::new("frost-terms")
            .bytes(context)
            .bytes(standard.as_bytes())
            .bytes(&group_key.0)
            .bytes(&self.session)
            .set(self.quorum)
            .party(self.coordinator)
            .u32(message.len() as u32)
            .bytes(&Transcript::new("message").bytes(message).finish())
    }

    fn header(&self, suite: Suite, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        Header {
            version: wire::VERSION,
            suite,
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
    /// This machine has computed something wrong: its own share does not verify. Nothing is sent.
    ComputationFault,
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
            Self::ComputationFault => f.write_str("this machine has computed its share wrong"),
        }
    }
}

impl core::error::Error for SignError {}

/// What both ends compute from the terms.
struct Prepared<G: FrostGroup> {
    /// Y with its shares.
    target: Target<G>,
    /// Everything that is signed, for whom and by whom.
    digest: Digest,
}

impl<G: FrostGroup> Prepared<G> {
    #[inline(never)]
    fn new(public: &FrostPublic<G>, terms: &SignTerms<&[u8]>) -> Result<Self, SignError> {
        let start = terms.bind((public.context(), public.group_key()), public.group().standard());
        let point = public.commitment().first().ok_or(SignError::Degenerate)?;
        let target = Target::new(public.group(), point, public.group_key(), &terms.tweak)
            .map_err(|_| SignError::Tweak)?;
        let end = match terms.tweak {
            Tweak::None => start,
            Tweak::Taproot { .. } => target.bind(start),
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
    #[serde(deserialize_with = "limit::at_most::<_, _, 255>")]
    entries: Vec<offers::Entry>,
}

impl Read<'_> for CommitmentList {
    fn read(from: &mut Reader<'_>) -> Self {
        let (header, terms) = (from.field(), from.field());
        Self { header, terms, entries: limit::list::<_, 255>(from) }
    }
}

impl Write for CommitmentList {
    fn write(&self, to: &mut Writer<'_>) {
        self.header.write(to);
        self.terms.write(to);
        limit::write_list(&self.entries, to);
    }
}

/// R3, to the coordinator: z_i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare {
    header: Header,
    /// H("frost-list", …): what was answered.
    inputs: Digest,
    /// z_i, 32 big-endian bytes.
    response: [u8; 32],
    /// Of the encoding, as it was when the share was checked; whoever receives a share knows none.
    #[serde(skip)]
    seal: Digest,
}

impl Read<'_> for SignatureShare {
    fn read(from: &mut Reader<'_>) -> Self {
        let (header, inputs, response) = (from.field(), from.field(), from.field());
        Self { header, inputs, response, seal: [0; 32] }
    }
}

crate::write_fields!(SignatureShare { header, inputs, response });

impl SignatureShare {
    #[inline(never)]
    fn sealed(header: Header, inputs: Digest, response: [u8; 32]) -> Option<Self> {
        let mut share = Self { header, inputs, response, seal: [0; 32] };
        share.seal = encoding(wire::write(&share, &mut [0; MAX_MESSAGE]).ok()?);
        Some(share)
    }

    /// Encodes the share for the coordinator. What is in memory in its place, on a machine that may be glitched, is
    /// compared with it before it leaves.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_MESSAGE`], or if this is not a share as it was made.
    #[inline(never)]
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        encoded(self, &self.seal, buffer, &mut [0; MAX_MESSAGE])
    }
}
