#![no_std]
#![doc = "Quorate's protocol core."]

pub mod hash;
pub mod party;
pub mod wire;
