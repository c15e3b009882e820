//! Identity keys that never leave an HSM.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::HsmError;

/// The public half of a key inside an HSM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
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

/// The reverse of its text; whether the point is on its curve is seen when it is used.
impl FromStr for PublicKey {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        let odd = || HsmError::Unsupported {
            what: "a public key that is not ed25519:<hex> or p256:<hex>".to_owned(),
        };
        let (name, digits) = text.split_once(':').ok_or_else(odd)?;
        let bytes = unhex(digits).ok_or_else(odd)?;
        match name {
            "ed25519" => bytes.as_slice().try_into().map(Self::Ed25519).map_err(|_| odd()),
            "p256" => bytes.as_slice().try_into().map(Self::P256).map_err(|_| odd()),
            _ => Err(odd()),
        }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = HsmError;

    fn try_from(text: String) -> Result<Self, HsmError> {
        text.parse()
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    let even =
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()) && digits.len().is_multiple_of(2);
    even.then(|| digits.as_bytes().chunks(2).map(pair).collect())?
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
