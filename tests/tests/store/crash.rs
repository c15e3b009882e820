//! Power cuts at any moment: what was acknowledged is there afterwards, and nothing is half done.

use std::sync::OnceLock;

use quorate_node::store::*;
use quorate_tests::disk::SimulatedDisk;

use crate::model::*;

/// What a run met, so that a test can see that it met everything.
#[derive(Debug, Default)]
struct Met {
    changes: u64,
    crashes_in_changes: u64,
    in_flight_kept: u64,
    in_flight_gone: u64,
    crashes_while_opening: u64,
    counted: u64,
    over_limit: u64,
    already_counted: u64,
    active: u64,
}

/// What a checker must never find.
enum Loss {
    /// The store does not open any more.
    Unusable(StoreError),
    /// It holds neither what was acknowledged nor that and the change in flight.
    Wrong(Box<(View, Vec<View>)>),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (found, expected) = match self {
            Self::Unusable(error) => return error.fmt(f),
            Self::Wrong(views) => (&views.0, &views.1),
        };
        write!(f, "found {} audit entries and spent {:?}", found.audit.len(), found.spent)?;
        for expected in expected {
            let keys = found.keys == expected.keys;
            let requests = found.requests == expected.requests;
            let (audit, spent) = (expected.audit.len(), &expected.spent);
            write!(
                f,
                "; possible: {audit} entries and {spent:?}, same keys: {keys}, requests: {requests}"
            )?;
        }
        Ok(())
    }
}

/// A disk with an empty store: making one through a backend is not proof against crashes.
fn fresh_disk() -> SimulatedDisk {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let disk = SimulatedDisk::new();
        drop(Store::with_backend(disk.clone()).unwrap());
        disk.bytes()
    });
    SimulatedDisk::from_bytes(image.clone())
}

struct Run<'a> {
    workload: Workload,
    disk: SimulatedDisk,
    /// What may be on disk: the acknowledged state, or that and the change in flight.
    possible: Vec<Model>,
    met: &'a mut Met,
}

impl<'a> Run<'a> {
    fn new(seed: u64, met: &'a mut Met) -> Self {
        let possible = vec![Model::default()];
        Self { workload: Workload::new(seed), disk: fresh_disk(), possible, met }
    }

    /// Opens the store and compares everything in it; `None` if the machine crashed meanwhile.
    fn open(&mut self) -> Result<Option<(Store, Model)>, Loss> {
        let (now, hashes) = (self.workload.now, self.workload.hashes());
        let opened = Store::with_backend(self.disk.clone())
            .and_then(|store| view(&store, now, &hashes).map(|found| (store, found)));
        let (store, found) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.crashed() => {
                self.met.crashes_while_opening += 1;
                return Ok(None);
            }
            Err(error) => return Err(Loss::Unusable(error)),
        };
        let Some(at) = self.possible.iter().position(|model| model.view(now) == found) else {
            let expected = self.possible.iter().map(|model| model.view(now)).collect();
            return Err(Loss::Wrong(Box::new((found, expected))));
        };
        if self.possible.len() == 2 {
            *[&mut self.met.in_flight_gone, &mut self.met.in_flight_kept][at] += 1;
        }
        let model = self.possible.swap_remove(at);
        // Seen is seen: the next crash must not take it back.
        self.possible = vec![model.clone()];
        Ok(Some((store, model)))
    }

    /// Works until the crash, or through `changes` changes.
    fn work(&mut self, store: &Store, mut model: Model, changes: u64) {
        for _ in 0..changes {
            let change = self.workload.next();
            let spends = if let Change::Spend(spend) = &change { Some(spend.key) } else { None };
            let mut after = model.clone();
            let expected = after.apply(change.clone());
            match perform(store, change) {
                Err(StoreError::Io { .. }) if self.disk.crashed() => {
                    self.met.crashes_in_changes += 1;
                    let unchanged = after == model;
                    self.possible = if unchanged { vec![model] } else { vec![model, after] };
                    return;
                }
                answer => {
                    assert_eq!(answer, expected);
                    self.met.changes += 1;
                    let now = self.workload.now;
                    match answer {
                        Ok(Some(SpendOutcome::Counted)) => {
                            self.met.counted += 1;
                            let spent = after.spent(&spends.unwrap(), now, WINDOWS[0]);
                            assert!(spent <= LIMIT, "over the limit: {spent}");
                        }
                        Ok(Some(SpendOutcome::OverLimit { .. })) => self.met.over_limit += 1,
                        Ok(Some(SpendOutcome::AlreadyCounted)) => self.met.already_counted += 1,
                        _ => {}
                    }
                    model = after;
                }
            }
        }
        self.possible = vec![model];
    }

    /// One life of the process: opening, working, perhaps closing, and a power cut, here at the
    /// latest.
    fn live(&mut self, changes: u64) -> Result<(), Loss> {
        if let Some((store, model)) = self.open()? {
            self.work(&store, model, changes);
            if self.workload.below(2) == 0 {
                drop(store);
            }
            self.disk.crash();
        }
        Ok(())
    }

    fn reboot(&mut self) {
        let seed = self.workload.below(u64::MAX);
        self.disk = self.disk.after_crash(seed);
    }

    fn finish(mut self) -> Result<(), Loss> {
        let (_, model) = self.open()?.expect("no crash is armed");
        let active = model.keys.values().filter(|row| row.state == KeyState::Active);
        self.met.active += active.count() as u64;
        Ok(())
    }
}

