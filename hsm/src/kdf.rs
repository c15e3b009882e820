//! HMAC-SHA256 inside an HSM as a key derivation: for HSMs that cannot wrap under associated data.
//!
//! ```text
//! key     = HMAC(KEK, "quorate hmac kdf v1" ‖ salt (32) ‖ SHA-256(associated data))   in the HSM
//! wrapped = salt ‖ nonce (24) ‖ DEK under that key, ciphertext and tag (48)           on the host
//! ```
//! The derived key is new for every wrap, since the salt is. Whoever may use the KEK for HMACs may
//! unwrap: nothing else may be signed with it. The layout is frozen by a test.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::codec::Reader;
use crate::protector::{NONCE, fresh_nonce, host_open, host_seal, random};
use crate::{Dek, HsmError};

/// What [`wrap`] returns, in bytes.
pub(crate) const WRAPPED: usize = SALT + NONCE + 32 + 16;
/// What the HSM authenticates, in bytes.
pub(crate) const MESSAGE: usize = LABEL.len() + SALT + 32;

const LABEL: &[u8] = b"quorate hmac kdf v1";
const SALT: usize = 32;

/// Wraps a DEK; `hmac` is called once, with [`MESSAGE`] bytes, and returns 32 bytes.
pub(crate) fn wrap<E: From<HsmError>>(
    dek: &Dek,
    aad: &[u8],
    hmac: impl FnOnce(&[u8; MESSAGE]) -> Result<Dek, E>,
) -> Result<Vec<u8>, E> {
    let mut salt = [0; SALT];
    random(&mut salt)?;
    let key = hmac(&message(&salt, aad))?;
    let nonce = fresh_nonce()?;
    let sealed = host_seal(key.expose(), &nonce, aad, dek.expose())?;
    Ok([salt.as_slice(), &nonce, &sealed].concat())
}

/// The inverse of [`wrap`]. Anything but its output for this KEK and `aad` is corrupt.
pub(crate) fn unwrap<E: From<HsmError>>(
    wrapped: &[u8],
    aad: &[u8],
    hmac: impl FnOnce(&[u8; MESSAGE]) -> Result<Dek, E>,
) -> Result<Dek, E> {
    const WHAT: &str = "wrapped key";
    // Before the HSM is asked.
    if wrapped.len() != WRAPPED {
        return Err(HsmError::Corrupt { what: WHAT }.into());
    }
    let mut reader = Reader(wrapped);
    let salt: [u8; SALT] = reader.array(WHAT)?;
    let nonce: [u8; NONCE] = reader.array(WHAT)?;
    let key = hmac(&message(&salt, aad))?;
    let plain: Option<Zeroizing<_>> = host_open(key.expose(), &nonce, aad, reader.0);
    let dek = plain.and_then(|plain| Dek::from_slice(&plain));
    Ok(dek.ok_or(HsmError::Corrupt { what: WHAT })?)
}

fn message(salt: &[u8; SALT], aad: &[u8]) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    let fields = LABEL.iter().chain(salt).copied().chain(Sha256::digest(aad));
    message.iter_mut().zip(fields).for_each(|(byte, value)| *byte = value);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    fn hmac(message: &[u8; MESSAGE]) -> Result<Dek, HsmError> {
        Ok(Dek::from_slice(&Sha256::digest(message)).unwrap())
    }

    #[test]
    fn the_layout_is_frozen() {
        let expected = [
            "71756f7261746520686d6163206b6466207631",
            &"11".repeat(32),
            // SHA-256("abc"), FIPS 180-4.
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ];
        assert_eq!(hex(&message(&[0x11; 32], b"abc")), expected.concat());
        // Salt 0x22.., nonce 0x33.., the DEK 0x44.. under SHA-256(message): made once, kept.
        let salt_and_nonce = ["22".repeat(32), "33".repeat(24)].concat();
        let wrapped = hexed(&[&salt_and_nonce, FROZEN].concat());
        assert_eq!(unwrap(&wrapped, b"abc", hmac).unwrap().expose(), &[0x44; 32]);
    }

    #[test]
    fn nothing_else_opens() {
        let dek = Dek::random().unwrap();
        let wrapped = wrap(&dek, b"aad", hmac).unwrap();
        assert_eq!(wrapped.len(), WRAPPED);
        assert_eq!(unwrap(&wrapped, b"aad", hmac).unwrap().expose(), dek.expose());
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        assert_eq!(unwrap(&wrapped, b"other", hmac).unwrap_err(), corrupt);
        for index in 0..WRAPPED {
            let mut altered = wrapped.clone();
            altered[index] ^= 1;
            assert_eq!(unwrap(&altered, b"aad", hmac).unwrap_err(), corrupt, "byte {index}");
            let unasked = |_: &[u8; MESSAGE]| -> Result<Dek, HsmError> { panic!("asked the HSM") };
            assert_eq!(unwrap(&wrapped[..index], b"aad", unasked).unwrap_err(), corrupt);
        }
        // A salt of its own each time.
        assert_ne!(wrap(&dek, b"aad", hmac).unwrap()[..SALT], wrapped[..SALT]);
    }

    const FROZEN: &str = "7eeeb8fd85031d7f0a08dfea2756c16b45c6d66119bd1a63894708f2066e21eae9d48e5a7ed1dd6c11bc93da4e147d25";

    fn hexed(text: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }
}
