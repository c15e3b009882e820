//! What a store must answer and hold, in the simplest terms: maps in memory.

use std::collections::BTreeMap;

use quorate_core::policy::Amount;
use quorate_node::store::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

pub type Key = [u8; 16];
pub type Hash = [u8; 32];

const DAY: u64 = 86_400;
/// Windows that are looked into, in seconds; the first is the one that limits.
pub const WINDOWS: [u32; 4] = [600, 60, 86_400, MAX_WINDOW];

/// The most that one of [`WINDOWS`] may hold.
pub const LIMIT: u128 = 500;

#[derive(Clone, Debug)]
pub enum Change {
    Insert(KeyRow),
    Confirm(Key, u16, Vec<u8>),
    Activate(Key, Vec<u8>),
    Reseal(Key, Vec<u8>),
    Spend(Spend),
    Finish(Hash, Key, u64, Vec<u8>, Vec<u8>),
    Await(Hash, WaitingRow, Vec<u8>),
    Veto(Hash, VetoRow, Vec<u8>),
    Audit(Vec<u8>),
    Prune(u64),
}

/// Whose vetoes these are.
const VETOER: [u8; 32] = [9; 32];

pub type Answer = Result<Option<SpendOutcome>, StoreError>;

pub fn perform(store: &Store, change: Change) -> Answer {
    match change {
        Change::Insert(row) => store.insert_pending(row),
        Change::Confirm(key, party, bytes) => store.add_confirmation(key, party, bytes),
        Change::Activate(key, certificate) => store.activate(key, certificate),
        Change::Reseal(key, sealed) => store.replace_sealed(key, sealed),
        Change::Finish(hash, key, expires, outcome, audit) => {
            store.finish(hash, key, expires, outcome, audit)
        }
        Change::Await(hash, row, audit) => {
            store.await_request(hash, &row, &hash, audit).map(|outcome| {
                assert_ne!(outcome, AwaitOutcome::Full(Full::Party));
            })
        }
        Change::Veto(hash, row, audit) => store.add_veto(hash, VETOER, row, audit).map(drop),
        Change::Audit(record) => store.audit_append(record),
        Change::Prune(now) => store.prune(now),
        Change::Spend(spend) => {
            let foretold = store.check_spend(&spend);
            let outcome = store.spend(spend);
            if outcome.is_ok() {
                assert_eq!(outcome, foretold, "check_spend says what spend does");
            }
            return outcome.map(Some);
        }
    }
    .map(|()| None)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub keys: BTreeMap<Key, KeyRow>,
    pub requests: BTreeMap<Hash, RequestRow>,
    pub spends: BTreeMap<(Key, u64, Hash), u128>,
    pub waiting: BTreeMap<Hash, WaitingRow>,
    pub vetoes: BTreeMap<Hash, VetoRow>,
    pub audit: Vec<Vec<u8>>,
}

