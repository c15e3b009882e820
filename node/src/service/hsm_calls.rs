//! Calls of the HSM. Any of them may take seconds, or never return; so the service hands it out and goes
//! on, and what came of it is one more input ([`Service::handle_hsm`]).

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::wire::Bytes64;
use quorate_hsm::memory::Locked;
use quorate_hsm::{Context, HsmError, KeyProtector};
use zeroize::Zeroizing;

use super::Service;
use super::records::{Opened, reseal, unseal};
use crate::handle::{HsmCalls, ServiceError};
use crate::identity::{IdentityError, IdentityKey};
use crate::store::KeyRow;

/// Calls that are in the HSM at a time. A PKCS#11 connection has twice as many sessions: links sign in
/// their handshakes too.
pub const HSM_THREADS: usize = 4;
/// Calls that are under way at a time, most of them waiting for a thread. More are refused: whoever waits
/// behind so many would not be served before its session's deadline.
pub const HSM_CALLS: usize = 64;
/// Certifications of session keys that one coordinator of key generations may have under way.
const CERTIFICATIONS_PER_PEER: usize = 8;
/// The same of all coordinators: the shares of keys that sign wait behind few others.
const CERTIFICATIONS: usize = 16;
/// An HSM that has answered nothing for so long counts as silent: it is shown to the operator, and a
/// session that would need it is refused at once. Less than the patience of any session with the default
/// deadlines, and more than an answer takes.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Runs calls where they may block; the simulator brings its own.
pub trait HsmRunner: Send {
    /// Takes a job, without waiting for it: [`HsmJob::run`] is to be called once, anywhere but on the
    /// service's thread, and its result given to [`Service::handle_hsm`]. At most [`HSM_CALLS`] are under
    /// way at a time.
    fn start(&self, job: HsmJob);
}

/// One call, with all that it needs.
pub struct HsmJob {
    id: u64,
    call: Call,
}

/// What came of it.
pub struct HsmDone {
    id: u64,
    answer: Answer,
}

pub(super) enum Call {
    /// Opens the share of a key.
    Open {
        protector: Arc<dyn KeyProtector>,
        place: (PartyId, [u8; 16]),
        row: Box<KeyRow>,
        lock: bool,
    },
    /// Seals a new share, opens the result again, and only then signs its confirmation.
    Seal {
        protector: Arc<dyn KeyProtector>,
        identity: Arc<IdentityKey>,
        context: Box<Context>,
        plaintext: Zeroizing<Vec<u8>>,
        confirmation: Digest,
    },
    /// Seals the share of a key again, under another version of its policy.
    Reseal {
        protector: Arc<dyn KeyProtector>,
        place: (PartyId, [u8; 16]),
        row: Box<KeyRow>,
        policy: (u32, Digest),
    },
    /// Signs with the identity key.
    Sign { identity: Arc<IdentityKey>, digest: Digest },
}

enum Answer {
    Opened(Result<(Vec<u8>, Locked<Opened>), OpenError>),
    Sealed(Result<NewShare, SealError>),
    Resealed(Result<Vec<u8>, ServiceError>),
    Signed(Result<Bytes64, IdentityError>),
    /// The call panicked.
    Defect,
}

/// Why a share is not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// No page can be locked for it.
    Memory(HsmError),
    /// Anything else.
    Share(ServiceError),
}

/// Why a new share is not sealed and confirmed.
#[derive(Debug)]
pub(super) enum SealError {
    Hsm(HsmError),
    Identity(IdentityError),
}

/// A new share at rest, and this party's word that it has it.
pub(super) struct NewShare {
    pub(super) sealed: Vec<u8>,
    pub(super) signature: Bytes64,
}

impl HsmJob {
    /// Makes the call. It may block for ever.
    #[must_use]
    pub fn run(&self) -> HsmDone {
        // Whoever waits for the answer must get one.
        let answer = std::panic::catch_unwind(AssertUnwindSafe(|| self.call.run()));
        HsmDone { id: self.id, answer: answer.unwrap_or(Answer::Defect) }
    }
}

