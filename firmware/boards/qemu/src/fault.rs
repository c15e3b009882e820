//! When the firmware cannot go on: it says where, and starts again.

use core::fmt::Write as _;
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

impl core::fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| self.0.put(byte));
        Ok(())
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
fn panicked(panic: &core::panic::PanicInfo<'_>) -> ! {
    if let (Some(mut log), Some(place)) = (log(), panic.location()) {
        let _ = writeln!(log, "panic: {}:{}", place.file(), place.line());
    }
    cortex_m::peripheral::SCB::sys_reset()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    if let Some(mut log) = log() {
        let _ = writeln!(log, "fault: {:#x} from {:#x}", frame.pc(), frame.lr());
    }
    cortex_m::peripheral::SCB::sys_reset()
}
