//! A party's store of nonces (`docs/PROTOCOL.md` §7): made ahead, offered by their commitments, and used
//! once each. Two answers under one nonce give away the share sooner or later, also if a crash or a
//! restored backup lies between them, so the types leave one way only:
//!
//! [`NoncePool`] → [`Reserved`](super::Reserved) → the changed pool is durable →
//! [`Consumed`](super::Consumed) → one share.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{FrostKey, KeyName};
use super::limit::{at_most, list, write_list};
use super::suite::{self, FrostGroup};
use crate::curve::{PointBytes, Suite};
use crate::hash::{Digest, Transcript};
use crate::party::PartyId;
use crate::secret::{HedgedRng, SecretBytes, SecretScalar};
use crate::session::{Header, Protocol};
use crate::wire::{self, DecodeError, NoRoom, Read, Reader, Write, Writer};

/// A pool holds no more nonces than this.
pub const MAX_NONCES: usize = 64;

/// No stored pool is longer.
pub const MAX_POOL: usize = 6 * 1024;

/// No encoded R1 is longer.
pub const MAX_OFFER: usize = 6 * 1024;

/// Why a pool cannot be made, opened or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// No nonces, or more than [`MAX_NONCES`].
    Size,
    /// The bytes are no stored pool.
    Decode(DecodeError),
    /// The pool is of another key, suite or network.
    OtherKey,
    /// The pool is of another epoch.
    OtherEpoch {
        /// Of the key.
        expected: u32,
        /// Of the pool.
        found: u32,
    },
    /// The pool is of another party.
    OtherParty(PartyId),
    /// The pool is from before this party's state was restored: its nonces may have been used.
    OtherIncarnation {
        /// This party's.
        expected: u64,
        /// The pool's.
        found: u64,
    },
    /// The nonce is in another pool.
    OtherPool,
    /// There is no such nonce, or it was taken.
    Taken(u16),
    /// A nonce was taken and the change not stored. Only what the store has is the pool: load it again.
    Unsaved,
    /// A nonce came out as 0, with negligible probability.
    Degenerate,
}

impl core::fmt::Display for PoolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size => write!(f, "a pool holds 1 to {MAX_NONCES} nonces"),
            Self::Decode(error) => error.fmt(f),
            Self::OtherKey => f.write_str("the nonces are of another key"),
            Self::OtherEpoch { expected, found } => {
                write!(f, "the nonces are of epoch {found}, the key is at epoch {expected}")
            }
            Self::OtherParty(party) => write!(f, "the nonces are of party {party}"),
            Self::OtherIncarnation { expected, found } => {
                write!(f, "the nonces are of incarnation {found}, this is incarnation {expected}")
            }
            Self::OtherPool => f.write_str("the nonce is in another pool"),
            Self::Taken(index) => write!(f, "nonce {index} is not there: it is used once"),
            Self::Unsaved => f.write_str("the pool changed without being stored: load it again"),
            Self::Degenerate => f.write_str("a value came out as zero; try again"),
        }
    }
}

impl core::error::Error for PoolError {}

/// (D, E) of one nonce, as offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) index: u16,
    pub(super) hiding: PointBytes,
    pub(super) binding: PointBytes,
}

/// R1, a party to a coordinator: commitments to what is left in one pool. Its session is the pool's id,
/// since it belongs to no signature yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) header: Header,
    /// ctx0.
    pub(super) context: Digest,
    pub(super) incarnation: u64,
    #[serde(deserialize_with = "at_most::<_, _, MAX_NONCES>")]
    pub(super) nonces: Vec<Offered>,
}

crate::read_fields!(Offered { index, hiding, binding });
crate::write_fields!(Offered { index, hiding, binding });

impl Read<'_> for Offer {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            header: from.field(),
            context: from.field(),
            incarnation: from.field(),
            nonces: list::<_, MAX_NONCES>(from),
        }
    }
}

impl Write for Offer {
    fn write(&self, to: &mut Writer<'_>) {
        self.header.write(to);
        self.context.write(to);
        self.incarnation.write(to);
        write_list(&self.nonces, to);
    }
}

