//! Heads of audit logs: this party's own, and the newest that each peer has shown.

use quorate_core::hash::Digest;
use redb::{AccessGuard, ReadableTable as _, TableDefinition};

use super::audit::{self, AuditEntry};
use super::rows::{
    AUDIT, COUNTERSIGNED, HEADS, IDENTITY_HEAD, META, META_GENERATION, META_ROLLBACK, ROLLED_BACK,
    WINDOWS, WITNESSED,
};
use super::{End, MAX_HEAD, Store, StoreError, bounded};

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Times that the operator accepted a lost history.
    pub generation: u32,
    /// The last entry's number; 0 for an empty log.
    pub number: u64,
    /// Its hash; all zero for an empty log.
    pub hash: Digest,
}

impl Store {
    /// Where this party's log ends.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let transaction = self.read()?;
        let table = transaction.open_table(AUDIT)?;
        let last = match table.last()? {
            Some((number, bytes)) => Some(AuditEntry::decode(number.value(), bytes.value())?),
            None => None,
        };
        let generation =
            transaction.open_table(META)?.get(META_GENERATION)?.map_or(0, |found| found.value());
        let (number, hash) = last.map_or((0, [0; 32]), |last| (last.number, last.hash));
        Ok(AuditHead { generation, number, hash })
    }

    /// What is kept of a peer's head.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn head_of(&self, party: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.of_party(HEADS, party)
    }

    /// What is kept of a party in a table; nothing, in a store that was made without the table.
    fn of_party(
        &self,
        table: TableDefinition<'_, u16, &'static [u8]>,
        party: u16,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read()?.open_table(table) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => Ok(table?.get(party)?.map(|bytes| bytes.value().to_vec())),
        }
    }

    fn keep_of_party(
        &self,
        table: TableDefinition<'_, u16, &'static [u8]>,
        party: u16,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        bounded("the head of a log", bytes.len(), MAX_HEAD)?;
        self.write(|transaction| {
            transaction.open_table(table)?.insert(party, bytes)?;
            Ok(End::Commit(()))
        })
    }

    /// A peer's countersignature of a head of this party's own log, encoded.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn countersignature(&self, party: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.of_party(COUNTERSIGNED, party)
    }

    /// All of them, by peer.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn countersignatures(&self) -> Result<Vec<(u16, Vec<u8>)>, StoreError> {
        let table = match self.read()?.open_table(COUNTERSIGNED) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let entry = |entry: Result<(AccessGuard<'_, u16>, AccessGuard<'_, &[u8]>), _>| {
            let (party, bytes) = entry?;
            Ok((party.value(), bytes.value().to_vec()))
        };
        table.iter()?.map(entry).collect()
    }

    /// Keeps a peer's countersignature, instead of its last one.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn keep_countersignature(&self, party: u16, bytes: &[u8]) -> Result<(), StoreError> {
        self.keep_of_party(COUNTERSIGNED, party, bytes)
    }

    /// The newest head of a peer's log that this party has countersigned, encoded.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn witnessed_head(&self, party: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.of_party(WITNESSED, party)
    }

    /// Keeps a head that this party is about to countersign.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn keep_witnessed_head(&self, party: u16, head: &[u8]) -> Result<(), StoreError> {
        self.keep_of_party(WITNESSED, party, head)
    }

    /// Keeps peers' heads, each instead of what was kept of that peer before.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn keep_heads(&self, heads: &[(u16, Vec<u8>)]) -> Result<(), StoreError> {
        for (_, head) in heads {
            bounded("the head of a log", head.len(), MAX_HEAD)?;
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(HEADS)?;
            for (party, head) in heads {
                table.insert(party, head.as_slice())?;
            }
            Ok(End::Commit(()))
        })
    }

    /// The newest head of this party's log that its identity key signed, encoded.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn identity_head(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read()?.open_table(IDENTITY_HEAD) {
            // Made by a version that had none.
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => Ok(table?.get(())?.map(|bytes| bytes.value().to_vec())),
        }
    }

    /// Keeps a head that the identity key signed, instead of the one before.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn keep_identity_head(&self, head: &[u8]) -> Result<(), StoreError> {
        bounded("the head of a log", head.len(), MAX_HEAD)?;
        self.write(|transaction| {
            transaction.open_table(IDENTITY_HEAD)?.insert((), head)?;
            Ok(End::Commit(()))
        })
    }

    /// Whether a peer has proved that this store is older than it was: the generation that it had.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn rolled_back(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.read()?.open_table(META)?.get(META_ROLLBACK)?.map(|found| found.value()))
    }

    /// Remembers that this store is older than it was, until [`Store::readmit`].
    ///
    /// # Errors
    /// The disk's.
    pub fn set_rolled_back(&self, generation: u32) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert(META_ROLLBACK, generation)?;
            Ok(End::Commit(()))
        })
    }

    /// Peers that were put back to an earlier state, with the generation of their log that is not believed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn rolled_back_peers(&self) -> Result<Vec<(u16, u32)>, StoreError> {
        let table = match self.read()?.open_table(ROLLED_BACK) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let entry = |entry: Result<(AccessGuard<'_, u16>, AccessGuard<'_, u32>), _>| {
            let (party, generation) = entry?;
            Ok((party.value(), generation.value()))
        };
        table.iter()?.map(entry).collect()
    }

    /// Notes that a peer was put back, or that its operator has accepted the loss.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_rolled_back_peer(
        &self,
        party: u16,
        generation: Option<u32>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ROLLED_BACK)?;
            match generation {
                Some(generation) => table.insert(party, generation)?,
                None => table.remove(party)?,
            };
            Ok(End::Commit(()))
        })
    }

    /// The operator accepts what was lost: a new generation of the log begins at `generation` or later,
    /// and each of `exhausted` (a key, a series, and the most that may be in its window, big-endian) counts
    /// as spent at `now`, since nobody here knows what was.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn readmit(
        &self,
        generation: u32,
        exhausted: &[([u8; 16], [u8; 16], [u8; 32])],
        now: u64,
        audit: Vec<u8>,
    ) -> Result<u32, StoreError> {
        bounded("an audit record", audit.len(), super::MAX_AUDIT_RECORD)?;
        self.sums.lock().forget();
        self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let own = meta.get(META_GENERATION)?.map_or(0, |found| found.value());
            let next = own.max(generation).checked_add(1);
            let next = next.ok_or_else(|| StoreError::corrupt("the log's generation is full"))?;
            meta.insert(META_GENERATION, next)?;
            meta.remove(META_ROLLBACK)?;
            let mut windows = transaction.open_table(WINDOWS)?;
            for (key, series, amount) in exhausted {
                windows.insert((*key, *series, now, [0xff; 32]), amount)?;
            }
            audit::append(transaction, audit)?;
            Ok(End::Commit(next))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    #[test]
    fn the_head_moves_with_every_entry_and_a_generation_begins_by_hand_only() {
        let store = store();
        assert_eq!(store.audit_head(), Ok(AuditHead { generation: 0, number: 0, hash: [0; 32] }));
        store.audit_append(b"one".to_vec()).unwrap();
        let one = store.audit_head().unwrap();
        assert_eq!((one.number, one.hash), (1, store.audit(1, 1).unwrap()[0].hash));
        assert_eq!(store.rolled_back(), Ok(None));
        store.set_rolled_back(4).unwrap();
        assert_eq!(store.rolled_back(), Ok(Some(4)));
        assert_eq!(store.readmit(4, &[], 0, b"accepted".to_vec()), Ok(5));
        assert_eq!(store.rolled_back(), Ok(None));
        let head = store.audit_head().unwrap();
        assert_eq!((head.generation, head.number), (5, 2));
        assert_eq!(store.readmit(0, &[], 0, Vec::new()), Ok(6));
    }

    #[test]
    fn after_a_loss_the_window_counts_as_spent_while_it_lasts() {
        use crate::store::{Charge, Grant, KeyRow, KeyState, Spend, SpendOutcome};
        let (store, key, limit) = (store(), [7; 16], [1; 32]);
        let row = KeyRow {
            key,
            name: "k".into(),
            state: KeyState::Pending,
            public: Vec::new(),
            policy: Vec::new(),
            policy_version: 1,
            sealed: Vec::new(),
            confirmations: std::collections::BTreeMap::new(),
            certificate: None,
            sequence: 1,
            created: 0,
        };
        store.insert_pending(row).unwrap();
        store.activate(key, Vec::new()).unwrap();
        let mut amount = [0; 32];
        amount[31] = 1;
        let spend = |now| Spend {
            request: [9; 32],
            key,
            now,
            expires: now + 10,
            grants: vec![Grant {
                charges: vec![Charge { series: [8; 16], amount, window: Some((100, limit)) }],
                audit: Vec::new(),
            }],
        };
        assert_eq!(store.check_spend(&spend(1000)), Ok(SpendOutcome::Counted));
        store.readmit(0, &[(key, [8; 16], limit)], 1000, Vec::new()).unwrap();
        let over = SpendOutcome::OverLimit { spent: limit, limit };
        assert_eq!(store.check_spend(&spend(1000)), Ok(over));
        assert_eq!(store.check_spend(&spend(1099)), Ok(over));
        assert_eq!(store.check_spend(&spend(1100)), Ok(SpendOutcome::Counted));
    }

    #[test]
    fn of_own_heads_the_newest_stays() {
        let store = store();
        assert_eq!(store.identity_head(), Ok(None));
        store.keep_identity_head(&[1]).unwrap();
        store.keep_identity_head(&[2]).unwrap();
        assert_eq!(store.identity_head(), Ok(Some(vec![2])));
        assert!(store.keep_identity_head(&[0; MAX_HEAD + 1]).is_err());
    }

    #[test]
    fn a_peers_rollback_is_remembered_until_it_is_accepted() {
        let store = store();
        assert_eq!(store.rolled_back_peers(), Ok(vec![]));
        store.keep_rolled_back_peer(4, Some(2)).unwrap();
        store.keep_rolled_back_peer(3, Some(0)).unwrap();
        assert_eq!(store.rolled_back_peers(), Ok(vec![(3, 0), (4, 2)]));
        store.keep_rolled_back_peer(4, None).unwrap();
        assert_eq!(store.rolled_back_peers(), Ok(vec![(3, 0)]));
    }

    #[test]
    fn heads_of_peers_are_replaced_and_bounded() {
        let store = store();
        assert_eq!(store.head_of(2), Ok(None));
        store.keep_heads(&[(2, vec![1]), (3, vec![2])]).unwrap();
        store.keep_heads(&[(2, vec![3])]).unwrap();
        assert_eq!(store.head_of(2), Ok(Some(vec![3])));
        assert_eq!(store.head_of(3), Ok(Some(vec![2])));
        assert!(store.keep_heads(&[(2, vec![0; MAX_HEAD + 1])]).is_err());
    }
}
