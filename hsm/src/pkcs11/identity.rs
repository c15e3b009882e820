//! A signing key that was made in the token and never leaves it.

use std::fmt;
use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use p256::ecdsa::signature::Verifier as _;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::connection::{Connection, Found};
use super::keys::{Handles, Part};
use super::token::{self, Failure};
use super::{Config, Pin, Pkcs11Protector};
use crate::protector::random;
use crate::{HsmError, HsmSigner, PublicKey};

/// The curve of an identity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Curve {
    /// ECDSA over P-256 with SHA-256: every token can.
    P256,
    /// Ed25519, where the token has it.
    Ed25519,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::Ed25519 => "Ed25519",
        })
    }
}

impl Curve {
    /// `CKA_EC_PARAMS`; tokens disagree about the name of the Edwards curve.
    pub(super) fn parameters(self) -> &'static [&'static [u8]] {
        match self {
            Self::P256 => &[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]],
            Self::Ed25519 => &[&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519"],
        }
    }

    pub(super) fn generation(self) -> Mechanism<'static> {
        match self {
            Self::P256 => Mechanism::EccKeyPairGen,
            Self::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        }
    }
}

impl From<&PublicKey> for Curve {
    fn from(key: &PublicKey) -> Self {
        match key {
            PublicKey::P256(_) => Self::P256,
            PublicKey::Ed25519(_) => Self::Ed25519,
        }
    }
}

/// An identity key inside a PKCS#11 token.
pub struct Pkcs11Signer {
    connection: Arc<Connection>,
    key_id: Vec<u8>,
    public: PublicKey,
    owner: String,
    description: String,
    key: Found<ObjectHandle>,
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Signer({})", self.public)
    }
}

impl Pkcs11Signer {
    /// Logs in once, finds the key that `config.identity` names, and has it sign something.
    ///
    /// # Errors
    /// [`HsmError`]; [`HsmError::Unsupported`] if the configuration names no identity key, or the token
    /// holds another one.
    pub fn open(config: &Config, pin: Pin) -> Result<Self, HsmError> {
        Self::over(Arc::new(Connection::new(config.location(), pin)?), config)
    }

    /// The same beside a KEK of the same token, over its login.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn beside(protector: &Pkcs11Protector) -> Result<Self, HsmError> {
        Self::over(Arc::clone(&protector.connection), &protector.config)
    }

    /// The same for an identity key that has a `CKA_ID` of its own, since the KEK was rotated.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn beside_as(
        protector: &Pkcs11Protector,
        key_id: Vec<u8>,
        public: PublicKey,
    ) -> Result<Self, HsmError> {
        let config = Config { key_id, identity: Some(public), ..protector.config.clone() };
        Self::over(Arc::clone(&protector.connection), &config)
    }

    fn over(connection: Arc<Connection>, config: &Config) -> Result<Self, HsmError> {
        let none =
            || HsmError::Unsupported { what: "the configuration names no identity key".into() };
        let public = config.identity.ok_or_else(none)?;
        let mut signer = Self {
            connection,
            key_id: config.key_id.clone(),
            public,
            owner: config.kek()?.to_string(),
            description: String::new(),
            key: Found::new(),
        };
        signer.check()?;
        let info = token::describe(&signer.connection.info()?);
        signer.description = format!("{info}, {} identity key", Curve::from(&public));
        Ok(signer)
    }

    /// A signature round trip, verified on the host: the key is there, and it is the one.
    fn check(&self) -> Result<(), HsmError> {
        let mut fresh = [0; 32];
        random(&mut fresh)?;
        let challenge = [b"quorate identity check v1".as_slice(), &fresh].concat();
        let signature = self.sign(&challenge)?;
        if verify(&self.public, &challenge, &signature) {
            return Ok(());
        }
        Err(HsmError::Unsupported {
            what: format!(
                "the token's identity key is not {}, which the configuration names",
                self.public
            ),
        })
    }
}

impl HsmSigner for Pkcs11Signer {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        self.connection.call(|session, generation| {
            let part = Part::Identity(Curve::from(&self.public));
            let find = || Ok(part.find(session, &self.key_id, &self.owner)?.secret);
            sign(session, self.key.get(generation, find)?, &self.public, message)
        })
    }
}

