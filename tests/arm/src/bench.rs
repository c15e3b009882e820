//! A place to flip bits in: where the host stops, the timer that chooses the moment, and a flash.

use core::cell::RefCell;
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};

use cortex_m::interrupt::{Mutex, free};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use quorate_core::wire;
use semihosting::fs::File;
use semihosting::io::{Read as _, Write as _};
use semihosting::process;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The host stops here and saves or restores everything. It puts a number of ticks into `moment`, after which
/// the bit flips, and whether to guard into `guarded`.
#[inline(never)]
pub(crate) fn ready(choices: &mut [u32; 2]) {
    black_box(choices);
}

/// R1 has left.
#[inline(never)]
pub(crate) fn sent_nonce(message: &[u8]) {
    black_box((message, 1));
}

/// R2 has left.
#[inline(never)]
pub(crate) fn sent_share(message: &[u8]) {
    black_box((message, 2));
}

/// Nothing more leaves.
#[inline(never)]
pub(crate) fn refused() {
    black_box(3);
}

/// The moment has come: the host flips a bit.
#[inline(never)]
pub(crate) fn moment() {
    black_box(4);
}

/// What a chip has in flash: bits flip in memory that is worked on, not there.
static FLASH: [AtomicU8; ROOM] = [const { AtomicU8::new(0) }; ROOM];
const ROOM: usize = 4096;

/// The timer, for its own handler: it fires once.
static TIMER: Mutex<RefCell<Option<SYST>>> = Mutex::new(RefCell::new(None));

#[exception]
fn SysTick() {
    moment();
    free(|token| {
        if let Some(timer) = TIMER.borrow(token).borrow_mut().as_mut() {
            timer.disable_counter();
        }
    });
}

/// Before the host has chosen.
pub(crate) const CHOICES: [u32; 2] = [0x00ff_ffff, 1];

pub(crate) fn take_timer() {
    let Some(peripherals) = cortex_m::Peripherals::take() else { process::exit(1) };
    free(|token| TIMER.borrow(token).replace(Some(peripherals.SYST)));
}

/// The moment is so many ticks from here.
pub(crate) fn start_timer(choices: &[u32; 2]) {
    free(|token| {
        if let Some(timer) = TIMER.borrow(token).borrow_mut().as_mut() {
            timer.set_clock_source(SystClkSource::Core);
            timer.set_reload(black_box(choices[0]));
            timer.clear_current();
            timer.enable_counter();
            timer.enable_interrupt();
        }
    });
}

/// Puts what `make` gave the first time, the file `inputs`, into flash, and tells its length. The first time there is no
/// more to do: all later runs begin with what that one has made.
#[inline(never)]
pub(crate) fn boot(make: impl FnOnce(&mut [u8]) -> &[u8]) -> usize {
    let mut inputs = [0; ROOM];
    let Ok(mut file) = File::open(c"inputs") else {
        let made = make(&mut inputs);
        let written = File::create(c"inputs").and_then(|mut file| file.write_all(made));
        process::exit(i32::from(written.is_err()))
    };
    let length = file.read(&mut inputs).unwrap_or_default();
    put(&inputs);
    length
}

/// What comes out of flash.
#[inline(never)]
pub(crate) fn load<I: DeserializeOwned + Serialize, T>(
    length: usize,
    take: impl FnOnce(I) -> T,
) -> Option<T> {
    let mut buffer = [0; ROOM];
    get(&mut buffer);
    wire::decode(buffer.get(..length)?).ok().map(take)
}

/// Into the flash.
fn put(bytes: &[u8; ROOM]) {
    FLASH.iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
}

/// Out of it.
fn get(bytes: &mut [u8; ROOM]) {
    bytes.iter_mut().zip(&FLASH).for_each(|(to, byte)| *to = byte.load(Ordering::Relaxed));
}

/// A part of the flash where it lies.
#[cfg(feature = "full")]
pub(crate) fn lent(part: core::ops::Range<usize>) -> &'static [u8] {
    // SAFETY: nothing is written any more once work has begun.
    #[allow(unsafe_code, reason = "bytes that do not change")]
    unsafe {
        core::slice::from_raw_parts(FLASH[part.clone()].as_ptr().cast(), part.len())
    }
}