impl Model {
    pub fn apply(&mut self, change: Change) -> Answer {
        match change {
            Change::Insert(row) => {
                let key = row.key;
                if self.keys.contains_key(&key) {
                    return Err(StoreError::Exists { key });
                }
                self.keys.insert(key, row);
            }
            Change::Confirm(key, party, bytes) => {
                let row = self.keys.get_mut(&key).ok_or(StoreError::Unknown { key })?;
                if row.confirmations.get(&party).is_some_and(|first| *first != bytes) {
                    let with = Contradiction::Confirmation { party };
                    return Err(StoreError::Conflict { key, with });
                }
                row.confirmations.insert(party, bytes);
            }
            Change::Activate(key, certificate) => {
                let row = self.keys.get_mut(&key).ok_or(StoreError::Unknown { key })?;
                if row.certificate.as_ref().is_some_and(|first| *first != certificate) {
                    return Err(StoreError::Conflict { key, with: Contradiction::Certificate });
                }
                row.state = KeyState::Active;
                row.certificate = Some(certificate);
            }
            Change::Reseal(key, sealed) => {
                self.keys.get_mut(&key).ok_or(StoreError::Unknown { key })?.sealed = sealed;
            }
            Change::Spend(spend) => return self.spend(spend).map(Some),
            Change::Finish(hash, key, expires, outcome, audit) => {
                if !self.keys.contains_key(&key) {
                    return Err(StoreError::Unknown { key });
                }
                let new = RequestRow { key, expires, counted: false, outcome: None };
                let row = self.requests.entry(hash).or_insert(new);
                if row.outcome.is_none() {
                    row.outcome = Some(outcome);
                    self.audit.push(audit);
                    self.waiting.remove(&hash);
                }
            }
            Change::Await(hash, row, audit) => self.wait(hash, row, audit),
            Change::Veto(hash, row, audit) => self.veto(hash, row, audit),
            Change::Audit(record) => self.audit.push(record),
            Change::Prune(now) => {
                self.waiting.retain(|_, row| row.expires > now);
                self.vetoes.retain(|_, row| row.until >= now);
                self.requests.retain(|_, row| row.expires + DAY >= now);
                self.spends.retain(|(_, time, _), _| time + u64::from(MAX_WINDOW) > now);
            }
        }
        Ok(None)
    }

    fn wait(&mut self, hash: Hash, row: WaitingRow, audit: Vec<u8>) {
        let alive = self.waiting.values().filter(|other| other.expires > row.since);
        let of_key = alive.filter(|other| other.key == row.key).count();
        // All are of one client.
        if self.waiting.contains_key(&hash) || of_key >= MAX_WAITING_OF_CLIENT {
            return;
        }
        self.waiting.retain(|_, other| other.expires > row.since);
        self.waiting.insert(hash, row);
        if let Some(veto) = self.vetoes.get_mut(&hash) {
            (veto.seen, veto.until) = (true, veto.until.max(row.expires + DAY));
        }
        self.audit.push(audit);
    }

    fn veto(&mut self, hash: Hash, mut row: VetoRow, audit: Vec<u8>) {
        let expires = self.waiting.get(&hash).map(|row| row.expires);
        let expires = expires.or(self.requests.get(&hash).map(|row| row.expires));
        let mut unseen = self.vetoes.values().filter(|veto| veto.key == row.key && !veto.seen);
        let room = expires.is_some() || unseen.by_ref().count() < MAX_VETOES_UNSEEN;
        if let Some(old) = self.vetoes.get_mut(&hash) {
            // The later of the two says until when.
            if !old.seen && row.until > old.until {
                *old = row;
            }
            return;
        }
        if !room {
            return;
        }
        row.seen = expires.is_some();
        row.until = expires.map_or(row.until, |expires| expires + DAY);
        self.vetoes.insert(hash, row);
        self.audit.push(audit);
    }

    fn spend(&mut self, spend: Spend) -> Result<SpendOutcome, StoreError> {
        let key = spend.key;
        let row = self.keys.get(&key).ok_or(StoreError::Unknown { key })?;
        if row.state != KeyState::Active {
            return Err(StoreError::Conflict { key, with: Contradiction::NotActive });
        }
        let Grant { charges, audit } = spend.grants[0].clone();
        if self.requests.get(&spend.request).is_some_and(|row| row.counted) {
            self.audit.push(audit);
            return Ok(SpendOutcome::AlreadyCounted);
        }
        let (seconds, limit) = charges[0].window.unwrap();
        let (amount, limit) = (small(&charges[0].amount), small(&limit));
        let spent = self.spent(&key, spend.now, seconds);
        if spent + amount > limit {
            return Ok(SpendOutcome::OverLimit { spent: wide(spent), limit: wide(limit) });
        }
        self.spends.insert((key, spend.now, spend.request), amount);
        let new = RequestRow { key, expires: spend.expires, counted: false, outcome: None };
        self.requests.entry(spend.request).or_insert(new).counted = true;
        self.audit.push(audit);
        Ok(SpendOutcome::Counted)
    }

