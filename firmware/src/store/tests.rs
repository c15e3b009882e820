//! The store alone; with the journal, cuts and a model, see `model.rs`.

mod cuts;
mod ledger;
mod model;

use std::collections::HashMap;

use quorate_core::policy::Amount;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::flash_simulator::{FlashSimulator, PAGE};
use crate::journal::{Charge, Release};

const ROOT: [u8; 32] = *b"the root key, in its own page, 1";
const SHARE: Slot = Slot::Key(0, Part::Share);
const PAGES: usize = 20;

fn open<const WORD: usize>(flash: &mut FlashSimulator<WORD>) -> Store<&mut FlashSimulator<WORD>> {
    let mut store = Store::open(flash).unwrap();
    if !store.is_initialized() {
        store.initialize(&ROOT).unwrap();
    }
    assert_eq!(store.fault(), None);
    store
}

fn held<F: NorFlash>(store: &mut Store<F>, slot: Slot) -> Option<Vec<u8>> {
    store.load(slot, &mut [0; MAX_RECORD]).unwrap().map(|text| text.to_vec())
}

fn release(number: u8, at: u64) -> Release<'static> {
    Release { request: [number; 32], key: [1; 16], at, expires: at + 60, charges: &[] }
}

#[test]
fn slots_hold_what_was_saved_last() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let long = vec![7; MAX_RECORD];
    {
        let mut store = open(&mut flash);
        assert_eq!(held(&mut store, SHARE), None);
        store.save(SHARE, b"one").unwrap();
        store.save(Slot::Identity, &long).unwrap();
        store.save(Slot::Key(3, Part::Certificate(3)), b"").unwrap();
        store.save(SHARE, b"two").unwrap();
        assert_eq!(store.save(SHARE, &[0; MAX_RECORD + 1]), Err(StoreError::TooLong));
        assert_eq!(store.save(Slot::Key(4, Part::Share), b""), Err(StoreError::Slot));
        assert_eq!(store.save(Slot::Key(0, Part::Certificate(4)), b""), Err(StoreError::Slot));
        assert_eq!(store.save(Slot::Head(8), b""), Err(StoreError::Slot));
        assert_eq!(store.load(SHARE, &mut [0; 2]), Err(StoreError::NoRoom));
        assert_eq!(store.initialize(&ROOT), Err(StoreError::Initialized));
    }
    let mut store = open(&mut flash);
    assert_eq!(held(&mut store, SHARE).as_deref(), Some(b"two".as_slice()));
    assert_eq!(held(&mut store, Slot::Identity), Some(long));
    assert_eq!(held(&mut store, Slot::Key(3, Part::Certificate(3))), Some(Vec::new()));
    store.remove(SHARE).unwrap();
    assert_eq!(held(&mut store, SHARE), None);
    drop(store);
    assert_eq!(held(&mut open(&mut flash), SHARE), None);
}

#[test]
fn every_slot_has_a_place_of_its_own() {
    let mut flash = FlashSimulator::<4>::new(PAGES, 1);
    let parts = [Part::State, Part::Public, Part::Share, Part::Policy, Part::Confirmation];
    let more = [Part::Pool].into_iter().chain((0..4).map(Part::Certificate));
    let parts: Vec<Part> = parts.into_iter().chain(more).collect();
    let keys = (0..MAX_KEYS).flat_map(|key| parts.iter().map(move |part| Slot::Key(key, *part)));
    let heads = (0..8).map(Slot::Head);
    let slots = [Slot::Identity, Slot::Membership].into_iter().chain(heads).chain(keys);
    let slots: Vec<Slot> = slots.collect();
    let mut store = open(&mut flash);
    for (index, slot) in slots.iter().enumerate() {
        store.save(*slot, &[index as u8]).unwrap();
    }
    store.purge().unwrap();
    for (index, slot) in slots.iter().enumerate() {
        assert_eq!(held(&mut store, *slot), Some(vec![index as u8]));
    }
}

