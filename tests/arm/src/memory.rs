//! A flash, a source of noise and a clock in memory, whose own work takes the same instructions always.

use core::convert::Infallible;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use quorate_firmware::platform::{Clock, Noise, NoiseFailed};

const PAGE: usize = 4096;
const PAGES: usize = 8;

/// Flash for a store.
pub(crate) struct Flash([u8; PAGE * PAGES]);

impl Flash {
    pub(crate) fn new() -> Self {
        Self([0xff; PAGE * PAGES])
    }
}

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[offset as usize..].iter_mut().zip(bytes).for_each(|(place, byte)| *place &= byte);
        Ok(())
    }
}

/// Noise that a healthy source could give.
pub(crate) struct Xorshift(u32);

impl Xorshift {
    pub(crate) fn new(seed: u8) -> Self {
        Self(u32::from(seed).wrapping_mul(0x9e37_79b9) | 1)
    }
}

impl Noise for Xorshift {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        for sample in samples {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            *sample = (self.0 >> 11) as u8;
        }
        Ok(())
    }
}

/// Time does not pass.
pub(crate) struct Still;

impl Clock for Still {
    fn millis(&self) -> u64 {
        1
    }
}
