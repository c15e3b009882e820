//! What a firmware asks of its board. The link and the flash are the traits of `embedded-io` and
//! `embedded-storage`; the rest has none that everybody shares.

use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

/// A board.
pub trait Platform {
    /// The serial line to the host. Reading never waits: [`ReadReady`] is asked first.
    type Link: Read + ReadReady + Write;
    /// Flash for the store: erased pages are 0xff, and bits only go from 1 to 0 until they are erased.
    type Flash: NorFlash;
    /// Raw noise.
    type Noise: Noise;
    /// The screen and the buttons.
    type Person: Person;
    /// Time since boot.
    type Clock: Clock;
}

/// A source of noise as it is, before any test or conditioning (SP 800-90B).
pub trait Noise {
    /// The next samples, a byte each.
    ///
    /// # Errors
    /// [`NoiseFailed`] if the source gives nothing.
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed>;
}

/// The source of noise gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseFailed;

/// The person at the device.
pub trait Person {
    /// Shows a text of several lines, instead of the one before; an empty one clears the screen.
    fn show(&mut self, text: &str);
    /// The button that was pressed since the last call, if any.
    fn pressed(&mut self) -> Option<Button>;
}

/// A button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// Yes.
    Confirm,
    /// No.
    Refuse,
}

/// A clock that never goes back while the board has power.
pub trait Clock {
    /// Milliseconds since boot.
    fn millis(&self) -> u64;
}
