//! What becomes of an opened share in the memory of a real process.

use std::fs;
use std::io::Write as _;

use crate::node_process::{Node, wait_for, wait_for_links, write_membership};

fn configure(node: &Node, memory: &str) {
    let mut file = fs::File::options().append(true).open(node.folder.join("quorate.toml")).unwrap();
    writeln!(file, "\n[memory]\n{memory}").unwrap();
}

/// From `/proc`: what follows `field` on its line.
fn proc(node: &Node, file: &str, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", node.process())).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line[field.len()..].trim().to_owned()
}

fn locked(node: &Node) -> bool {
    proc(node, "status", "VmLck:") != "0 kB"
}

#[test]
fn shares_are_open_and_locked_for_their_sessions_and_closed_soon_after() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (1..=3).map(|party| Node::new(root.path(), party)).collect();
    nodes.iter().for_each(|node| drop(node.init(&["--hsm", "software"]).object()));
    configure(&nodes[0], "close_after_seconds = 2");
    configure(&nodes[1], "close_after_seconds = 0");
    configure(&nodes[2], "lock = false");
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root.path(), &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    for node in &nodes {
        assert!(proc(node, "limits", "Max core file size").starts_with("0 "), "core files are on");
    }
    wait_for_links(&nodes, &[1, 2, 3]);
    crate::faces::create_key(root.path(), &nodes[0]);
    assert!(!nodes.iter().any(locked), "nothing was signed yet");
    for number in ["0", "1"] {
        crate::faces::sign(root.path(), &nodes[0], &["--nonce", number]);
        assert!(locked(&nodes[0]));
        assert_eq!(nodes[0].status().open_shares, 1);
        wait_for("the idle share is closed", || {
            (!locked(&nodes[0]) && nodes[0].status().open_shares == 0).then_some(())
        });
        // With 0 it went with its session.
        assert!(!locked(&nodes[1]));
        assert_eq!(nodes[1].status().open_shares, 0);
        // Open for a minute, on pages that the operator wants unlocked.
        assert!(!locked(&nodes[2]));
        assert_eq!(nodes[2].status().open_shares, 1);
    }
    configure_wrongly(&mut nodes[0]);
}

fn configure_wrongly(node: &mut Node) {
    node.stop();
    let path = node.folder.join("quorate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("close_after_seconds = 2", "close_after_seconds = 86401"))
        .unwrap();
    node.ask(&["run"]).message(3, &["memory.close_after_seconds", "86400"]);
}
