//! Software tokens that differ in what they can.

use std::path::PathBuf;

use quorate_hsm::pkcs11::{Pin, Pkcs11Protector, Wanted, provision};
use quorate_hsm::{KeyProtector, Profile};

use crate::isolated::{PIN, create, isolated, module, wanted};

/// Which software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SoftHSM.
    SoftHsm,
}

/// The software in a process of its own.
pub(crate) struct Token {
    kind: Kind,
    #[allow(dead_code)]
    dir: PathBuf,
}

impl Token {
    /// `None` in the parent process.
    pub(crate) fn isolated(kind: Kind, name: &str) -> Option<Self> {
        let dir = isolated(name, &[])?;
        Some(Self { kind, dir })
    }

    /// Makes a token and a KEK in it.
    pub(crate) fn kek(&self, label: &str, profile: Profile) -> Box<dyn KeyProtector> {
        let wanted = Wanted { profile: Some(profile), ..self.wanted(label) };
        let made = provision(wanted, Pin::new(PIN)).unwrap();
        Box::new(Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).unwrap())
    }

    /// Makes a token; what is to be made in it is open.
    pub(crate) fn wanted(&self, label: &str) -> Wanted {
        match self.kind {
            Kind::SoftHsm => {
                create(label);
                Wanted { profile: None, ..wanted(module(), label) }
            }
        }
    }
}
