//! The CMSDK UART, and noise that comes over one.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use quorate_firmware::platform::{self, Clock as _, NoiseFailed};

use crate::clock::{Timer, sleep};

const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CONTROL: usize = 0x08;
const INTERRUPTS: usize = 0x0c;
const DIVISOR: usize = 0x10;

const STATE_SENDING: u32 = 1;
const STATE_RECEIVED: u32 = 1 << 1;
/// Both directions.
const CONTROL_ON: u32 = 0b0011;
/// An interrupt for each byte that comes.
const CONTROL_WAKES: u32 = 0b1000;

/// A register of a device.
pub(crate) fn read(address: usize) -> u32 {
    // SAFETY: callers pass addresses of registers, of the board's own map.
    unsafe { (address as *const u32).read_volatile() }
}

/// See [`read`].
pub(crate) fn write(address: usize, value: u32) {
    // SAFETY: as in `read`.
    unsafe { (address as *mut u32).write_volatile(value) }
}

/// A serial line. QEMU holds a byte back until the one before was read, so none is lost.
pub struct Uart(usize);

impl Uart {
    /// Switches the UART at `base` on.
    #[must_use]
    pub fn new(base: usize) -> Self {
        write(base + DIVISOR, 16);
        write(base + CONTROL, CONTROL_ON);
        Self(base)
    }

    /// Whether a byte that comes ends a sleep. One that is not taken would end every sleep.
    pub fn set_wakes(&mut self, wakes: bool) {
        write(self.0 + CONTROL, CONTROL_ON | if wakes { CONTROL_WAKES } else { 0 });
        write(self.0 + INTERRUPTS, 0b11);
    }

    /// The next byte, if one has come.
    pub fn take(&mut self) -> Option<u8> {
        // Before the byte is taken: the next one raises it again.
        write(self.0 + INTERRUPTS, 0b10);
        if read(self.0 + STATE) & STATE_RECEIVED == 0 {
            return None;
        }
        Some(read(self.0 + DATA) as u8)
    }

    /// Sends a byte.
    pub fn put(&mut self, byte: u8) {
        while read(self.0 + STATE) & STATE_SENDING != 0 {}
        write(self.0 + DATA, byte.into());
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0 + STATE) & STATE_RECEIVED != 0)
    }
}

impl Read for Uart {
    /// Waits for the first byte only.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for place in buffer {
            let byte = loop {
                match self.take() {
                    Some(byte) => break byte,
                    None if count > 0 => return Ok(count),
                    None => sleep(),
                }
            };
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().for_each(|byte| self.put(*byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0 + STATE) & STATE_SENDING == 0)
    }
}

/// Noise is what the host sends; a chip with a generator of its own would ask that.
pub struct Noise {
    uart: Uart,
    clock: Timer,
}

/// A source that is silent for so long has failed.
const SILENCE: u64 = 1_000;

impl Noise {
    /// Noise from this line.
    #[must_use]
    pub fn new(uart: Uart, clock: Timer) -> Self {
        Self { uart, clock }
    }
}

impl Noise {
    fn sample(&mut self) -> Result<u8, NoiseFailed> {
        let start = self.clock.millis();
        loop {
            if let Some(byte) = self.uart.take() {
                return Ok(byte);
            }
            if self.clock.millis().saturating_sub(start) > SILENCE {
                return Err(NoiseFailed);
            }
            sleep();
        }
    }
}

impl platform::Noise for Noise {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        // There is always more noise, and it may come at any other time.
        self.uart.set_wakes(true);
        let filled = samples.iter_mut().try_for_each(|sample| {
            *sample = self.sample()?;
            Ok(())
        });
        self.uart.set_wakes(false);
        filled
    }
}