#[test]
fn a_full_store_says_so_keeps_what_it_has_and_still_counts_tries() {
    let mut flash = FlashSimulator::<256>::new(PAGES, 1);
    let mut store = open(&mut flash);
    let mut saved = Vec::new();
    let full = loop {
        let slot = Slot::Key(saved.len() as u8 / 4, Part::Certificate(saved.len() as u8 % 4));
        match store.save(slot, &[saved.len() as u8; MAX_RECORD]) {
            Ok(()) => saved.push(slot),
            Err(error) => break error,
        }
    };
    assert_eq!(full, StoreError::Full);
    assert!(saved.len() >= 6, "{}", saved.len());
    let before = store.erases();
    for _ in 0..10 {
        let slot = Slot::Key(3, Part::Certificate(3));
        assert_eq!(store.save(slot, &[9; MAX_RECORD]), Err(StoreError::Full));
    }
    assert_eq!(store.erases(), before, "a full store is not worn out by trying");
    for tries in 0..200 {
        store.save_own(slots::TRIES, &[tries]).unwrap();
    }
    store.remove(saved[0]).unwrap();
    store.save(saved[0], b"there is room again").unwrap();
    for (index, slot) in saved.iter().enumerate().skip(1) {
        assert_eq!(held(&mut store, *slot), Some(vec![index as u8; MAX_RECORD]));
    }
}

#[test]
fn wear_is_counted() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    for round in 0u32..3000 {
        let mut store = open(&mut flash);
        store.save(SHARE, &[round as u8; 500]).unwrap();
        store.release(&release(round as u8, 40 * 86400 * u64::from(round / 64 + 1))).unwrap();
        let (told, ring) = (store.erases(), store.ring.erases());
        drop(store);
        // Data pages; the root's and the mark's are erased at wipes alone, and told with them.
        let most = *flash.erases[2..].iter().max().unwrap();
        assert!(told >= most && told <= most + 2, "{told} of {most}");
        assert!(ring + 1 >= *flash.erases[14..].iter().max().unwrap(), "{ring}");
    }
    assert!(flash.erases[2] > 20);
    let mut store = open(&mut flash);
    let before = store.erases();
    store.wipe().unwrap();
    store.initialize(&ROOT).unwrap();
    drop(store);
    assert!(open(&mut flash).erases() > before, "a wipe does not make the flash new");
}

/// Every secret that a test puts into the store; also what it derives.
fn secrets() -> Vec<(Slot, Vec<u8>)> {
    let slots = [Slot::Identity, SHARE, Slot::Key(1, Part::Share), Slot::Key(0, Part::Policy)];
    let text = |i: usize| Sha256::digest([i as u8]).repeat(3 + 10 * i);
    slots.into_iter().enumerate().map(|(i, slot)| (slot, text(i))).collect()
}

fn fill<F: NorFlash>(store: &mut Store<F>) -> Vec<Vec<u8>> {
    for (slot, text) in secrets() {
        store.save(slot, &text).unwrap();
    }
    let charges = [Charge {
        series: *b"the series, 16 B",
        amount: Amount::from_u128(0xaabb_ccdd_eeff_1122_3344),
        window: None,
    }];
    store.release(&Release { charges: &charges, ..release(0x5a, 1000) }).unwrap();
    let keys = store.keys.as_ref().unwrap();
    let mut all: Vec<Vec<u8>> = keys.all().iter().map(|key| key.to_vec()).collect();
    all.extend(secrets().into_iter().map(|(_, text)| text[..32].to_vec()));
    all.extend([[0x5a; 32].to_vec(), charges[0].series.to_vec()]);
    all.push(charges[0].amount.to_be_bytes()[22..].to_vec());
    all
}

/// No part of a secret, of 12 bytes or more, either.
fn shows<const WORD: usize>(flash: &FlashSimulator<WORD>, secret: &[u8]) -> bool {
    secret.chunks(12).filter(|part| part.len() >= 8).any(|part| flash.contains(part))
}

