//! secp256k1 by `k256`.

mod comb;

use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::ecdsa::{Signature, VerifyingKey};
use k256::elliptic_curve::bigint::{Encoding as _, U512};
use k256::elliptic_curve::ops::{MulByGenerator as _, Reduce};
use k256::elliptic_curve::scalar::IsHigh as _;
use k256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use k256::elliptic_curve::{BatchNormalize, Field, PrimeField as _};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::sec1::{sec1_ecdsa, sec1_group};
use super::{EcdsaGroup, Fixed, Group, PointBytes, Suite, Sum};
use crate::secret::Piece;
use crate::wire::Bytes64;

/// The group of secp256k1 (SEC 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secp256k1;

impl Fixed for Secp256k1 {
    const SUITE: Suite = Suite::EcdsaSecp256k1;
}

/// Encodes up to four points for one inversion. `k256` panics on an identity that a computation led to: the
/// generator takes its place, and that of what is missing of four. Code for each number would take flash.
#[inline(never)]
fn encode(points: &[ProjectivePoint], out: &mut [Option<PointBytes>]) {
    let is_finite = |point: &ProjectivePoint| *point != ProjectivePoint::IDENTITY;
    let mut batch = [ProjectivePoint::GENERATOR; 4];
    for (to, from) in batch.iter_mut().zip(points).filter(|(_, point)| is_finite(point)) {
        *to = *from;
    }
    let affine = <ProjectivePoint as BatchNormalize<_>>::batch_normalize(&batch);
    for ((out, affine), point) in out.iter_mut().zip(&affine).zip(points) {
        *out = if is_finite(point) { compressed(affine) } else { None };
    }
}

#[inline(never)]
fn compressed(point: &AffinePoint) -> Option<PointBytes> {
    point.to_encoded_point(true).as_bytes().try_into().ok().map(PointBytes)
}

/// The short basis of the lattice of all (a, b) with a + b·λ ≡ 0 (Guide to Elliptic Curve Cryptography,
/// 3.5): two of its entries by 2^384 / p, −b1, −b2 and −λ, big-endian.
const G1: U256 =
    U256::from_be_hex("3086d221a7d46bcde86c90e49284eb153daa8a1471e8ca7fe893209a45dbb031");
const G2: U256 =
    U256::from_be_hex("e4437ed6010e88286f547fa90abfe4c4221208ac9df506c61571b4ae8ac47f71");
const MINUS_B1: U256 =
    U256::from_be_hex("00000000000000000000000000000000e4437ed6010e88286f547fa90abfe4c3");
const MINUS_B2: U256 =
    U256::from_be_hex("fffffffffffffffffffffffffffffffe8a280ac50774346dd765cda83db1562c");
const MINUS_LAMBDA: U256 =
    U256::from_be_hex("ac9c52b33fa3cf1f5ad9e3fd77ed9ba4a880b9fc8ec739c2e0cfc810b51283cf");

/// The nearest integer to `scalar`·`factor` / 2^384.
fn rounded(scalar: &Scalar, factor: &U256) -> Scalar {
    let (_, high) = U256::from(scalar).mul_wide(factor);
    let high = high.to_be_bytes();
    let (Some(whole), Some(rest)) = (high.first_chunk(), high.get(16)) else {
        return Scalar::ZERO;
    };
    Scalar::from(u128::from_be_bytes(*whole)) + Scalar::from(u64::from(rest >> 7))
}

fn constant(integer: U256) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(integer)
}

/// The library has tables of its own with `std`, too large for a chip.
fn mul_base(scalar: &Scalar) -> ProjectivePoint {
    if cfg!(feature = "std") {
        ProjectivePoint::mul_by_generator(scalar)
    } else {
        comb::mul_base(scalar)
    }
}

/// a·P, and b·Q if there is a second.
#[inline(never)]
fn sum_of_two(
    (a, p): (&Scalar, &ProjectivePoint),
    second: Option<(&Scalar, &ProjectivePoint)>,
) -> ProjectivePoint {
    let mut sum = Sum::<Secp256k1, 2>::new(Secp256k1);
    // It has room for both.
    let _ = sum.add(a, p);
    if let Some((b, q)) = second {
        let _ = sum.add(b, q);
    }
    sum.value().unwrap_or_default()
}

impl Group for Secp256k1 {
    sec1_group!(mul_base);

    fn maker(suite: Suite) -> Option<Self> {
        matches!(suite, Suite::EcdsaSecp256k1 | Suite::SchnorrSecp256k1).then_some(Self)
    }

    #[inline(never)]
    fn split(scalar: &Scalar) -> Option<[Scalar; 2]> {
        let b =
            rounded(scalar, &G1) * constant(MINUS_B1) + rounded(scalar, &G2) * constant(MINUS_B2);
        Some([*scalar + b * constant(MINUS_LAMBDA), b])
    }

    fn endomorphism(point: &ProjectivePoint) -> ProjectivePoint {
        point.endomorphism()
    }

    fn combination(a: &Scalar, point: &ProjectivePoint, b: &Scalar) -> ProjectivePoint {
        // The library's would be constant-time, and takes five times the stack.
        sum_of_two((a, &ProjectivePoint::GENERATOR), Some((b, point)))
    }

    fn mul_public(point: &ProjectivePoint, scalar: &Scalar) -> ProjectivePoint {
        sum_of_two((scalar, point), None)
    }

    fn points_to_bytes(points: &[ProjectivePoint], out: &mut [Option<PointBytes>]) {
        // On a chip, more than four at once would take too much stack.
        for (points, out) in points.chunks(4).zip(out.chunks_mut(4)) {
            if let ([point], [out]) = (points, &mut *out) {
                *out = Self::point_to_bytes(point);
                continue;
            }
            encode(points, out);
        }
    }

    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Scalar {
        let mut padded = Piece([0; 64]);
        if let Some(low) = padded.0.last_chunk_mut() {
            *low = *bytes;
        }
        let mut integer = U512::from_be_slice(&padded.0);
        let scalar = <Scalar as Reduce<U512>>::reduce(integer);
        padded.zeroize();
        integer.zeroize();
        scalar
    }
}

impl EcdsaGroup for Secp256k1 {
    // BIP-146 and EIP-2: chains refuse a high s.
    fn normalizes_s(self) -> bool {
        true
    }

    sec1_ecdsa!();
}

#[cfg(test)]
mod tests {
    use super::super::sec1::sec1_tests;
    use super::*;

    #[test]
    fn halves_are_short_and_make_the_whole() {
        let lambda = -constant(MINUS_LAMBDA);
        let point = Secp256k1::mul_base(&Scalar::from(7u64));
        assert_eq!(Secp256k1::endomorphism(&point), Secp256k1::mul(&point, &lambda));
        let wide = (0..=255u8).map(|byte| Secp256k1.scalar_from_wide(&[byte; 48]));
        let powers = (0..256).map(|power| Scalar::from(2u64).pow_vartime([power, 0, 0, 0]));
        for scalar in wide.chain(powers.clone()).chain(powers.map(|power| -power)) {
            let halves = Secp256k1::split(&scalar).unwrap();
            assert_eq!(halves[0] + halves[1] * lambda, scalar);
            for half in halves {
                let short = if bool::from(half.is_high()) { -half } else { half };
                // Of 129 bits at most.
                assert!(short.to_bytes()[..15].iter().all(|byte| *byte == 0));
                assert!(short.to_bytes()[15] <= 1);
            }
        }
    }

    sec1_tests!(Secp256k1, 1, "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30");
}
