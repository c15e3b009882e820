//! A key generation that a person is asked about at a device.

use std::time::Instant;

use quorate_core::party::PartyId;

use super::{KeyRun, Stage};

impl KeyRun {
    pub(in crate::service) fn is_of(&self, coordinator: PartyId) -> bool {
        self.coordinator == coordinator
    }

    /// A person is asked somewhere before it starts.
    pub(in crate::service) fn be_patient(&mut self, later: Instant) {
        let later = later.min(self.patience);
        match &mut self.stage {
            Stage::Certifying { ends, .. } => *ends = later.max(*ends),
            Stage::Accepted => self.deadline = later.max(self.deadline),
            Stage::Running(_) | Stage::Sealing(_) => {}
        }
    }
}
