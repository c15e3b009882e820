use std::collections::BTreeMap;

use super::*;
use crate::store::KeyState;

const KEY: [u8; 16] = [7; 16];

fn row() -> KeyRow {
    KeyRow {
        key: KEY,
        name: "k".into(),
        state: KeyState::Pending,
        public: Vec::new(),
        policy: vec![1],
        policy_version: 1,
        sealed: vec![1],
        confirmations: BTreeMap::new(),
        certificate: None,
        sequence: 1,
        created: 0,
    }
}

fn change(byte: u8, in_force: Option<u64>) -> ChangeRow {
    ChangeRow { change: vec![byte], seen: 10, due: 20, in_force }
}

fn store() -> Store {
    let store = Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
    store.insert_controlled(row(), change(1, Some(10)), b"created".to_vec()).unwrap();
    store
}

fn add(store: &Store, series: Series, number: u32, row: ChangeRow) -> Result<(), StoreError> {
    store.add_change((KEY, series, number), row, b"added".to_vec())
}

fn new(version: u32, sequence: u64) -> NewPolicy {
    let (policy, sealed) = (vec![version as u8], vec![9]);
    NewPolicy { key: KEY, version, policy, sealed, sequence, now: 30, audit: b"new".to_vec() }
}

fn conflict(number: u32) -> Result<(), StoreError> {
    Err(StoreError::Conflict { key: KEY, with: Contradiction::Change { number } })
}

#[test]
fn a_policy_takes_effect_whole_and_once_and_in_its_turn() {
    let store = store();
    let entries = |store: &Store| store.audit_verify().unwrap();
    assert_eq!((entries(&store), store.changes(KEY, Series::Version).unwrap().len()), (1, 1));
    assert_eq!(store.replace_policy(new(2, 2)), conflict(2), "it was not announced");
    assert_eq!(add(&store, Series::Version, 3, change(3, None)), conflict(3));
    assert_eq!(add(&store, Series::Version, 1, change(3, None)), conflict(1));
    add(&store, Series::Version, 2, change(2, None)).unwrap();
    for wrong in [new(2, 1), new(2, 3)] {
        assert_eq!(store.replace_policy(wrong), conflict(2), "another share was sealed meanwhile");
    }
    assert_eq!(store.key(KEY).unwrap(), Some(row()), "nothing changed");
    assert_eq!(entries(&store), 2);
    store.replace_policy(new(2, 2)).unwrap();
    let changed =
        KeyRow { policy: vec![2], policy_version: 2, sealed: vec![9], sequence: 2, ..row() };
    assert_eq!(store.key(KEY).unwrap(), Some(changed));
    let history = vec![(1, change(1, Some(10))), (2, change(2, Some(30)))];
    assert_eq!(store.changes(KEY, Series::Version).unwrap(), history);
    assert_eq!(store.replace_policy(new(2, 3)), conflict(2), "once");
    assert_eq!(add(&store, Series::Version, 2, change(5, None)), conflict(2));
    // What waits gives way to what others have in force, and to what withdraws it.
    add(&store, Series::Version, 3, change(3, None)).unwrap();
    add(&store, Series::Version, 3, change(4, None)).unwrap();
    add(&store, Series::Version, 4, change(5, None)).unwrap();
    store.replace_policy(new(4, 3)).unwrap();
    assert_eq!(store.replace_policy(new(3, 4)), conflict(3), "a step back");
    assert_eq!(store.changes(KEY, Series::Version).unwrap()[2], (3, change(4, None)));
}

#[test]
fn freezes_count_apart() {
    let store = store();
    add(&store, Series::Hold, 1, change(1, Some(10))).unwrap();
    assert_eq!(add(&store, Series::Hold, 3, change(3, None)), conflict(3));
    add(&store, Series::Hold, 2, change(2, None)).unwrap();
    store.put_hold_in_force(KEY, 2, 30, Vec::new()).unwrap();
    assert_eq!(store.put_hold_in_force(KEY, 2, 31, Vec::new()), conflict(2));
    let holds = vec![(1, change(1, Some(10))), (2, change(2, Some(30)))];
    assert_eq!(store.changes(KEY, Series::Hold).unwrap(), holds);
    assert_eq!(store.changes(KEY, Series::Version).unwrap().len(), 1);
    let unknown = store.add_change(([8; 16], Series::Hold, 1), change(1, None), Vec::new());
    assert_eq!(unknown, Err(StoreError::Unknown { key: [8; 16] }));
    let long = ChangeRow { change: vec![0; MAX_CHANGE + 1], ..change(1, None) };
    assert!(matches!(add(&store, Series::Hold, 3, long), Err(StoreError::TooLarge { .. })));
}

#[test]
fn the_log_is_shown_from_its_end() {
    let store = store();
    add(&store, Series::Hold, 1, change(1, Some(10))).unwrap();
    let mut seen = Vec::new();
    store
        .audit_backwards(|entry| {
            seen.push(entry.number);
            true
        })
        .unwrap();
    assert_eq!(seen, [2, 1]);
    seen.clear();
    store
        .audit_backwards(|entry| {
            seen.push(entry.number);
            false
        })
        .unwrap();
    assert_eq!(seen, [2]);
}
