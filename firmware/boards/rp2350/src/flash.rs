//! The store's part of the flash.

use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Error, Flash};
use embassy_rp::peripherals::FLASH;
use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashErrorKind, ReadNorFlash,
};

/// What every board with an RP2350 has at least.
const ALL: usize = 2 << 20;
const SIZE: usize = 256 << 10;
const START: u32 = (ALL - SIZE) as u32;

/// Its last pages.
pub(crate) struct Store(Flash<'static, FLASH, Blocking, ALL>);

impl Store {
    pub(crate) fn new(flash: Peri<'static, FLASH>) -> Self {
        Self(Flash::new_blocking(flash))
    }
}

fn kind(error: Error) -> NorFlashErrorKind {
    match error {
        Error::OutOfBounds => NorFlashErrorKind::OutOfBounds,
        Error::Unaligned => NorFlashErrorKind::NotAligned,
        _ => NorFlashErrorKind::Other,
    }
}

/// Where it is in the whole flash.
fn place(offset: u32) -> Result<u32, NorFlashErrorKind> {
    offset.checked_add(START).ok_or(NorFlashErrorKind::OutOfBounds)
}

impl ErrorType for Store {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Store {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.0.blocking_read(place(offset)?, bytes).map_err(kind)
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Store {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.0.blocking_erase(place(from)?, place(to)?).map_err(kind)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0.blocking_write(place(offset)?, bytes).map_err(kind)
    }
}

impl MultiwriteNorFlash for Store {}
