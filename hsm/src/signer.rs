//! Identity keys that never leave an HSM.

use alloc::string::String;
use core::fmt;

use crate::HsmError;

/// The public half of a key inside an HSM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032): the compressed point.
    Ed25519([u8; 32]),
    /// P-256: the compressed point (SEC 1, 2.3.3).
    P256([u8; 33]),
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes): (_, &[u8]) = match self {
            Self::Ed25519(bytes) => ("ed25519", bytes),
            Self::P256(bytes) => ("p256", bytes),
        };
        write!(f, "{name}:{}", crate::codec::hex(bytes))
    }
}

/// A private key that was made inside an HSM and signs there.
///
/// A call blocks for as long as the device takes, and fails when it is away: never call it on a thread
/// that must not wait.
pub trait HsmSigner: Send + Sync {
    /// The public half, as read at opening.
    fn public(&self) -> PublicKey;
    /// One line for people.
    fn describe(&self) -> String;
    /// A signature on `message`: Ed25519 as RFC 8032 has it, or ECDSA with SHA-256 as r‖s (32 bytes
    /// each, big-endian, s as the HSM made it).
    ///
    /// # Errors
    /// [`HsmError::Unavailable`], [`HsmError::Auth`], [`HsmError::KeyMissing`].
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError>;
}
