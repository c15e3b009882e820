//! Key generation among nodes: propose, accept, start, the core's rounds, confirm.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use quorate_core::curve::Suite;
use quorate_core::dkg::{Dkg, Output, Peer};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::session_key_digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::policy::Policy;
use quorate_core::session::{Abort, Header};
use quorate_core::wire::Bytes64;
use tokio::sync::oneshot;

use super::records::{Confirmed, FIRST_SEQUENCE, Public, Record, to_bytes};
use super::{Curve, MAX_NONCE_KEYS, MAX_PARTIES, SESSIONS_PER_PEER, Service};
use crate::handle::{CreateKey, KeyInfo, ServiceError};
use crate::message::{PeerMessage, Rejection, SessionKeyCertificate};
use crate::store::{KeyRow, KeyState};

/// Pending keys that a party keeps; they are never deleted on a guess, so their number must end.
const MAX_PENDING: usize = 256;

type Run = Dkg<Curve, MAX_PARTIES, MAX_NONCE_KEYS>;
pub(super) type KeyReply = oneshot::Sender<Result<KeyInfo, ServiceError>>;

/// A holder's part in one key generation.
pub(super) struct KeyRun {
    coordinator: PartyId,
    terms: KeyTerms,
    name: String,
    policy: Vec<u8>,
    deadline: Instant,
    run: Option<Box<Run>>,
    /// Messages of faster peers that came before the start; at most three of each.
    early: VecDeque<(PartyId, Vec<u8>)>,
}

/// The coordinator's part.
pub(super) struct KeyCoordination {
    pub(super) terms: KeyTerms,
    proposal: PeerMessage,
    accepted: BTreeMap<PartyId, SessionKeyCertificate>,
    /// Not connected when it was proposed; they are asked when their link comes up.
    unreachable: PartySet,
    started: bool,
    /// Holders in whose eyes the run failed, and why.
    reports: Vec<(PartyId, String)>,
    /// Holders that have the key active.
    pub(super) active: PartySet,
    pub(super) deadline: Instant,
    reply: Option<KeyReply>,
}

