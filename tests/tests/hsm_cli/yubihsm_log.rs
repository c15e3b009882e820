//! A device's own log is drained while the node runs, and whatever moment anybody dies in, every entry
//! is in the party's audit log once.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use quorate_node::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alone;
use crate::node_process::{Node, wait_for};
use crate::rotation::audit;
use crate::yubihsm::{Device, administrator};

const DRAIN: [&str; 2] = ["hsm", "audit-drain"];

/// A node with its device; it is stopped.
fn place(serial: u32) -> (TempDir, Device, Node) {
    let root = tempfile::tempdir().unwrap();
    let (node, mut device) = (Node::new(root.path(), 1), Device::start(serial));
    let administrator = administrator(root.path());
    node.init(&device.arguments(administrator.to_str().unwrap())).object();
    alone(root.path(), &node);
    device.power_cycle();
    (root, device, node)
}

fn drained(node: &Node) -> Vec<Value> {
    audit(node).into_iter().filter(|record| record["event"] == "hsm-log").collect()
}

/// The numbers of all entries in the audit log, which must be each once and in order.
fn entries(node: &Node) -> Vec<u64> {
    let records = drained(node);
    let entries = records.iter().flat_map(|record| record["entries"].as_array().unwrap());
    let numbers: Vec<u64> = entries.map(|entry| entry["number"].as_u64().unwrap()).collect();
    let whole: Vec<u64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, whole, "each entry once, none left out");
    let findings: Vec<&Value> =
        records.iter().flat_map(|record| record["findings"].as_array().unwrap()).collect();
    assert!(findings.is_empty(), "{findings:?}");
    numbers
}

fn batches(node: &Node) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(node.folder.join("hsm-log")) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path());
    let is_batch = |path: &PathBuf| {
        path.file_name().unwrap().to_str().unwrap().starts_with("batch-")
            && path.extension().is_some_and(|end| end == "json")
    };
    let mut found: Vec<PathBuf> = paths.filter(is_batch).collect();
    found.sort();
    found
}

fn wait_until_taken(node: &Node) {
    wait_for("the node takes all batches in", || batches(node).is_empty().then_some(()));
}

/// Somebody else has the store, as the node has while it runs, and takes nothing in.
fn spool_one(node: &Node) -> PathBuf {
    let store = Store::open(&node.folder.join("store.redb")).unwrap();
    let drained = node.ask(&DRAIN).object();
    drop(store);
    assert!(drained["entries"].as_u64().unwrap() > 0, "{drained}");
    let files = batches(node);
    assert_eq!(drained["waiting"], files.len(), "{drained}");
    files.last().unwrap().clone()
}

#[test]
fn the_log_is_drained_while_the_node_runs() {
    let (_root, mut device, mut node) = place(7_000_061);
    assert_eq!(device.tell("force-audit"), "done");
    node.start();
    let status = node.ask(&["hsm", "status"]).object();
    assert_eq!(status["device_log"]["room"], 62, "{status}");
    let used = status["device_log"]["used"].as_u64().unwrap();
    let first = node.ask(&DRAIN).object();
    assert!(first["entries"].as_u64().unwrap() >= used, "{first}");
    for _ in 0..3 {
        wait_until_taken(&node);
        node.ask(&DRAIN).object();
    }
    wait_until_taken(&node);
    let status = node.ask(&["hsm", "status"]).object();
    assert!(status["device_log"]["used"].as_u64().unwrap() < 20, "{status}");
    assert_eq!(status["device_log"]["waiting"], 0, "{status}");
    node.stop();
    let before = entries(&node).len();
    // The same way without the node.
    let last = node.ask(&DRAIN).object();
    assert_eq!(last["waiting"], 0, "{last}");
    assert_eq!(entries(&node).len() as u64, before as u64 + last["entries"].as_u64().unwrap());
    let mode = |path: PathBuf| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    let folder = node.folder.join("hsm-log");
    assert_eq!((mode(folder.clone()), mode(folder.join("taken.json"))), (0o700, 0o600));
}

/// The node has others to serve: each look of it takes one batch.
#[test]
fn a_node_takes_one_batch_at_a_time() {
    let (_root, mut device, mut node) = place(7_000_121);
    node.ask(&DRAIN).object();
    for _ in 0..3 {
        device.power_cycle();
        spool_one(&node);
    }
    let begun = Instant::now();
    node.start();
    wait_until_taken(&node);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    node.stop();
    entries(&node);
}

/// With `sudo`, for one: the node could not read what that writes. Only root can be tried here.
#[test]
fn a_drain_of_another_user_is_refused_before_it_reads() {
    let (_root, mut device, node) = place(7_000_131);
    if fs::metadata(&node.folder).unwrap().uid() != 0 {
        println!("not root: nothing was tried");
        return;
    }
    device.power_cycle();
    let before = device.tell("messages");
    chown(&node.folder, Some(4321), None).unwrap();
    node.ask(&DRAIN).message(2, &["belongs to user 4321", "nothing was read", "sudo -u '#4321'"]);
    assert_eq!((device.tell("messages"), node.folder.join("hsm-log").exists()), (before, false));
    chown(&node.folder, Some(0), None).unwrap();
    node.ask(&DRAIN).object();
}

