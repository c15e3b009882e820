//! What an operator does about a token: probe, look, plan a backup, put a PIN right, clear away.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::faces::create_key;
use crate::node_process::{Node, binary, wait_for, wait_for_links, write_membership};
use crate::pkcs11::Place;
use crate::token::{PIN, arguments, module, spy, write_pin};
use crate::{edit, run_ends};

/// How the command line speaks to a person.
fn text(node: &Node, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(binary());
    command.arg("--folder").arg(&node.folder).args(arguments);
    command.envs(node.environment.iter().map(|(name, value)| (name, value)));
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn probe<'a>(module: &'a Path, pin: &'a Path) -> [&'a str; 8] {
    let (module, pin) = (module.to_str().unwrap(), pin.to_str().unwrap());
    ["hsm", "probe", "--module", module, "--token", "t", "--pin-file", pin]
}

#[test]
fn a_probe_tells_what_softhsm_can_and_what_we_would_choose() {
    let place = Place::new();
    let (spy, library) = (spy(), module());
    let found = place.node.ask(&probe(&spy, &place.pin)).object();
    assert!(found["token"].as_str().unwrap().contains("SoftHSM v2, token t (serial"), "{found}");
    let profiles = found["profiles"].as_array().unwrap();
    let works = |name: &str| {
        let named = |trial: &&Value| trial["profile"] == name;
        profiles.iter().find(named).unwrap()["works"].as_bool().unwrap()
    };
    assert_eq!(profiles.len(), 5, "{found}");
    // SoftHSM has no message API; every refusal says why.
    assert!(works("token-gcm") && works("cbc-hmac") && !works("message-gcm"), "{found}");
    for trial in profiles {
        assert_eq!(trial["refused"].is_string(), trial["works"] == false, "{trial}");
    }
    assert_eq!(found["choice"]["profile"], "token-gcm");
    assert_eq!(found["identities"][0], json!({ "curve": "p256", "works": true, "refused": null }));
    assert_eq!(found["pin"]["locked"], false);
    assert_eq!(place.logins(), 1, "one login, whatever is tried");
    // By URI, for people, and nothing of the trials stays in the token.
    let uri = format!("pkcs11:token=t?module-path={}", library.display());
    let pin = place.pin.to_str().unwrap();
    let said = text(&place.node, &["hsm", "probe", "--uri", &uri, "--pin-file", pin]);
    assert!(said.contains("  token-gcm    works") && said.contains("message-gcm  no: "), "{said}");
    assert!(said.contains("choice    token AES-256-GCM: the most preferred one"), "{said}");
    let listed = ["hsm", "discard", "--uri", &uri, "--pin-file", pin];
    assert_eq!(place.node.ask(&listed).object()["found"], json!([]));
    assert!(!place.node.folder.exists(), "a probe makes no folder");

    let both = ["hsm", "probe", "--uri", &uri, "--token", "t", "--pin-file", pin];
    place.node.ask(&both).message(2, &["--uri"]);
    let secret = format!("{uri}&pin-value={PIN}");
    let said = place.node.ask(&["hsm", "probe", "--uri", &secret, "--pin-file", pin]);
    assert!(!said.message(2, &["no PIN belongs"]).contains(PIN));
    write_pin(&place.pin, "wrong-pin", 0o600);
    place.node.ask(&probe(&spy, &place.pin)).message(11, &["wrong PIN"]);
    write_pin(&place.pin, PIN, 0o600);
    // What the token said before that login: somebody was wrong since the last right one.
    for count_low in [true, false] {
        let said = place.node.ask(&probe(&spy, &place.pin)).object();
        assert_eq!(said["pin"]["count_low"], count_low, "{said}");
    }
}

#[test]
fn init_by_uri_reports_the_keys_as_read_back() {
    let place = Place::new();
    let uri = format!("pkcs11:token=t;id=%01%02%03?module-path={}", module().display());
    let pin = place.pin.to_str().unwrap();
    let made = place.node.init(&["--hsm", "pkcs11", "--uri", &uri, "--pin-file", pin]).object();
    assert_eq!(place.field("key_id"), "010203");
    let report = made["report"].to_string();
    for part in ["KEK: pkcs11:t:010203:v1", "id 010203", "not extractable", "identity: p256:"] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
    assert!(report.contains("checked: round trip, wrong associated data refused"), "{report}");
}