impl KeyCoordination {
    pub(super) fn holders(&self) -> PartySet {
        self.terms.holders.parties()
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
    pub(super) fn coordinate_key(&mut self, create: CreateKey, reply: KeyReply) {
        match self.propose_key(create) {
            Ok((session, coordination)) => {
                let coordination = KeyCoordination { reply: Some(reply), ..coordination };
                self.key_coordinations.insert(session, coordination);
            }
            Err(error) => drop(reply.send(Err(error))),
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
        let holders = Holders::new(parties, create.threshold).map_err(|e| bad(e.to_string()))?;
        if holders.count() > MAX_PARTIES || holders.nonce_keys() > MAX_NONCE_KEYS {
            return Err(bad("this build makes keys for at most 10 parties with T = 4".into()));
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
        let session =
            Transcript::new("dkg-session").bytes(&terms.context()).party(self.me).finish();
        let CreateKey { name, policy, .. } = create;
        let proposal = PeerMessage::ProposeKey { session, terms, name, policy };
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
            reply: None,
        };
        Ok((session, coordination))
    }

    /// A party's link came up: it is asked whatever waits for it.
    pub(super) fn propose_keys_again(&mut self, party: PartyId) {
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
    pub(super) fn lose_key_coordinations(&mut self, party: PartyId) {
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

    pub(super) fn handle_key_proposal(
        &mut self,
        from: PartyId,
        session: Digest,
        terms: KeyTerms,
        name: String,
        policy: Vec<u8>,
    ) {
        let answer = match self.judge_key_proposal(from, &session, &terms, &name, &policy) {
            // Also while it runs: a second proposal must not put a new run in its place.
            Ok(())
                if self.key_runs.contains_key(&session)
                    || !self.remembered.is_new(from, &session) =>
            {
                self.incidents.add(from, "a key generation that was proposed before");
                let reason = Rejection::BadRequest("the session was proposed before".to_owned());
                PeerMessage::RejectKey { session, reason }
            }
            Ok(()) => {
                let deadline = self.clock.instant() + self.deadlines.key;
                let run = KeyRun {
                    coordinator: from,
                    terms,
                    name,
                    policy,
                    deadline,
                    run: None,
                    early: VecDeque::new(),
                };
                self.key_runs.insert(session, run);
                PeerMessage::AcceptKey { session, certificate: self.certificate.clone() }
            }
            Err(reason) => {
                // An honest coordinator has judged its proposal by the same rules.
                if matches!(reason, Rejection::BadRequest(_)) {
                    let what = super::coordinate::describe(&reason);
                    self.incidents.add(from, format_args!("a proposal of a key: {what}"));
                }
                PeerMessage::RejectKey { session, reason }
            }
        };
        self.send(from, answer);
    }

    fn judge_key_proposal(
        &self,
        from: PartyId,
        session: &Digest,
        terms: &KeyTerms,
        name: &str,
        policy: &[u8],
    ) -> Result<(), Rejection> {
        let bad = |what: &str| Err(Rejection::BadRequest(what.to_owned()));
        let expected = Transcript::new("dkg-session").bytes(&terms.context()).party(from).finish();
        if terms.network != self.network_id || *session != expected {
            return bad("the proposal is of another network or session");
        }
        if terms.epoch != 0 || name.is_empty() || name.len() > 64 {
            return bad("the proposal's epoch or name is out of range");
        }
        let Ok(parsed) = Policy::parse(policy) else { return bad("the policy is malformed") };
        if parsed.hash() != terms.context {
            return bad("the terms do not bind this policy");
        }
        let strangers = terms.holders.parties().iter().any(|p| self.identity_of(p).is_none());
        if strangers || !terms.holders.parties().contains(self.me) {
            return bad("the holders are not all members, or this party is not among them");
        }
        let taken = self.list_keys().map_err(|_| Rejection::Fault)?;
        if taken.iter().filter(|key| key.state == "pending").count() >= MAX_PENDING {
            return Err(Rejection::Busy);
        }
        if taken.iter().any(|key| key.name == name) {
            return bad("it has a key of this name already");
        }
        let open = self.key_runs.values().filter(|run| run.coordinator == from).count();
        if open >= SESSIONS_PER_PEER && !self.key_runs.contains_key(session) {
            return Err(Rejection::Busy);
        }
        match self.store.key(terms.key) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => bad("the key exists already"),
            Err(_) => Err(Rejection::Fault),
        }
    }

    pub(super) fn handle_key_accept(
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
        if certificate.party != from || !self.is_certified(&certificate) {
            let what = "it accepted a key generation with a forged session key";
            self.incidents.add(from, what);
            let (reason, culprits) = (format!("party {from}: {what}"), vec![from.number()]);
            let error = ServiceError::ProtocolFailure { reason, culprits };
            return self.end_key_coordination(&session, Err(error));
        }
        let Some(coordination) = self.key_coordinations.get_mut(&session) else { return };
        coordination.accepted.insert(from, certificate);
        if coordination.accepted.len() < holders.len() {
            return;
        }
        coordination.started = true;
        coordination.deadline = self.clock.instant() + self.deadlines.key;
        let peers: Vec<_> = coordination.accepted.values().cloned().collect();
        for to in holders.iter() {
            self.send(to, PeerMessage::StartKey { session, peers: peers.clone() });
        }
    }

    pub(super) fn handle_key_reject(&mut self, from: PartyId, session: Digest, reason: Rejection) {
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
                    c.reports.push((from, super::incidents::clip(&what)));
                }
                return;
            }
            Rejection::Denied { .. } => super::coordinate::to_error(&reason, from),
            other => c.not_enough(vec![(from.number(), super::coordinate::describe(&other))]),
        };
        self.end_key_coordination(&session, Err(error));
    }

