//! Tokens, PINs and what can be missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_hsm::pkcs11::softhsm;
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{BlobKind, Context, seal};
use quorate_node::store::{KeyRow, KeyState, Store};
use quorate_tests::node_values::key_row;
use tempfile::TempDir;

use crate::node_process::Node;
use crate::token::{PIN, arguments, make, module, spy, write_pin};
use crate::{alone, edit, run_ends};

/// A token of the name `t` under a spy, a PIN file, and a node that is not made yet.
pub struct Place {
    pub root: TempDir,
    pub node: Node,
    pub pin: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let configuration = softhsm::write_config(root.path()).unwrap();
        make(&configuration, "t");
        let pin = root.path().join("pin");
        write_pin(&pin, PIN, 0o600);
        let mut place = Self { node: Node::new(root.path(), 1), root, pin };
        place.node = place.another(1);
        place
    }

    /// Another node that uses the same tokens.
    pub fn another(&self, party: u16) -> Node {
        let mut node = Node::new(self.root.path(), party);
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        node.environment = vec![
            ("SOFTHSM2_CONF".into(), text(self.root.path().join("softhsm2.conf"))),
            ("PKCS11SPY".into(), text(module())),
            ("PKCS11SPY_OUTPUT".into(), text(self.root.path().join("spy.log"))),
        ];
        node
    }

    /// A place with a node in it.
    pub fn initialised() -> Self {
        let place = Self::new();
        place.node.init(&arguments(&spy(), "t", &place.pin)).object();
        alone(place.root.path(), &place.node);
        place
    }

    /// How often anybody logged in.
    pub fn logins(&self) -> usize {
        let log = fs::read_to_string(self.root.path().join("spy.log")).unwrap_or_default();
        log.lines().filter(|line| line.ends_with(": C_Login")).count()
    }

    /// How often the token decrypted anything.
    fn decryptions(&self) -> usize {
        let log = fs::read_to_string(self.root.path().join("spy.log")).unwrap_or_default();
        log.lines().filter(|line| line.ends_with(": C_Decrypt")).count()
    }

    pub fn configuration(&self) -> PathBuf {
        self.node.folder.join("quorate.toml")
    }

    /// A field of the configuration, as it stands there.
    pub fn field(&self, name: &str) -> String {
        let text = fs::read_to_string(self.configuration()).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    }
}

#[test]
fn a_wrong_pin_is_tried_once_and_ends_the_node() {
    let mut place = Place::initialised();
    assert!(place.logins() > 0, "the spy sees nothing");
    write_pin(&place.pin, "wrong-pin", 0o600);
    let before = place.logins();
    let said = run_ends(&place.node);
    said.message(11, &["wrong PIN", "tried once", "not be retried", "correct it"]);
    assert_eq!(place.logins() - before, 1);
    assert!(!said.stderr.contains("wrong-pin") && !said.stdout.contains("wrong-pin"));
    // A service manager may start it again and again, and somebody may have corrected the PIN: no second
    // try before a person says so.
    let guard = place.node.folder.join("pin.guard");
    for text in ["wrong-pin", PIN] {
        write_pin(&place.pin, text, 0o600);
        let said = run_ends(&place.node);
        said.message(11, &["refused the PIN", "no PIN was tried", guard.to_str().unwrap()]);
    }
    assert_eq!(place.logins() - before, 1);
    fs::remove_file(&guard).unwrap();
    // An empty PIN would ask for a keypad.
    write_pin(&place.pin, "", 0o600);
    let before = place.logins();
    run_ends(&place.node).message(11, &["wrong PIN"]);
    assert_eq!(place.logins(), before);
    // Control: the right one, with the newline that editors leave.
    write_pin(&place.pin, &format!("{PIN}\n"), 0o600);
    place.node.start();
    assert_eq!(place.logins() - before, 1);
    assert!(place.node.status().hsm.contains("token t"));
}

