//! A holder's part in key generation: judge the proposal, run the core's rounds, seal and store the share.
//! [`coordinate`] has the coordinator's part, [`super::confirm`] what follows.

mod coordinate;
mod patience;

use std::time::Instant;

use quorate_core::dkg::{Dkg, Early, Output, Peer};
use quorate_core::hash::Digest;
use quorate_core::identity::session_key_digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::PartyId;
use quorate_core::policy::Policy;
use quorate_core::session::{Abort, Header};
use quorate_core::wire::Bytes64;

use super::hsm_calls::{Call, NewShare, Purpose, SealError};
use super::records::{
    Confirmed, FIRST_SEQUENCE, Public, Record, plaintext, share_context, to_bytes,
};
use super::{Curve, MAX_NONCE_KEYS, MAX_PARTIES, SESSIONS_PER_PEER, Service};
use quorate_hsm::HsmError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::handle::ServiceError;
use crate::message::{PeerMessage, Private, Rejection, SessionKeyCertificate, key_session};
use crate::store::{KeyRow, KeyState};

/// Pending keys that a party keeps; they are never deleted on a guess, so their number must end.
const MAX_PENDING: usize = 256;

pub(super) use coordinate::KeyCoordination;

type Run = Dkg<Curve, MAX_PARTIES, MAX_NONCE_KEYS>;

/// What a coordinator proposes.
pub(super) struct Proposed {
    pub(super) terms: KeyTerms,
    pub(super) name: String,
    pub(super) policy: Vec<u8>,
    /// What the policy's controllers signed; empty if it has none.
    pub(super) approval: Vec<u8>,
}

/// A holder's part in one key generation.
pub(super) struct KeyRun {
    coordinator: PartyId,
    terms: KeyTerms,
    name: String,
    policy: Vec<u8>,
    approval: Vec<u8>,
    /// For the certificate first, then for the whole generation.
    deadline: Instant,
    /// The generation ends never later than this.
    patience: Instant,
    stage: Stage,
    /// Of the start: what evidence is checked against.
    certificates: Vec<SessionKeyCertificate>,
    /// Messages of faster peers that came before the start; at most three of each.
    before: Vec<(PartyId, Private)>,
    /// Those that came before their round.
    early: Early<Private, MAX_PARTIES>,
}

/// How far it is.
enum Stage {
    /// The HSM certifies the session key in this call, and ends then: nobody has heard of acceptance yet.
    Certifying {
        call: u64,
        ends: Instant,
    },
    /// It waits for the start.
    Accepted,
    Running(Box<Run>),
    /// The HSM seals the share.
    Sealing(Box<Made>),
}

/// A key whose share is not at rest yet: nobody has this party's confirmation.
struct Made {
    call: u64,
    public: Public,
    confirmation: Confirmed,
}

/// Evidence as it is stored, with what a third party checks it against.
#[derive(Serialize, Deserialize)]
struct EvidenceRow {
    terms: KeyTerms,
    session: Digest,
    certificates: Vec<SessionKeyCertificate>,
    evidence: Vec<u8>,
}

