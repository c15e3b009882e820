//! The firmware as real ARM code in the emulator: its images, a chip that can be switched off at any moment,
//! put back to an earlier state, or given bad noise, and a host that talks to it.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

mod emulator;
mod host;
mod image;
mod terminal;

pub use emulator::{Emulator, Options, Power, Source};
pub(crate) use host::{Frame, owned};
pub use host::{Gone, Host, Reply, Said};
pub use image::{Extent, Image, Machine};