impl Call {
    fn run(&self) -> Answer {
        match self {
            Self::Open { protector, place: (me, network), row, lock } => {
                let opened = unseal(&**protector, *network, *me, row).map_err(OpenError::Share);
                Answer::Opened(opened.and_then(|opened| {
                    let share = match lock {
                        true => Locked::new(opened).map_err(OpenError::Memory)?,
                        false => Locked::unlocked(opened),
                    };
                    Ok((row.sealed.clone(), share))
                }))
            }
            Self::Seal { protector, identity, context, plaintext, confirmation } => {
                let sealed = quorate_hsm::seal(&**protector, context, plaintext);
                Answer::Sealed(sealed.map_err(SealError::Hsm).and_then(|sealed| {
                    let signature = identity.sign(confirmation).map_err(SealError::Identity)?;
                    Ok(NewShare { sealed, signature: Bytes64(signature) })
                }))
            }
            Self::Reseal { protector, place: (me, network), row, policy } => {
                Answer::Resealed(reseal(&**protector, *network, *me, row, *policy))
            }
            Self::Sign { identity, digest } => Answer::Signed(identity.sign(digest).map(Bytes64)),
        }
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The share of this key.
    Open([u8; 16]),
    /// A session key, for this key generation of that coordinator.
    Certify(Digest, PartyId),
    /// The new share of this key generation.
    Seal(Digest),
    /// The share of this key, under a new version of its policy.
    Reseal([u8; 16]),
    /// The head of the audit log.
    SignHead,
}

impl Purpose {
    const fn words(&self) -> &'static str {
        match self {
            Self::Open(_) => "opening a share",
            Self::Certify(..) => "certifying a session key",
            Self::Seal(_) => "sealing a new share",
            Self::Reseal(_) => "sealing a share under a new policy",
            Self::SignHead => "signing the head of the audit log",
        }
    }
}

struct Pending {
    purpose: Purpose,
    since: Instant,
    /// Nobody waits for it any more.
    overdue: bool,
}

/// Calls under way.
#[derive(Default)]
pub(super) struct Calls {
    next: u64,
    /// By age.
    pending: BTreeMap<u64, Pending>,
    /// When the HSM last answered anything.
    answered: Option<Instant>,
}

impl Calls {
    /// Whether there is room for one more.
    fn room(&self, now: Instant) -> Result<(), HsmError> {
        let stuck = self.pending.values().filter(|call| call.overdue).count();
        match stuck >= HSM_THREADS || self.pending.len() >= HSM_CALLS {
            true => Err(self.no_answer(now)),
            false => Ok(()),
        }
    }

    /// Whether a coordinator may have one more session key certified. Calls count, not runs: what it
    /// cancels still takes the HSM's time, and shares must open beside it.
    pub(super) fn may_certify(&self, coordinator: PartyId) -> bool {
        let of = |purpose: &Purpose| match purpose {
            Purpose::Certify(_, other) => Some(*other == coordinator),
            _ => None,
        };
        let all = self.pending.values().filter_map(|call| of(&call.purpose));
        let (own, all) =
            all.fold((0, 0), |(own, all), is_own| (own + usize::from(is_own), all + 1));
        own < CERTIFICATIONS_PER_PEER && all < CERTIFICATIONS
    }

    fn add(&mut self, purpose: Purpose, now: Instant) -> u64 {
        self.next += 1;
        self.pending.insert(self.next, Pending { purpose, since: now, overdue: false });
        self.next
    }

    fn take(&mut self, id: u64, now: Instant) -> Option<Purpose> {
        let call = self.pending.remove(&id)?;
        self.answered = Some(now);
        if call.overdue {
            let after = now.saturating_duration_since(call.since);
            tracing::info!(?after, "the HSM has answered after all");
        }
        Some(call.purpose)
    }

