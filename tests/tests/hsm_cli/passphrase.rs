//! The software emulation under a passphrase: where it comes from, and what a wrong one does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_node::config::Folder;
use quorate_node::rotation::{RotationError, Step, Wanted, rotate};
use tempfile::TempDir;

use crate::node_process::{Node, binary};
use crate::token::write_pin;
use crate::{alone, edit, run_ends};

const PASSPHRASE: &str = "correct horse battery";
const WRONG: &str = "incorrect horse battery";

/// A node whose passphrase is in a file.
fn place() -> (TempDir, Node, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("passphrase");
    write_pin(&file, &format!("{PASSPHRASE}\n"), 0o600);
    let node = Node::new(root.path(), 1);
    let hsm = ["--hsm", "software", "--passphrase-file", file.to_str().unwrap()];
    let made = node.init(&hsm).object();
    let report = made["report"].to_string();
    assert!(report.contains("not an HSM") && report.contains("passphrase"), "{report}");
    alone(root.path(), &node);
    (root, node, file)
}

fn configuration(node: &Node) -> PathBuf {
    node.folder.join("quorate.toml")
}

/// What the file of the KEK says that it rests under: 1 is a passphrase.
fn kind(path: &Path) -> u8 {
    fs::read(path).unwrap()[5]
}

#[test]
fn a_passphrase_opens_the_node_and_its_next_kek() {
    let (_root, mut node, file) = place();
    let text = fs::read_to_string(configuration(&node)).unwrap();
    assert!(text.contains("secret = \"passphrase\""), "{text}");
    assert!(!text.contains("correct"), "{text}");
    assert_eq!(kind(&node.folder.join("kek.software")), 1);
    node.start();
    node.stop();
    let status = node.ask(&["hsm", "status"]).object();
    assert!(status["unprotected"].to_string().contains("guess at the passphrase"), "{status}");
    assert!(status["pin_guard"].to_string().contains("Argon2id"), "{status}");
    let plan = node.ask(&["hsm", "backup-plan"]).object();
    assert!(plan["without"].to_string().contains("passphrase"), "{plan}");

    // Cut off when the new one is made and named, and continued: no question, the same passphrase.
    let mut watch = |step: &Step| match step {
        Step::Planned => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let folder = Folder::new(&node.folder);
    assert!(matches!(rotate(&folder, &Wanted::default(), &mut watch), Err(RotationError::Stopped)));
    write_pin(&file, WRONG, 0o600);
    node.ask(&["hsm", "rotate-kek"]).message(11, &["wrong PIN or passphrase"]);
    write_pin(&file, PASSPHRASE, 0o600);
    let done = node.ask(&["hsm", "rotate-kek"]).object();
    assert_eq!(done["rewrapped"], 2, "{done}");
    let text = fs::read_to_string(configuration(&node)).unwrap();
    assert!(text.contains("secret = \"passphrase\"") && text.contains("passphrase_file"), "{text}");
    let next = text.lines().find_map(|line| line.strip_prefix("kek_file = ")).unwrap();
    let next = node.folder.join(next.trim_matches('"'));
    assert_eq!(kind(&next), 1);
    // The old file is not needed.
    fs::remove_file(node.folder.join("kek.software")).unwrap();
    node.start();
    node.stop();
    write_pin(&file, WRONG, 0o600);
    run_ends(&node).message(11, &["wrong PIN or passphrase"]);
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_holds_nothing() {
    let (_root, mut node, file) = place();
    write_pin(&file, WRONG, 0o600);
    for _ in 0..2 {
        let said = run_ends(&node);
        said.message(11, &["wrong PIN or passphrase", "correct it"]);
        assert!(!said.stderr.contains(WRONG) && !said.stdout.contains(WRONG));
        node.ask(&["hsm", "status"]).message(11, &["wrong PIN or passphrase"]);
        node.ask(&["hsm", "rotate-kek"]).message(11, &["wrong PIN or passphrase"]);
    }
    write_pin(&file, "", 0o600);
    run_ends(&node).message(11, &["wrong PIN or passphrase"]);
    assert!(!node.folder.join("pin.guard").exists() && !node.folder.join("rotation.toml").exists());
    // Nothing counts: the right one opens at once.
    write_pin(&file, PASSPHRASE, 0o600);
    node.start();
    node.stop();

    for mode in [0o640, 0o604] {
        write_pin(&file, PASSPHRASE, mode);
        let words = ["the passphrase file", file.to_str().unwrap(), "chmod 600"];
        run_ends(&node).message(3, &words);
    }
    fs::remove_file(&file).unwrap();
    run_ends(&node).message(3, &["the passphrase file", file.to_str().unwrap()]);
    let named = format!("passphrase_file = \"{}\"\n", file.display());
    edit(&configuration(&node), "secret = \"passphrase\"\n", "");
    run_ends(&node).message(3, &["quorate.toml", "hsm.passphrase_file"]);
    // The configuration says key file, the file says passphrase.
    edit(&configuration(&node), &named, "");
    run_ends(&node).message(1, &["kek.software", "the other kind of secret"]);
}

#[test]
fn an_init_after_one_that_was_cut_off_names_the_kek_of_another_passphrase() {
    let (_root, node, file) = place();
    fs::remove_file(configuration(&node)).unwrap();
    fs::write(node.folder.join("init.attempt"), "").unwrap();
    let with = ["--hsm", "software", "--passphrase-file", file.to_str().unwrap()];
    write_pin(&file, WRONG, 0o600);
    let kek = node.folder.join("kek.software");
    node.init(&with).message(15, &[kek.to_str().unwrap(), "cut off", "remove it"]);
    fs::remove_file(kek).unwrap();
    node.init(&with).object();
}

#[test]
fn init_refuses_what_is_no_passphrase() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("passphrase");
    let node = Node::new(root.path(), 1);
    let with = ["--hsm", "software", "--passphrase-file", file.to_str().unwrap()];
    write_pin(&file, "eleven char\n", 0o600);
    node.init(&with).message(3, &["refused", "fewer than 12 characters", "nothing was made"]);
    write_pin(&file, PASSPHRASE, 0o644);
    node.init(&with).message(3, &["the passphrase file", "chmod 600"]);
    let token = ["--hsm", "pkcs11", "--module", "/lib.so", "--token", "t", "--passphrase"];
    node.init(&token).message(2, &["--passphrase", "--hsm software"]);
    assert!(!node.folder.join("kek.software").exists() && !configuration(&node).exists());
}

#[test]
fn a_credential_is_a_passphrase() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), 1);
    let folder = root.path().to_str().unwrap().to_owned();
    node.environment = vec![("CREDENTIALS_DIRECTORY".into(), folder)];
    write_pin(&root.path().join("quorate-pin"), PASSPHRASE, 0o440);
    node.init(&["--hsm", "software", "--passphrase"]).object();
    alone(root.path(), &node);
    node.start();
    node.stop();
    write_pin(&root.path().join("quorate-pin"), WRONG, 0o440);
    run_ends(&node).message(11, &["wrong PIN or passphrase"]);
}

