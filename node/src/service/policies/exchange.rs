//! What holders tell each other of policies: how theirs stand, first on every link, and the signed changes
//! that another lacks.

use quorate_core::party::PartyId;

use super::Service;
use crate::message::{PeerMessage, PolicyState};
use crate::store::{ChangeRow, Series, StoreError};

/// Keys in one message; more take several.
const STATES: usize = 1000;

impl Service {
    /// Says to a peer how the policies stand that it has too: before anything else that it could sign.
    pub(in crate::service) fn tell_policies(&mut self, party: PartyId) {
        let shared = self.policies.keys.iter().filter(|(_, owned)| {
            owned.problem.is_none() && owned.holders.parties().contains(party)
        });
        let states: Vec<PolicyState> = shared.map(|(key, owned)| owned.state(*key)).collect();
        if states.is_empty() {
            return;
        }
        let mut parts = states.chunks(STATES).peekable();
        loop {
            let states = parts.next().unwrap_or_default().to_vec();
            let more = parts.peek().is_some();
            self.send(party, PeerMessage::PolicyStates { states, more });
            if !more {
                return;
            }
        }
    }

    /// The link broke: what the peer said is old by the time of the next.
    pub(in crate::service) fn forget_told(&mut self, party: PartyId) {
        self.policies.told = self.policies.told.without(party);
    }

    /// Says to all other holders how one policy stands now; who lacks something is sent it when it answers,
    /// and whoever is ahead sends what is lacking here.
    pub(super) fn tell_how_it_stands(&mut self, key: &[u8; 16]) {
        let Some(owned) = self.policies.keys.get(key) else { return };
        let (state, others) = (owned.state(*key), owned.holders.parties().without(self.me));
        for to in others.iter() {
            self.send(to, PeerMessage::PolicyStates { states: vec![state], more: true });
        }
        if let Err(error) = self.announce_head() {
            tracing::error!(%error, "the head of the audit log cannot be read");
        }
    }

    /// A key became active here: what was said of it meanwhile could not be used, and with a peer it may be
    /// the first that has controllers.
    pub(in crate::service) fn tell_of_new_key(&mut self, key: &[u8; 16]) {
        let Some(owned) = self.policies.keys.get(key) else { return };
        for to in owned.holders.parties().without(self.me).iter() {
            self.tell_policies(to);
        }
    }

    /// Passes a change on to all other holders.
    pub(super) fn spread(&mut self, key: &[u8; 16], change: &[u8], in_force: bool) {
        let Some(owned) = self.policies.keys.get(key) else { return };
        for to in owned.holders.parties().without(self.me).iter() {
            self.send(to, PeerMessage::PolicyChange { change: change.to_vec(), in_force });
        }
    }

    pub(in crate::service) fn handle_policy_states(
        &mut self,
        from: PartyId,
        states: &[PolicyState],
        more: bool,
    ) {
        // Each is answered from the store, with up to two changes: once for each key.
        if states.len() > STATES || !states.is_sorted_by(|a, b| a.key < b.key) {
            return self
                .incidents
                .add(from, "states of policies that are too many, or out of order");
        }
        for state in states {
            let holder = |owned: &super::Owned| owned.holders.parties().contains(from);
            if !self.policies.keys.get(&state.key).is_some_and(holder) {
                continue;
            }
            self.policies.said.insert((state.key, from), *state);
            if let Err(error) = self.help(from, state) {
                tracing::error!(%error, "the history of a policy cannot be read");
            }
        }
        if !more {
            self.policies.told = self.policies.told.with(from);
        }
        self.start_waiting();
    }

    /// Sends a peer what comes next in its history, if this party has it.
    fn help(&mut self, to: PartyId, said: &PolicyState) -> Result<(), StoreError> {
        let Some(owned) = self.policies.keys.get(&said.key) else { return Ok(()) };
        let own = owned.state(said.key);
        if (said.version, said.announced) < (own.version, own.announced) {
            let later = self.store.changes(said.key, Series::Version)?;
            let later = later.into_iter().filter(|(number, _)| *number > said.version);
            for row in through_first_in_force(later.map(|(_, row)| row)) {
                self.send_change(to, row);
            }
        }
        if (said.holds, said.held) < (own.holds, own.held) {
            let later = self.store.changes(said.key, Series::Hold)?;
            let next = later.into_iter().find(|(number, _)| *number == said.holds + 1);
            if let Some((_, row)) = next {
                self.send_change(to, row);
            }
        }
        Ok(())
    }

    fn send_change(&mut self, to: PartyId, row: ChangeRow) {
        let in_force = row.in_force.is_some();
        self.send(to, PeerMessage::PolicyChange { change: row.change, in_force });
    }
}

/// Whatever was withdrawn comes with what withdrew it.
fn through_first_in_force(rows: impl Iterator<Item = ChangeRow>) -> Vec<ChangeRow> {
    let mut taken = Vec::new();
    for row in rows {
        let end = row.in_force.is_some();
        taken.push(row);
        if end {
            break;
        }
    }
    taken
}
