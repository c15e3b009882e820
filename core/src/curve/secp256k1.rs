//! secp256k1 by `k256`.

use k256::ecdsa::{Signature, hazmat::VerifyPrimitive};
use k256::elliptic_curve::bigint::U512;
use k256::elliptic_curve::ops::{MulByGenerator, Reduce};
use k256::elliptic_curve::scalar::IsHigh;
use k256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use k256::elliptic_curve::{Field, PrimeField};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::{AffineBytes, EcdsaGroup, Group, PointBytes, Suite};
use crate::wire::Bytes64;

/// The group of secp256k1 (SEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secp256k1;

impl Group for Secp256k1 {
    const SUITE: Suite = Suite::EcdsaSecp256k1;
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
        let mut padded = [0; 64];
        padded.iter_mut().skip(16).zip(bytes).for_each(|(to, from)| *to = *from);
        let mut integer = U512::from_be_slice(&padded);
        let scalar = <Scalar as Reduce<U512>>::reduce(integer);
        padded.zeroize();
        integer.zeroize();
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

impl EcdsaGroup for Secp256k1 {
    // BIP-146 and EIP-2: chains refuse a high s.
    const NORMALIZE_S: bool = true;

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
        key.to_affine().verify_prehashed(&FieldBytes::from(*digest), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_factors_agree_with_scalars() {
        let point = Secp256k1::mul_base(&Scalar::from(7u64));
        for factor in [0i128, 1, -1, 2, 3, 255, -254, i128::MAX, i128::MIN + 1] {
            let expected = Secp256k1::mul(&point, &Secp256k1::scalar_from_integer(factor));
            assert_eq!(Secp256k1::mul_small(&point, factor), expected, "{factor}");
        }
    }

    #[test]
    fn points_off_the_curve_and_the_identity_are_refused() {
        assert_eq!(Secp256k1::point_from_affine(&Bytes64([1; 64])), None);
        assert_eq!(Secp256k1::point_from_bytes(&PointBytes([0; 33])), None);
        assert_eq!(Secp256k1::point_to_bytes(&ProjectivePoint::IDENTITY), None);
        assert_eq!(Secp256k1::point_to_affine(&ProjectivePoint::IDENTITY), None);
        assert_eq!(Secp256k1::point_from_affine(&Bytes64([0; 64])), None);
    }

    #[test]
    fn a_point_has_one_encoding_only() {
        let point = Secp256k1::mul_base(&Scalar::from(7u64));
        let canonical = Secp256k1::point_to_bytes(&point).unwrap();
        assert_eq!(Secp256k1::point_from_bytes(&canonical), Some(point));
        for tag in (0..=255).filter(|tag| !matches!(tag, 2 | 3)) {
            let mut other = canonical;
            other.0[0] = tag;
            assert_eq!(Secp256k1::point_from_bytes(&other), None, "tag {tag}");
        }
        // x + the field's prime names the same coordinate; here x = 1, which is on the curve.
        let mut above = PointBytes([0xff; 33]);
        above.0[0] = 2;
        above.0[29..].copy_from_slice(&0xffff_fc30u32.to_be_bytes());
        above.0[28] = 0xfe;
        let mut one = PointBytes([0; 33]);
        (one.0[0], one.0[32]) = (2, 1);
        assert!(Secp256k1::point_from_bytes(&one).is_some());
        assert_eq!(Secp256k1::point_from_bytes(&above), None);
    }

    #[test]
    fn scalars_at_and_above_the_order_are_refused() {
        let order: [u8; 32] = (-Scalar::ONE).to_bytes().into();
        let mut at = order;
        at[31] += 1;
        assert!(Secp256k1::scalar_from_bytes(&order).is_some());
        assert!(Secp256k1::scalar_from_bytes(&at).is_none());
        assert!(Secp256k1::scalar_from_bytes(&[0xff; 32]).is_none());
    }
}
