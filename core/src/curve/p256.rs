//! P-256 by `p256`.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::ops::{MulByGenerator, Reduce};
use p256::elliptic_curve::point::Double;
use p256::elliptic_curve::scalar::IsHigh;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use p256::elliptic_curve::{Field, PrimeField};
use p256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::{AffineBytes, EcdsaGroup, Group, PointBytes, Suite};
use crate::wire::Bytes64;

/// The group of P-256 (SP 800-186, there also called secp256r1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct P256;

impl Group for P256 {
    const SUITE: Suite = Suite::EcdsaP256;
    type Scalar = Scalar;
    type Point = ProjectivePoint;

    fn mul_base(scalar: &Scalar) -> ProjectivePoint {
        ProjectivePoint::mul_by_generator(scalar)
    }

    fn mul(point: &ProjectivePoint, scalar: &Scalar) -> ProjectivePoint {
        point * scalar
    }

    fn double(point: &ProjectivePoint) -> ProjectivePoint {
        point.double()
    }

    fn invert(scalar: &Scalar) -> Option<Scalar> {
        Field::invert(scalar).into()
    }

    fn scalar_to_bytes(scalar: &Scalar) -> [u8; 32] {
        scalar.to_bytes().into()
    }

    fn scalar_from_bytes(bytes: &[u8; 32]) -> Option<Scalar> {
        Scalar::from_repr(FieldBytes::from(*bytes)).into()
    }

    fn scalar_from_wide(bytes: &[u8; 48]) -> Scalar {
        // `p256` reduces 32 bytes at most. Two halves below 2^192 need no reduction of their own.
        let (high, low) = bytes.split_at(24);
        let half = |part: &[u8]| {
            let mut padded = [0; 32];
            padded.iter_mut().skip(8).zip(part).for_each(|(to, from)| *to = *from);
            let scalar = Self::scalar_from_digest(&padded);
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

    fn scalar_from_digest(bytes: &[u8; 32]) -> Scalar {
        <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(*bytes))
    }

    fn point_to_bytes(point: &ProjectivePoint) -> Option<PointBytes> {
        let encoded = point.to_affine().to_encoded_point(true);
        encoded.as_bytes().try_into().ok().map(PointBytes)
    }

    fn point_from_bytes(bytes: &PointBytes) -> Option<ProjectivePoint> {
        // `sec1` knows a third tag, of "compact" points: a second encoding of the same point.
        if !matches!(bytes.0.first(), Some(2 | 3)) {
            return None;
        }
        let encoded = EncodedPoint::from_bytes(bytes.0).ok()?;
        let affine: AffinePoint = Option::from(AffinePoint::from_encoded_point(&encoded))?;
        Some(affine.into())
    }

    fn point_to_affine(point: &ProjectivePoint) -> Option<AffineBytes> {
        let encoded = point.to_affine().to_encoded_point(false);
        encoded.as_bytes().get(1..)?.try_into().ok().map(Bytes64)
    }

    fn point_from_affine(bytes: &AffineBytes) -> Option<ProjectivePoint> {
        let encoded = EncodedPoint::from_untagged_bytes(&bytes.0.into());
        let affine: AffinePoint = Option::from(AffinePoint::from_encoded_point(&encoded))?;
        Some(affine.into())
    }
}

impl EcdsaGroup for P256 {
    // FIPS 186-5 knows no low s, and verifiers of P-256 ask for none.
    const NORMALIZE_S: bool = false;

    fn x_coordinate(point: &AffineBytes) -> (Scalar, bool, bool) {
        let (head, y) = point.0.split_at(32);
        let mut x = [0; 32];
        x.copy_from_slice(head);
        let odd = y.last().is_some_and(|byte| byte & 1 == 1);
        (Self::scalar_from_digest(&x), odd, Self::scalar_from_bytes(&x).is_none())
    }

    fn is_high(scalar: &Scalar) -> bool {
        scalar.is_high().into()
    }

