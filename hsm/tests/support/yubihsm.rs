//! A device, provisioned: what most tests begin with.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::OnceLock;

use quorate_hsm::yubihsm::{
    Administrator, Config, Password, Plan, Provisioned, YubiHsmProtector, provision,
};
use quorate_hsm::{HsmError, Profile};

use crate::emulator::Emulator;
use crate::emulator::device::DEFAULT_PASSWORD;

pub(crate) const SERIAL: u32 = 7_654_321;
pub(crate) const NODE: &str = "the node's";
pub(crate) const AUDITOR: &str = "the auditor's";

pub(crate) fn plan(emulator: &Emulator, profile: Profile) -> Plan {
    let config = Config {
        connector: emulator.url(),
        serial: SERIAL,
        auth_key: 0x20,
        key_id: 0x10,
        profile,
        key_version: 1,
    };
    Plan { config, domain: 3, identity_key: 0x11, auditor: 0x21 }
}

pub(crate) fn administrator() -> Administrator {
    Administrator { auth_key: 1, password: Password::new(DEFAULT_PASSWORD) }
}

pub(crate) fn make(plan: Plan) -> Result<Provisioned, HsmError> {
    provision(plan, &administrator(), &Password::new(NODE), &Password::new(AUDITOR))
}

/// A provisioned device that this process has no session with.
pub(crate) fn fresh(profile: Profile) -> (Emulator, Provisioned) {
    static TEMPLATES: [OnceLock<(Emulator, Provisioned)>; 2] = [const { OnceLock::new() }; 2];
    let template = TEMPLATES[usize::from(profile == Profile::HmacKdf)].get_or_init(|| {
        let emulator = Emulator::start(SERIAL);
        let made = make(plan(&emulator, profile)).unwrap();
        (emulator, made)
    });
    let emulator = template.0.copied();
    let mut made = template.1.clone();
    made.config.connector = emulator.url();
    (emulator, made)
}

pub(crate) fn open(made: &Provisioned) -> Result<YubiHsmProtector, HsmError> {
    YubiHsmProtector::open(made.config.clone(), &Password::new(NODE), made.canary.clone())
}
