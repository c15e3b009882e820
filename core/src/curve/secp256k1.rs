//! secp256k1 by `k256`.

use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::ecdsa::{Signature, VerifyingKey};
use k256::elliptic_curve::bigint::U512;
use k256::elliptic_curve::ops::{LinearCombination as _, MulByGenerator as _, Reduce};
use k256::elliptic_curve::scalar::IsHigh as _;
use k256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use k256::elliptic_curve::{BatchNormalize, Field, PrimeField as _};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use super::sec1::{sec1_ecdsa, sec1_group};
use super::{EcdsaGroup, Group, PointBytes, Suite};
use crate::wire::Bytes64;

/// The group of secp256k1 (SEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secp256k1;

/// Encodes exactly M points for one inversion. `k256` panics on an identity that a computation led to:
/// the generator takes its place.
fn encode<const M: usize>(points: &[ProjectivePoint; M]) -> [Option<PointBytes>; M] {
    let finite = points.map(|point| point != ProjectivePoint::IDENTITY);
    let mut batch = *points;
    for (point, _) in batch.iter_mut().zip(finite).filter(|(_, finite)| !finite) {
        *point = ProjectivePoint::GENERATOR;
    }
    let mut encoded = [None; M];
    let affine = <ProjectivePoint as BatchNormalize<_>>::batch_normalize(&batch);
    for ((out, affine), finite) in encoded.iter_mut().zip(affine).zip(finite) {
        let bytes = affine.to_encoded_point(true).as_bytes().try_into().ok().map(PointBytes);
        *out = bytes.filter(|_| finite);
    }
    encoded
}

impl Group for Secp256k1 {
    const SUITE: Suite = Suite::EcdsaSecp256k1;
    sec1_group!();

    fn points_to_bytes(points: &[ProjectivePoint], out: &mut [Option<PointBytes>]) {
        // On a chip, more than four at once would take too much stack.
        for (points, out) in points.chunks(4).zip(out.chunks_mut(4)) {
            let mut put = |encoded: &[Option<PointBytes>]| {
                out.iter_mut().zip(encoded).for_each(|(to, from)| *to = *from);
            };
            match points {
                [a, b, c, d] => put(&encode(&[*a, *b, *c, *d])),
                [a, b, c] => put(&encode(&[*a, *b, *c])),
                [a, b] => put(&encode(&[*a, *b])),
                [a] => put(&[Self::point_to_bytes(a)]),
                _ => {}
            }
        }
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
}

impl EcdsaGroup for Secp256k1 {
    // BIP-146 and EIP-2: chains refuse a high s.
    const NORMALIZE_S: bool = true;
    sec1_ecdsa!();
}

#[cfg(test)]
mod tests {
    use super::super::sec1::sec1_tests;
    use super::*;

    sec1_tests!(Secp256k1, 1, "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30");
}
