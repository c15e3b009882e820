//! The same verdict on a chip: real ARM code in the emulator judges the same cases as this machine, and
//! every step of each judgement must be the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quorate_core::request::Payload;
use quorate_node::policy_file;
use quorate_tests::cluster::{process, seed};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::properties::{Maker, NOW};
use super::request;

#[path = "../../arm/src/verdict.rs"]
mod verdict;

use verdict::Verdict;

const CASES: usize = 500;
const TARGET: &str = "thumbv7em-none-eabihf";

struct Case {
    policy: Vec<u8>,
    request: Vec<u8>,
    now: u64,
}

/// Random policies and requests, some of them damaged, and the examples with each payload.
fn cases() -> Vec<Case> {
    let seed = seed();
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed));
    let mut cases = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let policy = policy_file::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        let mut buffer = Vec::new();
        let request = request(maker.payload(&mut buffer), NOW, &[2, 3]);
        cases.push(Case { policy: policy.into_vec(), request, now: NOW });
    }
    while cases.len() < CASES {
        let mut policy = maker.policy(true);
        let mut buffer = Vec::new();
        let payload = match maker.payload(&mut buffer) {
            // What claims to be a transaction, and is none.
            Payload::EthereumTransaction(bytes) if maker.below(8) == 0 => {
                Payload::EthereumTransaction(&bytes[..bytes.len() - 1])
            }
            payload => payload,
        };
        let mut request = request(payload, NOW, &maker.approvers());
        for damaged in [&mut policy, &mut request] {
            if maker.below(8) == 0 {
                let place = maker.below(damaged.len() as u32) as usize;
                damaged[place] ^= 1 << maker.below(8);
            }
        }
        // Some have expired.
        let now = NOW + u64::from(maker.below(64));
        cases.push(Case { policy, request, now });
    }
    cases
}

/// Builds the image; cargo itself says what is missing.
fn image() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arm");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
    // What the outer build was told, such as flags for coverage, is not meant for the chip.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(folder);
    let built = process::run(&mut build, Duration::from_secs(600));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    target.join(TARGET).join("release/judge")
}

#[test]
fn a_chip_comes_to_the_same_verdicts() {
    let cases = cases();
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for case in &cases {
        bytes.extend_from_slice(&(case.policy.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&(case.request.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&case.now.to_be_bytes());
        bytes.extend_from_slice(&case.policy);
        bytes.extend_from_slice(&case.request);
    }
    std::fs::write(folder.path().join("cases"), bytes).unwrap();
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args(["-M", "mps2-an386", "-display", "none", "-serial", "none", "-monitor", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(image());
    let run = process::run(qemu.current_dir(&folder), Duration::from_secs(600));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);

    let mut lines = run.stdout.lines();
    let mut kinds = [0; 3];
    for (number, case) in cases.iter().enumerate() {
        let here = Verdict::of(&case.policy, &case.request, case.now).to_string();
        assert_eq!(lines.next(), Some(here.as_str()), "case {number}: {:?}", case.policy);
        let kind = match () {
            () if here.starts_with("policy: ") || here.starts_with("request: ") => 0,
            () if here.contains(": ") => 1,
            () => 2,
        };
        kinds[kind] += 1;
    }
    assert_eq!((lines.next(), lines.next()), (Some("end"), None));
    // It would not be a test if one kind were missing.
    assert!(kinds.iter().all(|count| *count >= 30), "refused, denied, allowed: {kinds:?}");
}
