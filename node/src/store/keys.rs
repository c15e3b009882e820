//! Keys: pending, confirmed, active.

use redb::{ReadableTable, WriteTransaction};

use super::rows::{self, KEYS, KeyRow, KeyState};
use super::{
    Contradiction, End, MAX_AUDIT_RECORD, MAX_CERTIFICATE, MAX_CONFIRMATION, MAX_CONFIRMATIONS,
    MAX_NAME, MAX_PUBLIC, MAX_SEALED, Store, StoreError, audit, bounded,
};

impl Store {
    /// One key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn key(&self, key: [u8; 16]) -> Result<Option<KeyRow>, StoreError> {
        find(&self.read()?.open_table(KEYS)?, &key)
    }

    /// All keys, by id.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let table = self.read()?.open_table(KEYS)?;
        let mut rows = Vec::new();
        for entry in table.iter()? {
            let (key, bytes) = entry?;
            rows.push(KeyRow::decode(&key.value(), bytes.value())?);
        }
        Ok(rows)
    }

    /// Stores a new, pending key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its id is taken, [`StoreError::Conflict`] if it is not pending,
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn insert_pending(&self, row: KeyRow) -> Result<(), StoreError> {
        check_pending(&row)?;
        self.write(|transaction| {
            insert_in(transaction, &row)?;
            Ok(End::Commit(()))
        })
    }

    /// Adds a party's confirmation. The same one again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the party has confirmed something else before: the first one is
    /// kept, and the two together prove that it misbehaved. [`StoreError::Unknown`],
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn add_confirmation(
        &self,
        key: [u8; 16],
        party: u16,
        confirmation: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("a confirmation", confirmation.len(), MAX_CONFIRMATION)?;
        self.change(key, |row| match row.confirmations.get(&party) {
            Some(first) if *first == confirmation => Ok(End::Unchanged(())),
            Some(_) => {
                let with = Contradiction::Confirmation { party };
                Err(StoreError::Conflict { key, with })
            }
            None => {
                let count = row.confirmations.len() + 1;
                bounded("a list of confirmations", count, MAX_CONFIRMATIONS)?;
                row.confirmations.insert(party, confirmation);
                Ok(End::Commit(()))
            }
        })
    }

    /// Makes a key active, for good. The same certificate again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another certificate made it active, [`StoreError::Unknown`],
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn activate(&self, key: [u8; 16], certificate: Vec<u8>) -> Result<(), StoreError> {
        bounded("a certificate", certificate.len(), MAX_CERTIFICATE)?;
        self.change(key, |row| match &row.certificate {
            Some(first) if *first == certificate => Ok(End::Unchanged(())),
            Some(_) => Err(StoreError::Conflict { key, with: Contradiction::Certificate }),
            None => {
                row.state = KeyState::Active;
                row.certificate = Some(certificate);
                Ok(End::Commit(()))
            }
        })
    }

    /// Replaces a key's sealed share, which the caller has opened again before.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::TooLarge`], or the disk's.
    pub fn replace_sealed(&self, key: [u8; 16], sealed: Vec<u8>) -> Result<(), StoreError> {
        bounded("a sealed share", sealed.len(), MAX_SEALED)?;
        self.change(key, |row| {
            row.sealed = sealed;
            Ok(End::Commit(()))
        })
    }

    /// Replaces sealed shares, which the caller has opened again before, all in one transaction with an
    /// audit record.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::TooLarge`], or the disk's; then none is replaced.
    pub fn replace_all_sealed(
        &self,
        sealed: Vec<([u8; 16], Vec<u8>)>,
        record: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("an audit record", record.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            for (key, sealed) in sealed {
                bounded("a sealed share", sealed.len(), MAX_SEALED)?;
                change_in(transaction, key, |row| {
                    row.sealed = sealed;
                    Ok(End::Commit(()))
                })?;
            }
            audit::append(transaction, record)?;
            Ok(End::Commit(()))
        })
    }

    fn change(
        &self,
        key: [u8; 16],
        change: impl FnOnce(&mut KeyRow) -> Result<End<()>, StoreError>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| change_in(transaction, key, change))
    }
}

pub(super) fn check_pending(row: &KeyRow) -> Result<(), StoreError> {
    if row.state != KeyState::Pending || row.certificate.is_some() {
        return Err(StoreError::Conflict { key: row.key, with: Contradiction::NotPending });
    }
    bounded("a key's name", row.name.len(), MAX_NAME)?;
    bounded("a key's public record", row.public.len(), MAX_PUBLIC)?;
    bounded("a key's policy", row.policy.len(), MAX_PUBLIC)?;
    bounded("a sealed share", row.sealed.len(), MAX_SEALED)?;
    bounded("a list of confirmations", row.confirmations.len(), MAX_CONFIRMATIONS)?;
    for confirmation in row.confirmations.values() {
        bounded("a confirmation", confirmation.len(), MAX_CONFIRMATION)?;
    }
    Ok(())
}

pub(super) fn insert_in(transaction: &WriteTransaction, row: &KeyRow) -> Result<(), StoreError> {
    let mut table = transaction.open_table(KEYS)?;
    if table.get(row.key)?.is_some() {
        return Err(StoreError::Exists { key: row.key });
    }
    table.insert(row.key, rows::encode(row).as_slice())?;
    Ok(())
}

pub(super) fn change_in(
    transaction: &WriteTransaction,
    key: [u8; 16],
    change: impl FnOnce(&mut KeyRow) -> Result<End<()>, StoreError>,
) -> Result<End<()>, StoreError> {
    let mut table = transaction.open_table(KEYS)?;
    let mut row = find(&table, &key)?.ok_or(StoreError::Unknown { key })?;
    let end = change(&mut row)?;
    if matches!(end, End::Commit(())) {
        table.insert(key, rows::encode(&row).as_slice())?;
    }
    Ok(end)
}

pub(super) fn find(
    table: &impl ReadableTable<[u8; 16], &'static [u8]>,
    key: &[u8; 16],
) -> Result<Option<KeyRow>, StoreError> {
    table.get(key)?.map(|bytes| KeyRow::decode(key, bytes.value())).transpose()
}
