//! SoftHSM behind a module that misbehaves on demand.

// Not every test uses all of it.
#![allow(dead_code)]

use std::path::PathBuf;

use quorate_hsm::HsmError;
use quorate_hsm::pkcs11::{Pin, Pkcs11Protector, Provisioned, Wanted, provision};

use crate::isolated::{PIN, compile, create, isolated, module, wanted};

/// A token with a misbehaving module before it.
pub(crate) struct Faulty {
    pub(crate) dir: PathBuf,
    pub(crate) wanted: Wanted,
}

impl Faulty {
    /// `None` in the parent process, see [`isolated`].
    pub(crate) fn new(test: &str) -> Option<Self> {
        let dir = isolated(test, &[])?;
        let library = compile(&dir, "faults");
        create("a");
        let faulty = Self { wanted: wanted(library, "a"), dir };
        faulty.set("");
        assert!(module().is_file());
        Some(faulty)
    }

    /// The same token, in a process that works for a test.
    pub(crate) fn again(dir: PathBuf) -> Self {
        Self { wanted: wanted(dir.join("faults.so"), "a"), dir }
    }

    /// One rule about one call, as `faults.c` has them; none if empty.
    pub(crate) fn rule(&self, rule: &str) {
        let next = self.dir.join("rule.next");
        std::fs::write(&next, rule).unwrap();
        std::fs::rename(next, self.dir.join("rule")).unwrap();
    }

    /// In one step, since the module may be looking.
    pub(crate) fn set(&self, faults: &str) {
        let next = self.dir.join("faults.next");
        std::fs::write(&next, faults).unwrap();
        std::fs::rename(next, self.dir.join("faults")).unwrap();
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.join("faults.log")).unwrap_or_default();
        log.lines().filter(|line| *line == call).count()
    }

    pub(crate) fn provision(&self) -> Result<Provisioned, HsmError> {
        provision(self.wanted.clone(), Pin::new(PIN))
    }

    pub(crate) fn open(&self, made: &Provisioned) -> Result<Pkcs11Protector, HsmError> {
        Pkcs11Protector::open(made.config.clone(), Pin::new(PIN), made.canary.clone())
    }
}
