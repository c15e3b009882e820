//! Who this party is: its identity key, and the text form of everybody's.

use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// This party's identity key. It is sealed at rest; a key inside the token comes with the HSM issue,
/// so signing can fail.
pub struct IdentityKey(SigningKey);

/// The identity key cannot be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The operating system gives no randomness.
    Randomness,
    /// The text is not `ed25519:` and 64 hexadecimal digits of a valid key.
    Text,
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Randomness => "the operating system gives no randomness",
            Self::Text => "not an identity: `ed25519:` and 64 hexadecimal digits are expected",
        })
    }
}

impl std::error::Error for IdentityError {}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey({})", self.public())
    }
}

impl IdentityKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`IdentityError::Randomness`].
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::getrandom(seed.as_mut_slice()).map_err(|_| IdentityError::Randomness)?;
        Ok(Self::from_secret(&seed))
    }

    /// From its unsealed seed.
    #[must_use]
    pub fn from_secret(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for sealing and for the TLS library.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> IdentityPublic {
        IdentityPublic(self.0.verifying_key().to_bytes())
    }

    /// A signature on `message`.
    ///
    /// # Errors
    /// None yet; a key inside a token can fail.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], IdentityError> {
        Ok(self.0.sign(message).to_bytes())
    }
}

/// A party's public identity key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityPublic([u8; 32]);

/// The DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER prefix of an Ed25519 private key in PKCS#8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

impl IdentityPublic {
    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    /// From SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }
}

impl IdentityKey {
    /// PKCS#8, DER, for the TLS library.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([PKCS8_PREFIX.as_slice(), self.secret().as_slice()].concat())
    }
}

impl std::fmt::Display for IdentityPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ed25519:{}", hex::encode(self.0))
    }
}

impl std::fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl FromStr for IdentityPublic {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let digits = text.strip_prefix("ed25519:").ok_or(IdentityError::Text)?;
        let bytes: [u8; 32] =
            hex::decode(digits).ok().and_then(|b| b.try_into().ok()).ok_or(IdentityError::Text)?;
        ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| IdentityError::Text)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for IdentityPublic {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<IdentityPublic> for String {
    fn from(identity: IdentityPublic) -> String {
        identity.to_string()
    }
}
