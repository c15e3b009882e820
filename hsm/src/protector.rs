//! What every HSM must do for us: wrap and unwrap a 32-byte key under associated data. Nothing here
//! needs more than `core` and `alloc`, so that a backend on a chip can have the same interface.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::HsmError;
use crate::codec::{Reader, hex, put_short};

/// A key-encryption key inside an HSM (or inside its emulation).
pub trait KeyProtector: Send + Sync {
    /// How the KEK wraps.
    fn profile(&self) -> Profile;
    /// Which KEK this is.
    fn kek(&self) -> &KekReference;
    /// One line for people.
    fn describe(&self) -> String;
    /// Wraps a DEK, bound to `aad`.
    fn wrap(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError>;
    /// The bare call: its failure cannot tell corrupt bytes from a broken HSM. [`crate::open`] can.
    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError>;
    /// A wrapped DEK of known value, made at provisioning.
    fn canary(&self) -> &[u8];
    /// Opens the canary: does this KEK work now?
    fn health(&self) -> Result<(), HsmError> {
        let aad = canary_aad(self.profile(), self.kek())?;
        let dek = self.unwrap(self.canary(), &aad).map_err(|error| match error {
            // Of the canary nobody can say that "the KEK works": it is what shows that.
            HsmError::Corrupt { what } => {
                HsmError::Unavailable { reason: format!("the canary does not open: {what}") }
            }
            HsmError::Unavailable { reason } => {
                HsmError::Unavailable { reason: format!("the canary does not open: {reason}") }
            }
            exact => exact,
        })?;
        let expected = canary_value(self.profile(), self.kek())?;
        if bool::from(dek.expose().ct_eq(expected.expose())) {
            return Ok(());
        }
        Err(HsmError::Unavailable { reason: "the canary opened to a wrong value".to_owned() })
    }
}

/// Where a KEK is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KekReference {
    /// `pkcs11`, `yubihsm` or `software`.
    pub backend: String,
    /// The token's serial or label, as the configuration selects it; never a path.
    pub token: String,
    /// `CKA_ID`, or its likeness.
    pub id: Vec<u8>,
    /// Counts rotations.
    pub version: u32,
}

impl fmt::Display for KekReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:v{}", self.backend, self.token, hex(&self.id), self.version)
    }
}

impl KekReference {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), HsmError> {
        put_short(out, self.backend.as_bytes(), MAX_BACKEND)?;
        put_short(out, self.token.as_bytes(), MAX_TOKEN)?;
        put_short(out, &self.id, MAX_ID)?;
        out.extend_from_slice(&self.version.to_be_bytes());
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, HsmError> {
        const WHAT: &str = "KEK reference";
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| HsmError::Corrupt { what: WHAT })
        };
        Ok(Self {
            backend: text(reader.short(MAX_BACKEND, WHAT)?)?,
            token: text(reader.short(MAX_TOKEN, WHAT)?)?,
            id: reader.short(MAX_ID, WHAT)?.to_vec(),
            version: reader.u32(WHAT)?,
        })
    }
}

const MAX_BACKEND: usize = 16;
const MAX_TOKEN: usize = 64;
const MAX_ID: usize = 64;
/// The longest encoding of a [`KekReference`].
pub(crate) const MAX_KEK: usize = 3 + MAX_BACKEND + MAX_TOKEN + MAX_ID + 4;

/// How a KEK wraps. The codes are frozen: they are in blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[repr(u8)]
pub enum Profile {
    /// AES-256-GCM with associated data, inside a PKCS#11 token.
    TokenGcm = 1,
    /// AES-256-GCM through the message API of PKCS#11 v3, where the one-shot call is broken.
    MessageGcm = 2,
    /// WRAP_DATA of a YubiHSM 2: AES-CCM without associated data, which is wrapped as a hash instead.
    WrapData = 3,
    /// HMAC-SHA256 inside the HSM derives a key for the host's AEAD, new for each blob.
    HmacKdf = 4,
    /// AES-256-CBC, then HMAC-SHA256 by a second key, both inside a PKCS#11 token.
    CbcHmac = 5,
    /// RSA-OAEP, and a signature by the HSM's identity key, since anybody can encrypt.
    Oaep = 6,
    /// A KEK in a file of the host.
    SoftwareEmulation = 128,
}

impl Profile {
    /// The frozen code.
    pub fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, HsmError> {
        match code {
            1 => Ok(Self::TokenGcm),
            2 => Ok(Self::MessageGcm),
            3 => Ok(Self::WrapData),
            4 => Ok(Self::HmacKdf),
            5 => Ok(Self::CbcHmac),
            6 => Ok(Self::Oaep),
            128 => Ok(Self::SoftwareEmulation),
            _ => Err(HsmError::Corrupt { what: "profile" }),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenGcm => "token AES-256-GCM",
            Self::MessageGcm => "token AES-256-GCM (message API)",
            Self::WrapData => "YubiHSM wrap-data (AES-256-CCM)",
            Self::HmacKdf => "HMAC-SHA256 as key derivation, host AEAD",
            Self::CbcHmac => "token AES-256-CBC, then HMAC-SHA256",
            Self::Oaep => "token RSA-OAEP, signed by the identity key",
            Self::SoftwareEmulation => "software emulation (NOT an HSM)",
        })
    }
}

/// A data-encryption key: one per blob, zeroized, never printed.
pub struct Dek(Zeroizing<[u8; 32]>);

impl Dek {
    /// A fresh key from the operating system.
    pub fn random() -> Result<Self, HsmError> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// A fresh key, and the nonce of what it is to seal: one call of the operating system.
    pub(crate) fn random_with_nonce() -> Result<(Self, [u8; NONCE]), HsmError> {
        let (mut drawn, mut key) = (Zeroizing::new([0; 32 + NONCE]), Zeroizing::new([0; 32]));
        random(drawn.as_mut_slice())?;
        let (secret, public) = drawn.split_at(32);
        let mut nonce = [0; NONCE];
        key.copy_from_slice(secret);
        nonce.copy_from_slice(public);
        Ok((Self(key), nonce))
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(..)")
    }
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<(), HsmError> {
    getrandom::getrandom(bytes).map_err(|_| HsmError::Randomness)
}

/// A canary has a domain of its own, so that it can never pass for a blob's DEK.
pub(crate) fn canary_aad(profile: Profile, kek: &KekReference) -> Result<Vec<u8>, HsmError> {
    let mut aad = b"quorate canary v1".to_vec();
    aad.push(profile.code());
    kek.encode(&mut aad)?;
    Ok(aad)
}

/// The canary's value is public: only the fact that it opens counts.
pub(crate) fn canary_value(profile: Profile, kek: &KekReference) -> Result<Dek, HsmError> {
    let digest = Sha256::digest(canary_aad(profile, kek)?);
    Dek::from_slice(&digest).ok_or(HsmError::Randomness)
}

pub(crate) const NONCE: usize = 24;

pub(crate) fn fresh_nonce() -> Result<[u8; NONCE], HsmError> {
    let mut nonce = [0; NONCE];
    random(&mut nonce)?;
    Ok(nonce)
}

/// Host AEAD: ciphertext and tag. `nonce` is fresh and random.
pub(crate) fn host_seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, HsmError> {
    XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(nonce), Payload { msg: plain, aad })
        .map_err(|_| HsmError::TooLarge { size: plain.len(), limit: crate::blob::MAX_PAYLOAD })
}

pub(crate) fn host_open(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let plain = cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad }).ok()?;
    Some(Zeroizing::new(plain))
}
