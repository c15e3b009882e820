//! The firmware as real ARM code in the emulator.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "chip/cuts.rs"]
mod cuts;
#[path = "chip/desk.rs"]
mod desk;
#[path = "chip/full.rs"]
mod full;
#[path = "chip/link.rs"]
mod link;
#[path = "chip/memory.rs"]
mod memory;
#[path = "chip/party.rs"]
mod party;
#[path = "chip/rollback.rs"]
mod rollback;
#[path = "chip/spoil.rs"]
mod spoil;