#[test]
fn only_the_root_is_ever_readable_and_nothing_after_a_wipe() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    let mut all = fill(&mut store);
    // Replaced and copied, removed, and once more.
    store.purge().unwrap();
    store.remove(SHARE).unwrap();
    all.extend(fill(&mut store));
    drop(store);
    assert!(flash.contains(&ROOT) && !flash.bytes[PAGE..].windows(32).any(|w| w == ROOT));
    assert!(!all.iter().any(|secret| shows(&flash, secret)));
    Store::open(&mut flash).unwrap().wipe().unwrap();
    assert!(!shows(&flash, &ROOT) && !all.iter().any(|secret| shows(&flash, secret)));
    // Nothing at all is there, but how worn it is.
    let mut left = (0..flash.bytes.len()).filter(|at| flash.bytes[*at] != 0xff);
    assert!(left.all(|at| (PAGE..PAGE + 12).contains(&at)));
}

#[test]
fn purge_leaves_no_old_version() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    store.save(SHARE, &[1; 100]).unwrap();
    let (at, size) = (store.bank.end - super::size::<FlashSimulator<1>>(100), 100);
    let old = store.flash.bytes[at as usize..][..size].to_vec();
    assert!(store.flash.contains(&old));
    store.save(SHARE, &[2; 100]).unwrap();
    assert!(store.flash.contains(&old));
    store.purge().unwrap();
    assert!(!store.flash.contains(&old));
    assert_eq!(held(&mut store, SHARE), Some(vec![2; 100]));
}

#[test]
fn a_wipe_that_was_cut_goes_on() {
    let mut cuts = 0;
    for cut in 0.. {
        let mut flash = FlashSimulator::<1>::new(PAGES, cut);
        let mut store = open(&mut flash);
        let all = fill(&mut store);
        let whole = store.flash.bytes.clone();
        store.flash.cut_after(cut);
        let done = store.wipe();
        drop(store);
        if !flash.restore_power() {
            assert_eq!(done, Ok(()));
            break;
        }
        cuts += 1;
        // The root goes first: while anything of the rest is gone, nothing of it can be opened.
        assert!(cut < 16 || !Store::open(flash.clone()).unwrap().is_initialized());
        let is_whole = flash.bytes[2 * PAGE..] == whole[2 * PAGE..];
        assert!(is_whole || !flash.bytes[..PAGE].windows(32).any(|part| part == ROOT), "{cut}");
        // Once more, while it goes on.
        flash.cut_after(cut / 2);
        let _ = Store::open(&mut flash).map(drop);
        flash.restore_power();
        let mut store = Store::open(&mut flash).unwrap();
        // Before the first byte of the mark nothing has begun.
        if cut == 0 && store.is_initialized() {
            assert_eq!(held(&mut store, SHARE), Some(secrets()[1].1.clone()));
            continue;
        }
        if store.is_initialized() {
            // The mark's first byte was torn so that none of it is zero.
            assert_eq!(store.fault(), None);
            assert!(cut < 16, "{cut}");
            continue;
        }
        assert!(!shows(store.flash, &ROOT), "{cut}");
        assert!(!all.iter().any(|secret| shows(store.flash, secret)));
        let erased = &store.flash.bytes[2 * PAGE..];
        assert!(erased.iter().all(|byte| *byte == 0xff));
        store.initialize(&[3; 32]).unwrap();
        assert_eq!(held(&mut store, SHARE), None);
    }
    assert!(cuts > PAGES);
}

