//! A new key-encryption key under everything sealed, whichever step the program dies after; and the end of
//! the old one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_hsm::pkcs11::softhsm;
use quorate_node::config::Folder;
use quorate_node::rotation::{RotationError, Step, Wanted, rotate};
use quorate_node::store::Store;
use quorate_tests::cluster::process;
use serde_json::Value;
use tempfile::TempDir;

use crate::files::group_of;
use crate::node_process::{Node, wait_for, wait_for_links};
use crate::pkcs11::Place;
use crate::token::{PIN, arguments, make, module, write_pin};
use crate::{faces, run_ends};

const ROTATE: [&str; 2] = ["hsm", "rotate-kek"];

/// Three parties that share a key; they are stopped. The first one is sealed by a token.
pub fn place(identity: &str) -> (TempDir, Vec<Node>) {
    let root = tempfile::tempdir().unwrap();
    let configuration = softhsm::write_config(root.path()).unwrap();
    make(&configuration, "t");
    let pin = root.path().join("pin");
    write_pin(&pin, PIN, 0o600);
    let library = module();
    let token = [&arguments(&library, "t", &pin)[..], &["--identity", identity]].concat();
    let environment = ("SOFTHSM2_CONF".to_owned(), configuration.to_str().unwrap().to_owned());
    let nodes = group_of(&root, |node| match node.party {
        1 => {
            node.environment = vec![environment.clone()];
            token.clone()
        }
        _ => vec!["--hsm", "software"],
    });
    (root, nodes)
}

/// All start, sign, and stop again.
pub fn sign(root: &Path, nodes: &mut [Node], nonce: &str) {
    nodes.iter_mut().for_each(Node::start);
    wait_for_links(nodes, &[1, 2, 3]);
    let signed = faces::sign(root, &nodes[0], &["--nonce", nonce]);
    assert_eq!(signed["signers"], serde_json::json!([1, 2, 3]));
    nodes.iter_mut().for_each(Node::stop);
}

/// A field of the configuration, as it stands there.
pub fn field(node: &Node, name: &str) -> Option<String> {
    let text = fs::read_to_string(node.folder.join("quorate.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} = ")))?;
    Some(line.split('"').nth(1).unwrap().to_owned())
}

/// The identifiers of all KEKs that the headers of blobs in the folder name.
pub fn named(node: &Node) -> BTreeSet<String> {
    let id = |blob: &[u8]| hex::encode(quorate_hsm::inspect(blob).unwrap().kek.id);
    let files = ["hedge.sealed", "identity.sealed"].map(|name| node.folder.join(name));
    let mut ids: BTreeSet<String> =
        files.iter().filter_map(|file| fs::read(file).ok()).map(|blob| id(&blob)).collect();
    let store = Store::open(&node.folder.join("store.redb")).unwrap();
    ids.extend(store.keys().unwrap().iter().map(|row| id(&row.sealed)));
    ids
}

pub fn audit(node: &Node) -> Vec<Value> {
    let store = Store::open(&node.folder.join("store.redb")).unwrap();
    store.audit_verify().unwrap();
    let entries = store.audit(1, 1000).unwrap();
    entries.iter().map(|entry| serde_json::from_slice(&entry.record).unwrap()).collect()
}

/// A stopped node's folder at another place in the same root.
pub fn copy(node: &Node, to: &str) -> Node {
    let folder = node.folder.with_file_name(to);
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(&node.folder).unwrap() {
        let (from, to) = (entry.unwrap().path(), folder.clone());
        let to = to.join(from.file_name().unwrap());
        // A node makes it anew.
        if !from.is_dir() {
            fs::copy(from, to).unwrap();
        }
    }
    let mut copied = Node::new(folder.parent().unwrap(), node.party);
    (copied.folder, copied.listen, copied.api) = (folder, node.listen, node.api);
    copied.environment = node.environment.clone();
    copied
}

