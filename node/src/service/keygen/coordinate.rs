//! The coordinator's part in a key generation: ask all holders, hand round their session keys, and answer
//! whoever asked for the key. It is trusted with nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_core::curve::Suite;
use quorate_core::hash::Digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::policy::Policy;
use tokio::sync::oneshot;

use super::super::coordinate::{describe, to_error};
use super::super::incidents::clip;
use super::super::{MAX_NONCE_KEYS, MAX_PARTIES, Service};
use crate::handle::{CreateKey, KeyInfo, ServiceError};
use crate::message::{PeerMessage, Rejection, SessionKeyCertificate, key_session};
use crate::store::KeyState;

type KeyReply = oneshot::Sender<Result<KeyInfo, ServiceError>>;

/// The coordinator's part.
pub(in crate::service) struct KeyCoordination {
    pub(in crate::service) terms: KeyTerms,
    proposal: PeerMessage,
    accepted: BTreeMap<PartyId, SessionKeyCertificate>,
    /// Not connected when it was proposed; they are asked when their link comes up.
    unreachable: PartySet,
    started: bool,
    /// Holders in whose eyes the run failed, and why.
    reports: Vec<(PartyId, String)>,
    /// Holders that have the key active.
    pub(in crate::service) active: PartySet,
    pub(in crate::service) deadline: Instant,
    pub(in crate::service) proposed: Instant,
    /// Until when a person may be asked at some holder.
    pub(in crate::service) asking: Option<Instant>,
    reply: Option<KeyReply>,
}

impl KeyCoordination {
    pub(in crate::service) fn holders(&self) -> PartySet {
        self.terms.holders.parties()
    }

    /// Whether it has not started, for want of this holder's answer among others.
    pub(in crate::service) fn awaits(&self, party: PartyId) -> bool {
        !self.started && self.holders().contains(party) && !self.accepted.contains_key(&party)
    }

    pub(in crate::service) fn accepted(&self) -> Vec<PartyId> {
        self.accepted.keys().copied().collect()
    }

    fn not_enough(&self, reasons: Vec<(u16, String)>) -> ServiceError {
        ServiceError::NotEnoughParties {
            need: self.holders().len(),
            have: self.accepted.keys().map(|party| party.number()).collect(),
            reasons,
        }
    }
}

