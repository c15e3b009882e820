//! Damaged files and other versions: an error, never a panic, never somebody else's state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use quorate_node::store::*;
use quorate_tests::disk::SimulatedDisk;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _};

use crate::model::*;

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");

/// A store with some life behind it, and what it holds.
struct Lived {
    bytes: Vec<u8>,
    now: u64,
    hashes: Vec<Hash>,
    expected: View,
}

/// Closed in order or not; the last change is an audit record.
fn lived_in(orderly: bool) -> Lived {
    let disk = SimulatedDisk::new();
    let store = Store::with_backend(disk.clone()).unwrap();
    let (mut workload, mut model) = (Workload::new(3), Model::default());
    for step in 0..=300 {
        let last = Change::Audit(b"last".to_vec());
        let change = if step == 300 { last } else { workload.next() };
        let expected = model.apply(change.clone());
        assert_eq!(perform(&store, change), expected);
    }
    if !orderly {
        disk.crash();
    }
    drop(store);
    let (now, hashes) = (workload.now, workload.hashes());
    Lived { bytes: disk.bytes(), now, hashes, expected: model.view(now) }
}

#[derive(Debug, Default)]
struct Met {
    refused: u32,
    whole: u32,
    /// A state that was complete and is no longer the newest.
    older: u32,
}

impl Met {
    /// Opens and reads everything. A panic is caught, so that it can be told where it came from.
    fn open(&mut self, bytes: Vec<u8>, lived: &Lived, what: &str) {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let store = Store::with_backend(SimulatedDisk::from_bytes(bytes))?;
            view(&store, lived.now, &lived.hashes)
        }));
        match opened {
            Err(_) => panic!("{what}: the panic above"),
            Ok(Err(StoreError::Corrupt { .. })) => self.refused += 1,
            Ok(Err(error)) => panic!("{what}: {error:?}"),
            Ok(Ok(found)) if found == lived.expected => self.whole += 1,
            Ok(Ok(found)) => {
                let (_, before) = lived.expected.audit.split_last().unwrap();
                assert_eq!(found.audit, before, "{what}: a state that never was");
                println!("{what}: the state before the last change");
                self.older += 1;
            }
        }
    }
}

#[test]
fn flipped_bits_are_an_error_or_harmless_and_never_a_panic() {
    for orderly in [true, false] {
        let lived = lived_in(orderly);
        let written = lived.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
        let written: Vec<usize> = written.map(|(at, _)| at).collect();
        println!("{} of {} bytes are not zero", written.len(), lived.bytes.len());
        let mut met = Met::default();
        for seed in 0..4000 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut damaged = lived.bytes.clone();
            // Half of them in the first page, where everything starts; the others where something was written.
            for _ in 0..=rng.next_u32() % 8 {
                let at = match seed % 2 {
                    0 => (rng.next_u64() % 4096) as usize,
                    _ => written[(rng.next_u64() % written.len() as u64) as usize],
                };
                damaged[at] ^= 1 << (rng.next_u32() % 8);
            }
            met.open(damaged, &lived, &format!("orderly {orderly}, seed {seed}"));
        }
        println!("orderly {orderly}, at random: {met:?}");
        assert!(met.refused > 500 && met.whole > 500, "{met:?}");

        let mut header = Met::default();
        for bit in 0..320 * 8 {
            let mut damaged = lived.bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            header.open(damaged, &lived, &format!("orderly {orderly}, header bit {bit}"));
        }
        println!("orderly {orderly}, header: {header:?}");
        assert!(header.refused > 1000, "{header:?}");
        // One bit, which no checksum covers, says which of the two newest states is the current one.
        assert!(met.older + header.older <= u32::from(!orderly), "{met:?} {header:?}");
    }
}

#[test]
fn truncated_padded_and_foreign_files_are_errors_and_never_a_panic() {
    let lived = lived_in(true);
    let mut met = Met::default();
    for seed in 0..300 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut bytes = lived.bytes.clone();
        let length = 1 + rng.next_u64() as usize % (bytes.len() - 1);
        match seed % 3 {
            0 => bytes.truncate(length),
            1 => bytes.resize(bytes.len() + length, 0),
            _ => {
                bytes.truncate(length);
                rng.fill_bytes(&mut bytes);
            }
        }
        met.open(bytes, &lived, &format!("seed {seed}"));
    }
    println!("{met:?}");
    assert!(met.older == 0 && met.refused > 250, "{met:?}");
}

fn raw(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_another_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    Store::open(&path).unwrap().insert_pending(key_row([1; 16], vec![1])).unwrap();
    for version in [0, FORMAT + 1, u32::MAX] {
        raw(&path, |to| {
            to.open_table(META).unwrap().insert("format", version).unwrap();
        });
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error, StoreError::Version { found: version, supported: FORMAT });
        assert!(error.to_string().contains(&format!("format {version}")));
    }
    raw(&path, |to| {
        to.open_table(META).unwrap().insert("format", FORMAT).unwrap();
    });
    assert_eq!(Store::open(&path).unwrap().keys().unwrap(), [key_row([1; 16], vec![1])]);
}

