//! An input read as a list of operations on a session: what the network does to packets, and what one
//! corrupt party does to those that it sends.

use quorate_core::party::PartyId;
use quorate_core::session::Header;
use quorate_core::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::simulator::Packet;
use crate::simulator::forge::{Body, Commit, Complaint, Deal, Forged, Open, bytes_of, signed};

/// No input has more operations than this.
const MAX_STEPS: usize = 400;

/// The input, byte by byte; zeros follow it.
pub(super) struct Plan<'a> {
    bytes: &'a [u8],
    steps: usize,
}

/// What happens next.
pub(super) enum Step {
    /// This packet arrives.
    Deliver(Packet),
    /// This party's deadline passes.
    TimeOut(PartyId),
    /// Something happened to packets on their way.
    Meanwhile,
}

impl<'a> Plan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, steps: 0 }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        if limit > 256 { wide % limit } else { usize::from(wide as u8) % limit.max(1) }
    }

    /// One of `parties`, or nobody.
    fn party(&mut self, parties: &[PartyId]) -> Option<PartyId> {
        let place = self.below(parties.len() + 1);
        parties.get(place).copied()
    }
}

/// Packets on their way.
pub(super) struct Air {
    parties: Vec<PartyId>,
    /// Who may send anything.
    pub(super) corrupt: Option<PartyId>,
    /// Whether something was lost or spoiled, so that the session need not succeed.
    pub(super) disturbed: bool,
    /// At the plan's end the newest packets arrive first: complaints before what they are about.
    newest_first: bool,
    queue: Vec<Packet>,
    past: Vec<Packet>,
}

impl Air {
    /// The plan's first bytes say who is corrupt, and what happens at its end.
    pub(super) fn new(parties: Vec<PartyId>, plan: &mut Plan<'_>) -> Self {
        let newest_first = plan.byte() & 1 == 1;
        let corrupt = plan.party(&parties);
        let (queue, past) = (Vec::new(), Vec::new());
        Self { parties, corrupt, disturbed: false, newest_first, queue, past }
    }

    pub(super) fn send(&mut self, packet: Packet) {
        // Duplicates must not multiply for ever.
        if self.queue.len() + self.past.len() < 4096 {
            self.queue.push(packet);
        }
    }

    /// The next packet in order, once the plan is at its end.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        match self.newest_first {
            true => self.queue.pop(),
            false => (!self.queue.is_empty()).then(|| self.queue.remove(0)),
        }
    }

    /// The plan's next step, or `None` at its end.
    pub(super) fn step(&mut self, plan: &mut Plan<'_>) -> Option<Step> {
        plan.steps += 1;
        if plan.bytes.is_empty() || plan.steps > MAX_STEPS {
            return None;
        }
        let operation = plan.byte();
        if self.queue.is_empty() {
            return Some(Step::Meanwhile);
        }
        let place = plan.below(self.queue.len());
        match operation % 12 {
            0..=3 => {
                let packet = self.queue.remove(place);
                self.past.push(packet.clone());
                return Some(Step::Deliver(packet));
            }
            4 => self.queue.extend(self.queue.get(place).cloned()),
            5 => {
                self.disturbed = true;
                self.queue.remove(place);
            }
            6 => {
                let again = plan.below(self.past.len());
                self.queue.extend(self.past.get(again).cloned());
            }
            7 => {
                self.disturbed = true;
                let party = plan.party(&self.parties)?;
                return Some(Step::TimeOut(party));
            }
            other => self.corrupted(other, place, plan),
        }
        Some(Step::Meanwhile)
    }

    /// What a corrupt party may do to a packet of its own.
    fn corrupted(&mut self, operation: u8, place: usize, plan: &mut Plan<'_>) {
        let corrupt = self.corrupt;
        let Some(packet) = self.queue.get_mut(place).filter(|p| Some(p.from) == corrupt) else {
            return;
        };
        self.disturbed = true;
        match operation {
            8 | 9 => {
                let place = plan.below(packet.bytes.len());
                let mask = plan.byte() | 1;
                if let Some(byte) = packet.bytes.get_mut(place) {
                    *byte ^= mask;
                }
                // Signed anew, so that not only the signature catches it.
                if let (9, Some(bytes)) = (operation, resigned(&packet.bytes)) {
                    packet.bytes = bytes;
                }
            }
            10 => {
                let length = plan.below(packet.bytes.len() + 8);
                packet.bytes.resize(length, 0xa5);
            }
            _ => {
                let to = plan.party(&self.parties).filter(|to| *to != packet.from);
                packet.to = to.unwrap_or(packet.to);
            }
        }
    }
}

/// A message of a key generation with a right signature, if its bytes are still one.
fn resigned(bytes: &[u8]) -> Option<Vec<u8>> {
    fn of<B: Body + Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
        let message: Forged<B> = wire::decode(bytes).ok()?;
        Some(bytes_of(&signed(message.header, message.body)))
    }
    match Header::peek(bytes).ok()?.round {
        0 => of::<Complaint>(bytes),
        1 => of::<Commit>(bytes),
        2 => of::<Open>(bytes),
        3 => of::<Deal>(bytes),
        _ => None,
    }
}
