//! One party's store: what it keeps through crashes, what it counts, and whom it refuses.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/files.rs"]
mod files;
#[path = "store/model.rs"]
mod model;

use model::{Key, ask_spent, grants, key_row, wide};
use quorate_core::policy::Amount;
use quorate_node::store::*;
use quorate_tests::disk::SimulatedDisk;

const KEY: Key = [1; 16];
const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;

fn reopen(disk: &SimulatedDisk) -> Store {
    Store::with_backend(disk.clone()).unwrap()
}

/// A store with an active key, on a disk that survives it.
fn active() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new();
    let store = reopen(&disk);
    for key in [KEY, [2; 16]] {
        store.insert_pending(key_row(key, vec![3; 100])).unwrap();
        store.activate(key, vec![4; 100]).unwrap();
    }
    (disk, store)
}

/// Spends `amount` with request `number`, in a window of 100 seconds that holds 10 ether.
fn spend(number: u8, amount: u128, now: u64) -> Spend {
    let window = Some((100, wide(10 * ETHER)));
    Spend {
        request: [number; 32],
        key: KEY,
        now,
        expires: NOW + 50,
        grants: grants(wide(amount), window, format!("{number} at {now}").into_bytes()),
    }
}

const ETHER: u128 = 1_000_000_000_000_000_000;

fn over(spent: u128) -> SpendOutcome {
    SpendOutcome::OverLimit { spent: wide(spent), limit: wide(10 * ETHER) }
}

#[test]
fn a_request_counts_once_also_after_a_restart_and_every_release_is_audited() {
    let (disk, store) = active();
    assert_eq!(store.spend(spend(1, 7 * ETHER, NOW)), Ok(SpendOutcome::Counted));
    assert_eq!(store.spend(spend(1, 7 * ETHER, NOW + 1)), Ok(SpendOutcome::AlreadyCounted));
    drop(store);
    let store = reopen(&disk);
    assert_eq!(store.spend(spend(1, 7 * ETHER, NOW + 2)), Ok(SpendOutcome::AlreadyCounted));
    assert_eq!(ask_spent(&store, KEY, NOW + 2, 100), Ok(7 * ETHER));
    let audit = store.audit(1, 10).unwrap();
    let records: Vec<_> = audit.iter().map(|entry| entry.record.as_slice()).collect();
    let expected = [NOW, NOW + 1, NOW + 2].map(|now| format!("1 at {now}"));
    assert_eq!(records, expected.each_ref().map(String::as_bytes));

    store.finish([1; 32], KEY, NOW + 50, b"signature".to_vec(), b"signed".to_vec()).unwrap();
    let row = store.request([1; 32]).unwrap().unwrap();
    assert!(row.counted && row.outcome.as_deref() == Some(b"signature"));
    assert_eq!(store.spend(spend(1, 7 * ETHER, NOW + 3)), Ok(SpendOutcome::AlreadyCounted));
}

#[test]
fn an_outcome_that_came_from_others_does_not_count_and_the_first_one_stays() {
    let (disk, store) = active();
    let finish = |store: &Store, outcome: &[u8]| {
        store.finish([1; 32], KEY, NOW + 50, outcome.to_vec(), b"signed".to_vec())
    };
    finish(&store, b"first").unwrap();
    assert!(!store.request([1; 32]).unwrap().unwrap().counted);
    assert_eq!(ask_spent(&store, KEY, NOW, 100), Ok(0));
    finish(&store, b"second").unwrap();
    assert_eq!(store.audit_verify(), Ok(1), "nothing was written");
    assert_eq!(store.spend(spend(1, ETHER, NOW)), Ok(SpendOutcome::Counted), "now this party too");
    drop(store);
    let row = reopen(&disk).request([1; 32]).unwrap().unwrap();
    assert_eq!(row.outcome.as_deref(), Some(b"first".as_slice()));
    assert!(row.counted);
}

#[test]
fn a_window_is_exact_to_the_wei_and_to_the_second() {
    let (_, store) = active();
    assert_eq!(store.spend(spend(1, 10 * ETHER + 1, NOW)), Ok(over(0)));
    assert_eq!(store.spend(spend(1, 4 * ETHER, NOW)), Ok(SpendOutcome::Counted));
    assert_eq!(store.spend(spend(2, 6 * ETHER + 1, NOW + 1)), Ok(over(4 * ETHER)));
    assert_eq!(store.spend(spend(2, 6 * ETHER, NOW + 1)), Ok(SpendOutcome::Counted));
    assert_eq!(store.spend(spend(3, 1, NOW + 99)), Ok(over(10 * ETHER)));
    assert_eq!(store.request([3; 32]), Ok(None));
    assert_eq!(store.audit_verify(), Ok(2), "over the limit, nothing is written");
    assert_eq!(store.spend(spend(3, 0, NOW + 99)), Ok(SpendOutcome::Counted));
    // The first 4 ether leave the window after 100 seconds; the 6 a second later.
    assert_eq!(store.spend(spend(4, 4 * ETHER + 1, NOW + 100)), Ok(over(6 * ETHER)));
    assert_eq!(store.spend(spend(4, 4 * ETHER, NOW + 100)), Ok(SpendOutcome::Counted));
    assert_eq!(store.spend(spend(5, 6 * ETHER, NOW + 101)), Ok(SpendOutcome::Counted));
    let other = Spend { key: [2; 16], ..spend(6, 10 * ETHER, NOW + 101) };
    assert_eq!(store.spend(other), Ok(SpendOutcome::Counted), "keys count apart");
}