#[test]
fn a_database_that_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let refused = |why: &str| {
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { what } if what.contains(why)), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
    };
    raw(&path, |_| {});
    refused("version is missing");
    raw(&path, |to| drop(to.open_table(TableDefinition::<u8, u8>::new("other")).unwrap()));
    refused("version is missing");
    raw(&path, |to| drop(to.open_table(TableDefinition::<u8, u8>::new("meta")).unwrap()));
    refused("meta");
    // What is left of a store whose contents never reached the disk is no reason for a new one.
    std::fs::write(&path, b"").unwrap();
    refused("empty");
    std::fs::write(&path, b"#!/bin/sh").unwrap();
    refused("");
}

/// The tables as format 1 has them, spelled out once more and read without the store.
#[test]
fn the_tables_are_frozen() {
    let (request, key) = ([9; 32], [1; 16]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).unwrap();
    store.insert_pending(key_row(key, vec![1])).unwrap();
    store.activate(key, vec![5]).unwrap();
    let amount = wide(7);
    let grants = grants(amount, None, b"spent".to_vec());
    let spend = Spend { request, key, now: 100, expires: 200, grants };
    assert_eq!(store.spend(spend), Ok(SpendOutcome::Counted));
    store.keep_identity_head(b"head").unwrap();
    store.keep_countersignature(2, b"given").unwrap();
    store.keep_witnessed_head(3, b"seen").unwrap();
    let waiting = WaitingRow { key, client: [2; 32], since: 100, expires: 200 };
    store.await_request([8; 32], &waiting, b"request", b"waits".to_vec()).unwrap();
    let veto = VetoRow { key, at: 100, until: 100, seen: false, veto: b"veto".to_vec() };
    store.keep_rolled_back_peer(3, Some(1)).unwrap();
    store.add_veto([8; 32], [3; 32], veto, b"vetoed".to_vec()).unwrap();
    let change = ChangeRow { change: vec![8], seen: 1, due: 2, in_force: Some(3) };
    store.add_change((key, Series::Hold, 1), change, b"frozen".to_vec()).unwrap();
    drop(store);

    let database = Database::open(&path).unwrap();
    let read = database.begin_read().unwrap();
    let mut names: Vec<_> = read.list_tables().unwrap().map(|t| t.name().to_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "audit",
            "countersigned-heads",
            "evidence",
            "expiries",
            "heads",
            "identity-head",
            "keys",
            "meta",
            "policy-changes",
            "requests",
            "rolled-back-peers",
            "vetoes",
            "waiting",
            "waiting-requests",
            "windows",
            "witnessed-heads"
        ]
    );
    let meta = read.open_table(META).unwrap();
    assert_eq!(meta.get("format").unwrap().unwrap().value(), 1);
    let keys = read.open_table(TableDefinition::<[u8; 16], &[u8]>::new("keys")).unwrap();
    assert_eq!(keys.get(key).unwrap().unwrap().value()[..16], key);
    let requests = read.open_table(TableDefinition::<[u8; 32], &[u8]>::new("requests")).unwrap();
    let row = [key.as_slice(), &[0xc8, 1, 1, 0]].concat();
    assert_eq!(requests.get(request).unwrap().unwrap().value(), row);
    let expiries = TableDefinition::<(u64, [u8; 32]), ()>::new("expiries");
    assert!(read.open_table(expiries).unwrap().get((200, request)).unwrap().is_some());
    let windows = TableDefinition::<([u8; 16], [u8; 16], u64, [u8; 32]), [u8; 32]>::new("windows");
    let windows = read.open_table(windows).unwrap();
    assert_eq!(windows.get((key, [5; 16], 100, request)).unwrap().unwrap().value(), amount);
    let audit = read.open_table(TableDefinition::<u64, &[u8]>::new("audit")).unwrap();
    assert_eq!(&audit.get(1).unwrap().unwrap().value()[64..], b"spent");
    let waiting = read.open_table(TableDefinition::<[u8; 32], &[u8]>::new("waiting")).unwrap();
    let row = [&key[..], &[2; 32], &[100, 0xc8, 1]].concat();
    assert_eq!(waiting.get([8; 32]).unwrap().unwrap().value(), row);
    let bytes = TableDefinition::<[u8; 32], &[u8]>::new("waiting-requests");
    let bytes = read.open_table(bytes).unwrap();
    assert_eq!(bytes.get([8; 32]).unwrap().unwrap().value(), b"request");
    let vetoes = TableDefinition::<([u8; 32], [u8; 32]), &[u8]>::new("vetoes");
    let vetoes = read.open_table(vetoes).unwrap();
    // Kept until a day after the expiry of its request, which is known: 86600.
    let row = [&key[..], &[100, 0xc8, 0xa4, 5, 1, 4], b"veto"].concat();
    assert_eq!(vetoes.get(([8; 32], [3; 32])).unwrap().unwrap().value(), row);
    let head = read.open_table(TableDefinition::<(), &[u8]>::new("identity-head")).unwrap();
    assert_eq!(head.get(()).unwrap().unwrap().value(), b"head");
    for (table, party, value) in
        [("countersigned-heads", 2, b"given".as_slice()), ("witnessed-heads", 3, b"seen")]
    {
        let table = read.open_table(TableDefinition::<u16, &[u8]>::new(table)).unwrap();
        assert_eq!(table.get(party).unwrap().unwrap().value(), value);
    }
    let changes = TableDefinition::<([u8; 16], u8, u32), &[u8]>::new("policy-changes");
    let changes = read.open_table(changes).unwrap();
    let row = changes.get((key, 1, 1)).unwrap().unwrap();
    assert_eq!(row.value(), [1, 8, 1, 2, 1, 3]);
}