pub(super) fn offer_header(suite: Suite, pool: Digest, from: PartyId, to: PartyId) -> Header {
    Header {
        version: wire::VERSION,
        suite,
        protocol: Protocol::Frost,
        round: 1,
        session: pool,
        from,
        to: Some(to),
    }
}

/// A pool as it is stored: sealed by the caller. S is a nonce, borrowed where the pool is written.
#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
struct Record<S> {
    version: u8,
    name: KeyName,
    party: PartyId,
    incarnation: u64,
    id: Digest,
    /// How many nonces were taken: it orders the records of one pool.
    taken: u16,
    /// (d, e) by index; taken ones are gone.
    #[serde(deserialize_with = "at_most::<_, _, MAX_NONCES>")]
    nonces: Vec<Option<(S, S)>>,
}

impl Read<'_> for Record<SecretBytes> {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            version: from.field(),
            name: from.field(),
            party: from.field(),
            incarnation: from.field(),
            id: from.field(),
            taken: from.field(),
            nonces: list::<_, MAX_NONCES>(from),
        }
    }
}

impl<S: Write> Write for Record<S> {
    fn write(&self, to: &mut Writer<'_>) {
        self.version.write(to);
        self.name.write(to);
        self.party.write(to);
        self.incarnation.write(to);
        self.id.write(to);
        self.taken.write(to);
        write_list(&self.nonces, to);
    }
}

/// (d, e) as they are stored and, encoded, D = d·G and E = e·G.
pub(super) struct Pair {
    hiding: SecretBytes,
    binding: SecretBytes,
    pub(super) commitments: (PointBytes, PointBytes),
}

/// Boxed: taking a pair out moves a pointer and leaves no copy behind.
pub(super) type Nonces = Box<Pair>;

impl Pair {
    /// `None` if a nonce is 0.
    fn new<G: FrostGroup>(nonces: [SecretScalar<G>; 2]) -> Option<Nonces> {
        let points = nonces.each_ref().map(|nonce| G::mul_base(nonce.expose()));
        let mut encoded = [None; 2];
        G::points_to_bytes(&points, &mut encoded);
        let [hiding, binding] = encoded;
        let commitments = hiding.zip(binding)?;
        let [hiding, binding] = nonces.each_ref().map(SecretBytes::of_scalar);
        Some(Box::new(Self { hiding, binding, commitments }))
    }

    fn scalar<G: FrostGroup>(group: G, stored: &SecretBytes) -> Option<SecretScalar<G>> {
        group.scalar_from_bytes(stored.expose()).map(SecretScalar::new)
    }

    /// d + ρ·e, the secret of D + ρ·E.
    pub(super) fn bound<G: FrostGroup>(
        self,
        group: G,
        factor: &G::Scalar,
    ) -> Option<SecretScalar<G>> {
        let hiding = Self::scalar(group, &self.hiding)?;
        let binding = Self::scalar(group, &self.binding)?;
        Some(SecretScalar::new(*hiding.expose() + G::product(factor, binding.expose())))
    }
}

/// Nonces of one party, key, epoch and incarnation. Not `Clone`; none leaves but by
/// [`Listed::reserve`](super::Listed::reserve).
pub struct NoncePool<G: FrostGroup> {
    name: KeyName,
    party: PartyId,
    incarnation: u64,
    id: Digest,
    taken: u16,
    /// By index; `None` where one was taken.
    nonces: Vec<Option<Nonces>>,
    unsaved: bool,
    suite: PhantomData<G>,
}

/// A changed pool on its way to the store.
///
/// The store replaces the pool's record by [`Self::record`] if [`Self::replaces`] says so, and returns
/// only when that is durable; what counts as a released signature (policy, audit) goes into the same
/// transaction.
pub struct Change {
    id: Digest,
    taken: u16,
    record: Zeroizing<Vec<u8>>,
}

impl Change {
    /// The pool's id: the key of its record in a store.
    #[must_use]
    pub fn pool(&self) -> &Digest {
        &self.id
    }

    /// The new record, to be sealed.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Whether `stored` is the record that this change was made from. It is not if two copies of one
    /// pool are in use; each of them could take what the other has taken.
    #[must_use]
    pub fn replaces(&self, stored: &[u8]) -> bool {
        wire::read::<Record<SecretBytes>>(stored)
            .is_ok_and(|old| old.id == self.id && old.taken.checked_add(1) == Some(self.taken))
    }
}

