//! Parties that were put back to an earlier state, as their own heads show: nobody here signs or makes keys with
//! them until their operator has accepted the loss, which begins a new generation of their log.

use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};

use super::Service;
use crate::message::{PeerMessage, Rejection};

/// Said of such a party.
const ROLLED_BACK: &str = "it was put back to an earlier state, and what it had spent since is lost; it is refused until its \
                           operator re-admits it";

impl Service {
    /// The first of these that is refused, with the reason.
    pub(super) fn distrusted_among(&self, parties: &PartySet) -> Option<(PartyId, String)> {
        let party = parties.iter().find(|party| self.witness.distrusts(*party))?;
        Some((party, format!("party {party}: {ROLLED_BACK}")))
    }

    /// A party has shown a head of its log below one that it signed before, of this generation.
    pub(super) fn distrust(&mut self, party: PartyId, generation: u32) {
        if self.witness.distrusts(party) {
            return;
        }
        tracing::error!(%party, generation, "ROLLBACK of a peer: {ROLLED_BACK}");
        self.witness.rolled_back_peers.insert(party, generation);
        if let Err(error) = self.store.keep_rolled_back_peer(party.number(), Some(generation)) {
            tracing::error!(%error, %party, "its rollback could not be noted");
        }
        self.audit(serde_json::json!({
            "event": "peer-rolled-back", "party": party.number(), "generation": generation,
        }));
        self.leave_sessions_with(party);
        let asked: Vec<Digest> = self.coordinations.keys().copied().collect();
        for session in asked {
            self.refuse_part(party, session);
        }
    }

    /// What it would say in a session of this coordinator does not count.
    pub(super) fn refuse_part(&mut self, party: PartyId, session: Digest) {
        self.handle_reject(party, session, Rejection::BadRequest(ROLLED_BACK.to_owned()));
    }

    fn leave_sessions_with(&mut self, party: PartyId) {
        let left = self.participations.iter().filter(|(_, p)| p.runs_with(party));
        let left: Vec<(Digest, PartyId)> =
            left.map(|(session, participation)| (*session, participation.coordinator)).collect();
        for (session, coordinator) in left {
            self.participations.remove(&session);
            let reason = Rejection::Failed(format!("party {party}: {ROLLED_BACK}"));
            self.send(coordinator, PeerMessage::RejectSign { session, reason });
        }
    }

    /// A head of a later generation was kept: the party's operator knows.
    pub(super) fn trust_again(&mut self, party: PartyId, generation: u32) {
        let since = self.witness.rolled_back_peers.get(&party);
        if since.is_none_or(|since| *since >= generation) {
            return;
        }
        self.witness.rolled_back_peers.remove(&party);
        if let Err(error) = self.store.keep_rolled_back_peer(party.number(), None) {
            tracing::error!(%error, %party, "its new generation could not be noted");
        }
        tracing::warn!(%party, generation, "its operator has re-admitted it after a rollback");
        self.audit(serde_json::json!({
            "event": "peer-readmitted", "party": party.number(), "generation": generation,
        }));
    }
}
