//! The firmware on QEMU's boards. What they share is here; a binary says where its devices are.
//!
//! | UART | for |
//! |---|---|
//! | 0 | the link to the host |
//! | 1 | noise: bytes from the host's generator come in |
//! | 2 | the person: the screen's text goes out, `y` and `n` come in |
//! | 3 | the place of a panic or a fault goes out; a board that works says nothing |
//!
//! External RAM that QEMU keeps in a file is the flash ([`flash`]). Interrupts stay off: a pending one only
//! ends a sleep ([`clock::sleep`]).
#![no_std]

pub mod clock;
pub mod fault;
pub mod flash;
#[cfg(feature = "frost")]
mod heap;
pub mod image;
pub mod person;
pub mod uart;

use clock::Timer;
use flash::Flash;
use person::Terminal;
use quorate_firmware::device::{Device, Parts, Room};
use quorate_firmware::platform::Person as _;
use uart::{Noise, Uart};

core::arch::global_asm!(include_str!("../../memory.s"), options(raw));

unsafe extern "C" {
    fn DefaultHandler();
}

/// Where handlers of interrupts stand. Interrupts stay off, and so it ends with the first of them: a place for
/// each that a core may have takes 1 to 2 KB.
// SAFETY: of all that is in this section, the linker's script asks for one vector or more; this is one.
#[unsafe(link_section = ".vector_table.interrupts")]
// SAFETY: the name that the linker's script asks for, and cortex-m-rt leaves to us with its feature `device`.
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [unsafe extern "C" fn(); 1] = [DefaultHandler];

/// Where a board's devices are.
pub struct Map {
    /// The first UART; three more follow it.
    pub uarts: usize,
    /// A CMSDK timer.
    pub timer: usize,
    /// What it counts in a second.
    pub hertz: u32,
    /// RAM that QEMU keeps in a file.
    pub flash: usize,
}

/// What the firmware asks of a board.
pub struct Board;

impl quorate_firmware::platform::Platform for Board {
    type Link = Uart;
    type Flash = Flash;
    type Noise = Noise;
    type Person = Terminal;
    type Clock = Timer;
}

/// Runs the firmware.
pub fn run(map: &Map) -> ! {
    let mut device = start(map);
    loop {
        device.note_stack(image::stack_used());
        device.poll();
        clock::sleep();
    }
}

/// A function of its own: what only the start needs would lie below all else for ever.
#[inline(never)]
#[expect(clippy::panic, reason = "a board that cannot start says so, and starts again")]
fn start(map: &Map) -> Device<'static, Board> {
    let uart = |number: usize| map.uarts + 0x1000 * number;
    #[cfg(feature = "frost")]
    heap::start();
    fault::tell_over(uart(3));
    clock::wake_by_interrupts();
    if let Some(mut core) = cortex_m::Peripherals::take() {
        clock::start_ticks(&mut core.SYST, map.hertz);
    }
    let clock = Timer::new(map.timer, map.hertz);
    let noise = Noise::new(Uart::new(uart(1)), clock.clone());
    // SAFETY: on both boards QEMU has 16 MB of RAM there, and no image lies in it.
    let flash = unsafe { Flash::new(map.flash) };
    let mut person = Terminal::new(Uart::new(uart(2)));
    person.show("Quorate");
    let mut link = Uart::new(uart(0));
    link.set_wakes(true);
    let parts = Parts { link, flash, noise, person, clock, firmware: image::digest() };
    let Some(room) = room() else { panic!("a board has one device") };
    match Device::new(parts, room) {
        Ok(device) => device,
        Err(_) => panic!("the flash does not work"),
    }
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
