//! AES-256-GCM with associated data, in one call.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::token::Failure;
use super::wrapping::Wrapping;
use crate::protector::random;
use crate::{Dek, HsmError};

pub(super) const IV: usize = 12;
pub(super) const TAG: usize = 16;
/// IV, encrypted DEK, tag.
pub(super) const WRAPPED: usize = IV + 32 + TAG;

pub(super) struct Gcm(pub(super) ObjectHandle);

impl Wrapping for Gcm {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut iv = [0; IV];
        random(&mut iv)?;
        let sealed = {
            let parameters = GcmParams::new(&mut iv, aad, 128.into())?;
            session.encrypt(&Mechanism::AesGcm(parameters), self.0, dek.expose())?
        };
        // Some tokens write an IV of their own into the parameters: store what was used, not what was offered.
        let wrapped = [iv.as_slice(), &sealed].concat();
        if wrapped.len() != WRAPPED {
            let what = format!("AES-GCM output of {} bytes", sealed.len());
            return Err(HsmError::Unsupported { what }.into());
        }
        Ok(wrapped)
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        if wrapped.len() != WRAPPED {
            return Err(corrupt.into());
        }
        let (iv, sealed) = wrapped.split_first_chunk::<IV>().ok_or(corrupt.clone())?;
        let mut iv = *iv;
        let parameters = GcmParams::new(&mut iv, aad, 128.into())?;
        let plain = session.decrypt(&Mechanism::AesGcm(parameters), self.0, sealed)?;
        Ok(Dek::from_slice(&Zeroizing::new(plain)).ok_or(corrupt)?)
    }
}
