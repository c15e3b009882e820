//! Shares that are being opened, once for all who wait, and what happens then. Nobody waits for longer
//! than its session would bear.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_core::hash::Digest;
use quorate_hsm::HsmError;
use quorate_hsm::memory::Locked;

use super::Service;
use super::coordinate::{Asked, answer};
use super::hsm_calls::{Call, OpenError, Purpose};
use super::open_keys::OpenShare;
use super::records::Opened;
use super::signing::Start;
use crate::handle::ServiceError;
use crate::message::{PeerMessage, Rejection};
use crate::store::KeyRow;

/// By key.
#[derive(Default)]
pub(super) struct Openings(BTreeMap<[u8; 16], Opening>);

struct Opening {
    /// The HSM's call.
    call: u64,
    waiting: Waiting,
}

#[derive(Default)]
struct Waiting {
    /// Sessions that may start then.
    starts: Vec<(Start, Instant)>,
    /// Requests that are shown to the holders then: a damaged share is the operator's business at once,
    /// not a peer's.
    requests: Vec<(Digest, Asked, Instant)>,
}

impl Openings {
    /// Requests that wait.
    pub(super) fn requests(&self) -> usize {
        self.0.values().map(|opening| opening.waiting.requests.len()).sum()
    }

    /// The request of this hash, if it waits.
    pub(super) fn request(&mut self, hash: &Digest) -> Option<&mut Asked> {
        let mut all = self.0.values_mut().flat_map(|opening| &mut opening.waiting.requests);
        all.find(|(own, ..)| own == hash).map(|(_, asked, _)| asked)
    }

    /// Whether the request of this hash waits.
    pub(super) fn has_request(&self, hash: &Digest) -> bool {
        let mut all = self.0.values().flat_map(|opening| &opening.waiting.requests);
        all.any(|(own, ..)| own == hash)
    }

    /// The session is over before its share is open.
    pub(super) fn forget(&mut self, session: &Digest) {
        for Opening { waiting, .. } in self.0.values_mut() {
            waiting.starts.retain(|(start, _)| start.session != *session);
        }
    }

    /// Takes those whose time is up.
    fn late(&mut self, at: Instant) -> Waiting {
        let mut late = Waiting::default();
        for Opening { waiting, .. } in self.0.values_mut() {
            late.starts.extend(waiting.starts.extract_if(.., |(_, until)| *until <= at));
            late.requests.extend(waiting.requests.extract_if(.., |(.., until)| *until <= at));
        }
        late
    }
}

impl Service {
    /// This party's share of a key, if it is open. If not, it is being opened when this returns.
    ///
    /// # Errors
    /// [`HsmError::NoAnswer`]: the HSM is not even asked.
    pub(super) fn share_of(&mut self, row: &KeyRow) -> Result<Option<OpenShare>, HsmError> {
        let now = self.clock.instant();
        if let Some(share) = self.open_keys.get(row, now) {
            return Ok(Some(share));
        }
        if !self.openings.0.contains_key(&row.key) {
            let call = self.open(row)?;
            self.openings.0.insert(row.key, Opening { call, waiting: Waiting::default() });
        }
        Ok(None)
    }

    fn open(&mut self, row: &KeyRow) -> Result<u64, HsmError> {
        self.open_keys.make_room();
        let call = Call::Open {
            protector: self.protector.clone(),
            place: (self.me, self.network_id),
            row: Box::new(row.clone()),
            lock: self.open_keys.locks(),
        };
        self.call_hsm(Purpose::Open(row.key), call)
    }

    /// Keeps a start until the share of `key` is open, or the coordinator must hear why it is not: early
    /// enough for it to try others before its own deadline.
    pub(super) fn start_when_open(&mut self, key: &[u8; 16], start: Start) {
        let until = start.deadline.min(self.clock.instant() + self.deadlines.sign * 3 / 4);
        if let Some(opening) = self.openings.0.get_mut(key) {
            opening.waiting.starts.push((start, until));
        }
    }

    /// Keeps a request until the share of `key` is open, or the others may sign without this party.
    pub(super) fn ask_when_open(&mut self, key: &[u8; 16], hash: Digest, asked: Asked) {
        let until = self.clock.instant() + self.deadlines.accept * 3 / 4;
        if let Some(opening) = self.openings.0.get_mut(key) {
            opening.waiting.requests.push((hash, asked, until));
        }
    }