    /// Calls that have had no answer for `limit`, each once.
    fn late(&mut self, limit: Duration, now: Instant) -> Vec<(u64, Purpose)> {
        let late =
            |call: &Pending| !call.overdue && now.saturating_duration_since(call.since) >= limit;
        let calls = self.pending.iter_mut().filter(|(_, call)| late(call));
        let late = calls.map(|(id, call)| {
            call.overdue = true;
            (*id, call.purpose)
        });
        late.collect()
    }

    /// Since when the HSM owes an answer and has given none; of all calls, or of those that somebody may
    /// still wait for.
    fn owes(&self, all: bool) -> Option<Instant> {
        let oldest = self.pending.values().find(|call| all || !call.overdue)?.since;
        Some(self.answered.map_or(oldest, |answered| answered.max(oldest)))
    }

    /// Whether it is of no use to begin a session that needs the HSM. A call that is overdue says nothing
    /// by itself: it may be lost for ever in an HSM that works again, which the next session finds out.
    pub(super) fn is_silent(&self, now: Instant) -> Option<HsmError> {
        let silent = |since: Instant| now.saturating_duration_since(since) >= SILENCE;
        let known = self.owes(false).is_some_and(silent) || self.room(now).is_err();
        known.then(|| self.no_answer(now))
    }

    /// In words: for how long the oldest call has waited.
    pub(super) fn no_answer(&self, now: Instant) -> HsmError {
        let oldest = self.pending.values().next();
        let age = oldest.map(|call| now.saturating_duration_since(call.since));
        let (seconds, waiting) = (age.unwrap_or_default().as_secs(), self.pending.len());
        HsmError::NoAnswer { seconds, waiting }
    }

    /// For the operator; `unix` is now, in seconds.
    pub(super) fn status(&self, now: Instant, unix: u64) -> HsmCalls {
        let silent = self.owes(true).map(|since| now.saturating_duration_since(since));
        let silent = silent.filter(|silent| *silent >= SILENCE).map(|silent| silent.as_secs());
        HsmCalls {
            waiting: self.pending.len(),
            overdue: self.pending.values().filter(|call| call.overdue).count(),
            silent_seconds: silent,
            silent_since: silent.map(|seconds| unix.saturating_sub(seconds)),
        }
    }
}

impl Service {
    /// Hands out a call; its answer names it by the number.
    pub(super) fn call_hsm(&mut self, purpose: Purpose, call: Call) -> Result<u64, HsmError> {
        let now = self.clock.instant();
        self.calls.room(now)?;
        let id = self.calls.add(purpose, now);
        self.hsm.start(HsmJob { id, call });
        Ok(id)
    }

    /// Handles what came of one call of the HSM.
    pub fn handle_hsm(&mut self, done: HsmDone) {
        let HsmDone { id, answer } = done;
        let Some(purpose) = self.calls.take(id, self.clock.instant()) else { return };
        // What else is answered now would begin what the node's end breaks off.
        if self.head.is_stopping() && purpose != Purpose::SignHead {
            return;
        }
        let defect = || ServiceError::local("a call of the HSM ended in a defect, see the log");
        match (purpose, answer) {
            (Purpose::Open(key), Answer::Opened(result)) => self.share_opened(id, key, result),
            (Purpose::Open(key), _) => self.share_opened(id, key, Err(OpenError::Share(defect()))),
            (Purpose::Certify(session, _), Answer::Signed(result)) => {
                self.key_certified(id, session, result.map_err(ServiceError::local));
            }
            (Purpose::Certify(session, _), _) => self.key_certified(id, session, Err(defect())),
            (Purpose::Seal(session), Answer::Sealed(result)) => {
                self.key_sealed(id, session, Ok(result));
            }
            (Purpose::Seal(session), _) => self.key_sealed(id, session, Err(defect())),
            (Purpose::Reseal(key), Answer::Resealed(result)) => {
                self.share_resealed(id, key, result)
            }
            (Purpose::Reseal(key), _) => self.share_resealed(id, key, Err(defect())),
            (Purpose::SignHead, Answer::Signed(result)) => {
                self.head_signed(id, result.map_err(ServiceError::local));
            }
            (Purpose::SignHead, _) => self.head_signed(id, Err(defect())),
        }
        self.drain_loopback();
    }

