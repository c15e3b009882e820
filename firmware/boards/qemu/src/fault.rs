//! When the firmware cannot go on: it says where, and starts again.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::uart::Uart;

/// The UART for it. A panic may come at any moment, so it is known by address.
static UART: AtomicUsize = AtomicUsize::new(0);

/// From now on, this UART tells.
pub fn tell_over(uart: usize) {
    UART.store(uart, Ordering::Relaxed);
}

/// Over a line, as text.
struct Log(Uart);

impl Log {
    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.0.put(byte));
    }

    /// A formatter would be longer than all of this file.
    fn hex(&mut self, number: u32) {
        for shift in (0..8).rev() {
            let digit = (number >> (4 * shift) & 15) as u8;
            self.0.put(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
        }
    }
}

fn log() -> Option<Log> {
    match UART.load(Ordering::Relaxed) {
        0 => None,
        uart => Some(Log(Uart::new(uart))),
    }
}

/// Nothing but the place: a message may be made of anything.
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    if let Some(mut log) = log() {
        log.text("panic\n");
    }
    cortex_m::peripheral::SCB::sys_reset()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    if let Some(mut log) = log() {
        log.text("fault at ");
        log.hex(frame.pc());
        log.text(" from ");
        log.hex(frame.lr());
        log.text("\n");
    }
    cortex_m::peripheral::SCB::sys_reset()
}
