//! NOR flash in a file: external RAM that QEMU keeps there, under the rules of flash. Bits only go from one to
//! zero until their page is erased. What was written is in the file when the write returns, whatever
//! becomes of QEMU.

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase,
    check_read, check_write,
};

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Bytes of all pages.
pub const SIZE: usize = 64 * PAGE;
const WORD: usize = 4;

/// The flash of a board.
pub struct Flash(*mut u32);

impl Flash {
    /// The flash at `base`.
    ///
    /// # Safety
    /// There are [`SIZE`] bytes of RAM from `base` on that nothing else uses.
    #[must_use]
    pub unsafe fn new(base: usize) -> Self {
        Self(base as *mut u32)
    }

    fn word(&self, number: usize) -> *mut u32 {
        self.0.wrapping_add(number)
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        for (address, byte) in (offset as usize..).zip(bytes) {
            // SAFETY: `check_read` keeps the address within the `SIZE` bytes of `new`.
            *byte = unsafe { self.0.cast::<u8>().wrapping_add(address).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for number in from as usize / WORD..to as usize / WORD {
            // SAFETY: `check_erase` keeps the word within the `SIZE` bytes of `new`.
            unsafe { self.word(number).write_volatile(u32::MAX) };
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (number, word) in (offset as usize / WORD..).zip(bytes.as_chunks::<WORD>().0) {
            // SAFETY: `check_write` keeps the word within the `SIZE` bytes of `new`.
            unsafe {
                let old = self.word(number).read_volatile();
                self.word(number).write_volatile(old & u32::from_ne_bytes(*word));
            }
        }
        Ok(())
    }
}

impl MultiwriteNorFlash for Flash {}
