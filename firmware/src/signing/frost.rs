//! FROST on a device (`docs/PROTOCOL.md` §7), for keys of Schnorr suites: any T members, and a ledger of nonces
//! in flash. It is the mode of every quorum that has not the 2T−1 members of the stateless one.
//!
//! After the coordinator's start the device offers its pool of commitments; the coordinator shows the list of one
//! commitment of each member; the answer to it is the share. Before it leaves, in this order, each written and
//! read back: what the policy counts, and in one record the pool without the nonce and the answer. The same list
//! again gets the same answer, out of the ledger. A pool is of one generation of the journal: one from before the operator
//! accepted a lost history signs nothing any more.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use quorate_core::curve::Suite;
use quorate_core::frost::{self, FrostKey, Guard, MAX_MESSAGE, MAX_OFFER, NoncePool};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::session::{Header, Protocol};
use zeroize::Zeroizing;

use super::member::open_key;
use super::{Engine, Stage};
use crate::cause::Cause;
use crate::device::Work;
use crate::groups;
use crate::journal;
use crate::judge::{Count, Reading};
use crate::message::{self, Signing as Carrier};
use crate::platform::Platform;
use crate::store::{MAX_KEYS, MAX_RECORD, StoreError};

/// Nonces that are made at a time; with the commitments to them an offer fits into one message.
const POOL: usize = 8;

/// A session that waits for its list.
pub(super) struct Waiting {
    key: Key,
    signer: frost::Signer<groups::Schnorr, Digest>,
    number: u8,
}

type Key = FrostKey<groups::Schnorr>;
type Pool = NoncePool<groups::Schnorr>;

/// Whether a quorum signs in this mode.
pub(super) fn is_for(reading: &Reading, quorum: PartySet) -> bool {
    let schnorr = matches!(reading.suite, Suite::SchnorrSecp256k1 | Suite::SchnorrEd25519);
    schnorr && quorum.len() != reading.holders.quorum()
}

/// Room for one record of the store, on the heap.
fn room() -> Box<Zeroizing<[u8; MAX_RECORD]>> {
    Box::new(Zeroizing::new([0; MAX_RECORD]))
}

fn digest_of(from: PartyId, list: &[u8]) -> Digest {
    Transcript::new("device-frost-list").party(from).bytes(list).finish()
}

#[inline(never)]
fn encoded(share: &frost::SignatureShare) -> Option<Vec<u8>> {
    share.encode(&mut [0; MAX_MESSAGE]).ok().map(<[u8]>::to_vec)
}

