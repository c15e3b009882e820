//! Identity keys: who a party is, for as long as its operator keeps the key.

mod ed25519;

use serde::{Deserialize, Serialize};

use crate::curve::{PointBytes, SchnorrGroup as _, SchnorrSecp256k1};
use crate::hash::{Digest, Transcript};
use crate::party::PartyId;
use crate::schnorr;
use crate::wire::{Bytes64, Read, Reader, Write, Writer};

/// The public half of an identity key or of a session key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// Ed25519 (RFC 8032): the compressed point.
    Ed25519([u8; 32]),
    /// P-256: the compressed point (SEC 1, 2.3.3). Signatures are ECDSA with SHA-256, r‖s, s in its
    /// lower half. Verified with the feature `p256-identity` only: without it none is valid.
    P256(PointBytes),
    /// secp256k1 with the signatures of BIP-340: the x coordinate. A device's, which signs with one curve.
    Secp256k1([u8; 32]),
}

impl Write for Identity {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Ed25519(bytes) => {
                to.variant(0);
                bytes.write(to);
            }
            Self::P256(bytes) => {
                to.variant(1);
                bytes.write(to);
            }
            Self::Secp256k1(bytes) => {
                to.variant(2);
                bytes.write(to);
            }
        }
    }
}

impl Read<'_> for Identity {
    fn read(from: &mut Reader<'_>) -> Self {
        match from.variant(3) {
            0 => Self::Ed25519(from.field()),
            1 => Self::P256(from.field()),
            _ => Self::Secp256k1(from.field()),
        }
    }
}

impl Identity {
    /// Whether `signature` is this key's signature on `message`: strict, so that no second signature
    /// on the same message can be made by somebody else, and keys of small order are refused.
    ///
    /// The verdict is that of `verify_strict`, which decodes R to see that its order is not small. Here
    /// the signature is verified first: then R is the one encoding of a point, and its bytes tell.
    #[must_use]
    #[inline(never)]
    pub fn verify(&self, message: &[u8], signature: &Bytes64) -> bool {
        match self {
            Self::Ed25519(bytes) => {
                ed25519::verify(bytes, message, signature)
                    && signature.0.first_chunk().is_some_and(|nonce| !has_small_order(nonce))
            }
            Self::P256(bytes) => verify_p256(&bytes.0, message, signature),
            Self::Secp256k1(x) => verify_secp256k1(x, message, signature),
        }
    }

    /// The compressed point: 32 bytes of Ed25519, 33 of P-256; of secp256k1, the 32 bytes of x.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) | Self::Secp256k1(bytes) => bytes,
            Self::P256(bytes) => &bytes.0,
        }
    }

    /// Hashes the key behind its kind, whose code is that of the wire: no key of one kind is one of another.
    #[must_use]
    pub fn bind(&self, to: Transcript) -> Transcript {
        let kind = match self {
            Self::Ed25519(_) => 0,
            Self::P256(_) => 1,
            Self::Secp256k1(_) => 2,
        };
        to.bytes(&[kind]).bytes(self.as_bytes())
    }

    /// Whether the bytes are a point that a signature could be checked with.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Ed25519(bytes) => ed25519::point(bytes).is_some(),
            Self::P256(bytes) => p256::PublicKey::from_sec1_bytes(&bytes.0).is_ok(),
            Self::Secp256k1(x) => SchnorrSecp256k1.named(x).is_some(),
        }
    }
}

// Of its own: neither curve's verification has what the other needs on a chip's stack.
#[inline(never)]
fn verify_secp256k1(x: &[u8; 32], message: &[u8], signature: &Bytes64) -> bool {
    schnorr::verify::<SchnorrSecp256k1>(x, message, signature)
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

/// The y of all eight points of small order (RFC 8032 encodings without the sign of x): 1, −1, 0 and
/// the two of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let (mut one, zero) = ([0; 32], [0; 32]);
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    [one, minus_one, zero, ORDER_8[0], ORDER_8[1]]
};

const ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether the canonical encoding of a point is of one of small order.
fn has_small_order(encoded: &[u8; 32]) -> bool {
    let mut y = *encoded;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&y)
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Ed25519(_) => "ed25519:",
            Self::P256(_) => "p256:",
            Self::Secp256k1(_) => "secp256k1:",
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
    let start = Transcript::new("session-key").bytes(network).party(party).bytes(boot);
    key.bind(start).bytes(session).finish()
}

/// A party's session key of this boot, certified by its identity key for one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKeyCertificate {
    /// Whose.
    pub party: PartyId,
    /// Random per boot.
    pub boot: [u8; 16],
    /// The public key.
    pub key: Identity,
    /// The identity key's signature on [`session_key_digest`].
    pub signature: Bytes64,
}

