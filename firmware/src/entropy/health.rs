//! The continuous tests of SP 800-90B §4.4, for samples of a byte in which at least one bit of entropy is
//! assumed, whatever the source claims; and one of our own, as §4.5 allows: both of the standard's tests
//! are blind to short patterns.
//!
//! What passes becomes a secret: how many instructions a test takes does not depend on the sample.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::EntropyFailed;

/// A healthy source fails a test with a probability of 2^−30 in each window.
pub const ALPHA_BITS: u32 = 30;
/// §4.4.1: C = 1 + ⌈−log2 α / H⌉, with H = 1 bit in each sample.
pub const REPETITION_CUTOFF: u8 = 31;
/// §4.4.2: samples in a window, for samples that are not binary.
pub const WINDOW: u16 = 512;
/// §4.4.2: C = 1 + critbinom(W, 2^−H, 1 − α), with H = 1.
pub const PROPORTION_CUTOFF: u16 = 325;
/// How far back a pattern is looked for.
const LAGS: usize = 8;

/// The state of all tests.
pub(super) struct Health {
    /// The last samples, the newest first, and how many of them there are.
    last: [u8; LAGS],
    known: usize,
    /// For each lag, how many samples in a row were that from so far back. The first is the repetition
    /// count test.
    runs: [u8; LAGS],
    /// How many samples in a row differed by the same from the one before, and by what.
    steps: u8,
    step: u8,
    /// The adaptive proportion test.
    counted: u8,
    count: u16,
    left: u16,
}

impl Health {
    pub(super) const fn new() -> Self {
        Self {
            last: [0; LAGS],
            known: 0,
            runs: [1; LAGS],
            steps: 1,
            step: 0,
            counted: 0,
            count: 0,
            left: 0,
        }
    }

    pub(super) fn test(&mut self, sample: u8) -> Result<(), EntropyFailed> {
        let mut longest = [0u8; 2];
        let [of_one, of_more] = &mut longest;
        for (lag, (run, before)) in self.runs.iter_mut().zip(&self.last).enumerate() {
            let known = Choice::from(u8::from(lag < self.known));
            *run = longer(*run, before.ct_eq(&sample) & known);
            let of = if lag == 0 { &mut *of_one } else { &mut *of_more };
            *of = (*of).max(*run);
        }
        let [newest, ..] = self.last;
        let step = sample.wrapping_sub(newest);
        let known = Choice::from(u8::from(self.known > 1));
        self.steps = longer(self.steps, step.ct_eq(&self.step) & known);
        self.step = step;
        self.last = (u64::from_be_bytes(self.last) >> 8 | u64::from(sample) << 56).to_be_bytes();
        self.known = self.known.saturating_add(1).min(LAGS);
        let [of_one, of_more] = longest;
        if of_one >= REPETITION_CUTOFF {
            return Err(EntropyFailed::Repetition);
        }
        if of_more >= REPETITION_CUTOFF || self.steps >= REPETITION_CUTOFF {
            return Err(EntropyFailed::Pattern);
        }
        self.proportion(sample)
    }

    fn proportion(&mut self, sample: u8) -> Result<(), EntropyFailed> {
        if self.left == 0 {
            (self.counted, self.count, self.left) = (sample, 1, WINDOW - 1);
            return Ok(());
        }
        self.left = self.left.saturating_sub(1);
        let same = sample.ct_eq(&self.counted).unwrap_u8();
        self.count = self.count.saturating_add(u16::from(same));
        if self.count >= PROPORTION_CUTOFF { Err(EntropyFailed::Proportion) } else { Ok(()) }
    }
}

/// A run goes on, or begins anew.
fn longer(run: u8, goes_on: Choice) -> u8 {
    u8::conditional_select(&1, &run.saturating_add(1), goes_on)
}
