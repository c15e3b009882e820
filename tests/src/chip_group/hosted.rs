//! The firmware on this machine: the same library as on a chip, around a flash, a clock and buttons in memory.
//! It is a device within the process, whose power fails at any byte that it writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use embedded_io::{ErrorType as IoErrorType, Read, ReadReady, Write};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{Event, Request, ToDevice};
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::platform::{Button, Clock, Noise, NoiseFailed, Person, Platform};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::link::DeviceLink;
use crate::chip::{Gone, Reply, Said};

/// Bytes of its flash.
const FLASH: usize = 64 * PAGE;
const PAGE: usize = 4096;
/// It looks at its buttons and its clock so often, at most, until it has answered.
const POLLS: usize = 1_000_000;
/// A screen has pages, and each wants a press.
const PAGES: usize = 8;

type Shared<T> = Rc<RefCell<T>>;

/// A device's flash, which stays when the device is switched off.
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
        let bytes = vec![0xff; FLASH];
        Self(Rc::new(RefCell::new(Cells { bytes, left: None, steps: 0 })))
    }
}

impl Flash {
    /// All of it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.0.borrow().bytes.clone()
    }

    /// Puts it back. The device must be off.
    pub fn restore(&self, bytes: &[u8]) {
        bytes.clone_into(&mut self.0.borrow_mut().bytes);
    }

    /// The power fails when so many more bytes are written, or pages erased.
    pub fn cut_after(&self, steps: u64) {
        self.0.borrow_mut().left = Some(steps);
    }

    /// The power is there again.
    pub fn restore_power(&self) {
        self.0.borrow_mut().left = None;
    }

    /// Bytes that were ever written, and pages that were ever erased.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    fn is_off(&self) -> bool {
        self.0.borrow().left == Some(0)
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
        bytes.copy_from_slice(self.0.borrow_mut().part(offset as usize, bytes.len()));
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
        let mut cells = self.0.borrow_mut();
        for page in (from..to).step_by(PAGE) {
            cells.step()?;
            cells.part(page as usize, PAGE).fill(0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NoPower> {
        assert!(check_write(self, offset, bytes.len()).is_ok(), "it writes what is not there");
        let mut cells = self.0.borrow_mut();
        for (place, new) in bytes.iter().enumerate() {
            cells.step()?;
            let byte = cells.part(offset as usize + place, 1);
            byte.iter_mut().for_each(|byte| *byte &= new);
        }
        Ok(())
    }
}

/// Bytes to the device and from it.
#[derive(Default)]
struct Wires {
    inward: VecDeque<u8>,
    outward: VecDeque<u8>,
}

struct Line(Shared<Wires>, Flash);

impl IoErrorType for Line {
    type Error = Infallible;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut wires = self.0.borrow_mut();
        let count = buffer.len().min(wires.inward.len());
        for (to, from) in buffer.iter_mut().zip(wires.inward.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.borrow().inward.is_empty())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // Without power nothing is said, though the firmware still runs here.
        if !self.1.is_off() {
            self.0.borrow_mut().outward.extend(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Seeded(ChaCha20Rng);

impl Noise for Seeded {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        self.0.fill_bytes(samples);
        Ok(())
    }
}

#[derive(Default)]
struct Desk {
    screens: Vec<String>,
    pressed: VecDeque<Button>,
}

struct Somebody(Shared<Desk>);

impl Person for Somebody {
    fn show(&mut self, text: &str) {
        self.0.borrow_mut().screens.push(text.to_owned());
    }

    fn pressed(&mut self) -> Option<Button> {
        self.0.borrow_mut().pressed.pop_front()
    }
}

struct Ticks(Shared<u64>);

impl Clock for Ticks {
    fn millis(&self) -> u64 {
        *self.0.borrow()
    }
}

struct Machine;

impl Platform for Machine {
    type Link = Line;
    type Flash = Flash;
    type Noise = Seeded;
    type Person = Somebody;
    type Clock = Ticks;
}

/// A device within the process. Its time goes on by a millisecond whenever it is looked after.
pub struct HostedDevice {
    device: Box<Device<'static, Machine>>,
    flash: Flash,
    wires: Shared<Wires>,
    desk: Shared<Desk>,
    millis: Shared<u64>,
    decoder: Box<Decoder>,
    said: VecDeque<Said>,
    last: u32,
}

impl HostedDevice {
    /// Switches a device on.
    ///
    /// # Errors
    /// [`Gone`] if the power fails before it runs.
    pub fn start(flash: &Flash, noise: u64) -> Result<Self, Gone> {
        let (wires, desk, millis) = (Shared::default(), Shared::default(), Shared::default());
        let parts = Parts {
            link: Line(Rc::clone(&wires), flash.clone()),
            flash: flash.clone(),
            noise: Seeded(ChaCha20Rng::seed_from_u64(noise)),
            person: Somebody(Rc::clone(&desk)),
            clock: Ticks(Rc::clone(&millis)),
            firmware: [0xf1; 32],
        };
        // A board has one for ever, in its memory.
        let room = Box::leak(Box::new(Room::new()));
        let device = Box::new(Device::new(parts, room).map_err(|_| Gone)?);
        let (flash, decoder, said) = (flash.clone(), Box::new(Decoder::new()), VecDeque::new());
        Ok(Self { device, flash, wires, desk, millis, decoder, said, last: 0 })
    }

    /// All that its screen has shown since it was switched on.
    #[must_use]
    pub fn screens(&self) -> Vec<String> {
        self.desk.borrow().screens.clone()
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        *self.millis.borrow_mut() += time.as_millis() as u64;
    }

    fn poll(&mut self) -> Result<(), Gone> {
        if self.flash.is_off() {
            return Err(Gone);
        }
        *self.millis.borrow_mut() += 1;
        self.device.poll();
        if !self.flash.is_off() {
            return Ok(());
        }
        // What was on the line before.
        while let Some(frame) = self.heard() {
            if let crate::chip::Frame::Said(said) = frame {
                self.said.push_back(said);
            }
        }
        Err(Gone)
    }

    /// What the device has said next, if anything.
    fn heard(&mut self) -> Option<crate::chip::Frame> {
        loop {
            let byte = self.wires.borrow_mut().outward.pop_front()?;
            match self.decoder.push(byte) {
                None => {}
                Some(Ok(content)) => return Some(crate::chip::owned(content)),
                Some(Err(fault)) => panic!("the device sent no frame: {fault:?}"),
            }
        }
    }

    fn ask_and(
        &mut self,
        request: Request<'_>,
        mut asked: impl FnMut(&mut Self),
    ) -> Result<Reply, Gone> {
        self.last = if matches!(request, Request::Hello { .. }) { 1 } else { self.last + 1 };
        let id = self.last;
        frame::encode_to(&ToDevice { id, request }, |bytes| {
            self.wires.borrow_mut().inward.extend(bytes);
        });
        for _ in 0..POLLS {
            self.poll()?;
            while let Some(frame) = self.heard() {
                match frame {
                    crate::chip::Frame::Reply(to, reply) => {
                        assert_eq!(to, id, "the answer to another request: {reply:?}");
                        return Ok(reply);
                    }
                    crate::chip::Frame::Said(said) => {
                        let asking = matches!(said, Said::Event(Event::Asking { .. }));
                        self.said.push_back(said);
                        if asking {
                            asked(self);
                        }
                    }
                }
            }
        }
        panic!("no answer to request {id}");
    }
}

impl DeviceLink for HostedDevice {
    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Gone> {
        self.ask_and(request, |_| {})
    }

    fn said(&mut self, wait: Duration) -> Result<Option<Said>, Gone> {
        let mut left = wait.as_millis() + 1;
        while self.said.is_empty() && left > 0 {
            left -= 1;
            self.poll()?;
            match self.heard() {
                Some(crate::chip::Frame::Said(said)) => self.said.push_back(said),
                Some(crate::chip::Frame::Reply(id, reply)) => {
                    panic!("an answer to nothing, {id}: {reply:?}")
                }
                None => {}
            }
        }
        Ok(self.said.pop_front())
    }

    fn press(&mut self, confirm: bool) {
        let button = if confirm { Button::Confirm } else { Button::Refuse };
        self.desk.borrow_mut().pressed.extend([button; PAGES]);
    }

    fn ask_person(&mut self, request: Request<'_>, confirm: bool) -> Result<Reply, Gone> {
        self.ask_and(request, |device| device.press(confirm))
    }
}
