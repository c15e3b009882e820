//! Requests that wait for their delays, and vetoes: since when this party has known what, and who spoke
//! against it.

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::rows::{
    REQUESTS, RequestRow, VETOES, VetoRow, WAITING, WAITING_REQUESTS, WaitingRow, encode,
};
use super::{End, MAX_AUDIT_RECORD, MAX_WAITING_REQUEST, Store, StoreError, audit, bounded, spend};

/// So many requests of one client for one key wait at a time: it must not take the places of others.
pub const MAX_WAITING_OF_CLIENT: usize = 16;
/// So many requests for one key wait at a time.
pub const MAX_WAITING_OF_KEY: usize = 64;
/// So many requests wait at a time in all.
pub const MAX_WAITING: usize = 1024;
/// So many vetoes of one vetoer for one key are kept of requests that this party has not seen.
pub const MAX_VETOES_UNSEEN: usize = 64;

/// What became of a request that is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitOutcome {
    /// It is on record from now on.
    Recorded,
    /// It was on record before; nothing was changed.
    Known,
    /// There is no room for it; nothing was changed.
    Full(Full),
}

/// Where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`MAX_WAITING_OF_CLIENT`] requests of this client for this key wait.
    Client,
    /// [`MAX_WAITING_OF_KEY`] requests for this key wait.
    Key,
    /// [`MAX_WAITING`] requests wait.
    Party,
}

/// What became of a veto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VetoOutcome {
    /// It counts from now on.
    Stored,
    /// It counted before; nothing was changed.
    Known,
    /// [`MAX_VETOES_UNSEEN`] vetoes of this vetoer for this key are of requests that nobody has seen here.
    Full,
}

/// What this party remembers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What was counted and signed.
    pub request: Option<RequestRow>,
    /// Since when it has been waiting, Unix seconds.
    pub since: Option<u64>,
    /// Who has vetoed it (Ed25519), ascending.
    pub vetoers: Vec<[u8; 32]>,
}

/// A table that stores of earlier versions do not have.
fn table<K: redb::Key + 'static>(
    transaction: &ReadTransaction,
    definition: TableDefinition<'static, K, &'static [u8]>,
) -> Result<Option<redb::ReadOnlyTable<K, &'static [u8]>>, StoreError> {
    match transaction.open_table(definition) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

