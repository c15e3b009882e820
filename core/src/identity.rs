//! Identity keys: who a party is, for as long as its operator keeps the key.

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::party::PartyId;
use crate::wire::Bytes64;

/// The public half of an identity key or of a session key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// Ed25519 (RFC 8032): the compressed point.
    Ed25519([u8; 32]),
}

impl Identity {
    /// Whether `signature` is this key's signature on `message`: strict, so that no second signature
    /// on the same message can be made by somebody else, and keys of small order are refused.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Bytes64) -> bool {
        let Self::Ed25519(bytes) = self;
        VerifyingKey::from_bytes(bytes).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(&signature.0)).is_ok()
        })
    }

    /// The key's 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        let Self::Ed25519(bytes) = self;
        bytes
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ed25519:")?;
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