#[test]
fn changed_flash_is_noticed() {
    let mut whole = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut whole);
    let texts = secrets();
    fill(&mut store);
    store.release(&release(2, 2000)).unwrap();
    store.save(Slot::Membership, b"after it all").unwrap();
    store.release(&release(3, 3000)).unwrap();
    let ends = [store.bank.end, store.layout.ring(1).end];
    drop(store);
    let mut noticed = 0;
    for at in 0..whole.bytes.len() {
        if whole.bytes[at] == 0xff && at % 31 != 0 {
            continue;
        }
        let mut flash = FlashSimulator::<1>::new(PAGES, 1);
        flash.bytes = whole.bytes.clone();
        flash.bytes[at] ^= 1 << (at % 8);
        let mut store = Store::open(&mut flash).unwrap();
        if !store.is_initialized() || store.fault() == Some(StoreError::Damaged) {
            noticed += 1;
            store.wipe().unwrap();
            assert!(store.fault().is_none() && !store.is_initialized());
            continue;
        }
        // The last record of a log may be lost, as if it were torn; nothing is ever false.
        for (slot, text) in &texts {
            assert_eq!(held(&mut store, *slot).as_ref(), Some(text), "{at:#x}");
        }
        let member = held(&mut store, Slot::Membership);
        assert!(member.is_none() || member.as_deref() == Some(b"after it all"), "{at:#x}");
        assert!(member.is_some() || at < ends[0] as usize);
        let number = store.head().unwrap().number;
        assert!(number == 3 || (number == 2 && at < ends[1] as usize), "{at:#x}");
    }
    assert!(noticed > 1500, "{noticed}");
}

/// The last entry of a page looks torn then, and the next page tells that it was whole.
#[test]
fn no_entry_can_be_taken_out_at_a_pages_end() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    for number in 1..=70 {
        store.release(&release(number, 1000)).unwrap();
    }
    let start = store.layout.ring(1).start as usize;
    drop(store);
    let page = &mut flash.bytes[start..][..PAGE];
    let last = page.iter().rposition(|byte| *byte != 0xff).unwrap();
    page[last - 20] ^= 1;
    assert_eq!(Store::open(&mut flash).unwrap().fault(), Some(StoreError::Damaged));
}

#[test]
fn records_cannot_be_swapped_or_taken_out() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    let mut places = Vec::new();
    for (slot, text) in [(SHARE, [1; 40]), (Slot::Key(1, Part::Share), [2; 40]), (SHARE, [3; 40])] {
        places.push(store.bank.end as usize);
        store.save(slot, &text).unwrap();
    }
    let size = super::size::<FlashSimulator<1>>(40) as usize;
    drop(store);
    let parts: Vec<Vec<u8>> = places.iter().map(|at| flash.bytes[*at..][..size].to_vec()).collect();
    let whole = flash.bytes.clone();
    for order in [[0, 2, 1], [1, 0, 2], [2, 1, 0], [0, 0, 2], [1, 1, 2]] {
        let mut flash = FlashSimulator::<1>::new(PAGES, 1);
        flash.bytes = whole.clone();
        for (at, part) in places.iter().zip(order) {
            flash.bytes[*at..][..size].copy_from_slice(&parts[part]);
        }
        assert_eq!(Store::open(&mut flash).unwrap().fault(), Some(StoreError::Damaged));
    }
    // Renamed: the header is authenticated.
    flash.bytes[places[1] + 1] = flash.bytes[places[0] + 1];
    assert_eq!(Store::open(&mut flash).unwrap().fault(), Some(StoreError::Damaged));
}

/// All records in an image, by nonce: header and sealed text.
fn records(bytes: &[u8], seen: &mut HashMap<[u8; 12], (Vec<u8>, Vec<u8>)>) -> usize {
    let mut at = 2 * PAGE;
    let mut count = 0;
    while at + 20 < bytes.len() {
        let length = usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
        if bytes[at] != b'Q' || length > MAX_RECORD || at + 36 + length > bytes.len() {
            at += 8;
            continue;
        }
        let nonce = bytes[at + 8..][..12].try_into().unwrap();
        let record = (bytes[at..][..8].to_vec(), bytes[at + 20..][..length + 16].to_vec());
        if let Some(known) = seen.insert(nonce, record.clone()) {
            assert_eq!(known, record, "one nonce for two texts");
        }
        (at, count) = ((at + 36 + length).next_multiple_of(8), count + 1);
    }
    count
}

