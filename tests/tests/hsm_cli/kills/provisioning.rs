//! Kills of `quorate init`. A folder is no node afterwards, or a whole one; what is left in the token is
//! named, and the command that the refusal names removes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use quorate_hsm::pkcs11::softhsm;
use tempfile::TempDir;

use super::{Aim, Moments, Objects, kill, quick_folder, usual};
use crate::node_process::{Answer, Node};
use crate::token::{PIN, arguments, make, module, write_pin};

const KILLS: usize = 60;

struct Place {
    root: TempDir,
    module: PathBuf,
    pin: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = quick_folder();
        make(&softhsm::write_config(root.path()).unwrap(), "t");
        let pin = root.path().join("pin");
        write_pin(&pin, PIN, 0o600);
        Self { module: module(), pin, root }
    }

    /// One in a folder that is not there.
    fn fresh(&self) -> Node {
        let mut node = Node::new(self.root.path(), 1);
        let _ = fs::remove_dir_all(&node.folder);
        let configuration = self.root.path().join("softhsm2.conf");
        node.environment = vec![("SOFTHSM2_CONF".to_owned(), configuration.display().to_string())];
        node
    }

    fn init(&self, in_token: bool) -> Vec<&str> {
        match in_token {
            // Without the trial of all profiles, which makes an RSA key and takes nearly all the time.
            true => {
                [&arguments(&self.module, "t", &self.pin)[..], &["--profile", "cbc-hmac"]].concat()
            }
            false => vec!["--hsm", "software"],
        }
    }

    fn discard(&self, node: &Node, more: &[&str]) -> Answer {
        let [_, _, token @ ..] = arguments(&self.module, "t", &self.pin);
        node.ask(&[&["hsm", "discard"], &token[..], more].concat())
    }

    /// Ids of the keys of ours in the token.
    fn ids(&self, node: &Node) -> Vec<String> {
        let found = self.discard(node, &[]).object();
        let objects = found["found"].as_array().unwrap().iter();
        let mut ids: Vec<_> =
            objects.map(|object| object["id"].as_str().unwrap().to_owned()).collect();
        // A token lists its objects in any order.
        ids.sort();
        ids
    }

    /// Does what a refusal says until there is a node. What it had to do is told.
    fn until_there_is_a_node(&self, node: &Node, in_token: bool) -> Vec<&'static str> {
        let mut done = Vec::new();
        for _ in 0..3 {
            let answer = node.init(&self.init(in_token));
            match answer.code {
                0 => return done,
                11 => {
                    answer.message(11, &["a login was cut off", "`quorate hsm clear-pin`"]);
                    node.ask(&["hsm", "clear-pin"]).object();
                    done.push("clear-pin");
                }
                _ => {
                    let said = answer.message(15, &["exists already", "quorate"]);
                    let (_, id) = said.split_once("quorate hsm discard --key-id ").unwrap();
                    let id = id.split('`').next().unwrap();
                    let gone = self.discard(node, &["--key-id", id, "--destroy"]).object();
                    assert!(!gone["destroyed"].as_array().unwrap().is_empty(), "{gone}");
                    done.push("discard");
                }
            }
        }
        panic!("three times refused: {done:?}")
    }
}

/// What the folder shows of how far it came.
fn phase(node: &Node, in_token: bool) -> &'static str {
    let there = |name: &str| node.folder.join(name).exists();
    match () {
        () if there("quorate.toml") => "with a configuration",
        () if there("identity.sealed") || there("hedge.sealed") => "with sealed files",
        () if there("kek.software") => "with a key file",
        () if in_token && there("pin.guard") => "after a login began",
        () if there("init.attempt") => "begun",
        () => "before it began",
    }
}

#[test]
fn a_killed_init_leaves_no_half_node_and_what_is_left_can_be_removed() {
    let place = Place::new();
    let mut moments = Moments::begin();
    let first = place.fresh();
    first.init(&place.init(true)).object();
    let other = first.folder.with_file_name("first");
    fs::rename(&first.folder, &other).unwrap();
    let mut first = first;
    first.folder = other;
    let kept = place.ids(&first);
    let usual = [true, false].map(|in_token| {
        usual(|| {
            let node = place.fresh();
            node.init(&place.init(in_token)).object();
            if in_token {
                clear(&place, &node, &kept);
            }
        })
    });
    let mut aims = usual.map(|usual| [usual, usual / 2].map(Aim));
    let (mut fell, mut did) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, usize>::new());
    let (mut torn, mut hits) = (0, 0);
    for number in 0..KILLS {
        let in_token = number % 4 != 3;
        let node = place.fresh();
        let objects = Objects::now(place.root.path());
        // By turns: at any moment of it; and while it makes something.
        let marker = node.folder.join("init.attempt");
        let waits = number % 2 == 0;
        let begun = || !waits || marker.exists();
        let mut command = node.prepare(&node.init_arguments(&place.init(in_token)));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let aim = &mut aims[usize::from(!in_token)][usize::from(waits)];
        let at_work = kill(&mut command, begun, moments.below(aim.0));
        torn += usize::from(objects.must_be_whole());
        let phase = phase(&node, in_token);
        *fell.entry(phase).or_default() += 1;
        aim.learn(phase == "with a configuration");
        let hit = phase != "with a configuration" && phase != "before it began";
        hits += usize::from(in_token && hit);
        if phase == "with a configuration" {
            node.init(&place.init(in_token)).message(15, &["holds a node already"]);
        } else {
            assert!(at_work, "it ended without a configuration");
            for what in place.until_there_is_a_node(&node, in_token) {
                *did.entry(what).or_default() += 1;
            }
        }
        let status = node.ask(&["hsm", "status"]).object();
        assert_eq!((&status["works"], &status["identity_signs"]), (&true.into(), &true.into()));
        if in_token {
            clear(&place, &node, &kept);
        }
        assert_eq!(place.ids(&first), kept, "kill {number}: objects that no node names");
    }
    println!(
        "init takes {usual:?}; kills {fell:?}; then needed {did:?}; SoftHSM's own file torn {torn}"
    );
    first.ask(&["hsm", "status"]).object();
    // In a token, which takes its time: without one it is over before a busy machine has killed it.
    assert!(hits >= KILLS / 5, "the kills miss what they are for");
    assert!(did.get("discard").is_some_and(|count| *count > 0), "no kill left anything");
}

/// Destroys the keys of a node, as if its folder had never come to be.
fn clear(place: &Place, node: &Node, kept: &[String]) {
    fs::remove_file(node.folder.join("quorate.toml")).unwrap();
    for id in place.ids(node) {
        if !kept.contains(&id) {
            place.discard(node, &["--key-id", &id, "--destroy"]).object();
        }
    }
}