#[test]
fn a_rotated_node_signs_and_old_copies_end_with_the_old_kek() {
    let (root, mut nodes) = place("p256");
    let old_id = field(&nodes[0], "key_id").unwrap();
    let comment = "# written by a person\n";
    let file = nodes[0].folder.join("quorate.toml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{comment}{before}")).unwrap();
    let (mut old, later) = (copy(&nodes[0], "old"), copy(&nodes[0], "later"));
    let whole = fs::read(nodes[0].folder.join("hedge.sealed")).unwrap();

    let done = nodes[0].ask(&[&ROTATE[..], &["--profile", "hmac-kdf"]].concat()).object();
    let new_id = field(&nodes[0], "key_id").unwrap();
    assert_ne!(old_id, new_id);
    assert_eq!(
        (&done["rewrapped"], &done["skipped"], &done["shares"]),
        (&2.into(), &0.into(), &1.into())
    );
    assert_eq!(done["from_id"], old_id.as_str());
    assert!(done["to"].as_str().unwrap().ends_with(&format!("{new_id}:v2")), "{done}");
    assert_eq!(named(&nodes[0]), BTreeSet::from([new_id.clone()]));
    assert_eq!(field(&nodes[0], "profile").as_deref(), Some("hmac-kdf"));
    assert_eq!(field(&nodes[0], "identity_id"), Some(old_id.clone()), "the identity key stays");
    assert!(fs::read_to_string(&file).unwrap().starts_with(comment));
    let events: Vec<Value> = audit(&nodes[0]).iter().map(|r| r["event"].clone()).collect();
    assert_eq!(events[events.len() - 2..], ["kek-rewrapped", "kek-rotated"]);
    sign(root.path(), &mut nodes, "0");

    // To OAEP, whose signer is a key of its own, and on: the identity stays where it is.
    nodes[0].ask(&[&ROTATE[..], &["--profile", "oaep"]].concat()).object();
    assert!(fs::read_to_string(&file).unwrap().contains("wrap_signer"));
    let oaep_id = field(&nodes[0], "key_id").unwrap();
    sign(root.path(), &mut nodes, "1");
    nodes[0].ask(&ROTATE).object();
    assert_eq!(field(&nodes[0], "identity_id"), Some(old_id.clone()));
    let last_id = field(&nodes[0], "key_id").unwrap();

    // As long as the old KEK is there, whoever has the PIN opens an old copy.
    old.start();
    old.stop();
    let destroy = |id: &str| nodes[0].ask(&["hsm", "destroy-kek", "--key-id", id, "--yes"]);
    nodes[0]
        .ask(&["hsm", "destroy-kek", "--key-id", &old_id])
        .message(2, &["no copy of this folder", "--yes"]);
    destroy(&last_id).message(15, &[&last_id, "in use", "nothing was destroyed"]);
    destroy("0102").message(14, &["never had a KEK 0102", "another node's"]);
    // The id of a stranger's KEK: half of ours is none of ours either.
    let own = nodes[0].folder.join("hedge.sealed");
    let good = fs::read(&own).unwrap();
    fs::write(&own, whole).unwrap();
    destroy(&old_id).message(15, &["hedge.sealed is sealed under KEK", &old_id]);
    fs::write(&own, &good).unwrap();

    let gone = destroy(&old_id).object();
    assert_eq!(gone["destroyed"].as_array().unwrap().len(), 1, "the identity key stays: {gone}");
    run_ends(&old).message(10, &["KEK", &old_id, "is not there"]);
    old.ask(&ROTATE).message(10, &["KEK", &old_id, "is not there"]);
    assert!(
        !later.folder.join("rotation.toml").exists()
            && !later.folder.join("rotation.attempts").exists()
    );
    destroy(&old_id).message(14, &[&old_id, "already", "another node's"]);
    // An RSA pair, and the pair that signed for it alone.
    assert_eq!(destroy(&oaep_id).object()["destroyed"].as_array().unwrap().len(), 4);
    sign(root.path(), &mut nodes, "2");
}

