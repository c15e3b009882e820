//! The coordinator's part in a signature: find a quorum, start it, combine the shares, and try
//! another quorum when one fails. It is trusted with nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_core::curve::Group as _;
use quorate_core::ecdsa::{Combiner, Failure, Salt, SignTerms};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::ethereum;
use quorate_core::request::{Payload, SignedRequest};
use tokio::sync::oneshot;

use super::signing::Judged;
use super::{Curve, MAX_QUORUM, Service, now};
use crate::handle::{ServiceError, Signed};
use crate::message::{Outcome, PeerMessage, Rejection};

pub(super) type SignReply = oneshot::Sender<Result<Signed, ServiceError>>;

/// Sessions that one request may get in a row.
const ATTEMPTS: u32 = 3;

/// One session of one request, as its coordinator sees it.
pub(super) struct Coordination {
    request: Vec<u8>,
    hash: Digest,
    holders: PartySet,
    accepted: BTreeMap<PartyId, Salt>,
    rejected: BTreeMap<PartyId, Rejection>,
    running: Option<(PartySet, Box<Combiner<Curve, MAX_QUORUM>>)>,
    need: usize,
    /// Members of quorums that failed; they are asked last.
    suspects: PartySet,
    attempt: u32,
    started: Instant,
    deadline: Instant,
    reply: Option<SignReply>,
}

/// A rejection in a few words, for the asker.
pub(super) fn describe(reason: &Rejection) -> String {
    match reason {
        Rejection::Denied { rule, message } => format!("denied by rule {rule}: {message}"),
        Rejection::BadRequest(what) => what.clone(),
        Rejection::UnknownKey => "it has no active share of this key".to_owned(),
        Rejection::Busy => "it has too many sessions".to_owned(),
        Rejection::Fault => "it has a fault of its own (see its log)".to_owned(),
    }
}

fn to_error(reason: Rejection, party: PartyId) -> ServiceError {
    match reason {
        Rejection::Denied { rule, message } => {
            ServiceError::Denied { rule, reason: message, party: party.number() }
        }
        Rejection::BadRequest(what) => ServiceError::bad_request(what),
        Rejection::UnknownKey => {
            ServiceError::UnknownKey { key: "no active key of this id".into() }
        }
        Rejection::Busy => ServiceError::Busy,
        Rejection::Fault => ServiceError::local("this party has a local fault, see its log"),
    }
}

impl Service {
    pub(super) fn coordinate_signature(&mut self, request: Vec<u8>, reply: SignReply) {
        let started = Instant::now();
        match self.judge(&request) {
            Err(reason) => {
                let error = to_error(reason, self.me);
                let _ = reply.send(Err(error));
            }
            Ok(judged) => match judged.outcome.clone() {
                Some(outcome) => {
                    let _ = reply.send(signed(&request, &outcome, started, true));
                }
                None => {
                    // A damaged share is the operator's business at once, not a peer's.
                    if let Err(error) = self.open_key(&judged.row) {
                        let _ = reply.send(Err(error));
                        return;
                    }
                    self.propose_signature(
                        request,
                        &judged,
                        PartySet::EMPTY,
                        1,
                        started,
                        Some(reply),
                    );
                }
            },
        }
    }

