//! A board in memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use quorate_firmware::platform::{Button, Clock, Noise, NoiseFailed, Person, Platform};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

const PAGE: usize = 4096;

/// The two directions of a serial line.
#[derive(Clone, Default)]
pub struct Line {
    pub inward: Rc<RefCell<VecDeque<u8>>>,
    pub outward: Rc<RefCell<Vec<u8>>>,
}

impl embedded_io::ErrorType for Line {
    type Error = Infallible;
}

impl embedded_io::Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut bytes = self.inward.borrow_mut();
        let count = buffer.len().min(bytes.len());
        buffer.iter_mut().zip(bytes.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

impl embedded_io::ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.inward.borrow().is_empty())
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outward.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Flash that outlives the device.
#[derive(Clone)]
pub struct Flash(pub Rc<RefCell<Vec<u8>>>);

impl Flash {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0xff; 64 * PAGE])))
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0.borrow()[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.0.borrow_mut()[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let mut flash = self.0.borrow_mut();
        for (place, byte) in flash[offset as usize..].iter_mut().zip(bytes) {
            *place &= byte;
        }
        Ok(())
    }
}

/// Random samples, or always the same one.
pub struct Samples(pub Option<ChaCha20Rng>);

impl Samples {
    pub fn good(seed: u64) -> Self {
        Self(Some(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Noise for Samples {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        match &mut self.0 {
            Some(rng) => rng.fill_bytes(samples),
            None => samples.fill(0),
        }
        Ok(())
    }
}

/// A screen that remembers, and a button.
#[derive(Clone, Default)]
pub struct Panel {
    pub shown: Rc<RefCell<String>>,
    pub pressed: Rc<RefCell<VecDeque<Button>>>,
}

impl Person for Panel {
    fn show(&mut self, text: &str) {
        *self.shown.borrow_mut() = text.to_owned();
    }

    fn pressed(&mut self) -> Option<Button> {
        self.pressed.borrow_mut().pop_front()
    }
}

/// Time that a test moves.
#[derive(Clone, Default)]
pub struct Ticks(pub Rc<Cell<u64>>);

impl Clock for Ticks {
    fn millis(&self) -> u64 {
        self.0.get()
    }
}

pub struct Board;

impl Platform for Board {
    type Link = Line;
    type Flash = Flash;
    type Noise = Samples;
    type Person = Panel;
    type Clock = Ticks;
}
