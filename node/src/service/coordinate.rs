//! The coordinator's part in a signature, up to the start: ask the holders, collect their answers and
//! salts, and give up or go on. It is trusted with nothing; [`super::quorum`] has the rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_core::ecdsa::{Combiner, Salt};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::ethereum;
use quorate_core::policy::payload::Subject;
use quorate_core::request::{Payload, RequestError, SignedRequest};
use tokio::sync::oneshot;

use super::facts::{Waiting as ForFacts, Weighed};
use super::incidents::clip;
use super::judge::{Judged, Reading};
use super::{Curve, MAX_QUORUM, Service};
use crate::exit::Exit;
use crate::handle::{ServiceError, Signed, Waiting};
use crate::message::{Outcome, PeerMessage, Rejection, sign_session};

pub(super) type SignReply = oneshot::Sender<Result<Signed, ServiceError>>;

/// Sessions that one request may get in a row beyond one for each holder: enough to come round a liar
/// among four.
pub(super) const MORE_ATTEMPTS: usize = 3;
/// Requests that this party coordinates at a time.
const MAX_COORDINATIONS: usize = 256;

/// A device that could not take part is asked again after this.
const AGAIN: Duration = Duration::from_millis(300);

/// One session of one request, as its coordinator sees it.
pub(super) struct Coordination {
    pub(super) request: Vec<u8>,
    pub(super) nonce: [u8; 32],
    pub(super) hash: Digest,
    pub(super) holders: PartySet,
    pub(super) accepted: BTreeMap<PartyId, Salt>,
    pub(super) rejected: BTreeMap<PartyId, Rejection>,
    /// Devices that could not take part yet, and why; they are asked again then.
    pub(super) again: BTreeMap<PartyId, (Option<Instant>, Rejection)>,
    /// Not connected; they are asked when their link comes up.
    pub(super) unreachable: PartySet,
    pub(super) running: Option<(PartySet, Box<Combiner<Curve, MAX_QUORUM>>)>,
    pub(super) need: usize,
    /// Parties without which no rule's strict limits admit a quorum.
    pub(super) required: PartySet,
    /// Parties that the first rule's strict limits ask for.
    pub(super) preferred: PartySet,
    pub(super) attempt: u32,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) proposed: Instant,
    /// Until when a person may be asked at some holder.
    pub(super) asking: Option<Instant>,
    pub(super) replies: Vec<SignReply>,
}

/// A rejection in a few words, for the asker.
pub(super) fn describe(reason: &Rejection) -> String {
    match reason {
        Rejection::Denied { rule, message } => {
            format!("denied by rule {}: {}", clip(rule), clip(message))
        }
        Rejection::BadRequest(what) | Rejection::Failed(what) => clip(what),
        Rejection::UnknownKey => "it has no active share of this key".to_owned(),
        Rejection::Busy => "it has too many sessions".to_owned(),
        Rejection::Fault => "it has a fault of its own (see its log)".to_owned(),
        Rejection::HsmSilent { seconds } => format!(
            "its HSM has not answered for {seconds} s (see its status; it takes part again when the HSM answers)"
        ),
        Rejection::Waiting { until } => format!("it waits until {}", crate::clock::utc(*until)),
    }
}

pub(super) fn to_error(reason: &Rejection, party: PartyId) -> ServiceError {
    match reason {
        Rejection::Denied { rule, message } => {
            let (rule, reason, party) = (clip(rule), clip(message), party.number());
            ServiceError::Denied { rule, reason, party, verdict: None }
        }
        Rejection::BadRequest(what) => ServiceError::bad_request(clip(what)),
        Rejection::Failed(what) => {
            ServiceError::ProtocolFailure { reason: clip(what), culprits: Vec::new() }
        }
        Rejection::UnknownKey => {
            ServiceError::UnknownKey { key: "no active key of this id".into() }
        }
        Rejection::Busy => ServiceError::Busy,
        Rejection::Fault => ServiceError::local("this party has a local fault, see its log"),
        Rejection::Waiting { until } => ServiceError::Waiting(Waiting {
            until: *until,
            known_to: vec![party.number()],
            reasons: Vec::new(),
        }),
        Rejection::HsmSilent { .. } => {
            let reason = format!("party {party}: {}", describe(reason));
            ServiceError::Hsm { reason, exit: Exit::Hsm.code() }
        }
    }
}

