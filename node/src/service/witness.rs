//! What peers know of this party's past, and this party of theirs (`docs/PROTOCOL.md` §10.7).
//!
//! Who puts a party's whole folder back to an earlier day gets its old limits, its old log and its old
//! shares, and nothing in the folder can tell. The peers can: each has the head of the log that the
//! party signed before its last release, and shows it to the party first on every link.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::wire::{self, Bytes64};

use super::records::to_bytes;
use super::signing::Start;
use super::{SESSIONS_PER_PEER, Service};
use crate::handle::ServiceError;
use crate::message::{PeerMessage, SessionKeyCertificate, SignedHead, head_session};
use crate::store::StoreError;

const SHORTER: &str = "its log is shorter than it was";

pub(super) struct Witness {
    /// Of the session key, for heads.
    certificate: SessionKeyCertificate,
    rolled_back: bool,
    /// Peers that were, and the generation of their log that is not believed any more.
    pub(super) rolled_back_peers: BTreeMap<PartyId, u32>,
    /// The place of the newest kept head of each peer that has shown one since the start.
    places: BTreeMap<PartyId, (u32, u64)>,
    /// Peers that have said what they last saw of this party, since it started.
    heard: PartySet,
    /// The newest heads of peers that are not kept yet; nor checked, which can wait for the next tick.
    fresh: BTreeMap<PartyId, Box<SignedHead>>,
    /// Sessions that may start when more peers have been heard.
    waiting: Vec<Start>,
}

impl Witness {
    pub(super) fn new(
        certificate: SessionKeyCertificate,
        rolled_back: bool,
        rolled_back_peers: Vec<(u16, u32)>,
    ) -> Self {
        let peer = |(party, generation)| Some((PartyId::new(party)?, generation));
        Self {
            certificate,
            rolled_back,
            rolled_back_peers: rolled_back_peers.into_iter().filter_map(peer).collect(),
            places: BTreeMap::new(),
            heard: PartySet::EMPTY,
            fresh: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn distrusts(&self, party: PartyId) -> bool {
        self.rolled_back_peers.contains_key(&party)
    }

    pub(super) fn is_rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// Whether enough holders have been heard: as many as a quorum has besides this party. Fewer than T
    /// of them lie, so at least one is honest, and has seen whatever this party last released.
    pub(super) fn has_heard(&self, me: PartyId, holders: &Holders) -> bool {
        let others = holders.parties().without(me);
        others.iter().filter(|party| self.heard.contains(*party)).count() + 1 >= holders.quorum()
    }

    /// Keeps a start for later, unless its coordinator has too many.
    pub(super) fn wait(&mut self, start: Start) {
        if self.waiting.iter().filter(|other| other.from == start.from).count() < SESSIONS_PER_PEER
        {
            self.waiting.push(start);
        }
    }

    pub(super) fn expire(&mut self, at: Instant) {
        self.waiting.retain(|start| start.deadline > at);
    }
}

/// What an operator of a party reads whose folder is older than it was.
pub(super) fn rolled_back() -> ServiceError {
    ServiceError::Sealed {
        reason: "this party's folder is older than what its peers have seen of it: it was put back to \
                 an earlier state, and what it had spent since is unknown here. Nothing is signed. \
                 Restore the newest folder, or stop the node and accept the loss with `quorate readmit`"
            .to_owned(),
    }
}

impl Service {
    /// Of the session key, for heads.
    pub(super) fn certificate(&self) -> &SessionKeyCertificate {
        &self.witness.certificate
    }

    /// Tells all peers how far the log is, before the message that its last entry tells of.
    pub(super) fn announce_head(&mut self) -> Result<(), StoreError> {
        let head = self.store.audit_head()?;
        let mut signed = SignedHead {
            certificate: self.witness.certificate.clone(),
            generation: head.generation,
            number: head.number,
            hash: head.hash,
            signature: Bytes64([0; 64]),
        };
        signed.signature = self.session_key.sign_digest(&signed.digest(&self.network_id));
        let message = PeerMessage::Head(Box::new(signed));
        let (me, members) = (self.me, self.membership.parties());
        for to in members.into_iter().filter_map(PartyId::new).filter(|to| *to != me) {
            self.send(to, message.clone());
        }
        Ok(())
    }

    /// Says to a peer what this party last saw of it: first on every link.
    pub(super) fn recall_to(&mut self, party: PartyId) {
        self.keep_heads();
        match self.kept_head(party) {
            Ok(head) => drop(self.send(party, PeerMessage::Recall(head))),
            Err(error) => tracing::error!(%error, %party, "its last head cannot be read"),
        }
    }

    fn kept_head(&self, party: PartyId) -> Result<Option<Box<SignedHead>>, StoreError> {
        let Some(bytes) = self.store.head_of(party.number())? else { return Ok(None) };
        let damaged = |_| StoreError::corrupt(format!("the kept head of party {party}"));
        Ok(Some(Box::new(wire::decode(&bytes).map_err(damaged)?)))
    }

    pub(super) fn handle_head(&mut self, from: PartyId, head: Box<SignedHead>) {
        if head.certificate.party != from {
            return self.incidents.add(from, "a head of another party's log");
        }
        // Both came over its own link, so that they are its own words even before they are checked.
        let fresh = self.witness.fresh.get(&from).map(|known| known.place());
        let known = fresh.max(self.witness.places.get(&from).copied());
        let shorter = known.is_some_and(|known| known > head.place());
        if shorter {
            self.keep_heads();
        }
        self.witness.fresh.insert(from, head);
        // What follows it must not count before it is judged; so the first one of each link is, too.
        if shorter || known.is_none() {
            self.keep_heads();
        }
    }

    /// Checks and keeps what peers have said since: at the next tick, so that no signature waits for it.
    pub(super) fn keep_heads(&mut self) {
        let mut kept = Vec::new();
        for (party, head) in std::mem::take(&mut self.witness.fresh) {
            if !self.is_genuine(party, &head) {
                self.incidents.add(party, "a head of its log that it did not sign");
                continue;
            }
            match self.kept_head(party) {
                Ok(Some(known)) if known.place() > head.place() => {
                    self.incidents.add(party, SHORTER);
                    self.witness.places.insert(party, known.place());
                    self.distrust(party, known.generation);
                    self.send(party, PeerMessage::Recall(Some(known)));
                }
                Ok(Some(known)) if known.place() == head.place() => {
                    self.witness.places.insert(party, known.place());
                }
                Ok(_) => {
                    self.witness.places.insert(party, head.place());
                    self.trust_again(party, head.generation);
                    kept.push((party.number(), to_bytes(&*head)));
                }
                Err(error) => tracing::error!(%error, %party, "its last head cannot be read"),
            }
        }
        if kept.is_empty() {
            return;
        }
        if let Err(error) = self.store.keep_heads(&kept) {
            tracing::error!(%error, "the heads of peers could not be kept");
        }
    }

    fn is_genuine(&self, party: PartyId, head: &SignedHead) -> bool {
        head.certificate.party == party
            && self.is_certified(&head.certificate, &head_session(&self.network_id))
            && head.certificate.key.verify(&head.digest(&self.network_id), &head.signature)
    }

    /// A peer shows what it last saw of this party.
    pub(super) fn handle_recall(&mut self, from: PartyId, head: Option<&SignedHead>) {
        if let Some(head) = head {
            if !self.is_genuine(self.me, head) {
                return self.incidents.add(from, "a head that this party never signed");
            }
            match self.is_ours(head) {
                Ok(true) => {}
                Ok(false) => return self.stop_signing(from, head),
                // Nothing is known then: it does not count as heard.
                Err(error) => {
                    return tracing::error!(%error, "this party's log cannot be read");
                }
            }
        }
        self.witness.heard = self.witness.heard.with(from);
        self.start_waiting();
    }

    /// Starts that waited for peers: those for which enough has been heard now.
    pub(super) fn start_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.witness.waiting);
        for start in waiting {
            self.start_session(start);
        }
    }

