//! The firmware on an RP2350 (A4), such as a Raspberry Pi Pico 2.
//!
//! | Pins | for |
//! |---|---|
//! | USB | the link to the host: a serial port (CDC) |
//! | GP0 | the screen: text at 115,200 baud, for a serial display. It is not the host's to draw on |
//! | GP14, GP15 | the buttons: confirm and refuse, each to ground |
//!
//! The last 256 KB of the first 2 MB of flash are the store. Neither the flash nor the chip is a secure
//! element: whoever holds the board can read both.
#![no_std]
#![no_main]

mod flash;
#[path = "../../qemu/src/image.rs"]
mod image;
mod link;
mod noise;
mod person;

use embassy_rp::gpio::{Input, Pull};
use embassy_rp::uart::{Config, UartTx};
use embassy_time::Instant;
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::platform::{Clock, Person as _, Platform};

core::arch::global_asm!(include_str!("../../memory.s"), options(raw));

/// What the firmware asks of a board.
struct Board;

impl Platform for Board {
    type Link = link::Usb;
    type Flash = flash::Store;
    type Noise = noise::Trng;
    type Person = person::Panel;
    type Clock = Since;
}

/// Since the start, by the chip's timer.
struct Since;

impl Clock for Since {
    fn millis(&self) -> u64 {
        Instant::now().as_millis()
    }
}

#[allow(clippy::panic, reason = "a board that cannot start starts again")]
#[cortex_m_rt::entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let link = link::Usb::start(chip.USB);
    let flash = flash::Store::new(chip.FLASH);
    let noise = noise::Trng::new(chip.TRNG);
    let mut person = person::Panel {
        screen: UartTx::new_blocking(chip.UART0, chip.PIN_0, Config::default()),
        confirm: person::Key::new(Input::new(chip.PIN_14, Pull::Up)),
        refuse: person::Key::new(Input::new(chip.PIN_15, Pull::Up)),
    };
    person.show("Quorate");
    let parts = Parts { link, flash, noise, person, clock: Since, firmware: image::digest() };
    let Some(room) = room() else { panic!("a board has one device") };
    let Ok(mut device) = Device::<Board>::new(parts, room) else {
        panic!("the flash does not work")
    };
    loop {
        device.poll();
        device.note_stack(image::stack_used());
        // Until USB has something, or a tick.
        cortex_m::asm::wfe();
    }
}

/// Nothing is shown: the screen may be in the middle of a text. The chip starts again, locked.
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// The large part of the device. It is in RAM from the start: on its way there it would not fit on the stack.
struct Place(core::cell::UnsafeCell<Room>);

// SAFETY: only `room` takes it, once.
unsafe impl Sync for Place {}

static ROOM: Place = Place(core::cell::UnsafeCell::new(Room::new()));

fn room() -> Option<&'static mut Room> {
    // Only the first to ask gets it.
    cortex_m::singleton!(: () = ())?;
    // SAFETY: this is the only place that takes it, and comes here once.
    Some(unsafe { &mut *ROOM.0.get() })
}
