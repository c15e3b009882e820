//! Each step of what is rare, cut: random cuts seldom meet the moments that matter.

use super::{PAGES, held, open, release};
use crate::flash_simulator::FlashSimulator;
use crate::journal::ReleaseError;
use crate::store::{Part, Slot, Store, StoreError};

const DAY: u64 = 24 * 60 * 60;
const SLOTS: [Slot; 3] = [Slot::Identity, Slot::Key(0, Part::Share), Slot::Key(3, Part::State)];

/// Does it with a cut at each step in turn, until none comes; before and after must be what they are.
fn at_each_step(
    prepared: &FlashSimulator<1>,
    work: impl Fn(&mut Store<&mut FlashSimulator<1>>) -> Result<(), StoreError>,
    check: impl Fn(&mut Store<&mut FlashSimulator<1>>, Result<(), StoreError>),
) -> u64 {
    for cut in 0.. {
        let mut flash = prepared.clone();
        flash.reseed(cut);
        flash.cut_after(cut);
        let mut store = open(&mut flash);
        let done = work(&mut store);
        drop(store);
        let was_cut = flash.restore_power();
        assert_eq!(done.is_err(), was_cut);
        // Opening finishes what was begun, and may be cut as well.
        flash.cut_after(cut % 20);
        let _ = Store::open(&mut flash).map(drop);
        flash.restore_power();
        check(&mut open(&mut flash), done);
        if !was_cut {
            return cut;
        }
    }
    0
}

#[test]
fn the_change_of_banks() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    for (index, slot) in SLOTS.into_iter().enumerate() {
        store.save(slot, &[9; 200]).unwrap();
        store.save(slot, &[index as u8; 30]).unwrap();
    }
    drop(store);
    let steps = at_each_step(
        &flash,
        |store| store.purge(),
        |store, _| {
            for (index, slot) in SLOTS.into_iter().enumerate() {
                assert_eq!(held(store, slot), Some(vec![index as u8; 30]));
            }
            // And it goes on.
            store.save(SLOTS[0], b"next").unwrap();
            assert_eq!(held(store, SLOTS[0]).as_deref(), Some(b"next".as_slice()));
        },
    );
    assert!(steps > 200, "{steps}");
}

#[test]
fn a_key_is_forgotten_whole_or_not_at_all() {
    const PARTS: [Part; 8] = [
        Part::State,
        Part::Public,
        Part::Share,
        Part::Policy,
        Part::Confirmation,
        Part::Certificate(0),
        Part::Certificate(3),
        Part::Pool,
    ];
    let text = |key: u8, part: usize| vec![16 * key + part as u8; 100];
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    for key in [2, 1, 0, 3] {
        for (index, part) in PARTS.into_iter().enumerate() {
            store.save(Slot::Key(key, part), &text(key, index)).unwrap();
        }
    }
    store.save(Slot::Identity, b"me").unwrap();
    // As it lies in flash, sealed.
    store.save(Slot::Key(1, Part::Share), &text(1, 2)).unwrap();
    let (end, size) = (store.bank.end as usize, crate::store::size::<FlashSimulator<1>>(100));
    let sealed = store.flash.bytes[end - size as usize..end].to_vec();
    drop(store);
    let steps = at_each_step(
        &flash,
        |store| store.forget(1),
        |store, done| {
            let left = PARTS.into_iter().filter(|part| held(store, Slot::Key(1, *part)).is_some());
            let left = left.count();
            assert!(left == 0 || (left == PARTS.len() && done.is_err()), "{left} {done:?}");
            assert_eq!(store.flash.contains(&sealed), left > 0, "the share still lies there");
            for key in [0, 2, 3] {
                for (index, part) in PARTS.into_iter().enumerate() {
                    assert_eq!(held(store, Slot::Key(key, part)), Some(text(key, index)));
                }
            }
            assert_eq!(held(store, Slot::Identity).as_deref(), Some(b"me".as_slice()));
            // The place is free for another, of which there is only what was stored since.
            if left == 0 {
                store.save(Slot::Key(1, Part::State), b"next").unwrap();
                let of = |store: &mut Store<_>, part| held(store, Slot::Key(1, part));
                assert_eq!(of(store, Part::State).as_deref(), Some(b"next".as_slice()));
                assert_eq!(of(store, Part::Pool), None);
            }
        },
    );
    assert!(steps > 200, "{steps}");
    let mut store = open(&mut flash);
    assert_eq!(store.forget(4), Err(StoreError::Slot));
}

#[test]
fn the_change_of_the_journals_page() {
    let mut flash = FlashSimulator::<1>::new(8, 1);
    let mut store = open(&mut flash);
    // Two pages full of old entries: the first goes when the next comes.
    let mut number = 0;
    let full = loop {
        match store.release(&release(number + 1, 1000)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, ReleaseError::Store(StoreError::Full));
    let (number, before) = (u64::from(number), store.head().unwrap());
    assert!(number > 50);
    drop(store);
    let later = release(0xee, 1000 + 40 * DAY);
    let steps = at_each_step(
        &flash,
        |store| match store.release(&later) {
            Ok(_) => Ok(()),
            Err(ReleaseError::Store(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        },
        |store, done| {
            let head = store.head().unwrap();
            assert!(head == before || head.number == number + 1);
            assert!(done.is_err() || head.number == number + 1);
            assert_eq!(store.check_release(&later), Ok(head != before));
            // The page that stays is whole.
            let newest = release(number as u8, 1000);
            assert_eq!(store.check_release(&newest), Ok(true));
            assert_eq!(store.release(&later).unwrap().number, number + 1);
        },
    );
    assert!(steps > 150, "{steps}");
}

#[test]
fn the_first_start() {
    for cut in 0.. {
        let mut flash = FlashSimulator::<1>::new(PAGES, cut);
        // Another firmware was here.
        flash.bytes.fill(0x42);
        flash.cut_after(cut);
        let done = Store::open(&mut flash).and_then(|mut store| store.initialize(&super::ROOT));
        let was_cut = flash.restore_power();
        assert_eq!(done.is_err(), was_cut);
        let mut store = open(&mut flash);
        store.save(SLOTS[0], b"one").unwrap();
        store.release(&release(1, 1)).unwrap();
        if !was_cut {
            assert!(cut > 100);
            break;
        }
    }
}
