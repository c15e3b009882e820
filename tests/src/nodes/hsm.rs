//! Simulated delays of the HSM: calls are made by the real code, and answered when the seed or the test
//! says so, in any order, or never.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_node::service::{HsmJob, HsmRunner};

use super::World;

/// When a party's HSM answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HsmWeather {
    /// Before anything else happens.
    #[default]
    AtOnce,
    /// When the seed says so, in any order.
    Seeded,
    /// When the test says so: [`World::answer_hsm`].
    Held,
}

/// A party's HSM: calls that have no answer yet. Clones are the same HSM.
#[derive(Clone, Default)]
pub(super) struct SimulatedHsm(Arc<Mutex<Vec<HsmJob>>>);

impl SimulatedHsm {
    fn jobs(&self) -> std::sync::MutexGuard<'_, Vec<HsmJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, place: usize) -> Option<HsmJob> {
        let mut jobs = self.jobs();
        (place < jobs.len()).then(|| jobs.remove(place))
    }
}

impl HsmRunner for SimulatedHsm {
    fn start(&self, job: HsmJob) {
        self.jobs().push(job);
    }
}

impl World {
    /// From now on this party's HSM answers so.
    pub fn set_hsm(&mut self, party: u16, weather: HsmWeather) {
        if let Some(node) = self.nodes.get_mut(&party) {
            node.weather = weather;
        }
        self.answer_at_once(party);
    }

    /// Calls of a party that have no answer.
    #[must_use]
    pub fn hsm_calls(&self, party: u16) -> usize {
        self.nodes.get(&party).map_or(0, |node| node.hsm.jobs().len())
    }

    /// Lets a party's HSM answer one of its calls, `copies` times; whether there was such a call.
    pub fn answer_hsm(&mut self, party: u16, place: usize, copies: usize) -> bool {
        let Some(job) = self.nodes.get(&party).and_then(|node| node.hsm.take(place)) else {
            return false;
        };
        for _ in 0..copies {
            self.feed(party, |service| service.handle_hsm(job.run()));
        }
        true
    }

    pub(super) fn answer_at_once(&mut self, party: u16) {
        let at_once = |world: &Self| {
            world.nodes.get(&party).is_some_and(|node| node.weather == HsmWeather::AtOnce)
        };
        while at_once(self) && self.answer_hsm(party, 0, 1) {}
    }

    /// One answer, perhaps, of the HSMs that are slow.
    pub(super) fn answer_by_seed(&mut self) {
        let slow = |world: &Self| -> Vec<u16> {
            let slow = world.nodes.iter().filter(|(_, node)| node.weather == HsmWeather::Seeded);
            slow.filter(|(_, node)| !node.hsm.jobs().is_empty()).map(|(party, _)| *party).collect()
        };
        // No draw without a need: the seeds of calm worlds stay what they are.
        let parties = slow(self);
        if parties.is_empty() || self.below(6) != 0 {
            return;
        }
        let Some(party) = parties.get(self.below(parties.len() as u32) as usize).copied() else {
            return;
        };
        let place = self.below(self.hsm_calls(party) as u32) as usize;
        self.answer_hsm(party, place, 1);
    }
}
