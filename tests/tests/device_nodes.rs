//! A party in a device among real nodes: three nodes and a relay as processes, linked by real TLS, and the firmware
//! behind the relay, with a person before its screen.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "device_nodes/cable.rs"]
mod cable;
#[path = "device_nodes/hosted.rs"]
mod hosted;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "support/node_process.rs"]
mod node_process;
#[path = "device_nodes/scene.rs"]
mod scene;
#[path = "device_nodes/tap.rs"]
mod tap;

use std::fs;

use serde_json::{Value, json};

use node_process::{Node, wait_for, write_membership};
use quorate_core::dkg::SessionKey;
use quorate_core::secret::SecretBytes;
use quorate_node::identity::IdentityPublic;
use quorate_tests::transaction::judge;
use scene::{CHIP, Link, RECIPIENT, STRANGER, Scene};
use tap::{Lie, Way};

#[test]
fn a_device_is_a_party_like_others() {
    let mut scene = Scene::with_key();
    // Without party 3 nobody can sign but 1, 2 and the device.
    scene.nodes[2].stop();
    let from = scene.chip.shown();
    let small = scene.sign(1, RECIPIENT, "0.0001ether").object();
    assert_eq!(small["signers"], json!([1, 2, CHIP]));
    assert_eq!(
        judge(small["raw_transaction"].as_str().unwrap()).sender,
        scene.address.to_lowercase()
    );
    assert!(scene.chip.find(from, "SIGN?").is_none(), "nobody is asked about what is allowed");

    let (signed, screen) =
        scene.while_asked("SIGN?", true, |scene| scene.sign(2, RECIPIENT, "0.01ether").object());
    assert_eq!(
        judge(signed["raw_transaction"].as_str().unwrap()).sender,
        scene.address.to_lowercase()
    );
    assert_eq!(signed["signers"], json!([1, 2, CHIP]));
    let shown = screen.to_lowercase();
    assert!(shown.contains("0.01 eth") && shown.contains(&RECIPIENT.to_lowercase()), "{screen}");

    let (refused, _) =
        scene.while_asked("SIGN?", false, |scene| scene.sign(1, RECIPIENT, "0.02ether").error(5));
    assert_eq!(refused["party"], CHIP, "{refused}");
    let from = scene.chip.shown();
    scene.sign(1, STRANGER, "0.01ether").error(5);
    assert!(scene.chip.find(from, "SIGN?").is_none(), "nobody is asked about what is denied");
    scene.nobody_is_blamed();
}

#[test]
fn a_relay_and_a_device_may_go_and_come_back() {
    let mut scene = Scene::with_key();
    scene.nodes[2].stop();
    scene.relay.stop();
    scene.wait_for_chip(false);
    let away = scene.sign(1, RECIPIENT, "0.0001ether");
    away.message(7, &["party 4"]);
    scene.relay.start();
    scene.wait_for_chip(true);
    scene.sign(1, RECIPIENT, "0.0001ether").object();

    // The power is cut while the device asks; it asks again when it is back, and the same call ends well.
    let from = scene.chip.shown();
    std::thread::scope(|scope| {
        let asked = &scene.nodes[0];
        let request = scene.request(RECIPIENT, "0.01ether");
        let signing = scope.spawn(move || asked.ask(&request));
        wait_for("it asks", || scene.chip.find(from, "SIGN?"));
        scene.chip.cut();
        scene.chip.switch_on();
        scene.chip.answer(0, "SIGN?", true);
        signing.join().unwrap().object();
    });
    wait_for("the relay shows how it is", || {
        let status = scene.relay.ask(&["device", "status"]).object();
        let unlocked = status["device"]["status"]["unlocked"] == true;
        (status["connected"] == true && unlocked).then_some(())
    });
    scene.nobody_is_blamed();
}

#[test]
fn a_serial_cable_may_be_noisy_and_be_pulled() {
    let mut scene = Scene::with_key_over(Link::Serial);
    scene.nodes[2].stop();
    let signed = scene.sign(1, RECIPIENT, "0.0001ether").object();
    assert_eq!(signed["signers"], json!([1, 2, CHIP]));
    for _ in 0..3 {
        scene.cable.as_mut().unwrap().pull();
        scene.wait_for_chip(false);
        scene.sign(1, RECIPIENT, "0.0001ether").message(7, &["party 4"]);
        let status = scene.relay.ask(&["device", "status"]).object();
        assert_eq!(status["connected"], false, "{status}");
        scene.cable.as_mut().unwrap().plug();
        scene.wait_for_chip(true);
        let signed = scene.sign(2, RECIPIENT, "0.0001ether").object();
        assert_eq!(signed["signers"], json!([1, 2, CHIP]));
    }
    assert!(scene.relay.log().contains("is the device plugged in, and is this its path?"));
    // Who else opens the port would get a part of what the device says.
    let port = scene.cable.as_ref().unwrap().port.clone();
    let other = fs::File::open(port).unwrap();
    let locked = rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert_eq!(locked, Err(rustix::io::Errno::WOULDBLOCK));
    scene.nobody_is_blamed();
}

