//! What an auditor drained of the device's own log goes into this party's audit log.

use std::time::Instant;

use super::Service;
use crate::device_log::Intake;

impl Service {
    /// From now on, takes in what is spooled.
    pub fn watch_device_log(&mut self, intake: Intake) {
        self.device_log = Some(intake);
    }

    pub(super) fn take_device_log(&mut self, at: Instant) {
        if let Some(intake) = &mut self.device_log {
            intake.tick(&self.store, at);
        }
    }
}
