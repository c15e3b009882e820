//! The YubiHSM backend and its client library against a device that is emulated behind HTTP.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/context.rs"]
mod context;
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

use context::context;
use quorate_hsm::{HsmError, KeyProtector, open, seal};

/// Seals and opens: the whole way through the device.
fn works(kek: &dyn KeyProtector) -> Result<(), HsmError> {
    let blob = seal(kek, &context(), b"share")?;
    assert_eq!(*open(kek, &context(), &blob)?, b"share");
    Ok(())
}