    /// Whoever waits for a call beyond its deadline is told.
    pub(super) fn expire_hsm_calls(&mut self, at: Instant) {
        for (id, purpose) in self.calls.late(self.deadlines.hsm, at) {
            let error = self.calls.no_answer(at);
            tracing::error!("{}: {error}", purpose.words());
            match purpose {
                Purpose::Open(key) => self.share_not_answered(id, key),
                Purpose::Certify(session, _) | Purpose::Seal(session) => {
                    self.key_not_answered(&session, Some(id));
                }
                Purpose::Reseal(key) => self.share_not_resealed(id, key),
                // Nobody waits for it, and a late answer is as good.
                Purpose::SignHead => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn calls_are_bounded_and_the_lost_ones_too() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for _ in 0..HSM_CALLS {
            assert_eq!(calls.room(now), Ok(()));
            calls.add(Purpose::Open([0; 16]), now);
        }
        assert!(calls.room(now).is_err());
        assert!(calls.take(1, now).is_some() && calls.take(1, now).is_none());
        assert_eq!(calls.room(now), Ok(()));
        // Each is late once.
        let late = now + LIMIT;
        assert_eq!(calls.late(LIMIT, late).len(), HSM_CALLS - 1);
        assert!(calls.late(LIMIT, late + LIMIT).is_empty());
        for id in 2..=HSM_CALLS as u64 - HSM_THREADS as u64 {
            assert!(calls.take(id, late).is_some());
        }
        // As many as there are threads are left, and no thread is.
        let refused = calls.room(late).unwrap_err();
        assert_eq!(refused, HsmError::NoAnswer { seconds: 20, waiting: HSM_THREADS });
        assert!(calls.take(HSM_CALLS as u64, late).is_some());
        assert_eq!(calls.room(late), Ok(()));
    }

    #[test]
    fn certifications_leave_room_for_shares() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        let party = |id| PartyId::new(id).unwrap();
        let certify = |calls: &mut Calls, id| {
            let may = calls.may_certify(party(id));
            if may {
                calls.add(Purpose::Certify([0; 32], party(id)), now);
            }
            may
        };
        for _ in 0..CERTIFICATIONS_PER_PEER {
            assert!(certify(&mut calls, 1));
        }
        assert!(!certify(&mut calls, 1), "whatever it cancels");
        let more = (2..=255).filter(|id| certify(&mut calls, *id)).count();
        assert_eq!(more, CERTIFICATIONS - CERTIFICATIONS_PER_PEER);
        assert_eq!(calls.room(now), Ok(()), "a share can be opened");
        assert!(calls.take(1, now).is_some());
        assert!(certify(&mut calls, 1));
    }

    #[test]
    fn silence_is_when_nothing_at_all_is_answered() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert_eq!(calls.status(now, 100), HsmCalls::default());
        let first = calls.add(Purpose::Open([1; 16]), now);
        assert!(calls.is_silent(now + seconds(1)).is_none());
        assert!(calls.is_silent(now + seconds(2)).is_some());
        let status = calls.status(now + seconds(5), 100);
        assert_eq!((status.silent_seconds, status.silent_since), (Some(5), Some(95)));
        // Another call is answered: the HSM is there, though the first call has no answer yet.
        let second = calls.add(Purpose::Open([2; 16]), now + seconds(5));
        calls.take(second, now + seconds(6));
        assert!(calls.is_silent(now + seconds(7)).is_none());
        assert_eq!(calls.status(now + seconds(7), 100).silent_seconds, None);
        assert!(calls.is_silent(now + seconds(8)).is_some());
        // A lost call is no reason not to try, but the operator sees it.
        calls.late(LIMIT, now + LIMIT);
        assert!(calls.is_silent(now + LIMIT).is_none());
        let status = calls.status(now + LIMIT, 100);
        assert_eq!((status.overdue, status.silent_seconds), (1, Some(14)));
        calls.take(first, now + LIMIT);
        assert_eq!(calls.status(now + LIMIT, 100), HsmCalls::default());
    }
}