impl Store {
    /// All that is remembered of a request.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn memory(&self, request: [u8; 32]) -> Result<Memory, StoreError> {
        let transaction = self.read()?;
        let row = spend::find(&transaction.open_table(REQUESTS)?, &request)?;
        let waiting = match table(&transaction, WAITING)? {
            Some(table) => find(&table, &request)?,
            None => None,
        };
        let vetoers = match table(&transaction, VETOES)? {
            Some(table) => vetoes_of(&table, &request)?.into_iter().map(|(by, _)| by).collect(),
            None => Vec::new(),
        };
        Ok(Memory { request: row, since: waiting.map(|row| row.since), vetoers })
    }

    /// Puts a request on record, with its bytes, and appends the audit record. What is on record already
    /// stays as it is: no repetition moves when its delay began. What has expired by then makes room.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn await_request(
        &self,
        request: [u8; 32],
        row: &WaitingRow,
        bytes: &[u8],
        audit: Vec<u8>,
    ) -> Result<AwaitOutcome, StoreError> {
        bounded("a waiting request", bytes.len(), MAX_WAITING_REQUEST)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            let mut waiting = transaction.open_table(WAITING)?;
            if waiting.get(request)?.is_some() {
                return Ok(End::Unchanged(AwaitOutcome::Known));
            }
            let (alive, expired) = sorted_out(&waiting, row.since)?;
            if let Some(full) = is_full(&alive, row) {
                return Ok(End::Unchanged(AwaitOutcome::Full(full)));
            }
            let mut requests = transaction.open_table(WAITING_REQUESTS)?;
            for old in expired {
                waiting.remove(old)?;
                requests.remove(old)?;
            }
            waiting.insert(request, encode(row).as_slice())?;
            requests.insert(request, bytes)?;
            let mut vetoes = transaction.open_table(VETOES)?;
            for (vetoer, mut veto) in vetoes_of(&vetoes, &request)? {
                veto.seen = true;
                veto.until = veto.until.max(row.expires.saturating_add(spend::MARGIN));
                vetoes.insert((request, vetoer), encode(&veto).as_slice())?;
            }
            audit::append(transaction, audit)?;
            Ok(End::Commit(AwaitOutcome::Recorded))
        })
    }

    /// Keeps a veto, and appends the audit record. `row` says until when it is kept if the request is not
    /// on record here, and the later of two vetoes says it; a request that is on record keeps its vetoes for
    /// as long as it could be signed.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or the disk's.
    pub fn add_veto(
        &self,
        request: [u8; 32],
        vetoer: [u8; 32],
        mut row: VetoRow,
        audit: Vec<u8>,
    ) -> Result<VetoOutcome, StoreError> {
        bounded("a veto", row.veto.len(), quorate_core::request::VETO)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            let mut vetoes = transaction.open_table(VETOES)?;
            let place = (request, vetoer);
            let old = match vetoes.get(place)? {
                Some(bytes) => Some(VetoRow::decode(&request, bytes.value())?),
                None => None,
            };
            match old {
                Some(old) if !old.seen && row.until > old.until => {
                    vetoes.insert(place, encode(&VetoRow { seen: false, ..row }).as_slice())?;
                    return Ok(End::Commit(VetoOutcome::Known));
                }
                Some(_) => return Ok(End::Unchanged(VetoOutcome::Known)),
                None => {}
            }
            let waiting = find(&transaction.open_table(WAITING)?, &request)?;
            let known = spend::find(&transaction.open_table(REQUESTS)?, &request)?;
            let expires = waiting.map(|row| row.expires).or(known.map(|row| row.expires));
            row.seen = expires.is_some();
            match expires {
                Some(expires) => row.until = expires.saturating_add(spend::MARGIN),
                None if unseen(&vetoes, &row.key, &vetoer)? >= MAX_VETOES_UNSEEN => {
                    return Ok(End::Unchanged(VetoOutcome::Full));
                }
                None => {}
            }
            vetoes.insert(place, encode(&row).as_slice())?;
            audit::append(transaction, audit)?;
            Ok(End::Commit(VetoOutcome::Stored))
        })
    }

    /// All requests that wait, by their hashes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn waiting(&self) -> Result<Vec<([u8; 32], WaitingRow)>, StoreError> {
        match table(&self.read()?, WAITING)? {
            Some(table) => rows(&table),
            None => Ok(Vec::new()),
        }
    }

    /// The client's bytes of a request that waits.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn waiting_request(&self, request: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        match table(&self.read()?, WAITING_REQUESTS)? {
            Some(table) => Ok(table.get(request)?.map(|bytes| bytes.value().to_vec())),
            None => Ok(None),
        }
    }

    /// All vetoes that are kept.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn vetoes(&self) -> Result<Vec<VetoRow>, StoreError> {
        let Some(table) = table(&self.read()?, VETOES)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in table.iter()? {
            let (key, bytes) = entry?;
            found.push(VetoRow::decode(&key.value().0, bytes.value())?);
        }
        Ok(found)
    }
}

/// What [`Store::prune`] drops of this file's tables: requests, and vetoes of requests.
#[derive(Default)]
pub(super) struct Outdated {
    waiting: Vec<[u8; 32]>,
    vetoes: Vec<([u8; 32], [u8; 32])>,
}

impl Outdated {
    pub(super) fn find(transaction: &ReadTransaction, now: u64) -> Result<Self, StoreError> {
        let mut found = Self::default();
        if let Some(waiting) = table(transaction, WAITING)? {
            found.waiting = sorted_out(&waiting, now)?.1;
        }
        if let Some(vetoes) = table(transaction, VETOES)? {
            for entry in vetoes.iter()? {
                let (key, bytes) = entry?;
                if VetoRow::decode(&key.value().0, bytes.value())?.until < now {
                    found.vetoes.push(key.value());
                }
            }
        }
        Ok(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.vetoes.is_empty()
    }

    pub(super) fn remove(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        for request in self.waiting {
            forget(transaction, &request)?;
        }
        let mut vetoes = transaction.open_table(VETOES)?;
        for veto in self.vetoes {
            vetoes.remove(veto)?;
        }
        Ok(())
    }
}

/// A request that is signed waits no more.
pub(super) fn forget(transaction: &WriteTransaction, request: &[u8; 32]) -> Result<(), StoreError> {
    transaction.open_table(WAITING)?.remove(request)?;
    transaction.open_table(WAITING_REQUESTS)?.remove(request)?;
    Ok(())
}

fn find(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    request: &[u8; 32],
) -> Result<Option<WaitingRow>, StoreError> {
    table.get(request)?.map(|bytes| WaitingRow::decode(request, bytes.value())).transpose()
}

fn rows(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
) -> Result<Vec<([u8; 32], WaitingRow)>, StoreError> {
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (request, bytes) = entry?;
        let request = request.value();
        found.push((request, WaitingRow::decode(&request, bytes.value())?));
    }
    Ok(found)
}

