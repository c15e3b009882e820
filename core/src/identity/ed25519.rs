//! Ed25519 (RFC 8032) of identity and session keys, verified over curve25519-dalek's points. ed25519-dalek reaches
//! for scalar arithmetic that a chip needs for nothing else: it is the judge in the tests.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;

use crate::curve::{Ed25519, Group as _, SchnorrGroup as _};
use crate::wire::Bytes64;

/// The point of a public key, unless its order is small. As in ed25519-dalek, y may be the field's prime or above.
#[inline(never)]
pub(super) fn point(key: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*key).decompress().filter(|point| !point.is_small_order())
}

/// Whether `signature` is `key`'s on `message`. R is compared by its bytes, so that it has one encoding; its order
/// is the caller's to check. The steps are functions of their own, so that no chip's stack holds what two need.
#[inline(never)]
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &Bytes64) -> bool {
    let (Some(nonce), Some(response)) = (signature.0.first_chunk(), signature.0.last_chunk())
    else {
        return false;
    };
    let (Some(point), Some(response)) = (point(key), Ed25519.response_from_bytes(response)) else {
        return false;
    };
    commitment_of(&response, &challenge(nonce, key, message), &point) == *nonce
}

/// H(R, A, M).
#[inline(never)]
fn challenge(nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    Ed25519.challenge(nonce, key, message)
}

/// s·B − c·A, encoded.
#[inline(never)]
fn commitment_of(response: &Scalar, challenge: &Scalar, key: &EdwardsPoint) -> [u8; 32] {
    Ed25519::combination(response, &-*key, challenge).compress().to_bytes()
}