    fn propose_signature(
        &mut self,
        request: Vec<u8>,
        judged: &Judged,
        suspects: PartySet,
        attempt: u32,
        started: Instant,
        reply: Option<SignReply>,
    ) {
        let prepared = Self::public_of(&judged.row)
            .and_then(|public| Ok((public, self.fresh_bytes::<32>("sign-session")?)));
        let (public, nonce) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(error));
                }
                return;
            }
        };
        let session = Transcript::new("sign-session")
            .bytes(&public.terms.context())
            .bytes(&judged.hash)
            .party(self.me)
            .bytes(&nonce)
            .finish();
        let holders = public.terms.holders;
        for to in holders.parties().iter() {
            self.send(to, PeerMessage::ProposeSign { session, request: request.clone() });
        }
        let coordination = Coordination {
            request,
            hash: judged.hash,
            holders: holders.parties(),
            accepted: BTreeMap::new(),
            rejected: BTreeMap::new(),
            running: None,
            need: holders.quorum(),
            suspects,
            attempt,
            started,
            deadline: Instant::now() + self.deadlines.accept,
            reply,
        };
        self.coordinations.insert(session, coordination);
    }

    pub(super) fn handle_accept(&mut self, from: PartyId, session: Digest, salt: Salt) {
        let Some(c) = self.coordinations.get_mut(&session) else { return };
        if c.running.is_some() || !c.holders.contains(from) {
            return;
        }
        c.accepted.entry(from).or_insert(salt);
        // Suspects are taken only when there are not enough others before the deadline.
        let fresh = c.accepted.keys().filter(|p| !c.suspects.contains(**p)).count();
        let everybody = c.accepted.len() + c.rejected.len() == c.holders.len();
        if fresh >= c.need || (everybody && c.accepted.len() >= c.need) {
            self.start_quorum(session);
        } else if everybody {
            self.fail_for_lack(&session);
        }
    }

    fn start_quorum(&mut self, session: Digest) {
        let Some(c) = self.coordinations.get_mut(&session) else { return };
        let trusted = c.accepted.keys().filter(|p| !c.suspects.contains(**p));
        let suspects = c.accepted.keys().filter(|p| c.suspects.contains(**p));
        let quorum: PartySet = trusted.chain(suspects).take(c.need).copied().collect();
        let salts: Vec<(PartyId, Salt)> =
            quorum.iter().filter_map(|p| c.accepted.get(&p).map(|salt| (p, *salt))).collect();
        let others = c.holders.difference(&quorum);
        let request = c.request.clone();
        let made = self.judge(&request).map_err(|r| to_error(r, self.me)).and_then(|judged| {
            let public = Self::public_of(&judged.row)?;
            let terms =
                SignTerms { session, quorum, coordinator: self.me, digest: judged.verdict.digest };
            let key = public.group_key().and_then(Curve::point_from_bytes).unwrap_or_default();
            Combiner::new(&public.terms.holders, key, terms)
                .map_err(|error| ServiceError::bad_request(error))
        });
        match made {
            Ok(combiner) => {
                let deadline = Instant::now() + self.deadlines.sign;
                if let Some(c) = self.coordinations.get_mut(&session) {
                    c.running = Some((quorum, Box::new(combiner)));
                    c.deadline = deadline;
                }
                for to in quorum.iter() {
                    self.send(to, PeerMessage::StartSign { session, quorum, salts: salts.clone() });
                }
                for to in others.iter() {
                    self.send(to, PeerMessage::CancelSign { session });
                }
            }
            Err(error) => self.end(&session, Err(error)),
        }
    }

    pub(super) fn handle_reject(&mut self, from: PartyId, session: Digest, reason: Rejection) {
        let Some(c) = self.coordinations.get_mut(&session) else { return };
        if !c.holders.contains(from) {
            return;
        }
        tracing::info!(party = %from, reason = describe(&reason), "a party does not sign");
        c.accepted.remove(&from);
        c.rejected.insert(from, reason);
        match &c.running {
            Some((quorum, _)) if quorum.contains(from) => {
                let suspects = [from].into_iter().collect();
                self.retry(&session, suspects);
            }
            Some(_) => {}
            None if c.holders.len() - c.rejected.len() < c.need => self.fail_for_lack(&session),
            None if c.accepted.len() + c.rejected.len() == c.holders.len() => {
                self.start_quorum(session);
            }
            None => {}
        }
    }

    pub(super) fn handle_already_signed(&mut self, session: &Digest, outcome: &Outcome) {
        let Some(c) = self.coordinations.get(session) else { return };
        let (request, started) = (c.request.clone(), c.started);
        let Ok(judged) = self.judge(&request) else { return };
        // The record is a peer's word: it counts because the signature verifies.
        if Self::outcome_verifies(&judged, outcome) {
            let _ = self.keep_outcome(&judged, outcome);
            self.end(session, signed(&request, outcome, started, true));
        }
    }

    pub(super) fn handle_share(&mut self, from: PartyId, session: &Digest, bytes: &[u8]) {
        let Some(c) = self.coordinations.get_mut(session) else { return };
        let Some((quorum, combiner)) = &mut c.running else { return };
        let quorum = *quorum;
        match combiner.handle_share(from, bytes) {
            Ok(None) => {}
            Ok(Some(signature)) => {
                let outcome = Outcome {
                    r: signature.r,
                    s: signature.s,
                    y_parity: signature.recovery_id & 1 == 1,
                    quorum,
                    session: *session,
                };
                self.finish(session, &outcome);
            }
            Err(Failure::Refused(refusal)) => {
                tracing::warn!(party = %from, %refusal, "a share was refused");
            }
            Err(Failure::Aborted(abort)) => {
                tracing::warn!(%abort, "a signature failed");
                self.retry(session, quorum);
            }
        }
    }

    fn finish(&mut self, session: &Digest, outcome: &Outcome) {
        let Some(c) = self.coordinations.get(session) else { return };
        let (request, holders, started) = (c.request.clone(), c.holders, c.started);
        if let Ok(judged) = self.judge(&request)
            && let Err(error) = self.keep_outcome(&judged, outcome)
        {
            tracing::error!(?error, "a signature could not be recorded");
        }
        for to in holders.without(self.me).iter() {
            let (request, outcome) = (request.clone(), outcome.clone());
            self.send(to, PeerMessage::Signed { session: *session, request, outcome });
        }
        self.end(session, signed(&request, outcome, started, false));
    }

    /// Gives up this session and tries another, unless it was the last; a spend still counts once.
    fn retry(&mut self, session: &Digest, suspects: PartySet) {
        let Some(mut c) = self.coordinations.remove(session) else { return };
        for to in c.holders.iter() {
            self.send(to, PeerMessage::CancelSign { session: *session });
        }
        let suspects = c.suspects.iter().chain(suspects.iter()).collect();
        match self.judge(&c.request) {
            Ok(judged) if c.attempt < ATTEMPTS => {
                let (attempt, reply) = (c.attempt + 1, c.reply.take());
                self.propose_signature(c.request, &judged, suspects, attempt, c.started, reply);
            }
            Ok(_) => {
                let error = lack(&c).unwrap_or_else(|| ServiceError::ProtocolFailure {
                    reason: format!("no signature after {ATTEMPTS} sessions; suspects: {suspects}"),
                    culprits: Vec::new(),
                });
                reply_to(&mut c, Err(error));
            }
            Err(reason) => reply_to(&mut c, Err(to_error(reason, self.me))),
        }
    }

    fn fail_for_lack(&mut self, session: &Digest) {
        let error = self.coordinations.get(session).map(|c| {
            lack(c).unwrap_or_else(|| ServiceError::NotEnoughParties {
                need: c.need,
                have: c.accepted.keys().map(|party| party.number()).collect(),
                reasons: c.rejected.iter().map(|(p, r)| (p.number(), describe(r))).collect(),
            })
        });
        if let Some(error) = error {
            self.end(session, Err(error));
        }
    }

    fn end(&mut self, session: &Digest, result: Result<Signed, ServiceError>) {
        let Some(mut c) = self.coordinations.remove(session) else { return };
        if result.is_err() {
            for to in c.holders.iter() {
                self.send(to, PeerMessage::CancelSign { session: *session });
            }
            self.audit(&serde_json::json!({
                "event": "failed", "at": now(), "request": hex::encode(c.hash),
                "session": hex::encode(session),
            }));
        }
        reply_to(&mut c, result);
    }

    pub(super) fn expire_coordinations(&mut self, at: Instant) {
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
                None if c.accepted.len() >= c.need => self.start_quorum(session),
                None => self.fail_for_lack(&session),
            }
        }
    }
}

