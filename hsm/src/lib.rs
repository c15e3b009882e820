//! Key protectors and sealed blobs: shares that rest only under a key inside an HSM.
//!
//! ```text
//! KEK (never leaves the HSM) ── wraps ──▶ DEK (random, one per blob) ── seals ──▶ payload (host AEAD)
//! ```
//!
//! - [`KeyProtector`]: wraps and unwraps a DEK; one implementation per kind of HSM.
//! - [`blob`]: the sealed blob, bound to network, party, key, epoch, policy and sequence.
//! - [`pkcs11`]: PKCS#11 tokens, by whichever of five ways of wrapping really works in them.
//! - [`yubihsm`]: a YubiHSM 2, through its connector (feature `yubihsm`, on by default).
//! - [`memory`]: where opened shares live.
//! - [`software`]: a KEK in a file. An emulation for rehearsals, **not** an HSM.
//!
//! What sealing cannot do: the context stops swaps, not the replay of an older blob to a node that
//! has forgotten its sequence. The caller keeps the sequence elsewhere and passes it in.

extern crate alloc;

pub mod blob;
mod codec;
mod error;
mod kdf;
pub mod memory;
pub mod pkcs11;
mod protector;
mod signer;
pub mod software;
#[cfg(feature = "yubihsm")]
pub mod yubihsm;

pub use blob::{BlobHeader, BlobKind, Context, inspect, open, rewrap, seal};
pub use error::HsmError;
pub use protector::{Dek, KekReference, KeyProtector, Profile};
pub use signer::{HsmSigner, PublicKey};
