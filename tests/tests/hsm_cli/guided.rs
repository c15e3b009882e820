//! `quorate hsm init` at a terminal: it asks for what was not given, and makes what `quorate init` makes.

use std::process::{Command, Stdio};

use crate::node_process::binary;
use crate::passphrase::at_a_terminal;
use crate::pkcs11::Place;
use crate::token::spy;

#[test]
fn a_person_is_asked_and_a_node_is_made() {
    let place = Place::new();
    let node = &place.node;
    let (listen, api, spy) = (node.listen.to_string(), node.api.to_string(), spy());
    let pin = place.pin.to_str().unwrap();
    let given =
        ["hsm", "init", "--module", spy.to_str().unwrap(), "--pin-file", pin, "--api", &api];
    let answers = |last| {
        [
            ("number in its group", "1"),
            ("Its name", "one"),
            ("Where it listens", &*listen),
            ("What seals the shares", "1"),
            ("The token: a number", "1"),
            ("Go ahead?", last),
        ]
    };
    let (code, shown) = at_a_terminal(node, &given, &answers("no"));
    assert!(code == 2 && shown.contains("nothing was made"), "{code}: {shown}");
    assert!(!node.folder.exists() && place.logins() == 0);

    let (code, shown) = at_a_terminal(node, &given, &answers("yes"));
    assert_eq!(code, 0, "{shown}");
    for part in ["1  t: serial", "quorate --folder", "--token t", "key-encryption key"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let status = node.ask(&["hsm", "status"]).object();
    assert_eq!((&status["works"], &status["identity_signs"]), (&true.into(), &true.into()));
}

#[test]
fn without_a_terminal_the_options_are_named() {
    let place = Place::new();
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(binary()).arg("--folder").arg(&place.node.folder).args(["hsm", "init"]);
    let said = alone.stdin(Stdio::null()).output().unwrap();
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.contains("no terminal") && words.contains("--listen"), "{words}");
}