crate::read_fields!(SessionKeyCertificate { party, boot, key, signature });
crate::write_fields!(SessionKeyCertificate { party, boot, key, signature });

impl SessionKeyCertificate {
    /// Whether `identity` has certified the key for this session of this network.
    #[must_use]
    pub fn is_signed_by(&self, identity: &Identity, network: &[u8; 16], session: &Digest) -> bool {
        let digest = session_key_digest(network, self.party, &self.boot, &self.key, session);
        identity.verify(&digest, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::edwards::EdwardsPoint;
    use curve25519_dalek::scalar::Scalar;
    use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
    use sha2::{Digest as _, Sha512};

    fn strict(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// What the secret scalar `a` and the point `r`·G + `off` sign for the key a·G + `torsion`.
    fn signed(
        torsion: EdwardsPoint,
        r: u64,
        off: EdwardsPoint,
        message: &[u8],
    ) -> ([u8; 32], [u8; 64]) {
        let a = Scalar::from(7u64);
        let key = (ED25519_BASEPOINT_POINT * a + torsion).compress().to_bytes();
        let point = (ED25519_BASEPOINT_POINT * Scalar::from(r) + off).compress().to_bytes();
        let hash = Sha512::new().chain_update(point).chain_update(key).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&point);
        signature[32..].copy_from_slice(&(Scalar::from(r) + k * a).to_bytes());
        (key, signature)
    }

    #[test]
    fn the_verdict_is_that_of_strict_verification_with_every_torsion() {
        let (mut good, mut lax) = (0, 0);
        for message in 0..16u8 {
            for (torsion, off) in EIGHT_TORSION.iter().flat_map(|t| EIGHT_TORSION.map(|o| (*t, o)))
            {
                for r in [0, 1, 5] {
                    let (key, bytes) = signed(torsion, r, off, &[message]);
                    let expected = strict(&key, &[message], &bytes);
                    let found = Identity::Ed25519(key).verify(&[message], &Bytes64(bytes));
                    assert_eq!(found, expected);
                    good += usize::from(expected);
                    let verifies = VerifyingKey::from_bytes(&key).unwrap();
                    let verifies = verifies.verify(&[message], &Signature::from_bytes(&bytes));
                    lax += usize::from(verifies.is_ok() && !expected);
                }
            }
        }
        // Some with a small R verify, but not strictly.
        assert!(good > 0 && lax > 0, "{good}, {lax}");
    }

    #[test]
    fn keys_and_points_of_small_order_are_refused() {
        for small in EIGHT_TORSION {
            let encoded = small.compress().to_bytes();
            assert!(has_small_order(&encoded));
            assert!(!has_small_order(&(ED25519_BASEPOINT_POINT + small).compress().to_bytes()));
            // 5·B − k·A = 5·B for every k that is a multiple of 8.
            let mut signature = [0; 64];
            let five = Scalar::from(5u64);
            let point = (ED25519_BASEPOINT_POINT * five).compress();
            signature[..32].copy_from_slice(point.as_bytes());
            signature[32..].copy_from_slice(five.as_bytes());
            let key = VerifyingKey::from_bytes(&encoded).unwrap();
            let lax = |m: &u8| key.verify(&[*m], &Signature::from_bytes(&signature)).is_ok();
            assert!((0..64).any(|message| lax(&message)));
            for message in 0..64u8 {
                assert!(!Identity::Ed25519(encoded).verify(&[message], &Bytes64(signature)));
            }
        }
        let mut found = SMALL_ORDER.iter().map(|y| {
            EIGHT_TORSION
                .iter()
                .filter(|p| {
                    let mut encoded = p.compress().to_bytes();
                    encoded[31] &= 0x7f;
                    encoded == *y
                })
                .count()
        });
        assert!(found.by_ref().eq([1, 1, 2, 2, 2]));
    }

    #[test]
    fn another_message_key_or_s_is_no_signature() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let identity = Identity::Ed25519(key.verifying_key().to_bytes());
        let signature = key.sign(b"message").to_bytes();
        assert!(identity.verify(b"message", &Bytes64(signature)));
        assert!(!identity.verify(b"massage", &Bytes64(signature)));
        for place in 0..64 {
            let mut other = signature;
            other[place] ^= 1;
            assert!(!identity.verify(b"message", &Bytes64(other)));
        }
        // s + ℓ.
        let mut order = (Scalar::ZERO - Scalar::ONE).to_bytes();
        order[0] += 1;
        let mut other = signature;
        let mut carry = 0;
        for (byte, add) in other[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!identity.verify(b"message", &Bytes64(other)));
    }
}