#[test]
fn the_status_of_a_good_token() {
    let place = Place::initialised();
    let before = place.logins();
    let found = place.node.ask(&["hsm", "status"]).object();
    assert_eq!(place.logins() - before, 1);
    assert_eq!((&found["works"], &found["identity_signs"]), (&json!(true), &json!(true)));
    assert_eq!((&found["identity_key"], &found["canary"]), (&json!("inside"), &json!("opens")));
    assert_eq!(found["kek"], format!("pkcs11:t:{}:v1", place.field("key_id")));
    assert_eq!((&found["profile"], &found["pin_guard"]), (&json!("token-gcm"), &json!("free")));
    assert_eq!(found["keys"].as_array().unwrap().len(), 2, "{found}");
    let open = found["unprotected"].to_string();
    assert!(open.contains("whoever has the PIN"), "{open}");
    let said = text(&place.node, &["hsm", "status"]);
    assert!(said.contains("made inside the HSM") && said.contains("PIN guard free"), "{said}");
    // A sealed identity, and an emulation that says what it is.
    let sealed = place.another(2);
    sealed.init(&[&arguments(&module(), "t", &place.pin)[..], &["--identity", "sealed"]].concat());
    assert_eq!(sealed.ask(&["hsm", "status"]).object()["identity_key"], "sealed");
    let emulated = place.another(3);
    emulated.init(&["--hsm", "software"]).object();
    let found = emulated.ask(&["hsm", "status"]).object();
    assert!(found["unprotected"].to_string().contains("NOT an HSM"), "{found}");
}

/// A token whose identity key answers with something that is no signature by it.
#[test]
fn a_status_believes_no_signature_unseen() {
    let mut place = Place::new();
    let library = crate::misbehaving(place.root.path());
    let folder = place.root.path().display().to_string();
    place.node.environment.push(("QUORATE_TEST_DIR".into(), folder));
    place.node.init(&arguments(&library, "t", &place.pin)).object();
    place.node.ask(&["hsm", "status"]).object();
    let faults = place.root.path().join("faults");
    // The first one is looked at when the key is opened.
    fs::write(&faults, "later-signs").unwrap();
    let said = place.node.ask(&["hsm", "status"]);
    said.message(10, &["a signature by the identity key does not verify"]);
    let shown: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(shown["works"], false);
    fs::remove_file(&faults).unwrap();
    place.node.ask(&["hsm", "status"]).object();
}

#[test]
fn the_status_of_a_token_that_is_gone_or_another() {
    let place = Place::initialised();
    let tokens = place.root.path().join("tokens");
    let away = place.root.path().join("away");
    fs::rename(&tokens, &away).unwrap();
    fs::create_dir(&tokens).unwrap();
    let said = place.node.ask(&["hsm", "status"]);
    said.message(10, &["no token t", "check that it is plugged in"]);
    let shown: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&shown["works"], &shown["pin_guard"]), (&json!(false), &json!("free")));
    fs::remove_dir_all(&tokens).unwrap();
    fs::rename(&away, &tokens).unwrap();
    place.node.ask(&["hsm", "status"]).object();
    // The identity of somebody else, the canary of another key.
    let canary = place.field("canary");
    let zeros = "0".repeat(canary.len());
    edit(&place.configuration(), &canary, &zeros);
    place.node.ask(&["hsm", "status"]).message(10, &["the canary does not open"]);
    edit(&place.configuration(), &zeros, &canary);
    let other = place.another(2);
    other.init(&arguments(&module(), "t", &place.pin)).object();
    fs::copy(other.folder.join("hedge.sealed"), place.node.folder.join("hedge.sealed")).unwrap();
    place.node.ask(&["hsm", "status"]).message(13, &["sealed for another party"]);
}

#[test]
fn a_wrong_pin_is_held_until_clear_pin() {
    let place = Place::initialised();
    write_pin(&place.pin, "wrong-pin", 0o600);
    let before = place.logins();
    let said = place.node.ask(&["hsm", "status"]);
    said.message(11, &["wrong PIN"]);
    let shown: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(shown["pin_guard"].as_str().unwrap().starts_with("held: the token refused"), "{shown}");
    assert_eq!(place.logins() - before, 1);
    write_pin(&place.pin, PIN, 0o600);
    place.node.ask(&["hsm", "status"]).message(11, &["no PIN was tried now"]);
    run_ends(&place.node).message(11, &["no PIN was tried now", "quorate hsm clear-pin"]);
    assert_eq!(place.logins() - before, 1, "nobody tries again by himself");
    let cleared = place.node.ask(&["hsm", "clear-pin"]).object();
    assert_eq!(cleared["was_held"], true);
    assert!(cleared["next"].as_str().unwrap().contains("locks after a few"), "{cleared}");
    assert_eq!(place.logins() - before, 1, "clearing tries nothing");
    place.node.ask(&["hsm", "status"]).object();
    assert_eq!(place.node.ask(&["hsm", "clear-pin"]).object()["was_held"], false);
    let nowhere = Node::new(place.root.path(), 9);
    nowhere.ask(&["hsm", "clear-pin"]).message(2, &["is no folder"]);
}

