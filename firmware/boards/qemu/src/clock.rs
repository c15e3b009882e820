//! Time, and waiting.

use core::cell::Cell;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB, SYST};
use quorate_firmware::platform::Clock;

use crate::uart::{read, write};

const CONTROL: usize = 0x00;
const VALUE: usize = 0x04;
const RELOAD: usize = 0x08;

/// A CMSDK timer that counts down through all 32 bits. It must be asked once in a turn of it (almost three
/// minutes), which the firmware's loop does a hundred times a second.
#[derive(Clone)]
pub struct Timer {
    base: usize,
    per_milli: u32,
    /// Milliseconds so far, and where the timer was then.
    seen: Cell<(u64, u32)>,
}

impl Timer {
    /// Starts the timer at `base`, which counts `hertz` in a second.
    #[must_use]
    pub fn new(base: usize, hertz: u32) -> Self {
        write(base + RELOAD, u32::MAX);
        write(base + VALUE, u32::MAX);
        write(base + CONTROL, 1);
        Self { base, per_milli: hertz / 1_000, seen: Cell::new((0, u32::MAX)) }
    }
}

impl Clock for Timer {
    fn millis(&self) -> u64 {
        let (millis, at) = self.seen.get();
        let Some(passed) = at.wrapping_sub(read(self.base + VALUE)).checked_div(self.per_milli)
        else {
            return millis;
        };
        // What is less than a millisecond stays for the next time.
        let seen =
            (millis + u64::from(passed), at.wrapping_sub(passed.wrapping_mul(self.per_milli)));
        self.seen.set(seen);
        seen.0
    }
}

/// Lets a tick end every [`sleep`] after at most a hundredth of a second.
pub fn start_ticks(ticks: &mut SYST, hertz: u32) {
    ticks.set_clock_source(SystClkSource::Core);
    ticks.set_reload((hertz / 100).min(0x00ff_ffff));
    ticks.clear_current();
    ticks.enable_interrupt();
    ticks.enable_counter();
}

/// Until something comes, or a tick.
pub fn sleep() {
    cortex_m::asm::wfi();
    SCB::clear_pendst();
    // Only by being pending does an interrupt end the sleep: none is ever served.
    for word in 0..3 {
        write(NVIC::PTR as usize + 0x180 + 4 * word, u32::MAX);
    }
}

/// Lets every interrupt of the board end a [`sleep`].
pub fn wake_by_interrupts() {
    cortex_m::interrupt::disable();
    for word in 0..3 {
        write(NVIC::PTR as usize + 4 * word, u32::MAX);
    }
}