/// Whether a device may say another thing in a moment: it has to hear some peers before it takes part.
fn is_not_yet(reason: &Rejection) -> bool {
    matches!(reason, Rejection::Failed(_) | Rejection::Busy)
}

impl Coordination {
    /// Holders that have neither answered nor lost their link.
    fn undecided(&self) -> PartySet {
        let answered = |party: &PartyId| {
            self.accepted.contains_key(party)
                || self.rejected.contains_key(party)
                || self.unreachable.contains(*party)
        };
        self.holders.iter().filter(|party| !answered(party)).collect()
    }

    /// Whether the session has not started, for want of this holder's answer among others.
    pub(super) fn awaits(&self, party: PartyId) -> bool {
        self.running.is_none() && self.undecided().contains(party)
    }

    /// Whether those that accepted can be, or contain, a quorum.
    fn has_quorum(&self) -> bool {
        let all = self.required.iter().all(|party| self.accepted.contains_key(&party));
        all && self.accepted.len() >= self.need
    }

    /// Whether the policy's delays are not over at some holder.
    fn waits(&self) -> bool {
        self.rejected.values().any(|reason| matches!(reason, Rejection::Waiting { .. }))
    }

    /// Whether no quorum can come any more, however long one waits.
    fn is_hopeless(&self) -> bool {
        let refused = |party: &PartyId| {
            let reason = self.rejected.get(party);
            reason.is_some_and(|reason| !matches!(reason, Rejection::Waiting { .. }))
        };
        let left = self.holders.iter().filter(|party| !refused(party)).count();
        left < self.need || self.required.iter().any(|party| refused(&party))
    }

    /// That the request waits: until a quorum's delays are over, in their own words; and why others are
    /// not among them.
    fn waiting(&self) -> Option<Waiting> {
        if !self.waits() || self.is_hopeless() {
            return None;
        }
        let mut times: BTreeMap<PartyId, u64> =
            self.accepted.keys().map(|party| (*party, 0)).collect();
        for (party, reason) in &self.rejected {
            if let Rejection::Waiting { until } = reason {
                times.insert(*party, *until);
            }
        }
        let mut sorted: Vec<u64> = times.values().copied().collect();
        sorted.sort_unstable();
        let quorum = sorted.get(self.need - 1).or(sorted.last()).copied().unwrap_or_default();
        let required = self.required.iter().filter_map(|party| times.get(&party).copied());
        let until = required.fold(quorum, u64::max);
        let reasons = self.reasons().into_iter();
        let reasons = reasons
            .filter(|(party, _)| PartyId::new(*party).is_none_or(|p| !times.contains_key(&p)))
            .collect();
        let known_to = times.keys().map(|party| party.number()).collect();
        Some(Waiting { until, known_to, reasons })
    }

    /// Why holders have not accepted.
    fn reasons(&self) -> Vec<(u16, String)> {
        let rejected =
            self.rejected.iter().map(|(party, reason)| (party.number(), describe(reason)));
        let away =
            self.unreachable.iter().map(|party| (party.number(), "not connected".to_owned()));
        let silent = self.undecided();
        let why = |party: PartyId| match self.again.get(&party) {
            Some((_, reason)) => describe(reason),
            None => "no answer in time".to_owned(),
        };
        let silent = silent.iter().map(|party| (party.number(), why(party)));
        rejected.chain(away).chain(silent).collect()
    }

    /// The error when no quorum can be had. That it waits is the answer, and so is a policy's denial.
    pub(super) fn lack(&self) -> ServiceError {
        if let Some(waiting) = self.waiting() {
            return ServiceError::Waiting(waiting);
        }
        let denial =
            |(_, reason): &(&PartyId, &Rejection)| matches!(reason, Rejection::Denied { .. });
        if let Some((party, reason)) = self.rejected.iter().find(denial) {
            return to_error(reason, *party);
        }
        ServiceError::NotEnoughParties {
            need: self.need,
            have: self.accepted.keys().map(|party| party.number()).collect(),
            reasons: self.reasons(),
        }
    }
}

/// A request on its way through one or more sessions.
pub(super) struct Asked {
    pub(super) request: Vec<u8>,
    pub(super) attempt: u32,
    pub(super) started: Instant,
    pub(super) replies: Vec<SignReply>,
}