#[test]
fn a_credential_of_the_service_manager_is_the_pin() {
    let mut place = Place::initialised();
    let line = format!("pin_file = \"{}\"\n", place.pin.display());
    edit(&place.configuration(), &line, "");
    fs::remove_file(&place.pin).unwrap();
    let folder = place.root.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    place.node.ask(&["hsm", "status"]).message(10, &["no PIN", "credential"]);
    let before = place.logins();
    place.node.environment.push(("CREDENTIALS_DIRECTORY".into(), folder.display().to_string()));
    place.node.ask(&["hsm", "status"]).message(10, &["no PIN"]);
    let credential = folder.join("quorate-pin");
    write_pin(&credential, PIN, 0o444);
    place.node.ask(&["hsm", "status"]).message(3, &["quorate-pin", "0444"]);
    assert_eq!(place.logins(), before);
    // As systemd makes it, with an access list or without.
    for mode in [0o440, 0o400] {
        fs::remove_file(&credential).unwrap();
        write_pin(&credential, PIN, mode);
        place.node.ask(&["hsm", "status"]).object();
    }
    place.node.start();
    // A file that the configuration names comes first.
    place.node.stop();
    edit(&place.configuration(), "key_id = ", &format!("{line}key_id = "));
    place.node.ask(&["hsm", "status"]).message(3, &[place.pin.to_str().unwrap()]);
}

#[test]
fn a_backup_plan_names_the_keys_and_what_would_be_lost() {
    let place = Place::initialised();
    let plan = place.node.ask(&["hsm", "backup-plan"]).object();
    let keys = plan["keys"].to_string();
    assert!(keys.contains("token t") && keys.contains(&place.field("key_id")), "{keys}");
    assert!(keys.contains("identity key") && keys.contains(&place.field("identity_key")), "{keys}");
    assert_eq!(plan["shares"], json!([]));
    let mut nodes: Vec<Node> = [1, 2, 3].map(|party| place.another(party)).into();
    for node in &nodes[1..] {
        node.init(&["--hsm", "software"]).object();
    }
    nodes[0].listen = place.node.listen;
    nodes[0].api = place.node.api;
    // Instead of the one with strangers.
    fs::remove_file(place.root.path().join("membership.toml")).unwrap();
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(place.root.path(), &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    wait_for_links(&nodes, &[1, 2, 3]);
    create_key(place.root.path(), &nodes[0]);
    wait_for("the key is active", || {
        let list = nodes[0].ask(&["key", "list"]).object();
        (list["keys"][0]["state"] == "active").then_some(())
    });
    // Both while the node has its store open, and afterwards.
    assert_eq!(nodes[0].ask(&["hsm", "backup-plan"]).object()["shares"], json!(["k"]));
    // The token, too, serves both.
    nodes[0].ask(&["hsm", "status"]).object();
    nodes[0].stop();
    let logins = place.logins();
    assert_eq!(nodes[0].ask(&["hsm", "backup-plan"]).object()["shares"], json!(["k"]));
    assert_eq!(place.logins(), logins, "a plan needs no PIN");
    let said = text(&nodes[0], &["hsm", "backup-plan"]);
    for part in
        ["this party's shares of: k", "backup of the folder alone is useless", "must replace"]
    {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn what_a_cut_off_init_left_is_discarded_and_a_nodes_keys_are_not() {
    let place = Place::initialised();
    let id = place.field("key_id");
    let (library, pin) = (module(), place.pin.to_str().unwrap().to_owned());
    let token = ["--module", library.to_str().unwrap(), "--token", "t", "--pin-file", &pin];
    let discard =
        |node: &Node, more: &[&str]| node.ask(&[&["hsm", "discard"], &token[..], more].concat());
    let found = discard(&place.node, &[]).object();
    assert_eq!(found["destroyed"], json!([]));
    assert_eq!(found["found"][0]["id"], json!(id));
    let kept = discard(&place.node, &["--key-id", &id, "--destroy"]);
    kept.message(15, &["a configuration names it"]);
    discard(&place.node, &["--destroy"]).message(2, &["--key-id"]);
    // From elsewhere, with the folder named and without a readable configuration.
    let other = place.another(2);
    let own = place.node.folder.display().to_string();
    let named = discard(&other, &["--key-id", &id, "--destroy", "--keep", &own]);
    named.message(15, &["a configuration names it"]);
    let gone = discard(&other, &["--key-id", &id, "--destroy", "--keep", "/nowhere"]);
    gone.message(3, &["/nowhere"]);
    place.node.ask(&["hsm", "status"]).object();
    // As if the folder had never come to be.
    fs::remove_file(place.configuration()).unwrap();
    let gone = discard(&place.node, &["--key-id", &id, "--destroy"]).object();
    assert_eq!(gone["destroyed"].as_array().unwrap().len(), 3, "{gone}");
    assert_eq!(discard(&place.node, &[]).object()["found"], json!([]));
}
