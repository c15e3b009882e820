//! The fuzz targets, briefly: over their corpora and a fixed number of mutations of these. `fuzz/README.md`
//! says how to run them for long.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use quorate_tests::fuzz::{TARGETS, Target};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng as _};

/// Set to write snapshots and corpora anew (`tests/remake`).
const REMAKE: &str = "QUORATE_REMAKE";

type Corpus = BTreeMap<String, Vec<u8>>;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target.name)
}

fn on_disk(target: &Target) -> Corpus {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Corpus::new() };
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(&path).unwrap())
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

/// Inputs that libFuzzer found are there besides, by their hashes; the seeds must be of today's formats.
#[test]
fn the_corpora_are_made_from_todays_messages() {
    for target in &TARGETS {
        let seeds: Corpus = (target.seeds)().into_iter().collect();
        assert!(!seeds.is_empty(), "{}", target.name);
        if std::env::var_os(REMAKE).is_some() {
            std::fs::create_dir_all(folder(target)).unwrap();
            // What libFuzzer found has a digest for a name, and stays.
            let found = |name: &String| name.len() == 40 && hex::decode(name).is_ok();
            for name in on_disk(target).keys().filter(|name| !found(name)) {
                std::fs::remove_file(folder(target).join(name)).unwrap();
            }
            for (name, bytes) in &seeds {
                std::fs::write(folder(target).join(name), bytes).unwrap();
            }
        }
        let stored = on_disk(target);
        for (name, bytes) in &seeds {
            let same = stored.get(name) == Some(bytes);
            assert!(same, "fuzz/corpus/{}/{name} is stale: run tests/remake", target.name);
        }
    }
}

/// One to four changes of any kind that a fuzzer makes.
fn mutate(rng: &mut ChaCha20Rng, corpus: &[&Vec<u8>]) -> Vec<u8> {
    fn below(rng: &mut ChaCha20Rng, limit: usize) -> usize {
        rng.next_u32() as usize % limit.max(1)
    }
    let mut input = corpus[below(rng, corpus.len())].clone();
    for _ in 0..1 + below(rng, 4) {
        let place = below(rng, input.len());
        let byte = rng.next_u32() as u8;
        match below(rng, 9) {
            0..=2 if !input.is_empty() => input[place] ^= 1 << (byte % 8),
            3 if !input.is_empty() => input[place] = byte,
            4 => input.insert(place, byte),
            5 if !input.is_empty() => drop(input.remove(place)),
            6 => input.truncate(place),
            // A number that is one byte longer than it need be.
            7 if !input.is_empty() && input[place] < 0x80 => {
                input[place] |= 0x80;
                input.insert(place + 1, 0);
            }
            _ => {
                // The tail of another one.
                let other = corpus[below(rng, corpus.len())];
                input.truncate(place);
                input.extend_from_slice(&other[below(rng, other.len())..]);
            }
        }
    }
    input
}

fn run(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        unreachable!("{} breaks on {}", target.name, hex::encode(input));
    }
}

fn brief(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = on_disk(target);
    corpus.values().for_each(|input| run(target, input));
    let corpus: Vec<&Vec<u8>> = corpus.values().collect();
    let mut rng = ChaCha20Rng::seed_from_u64(0xf0_22);
    for _ in 0..target.inputs {
        run(target, &mutate(&mut rng, &corpus));
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            brief(stringify!($name));
        })*

        #[test]
        fn every_target_is_run_here_and_by_libfuzzer() {
            let here = [$(stringify!($name)),*];
            assert_eq!(here.as_slice(), TARGETS.map(|target| target.name));
            let manifest = include_str!("../../fuzz/Cargo.toml");
            let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            for name in here {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
                let binary = std::fs::read_to_string(binaries.join(name).with_extension("rs"));
                assert!(binary.unwrap().contains(&format!("run(\"{name}\"")), "{name}");
            }
        }
    };
}

targets! {
    header
    dkg_message
    ecdsa_message
    schnorr_message
    key_records
    evidence
    frost_records
    frost_message
    node
    policy
    judgement
    request
    ethereum
    typed_data
    call_data
    sealed_blob
    dkg_session
    ecdsa_session
    schnorr_session
    frost_session
}
