//! R4 of key generation: a pending key asks every second for confirmations, until it has those of all; then it
//! is active.

use heapless::Vec;
use quorate_core::device::link::Event;
use quorate_core::key::{CertificateError, check_certificate_of};
use quorate_core::party::PartyId;
use quorate_core::wire;

use super::{Confirmed, KeyEntry, Public};
use crate::MAX_HOLDERS;
use crate::device::{Engine, Known, Way, Work};
use crate::message::{self, Confirm, KeyActive};
use crate::platform::Platform;
use crate::store::{MAX_KEYS, Part, Slot};

/// A pending key asks so often, milliseconds.
const EVERY: u64 = 1000;
/// Confirmations in one piece of the certificate.
const PIECE: usize = 2;
/// A confirmation as it is stored, with its length before it.
const MAX_CONFIRMATION: usize = 1 + 1 + 32 * 7 + 1 + 32 * 15 + 64;

/// A pending key, and what has come of its certificate. It can be dropped at any time: peers say it again.
pub(crate) struct Confirming {
    number: u8,
    public: Public,
    own: Confirmed,
    /// Of the others.
    others: Vec<Confirmed, MAX_HOLDERS>,
}

impl<P: Platform> Engine<'_, P> {
    /// A pending key becomes what the device is busy with, as far as it is not.
    #[inline(never)]
    pub(super) fn begin_confirming(&mut self, number: u8, buffer: &mut [u8]) -> Option<()> {
        let public = self.known.load_public(number, buffer)?;
        let own = self.known.own_confirmation(number, buffer)?;
        *self.work = Work::Confirm(Confirming { number, public, own, others: Vec::new() });
        Some(())
    }

    #[inline(never)]
    pub(crate) fn confirm_again(&mut self, now: u64) {
        let reachable =
            |engine: &Self| engine.known.peers.iter().any(|p| matches!(p.way, Way::Open(_)));
        if now < self.confirm_at || self.open.is_none() || !reachable(self) {
            return;
        }
        self.confirm_at = now.saturating_add(EVERY);
        let current = match &*self.work {
            Work::Idle => None,
            Work::Confirm(confirming) => Some(confirming.number),
            Work::Key(_) | Work::Sign(_) => return,
        };
        // Of several pending keys each has its turn.
        let start = current.map_or(0, |number| number + 1);
        let mut turns = (0..MAX_KEYS).map(|turn| (start + turn) % MAX_KEYS);
        let next = turns.find(|n| self.known.key_entry(*n).is_some_and(|entry| !entry.active));
        let Some(number) = next else {
            *self.work = Work::Idle;
            return;
        };
        if current != Some(number) {
            let mut buffer = [0; 1024];
            self.begin_confirming(number, &mut buffer);
        }
        self.ask_to_confirm(number);
    }

    /// Tells all other holders this party's word, and that it waits for theirs.
    fn ask_to_confirm(&mut self, number: u8) {
        let Work::Confirm(confirming) = &*self.work else { return };
        let terms = confirming.public.terms;
        for to in terms.holders.parties().iter() {
            self.send_confirmation(to, terms.key, Slot::Key(number, Part::Confirmation), 0, true);
        }
    }

    /// One confirmation, from where it is stored.
    #[inline(never)]
    fn send_confirmation(
        &mut self,
        to: PartyId,
        key: [u8; 16],
        slot: Slot,
        skip: usize,
        pending: bool,
    ) -> Option<()> {
        let mut buffer = [0; PIECE * MAX_CONFIRMATION];
        let stored = self.known.store.load(slot, &mut buffer).ok()??;
        let confirmation = match slot {
            Slot::Key(_, Part::Certificate(_)) => {
                let all: Vec<&[u8], PIECE> = wire::read(stored).ok()?;
                all.get(skip).copied()?
            }
            _ => stored,
        };
        self.send(to, &Confirm { key, confirmation, pending });
        Some(())
    }

    #[inline(never)]
    pub(crate) fn handle_confirmation(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        match self.take_confirmation(from, body)? {
            Some((number, entry)) => self.activate(number, entry),
            None => Some(()),
        }
    }

    /// Keeps what is new; gives the key whose certificate is whole with it.
    #[inline(never)]
    fn take_confirmation(&mut self, from: PartyId, body: &[u8]) -> Option<Option<(u8, KeyEntry)>> {
        let Confirm { key, confirmation, pending } = message::read(body).ok()?;
        // Not there yet: this party is still in round 3. The sender repeats.
        let Some(number) = self.known.find_key(|entry| entry.key == key) else { return Some(None) };
        let entry = self.known.key_entry(number)?;
        if entry.active {
            if pending {
                self.hand_out_certificate(from, number, key);
            }
            return Some(None);
        }
        let Work::Confirm(confirming) = &mut *self.work else { return Some(None) };
        if confirming.number != number {
            return Some(None);
        }
        let network = self.known.network.as_ref()?;
        let word: Confirmed = wire::read(confirmation).ok()?;
        let holders = confirming.public.terms.holders.parties().without(network.me);
        if !holders.contains(word.party) {
            return None;
        }
        let others = &mut confirming.others;
        match others.iter_mut().find(|other| other.party == word.party) {
            // Whoever passes on the words of others does not replace them.
            Some(_) if from != word.party => return Some(None),
            Some(known) => *known = word,
            None => others.push(word).ok()?,
        }
        Some((others.len() == holders.len()).then_some((number, entry)))
    }

    /// Checks the whole certificate at once, every signature a single time; nothing if one is false.
    #[inline(never)]
    fn activate(&mut self, number: u8, entry: KeyEntry) -> Option<()> {
        let (Work::Confirm(confirming), Some(network)) = (&mut *self.work, &*self.known.network)
        else {
            return None;
        };
        let Confirming { public, own, others, .. } = confirming;
        // The list of all has room for this party's own for as long as it is checked.
        push_copy(others, own)?;
        let checked = check_certificate_of(public, own, others, |party| network.identity_of(party));
        others.pop();
        let (key, holders) = (public.terms.key, public.terms.holders.parties());
        match checked {
            Ok(()) => {}
            Err(CertificateError::Signature(party) | CertificateError::Shape(party)) => {
                others.retain(|other| other.party != party);
                return None;
            }
            // Void for ever: two holders made different keys of it. It stays pending, and nothing signs
            // with it.
            Err(_) => {
                others.clear();
                return None;
            }
        }
        // Tried again with the next confirmation, if the flash failed.
        self.store_certificate(number, entry)?;
        *self.work = Work::Idle;
        for to in holders.iter() {
            self.send(to, &KeyActive { key });
        }
        self.event(Event::KeyActive(key));
        Some(())
    }

    #[inline(never)]
    fn store_certificate(&mut self, number: u8, entry: KeyEntry) -> Option<()> {
        let Work::Confirm(confirming) = &*self.work else { return None };
        for (piece, pair) in confirming.others.chunks(PIECE).enumerate() {
            let mut encoded = [[0; MAX_CONFIRMATION]; PIECE];
            let mut parts: Vec<&[u8], PIECE> = Vec::new();
            for (word, room) in pair.iter().zip(&mut encoded) {
                parts.push(wire::write(word, room).ok()?).ok()?;
            }
            // `tx` is free: nothing is being sent.
            let bytes = wire::write(&parts, &mut *self.tx).ok()?;
            let slot = Slot::Key(number, Part::Certificate(piece as u8));
            self.known.store.save(slot, bytes).ok()?;
        }
        self.save_entry(number, &KeyEntry { active: true, ..entry })
    }

    /// All confirmations, to whoever still waits for some.
    fn hand_out_certificate(&mut self, to: PartyId, number: u8, key: [u8; 16]) {
        self.send_confirmation(to, key, Slot::Key(number, Part::Confirmation), 0, false);
        for place in 0..MAX_HOLDERS - 1 {
            let slot = Slot::Key(number, Part::Certificate((place / PIECE) as u8));
            if self.send_confirmation(to, key, slot, place % PIECE, false).is_none() {
                return;
            }
        }
    }
}

#[inline(never)]
fn push_copy(all: &mut Vec<Confirmed, MAX_HOLDERS>, word: &Confirmed) -> Option<()> {
    all.push(word.clone()).ok()
}

impl<P: Platform> Known<'_, P> {
    #[inline(never)]
    pub(crate) fn own_confirmation(&mut self, number: u8, buffer: &mut [u8]) -> Option<Confirmed> {
        let slot = Slot::Key(number, Part::Confirmation);
        wire::read(self.store.load(slot, buffer).ok()??).ok()
    }
}
