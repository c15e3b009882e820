//! A member's part in a signature: it judges the client's own request, counts it, and only then lets
//! the first message out.

use std::collections::VecDeque;
use std::time::Instant;

use quorate_core::ecdsa::{Failure, MAX_MESSAGE, Salt, SignTerms, Signer};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::{Denial, Facts, Policy, Verdict};
use quorate_core::request::SignedRequest;
use quorate_core::session::Header;

use super::records::Opened;
use super::{Curve, MAX_QUORUM, SESSIONS_PER_PEER, Service, now};
use crate::handle::ServiceError;
use crate::message::{Outcome, PeerMessage, Rejection};
use crate::store::{KeyRow, Spend, SpendOutcome};

/// One accepted proposal.
pub(super) struct Participation {
    pub(super) coordinator: PartyId,
    pub(super) deadline: Instant,
    request: Vec<u8>,
    salt: Salt,
    session: Option<Running>,
    /// R_j of faster members that came before the start; one of each.
    early: VecDeque<(PartyId, Vec<u8>)>,
}

struct Running {
    key: Box<Opened>,
    signer: Box<Signer<Curve, MAX_QUORUM>>,
}

/// A request that this party's policy allows.
pub(super) struct Judged {
    pub(super) row: KeyRow,
    pub(super) hash: Digest,
    pub(super) expires: u64,
    pub(super) verdict: Verdict,
    pub(super) outcome: Option<Outcome>,
}

pub(super) fn denied(denial: &Denial) -> Rejection {
    Rejection::Denied { rule: denial.rule().to_owned(), message: denial.to_string() }
}

impl Service {
    /// Parses the client's bytes, finds the key and asks its policy: no coordinator's word counts.
    pub(super) fn judge(&self, bytes: &[u8]) -> Result<Judged, Rejection> {
        let request = SignedRequest::parse(bytes)
            .map_err(|error| Rejection::BadRequest(error.to_string()))?;
        let key = *request.key().as_bytes();
        let row =
            self.active_key(&key).map_err(|_| Rejection::Fault)?.ok_or(Rejection::UnknownKey)?;
        let policy = Policy::parse(&row.policy).map_err(|_| Rejection::Fault)?;
        if *request.network().as_bytes() != self.network_id {
            return Err(Rejection::BadRequest("the request is for another network".into()));
        }
        let verdict =
            policy.judge(&request, &Facts { now: now() }).map_err(|denial| denied(&denial))?;
        let hash = request.hash();
        let recorded = self.store.request(hash).map_err(|_| Rejection::Fault)?;
        let outcome = recorded
            .and_then(|row| row.outcome)
            .and_then(|bytes| quorate_core::wire::decode(&bytes).ok());
        Ok(Judged { row, hash, expires: request.expires(), verdict, outcome })
    }

    pub(super) fn handle_sign_proposal(
        &mut self,
        from: PartyId,
        session: Digest,
        request: Vec<u8>,
    ) {
        let answer = self.answer_proposal(from, session, request);
        self.send(from, answer);
    }

    fn answer_proposal(&mut self, from: PartyId, session: Digest, request: Vec<u8>) -> PeerMessage {
        let open = self.participations.values().filter(|p| p.coordinator == from).count();
        if open >= SESSIONS_PER_PEER || self.participations.contains_key(&session) {
            return PeerMessage::RejectSign { session, reason: Rejection::Busy };
        }
        match self.judge(&request) {
            Err(reason) => {
                self.audit(&serde_json::json!({
                    "event": "refused", "coordinator": from.number(),
                    "session": hex::encode(session), "reason": super::coordinate::describe(&reason),
                }));
                return PeerMessage::RejectSign { session, reason };
            }
            Ok(Judged { outcome: Some(outcome), .. }) => {
                return PeerMessage::AlreadySigned { session, outcome };
            }
            Ok(_) => {}
        }
        let Ok(mut rng) = self.rng(&session) else {
            return PeerMessage::RejectSign { session, reason: Rejection::Fault };
        };
        let mut salt = [0; 32];
        rand_core::RngCore::fill_bytes(&mut rng, &mut salt);
        let deadline = Instant::now() + self.deadlines.accept + self.deadlines.sign;
        let early = VecDeque::new();
        let participation =
            Participation { coordinator: from, deadline, request, salt, session: None, early };
        self.participations.insert(session, participation);
        PeerMessage::AcceptSign { session, salt }
    }

    pub(super) fn handle_sign_start(
        &mut self,
        from: PartyId,
        session: Digest,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
    ) {
        let Some(waiting) = self.participations.get(&session) else { return };
        if waiting.coordinator != from || waiting.session.is_some() {
            return;
        }
        let request = waiting.request.clone();
        match self.start_signing(session, from, quorum, salts, &request, waiting.salt) {
            Ok((running, first)) => {
                for to in quorum.without(self.me).iter() {
                    self.send(to, PeerMessage::Ecdsa(first.clone()));
                }
                let early = match self.participations.get_mut(&session) {
                    Some(waiting) => {
                        waiting.session = Some(running);
                        std::mem::take(&mut waiting.early)
                    }
                    None => VecDeque::new(),
                };
                for (sender, bytes) in early {
                    self.handle_ecdsa(sender, &bytes);
                }
            }
            Err(reason) => {
                self.participations.remove(&session);
                self.send(from, PeerMessage::RejectSign { session, reason });
            }
        }
    }

