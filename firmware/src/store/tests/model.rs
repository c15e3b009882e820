//! Random work and random power cuts, against a model: nothing acknowledged is lost, no limit is
//! exceeded, sums are exact, and it always opens.

use std::collections::BTreeMap;

use quorate_core::policy::Amount;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::{PAGES, ROOT, held};
use crate::flash_simulator::FlashSimulator;
use crate::journal::{Charge, Head, MAX_WINDOW, Release, ReleaseError};
use crate::store::{MAX_RECORD, Part, Slot, Store, StoreError};

/// As [`slot_of`] numbers them.
const SLOTS: u8 = 18;
const DAY: u64 = 24 * 60 * 60;

#[derive(Clone)]
struct Spent {
    request: [u8; 32],
    key: [u8; 16],
    at: u64,
    expires: u64,
    charges: Vec<Charge>,
}

struct Model<const WORD: usize> {
    flash: FlashSimulator<WORD>,
    random: ChaCha20Rng,
    slots: BTreeMap<u8, Vec<u8>>,
    spent: Vec<Spent>,
    heads: Vec<Head>,
    generation: u32,
    now: u64,
    cuts: u32,
    counts: [u32; 4],
}

fn slot_of(number: u8) -> Slot {
    match number {
        0 => Slot::Identity,
        1 => Slot::Membership,
        _ => Slot::Key(number % 4, Part::Certificate(number / 4 % 4)),
    }
}