#[test]
fn a_sum_beyond_256_bits_is_over_the_limit() {
    let (_, store) = active();
    let most = Amount::MAX.to_be_bytes();
    let with = |number, amount, window| Spend {
        grants: grants(amount, window, Vec::new()),
        ..spend(number, 0, NOW)
    };
    let all = |number| with(number, most, Some((100, most)));
    assert_eq!(store.spend(all(1)), Ok(SpendOutcome::Counted));
    let outcome = SpendOutcome::OverLimit { spent: most, limit: most };
    assert_eq!(store.spend(with(2, wide(1), Some((100, most)))), Ok(outcome));
    // Without a window nothing is refused, but it is counted for a window that comes later.
    assert_eq!(store.spend(with(3, most, None)), Ok(SpendOutcome::Counted));
    assert_eq!(store.spend(with(4, wide(0), Some((100, most)))), Ok(outcome), "the sum overflows");
}

#[test]
fn a_clock_that_is_put_back_frees_nothing() {
    let (disk, store) = active();
    assert_eq!(store.spend(spend(1, 10 * ETHER, NOW)), Ok(SpendOutcome::Counted));
    drop(store);
    let store = reopen(&disk);
    for now in [NOW - 1, NOW - 100, NOW - 101, NOW - 40 * DAY, 50, 0] {
        assert_eq!(store.spend(spend(2, 1, now)), Ok(over(10 * ETHER)), "at {now}");
        store.prune(now).unwrap();
    }
    assert_eq!(store.spend(spend(2, 1, NOW + 100)), Ok(SpendOutcome::Counted));
}

#[test]
fn pruning_forgets_what_cannot_count_any_more_and_nothing_else() {
    let (_, store) = active();
    assert_eq!(store.spend(spend(1, ETHER, NOW)), Ok(SpendOutcome::Counted));
    let late = Spend { expires: NOW + 2 * DAY, ..spend(2, ETHER, NOW + DAY) };
    assert_eq!(store.spend(late), Ok(SpendOutcome::Counted));
    let expires = NOW + 50;
    store.prune(expires + DAY).unwrap();
    assert!(store.request([1; 32]).unwrap().is_some(), "expired a day ago, not longer");
    store.prune(expires + DAY + 1).unwrap();
    assert!(store.request([1; 32]).unwrap().is_none());
    assert!(store.request([2; 32]).unwrap().is_some());
    let month = u64::from(MAX_WINDOW);
    assert_eq!(ask_spent(&store, KEY, NOW + month - 1, MAX_WINDOW), Ok(2 * ETHER), "still counts");
    store.prune(NOW + month).unwrap();
    // Asked with an earlier clock, the store shows what is still there.
    assert_eq!(ask_spent(&store, KEY, 0, MAX_WINDOW), Ok(ETHER));
    store.prune(NOW + DAY + month).unwrap();
    assert_eq!(ask_spent(&store, KEY, 0, MAX_WINDOW), Ok(0));
    assert!(store.request([2; 32]).unwrap().is_none());
    assert_eq!(store.audit_verify(), Ok(2), "the audit log is not pruned");
}

#[test]
fn pruning_is_bounded_and_gets_there() {
    let (disk, store) = active();
    let total = 600u128;
    for number in 0..total {
        let request = wide(number);
        let key = [1 + (number % 2) as u8; 16];
        let grants = grants(wide(1), None, Vec::new());
        let spend = Spend { request, key, grants, ..spend(1, 1, NOW) };
        assert_eq!(store.spend(spend), Ok(SpendOutcome::Counted));
    }
    let left = || {
        let spent = [KEY, [2; 16]].map(|key| ask_spent(&store, key, 0, MAX_WINDOW).unwrap());
        let rows = (0..total).filter(|number| store.request(wide(*number)).unwrap().is_some());
        (spent, rows.count())
    };
    let later = NOW + 31 * DAY;
    store.prune(later).unwrap();
    assert_eq!(left(), ([0, 88], 88), "512 of each at once");
    store.prune(later).unwrap();
    assert_eq!(left(), ([0, 0], 0));
    let changes = disk.changes();
    store.prune(later).unwrap();
    assert_eq!(disk.changes(), changes, "nothing to do costs no write");
}

