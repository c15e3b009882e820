//! P-256 by `p256`.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::ops::{LinearCombination as _, MulByGenerator as _, Reduce};
use p256::elliptic_curve::point::Double as _;
use p256::elliptic_curve::scalar::IsHigh as _;
use p256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use p256::elliptic_curve::{Field, PrimeField as _};
use p256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::sec1::{sec1_ecdsa, sec1_group};
use super::{EcdsaGroup, Fixed, Group, PointBytes, Suite};
use crate::wire::Bytes64;

/// The group of P-256 (SP 800-186, there also called secp256r1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct P256;

impl Fixed for P256 {
    const SUITE: Suite = Suite::EcdsaP256;
}

impl Group for P256 {
    sec1_group!(ProjectivePoint::mul_by_generator);

    fn combination(a: &Scalar, point: &ProjectivePoint, b: &Scalar) -> ProjectivePoint {
        ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, a, point, b)
    }

    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Scalar {
        // `p256` reduces 32 bytes at most. Two halves below 2^192 need no reduction of their own.
        let (high, low) = bytes.split_at(24);
        let half = |part: &[u8]| {
            let mut padded = [0; 32];
            padded.iter_mut().skip(8).zip(part).for_each(|(to, from)| *to = *from);
            let scalar = self.scalar_from_digest(&padded);
            padded.zeroize();
            scalar
        };
        let shift = Scalar::from(1u128 << 96).square();
        let (mut high, mut low) = (half(high), half(low));
        let scalar = high * shift + low;
        high.zeroize();
        low.zeroize();
        scalar
    }
}

impl EcdsaGroup for P256 {
    // FIPS 186-5 knows no low s, and verifiers of P-256 ask for none.
    fn normalizes_s(self) -> bool {
        false
    }

    sec1_ecdsa!();
}

#[cfg(test)]
mod tests {
    use super::super::sec1::sec1_tests;
    use super::*;

    sec1_tests!(P256, 5, "ffffffff00000001000000000000000000000001000000000000000000000004");

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        let mut out = [0; N];
        hex::decode_to_slice(text, &mut out).unwrap();
        out
    }

    #[test]
    fn wide_integers_are_reduced() {
        // Σ byte·256^place, one byte at a time.
        let slow = |wide: &[u8; 48]| {
            wide.iter().fold(Scalar::ZERO, |sum, byte| {
                sum * Scalar::from(256u64) + Scalar::from(u64::from(*byte))
            })
        };
        let mut mixed = [0; 48];
        mixed.iter_mut().enumerate().for_each(|(place, byte)| *byte = 200 - place as u8);
        for wide in [[0; 48], [0xff; 48], [1; 48], mixed] {
            assert_eq!(P256.scalar_from_wide(&wide), slow(&wide), "{wide:?}");
        }
    }

    /// RFC 6979 A.2.5, SHA-256, "sample"; both s and p − s are signatures here.
    #[test]
    fn the_published_signature_verifies_with_either_s() {
        let x = "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
        let key = P256.point_from_bytes(&PointBytes(bytes(x))).unwrap();
        let digest = bytes("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf");
        let r = bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        let s = bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
        let (r, s) = (P256.scalar_from_bytes(&r).unwrap(), P256.scalar_from_bytes(&s).unwrap());
        assert!(P256::is_high(&s));
        assert!(P256::verify(&key, &digest, &r, &s));
        assert!(P256::verify(&key, &digest, &r, &-s));
        assert!(!P256::verify(&key, &[7; 32], &r, &s));
        assert!(!P256::verify(&key, &digest, &s, &r));
        assert!(!P256::verify(&key, &digest, &Scalar::ZERO, &s));
        assert!(!P256::verify(&key, &digest, &r, &Scalar::ZERO));
    }
}
