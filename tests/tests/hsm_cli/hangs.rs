//! A real group, one of whose HSMs does not answer: its node does, and all others go on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_hsm::pkcs11::softhsm;
use serde_json::json;
use tempfile::TempDir;

use crate::faces::{create_key, sign};
use crate::node_process::{Node, wait_for, wait_for_links, write_membership};
use crate::token::{PIN, arguments, make, module, write_pin};
use crate::{alone, run_ends};

/// A SoftHSM token behind a module that misbehaves on demand.
struct Faulty {
    root: TempDir,
    library: PathBuf,
    pin: PathBuf,
}

impl Faulty {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        make(&softhsm::write_config(root.path()).unwrap(), "t");
        let (library, pin) = (root.path().join("faults.so"), root.path().join("pin"));
        write_pin(&pin, PIN, 0o600);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsm/tests/support/faults.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        let compiled = compile.args(["-ldl", "-lpthread"]).status();
        assert!(compiled.expect("cc is not installed: run tests/run").success());
        Self { root, library, pin }
    }

    /// A node on this token, its identity key too. With `[deadlines]` and `[memory]`.
    fn node(&self, party: u16, hsm_ms: u32) -> Node {
        let mut node = Node::new(self.root.path(), party);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        node.environment = vec![
            ("SOFTHSM2_CONF".into(), text(&self.root.path().join("softhsm2.conf"))),
            ("PKCS11SPY".into(), text(module().as_path())),
            ("QUORATE_TEST_DIR".into(), text(self.root.path())),
        ];
        node.init(&arguments(&self.library, "t", &self.pin)).object();
        let path = node.folder.join("quorate.toml");
        let mut file = fs::File::options().append(true).open(path).unwrap();
        let deadlines = "key_ms = 20000\naccept_ms = 3000\nsign_ms = 4000";
        writeln!(file, "\n[deadlines]\n{deadlines}\nhsm_ms = {hsm_ms}").unwrap();
        writeln!(file, "\n[memory]\nclose_after_seconds = 1\nlock = true").unwrap();
        node
    }

    fn set(&self, faults: &str) {
        let next = self.root.path().join("faults.next");
        fs::write(&next, faults).unwrap();
        fs::rename(next, self.root.path().join("faults")).unwrap();
    }

    fn release(&self) {
        fs::write(self.root.path().join("released"), "").unwrap();
    }

    fn hung(&self) -> usize {
        let log = fs::read_to_string(self.root.path().join("faults.log")).unwrap_or_default();
        log.lines().filter(|line| *line == "hung").count()
    }
}

fn share_is_closed(node: &Node) {
    wait_for("the share is closed", || (node.status().open_shares == 0).then_some(()));
}

/// Asks for the node's status without end, and panics if an answer takes a second.
fn always_answers<T>(node: &Node, during: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut answers, mut slowest) = (0u32, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                drop(node.status());
                slowest = slowest.max(begin.elapsed());
                answers += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            (answers, slowest)
        });
        let result = during();
        over.store(true, Ordering::Relaxed);
        let (answers, slowest) = asking.join().unwrap();
        println!("{answers} answers, the slowest after {slowest:?}");
        assert!(answers > 10 && slowest < Duration::from_secs(1), "{answers} in {slowest:?}");
        result
    })
}

