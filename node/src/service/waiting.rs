//! Requests that wait for their delays, and vetoes against them.
//!
//! A delay is each party's own: it runs from when the party itself put the request on record, and nobody
//! else's word begins or shortens it. Whoever records one first tells all holders, so that no coordinator
//! can keep it from those who watch another party; and a veto goes the same way.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::MAX_EXPIRY;
use quorate_core::request::{ClientKey, SignedRequest, Veto};

use super::Service;
use super::coordinate::describe;
use super::facts::{self, Weighed};
use super::judge::Reading;
use super::records::policy_of;
use crate::handle::{ServiceError, Vetoed, WaitingPage, WaitingRequest};
use crate::message::{MAX_VETOES, PeerMessage, Rejection};
use crate::store::{AwaitOutcome, Full, StoreError, VetoOutcome, VetoRow, WaitingRow};

/// Requests that a party is told of again, in one tick of the clock.
const TOLD_PER_TICK: usize = 4;
/// A veto of a request that nobody here has seen is kept a day beyond the latest expiry that a request of
/// its time can have.
const UNSEEN_MARGIN: u64 = 24 * 60 * 60;
/// Requests of one page; nobody else is served while it is made.
const PAGE: usize = 64;

/// What parties whose link came up are still to be told of.
#[derive(Default)]
pub(super) struct Announcements(BTreeMap<PartyId, VecDeque<Digest>>);

fn full(full: Full) -> Rejection {
    let what = match full {
        Full::Client => {
            "this client already has as many requests for this key waiting as it may have"
        }
        Full::Key => "as many requests for this key are waiting already as may be",
        Full::Party => "as many requests are waiting already as this party keeps",
    };
    let message = format!("{what}: wait until one is signed or has expired");
    Rejection::Denied { rule: "too-many-waiting".to_owned(), message }
}

fn not_stored(error: &StoreError) -> Rejection {
    tracing::error!(%error, "what waits, or a veto, could not be stored");
    Rejection::Fault
}

/// A veto that this party has checked.
struct Known {
    outcome: VetoOutcome,
    holders: PartySet,
    waiting: bool,
    /// Whether this party has sent its part of the signature before.
    released: bool,
}

