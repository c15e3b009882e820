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
        self.all.retain(|waiting| match waiting {
            Outgoing::Up(who) | Outgoing::Down(who) | Outgoing::Frame(who, _) => *who != party,
        });
        self.frames.remove(&party);
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let next = self.all.pop_front()?;
        if let Outgoing::Frame(party, _) = &next
            && let Some(waiting) = self.frames.get_mut(party)
        {
            *waiting = waiting.saturating_sub(1);
        }
        Some(next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
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
        assert!(queue.is_empty());
        assert!(queue.push(frame(1)));
    }
}
