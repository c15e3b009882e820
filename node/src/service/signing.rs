//! A member's part in a signature: it judges the client's own request, counts it, and only then lets
//! the first message out.

use std::time::Instant;

use quorate_core::ecdsa::{Failure, MAX_MESSAGE, Salt, SignTerms, Signer};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::request::SignedRequest;
use quorate_core::session::{Abort, Header, Refusal};

use super::facts::{Inquire, Waiting, Weighed};
use super::incidents::UNKNOWN_SESSION;
use super::judge::Reading;
use super::open_keys::OpenShare;
use super::records::Public;
use super::{Curve, MAX_PARTIES, MAX_QUORUM, SESSIONS_PER_PEER, Service};
use crate::handle::ServiceError;
use crate::message::{Outcome, PeerMessage, Rejection, sign_session};

/// One accepted proposal.
pub(super) struct Participation {
    pub(super) coordinator: PartyId,
    pub(super) deadline: Instant,
    /// The deadline never gets later than this.
    pub(super) patience: Instant,
    /// Of the request.
    pub(super) hash: Digest,
    request: Vec<u8>,
    salt: Salt,
    /// Whether the coordinator has started it; it may still wait for peers, or for the HSM.
    started: bool,
    session: Option<Running>,
}

impl Participation {
    pub(super) fn runs_with(&self, party: PartyId) -> bool {
        self.session.as_ref().is_some_and(|running| running.quorum.contains(party))
    }

    /// Whether nothing of it was counted or sent.
    pub(super) fn has_not_begun(&self) -> bool {
        self.session.is_none()
    }
}

/// R_j of a faster member, which came before this party's start of the session: until then nobody here
/// can tell which session its D0 names.
pub(super) struct Early {
    from: PartyId,
    inputs: Digest,
    bytes: Vec<u8>,
    deadline: Instant,
}

/// A coordinator's word that a session starts.
pub(super) struct Start {
    pub(super) session: Digest,
    pub(super) from: PartyId,
    quorum: PartySet,
    salts: Vec<(PartyId, Salt)>,
    pub(super) deadline: Instant,
}

enum Started {
    /// With its first message.
    Running(Running, Vec<u8>),
    /// The share of this key is not open yet.
    Opening([u8; 16]),
    /// Facts are missing that were not needed, or were there, when it was accepted.
    Asking(Inquire),
}

struct Running {
    key: OpenShare,
    quorum: PartySet,
    signer: Box<Signer<Curve, MAX_QUORUM>>,
}

impl Service {
    pub(super) fn handle_sign_proposal(
        &mut self,
        from: PartyId,
        nonce: &[u8; 32],
        request: Vec<u8>,
    ) {
        let session = sign_session(&self.network_id, from, nonce, &request);
        let answer = self.accept_proposal(from, session, &request);
        self.answer_proposal(from, session, &request, answer);
    }

