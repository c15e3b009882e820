//! Quorate's protocol core: threshold keys and signatures as pure state machines. Bytes, ticks and a
//! generator of randomness come in; messages and results come out. No allocator, no I/O, no clock.
//! (The feature `frost` needs an allocator.)
//!
//! From the bottom up:
//! - [`party`], [`secret`], [`hash`], [`curve`], [`wire`]: values that are valid by construction, secrets
//!   that wipe themselves, tagged hashes, the group, and the one way from bytes to values.
//! - [`vss`]: polynomials, commitments, interpolation and the degree check.
//! - [`session`], [`identity`]: what every message carries, and why a session ends.
//! - [`dkg`]: how a key comes to be; [`key`]: what its holders keep, confirm and open; [`mod@derive`]: its
//!   descendants.
//! - [`nonce`]: quorum, salts and nonce points, for every stateless scheme; [`ecdsa`],
//!   [`schnorr`]: one signature.
//! - `frost`, behind the feature of that name: Schnorr signatures by any T of n, with nonces that are
//!   stored and used once.
//! - [`request`], [`policy`]: what a client wants, and whether a party's own rules allow it.
//!
//! What a session takes of a 32-bit chip's memory, in bytes (`footprint.rs` pins the numbers; the stack
//! comes besides, and a buffer for one message):
//!
//! | Group | Key generation | Opened key | ECDSA | Schnorr |
//! |---|---|---|---|---|
//! | 2 of 3, S = 3 | 5188 | 592 | 596 | 540 |
//! | 3 of 7, S = 5 | 13312 | 1556 | 664 | 608 |
//! | 4 of 16, S = 7 | 78636 | 30012 | 732 | 676 |
#![no_std]

#[cfg(feature = "frost")]
extern crate alloc;

pub mod curve;
pub mod derive;
pub mod dkg;
pub mod ecdsa;
#[cfg(target_pointer_width = "32")]
mod footprint;
#[cfg(feature = "frost")]
pub mod frost;
pub mod hash;
pub mod identity;
pub mod key;
pub mod nonce;
pub mod party;
pub mod policy;
pub mod request;
pub mod schnorr;
pub mod secret;
pub mod session;
pub mod vss;
pub mod wire;
