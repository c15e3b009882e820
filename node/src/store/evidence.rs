//! Evidence of failed key generations, by session: to be shown to others.

use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::rows::EVIDENCE;
use super::{End, MAX_EVIDENCE, MAX_EVIDENCES, Store, StoreError, bounded};

impl Store {
    /// Keeps the evidence of a session; the first of each. Whether it is kept: a peer must not be able to
    /// fill the disk with what convicts it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn add_evidence(&self, session: [u8; 32], evidence: &[u8]) -> Result<bool, StoreError> {
        bounded("evidence", evidence.len(), MAX_EVIDENCE)?;
        self.write(|transaction| {
            let mut table = transaction.open_table(EVIDENCE)?;
            if table.len()? >= MAX_EVIDENCES || table.get(session)?.is_some() {
                return Ok(End::Unchanged(false));
            }
            table.insert(session, evidence)?;
            Ok(End::Commit(true))
        })
    }

    /// The evidence of a session, if there is any.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn evidence(&self, session: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read()?.open_table(EVIDENCE) {
            // Made by a version that kept none.
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => Ok(table?.get(session)?.map(|bytes| bytes.value().to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_kept_once_by_session_and_its_number_ends() {
        let backend = redb::backends::InMemoryBackend::new();
        let store = Store::with_backend(backend).unwrap();
        assert_eq!(store.evidence([1; 32]).unwrap(), None);
        assert!(store.add_evidence([1; 32], &[7]).unwrap());
        assert!(!store.add_evidence([1; 32], &[8]).unwrap());
        assert_eq!(store.evidence([1; 32]).unwrap(), Some(vec![7]));
        let mut kept = 1;
        for number in 0..2 * MAX_EVIDENCES {
            let mut session = [2; 32];
            session[..8].copy_from_slice(&number.to_be_bytes());
            kept += u64::from(store.add_evidence(session, &[9]).unwrap());
        }
        assert_eq!(kept, MAX_EVIDENCES);
        assert!(store.add_evidence([3; 32], &vec![0; MAX_EVIDENCE + 1]).is_err());
    }
}