#[test]
fn what_stops_a_rotation_is_named_and_the_rotation_goes_on() {
    let (root, mut nodes) = place("sealed");
    let old_id = field(&nodes[0], "key_id").unwrap();
    nodes[0].start();
    nodes[0].ask(&ROTATE).message(15, &["in use by another process", "stop the other one"]);
    nodes[0].stop();
    nodes[0].ask(&[&ROTATE[..], &["--profile", "paper"]].concat()).message(2, &["--profile"]);
    let file = nodes[0].folder.join("identity.sealed");
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&file, &bad).unwrap();
    nodes[0].ask(&ROTATE).message(13, &["identity.sealed", "corrupt payload", "again"]);
    assert_eq!(fs::read(&file).unwrap(), bad, "it is left as it was");
    assert_eq!(field(&nodes[0], "key_id"), Some(old_id.clone()));
    // No start, no destruction, no other plan in between.
    run_ends(&nodes[0]).message(15, &["rotation.toml", "not finished", "rotate-kek"]);
    let destroy = ["hsm", "destroy-kek", "--key-id", &old_id, "--yes"];
    nodes[0].ask(&destroy).message(15, &["not finished"]);
    let other = [&ROTATE[..], &["--profile", "cbc-hmac"]].concat();
    nodes[0].ask(&other).message(15, &["not finished", "without --profile"]);
    fs::write(&file, &good).unwrap();
    let done = nodes[0].ask(&ROTATE).object();
    assert_eq!(
        (&done["continued"], &done["skipped"], &done["rewrapped"]),
        (&true.into(), &1.into(), &2.into())
    );
    sign(root.path(), &mut nodes, "0");
}

/// Stops after each step in turn, as a crash would; what is there then is what a real one leaves.
#[test]
fn a_rotation_that_is_cut_off_after_any_step_is_continued() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes = group_of(&root, |_| vec!["--hsm", "software"]);
    let place = Folder::new(&nodes[0].folder);
    let files = |node: &Node| -> BTreeSet<PathBuf> {
        let names = fs::read_dir(&node.folder).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end == "software")).collect()
    };
    let mut seen = Vec::new();
    for stop in 0.. {
        let keks = files(&nodes[0]).len();
        let mut steps = Vec::new();
        let mut watch = |step: &Step| {
            steps.push(step.clone());
            if steps.len() > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = match rotate(&place, &Wanted::default(), &mut watch) {
            Err(RotationError::Stopped) => true,
            done => {
                done.unwrap();
                false
            }
        };
        if !stopped {
            break;
        }
        let last = steps.last().unwrap().clone();
        let made_only = last == Step::Made;
        assert_eq!(place.rotation().exists(), !made_only, "{last:?}");
        // The configuration changes when everything opens, and not before.
        let configured = matches!(last, Step::Configured | Step::Recorded);
        let uses_new = named(&nodes[0]) == BTreeSet::from([in_use(&nodes[0])]);
        assert_eq!(uses_new, configured || matches!(last, Step::Made | Step::Planned), "{last:?}");
        if made_only {
            // Nothing is under way: the node runs.
            nodes[0].start();
            nodes[0].stop();
        } else {
            run_ends(&nodes[0]).message(15, &["not finished", "rotate-kek"]);
        }
        let done = nodes[0].ask(&ROTATE).object();
        assert_eq!(done["continued"], !made_only, "{last:?}");
        assert_eq!(done["leftover"].as_array().unwrap().len(), usize::from(made_only), "{done}");
        // One KEK a rotation, however often it is cut off; one more where nothing named the first.
        assert_eq!(files(&nodes[0]).len(), keks + 1 + usize::from(made_only), "{last:?}");
        for left in done["leftover"].as_array().unwrap() {
            fs::remove_file(nodes[0].folder.join(left["name"].as_str().unwrap())).unwrap();
        }
        assert_eq!(named(&nodes[0]), BTreeSet::from([in_use(&nodes[0])]), "{last:?}");
        assert!(!place.rotation().exists());
        seen.push(last);
    }
    assert!(seen.len() >= 9, "{seen:?}");
    sign(root.path(), &mut nodes, "0");
}

/// The identifier of the emulated KEK that the configuration names.
fn in_use(node: &Node) -> String {
    let file = field(node, "kek_file").unwrap_or_else(|| "kek.software".to_owned());
    // Magic and mode come before it.
    hex::encode(&fs::read(node.folder.join(file)).unwrap()[6..22])
}

