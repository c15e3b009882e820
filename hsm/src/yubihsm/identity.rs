//! Identity keys inside a YubiHSM 2: P-256, made there, signing there.

use std::fmt;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use sha2::{Digest, Sha256};
use yubihsm::object::Type;
use yubihsm::{Algorithm, Capability, asymmetric};

use super::link::Link;
use super::{Config, Endpoint, Password, YubiHsmProtector, objects};
use crate::{HsmError, HsmSigner, PublicKey};

/// A P-256 key inside a YubiHSM 2.
pub struct YubiHsmSigner {
    link: Arc<Link>,
    id: u16,
    name: String,
    key: VerifyingKey,
    compressed: [u8; 33],
    description: String,
}

impl fmt::Debug for YubiHsmSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YubiHsmSigner({})", self.description)
    }
}

impl YubiHsmSigner {
    /// The key `id` of the device that `config` names, with the node's authentication key; its KEK is
    /// not touched.
    ///
    /// # Errors
    /// As [`super::YubiHsmProtector::open`]; [`HsmError::Unsupported`] for a key that is not P-256 or
    /// may do more than sign.
    pub fn open(config: &Config, id: u16, password: &Password) -> Result<Self, HsmError> {
        Self::over(Link::to(Endpoint::of(config)?, config.auth_key, password), id)
    }

    /// The key `id` of the device that `kek` is in, over the same session.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn beside(kek: &YubiHsmProtector, id: u16) -> Result<Self, HsmError> {
        Self::over(Arc::clone(&kek.link), id)
    }

    fn over(link: Arc<Link>, id: u16) -> Result<Self, HsmError> {
        let name = objects::name(Type::AsymmetricKey, id);
        let info = objects::read(&link, Type::AsymmetricKey, id)?;
        let p256 = Algorithm::Asymmetric(asymmetric::Algorithm::EcP256);
        objects::expect(&name, &info, Capability::SIGN_ECDSA, p256)?;
        let read = |client: &yubihsm::Client| client.get_public_key(id);
        let public = link.ask("read the public key", &name, read)?.into_vec();
        let wrong = || HsmError::Unsupported { what: format!("the public key of {name}") };
        // The device leaves out SEC 1's tag for an uncompressed point.
        let point = [&[4], public.as_slice()].concat();
        let key = p256::PublicKey::from_sec1_bytes(&point).map_err(|_| wrong())?;
        let compressed = key.to_encoded_point(true).as_bytes().try_into().map_err(|_| wrong())?;
        let origin = objects::origin(info.origin);
        let description = format!("{}, {name} ({origin}), ECDSA P-256", link.endpoint());
        Ok(Self { link, id, name, key: key.into(), compressed, description })
    }
}

impl HsmSigner for YubiHsmSigner {
    fn public(&self) -> PublicKey {
        PublicKey::P256(self.compressed)
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        let digest = Sha256::digest(message);
        let sign =
            |client: &yubihsm::Client| client.sign_ecdsa_prehash_raw(self.id, digest.as_slice());
        let der = self.link.ask("sign", &self.name, sign)?;
        let signature = Signature::from_der(&der).map_err(|_| HsmError::Unavailable {
            reason: format!("{} made a signature that is none", self.name),
        })?;
        // A key that was replaced under its identifier, or a fault: nobody else is to find out.
        self.key.verify_prehash(&digest, &signature).map_err(|_| HsmError::Unavailable {
            reason: format!("a signature by {} does not fit its public key", self.name),
        })?;
        Ok(signature.to_bytes().into())
    }
}
