//! What this device says to a request: by the client's own bytes, its own copy of the policy, the holders' words
//! for the time, its own counters and the person before it.

use quorate_core::curve::Suite;
use quorate_core::derive::Derivation;
use quorate_core::hash::Digest;
use quorate_core::party::{Holders, PartySet};
use quorate_core::policy::condition::{Condition, Conditions};
use quorate_core::policy::{self, Confirmation, Facts, Grant, Policy, Trace};
use quorate_core::request::{Payload, SignedRequest};
use quorate_core::wire;

use crate::cause::Cause;
use crate::device::Known;
use crate::journal::{self, MAX_CHARGES, Release, ReleaseError};
use crate::keygen::{KeyEntry, Public};
use crate::platform::Platform;
use crate::store::{Part, Slot};

/// A request, read.
pub(crate) struct Reading {
    /// The key's number in the store.
    pub(crate) number: u8,
    pub(crate) suite: Suite,
    pub(crate) holders: Holders,
    pub(crate) derivation: Derivation,
    /// What is signed, computed here.
    pub(crate) digest: Digest,
    /// Of all that the client signed.
    pub(crate) hash: Digest,
    expires: u64,
    key: [u8; 16],
    now: u64,
}

impl Reading {
    /// Whether both ask for the same signature. They are read at different times: what is not the same was hit in
    /// memory between them.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.number, self.suite, self.derivation) == (other.number, other.suite, other.derivation)
            && (self.digest, self.hash) == (other.digest, other.hash)
    }
}

/// What comes of a judgement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// If the person says so.
    Ask,
}

/// What is to come of an allowed request.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Only a look whether there is room.
    Look,
    /// It is counted, in a session of this quorum.
    Release(PartySet),
}

/// Whether a device can judge by this policy: it keeps no record of requests that wait.
pub(crate) fn can_judge(policy: &Policy<'_>) -> bool {
    fn waits(conditions: &Conditions<'_>) -> bool {
        conditions.iter().flatten().any(|one| is_delay(&one))
    }
    fn is_delay(condition: &Condition<'_>) -> bool {
        matches!(condition, Condition::Delay(_))
            || condition.inner().is_some_and(|inner| waits(&inner))
    }
    policy.controllers().is_none() && !policy.rules().any(|rule| is_delay(&rule.condition))
}

