//! A new key-encryption key in a YubiHSM, which its administrator alone can make; and the end of the old one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use quorate_node::config::{Config, Folder, HsmConfig};
use tempfile::TempDir;

use crate::files::group_of;
use crate::node_process::{Node, wait_for};
use crate::rotation::{audit, copy, named, sign};
use crate::run_ends;
use crate::token::write_pin;
use crate::yubihsm::{Device, administrator};

const ROTATE: [&str; 2] = ["hsm", "rotate-kek"];

/// Three parties that share a key; they are stopped. The first one is sealed by the device.
fn place(serial: u32) -> (TempDir, Device, Vec<Node>) {
    let root = tempfile::tempdir().unwrap();
    let device = Device::start(serial);
    let password = administrator(root.path());
    let arguments = device.arguments(password.to_str().unwrap());
    let nodes = group_of(&root, |node| match node.party {
        1 => arguments.to_vec(),
        _ => vec!["--hsm", "software"],
    });
    (root, device, nodes)
}

/// What the command line names the administrator by.
fn by(root: &Path) -> [String; 4] {
    let file = root.join("administrator.password").display().to_string();
    ["--admin-auth-key".to_owned(), "1".to_owned(), "--admin-password-file".to_owned(), file]
}

/// The identifiers of KEK and authentication key that the configuration names.
fn identifiers(node: &Node) -> (String, String) {
    let config = Config::load(&Folder::new(&node.folder)).unwrap();
    let HsmConfig::Yubihsm { key_id, auth_key, .. } = config.hsm else { panic!("{config:?}") };
    (format!("{key_id:04x}"), format!("{auth_key:04x}"))
}

fn kek(node: &Node) -> String {
    identifiers(node).0
}

fn ask(node: &Node, verb: &[&str], more: &[String]) -> crate::node_process::Answer {
    let more = more.iter().map(String::as_str);
    node.ask(&verb.iter().copied().chain(more).collect::<Vec<_>>())
}

fn objects(device: &mut Device) -> BTreeSet<String> {
    device.tell("objects").split(' ').map(str::to_owned).collect()
}