impl<P: Platform> Engine<'_, P> {
    /// The coordinator has named the quorum: commitments are offered. Nothing is counted yet.
    pub(super) fn start_frost(
        &mut self,
        slot: usize,
        reading: &Reading,
        quorum: PartySet,
    ) -> Result<(), Cause> {
        use quorate_core::derive::Derivation;
        if reading.derivation != Derivation::Root {
            return Err(Cause::FrostDerivation);
        }
        let waiting = self.offer_nonces(slot, reading, quorum)?;
        self.signing(slot).ok_or(Cause::Fault)?.stage = Stage::Frost(waiting);
        Ok(())
    }

    fn offer_nonces(
        &mut self,
        slot: usize,
        reading: &Reading,
        quorum: PartySet,
    ) -> Result<Box<Waiting>, Cause> {
        let signing = self.signing(slot).ok_or(Cause::Fault)?;
        let (session, coordinator) = (signing.session, signing.coordinator);
        let mut buffer = room();
        let number = reading.number;
        let public = self.known.load_public(number, &mut buffer[..]).ok_or(Cause::Fault)?;
        let mut opened = Box::new(None);
        open_key(&mut self.known, number, &mut buffer[..], &mut opened);
        let opened = opened.as_ref().as_ref().ok_or(Cause::Fault)?;
        let key = FrostKey::of(&public, opened).map_err(|_| Cause::Fault)?;
        let (tweak, message) = (Tweak::None, reading.digest);
        let terms = frost::SignTerms { session, quorum, coordinator, tweak, message };
        let impossible = Cause::FrostQuorum;
        let signer =
            frost::Signer::guarded(&key, terms, Guard::Recompute).map_err(|_| impossible)?;
        let pool = self.pool_of(number, &key, &mut buffer).ok_or(Cause::Fault)?;
        let mut offer = vec![0; MAX_OFFER];
        let bytes = pool.offer(coordinator, &mut offer).map_err(|_| Cause::Fault)?;
        self.send(coordinator, &Carrier { bytes });
        Ok(Box::new(Waiting { key, signer, number }))
    }

    /// The generation of the journal, which a pool belongs to.
    fn incarnation(&mut self) -> Option<u64> {
        let journal::Head { generation, .. } = self.known.store.head().ok()?;
        Some(generation.into())
    }

    #[inline(never)]
    fn stored_pool<'b>(
        &mut self,
        number: u8,
        buffer: &'b mut [u8; MAX_RECORD],
    ) -> Option<(u64, &'b [u8])> {
        let incarnation = self.incarnation()?;
        Some((incarnation, self.known.store.pool(number, buffer).ok()??))
    }

    /// Counts, and says so: what must be before a share is.
    #[inline(never)]
    fn release(&mut self, slot: usize, quorum: PartySet, buffer: &mut [u8]) -> Result<(), Cause> {
        self.judge_slot(slot, buffer, Count::Release(quorum), &mut None)?;
        self.announce_head().ok_or(Cause::Fault)
    }

    fn load_pool(&mut self, number: u8, key: &Key, buffer: &mut [u8; MAX_RECORD]) -> Option<Pool> {
        let (incarnation, found) = self.stored_pool(number, buffer)?;
        NoncePool::open(key, incarnation, found).ok().filter(|pool| pool.remaining() > 0)
    }

    /// The pool with what is left in it; an empty one, or one of another generation, is replaced.
    fn pool_of(&mut self, number: u8, key: &Key, buffer: &mut [u8; MAX_RECORD]) -> Option<Pool> {
        if let Some(pool) = self.load_pool(number, key, buffer) {
            return Some(pool);
        }
        let incarnation = self.incarnation()?;
        let mut rng = self.rng(key.public().context())?;
        let pool = NoncePool::generate(key, incarnation, POOL, &mut rng).ok()?;
        // What a crash forgets is offered to nobody.
        self.known.store.renew_pool(number, &pool.record().ok()?, buffer).ok()?;
        Some(pool)
    }

    /// The coordinator's list; nothing if it makes no sense.
    pub(super) fn take_list(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let Carrier { bytes } = message::read(body).ok()?;
        let header = Header::peek(bytes).ok()?;
        if (header.protocol, header.round) != (Protocol::Frost, 2) {
            return None;
        }
        let list = digest_of(from, bytes);
        if self.answer_again(from, &list) {
            return Some(());
        }
        let Work::Sign(slots) = &mut self.work else { return Some(()) };
        let named = |signing: &super::Signing| {
            signing.session == header.session
                && signing.coordinator == from
                && matches!(signing.stage, Stage::Frost(_))
        };
        let slot = slots.iter().position(|slot| slot.as_ref().is_some_and(named));
        let Some(slot) = slot else { return Some(()) };
        let signing = self.signing(slot)?;
        // Whatever comes of it, no second list is looked at.
        let stage = core::mem::replace(&mut signing.stage, Stage::Asking);
        let Stage::Frost(waiting) = stage else { return Some(()) };
        let answered = self.answer_list(slot, *waiting, from, bytes, list);
        // Encoded once more: a write to flash is long, and what waits for it may be hit.
        match answered.and_then(|share| encoded(&share).ok_or(Cause::Fault)) {
            Ok(share) => {
                self.send(from, &Carrier { bytes: &share });
                self.drop_session(slot);
            }
            Err(reason) => self.reject(slot, reason),
        }
        Some(())
    }

    /// The share, once everything that must be durable before it is.
    fn answer_list(
        &mut self,
        slot: usize,
        mut waiting: Waiting,
        from: PartyId,
        bytes: &[u8],
        list: Digest,
    ) -> Result<frost::SignatureShare, Cause> {
        let refused = Cause::FrostList;
        let listed = waiting.signer.handle_list(from, bytes).map_err(|_| refused)?;
        let quorum = waiting.signer.quorum();
        let mut buffer = room();
        let number = waiting.number;
        let pool = self.load_pool(number, &waiting.key, &mut buffer);
        let mut pool = pool.ok_or(Cause::FrostUsed)?;
        let reserved = listed.reserve(&waiting.key, &mut pool);
        let reserved = reserved.map_err(|_| Cause::FrostOwn)?;
        self.release(slot, quorum, &mut buffer[..])?;
        let answered = reserved.answer(&waiting.key, |change, share| {
            self.keep_answer(number, &list, change, share, &mut buffer)
        });
        match answered {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(_)) | Err(_) => Err(Cause::Fault),
        }
    }

    /// Writes the answer beside the changed pool.
    #[inline(never)]
    fn keep_answer(
        &mut self,
        number: u8,
        list: &Digest,
        change: &frost::Change,
        share: &frost::SignatureShare,
        buffer: &mut [u8; MAX_RECORD],
    ) -> Result<(), StoreError> {
        let share = encoded(share).ok_or(StoreError::TooLong)?;
        let replaces = |stored: &[u8]| change.replaces(stored);
        self.known.store.consume(number, (list, &share), change.record(), replaces, buffer)
    }

    /// Whether this very list was answered last: then the same answer is given.
    fn answer_again(&mut self, from: PartyId, list: &Digest) -> bool {
        let mut buffer = room();
        for number in 0..MAX_KEYS {
            if let Ok(Some(share)) = self.known.store.answer(number, list, &mut buffer) {
                let share = share.to_vec();
                self.send(from, &Carrier { bytes: &share });
                return true;
            }
        }
        false
    }
}
