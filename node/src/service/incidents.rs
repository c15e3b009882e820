//! What peers did wrong, by party: for the operator, beside the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::request::ClientKey;

/// Characters of a peer's own words that are kept or shown.
const MAX_WORDS: usize = 300;
/// Names of sessions of one coordinator that are remembered after their end (`docs/PROTOCOL.md` §1.9).
/// A session of a signature has two: its id in proposals, and D0 in the messages of its members.
const REMEMBERED: usize = 2 * 1024;

/// A peer's words, cut to a bearable length and free of control characters.
pub(super) fn clip(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

/// Refusals of one asker that go into the audit log, per minute: it must not be able to fill the disk.
const AUDITED_PER_MINUTE: u64 = 60;
/// Clients whose refusals are counted at a time.
const MAX_CLIENTS: usize = 1024;

/// Who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// A coordinator.
    Party(PartyId),
    /// A client, at this party.
    Client(ClientKey),
}

/// How often in this minute, and how often before without a record.
#[derive(Default)]
struct Audited {
    minute: u64,
    count: u64,
    left_out: u64,
}

/// Counts and last words, by party.
#[derive(Default)]
pub(super) struct Incidents {
    of: BTreeMap<PartyId, (u64, String)>,
    audited: BTreeMap<Asker, Audited>,
}

impl Incidents {
    /// A message of `party` was refused, or it was named as a culprit.
    pub(super) fn add(&mut self, party: PartyId, what: impl std::fmt::Display) {
        let what = clip(&what.to_string());
        tracing::warn!(%party, "refused: {what}");
        let entry = self.of.entry(party).or_default();
        entry.0 = entry.0.saturating_add(1);
        entry.1 = what;
    }

    pub(super) fn of(&self, party: u16) -> (u64, Option<String>) {
        let found = PartyId::new(party).and_then(|party| self.of.get(&party));
        found.map_or((0, None), |(count, last)| (*count, Some(last.clone())))
    }

    /// If one more refusal of this asker goes into the audit log: how many before it did not. `now` in
    /// seconds.
    pub(super) fn may_audit(&mut self, asker: Asker, now: u64) -> Option<u64> {
        let minute = now / 60;
        if self.audited.len() >= MAX_CLIENTS && !self.audited.contains_key(&asker) {
            // Askers without a debt need not be remembered.
            self.audited.retain(|_, old| old.minute == minute || old.left_out > 0);
            // Keys of clients cost nothing: who makes thousands of them is in the log alone.
            if self.audited.len() >= MAX_CLIENTS && matches!(asker, Asker::Client(_)) {
                return None;
            }
        }
        let audited = self.audited.entry(asker).or_default();
        if audited.minute != minute {
            (audited.minute, audited.count) = (minute, 0);
        }
        audited.count = audited.count.saturating_add(1);
        if audited.count > AUDITED_PER_MINUTE {
            audited.left_out = audited.left_out.saturating_add(1);
            return None;
        }
        Some(std::mem::take(&mut audited.left_out))
    }
}

/// Sessions that were proposed before, by coordinator: none of them comes back to life.
#[derive(Default)]
pub(super) struct Remembered(BTreeMap<PartyId, (BTreeSet<Digest>, VecDeque<Digest>)>);

impl Remembered {
    /// Whether `session` is new from this coordinator; it is remembered from now on.
    pub(super) fn is_new(&mut self, coordinator: PartyId, session: &Digest) -> bool {
        let (known, order) = self.0.entry(coordinator).or_default();
        if !known.insert(*session) {
            return false;
        }
        order.push_back(*session);
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }

    /// Whether anybody proposed `session` here since this party started.
    pub(super) fn knows(&self, session: &Digest) -> bool {
        self.0.values().any(|(known, _)| known.contains(session))
    }
}

/// Why a message is refused that belongs to no session which this party was ever asked to join.
pub(super) const UNKNOWN_SESSION: &str = "a message of a session that was never proposed here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_new_once_and_memory_is_bounded() {
        let mut remembered = Remembered::default();
        let party = PartyId::new(1).unwrap();
        for number in 0..3000u32 {
            let mut session = [0; 32];
            session[..4].copy_from_slice(&number.to_be_bytes());
            assert!(remembered.is_new(party, &session));
            assert!(!remembered.is_new(party, &session) && remembered.knows(&session));
            assert!(remembered.is_new(PartyId::new(2).unwrap(), &session));
        }
        assert_eq!(remembered.0[&party].0.len(), REMEMBERED);
        assert!(!remembered.knows(&[0; 32]) && !remembered.knows(&[0xff; 32]));
    }

    #[test]
    fn a_flood_of_refusals_leaves_room_on_the_disk() {
        let mut incidents = Incidents::default();
        let party = Asker::Party(PartyId::new(1).unwrap());
        let audited = |now, incidents: &mut Incidents| {
            let told = (0..1000).filter_map(|_| incidents.may_audit(party, now));
            told.fold((0, 0), |(count, left_out), more| (count + 1, left_out + more))
        };
        assert_eq!(audited(600, &mut incidents), (60, 0));
        assert_eq!(audited(659, &mut incidents), (0, 0));
        // The next record says what is not there.
        assert_eq!(audited(660, &mut incidents), (60, 1940));
        // Nobody makes this party remember them all, and nobody keeps others from being heard.
        for number in 0..5000_u32 {
            let mut client = [0; 32];
            client[..4].copy_from_slice(&number.to_be_bytes());
            let first = number < MAX_CLIENTS as u32 - 1;
            assert_eq!(incidents.may_audit(Asker::Client(ClientKey(client)), 670).is_some(), first);
        }
        assert_eq!(incidents.audited.len(), MAX_CLIENTS);
        assert_eq!(incidents.may_audit(Asker::Party(PartyId::new(2).unwrap()), 670), Some(0));
        assert_eq!(incidents.may_audit(Asker::Client(ClientKey([9; 32])), 730), Some(0));
    }

    #[test]
    fn words_are_clipped() {
        assert_eq!(clip("a\nb\u{7}c"), "abc");
        assert_eq!(clip(&"é".repeat(1000)).chars().count(), MAX_WORDS);
    }
}
