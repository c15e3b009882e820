//! The history of a key's policy: what its controllers changed, what waits, and when it was frozen.

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::audit::AuditEntry;
use super::rows::{self, AUDIT, CHANGES, ChangeKey, KeyRow};
use super::{
    Contradiction, End, MAX_AUDIT_RECORD, MAX_CHANGE, MAX_PUBLIC, MAX_SEALED, Store, StoreError,
    audit, bounded, keys,
};

/// The two ways of counting changes of one key. The codes are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Series {
    /// Policies; 1 is what the key was made with.
    Version = 0,
    /// Freezes, which are odd, and their ends.
    Hold = 1,
}

/// One change, as this party has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// As its controllers signed it, encoded.
    pub change: Vec<u8>,
    /// When this party first saw it, Unix seconds.
    pub seen: u64,
    /// When it takes effect here at the latest, unless it is withdrawn.
    pub due: u64,
    /// When it took effect; none if it waits, or was withdrawn.
    pub in_force: Option<u64>,
}

/// A policy that takes effect, with the share that is sealed under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPolicy {
    /// The key.
    pub key: [u8; 16],
    /// The version.
    pub version: u32,
    /// The policy, encoded.
    pub policy: Vec<u8>,
    /// The share, sealed under it; opened again by the caller.
    pub sealed: Vec<u8>,
    /// The sealed share's sequence: one more than before.
    pub sequence: u64,
    /// When, Unix seconds.
    pub now: u64,
    /// The audit record.
    pub audit: Vec<u8>,
}

impl Store {
    /// A key's changes of one series, by number.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn changes(
        &self,
        key: [u8; 16],
        series: Series,
    ) -> Result<Vec<(u32, ChangeRow)>, StoreError> {
        let table = match self.read()?.open_table(CHANGES) {
            // Made by a version that had none.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let of = series as u8;
        let mut changes = Vec::new();
        for entry in table.range((key, of, 0)..=(key, of, u32::MAX))? {
            let (place, bytes) = entry?;
            changes.push((place.value().2, ChangeRow::decode(&place.value(), bytes.value())?));
        }
        Ok(changes)
    }

    /// Keeps a change that waits, or a freeze that is in force already, with its audit record. It takes the
    /// place of one of its number that waits.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of its number is in force, or the one before is missing;
    /// [`StoreError::Unknown`], [`StoreError::TooLarge`], or the disk's.
    pub fn add_change(
        &self,
        (key, series, number): ([u8; 16], Series, u32),
        row: ChangeRow,
        audit: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("a change of a policy", row.change.len(), MAX_CHANGE)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            if keys::find(&transaction.open_table(rows::KEYS)?, &key)?.is_none() {
                return Err(StoreError::Unknown { key });
            }
            let mut table = transaction.open_table(CHANGES)?;
            let place = (key, series as u8, number);
            let conflict = || StoreError::Conflict { key, with: Contradiction::Change { number } };
            if find(&table, place)?.is_some_and(|known| known.in_force.is_some()) {
                return Err(conflict());
            }
            let first = if series == Series::Version { 2 } else { 1 };
            let before = number.checked_sub(1).ok_or_else(conflict)?;
            if number > first && find(&table, (key, series as u8, before))?.is_none() {
                return Err(conflict());
            }
            table.insert(place, rows::encode(&row).as_slice())?;
            drop(table);
            audit::append(transaction, audit)?;
            Ok(End::Commit(()))
        })
    }

    /// A freeze, or its end, that waited is in force.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it does not wait, [`StoreError::TooLarge`], or the disk's.
    pub fn put_hold_in_force(
        &self,
        key: [u8; 16],
        number: u32,
        now: u64,
        audit: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            put_in_force(transaction, (key, Series::Hold as u8, number), now)?;
            audit::append(transaction, audit)?;
            Ok(End::Commit(()))
        })
    }

    /// A policy that waited takes effect: with it go the share that was sealed under the one before, and
    /// that policy, all in one transaction with the audit record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if no such version waits, or the share was replaced meanwhile;
    /// [`StoreError::Unknown`], [`StoreError::TooLarge`], or the disk's.
    pub fn replace_policy(&self, new: NewPolicy) -> Result<(), StoreError> {
        let NewPolicy { key, version, policy, sealed, sequence, now, audit } = new;
        bounded("a key's policy", policy.len(), MAX_PUBLIC)?;
        bounded("a sealed share", sealed.len(), MAX_SEALED)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            put_in_force(transaction, (key, Series::Version as u8, version), now)?;
            keys::change_in(transaction, key, |row| {
                if row.policy_version >= version || row.sequence.checked_add(1) != Some(sequence) {
                    let with = Contradiction::Change { number: version };
                    return Err(StoreError::Conflict { key, with });
                }
                (row.policy_version, row.policy) = (version, policy);
                (row.sequence, row.sealed) = (sequence, sealed);
                Ok(End::Commit(()))
            })?;
            audit::append(transaction, audit)?;
            Ok(End::Commit(()))
        })
    }

    /// Stores a new, pending key in its controllers' name: with the change that they signed for it.
    ///
    /// # Errors
    /// As [`Store::insert_pending`].
    pub fn insert_controlled(
        &self,
        row: KeyRow,
        creation: ChangeRow,
        audit: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("a change of a policy", creation.change.len(), MAX_CHANGE)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        keys::check_pending(&row)?;
        self.write(|transaction| {
            keys::insert_in(transaction, &row)?;
            let place = (row.key, Series::Version as u8, 1);
            let bytes = rows::encode(&creation);
            transaction.open_table(CHANGES)?.insert(place, bytes.as_slice())?;
            audit::append(transaction, audit)?;
            Ok(End::Commit(()))
        })
    }

    /// Shows the audit log's entries to `visit`, the last one first, until it has seen enough.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn audit_backwards(
        &self,
        mut visit: impl FnMut(&AuditEntry) -> bool,
    ) -> Result<(), StoreError> {
        let table = self.read()?.open_table(AUDIT)?;
        for entry in table.iter()?.rev() {
            let (number, bytes) = entry?;
            if !visit(&AuditEntry::decode(number.value(), bytes.value())?) {
                break;
            }
        }
        Ok(())
    }
}

fn put_in_force(
    transaction: &WriteTransaction,
    place: ChangeKey,
    now: u64,
) -> Result<(), StoreError> {
    let (key, _, number) = place;
    let mut table = transaction.open_table(CHANGES)?;
    let waiting = find(&table, place)?.filter(|row| row.in_force.is_none());
    let with = Contradiction::Change { number };
    let row = waiting.ok_or(StoreError::Conflict { key, with })?;
    let row = ChangeRow { in_force: Some(now), ..row };
    table.insert(place, rows::encode(&row).as_slice())?;
    Ok(())
}

fn find(
    table: &impl ReadableTable<ChangeKey, &'static [u8]>,
    place: ChangeKey,
) -> Result<Option<ChangeRow>, StoreError> {
    table.get(place)?.map(|bytes| ChangeRow::decode(&place, bytes.value())).transpose()
}

impl ChangeRow {
    fn decode(place: &ChangeKey, bytes: &[u8]) -> Result<Self, StoreError> {
        quorate_core::wire::decode(bytes).map_err(|error| {
            let (key, _, number) = place;
            StoreError::corrupt(format!("change {number} of key {}: {error}", hex::encode(key)))
        })
    }
}

#[cfg(test)]
mod tests;