#[test]
fn a_relay_that_lies_is_noticed_and_costs_a_channel() {
    let mut scene = Scene::with_key();
    scene.nodes[2].stop();
    for way in [Way::ToDevice, Way::FromDevice] {
        for lie in [Lie::Alter, Lie::Drop, Lie::Replay] {
            scene.tap.lie(way, lie);
            // It may come out well in the end: what is lost is asked for again.
            let said = scene.sign(1, RECIPIENT, "0.0001ether");
            println!(
                "{way:?} {lie:?}: {} {}",
                said.code,
                said.stderr.lines().last().unwrap_or_default()
            );
            wait_for("the lie was told", || scene.tap.has_lied().then_some(()));
            let noticed = wait_for("it is noticed", || {
                // What is missing shows when something follows it.
                let _ = scene.sign(2, RECIPIENT, "0.0001ether");
                let logs = [0, 1].map(|node| scene.nodes[node].log()).concat();
                let lines = logs.lines().filter(|line| {
                    line.contains("what came from the device of party 4 is not what it said")
                        || line.contains("the device of party 4 has no channel any more")
                });
                let lines: Vec<String> = lines.map(str::to_owned).collect();
                (lines.len() > scene.noticed).then_some(lines)
            });
            println!("noticed: {}", noticed.last().unwrap());
            scene.noticed = noticed.len();
            scene.wait_for_chip(true);
            let signed = scene.sign(2, RECIPIENT, "0.0001ether").object();
            assert_eq!(signed["signers"], json!([1, 2, CHIP]));
        }
    }
    scene.nobody_is_blamed();
}

#[test]
fn a_device_that_was_put_back_waits_for_its_operator() {
    let mut scene = Scene::with_key();
    scene.nodes[2].stop();
    scene.sign(1, RECIPIENT, "0.0001ether").object();
    let before = scene.chip.snapshot();
    scene.sign(1, RECIPIENT, "0.0001ether").object();
    scene.chip.cut();
    scene.chip.restore(&before);
    scene.chip.switch_on();
    scene.wait_for_chip(true);
    wait_for("its peers tell it", || {
        let status = scene.relay.ask(&["device", "status"]).object();
        (status["device"]["status"]["rolled_back"] == true).then_some(())
    });
    assert_ne!(scene.sign(1, RECIPIENT, "0.0001ether").code, 0);
    scene.readmit();
    scene.wait_for_chip(true);
    let signed = scene.sign(1, RECIPIENT, "0.0001ether").object();
    assert_eq!(signed["signers"], json!([1, 2, CHIP]));
}

