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
    #[inline(never)]
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
    #[inline(never)]
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
    ///
    /// The first rule that has room is the one that counts. Counting takes as much of the stack as judging: it comes
    /// after it, and if a rule has no room, the request is judged once more for the next.
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
        let mut charges = Charges::new();
        for place in 0.. {
            match charges_of(policy, request, (&facts, reading, count), place, &mut charges)? {
                Granted::Counts => room = self.charge(reading, &charges, count),
                Granted::NotThisQuorum => {}
                Granted::NoMore => break,
            }
            if room.is_ok() {
                break;
            }
        }
        room
    }

    /// Whether one rule's limits have room.
    #[inline(never)]
    fn charge(&mut self, reading: &Reading, charges: &Charges, count: Count) -> Result<(), Cause> {
        let Reading { hash, expires, key, now, .. } = *reading;
        let release = Release { request: hash, key, at: now, expires, charges };
        let done = match count {
            Count::Look => self.store.check_release(&release).map(|_| ()),
            Count::Release(_) => self.store.release(&release).map(|_| ()),
        };
        done.map_err(|error| match error {
            ReleaseError::OverLimit { .. } => Cause::Window,
            ReleaseError::Conflict => Cause::Conflict,
            ReleaseError::Unsupported => Cause::Limits,
            ReleaseError::Store(_) => Cause::Fault,
        })
    }

    /// The public record of a key.
    #[inline(never)]
    pub(crate) fn load_public(&mut self, number: u8, buffer: &mut [u8]) -> Option<Public> {
        let found = self.store.load(Slot::Key(number, Part::Public), buffer).ok()??;
        wire::read(found).ok()
    }
}

type Charges = heapless::Vec<journal::Charge, MAX_CHARGES>;

/// What there is of a rule that allows a request.
enum Granted {
    Counts,
    /// Its limits do not admit the quorum.
    NotThisQuorum,
    /// So many rules do not allow it.
    NoMore,
}

/// What the rule in this place, of those that allow the request, counts.
#[inline(never)]
fn charges_of(
    policy: &Policy<'_>,
    request: &SignedRequest<'_>,
    (facts, reading, count): (&Facts<'_>, &Reading, Count),
    place: usize,
    out: &mut Charges,
) -> Result<Granted, Cause> {
    let (mut found, mut granted) = (0, Granted::NoMore);
    let judged = policy.judge(request, facts, &mut |step| {
        if let Trace::Allowed(grant) = step {
            if found == place {
                let admitted = is_admitted(&grant, reading, count);
                granted = if admitted { Granted::Counts } else { Granted::NotThisQuorum };
                put_charges(&grant, out);
            }
            found += 1;
        }
    });
    let digest = judged.map_err(|denial| Cause::Policy(denial.reason.kind()))?;
    if digest == reading.digest { Ok(granted) } else { Err(Cause::Fault) }
}

fn is_admitted(grant: &Grant<'_>, reading: &Reading, count: Count) -> bool {
    let Count::Release(quorum) = count else { return true };
    let holders = reading.holders.parties();
    grant.charges.iter().all(|charge| charge.strict.admits(&quorum, &holders))
}

fn put_charges(grant: &Grant<'_>, out: &mut Charges) {
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
    out.clear();
    out.extend(limits.chain(base));
}