    /// An answer of the HSM, perhaps one that nobody waits for any more.
    pub(super) fn share_opened(
        &mut self,
        call: u64,
        key: [u8; 16],
        result: Result<(Vec<u8>, Locked<Opened>), OpenError>,
    ) {
        match result {
            Ok((sealed, share)) => {
                let now = self.clock.instant();
                // Held until all who wait have it: whether it stays is the idle rule's business.
                let _held = self.open_keys.keep(key, sealed, share, now);
                // A second opening, after the first was given up, has nothing to add.
                let waiting = self.openings.0.remove(&key).map(|opening| opening.waiting);
                let Waiting { starts, requests } = waiting.unwrap_or_default();
                starts.into_iter().for_each(|(start, _)| self.start_session(start));
                requests.into_iter().for_each(|(_, asked, _)| self.ask(asked, false));
            }
            Err(error) => {
                let Some(waiting) = self.take_opening(call, &key) else { return };
                self.share_not_opened(&key, waiting, error);
            }
        }
    }

    fn take_opening(&mut self, call: u64, key: &[u8; 16]) -> Option<Waiting> {
        self.openings.0.get(key).filter(|opening| opening.call == call)?;
        self.openings.0.remove(key).map(|opening| opening.waiting)
    }

    fn share_not_opened(&mut self, key: &[u8; 16], waiting: Waiting, error: OpenError) {
        let row = self.store.key(*key).ok().flatten();
        let error = match (error, row) {
            // What waits for a next session gives way to what has one.
            (OpenError::Memory(_), Some(row)) if self.open_keys.close_oldest() => {
                match self.open(&row) {
                    Ok(call) => {
                        self.openings.0.insert(*key, Opening { call, waiting });
                        return;
                    }
                    Err(error) => ServiceError::from_hsm(&row.name, &error),
                }
            }
            (OpenError::Memory(error), row) => {
                let name = row.map_or_else(|| hex::encode(key), |row| row.name);
                ServiceError::from_hsm(&name, &error)
            }
            (OpenError::Share(error), _) => error,
        };
        tracing::error!(%error, "this party's share cannot be opened");
        for (start, _) in waiting.starts {
            self.refuse_start(&start, Rejection::Fault);
        }
        for (_, asked, _) in waiting.requests {
            answer(asked.replies, &Err(error.clone()));
        }
    }

    /// The HSM's answer is beyond its deadline: the next who needs the share may ask again.
    pub(super) fn share_not_answered(&mut self, call: u64, key: [u8; 16]) {
        if let Some(waiting) = self.take_opening(call, &key) {
            self.go_on_without(waiting);
        }
    }

    pub(super) fn expire_openings(&mut self, at: Instant) {
        let late = self.openings.late(at);
        self.go_on_without(late);
    }

    /// Sessions do without this party, and requests are signed by the others, if they are enough.
    fn go_on_without(&mut self, waiting: Waiting) {
        for (start, _) in waiting.starts {
            tracing::warn!(coordinator = %start.from, "not signed: {}", self.no_answer());
            self.refuse_start(&start, self.hsm_silent());
        }
        for (_, asked, _) in waiting.requests {
            self.ask(asked, false);
        }
    }

    /// Ends a session that has not begun: nothing of it was counted, and nothing has left.
    pub(super) fn refuse_start(&mut self, start: &Start, reason: Rejection) {
        let Start { session, from, .. } = start;
        let waits = self.participations.get(session).is_some_and(|p| p.has_not_begun());
        if waits {
            self.participations.remove(session);
            self.send(*from, PeerMessage::RejectSign { session: *session, reason });
        }
    }

    fn no_answer(&self) -> HsmError {
        self.calls.no_answer(self.clock.instant())
    }

    /// What peers are told of an HSM that does not answer.
    pub(super) fn hsm_silent(&self) -> Rejection {
        let seconds = match self.no_answer() {
            HsmError::NoAnswer { seconds, .. } => seconds,
            _ => 0,
        };
        Rejection::HsmSilent { seconds: seconds.try_into().unwrap_or(u32::MAX) }
    }
}
