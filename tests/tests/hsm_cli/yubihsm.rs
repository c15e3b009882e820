//! Nodes whose keys are in a YubiHSM 2: an emulated one, behind HTTP as a connector is.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use quorate_hsm::Profile;
use quorate_hsm::yubihsm::{self, AuditDrain, Password};
use quorate_node::store::Store;
use serde_json::{Value, json};

use crate::faces::{create_key, sign};
use crate::node_process::{Node, binary, wait_for, wait_for_links, write_membership};
use crate::token::write_pin;
use crate::{alone, run_ends};

/// An emulator as a process; it ends with this value.
pub struct Device {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub url: String,
    serial: String,
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Device {
    pub fn start(serial: u32) -> Self {
        let binary = binary().with_file_name("examples").join("yubihsm-emulator");
        let mut command = Command::new(&binary);
        command.arg(serial.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "no {} ({error}): run tests/run, or cargo build --release -p quorate-hsm --example \
                 yubihsm-emulator",
                binary.display()
            )
        });
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (url, serial) = (String::new(), serial.to_string());
        let mut device = Self { child, input, output, url, serial };
        device.url = device.line().split_once(' ').unwrap().0.to_owned();
        device
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// One of the emulator's commands, and its answer.
    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        self.line().trim_end().to_owned()
    }

    /// Unplugged and plugged in again.
    pub fn power_cycle(&mut self) {
        assert_eq!(self.tell("power-cycle"), "done");
    }

    /// What `quorate init` is told.
    pub fn arguments<'a>(&'a self, administrator: &'a str) -> [&'a str; 10] {
        [
            "--hsm",
            "yubihsm",
            "--connector",
            &self.url,
            "--serial",
            &self.serial,
            "--admin-auth-key",
            "1",
            "--admin-password-file",
            administrator,
        ]
    }
}

/// The factory's password, in a file.
pub fn administrator(root: &Path) -> PathBuf {
    let file = root.join("administrator.password");
    write_pin(&file, "password\n", 0o600);
    file
}

#[test]
fn three_nodes_with_yubihsms_sign_also_after_a_device_was_reset() {
    let root = tempfile::tempdir().unwrap();
    let administrator = administrator(root.path());
    let mut devices: Vec<Device> =
        (1..=3).map(|serial| Device::start(7_000_000 + serial)).collect();
    let mut nodes: Vec<Node> = (1..=3).map(|party| Node::new(root.path(), party)).collect();
    for (node, device) in nodes.iter().zip(&devices) {
        let made = node.init(&device.arguments(administrator.to_str().unwrap())).object();
        assert!(made["identity"].as_str().unwrap().starts_with("p256:"), "{made}");
        let report = made["report"].to_string();
        // Attributes as read back, what was tried, and the warnings.
        for part in ["cannot be exported", "altered ciphertext refused", "AUTHENTICATION KEY 1"] {
            assert!(report.contains(part), "no {part:?} in {report}");
        }
        assert!(!node.folder.join("identity.sealed").exists());
        for file in ["yubihsm-node.password", "yubihsm-auditor.password"] {
            let path = node.folder.join(file);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let password = fs::read_to_string(path).unwrap();
            assert!(password.len() == 64 && !made.to_string().contains(&password), "{file}");
        }
    }
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root.path(), &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    wait_for_links(&nodes, &[1, 2, 3]);
    create_key(root.path(), &nodes[0]);
    wait_for("the key is active everywhere", || {
        let active =
            |node: &Node| node.ask(&["key", "list"]).object()["keys"][0]["state"] == "active";
        nodes.iter().all(active).then_some(())
    });
    assert_eq!(sign(root.path(), &nodes[0], &[])["signers"], json!([1, 2, 3]));
    devices[1].power_cycle();
    let again = sign(root.path(), &nodes[0], &["--nonce", "1"]);
    assert_eq!(again["signers"], json!([1, 2, 3]));
    let plan = nodes[1].ask(&["hsm", "backup-plan"]).object();
    assert_eq!(plan["shares"], json!(["k"]));
    let keys = plan["keys"].to_string();
    assert!(keys.contains("wrap key 0x0012") && keys.contains("0007000002"), "{keys}");
    let status = nodes[1].ask(&["hsm", "status"]).object();
    assert_eq!((&status["works"], &status["identity_signs"]), (&json!(true), &json!(true)));
    assert_eq!(status["kek"], "yubihsm:0007000002:0012:v1");
    // The device goes for good: said so, with an exit code of its own.
    drop(devices.remove(1));
    nodes[1].ask(&["hsm", "status"]).message(10, &["the HSM is unavailable"]);
}

