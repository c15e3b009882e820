//! A party on a chip, as a library that knows no hardware: a board brings a [`platform`], makes a
//! [`device::Device`] and calls [`device::Device::poll`] for ever.
//!
//! It has no allocator (but for the feature `frost`), and no `unsafe`. The feature `hosted` brings a board in memory,
//! to try it without hardware.
#![cfg_attr(not(any(test, feature = "hosted")), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "frost")]
extern crate alloc;

mod cause;
mod channels;
mod clock;
pub mod device;
pub mod entropy;
#[cfg(test)]
mod flash_simulator;
mod groups;
#[cfg(feature = "hosted")]
pub mod hosted;
pub mod journal;
mod judge;
mod keygen;
pub mod message;
pub mod pin;
pub mod platform;
mod screen;
mod signing;
pub mod store;

/// Holders of a key that a device has room for.
pub const MAX_HOLDERS: usize = 7;
/// Nonce keys of one holder that a device has room for.
pub const MAX_NONCE_KEYS: usize = 15;
/// Members of a quorum that a device has room for.
pub const MAX_QUORUM: usize = 5;
/// A person has so many seconds for an answer.
pub const PATIENCE: u16 = 55;

pub use keygen::MAX_POLICY;
pub use signing::MAX_REQUEST;