#[test]
fn a_node_answers_while_its_hsm_hangs_and_signs_when_it_is_back() {
    let faulty = Faulty::new();
    let root = faulty.root.path();
    let mut nodes: Vec<Node> = [1, 3, 4].map(|party| Node::new(root, party)).into();
    nodes.iter().for_each(|node| drop(node.init(&["--hsm", "software"]).object()));
    nodes.insert(1, faulty.node(2, 6_000));
    let members: Vec<String> = nodes.iter().map(Node::member).collect();
    write_membership(root, &nodes[0], &members);
    nodes.iter_mut().for_each(Node::start);
    wait_for_links(&nodes, &[1, 2, 3, 4]);
    create_key(root, &nodes[0]);
    sign(root, &nodes[0], &[]);
    let process = nodes[1].process();

    // A slow HSM: the first signature that needs it comes late, or without it; nothing else waits.
    share_is_closed(&nodes[1]);
    faulty.set("slow");
    always_answers(&nodes[1], || {
        for (number, coordinator) in [("10", 0), ("11", 1), ("12", 2)] {
            sign(root, &nodes[coordinator], &["--nonce", number]);
        }
    });
    faulty.set("");
    wait_for("its call is done", || (nodes[1].status().hsm_calls.waiting == 0).then_some(()));
    share_is_closed(&nodes[1]);

    faulty.set("hang");
    always_answers(&nodes[1], || {
        for (number, coordinator) in [("20", 0), ("21", 1), ("22", 2)] {
            let signed = sign(root, &nodes[coordinator], &["--nonce", number]);
            assert_eq!(signed["signers"], json!([1, 3, 4]), "{signed}");
        }
        assert!(faulty.hung() > 0, "nothing hangs");
        // Links are kept alive for longer than their silence may last, and the call's deadline passes.
        std::thread::sleep(Duration::from_secs(8));
        wait_for_links(&nodes, &[1, 2, 3, 4]);
    });
    let said = nodes[1].ask(&["status"]).object();
    assert!(said["hsm_calls"]["silent_seconds"].as_u64().unwrap() >= 6, "{said}");
    assert!(said["hsm_calls"]["overdue"].as_u64().unwrap() >= 1, "{said}");
    let mut plain = Command::new(crate::node_process::binary());
    let plain = plain.arg("--folder").arg(&nodes[1].folder).arg("status").output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.starts_with("HSM       has not answered for "), "{plain}");
    assert!(nodes[1].log().contains("the HSM has not answered for"), "{}", nodes[1].log());

    // Without party 4 it is needed, and whoever asks hears what is wrong with whom.
    nodes[3].stop();
    let client = root.join("client.key").display().to_string();
    let to = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let ask = |node: &Node, number: &str| {
        let sign = ["sign", "--key", "k", "--client-key", &client, "--chain-id", "31337"];
        node.ask(&[&sign[..], &["--to", to, "--nonce", number]].concat())
    };
    always_answers(&nodes[1], || {
        for (node, number) in [(&nodes[0], "30"), (&nodes[1], "31")] {
            let words = ["3 parties are needed", "party 2: its HSM has not answered for"];
            ask(node, number).message(7, &words);
        }
    });
    // A new link needs the identity key, which is in the HSM: it fails, and says why; others live.
    nodes[3].start();
    wait_for("a handshake is given up", || {
        let peers = nodes[1].status().peers;
        let four = peers.into_iter().find(|peer| peer.party == 4).unwrap();
        four.last_error.filter(|error| error.contains("HSM")).map(|error| println!("{error}"))
    });
    wait_for_links(&nodes[..3], &[1, 2, 3]);

    // It answers again: the same process signs, and links.
    faulty.release();
    wait_for_links(&nodes, &[1, 2, 3, 4]);
    wait_for("the HSM is not silent", || {
        let calls = nodes[1].status().hsm_calls;
        (calls.silent_seconds.is_none() && calls.overdue == 0).then_some(())
    });
    nodes[3].stop();
    for (number, coordinator) in [("40", 0), ("41", 1)] {
        let signed = sign(root, &nodes[coordinator], &["--nonce", number]);
        assert_eq!(signed["signers"], json!([1, 2, 3]), "{signed}");
    }
    assert_eq!(nodes[1].process(), process);
}

/// Neither the start nor the end of a node waits for ever.
#[test]
fn a_start_that_the_hsm_does_not_answer_ends_and_so_does_a_node() {
    let faulty = Faulty::new();
    let mut node = faulty.node(1, 1_500);
    alone(faulty.root.path(), &node);
    faulty.set("hang");
    let begin = Instant::now();
    let said = run_ends(&node);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    said.message(10, &["the HSM has not answered for 4 s", "check the device"]);
    assert!(said.stderr.contains("waiting for the HSM"), "{}", said.stderr);
    // A running node ends as well: its sessions cannot even be closed.
    faulty.set("");
    node.start();
    faulty.set("hang");
    let begin = Instant::now();
    assert!(node.terminate().success(), "{}", node.log());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
