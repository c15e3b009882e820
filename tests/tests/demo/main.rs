//! `quorate demo`, as a newcomer runs it: every line it prints, and what it leaves behind.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chains;
mod device;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use quorate_tests::cluster::{Cluster, Hsm, Output, PATIENCE, RECIPIENT, binary, process};
use quorate_tests::transaction::{address_of, judge};
use serde_json::Value;

/// A demo whose temporary folder is in a place of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("quorate-demo-test-").tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("demo").args(arguments).env("TMPDIR", self.0.path()).env_remove("QUORATE_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        process::run(&mut self.command(arguments), PATIENCE)
    }

    /// No file and no process is left.
    fn is_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.0.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let processes = process::processes_with(&self.0.path().display().to_string());
        assert!(processes.is_empty(), "{processes:?}");
    }
}

fn lines(output: &Output) -> Vec<Value> {
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stderr, "");
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The fields that a step's line must have, and no others.
fn has_fields(line: &Value, expected: &[&str]) {
    let found: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, expected.iter().copied().collect(), "{line}");
}

fn check_key(line: &Value, hsm: &str) {
    has_fields(
        line,
        &["step", "scheme", "public_key", "address", "threshold", "quorum", "parties", "hsm"],
    );
    assert_eq!((&line["step"], &line["scheme"]), (&"key".into(), &"ecdsa-secp256k1".into()));
    let numbers = ["threshold", "quorum", "parties"].map(|field| line[field].as_u64().unwrap());
    assert_eq!(numbers, [2, 3, 4]);
    assert!(line["hsm"].as_str().unwrap().contains(hsm), "{line}");
    let public_key = line["public_key"].as_str().unwrap();
    assert_eq!(public_key.len(), 66);
    assert_eq!(line["address"].as_str().unwrap().to_lowercase(), address_of(public_key));
}

/// A signature of `key` by three parties; gives them. `more` are the fields beside the usual ones.
fn check_signature(
    line: &Value,
    step: &str,
    more: &[&str],
    key: &Value,
    nonce: u128,
) -> BTreeSet<u64> {
    let usual = ["step", "raw_transaction", "hash", "signers", "ms", "sender"];
    has_fields(line, &[usual.as_slice(), more].concat());
    assert_eq!(line["step"], step);
    // Low s, among other things.
    let verdict = judge(line["raw_transaction"].as_str().unwrap());
    assert_eq!(hex::encode(verdict.public_key), key["public_key"].as_str().unwrap());
    assert_eq!(verdict.sender, key["address"].as_str().unwrap().to_lowercase());
    assert_eq!(line["sender"], key["address"]);
    assert_eq!(line["hash"], verdict.hash);
    assert!(line["ms"].is_u64());
    assert_eq!((verdict.number(0), verdict.number(1)), (31337, nonce));
    assert_eq!(format!("0x{}", hex::encode(&verdict.fields[5])), RECIPIENT.to_lowercase());
    let signers: BTreeSet<u64> =
        line["signers"].as_array().unwrap().iter().map(|party| party.as_u64().unwrap()).collect();
    assert_eq!(signers.len(), 3);
    assert!(signers.iter().all(|party| (1..=4).contains(party)));
    signers
}

