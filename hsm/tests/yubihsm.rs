//! The YubiHSM backend and its client library against a device that is emulated behind HTTP.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/yubihsm.rs"]
mod support;

use emulator::Emulator;
use quorate_hsm::{BlobKind, Context, KeyProtector, Profile, open, seal};
use support::{SERIAL, make, plan};

#[test]
fn a_device_is_provisioned_and_seals() {
    for profile in [Profile::WrapData, Profile::HmacKdf] {
        let emulator = Emulator::start(SERIAL);
        let made = make(plan(&emulator, profile)).unwrap();
        println!("{}\n\n{}", made.report.join("\n"), made.warnings.join("\n"));
        let kek = support::open(&made).unwrap();
        println!("{}", kek.describe());
        let blob = seal(&kek, &context(), b"share").unwrap();
        assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share");
    }
}

fn context() -> Context {
    Context {
        network: [1; 16],
        party: 2,
        key: [3; 16],
        epoch: 5,
        policy_version: 7,
        policy_hash: [8; 32],
        kind: BlobKind::Share,
        sequence: 9,
    }
}
