//! RSA-OAEP, and a signature by the identity key over the result: anybody can encrypt to a public key.
//!
//! ```text
//! wrapped   = hash (1: 1 = SHA-1, 2 = SHA-256) ‖ OAEP(DEK ‖ SHA-256(aad)) ‖ signature (64)
//! signature over "quorate oaep v1" ‖ SHA-256(aad) ‖ hash ‖ OAEP(...)
//! ```
//! SHA-1 is for tokens that know no other; OAEP does not need its collision resistance. The hash is
//! pinned by the canary, and the signer's public key by the configuration.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::identity::{normal, sign, verify};
use super::keys::Handles;
use super::token::Failure;
use super::wrapping::Wrapping;
use crate::{Dek, HsmError, PublicKey};

const LABEL: &[u8] = b"quorate oaep v1";
const SIGNATURE: usize = 64;

/// The hash inside OAEP and its mask generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum OaepHash {
    Sha1 = 1,
    Sha256 = 2,
}

impl OaepHash {
    /// Better first.
    pub(super) const ALL: [Self; 2] = [Self::Sha256, Self::Sha1];

    /// What this wrapped key says.
    pub(super) fn of(wrapped: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| wrapped.first() == Some(&(*hash as u8)))
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Sha1 => "OAEP with SHA-1",
            Self::Sha256 => "OAEP with SHA-256",
        }
    }
}

pub(super) struct Oaep {
    public: ObjectHandle,
    private: ObjectHandle,
    signer: ObjectHandle,
    pinned: PublicKey,
    hash: OaepHash,
}

impl Oaep {
    pub(super) fn new(
        rsa: Handles,
        identity: Handles,
        pinned: PublicKey,
        hash: OaepHash,
    ) -> Result<Self, HsmError> {
        let lacking =
            || HsmError::Unsupported { what: "an RSA key without public half".to_owned() };
        let public = rsa.public.ok_or_else(lacking)?;
        Ok(Self { public, private: rsa.secret, signer: identity.secret, pinned, hash })
    }

    fn mechanism(&self) -> Mechanism<'static> {
        let (hash, mask) = match self.hash {
            OaepHash::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            OaepHash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()).into()
    }
}

fn message(head: &[u8], aad: &[u8]) -> Vec<u8> {
    [LABEL, Sha256::digest(aad).as_slice(), head].concat()
}

impl Wrapping for Oaep {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut plain = Zeroizing::new([0; 64]);
        let (key, bound) = plain.split_at_mut(32);
        key.copy_from_slice(dek.expose());
        bound.copy_from_slice(&Sha256::digest(aad));
        let sealed = session.encrypt(&self.mechanism(), self.public, plain.as_slice())?;
        let head = [&[self.hash as u8], sealed.as_slice()].concat();
        let signature = sign(session, self.signer, &self.pinned, &message(&head, aad))?;
        // One of the two forms that ECDSA allows, so that the wrapped key has no second one.
        Ok([head.as_slice(), &normal(&self.pinned, signature)].concat())
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure> {
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        let (head, signature) =
            wrapped.split_last_chunk::<SIGNATURE>().ok_or_else(|| corrupt.clone())?;
        // Before anything is decrypted, and on the host, with the key that the configuration pins.
        let signed = verify(&self.pinned, &message(head, aad), signature)
            && normal(&self.pinned, *signature) == *signature;
        if !signed || OaepHash::of(head) != Some(self.hash) {
            return Err(corrupt.into());
        }
        let sealed = head.get(1..).unwrap_or_default();
        let plain = Zeroizing::new(session.decrypt(&self.mechanism(), self.private, sealed)?);
        let (key, bound) = plain.split_at_checked(32).ok_or_else(|| corrupt.clone())?;
        if !bool::from(bound.ct_eq(Sha256::digest(aad).as_slice())) {
            return Err(corrupt.into());
        }
        Ok(Dek::from_slice(key).ok_or(corrupt)?)
    }
}