impl core::fmt::Debug for Change {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Change").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<G: FrostGroup> NoncePool<G> {
    /// Makes `count` nonces, each hashed from `rng` and the share. The pool must be stored before it is
    /// offered: an offer of nonces that a crash forgets costs a session. A store refuses it if it knows
    /// a pool of this id, used up or not: these would be the same nonces.
    ///
    /// `incarnation` counts how often this party's state was restored from a backup.
    ///
    /// # Errors
    /// [`PoolError::Size`]; [`PoolError::Degenerate`] does not happen.
    pub fn generate(
        key: &FrostKey<G>,
        incarnation: u64,
        count: usize,
        rng: &mut HedgedRng,
    ) -> Result<Self, PoolError> {
        Self::from_randomness(key, incarnation, count, || SecretBytes::random(rng))
    }

    pub(super) fn from_randomness(
        key: &FrostKey<G>,
        incarnation: u64,
        count: usize,
        mut random: impl FnMut() -> SecretBytes,
    ) -> Result<Self, PoolError> {
        if !(1..=MAX_NONCES).contains(&count) {
            return Err(PoolError::Size);
        }
        let (group, name) = (key.public().group(), *key.public().name());
        let mut id = Transcript::new("frost-pool")
            .bytes(&name.context)
            .party(key.party())
            .u64(incarnation)
            .u16(count as u16);
        let mut nonces = Vec::with_capacity(count);
        for _ in 0..count {
            let hiding = suite::generate_nonce(group, key.share(), &random());
            let binding = suite::generate_nonce(group, key.share(), &random());
            let pair = hiding.zip(binding).and_then(|(d, e)| Pair::new::<G>([d, e]));
            let pair = pair.ok_or(PoolError::Degenerate)?;
            let (hiding, binding) = &pair.commitments;
            id = id.bytes(&hiding.0).bytes(&binding.0);
            nonces.push(Some(pair));
        }
        let (party, id) = (key.party(), id.finish());
        Ok(Self {
            name,
            party,
            incarnation,
            id,
            taken: 0,
            nonces,
            unsaved: false,
            suite: PhantomData,
        })
    }

    /// Takes over an unsealed record of this `key` and of this party's present incarnation.
    ///
    /// # Errors
    /// [`PoolError`] says what does not fit.
    pub fn open(key: &FrostKey<G>, incarnation: u64, record: &[u8]) -> Result<Self, PoolError> {
        if record.len() > MAX_POOL {
            return Err(PoolError::Decode(DecodeError::TooLong));
        }
        match record.first() {
            Some(&wire::VERSION) | None => {}
            Some(&version) => return Err(PoolError::Decode(DecodeError::Version(version))),
        }
        let record: Record<SecretBytes> = wire::read(record).map_err(PoolError::Decode)?;
        if record.nonces.is_empty() {
            return Err(PoolError::Size);
        }
        let Record { name, party, id, taken, nonces: stored, .. } = record;
        let (nonces, found) = (Vec::with_capacity(stored.len()), record.incarnation);
        let mut pool = Self {
            name,
            party,
            incarnation: found,
            id,
            taken,
            nonces,
            unsaved: false,
            suite: PhantomData,
        };
        pool.check(key)?;
        if found != incarnation {
            return Err(PoolError::OtherIncarnation { expected: incarnation, found });
        }
        let group = key.public().group();
        let malformed = PoolError::Decode(DecodeError::Malformed);
        for pair in stored {
            let Some((hiding, binding)) = pair else {
                pool.nonces.push(None);
                continue;
            };
            let nonces = Pair::scalar(group, &hiding).zip(Pair::scalar(group, &binding));
            // The commitments are computed again, not believed.
            let pair = nonces.and_then(|(d, e)| Pair::new::<G>([d, e]));
            pool.nonces.push(Some(pair.ok_or(malformed)?));
        }
        Ok(pool)
    }

