//! Who this party is: its identity key, and the text form of everybody's.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::curve::PointBytes;
use quorate_core::identity::Identity;
use quorate_hsm::memory::Locked;
use quorate_hsm::{HsmError, HsmSigner, PublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::hsm_threads::PatientSigner;

/// This party's identity key.
pub enum IdentityKey {
    /// Sealed at rest, open while the node runs.
    Sealed(Arc<Locked<SigningKey>>),
    /// Made inside the HSM, which signs with it: nobody can copy it, only use the HSM.
    Inside(Arc<dyn HsmSigner>),
}

/// The identity key cannot be made, read or used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The operating system gives no randomness.
    Randomness,
    /// The text is no identity.
    Text,
    /// The HSM cannot sign.
    Hsm(HsmError),
    /// The HSM answered with something that is no signature.
    Signature,
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Randomness => f.write_str("the operating system gives no randomness"),
            Self::Text => f.write_str(
                "not an identity: `ed25519:` and 64 hexadecimal digits, `p256:` and 66, or a device's `secp256k1:` and 64 are expected",
            ),
            Self::Hsm(error) => write!(f, "the identity key cannot sign: {error}"),
            Self::Signature => f.write_str("the HSM's answer is no signature by the identity key"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey({})", self.public())
    }
}

impl IdentityKey {
    /// A fresh key of this process, to be sealed.
    ///
    /// # Errors
    /// [`IdentityError::Randomness`].
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::getrandom(seed.as_mut_slice()).map_err(|_| IdentityError::Randomness)?;
        Ok(Self::from_secret(&seed))
    }

    /// From its seed, on pages that are not locked: for a key that is sealed and dropped at once.
    #[must_use]
    pub fn from_secret(seed: &[u8; 32]) -> Self {
        Self::Sealed(Arc::new(Locked::unlocked(SigningKey::from_bytes(seed))))
    }

    /// From its unsealed seed, to stay open; on locked pages if `lock`.
    ///
    /// # Errors
    /// [`HsmError::MemoryLimit`].
    pub fn kept(seed: &[u8; 32], lock: bool) -> Result<Self, HsmError> {
        Ok(Self::Sealed(Arc::new(Locked::kept(SigningKey::from_bytes(seed), lock)?)))
    }

    /// The seed, for sealing; `None` where the HSM holds it.
    #[must_use]
    pub fn secret(&self) -> Option<Zeroizing<[u8; 32]>> {
        match self {
            Self::Sealed(key) => Some(Zeroizing::new(key.to_bytes())),
            Self::Inside(_) => None,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> IdentityPublic {
        match self {
            Self::Sealed(key) => IdentityPublic(Identity::Ed25519(key.verifying_key().to_bytes())),
            Self::Inside(key) => key.public().into(),
        }
    }

    /// The same key for handshakes, which wait for the HSM for `limit` at most.
    ///
    /// # Errors
    /// The operating system starts no more threads.
    pub fn patient(&self, limit: Duration) -> std::io::Result<Self> {
        Ok(match self {
            Self::Sealed(key) => Self::Sealed(key.clone()),
            Self::Inside(key) => Self::Inside(Arc::new(PatientSigner::new(key.clone(), limit)?)),
        })
    }

    /// A signature on `message` that [`Identity::verify`] accepts. It may take as long as the HSM.
    ///
    /// # Errors
    /// [`IdentityError::Hsm`], [`IdentityError::Signature`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], IdentityError> {
        match self {
            Self::Sealed(key) => Ok(key.sign(message).to_bytes()),
            Self::Inside(key) => {
                let signature = key.sign(message).map_err(IdentityError::Hsm)?;
                match key.public() {
                    PublicKey::P256(_) => low_s(&signature),
                    _ => Ok(signature),
                }
            }
        }
    }
}

/// Of an ECDSA signature's two forms, the one that counts here.
fn low_s(signature: &[u8; 64]) -> Result<[u8; 64], IdentityError> {
    let parsed =
        p256::ecdsa::Signature::from_slice(signature).map_err(|_| IdentityError::Signature)?;
    Ok(parsed.normalize_s().unwrap_or(parsed).to_bytes().into())
}

/// A party's public identity key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityPublic(Identity);

/// The DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER prefix of a P-256 SubjectPublicKeyInfo with an uncompressed point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The DER prefix of a secp256k1 SubjectPublicKeyInfo with the compressed point of even y (RFC 5480, SEC 2).
const SECP256K1_SPKI: [u8; 24] = [
    0x30, 0x36, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x0a, 0x03, 0x22, 0x00, 0x02,
];

impl IdentityPublic {
    /// As the core knows it.
    #[must_use]
    pub fn key(&self) -> Identity {
        self.0
    }

