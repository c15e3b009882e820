//! Facts for simulated nodes: each party's sources know what the test says, and answer when it says so.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_node::facts::{Found, Known, OwnedQuestion, Unavailable};
use quorate_node::service::{FactsDone, FactsJob, FactsRunner};

use super::World;

/// What the sources of one party are like.
#[derive(Default)]
struct State {
    jobs: Vec<FactsJob>,
    knows: Vec<(OwnedQuestion, Found)>,
    held: bool,
    asked: usize,
}

/// A party's sources. Clones are the same sources.
#[derive(Clone, Default)]
pub(super) struct SimulatedFacts(Arc<Mutex<State>>);

impl SimulatedFacts {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was under way died with the process.
    pub(super) fn restart(&self) {
        self.state().jobs.clear();
    }

    fn next(&self) -> Option<FactsDone> {
        let mut state = self.state();
        if state.held || state.jobs.is_empty() {
            return None;
        }
        let job = state.jobs.remove(0);
        let mut known = Known::default();
        for question in job.questions() {
            let found = state.knows.iter().find(|(own, _)| own == question);
            let found = found.map(|(_, found)| found.clone());
            known.add(question.clone(), found.ok_or(Unavailable::new("nobody here knows")));
        }
        Some(FactsDone::new(job.id(), known))
    }
}

impl FactsRunner for SimulatedFacts {
    fn start(&self, job: FactsJob) {
        let mut state = self.state();
        state.asked += 1;
        state.jobs.push(job);
    }
}

impl World {
    /// From now on a party's sources know this, and nothing else.
    pub fn tell(&mut self, party: u16, facts: &[(OwnedQuestion, Found)]) {
        if let Some(node) = self.nodes.get(&party) {
            node.facts.state().knows = facts.to_vec();
        }
    }

    /// Whether a party's sources keep their answers until they are let go.
    pub fn hold_facts(&mut self, party: u16, held: bool) {
        if let Some(node) = self.nodes.get(&party) {
            node.facts.state().held = held;
        }
        self.answer_facts(party);
    }

    /// How often a party's sources were asked.
    #[must_use]
    pub fn facts_asked(&self, party: u16) -> usize {
        self.nodes.get(&party).map_or(0, |node| node.facts.state().asked)
    }

    pub(super) fn answer_facts(&mut self, party: u16) {
        while let Some(done) = self.nodes.get(&party).and_then(|node| node.facts.next()) {
            self.feed(party, |service| service.handle_facts(done));
        }
    }
}