    /// The pool's id.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// How many nonces are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.nonces.iter().flatten().count()
    }

    /// The pool as it is stored, to be sealed.
    ///
    /// # Errors
    /// [`PoolError::Unsaved`] after a change that was not stored.
    pub fn record(&self) -> Result<Zeroizing<Vec<u8>>, PoolError> {
        if self.unsaved { Err(PoolError::Unsaved) } else { self.encode_record() }
    }

    // Linkers keep one of both suites.
    #[inline(never)]
    fn encode_record(&self) -> Result<Zeroizing<Vec<u8>>, PoolError> {
        let stored =
            self.nonces.iter().map(|pair| Some((&pair.as_ref()?.hiding, &pair.as_ref()?.binding)));
        let room = MAX_POOL.min(256 + self.nonces.len() + self.remaining() * 64);
        let record = Record {
            version: wire::VERSION,
            name: self.name,
            party: self.party,
            incarnation: self.incarnation,
            id: self.id,
            taken: self.taken,
            nonces: stored.collect(),
        };
        let mut buffer = Zeroizing::new(alloc::vec![0; room]);
        let length = wire::write(&record, &mut buffer).map_err(|NoRoom| PoolError::Size)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// R1, to one coordinator: commitments to all nonces that are left.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_OFFER`].
    pub fn offer<'b>(&self, to: PartyId, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let nonces = self.nonces.iter().enumerate().filter_map(|(index, pair)| {
            let (hiding, binding) = pair.as_ref()?.commitments;
            Some(Offered { index: index as u16, hiding, binding })
        });
        let offer = Offer {
            header: offer_header(self.name.suite, self.id, self.party, to),
            context: self.name.context,
            incarnation: self.incarnation,
            nonces: nonces.collect(),
        };
        wire::write(&offer, buffer).map(|bytes| &*bytes)
    }

    /// Whether this pool is of `key`: nonces of another epoch or key sign nothing of this one.
    pub(super) fn check(&self, key: &FrostKey<G>) -> Result<(), PoolError> {
        let name = key.public().name();
        let of = |name: &KeyName| (name.suite, name.network, name.key);
        if of(&self.name) != of(name) {
            return Err(PoolError::OtherKey);
        }
        let (expected, found) = (name.epoch, self.name.epoch);
        if expected != found {
            return Err(PoolError::OtherEpoch { expected, found });
        }
        if self.name.context != name.context {
            return Err(PoolError::OtherKey);
        }
        if self.party != key.party() {
            return Err(PoolError::OtherParty(self.party));
        }
        Ok(())
    }

    /// The commitments of a nonce that is still there.
    pub(super) fn commitments(
        &self,
        pool: &Digest,
        index: u16,
    ) -> Result<(PointBytes, PointBytes), PoolError> {
        if self.unsaved {
            return Err(PoolError::Unsaved);
        }
        if self.id != *pool {
            return Err(PoolError::OtherPool);
        }
        let nonces = self.nonces.get(usize::from(index)).and_then(Option::as_ref);
        nonces.map(|nonces| nonces.commitments).ok_or(PoolError::Taken(index))
    }

    /// Takes a nonce out; until [`Self::saved`], the pool gives nothing more.
    pub(super) fn take(&mut self, index: u16) -> Result<(Nonces, Change), PoolError> {
        let slot = self.nonces.get_mut(usize::from(index)).ok_or(PoolError::Taken(index))?;
        let nonces = slot.take().ok_or(PoolError::Taken(index))?;
        self.unsaved = true;
        self.taken += 1;
        let change = Change { id: self.id, taken: self.taken, record: self.encode_record()? };
        Ok((nonces, change))
    }

    /// The change is durable.
    pub(super) fn saved(&mut self) {
        self.unsaved = false;
    }
}

impl<G: FrostGroup> core::fmt::Debug for NoncePool<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NoncePool")
            .field("party", &self.party)
            .field("incarnation", &self.incarnation)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frost::offers::Entry;
    use crate::wire::{agree, written};

    #[test]
    fn pools_and_offers_are_read_and_written_as_serde_does() {
        agree!(KeyName, Offered, Offer, Entry, Record<SecretBytes>);
        written!(KeyName, Offered, Offer, Entry, Record<SecretBytes>);
    }
}
