//! The firmware as real ARM code in the emulator.

#[path = "chip/link.rs"]
mod link;