/// A policy's denial that leaves too few parties is the answer; the first one is shown.
fn lack(c: &Coordination) -> Option<ServiceError> {
    let (party, reason) =
        c.rejected.iter().find(|(_, reason)| matches!(reason, Rejection::Denied { .. }))?;
    (c.holders.len() - c.rejected.len() < c.need).then(|| to_error(reason.clone(), *party))
}

fn reply_to(c: &mut Coordination, result: Result<Signed, ServiceError>) {
    if let Some(reply) = c.reply.take() {
        let _ = reply.send(result);
    }
}

/// The signed transaction, for the client.
fn signed(
    request: &[u8],
    outcome: &Outcome,
    started: Instant,
    repeated: bool,
) -> Result<Signed, ServiceError> {
    let local = || ServiceError::local("the signed transaction could not be encoded");
    let request = SignedRequest::parse(request).map_err(|_| local())?;
    let Payload::EthereumTransaction(unsigned) = request.payload();
    let mut buffer = vec![0; unsigned.len() + 128];
    let raw = ethereum::signed_transaction(
        unsigned,
        outcome.y_parity,
        &outcome.r,
        &outcome.s,
        &mut buffer,
    )
    .map_err(|_| local())?;
    Ok(Signed {
        raw_transaction: format!("0x{}", hex::encode(raw)),
        hash: format!("0x{}", hex::encode(ethereum::keccak256(raw))),
        r: hex::encode(outcome.r),
        s: hex::encode(outcome.s),
        y_parity: u8::from(outcome.y_parity),
        signers: outcome.quorum.iter().map(PartyId::number).collect(),
        session: hex::encode(outcome.session),
        ms: started.elapsed().as_millis() as u64,
        repeated,
    })
}