#[test]
fn what_init_needs_for_a_yubihsm_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (node, device) = (Node::new(root.path(), 1), Device::start(7_000_011));
    let administrator = administrator(root.path());
    let path = administrator.to_str().unwrap();
    let all = device.arguments(path);
    node.init(&all[..4]).message(2, &["--serial"]);
    node.init(&all[..6]).message(2, &["--admin-auth-key"]);
    node.init(&[&all[..], &["--identity", "sealed"]].concat()).message(2, &["--identity"]);
    node.init(&[&all[..], &["--wrap-key", "65535"]].concat()).message(2, &["--wrap-key"]);
    let mut other = all;
    other[5] = "7000012";
    node.init(&other).message(10, &["7000011"]);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    node.init(&all).message(3, &[path, "0644"]);
    write_pin(&administrator, "wrong", 0o600);
    node.init(&all).message(11, &["wrong PIN or passphrase"]);
    assert!(!node.folder.join("quorate.toml").exists());
    write_pin(&administrator, "password", 0o600);
    node.init(&all).object();
    // The same identifiers are taken.
    let second = Node::new(root.path(), 2);
    second.init(&all).message(15, &["0x0012", "nothing was changed"]);
    // Another password than the device knows.
    write_pin(&node.folder.join("yubihsm-node.password"), "another", 0o600);
    let held = node.ask(&["hsm", "status"]);
    held.message(11, &["wrong PIN"]);
    assert!(held.stdout.contains(r#""pin_guard":"held: "#), "{held:?}");
    let probed = node.ask(&["hsm", "probe", "--connector", &device.url]).object();
    assert_eq!((&probed["serial"], &probed["log_room"]), (&json!(7_000_011), &json!(62)));
    crate::alone(root.path(), &node);
    run_ends(&node).message(11, &["no PIN was tried now"]);
}

#[test]
fn the_devices_log_is_drained_into_ours_and_no_entry_twice() {
    let root = tempfile::tempdir().unwrap();
    let (node, mut device) = (Node::new(root.path(), 1), Device::start(7_000_021));
    let administrator = administrator(root.path());
    node.init(&device.arguments(administrator.to_str().unwrap())).object();
    let first = node.ask(&["hsm", "audit-drain"]).object();
    let count = first["entries"].as_u64().unwrap();
    assert!(count > 0, "{first}");
    device.power_cycle();
    node.ask(&["hsm", "status"]).object();
    let second = node.ask(&["hsm", "audit-drain"]).object();
    assert_eq!(second["findings"], json!([]), "the chain goes on: {second}");
    let numbers = {
        let store = Store::open(&node.folder.join("store.redb")).unwrap();
        store.audit_verify().unwrap();
        let records = store.audit(1, 1000).unwrap().into_iter();
        let records = records.map(|entry| serde_json::from_slice::<Value>(&entry.record).unwrap());
        let drained: Vec<Value> = records.filter(|record| record["event"] == "hsm-log").collect();
        assert!(drained.iter().all(|record| record["serial"] == 7_000_021), "{drained:?}");
        let entries = drained.iter().flat_map(|record| record["entries"].as_array().unwrap());
        entries.map(|entry| entry["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let whole: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, whole, "each entry once, none left out");
    assert_eq!(numbers.len() as u64, count + second["entries"].as_u64().unwrap());
    // The device has forgotten what is stored, and nothing else.
    let auditor = fs::read_to_string(node.folder.join("yubihsm-auditor.password")).unwrap();
    let here = yubihsm::Config {
        connector: device.url.clone(),
        serial: 7_000_021,
        auth_key: 0x10,
        key_id: 0x12,
        profile: Profile::WrapData,
        key_version: 1,
    };
    let left = {
        let drain = AuditDrain::open(&here, 0x11, &Password::new(auditor)).unwrap();
        drain.read(None).unwrap().entries
    };
    assert_eq!(u64::from(left[0].number), numbers.last().unwrap() + 1);
    // Somebody rewrites the end of what is stored: the device's chain does not continue it.
    let store = Store::open(&node.folder.join("store.redb")).unwrap();
    let mut end = left[0].clone();
    end.number -= 1;
    let forged = json!({ "event": "hsm-log", "serial": 7_000_021, "entries": [end] });
    store.audit_append(forged.to_string().into_bytes()).unwrap();
    drop(store);
    let third = node.ask(&["hsm", "audit-drain"]).object();
    assert!(third["findings"].to_string().contains("does not continue"), "{third}");
    let fourth = node.ask(&["hsm", "audit-drain"]).object();
    assert_eq!(fourth["findings"], json!([]), "{fourth}");
    // Only the auditor may, and only such a device has a log.
    let password = node.folder.join("yubihsm-node.password").display().to_string();
    node.ask(&["hsm", "audit-drain", "--password-file", &password]).message(11, &["wrong PIN"]);
    let emulated = Node::new(root.path(), 2);
    emulated.init(&["--hsm", "software"]).object();
    emulated.ask(&["hsm", "audit-drain"]).message(3, &["hsm.backend"]);
}

#[test]
fn a_wrong_password_is_held_across_restarts_until_it_is_cleared() {
    let root = tempfile::tempdir().unwrap();
    let administrator = administrator(root.path());
    let device = Device::start(7_000_021);
    let node = Node::new(root.path(), 1);
    node.init(&device.arguments(administrator.to_str().unwrap())).object();
    alone(root.path(), &node);
    let file = node.folder.join("yubihsm-node.password");
    let right = fs::read_to_string(&file).unwrap();
    fs::write(&file, "another password").unwrap();
    run_ends(&node).message(11, &["wrong PIN or passphrase"]);
    // Also when it is put right: a person must say so.
    fs::write(&file, right).unwrap();
    for _ in 0..2 {
        run_ends(&node).message(11, &["no PIN was tried now", "clear-pin"]);
    }
    assert_eq!(node.ask(&["hsm", "clear-pin"]).object()["was_held"], true);
    assert_eq!(node.ask(&["hsm", "status"]).object()["works"], true);
    // A connector that is away is no refusal.
    drop(device);
    for _ in 0..2 {
        run_ends(&node).message(10, &[]);
    }
    assert_eq!(node.ask(&["hsm", "clear-pin"]).object()["was_held"], false);
}
