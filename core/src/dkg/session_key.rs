//! A key in memory that signs for a party, for those that need nothing else.

use core::cell::Cell;
use core::hint::black_box;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq as _};

use super::{Peer, SessionSigner};
use crate::curve::{Group as _, PointBytes, SchnorrGroup as _, SchnorrSecp256k1 as Curve};
use crate::hash::Digest;
use crate::identity::Identity;
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};
use crate::wire::Bytes64;

/// A key of secp256k1 that signs by BIP-340: a session key, made anew at every boot and never stored, or a
/// device's identity key. A chip has a fast multiplication by this curve's generator anyway, so that a
/// signature takes a quarter of what one of Ed25519 would. It wipes itself.
pub struct SessionKey {
    /// d, of the point with even y.
    secret: SecretScalar<Curve>,
    /// x(d·G).
    name: [u8; 32],
    /// How often it has signed. It is in every nonce, so that no two signatures have one even where their
    /// messages are the same: of two with one nonce, of which a fault has spoiled R or the challenge of one,
    /// the key follows.
    signed: Cell<u32>,
}

/// A secret and the name of its point: of d and −d, the one whose point has even y.
fn named(secret: SecretScalar<Curve>) -> (SecretScalar<Curve>, [u8; 32]) {
    let point = Curve::mul_base(secret.expose());
    // 0 has no name; nobody draws it, and no signature is valid under what stands here.
    let [tag, name @ ..] = Curve::point_to_bytes(&point).unwrap_or(PointBytes([0; 33])).0;
    // Both are computed, and no branch tells which is taken: the sign is of a point that nobody sees.
    let (d, odd) = (secret.expose(), Choice::from(tag & 1));
    let even = ConditionallySelectable::conditional_select(d, &-*d, odd);
    (SecretScalar::new(even), name)
}

impl SessionKey {
    /// The key of 32 random bytes, reduced modulo p: the bias is below 2^−127.
    #[must_use]
    #[inline(never)]
    pub fn new(secret: &SecretBytes) -> Self {
        let (secret, name) = named(SecretScalar::new(Curve.scalar_from_digest(secret.expose())));
        Self { secret, name, signed: Cell::new(0) }
    }

    /// `party` as the others see it, if this is its key.
    #[must_use]
    pub fn peer(&self, party: PartyId) -> Peer {
        Peer { party, session_key: self.identity() }
    }

    /// Its public half.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::Secp256k1(self.name)
    }

    /// "Default signing" of BIP-340 with its auxiliary random data: without any, the nonce follows from key and
    /// message alone.
    #[inline(never)]
    fn sign_with(&self, auxiliary: &[u8; 32], message: &[u8]) -> Bytes64 {
        let mut masked = SecretBytes::of_scalar(&self.secret);
        masked.xor(&Curve::secret_hash("BIP0340/aux", [auxiliary, &[], &[]]));
        let nonce = Curve::secret_hash("BIP0340/nonce", [masked.expose(), &self.name, message]);
        let (nonce, name) = named(SecretScalar::new(Curve.scalar_from_digest(nonce.expose())));
        let challenge = Curve.challenge(&name, &self.name, message);
        // A bit that flips in d or in the product would show itself in s: what differs is not shown.
        let response = |d: &SecretScalar<Curve>| *nonce.expose() + challenge * *d.expose();
        let (response, again) = (response(&self.secret), response(black_box(&self.secret)));
        let zero = Curve.zero();
        let response =
            ConditionallySelectable::conditional_select(&zero, &response, response.ct_eq(&again));
        let mut signature = [0; 64];
        let written = name.into_iter().chain(Curve::response_to_bytes(&response));
        signature.iter_mut().zip(written).for_each(|(to, from)| *to = from);
        Bytes64(signature)
    }
}

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        let count = self.signed.replace(self.signed.get().wrapping_add(1)).to_be_bytes();
        let mut auxiliary = [0; 32];
        auxiliary.iter_mut().zip(count).for_each(|(to, from)| *to = from);
        self.sign_with(&auxiliary, digest)
    }
}

impl core::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("SessionKey").field(&self.identity()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schnorr::verify;

    fn bytes<const L: usize>(digits: &str) -> [u8; L] {
        let mut bytes = [0; L];
        hex::decode_to_slice(digits, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        let mut signed = 0;
        for line in include_str!("../../../tests/vectors/bip340.csv").lines().skip(1) {
            let fields: heapless::Vec<&str, 8> = line.splitn(8, ',').collect();
            let [_, secret, public, auxiliary, message, signature, verdict, _] = fields[..] else {
                panic!("{line}")
            };
            if secret.is_empty() {
                continue;
            }
            let key = SessionKey::new(&SecretBytes::new(bytes(secret)));
            assert_eq!(key.identity(), Identity::Secp256k1(bytes(public)));
            let mut room = [0; 256];
            let message = {
                let room = &mut room[..message.len() / 2];
                hex::decode_to_slice(message, room).unwrap();
                &*room
            };
            assert_eq!(verdict, "TRUE");
            let own = key.sign_with(&bytes(auxiliary), message);
            assert_eq!(own, Bytes64(bytes(signature)));
            assert!(verify::<Curve>(&bytes(public), message, &own));
            signed += 1;
        }
        assert!(signed >= 4, "{signed}");
    }

    #[test]
    fn what_a_key_signs_its_identity_accepts_and_no_other() {
        let keys = [1, 2, 3, 4].map(|i| SessionKey::new(&SecretBytes::new([i; 32])));
        for key in &keys {
            let signature = key.sign(&[7; 32]);
            // Another nonce each time, of the same message too.
            let again = key.sign(&[7; 32]);
            assert_ne!(again.0[..32], signature.0[..32]);
            assert!(key.identity().verify(&[7; 32], &again));
            for other in &keys {
                let same = other.identity() == key.identity();
                assert_eq!(other.identity().verify(&[7; 32], &signature), same);
            }
            assert!(!key.identity().verify(&[8; 32], &signature));
            for place in 0..64 {
                let mut changed = signature;
                changed.0[place] ^= 1;
                assert!(!key.identity().verify(&[7; 32], &changed));
            }
        }
    }

    #[test]
    fn the_key_zero_signs_nothing_that_counts() {
        let key = SessionKey::new(&SecretBytes::new([0; 32]));
        assert!(!key.identity().is_valid());
        assert!(!key.identity().verify(&[7; 32], &key.sign(&[7; 32])));
    }
}