impl Service {
    /// Puts a request on record that only its delays hold back, before anybody hears that it waits, and
    /// passes it on if it is new here and `from` another party.
    pub(super) fn keep_waiting(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Rejection> {
        let request = SignedRequest::parse(bytes)
            .map_err(|error| Rejection::BadRequest(error.to_string()))?;
        let (hash, key, since) = (request.hash(), *request.key().as_bytes(), self.now());
        let client = request.client();
        let row = WaitingRow { key, client: client.0, since, expires: request.expires() };
        let record = serde_json::json!({
            "event": "waiting", "at": since, "key": hex::encode(key), "request": hex::encode(hash),
            "client": client.to_string(), "expires": row.expires, "from": from.number(),
        });
        let record = record.to_string().into_bytes();
        match self.store.await_request(hash, &row, bytes, record) {
            Ok(AwaitOutcome::Recorded) => {}
            Ok(AwaitOutcome::Known) => return Ok(()),
            Ok(AwaitOutcome::Full(place)) => return Err(full(place)),
            Err(error) => return Err(not_stored(&error)),
        }
        tracing::info!(request = hex::encode(hash), %from, "a request waits for its delay");
        // The coordinator asks all holders at once.
        if from != self.me {
            let others = self.holders_of(&key).without(self.me).without(from);
            for to in others.iter() {
                self.send(to, PeerMessage::Await { request: bytes.to_vec() });
            }
        }
        Ok(())
    }

    /// A peer knows of a request that waits.
    pub(super) fn handle_await(&mut self, from: PartyId, request: Vec<u8>) {
        let weighed = match self.read(&request) {
            // The peer has missed it.
            Ok(Reading { outcome: Some(outcome), .. }) => {
                let session = outcome.session;
                self.send(from, PeerMessage::Signed { session, request, outcome });
                return;
            }
            Ok(reading) => Ok(self.weigh(&request, reading)),
            Err(reason) => Err(reason),
        };
        let refused = match weighed {
            // Nothing holds it back, or nothing any more.
            Ok(Weighed::Allowed(_)) => return,
            Ok(Weighed::Asks(inquire)) => {
                return self.inquire(inquire, facts::Waiting::Await { from, request });
            }
            Ok(Weighed::Refused(Rejection::Waiting { .. })) => {
                self.keep_waiting(from, &request).err()
            }
            Ok(Weighed::Refused(reason)) | Err(reason) => Some(reason),
        };
        match refused {
            Some(Rejection::BadRequest(what)) => {
                self.incidents.add(from, format_args!("a request that waits: {what}"));
            }
            Some(reason) => {
                tracing::info!(%from, "a request does not wait here: {}", describe(&reason));
            }
            None => {}
        }
    }

    fn holders_of(&self, key: &[u8; 16]) -> PartySet {
        let row = self.active_key(key).ok().flatten();
        let public = row.and_then(|row| Self::public_of(&row).ok());
        public.map_or(PartySet::EMPTY, |public| public.terms.holders.parties())
    }

    /// A veto that somebody brings to this party.
    pub(super) fn veto(&mut self, bytes: &[u8]) -> Result<Vetoed, ServiceError> {
        let veto = Veto::parse(bytes).map_err(ServiceError::bad_request)?;
        let memory = self.store.memory(*veto.request()).map_err(ServiceError::local)?;
        if memory.request.is_some_and(|row| row.outcome.is_some()) {
            return Err(ServiceError::Conflict {
                reason: "the request is signed already: a veto takes no signature back".to_owned(),
            });
        }
        let known = self.keep_veto(self.me, &veto)?;
        let mut told = PartySet::EMPTY;
        for to in known.holders.without(self.me).iter() {
            // Again and again, if the vetoer wants it: a link may have been down.
            if self.send(to, PeerMessage::Vetoes(vec![bytes.to_vec()])) {
                told = told.with(to);
            }
        }
        Ok(Vetoed {
            request: hex::encode(veto.request()),
            key: veto.key().to_string(),
            vetoer: veto.vetoer().to_string(),
            repeated: known.outcome == VetoOutcome::Known,
            waiting: known.waiting,
            released: known.released,
            told: told.iter().map(PartyId::number).collect(),
        })
    }

    /// Checks and stores a veto, durably: from then on this party does not sign by a delay that names the
    /// vetoer, and looks again when a session starts.
    fn keep_veto(&mut self, from: PartyId, veto: &Veto) -> Result<Known, ServiceError> {
        let (key, request, vetoer) = (*veto.key().as_bytes(), *veto.request(), veto.vetoer());
        let unknown = || ServiceError::UnknownKey { key: hex::encode(key) };
        let row = self.active_key(&key)?.ok_or_else(unknown)?;
        let public = Self::public_of(&row)?;
        let policy = policy_of(&row, &public)?;
        if !policy.names_vetoer(vetoer) {
            return Err(ServiceError::Denied {
                rule: "vetoer".to_owned(),
                reason: format!("no delay of the policy of key {} lets {vetoer} veto", row.name),
                party: self.me.number(),
                verdict: None,
            });
        }
        let memory = self.store.memory(request).map_err(ServiceError::local)?;
        let released = memory.request.as_ref().is_some_and(|row| row.counted);
        let at = self.now();
        // By the vetoer's time, so that parties that tell each other again do not keep it for ever.
        let latest = veto.time().min(at).saturating_add(policy.max_expiry());
        let until = latest.saturating_add(UNSEEN_MARGIN);
        if until <= at && memory.since.is_none() {
            return Err(ServiceError::bad_request(
                "the veto is older than any request that it could stop: make it anew",
            ));
        }
        let record = serde_json::json!({
            "event": "vetoed", "at": at, "key": hex::encode(key), "request": hex::encode(request),
            "vetoer": vetoer.to_string(), "from": from.number(), "released": released,
        });
        let bytes = veto.encode().to_vec();
        let kept = VetoRow { key, at, until, seen: false, veto: bytes };
        let outcome = self
            .store
            .add_veto(request, vetoer.0, kept, record.to_string().into_bytes())
            .map_err(ServiceError::local)?;
        match outcome {
            VetoOutcome::Stored => {
                tracing::info!(request = hex::encode(request), %vetoer, %from, "a request is vetoed");
            }
            VetoOutcome::Known => {}
            VetoOutcome::Full => {
                return Err(ServiceError::Conflict {
                    reason: format!(
                        "{vetoer} has vetoed as many requests that nobody has seen here as this party \
                         keeps: veto this one when it waits"
                    ),
                });
            }
        }
        let (holders, waiting) = (public.terms.holders.parties(), memory.since.is_some());
        Ok(Known { outcome, holders, waiting, released })
    }

    /// Vetoes that a peer passes on.
    pub(super) fn handle_vetoes(&mut self, from: PartyId, vetoes: &[Vec<u8>]) {
        if vetoes.len() > MAX_VETOES {
            return self.incidents.add(from, "more vetoes than one message may have");
        }
        for bytes in vetoes {
            let veto = match Veto::parse(bytes) {
                Ok(veto) => veto,
                Err(error) => return self.incidents.add(from, error),
            };
            match self.keep_veto(from, &veto) {
                Ok(Known { outcome: VetoOutcome::Stored, holders, .. }) => {
                    for to in holders.without(self.me).without(from).iter() {
                        self.send(to, PeerMessage::Vetoes(vec![bytes.clone()]));
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::info!(%from, "a veto is not kept: {error}"),
            }
        }
    }

    /// A link came up: first all vetoes, so that a party whose folder was put back has them before it has
    /// heard enough peers to sign anything; then, bit by bit, all requests that wait.
    pub(super) fn tell_what_waits(&mut self, party: PartyId) {
        let (vetoes, waiting) = match (self.store.vetoes(), self.store.waiting()) {
            (Ok(vetoes), Ok(waiting)) => (vetoes, waiting),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(%error, "what waits cannot be read");
            }
        };
        let mut holds = BTreeMap::new();
        let mut concerns = |key: &[u8; 16]| {
            *holds.entry(*key).or_insert_with(|| self.holders_of(key).contains(party))
        };
        let vetoes = vetoes.into_iter().filter(|row| concerns(&row.key));
        let vetoes: Vec<Vec<u8>> = vetoes.map(|row| row.veto).collect();
        let waiting = waiting.iter().filter(|(_, row)| concerns(&row.key));
        let waiting: VecDeque<Digest> = waiting.map(|(request, _)| *request).collect();
        for part in vetoes.chunks(MAX_VETOES) {
            self.send(party, PeerMessage::Vetoes(part.to_vec()));
        }
        self.announcements.0.insert(party, waiting);
    }

    pub(super) fn stop_telling(&mut self, party: PartyId) {
        self.announcements.0.remove(&party);
    }

    /// A few more of the requests that wait, to each party that is still to be told.
    pub(super) fn tell_more(&mut self) {
        let now = self.now();
        let mut open = std::mem::take(&mut self.announcements.0);
        for (party, requests) in &mut open {
            for _ in 0..TOLD_PER_TICK {
                let Some(hash) = requests.pop_front() else { break };
                // Signed or expired by now, it waits no more.
                let Ok(Some(request)) = self.store.waiting_request(hash) else { continue };
                if SignedRequest::parse(&request).is_ok_and(|parsed| parsed.expires() > now)
                    && !self.send(*party, PeerMessage::Await { request })
                {
                    requests.push_front(hash);
                    break;
                }
            }
        }
        open.retain(|_, requests| !requests.is_empty());
        self.announcements.0 = open;
    }

    /// One page of the requests that wait here, after that hash.
    pub(super) fn waiting_page(&self, after: Option<Digest>) -> Result<WaitingPage, ServiceError> {
        let rows = self.store.waiting().map_err(ServiceError::local)?;
        let mut rows = rows.iter().filter(|(hash, _)| after.is_none_or(|after| *hash > after));
        let page = rows.by_ref().take(PAGE).map(|(hash, row)| self.shown(hash, row, false));
        let requests = page.collect::<Result<_, _>>()?;
        Ok(WaitingPage { requests, more: rows.next().is_some() })
    }

    /// One request that waits here, with its bytes.
    pub(super) fn waiting_request(&self, hash: Digest) -> Result<WaitingRequest, ServiceError> {
        let rows = self.store.waiting().map_err(ServiceError::local)?;
        match rows.iter().find(|(own, _)| *own == hash) {
            Some((hash, row)) => self.shown(hash, row, true),
            None => Err(ServiceError::UnknownRequest { request: hex::encode(hash) }),
        }
    }

    fn shown(
        &self,
        hash: &Digest,
        row: &WaitingRow,
        whole: bool,
    ) -> Result<WaitingRequest, ServiceError> {
        let bytes = self.store.waiting_request(*hash).map_err(ServiceError::local)?;
        let bytes = bytes.unwrap_or_default();
        let memory = self.store.memory(*hash).map_err(ServiceError::local)?;
        let weighed = self.read(&bytes).map(|reading| self.weigh(&bytes, reading));
        let (state, until, reason) = match weighed {
            Ok(Weighed::Allowed(_)) => ("ready", None, None),
            Ok(Weighed::Asks(_)) => (
                "waiting",
                None,
                Some("it asks for facts, which are looked up when it is asked for".to_owned()),
            ),
            Ok(Weighed::Refused(Rejection::Waiting { until })) => ("waiting", Some(until), None),
            Ok(Weighed::Refused(reason)) | Err(reason) => ("denied", None, Some(describe(&reason))),
        };
        let name = self.store.key(row.key).map_err(ServiceError::local)?.map(|key| key.name);
        Ok(WaitingRequest {
            request: hex::encode(hash),
            key: hex::encode(row.key),
            name: name.unwrap_or_default(),
            client: ClientKey(row.client).to_string(),
            since: row.since,
            expires: row.expires,
            state: state.to_owned(),
            until,
            reason,
            vetoed_by: memory.vetoers.iter().map(|key| ClientKey(*key).to_string()).collect(),
            bytes: whole.then(|| hex::encode(&bytes)),
        })
    }
}

/// Nobody may ask for longer than that without a delay.
const _: () = assert!(UNSEEN_MARGIN >= MAX_EXPIRY);