    /// Everything up to the first message: judge again (time has passed), check terms and salts,
    /// count the spend and write the audit record in one durable transaction.
    fn start_signing(
        &self,
        session: Digest,
        coordinator: PartyId,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
        request: &[u8],
        own_salt: Salt,
    ) -> Result<(Running, Vec<u8>), Rejection> {
        let judged = self.judge(request)?;
        let key = self.open_key(&judged.row).map_err(|error| {
            tracing::error!(?error, "this party's share cannot be opened");
            Rejection::Fault
        })?;
        let terms = SignTerms { session, quorum, coordinator, digest: judged.verdict.digest };
        let signer = Signer::new(&key, terms, salts, &own_salt)
            .map_err(|error| Rejection::BadRequest(error.to_string()))?;
        self.count(&judged, &session, quorum)?;
        let mut buffer = [0; MAX_MESSAGE];
        let first = signer.nonce_message(&mut buffer).map_err(|_| Rejection::Fault)?.to_vec();
        Ok((Running { key, signer: Box::new(signer) }, first))
    }

    fn count(&self, judged: &Judged, session: &Digest, quorum: PartySet) -> Result<(), Rejection> {
        let window = judged.verdict.window;
        let members: Vec<u16> = quorum.iter().map(PartyId::number).collect();
        let record = serde_json::json!({
            "event": "released", "at": now(), "key": hex::encode(judged.row.key),
            "request": hex::encode(judged.hash), "session": hex::encode(session),
            "digest": hex::encode(judged.verdict.digest), "quorum": members,
            "spend": judged.verdict.spend.to_string(),
        });
        let spend = Spend {
            request: judged.hash,
            key: judged.row.key,
            amount: judged.verdict.spend.to_be_bytes(),
            now: now(),
            expires: judged.expires,
            window: window.map(|window| (window.seconds(), window.max_total().to_be_bytes())),
            audit: record.to_string().into_bytes(),
        };
        match self.store.spend(spend) {
            Ok(SpendOutcome::Counted | SpendOutcome::AlreadyCounted) => Ok(()),
            Ok(SpendOutcome::OverLimit { .. }) => Err(Rejection::Denied {
                rule: "window".to_owned(),
                message: "the limit of the key's time window would be exceeded".to_owned(),
            }),
            Err(error) => {
                tracing::error!(%error, "nothing is signed: the spend could not be stored");
                Err(Rejection::Fault)
            }
        }
    }

    pub(super) fn handle_ecdsa(&mut self, from: PartyId, bytes: &[u8]) {
        let Ok(header) = Header::peek(bytes) else {
            tracing::warn!(party = %from, "a signing message was malformed");
            return;
        };
        if header.round == 2 {
            return self.handle_share(from, &header.session, bytes);
        }
        let Some(waiting) = self.participations.get_mut(&header.session) else { return };
        let coordinator = waiting.coordinator;
        let Some(Running { key, signer }) = &mut waiting.session else {
            if !waiting.early.iter().any(|(sender, _)| *sender == from) {
                waiting.early.push_back((from, bytes.to_vec()));
            }
            return;
        };
        match signer.handle_nonce(key, from, bytes) {
            Ok(None) => {}
            Ok(Some(share)) => {
                let mut buffer = [0; MAX_MESSAGE];
                if let Ok(bytes) = share.encode(&mut buffer) {
                    let bytes = bytes.to_vec();
                    self.participations.remove(&header.session);
                    self.send(coordinator, PeerMessage::Ecdsa(bytes));
                }
            }
            Err(Failure::Refused(refusal)) => {
                tracing::warn!(party = %from, %refusal, "a signing message was refused");
            }
            Err(Failure::Aborted(abort)) => {
                tracing::warn!(%abort, session = hex::encode(header.session), "a signature failed");
                self.participations.remove(&header.session);
                let reason = Rejection::BadRequest(abort.to_string());
                let session = header.session;
                self.send(coordinator, PeerMessage::RejectSign { session, reason });
            }
        }
    }

    /// Somebody has the signature: verify it and keep the record, so that a repeated request is
    /// answered from it.
    pub(super) fn handle_signed(
        &mut self,
        from: PartyId,
        session: Digest,
        request: &[u8],
        outcome: &Outcome,
    ) {
        self.participations.remove(&session);
        let Ok(judged) = self.judge(request) else { return };
        if judged.outcome.is_some() || !Self::outcome_verifies(&judged, outcome) {
            return;
        }
        if let Err(error) = self.keep_outcome(&judged, outcome) {
            tracing::error!(?error, party = %from, "a signature could not be recorded");
        }
    }

    pub(super) fn outcome_verifies(judged: &Judged, outcome: &Outcome) -> bool {
        use quorate_core::curve::{EcdsaGroup as _, Group as _};
        let Ok(public) = Self::public_of(&judged.row) else { return false };
        let key = public.group_key().and_then(Curve::point_from_bytes);
        let parts =
            (key, Curve::scalar_from_bytes(&outcome.r), Curve::scalar_from_bytes(&outcome.s));
        let (Some(key), Some(r), Some(s)) = parts else { return false };
        Curve::verify(&key, &judged.verdict.digest, &r, &s)
    }

    pub(super) fn keep_outcome(
        &self,
        judged: &Judged,
        outcome: &Outcome,
    ) -> Result<(), ServiceError> {
        let record = serde_json::json!({
            "event": "signed", "at": now(), "key": hex::encode(judged.row.key),
            "request": hex::encode(judged.hash), "session": hex::encode(outcome.session),
            "r": hex::encode(outcome.r), "s": hex::encode(outcome.s),
        });
        self.store
            .finish(
                judged.hash,
                judged.row.key,
                judged.expires,
                super::records::to_bytes(outcome),
                record.to_string().into_bytes(),
            )
            .map_err(|error| ServiceError::local(error))
    }

    pub(super) fn audit(&self, entry: &serde_json::Value) {
        let mut entry = entry.clone();
        if let Some(fields) = entry.as_object_mut() {
            fields.insert("at".to_owned(), now().into());
        }
        if let Err(error) = self.store.audit_append(entry.to_string().into_bytes()) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}