impl Service {
    pub(super) fn handle_key_proposal(
        &mut self,
        from: PartyId,
        session: Digest,
        proposed: Proposed,
    ) {
        let answer = match self.judge_key_proposal(from, &session, &proposed) {
            // Also while it runs: a second proposal must not put a new run in its place.
            Ok(())
                if self.key_runs.contains_key(&session)
                    || !self.remembered.is_new(from, &session) =>
            {
                self.incidents.add(from, "a key generation that was proposed before");
                let reason = Rejection::BadRequest("the session was proposed before".to_owned());
                PeerMessage::RejectKey { session, reason }
            }
            Ok(()) => match self.certify_for(from, session, proposed) {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!("a key generation was refused: {error}");
                    PeerMessage::RejectKey { session, reason: self.hsm_silent() }
                }
            },
            Err(reason) => {
                // An honest coordinator has judged its proposal by the same rules.
                if matches!(reason, Rejection::BadRequest(_)) {
                    let what = super::coordinate::describe(&reason);
                    self.incidents.add(from, format_args!("a proposal of a key: {what}"));
                }
                self.audit_refusal(from, &session, None, &reason);
                PeerMessage::RejectKey { session, reason }
            }
        };
        self.send(from, answer);
    }

    /// Has the session key certified; the proposal is accepted when that is done.
    fn certify_for(
        &mut self,
        from: PartyId,
        session: Digest,
        proposed: Proposed,
    ) -> Result<(), HsmError> {
        let Proposed { terms, name, policy, approval } = proposed;
        let now = self.clock.instant();
        if let Some(error) = self.calls.is_silent(now) {
            return Err(error);
        }
        let (key, network) = (self.session_key.public(), &self.network_id);
        let digest = session_key_digest(network, self.me, &self.boot, &key, &session);
        let call = Call::Sign { identity: self.identity.clone(), digest };
        let call = self.call_hsm(Purpose::Certify(session, from), call)?;
        let run = KeyRun {
            coordinator: from,
            terms,
            name,
            policy,
            approval,
            // The coordinator waits no longer for an answer, and should hear why there is none.
            deadline: now + self.deadlines.accept * 3 / 4,
            patience: now + self.deadlines.key + super::PATIENCE,
            stage: Stage::Certifying { call, ends: now + self.deadlines.key },
            certificates: Vec::new(),
            before: Vec::new(),
            early: Early::default(),
        };
        self.key_runs.insert(session, run);
        Ok(())
    }

    /// The HSM has certified the session key, or failed.
    pub(super) fn key_certified(
        &mut self,
        call: u64,
        session: Digest,
        result: Result<Bytes64, ServiceError>,
    ) {
        let Some(run) = self.key_runs.get_mut(&session) else { return };
        let Stage::Certifying { call: own, ends } = run.stage else { return };
        if own != call {
            return;
        }
        let coordinator = run.coordinator;
        let answer = match result {
            Ok(signature) => {
                (run.stage, run.deadline) = (Stage::Accepted, ends);
                let (key, party) = (self.session_key.public(), self.me);
                let certificate = SessionKeyCertificate { party, boot: self.boot, key, signature };
                PeerMessage::AcceptKey { session, certificate }
            }
            Err(error) => {
                tracing::error!(%error, "a key generation was refused");
                self.key_runs.remove(&session);
                PeerMessage::RejectKey { session, reason: Rejection::Fault }
            }
        };
        self.send(coordinator, answer);
    }

    fn judge_key_proposal(
        &self,
        from: PartyId,
        session: &Digest,
        Proposed { terms, name, policy, approval }: &Proposed,
    ) -> Result<(), Rejection> {
        let bad = |what: &str| Err(Rejection::BadRequest(what.to_owned()));
        let expected = key_session(terms, from);
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
        self.approved_by_controllers(&parsed, name, approval)?;
        if let Some(rule) = parsed.unsatisfiable(&terms.holders) {
            let what = format!("a strict limit of rule {rule} admits no quorum of these holders");
            return Err(Rejection::BadRequest(what));
        }
        let strangers = terms.holders.parties().iter().any(|p| self.identity_of(p).is_none());
        if strangers || !terms.holders.parties().contains(self.me) {
            return bad("the holders are not all members, or this party is not among them");
        }
        if self.witness.is_rolled_back() {
            return Err(Rejection::Fault);
        }
        if let Some((_, message)) = self.distrusted_among(&terms.holders.parties()) {
            return Err(Rejection::Denied { rule: "rolled-back".to_owned(), message });
        }
        let taken = self.list_keys().map_err(|_| Rejection::Fault)?;
        if taken.iter().filter(|key| key.state == "pending").count() >= MAX_PENDING {
            return Err(Rejection::Busy);
        }
        if taken.iter().any(|key| key.name == *name) {
            return bad("it has a key of this name already");
        }
        let open = self.key_runs.values().filter(|run| run.coordinator == from).count();
        if open >= SESSIONS_PER_PEER && !self.key_runs.contains_key(session) {
            return Err(Rejection::Busy);
        }
        if !self.calls.may_certify(from) {
            return Err(Rejection::Busy);
        }
        match self.store.key(terms.key) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => bad("the key exists already"),
            Err(_) => Err(Rejection::Fault),
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
        match waiting.stage {
            Stage::Accepted => {}
            Stage::Certifying { .. } => {
                let what = "it started a key generation that this party has not accepted";
                return self.incidents.add(from, what);
            }
            Stage::Running(_) | Stage::Sealing(_) => {
                return self.incidents.add(from, "it started a key generation twice");
            }
        }
        let terms = waiting.terms;
        let Some(peers) = self.checked_peers(certificates, &session) else {
            self.incidents.add(from, "it started a key generation with a forged session key");
            self.key_runs.remove(&session);
            return;
        };
        let Ok(mut rng) = self.rng(&session) else { return };
        let started = Run::new(terms, session, self.me, &peers, &self.session_key, &mut rng);
        let before = match (started, self.key_runs.get_mut(&session)) {
            (Ok(run), Some(waiting)) => {
                waiting.stage = Stage::Running(Box::new(run));
                waiting.certificates = certificates.to_vec();
                std::mem::take(&mut waiting.before)
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
        for (from, bytes) in before {
            self.handle_dkg(from, bytes);
        }
    }

    /// Session keys count only with their identity key's signature for this session: with an older one
    /// a coordinator could make an honest party's messages look forged.
    fn checked_peers(
        &self,
        certificates: &[SessionKeyCertificate],
        session: &Digest,
    ) -> Option<Vec<Peer>> {
        let peer = |c: &SessionKeyCertificate| {
            self.is_certified(c, session).then_some(Peer { party: c.party, session_key: c.key })
        };
        certificates.iter().map(peer).collect()
    }

    pub(super) fn is_certified(&self, c: &SessionKeyCertificate, session: &Digest) -> bool {
        let digest = session_key_digest(&self.network_id, c.party, &c.boot, &c.key, session);
        self.identity_of(c.party).is_some_and(|identity| identity.verify(&digest, &c.signature))
    }

    pub(super) fn handle_dkg(&mut self, from: PartyId, bytes: Private) {
        let Ok(header) = Header::peek(&bytes) else {
            return self.incidents.add(from, "a malformed message of a key generation");
        };
        if bytes.len() > Run::MAX_MESSAGE {
            return self.incidents.add(from, "a message of a key generation over its limit");
        }
        let Some(waiting) = self.key_runs.get_mut(&header.session) else {
            return self.stray_message(from, &header.session);
        };
        match &mut waiting.stage {
            // All that this party needs, it has.
            Stage::Sealing(_) => return,
            Stage::Certifying { .. } | Stage::Accepted => {
                if waiting.before.iter().filter(|(sender, _)| *sender == from).count() < 3 {
                    waiting.before.push((from, bytes));
                }
                return;
            }
            Stage::Running(run) => {
                let (signer, incidents) = (&self.session_key, &mut self.incidents);
                waiting.early.handle(run, from, bytes, signer, |from, refusal| {
                    incidents.add(from, refusal);
                });
            }
        }
        self.drive_key_run(&header.session);
    }

    /// Executes a run's outputs in order.
    fn drive_key_run(&mut self, session: &Digest) {
        let mut buffer = Zeroizing::new(vec![0; Run::MAX_MESSAGE]);
        loop {
            let Some(waiting) = self.key_runs.get_mut(session) else { return };
            let Stage::Running(run) = &mut waiting.stage else { return };
            let holders = waiting.terms.holders.parties();
            match run.poll_output(&self.session_key, &mut buffer) {
                Ok(Some(Output::Send { to, bytes })) => {
                    let message = PeerMessage::Dkg(bytes.to_vec().into());
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
        let Some(mut failed) = self.key_runs.remove(session) else { return };
        let coordinator = failed.coordinator;
        // Of silence it knows itself, and a report would make it a failure of the protocol.
        if coordinator != self.me && !matches!(abort, Abort::Deadline { .. }) {
            // Behind the complaint on the same link: who can see the culprit has seen it by now.
            let reason = Rejection::Failed(abort.to_string());
            self.send(coordinator, PeerMessage::RejectKey { session: *session, reason });
        }
        let culprits = match abort {
            Abort::Culprit(party, _) => {
                match self.keep_evidence(session, &mut failed) {
                    true => {
                        let name = hex::encode(session);
                        self.incidents.add(*party, format_args!("{abort} (evidence: {name})"));
                    }
                    false => self.incidents.add(*party, abort),
                }
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

    /// Whether there is evidence, and it is stored.
    fn keep_evidence(&self, session: &Digest, failed: &mut KeyRun) -> bool {
        let Stage::Running(run) = &mut failed.stage else { return false };
        let Some(evidence) = run.take_evidence() else { return false };
        let mut buffer = vec![0; Run::MAX_EVIDENCE];
        let Ok(evidence) = evidence.encode(&mut buffer) else { return false };
        let row = EvidenceRow {
            terms: failed.terms,
            session: *session,
            certificates: std::mem::take(&mut failed.certificates),
            evidence: evidence.to_vec(),
        };
        match self.store.add_evidence(*session, &to_bytes(&row)) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "evidence could not be stored");
                false
            }
        }
    }

    /// Has the share sealed; it is stored as PENDING when that is done, and only then confirmed.
    fn keep_key(&mut self, session: &Digest) {
        let Some(KeyRun { stage: Stage::Running(run), .. }) = self.key_runs.get_mut(session) else {
            return;
        };
        let Some((public, record)) = run.take_key() else {
            self.key_runs.remove(session);
            return;
        };
        match self.seal(session, public, &record) {
            Ok(made) => {
                // The coordinator should hear why there is no confirmation.
                let until = self.clock.instant() + self.deadlines.key * 3 / 4;
                if let Some(run) = self.key_runs.get_mut(session) {
                    run.deadline = run.deadline.min(until);
                    run.stage = Stage::Sealing(Box::new(made));
                }
            }
            Err(HsmError::NoAnswer { .. }) => self.key_not_answered(session, None),
            Err(error) => self.key_not_kept(session, ServiceError::local(error), Rejection::Fault),
        }
    }

    fn seal(
        &mut self,
        session: &Digest,
        public: Public,
        record: &Record,
    ) -> Result<Made, HsmError> {
        let confirmation = Confirmed::unsigned(&public, self.me, record);
        let call = Call::Seal {
            protector: self.protector.clone(),
            identity: self.identity.clone(),
            context: Box::new(share_context(
                self.network_id,
                self.me,
                &public,
                (1, public.terms.context),
                FIRST_SEQUENCE,
            )),
            plaintext: plaintext(record)?,
            confirmation: confirmation.digest(&public),
        };
        let call = self.call_hsm(Purpose::Seal(*session), call)?;
        Ok(Made { call, public, confirmation })
    }

    /// The HSM has sealed the share and signed its confirmation, or failed. What was cancelled or given up
    /// meanwhile is dropped: without this party's confirmation nobody has the key.
    pub(super) fn key_sealed(
        &mut self,
        call: u64,
        session: Digest,
        result: Result<Result<NewShare, SealError>, ServiceError>,
    ) {
        let ours = |run: &&KeyRun| matches!(&run.stage, Stage::Sealing(made) if made.call == call);
        let Some(run) = self.key_runs.get(&session).filter(ours) else { return };
        let error = match result {
            // It may have shown while the HSM was at work.
            Ok(Ok(_)) if self.witness.is_rolled_back() => super::witness::rolled_back(),
            Ok(Ok(share)) => match self.store_pending(&session, share) {
                Ok(key) => {
                    self.send_confirmations(&key, true);
                    return self.try_activate(&key);
                }
                Err(error) => error,
            },
            Ok(Err(SealError::Hsm(error))) => ServiceError::from_hsm(&run.name, &error),
            Ok(Err(SealError::Identity(error))) => ServiceError::local(error),
            Err(error) => error,
        };
        self.key_not_kept(&session, error, Rejection::Fault);
    }

    fn store_pending(
        &mut self,
        session: &Digest,
        NewShare { sealed, signature }: NewShare,
    ) -> Result<[u8; 16], ServiceError> {
        let gone = || ServiceError::local("the key generation has ended");
        let now = self.now();
        let KeyRun { stage, name, policy, approval, .. } =
            self.key_runs.get_mut(session).ok_or_else(gone)?;
        let Stage::Sealing(made) = stage else { return Err(gone()) };
        let Made { public, confirmation, .. } = &mut **made;
        confirmation.signature = signature;
        let key = public.terms.key;
        let row = KeyRow {
            key,
            name: std::mem::take(name),
            state: KeyState::Pending,
            public: to_bytes(&*public),
            policy: std::mem::take(policy),
            policy_version: 1,
            sealed,
            confirmations: [(self.me.number(), to_bytes(&*confirmation))].into_iter().collect(),
            certificate: None,
            sequence: FIRST_SEQUENCE,
            created: now,
        };
        let approval = std::mem::take(approval);
        match approval.is_empty() {
            true => self.store.insert_pending(row),
            false => self.policies.insert_controlled(&self.store, row, public, approval),
        }
        .map_err(ServiceError::local)?;
        self.key_runs.remove(session);
        Ok(key)
    }

    fn key_not_kept(&mut self, session: &Digest, error: ServiceError, reason: Rejection) {
        tracing::error!(%error, "this party gives a key generation up");
        let Some(run) = self.key_runs.remove(session) else { return };
        let reject = PeerMessage::RejectKey { session: *session, reason };
        self.send(run.coordinator, reject);
        self.end_key_coordination(session, Err(error));
    }

    /// A key generation waits for the HSM beyond its patience, or the call is overdue.
    pub(super) fn key_not_answered(&mut self, session: &Digest, call: Option<u64>) {
        let Some(run) = self.key_runs.get(session) else { return };
        let own = match &run.stage {
            Stage::Certifying { call, .. } => Some(*call),
            Stage::Sealing(made) => Some(made.call),
            Stage::Accepted | Stage::Running(_) => None,
        };
        if call.is_some() && call != own {
            return;
        }
        let error = ServiceError::from_hsm(&run.name, &self.calls.no_answer(self.clock.instant()));
        self.key_not_kept(session, error, self.hsm_silent());
    }

    pub(super) fn expire_key_runs(&mut self, at: Instant) {
        let late = |deadline: &Instant| *deadline <= at;
        let runs: Vec<Digest> =
            self.key_runs.iter().filter(|(_, r)| late(&r.deadline)).map(|(s, _)| *s).collect();
        for session in runs {
            match self.key_runs.get_mut(&session).map(|waiting| &mut waiting.stage) {
                Some(Stage::Running(run)) => {
                    run.handle_timeout();
                    self.drive_key_run(&session);
                }
                Some(Stage::Certifying { .. } | Stage::Sealing(_)) => {
                    self.key_not_answered(&session, None);
                }
                Some(Stage::Accepted) | None => drop(self.key_runs.remove(&session)),
            }
        }
        self.expire_key_coordinations(at);
    }
}
