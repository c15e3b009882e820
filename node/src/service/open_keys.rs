//! Shares that are open: on locked pages, for the sessions that need them, and closed when nobody has
//! needed them for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_hsm::HsmError;
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
    share: OpenShare,
    used: Instant,
}

impl OpenKeys {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self { keeping, keys: BTreeMap::new() }
    }

    /// The share of `row`, if it is open.
    pub(super) fn get(&mut self, row: &KeyRow, now: Instant) -> Option<OpenShare> {
        let entry = self.keys.get_mut(&row.key)?;
        if entry.sealed != row.sealed {
            self.keys.remove(&row.key);
            return None;
        }
        entry.used = now;
        Some(Arc::clone(&entry.share))
    }

    /// Takes a share that was opened just now.
    ///
    /// # Errors
    /// [`HsmError::MemoryLimit`], if no page can be locked even when all idle shares are closed.
    pub(super) fn keep(
        &mut self,
        row: &KeyRow,
        opened: Opened,
        now: Instant,
    ) -> Result<OpenShare, HsmError> {
        let share = Arc::new(self.lock(opened)?);
        if !self.keeping.idle.is_zero() {
            let entry = Entry { sealed: row.sealed.clone(), share: Arc::clone(&share), used: now };
            self.keys.insert(row.key, entry);
        }
        Ok(share)
    }

    fn lock(&mut self, opened: Opened) -> Result<Locked<Opened>, HsmError> {
        if !self.keeping.lock {
            return Ok(Locked::unlocked(opened));
        }
        // At the limit, what waits for a next session gives way to what has one.
        while let Err(error) = Locked::<Opened>::room() {
            let idle = self.keys.iter().filter(|(_, entry)| Arc::strong_count(&entry.share) == 1);
            let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(key) = oldest else { return Err(error) };
            self.keys.remove(&key);
        }
        Locked::new(opened)
    }

    /// Closes what nobody has needed for a while.
    pub(super) fn close_idle(&mut self, now: Instant) {
        let idle = self.keeping.idle;
        self.keys.retain(|_, entry| {
            Arc::strong_count(&entry.share) > 1 || now.saturating_duration_since(entry.used) < idle
        });
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }
}
