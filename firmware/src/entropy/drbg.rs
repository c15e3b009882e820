//! HMAC_DRBG with SHA-256, SP 800-90A §10.1.2.

use hmac::{Hmac, Mac as _};
use quorate_core::secret::SecretBytes;
use sha2::Sha256;
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
            self.value = mac(&self.key, &[self.value.expose()]);
            chunk.iter_mut().zip(self.value.expose()).for_each(|(to, from)| *to = *from);
        }
        self.update(additional);
    }

    fn update(&mut self, data: &[&[u8]]) {
        let rounds = if data.iter().all(|part| part.is_empty()) { 1 } else { 2 };
        for round in 0..rounds {
            let mut hmac = start(&self.key);
            hmac.update(self.value.expose());
            hmac.update(&[round]);
            data.iter().for_each(|part| hmac.update(part));
            self.key = finish(hmac);
            self.value = mac(&self.key, &[self.value.expose()]);
        }
    }
}

fn start(key: &SecretBytes) -> Hmac<Sha256> {
    // One block, as HMAC pads keys: it has the right length always.
    let mut block = [0; 64];
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
    let hmac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
    block.zeroize();
    hmac
}

fn finish(hmac: Hmac<Sha256>) -> SecretBytes {
    let mut bytes = hmac.finalize().into_bytes().into();
    let secret = SecretBytes::new(bytes);
    bytes.zeroize();
    secret
}

fn mac(key: &SecretBytes, data: &[&[u8]]) -> SecretBytes {
    let mut hmac = start(key);
    data.iter().for_each(|part| hmac.update(part));
    finish(hmac)
}