impl<const WORD: usize> Model<WORD> {
    fn new(seed: u64) -> Self {
        let mut flash = FlashSimulator::new(PAGES, seed);
        let mut store = Store::open(&mut flash).unwrap();
        store.initialize(&ROOT).unwrap();
        let heads = vec![store.head().unwrap()];
        drop(store);
        Self {
            flash,
            random: ChaCha20Rng::seed_from_u64(seed),
            slots: BTreeMap::new(),
            spent: Vec::new(),
            heads,
            generation: 0,
            now: 1_800_000_000,
            cuts: 0,
            counts: [0; 4],
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    /// Opens, with cuts while it does so; what it finds must be what it was.
    fn reopen(&mut self) {
        while self.below(3) == 0 {
            let steps = self.below(40);
            self.flash.cut_after(steps);
            let opened = Store::open(&mut self.flash).map(drop);
            if self.flash.restore_power() {
                self.cuts += 1;
            } else {
                assert_eq!(opened, Ok(()));
            }
        }
        self.flash.restore_power();
        let store = Store::open(&mut self.flash).unwrap();
        assert!(store.is_initialized());
        assert_eq!(store.fault(), None);
    }

    fn check(&mut self) {
        let mut store = Store::open(&mut self.flash).unwrap();
        for number in 0..SLOTS {
            assert_eq!(held(&mut store, slot_of(number)).as_ref(), self.slots.get(&number));
        }
        let head = store.head().unwrap();
        assert_eq!((head.generation, head.number), (self.generation, self.spent.len() as u64));
        assert_eq!(Some(&head), self.heads.last());
        assert_eq!(store.latest_time().unwrap(), self.spent.last().map_or(0, |last| last.at));
        for old in self.heads.iter().rev().step_by(7).take(5) {
            assert!(store.is_own_head(old).unwrap());
        }
        // Entries of the last 30 days are there, so a forged one is seen.
        if self.spent.len() > 3 {
            let number = head.number - 1;
            let forged = Head { number, hash: [9; 32], ..head };
            assert!(!store.is_own_head(&forged).unwrap());
        }
        assert!(!store.is_own_head(&Head { number: head.number + 1, ..head }).unwrap());
        assert!(!store.is_own_head(&Head { generation: head.generation + 1, ..head }).unwrap());
    }

    /// Perhaps the power fails during what comes next.
    fn maybe_cut(&mut self) -> bool {
        let most = match self.below(5) {
            0 | 1 => 300,
            2 => 3000,
            3 => 20_000,
            _ => return false,
        };
        let steps = self.below(most);
        self.flash.cut_after(steps);
        true
    }

    fn save(&mut self) {
        let number = self.below(SLOTS.into()) as u8;
        // Eighteen long ones do not fit, so that the store is often full.
        let most = [300, MAX_RECORD as u64, MAX_RECORD as u64][self.below(3) as usize];
        let text: Vec<u8> =
            (0..self.below(3000).min(most)).map(|_| self.random.next_u32() as u8).collect();
        let text = (self.below(8) != 0).then_some(text);
        self.maybe_cut();
        let mut store = Store::open(&mut self.flash).unwrap();
        let done = match &text {
            Some(text) => store.save(slot_of(number), text),
            None => store.remove(slot_of(number)),
        };
        drop(store);
        let was_cut = self.flash.restore_power();
        match done {
            Ok(()) => {}
            Err(StoreError::Full) => {
                self.counts[0] += 1;
                let live: usize = self.slots.values().map(|text| text.len() + 256).sum();
                assert!(live + text.unwrap().len() > 13_000, "{live}");
                return;
            }
            Err(error) => {
                assert!(was_cut, "{error:?}");
                self.cuts += 1;
                self.reopen();
                let found = held(&mut Store::open(&mut self.flash).unwrap(), slot_of(number));
                assert!(found == text || found.as_ref() == self.slots.get(&number));
                match found {
                    Some(found) => self.slots.insert(number, found),
                    None => self.slots.remove(&number),
                };
                return;
            }
        }
        match text {
            Some(text) => self.slots.insert(number, text),
            None => self.slots.remove(&number),
        };
    }

    fn new_spend(&mut self) -> Spent {
        // Often one that is known.
        if self.below(5) == 0
            && let Some(last) = self.spent.iter().rev().nth(self.random.next_u32() as usize % 8)
            && last.expires + DAY > self.now
            && last.request != [0; 32]
        {
            return last.clone();
        }
        let mut request = [0; 32];
        self.random.fill_bytes(&mut request);
        let mut charges = Vec::new();
        for _ in 0..self.below(4) {
            let seconds = [60, 3600, 86400, MAX_WINDOW][self.below(4) as usize];
            let limit = Amount::from_u128(u128::from(self.below(3000)));
            charges.push(Charge {
                series: [self.below(3) as u8; 16],
                amount: Amount::from_u128(u128::from(self.below(300))),
                window: (self.below(4) != 0).then_some((seconds, limit)),
            });
        }
        let at = self.now - self.below(100);
        let expires = at + self.below(DAY);
        Spent { request, key: [self.below(2) as u8; 16], at, expires, charges }
    }

    /// What the model says: known, or the first limit without room.
    fn expected(&self, new: &Spent) -> Result<bool, ReleaseError> {
        if self.spent.iter().any(|old| old.request == new.request) {
            return Ok(true);
        }
        let now = new.at.max(self.spent.last().map_or(0, |last| last.at));
        for charge in &new.charges {
            let Some((seconds, limit)) = charge.window else { continue };
            let entries = self
                .spent
                .iter()
                .filter(|old| old.key == new.key && old.at + u64::from(seconds) > now);
            // Several charges of one series are the last of them.
            let amounts = entries.filter_map(|old| {
                old.charges.iter().rev().find(|other| other.series == charge.series)
            });
            let spent = amounts.fold(Amount::ZERO, |sum, one| sum.checked_add(one.amount).unwrap());
            if spent.checked_add(charge.amount).unwrap() > limit {
                return Err(ReleaseError::OverLimit { spent, limit });
            }
        }
        Ok(false)
    }

    fn release(&mut self) {
        let new = self.new_spend();
        let Spent { request, key, at, expires, ref charges } = new;
        let expected = self.expected(&new);
        let release = Release { request, key, at, expires, charges };
        self.maybe_cut();
        let mut store = Store::open(&mut self.flash).unwrap();
        assert_eq!(store.check_release(&release), expected);
        let done = store.release(&release);
        drop(store);
        let was_cut = self.flash.restore_power();
        self.settle(done, expected, new, was_cut);
    }

    /// Whether a release was written or not, by what it said and what is there.
    fn settle(
        &mut self,
        done: Result<Head, ReleaseError>,
        expected: Result<bool, ReleaseError>,
        mut new: Spent,
        was_cut: bool,
    ) {
        new.at = new.at.max(self.spent.last().map_or(0, |last| last.at));
        match done {
            Ok(head) => {
                if expected == Ok(true) {
                    self.counts[1] += 1;
                    assert_eq!(Some(&head), self.heads.last());
                } else {
                    assert_eq!(expected, Ok(false));
                    self.spent.push(new);
                    self.heads.push(head);
                }
            }
            Err(ReleaseError::Store(StoreError::Flash)) if was_cut => {
                self.cuts += 1;
                self.reopen();
                let head = Store::open(&mut self.flash).unwrap().head().unwrap();
                if head.number > self.spent.len() as u64 {
                    assert_eq!(expected, Ok(false));
                    self.spent.push(new);
                    self.heads.push(head);
                }
            }
            Err(ReleaseError::Store(StoreError::Full)) => {
                self.counts[2] += 1;
                let counting = self.spent.iter().rev().take_while(|old| {
                    old.at + u64::from(MAX_WINDOW) > new.at || old.expires + DAY >= new.at
                });
                // Words of 256 bytes leave room for few.
                assert!(counting.count() > if WORD < 256 { 50 } else { 25 });
                self.now += 3 * DAY;
            }
            Err(error) => {
                self.counts[3] += 1;
                assert_eq!(expected, Err(error));
            }
        }
    }

    fn readmit(&mut self) {
        let seen = self.generation + self.below(3) as u32;
        self.maybe_cut();
        let done = Store::open(&mut self.flash).unwrap().readmit(seen);
        if self.flash.restore_power() {
            self.cuts += 1;
            self.reopen();
            let head = Store::open(&mut self.flash).unwrap().head().unwrap();
            assert!(head.generation == self.generation || head.generation == seen + 1);
            self.generation = head.generation;
        } else {
            self.generation = done.unwrap().generation;
            assert_eq!(self.generation, seen + 1);
        }
        let last = *self.heads.last().unwrap();
        self.heads.push(Head { generation: self.generation, ..last });
    }

    fn purge(&mut self) {
        self.maybe_cut();
        let done = Store::open(&mut self.flash).unwrap().purge();
        if self.flash.restore_power() {
            self.cuts += 1;
            self.reopen();
        } else {
            assert_eq!(done, Ok(()));
        }
    }

    fn run(&mut self, operations: u32) {
        for _ in 0..operations {
            match self.below(20) {
                0..=6 => self.save(),
                7..=15 => self.release(),
                16 => self.readmit(),
                17 => self.purge(),
                _ => self.now += [0, 50, 4000, DAY][self.below(4) as usize],
            }
            self.check();
        }
    }
}

fn run<const WORD: usize>(seed: u64, operations: u32) -> u32 {
    let mut model = Model::<WORD>::new(seed);
    model.run(operations);
    assert!(model.counts.iter().all(|count| *count > 0), "{:?}", model.counts);
    assert!(model.spent.len() as u32 > operations / 8, "{}", model.spent.len());
    model.cuts
}

#[test]
fn nothing_acknowledged_is_lost_and_no_limit_exceeded() {
    let runs: [fn(u64, u32) -> u32; 3] = [run::<1>, run::<4>, run::<256>];
    let threads = runs.map(|run| std::thread::spawn(move || run(1, 2000)));
    for thread in threads {
        let cuts = thread.join().unwrap();
        assert!(cuts > 400, "{cuts}");
    }
}