/// Signs with a key whose public half is `public`.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    public: &PublicKey,
    message: &[u8],
) -> Result<[u8; 64], Failure> {
    let signature = match public {
        PublicKey::P256(_) => session.sign(&Mechanism::Ecdsa, key, &Sha256::digest(message))?,
        PublicKey::Ed25519(_) => {
            let parameters = EddsaParams::new(EddsaSignatureScheme::Pure);
            session.sign(&Mechanism::Eddsa(parameters), key, message)?
        }
    };
    let size = signature.len();
    let odd = |_| HsmError::Unsupported { what: format!("a signature of {size} bytes") };
    Ok(signature.as_slice().try_into().map_err(odd)?)
}

/// On the host.
pub(super) fn verify(public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    match public {
        PublicKey::P256(point) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let signature = p256::ecdsa::Signature::from_slice(signature);
            matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
        }
        PublicKey::Ed25519(point) => {
            ed25519_dalek::VerifyingKey::from_bytes(point).is_ok_and(|key| {
                let signature = ed25519_dalek::Signature::from_bytes(signature);
                key.verify_strict(message, &signature).is_ok()
            })
        }
    }
}

/// The same signature with the smaller of the two possible s; Ed25519 has one form only.
pub(super) fn normal(public: &PublicKey, signature: [u8; 64]) -> [u8; 64] {
    if let PublicKey::P256(_) = public
        && let Ok(parsed) = p256::ecdsa::Signature::from_slice(&signature)
        && let Some(smaller) = parsed.normalize_s()
    {
        return smaller.to_bytes().into();
    }
    signature
}

/// Reads the public half of a pair.
pub(super) fn read_public(
    session: &Session,
    curve: Curve,
    keys: &Handles,
) -> Result<PublicKey, Failure> {
    let odd = || HsmError::Unsupported { what: format!("a {curve} key without a readable point") };
    let public = keys.public.ok_or_else(odd)?;
    let said = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let [Attribute::EcPoint(point)] = said.as_slice() else { return Err(odd().into()) };
    Ok(parse_point(curve, point).ok_or_else(odd)?)
}

/// `CKA_EC_POINT` is a DER OCTET STRING around the point; some tokens leave the wrapping out.
fn parse_point(curve: Curve, bytes: &[u8]) -> Option<PublicKey> {
    let unwrapped = match bytes {
        [0x04, length, inner @ ..] if usize::from(*length) == inner.len() => inner,
        _ => bytes,
    };
    // A bare point may look like a wrapped one by chance, but not both can be on the curve.
    [unwrapped, bytes].into_iter().find_map(|bytes| match curve {
        Curve::P256 => {
            let key = p256::PublicKey::from_sec1_bytes(bytes).ok()?;
            let point: [u8; 33] = key.to_encoded_point(true).as_bytes().try_into().ok()?;
            Some(PublicKey::P256(point))
        }
        Curve::Ed25519 => {
            let point: [u8; 32] = bytes.try_into().ok()?;
            ed25519_dalek::VerifyingKey::from_bytes(&point).ok()?;
            Some(PublicKey::Ed25519(point))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_wrapped_and_bare() {
        // A key whose x begins with 63, the number of bytes that follow: bare, it looks wrapped.
        let lookalike = (1u64..)
            .map(p256::Scalar::from)
            .map(|scalar| (p256::ProjectivePoint::GENERATOR * scalar).to_affine())
            .find(|point| point.to_encoded_point(false).as_bytes().get(1) == Some(&63))
            .unwrap();
        for point in [p256::AffinePoint::GENERATOR, lookalike] {
            let compressed = point.to_encoded_point(true);
            let expected = Some(PublicKey::P256(compressed.as_bytes().try_into().unwrap()));
            for bare in [point.to_encoded_point(false), compressed] {
                let length = u8::try_from(bare.as_bytes().len()).unwrap();
                let wrapped = [&[0x04, length], bare.as_bytes()].concat();
                assert_eq!(parse_point(Curve::P256, bare.as_bytes()), expected);
                assert_eq!(parse_point(Curve::P256, &wrapped), expected);
                assert_eq!(parse_point(Curve::P256, wrapped.get(..length.into()).unwrap()), None);
            }
        }
        let point = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
        let expected = Some(PublicKey::Ed25519(point));
        assert_eq!(parse_point(Curve::Ed25519, &point), expected);
        assert_eq!(
            parse_point(Curve::Ed25519, &[&[0x04, 32], point.as_slice()].concat()),
            expected
        );
        assert_eq!(parse_point(Curve::Ed25519, b""), None);
    }
}