/// The drain is killed at every message that it sends, which the device carries out, or never gets.
#[test]
fn no_kill_of_a_drain_loses_an_entry_or_stores_it_twice() {
    let (_root, mut device, node) = place(7_000_071);
    let mut kills = 0;
    for what in ["hold", "stall"] {
        for kill in 0.. {
            device.power_cycle();
            assert_eq!(device.tell(&format!("{what} {kill}")), "done");
            let mut child = node.prepare(&DRAIN);
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let held = wait_for("the message is held, or all were sent", || {
                let held = device.tell("messages").parse::<usize>().unwrap() > kill;
                (held || child.try_wait().unwrap().is_some()).then_some(held)
            });
            child.kill().unwrap();
            child.wait().unwrap();
            device.tell("hold 1000000");
            if !held {
                break;
            }
            kills += 1;
            device.power_cycle();
            node.ask(&DRAIN).object();
            entries(&node);
        }
    }
    assert!(kills >= 12, "{kills}");
    assert!(batches(&node).is_empty());
}

/// The node is killed while auditors drain.
#[test]
fn no_kill_of_a_node_loses_an_entry_or_stores_it_twice() {
    let (_root, mut device, mut node) = place(7_000_081);
    let mut waited = 0;
    for kill in 0..12u64 {
        device.power_cycle();
        node.start();
        node.ask(&DRAIN).object();
        if kill % 3 == 0 {
            wait_until_taken(&node);
            node.ask(&DRAIN).object();
        }
        std::thread::sleep(Duration::from_millis(kill * 137 % 1100));
        node.stop();
        waited += usize::from(!batches(&node).is_empty());
        if kill % 4 == 3 {
            node.ask(&DRAIN).object();
            entries(&node);
        }
    }
    println!("batches were left {waited} times");
    assert!(waited > 0, "the kills miss what they are for");
    node.ask(&DRAIN).object();
    entries(&node);
}

#[test]
fn a_batch_that_is_there_already_is_not_taken_in_twice() {
    let (_root, mut device, mut node) = place(7_000_091);
    node.ask(&DRAIN).object();
    let taken = node.folder.join("hsm-log/taken.json");
    let before = fs::read(&taken).unwrap();
    let file = spool_one(&node);
    let batch = fs::read(&file).unwrap();
    device.power_cycle();
    node.start();
    wait_until_taken(&node);
    node.stop();
    let count = entries(&node).len();
    // As a crash leaves it: the audit log has it; the file is there, or the note is not.
    fs::write(&file, &batch).unwrap();
    fs::write(&taken, &before).unwrap();
    node.start();
    wait_until_taken(&node);
    node.stop();
    assert_eq!(entries(&node).len(), count);
    fs::write(&file, &batch).unwrap();
    device.power_cycle();
    node.ask(&DRAIN).object();
    assert!(entries(&node).len() > count && batches(&node).is_empty());
}

/// To a batch, and why it is refused then.
type Change<'a> = (&'a dyn Fn(&mut Value), &'a str);

#[test]
fn what_was_altered_is_refused_and_what_is_missing_is_recorded() {
    let (_root, mut device, mut node) = place(7_000_101);
    node.ask(&DRAIN).object();
    let file = spool_one(&node);
    let good = fs::read(&file).unwrap();
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut batch: Value = serde_json::from_slice(&good).unwrap();
        change(&mut batch);
        batch.to_string()
    };
    let changes: [Change<'_>; 6] = [
        (&|batch| batch["entries"][1]["target_key"] = 7.into(), "not those that the device gave"),
        (
            &|batch| drop(batch["entries"].as_array_mut().unwrap().remove(1)),
            "not those that the device",
        ),
        (
            &|batch| drop(batch["entries"].as_array_mut().unwrap().remove(0)),
            "not those that the device",
        ),
        (&|batch| batch["previous"] = "00".repeat(32).into(), "does not continue"),
        (&|batch| batch["after"] = Value::Null, "does not continue"),
        (&|batch| batch["number"] = 9.into(), "batch 9"),
    ];
    for (change, why) in changes {
        fs::write(&file, edited(change)).unwrap();
        device.power_cycle();
        node.ask(&DRAIN).message(13, &["batch-0000000", why, "put the right file back"]);
        assert!(file.exists());
    }
    // A running node says so, once, and records it.
    let before = drained(&node).len();
    node.start();
    wait_for("the node refuses it", || {
        node.log().contains("does not go into the audit log").then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500));
    // An auditor who is at it meanwhile changes nothing about that.
    let lock = fs::File::open(node.folder.join("hsm-log/lock")).unwrap();
    lock.lock().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    drop(lock);
    std::thread::sleep(Duration::from_millis(1500));
    let status = node.ask(&["hsm", "status"]).object();
    assert_eq!(status["device_log"]["waiting"], 1, "{status}");
    node.stop();
    let refused =
        audit(&node).into_iter().filter(|record| record["event"] == "hsm-log-refused").count();
    assert_eq!((refused, drained(&node).len()), (1, before));
    // The right file is put back.
    fs::write(&file, &good).unwrap();
    device.power_cycle();
    node.ask(&DRAIN).object();
    entries(&node);
    // One is lost while others wait.
    device.power_cycle();
    let lost = spool_one(&node);
    let next = spool_one(&node);
    assert_ne!(lost, next);
    fs::remove_file(lost).unwrap();
    device.power_cycle();
    node.ask(&DRAIN).object();
    let records = audit(&node);
    let missing = records.iter().find(|record| record["event"] == "hsm-log-missing").unwrap();
    assert_eq!(missing["next"], missing["after"].as_u64().unwrap() + 2, "{missing}");
    let findings: Vec<Value> =
        drained(&node).iter().map(|record| record["findings"].clone()).collect();
    assert!(json!(findings).to_string().contains("Gap"), "{findings:?}");
}
