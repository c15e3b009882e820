//! What a key may sign. Each party judges each request by itself, with its own parsing, clock and
//! counters.
//!
//! A policy is a list of *rules*. A rule is for some kinds of payload, asks a condition, and may have
//! limits over time; a request that passes any rule, and has room within its limits, is allowed. What a
//! party cannot know, it does not allow: conditions are true, false or unknown, and only the true allow.
//!
//! [`Policy::parse`] checks the binary form once; afterwards it is read in place, without an allocator,
//! and a judgement looks at each of at most [`condition::MAX_CONDITIONS`] conditions once.

pub mod amount;
pub mod condition;
pub mod control;
pub mod delay;
mod denial;
pub mod ethereum;
mod evaluate;
pub mod fact;
pub mod form;
pub mod matcher;
pub mod payload;
mod rlp;
pub mod rule;

use core::fmt;

use crate::hash::{Digest, Transcript};
use crate::party::Holders;
use crate::request::{ClientKey, Payload, SignedRequest};

pub use amount::Amount;
use control::Controllers;
pub use delay::{Delay, MAX_DELAY, MAX_VETOERS};
pub use denial::{Asked, Code, Denial, Gap, Reason, Source};
use evaluate::Evaluation;
pub use evaluate::{Trace, Truth};
pub use fact::{Confirmation, Facts, Here, Question};
use form::{FormError, Reader};
use payload::{PayloadError, Subject};
pub use rule::{Charge, Kinds, Limit, MAX_LIMITS, MAX_RULES, Measure, Rule, Scope, Strict};

/// No encoded policy is longer.
pub const MAX_POLICY: usize = 32 * 1024;
/// A request may expire at most so many seconds from now, and the longest delay of the policy more: its
/// record must outlive it.
pub const MAX_EXPIRY: u64 = 24 * 60 * 60;
/// The binary form that this build reads; its first byte.
pub const FORM: u8 = 1;

/// A key's policy: its binary form, checked, and read in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a>(&'a [u8]);

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules()).finish()
    }
}

/// A rule that allows a request, if its limits have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// What the request takes from the rule's limits.
    pub charges: heapless::Vec<Charge, MAX_LIMITS>,
    /// What it adds to the series of the whole key, whether or not a limit asks for them: a later policy
    /// may.
    pub base: heapless::Vec<([u8; 16], Amount), 3>,
}

