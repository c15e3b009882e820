//! The command line when something is wrong: each failure has its exit code, and a message that says
//! what happened and what to do; and a PIN is tried once.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "hsm_cli/faces.rs"]
mod faces;
#[path = "hsm_cli/files.rs"]
mod files;
#[path = "hsm_cli/guided.rs"]
mod guided;
#[path = "hsm_cli/hangs.rs"]
mod hangs;
#[path = "hsm_cli/hsm_verbs.rs"]
mod hsm_verbs;
#[path = "hsm_cli/kills.rs"]
mod kills;
#[path = "hsm_cli/memory.rs"]
mod memory;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "support/node_process.rs"]
mod node_process;
#[path = "hsm_cli/passphrase.rs"]
mod passphrase;
#[path = "hsm_cli/pkcs11.rs"]
mod pkcs11;
#[path = "hsm_cli/rotation.rs"]
mod rotation;
#[allow(dead_code)]
#[path = "support/token.rs"]
mod token;
#[path = "hsm_cli/yubihsm.rs"]
mod yubihsm;
#[path = "hsm_cli/yubihsm_log.rs"]
mod yubihsm_log;
#[path = "hsm_cli/yubihsm_rotation.rs"]
mod yubihsm_rotation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use node_process::{Answer, Node, write_membership};
use quorate_node::identity::IdentityKey;

/// Where a node does not end by itself, a test is to be red soon.
const ENDS: Duration = Duration::from_secs(30);

/// `quorate run`, which must end by itself.
fn run_ends(node: &Node) -> Answer {
    node.ask_within(ENDS, &["run"])
}

/// A membership file of this node and of others that are nowhere.
fn alone(root: &Path, node: &Node) {
    let stranger = |party: u16| {
        let identity = IdentityKey::generate().unwrap().public();
        format!("{party},party-{party},{identity},127.0.0.1:{party}")
    };
    let members = [node.member(), stranger(node.party + 1), stranger(node.party + 2)];
    write_membership(root, node, &members);
}

/// Changes a text file; what is to be replaced must be there.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// SoftHSM behind a module that misbehaves on demand.
fn misbehaving(root: &Path) -> PathBuf {
    let library = root.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsm/tests/support/faults.c");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
    let compiled = compile.args(["-ldl", "-lpthread"]).status();
    assert!(compiled.expect("cc is not installed: run tests/run").success());
    library
}
