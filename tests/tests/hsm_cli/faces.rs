//! What programs and people see.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::node_process::{Node, binary, wait_for, wait_for_links, write_membership};

const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A client key, a policy that names it, and a key `k` of all.
pub fn create_key(root: &Path, node: &Node) -> Value {
    let file = |name: &str| root.join(name).display().to_string();
    let client = node.ask(&["client", "new", &file("client.key")]).object();
    let policy = json!({
        "clients": [client["client"]], "chains": [31337], "recipients": [RECIPIENT],
        "max_value": "1 ether", "max_fee": "0.1 ether", "data": "forbidden",
    });
    fs::write(file("policy.json"), policy.to_string()).unwrap();
    let make = ["key", "create", "--name", "k", "--threshold", "2", "--policy"];
    node.ask(&[&make[..], &[&file("policy.json")]].concat()).object()
}

/// A transfer by the client key and the key `k` of [`create_key`].
pub fn sign(root: &Path, node: &Node, more: &[&str]) -> Value {
    let client = root.join("client.key").display().to_string();
    let sign = ["sign", "--key", "k", "--client-key", &client, "--chain-id", "31337"];
    node.ask(&[&sign[..], &["--to", RECIPIENT], more].concat()).object()
}

#[test]
fn every_verb_speaks_one_json_object() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (1..=3).map(|party| Node::new(root.path(), party)).collect();
    for node in &nodes {
        let made = node.init(&["--hsm", "software"]).object();
        assert_eq!(made["party"], node.party);
        assert!(made["report"].to_string().contains("not an HSM"), "{made}");
    }
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root.path(), &nodes[0], &members);
    let membership = root.path().join("membership.toml");
    let checked = nodes[0].ask(&["group", "check", membership.to_str().unwrap()]).object();
    assert_eq!(checked["parties"].as_array().unwrap().len(), 3);
    let away = nodes[0].ask(&["status"]);
    away.message(4, &["cannot be reached", "is `quorate run` running"]);
    nodes.iter_mut().for_each(Node::start);
    let log = nodes[0].log();
    let ready: Value = log.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!((&ready["event"], &ready["party"]), (&json!("ready"), &json!(1)));
    wait_for_links(&nodes, &[1, 2, 3]);
    let node = &nodes[0];
    assert_eq!(node.ask(&["key", "list"]).object(), json!({ "keys": [] }));
    let key = create_key(root.path(), node);
    assert_eq!((&key["threshold"], &key["quorum"]), (&json!(2), &json!(3)));
    let list = wait_for("the key is active", || {
        let list = nodes[2].ask(&["key", "list"]).object();
        (list["keys"][0]["state"] == "active").then_some(list)
    });
    assert_eq!(list["keys"][0]["key"], key["key"]);
    assert_eq!(node.ask(&["key", "show", "k"]).object()["address"], key["address"]);
    assert_eq!(node.ask(&["status"]).object()["keys"], 1);
    let client = root.path().join("client.key").display().to_string();
    let shown = node.ask(&["client", "show", &client]).object();
    assert_eq!(shown["client"], key["policy"]["rules"][0]["when"]["all"][0]["client"][0]);
    let sign = ["sign", "--key", "k", "--client-key", &client, "--chain-id", "31337"];
    let signed = node.ask(&[&sign[..], &["--to", RECIPIENT]].concat()).object();
    assert_eq!(signed["signers"], json!([1, 2, 3]));

    let denied = node.ask(&[&sign[..], &["--to", RECIPIENT, "--value", "2ether"]].concat());
    let error = denied.error(5);
    assert!(error["rule"].is_string() && error["code"] == "denied", "{error}");
    node.ask(&["key", "show", "nobody"]).message(14, &["no such key", "nobody"]);
    let policy = root.path().join("policy.json").display().to_string();
    let create = ["key", "create", "--threshold", "2", "--policy", &policy, "--name"];
    node.ask(&[&create[..], &["k"]].concat()).message(15, &["a key named k exists"]);
    node.ask(&["client", "new", &client]).message(15, &["nothing was changed"]);
    node.ask(&["group", "check", "/nowhere"]).message(3, &["/nowhere"]);
    let token = node.folder.join("operator.token");
    fs::write(&token, "0".repeat(64)).unwrap();
    node.ask(&[&create[..], &["k2"]].concat()).message(6, &["operator token"]);
    fs::remove_file(token).unwrap();
    node.ask(&[&create[..], &["k2"]].concat()).message(6, &["operator.token"]);
    nodes[2].stop();
    let few = nodes[0].ask(&[&sign[..], &["--to", RECIPIENT, "--nonce", "1"]].concat());
    few.message(7, &["3 parties are needed", "party 3: not connected"]);
}

