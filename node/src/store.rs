//! One party's durable state: keys, requests, what was spent, and the audit log.
//!
//! Every change is one transaction that is on disk when the call returns: what a message commits its
//! sender to is stored before the message leaves. When a write fails, the store refuses everything
//! until it is opened again, since nobody knows what that write left behind.

mod audit;
mod changes;
mod error;
mod evidence;
mod heads;
mod keys;
mod open;
mod rows;
mod spend;
mod sums;
mod waiting;

use std::path::Path;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, WriteTransaction};

pub use audit::{AuditEntry, Chain, MAX_AUDIT_PAGE};
pub use changes::{ChangeRow, NewPolicy, Series};
pub use error::{Contradiction, StoreError};
pub use heads::AuditHead;
pub use rows::{FORMAT, KeyRow, KeyState, RequestRow, VetoRow, WaitingRow};
pub use spend::{Charge, Grant, MAX_WINDOW, Spend, SpendOutcome};
pub use waiting::{
    AwaitOutcome, Full, MAX_VETOES_UNSEEN, MAX_WAITING, MAX_WAITING_OF_CLIENT, MAX_WAITING_OF_KEY,
    Memory, VetoOutcome,
};

/// No key's name is longer.
pub const MAX_NAME: usize = 256;
/// No public record of a key, and no policy, is longer.
pub const MAX_PUBLIC: usize = 64 * 1024;
/// No sealed share is longer.
pub const MAX_SEALED: usize = 300 * 1024;
/// No confirmation is longer.
pub const MAX_CONFIRMATION: usize = 32 * 1024;
/// A key has at most so many confirmations.
pub const MAX_CONFIRMATIONS: usize = 64;
/// No certificate is longer.
pub const MAX_CERTIFICATE: usize = MAX_CONFIRMATION * MAX_CONFIRMATIONS;
/// No outcome of a request is longer.
pub const MAX_OUTCOME: usize = 4 * 1024;
/// No evidence of one session is longer.
pub const MAX_EVIDENCE: usize = 64 * 1024;
/// Of so many sessions evidence is kept.
pub const MAX_EVIDENCES: u64 = 64;
/// No signed head of a log is longer.
pub const MAX_HEAD: usize = 1024;
/// No request that waits is longer.
pub const MAX_WAITING_REQUEST: usize = quorate_core::request::MAX_REQUEST;
/// No change of a policy is longer.
pub const MAX_CHANGE: usize = quorate_core::policy::control::MAX_CHANGE;
/// No audit record is longer.
pub const MAX_AUDIT_RECORD: usize = 16 * 1024;

/// An open store. Only one process at a time can have it open.
pub struct Store {
    database: Database,
    sums: sums::Sums,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// How a write transaction ends well.
enum End<T> {
    Commit(T),
    /// Nothing changed, so there is nothing to wait for.
    Unchanged(T),
}

impl Store {
    /// Opens the store at `path`, or creates it if nothing is there, readable by its owner alone.
    ///
    /// A new store is made aside and moved into place, so that a crash leaves all of it or nothing.
    /// Opening checks every page that is in use.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Corrupt`], [`StoreError::Version`], [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        open::open(path).map(Self::of)
    }

    /// Opens or creates a store on any storage: for simulations. Creating is not proof against
    /// crashes here.
    ///
    /// # Errors
    /// Like [`Store::open`].
    pub fn with_backend(backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        open::with_backend(backend).map(Self::of)
    }

    fn of(database: Database) -> Self {
        Self { database, sums: sums::Sums::default() }
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// One durable transaction; an error changes nothing.
    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<End<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = begin_write(&self.database)?;
        match change(&transaction) {
            Ok(End::Commit(value)) => {
                transaction.commit()?;
                Ok(value)
            }
            Ok(End::Unchanged(value)) => {
                transaction.abort()?;
                Ok(value)
            }
            Err(error) => {
                // Its own failure would only hide the first one, which the caller must hear.
                let _ = transaction.abort();
                Err(error)
            }
        }
    }
}

fn begin_write(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // In one phase, damage to the newest commit would be "repaired" by going back silently to the
    // one before: an acknowledged spend would be gone. In two it is an error.
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Refuses what is longer than this store takes.
fn bounded(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}