    /// The compressed point; of secp256k1, its x.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        match &self.0 {
            Identity::Ed25519(bytes) => [ED25519_SPKI.as_slice(), bytes].concat(),
            Identity::Secp256k1(x) => [SECP256K1_SPKI.as_slice(), x].concat(),
            Identity::P256(bytes) => {
                use p256::elliptic_curve::sec1::ToEncodedPoint as _;
                // It was found to be a point when it came in.
                let key = p256::PublicKey::from_sec1_bytes(&bytes.0).ok();
                let point = key.map(|key| key.to_encoded_point(false));
                let bytes = point.as_ref().map(|point| point.as_bytes()).unwrap_or_default();
                [P256_SPKI.as_slice(), bytes].concat()
            }
        }
    }

    /// From SubjectPublicKeyInfo, DER, of a key that TLS can have: not a device's.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        if let Some(bytes) = der.strip_prefix(&ED25519_SPKI) {
            return Some(Self(Identity::Ed25519(bytes.try_into().ok()?)));
        }
        let key = p256::PublicKey::from_sec1_bytes(der.strip_prefix(&P256_SPKI)?).ok()?;
        Self::of_p256(&key)
    }

    fn of_p256(key: &p256::PublicKey) -> Option<Self> {
        use p256::elliptic_curve::sec1::ToEncodedPoint as _;
        let bytes = key.to_encoded_point(true).as_bytes().try_into().ok()?;
        Some(Self(Identity::P256(PointBytes(bytes))))
    }
}

impl PartialOrd for IdentityPublic {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdentityPublic {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl From<Identity> for IdentityPublic {
    fn from(key: Identity) -> Self {
        Self(key)
    }
}

impl From<PublicKey> for IdentityPublic {
    fn from(key: PublicKey) -> Self {
        Self(match key {
            PublicKey::P256(bytes) => Identity::P256(PointBytes(bytes)),
            PublicKey::Ed25519(bytes) => Identity::Ed25519(bytes),
        })
    }
}

impl std::fmt::Display for IdentityPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl FromStr for IdentityPublic {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (kind, digits) = text.split_once(':').ok_or(IdentityError::Text)?;
        let bytes = hex::decode(digits).map_err(|_| IdentityError::Text)?;
        let key = match kind {
            "ed25519" => bytes.try_into().ok().map(Identity::Ed25519),
            "secp256k1" => bytes.try_into().ok().map(Identity::Secp256k1),
            "p256" => bytes.try_into().ok().map(|bytes| Identity::P256(PointBytes(bytes))),
            _ => None,
        };
        key.filter(Identity::is_valid).map(Self).ok_or(IdentityError::Text)
    }
}

impl TryFrom<String> for IdentityPublic {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<IdentityPublic> for String {
    fn from(identity: IdentityPublic) -> String {
        identity.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::wire::Bytes64;

    /// Signs like a token: without a care for the half that s is in.
    struct HighS(p256::ecdsa::SigningKey);

    impl HsmSigner for HighS {
        fn public(&self) -> PublicKey {
            let point = self.0.verifying_key().to_encoded_point(true);
            PublicKey::P256(point.as_bytes().try_into().unwrap())
        }
        fn describe(&self) -> String {
            "test".into()
        }
        fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
            let signature: p256::ecdsa::Signature = self.0.sign(message);
            let (r, s) = signature.normalize_s().unwrap_or(signature).split_scalars();
            let high = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap();
            Ok(high.to_bytes().into())
        }
    }

    fn inside() -> IdentityKey {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        IdentityKey::Inside(Arc::new(HighS(key)))
    }

    #[test]
    fn both_kinds_sign_what_the_core_accepts() {
        for key in [inside(), IdentityKey::from_secret(&[7; 32])] {
            let public = key.public().key();
            let signature = Bytes64(key.sign(b"message").unwrap());
            assert!(public.verify(b"message", &signature));
            assert!(!public.verify(b"another", &signature));
        }
    }

    #[test]
    fn of_two_forms_of_a_signature_one_counts() {
        let IdentityKey::Inside(hsm) = inside() else { unreachable!() };
        let (high, public) = (Bytes64(hsm.sign(b"message").unwrap()), inside().public().key());
        assert!(!public.verify(b"message", &high));
        assert!(public.verify(b"message", &Bytes64(low_s(&high.0).unwrap())));
    }

    #[test]
    fn text_and_spki_survive_and_strangers_do_not() {
        for public in [inside().public(), IdentityKey::from_secret(&[7; 32]).public()] {
            assert_eq!(public.to_string().parse::<IdentityPublic>(), Ok(public));
            assert_eq!(IdentityPublic::from_spki(&public.to_spki()), Some(public));
        }
        // The generator's x, and one that no point has.
        let device = "secp256k1:79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let public = device.parse::<IdentityPublic>().unwrap();
        assert_eq!(public.to_string(), device);
        assert_eq!(IdentityPublic::from_spki(&public.to_spki()), None);
        let no_point = format!("secp256k1:{}05", "00".repeat(31));
        let off_the_curve = format!("p256:02{}", "ff".repeat(32));
        let small_order = format!("ed25519:01{}", "00".repeat(31));
        for text in ["", "ed25519:00", &off_the_curve, &small_order, &no_point, "p384:00"] {
            assert_eq!(text.parse::<IdentityPublic>(), Err(IdentityError::Text), "{text}");
        }
    }
}
