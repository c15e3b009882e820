use std::cell::Cell;

use super::*;
use crate::flash_simulator::FlashSimulator;
use crate::store::{Part, Slot};

thread_local! {
    /// How often a PIN was compared with the right one.
    pub(super) static COMPARED: Cell<u32> = const { Cell::new(0) };
}

const RIGHT: &[u8] = b"271828";
const WRONG: &[u8] = b"314159";
const SHARE: Slot = Slot::Key(0, Part::Share);

#[derive(Default)]
struct Watch(Cell<u64>);

impl Clock for Watch {
    fn millis(&self) -> u64 {
        self.0.get()
    }
}

impl Watch {
    fn wait(&self, seconds: u64) {
        self.0.set(self.0.get() + 1000 * seconds);
    }
}

type Flash = FlashSimulator<1>;

/// A device with a PIN and a secret.
fn device(seed: u64) -> Flash {
    let mut flash = Flash::new(8, seed);
    let mut store = Store::open(&mut flash).unwrap();
    store.initialize(&[9; 32]).unwrap();
    let mut pin = Pin::start(&mut store, &Watch::default()).unwrap();
    pin.set(&mut store, &[4; 16], RIGHT).unwrap();
    store.save(SHARE, b"a share").unwrap();
    drop(store);
    flash
}

/// Enters after enough waiting.
fn try_pin(flash: &mut Flash, entered: &[u8]) -> Result<(), PinError> {
    let mut store = Store::open(flash)?;
    let watch = Watch::default();
    let mut pin = Pin::start(&mut store, &watch)?;
    watch.wait(200);
    pin.enter(&mut store, &watch, entered)
}

fn left(flash: &mut Flash) -> u8 {
    let mut store = Store::open(flash).unwrap();
    if store.is_initialized() { tries(&mut store).unwrap().unwrap() } else { 0 }
}

#[test]
fn the_right_one_opens_and_gives_all_tries_back() {
    let mut flash = device(1);
    for wrong in 1..MAX_TRIES {
        let left = MAX_TRIES - wrong;
        assert_eq!(try_pin(&mut flash, WRONG), Err(PinError::Wrong { left }));
    }
    assert_eq!(left(&mut flash), 1);
    assert_eq!(try_pin(&mut flash, RIGHT), Ok(()));
    assert_eq!(left(&mut flash), MAX_TRIES);
    // Neither a shorter, a longer nor a padded one is the same.
    for other in [&b"27182"[..], &[b'2'; 33]] {
        assert_eq!(try_pin(&mut flash, other), Err(PinError::Length));
    }
    assert_eq!(left(&mut flash), MAX_TRIES);
    assert!(matches!(try_pin(&mut flash, b"271828\0"), Err(PinError::Wrong { .. })));
}

#[test]
fn the_last_wrong_one_wipes() {
    let mut flash = device(1);
    for _ in 1..MAX_TRIES {
        assert!(matches!(try_pin(&mut flash, WRONG), Err(PinError::Wrong { .. })));
    }
    assert_eq!(try_pin(&mut flash, WRONG), Err(PinError::Wiped));
    let mut store = Store::open(&mut flash).unwrap();
    assert!(!store.is_initialized());
    let mut pin = Pin::start(&mut store, &Watch::default()).unwrap();
    assert_eq!(pin.tries(&mut store), Ok(MAX_TRIES));
    let entered = pin.enter(&mut store, &Watch::default(), RIGHT);
    assert_eq!(entered, Err(PinError::Store(StoreError::NotInitialized)));
    assert!(!store_bytes(&flash));
}

/// Whether anything of the root is there.
fn store_bytes(flash: &Flash) -> bool {
    flash.contains(&[9; 8])
}

#[test]
fn the_delay_grows_and_outlives_a_restart() {
    let mut flash = device(1);
    let mut store = Store::open(&mut flash).unwrap();
    let watch = Watch::default();
    let mut pin = Pin::start(&mut store, &watch).unwrap();
    for wrong in 1..MAX_TRIES {
        let left = MAX_TRIES - wrong;
        assert_eq!(pin.enter(&mut store, &watch, WRONG), Err(PinError::Wrong { left }));
        let seconds = 1u16 << (wrong - 1);
        let too_soon = Err(PinError::TooSoon { seconds });
        assert_eq!(pin.enter(&mut store, &watch, RIGHT), too_soon);
        if wrong % 2 == 0 {
            // Off and on: the same delay again, from the start.
            watch.wait(u64::from(seconds) - 1);
            pin = Pin::start(&mut store, &watch).unwrap();
        }
        watch.wait(u64::from(seconds) - 1);
        assert_eq!(pin.enter(&mut store, &watch, RIGHT), Err(PinError::TooSoon { seconds: 1 }));
        assert_eq!(pin.tries(&mut store), Ok(left), "too soon is no try");
        watch.wait(1);
    }
    assert_eq!(pin.enter(&mut store, &watch, RIGHT), Ok(()));
    assert_eq!(pin.enter(&mut store, &watch, RIGHT), Ok(()));
}

