//! The firmware as real ARM code in the emulator.

#[path = "chip/link.rs"]
mod link;
#[path = "chip/spoil.rs"]
mod spoil;
