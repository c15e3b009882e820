//! Patience with people: a party whose device asks somebody to agree says so, and everybody who waits for that
//! session waits longer.

use std::time::Duration;

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;

use super::Service;
use crate::message::PeerMessage;

/// Nobody waits longer for a person, from the proposal on, however long a party says that it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Service {
    /// A holder says so to the coordinator, which passes it on to those that have accepted already.
    pub(super) fn handle_asking(&mut self, from: PartyId, session: Digest, seconds: u16) {
        if from != self.me && self.coordinates(&session) {
            return self.wait_for_person(from, session, seconds);
        }
        let now = self.clock.instant();
        let asked = Duration::from_secs(seconds.into());
        if let Some(waiting) = self.participations.get_mut(&session) {
            if waiting.coordinator != from {
                let what = "it asks for patience in a session of another coordinator";
                return self.incidents.add(from, what);
            }
            let later = now + asked + self.deadlines.accept + self.deadlines.sign;
            if waiting.has_not_begun() {
                waiting.deadline = waiting.deadline.max(later.min(waiting.patience));
            }
        } else if self.key_runs.get(&session).is_some_and(|run| run.is_of(from)) {
            let later = now + asked + self.deadlines.key;
            if let Some(run) = self.key_runs.get_mut(&session) {
                run.be_patient(later);
            }
        } else {
            self.doubt_session(from, &session);
        }
    }

    fn coordinates(&self, session: &Digest) -> bool {
        self.coordinations.contains_key(session) || self.key_coordinations.contains_key(session)
    }

    /// A coordinator waits only for those that have not answered.
    fn wait_for_person(&mut self, from: PartyId, session: Digest, seconds: u16) {
        let now = self.clock.instant();
        // The answer has a way to go too.
        let until = now + Duration::from_secs(seconds.into()) + Duration::from_secs(1);
        let accepted: Vec<PartyId> = if let Some(c) = self.coordinations.get_mut(&session) {
            if !c.awaits(from) {
                return;
            }
            c.deadline = c.deadline.max(until.min(c.proposed + PATIENCE));
            c.asking = Some(c.deadline);
            c.accepted.keys().copied().collect()
        } else if let Some(c) = self.key_coordinations.get_mut(&session) {
            if !c.awaits(from) {
                return;
            }
            c.deadline = c.deadline.max(until.min(c.proposed + PATIENCE));
            c.asking = Some(c.deadline);
            c.accepted()
        } else {
            return;
        };
        tracing::info!(party = %from, seconds, "a person is asked at a device");
        for to in accepted {
            self.send(to, PeerMessage::Asking { session, seconds });
        }
    }

    /// Whoever accepts while a person is asked hears of it too.
    pub(super) fn pass_asking_on(&mut self, to: PartyId, session: Digest) {
        let now = self.clock.instant();
        let until = self.coordinations.get(&session).and_then(|c| c.asking);
        let until = until.or_else(|| self.key_coordinations.get(&session).and_then(|c| c.asking));
        let left = until.map(|until| until.saturating_duration_since(now).as_secs());
        if let Some(seconds @ 1..) = left.and_then(|left| u16::try_from(left).ok()) {
            self.send(to, PeerMessage::Asking { session, seconds });
        }
    }
}