#[test]
fn what_contradicts_the_record_is_refused_and_the_first_stays() {
    let (disk, store) = active();
    let conflict = |with| Err(StoreError::Conflict { key: KEY, with });
    let row = key_row(KEY, vec![9]);
    assert_eq!(store.insert_pending(row.clone()), Err(StoreError::Exists { key: KEY }));
    for row in [
        KeyRow { state: KeyState::Active, ..row.clone() },
        KeyRow { certificate: Some(vec![1]), ..row },
    ] {
        assert_eq!(store.insert_pending(row), conflict(Contradiction::NotPending));
    }
    store.add_confirmation(KEY, 2, b"one".to_vec()).unwrap();
    let (changes, before) = (disk.changes(), store.key(KEY));
    store.add_confirmation(KEY, 2, b"one".to_vec()).unwrap();
    store.activate(KEY, vec![4; 100]).unwrap();
    assert_eq!(disk.changes(), changes, "the same again costs no write");
    let equivocation = store.add_confirmation(KEY, 2, b"two".to_vec());
    assert_eq!(equivocation, conflict(Contradiction::Confirmation { party: 2 }));
    assert!(equivocation.unwrap_err().to_string().contains("party 2"));
    assert_eq!(store.activate(KEY, vec![5; 100]), conflict(Contradiction::Certificate));
    assert_eq!(store.key(KEY), before);

    let unknown = Err(StoreError::Unknown { key: [7; 16] });
    assert_eq!(store.add_confirmation([7; 16], 1, Vec::new()), unknown);
    assert_eq!(store.activate([7; 16], Vec::new()), unknown);
    assert_eq!(store.replace_sealed([7; 16], Vec::new()), unknown);
    assert_eq!(store.finish([1; 32], [7; 16], 0, Vec::new(), Vec::new()), unknown);
    let stranger = Spend { key: [7; 16], ..spend(1, 1, NOW) };
    assert_eq!(store.spend(stranger), Err(StoreError::Unknown { key: [7; 16] }));

    store.spend(spend(1, 1, NOW)).unwrap();
    let request = Contradiction::Request { request: [1; 32] };
    let later = Spend { expires: NOW + 51, ..spend(1, 1, NOW) };
    let other = Spend { key: [2; 16], ..spend(1, 1, NOW) };
    assert!(
        matches!(store.spend(later), Err(StoreError::Conflict { with, .. }) if with == request)
    );
    assert!(
        matches!(store.spend(other), Err(StoreError::Conflict { with, .. }) if with == request)
    );
    let finished = store.finish([1; 32], KEY, NOW, Vec::new(), Vec::new());
    assert_eq!(finished, conflict(request));
}

#[test]
fn nothing_is_spent_from_a_pending_key() {
    let store = Store::with_backend(SimulatedDisk::new()).unwrap();
    store.insert_pending(key_row(KEY, vec![1])).unwrap();
    let with = Contradiction::NotActive;
    let refused = Err(StoreError::Conflict { key: KEY, with });
    assert_eq!(store.spend(spend(1, 0, NOW)), refused);
    assert_eq!(store.check_spend(&spend(1, 0, NOW)), refused);
    assert_eq!(store.audit_verify(), Ok(0));
}

#[test]
fn everything_has_a_limit() {
    let (_, store) = active();
    let too_large = |what, limit| Err(StoreError::TooLarge { what, size: limit + 1, limit });
    let long = |limit: usize| vec![0; limit + 1];
    assert_eq!(
        store.audit_append(long(MAX_AUDIT_RECORD)),
        too_large("an audit record", MAX_AUDIT_RECORD)
    );
    assert_eq!(
        store.replace_sealed(KEY, long(MAX_SEALED)),
        too_large("a sealed share", MAX_SEALED)
    );
    assert_eq!(
        store.add_confirmation(KEY, 3, long(MAX_CONFIRMATION)),
        too_large("a confirmation", MAX_CONFIRMATION)
    );
    assert_eq!(
        store.finish([1; 32], KEY, 0, long(MAX_OUTCOME), Vec::new()),
        too_large("an outcome", MAX_OUTCOME)
    );
    let grants = grants(wide(1), Some((MAX_WINDOW + 1, wide(1))), Vec::new());
    let spend = Spend { grants, ..spend(1, 1, NOW) };
    let (size, limit) = (MAX_WINDOW as usize + 1, MAX_WINDOW as usize);
    assert_eq!(store.spend(spend), Err(StoreError::TooLarge { what: "a window", size, limit }));
    for party in 2..=MAX_CONFIRMATIONS as u16 {
        store.add_confirmation(KEY, party, vec![1]).unwrap();
    }
    let many = store.add_confirmation(KEY, 1000, vec![1]);
    assert_eq!(many, too_large("a list of confirmations", MAX_CONFIRMATIONS));

    store.audit_append(vec![7; MAX_AUDIT_RECORD]).unwrap();
    store.replace_sealed(KEY, vec![7; MAX_SEALED]).unwrap();
    assert_eq!(store.key(KEY).unwrap().unwrap().sealed.len(), MAX_SEALED);
    assert!(store.audit(0, usize::MAX).unwrap().len() <= MAX_AUDIT_PAGE);
}

#[test]
fn a_failed_write_stops_the_store_until_it_is_opened_again() {
    let (disk, store) = active();
    disk.crash_after(0);
    assert!(matches!(store.audit_append(b"lost".to_vec()), Err(StoreError::Io { .. })));
    let error = store.audit_append(b"and this".to_vec()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }));
    assert!(error.to_string().contains("restart the node"), "{error}");
}
