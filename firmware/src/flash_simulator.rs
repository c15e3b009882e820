//! NOR flash in memory, whose power can be cut at any byte of a write and in the middle of an erase.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

pub(crate) const PAGE: usize = 4096;

/// Flash whose words have `WORD` bytes.
#[derive(Clone)]
pub(crate) struct FlashSimulator<const WORD: usize> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) erases: Vec<u32>,
    /// Bytes written and pages erased so far.
    pub(crate) steps: u64,
    /// The step at which the power is cut.
    pub(crate) cut_at: Option<u64>,
    /// A byte that keeps its erased value, whatever is written.
    pub(crate) stuck: Option<usize>,
    /// After the cut, until [`Self::restore_power`].
    pub(crate) is_off: bool,
    random: ChaCha20Rng,
}

#[derive(Debug)]
pub(crate) struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const WORD: usize> FlashSimulator<WORD> {
    pub(crate) fn new(pages: usize, seed: u64) -> Self {
        Self {
            bytes: vec![0xff; pages * PAGE],
            erases: vec![0; pages],
            steps: 0,
            cut_at: None,
            stuck: None,
            is_off: false,
            random: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// Other garbage at the next cut.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.random = ChaCha20Rng::seed_from_u64(seed);
    }

    /// The power will fail after so many more steps.
    pub(crate) fn cut_after(&mut self, steps: u64) {
        self.cut_at = Some(self.steps + steps);
    }

    /// Whether it was off.
    pub(crate) fn restore_power(&mut self) -> bool {
        self.cut_at = None;
        std::mem::take(&mut self.is_off)
    }

    pub(crate) fn contains(&self, secret: &[u8]) -> bool {
        self.bytes.windows(secret.len()).any(|window| window == secret)
    }

    /// Whether the power fails at this step.
    fn step(&mut self) -> bool {
        self.is_off = self.cut_at.is_some_and(|at| self.steps >= at);
        self.steps += 1;
        self.is_off
    }

    fn ruin(&mut self, page: usize) {
        let way = self.random.next_u32() % 4;
        for byte in &mut self.bytes[page * PAGE..(page + 1) * PAGE] {
            let noise = self.random.next_u32() as u8;
            match way {
                // Not begun, some bits, all but some bits, anything.
                0 => {}
                1 => *byte |= noise & 0x11,
                2 => *byte |= noise | 0x77,
                _ => *byte = noise,
            }
        }
    }
}

impl<const WORD: usize> ErrorType for FlashSimulator<WORD> {
    type Error = Failed;
}

impl<const WORD: usize> ReadNorFlash for FlashSimulator<WORD> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        check_read(self, offset, bytes.len()).unwrap();
        if self.is_off {
            return Err(Failed);
        }
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WORD: usize> NorFlash for FlashSimulator<WORD> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        check_erase(self, from, to).unwrap();
        for page in from as usize / PAGE..to as usize / PAGE {
            if self.is_off {
                return Err(Failed);
            }
            self.erases[page] += 1;
            if self.step() {
                self.ruin(page);
                return Err(Failed);
            }
            self.bytes[page * PAGE..(page + 1) * PAGE].fill(0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        check_write(self, offset, bytes.len()).unwrap();
        if self.is_off {
            return Err(Failed);
        }
        let (mut at, words) = (offset as usize, bytes.chunks(WORD));
        for word in words {
            let place = at..at + WORD;
            let is_erased = self.bytes[place.clone()].iter().all(|byte| *byte == 0xff);
            assert!(is_erased, "the word at {at:#x} is written twice");
            if word.iter().any(|_| self.step()) {
                // No bit that was not to be cleared is cleared; of the others, some.
                for (byte, new) in self.bytes[place].iter_mut().zip(word) {
                    *byte = new | self.random.next_u32() as u8;
                }
                return Err(Failed);
            }
            self.bytes[place.clone()].copy_from_slice(word);
            if let Some(stuck) = self.stuck.filter(|stuck| place.contains(stuck)) {
                self.bytes[stuck] = 0xff;
            }
            at += WORD;
        }
        Ok(())
    }
}
