//! A device whose firmware runs on this machine, behind TCP: the same library as on a chip, around flash, buttons
//! and a screen in memory. Its power can be cut at any moment.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use embedded_io::{ErrorType as IoErrorType, Read, ReadReady, Write};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, ReadNorFlash, check_erase, check_read, check_write,
};
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::platform::{Button, Clock, Noise, NoiseFailed, Person, Platform};

use crate::node_process::wait_for;

const PAGE: usize = 4096;
const FLASH: usize = 64 * PAGE;

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Flash(Shared<Vec<u8>>);

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        assert!(check_read(self, offset, bytes.len()).is_ok());
        let offset = offset as usize;
        bytes.copy_from_slice(&lock(&self.0)[offset..offset + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        assert!(check_erase(self, from, to).is_ok());
        lock(&self.0)[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(check_write(self, offset, bytes.len()).is_ok());
        let offset = offset as usize;
        let mut cells = lock(&self.0);
        cells[offset..].iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

#[derive(Default)]
struct Wires {
    inward: VecDeque<u8>,
    host: Option<TcpStream>,
}

struct Link(Shared<Wires>);

impl IoErrorType for Link {
    type Error = Infallible;
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut wires = lock(&self.0);
        let count = buffer.len().min(wires.inward.len());
        buffer.iter_mut().zip(wires.inward.drain(..count)).for_each(|(to, byte)| *to = byte);
        Ok(count)
    }
}

impl ReadReady for Link {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!lock(&self.0).inward.is_empty())
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let host = lock(&self.0).host.as_ref().and_then(|host| host.try_clone().ok());
        if let Some(mut host) = host {
            let _ = host.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct System;

impl Noise for System {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        let read = std::fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, samples));
        read.map_err(|_| NoiseFailed)
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
        lock(&self.0).screens.push(text.to_owned());
    }

    fn pressed(&mut self) -> Option<Button> {
        lock(&self.0).pressed.pop_front()
    }
}

struct SinceBoot(Instant);

impl Clock for SinceBoot {
    fn millis(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

struct Machine;

impl Platform for Machine {
    type Link = Link;
    type Flash = Flash;
    type Noise = System;
    type Person = Somebody;
    type Clock = SinceBoot;
}

/// A device. Dropping it cuts its power.
pub struct Chip {
    pub address: SocketAddr,
    flash: Shared<Vec<u8>>,
    desk: Shared<Desk>,
    off: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Chip {
    /// A new device, whose host is at this address; it is switched on.
    pub fn new(address: SocketAddr) -> Self {
        let flash = Arc::new(Mutex::new(vec![0xff; FLASH]));
        let (desk, off, running) = (Shared::default(), Arc::default(), None);
        let mut chip = Self { address, flash, desk, off, running };
        chip.switch_on();
        chip
    }

    pub fn switch_on(&mut self) {
        self.off = Arc::default();
        self.desk = Shared::default();
        let listener = wait_for("the address is free", || TcpListener::bind(self.address).ok());
        let (flash, desk) = (Flash(Arc::clone(&self.flash)), Somebody(Arc::clone(&self.desk)));
        let off = Arc::clone(&self.off);
        // What a chip has in static memory is on this stack.
        let thread = std::thread::Builder::new().stack_size(8 << 20);
        self.running = Some(thread.spawn(move || run(&listener, flash, desk, &off)).unwrap());
    }

    /// Between two polls of the firmware.
    pub fn cut(&mut self) {
        self.off.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let ended = running.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the firmware panicked");
        }
    }

    pub fn snapshot(&self) -> Vec<u8> {
        lock(&self.flash).clone()
    }

    /// The device must be off.
    pub fn restore(&self, flash: &[u8]) {
        lock(&self.flash).copy_from_slice(flash);
    }

    /// How many screens there were since it was switched on.
    pub fn shown(&self) -> usize {
        lock(&self.desk).screens.len()
    }

    pub fn find(&self, from: usize, words: &str) -> Option<(usize, String)> {
        let desk = lock(&self.desk);
        let mut found = desk.screens.iter().enumerate().skip(from);
        found.find(|(_, text)| text.contains(words)).map(|(place, text)| (place, text.clone()))
    }

    pub fn press(&self, confirm: bool) {
        let button = if confirm { Button::Confirm } else { Button::Refuse };
        lock(&self.desk).pressed.push_back(button);
    }

    /// Reads all pages of a question, from screen `from` on, and answers it.
    pub fn answer(&self, from: usize, words: &str, confirm: bool) -> String {
        let (mut at, mut page) = wait_for(words, || self.find(from, words));
        let mut all = String::new();
        loop {
            all.push_str(&page);
            let footer = page.rsplit_once("page ").and_then(|(_, footer)| {
                let (this, of) = footer.trim().split_once('/')?;
                Some((this.parse::<usize>().ok()?, of.parse::<usize>().ok()?))
            });
            if footer.is_none_or(|(this, of)| this >= of) {
                self.press(confirm);
                return all;
            }
            self.press(true);
            (at, page) = wait_for("the next page", || self.find(at + 1, "page "));
        }
    }
}

fn run(listener: &TcpListener, flash: Flash, desk: Somebody, off: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let wires = Shared::<Wires>::default();
    let parts = Parts {
        link: Link(Arc::clone(&wires)),
        flash,
        noise: System,
        person: desk,
        clock: SinceBoot(Instant::now()),
        firmware: [0xf1; 32],
    };
    let mut room = Box::new(Room::new());
    let mut device = Box::new(Device::<Machine>::new(parts, &mut room).unwrap());
    while !off.load(Ordering::Relaxed) {
        if let Ok((host, _)) = listener.accept() {
            host.set_nonblocking(false).unwrap();
            host.set_nodelay(true).unwrap();
            let reading = host.try_clone().unwrap();
            // A serial line has one host, the last that was plugged in.
            if let Some(before) = lock(&wires).host.replace(host) {
                let _ = before.shutdown(std::net::Shutdown::Both);
            }
            let wires = Arc::clone(&wires);
            std::thread::spawn(move || hear(reading, &wires));
        }
        let idle = lock(&wires).inward.is_empty();
        device.poll();
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if let Some(host) = lock(&wires).host.take() {
        let _ = host.shutdown(std::net::Shutdown::Both);
    }
}

fn hear(mut host: TcpStream, wires: &Mutex<Wires>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = host.read(&mut buffer) {
        lock(wires).inward.extend(&buffer[..count]);
    }
}
