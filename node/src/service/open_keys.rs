//! Shares that are open: on locked pages, for the sessions that need them, and closed when nobody has
//! needed them for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quorate_hsm::memory::Locked;

use super::records::Opened;
use crate::store::KeyRow;

/// An open share; who holds one keeps it open.
pub(super) type OpenShare = Arc<Locked<Opened>>;

/// How opened shares are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// A share that no session has needed for so long is closed and wiped. Zero: with its last session.
    pub idle: Duration,
    /// Whether pages are locked. Off only where the operating system allows it to nobody.
    pub lock: bool,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), lock: true }
    }
}

pub(super) struct OpenKeys {
    keeping: Keeping,
    keys: BTreeMap<[u8; 16], Entry>,
}

struct Entry {
    /// Whether the row is still the one that was opened.
    sealed: Vec<u8>,
    share: Held,
    used: Instant,
}

/// Whether a share is open without a session.
enum Held {
    /// Until it is idle for long enough.
    Open(OpenShare),
    /// As long as a session has it.
    InUse(Weak<Locked<Opened>>),
}

impl Held {
    fn share(&self) -> Option<OpenShare> {
        match self {
            Self::Open(share) => Some(Arc::clone(share)),
            Self::InUse(share) => share.upgrade(),
        }
    }

    /// Whether nobody needs it just now, and it is open nevertheless.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Open(share) if Arc::strong_count(share) == 1)
    }
}

impl OpenKeys {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self { keeping, keys: BTreeMap::new() }
    }

    /// The share of `row`, if it is open.
    pub(super) fn get(&mut self, row: &KeyRow, now: Instant) -> Option<OpenShare> {
        if !self.is_open(row) {
            self.keys.remove(&row.key);
        }
        let entry = self.keys.get_mut(&row.key)?;
        entry.used = now;
        entry.share.share()
    }

    /// Whether the share of `row` is open.
    pub(super) fn is_open(&self, row: &KeyRow) -> bool {
        let entry = self.keys.get(&row.key).filter(|entry| entry.sealed == row.sealed);
        entry.is_some_and(|entry| entry.share.share().is_some())
    }

    /// Takes a share that was opened just now from `sealed`. If it is open already, that one stays.
    pub(super) fn keep(
        &mut self,
        key: [u8; 16],
        sealed: Vec<u8>,
        share: Locked<Opened>,
        now: Instant,
    ) -> OpenShare {
        let known = self.keys.get(&key).filter(|entry| entry.sealed == sealed);
        if let Some(share) = known.and_then(|entry| entry.share.share()) {
            return share;
        }
        let share = Arc::new(share);
        let held = match self.keeping.idle.is_zero() {
            true => Held::InUse(Arc::downgrade(&share)),
            false => Held::Open(Arc::clone(&share)),
        };
        self.keys.insert(key, Entry { sealed, share: held, used: now });
        share
    }

    /// Whether pages of open shares are locked.
    pub(super) fn locks(&self) -> bool {
        self.keeping.lock
    }

    /// Closes what waits for a next session, the oldest first, until there are pages to lock for one more.
    pub(super) fn make_room(&mut self) {
        while self.keeping.lock && Locked::<Opened>::room().is_err() && self.close_oldest() {}
    }

    /// Closes the share that has waited longest for a next session; whether there was one.
    pub(super) fn close_oldest(&mut self) -> bool {
        let idle = self.keys.iter().filter(|(_, entry)| entry.share.is_idle());
        let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
        oldest.is_some_and(|key| self.keys.remove(&key).is_some())
    }

    /// Closes what nobody has needed for a while.
    pub(super) fn close_idle(&mut self, now: Instant) {
        let idle = self.keeping.idle;
        self.keys.retain(|_, entry| match &entry.share {
            Held::Open(share) => {
                Arc::strong_count(share) > 1 || now.saturating_duration_since(entry.used) < idle
            }
            Held::InUse(share) => share.strong_count() > 0,
        });
    }

    pub(super) fn count(&self) -> usize {
        self.keys.values().filter(|entry| matches!(entry.share, Held::Open(_))).count()
    }
}
