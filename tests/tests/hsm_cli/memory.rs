//! What becomes of an opened share in the memory of a real process.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;

use quorate_core::hash::Transcript;
use quorate_node::config::{Config, Folder};
use quorate_node::membership::Membership;
use quorate_node::sealing::{open_hedge, open_hsm, open_identity};

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

fn locked_kib(node: &Node) -> usize {
    proc(node, "status", "VmLck:").trim_end_matches(" kB").parse().unwrap()
}

/// What a node of the emulation has on locked pages for as long as it runs: the KEK, its identity key, its
/// session key and what hedges its generators.
const ALWAYS: usize = 4 * 16;

/// Whether shares are.
fn locked(node: &Node) -> bool {
    locked_kib(node) > ALWAYS
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
    // Nothing was signed yet.
    assert_eq!([0, 1].map(|node: usize| locked_kib(&nodes[node])), [ALWAYS; 2]);
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
        assert_eq!(locked_kib(&nodes[2]), 0);
        assert_eq!(nodes[2].status().open_shares, 1);
    }
    configure_wrongly(&mut nodes[0]);
}

/// Looks through all memory of a running node. (Whoever computes with a secret leaves traces on a stack,
/// which last until it is written over. They are not counted.)
#[test]
fn secrets_that_live_as_long_as_the_node_are_on_locked_pages_and_nowhere_else_on_the_heap() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), 1);
    node.init(&["--hsm", "software"]).object();
    crate::alone(root.path(), &node);
    let secrets = secrets(&node);
    // Else each thread has a heap of its own, which no name tells from a stack: secrets are opened on threads.
    node.environment = vec![("MALLOC_ARENA_MAX".to_owned(), "1".to_owned())];
    node.start();
    assert_eq!(locked_kib(&node), ALWAYS);
    let Ok(mut memory) = fs::File::open(format!("/proc/{}/mem", node.process())) else {
        println!("not looked at: this user may not read the node's memory");
        return;
    };
    let (mut on_locked, mut on_heap) = (vec![0; secrets.len()], vec![0; secrets.len()]);
    for Mapping { range, name, is_locked } in mappings(&node) {
        let found = match name.as_str() {
            _ if is_locked => &mut on_locked,
            "[heap]" => &mut on_heap,
            _ => continue,
        };
        let mut bytes = vec![0; range.end - range.start];
        memory.seek(SeekFrom::Start(range.start as u64)).unwrap();
        memory.read_exact(&mut bytes).unwrap();
        for ((_, secret), count) in secrets.iter().zip(found) {
            *count += bytes.windows(32).filter(|window| window == secret).count();
        }
    }
    assert_eq!((on_locked, on_heap), (vec![1; secrets.len()], vec![0; secrets.len()]));
}

fn secrets(node: &Node) -> Vec<(&'static str, [u8; 32])> {
    let folder = Folder::new(&node.folder);
    let config = Config::load(&folder).unwrap();
    let hsm = open_hsm(&folder, &config).unwrap();
    let identity = open_identity(&folder, &config, &hsm).unwrap().secret().unwrap();
    let hedge = open_hedge(&folder, &config, &*hsm.protector).unwrap();
    let network = Membership::load(&node.folder.join("../membership.toml")).unwrap().network();
    let hedge = Transcript::new("hedge").bytes(hedge.expose()).bytes(&network).finish();
    let kek = fs::read(node.folder.join("kek.software")).unwrap();
    vec![("KEK", kek[34..66].try_into().unwrap()), ("identity", *identity), ("hedge", hedge)]
}

/// A stretch of writable memory.
struct Mapping {
    range: Range<usize>,
    name: String,
    is_locked: bool,
}

fn mappings(node: &Node) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{}/smaps", node.process())).unwrap();
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut writable = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((start, end)) = words[0].split_once('-') {
            writable = words[1].starts_with("rw");
            let number = |digits| usize::from_str_radix(digits, 16).unwrap();
            if writable {
                let name = words.get(5).copied().unwrap_or_default().to_owned();
                let range = number(start)..number(end);
                mappings.push(Mapping { range, name, is_locked: false });
            }
        } else if words[0] == "VmFlags:" && writable {
            mappings.last_mut().unwrap().is_locked = words.contains(&"lo");
        }
    }
    mappings
}

fn configure_wrongly(node: &mut Node) {
    node.stop();
    let path = node.folder.join("quorate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("close_after_seconds = 2", "close_after_seconds = 86401"))
        .unwrap();
    node.ask(&["run"]).message(3, &["memory.close_after_seconds", "86400"]);
}