/// Those that can still be signed, and those that have expired.
fn sorted_out(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    now: u64,
) -> Result<(Vec<WaitingRow>, Vec<[u8; 32]>), StoreError> {
    let (mut alive, mut expired) = (Vec::new(), Vec::new());
    for (request, row) in rows(table)? {
        if row.expires <= now { expired.push(request) } else { alive.push(row) }
    }
    Ok((alive, expired))
}

fn is_full(alive: &[WaitingRow], new: &WaitingRow) -> Option<Full> {
    let of_key = alive.iter().filter(|row| row.key == new.key);
    let of_client = of_key.clone().filter(|row| row.client == new.client);
    if of_client.count() >= MAX_WAITING_OF_CLIENT {
        Some(Full::Client)
    } else if of_key.count() >= MAX_WAITING_OF_KEY {
        Some(Full::Key)
    } else {
        (alive.len() >= MAX_WAITING).then_some(Full::Party)
    }
}

fn vetoes_of(
    table: &impl ReadableTable<([u8; 32], [u8; 32]), &'static [u8]>,
    request: &[u8; 32],
) -> Result<Vec<([u8; 32], VetoRow)>, StoreError> {
    let mut found = Vec::new();
    for entry in table.range((*request, [0; 32])..=(*request, [0xff; 32]))? {
        let (key, bytes) = entry?;
        found.push((key.value().1, VetoRow::decode(request, bytes.value())?));
    }
    Ok(found)
}

