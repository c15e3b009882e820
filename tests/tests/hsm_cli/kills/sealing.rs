//! Kills of a process that seals shares into a node's store as a node does, as fast as it can.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_hsm::{BlobKind, Context, KeyProtector, seal};
use quorate_node::config::{Config, Folder};
use quorate_node::sealing::open_hsm;
use quorate_node::store::{KeyRow, KeyState, Store};
use quorate_tests::node_values::key_row;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{Aim, Moments, Objects, kill, quick_folder, usual};
use crate::alone;
use crate::node_process::Node;
use crate::token::{PIN, arguments, make, module, write_pin};

/// For each backend.
const KILLS: usize = 60;
/// How long a process seals before it is killed, at most: at first.
const WITHIN: Duration = Duration::from_millis(8);
const FOLDER: &str = "QUORATE_TEST_SEALING";
/// What the process is to do beside opening all that is there.
const ROUNDS: &str = "QUORATE_TEST_ROUNDS";

#[test]
fn no_kill_loses_an_acknowledged_share() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(&Folder::new(Path::new(&folder)));
    }
    let mut moments = Moments::begin();
    for in_token in [true, false] {
        let (root, node) = place(in_token);
        let mut run = Run { node, stored: BTreeSet::new(), activated: 0, fell: BTreeMap::new() };
        let start = usual(|| run.ends());
        let mut aim = Aim(WITHIN);
        let mut torn = 0;
        for number in 0..KILLS {
            let objects = in_token.then(|| Objects::now(root.path()));
            // By turns: from the first moment of the process on; and once it seals.
            run.kill(match number % 6 {
                0 => (false, moments.below(start + aim.0)),
                _ => (true, moments.below(aim.0)),
            });
            // On a busy machine little is stored in that time, and the kills would miss.
            aim.learn(run.stored.len() > 4 * (number + 1));
            torn += usize::from(objects.is_some_and(|objects| objects.must_be_whole()));
        }
        run.ends();
        let Run { stored, activated, fell, .. } = run;
        println!(
            "in a token: {in_token}; a start takes {start:?}; {KILLS} kills: {fell:?}; SoftHSM's own file \
             torn {torn}; {} shares stored, {activated} active, all open",
            stored.len(),
        );
        let fell = |phase: &str| fell.get(phase).copied().unwrap_or(0);
        assert!(fell("seal") + fell("store") + fell("activate") >= KILLS / 2, "the kills missed");
        assert!(fell("store") > 0 && stored.len() > KILLS);
        // The emulation is too quick to be hit each time.
        assert!(fell("seal") > 0 || !in_token);
    }
}

fn place(in_token: bool) -> (TempDir, Node) {
    let root = quick_folder();
    let mut node = Node::new(root.path(), 1);
    if in_token {
        let configuration = quorate_hsm::pkcs11::softhsm::write_config(root.path()).unwrap();
        make(&configuration, "t");
        let pin = root.path().join("pin");
        write_pin(&pin, PIN, 0o600);
        node.environment = vec![("SOFTHSM2_CONF".to_owned(), configuration.display().to_string())];
        node.init(&arguments(&module(), "t", &pin)).object();
    } else {
        node.init(&["--hsm", "software"]).object();
    }
    alone(root.path(), &node);
    (root, node)
}

struct Run {
    node: Node,
    /// Keys whose store was acknowledged.
    stored: BTreeSet<String>,
    activated: usize,
    /// How many kills fell into which phase.
    fell: BTreeMap<String, usize>,
}

impl Run {
    fn prepare(&self, rounds: u32) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "kills::sealing::no_kill_loses_an_acknowledged_share";
        command.args(["--exact", name, "--nocapture"]);
        command.env(FOLDER, &self.node.folder).env(ROUNDS, rounds.to_string());
        command.envs(self.node.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A process that opens all, and ends.
    fn ends(&self) {
        let output = self.prepare(0).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        self.all_were_opened(&said);
    }

    /// All that was acknowledged is there; the process would have ended if any of it did not open.
    fn all_were_opened(&self, said: &str) {
        let opened: BTreeSet<String> = said
            .lines()
            .filter_map(|line| line.strip_prefix("opened "))
            .map(str::to_owned)
            .collect();
        let lost: Vec<&String> = self.stored.difference(&opened).collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    }

    fn kill(&mut self, (ready, delay): (bool, Duration)) {
        let said = tempfile::NamedTempFile::new_in(self.node.folder.parent().unwrap()).unwrap();
        let heard = || std::fs::read_to_string(said.path()).unwrap();
        let mut command = self.prepare(u32::MAX);
        command.stdout(said.reopen().unwrap()).stderr(Stdio::inherit());
        let at_work = kill(&mut command, || !ready || heard().contains("\nready\n"), delay);
        let mut text = String::new();
        said.reopen().unwrap().read_to_string(&mut text).unwrap();
        assert!(at_work, "a process ended by itself: {text}");
        let phase = if text.contains("\nready\n") {
            self.all_were_opened(&text);
            // A line that was cut off was not said.
            let whole = text.rsplit_once('\n').unwrap_or_default().0;
            whole.lines().last().and_then(|line| line.split(' ').next()).unwrap().to_owned()
        } else {
            "start".to_owned()
        };
        let keys = |word: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(word).map(str::to_owned));
            lines.collect::<Vec<_>>()
        };
        // It speaks of the next step once the one before is acknowledged.
        self.stored.extend(keys("activate "));
        self.activated += keys("done ").len();
        *self.fell.entry(phase).or_default() += 1;
    }
}

/// The process: says what it is about to do, and what was done.
fn work(folder: &Folder) {
    let config = Config::load(folder).unwrap();
    let hsm = open_hsm(folder, &config).unwrap();
    let store = Store::open(&folder.store()).unwrap();
    let there = open_all(&*hsm.protector, &store);
    println!("\nready");
    let rounds: u32 = std::env::var(ROUNDS).unwrap().parse().unwrap();
    for number in (there..).take(rounds as usize) {
        let mut key = [9; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let name = hex::encode(key);
        println!("seal {name}");
        let sealed = seal(&*hsm.protector, &context(key), &payload(key)).unwrap();
        println!("store {name}");
        let row = KeyRow { key, name: name.clone(), sealed, state: KeyState::Pending, ..key_row() };
        store.insert_pending(KeyRow { certificate: None, ..row }).unwrap();
        println!("activate {name}");
        store.activate(key, vec![1]).unwrap();
        println!("done {name}");
    }
}

/// Their number, since keys are counted.
fn open_all(protector: &dyn KeyProtector, store: &Store) -> u32 {
    let rows = store.keys().unwrap();
    for row in &rows {
        let opened = quorate_hsm::open(protector, &context(row.key), &row.sealed).unwrap();
        assert_eq!(*opened, payload(row.key));
        println!("opened {}", hex::encode(row.key));
    }
    rows.len() as u32
}

fn payload(key: [u8; 16]) -> Vec<u8> {
    Sha256::digest(key).repeat(8)
}

fn context(key: [u8; 16]) -> Context {
    Context {
        network: [1; 16],
        party: 1,
        key,
        epoch: 0,
        policy_version: 1,
        policy_hash: [3; 32],
        kind: BlobKind::Share,
        sequence: 1,
    }
}
