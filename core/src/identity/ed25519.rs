//! Ed25519 (RFC 8032) of identity and session keys, over curve25519-dalek's points. ed25519-dalek reaches for
//! three multiplications of scalars where a chip has room for one, 7 KB more: it is the judge in the tests.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::curve::{Ed25519, Group as _, SchnorrGroup as _};
use crate::secret::SecretBytes;
use crate::wire::Bytes64;

/// The point of a public key, unless its order is small. As in ed25519-dalek, y may be the field's prime or above.
pub(super) fn point(key: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*key).decompress().filter(|point| !point.is_small_order())
}

/// Whether `signature` is `key`'s on `message`. R is compared by its bytes, so that it has one encoding; its order
/// is the caller's to check.
#[inline(never)]
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &Bytes64) -> bool {
    let (Some(nonce), Some(response)) = (signature.0.first_chunk(), signature.0.last_chunk())
    else {
        return false;
    };
    let (Some(point), Some(response)) = (point(key), Ed25519::response_from_bytes(response)) else {
        return false;
    };
    let challenge = Ed25519::challenge(nonce, key, message);
    Ed25519::combination(&response, &-point, &challenge).compress().as_bytes() == nonce
}

/// A key pair. It wipes itself.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyPair {
    secret: Scalar,
    /// What nonces are derived from.
    prefix: SecretBytes,
    #[zeroize(skip)]
    public: [u8; 32],
}

impl KeyPair {
    /// Of a seed (RFC 8032, 5.1.5).
    pub(crate) fn of(seed: &SecretBytes) -> Self {
        let mut hash: [u8; 64] = Sha512::digest(seed.expose()).into();
        let (mut secret, mut prefix) = ([0; 32], [0; 32]);
        for ((secret, prefix), (low, high)) in
            secret.iter_mut().zip(&mut prefix).zip(hash.iter().zip(hash.iter().skip(32)))
        {
            (*secret, *prefix) = (*low, *high);
        }
        let mut clamped = clamp_integer(secret);
        let scalar = Ed25519::reduced(&clamped);
        let pair = Self {
            secret: scalar,
            prefix: SecretBytes::new(prefix),
            public: Ed25519::mul_base(&scalar).compress().to_bytes(),
        };
        hash.zeroize();
        secret.zeroize();
        prefix.zeroize();
        clamped.zeroize();
        pair
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// RFC 8032, 5.1.6.
    #[inline(never)]
    pub(crate) fn sign(&self, message: &[u8]) -> Bytes64 {
        let hash = Sha512::new().chain_update(self.prefix.expose()).chain_update(message);
        let mut secret = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let nonce = Ed25519::mul_base(&secret).compress().to_bytes();
        let challenge = Ed25519::challenge(&nonce, &self.public, message);
        let response = product_and_sum(&challenge, &self.secret, &secret).to_bytes();
        secret.zeroize();
        let mut signature = Bytes64([0; 64]);
        signature
            .0
            .iter_mut()
            .zip(nonce.iter().chain(&response))
            .for_each(|(to, from)| *to = *from);
        signature
    }
}

/// a·b + c, by one reduction in the end.
fn product_and_sum(a: &Scalar, b: &Scalar, c: &Scalar) -> Scalar {
    let mut sum = [0; 16];
    let (mut a, mut b) = (words(a), words(b));
    sum.iter_mut().zip(words(c)).for_each(|(to, from)| *to = from);
    for (place, a) in a.iter().enumerate() {
        let mut places = sum.iter_mut().skip(place);
        let mut carry = 0;
        for (to, b) in places.by_ref().zip(&b) {
            // At most 2^64 - 1, as each of the three words is less than 2^32.
            let word = u64::from(*a) * u64::from(*b) + u64::from(*to) + carry;
            *to = word as u32;
            carry = word >> 32;
        }
        // Nothing was added to this one yet.
        if let Some(to) = sum.get_mut(place + 8) {
            *to = carry as u32;
        }
    }
    let mut wide = [0; 64];
    for (to, from) in wide.chunks_exact_mut(4).zip(&sum) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    a.zeroize();
    b.zeroize();
    sum.zeroize();
    wide.zeroize();
    scalar
}

/// Little-endian.
fn words(scalar: &Scalar) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(scalar.as_bytes().as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    #[test]
    fn signatures_are_those_of_ed25519_dalek() {
        for number in 0..=255u8 {
            let mut seed = [number.wrapping_mul(37); 32];
            seed[0] = number;
            let (pair, judge) =
                (KeyPair::of(&SecretBytes::new(seed)), SigningKey::from_bytes(&seed));
            assert_eq!(*pair.public(), judge.verifying_key().to_bytes());
            let message = &[number; 255][..usize::from(number)];
            assert_eq!(pair.sign(message).0, judge.sign(message).to_bytes());
            assert!(verify(pair.public(), message, &pair.sign(message)));
        }
    }

    #[test]
    fn a_product_and_a_sum_are_those_of_dalek() {
        let large = [Scalar::ZERO - Scalar::ONE, Scalar::ZERO, Scalar::ONE, Scalar::from(u64::MAX)];
        let hashed =
            (0..12u8).map(|n| Scalar::from_bytes_mod_order_wide(&[n.wrapping_mul(41); 64]));
        let numbers: heapless::Vec<Scalar, 16> = large.into_iter().chain(hashed).collect();
        for a in &numbers {
            for b in &numbers {
                for c in &numbers {
                    assert_eq!(product_and_sum(a, b, c), a * b + c);
                }
            }
        }
    }
}
