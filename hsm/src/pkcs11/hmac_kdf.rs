//! HMAC-SHA256 by a generic secret in the token, as key derivation: see [`crate::kdf`].

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::token::Failure;
use super::wrapping::Wrapping;
use crate::{Dek, kdf};

pub(super) struct HmacKdf(pub(super) ObjectHandle);

impl Wrapping for HmacKdf {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        kdf::wrap(|message| hmac(session, self.0, message), dek, aad)
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        kdf::unwrap(|message| hmac(session, self.0, message), wrapped, aad)
    }
}

pub(super) fn hmac(
    session: &Session,
    key: ObjectHandle,
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    Ok(Zeroizing::new(session.sign(&Mechanism::Sha256Hmac, key, message)?))
}