impl<'a> Policy<'a> {
    /// Reads the binary form, all of it.
    ///
    /// # Errors
    /// [`FormError`] names the part.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormError> {
        if bytes.len() > MAX_POLICY {
            return Err(FormError::TooMany("bytes of a policy"));
        }
        let (_, mut reader, count) = Self::parts(bytes)?;
        let mut conditions = 0;
        for index in 0..count {
            let rule = Rule::read(&mut reader)?;
            rule.check(&mut conditions)?;
            // Two rules of one name would share counters unseen.
            if Self(bytes).rules().take(usize::from(index)).any(|other| other.name == rule.name) {
                return Err(FormError::NotSorted("names of rules"));
            }
        }
        reader.end()?;
        Ok(Self(bytes))
    }

    /// The controllers, the rules' bytes, and how many rules there are.
    fn parts(bytes: &'a [u8]) -> Result<(Option<Controllers<'a>>, Reader<'a>, u8), FormError> {
        let mut reader = Reader::new(bytes);
        match reader.u8() {
            FORM => {}
            other => reader.fail(FormError::Version(other)),
        }
        let controllers = Controllers::read(&mut reader);
        let count = reader.u8();
        match reader.checked(count)? {
            0 => Err(FormError::Empty("rules")),
            count if usize::from(count) <= MAX_RULES => Ok((controllers, reader, count)),
            _ => Err(FormError::TooMany("rules")),
        }
    }

    /// The binary form.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// H("policy", binary form): what a key's terms bind.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash_of(self.0)
    }

    /// Who may change the policy; none if nobody ever can.
    #[must_use]
    pub fn controllers(&self) -> Option<Controllers<'a>> {
        Self::parts(self.0).ok()?.0
    }

    /// The rules, in the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'a>> + use<'a> {
        let (_, mut reader, count) = Self::parts(self.0).unwrap_or((None, Reader::new(&[]), 0));
        (0..count).map_while(move |_| Rule::read(&mut reader).ok())
    }

    /// Whether a condition lists this key, as a client or an approver.
    #[must_use]
    pub fn names(&self, key: &ClientKey) -> bool {
        self.rules().any(|rule| rule.condition.names(&key.0))
    }

    /// The first rule with a strict limit that admits no quorum of these holders.
    #[must_use]
    pub fn unsatisfiable(&self, holders: &Holders) -> Option<&'a str> {
        let admits = |limit: Limit<'_>| match limit.strict {
            Strict::No => true,
            Strict::Party(party) => holders.parties().contains(party),
            Strict::All => holders.quorum() == holders.parties().len(),
        };
        self.rules().find(|rule| !rule.limits().all(admits)).map(|rule| rule.name)
    }

    /// Judges a request, purely, and tells `watch` each step. For every rule that allows it, `watch` is
    /// given a [`Trace::Allowed`]: the first whose limits have room is the one that counts, and to count
    /// is for the caller, in the transaction that records the release.
    ///
    /// Returns what is signed, computed by this party.
    ///
    /// # Errors
    /// [`Denial`] with the nearest rule and its reason, if no rule allows the request.
    #[inline(never)]
    pub fn judge(
        &self,
        request: &SignedRequest<'_>,
        facts: &Facts<'_>,
        watch: &mut dyn FnMut(Trace<'a>),
    ) -> Result<Digest, Denial<'a>> {
        let bare = |reason| Denial { rule: None, reason };
        self.check_expiry(request, facts.now).map_err(bare)?;
        let read = Read::of(&request.payload());
        let mut denial = bare(read.unreadable.map_or(Reason::Kind(read.kind), Reason::Payload));
        let (mut allowed, mut furthest) = (false, None);
        for rule in self.rules().filter(|rule| rule.kinds.contains(read.kind)) {
            match self.ask(&rule, request, &read, facts, watch) {
                Ok(granted) => {
                    watch(granted);
                    allowed = true;
                }
                Err((held, reason)) if furthest.is_none_or(|before| held >= before) => {
                    furthest = Some(held);
                    denial = Denial { rule: Some(rule.name), reason };
                }
                Err(_) => {}
            }
        }
        if allowed { Ok(read.digest) } else { Err(denial) }
    }

    /// Tells `ask` what the judgement of a request asks and these facts have no answer to, the same
    /// question perhaps more than once. A rule that no answer could help is left out.
    ///
    /// One round is enough: an answer only ever makes a judgement look at fewer conditions. Once the
    /// answers are there nothing more is asked, unless the clock has gone on and opened another rule.
    pub fn questions(
        &self,
        request: &SignedRequest<'_>,
        facts: &Facts<'_>,
        ask: &mut dyn FnMut(&Question<'_>),
    ) {
        if self.check_expiry(request, facts.now).is_err() {
            return;
        }
        let read = Read::of(&request.payload());
        let subject = read.subject.as_ref();
        for rule in self.rules().filter(|rule| rule.kinds.contains(read.kind)) {
            let truth = |missing: &mut dyn FnMut(&Question<'_>)| {
                let trace = &mut |_: Trace<'_>| {};
                Evaluation { request, subject, facts, trace, missing, held: 0, failure: None }
                    .truth(&rule.condition)
            };
            let mut asks = false;
            if truth(&mut |_| asks = true) == Truth::Unknown && asks {
                truth(ask);
            }
        }
    }

    /// Whether to ask the person at the device: the request is denied, nobody was asked yet, and it would be
    /// allowed if the person confirmed it. A node asks nobody.
    ///
    /// Limits are for whoever counts. If no rule that allows the request has room, those that allow it as if
    /// it were confirmed may: [`Policy::judge`] names them.
    #[must_use]
    pub fn needs_confirmation(&self, request: &SignedRequest<'_>, facts: &Facts<'_>) -> bool {
        if facts.here != Here::Device(Confirmation::NotAsked)
            || self.check_expiry(request, facts.now).is_err()
        {
            return false;
        }
        let read = Read::of(&request.payload());
        let confirmed = Facts { here: Here::Device(Confirmation::Confirmed), ..*facts };
        !self.allows(request, &read, facts) && self.allows(request, &read, &confirmed)
    }

    /// Whether a rule allows a request that has not expired.
    fn allows(&self, request: &SignedRequest<'_>, read: &Read<'_>, facts: &Facts<'_>) -> bool {
        let mut rules = self.rules().filter(|rule| rule.kinds.contains(read.kind));
        rules.any(|rule| self.ask(&rule, request, read, facts, &mut |_| {}).is_ok())
    }

    #[inline(never)]
    fn check_expiry(&self, request: &SignedRequest<'_>, now: u64) -> Result<(), Reason<'static>> {
        let expires = request.expires();
        if expires <= now {
            return Err(Reason::Expired { expires, now });
        }
        // Few expire so late that the whole policy must be searched for its delays.
        if expires - now > MAX_EXPIRY && expires - now > self.max_expiry() {
            return Err(Reason::ExpiryTooFar { limit: self.max_expiry() });
        }
        Ok(())
    }

    /// The step that says what the rule allows; or how many of its conditions held, and why it does not allow the
    /// request.
    #[inline(never)]
    fn ask(
        &self,
        rule: &Rule<'a>,
        request: &SignedRequest<'_>,
        read: &Read<'_>,
        facts: &Facts<'_>,
        watch: &mut dyn FnMut(Trace<'a>),
    ) -> Result<Trace<'a>, (usize, Reason<'a>)> {
        watch(Trace::Rule(*rule));
        let subject = read.subject.as_ref();
        let (trace, missing) = (&mut *watch, &mut |_: &Question<'_>| {});
        let mut evaluation =
            Evaluation { request, subject, facts, trace, missing, held: 0, failure: None };
        let truth = evaluation.truth(&rule.condition);
        let (held, failure) = (evaluation.held, evaluation.failure);
        watch(Trace::Decided(truth));
        if truth != Truth::True {
            return Err((held, failure.unwrap_or(Reason::Excluded)));
        }
        let charges = rule.charges(subject).ok_or((held, Reason::Measure))?;
        let base = [Measure::Signatures, Measure::Spend, Measure::Value].iter();
        let base = base.filter_map(|measure| Some((measure.series(None), measure.of(subject)?)));
        Ok(Trace::Allowed(Grant { rule: rule.name, charges, base: base.collect() }))
    }
}

/// H("policy", binary form), of bytes that may be no policy: [`Policy::hash`] without reading them.
#[must_use]
pub fn hash_of(policy: &[u8]) -> Digest {
    Transcript::new("policy").bytes(policy).finish()
}

/// What is signed for a payload, whatever a policy says of it.
///
/// # Errors
/// [`PayloadError`], if the payload cannot be read. What claims to be a transaction has a digest all the same.
pub fn digest(payload: &Payload<'_>) -> Result<Digest, PayloadError> {
    let read = Read::of(payload);
    match read.unreadable {
        Some(error) if read.kind == Kinds::NONE => Err(error),
        _ => Ok(read.digest),
    }
}

/// A payload, as far as this build can read it.
struct Read<'p> {
    /// Nothing, if it cannot be read: then only a rule for what nobody can read allows it.
    subject: Option<Subject<'p>>,
    unreadable: Option<PayloadError>,
    kind: Kinds,
    digest: Digest,
}

impl<'p> Read<'p> {
    #[inline(never)]
    fn of(payload: &Payload<'p>) -> Self {
        match (Subject::parse(payload), payload) {
            (Ok(subject), _) => Self {
                kind: Kinds::of(&subject),
                digest: subject.digest(),
                subject: Some(subject),
                unreadable: None,
            },
            (Err(error), Payload::EthereumTransaction(bytes)) => Self {
                kind: Kinds::OPAQUE_TRANSACTION,
                digest: ethereum::keccak256(bytes),
                subject: None,
                unreadable: Some(error),
            },
            // What cannot be read has no digest either, and no rule is for it.
            (Err(error), _) => {
                Self { kind: Kinds::NONE, digest: [0; 32], subject: None, unreadable: Some(error) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
