//! A KEK that can only compute HMAC-SHA256: it derives a key for the host's AEAD, new for each wrap.
//!
//! ```text
//! key     = HMAC-SHA256(KEK, "quorate hmac kdf v1" ‖ salt ‖ SHA-256(aad))
//! wrapped = salt (32) ‖ nonce (24) ‖ XChaCha20-Poly1305(key, nonce, aad, DEK) (48)
//! ```

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::protector::{NONCE, host_open, host_seal, random};
use crate::{Dek, HsmError};

const LABEL: &[u8] = b"quorate hmac kdf v1";
const SALT: usize = 32;
const SEALED: usize = 32 + 16;
/// Salt, nonce, encrypted DEK, tag.
pub(crate) const WRAPPED: usize = SALT + NONCE + SEALED;

/// Wraps `dek` under the key that `hmac` gives for a fresh salt.
pub(crate) fn wrap<E: From<HsmError>>(
    hmac: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, E>,
    dek: &Dek,
    aad: &[u8],
) -> Result<Vec<u8>, E> {
    let mut salt = [0; SALT];
    random(&mut salt)?;
    let key = derive(hmac, &salt, aad)?;
    let (nonce, sealed) = host_seal(key.expose(), aad, dek.expose())?;
    Ok([salt.as_slice(), &nonce, &sealed].concat())
}

/// The reverse of [`wrap`].
pub(crate) fn unwrap<E: From<HsmError>>(
    hmac: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, E>,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<Dek, E> {
    let corrupt = HsmError::Corrupt { what: "wrapped key" };
    if wrapped.len() != WRAPPED {
        return Err(corrupt.into());
    }
    let (salt, rest) = wrapped.split_first_chunk::<SALT>().ok_or_else(|| corrupt.clone())?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(|| corrupt.clone())?;
    let key = derive(hmac, salt, aad)?;
    let plain = host_open(key.expose(), nonce, aad, sealed).ok_or_else(|| corrupt.clone())?;
    Ok(Dek::from_slice(&plain).ok_or(corrupt)?)
}

fn derive<E: From<HsmError>>(
    hmac: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, E>,
    salt: &[u8; SALT],
    aad: &[u8],
) -> Result<Dek, E> {
    let message = [LABEL, salt, Sha256::digest(aad).as_slice()].concat();
    let key = hmac(&message)?;
    let size = key.len();
    let short = HsmError::Unsupported { what: format!("HMAC-SHA256 output of {size} bytes") };
    Ok(Dek::from_slice(&key).ok_or(short)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not an HMAC: it lets the test see the message.
    fn fake(message: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        Ok(Zeroizing::new(Sha256::digest(message).to_vec()))
    }

    #[test]
    fn the_layout_is_frozen() {
        let key = Sha256::digest(
            [b"quorate hmac kdf v1".as_slice(), &[1; 32], &Sha256::digest(b"aad")].concat(),
        );
        let (nonce, sealed) = host_seal(&key.into(), b"aad", &[7; 32]).unwrap();
        let wrapped = [[1; 32].as_slice(), &nonce, &sealed].concat();
        assert_eq!(wrapped.len(), 104);
        let opened = unwrap(fake, &wrapped, b"aad").unwrap();
        assert_eq!(opened.expose(), &[7; 32]);
        assert!(unwrap(fake, &wrapped, b"other").is_err());
        let cut = wrapped.get(..103).unwrap();
        assert_eq!(
            unwrap(fake, cut, b"aad").unwrap_err(),
            HsmError::Corrupt { what: "wrapped key" }
        );
        // Salts are fresh, so that no two wraps share a key.
        let dek = Dek::random().unwrap();
        let [a, b] = [0; 2].map(|_| wrap(fake, &dek, b"aad").unwrap());
        assert_ne!(a.get(..32), b.get(..32));
        assert_eq!(unwrap(fake, &a, b"aad").unwrap().expose(), dek.expose());
    }

    #[test]
    fn a_short_hmac_is_no_key() {
        let short = |_: &[u8]| Ok::<_, HsmError>(Zeroizing::new(vec![0; 20]));
        let refused = wrap(short, &Dek::random().unwrap(), b"aad").unwrap_err();
        assert!(refused.to_string().contains("20 bytes"), "{refused}");
    }
}
