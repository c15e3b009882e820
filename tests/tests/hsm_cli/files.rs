//! Configuration, membership, stores and addresses.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use quorate_node::identity::IdentityKey;
use tempfile::TempDir;

use crate::node_process::{Node, wait_for_links, write_membership};
use crate::{alone, edit, run_ends};

fn node() -> (TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    let node = Node::new(root.path(), 1);
    node.init(&["--hsm", "software"]).object();
    alone(root.path(), &node);
    (root, node)
}

fn configuration(node: &Node) -> PathBuf {
    node.folder.join("quorate.toml")
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_field() {
    let (_root, node) = node();
    let file = configuration(&node);
    let whole = fs::read_to_string(&file).unwrap();
    let api = format!("api = \"{}\"", node.api);
    let cases = [
        ("party = 1", "party = 1\nfirewall = true", "firewall"),
        ("party = 1", "party = 256", "party"),
        ("party = 1", "party = \"one\"", "party"),
        ("party = 1\n", "", "party"),
        (&api, "api = \"0.0.0.0:7100\"", "api: must be a loopback address"),
        (&api, "api = \"localhost\"", "api"),
        ("backend = \"software\"", "backend = \"paper\"", "paper"),
        ("name = \"party-1\"", "name = \"\"", "name"),
        ("identity = \"ed25519:", "identity = \"rsa:", "identity"),
    ];
    for (from, to, field) in cases {
        edit(&file, from, to);
        run_ends(&node).message(3, &["quorate.toml", field]);
        node.ask(&["status"]).message(3, &["quorate.toml", field]);
        fs::write(&file, &whole).unwrap();
    }
    fs::remove_file(&file).unwrap();
    run_ends(&node).message(3, &["quorate.toml", "quorate init", "--folder"]);
}

#[test]
fn a_wrong_membership_is_named_by_file_and_field() {
    let (root, node) = node();
    let file = root.path().join("membership.toml");
    let whole = fs::read_to_string(&file).unwrap();
    let own = node.member().split(',').nth(2).unwrap().to_owned();
    let other = IdentityKey::generate().unwrap().public().to_string();
    let cases = [
        ("id = 1", "id = 9", "party 1: missing"),
        (own.as_str(), other.as_str(), "party 1: identity: not the one"),
        (own.as_str(), "ed25519:00", "identity"),
        ("id = 1", "id = 2", "party 2: the id is there twice"),
        ("id = 1", "id = 0", "party 0: the id must be 1 to 255"),
        ("name = \"party-2\"", "name = \"party-2\"\nrole = \"boss\"", "role"),
        ("network = \"", "network = \"zz", "network"),
    ];
    for (from, to, what) in cases {
        edit(&file, from, to);
        run_ends(&node).message(3, &["membership.toml", what]);
        fs::write(&file, &whole).unwrap();
    }
    fs::remove_file(&file).unwrap();
    run_ends(&node).message(3, &["membership.toml"]);
}

#[test]
fn two_nodes_do_not_share_a_folder_nor_an_address() {
    let (_root, mut node) = node();
    let taken = TcpListener::bind(node.api).unwrap();
    let words = ["cannot listen for the API at", &node.api.to_string(), "free that address"];
    run_ends(&node).message(1, &words);
    drop(taken);
    let taken = TcpListener::bind(node.listen).unwrap();
    let words = ["cannot listen for peers at", &node.listen.to_string(), "free that address"];
    run_ends(&node).message(1, &words);
    drop(taken);
    node.start();
    let words = ["store.redb is in use by another process", "stop the other one first"];
    run_ends(&node).message(15, &words);
    node.init(&["--hsm", "software"]).message(15, &["holds a node already", "nothing was changed"]);
    // The first did not notice.
    node.status();
}

/// A kill between `quorate.toml` and the end of `init` leaves its marker in a whole node.
#[test]
fn a_whole_node_stays_whatever_init_left_beside_it() {
    let (_root, mut node) = node();
    let marker = node.folder.join("init.attempt");
    let own = ["identity.sealed", "hedge.sealed", "operator.token", "store.redb"];
    let read = |node: &Node| own.map(|name| fs::read(node.folder.join(name)).ok());
    let before = read(&node);
    assert!(before.iter().all(Option::is_some));
    fs::write(&marker, "").unwrap();
    node.init(&["--hsm", "software"]).message(15, &["holds a node already", "nothing was changed"]);
    assert!(!marker.exists());
    fs::write(&marker, "").unwrap();
    node.start();
    node.stop();
    assert!(!marker.exists());
    // So a configuration that is lost later is not taken for one that never was.
    fs::remove_file(configuration(&node)).unwrap();
    node.init(&["--hsm", "software"]).message(15, &["holds a node already"]);
    assert_eq!(read(&node)[..3], before[..3]);
    // Even what an init clears away can be had back.
    fs::write(&marker, "").unwrap();
    node.init(&["--hsm", "software"]).object();
    for (name, before) in own.iter().zip(&before).take(3) {
        let aside = fs::read(node.folder.join(format!("{name}.cut-off-1"))).ok();
        assert_eq!((aside, name), (before.clone(), name));
    }
}

#[test]
fn the_emulations_files_belong_to_one_party() {
    let (root, node) = node();
    let other = Node::new(root.path(), 2);
    other.init(&["--hsm", "software"]).object();
    let copy = |name: &str| {
        fs::copy(other.folder.join(name), node.folder.join(name)).unwrap();
    };
    copy("kek.software");
    run_ends(&node).message(13, &["sealed under KEK", "right KEK"]);
    // Also where the key would open it.
    copy("identity.sealed");
    run_ends(&node).message(13, &["sealed for another party: expected 1, found 2"]);
}

/// Three parties that share a key; they are stopped.
fn group(root: &TempDir) -> Vec<Node> {
    group_of(root, |_| vec!["--hsm", "software"])
}

/// The same, each sealed by what `hsm` says.
pub fn group_of<'a>(root: &TempDir, hsm: impl Fn(&mut Node) -> Vec<&'a str>) -> Vec<Node> {
    let mut nodes: Vec<Node> = (1..=3).map(|party| Node::new(root.path(), party)).collect();
    for node in &mut nodes {
        let hsm = hsm(node);
        node.init(&hsm).object();
    }
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root.path(), &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    wait_for_links(&nodes, &[1, 2, 3]);
    crate::faces::create_key(root.path(), &nodes[0]);
    nodes.iter_mut().for_each(Node::stop);
    nodes
}

