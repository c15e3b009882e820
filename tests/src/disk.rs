//! A disk in memory that forgets: everything written since the last sync may be lost in a crash, in
//! any combination, down to single sectors.
//!
//! ```
//! use quorate_tests::disk::SimulatedDisk;
//! use redb::StorageBackend as _;
//!
//! let disk = SimulatedDisk::new();
//! disk.set_len(4096)?;
//! disk.write(0, b"kept")?;
//! disk.sync_data()?;
//! disk.crash_after(1); // one more change succeeds, the next one is the last
//! disk.write(0, b"lost, or not")?;
//! assert!(disk.sync_data().is_err());
//! assert!(disk.len().is_err(), "from now on everything fails");
//!
//! let disk = disk.after_crash(7); // what a reboot finds, decided by the seed
//! assert_eq!(disk.len()?, 4096);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What a crash may leave:
//! - Of every unsynced write each 512-byte sector by itself survives or not. So a write may be torn,
//!   later writes may survive without earlier ones, and of two writes to one sector either may be the
//!   last that is seen: that is every order in which a disk could have written them.
//! - Changes of the length survive in their order, up to some point, as those of a file system with
//!   a journal do. What was written beyond the surviving length is gone; what a length change opens
//!   reads as zeros.
//! - What `sync_data` has covered stays, unless [`SimulatedDisk::lie_from`] makes the disk a liar: a
//!   checker that finds no losses should be shown one that it finds.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

const SECTOR: usize = 512;