#[test]
fn no_nonce_is_used_twice_also_after_a_rollback() {
    let mut seen = HashMap::new();
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    open(&mut flash).save(SHARE, &[1; 99]).unwrap();
    let snapshot = flash.bytes.clone();
    let mut total = 0;
    for branch in 0..50u8 {
        // The same numbers and slots again, with other texts: no entropy goes into any of it.
        flash.bytes.clone_from(&snapshot);
        let mut store = open(&mut flash);
        for step in 0..10 {
            store.save(SHARE, &[branch / 2; 99]).unwrap();
            store.save(Slot::Identity, &[branch, step]).unwrap();
            store.release(&release(branch / 2, 1000)).unwrap();
        }
        drop(store);
        total += records(&flash.bytes, &mut seen);
    }
    assert!(total > 1000 && seen.len() > 600, "{total} {}", seen.len());
    // The same text under another number is another nonce.
    let texts: std::collections::HashSet<_> = seen.values().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), seen.len());
}

#[test]
fn the_bytes_in_flash_are_these() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    fill(&mut store);
    store.save_own(slots::TRIES, &[8]).unwrap();
    store.readmit(3).unwrap();
    let digest = |flash: &FlashSimulator<1>| hex::encode(Sha256::digest(&flash.bytes));
    assert_eq!(digest(store.flash), FROZEN[0]);
    store.purge().unwrap();
    store.wipe().unwrap();
    assert_eq!(digest(store.flash), FROZEN[1]);
}

/// Devices in the field have flash like this: who changes it writes a way from the old to the new.
const FROZEN: [&str; 2] = [
    "a135e218d3ec88f07b901a272d6c728242835372653fd7b167542fe00eb42bd2",
    "9f5629d5ab79d5cc2391f8396c47dfcd1dafa05f7c52588098feea89940eb9e7",
];

#[test]
fn a_worn_flash_is_noticed() {
    let mut noticed = 0;
    for at in 0..160 {
        let mut flash = FlashSimulator::<1>::new(PAGES, 1);
        let mut store = open(&mut flash);
        store.save(SHARE, b"one").unwrap();
        let end = store.bank.end as usize;
        store.flash.stuck = Some(end + at);
        let saved = store.save(SHARE, &[0; 100]);
        let is_part = at < 8 + 12 + 100 + 16;
        assert!(is_part || saved.is_ok(), "{at}");
        if saved.is_err() {
            noticed += 1;
            assert_eq!(store.fault(), Some(StoreError::Flash));
            drop(store);
            assert_eq!(held(&mut open(&mut flash), SHARE).as_deref(), Some(b"one".as_slice()));
            continue;
        }
        // It was 0xff anyhow, or behind the record.
        drop(store);
        assert_eq!(held(&mut open(&mut flash), SHARE), Some(vec![0; 100]));
        // The same for entries of the journal.
        let mut store = open(&mut flash);
        store.release(&release(1, 1)).unwrap();
        let first = store.layout.ring(1).start as usize + 48 + 144;
        store.flash.stuck = Some(first + at);
        if store.release(&release(2, 2)).is_err() {
            drop(store);
            assert_eq!(open(&mut flash).head().unwrap().number, 1);
        }
    }
    assert!(noticed > 100, "{noticed}");
    // The root key itself.
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    flash.stuck = Some(20);
    let made = Store::open(&mut flash).unwrap().initialize(&ROOT);
    assert_eq!(made, Err(StoreError::Flash));
    assert!(!Store::open(&mut flash).unwrap().is_initialized());
}

#[test]
fn after_a_failure_nothing_is_done_until_it_is_opened_again() {
    let mut flash = FlashSimulator::<1>::new(PAGES, 1);
    let mut store = open(&mut flash);
    store.save(SHARE, b"one").unwrap();
    store.flash.cut_after(20);
    assert_eq!(store.save(SHARE, b"two"), Err(StoreError::Flash));
    store.flash.restore_power();
    // Whether the record is there is not known: nothing more until it is opened again.
    assert_eq!(store.save(SHARE, b"three"), Err(StoreError::Flash));
    assert_eq!(store.load(SHARE, &mut [0; 9]), Err(StoreError::Flash));
    drop(store);
    assert_eq!(held(&mut open(&mut flash), SHARE).as_deref(), Some(b"one".as_slice()));
    assert!(matches!(Store::open(FlashSimulator::<1>::new(7, 1)), Err(StoreError::Geometry)));
}
