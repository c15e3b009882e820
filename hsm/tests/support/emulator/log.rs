//! The device's audit log: 62 entries, each chained to the one before by a truncated SHA-256.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

pub(crate) const CAPACITY: usize = 62;
/// Where an entry names no key.
pub(crate) const NONE: u16 = 0xffff;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) number: u16,
    pub(crate) command: u8,
    pub(crate) length: u16,
    pub(crate) session_key: u16,
    pub(crate) target_key: u16,
    pub(crate) second_key: u16,
    pub(crate) result: u8,
    pub(crate) tick: u32,
    pub(crate) digest: [u8; 16],
}

impl Entry {
    fn data(&self) -> Vec<u8> {
        [
            self.number.to_be_bytes().as_slice(),
            &[self.command],
            &self.length.to_be_bytes(),
            &self.session_key.to_be_bytes(),
            &self.target_key.to_be_bytes(),
            &self.second_key.to_be_bytes(),
            &[self.result],
            &self.tick.to_be_bytes(),
        ]
        .concat()
    }
}

/// What an entry is about; the log adds the rest.
pub(crate) struct Event {
    pub(crate) command: u8,
    pub(crate) length: usize,
    pub(crate) session_key: u16,
    pub(crate) target_key: u16,
    pub(crate) result: u8,
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) entries: VecDeque<Entry>,
    number: u16,
    digest: [u8; 16],
    /// The last entry that was drained.
    index: u16,
    pub(crate) force: bool,
    /// Commands that are not logged.
    pub(crate) silent: BTreeMap<u8, ()>,
    unlogged_boots: u16,
    unlogged_authentications: u16,
    tick: u32,
}

impl Log {
    /// As after a factory reset: one entry of ones, with a random digest.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let first = Entry {
            number: 1,
            command: 0xff,
            length: 0xffff,
            session_key: NONE,
            target_key: NONE,
            second_key: NONE,
            result: 0xff,
            tick: u32::MAX,
            digest: seed,
        };
        let mut log = Self {
            entries: VecDeque::from([first]),
            number: 1,
            digest: seed,
            index: 0,
            force: false,
            silent: BTreeMap::new(),
            unlogged_boots: 0,
            unlogged_authentications: 0,
            tick: 0,
        };
        log.boot();
        log
    }

    pub(crate) fn full(&self) -> bool {
        self.entries.len() >= CAPACITY
    }

    pub(crate) fn boot(&mut self) {
        if self.force && self.full() {
            self.unlogged_boots += 1;
            return;
        }
        self.tick = 0;
        let keys = (NONE, 0, 0);
        self.append(0, 0, keys, 0);
    }

    /// Sessions are logged if there is room, and never refused for want of it.
    pub(crate) fn session(&mut self, event: Event) {
        if self.force && self.full() {
            self.unlogged_authentications += 1;
        } else {
            self.record(event);
        }
    }

    pub(crate) fn record(&mut self, event: Event) {
        if self.silent.contains_key(&event.command) {
            return;
        }
        self.tick += 7;
        let keys = (event.session_key, event.target_key, NONE);
        self.append(event.command, u16::try_from(event.length).unwrap(), keys, event.result);
    }

    fn append(&mut self, command: u8, length: u16, keys: (u16, u16, u16), result: u8) {
        if self.full() {
            self.entries.pop_front();
        }
        self.number = self.number.wrapping_add(1);
        let mut entry = Entry {
            number: self.number,
            command,
            length,
            session_key: keys.0,
            target_key: keys.1,
            second_key: keys.2,
            result,
            tick: self.tick,
            digest: [0; 16],
        };
        let hash = Sha256::new().chain_update(entry.data()).chain_update(self.digest).finalize();
        entry.digest.copy_from_slice(&hash[..16]);
        self.digest = entry.digest;
        self.entries.push_back(entry);
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        let mut out =
            [self.unlogged_boots, self.unlogged_authentications].map(u16::to_be_bytes).concat();
        out.push(u8::try_from(self.entries.len()).unwrap());
        for entry in &self.entries {
            out.extend(entry.data());
            out.extend(entry.digest);
        }
        out
    }

    /// Whatever is not after `index` may be overwritten from now on.
    pub(crate) fn set_index(&mut self, index: u16) {
        self.index = index;
        self.entries.retain(|entry| entry.number > index);
        (self.unlogged_boots, self.unlogged_authentications) = (0, 0);
    }
}
