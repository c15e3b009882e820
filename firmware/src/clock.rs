//! The clock that a device judges by: it has none of its own but a counter since boot, so it takes the
//! other holders' words, and believes no minority of them.

use quorate_core::division::divided;
use quorate_core::party::{Holders, PartyId};

use crate::MAX_HOLDERS;
use crate::device::Known;
use crate::platform::{Clock as _, Platform};

/// What a peer said, and when it said so.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// Unix seconds.
    pub(crate) unix: u64,
    /// Milliseconds since boot.
    pub(crate) at: u64,
}

impl Told {
    fn at(&self, millis: u64) -> u64 {
        self.unix.saturating_add(divided(millis.saturating_sub(self.at), 1000).0)
    }
}

/// Of so many sorted words, the one that counts, from 0: up to T−1 are lies. With 2T−1 words or more it is
/// the T-th smallest, which no T−1 liars push beyond what an honest party says, in either direction. With
/// fewer it is the latest of which the same holds forward: a clock that runs ahead would forget what was
/// spent, and one that stays behind is held by the journal.
fn place(heard: usize, threshold: usize) -> Option<usize> {
    let beyond = (heard + 1).checked_sub(threshold)?;
    if heard < threshold { None } else { threshold.min(beyond).checked_sub(1) }
}

/// A handful: the library's sorts are for many, and take as much flash.
fn sort(words: &mut [u64]) {
    for end in 1..words.len() {
        for place in (1..=end).rev() {
            if words.get(place - 1) <= words.get(place) {
                break;
            }
            words.swap(place - 1, place);
        }
    }
}

impl<P: Platform> Known<'_, P> {
    pub(crate) fn millis(&self) -> u64 {
        self.clock.millis()
    }

    /// The time by the words of a key's holders, Unix seconds, once T of them were heard. It is never before
    /// the last release.
    pub(crate) fn now(&mut self, holders: &Holders) -> Option<u64> {
        let millis = self.millis();
        let is_holder = |party: PartyId| holders.parties().contains(party);
        let told = self.peers.iter().filter(|peer| is_holder(peer.party)).filter_map(|p| p.told);
        let mut words: heapless::Vec<u64, MAX_HOLDERS> =
            told.map(|told| told.at(millis)).take(MAX_HOLDERS).collect();
        sort(&mut words);
        let word = words.get(place(words.len(), holders.threshold())?)?;
        let latest = self.store.latest_time().ok()?;
        Some(latest.max(*word))
    }

    /// The clock for people and for greetings: by the words of all, of which the middle one counts.
    pub(crate) fn some_time(&self) -> Option<u64> {
        let millis = self.millis();
        let told = self.peers.iter().filter_map(|peer| peer.told);
        let mut words: heapless::Vec<u64, { crate::device::MAX_PEERS }> =
            told.map(|told| told.at(millis)).take(crate::device::MAX_PEERS).collect();
        sort(&mut words);
        words.get(words.len().saturating_sub(1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{place, sort};

    /// Of `heard` words, `liars` are 0 or huge, the others honest: whether the chosen one is beyond an
    /// honest one.
    fn chosen(heard: usize, threshold: usize, early: usize, late: usize) -> Option<u64> {
        let mut words: std::vec::Vec<u64> = std::vec![1000; heard - early - late];
        words.extend(std::vec![0; early]);
        words.extend(std::vec![9999; late]);
        sort(&mut words);
        place(heard, threshold).map(|place| words[place])
    }

    #[test]
    fn no_minority_moves_the_clock_beyond_an_honest_word() {
        for threshold in 2..=3 {
            for heard in 0..=6 {
                for early in 0..threshold {
                    for late in 0..threshold - early {
                        if early + late > heard {
                            continue;
                        }
                        let Some(word) = chosen(heard, threshold, early, late) else {
                            assert!(heard < threshold);
                            continue;
                        };
                        assert!(heard >= threshold && word <= 1000, "{heard} {threshold} {word}");
                        assert!(word == 1000 || heard < 2 * threshold - 1);
                    }
                }
            }
        }
    }
}