#[test]
fn a_store_of_another_party_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes = group(&root);
    let own = fs::read(nodes[1].folder.join("store.redb")).unwrap();
    fs::copy(nodes[0].folder.join("store.redb"), nodes[1].folder.join("store.redb")).unwrap();
    let words = ["store.redb", "belongs to party 1, this is party 2", "own store"];
    run_ends(&nodes[1]).message(13, &words);
    // Control: its own.
    fs::write(nodes[1].folder.join("store.redb"), own).unwrap();
    nodes[1].start();
}

#[test]
fn operators_see_that_their_membership_files_differ() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (1..=2).map(|party| Node::new(root.path(), party)).collect();
    nodes.iter().for_each(|node| drop(node.init(&["--hsm", "software"]).object()));
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root.path(), &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    let digest = |node: &Node| node.ask(&["status"]).object()["membership"].clone();
    assert_eq!(digest(&nodes[0]), digest(&nodes[1]));
    nodes[1].stop();
    let (shared, edited) = (root.path().join("membership.toml"), root.path().join("edited.toml"));
    fs::copy(&shared, &edited).unwrap();
    edit(&edited, "\"party-1\"", "\"Party-1\"");
    edit(&configuration(&nodes[1]), "../membership.toml", "../edited.toml");
    nodes[1].start();
    assert_ne!(digest(&nodes[0]), digest(&nodes[1]));
    let checked = nodes[0].ask(&["group", "check", edited.to_str().unwrap()]).object();
    assert_eq!(checked["digest"], digest(&nodes[1]));
}