    pub fn spent(&self, key: &Key, now: u64, seconds: u32) -> u128 {
        let counts =
            |(of, time, _): &(Key, u64, Hash)| of == key && time + u64::from(seconds) > now;
        self.spends.iter().filter(|(entry, _)| counts(entry)).map(|(_, amount)| amount).sum()
    }

    /// What can be asked of a store, answered by the model.
    pub fn view(&self, now: u64) -> View {
        let active = self.keys.values().filter(|row| row.state == KeyState::Active);
        let looks = active.flat_map(|row| WINDOWS.map(|seconds| (row.key, seconds)));
        View {
            keys: self.keys.values().cloned().collect(),
            requests: self.requests.clone(),
            spent: looks.map(|(key, s)| ((key, s), self.spent(&key, now, s))).collect(),
            waiting: self.waiting.clone(),
            vetoes: self.vetoes.values().cloned().collect(),
            audit: self.audit.clone(),
        }
    }
}

/// What can be asked of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub keys: Vec<KeyRow>,
    pub requests: BTreeMap<Hash, RequestRow>,
    pub spent: BTreeMap<(Key, u32), u128>,
    pub waiting: BTreeMap<Hash, WaitingRow>,
    pub vetoes: Vec<VetoRow>,
    pub audit: Vec<Vec<u8>>,
}

/// Asks a store everything. The audit chain is checked on the way.
pub fn view(store: &Store, now: u64, hashes: &[Hash]) -> Result<View, StoreError> {
    let keys = store.keys()?;
    for row in &keys {
        assert_eq!(store.key(row.key)?.as_ref(), Some(row));
    }
    let mut spent = BTreeMap::new();
    for row in keys.iter().filter(|row| row.state == KeyState::Active) {
        for seconds in WINDOWS {
            spent.insert((row.key, seconds), ask_spent(store, row.key, now, seconds)?);
        }
    }
    let mut requests = BTreeMap::new();
    for hash in hashes {
        requests.extend(store.request(*hash)?.map(|row| (*hash, row)));
    }
    let count = store.audit_verify()?;
    let mut audit = Vec::new();
    while let Some(from) = Some(audit.len() as u64 + 1).filter(|from| *from <= count) {
        audit.extend(store.audit(from, 7)?.into_iter().map(|entry| entry.record));
    }
    let waiting: BTreeMap<Hash, WaitingRow> = store.waiting()?.into_iter().collect();
    let vetoes = store.vetoes()?;
    for (hash, row) in &waiting {
        assert_eq!(store.waiting_request(*hash)?, Some(hash.to_vec()), "its bytes are there");
        assert_eq!(store.memory(*hash)?.since, Some(row.since));
    }
    Ok(View { keys, requests, spent, waiting, vetoes, audit })
}

/// One way to count, in one series: a limit of it, and what counts whether or not there is a limit.
pub fn grants(amount: [u8; 32], window: Option<(u32, [u8; 32])>, audit: Vec<u8>) -> Vec<Grant> {
    let charge = |window| Charge { series: [5; 16], amount, window };
    vec![Grant { charges: vec![charge(window), charge(None)], audit }]
}

/// A spend of nothing in a window without room tells what is in the window.
pub fn ask_spent(store: &Store, key: Key, now: u64, seconds: u32) -> Result<u128, StoreError> {
    let window = Some((seconds, wide(0)));
    let (request, grants) = ([0xee; 32], grants(wide(0), window, Vec::new()));
    let question = Spend { request, key, now, expires: 0, grants };
    match store.check_spend(&question)? {
        SpendOutcome::OverLimit { spent, .. } => Ok(small(&spent)),
        _ => Ok(0),
    }
}

pub fn wide(amount: u128) -> [u8; 32] {
    Amount::from_u128(amount).to_be_bytes()
}

pub fn small(amount: &[u8; 32]) -> u128 {
    let (high, low) = amount.split_at(16);
    assert_eq!(high, [0; 16]);
    u128::from_be_bytes(low.try_into().unwrap())
}

