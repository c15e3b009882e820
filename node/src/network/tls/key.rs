//! The identity key as the TLS library wants it.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::Signer as _;
use quorate_hsm::memory::Locked;
use quorate_hsm::{HsmSigner, PublicKey};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::identity::IdentityKey;

/// The identity key and its raw public half.
pub(super) fn certified(identity: &IdentityKey) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let key: Arc<dyn SigningKey> = match identity {
        IdentityKey::Sealed(key) => Arc::new(OpenKey(Arc::clone(key))),
        IdentityKey::Inside(key) => Arc::new(InsideKey(Arc::clone(key))),
    };
    let public = CertificateDer::from(identity.public().to_spki());
    Ok(Arc::new(CertifiedKey::new(vec![public], key)))
}

/// The one copy of an unsealed key: the library would make others, on pages of its own choice.
#[derive(Clone, Debug)]
struct OpenKey(Arc<Locked<ed25519_dalek::SigningKey>>);

impl SigningKey for OpenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for OpenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A key that signs inside the HSM.
#[derive(Clone)]
struct InsideKey(Arc<dyn HsmSigner>);

impl fmt::Debug for InsideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InsideKey({})", self.0.public())
    }
}

impl InsideKey {
    fn algorithm_and_scheme(&self) -> (SignatureAlgorithm, SignatureScheme) {
        match self.0.public() {
            PublicKey::Ed25519(_) => (SignatureAlgorithm::ED25519, SignatureScheme::ED25519),
            PublicKey::P256(_) => {
                (SignatureAlgorithm::ECDSA, SignatureScheme::ECDSA_NISTP256_SHA256)
            }
        }
    }
}

impl SigningKey for InsideKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm_and_scheme().0
    }
}

impl Signer for InsideKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signed = may_block(|| self.0.sign(message));
        let signature = signed.map_err(|error| rustls::Error::General(error.to_string()))?;
        match self.0.public() {
            PublicKey::Ed25519(_) => Ok(signature.to_vec()),
            PublicKey::P256(_) => p256::ecdsa::Signature::from_slice(&signature)
                .map(|signature| signature.to_der().as_bytes().to_vec())
                .map_err(|_| rustls::Error::General("the HSM's answer is no signature".into())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.algorithm_and_scheme().1
    }
}

/// The library signs in the middle of a handshake, on a thread of the runtime. An HSM may take seconds:
/// the runtime is told, so that other links go on meanwhile.
fn may_block<T>(call: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        _ => call(),
    }
}