/// A node that has seen no rotation yet and has not opened its store: it waits for its membership file.
fn starting(root: &TempDir) -> (Node, Child, File) {
    let node = Node::new(root.path(), 1);
    node.init(&["--hsm", "software"]).object();
    crate::alone(root.path(), &node);
    let file = root.path().join("membership.toml");
    fs::rename(&file, file.with_extension("text")).unwrap();
    let made = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let mut run = node.prepare(&["run"]);
    let run = run.stdout(Stdio::null()).stderr(File::create(root.path().join("said")).unwrap());
    let mut run = run.spawn().unwrap();
    // Opens for writing only once somebody reads.
    let pipe = wait_for("the node reads its membership", || {
        assert!(run.try_wait().unwrap().is_none(), "it ended");
        let options = File::options().write(true).custom_flags(NON_BLOCKING).open(&file);
        options.ok()
    });
    (node, run, pipe)
}

/// `O_NONBLOCK`: without a reader, opening a pipe for writing is an error then.
const NON_BLOCKING: i32 = 0o4000;

/// Lets it go on. How it ended, and its message.
fn went_on(root: &TempDir, mut run: Child, mut pipe: File) -> (Option<i32>, String) {
    let text = fs::read(root.path().join("membership.text")).unwrap();
    pipe.write_all(&text).unwrap();
    drop(pipe);
    let ended = process::wait(&mut run, crate::ENDS);
    let _ = run.kill();
    let _ = run.wait();
    let said = fs::read_to_string(root.path().join("said")).unwrap();
    (ended.and_then(|status| status.code()), said)
}

#[test]
fn a_node_that_starts_while_a_rotation_begins_stops() {
    let root = tempfile::tempdir().unwrap();
    let (node, run, pipe) = starting(&root);
    let place = Folder::new(&node.folder);
    let mut until_planned = |step: &Step| match step {
        Step::Planned => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(matches!(
        rotate(&place, &Wanted::default(), &mut until_planned),
        Err(RotationError::Stopped)
    ));
    let (code, said) = went_on(&root, run, pipe);
    assert!(code == Some(15) && said.contains("not finished"), "{code:?} {said}");
}

/// The node has opened everything and not yet its store, when another KEK comes into use.
#[test]
fn a_node_that_starts_while_a_whole_rotation_passes_stops() {
    let mut place = Place::new();
    let library = crate::misbehaving(place.root.path());
    let folder = |name: &str| {
        let path = place.root.path().join(name);
        fs::create_dir(&path).unwrap();
        ("QUORATE_TEST_DIR".to_owned(), path.display().to_string())
    };
    let (held, free) = (folder("held"), folder("free"));
    let calm = place.node.environment.clone();
    place.node.environment.push(free.clone());
    place.node.init(&arguments(&library, "t", &place.pin)).object();
    crate::alone(place.root.path(), &place.node);
    // Nothing is decrypted after the hedge, as a start without a rotation tells.
    place.node.start();
    place.node.stop();
    let log = fs::read_to_string(place.root.path().join("free/faults.log")).unwrap();
    let started = log.rsplit_once("C_Login").unwrap().1;
    let last = started.lines().filter(|line| *line == "C_Decrypt").count();
    let rule = place.root.path().join("held/rule");
    fs::write(&rule, format!("hold Decrypt {last}")).unwrap();
    place.node.environment = [&calm[..], &[held]].concat();
    let mut run = place.node.prepare(&["run"]);
    let said = place.root.path().join("said");
    let run = run.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
    let mut run = run.spawn().unwrap();
    wait_for("the node waits for its token", || {
        let log = fs::read_to_string(place.root.path().join("held/faults.log")).ok()?;
        log.lines().any(|line| line == "held").then_some(())
    });
    place.node.environment = [&calm[..], &[free]].concat();
    place.node.ask(&[&ROTATE[..], &["--profile", "token-gcm"]].concat()).object();
    fs::remove_file(&rule).unwrap();
    let ended = process::wait(&mut run, crate::ENDS);
    let _ = run.kill();
    let _ = run.wait();
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{said}");
    assert!(said.contains("another key-encryption key came into use"), "{said}");
    place.node.start();
}