/// All that the demo says, line by line; gives the signatures. On a chain there are receipts.
fn check_story<'a>(lines: &'a [Value], hsm: &str, on_chain: bool) -> (&'a Value, [&'a Value; 5]) {
    let [key, signed, one_down, old, repeated, fresh, denied, tampered, three_left, done] = lines
    else {
        panic!("not ten lines: {lines:#?}")
    };
    let more: &[&str] = if on_chain { &["receipt"] } else { &[] };
    check_key(key, hsm);
    check_signature(signed, "signed", more, key, 0);
    let signers = check_signature(one_down, "signed-with-one-down", more, key, 1);
    assert_eq!(signers, BTreeSet::from([1, 2, 4]));
    assert_eq!(old["step"], "rollback-refused");
    let error = old["error"].as_str().unwrap();
    assert!(error.contains("earlier state") && error.contains("readmit"), "{error}");
    // From the records, or anew if party 2 was killed before it told anybody.
    assert!(repeated["repeated"].is_boolean());
    let with_repeated = [more, &["repeated"]].concat();
    check_signature(repeated, "repeated-after-rollback", &with_repeated, key, 2);
    let signers = check_signature(fresh, "signed-after-rollback", more, key, 3);
    assert_eq!(signers, BTreeSet::from([1, 3, 4]), "the limit of party 2 counts as spent");
    assert_eq!((&denied["step"], &denied["rule"]), (&"denied".into(), &"recipient".into()));
    assert!(denied["message"].as_str().unwrap().contains("party"), "{denied}");
    assert_eq!(tampered["step"], "tampered-share");
    let error = tampered["error"].as_str().unwrap();
    assert!(error.contains("corrupt") && error.contains("demo"), "{error}");
    let step = "signed-without-the-tampered-share";
    let signers = check_signature(three_left, step, more, key, 4);
    assert_eq!(signers, BTreeSet::from([1, 3, 4]));
    assert_eq!(done.to_string(), r#"{"step":"done"}"#);
    (key, [signed, one_down, repeated, fresh, three_left])
}

#[test]
fn the_demo_shows_every_step_with_the_emulation() {
    let place = Place::new();
    let output = place.run(&["--json"]);
    check_story(&lines(&output), "software emulation (NOT an HSM)", false);
    place.is_clean();
}

#[test]
fn the_demo_shows_every_step_with_tokens() {
    let place = Place::new();
    let output = place.run(&["--json", "--hsm", "pkcs11"]);
    check_story(&lines(&output), "SoftHSM", false);
    place.is_clean();
}

#[test]
fn two_demos_at_once_do_not_disturb_each_other() {
    let places = [Place::new(), Place::new()];
    std::thread::scope(|scope| {
        let demos = places.each_ref().map(|place| scope.spawn(|| place.run(&["--json"])));
        let keys = demos.map(|demo| {
            let lines = lines(&demo.join().unwrap());
            check_story(&lines, "software", false);
            lines[0]["public_key"].clone()
        });
        assert_ne!(keys[0], keys[1]);
    });
    places.iter().for_each(Place::is_clean);
}

#[test]
fn people_read_which_hsm_it_is() {
    for (arguments, said) in
        [([].as_slice(), "which is NOT an HSM"), (&["--hsm", "pkcs11"], "SoftHSM token per party")]
    {
        let place = Place::new();
        let output = place.run(arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains(said), "{}", output.stdout);
        assert!(output.stdout.trim_end().ends_with("the temporary folder is removed"));
        assert!(!output.stdout.contains('{'), "no JSON for people: {}", output.stdout);
        place.is_clean();
    }
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let place = Place::new();
    // The demo may be done before the signal comes; then another one is interrupted.
    let interrupted = (0..20).any(|_| {
        let mut command = place.command(&["--json"]);
        let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(demo.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.contains("\"key\""), "{first}");
        process::signal(&demo, "INT");
        let status = process::wait(&mut demo, PATIENCE).expect("it hangs");
        place.is_clean();
        match status.code() {
            Some(0) => false,
            Some(1) => true,
            _ => panic!("an exit code, and not the signal: {status}"),
        }
    });
    assert!(interrupted);
}

#[test]
fn a_demo_that_nobody_reads_tells_its_story_to_the_end() {
    let place = Place::new();
    for arguments in [["--json"].as_slice(), &[]] {
        let mut command = place.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut demo = command.spawn().unwrap();
        drop(demo.stdout.take());
        let errors = BufReader::new(demo.stderr.take().unwrap());
        let status = process::wait(&mut demo, PATIENCE).expect("it hangs");
        let errors: Vec<String> = errors.lines().map(Result::unwrap).collect();
        assert!(status.success() && errors.is_empty(), "{status}: {errors:?}");
        place.is_clean();
    }
}

#[test]
fn a_demo_that_cannot_run_says_why_and_cleans_up() {
    for (arguments, code, said) in [
        (["--hsm", "pkcs11", "--module", "/nothing/here.so"].as_slice(), 10, "/nothing/here.so"),
        // The port of an address that nobody has: TEST-NET would be waited for, this is refused.
        (&["--chain", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1"),
    ] {
        let place = Place::new();
        let arguments = [&["--json"], arguments].concat();
        let message = place.run(&arguments).error(code)["message"].to_string();
        assert!(message.contains(said), "{message}");
        place.is_clean();
    }
}

/// That [`Place::is_clean`] finds nothing means something: it finds what there is.
#[test]
fn processes_that_are_there_are_found() {
    let mut cluster = Cluster::running(3, Hsm::Software, None);
    let root = cluster.root().display().to_string();
    assert_eq!(process::processes_with(&root).len(), 3);
    cluster.kill(2);
    assert_eq!(process::processes_with(&root).len(), 2);
}