    /// Tells the coordinator, unless the answer is still to come.
    pub(super) fn answer_proposal(
        &mut self,
        from: PartyId,
        session: Digest,
        request: &[u8],
        answer: Result<Option<PeerMessage>, Rejection>,
    ) {
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            // That it waits is on record already, and the client will ask again.
            Err(reason @ Rejection::Waiting { .. }) => PeerMessage::RejectSign { session, reason },
            Err(reason) => {
                self.blame_proposer(from, &reason);
                self.audit_refusal(from, &session, Some(request), &reason);
                PeerMessage::RejectSign { session, reason }
            }
        };
        self.send(from, answer);
    }

    /// An honest coordinator has parsed the request itself, so what is wrong with it is its doing. A
    /// policy's denial is not: policies see different times and counters.
    fn blame_proposer(&mut self, from: PartyId, reason: &Rejection) {
        match reason {
            Rejection::BadRequest(what) => {
                self.incidents.add(from, format_args!("a proposal to sign: {what}"));
            }
            Rejection::UnknownKey => {
                self.incidents.add(from, "a proposal to sign with a key that is not active here");
            }
            _ => {}
        }
    }

    /// Only a session's coordinator, or a member that answers this party, sends such a message. It is
    /// late if the session was known, and else nonsense.
    pub(super) fn doubt_session(&mut self, from: PartyId, session: &Digest) {
        if !self.remembered.knows(session) {
            self.incidents.add(from, UNKNOWN_SESSION);
        }
    }

    /// Members send these because a coordinator told *them* that this party takes part: a lie of the
    /// coordinator, for all that is known here. The log names the sender, nobody is blamed.
    pub(super) fn stray_message(&self, from: PartyId, session: &Digest) {
        if !self.remembered.knows(session) {
            let session = hex::encode(session);
            tracing::warn!(party = %from, session, "dropped: {UNKNOWN_SESSION}");
        }
    }

    pub(super) fn handle_sign_cancel(&mut self, from: PartyId, session: &Digest) {
        match self.participations.get(session) {
            Some(waiting) if waiting.coordinator == from => {
                self.participations.remove(session);
                self.openings.forget(session);
                self.inquiries.forget(session);
            }
            Some(_) => self.incidents.add(from, "it cancelled a session of another coordinator"),
            None => self.inquiries.forget_proposal(from, session),
        }
    }

    fn accept_proposal(
        &mut self,
        from: PartyId,
        session: Digest,
        request: &[u8],
    ) -> Result<Option<PeerMessage>, Rejection> {
        // After its link broke the coordinator asks again; the same salt answers the same session.
        if let Some(Participation { session: None, salt, .. }) = self.participations.get(&session) {
            return Ok(Some(PeerMessage::AcceptSign { session, salt: *salt }));
        }
        if self.inquiries.has_session(&session) {
            return Ok(None);
        }
        if !self.remembered.is_new(from, &session) {
            return Err(Rejection::BadRequest("the session was proposed before".to_owned()));
        }
        let open = self.participations.values().filter(|p| p.coordinator == from).count();
        if open + self.inquiries.proposals_of(from) >= SESSIONS_PER_PEER {
            return Err(Rejection::Busy);
        }
        self.consider(from, session, request)
    }

    /// Judges a proposal, at once or as soon as the facts for it are there.
    pub(super) fn consider(
        &mut self,
        from: PartyId,
        session: Digest,
        request: &[u8],
    ) -> Result<Option<PeerMessage>, Rejection> {
        if self.witness.is_rolled_back() {
            return Err(Rejection::Fault);
        }
        let reading = self.read(request)?;
        if let Some(outcome) = reading.outcome {
            return Ok(Some(PeerMessage::AlreadySigned { session, outcome }));
        }
        let judged = match self.weigh(request, reading) {
            Weighed::Allowed(judged) => judged,
            Weighed::Refused(waiting @ Rejection::Waiting { .. }) => {
                self.keep_waiting(from, request)?;
                return Err(waiting);
            }
            Weighed::Refused(reason) => return Err(reason),
            Weighed::Asks(inquire) => {
                let request = request.to_vec();
                self.inquire(inquire, Waiting::Proposal { from, session, request });
                return Ok(None);
            }
        };
        // Only a look: the spend is counted when the session starts.
        self.has_room(&judged)?;
        // Better told now than when the coordinator counts on this party.
        if !self.open_keys.is_open(&judged.row)
            && let Some(error) = self.calls.is_silent(self.clock.instant())
        {
            tracing::warn!(coordinator = %from, "not signed: {error}");
            return Err(self.hsm_silent());
        }
        let mut rng = self.rng(&session).map_err(|_| Rejection::Fault)?;
        let mut salt = [0; 32];
        rand_core::RngCore::fill_bytes(&mut rng, &mut salt);
        let deadline = self.clock.instant() + self.deadlines.accept + self.deadlines.sign;
        let participation = Participation {
            coordinator: from,
            deadline,
            patience: deadline + super::PATIENCE,
            hash: judged.hash,
            request: request.to_vec(),
            salt,
            started: false,
            session: None,
        };
        self.participations.insert(session, participation);
        Ok(Some(PeerMessage::AcceptSign { session, salt }))
    }

    pub(super) fn handle_sign_start(
        &mut self,
        from: PartyId,
        session: Digest,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
    ) {
        let Some(waiting) = self.participations.get_mut(&session) else {
            return self.doubt_session(from, &session);
        };
        if waiting.coordinator != from {
            return self.incidents.add(from, "it started a session of another coordinator");
        }
        // It is kept while the share is opened.
        if salts.len() > MAX_PARTIES {
            return self.incidents.add(from, "it started a session with more salts than holders");
        }
        if waiting.started {
            return self.incidents.add(from, "it started a session twice");
        }
        waiting.started = true;
        let (salts, deadline) = (salts.to_vec(), waiting.deadline);
        self.start_session(Start { session, from, quorum, salts, deadline });
    }

    /// Starts a session, now or as soon as enough peers have said what they know of this party and its
    /// share is open. It is called again then, and looks at everything again.
    pub(super) fn start_session(&mut self, start: Start) {
        let Some(waiting) = self.participations.get(&start.session) else { return };
        if waiting.session.is_some() {
            return;
        }
        let (request, own_salt) = (waiting.request.clone(), waiting.salt);
        if !self.is_witnessed(&request) {
            return self.witness.wait(start);
        }
        let (session, from, quorum) = (start.session, start.from, start.quorum);
        match self.start_signing(&start, &request, own_salt) {
            Ok(Started::Opening(key)) => self.start_when_open(&key, start),
            Ok(Started::Asking(inquire)) => self.inquire(inquire, Waiting::Start(start)),
            Ok(Started::Running(running, first)) => {
                // The coordinator needs R_j too; this party itself only if it coordinates.
                let receivers = quorum.without(self.me).with(from);
                let inputs = *running.signer.session();
                // Late messages of it are no nonsense.
                let _ = self.remembered.is_new(from, &inputs);
                if let Some(waiting) = self.participations.get_mut(&session) {
                    waiting.session = Some(running);
                }
                for to in receivers.iter() {
                    self.send(to, PeerMessage::Ecdsa(first.clone()));
                }
                let mine = |early: &mut Early| early.inputs == inputs;
                let early: Vec<Early> = self.early.extract_if(.., mine).collect();
                for Early { from, bytes, .. } in early {
                    self.handle_ecdsa(from, &bytes);
                }
            }
            Err(reason) => {
                if let Rejection::BadRequest(what) = &reason {
                    self.incidents.add(from, format_args!("a start of a session: {what}"));
                }
                self.audit_refusal(from, &session, Some(&request), &reason);
                self.participations.remove(&session);
                self.send(from, PeerMessage::RejectSign { session, reason });
            }
        }
    }

    /// Whether enough holders of the key have been heard since this party started.
    fn is_witnessed(&self, request: &[u8]) -> bool {
        let Ok(request) = SignedRequest::parse(request) else { return true };
        let Ok(Some(row)) = self.active_key(request.key().as_bytes()) else { return true };
        // What cannot be read is refused, with its reason, by the start itself.
        let heard = |public: Public| self.witness.has_heard(self.me, &public.terms.holders);
        Self::public_of(&row).map_or(true, heard) && self.knows_newest_policy(&row.key)
    }

    /// Everything up to the first message: judge again (time has passed), have the share open, check terms
    /// and salts, count the spend and write the audit record in one durable transaction.
    fn start_signing(
        &mut self,
        start: &Start,
        request: &[u8],
        own_salt: Salt,
    ) -> Result<Started, Rejection> {
        if self.witness.is_rolled_back() {
            return Err(Rejection::Fault);
        }
        if let Some((_, why)) = self.distrusted_among(&start.quorum) {
            return Err(Rejection::Failed(why));
        }
        let judged = match self.weigh(request, self.read(request)?) {
            Weighed::Allowed(judged) => judged,
            Weighed::Refused(reason) => return Err(reason),
            Weighed::Asks(inquire) => return Ok(Started::Asking(inquire)),
        };
        let key = self.share_of(&judged.row).map_err(|error| {
            tracing::error!("this party's share cannot be opened: {error}");
            self.hsm_silent()
        })?;
        let Some(key) = key else { return Ok(Started::Opening(judged.row.key)) };
        let (derivation, digest) = (judged.derivation, judged.digest);
        let (quorum, coordinator) = (start.quorum, start.from);
        let terms = SignTerms { quorum, coordinator, derivation, digest };
        let signer = Signer::new(&key, terms, &start.salts, &own_salt)
            .map_err(|error| Rejection::BadRequest(error.to_string()))?;
        self.count(&judged, &start.session, quorum, key.terms().holders.parties())?;
        self.announce_head().map_err(|_| Rejection::Fault)?;
        let mut buffer = [0; MAX_MESSAGE];
        let first = signer.nonce_message(&mut buffer).map_err(|_| Rejection::Fault)?.to_vec();
        Ok(Started::Running(Running { key, quorum, signer: Box::new(signer) }, first))
    }

    /// R1 and R2 name their session by D0 alone.
    pub(super) fn handle_ecdsa(&mut self, from: PartyId, bytes: &[u8]) {
        let Ok(Header { round, session: inputs, .. }) = Header::peek(bytes) else {
            return self.incidents.add(from, "a malformed signing message");
        };
        if bytes.len() > MAX_MESSAGE {
            return self.incidents.add(from, "a signing message over its limit");
        }
        let collected = self.collect(from, round, &inputs, bytes);
        if round != 1 {
            // A member answers this party alone.
            if !collected {
                self.doubt_session(from, &inputs);
            }
            return;
        }
        if from == self.me {
            return;
        }
        // With salts that repeat, sessions of one request have one D0, and the message is for all.
        let running = |p: &Participation| {
            p.session.as_ref().is_some_and(|running| *running.signer.session() == inputs)
        };
        let concerned = self.participations.iter().filter(|(_, p)| running(p));
        let concerned: Vec<Digest> = concerned.map(|(session, _)| *session).collect();
        for session in &concerned {
            self.take_nonce(from, session, bytes);
        }
        if !concerned.is_empty() {
            return;
        }
        if self.participations.values().any(|waiting| waiting.session.is_none()) {
            self.keep_early(from, inputs, bytes);
        } else if !collected {
            self.stray_message(from, &inputs);
        }
    }

    /// At most as many as a peer may have sessions; they are dropped when no session comes for them.
    fn keep_early(&mut self, from: PartyId, inputs: Digest, bytes: &[u8]) {
        if self.early.iter().any(|early| early.from == from && early.inputs == inputs) {
            return;
        }
        if self.early.iter().filter(|early| early.from == from).count() >= SESSIONS_PER_PEER
            && let Some(oldest) = self.early.iter().position(|early| early.from == from)
        {
            self.early.remove(oldest);
        }
        let deadline = self.clock.instant() + self.deadlines.accept + self.deadlines.sign;
        self.early.push(Early { from, inputs, bytes: bytes.to_vec(), deadline });
    }

    pub(super) fn expire_early(&mut self, at: Instant) {
        let late: Vec<Early> = self.early.extract_if(.., |early| early.deadline <= at).collect();
        for Early { from, inputs, .. } in late {
            self.stray_message(from, &inputs);
        }
    }

    fn take_nonce(&mut self, from: PartyId, session: &Digest, bytes: &[u8]) {
        let Some(waiting) = self.participations.get_mut(session) else { return };
        let coordinator = waiting.coordinator;
        let Some(Running { key, signer, .. }) = &mut waiting.session else { return };
        match signer.handle_nonce(key, from, bytes) {
            Ok(None) => {}
            Ok(Some(share)) => {
                let mut buffer = [0; MAX_MESSAGE];
                if let Ok(bytes) = share.encode(&mut buffer) {
                    let bytes = bytes.to_vec();
                    self.participations.remove(session);
                    self.send(coordinator, PeerMessage::Ecdsa(bytes));
                }
            }
            // A holder may have been told of another quorum, by the coordinator.
            Err(Failure::Refused(Refusal::NotAMember(party)))
                if key.terms().holders.parties().contains(party) =>
            {
                tracing::warn!(%party, "dropped: a nonce of a party outside the quorum");
            }
            Err(Failure::Refused(refusal)) => self.incidents.add(from, refusal),
            Err(Failure::Aborted(abort)) => {
                if let Abort::Culprit(party, _) = abort {
                    self.incidents.add(party, abort);
                }
                tracing::warn!(%abort, session = hex::encode(session), "a signature failed");
                self.participations.remove(session);
                let reason = Rejection::Failed(abort.to_string());
                self.send(coordinator, PeerMessage::RejectSign { session: *session, reason });
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
        if self.participations.get(&session).is_some_and(|p| p.coordinator == from) {
            self.participations.remove(&session);
        }
        let reading = match self.read(request) {
            Ok(reading) => reading,
            Err(Rejection::BadRequest(what)) => {
                return self.incidents.add(from, format_args!("a record of a signature: {what}"));
            }
            Err(_) => return,
        };
        if !Self::outcome_verifies(&reading, outcome) {
            return self.incidents.add(from, "a record of a signature that does not verify");
        }
        // Only now: nobody ends a session of others with a record of nothing.
        if self.participations.get(&session).is_some_and(|waiting| waiting.request == request) {
            self.participations.remove(&session);
        }
        if reading.outcome.is_some() {
            return;
        }
        if let Err(error) = self.keep_outcome(&reading, outcome) {
            tracing::error!(%error, party = %from, "a signature could not be recorded");
        }
    }

    /// Everything that a transaction made of the record needs: r and s under the key, s low, and the
    /// parity, without which it would be from another sender.
    pub(super) fn outcome_verifies(reading: &Reading, outcome: &Outcome) -> bool {
        use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
        let key = VerifyingKey::from_sec1_bytes(&reading.derived.encoded().0).ok();
        let signature = Signature::from_scalars(outcome.r, outcome.s).ok();
        let (Some(key), Some(signature)) = (key, signature) else { return false };
        // x(R) over the group's order does not happen to honest signers.
        let id = RecoveryId::new(outcome.y_parity, false);
        signature.normalize_s().is_none()
            && VerifyingKey::recover_from_prehash(&reading.digest, &signature, id)
                .is_ok_and(|sender| sender == key)
    }

    pub(super) fn keep_outcome(
        &self,
        reading: &Reading,
        outcome: &Outcome,
    ) -> Result<(), ServiceError> {
        let record = serde_json::json!({
            "event": "signed", "at": self.now(), "key": hex::encode(reading.row.key),
            "request": hex::encode(reading.hash), "session": hex::encode(outcome.session),
            "r": hex::encode(outcome.r), "s": hex::encode(outcome.s),
        });
        self.store
            .finish(
                reading.hash,
                reading.row.key,
                reading.expires,
                super::records::to_bytes(outcome),
                record.to_string().into_bytes(),
            )
            .map_err(ServiceError::local)
    }

    /// Appends a record with this party's time.
    pub(super) fn audit(&self, mut record: serde_json::Value) {
        if let Some(fields) = record.as_object_mut() {
            fields.insert("at".to_owned(), self.now().into());
        }
        if let Err(error) = self.store.audit_append(record.to_string().into_bytes()) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}