    fn verify(key: &ProjectivePoint, digest: &[u8; 32], r: &Scalar, s: &Scalar) -> bool {
        let Ok(signature) = Signature::from_scalars(r.to_bytes(), s.to_bytes()) else {
            return false;
        };
        VerifyingKey::from_affine(key.to_affine())
            .is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        let mut out = [0; N];
        hex::decode_to_slice(text, &mut out).unwrap();
        out
    }

    #[test]
    fn small_factors_agree_with_scalars() {
        let point = P256::mul_base(&Scalar::from(7u64));
        for factor in [0i128, 1, -1, 2, 3, 255, -254, i128::MAX, i128::MIN + 1] {
            let expected = P256::mul(&point, &P256::scalar_from_integer(factor));
            assert_eq!(P256::mul_small(&point, factor), expected, "{factor}");
        }
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
            assert_eq!(P256::scalar_from_wide(&wide), slow(&wide), "{wide:?}");
        }
    }

    #[test]
    fn points_off_the_curve_and_the_identity_are_refused() {
        assert_eq!(P256::point_from_affine(&Bytes64([1; 64])), None);
        assert_eq!(P256::point_from_bytes(&PointBytes([0; 33])), None);
        assert_eq!(P256::point_to_bytes(&ProjectivePoint::IDENTITY), None);
        assert_eq!(P256::point_to_affine(&ProjectivePoint::IDENTITY), None);
        assert_eq!(P256::point_from_affine(&Bytes64([0; 64])), None);
        let generator = P256::mul_base(&Scalar::ONE);
        let mut other = P256::point_to_affine(&generator).unwrap();
        assert_eq!(P256::point_from_affine(&other), Some(generator));
        other.0[63] ^= 1;
        assert_eq!(P256::point_from_affine(&other), None);
    }

    #[test]
    fn a_point_has_one_encoding_only() {
        let point = P256::mul_base(&Scalar::from(7u64));
        let canonical = P256::point_to_bytes(&point).unwrap();
        assert_eq!(P256::point_from_bytes(&canonical), Some(point));
        for tag in (0..=255).filter(|tag| !matches!(tag, 2 | 3)) {
            let mut other = canonical;
            other.0[0] = tag;
            assert_eq!(P256::point_from_bytes(&other), None, "tag {tag}");
        }
        // x + the field's prime names the same coordinate; x = 5 is on the curve.
        let mut five = PointBytes([0; 33]);
        (five.0[0], five.0[32]) = (2, 5);
        assert!(P256::point_from_bytes(&five).is_some());
        let above = "02ffffffff00000001000000000000000000000001000000000000000000000004";
        assert_eq!(P256::point_from_bytes(&PointBytes(bytes(above))), None);
    }

    #[test]
    fn scalars_at_and_above_the_order_are_refused() {
        let last: [u8; 32] = (-Scalar::ONE).to_bytes().into();
        let mut order = last;
        order[31] += 1;
        assert!(P256::scalar_from_bytes(&last).is_some());
        assert!(P256::scalar_from_bytes(&order).is_none());
        assert!(P256::scalar_from_bytes(&[0xff; 32]).is_none());
    }

    /// RFC 6979 A.2.5, SHA-256, "sample"; both s and p − s are signatures here.
    #[test]
    fn the_published_signature_verifies_with_either_s() {
        let x = "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
        let y = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        let key = P256::point_from_bytes(&PointBytes(bytes(x))).unwrap();
        assert_eq!(P256::point_to_affine(&key).unwrap().0[32..], bytes::<32>(y));
        let digest = bytes("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf");
        let r = bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        let s = bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
        let (r, s) = (P256::scalar_from_bytes(&r).unwrap(), P256::scalar_from_bytes(&s).unwrap());
        assert!(P256::is_high(&s));
        assert!(P256::verify(&key, &digest, &r, &s));
        assert!(P256::verify(&key, &digest, &r, &-s));
        assert!(!P256::verify(&key, &[7; 32], &r, &s));
        assert!(!P256::verify(&key, &digest, &s, &r));
        assert!(!P256::verify(&key, &digest, &Scalar::ZERO, &s));
        assert!(!P256::verify(&key, &digest, &r, &Scalar::ZERO));
    }
}