    pub(super) fn end_key_coordination(
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

    pub(super) fn handle_key_cancel(&mut self, from: PartyId, session: &Digest) {
        if self.key_runs.get(session).is_some_and(|run| run.coordinator == from) {
            self.key_runs.remove(session);
        }
    }

    pub(super) fn handle_key_start(
        &mut self,
        from: PartyId,
        session: Digest,
        certificates: &[SessionKeyCertificate],
    ) {
        let Some(waiting) = self.key_runs.get(&session) else {
            return self.doubt_session(from, &session);
        };
        if waiting.coordinator != from {
            return self.incidents.add(from, "it started a key generation of another coordinator");
        }
        if waiting.run.is_some() {
            return self.incidents.add(from, "it started a key generation twice");
        }
        let terms = waiting.terms;
        let Some(peers) = self.checked_peers(certificates) else {
            self.incidents.add(from, "it started a key generation with a forged session key");
            self.key_runs.remove(&session);
            return;
        };
        let Ok(mut rng) = self.rng(&session) else { return };
        let started = Run::new(terms, session, self.me, &peers, &self.session_key, &mut rng);
        let early = match (started, self.key_runs.get_mut(&session)) {
            (Ok(run), Some(waiting)) => {
                waiting.run = Some(Box::new(run));
                std::mem::take(&mut waiting.early)
            }
            (Err(error), _) => {
                let what = format_args!("it started a key generation that cannot be: {error}");
                self.incidents.add(from, what);
                self.key_runs.remove(&session);
                return;
            }
            _ => return,
        };
        self.drive_key_run(&session);
        for (from, bytes) in early {
            self.handle_dkg(from, &bytes);
        }
    }

    /// Session keys count only with their identity key's signature.
    fn checked_peers(&self, certificates: &[SessionKeyCertificate]) -> Option<Vec<Peer>> {
        certificates
            .iter()
            .map(|c| self.is_certified(c).then_some(Peer { party: c.party, session_key: c.key }))
            .collect()
    }

    fn is_certified(&self, c: &SessionKeyCertificate) -> bool {
        let digest = session_key_digest(&self.network_id, c.party, &c.boot, &c.key);
        self.identity_of(c.party).is_some_and(|identity| identity.verify(&digest, &c.signature))
    }

    pub(super) fn handle_dkg(&mut self, from: PartyId, bytes: &[u8]) {
        let Ok(header) = Header::peek(bytes) else {
            return self.incidents.add(from, "a malformed message of a key generation");
        };
        if bytes.len() > Run::MAX_MESSAGE {
            return self.incidents.add(from, "a message of a key generation over its limit");
        }
        let Some(waiting) = self.key_runs.get_mut(&header.session) else {
            return self.stray_message(from, &header.session);
        };
        match &mut waiting.run {
            None => {
                if waiting.early.iter().filter(|(sender, _)| *sender == from).count() < 3 {
                    waiting.early.push_back((from, bytes.to_vec()));
                }
                return;
            }
            Some(run) => {
                if let Err(refusal) = run.handle_message(from, bytes, &self.session_key) {
                    self.incidents.add(from, refusal);
                }
            }
        }
        self.drive_key_run(&header.session);
    }

    /// Executes a run's outputs in order.
    fn drive_key_run(&mut self, session: &Digest) {
        let mut buffer = vec![0; Run::MAX_MESSAGE];
        loop {
            let Some(waiting) = self.key_runs.get_mut(session) else { return };
            let Some(run) = &mut waiting.run else { return };
            let holders = waiting.terms.holders.parties();
            match run.poll_output(&self.session_key, &mut buffer) {
                Ok(Some(Output::Send { to, bytes })) => {
                    let message = PeerMessage::Dkg(bytes.to_vec());
                    match to {
                        Some(to) => {
                            self.send(to, message);
                        }
                        None => {
                            for to in holders.without(self.me).iter() {
                                self.send(to, message.clone());
                            }
                        }
                    }
                }
                Ok(Some(Output::Persist)) => return self.keep_key(session),
                Ok(Some(Output::Failed(abort))) => return self.fail_key(session, &abort),
                Ok(None) => return,
                Err(_) => return self.fail_key(session, &Abort::Degenerate),
            }
        }
    }

    fn fail_key(&mut self, session: &Digest, abort: &Abort) {
        let Some(KeyRun { coordinator, .. }) = self.key_runs.remove(session) else { return };
        // Of silence it knows itself, and a report would make it a failure of the protocol.
        if coordinator != self.me && !matches!(abort, Abort::Deadline { .. }) {
            // Behind the complaint on the same link: who can see the culprit has seen it by now.
            let reason = Rejection::Failed(abort.to_string());
            self.send(coordinator, PeerMessage::RejectKey { session: *session, reason });
        }
        let culprits = match abort {
            Abort::Culprit(party, _) => {
                self.incidents.add(*party, abort);
                vec![party.number()]
            }
            _ => Vec::new(),
        };
        tracing::warn!(%abort, "a key generation failed");
        let error = match abort {
            Abort::Deadline { round, missing } => ServiceError::Deadline {
                waiting_for: missing.iter().map(PartyId::number).collect(),
                phase: format!("round {round} of key generation"),
            },
            _ => ServiceError::ProtocolFailure { reason: abort.to_string(), culprits },
        };
        self.end_key_coordination(session, Err(error));
    }

    /// Seals and stores the share as PENDING, durably; only then is it confirmed.
    fn keep_key(&mut self, session: &Digest) {
        let Some(waiting) = self.key_runs.remove(session) else { return };
        let coordinator = waiting.coordinator;
        let made = waiting.run.and_then(|mut run| run.take_key());
        let Some((public, record)) = made else { return };
        let result = self.store_pending(waiting.name, waiting.policy, &public, &record);
        match result {
            Ok(()) => {
                self.send_confirmations(&public.terms.key, true);
                self.try_activate(&public.terms.key);
            }
            Err(error) => {
                tracing::error!(%error, "the new share could not be sealed and stored");
                let reason = Rejection::Fault;
                self.send(coordinator, PeerMessage::RejectKey { session: *session, reason });
                self.end_key_coordination(session, Err(error));
            }
        }
    }

    fn store_pending(
        &mut self,
        name: String,
        policy: Vec<u8>,
        public: &Public,
        record: &Record,
    ) -> Result<(), ServiceError> {
        let sealed = self
            .seal_record(public, record)
            .map_err(|error| ServiceError::from_hsm(&name, &error))?;
        let mut confirmation = Confirmed::unsigned(public, self.me, record);
        let signature = self
            .identity
            .sign(&confirmation.digest(public))
            .map_err(|_| ServiceError::local("the identity key cannot sign"))?;
        confirmation.signature = Bytes64(signature);
        let row = KeyRow {
            key: public.terms.key,
            name,
            state: KeyState::Pending,
            public: to_bytes(public),
            policy,
            sealed,
            confirmations: [(self.me.number(), to_bytes(&confirmation))].into_iter().collect(),
            certificate: None,
            sequence: FIRST_SEQUENCE,
            created: self.now(),
        };
        self.store.insert_pending(row).map_err(ServiceError::local)
    }

    pub(super) fn expire_key_runs(&mut self, at: Instant) {
        let late = |deadline: &Instant| *deadline <= at;
        let runs: Vec<Digest> =
            self.key_runs.iter().filter(|(_, r)| late(&r.deadline)).map(|(s, _)| *s).collect();
        for session in runs {
            match self.key_runs.get_mut(&session).and_then(|waiting| waiting.run.as_mut()) {
                Some(run) => {
                    run.handle_timeout();
                    self.drive_key_run(&session);
                }
                None => drop(self.key_runs.remove(&session)),
            }
        }
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
