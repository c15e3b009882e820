//! HMAC_DRBG with SHA-256, SP 800-90A §10.1.2.

use quorate_core::secret::SecretBytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// The generator's state. Its reseed counter is not needed: it is reseeded before each output.
pub(super) struct HmacDrbg {
    key: SecretBytes,
    value: SecretBytes,
}

impl HmacDrbg {
    /// One without a seed, which gives nothing of worth.
    pub(super) fn empty() -> Self {
        Self { key: SecretBytes::default(), value: SecretBytes::new([1; 32]) }
    }

    /// From entropy, a nonce and a personalization.
    pub(super) fn new(seed: &[&[u8]]) -> Self {
        let mut drbg = Self::empty();
        drbg.update(seed);
        drbg
    }

    /// From entropy and additional input.
    pub(super) fn reseed(&mut self, seed: &[&[u8]]) {
        self.update(seed);
    }

    /// With additional input, which may be empty.
    pub(super) fn generate(&mut self, additional: &[&[u8]], out: &mut [u8]) {
        if !additional.iter().all(|part| part.is_empty()) {
            self.update(additional);
        }
        for chunk in out.chunks_mut(32) {
            self.value = mac(&self.key, &self.value, &[], &[]);
            chunk.iter_mut().zip(self.value.expose()).for_each(|(to, from)| *to = *from);
        }
        self.update(additional);
    }

    fn update(&mut self, data: &[&[u8]]) {
        let rounds = if data.iter().all(|part| part.is_empty()) { 1 } else { 2 };
        for round in 0..rounds {
            self.key = mac(&self.key, &self.value, &[round], data);
            self.value = mac(&self.key, &self.value, &[], &[]);
        }
    }
}

/// HMAC (FIPS 198-1) with a key of 32 bytes, of all that follows. By hand: here it takes a third of the
/// flash that a general one does.
fn mac(key: &SecretBytes, value: &SecretBytes, round: &[u8], data: &[&[u8]]) -> SecretBytes {
    let mut hash = padded(key, 0x36);
    update(&mut hash, value.expose());
    update(&mut hash, round);
    data.iter().for_each(|part| update(&mut hash, part));
    let inner = finish(hash);
    let mut hash = padded(key, 0x5c);
    update(&mut hash, inner.expose());
    finish(hash)
}

fn padded(key: &SecretBytes, pad: u8) -> Sha256 {
    let mut block = [pad; 64];
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to ^= *from);
    let mut hash = Sha256::new();
    update(&mut hash, &block);
    block.zeroize();
    hash
}

/// Once in flash, and not wherever it is called.
#[inline(never)]
pub(super) fn update(hash: &mut Sha256, bytes: &[u8]) {
    hash.update(bytes);
}

#[inline(never)]
pub(super) fn finish(hash: Sha256) -> SecretBytes {
    let mut digest = hash.finalize().into();
    let secret = SecretBytes::new(digest);
    digest.zeroize();
    secret
}
