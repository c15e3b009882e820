//! A board in memory, to try the firmware on a host without any hardware: what integrates a device, a relay or
//! another host, runs against the very code of the chip. It has no secrets to keep: its flash can be read.
//!
//! Every part is a handle on what its clones share, between threads too: one goes to the device, another stays.
//! To switch the device off, drop it; [`Flash`] is what a board keeps, and all else is new with the power.
//!
//! ```
//! use quorate_core::device::frame::{self, Decoder};
//! use quorate_core::device::link::{Answer, FromDevice, Request, ToDevice};
//! use quorate_firmware::device::{Device, Parts, Room};
//! use quorate_firmware::hosted::{Board, Flash, Line, Panel, Samples, Ticks};
//!
//! let (flash, panel, ticks) = (Flash::default(), Panel::default(), Ticks::default());
//! let line = Line::new(&flash);
//! let parts = Parts {
//!     link: line.clone(),
//!     flash: flash.clone(),
//!     noise: Samples::System,
//!     person: panel.clone(),
//!     clock: ticks.clone(),
//!     firmware: [0; 32],
//! };
//! let mut room = Box::new(Room::new());
//! let mut device = Device::<Board>::new(parts, &mut room).unwrap();
//!
//! let request = Request::Hello { min: 1, max: 1, entropy: [9; 32] };
//! frame::encode_to(&ToDevice { id: 1, request }, |bytes| line.say(bytes));
//! device.poll();
//! let said = line.hear_all();
//! let mut decoder = Box::new(Decoder::new());
//! let content = decoder.feed(&mut &said[..]).unwrap().unwrap();
//! let answer: FromDevice<'_> = frame::decode(content).unwrap();
//! assert!(matches!(answer, FromDevice { id: 1, answer: Answer::Hello(_) }));
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use embedded_io::{ErrorType as IoErrorType, Read, ReadReady, Write};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use crate::platform::{Button, Clock, Noise, NoiseFailed, Person, Platform};

/// Bytes that are erased together.
const PAGE: usize = 4096;
/// Bytes of a flash.
const FLASH: usize = 64 * PAGE;

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has left whole bytes, as a cut does.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The board.
pub struct Board;

impl Platform for Board {
    type Link = Line;
    type Flash = Flash;
    type Noise = Samples;
    type Person = Panel;
    type Clock = Ticks;
}

/// 64 pages of flash, which stay when the device is switched off. What the firmware asks beyond them, or between
/// words, is a panic.
#[derive(Clone)]
pub struct Flash(Shared<Cells>);

struct Cells {
    bytes: Vec<u8>,
    /// Bytes written, and pages erased, until the power fails.
    left: Option<u64>,
    steps: u64,
}

impl Default for Flash {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Cells { bytes: vec![0xff; FLASH], left: None, steps: 0 })))
    }
}

impl Flash {
    /// All of it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        lock(&self.0).bytes.clone()
    }

    /// Puts it back. The device must be off, or be switched off next.
    ///
    /// # Panics
    /// It is not all of a flash.
    pub fn restore(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), FLASH, "no snapshot of a flash");
        bytes.clone_into(&mut lock(&self.0).bytes);
    }

    /// The power fails when so many more bytes are written, or pages erased.
    pub fn cut_after(&self, steps: u64) {
        lock(&self.0).left = Some(steps);
    }

    /// The power is there again.
    pub fn restore_power(&self) {
        lock(&self.0).left = None;
    }

    /// Bytes that were ever written, and pages that were ever erased.
    #[must_use]
    pub fn steps(&self) -> u64 {
        lock(&self.0).steps
    }

    /// Whether the power has failed. A device that still runs then must be dropped.
    #[must_use]
    pub fn is_off(&self) -> bool {
        lock(&self.0).left == Some(0)
    }
}

impl Cells {
    fn step(&mut self) -> Result<(), NoPower> {
        match &mut self.left {
            Some(0) => return Err(NoPower),
            Some(left) => *left -= 1,
            None => {}
        }
        self.steps += 1;
        Ok(())
    }

    fn part(&mut self, from: usize, length: usize) -> &mut [u8] {
        self.bytes.get_mut(from..from + length).unwrap_or_default()
    }
}

/// The power has failed.
#[derive(Debug)]
pub struct NoPower;