#[test]
fn wrong_usage_is_told_in_the_asked_for_language() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::new(root.path(), 1);
    node.init(&[]).message(2, &["--hsm"]);
    node.init(&["--hsm", "paper"]).message(2, &["paper", "pkcs11", "software"]);
    assert!(!node.folder.exists());
    node.ask(&["frobnicate"]).message(2, &["frobnicate"]);
    let text = Command::new(binary()).args(["init", "--party", "1"]).output().unwrap();
    assert_eq!(text.status.code(), Some(2));
    let said = String::from_utf8(text.stderr).unwrap();
    assert!(said.contains("--hsm") && said.contains("Usage:"), "{said}");
}

#[test]
fn help_says_what_everything_is() {
    let verbs: [&[&str]; 51] = [
        &[],
        &["init"],
        &["identity"],
        &["group"],
        &["group", "new"],
        &["group", "check"],
        &["run"],
        &["key"],
        &["key", "create"],
        &["key", "list"],
        &["key", "show"],
        &["hsm"],
        &["hsm", "rotate-kek"],
        &["hsm", "destroy-kek"],
        &["sign"],
        &["client"],
        &["client", "new"],
        &["hsm", "probe"],
        &["hsm", "status"],
        &["hsm", "backup-plan"],
        &["hsm", "clear-pin"],
        &["hsm", "discard"],
        &["hsm", "audit-drain"],
        &["hsm", "init"],
        &["policy"],
        &["policy", "lint"],
        &["policy", "propose"],
        &["policy", "approve"],
        &["policy", "set"],
        &["policy", "history"],
        &["policy", "explain"],
        &["policy", "simulate"],
        &["policy", "schema"],
        &["request"],
        &["request", "show"],
        &["request", "approve"],
        &["request", "list"],
        &["request", "veto"],
        &["audit"],
        &["audit", "verify"],
        &["audit", "show"],
        &["audit", "export"],
        &["device"],
        &["device", "status"],
        &["device", "init"],
        &["device", "join"],
        &["device", "change-pin"],
        &["device", "readmit"],
        &["device", "wipe"],
        &["status"],
        &["demo"],
    ];
    for verb in verbs {
        let output = Command::new(binary()).args(verb).arg("--help").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{verb:?}: {output:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        let mut lines = help.lines().peekable();
        let about = lines.next().unwrap();
        assert!(about.len() > 10 && !about.starts_with("Usage"), "{verb:?} says nothing: {help}");
        while let Some(line) = lines.next() {
            // An option, an argument or a verb: its meaning stands behind it or in the next line.
            if !line.starts_with("  ") || line.starts_with("       ") {
                continue;
            }
            let behind =
                line.trim_start().split_once("  ").is_some_and(|(_, text)| text.trim().len() > 3);
            let below = lines
                .peek()
                .is_some_and(|next| next.starts_with("          ") && next.trim().len() > 3);
            assert!(behind || below, "{verb:?}, no word on {line:?}: {help}");
        }
        println!("{help}");
    }
    let version = Command::new(binary()).arg("--version").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("quorate "));
}
