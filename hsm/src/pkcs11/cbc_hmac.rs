//! AES-256-CBC without padding, then HMAC-SHA256 by a second key.
//!
//! ```text
//! mac     = HMAC-SHA256("quorate cbc hmac v1" ‖ SHA-256(aad) ‖ iv ‖ ciphertext)
//! wrapped = iv (16) ‖ ciphertext (32) ‖ mac (32)
//! ```

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hmac_kdf::hmac;
use super::token::Failure;
use super::wrapping::Wrapping;
use crate::protector::random;
use crate::{Dek, HsmError};

const LABEL: &[u8] = b"quorate cbc hmac v1";
const IV: usize = 16;
const MAC: usize = 32;
const WRAPPED: usize = IV + 32 + MAC;

pub(super) struct CbcHmac {
    pub(super) cipher: ObjectHandle,
    pub(super) mac: ObjectHandle,
}

impl CbcHmac {
    fn mac(&self, session: &Session, sealed: &[u8], aad: &[u8]) -> Result<[u8; MAC], Failure> {
        let message = [LABEL, Sha256::digest(aad).as_slice(), sealed].concat();
        let mac = hmac(session, self.mac, &message)?;
        let short =
            HsmError::Unsupported { what: format!("HMAC-SHA256 output of {} bytes", mac.len()) };
        Ok(mac.as_slice().try_into().map_err(|_| short)?)
    }
}

impl Wrapping for CbcHmac {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut iv = [0; IV];
        random(&mut iv)?;
        let sealed = session.encrypt(&Mechanism::AesCbc(iv), self.cipher, dek.expose())?;
        let mut wrapped = [iv.as_slice(), &sealed].concat();
        wrapped.extend_from_slice(&self.mac(session, &wrapped, aad)?);
        if wrapped.len() != WRAPPED {
            let what = format!("AES-CBC output of {} bytes", sealed.len());
            return Err(HsmError::Unsupported { what }.into());
        }
        Ok(wrapped)
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        if wrapped.len() != WRAPPED {
            return Err(corrupt.into());
        }
        let (head, mac) = wrapped.split_last_chunk::<MAC>().ok_or(corrupt.clone())?;
        // Before anything is decrypted: CBC alone is at the mercy of whoever can alter the file.
        if !bool::from(self.mac(session, head, aad)?.ct_eq(mac)) {
            return Err(corrupt.into());
        }
        let (iv, sealed) = head.split_first_chunk::<IV>().ok_or(corrupt.clone())?;
        let plain = session.decrypt(&Mechanism::AesCbc(*iv), self.cipher, sealed)?;
        Ok(Dek::from_slice(&Zeroizing::new(plain)).ok_or(corrupt)?)
    }
}