#[test]
fn a_change_needs_the_old_one() {
    let mut flash = device(1);
    let mut store = Store::open(&mut flash).unwrap();
    let watch = Watch::default();
    let mut pin = Pin::start(&mut store, &watch).unwrap();
    assert_eq!(pin.set(&mut store, &[1; 16], WRONG), Err(PinError::Set));
    let mut change = |old, new| {
        watch.wait(1000);
        pin.change(&mut store, &watch, &[5; 16], (old, new))
    };
    assert_eq!(change(WRONG, b"999999"), Err(PinError::Wrong { left: MAX_TRIES - 1 }));
    assert_eq!(change(RIGHT, b"99999"), Err(PinError::Length));
    assert_eq!(change(RIGHT, b"999999"), Ok(()));
    assert!(matches!(change(RIGHT, b"999999"), Err(PinError::Wrong { .. })));
    assert_eq!(change(b"999999", RIGHT), Ok(()));
    drop(store);
    assert_eq!(try_pin(&mut flash, RIGHT), Ok(()));
}

/// Each try is cut at each of its steps in turn: no cut gives tries back, or wins a comparison.
#[test]
fn a_cut_wins_nothing() {
    let mut tries_at_all = 0;
    for cut in 0.. {
        let mut flash = device(cut);
        COMPARED.set(0);
        let mut before = left(&mut flash);
        let mut was_cut = false;
        loop {
            flash.cut_after(cut);
            let compared = COMPARED.get();
            let _ = try_pin(&mut flash, WRONG);
            was_cut |= flash.restore_power();
            tries_at_all += 1;
            let now = left(&mut flash);
            assert!(now <= before, "cut at {cut}: {before} tries became {now}");
            assert!(COMPARED.get() <= u32::from(MAX_TRIES - now));
            if now == 0 {
                break;
            }
            if now == before {
                // The cut came before the try counted: nothing was compared either.
                assert_eq!(COMPARED.get(), compared);
                // It would be so for ever. One try without a cut, then on.
                let _ = try_pin(&mut flash, WRONG);
            }
            before = left(&mut flash);
            if before == 0 {
                break;
            }
        }
        assert!(COMPARED.get() <= u32::from(MAX_TRIES));
        // After the last the wipe goes on, wherever it was cut.
        flash.restore_power();
        let _ = Store::open(&mut flash)
            .map(|mut store| Pin::start(&mut store, &Watch::default()).map(drop));
        assert!(!Store::open(&mut flash).unwrap().is_initialized());
        assert!(!store_bytes(&flash));
        if !was_cut {
            break;
        }
    }
    assert!(tries_at_all > 500);
}

/// With the right PIN, a cut may cost a try until it is entered again, and never anything else.
#[test]
fn a_cut_of_the_right_one_loses_nothing() {
    for cut in 0.. {
        let mut flash = device(cut);
        assert!(matches!(try_pin(&mut flash, WRONG), Err(PinError::Wrong { .. })));
        flash.cut_after(cut);
        let done = try_pin(&mut flash, RIGHT);
        let was_cut = flash.restore_power();
        let now = left(&mut flash);
        assert!([MAX_TRIES, MAX_TRIES - 1, MAX_TRIES - 2].contains(&now), "{now}");
        if done.is_ok() {
            assert_eq!(now, MAX_TRIES, "what was answered is durable");
        }
        assert_eq!(try_pin(&mut flash, RIGHT), Ok(()));
        let mut store = Store::open(&mut flash).unwrap();
        assert_eq!(store.load(SHARE, &mut [0; 9]).unwrap(), Some(&mut b"a share".to_vec()[..]));
        if !was_cut {
            break;
        }
    }
}

/// Also while the store copies itself to its other bank.
#[test]
fn tries_survive_a_full_bank() {
    let mut flash = device(1);
    let mut cuts = 0;
    for round in 0..400 {
        flash.cut_after(round * 7 % 300);
        let before_cut = try_pin(&mut flash, WRONG);
        cuts += u32::from(flash.restore_power());
        if before_cut.is_ok() || left(&mut flash) < MAX_TRIES - 3 {
            assert_eq!(try_pin(&mut flash, RIGHT), Ok(()));
            assert_eq!(left(&mut flash), MAX_TRIES);
        }
    }
    assert!(cuts > 50, "{cuts}");
    assert!(flash.erases[2] > 2);
    let mut store = Store::open(&mut flash).unwrap();
    assert_eq!(store.load(SHARE, &mut [0; 9]).unwrap(), Some(&mut b"a share".to_vec()[..]));
}