#[test]
fn a_device_gets_a_new_kek_and_the_old_one_ends_on_request() {
    let (root, mut device, mut nodes) = place(7_000_031);
    let by = by(root.path());
    // Another node of the same device, in a domain of its own: none of its objects is ever touched.
    let other = Node::new(root.path(), 9);
    let theirs = ["--domain", "2", "--node-auth-key", "0x30", "--auditor-auth-key", "0x31"];
    let theirs = [&theirs[..], &["--wrap-key", "0x32", "--identity-key", "0x33"]].concat();
    let password = root.path().join("administrator.password");
    other.init(&[&device.arguments(password.to_str().unwrap())[..], &theirs].concat()).object();
    device.power_cycle();
    let before = objects(&mut device);
    let old = copy(&nodes[0], "old");

    // Without the administrator nothing is made; with a wrong or open password neither.
    ask(&nodes[0], &ROTATE, &[]).message(2, &["--admin-auth-key", "nothing was changed"]);
    fs::write(&password, "wrong").unwrap();
    ask(&nodes[0], &ROTATE, &by).message(11, &["wrong PIN or passphrase"]);
    write_pin(&password, "password", 0o644);
    ask(&nodes[0], &ROTATE, &by).message(3, &["others may read", "0644"]);
    write_pin(&password, "password", 0o600);
    // The node's own key may make none.
    let node_file = nodes[0].folder.join("yubihsm-node.password").display().to_string();
    let node_key = ["--admin-auth-key", "0x10", "--admin-password-file", &node_file];
    ask(&nodes[0], &[&ROTATE[..], &node_key].concat(), &[]).message(10, &["refuses", "0x0010"]);
    assert_eq!((objects(&mut device), kek(&nodes[0])), (before.clone(), "0012".into()));
    device.power_cycle();

    let done = ask(&nodes[0], &ROTATE, &by).object();
    let second = kek(&nodes[0]);
    assert_eq!((&done["rewrapped"], &done["from_id"]), (&2.into(), &"0012".into()), "{done}");
    assert_eq!(done["leftover"], serde_json::json!([]), "{done}");
    assert_eq!(done["to"], format!("yubihsm:0007000031:{second}:v2"));
    for words in ["cannot be exported", "deleting the KEK refused", "AUTHENTICATION KEY 1"] {
        assert!(done["report"].to_string().contains(words), "{words}: {done}");
    }
    assert_eq!(named(&nodes[0]), BTreeSet::from([second.clone()]));
    let keys = nodes[0].ask(&["hsm", "backup-plan"]).object()["keys"].to_string();
    assert!(keys.contains(&format!("wrap key 0x{second}, version 2")), "{keys}");
    assert!(keys.contains("0x0010 (node)"), "{keys}");
    sign(root.path(), &mut nodes, "0");
    device.power_cycle();

    // The other profile needs another authentication key of the node; its password stays.
    ask(&nodes[0], &[&ROTATE[..], &["--profile", "token-gcm"]].concat(), &by)
        .message(10, &["not supported"]);
    let done = ask(&nodes[0], &[&ROTATE[..], &["--profile", "hmac-kdf"]].concat(), &by).object();
    let third = kek(&nodes[0]);
    assert_eq!(identifiers(&nodes[0]).1, third, "{done}");
    let plan = nodes[0].ask(&["hsm", "backup-plan"]).object()["keys"].to_string();
    assert!(plan.contains(&format!("HMAC key 0x{third}, version 3")), "{plan}");
    assert!(plan.contains(&format!("0x{third} (node)")), "{plan}");
    sign(root.path(), &mut nodes, "1");
    device.power_cycle();

    let destroy = |id: &str, more: &[String]| {
        ask(&nodes[0], &["hsm", "destroy-kek", "--yes", "--key-id", id], more)
    };
    ask(&nodes[0], &["hsm", "destroy-kek", "--key-id", "0x12"], &by)
        .message(2, &["KEK 0012", "--yes"]);
    destroy("0012", &[]).message(2, &["--admin-auth-key"]);
    destroy(&third, &by).message(15, &[&third, "in use"]);
    destroy("0032", &by).message(14, &["never had a KEK 0032", "another node's"]);
    // A wrap key that came under the old identifier is not ours any more; here, the KEK of another party.
    let hedge = nodes[0].folder.join("hedge.sealed");
    let (good, whole) =
        (fs::read(&hedge).unwrap(), fs::read(old.folder.join("hedge.sealed")).unwrap());
    fs::write(&hedge, whole).unwrap();
    destroy("0x12", &by).message(15, &["hedge.sealed is sealed under KEK", "0012"]);
    fs::write(&hedge, good).unwrap();
    // What was tried is recorded, and not as done.
    fs::write(&password, "wrong").unwrap();
    destroy("0x12", &by).message(11, &["wrong PIN or passphrase"]);
    fs::write(&password, "password").unwrap();
    let recorded =
        |event: &str| audit(&nodes[0]).iter().filter(|record| record["event"] == event).count();
    assert_eq!((recorded("kek-destroyed"), recorded("kek-not-destroyed")), (0, 1));
    assert!(before.is_subset(&objects(&mut device)));
    let gone = destroy("0x12", &by).object();
    assert_eq!((recorded("kek-destroyed"), recorded("kek-not-destroyed")), (1, 1));
    assert_eq!(gone["destroyed"].as_array().unwrap().len(), 1, "{gone}");
    assert!(gone["destroyed"][0].as_str().unwrap().contains("wrap-key 0x0012"), "{gone}");
    destroy("0012", &by).message(14, &["0012", "already", "another node's"]);
    device.power_cycle();
    run_ends(&old).message(10, &["wrap-key 0x0012", "is not there"]);
    // With the second one goes the authentication key that was left with it.
    let gone = destroy(&second, &by).object()["destroyed"].to_string();
    assert!(gone.contains(&format!("wrap-key 0x{second}")) && gone.contains("0x0010"), "{gone}");
    let mut expected = before;
    expected.retain(|object| object != "0012/4" && object != "0010/2");
    expected.extend([format!("{third}/5"), format!("{third}/2")]);
    assert_eq!(objects(&mut device), expected);
    device.power_cycle();
    sign(root.path(), &mut nodes, "2");
    assert_eq!(other.ask(&["hsm", "status"]).object()["works"], true);
}

/// Two nodes in one domain of one device: the identifier that one left is the other's now.
#[test]
fn another_nodes_kek_under_an_old_identifier_stays() {
    let root = tempfile::tempdir().unwrap();
    let (node, other) = (Node::new(root.path(), 1), Node::new(root.path(), 2));
    let mut device = Device::start(7_000_111);
    let password = administrator(root.path());
    let arguments = device.arguments(password.to_str().unwrap()).map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    node.init(&arguments).object();
    device.power_cycle();
    let by = by(root.path());
    ask(&node, &ROTATE, &by).object();
    let restored = copy(&node, "restored");
    let destroy =
        |node: &Node| ask(node, &["hsm", "destroy-kek", "--yes", "--key-id", "0012"], &by);
    destroy(&node).object();
    device.power_cycle();
    let theirs =
        ["--node-auth-key", "0x30", "--auditor-auth-key", "0x31", "--identity-key", "0x33"];
    other.init(&[&arguments[..], &theirs].concat()).object();
    assert_eq!(kek(&other), "0012");
    device.power_cycle();
    let before = objects(&mut device);
    // The audit log says that it went; and a copy of before then knows that it is not the same one.
    destroy(&node).message(14, &["0012", "already"]);
    destroy(&restored).message(15, &["0012", "not the one that this node left"]);
    assert_eq!(objects(&mut device), before);
    device.power_cycle();
    assert_eq!(other.ask(&["hsm", "status"]).object()["works"], true);
}

