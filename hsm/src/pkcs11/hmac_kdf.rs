//! HMAC-SHA256 by a generic secret in the token, as key derivation: see [`crate::kdf`].

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::token::Failure;
use super::wrapping::Wrapping;
use crate::{Dek, HsmError, kdf};

pub(super) struct HmacKdf(pub(super) ObjectHandle);

impl Wrapping for HmacKdf {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        kdf::wrap(dek, aad, |message| self.derive(session, message))
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        kdf::unwrap(wrapped, aad, |message| self.derive(session, message))
    }
}

impl HmacKdf {
    fn derive(&self, session: &Session, message: &[u8]) -> Result<Dek, Failure> {
        let key = hmac(session, self.0, message)?;
        let size = key.len();
        let short = HsmError::Unsupported { what: format!("HMAC-SHA256 output of {size} bytes") };
        Ok(Dek::from_slice(&key).ok_or(short)?)
    }
}

pub(super) fn hmac(
    session: &Session,
    key: ObjectHandle,
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(Zeroizing::new(session.sign(&Mechanism::Sha256Hmac, key, message)?))
}
