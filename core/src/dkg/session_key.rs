//! A session key in memory, for parties that need nothing else.

use super::{Peer, SessionSigner};
use crate::hash::Digest;
use crate::identity::Identity;
use crate::identity::ed25519::KeyPair;
use crate::party::PartyId;
use crate::secret::SecretBytes;
use crate::wire::Bytes64;

/// An Ed25519 session key, made anew at every boot and never stored. It wipes itself.
pub struct SessionKey(KeyPair);

impl SessionKey {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn new(secret: &SecretBytes) -> Self {
        Self(KeyPair::of(secret))
    }

    /// `party` as the others see it, if this is its key.
    #[must_use]
    pub fn peer(&self, party: PartyId) -> Peer {
        Peer { party, session_key: self.identity() }
    }

    /// Its public half.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::Ed25519(*self.0.public())
    }
}

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        self.0.sign(digest)
    }
}

impl core::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("SessionKey").field(&self.identity()).finish()
    }
}