/// Killed at every message that a rotation sends to the device: it is carried out, nobody hears of it.
#[test]
fn no_kill_of_a_rotation_in_a_device_loses_anything() {
    let (root, mut device, mut nodes) = place(7_000_041);
    let by = by(root.path());
    let strangers = objects(&mut device);
    let rotation = |profile: &str| {
        let own = [&ROTATE[..], &["--profile", profile]].concat();
        own.into_iter().map(str::to_owned).chain(by.iter().cloned()).collect::<Vec<_>>()
    };
    let (mut retired, mut left) = (Vec::new(), 0);
    let (mut early, mut during) = (0, 0);
    let destroy = |node: &Node, id: &str| {
        ask(node, &["hsm", "destroy-kek", "--yes", "--key-id", id], &by).object();
    };
    for kill in 0.. {
        // Each needs another authentication key.
        let profile =
            if kek(&nodes[0]) == "0012" || kill % 2 == 0 { "hmac-kdf" } else { "wrap-data" };
        let rotate = rotation(profile);
        let rotate: Vec<&str> = rotate.iter().map(String::as_str).collect();
        device.power_cycle();
        assert_eq!(device.tell(&format!("hold {kill}")), "done");
        let before = kek(&nodes[0]);
        let mut child = nodes[0].prepare(&rotate);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let held = wait_for("the message is held, or all were sent", || {
            let held = device.tell("messages").parse::<usize>().unwrap() > kill;
            (held || child.try_wait().unwrap().is_some()).then_some(held)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        device.tell("hold 1000000");
        device.power_cycle();
        if !held {
            retired.push(before);
            break;
        }
        let planned = nodes[0].folder.join("rotation.toml").exists();
        *(if planned { &mut during } else { &mut early }) += 1;
        assert_eq!(kek(&nodes[0]), before, "the configuration is switched last");
        if planned && kill % 8 == 0 {
            run_ends(&nodes[0]).message(15, &["not finished"]);
        }
        let done = nodes[0].ask(&rotate).object();
        assert_eq!(done["continued"], planned, "message {kill}");
        let now = kek(&nodes[0]);
        assert_eq!(named(&nodes[0]), BTreeSet::from([now.clone()]), "message {kill}");
        for name in done["leftover"].as_array().unwrap().iter().map(|left| &left["name"]) {
            let name = name.as_str().unwrap();
            assert_ne!(name, now, "a KEK in use is called left over");
            destroy(&nodes[0], name);
            left += 1;
        }
        retired.push(before);
        if kill % 25 == 24 {
            sign(root.path(), &mut nodes, &kill.to_string());
        }
    }
    println!("killed before the plan {early}, with it {during}; left over {left}");
    assert!(early > 10 && during > 5 && left > 3, "the kills miss what they are for");
    // All that was made is known and goes; the rest stays.
    for id in &retired {
        device.power_cycle();
        destroy(&nodes[0], id);
    }
    let (key, auth) = identifiers(&nodes[0]);
    let mut now = objects(&mut device);
    now.retain(|object| !object.starts_with(&key) && !object.starts_with(&auth));
    let mut rest = strangers;
    rest.retain(|object| object != "0012/4" && object != "0010/2");
    assert_eq!(now, rest);
    audit(&nodes[0]);
    device.power_cycle();
    sign(root.path(), &mut nodes, "1000");
}

/// Killed once everything is moved: configuration, audit record and plan are left to do.
#[test]
fn a_rotation_in_a_device_is_finished_after_a_late_kill() {
    let (root, mut device, mut nodes) = place(7_000_051);
    let by = by(root.path());
    let rotate: Vec<&str> = ROTATE.iter().copied().chain(by.iter().map(String::as_str)).collect();
    let mut unfinished = 0;
    for kill in 0..20 {
        device.power_cycle();
        let mut command = nodes[0].prepare(&rotate);
        // People are told of each step.
        let arguments = command.get_args().filter(|word| *word != "--json");
        let mut words = std::process::Command::new(command.get_program());
        words.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        command = words;
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let verified = lines.map_while(Result::ok).any(|line| line.contains("everything opens"));
        assert!(verified);
        std::thread::sleep(Duration::from_micros(200 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        device.power_cycle();
        if nodes[0].folder.join("rotation.toml").exists() {
            unfinished += 1;
            run_ends(&nodes[0]).message(15, &["not finished"]);
            let done = nodes[0].ask(&rotate).object();
            assert_eq!((&done["continued"], &done["rewrapped"]), (&true.into(), &0.into()));
        }
        assert_eq!(named(&nodes[0]), BTreeSet::from([kek(&nodes[0])]));
    }
    println!("unfinished {unfinished}");
    assert!(unfinished > 0, "the kills miss what they are for");
    device.power_cycle();
    sign(root.path(), &mut nodes, "0");
}
