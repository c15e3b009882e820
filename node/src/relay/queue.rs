//! What waits for the device, which takes one thing at a time: so much of each peer and no more.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::device::channel::MAX_SEALED;

/// Frames of one peer that may wait.
const FRAMES: usize = 64;

/// One thing for the device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Up(u16),
    Down(u16),
    Frame(u16, Vec<u8>),
}

#[derive(Default)]
pub(super) struct Queue {
    all: VecDeque<Outgoing>,
    frames: BTreeMap<u16, usize>,
    /// The device has no room for these before something else of somebody else has come. Until then nothing else
    /// of that peer may.
    held: BTreeMap<u16, Vec<u8>>,
}

impl Queue {
    /// Whether there was room.
    pub(super) fn push(&mut self, outgoing: Outgoing) -> bool {
        match &outgoing {
            Outgoing::Frame(party, bytes) => {
                let waiting = self.frames.entry(*party).or_default();
                if *waiting >= FRAMES || bytes.len() > MAX_SEALED {
                    return false;
                }
                *waiting += 1;
            }
            // What waits of it is of a channel that is over; so of each peer one mark waits, the last.
            Outgoing::Up(party) | Outgoing::Down(party) => self.forget(*party),
        }
        self.all.push_back(outgoing);
        true
    }

    fn forget(&mut self, party: u16) {
        self.all.retain(|waiting| waiting.party() != party);
        self.frames.remove(&party);
        self.held.remove(&party);
    }

    /// The device wants this frame later.
    pub(super) fn hold(&mut self, party: u16, frame: Vec<u8>) {
        // A mark that came meanwhile has ended its channel.
        let over = |waiting: &Outgoing| {
            waiting.party() == party && !matches!(waiting, Outgoing::Frame(..))
        };
        if !self.all.iter().any(over) {
            self.held.insert(party, frame);
        }
    }

    /// The device has taken something of `party`, or may have changed by itself: what is held is given again.
    pub(super) fn release(&mut self, party: Option<u16>) {
        let free: Vec<u16> =
            self.held.keys().copied().filter(|held| Some(*held) != party).collect();
        for held in free {
            if let Some(frame) = self.held.remove(&held) {
                *self.frames.entry(held).or_default() += 1;
                self.all.push_front(Outgoing::Frame(held, frame));
            }
        }
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let place = self.all.iter().position(|next| !self.held.contains_key(&next.party()))?;
        let next = self.all.remove(place)?;
        if let Outgoing::Frame(party, _) = &next
            && let Some(waiting) = self.frames.get_mut(party)
        {
            *waiting = waiting.saturating_sub(1);
        }
        Some(next)
    }
}

impl Outgoing {
    fn party(&self) -> u16 {
        match self {
            Self::Up(party) | Self::Down(party) | Self::Frame(party, _) => *party,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_room_and_no_more() {
        let mut queue = Queue::default();
        let frame = |party: u16| Outgoing::Frame(party, vec![0; MAX_SEALED]);
        assert_eq!((0..1000).filter(|_| queue.push(frame(1))).count(), FRAMES);
        assert!(queue.push(frame(2)));
        assert!(!queue.push(Outgoing::Frame(2, vec![0; MAX_SEALED + 1])));
        assert_eq!(queue.pop(), Some(frame(1)));
        assert!(queue.push(frame(1)) && !queue.push(frame(1)));
        // Who comes and goes leaves one mark.
        for _ in 0..1000 {
            assert!(queue.push(Outgoing::Down(1)) && queue.push(Outgoing::Up(1)));
        }
        assert_eq!(queue.pop(), Some(frame(2)));
        assert_eq!(queue.pop(), Some(Outgoing::Up(1)));
        assert_eq!(queue.pop(), None);
        assert!(queue.push(frame(1)));
    }

    #[test]
    fn what_comes_too_early_is_given_again_before_all_else_of_its_peer() {
        let mut queue = Queue::default();
        let frame = |party: u16, byte: u8| Outgoing::Frame(party, vec![byte]);
        for next in [frame(1, 1), frame(1, 2), frame(2, 3), frame(3, 4)] {
            assert!(queue.push(next));
        }
        assert_eq!(queue.pop(), Some(frame(1, 1)));
        queue.hold(1, vec![1]);
        assert_eq!(queue.pop(), Some(frame(2, 3)));
        // Its own frame does not free it; another's does.
        queue.release(Some(1));
        assert!(queue.holds());
        queue.release(Some(2));
        let next: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(next, [frame(1, 1), frame(1, 2), frame(3, 4)]);
        // With its channel it is gone.
        queue.hold(1, vec![1]);
        assert!(queue.push(Outgoing::Down(1)) && !queue.holds());
        queue.hold(1, vec![1]);
        assert!(!queue.holds());
    }
}