#[test]
fn whatever_was_acknowledged_survives_power_cuts_and_nothing_is_half_done() {
    let mut met = Met::default();
    for seed in 0..1200 {
        let mut run = Run::new(seed, &mut met);
        for life in 0..5 {
            // Opening takes a dozen changes of the disk; a life is worth a hundred or two.
            let end = if run.workload.below(4) == 0 { 15 } else { 180 };
            let crash_after = run.workload.below(end);
            run.disk.crash_after(crash_after);
            if let Err(loss) = run.live(60) {
                panic!("seed {seed}, life {life}: {loss}");
            }
            run.reboot();
        }
        if let Err(loss) = run.finish() {
            panic!("seed {seed}, at the end: {loss}");
        }
    }
    println!("{met:?}");
    let Met { crashes_in_changes, in_flight_kept, in_flight_gone, .. } = met;
    assert!(crashes_in_changes > 500 && in_flight_kept > 20 && in_flight_gone > 100, "{met:?}");
    assert!(met.crashes_while_opening > 100 && met.active > 500, "{met:?}");
    assert!(met.counted > 500 && met.over_limit > 50 && met.already_counted > 500, "{met:?}");
}

/// Without this, the test above might be blind.
#[test]
fn a_disk_that_loses_synced_writes_is_found_out() {
    let (mut met, mut wrong, mut unusable) = (Met::default(), 0, 0);
    let runs = 100;
    for seed in 0..runs {
        let mut run = Run::new(seed, &mut met);
        assert!(run.live(40).is_ok(), "the disk is honest so far");
        run.reboot();
        let lie = run.workload.below(20);
        run.disk.lie_from(lie);
        let result = run.live(40).and_then(|()| {
            run.reboot();
            run.finish()
        });
        match result {
            Err(Loss::Wrong(_)) => wrong += 1,
            Err(Loss::Unusable(_)) => unusable += 1,
            Ok(()) => println!("seed {seed}: nothing found"),
        }
    }
    println!("{wrong} wrong, {unusable} unusable of {runs}");
    assert!(wrong > 90, "{wrong} wrong, {unusable} unusable of {runs}");
}

#[test]
fn a_crash_at_every_single_change_of_the_disk() {
    let seed = 11;
    let (mut met, mut cut) = (Met::default(), 0);
    // One life, cut off at each of its moments, with five different reboots after each.
    loop {
        let mut run = Run::new(seed, &mut met);
        run.disk.crash_after(cut);
        assert!(run.live(120).is_ok(), "nothing to lose yet");
        let whole = run.disk.changes() <= cut;
        let (disk, possible) = (run.disk.clone(), run.possible.clone());
        for reboot in 0..5 {
            run.disk = disk.after_crash(reboot);
            run.possible.clone_from(&possible);
            if let Err(loss) = run.open() {
                panic!("seed {seed}, cut off after {cut}, reboot {reboot}: {loss}");
            }
        }
        if whole {
            break;
        }
        cut += 1;
    }
    println!("{cut} moments: {met:?}");
    assert!(cut > 200 && met.in_flight_kept > 0, "{cut}: {met:?}");
}