#[test]
fn init_tries_a_wrong_pin_once_and_leaves_no_node() {
    let place = Place::new();
    write_pin(&place.pin, "wrong-pin", 0o600);
    let hsm = (spy(), place.pin.clone());
    place.node.init(&arguments(&hsm.0, "t", &hsm.1)).message(11, &["wrong PIN"]);
    assert_eq!(place.logins(), 1);
    assert!(!place.configuration().exists());
    write_pin(&place.pin, PIN, 0o600);
    place.node.init(&arguments(&hsm.0, "t", &hsm.1)).message(11, &["no PIN was tried"]);
    assert_eq!(place.logins(), 1);
    fs::remove_file(place.node.folder.join("pin.guard")).unwrap();
    let made = place.node.init(&arguments(&hsm.0, "t", &hsm.1)).object();
    assert!(made["hsm"].as_str().unwrap().contains("token t"), "{made}");
    assert!(made["report"].to_string().contains("not extractable"), "{made}");
    place.node.init(&arguments(&hsm.0, "t", &hsm.1)).message(15, &["holds a node already"]);
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let place = Place::initialised();
    let (file, before) = (place.configuration(), place.logins());
    let whole = fs::read_to_string(&file).unwrap();
    let with = |from: &str, to: &str, parts: &[&str]| {
        edit(&file, from, to);
        run_ends(&place.node).message(10, parts);
        fs::write(&file, &whole).unwrap();
    };
    let library = place.field("module");
    let words =
        ["cannot load the PKCS#11 library /nowhere/lib.so", "install it or correct the path"];
    with(&library, "/nowhere/lib.so", &words);
    let words = ["no token elsewhere", "available: t (serial", "check that it is plugged in"];
    with("\"t\"", "\"elsewhere\"", &words);
    assert_eq!(place.logins(), before, "nothing of this needs a PIN");
    let key = place.field("key_id");
    let words = ["is not there", "check the token and the key id"];
    with(&key, &"0".repeat(key.len()), &words);
    let canary = place.field("canary");
    let mut altered = canary.clone().into_bytes();
    let last = altered.last_mut().unwrap();
    *last = if *last == b'0' { b'1' } else { b'0' };
    let altered = String::from_utf8(altered).unwrap();
    let words = ["the HSM is unavailable", "do not touch the sealed files"];
    with(&canary, &altered, &words);
    // The key goes, as an operator might delete it.
    let mut delete = Command::new("pkcs11-tool");
    delete.arg("--module").arg(module()).args(["--token-label", "t", "--login", "--pin", PIN]);
    delete.args(["--delete-object", "--type", "secrkey", "--id", &key]);
    delete.envs(place.node.environment.iter().map(|(name, value)| (name, value)));
    let deleted = delete.output().expect("pkcs11-tool is not installed: run tests/run");
    assert!(deleted.status.success(), "{deleted:?}");
    let words = ["is not there", "restore the key from the HSM's backup"];
    run_ends(&place.node).message(10, &words);
}

#[test]
fn init_names_what_is_missing() {
    let place = Place::new();
    let (spy, nowhere) = (spy(), PathBuf::from("/nowhere/lib.so"));
    let missing = place.node.init(&arguments(&nowhere, "t", &place.pin));
    missing.message(10, &["cannot load the PKCS#11 library /nowhere/lib.so"]);
    let missing = place.node.init(&arguments(&spy, "elsewhere", &place.pin));
    missing.message(10, &["no token elsewhere", "available: t"]);
    assert_eq!(place.logins(), 0);
    let module = spy.to_str().unwrap();
    let unnamed = place.node.init(&["--hsm", "pkcs11", "--module", module]);
    unnamed.message(2, &["--token"]);
    place.node.init(&["--hsm", "pkcs11", "--token", "t"]).message(2, &["--module"]);
    assert!(!place.configuration().exists());
}

#[test]
fn a_pin_file_that_others_may_read_is_refused() {
    let place = Place::initialised();
    let before = place.logins();
    for mode in [0o640, 0o604, 0o620] {
        write_pin(&place.pin, PIN, mode);
        let mode = format!("{mode:04o}");
        run_ends(&place.node).message(3, &[place.pin.to_str().unwrap(), &mode, "chmod 600"]);
    }
    fs::remove_file(&place.pin).unwrap();
    run_ends(&place.node).message(3, &[place.pin.to_str().unwrap(), "the PIN file"]);
    let without = format!("pin_file = \"{}\"\n", place.pin.display());
    edit(&place.configuration(), &without, "");
    run_ends(&place.node).message(10, &["no PIN", "set pin_file"]);
    assert_eq!(place.logins(), before);
}