fn unseen(
    table: &impl ReadableTable<([u8; 32], [u8; 32]), &'static [u8]>,
    key: &[u8; 16],
    vetoer: &[u8; 32],
) -> Result<usize, StoreError> {
    let mut count = 0;
    for entry in table.iter()? {
        let (place, bytes) = entry?;
        let (request, by) = place.value();
        if by == *vetoer {
            let row = VetoRow::decode(&request, bytes.value())?;
            count += usize::from(!row.seen && row.key == *key);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [1; 16];

    fn store() -> Store {
        Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    fn hash(number: u32) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    fn row(client: u8, since: u64, expires: u64) -> WaitingRow {
        WaitingRow { key: KEY, client: [client; 32], since, expires }
    }

    fn veto(at: u64, until: u64) -> VetoRow {
        VetoRow { key: KEY, at, until, seen: false, veto: vec![7] }
    }

    fn add(store: &Store, request: u32, row: &WaitingRow) -> AwaitOutcome {
        store.await_request(hash(request), row, b"bytes", b"waits".to_vec()).unwrap()
    }

    #[test]
    fn the_first_record_stays_and_is_audited_once() {
        let store = store();
        assert_eq!(store.memory(hash(1)).unwrap(), Memory::default());
        assert_eq!(add(&store, 1, &row(1, 100, 900)), AwaitOutcome::Recorded);
        for later in [50, 100, 500] {
            let other = store.await_request(hash(1), &row(2, later, 900), b"x", Vec::new());
            assert_eq!(other, Ok(AwaitOutcome::Known));
        }
        assert_eq!(store.memory(hash(1)).unwrap().since, Some(100));
        assert_eq!(store.waiting_request(hash(1)).unwrap(), Some(b"bytes".to_vec()));
        assert_eq!(store.waiting().unwrap(), [(hash(1), row(1, 100, 900))]);
        assert_eq!(store.audit(1, 9).unwrap().len(), 1);
    }

    #[test]
    fn places_are_bounded_by_client_key_and_in_all_and_expiry_makes_room() {
        let store = store();
        for number in 0..MAX_WAITING_OF_CLIENT as u32 {
            assert_eq!(add(&store, number, &row(1, 100, 900)), AwaitOutcome::Recorded);
        }
        assert_eq!(add(&store, 100, &row(1, 100, 900)), AwaitOutcome::Full(Full::Client));
        assert_eq!(add(&store, 0, &row(1, 100, 900)), AwaitOutcome::Known, "though it is full");
        for number in MAX_WAITING_OF_CLIENT..MAX_WAITING_OF_KEY {
            let client = 2 + (number % 40) as u8;
            let next = row(client, 100, 1000);
            assert_eq!(add(&store, number as u32, &next), AwaitOutcome::Recorded, "{number}");
        }
        assert_eq!(add(&store, 100, &row(50, 100, 900)), AwaitOutcome::Full(Full::Key));
        // Another key has places of its own, until there are none at all.
        let mut number = 1000;
        let full = loop {
            let mut next = row((number % 200) as u8, 100, 1000);
            next.key[..4].copy_from_slice(&(number / 60_u32).to_be_bytes());
            match add(&store, number, &next) {
                AwaitOutcome::Recorded => number += 1,
                other => break other,
            }
        };
        assert_eq!(full, AwaitOutcome::Full(Full::Party));
        assert_eq!(store.waiting().unwrap().len(), MAX_WAITING);
        // At 900 the first client's have expired.
        assert_eq!(add(&store, 100, &row(1, 899, 2000)), AwaitOutcome::Full(Full::Client));
        assert_eq!(add(&store, 100, &row(1, 900, 2000)), AwaitOutcome::Recorded);
        assert_eq!(store.waiting().unwrap().len(), MAX_WAITING - MAX_WAITING_OF_CLIENT + 1);
        assert_eq!(store.waiting_request(hash(0)).unwrap(), None);
    }

    #[test]
    fn a_veto_is_kept_before_and_after_its_request() {
        let store = store();
        let by = |vetoer: u8, until| {
            store.add_veto(hash(1), [vetoer; 32], veto(90, until), b"veto".to_vec()).unwrap()
        };
        assert_eq!(by(8, 200), VetoOutcome::Stored);
        assert_eq!(by(8, 300), VetoOutcome::Known);
        assert_eq!(by(8, 250), VetoOutcome::Known);
        assert_eq!(store.vetoes().unwrap()[0].until, 300, "the later of them");
        assert_eq!(store.memory(hash(1)).unwrap().vetoers, [[8; 32]]);
        add(&store, 1, &row(1, 100, 900));
        assert_eq!(by(9, 200), VetoOutcome::Stored);
        assert_eq!(store.memory(hash(1)).unwrap().vetoers, [[8; 32], [9; 32]]);
        let until = |row: &VetoRow| (row.seen, row.until);
        let both: Vec<_> = store.vetoes().unwrap().iter().map(until).collect();
        assert_eq!(both, [(true, 900 + spend::MARGIN); 2], "as long as it could be signed");
        // The request is dropped with its expiry, its vetoes a day later: a clock may have been ahead.
        store.prune(899).unwrap();
        assert_eq!(store.memory(hash(1)).unwrap().since, Some(100));
        store.prune(900).unwrap();
        assert_eq!(store.memory(hash(1)).unwrap().since, None);
        assert_eq!(store.waiting_request(hash(1)).unwrap(), None);
        store.prune(900 + spend::MARGIN).unwrap();
        assert_eq!(store.memory(hash(1)).unwrap().vetoers.len(), 2);
        store.prune(901 + spend::MARGIN).unwrap();
        assert_eq!(store.memory(hash(1)).unwrap(), Memory::default());
        assert_eq!(store.audit(1, 9).unwrap().len(), 3);
    }

    #[test]
    fn vetoes_of_what_nobody_has_seen_are_bounded_by_vetoer_and_key() {
        let store = store();
        let of = |number: u32, vetoer: u8, key: u8| {
            let row = VetoRow { key: [key; 16], ..veto(90, 200) };
            store.add_veto(hash(number), [vetoer; 32], row, Vec::new()).unwrap()
        };
        add(&store, 5000, &row(1, 100, 900));
        for number in 0..MAX_VETOES_UNSEEN as u32 {
            assert_eq!(of(number, 8, 1), VetoOutcome::Stored);
        }
        assert_eq!(of(1000, 8, 1), VetoOutcome::Full);
        assert_eq!(of(0, 8, 1), VetoOutcome::Known);
        assert_eq!(of(1000, 9, 1), VetoOutcome::Stored, "another vetoer has places of its own");
        assert_eq!(of(1001, 8, 2), VetoOutcome::Stored, "another key as well");
        assert_eq!(of(5000, 8, 1), VetoOutcome::Stored, "of a request that waits, always");
    }
}