pub fn key_row(key: Key, sealed: Vec<u8>) -> KeyRow {
    KeyRow {
        key,
        name: hex::encode(key),
        state: KeyState::Pending,
        public: vec![1; 80],
        policy: vec![2; 200],
        policy_version: 1,
        sealed,
        confirmations: [(1, vec![1; 64])].into_iter().collect(),
        certificate: None,
        sequence: 1,
        created: 5,
    }
}

struct Request {
    hash: Hash,
    key: Key,
    expires: u64,
    amount: u128,
}

/// Thinks of changes, most of them sensible.
pub struct Workload {
    pub rng: ChaCha20Rng,
    pub now: u64,
    requests: Vec<Request>,
    serial: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { rng, now: 1_800_000_000, requests: Vec::new(), serial: 0 }
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    pub fn hashes(&self) -> Vec<Hash> {
        self.requests.iter().map(|request| request.hash).collect()
    }

    fn key(&mut self) -> Key {
        [self.below(3) as u8; 16]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Time goes on, now and then by days, and sometimes the clock is put back.
    fn pass_time(&mut self) {
        match self.below(40) {
            0 => self.now += self.rng.next_u64() % (20 * DAY),
            1 => self.now -= self.rng.next_u64() % 900,
            _ => self.now += self.rng.next_u64() % 60,
        }
    }

    fn request(&mut self) -> usize {
        if self.requests.is_empty() || self.below(3) == 0 {
            let (key, hash) = (self.key(), self.bytes(32).try_into().unwrap());
            let expires = self.now + self.below(DAY);
            let amount = u128::from(self.below(200));
            self.requests.push(Request { hash, key, expires, amount });
        }
        // Mostly the newest ones: they are the ones that are repeated.
        let back = self.below(6) as usize;
        (self.requests.len() - 1).saturating_sub(back)
    }

    pub fn next(&mut self) -> Change {
        self.pass_time();
        self.serial += 1;
        let audit = format!("change {}", self.serial).into_bytes();
        match self.below(23) {
            0..=1 => {
                let size = if self.below(8) == 0 { MAX_SEALED } else { 3000 };
                let key = self.key();
                let sealed = self.bytes(size);
                Change::Insert(key_row(key, sealed))
            }
            2..=4 => {
                let (party, which) = (self.below(4) as u16 + 1, self.below(20) / 19);
                let length = 100 + party as usize;
                Change::Confirm(self.key(), party, vec![which as u8; length])
            }
            5..=6 => Change::Activate(self.key(), vec![(self.below(20) / 19) as u8; 400]),
            7 => {
                let key = self.key();
                Change::Reseal(key, self.bytes(3000))
            }
            8..=14 => {
                let at = self.request();
                let Request { hash, key, expires, amount } = self.requests[at];
                let (now, window) = (self.now, Some((WINDOWS[0], wide(LIMIT))));
                let grants = grants(wide(amount), window, audit);
                Change::Spend(Spend { request: hash, key, now, expires, grants })
            }
            15..=17 => {
                let at = self.request();
                let outcome = self.bytes(100);
                let Request { hash, key, expires, .. } = self.requests[at];
                Change::Finish(hash, key, expires, outcome, audit)
            }
            18 => Change::Audit(audit),
            20..=21 => {
                let at = self.request();
                let (Request { hash, key, expires, .. }, since) = (&self.requests[at], self.now);
                let row = WaitingRow { key: *key, client: [1; 32], since, expires: *expires };
                Change::Await(*hash, row, audit)
            }
            22 => {
                let at = self.request();
                let Request { hash, key, .. } = self.requests[at];
                let (now, veto) = (self.now, hash.to_vec());
                let row = VetoRow { key, at: now, until: now + DAY, seen: false, veto };
                Change::Veto(hash, row, audit)
            }
            _ => Change::Prune(self.now),
        }
    }
}
