//! Peers countersign the heads that the identity key has signed, and this party theirs
//! (`docs/PROTOCOL.md` §10.9). Nobody waits for it.

use std::time::{Duration, Instant};

use quorate_core::party::PartyId;
use quorate_core::wire::{self, Bytes64};

use super::Service;
use super::records::to_bytes;
use crate::audit::{Countersignature, IdentityHead, Whose};
use crate::message::PeerMessage;
use crate::store::StoreError;

/// A peer is answered so often at most: each answer is a write to the disk. What it asks in between it asks
/// again when its link comes up, or with its next head.
const ANSWER_EVERY: Duration = Duration::from_secs(5);

const TWO_HEADS: &str =
    "its identity key has signed two heads of its log for one entry: its log was replaced";

impl Service {
    /// Shows the newest head to all peers that have not countersigned it.
    pub(super) fn ask_witnesses(&mut self) {
        let members = self.membership.parties().into_iter().filter_map(PartyId::new);
        for party in members.filter(|party| *party != self.me).collect::<Vec<_>>() {
            self.ask_witness(party);
        }
    }

    pub(super) fn ask_witness(&mut self, party: PartyId) {
        let Some(head) = self.head.newest().cloned() else { return };
        match self.countersigned_by(party) {
            Ok(Some(known)) if known.head == head => {}
            Ok(_) => drop(self.send(party, PeerMessage::Witness(Box::new(head)))),
            Err(error) => tracing::error!(%error, %party, "its countersignature cannot be read"),
        }
    }

    /// Who has countersigned the newest head.
    pub(super) fn countersigned(&self) -> Vec<u16> {
        let newest = self.head.newest();
        let has = |party: &u16| {
            let known = PartyId::new(*party).and_then(|party| self.countersigned_by(party).ok()?);
            known.is_some_and(|known| newest == Some(&known.head))
        };
        self.membership.parties().into_iter().filter(has).collect()
    }

    fn countersigned_by(&self, party: PartyId) -> Result<Option<Countersignature>, StoreError> {
        let Some(bytes) = self.store.countersignature(party.number())? else { return Ok(None) };
        let damaged = |_| StoreError::corrupt(format!("the countersignature of party {party}"));
        wire::decode(&bytes).map(Some).map_err(damaged)
    }

    /// A peer shows a head of its log.
    pub(super) fn handle_witness(&mut self, from: PartyId, head: IdentityHead) {
        let at = self.clock.instant();
        let recent = |last: &Instant| at.saturating_duration_since(*last) < ANSWER_EVERY;
        if self.head.answered.get(&from).is_some_and(recent) {
            return;
        }
        let Some(identity) = self.membership.identity_of(from.number()) else { return };
        let whose = Whose { network: self.network_id, party: from, identity: *identity };
        if !head.is_genuine(&whose) {
            return self
                .incidents
                .add(from, "a head of its log that its identity key did not sign");
        }
        self.head.answered.insert(from, at);
        if let Err(error) = self.countersign(from, head) {
            tracing::error!(%error, party = %from, "its head is not countersigned");
        }
    }

    /// Remembers the head before it signs: of one entry, this party never countersigns two.
    fn countersign(&mut self, from: PartyId, head: IdentityHead) -> Result<(), StoreError> {
        let place = |head: &IdentityHead| (head.generation, head.number);
        if let Some(bytes) = self.store.witnessed_head(from.number())? {
            let damaged = |_| StoreError::corrupt(format!("the witnessed head of party {from}"));
            let known: IdentityHead = wire::decode(&bytes).map_err(damaged)?;
            if place(&known) == place(&head) && known.hash != head.hash {
                tracing::error!(party = %from, entry = head.number, "{TWO_HEADS}");
                self.incidents.add(from, TWO_HEADS);
                return Ok(());
            }
            // It may have been signed before the newest, and come late. It is known to be of no use.
            if place(&known) > place(&head) {
                return Ok(());
            }
        }
        self.store.keep_witnessed_head(from.number(), &to_bytes(&head))?;
        let mut countersignature = Countersignature {
            head,
            time: self.now(),
            certificate: self.certificate().clone(),
            signature: Bytes64([0; 64]),
        };
        let digest = countersignature.digest(&self.network_id, from);
        countersignature.signature = self.session_key.sign_digest(&digest);
        self.send(from, PeerMessage::Countersigned(Box::new(countersignature)));
        Ok(())
    }

    /// A peer has countersigned a head of this party's log.
    pub(super) fn handle_countersigned(&mut self, from: PartyId, given: &Countersignature) {
        // Of an older head it is of no use any more.
        if self.head.newest() != Some(&given.head) {
            return;
        }
        let genuine = given.witness() == from
            && self
                .identity_of(from)
                .is_some_and(|identity| given.is_genuine(&self.whose(), &identity));
        if !genuine {
            return self.incidents.add(from, "a countersignature that is not its own");
        }
        match self.store.keep_countersignature(from.number(), &to_bytes(given)) {
            Ok(()) => {
                tracing::debug!(party = %from, entry = given.head.number, "head countersigned")
            }
            Err(error) => {
                tracing::error!(%error, party = %from, "its countersignature is not kept")
            }
        }
    }
}
