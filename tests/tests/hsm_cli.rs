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
#[path = "hsm_cli/hangs.rs"]
mod hangs;
#[path = "hsm_cli/hsm_verbs.rs"]
mod hsm_verbs;
#[path = "hsm_cli/memory.rs"]
mod memory;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "support/node_process.rs"]
mod node_process;
#[path = "hsm_cli/pkcs11.rs"]
mod pkcs11;
#[path = "hsm_cli/rotation.rs"]
mod rotation;
#[allow(dead_code)]
#[path = "support/token.rs"]
mod token;
#[path = "hsm_cli/yubihsm.rs"]
mod yubihsm;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use node_process::{Answer, Node, wait_for, write_membership};
use quorate_node::identity::IdentityKey;

struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `quorate run`, which must end by itself.
fn run_ends(node: &Node) -> Answer {
    let mut command = node.prepare(&["run"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(Some(child));
    wait_for("the node ends by itself", || child.0.as_mut().unwrap().try_wait().unwrap());
    let output = child.0.take().unwrap().wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    Answer { code, stdout: text(output.stdout), stderr: text(output.stderr) }
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
