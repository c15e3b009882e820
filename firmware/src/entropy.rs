//! Randomness: noise is tested as SP 800-90B asks, conditioned, and feeds an HMAC-DRBG (SP 800-90A). A
//! source that fails its tests gives nothing any more until the device is started again.

mod drbg;
mod health;

use quorate_core::secret::SecretBytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::platform::Noise;
use drbg::{HmacDrbg, finish, update};
use health::Health;
pub use health::{ALPHA_BITS, PROPORTION_CUTOFF, REPETITION_CUTOFF, WINDOW};

/// Samples that are tested at the start; SP 800-90B §4.3 asks for 1,024 or more. They are not used.
pub const START_SAMPLES: usize = 1024;
/// Samples behind each 32 bytes of seed: with one bit of entropy in each, 192 more than SP 800-90C §3
/// asks of a conditioned seed with full entropy (256 + 64).
const SEED_SAMPLES: usize = 512;
/// Samples that are fetched at once.
const PIECE: usize = 64;

/// Why there is no randomness. It stays so until the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyFailed {
    /// The source gives nothing.
    Source,
    /// One value came too often in a row.
    Repetition,
    /// One value is too frequent.
    Proportion,
    /// Samples follow from those shortly before.
    Pattern,
}

/// The device's generator.
pub struct Entropy<N: Noise> {
    noise: N,
    health: Health,
    drbg: HmacDrbg,
    /// All that hosts have said so far, hashed: additional input, that counts for nothing.
    host: SecretBytes,
    failed: Option<EntropyFailed>,
}

impl<N: Noise> Entropy<N> {
    /// Tests the source. A device starts also with a bad one, and asks [`Self::failed`].
    pub fn start(noise: N) -> Self {
        let (health, drbg, host) = (Health::new(), HmacDrbg::empty(), SecretBytes::default());
        let mut entropy = Self { noise, health, drbg, host, failed: None };
        if let Err(failed) = entropy.instantiate() {
            entropy.failed = Some(failed);
        }
        entropy
    }

    fn instantiate(&mut self) -> Result<(), EntropyFailed> {
        for _ in 0..START_SAMPLES / PIECE {
            self.samples(&mut |_| {})?;
        }
        let (entropy, nonce) = (self.seed()?, self.seed()?);
        self.drbg = HmacDrbg::new(&[entropy.expose(), nonce.expose(), b"quorate device"]);
        Ok(())
    }

    /// Why there is no randomness, if so.
    #[must_use]
    pub fn failed(&self) -> Option<EntropyFailed> {
        self.failed
    }

    /// Mixes in what a host says is random: never instead of the device's own noise.
    pub fn mix(&mut self, entropy: &[u8; 32]) {
        let mut hash = Sha256::new();
        update(&mut hash, self.host.expose());
        update(&mut hash, entropy);
        self.host = finish(hash);
    }

    /// 32 random bytes, from fresh noise and from all that came before.
    ///
    /// # Errors
    /// [`EntropyFailed`], now and until the next start.
    pub fn fresh(&mut self) -> Result<SecretBytes, EntropyFailed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let seed = self.seed().inspect_err(|failed| self.failed = Some(*failed))?;
        self.drbg.reseed(&[seed.expose(), self.host.expose()]);
        let mut out = [0; 32];
        self.drbg.generate(&[], &mut out);
        let fresh = SecretBytes::new(out);
        out.zeroize();
        Ok(fresh)
    }

    /// Conditioned noise.
    fn seed(&mut self) -> Result<SecretBytes, EntropyFailed> {
        let mut hash = Sha256::new();
        for _ in 0..SEED_SAMPLES / PIECE {
            self.samples(&mut |samples| update(&mut hash, samples))?;
        }
        Ok(finish(hash))
    }

    /// The next samples, tested.
    fn samples(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<(), EntropyFailed> {
        let mut samples = [0; PIECE];
        self.noise.samples(&mut samples).map_err(|_| EntropyFailed::Source)?;
        let healthy = samples.iter().try_for_each(|sample| self.health.test(*sample));
        if healthy.is_ok() {
            take(&samples);
        }
        samples.zeroize();
        healthy
    }
}

#[cfg(test)]
mod tests;