/// A handle to the disk; clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What a crash cannot take.
    synced: Vec<u8>,
    /// What reads see.
    current: Vec<u8>,
    /// From `synced` to `current`.
    unsynced: Vec<Change>,
    /// Changes so far: writes, lengths and syncs.
    changes: u64,
    crash_at: Option<u64>,
    crashed: bool,
    syncs: u64,
    lie_from: Option<u64>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        let (length, unsynced) = (state.current.len(), state.unsynced.len());
        write!(f, "SimulatedDisk({length} bytes, {unsynced} unsynced changes)")
    }
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::from_bytes(Vec::new())
    }

    /// A disk with these bytes, synced.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let state = State { synced: bytes.clone(), current: bytes, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What a process sees now, synced or not.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state().current.clone()
    }

    /// How many writes, length changes and syncs there were: the clock of [`Self::crash_after`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many syncs there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Lets `changes` more changes succeed; the one after them fails, and with it everything. That one
    /// may have happened in part; a sync that fails so has synced nothing for sure.
    pub fn crash_after(&self, changes: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.changes.saturating_add(changes));
    }

    /// Takes back [`Self::crash_after`], unless the crash has happened.
    pub fn disarm(&self) {
        self.state().crash_at = None;
    }

    /// From now on everything fails.
    pub fn crash(&self) {
        self.state().crashed = true;
    }

    /// Whether the crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// From the `sync`th sync on (the first is 0), syncs are answered and not done, and a crash takes
    /// everything since: a disk whose cache lies.
    pub fn lie_from(&self, sync: u64) {
        self.state().lie_from = Some(sync);
    }

    /// The disk as a reboot finds it: the synced bytes, and of the unsynced changes those that `seed`
    /// lets survive. This disk stays as it is, so that one crash can be followed by many reboots.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let state = self.state();
        if state.lie_from.is_some_and(|from| state.syncs > from) {
            return Self::from_bytes(state.synced.clone());
        }
        Self::from_bytes(survivors(&state, &mut ChaCha20Rng::seed_from_u64(seed)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn survivors(state: &State, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let lengths =
        state.unsynced.iter().filter(|change| matches!(change, Change::Length(_))).count();
    let mut lengths_left = rng.next_u64() % (lengths as u64 + 1);
    // From "nothing survived" to "all of it did"; even odds alone would hardly ever show those two.
    let odds = u64::from(rng.next_u32() % 5) * 25;
    let mut bytes = state.synced.clone();
    for change in &state.unsynced {
        match change {
            Change::Length(length) => {
                if lengths_left > 0 {
                    lengths_left -= 1;
                    bytes.resize(*length, 0);
                }
            }
            Change::Write { offset, bytes: written } => {
                for (start, sector) in sectors(*offset, written) {
                    if rng.next_u64() % 100 < odds {
                        overwrite(&mut bytes, start, sector);
                    }
                }
            }
        }
    }
    bytes
}

/// Cuts a write at the disk's sector boundaries.
fn sectors(offset: usize, written: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let head = (SECTOR - offset % SECTOR).min(written.len());
    let (head, rest) = written.split_at(head);
    let start = offset + head.len();
    let rest = rest.chunks(SECTOR).enumerate().map(move |(i, s)| (start + i * SECTOR, s));
    std::iter::once((offset, head)).chain(rest)
}

/// Overwrites what lies within the length.
fn overwrite(bytes: &mut [u8], offset: usize, written: &[u8]) {
    let place = bytes.iter_mut().skip(offset);
    place.zip(written).for_each(|(to, from)| *to = *from);
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.crashed {
            Err(io::Error::other("the simulated machine has crashed"))
        } else {
            Ok(())
        }
    }

    fn change(&mut self, change: Change) {
        match &change {
            Change::Length(length) => self.current.resize(*length, 0),
            Change::Write { offset, bytes } => overwrite(&mut self.current, *offset, bytes),
        }
        self.unsynced.push(change);
    }

    /// Counts one change; the crash comes in the middle of it.
    fn tick(&mut self) -> io::Result<()> {
        self.crashed |= self.crash_at == Some(self.changes);
        self.changes += 1;
        self.alive()
    }

    fn sync(&mut self) {
        if self.lie_from.is_some_and(|from| self.syncs >= from) {
            return;
        }
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(length) => self.synced.resize(length, 0),
                Change::Write { offset, bytes } => overwrite(&mut self.synced, offset, &bytes),
            }
        }
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl redb::StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.alive()?;
        let start = place(offset)?;
        let end = start.checked_add(out.len());
        let bytes = end.and_then(|end| state.current.get(start..end));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.change(Change::Length(place(len)?));
        state.tick()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.tick()?;
        state.sync();
        state.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let offset = place(offset)?;
        let end = offset.checked_add(data.len()).ok_or(io::ErrorKind::InvalidInput)?;
        if end > state.current.len() {
            state.change(Change::Length(end));
        }
        state.change(Change::Write { offset, bytes: data.to_vec() });
        state.tick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::StorageBackend as _;
    use std::collections::BTreeSet;

    /// Two synced sectors of `a`, then unsynced: `b` over both, a third sector, and `c` into it.
    fn disk() -> SimulatedDisk {
        let disk = SimulatedDisk::from_bytes(vec![b'a'; 2 * SECTOR]);
        disk.write(0, &vec![b'b'; 2 * SECTOR]).unwrap();
        disk.set_len(3 * SECTOR as u64).unwrap();
        disk.write(2 * SECTOR as u64, &vec![b'c'; SECTOR]).unwrap();
        disk
    }

    #[test]
    fn reboots_find_every_combination_and_nothing_else() {
        let disk = disk();
        let found: BTreeSet<Vec<u8>> = (0..500)
            .map(|seed| {
                let bytes = disk.after_crash(seed).bytes();
                let sectors = bytes.chunks(SECTOR);
                sectors
                    .map(|sector| {
                        assert!(sector.iter().all(|byte| *byte == sector[0]), "torn in a sector");
                        sector[0]
                    })
                    .collect()
            })
            .collect();
        let mut expected = BTreeSet::new();
        for first in *b"ab" {
            for second in *b"ab" {
                expected.insert(vec![first, second]);
                expected.insert(vec![first, second, 0]);
                expected.insert(vec![first, second, b'c']);
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn synced_bytes_stay_unless_the_disk_lies() {
        let disk = disk();
        disk.sync_data().unwrap();
        let bytes = disk.bytes();
        assert!((0..50).all(|seed| disk.after_crash(seed).bytes() == bytes));
        disk.lie_from(disk.syncs());
        disk.write(0, b"lied about").unwrap();
        disk.sync_data().unwrap();
        assert_eq!(&disk.bytes()[..10], b"lied about");
        assert!((0..50).all(|seed| disk.after_crash(seed).bytes() == bytes));
    }

    #[test]
    fn the_armed_change_is_the_last_and_may_have_happened() {
        let disk = SimulatedDisk::from_bytes(vec![0; SECTOR]);
        disk.crash_after(2);
        disk.write(0, b"1").unwrap();
        disk.sync_data().unwrap();
        assert!(disk.write(0, b"2").is_err());
        assert!(disk.crashed() && disk.len().is_err() && disk.sync_data().is_err());
        assert!(disk.read(0, &mut [0]).is_err() && disk.set_len(0).is_err());
        let found: BTreeSet<u8> = (0..50).map(|seed| disk.after_crash(seed).bytes()[0]).collect();
        assert_eq!(found, BTreeSet::from(*b"12"));
        assert!(!disk.after_crash(0).crashed());
    }

    #[test]
    fn a_sync_that_crashes_has_synced_nothing_for_sure() {
        let disk = SimulatedDisk::from_bytes(vec![b'0'; SECTOR]);
        disk.write(0, b"1").unwrap();
        disk.crash_after(0);
        assert!(disk.sync_data().is_err());
        let found: BTreeSet<u8> = (0..50).map(|seed| disk.after_crash(seed).bytes()[0]).collect();
        assert_eq!(found, BTreeSet::from(*b"01"));
    }
}
