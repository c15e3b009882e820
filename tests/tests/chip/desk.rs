//! A group whose device is a chip in the emulator, and what the tests ask of it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_core::request::Payload;
use quorate_node::policy_file;
use quorate_tests::chip::{Emulator, Options, Source};
use quorate_tests::chip_group::{ChipGroup, Failed, Signed};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore as _;
use serde_json::json;

pub(super) type Group = ChipGroup<Emulator>;

pub(super) const PIN: &[u8] = b"123456";

/// A chip of the base image, with noise of its own.
pub(super) fn start(folder: &Path) -> Emulator {
    Emulator::start(folder, Options::default())
}

/// One test at a time has the machine: an emulator that has to share a core is slower than people and peers are
/// patient.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, with the noise of `seed`.
pub(super) fn start_with(folder: &Path, seed: u64) -> Emulator {
    Emulator::start(folder, Options { noise: Source::Seed(seed), ..Options::default() })
}

/// A group of four around a new chip, which has joined and is there.
pub(super) fn group(seed: u64, folder: &Path, options: Options) -> Group {
    group_of(4, seed, folder, options)
}

/// The same of so many parties.
pub(super) fn group_of(parties: u8, seed: u64, folder: &Path, options: Options) -> Group {
    let mut group = Group::new(seed, parties);
    let mut chip = Emulator::start(folder, options);
    group.pair(&mut chip, PIN).unwrap();
    group.connect(chip, PIN).unwrap();
    group
}

/// Messages and digests of the client, so many signatures in an hour.
pub(super) fn policy(group: &Group, per_hour: usize) -> Vec<u8> {
    let client = hex::encode(group.client().verifying_key().to_bytes());
    let limit = json!({ "measure": "signatures", "max": per_hour, "per": "1h", "scope": "key" });
    let rule = json!({
        "name": "texts", "payload": ["message", "raw-digest"], "limits": [limit],
        "when": { "client": [client] },
    });
    policy_file::from_json(&json!({ "rules": [rule] })).unwrap().into_vec()
}

pub(super) fn sign(group: &mut Group, key: &[u8; 16], text: &str) -> Result<Signed, Failed> {
    let request = group.request(key, Payload::EthereumMessage(text.as_bytes()));
    group.sign(&request)
}

/// No nonce under two contexts, and none that nobody can explain.
pub(super) fn check_nonces(group: &Group, at_least: usize) {
    let report = group.nonces();
    assert!(report.reuses.is_empty() && report.unexplained.is_empty(), "{report:?}");
    assert!(report.points >= at_least, "{} nonces", report.points);
}

/// Cuts the chip's power at a random moment within `longest`, while `act` is at it.
pub(super) fn cut_within<T>(
    rng: &mut ChaCha20Rng,
    longest: Duration,
    power: quorate_tests::chip::Power,
    act: impl FnOnce() -> T,
) -> T {
    let micros = rng.next_u64() % (longest.as_micros() as u64).max(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_micros(micros));
            power.cut();
        });
        act()
    })
}