impl NorFlashError for NoPower {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Flash {
    type Error = NoPower;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NoPower> {
        assert!(check_read(self, offset, bytes.len()).is_ok(), "it reads what is not there");
        bytes.copy_from_slice(lock(&self.0).part(offset as usize, bytes.len()));
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NoPower> {
        assert!(check_erase(self, from, to).is_ok(), "it erases what is not there");
        let mut cells = lock(&self.0);
        for page in (from..to).step_by(PAGE) {
            cells.step()?;
            cells.part(page as usize, PAGE).fill(0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NoPower> {
        assert!(check_write(self, offset, bytes.len()).is_ok(), "it writes what is not there");
        let mut cells = lock(&self.0);
        for (place, new) in bytes.iter().enumerate() {
            cells.step()?;
            let byte = cells.part(offset as usize + place, 1);
            byte.iter_mut().for_each(|byte| *byte &= new);
        }
        Ok(())
    }
}

/// A serial line. The device has it by the traits of `embedded-io`, the host by its own methods.
#[derive(Clone)]
pub struct Line {
    wires: Shared<Wires>,
    /// Whether there is power.
    flash: Flash,
}

/// Bytes to the device and from it.
#[derive(Default)]
struct Wires {
    inward: VecDeque<u8>,
    outward: VecDeque<u8>,
}

impl Line {
    /// The line of the device that has this flash: when its power fails, nothing more is said.
    #[must_use]
    pub fn new(flash: &Flash) -> Self {
        Self { wires: Shared::default(), flash: flash.clone() }
    }

    /// The host says this.
    pub fn say(&self, bytes: &[u8]) {
        lock(&self.wires).inward.extend(bytes);
    }

    /// The next byte that the device has said, if any.
    #[must_use]
    pub fn hear(&self) -> Option<u8> {
        lock(&self.wires).outward.pop_front()
    }

    /// All that the device has said and nobody has heard.
    #[must_use]
    pub fn hear_all(&self) -> Vec<u8> {
        lock(&self.wires).outward.drain(..).collect()
    }

    /// Whether the device has read all that the host has said.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        lock(&self.wires).inward.is_empty()
    }
}

impl IoErrorType for Line {
    type Error = Infallible;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut wires = lock(&self.wires);
        let count = buffer.len().min(wires.inward.len());
        buffer.iter_mut().zip(wires.inward.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_idle())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // Without power nothing is said, though the firmware still runs here.
        if !self.flash.is_off() {
            lock(&self.wires).outward.extend(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Noise.
pub enum Samples {
    /// It follows from a seed: whoever knows it knows the device's keys.
    Seeded(Box<ChaCha20Rng>),
    /// Broken: always the same sample.
    Stuck,
    /// The operating system's.
    System,
}

impl Samples {
    /// Noise that follows from this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Noise for Samples {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        match self {
            Self::Seeded(rng) => rng.fill_bytes(samples),
            Self::Stuck => samples.fill(0),
            Self::System => {
                let source = std::fs::File::open("/dev/urandom");
                let read = source.and_then(|mut source| source.read_exact(samples));
                read.map_err(|_| NoiseFailed)?;
            }
        }
        Ok(())
    }
}

/// A screen that keeps all that it ever showed, and buttons, whose presses wait for the firmware in turn.
#[derive(Clone, Default)]
pub struct Panel(Shared<Desk>);

#[derive(Default)]
struct Desk {
    screens: Vec<String>,
    pressed: VecDeque<Button>,
}

impl Panel {
    /// All screens so far, the present one last.
    #[must_use]
    pub fn screens(&self) -> Vec<String> {
        lock(&self.0).screens.clone()
    }

    /// The present screen.
    #[must_use]
    pub fn screen(&self) -> String {
        lock(&self.0).screens.last().cloned().unwrap_or_default()
    }

    /// Somebody presses a button.
    pub fn press(&self, button: Button) {
        lock(&self.0).pressed.push_back(button);
    }
}

impl Person for Panel {
    fn show(&mut self, text: &str) {
        lock(&self.0).screens.push(text.to_owned());
    }

    fn pressed(&mut self) -> Option<Button> {
        lock(&self.0).pressed.pop_front()
    }
}

/// A clock that stands still but for [`Ticks::pass`], or goes on by itself.
#[derive(Clone, Default)]
pub struct Ticks {
    passed: Arc<AtomicU64>,
    since: Option<Instant>,
}

impl Ticks {
    /// A clock that goes on by itself, from now.
    #[must_use]
    pub fn running() -> Self {
        Self { passed: Arc::default(), since: Some(Instant::now()) }
    }

    /// So many milliseconds pass, beside those that pass anyhow.
    pub fn pass(&self, millis: u64) {
        self.passed.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for Ticks {
    fn millis(&self) -> u64 {
        let alone = self.since.map_or(0, |since| since.elapsed().as_millis() as u64);
        self.passed.load(Ordering::Relaxed) + alone
    }
}
