//! Quorate's protocol core.
#![no_std]

pub mod curve;
pub mod dkg;
pub mod ecdsa;
pub mod hash;
pub mod identity;
pub mod key;
pub mod party;
pub mod policy;
pub mod request;
pub mod secret;
pub mod session;
pub mod vss;
pub mod wire;
