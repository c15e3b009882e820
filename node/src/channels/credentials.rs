//! With what this party says in channels who it is: a session key, certified once by its identity key.

use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::device::channel::channel_session;
use quorate_core::dkg::SessionSigner;
use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::{Identity, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use quorate_hsm::HsmError;
use quorate_hsm::memory::Locked;

use crate::identity::{IdentityError, IdentityKey};
use crate::message::SessionKeyCertificate;

/// Why there can be no channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The operating system gives no randomness.
    Randomness,
    /// No more pages can be locked.
    Memory(HsmError),
    /// The identity key does not sign.
    Identity(IdentityError),
}

impl std::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Randomness => f.write_str("the operating system gives no randomness"),
            Self::Memory(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}

struct Keys {
    session: SigningKey,
    /// Hedges the generator of the handshakes.
    hedge: SecretBytes,
}

/// With what this party says in channels who it is.
pub struct Credentials {
    certificate: SessionKeyCertificate,
    keys: Locked<Keys>,
    counter: AtomicU64,
}

impl Credentials {
    /// A fresh session key. The identity key certifies it here and now, which may take as long as the HSM.
    /// `hedge` is the party's long-term secret; the key is on locked pages if `lock`.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn new(
        network: &[u8; 16],
        me: PartyId,
        identity: &IdentityKey,
        hedge: &SecretBytes,
        lock: bool,
    ) -> Result<Self, ChannelError> {
        let mut rng = HedgedRng::new(&fresh()?, hedge, &channel_session(network), 0);
        let (mut seed, mut boot) = (zeroize::Zeroizing::new([0; 32]), [0; 16]);
        rand_core::RngCore::fill_bytes(&mut rng, seed.as_mut_slice());
        rand_core::RngCore::fill_bytes(&mut rng, &mut boot);
        let session = SigningKey::from_bytes(&seed);
        let key = Identity::Ed25519(session.verifying_key().to_bytes());
        let digest = session_key_digest(network, me, &boot, &key, &channel_session(network));
        let signature = Bytes64(identity.sign(&digest).map_err(ChannelError::Identity)?);
        let certificate = SessionKeyCertificate { party: me, boot, key, signature };
        let hedge = Transcript::new("channel-hedge").bytes(hedge.expose()).bytes(&*seed).secret();
        let keys = Locked::kept(Keys { session, hedge }, lock).map_err(ChannelError::Memory)?;
        Ok(Self { certificate, keys, counter: AtomicU64::new(1) })
    }

    pub(super) fn me(&self) -> PartyId {
        self.certificate.party
    }

    pub(super) fn certificate(&self) -> &SessionKeyCertificate {
        &self.certificate
    }

    /// For one handshake.
    pub(super) fn rng(&self) -> Result<HedgedRng, ChannelError> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        Ok(HedgedRng::new(&fresh()?, &self.keys.hedge, &self.certificate.boot_digest(), counter))
    }
}

/// Thirty-two bytes that name a boot.
trait BootDigest {
    fn boot_digest(&self) -> Digest;
}

impl BootDigest for SessionKeyCertificate {
    fn boot_digest(&self) -> Digest {
        Transcript::new("channel-boot").bytes(&self.boot).finish()
    }
}

fn fresh() -> Result<[u8; 32], ChannelError> {
    let mut fresh = [0; 32];
    getrandom::getrandom(&mut fresh).map_err(|_| ChannelError::Randomness)?;
    Ok(fresh)
}

impl SessionSigner for Credentials {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.keys.session.sign(digest).to_bytes())
    }
}
