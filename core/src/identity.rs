//! Identity keys: who a party is, for as long as its operator keeps the key.

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::curve::PointBytes;
use crate::hash::{Digest, Transcript};
use crate::party::PartyId;
use crate::wire::Bytes64;

/// The public half of an identity key or of a session key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// Ed25519 (RFC 8032): the compressed point.
    Ed25519([u8; 32]),
    /// P-256: the compressed point (SEC 1, 2.3.3). Signatures are ECDSA with SHA-256, r‖s, s in its
    /// lower half. Verified with the feature `p256-identity` only: without it none is valid.
    P256(PointBytes),
}

impl Identity {
    /// Whether `signature` is this key's signature on `message`: strict, so that no second signature
    /// on the same message can be made by somebody else, and keys of small order are refused.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Bytes64) -> bool {
        match self {
            Self::Ed25519(bytes) => VerifyingKey::from_bytes(bytes).is_ok_and(|key| {
                key.verify_strict(message, &Signature::from_bytes(&signature.0)).is_ok()
            }),
            Self::P256(bytes) => verify_p256(&bytes.0, message, signature),
        }
    }

    /// The compressed point: 32 bytes of Ed25519, 33 of P-256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => &bytes.0,
        }
    }

    /// Whether the bytes are a point that a signature could be checked with.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Ed25519(bytes) => VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak()),
            Self::P256(bytes) => p256::PublicKey::from_sec1_bytes(&bytes.0).is_ok(),
        }
    }
}

#[cfg(feature = "p256-identity")]
fn verify_p256(key: &[u8; 33], message: &[u8], signature: &Bytes64) -> bool {
    use p256::ecdsa::signature::Verifier as _;
    use p256::ecdsa::{Signature, VerifyingKey};
    let Ok(signature) = Signature::from_slice(&signature.0) else { return false };
    // Of the two forms of a signature one counts, or whoever relays it could make a second.
    let low = signature.normalize_s().is_none();
    low && VerifyingKey::from_sec1_bytes(key).is_ok_and(|k| k.verify(message, &signature).is_ok())
}

#[cfg(not(feature = "p256-identity"))]
fn verify_p256(_: &[u8; 33], _: &[u8], _: &Bytes64) -> bool {
    false
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Ed25519(_) => "ed25519:",
            Self::P256(_) => "p256:",
        })?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an identity key signs to certify a party's session key, one per boot, for one session
/// (`docs/PROTOCOL.md` §1.6): nobody can hand out the certificate of an earlier boot again.
#[must_use]
pub fn session_key_digest(
    network: &[u8; 16],
    party: PartyId,
    boot: &[u8; 16],
    key: &Identity,
    session: &Digest,
) -> Digest {
    Transcript::new("session-key")
        .bytes(network)
        .party(party)
        .bytes(boot)
        .bytes(key.as_bytes())
        .bytes(session)
        .finish()
}
