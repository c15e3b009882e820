//! Stores in files: one process at a time, one owner.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use quorate_node::store::*;

use crate::model::key_row;

const HOLD: &str = "QUORATE_TEST_HOLD_STORE";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A process of its own that holds the store: this test binary, told so by its environment.
#[test]
fn holder() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    store.insert_pending(key_row([2; 16], vec![2])).unwrap();
    println!("\nholding");
    std::io::stdout().flush().unwrap();
    // Until the other end is closed.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn hold(path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "files::holder", "--nocapture", "--test-threads=1"])
        .env(HOLD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    // Kept open: the child writes its results there at the end.
    let mut lines = output.lines();
    assert!(lines.by_ref().any(|line| line.unwrap() == "holding"), "the holder did not start");
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let locked = StoreError::Locked { path: path.clone() };

    let mut child = hold(&path);
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error, locked);
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());

    let store = Store::open(&path).unwrap();
    assert_eq!(store.keys().unwrap(), [key_row([2; 16], vec![2])]);
    assert_eq!(Store::open(&path).unwrap_err(), locked, "nor twice in one process");
    drop(store);

    // A killed process leaves no lock behind, and what it had stored is there.
    fs::remove_file(&path).unwrap();
    let mut child = hold(&path);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Store::open(&path).unwrap().keys().unwrap(), [key_row([2; 16], vec![2])]);
}

#[test]
fn a_store_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store.redb"], "nothing is left lying about");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600, "a copy that others could read is closed to them");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/store.redb");
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Io { reason } if reason.contains("missing")), "{error}");
    assert!(matches!(Store::open(folder.path()).unwrap_err(), StoreError::Io { .. }));
}

#[test]
fn stores_can_be_shared_among_threads() {
    fn check<T: Send + Sync>() {}
    check::<Store>();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.redb")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let store = &store;
            scope.spawn(move || (0..10).for_each(|_| store.audit_append(vec![thread]).unwrap()));
        }
    });
    assert_eq!(store.audit_verify(), Ok(40));
}