#[test]
fn sealed_files_of_others_do_not_open() {
    // With sealed identities, so that it is the sealed files that tell the parties apart.
    let place = Place::new();
    let spy = spy();
    let sealed = [&arguments(&spy, "t", &place.pin)[..], &["--identity", "sealed"]].concat();
    place.node.init(&sealed).object();
    alone(place.root.path(), &place.node);
    let other = place.another(2);
    other.init(&sealed).object();
    let (own, theirs) =
        (place.node.folder.join("identity.sealed"), other.folder.join("identity.sealed"));
    let good = fs::read(&own).unwrap();
    for place_of_damage in [0, 40, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place_of_damage] ^= 1;
        fs::write(&own, &bad).unwrap();
        run_ends(&place.node).message(13, &[]);
    }
    fs::write(&own, &good[..good.len() - 1]).unwrap();
    run_ends(&place.node).message(13, &["corrupt"]);
    fs::write(&own, []).unwrap();
    run_ends(&place.node).message(13, &["corrupt"]);
    fs::write(&own, &good).unwrap();
    let key = |folder: &std::path::Path| {
        let text = fs::read_to_string(folder.join("quorate.toml")).unwrap();
        text.split_once("[hsm]").unwrap().1.to_owned()
    };
    edit(&place.configuration(), &key(&place.node.folder), &key(&other.folder));
    run_ends(&place.node).message(13, &["sealed under KEK", "right KEK"]);
    // Also where the key would open it.
    fs::copy(&theirs, &own).unwrap();
    run_ends(&place.node).message(13, &["sealed for another party: expected 1, found 2"]);
}

/// A node opens a share for the session that needs it, and none before.
#[test]
fn a_thousand_sealed_keys_are_not_opened_at_the_start() {
    const KEYS: u32 = 1000;
    let mut place = Place::initialised();
    let before = place.decryptions();
    place.node.start();
    let without_keys = place.decryptions() - before;
    place.node.stop();
    let sealed = sealed_by_the_emulation(place.root.path());
    let store = Store::open(&place.node.folder.join("store.redb")).unwrap();
    for number in 0..KEYS {
        let mut key = [9; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let (name, sealed) = (format!("key-{number}"), sealed.clone());
        let row = KeyRow { key, name, sealed, state: KeyState::Pending, ..key_row() };
        store.insert_pending(KeyRow { certificate: None, ..row }).unwrap();
        store.activate(key, vec![1]).unwrap();
    }
    drop(store);
    assert!(without_keys > 0, "the log does not show them");
    // The best of a few: other programs may disturb one.
    let times = (0..4).map(|_| {
        let before = place.decryptions();
        let start = Instant::now();
        place.node.start();
        let time = start.elapsed();
        assert_eq!(place.node.status().keys, KEYS as usize);
        // As many as without any key: the canary, and the party's own secrets.
        assert_eq!(place.decryptions() - before, without_keys);
        place.node.stop();
        time
    });
    let best = times.min().unwrap();
    println!("with {KEYS} keys on SoftHSM the node is ready after {best:?}");
    assert!(best < Duration::from_secs(2), "{best:?}");
}

/// A share of party 1, whose header is right and which nobody opens.
fn sealed_by_the_emulation(root: &std::path::Path) -> Vec<u8> {
    let kek = SoftwareProtector::create(&root.join("kek"), SoftwareSecret::KeyFile).unwrap();
    let context = Context {
        network: [1; 16],
        party: 1,
        key: [2; 16],
        epoch: 0,
        policy_version: 1,
        policy_hash: [3; 32],
        kind: BlobKind::Share,
        sequence: 1,
    };
    seal(&kek, &context, &[7; 100]).unwrap()
}
