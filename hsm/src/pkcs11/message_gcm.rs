//! AES-256-GCM through the message API of PKCS#11 v3.

use cryptoki::mechanism::aead::{GcmMessageParams, GeneratorFunction};
use cryptoki::mechanism::{Mechanism, MessageParam};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::gcm::{IV, TAG, WRAPPED};
use super::token::Failure;
use super::wrapping::Wrapping;
use crate::protector::random;
use crate::{Dek, HsmError};

pub(super) struct MessageGcm(pub(super) ObjectHandle);

impl Wrapping for MessageGcm {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        let (mut iv, mut tag) = ([0; IV], [0; TAG]);
        random(&mut iv)?;
        let sealed = {
            let parameters = parameters(&mut iv, &mut tag)?;
            session.message_encrypt_init(&Mechanism::AesGcmMessage(parameters), self.0)?;
            let message = MessageParam::AesGcmMessage(parameters);
            let sealed = session.encrypt_message(&message, aad, dek.expose());
            // Whatever came of it, or the session stays in the operation.
            let ended = session.message_encrypt_final();
            let sealed = sealed?;
            ended?;
            sealed
        };
        // The IV is read back like the tag: a token may write its own.
        let wrapped = [iv.as_slice(), &sealed, &tag].concat();
        if wrapped.len() != WRAPPED {
            let what = format!("AES-GCM (message API) output of {} bytes", sealed.len());
            return Err(HsmError::Unsupported { what }.into());
        }
        Ok(wrapped)
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        if wrapped.len() != WRAPPED {
            return Err(corrupt.into());
        }
        let (iv, rest) = wrapped.split_first_chunk::<IV>().ok_or(corrupt.clone())?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>().ok_or(corrupt.clone())?;
        let (mut iv, mut tag) = (*iv, *tag);
        let parameters = parameters(&mut iv, &mut tag)?;
        session.message_decrypt_init(&Mechanism::AesGcmMessage(parameters), self.0)?;
        let message = MessageParam::AesGcmMessage(parameters);
        let plain = session.decrypt_message(&message, aad, sealed).map(Zeroizing::new);
        let ended = session.message_decrypt_final();
        let plain = plain?;
        ended?;
        Ok(Dek::from_slice(&plain).ok_or(corrupt)?)
    }
}

fn parameters<'a>(iv: &'a mut [u8], tag: &'a mut [u8]) -> Result<GcmMessageParams<'a>, Failure> {
    Ok(GcmMessageParams::new(iv, 0.into(), GeneratorFunction::NoGenerate, tag)?)
}
