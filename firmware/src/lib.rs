//! A party on a chip, as a library that knows no hardware: a board brings a [`platform`], and calls.
//!
//! It has no allocator, and no `unsafe`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod entropy;
#[cfg(test)]
mod flash_simulator;
pub mod journal;
pub mod pin;
pub mod platform;
pub mod store;
