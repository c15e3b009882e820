//! The audit log: each entry's hash covers the one before, so that nothing can be changed, removed
//! or inserted without all that follows. Cutting off the end does not show here; who wants to see
//! that keeps the last hash elsewhere.

use quorate_core::hash::{Digest, Transcript};
use redb::{ReadableTable, WriteTransaction};

use super::rows::AUDIT;
use super::{End, MAX_AUDIT_RECORD, Store, StoreError, bounded};

/// [`Store::audit`] gives at most so many entries at once.
pub const MAX_AUDIT_PAGE: usize = 1000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3, …
    pub number: u64,
    /// The hash of the entry before; all zero in the first.
    pub previous: Digest,
    /// H("audit", previous, number, record).
    pub hash: Digest,
    /// What happened.
    pub record: Vec<u8>,
}

impl AuditEntry {
    fn new(number: u64, previous: Digest, record: Vec<u8>) -> Self {
        let hash = Transcript::new("audit").bytes(&previous).u64(number).bytes(&record).finish();
        Self { number, previous, hash, record }
    }

    fn encode(&self) -> Vec<u8> {
        [self.previous.as_slice(), &self.hash, &self.record].concat()
    }

    pub(super) fn decode(number: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        let parts = bytes.split_first_chunk().and_then(|(previous, rest)| {
            rest.split_first_chunk().map(|(hash, record)| (*previous, *hash, record.to_vec()))
        });
        let (previous, hash, record) =
            parts.ok_or_else(|| StoreError::corrupt(format!("audit entry {number} is cut off")))?;
        Ok(Self { number, previous, hash, record })
    }
}

/// A chain from its beginning to where it was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    number: u64,
    hash: Digest,
}

impl Chain {
    /// Whether `entry` is whole and the next one; if so the chain goes on to it.
    #[must_use]
    pub fn extend(&mut self, entry: &AuditEntry) -> bool {
        let Some(number) = self.number.checked_add(1) else { return false };
        if AuditEntry::new(number, self.hash, entry.record.clone()) != *entry {
            return false;
        }
        (self.number, self.hash) = (entry.number, entry.hash);
        true
    }

    /// The last entry's number and hash.
    #[must_use]
    pub fn end(&self) -> (u64, Digest) {
        (self.number, self.hash)
    }
}

impl Store {
    /// Appends a record.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn audit_append(&self, entry: Vec<u8>) -> Result<(), StoreError> {
        bounded("an audit record", entry.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| append(transaction, entry).map(End::Commit))
    }

    /// Appends records in one transaction: all of them or none.
    ///
    /// # Errors
    /// As [`Store::audit_append`].
    pub fn audit_append_all(&self, entries: Vec<Vec<u8>>) -> Result<(), StoreError> {
        for entry in &entries {
            bounded("an audit record", entry.len(), MAX_AUDIT_RECORD)?;
        }
        self.write(|transaction| {
            entries.into_iter().try_for_each(|entry| append(transaction, entry))?;
            Ok(End::Commit(()))
        })
    }

    /// At most `limit` entries from number `from` on, and at most [`MAX_AUDIT_PAGE`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let table = self.read()?.open_table(AUDIT)?;
        let mut entries = Vec::new();
        for entry in table.range(from..)?.take(limit.min(MAX_AUDIT_PAGE)) {
            let (number, bytes) = entry?;
            entries.push(AuditEntry::decode(number.value(), bytes.value())?);
        }
        Ok(entries)
    }

    /// Checks the whole chain and gives the number of entries.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the first entry that does not fit; [`StoreError::Io`].
    pub fn audit_verify(&self) -> Result<u64, StoreError> {
        let table = self.read()?.open_table(AUDIT)?;
        let mut chain = Chain::default();
        for entry in table.iter()? {
            let (number, bytes) = entry?;
            let found = AuditEntry::decode(number.value(), bytes.value())?;
            if !chain.extend(&found) {
                let what = format!("the audit log was altered at or before entry {}", found.number);
                return Err(StoreError::Corrupt { what });
            }
        }
        Ok(chain.number)
    }
}

pub(super) fn append(transaction: &WriteTransaction, record: Vec<u8>) -> Result<(), StoreError> {
    let mut table = transaction.open_table(AUDIT)?;
    let last = match table.last()? {
        Some((number, bytes)) => Some(AuditEntry::decode(number.value(), bytes.value())?),
        None => None,
    };
    let (number, previous) = last.map_or((0, [0; 32]), |last| (last.number, last.hash));
    let number =
        number.checked_add(1).ok_or_else(|| StoreError::corrupt("the audit log is full"))?;
    table.insert(number, AuditEntry::new(number, previous, record).encode().as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log<'a> = redb::Table<'a, u64, &'static [u8]>;

    fn store() -> Store {
        let store = Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        for record in ["one", "two", "three"] {
            store.audit_append(record.into()).unwrap();
        }
        store
    }

    #[test]
    fn the_chain_is_frozen() {
        let entries = store().audit(1, 10).unwrap();
        assert_eq!(
            entries.iter().map(|entry| hex::encode(entry.hash)).collect::<Vec<_>>(),
            [
                "2c6761060d4058e3a718b5fa2d826146edba4ec11160baa1939580e03835f859",
                "7dd7868f840652f2de63a0b543c0f91c094e1bb3c2254d630d8d8b2e410e31ea",
                "8a67188428245b9d5546ec98a35221a81bec3938805bc9d98f6c2038d658403e",
            ]
        );
        assert_eq!(entries[2].previous, entries[1].hash);
        assert_eq!(entries[1].encode()[64..], *b"two");
        assert_eq!(store().audit_verify(), Ok(3));
        assert_eq!(store().audit(2, 1).unwrap(), entries[1..2]);
        assert_eq!(store().audit(4, 1).unwrap(), []);
    }

    #[test]
    fn a_changed_removed_or_inserted_entry_is_noticed() {
        let alter = |change: &dyn Fn(&mut Log<'_>)| {
            let store = store();
            store
                .write(|transaction| {
                    change(&mut transaction.open_table(AUDIT)?);
                    Ok(End::Commit(()))
                })
                .unwrap();
            store.audit_verify()
        };
        let entry = |number, previous, record: &str| {
            AuditEntry::new(number, previous, record.into()).encode()
        };
        assert_eq!(alter(&|_| {}), Ok(3));
        let changed = alter(&|table| {
            let mut bytes = table.get(2).unwrap().unwrap().value().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            table.insert(2, bytes.as_slice()).unwrap();
        });
        assert!(matches!(changed, Err(StoreError::Corrupt { what }) if what.contains("entry 2")));
        let rehashed = alter(&|table| {
            let first = AuditEntry::decode(1, table.get(1).unwrap().unwrap().value()).unwrap();
            table.insert(2, entry(2, first.hash, "tow").as_slice()).unwrap();
        });
        assert!(matches!(rehashed, Err(StoreError::Corrupt { what }) if what.contains("entry 3")));
        let removed = alter(&|table| drop(table.remove(1).unwrap()));
        assert!(matches!(removed, Err(StoreError::Corrupt { what }) if what.contains("entry 2")));
        let inserted = alter(&|table| drop(table.insert(0, entry(0, [0; 32], "").as_slice())));
        assert!(matches!(inserted, Err(StoreError::Corrupt { what }) if what.contains("entry 0")));
        let cut = alter(&|table| drop(table.insert(3, [0; 63].as_slice())));
        assert!(matches!(cut, Err(StoreError::Corrupt { what }) if what.contains("cut off")));
    }
}
