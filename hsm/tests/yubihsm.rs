//! The YubiHSM backend and its client library against a device that is emulated behind HTTP.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/yubihsm.rs"]
mod support;

#[path = "yubihsm/audit.rs"]
mod audit;
#[path = "yubihsm/faults.rs"]
mod faults;
#[path = "yubihsm/provisioning.rs"]
mod provisioning;
#[path = "yubihsm/rights.rs"]
mod rights;
#[path = "yubihsm/succession.rs"]
mod succession;

use quorate_hsm::{BlobKind, Context, HsmError, KeyProtector, open, seal};

/// Seals and opens: the whole way through the device.
fn works(kek: &dyn KeyProtector) -> Result<(), HsmError> {
    let blob = seal(kek, &context(), b"share")?;
    assert_eq!(*open(kek, &context(), &blob)?, b"share");
    Ok(())
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
