//! secp256k1 for Schnorr signatures: the group of [`Secp256k1`] under a suite code of its own, so that
//! no transcript of an ECDSA key is one of a Schnorr key, with the hashes of BIP-340 and BIP-341.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use super::{Fixed, Group, PointBytes, SchnorrGroup, Secp256k1, Suite};
use crate::secret::SecretBytes;

/// secp256k1 for BIP-340.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchnorrSecp256k1;

impl Fixed for SchnorrSecp256k1 {
    const SUITE: Suite = Suite::SchnorrSecp256k1;
}

type Scalar = <Secp256k1 as Group>::Scalar;
type Point = <Secp256k1 as Group>::Point;

impl Group for SchnorrSecp256k1 {
    type Scalar = Scalar;
    type Point = Point;

    fn of(suite: Suite) -> Option<Self> {
        (suite == Self::SUITE).then_some(Self)
    }

    fn suite(self) -> Suite {
        Self::SUITE
    }

    fn number(self, value: u64) -> Scalar {
        Secp256k1.number(value)
    }

    fn identity(self) -> Point {
        Secp256k1.identity()
    }

    fn mul_base(scalar: &Scalar) -> Point {
        Secp256k1::mul_base(scalar)
    }

    fn mul(point: &Point, scalar: &Scalar) -> Point {
        Secp256k1::mul(point, scalar)
    }

    fn double(point: &Point) -> Point {
        Secp256k1::double(point)
    }

    fn negate(scalar: &Scalar) -> Scalar {
        Secp256k1::negate(scalar)
    }

    fn product(a: &Scalar, b: &Scalar) -> Scalar {
        Secp256k1::product(a, b)
    }

    fn invert(scalar: &Scalar) -> Option<Scalar> {
        Secp256k1::invert(scalar)
    }

    fn scalar_to_bytes(scalar: &Scalar) -> [u8; 32] {
        Secp256k1::scalar_to_bytes(scalar)
    }

    fn scalar_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        Secp256k1.scalar_from_bytes(bytes)
    }

    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Scalar {
        Secp256k1.scalar_from_wide(bytes)
    }

    fn scalar_from_digest(self, bytes: &[u8; 32]) -> Scalar {
        Secp256k1.scalar_from_digest(bytes)
    }

    fn point_to_bytes(point: &Point) -> Option<PointBytes> {
        Secp256k1::point_to_bytes(point)
    }

    fn point_from_bytes(self, bytes: &PointBytes) -> Option<Point> {
        Secp256k1.point_from_bytes(bytes)
    }

    fn generator(self) -> Point {
        Secp256k1.generator()
    }

    fn split(scalar: &Scalar) -> Option<[Scalar; 2]> {
        Secp256k1::split(scalar)
    }

    fn endomorphism(point: &Point) -> Point {
        Secp256k1::endomorphism(point)
    }

    fn points_to_bytes(points: &[Point], out: &mut [Option<PointBytes>]) {
        Secp256k1::points_to_bytes(points, out);
    }

    fn mul_public(point: &Point, scalar: &Scalar) -> Point {
        Secp256k1::mul_public(point, scalar)
    }

    fn combination(a: &Scalar, point: &Point, b: &Scalar) -> Point {
        Secp256k1::combination(a, point, b)
    }
}

impl SchnorrSecp256k1 {
    /// The tagged hash of BIP-340 over secrets, for the one who signs alone.
    pub(crate) fn secret_hash(tag: &str, parts: [&[u8]; 3]) -> SecretBytes {
        let hash = parts.iter().fold(tagged(tag), |hash, part| hash.chain_update(part));
        let mut digest = hash.finalize().into();
        let secret = SecretBytes::new(digest);
        digest.zeroize();
        secret
    }
}

/// SHA-256 of BIP-340, tagged: SHA-256(SHA-256(tag) ‖ SHA-256(tag) ‖ …).
fn tagged(tag: &str) -> Sha256 {
    let tag = Sha256::digest(tag);
    Sha256::new().chain_update(tag).chain_update(tag)
}

impl SchnorrGroup for SchnorrSecp256k1 {
    fn standard(self) -> &'static str {
        "bip340"
    }

    /// x alone: it names the point with even y.
    fn name_of(bytes: &PointBytes) -> Option<([u8; 32], bool)> {
        let (tag, x) = bytes.0.split_first()?;
        Some((x.try_into().ok()?, *tag == 3))
    }

    /// "lift_x" of BIP-340.
    fn named(self, bytes: &[u8; 32]) -> Option<Point> {
        let mut compressed = PointBytes([2; 33]);
        compressed.0.iter_mut().skip(1).zip(bytes).for_each(|(to, from)| *to = *from);
        self.point_from_bytes(&compressed)
    }

    fn challenge(self, nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        let hash = tagged("BIP0340/challenge").chain_update(nonce).chain_update(key);
        self.scalar_from_digest(&hash.chain_update(message).finalize().into())
    }

    fn response_to_bytes(response: &Scalar) -> [u8; 32] {
        Self::scalar_to_bytes(response)
    }

    fn response_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        self.scalar_from_bytes(bytes)
    }

    fn tap_tweak(self, internal: &[u8; 32], merkle_root: Option<&[u8; 32]>) -> Option<Scalar> {
        let hash = tagged("TapTweak").chain_update(internal);
        let hash = hash.chain_update(merkle_root.map_or(&[][..], |root| root));
        // BIP-341 fails for a hash at or above the order; it is never reduced.
        self.scalar_from_bytes(&hash.finalize().into())
    }
}