impl Service {
    pub(in crate::service) fn coordinate_key(&mut self, create: CreateKey, reply: KeyReply) {
        match self.propose_key(create) {
            Ok((session, coordination)) => {
                let coordination = KeyCoordination { reply: Some(reply), ..coordination };
                self.key_coordinations.insert(session, coordination);
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Devices answer channels and begin none: two of them could never say to each other what a key generation
    /// needs, and it would come to nothing at its deadline.
    fn may_hold_together(&self, holders: &PartySet) -> Result<(), String> {
        let number = |party: PartyId| party.number();
        let devices = holders.iter().map(number).filter(|party| self.membership.is_device(*party));
        match *devices.collect::<Vec<u16>>() {
            [first, second, ..] => Err(format!(
                "parties {first} and {second} live in devices, and a key has at most one device among its holders: \
                 devices open no channels to each other; say which parties are to hold it"
            )),
            _ => Ok(()),
        }
    }

    fn propose_key(
        &mut self,
        create: CreateKey,
    ) -> Result<(Digest, KeyCoordination), ServiceError> {
        let bad = |what: String| ServiceError::bad_request(what);
        let policy = Policy::parse(&create.policy).map_err(|e| bad(format!("policy: {e}")))?;
        if create.name.is_empty() || create.name.len() > 64 {
            return Err(bad("a key's name has 1 to 64 bytes".into()));
        }
        if self.list_keys()?.iter().any(|key| key.name == create.name) {
            return Err(ServiceError::Conflict {
                reason: format!("a key named {} exists", create.name),
            });
        }
        let members = self.membership.parties();
        let wanted = if create.parties.is_empty() { &members } else { &create.parties };
        if let Some(stranger) = wanted.iter().find(|party| !members.contains(party)) {
            return Err(bad(format!("party {stranger} is not in the membership file")));
        }
        let parties: PartySet = wanted.iter().filter_map(|party| PartyId::new(*party)).collect();
        if !parties.contains(self.me) {
            return Err(bad("the coordinator of a key must be one of its holders".into()));
        }
        self.may_hold_together(&parties).map_err(bad)?;
        let holders = Holders::new(parties, create.threshold).map_err(|e| bad(e.to_string()))?;
        if holders.count() > MAX_PARTIES || holders.nonce_keys() > MAX_NONCE_KEYS {
            return Err(bad(
                "a key has at most 16 holders in this build, and 512 nonce keys per holder".into(),
            ));
        }
        self.may_create(&policy, &create.name, &create.approval).map_err(
            |refused| match refused {
                Ok(error) => ServiceError::Denied {
                    rule: error.code().to_owned(),
                    reason: format!("the controllers' approval of the key: {error}"),
                    party: self.me.number(),
                    verdict: None,
                },
                Err(error) => bad(format!("approval: {error}")),
            },
        )?;
        if let Some(rule) = policy.unsatisfiable(&holders) {
            return Err(bad(format!(
                "a strict limit of rule {rule} admits no quorum: it must name one of the holders, and \"all\" \
                 needs as many parties as a quorum has"
            )));
        }
        if let Some((party, why)) = self.distrusted_among(&parties) {
            let have = parties.without(party).iter().map(PartyId::number).collect();
            let reasons = vec![(party.number(), why)];
            return Err(ServiceError::NotEnoughParties { need: parties.len(), have, reasons });
        }
        let key: [u8; 16] = self.fresh_bytes("key-id")?;
        let terms = KeyTerms {
            suite: Suite::EcdsaSecp256k1,
            network: self.network_id,
            key,
            epoch: 0,
            holders,
            context: policy.hash(),
        };
        let session = key_session(&terms, self.me);
        let CreateKey { name, policy, approval, .. } = create;
        let proposal = PeerMessage::ProposeKey { session, terms, name, policy, approval };
        if let Some((_, why)) =
            self.too_long_for(&parties, &proposal, "the proposal with its policy")
        {
            return Err(bad(why));
        }
        let mut unreachable = PartySet::EMPTY;
        for to in parties.iter() {
            if !self.send(to, proposal.clone()) {
                unreachable = unreachable.with(to);
            }
        }
        let coordination = KeyCoordination {
            terms,
            proposal,
            accepted: BTreeMap::new(),
            unreachable,
            started: false,
            reports: Vec::new(),
            active: PartySet::EMPTY,
            deadline: self.clock.instant() + self.deadlines.accept,
            proposed: self.clock.instant(),
            asking: None,
            reply: None,
        };
        Ok((session, coordination))
    }

    /// A party's link came up: it is asked whatever waits for it.
    pub(in crate::service) fn propose_keys_again(&mut self, party: PartyId) {
        let waiting: Vec<(Digest, PeerMessage)> = self
            .key_coordinations
            .iter()
            .filter(|(_, c)| c.unreachable.contains(party))
            .map(|(session, c)| (*session, c.proposal.clone()))
            .collect();
        for (session, proposal) in waiting {
            if self.send(party, proposal)
                && let Some(c) = self.key_coordinations.get_mut(&session)
            {
                c.unreachable = c.unreachable.without(party);
            }
        }
    }

    /// A party's link broke: messages between it and others may be lost, and a key generation that
    /// has not ended cannot end any more. One that only waits for confirmations can: they are repeated.
    pub(in crate::service) fn lose_key_coordinations(&mut self, party: PartyId) {
        let concerned: Vec<(Digest, [u8; 16])> = self
            .key_coordinations
            .iter()
            .filter(|(_, c)| c.holders().contains(party) && !c.unreachable.contains(party))
            .map(|(session, c)| (*session, c.terms.key))
            .collect();
        for (session, key) in concerned {
            if let Ok(Some(row)) = self.store.key(key) {
                if row.state == KeyState::Active {
                    self.note_active(party, &key);
                }
                continue;
            }
            let error = self.key_coordinations.get(&session).map(|c| {
                c.not_enough(vec![(party.number(), "its link broke in the middle".to_owned())])
            });
            if let Some(error) = error {
                self.end_key_coordination(&session, Err(error));
            }
        }
    }

    pub(in crate::service) fn handle_key_accept(
        &mut self,
        from: PartyId,
        session: Digest,
        certificate: SessionKeyCertificate,
    ) {
        let Some(coordination) = self.key_coordinations.get(&session) else { return };
        let holders = coordination.holders();
        if !holders.contains(from) || coordination.started {
            return;
        }
        // Checked before it is passed on: the others would blame the coordinator for it.
        if certificate.party != from || !self.is_certified(&certificate, &session) {
            let what = "it accepted a key generation with a forged session key";
            self.incidents.add(from, what);
            let (reason, culprits) = (format!("party {from}: {what}"), vec![from.number()]);
            let error = ServiceError::ProtocolFailure { reason, culprits };
            return self.end_key_coordination(&session, Err(error));
        }
        let Some(coordination) = self.key_coordinations.get_mut(&session) else { return };
        coordination.accepted.insert(from, certificate);
        if coordination.accepted.len() < holders.len() {
            return self.pass_asking_on(from, session);
        }
        coordination.started = true;
        coordination.deadline = self.clock.instant() + self.deadlines.key;
        let peers: Vec<_> = coordination.accepted.values().cloned().collect();
        for to in holders.iter() {
            self.send(to, PeerMessage::StartKey { session, peers: peers.clone() });
        }
    }

    pub(in crate::service) fn handle_key_reject(
        &mut self,
        from: PartyId,
        session: Digest,
        reason: Rejection,
    ) {
        let soon = self.clock.instant() + self.deadlines.accept;
        let Some(c) = self.key_coordinations.get_mut(&session) else { return };
        if !c.holders().contains(from) {
            return;
        }
        let error = match reason {
            // A report names nobody by itself: this party's own run gets a moment to see the evidence.
            Rejection::Failed(what) => {
                c.deadline = c.deadline.min(soon);
                if c.reports.len() < MAX_PARTIES {
                    c.reports.push((from, clip(&what)));
                }
                return;
            }
            Rejection::Denied { .. } => to_error(&reason, from),
            other => c.not_enough(vec![(from.number(), describe(&other))]),
        };
        self.end_key_coordination(&session, Err(error));
    }

    pub(in crate::service) fn end_key_coordination(
        &mut self,
        session: &Digest,
        result: Result<KeyInfo, ServiceError>,
    ) {
        let Some(mut coordination) = self.key_coordinations.remove(session) else { return };
        // After a protocol failure the others go on until they have seen the evidence themselves.
        let seen = matches!(result, Err(ServiceError::ProtocolFailure { .. }));
        if result.is_err() && !seen {
            for to in coordination.holders().iter() {
                self.send(to, PeerMessage::CancelKey { session: *session });
            }
        }
        if let Some(reply) = coordination.reply.take() {
            let _ = reply.send(result);
        }
    }

    /// Coordinations whose deadline passed end with what is known.
    pub(in crate::service) fn expire_key_coordinations(&mut self, at: Instant) {
        let late = |deadline: &Instant| *deadline <= at;
        let coordinations: Vec<Digest> = self
            .key_coordinations
            .iter()
            .filter(|(_, c)| late(&c.deadline))
            .map(|(session, _)| *session)
            .collect();
        for session in coordinations {
            let Some(c) = self.key_coordinations.get(&session) else { continue };
            let key = c.terms.key;
            if self.hand_out(&session, &key) {
                continue;
            }
            let Some(c) = self.key_coordinations.get(&session) else { continue };
            let holders = c.holders();
            let missing = holders.iter().filter(|party| !c.accepted.contains_key(party));
            let away = |party: PartyId| match c.unreachable.contains(party) {
                true => (party.number(), "not connected".to_owned()),
                false => (party.number(), "no answer in time".to_owned()),
            };
            let error = match c.started {
                _ if !c.reports.is_empty() => {
                    let said = c.reports.iter().map(|(p, what)| format!("party {p} reports: {what}"));
                    let reason = said.collect::<Vec<_>>().join("; ");
                    ServiceError::ProtocolFailure { reason, culprits: Vec::new() }
                }
                false => c.not_enough(missing.map(away).collect()),
                true => ServiceError::Deadline {
                    waiting_for: self.unconfirmed(&c.terms.key),
                    phase: "the confirmation of the key (it may still become active: see `quorate key list`)"
                        .to_owned(),
                },
            };
            self.end_key_coordination(&session, Err(error));
        }
    }
}
