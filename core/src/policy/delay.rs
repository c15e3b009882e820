//! Delays: a request waits for so long after a party has it on record, and may be vetoed meanwhile.
//!
//! A delay is no fact that somebody could withhold to get a signature. It is false until the party's own
//! record is old enough, and false for ever once one of its vetoers has spoken. It may stand in any
//! `all`, `any` and `at_least`, and never within a `not`: what would hold *because* a request is young, or
//! vetoed, could be had by losing a record, or by a veto. So a record that is missing, and a veto that is
//! there, only ever deny. A veto is against the delays that name its vetoer, not against the request: a
//! rule, or a branch of an `any`, without such a delay may still allow it.

use super::condition::Condition;
use super::form::{FormError, List, Reader};
use super::{Facts, MAX_EXPIRY, Policy, Read};
use crate::request::{ClientKey, SignedRequest};

/// No delay is longer, in seconds: 30 days.
pub const MAX_DELAY: u32 = 30 * 24 * 60 * 60;
/// A delay names so many vetoers.
pub const MAX_VETOERS: usize = 16;

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay<'a> {
    /// How long a party must have known the request, in seconds.
    pub seconds: u32,
    /// Who may veto it (Ed25519); possibly nobody.
    pub veto: List<'a, 32>,
}

impl<'a> Delay<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        let (seconds, veto) = (reader.u32(), reader.list_or_none("vetoers"));
        if !(1..=MAX_DELAY).contains(&seconds) {
            reader.fail(FormError::Range("delay"));
        }
        if veto.len() > MAX_VETOERS {
            reader.fail(FormError::TooMany("vetoers"));
        }
        Self { seconds, veto }
    }

    /// Who of those that named themselves against the request may veto it.
    pub(super) fn vetoed_by(&self, facts: &Facts<'_>) -> Option<ClientKey> {
        facts.vetoes.iter().find(|vetoer| self.veto.contains(&vetoer.0)).copied()
    }

    /// When it is over by the party's clock, Unix seconds: for a request that is not on record, if it were
    /// from now on.
    pub(super) fn until(&self, facts: &Facts<'_>) -> u64 {
        facts.known_since.unwrap_or(facts.now).saturating_add(self.seconds.into())
    }

    /// Whether the party has had the request on record for long enough. A record from the future, by a
    /// clock that was put back, is not.
    pub(super) fn is_over(&self, facts: &Facts<'_>) -> bool {
        facts.known_since.is_some() && facts.now >= self.until(facts)
    }
}

impl Condition<'_> {
    /// Gives `each` every delay within.
    fn delays(&self, each: &mut dyn FnMut(&Delay<'_>)) {
        if let Self::Delay(delay) = self {
            each(delay);
        }
        for inner in self.inner().iter().flat_map(super::condition::Conditions::iter).flatten() {
            inner.delays(each);
        }
    }

    /// Whether there is a delay within.
    pub(super) fn waits(&self) -> bool {
        let mut found = false;
        self.delays(&mut |_| found = true);
        found
    }
}

impl Policy<'_> {
    fn delays(&self, mut each: impl FnMut(&Delay<'_>)) {
        self.rules().for_each(|rule| rule.condition.delays(&mut each));
    }

    /// The longest of its delays, in seconds; 0 without any.
    #[must_use]
    pub fn longest_delay(&self) -> u32 {
        let mut longest = 0;
        self.delays(|delay| longest = longest.max(delay.seconds));
        longest
    }

    /// So many seconds from now a request may expire at most: a day, and what it may have to wait.
    #[must_use]
    pub fn max_expiry(&self) -> u64 {
        MAX_EXPIRY + u64::from(self.longest_delay())
    }

    /// Whether one of its delays names this vetoer.
    #[must_use]
    pub fn names_vetoer(&self, vetoer: &ClientKey) -> bool {
        let mut named = false;
        self.delays(|delay| named |= delay.veto.contains(&vetoer.0));
        named
    }

    /// When its delays let the request through, by the party's clock, Unix seconds: the earliest time at
    /// which a rule allows it if nothing else changes. Not after `now` if it is allowed already. Without a
    /// record it is the time if the record began now. It takes at most 23 judgements, and one if it is `None`.
    ///
    /// `None` if more than delays stand in the way: another condition, a veto, or an expiry that is past or too far.
    #[must_use]
    pub fn opens_at(&self, request: &SignedRequest<'_>, facts: &Facts<'_>) -> Option<u64> {
        self.check_expiry(request, facts.now).ok()?;
        let read = Read::of(&request.payload());
        let allowed = |elapsed: u32| {
            let known_since = facts.now.checked_sub(elapsed.into());
            let facts = Facts { known_since, ..*facts };
            self.allows(request, &read, &facts)
        };
        let (mut low, mut high) = (0, self.longest_delay());
        if !allowed(high) {
            return None;
        }
        // No delay stands within a `not`, so that more time never allows less.
        while low < high {
            let middle = low + (high - low) / 2;
            if allowed(middle) { high = middle } else { low = middle + 1 }
        }
        Some(facts.known_since.unwrap_or(facts.now).saturating_add(high.into()))
    }
}