/// A device has places for four keys; one is given up, and another takes its place.
#[test]
fn an_operator_gives_a_key_up() {
    let mut scene = Scene::with_key();
    for name in ["old", "older", "oldest"] {
        scene.while_asked("MAKE KEY?", true, |scene| scene.propose(name).object());
    }
    let reason =
        "the device has no room for another key; `quorate device forget` gives a place back";
    scene.propose("next").message(7, &[reason]);
    scene.relay.stop();
    let listed = |scene: &Scene| {
        let keys = scene.relay.ask(&["device", "keys"]).object()["keys"].clone();
        let keys: Vec<Value> = keys.as_array().unwrap().clone();
        keys.iter().map(|key| format!("{} {}", key["name"], key["state"])).collect::<Vec<_>>()
    };
    let all = ["k", "old", "older", "oldest"].map(|name| format!("{name:?} \"active\""));
    assert_eq!(listed(&scene), all);
    let none = scene.relay.ask(&["device", "forget", "gold"]);
    none.message(2, &["the device holds no key gold; it holds k, old, older, oldest"]);
    let active = scene.relay.ask(&["device", "forget", "old"]);
    active.message(2, &["the key old is active", "--accept-loss"]);
    let forget = ["device", "forget", "old", "--accept-loss"];
    scene.while_asked("FORGET KEY?", false, |scene| {
        scene.relay.ask(&forget).message(5, &["nobody pressed the button that agrees"]);
    });
    assert_eq!(listed(&scene), all);
    let (forgotten, screen) =
        scene.while_asked("FORGET KEY?", true, |scene| scene.relay.ask(&forget).object());
    let key = forgotten["forgotten"]["key"].as_str().unwrap();
    assert!(screen.contains(key) && screen.contains("\nold\n"), "{screen}: {forgotten}");
    assert_eq!(listed(&scene), [all[0].as_str(), &all[2], &all[3]]);
    scene.relay.start();
    scene.wait_for_chip(true);
    scene.while_asked("MAKE KEY?", true, |scene| scene.propose("next").object());
    let names = |status: &Value| {
        let keys = status["device"]["keys"].as_object().unwrap().values();
        keys.map(|key| (key["name"].clone(), key["active"].clone())).collect::<Vec<_>>()
    };
    let held = ["k", "next", "older", "oldest"].map(|name| (json!(name), json!(true)));
    wait_for("the relay shows the keys", || {
        let status = scene.relay.ask(&["device", "status"]).object();
        (names(&status) == held).then_some(())
    });
    scene.sign(1, RECIPIENT, "0.0001ether").object();
    // What it has forgotten the others can do without it.
    let mut request = scene.request(RECIPIENT, "0.0001ether");
    request.iter_mut().filter(|word| *word == "k").for_each(|key| *key = "old".to_owned());
    assert_eq!(scene.nodes[1].ask(&request).object()["signers"], json!([1, 2, 3]));
    scene.nobody_is_blamed();
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let mut scene = Scene::with_key();
    scene.relay.stop();
    let tries = |scene: &Scene| {
        let status = scene.relay.ask(&["device", "status"]).object();
        status["device"]["status"]["pin_tries"].as_u64().unwrap()
    };
    let before = tries(&scene);
    scene.write_pin("not that one");
    let wrong = scene.relay.ask(&["run"]);
    wrong.message(11, &["the PIN is wrong", "It is not tried again"]);
    assert_eq!(tries(&scene), before - 1);
    let held = scene.relay.ask(&["run"]);
    held.message(11, &["no PIN was tried"]);
    assert_eq!(tries(&scene), before - 1);
    let joined = scene.relay.ask(&["device", "init"]);
    joined.message(15, &["has an identity already"]);
    scene.relay.ask(&["device", "wipe"]).message(2, &["--accept-loss"]);
}

/// A network may have several devices, and each of its keys one.
#[test]
fn two_devices_are_no_holders_of_one_key() {
    let root = tempfile::tempdir().unwrap();
    // Nodes 1 and 2, and the relays of 3 and 4, whose devices nobody ever sees.
    let mut nodes: Vec<Node> = (1..=4).map(|party| Node::new(root.path(), party)).collect();
    let keys: Vec<String> = nodes
        .iter()
        .map(|node| {
            node.init(&["--hsm", "software", "--identity", "sealed"]).object();
            node.ask(&["identity"]).object()["identity"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut members: Vec<String> = nodes[..2].iter().map(Node::member).collect();
    for relay in [2, 3] {
        let device =
            IdentityPublic::from(SessionKey::new(&SecretBytes::new([relay as u8; 32])).identity());
        let (listen, key) = (nodes[relay].listen, &keys[relay]);
        members.push(format!("{0},chip-{0},{device},{listen},{key}", relay + 1));
    }
    write_membership(root.path(), &nodes[0], &members);
    let file = nodes[0].folder.join("quorate.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        format!("{text}\n[deadlines]\nkey_ms = 1000\naccept_ms = 1000\nsign_ms = 1000\n"),
    )
    .unwrap();
    nodes[0].start();
    let client = nodes[0].ask(&["client", "new", root.path().join("client.key").to_str().unwrap()]);
    let when = json!({ "client": [client.object()["client"]] });
    let policy = root.path().join("policy.json");
    let rule = json!({ "name": "texts", "payload": ["message"], "when": when });
    fs::write(&policy, json!({ "rules": [rule] }).to_string()).unwrap();
    let make = |parties: &[&str]| {
        let make = ["key", "create", "--name", "k", "--threshold", "2", "--policy"];
        nodes[0].ask(&[&make[..], &[policy.to_str().unwrap()], parties].concat())
    };
    for parties in [&[][..], &["--parties", "1,2,3,4"], &["--parties", "1,3,4"]] {
        make(parties).message(2, &["parties 3 and 4 live in devices", "at most one device"]);
    }
    // With one of them it is proposed: but nobody is there.
    let one = make(&["--parties", "1,2,3"]);
    one.message(7, &["party 3"]);
}