pub(super) fn answer(replies: Vec<SignReply>, result: &Result<Signed, ServiceError>) {
    for reply in replies {
        // Who asked may be gone.
        let _ = reply.send(result.clone());
    }
}

impl Service {
    pub(super) fn coordinate_signature(&mut self, request: Vec<u8>, reply: SignReply) {
        let started = self.clock.instant();
        self.ask(Asked { request, attempt: 1, started, replies: vec![reply] }, true);
    }

    /// Answers a request, or shows it to the holders; before that, `wait` gives this party's own share time
    /// to open. Time may have passed since the client asked, so everything is looked at now.
    pub(super) fn ask(&mut self, asked: Asked, wait: bool) {
        if self.witness.is_rolled_back() {
            return answer(asked.replies, &Err(super::witness::rolled_back()));
        }
        let reading = self.read(&asked.request);
        // What is signed stays signed, whatever the clock and the policy say now.
        if let Ok(Reading { outcome: Some(outcome), .. }) = &reading {
            let result = self.signed(&asked.request, outcome, asked.started, true);
            return answer(asked.replies, &result);
        }
        let mut waits = false;
        let mut weighed = reading.map(|reading| self.weigh(&asked.request, reading));
        if let Ok(Weighed::Refused(Rejection::Waiting { .. })) = weighed {
            // Others may have it on record for longer; whoever has not puts it there now.
            waits = true;
            weighed = self
                .keep_waiting(self.me, &asked.request)
                .and_then(|()| self.weigh_as_if_over(&asked.request));
        }
        let judged = match weighed {
            Ok(Weighed::Allowed(judged)) => judged,
            Ok(Weighed::Asks(inquire)) => return self.inquire(inquire, ForFacts::Ask(asked, wait)),
            Ok(Weighed::Refused(reason)) | Err(reason) => {
                self.audit_denial(&asked.request, &reason);
                let error = match SignedRequest::parse(&asked.request) {
                    Err(wrong @ RequestError::Signature) => {
                        ServiceError::Unauthorised { reason: wrong.to_string() }
                    }
                    _ => to_error(&reason, self.me),
                };
                let error = self.explained(error, &asked.request);
                return answer(asked.replies, &Err(error));
            }
        };
        // The same request at the same time joins the session that runs, or will.
        if let Some(c) = self.coordinations.values_mut().find(|c| c.hash == judged.hash) {
            return c.replies.extend(asked.replies);
        }
        if let Some(waiting) = self.openings.request(&judged.hash) {
            return waiting.replies.extend(asked.replies);
        }
        if self.coordinations.len() + self.openings.requests() >= MAX_COORDINATIONS {
            return answer(asked.replies, &Err(ServiceError::Busy));
        }
        // A damaged share is the operator's business at once, not a peer's. A silent HSM is nobody's, if
        // the others are enough.
        let opening = wait && !waits && matches!(self.share_of(&judged.row), Ok(None));
        if opening && self.calls.is_silent(self.clock.instant()).is_none() {
            return self.ask_when_open(&judged.row.key, judged.hash, asked);
        }
        self.propose_signature(asked, &judged);
    }