impl<P: Platform> Known<'_, P> {
    /// Parses the client's bytes, and finds the key and the time.
    pub(crate) fn read_request(
        &mut self,
        request: &SignedRequest<'_>,
        buffer: &mut [u8],
    ) -> Result<Reading, Cause> {
        if self.rolled_back.is_some() {
            return Err(Cause::RolledBack);
        }
        let network = self.network.as_ref().ok_or(Cause::Fault)?;
        if *request.network().as_bytes() != network.id {
            return Err(Cause::Network);
        }
        let key = *request.key().as_bytes();
        let active = |entry: &KeyEntry| entry.key == key && entry.active;
        let number = self.find_key(active).ok_or(Cause::UnknownKey)?;
        let public: Public = self.load_public(number, buffer).ok_or(Cause::Fault)?;
        let (suite, holders) = (public.terms.suite, public.terms.holders);
        let payload = request.payload();
        if suite != Suite::EcdsaSecp256k1 && !matches!(payload, Payload::Digest(_)) {
            return Err(Cause::Digests);
        }
        let unread = Cause::Payload;
        let digest = policy::digest(&payload).map_err(|_| unread)?;
        if !self.is_witnessed(&holders) {
            return Err(Cause::Unwitnessed);
        }
        let untold = Cause::Untold;
        let now = self.now(&holders).ok_or(untold)?;
        let (hash, expires, derivation) =
            (request.hash(), request.expires(), *request.derivation());
        Ok(Reading { number, suite, holders, derivation, digest, hash, expires, key, now })
    }

    /// Asks the key's policy, and looks whether the limits have room, or takes it.
    pub(crate) fn judge(
        &mut self,
        request: &SignedRequest<'_>,
        reading: &Reading,
        confirmation: Confirmation,
        count: Count,
        buffer: &mut [u8],
    ) -> Result<Verdict, Cause> {
        let slot = Slot::Key(reading.number, Part::Policy);
        let found = self.store.load(slot, buffer).map_err(|_| Cause::Fault)?;
        let policy = found.and_then(|bytes| Policy::parse(bytes).ok()).ok_or(Cause::Fault)?;
        let said = self.judge_as(&policy, request, reading, confirmation, count);
        let (Err(reason), Confirmation::NotAsked, Count::Look) = (said, confirmation, count) else {
            return said.map(|()| Verdict::Allowed);
        };
        // A person may help: because a rule asks for that, or because the rules that do not are used up. Without
        // room there either, better told now than after the person was asked.
        let facts = Facts::on_device(reading.now, confirmation);
        let asks = policy.needs_confirmation(request, &facts);
        match self.judge_as(&policy, request, reading, Confirmation::Confirmed, count) {
            Ok(()) => Ok(Verdict::Ask),
            Err(if_confirmed) => Err(if asks { if_confirmed } else { reason }),
        }
    }

    /// The same, with what the person has said, or would.
    #[inline(never)]
    fn judge_as(
        &mut self,
        policy: &Policy<'_>,
        request: &SignedRequest<'_>,
        reading: &Reading,
        confirmation: Confirmation,
        count: Count,
    ) -> Result<(), Cause> {
        let facts = Facts::on_device(reading.now, confirmation);
        let mut room = Err(Cause::Strict);
        let judged = policy.judge(request, &facts, &mut |step| {
            // The first rule that has room is the one that counts.
            if let Trace::Allowed(grant) = step
                && room.is_err()
            {
                room = self.charge(reading, &grant, count).unwrap_or(room);
            }
        });
        let digest = judged.map_err(|denial| Cause::Policy(denial.reason.kind()))?;
        room?;
        if digest == reading.digest { Ok(()) } else { Err(Cause::Fault) }
    }

    /// Whether one rule's limits have room; nothing if they do not admit the quorum.
    fn charge(
        &mut self,
        reading: &Reading,
        grant: &Grant<'_>,
        count: Count,
    ) -> Option<Result<(), Cause>> {
        if let Count::Release(quorum) = count {
            let holders = reading.holders.parties();
            if !grant.charges.iter().all(|charge| charge.strict.admits(&quorum, &holders)) {
                return None;
            }
        }
        let limits = grant.charges.iter().map(|charge| journal::Charge {
            series: charge.series,
            amount: charge.amount,
            window: Some((charge.window, charge.max)),
        });
        let base = grant.base.iter().map(|(series, amount)| journal::Charge {
            series: *series,
            amount: *amount,
            window: None,
        });
        let charges: heapless::Vec<journal::Charge, MAX_CHARGES> = limits.chain(base).collect();
        let Reading { hash, expires, key, now, .. } = *reading;
        let release = Release { request: hash, key, at: now, expires, charges: &charges };
        let done = match count {
            Count::Look => self.store.check_release(&release).map(|_| ()),
            Count::Release(_) => self.store.release(&release).map(|_| ()),
        };
        Some(done.map_err(|error| match error {
            ReleaseError::OverLimit { .. } => Cause::Window,
            ReleaseError::Conflict => Cause::Conflict,
            ReleaseError::Unsupported => Cause::Limits,
            ReleaseError::Store(_) => Cause::Fault,
        }))
    }

    /// The public record of a key.
    pub(crate) fn load_public(&mut self, number: u8, buffer: &mut [u8]) -> Option<Public> {
        let found = self.store.load(Slot::Key(number, Part::Public), buffer).ok()??;
        wire::read(found).ok()
    }
}
