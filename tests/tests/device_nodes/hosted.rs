//! A device whose firmware runs on this machine, behind TCP: the same library as on a chip, on a board in memory.
//! Its power can be cut at any moment.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::hosted::{Board, Flash, Line, Panel, Samples, Ticks};
use quorate_firmware::platform::Button;

use crate::node_process::wait_for;

/// A device. Dropping it cuts its power.
pub struct Chip {
    pub address: SocketAddr,
    flash: Flash,
    panel: Panel,
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
        let (flash, panel) = (Flash::default(), Panel::default());
        let mut chip = Self { address, flash, panel, off: Arc::default(), running: None };
        chip.switch_on();
        chip
    }

    pub fn switch_on(&mut self) {
        self.off = Arc::default();
        self.panel = Panel::default();
        let listener = wait_for("the address is free", || TcpListener::bind(self.address).ok());
        let (flash, panel, off) = (self.flash.clone(), self.panel.clone(), Arc::clone(&self.off));
        // What a chip has in static memory is on this stack.
        let thread = std::thread::Builder::new().stack_size(8 << 20);
        self.running = Some(thread.spawn(move || run(&listener, flash, panel, &off)).unwrap());
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
        self.flash.snapshot()
    }

    /// The device must be off.
    pub fn restore(&self, flash: &[u8]) {
        self.flash.restore(flash);
    }

    /// How many screens there were since it was switched on.
    pub fn shown(&self) -> usize {
        self.panel.screens().len()
    }

    pub fn find(&self, from: usize, words: &str) -> Option<(usize, String)> {
        let mut found = self.panel.screens().into_iter().enumerate().skip(from);
        found.find(|(_, text)| text.contains(words))
    }

    pub fn press(&self, confirm: bool) {
        let button = if confirm { Button::Confirm } else { Button::Refuse };
        self.panel.press(button);
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

fn run(listener: &TcpListener, flash: Flash, panel: Panel, off: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let line = Line::new(&flash);
    let parts = Parts {
        link: line.clone(),
        flash,
        noise: Samples::System,
        person: panel,
        clock: Ticks::running(),
        firmware: [0xf1; 32],
    };
    let mut room = Box::new(Room::new());
    let mut device = Box::new(Device::<Board>::new(parts, &mut room).unwrap());
    let mut host: Option<TcpStream> = None;
    while !off.load(Ordering::Relaxed) {
        if let Ok((new, _)) = listener.accept() {
            new.set_nonblocking(false).unwrap();
            new.set_nodelay(true).unwrap();
            let (reading, line) = (new.try_clone().unwrap(), line.clone());
            // A serial line has one host, the last that was plugged in.
            if let Some(before) = host.replace(new) {
                let _ = before.shutdown(std::net::Shutdown::Both);
            }
            std::thread::spawn(move || hear(reading, &line));
        }
        let idle = line.is_idle();
        device.poll();
        let said = line.hear_all();
        if let Some(host) = &mut host {
            let _ = host.write_all(&said);
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if let Some(host) = host {
        let _ = host.shutdown(std::net::Shutdown::Both);
    }
}

fn hear(mut host: TcpStream, line: &Line) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = host.read(&mut buffer) {
        line.say(&buffer[..count]);
    }
}