/// Runs a command at a terminal, types each answer when its question is there, and returns exit code and
/// all that the terminal showed.
pub fn at_a_terminal(node: &Node, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
    let mut words = vec![binary().to_str().unwrap().to_owned(), "--json".into(), "--folder".into()];
    words.push(node.folder.to_str().unwrap().to_owned());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    // `script` is a terminal: what it runs asks there. It is part of every Linux.
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    script.envs(node.environment.iter().cloned());
    script.env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().expect("script (of util-linux) is missing");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut from) = (Vec::new(), 0);
    let mut next = answers.iter();
    let mut awaited = next.next();
    let mut byte = [0];
    while output.read(&mut byte).unwrap_or(0) > 0 {
        shown.push(byte[0]);
        let Some((question, answer)) = awaited else {
            // Asked once more: it would wait for ever.
            if shown[from..].ends_with(answers.last().unwrap().0.as_bytes()) {
                child.kill().unwrap();
            }
            continue;
        };
        if String::from_utf8_lossy(&shown[from..]).contains(question) {
            // The echo is off before the question is shown.
            writeln!(input, "{answer}").unwrap();
            (from, awaited) = (shown.len(), next.next());
        }
    }
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (code, String::from_utf8(shown).unwrap())
}

#[test]
fn a_person_types_it_twice_and_then_once_and_nobody_sees_it() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::new(root.path(), 1);
    let (listen, api) = (node.listen.to_string(), node.api.to_string());
    let init = [
        "init",
        "--party",
        "1",
        "--name",
        "one",
        "--hsm",
        "software",
        "--passphrase",
        "--listen",
        &listen,
        "--api",
        &api,
    ];
    let (new, again) = ("new passphrase of the emulated", "the same again: ");
    let (code, shown) = at_a_terminal(&node, &init, &[(new, PASSPHRASE), (again, WRONG)]);
    assert!(code == 3 && shown.contains("not typed the same twice"), "{code}: {shown}");
    assert!(!node.folder.join("kek.software").exists());
    let (code, shown) = at_a_terminal(&node, &init, &[(new, PASSPHRASE), (again, PASSPHRASE)]);
    assert!(code == 0 && !shown.contains(PASSPHRASE), "{code}: {shown}");
    assert_eq!(kind(&node.folder.join("kek.software")), 1);

    let asked = "passphrase of the emulated key-encryption key: ";
    let status = ["hsm", "status"];
    let (code, shown) = at_a_terminal(&node, &status, &[(asked, WRONG)]);
    assert!(code == 11 && !shown.contains(WRONG), "{code}: {shown}");
    // Once, though a rotation opens the old key and makes and opens a new one.
    for command in [status, ["hsm", "rotate-kek"], status] {
        let (code, shown) = at_a_terminal(&node, &command, &[(asked, PASSPHRASE)]);
        assert!(code == 0 && !shown.contains(PASSPHRASE), "{code}: {shown}");
        assert_eq!(shown.matches(asked).count(), 1, "{shown}");
    }
    // Nobody to ask. A session of its own has no terminal.
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(binary()).arg("--folder").arg(&node.folder).args(status);
    let said = alone.stdin(Stdio::null()).output().unwrap();
    assert_eq!(said.status.code(), Some(10), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no passphrase"), "{said:?}");
}