    pub(super) fn propose_signature(&mut self, asked: Asked, judged: &Judged) {
        let prepared = Self::public_of(&judged.row)
            .and_then(|public| Ok((public, self.fresh_bytes::<32>("sign-session")?)));
        let (public, nonce) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return answer(asked.replies, &Err(error)),
        };
        let session = sign_session(&self.network_id, self.me, &nonce, &asked.request);
        let holders = public.terms.holders;
        let proposal = PeerMessage::ProposeSign { nonce, request: asked.request.clone() };
        let (mut unreachable, mut rejected) = (PartySet::EMPTY, BTreeMap::new());
        for to in holders.parties().iter() {
            let alone = PartySet::EMPTY.with(to);
            if let Some((_, why)) = self.too_long_for(&alone, &proposal, "the request") {
                rejected.insert(to, Rejection::BadRequest(why));
            } else if !self.send(to, proposal.clone()) {
                unreachable = unreachable.with(to);
            }
        }
        let coordination = Coordination {
            request: asked.request,
            nonce,
            hash: judged.hash,
            holders: holders.parties(),
            accepted: BTreeMap::new(),
            rejected,
            again: BTreeMap::new(),
            unreachable,
            running: None,
            need: holders.quorum(),
            required: judged.required(),
            preferred: judged.preferred(),
            attempt: asked.attempt,
            started: asked.started,
            deadline: self.clock.instant() + self.deadlines.accept,
            proposed: self.clock.instant(),
            asking: None,
            replies: asked.replies,
        };
        self.coordinations.insert(session, coordination);
    }

    /// A party's link came up: it is asked whatever waits for it.
    pub(super) fn propose_again(&mut self, party: PartyId) {
        let waiting: Vec<Digest> = self
            .coordinations
            .iter()
            .filter(|(_, c)| c.running.is_none() && c.unreachable.contains(party))
            .map(|(session, _)| *session)
            .collect();
        for session in waiting {
            let Some(c) = self.coordinations.get_mut(&session) else { continue };
            let proposal = PeerMessage::ProposeSign { nonce: c.nonce, request: c.request.clone() };
            if self.send(party, proposal)
                && let Some(c) = self.coordinations.get_mut(&session)
            {
                c.unreachable = c.unreachable.without(party);
            }
        }
        self.propose_keys_again(party);
    }

    /// A party's link broke: what it still owed will not come.
    pub(super) fn lose_coordinations(&mut self, party: PartyId) {
        let concerned: Vec<Digest> = self
            .coordinations
            .iter()
            .filter(|(_, c)| c.holders.contains(party))
            .map(|(session, _)| *session)
            .collect();
        for session in concerned {
            let Some(c) = self.coordinations.get_mut(&session) else { continue };
            match &c.running {
                Some((quorum, combiner)) => {
                    // Whoever has sent its share may go.
                    if quorum.contains(party) && combiner.missing().contains(party) {
                        self.retry(&session, [party].into_iter().collect());
                    }
                }
                None => {
                    c.accepted.remove(&party);
                    c.unreachable = c.unreachable.with(party);
                    self.decide(&session);
                }
            }
        }
    }

    pub(super) fn handle_accept(&mut self, from: PartyId, session: Digest, salt: Salt) {
        let Some(c) = self.coordinations.get_mut(&session) else { return };
        if c.running.is_some() || !c.holders.contains(from) {
            return;
        }
        if self.witness.distrusts(from) {
            return self.refuse_part(from, session);
        }
        c.accepted.entry(from).or_insert(salt);
        self.pass_asking_on(from, session);
        self.decide(&session);
    }

    pub(super) fn handle_reject(&mut self, from: PartyId, session: Digest, reason: Rejection) {
        let is_device = self.membership.is_device(from.number());
        let soon = self.clock.instant() + AGAIN;
        let Some(c) = self.coordinations.get_mut(&session) else { return };
        if !c.holders.contains(from) {
            return;
        }
        tracing::info!(party = %from, reason = describe(&reason), "a party does not sign");
        if is_device && c.running.is_none() && is_not_yet(&reason) {
            c.again.insert(from, (Some(soon), reason));
            return;
        }
        let failed = matches!(reason, Rejection::Failed(_));
        c.accepted.remove(&from);
        c.rejected.insert(from, reason);
        match &c.running {
            // A protocol failure makes the whole quorum suspect, not who reports it.
            Some((quorum, _)) if quorum.contains(from) => {
                let suspects = if failed { *quorum } else { [from].into_iter().collect() };
                self.retry(&session, suspects);
            }
            Some(_) => {}
            None => self.decide(&session),
        }
    }

    pub(super) fn handle_already_signed(
        &mut self,
        from: PartyId,
        session: &Digest,
        outcome: &Outcome,
    ) {
        let Some(c) = self.coordinations.get(session) else { return };
        let (request, started) = (c.request.clone(), c.started);
        let Ok(reading) = self.read(&request) else { return };
        // The record is a peer's word: it counts because the signature verifies.
        if !Self::outcome_verifies(&reading, outcome) {
            return self.incidents.add(from, "a record of a signature that does not verify");
        }
        if let Err(error) = self.keep_outcome(&reading, outcome) {
            tracing::error!(%error, "a signature could not be recorded");
        }
        let result = self.signed(&request, outcome, started, true);
        self.end(session, result);
    }

    /// Starts a quorum as soon as enough parties without a strike have accepted. Those with one are
    /// taken when nobody else is left to wait for.
    fn decide(&mut self, session: &Digest) {
        let Some(c) = self.coordinations.get(session) else { return };
        let clean = c.accepted.keys().filter(|party| !self.strikes.contains_key(party)).count();
        let open = c.undecided();
        let awaited = open.iter().any(|party| c.preferred.contains(party));
        let undecided = open.len();
        // Who asked hears of all parties at which it waits.
        let settled = undecided == 0;
        let lacking = c.holders.len() - c.rejected.len() < c.need
            || c.required.iter().any(|party| c.rejected.contains_key(&party));
        if c.has_quorum() && ((clean >= c.need && !awaited) || settled) {
            self.start_quorum(session);
        } else if (lacking && (settled || !c.waits() || c.is_hopeless()))
            || (settled && c.unreachable.is_empty())
        {
            let error = c.lack();
            self.end(session, Err(error));
        }
    }

    /// Devices that were not ready, after a restart or while they asked about something else.
    fn ask_devices_again(&mut self, at: Instant) {
        let mut due = Vec::new();
        for c in self.coordinations.values_mut().filter(|c| c.running.is_none()) {
            for (party, (when, _)) in &mut c.again {
                if when.take_if(|when| *when <= at).is_some() {
                    let (nonce, request) = (c.nonce, c.request.clone());
                    due.push((*party, PeerMessage::ProposeSign { nonce, request }));
                }
            }
        }
        for (party, proposal) in due {
            self.send(party, proposal);
        }
    }

    pub(super) fn expire_coordinations(&mut self, at: Instant) {
        self.ask_devices_again(at);
        let late: Vec<Digest> = self
            .coordinations
            .iter()
            .filter(|(_, c)| c.deadline <= at)
            .map(|(session, _)| *session)
            .collect();
        for session in late {
            let Some(c) = self.coordinations.get(&session) else { continue };
            match &c.running {
                Some((_, combiner)) => {
                    let missing = combiner.missing();
                    tracing::warn!(%missing, "the deadline of a signature passed");
                    self.retry(&session, missing);
                }
                None if c.has_quorum() => self.start_quorum(&session),
                None => {
                    let error = c.lack();
                    self.end(&session, Err(error));
                }
            }
        }
    }

    /// Ends a session and answers everybody who waits for it.
    pub(super) fn end(&mut self, session: &Digest, result: Result<Signed, ServiceError>) {
        let Some(c) = self.coordinations.remove(session) else { return };
        if let Err(error) = &result {
            for to in c.holders.iter() {
                self.send(to, PeerMessage::CancelSign { session: *session });
            }
            // That it waits was recorded once; the client asks again and again.
            if !matches!(error, ServiceError::Waiting(_)) {
                self.audit(serde_json::json!({
                    "event": "failed", "request": hex::encode(c.hash),
                    "session": hex::encode(session), "reason": error.to_string(),
                }));
            }
        }
        answer(c.replies, &result);
    }

    /// The signature, and the transaction that has it, for the client.
    pub(super) fn signed(
        &self,
        request: &[u8],
        outcome: &Outcome,
        started: Instant,
        repeated: bool,
    ) -> Result<Signed, ServiceError> {
        let local = || ServiceError::local("the signed transaction could not be encoded");
        let request = SignedRequest::parse(request).map_err(|_| local())?;
        let Outcome { y_parity, r, s, .. } = outcome;
        let (raw_transaction, hash) = match request.payload() {
            Payload::EthereumTransaction(unsigned) => {
                let mut buffer = vec![0; unsigned.len() + 128];
                let raw = ethereum::signed_transaction(unsigned, *y_parity, r, s, &mut buffer)
                    .map_err(|_| local())?;
                (Some(format!("0x{}", hex::encode(raw))), ethereum::keccak256(raw))
            }
            other => (None, Subject::parse(&other).map_err(|_| local())?.digest()),
        };
        Ok(Signed {
            raw_transaction,
            hash: format!("0x{}", hex::encode(hash)),
            signature: format!(
                "0x{}{}{:02x}",
                hex::encode(r),
                hex::encode(s),
                27 + u8::from(*y_parity)
            ),
            r: hex::encode(r),
            s: hex::encode(s),
            y_parity: u8::from(*y_parity),
            signers: outcome.quorum.iter().map(PartyId::number).collect(),
            session: hex::encode(outcome.session),
            ms: self.clock.instant().saturating_duration_since(started).as_millis() as u64,
            repeated,
        })
    }
}