    /// Whether this party's log has the entry that `head` names.
    fn is_ours(&self, head: &SignedHead) -> Result<bool, StoreError> {
        let own = self.store.audit_head()?;
        if head.generation != own.generation {
            return Ok(head.generation < own.generation);
        }
        if head.number == 0 {
            return Ok(head.hash == [0; 32]);
        }
        let entry = self.store.audit(head.number, 1)?.into_iter().next();
        Ok(entry.is_some_and(|entry| entry.number == head.number && entry.hash == head.hash))
    }

    fn stop_signing(&mut self, from: PartyId, head: &SignedHead) {
        tracing::error!(
            witness = %from, generation = head.generation, entry = head.number,
            "ROLLBACK: a peer has a newer head of this party's log than the log itself; nothing is signed"
        );
        self.witness.rolled_back = true;
        if let Err(error) = self.store.set_rolled_back(head.generation) {
            tracing::error!(%error, "the rollback could not be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::identity::Identity;

    fn id(party: u16) -> PartyId {
        PartyId::new(party).unwrap()
    }

    /// 2 of 4 in a quorum of three: two others must be heard, since one of them may lie.
    #[test]
    fn a_start_waits_until_an_honest_holder_must_be_among_those_heard() {
        let certificate = SessionKeyCertificate {
            party: id(1),
            boot: [0; 16],
            key: Identity::Ed25519([0; 32]),
            signature: Bytes64([0; 64]),
        };
        let holders = Holders::new(PartySet::first(4), 2).unwrap();
        let mut witness = Witness::new(certificate, false, Vec::new());
        // A member that holds nothing of the key, this party itself, and one liar.
        for (party, enough) in [(9, false), (1, false), (4, false), (4, false), (2, true)] {
            witness.heard = witness.heard.with(id(party));
            assert_eq!(witness.has_heard(id(1), &holders), enough, "after party {party}");
        }
    }
}
