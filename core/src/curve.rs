//! The group interface: what the protocols need from a prime-order group, and nothing else.
//!
//! Scalars are 32 bytes, big-endian, canonical or refused. Points are canonical, on the curve, in
//! the prime-order subgroup and, unless said, not the identity (`docs/PROTOCOL.md` §1.1).

mod any;
mod bip340;
mod ed25519;
mod p256;
mod sec1;
mod secp256k1;
pub(crate) mod sum;

use core::fmt::Debug;
use core::ops::{Add, Mul, Neg, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub use any::{AnyGroup, AnyPoint, AnyScalar};
pub use bip340::SchnorrSecp256k1;
pub use ed25519::Ed25519;
pub use p256::P256;
pub use secp256k1::Secp256k1;
pub(crate) use sum::Sum;

use crate::wire::{Bytes64, Read, Reader, Write, Writer};

/// A ciphersuite by its wire code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Suite {
    /// ECDSA over secp256k1 with SHA-256 transcripts.
    EcdsaSecp256k1,
    /// ECDSA over P-256 with SHA-256 transcripts.
    EcdsaP256,
    /// Schnorr over secp256k1 (BIP-340) with SHA-256 transcripts.
    SchnorrSecp256k1,
    /// Ed25519 (RFC 8032) with SHA-256 transcripts.
    SchnorrEd25519,
}

impl Suite {
    /// Whether its signatures are ECDSA's; else they are Schnorr's.
    #[must_use]
    pub fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaSecp256k1 | Self::EcdsaP256)
    }
}

impl From<Suite> for u8 {
    fn from(suite: Suite) -> u8 {
        match suite {
            Suite::EcdsaSecp256k1 => 1,
            Suite::EcdsaP256 => 2,
            Suite::SchnorrSecp256k1 => 3,
            Suite::SchnorrEd25519 => 4,
        }
    }
}

/// A suite code that this build does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuite(pub u8);

impl core::fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "unknown suite {}", self.0)
    }
}

impl TryFrom<u8> for Suite {
    type Error = UnknownSuite;
    fn try_from(code: u8) -> Result<Self, UnknownSuite> {
        match code {
            1 => Ok(Self::EcdsaSecp256k1),
            2 => Ok(Self::EcdsaP256),
            3 => Ok(Self::SchnorrSecp256k1),
            4 => Ok(Self::SchnorrEd25519),
            other => Err(UnknownSuite(other)),
        }
    }
}

impl Write for Suite {
    fn write(&self, to: &mut Writer<'_>) {
        u8::from(*self).write(to);
    }
}

impl Read<'_> for Suite {
    fn read(from: &mut Reader<'_>) -> Self {
        Self::try_from(from.field::<u8>()).unwrap_or_else(|_| {
            from.fail();
            Self::EcdsaSecp256k1
        })
    }
}

/// A point in 33 bytes: SEC1-compressed, or 0xed and the 32 bytes of RFC 8032.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PointBytes(pub [u8; 33]);

impl Debug for PointBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for PointBytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (tag, x) = self.0.split_at(1);
        let x: &[u8; 32] = x.try_into().map_err(serde::ser::Error::custom)?;
        (tag.first().copied().unwrap_or_default(), x).serialize(to)
    }
}

impl<'de> Deserialize<'de> for PointBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (tag, x) = <(u8, [u8; 32])>::deserialize(from)?;
        let mut bytes = [tag; 33];
        if let Some(rest) = bytes.get_mut(1..) {
            rest.copy_from_slice(&x);
        }
        Ok(Self(bytes))
    }
}

impl Write for PointBytes {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }
}

impl Read<'_> for PointBytes {
    fn read(from: &mut Reader<'_>) -> Self {
        Self(from.field())
    }
}

/// A group of prime order p with generator G.
///
/// A group is a value: what makes scalars or points out of bytes and numbers takes it, and what has some already
/// asks these. A group that is known by its type ([`Fixed`]) takes no room. With [`AnyGroup`] a chip has the code
/// of the protocols once for several curves.
pub trait Group: Copy + Debug + Eq + Send + Sync + 'static {
    /// The group of this type that keys of `suite` are in, or `None`.
    fn of(suite: Suite) -> Option<Self>;
    /// The group of this type that makes keys of `suite`, or `None`: it may be that of another suite, with the same
    /// encoding of scalars and points. Making a key depends on its suite by the terms alone, so that a chip needs
    /// the code once for all such suites.
    fn maker(suite: Suite) -> Option<Self> {
        Self::of(suite)
    }
    /// The suite's code, bound into every transcript.
    fn suite(self) -> Suite;
    /// Whether both are of this group's curve. Where their types say so, they are.
    fn has(self, _scalar: &Self::Scalar, _point: &Self::Point) -> bool {
        true
    }
    /// What tells this group from the others of its type.
    fn code(self) -> u8 {
        0
    }

    /// An integer modulo p; operations are constant time.
    type Scalar: Copy
        + PartialEq
        + ConstantTimeEq
        + Zeroize
        + Add<Output = Self::Scalar>
        + Sub<Output = Self::Scalar>
        + Mul<Output = Self::Scalar>
        + Neg<Output = Self::Scalar>
        + Send
        + Sync;

    /// An element.
    type Point: Copy
        + PartialEq
        + Debug
        + Add<Output = Self::Point>
        + Sub<Output = Self::Point>
        + Neg<Output = Self::Point>
        + Send
        + Sync;

    /// A small integer.
    fn number(self, value: u64) -> Self::Scalar;
    /// 0.
    fn zero(self) -> Self::Scalar {
        self.number(0)
    }
    /// 1.
    fn one(self) -> Self::Scalar {
        self.number(1)
    }
    /// A public integer as a scalar: variable time.
    fn integer(self, value: i64) -> Self::Scalar {
        let scalar = self.number(value.unsigned_abs());
        if value < 0 { Self::negate(&scalar) } else { scalar }
    }
    /// The scalar of 32 big-endian bytes, or `None` if they are not below p.
    fn scalar_from_bytes(self, bytes: &[u8; 32]) -> Option<Self::Scalar>;
    /// 48 big-endian bytes reduced modulo p.
    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Self::Scalar;
    /// 32 big-endian bytes reduced modulo p: for a message digest alone.
    fn scalar_from_digest(self, bytes: &[u8; 32]) -> Self::Scalar;
    /// The identity.
    fn identity(self) -> Self::Point;
    /// G.
    fn generator(self) -> Self::Point {
        Self::mul_base(&self.one())
    }
    /// The point, or `None` if the bytes are no canonical point.
    fn point_from_bytes(self, bytes: &PointBytes) -> Option<Self::Point>;
    /// A nonce point, or `None` if the bytes are no canonical point. It is on the curve and not of small
    /// order; on a curve with a cofactor it may still be outside the subgroup, and whoever uses it
    /// clears that ([`Self::clear_cofactor`]).
    fn nonce_from_bytes(self, bytes: &PointBytes) -> Option<Self::Point> {
        self.point_from_bytes(bytes)
    }

    /// s·G, constant time.
    fn mul_base(scalar: &Self::Scalar) -> Self::Point;
    /// s·P, constant time.
    fn mul(point: &Self::Point, scalar: &Self::Scalar) -> Self::Point;
    /// 2·P.
    fn double(point: &Self::Point) -> Self::Point;
    /// −s, constant time, in less code than the library's may take.
    fn negate(scalar: &Self::Scalar) -> Self::Scalar {
        -*scalar
    }
    /// a·b, constant time, in less code than the library's may take.
    fn product(a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar {
        *a * *b
    }
    /// s⁻¹, or `None` for 0; constant time.
    fn invert(scalar: &Self::Scalar) -> Option<Self::Scalar>;
    /// 32 big-endian bytes.
    fn scalar_to_bytes(scalar: &Self::Scalar) -> [u8; 32];
    /// 33 bytes, canonical; the identity has no encoding.
    fn point_to_bytes(point: &Self::Point) -> Option<PointBytes>;
    /// Encodes all of `points`, which takes one inversion for several of them where the curve's library
    /// can; `None` for the identity.
    fn points_to_bytes(points: &[Self::Point], out: &mut [Option<PointBytes>]) {
        out.iter_mut().zip(points).for_each(|(to, from)| *to = Self::point_to_bytes(from));
    }
    /// (a, b) with a + b·λ = `scalar`, where a and b, or their negatives, have some 128 bits, where
    /// the curve has an [`Self::endomorphism`] λ: variable time.
    fn split(_scalar: &Self::Scalar) -> Option<[Self::Scalar; 2]> {
        None
    }
    /// λ·P, for the λ of [`Self::split`].
    fn endomorphism(point: &Self::Point) -> Self::Point {
        *point
    }
    /// s·P, of public data: variable time where that is faster.
    fn mul_public(point: &Self::Point, scalar: &Self::Scalar) -> Self::Point {
        Self::mul(point, scalar)
    }
    /// a·G + b·P, of public data: variable time where that is faster.
    fn combination(a: &Self::Scalar, point: &Self::Point, b: &Self::Scalar) -> Self::Point {
        Self::mul_base(a) + Self::mul(point, b)
    }

    /// h, the curve's cofactor.
    fn cofactor(self) -> u64 {
        1
    }
    /// h·P: it is in the subgroup, for every P on the curve.
    fn clear_cofactor(point: &Self::Point) -> Self::Point {
        *point
    }

    /// k·P for a small public integer: variable time.
    fn mul_small(self, point: &Self::Point, factor: i64) -> Self::Point {
        let magnitude = factor.unsigned_abs();
        if magnitude == 0 {
            return self.identity();
        }
        // The highest bit is the point itself.
        let product = (0..magnitude.ilog2()).rev().fold(*point, |sum, bit| {
            let doubled = Self::double(&sum);
            if magnitude >> bit & 1 == 1 { doubled + *point } else { doubled }
        });
        if factor < 0 { -product } else { product }
    }
}

/// A group that is known by its type alone.
pub trait Fixed: Group + Default {
    /// [`Group::suite`].
    const SUITE: Suite;
}

/// What ECDSA needs besides.
pub trait EcdsaGroup: Group {
    /// Whether signatures are made with s at most p/2. Both s and p − s are signatures in the sense of
    /// ECDSA; whether a second one of the same payload may be is what a curve's users agree on.
    fn normalizes_s(self) -> bool;
    /// x(P) mod p and the recovery bits: (r, y is odd, x was ≥ p).
    fn x_coordinate(self, point: &PointBytes) -> (Self::Scalar, bool, bool);
    /// Both coordinates, 32 big-endian bytes each, as addresses are made of them; the identity has none.
    fn coordinates(point: &Self::Point) -> Option<Bytes64>;
    /// Whether s > p/2.
    fn is_high(scalar: &Self::Scalar) -> bool;
    /// Whether (r, s) is a signature on the digest under `key`, with low s where
    /// [`Self::normalizes_s`] demands it.
    fn verify(key: &Self::Point, digest: &[u8; 32], r: &Self::Scalar, s: &Self::Scalar) -> bool;
}

/// What Schnorr signatures need besides: how their standard encodes, normalises and hashes.
pub trait SchnorrGroup: Group {
    /// The standard: it is part of every nonce's inputs.
    fn standard(self) -> &'static str;

    /// The 32 bytes that name P in keys and signatures, and whether they stand for −P instead: whoever
    /// knows p with P = p·G then signs with −p. The identity has no encoding.
    fn name(point: &Self::Point) -> Option<([u8; 32], bool)> {
        Self::name_of(&Self::point_to_bytes(point)?)
    }
    /// The same for a point that is encoded already.
    fn name_of(bytes: &PointBytes) -> Option<([u8; 32], bool)>;
    /// The point that 32 bytes stand for, or `None` if they are no canonical name.
    fn named(self, bytes: &[u8; 32]) -> Option<Self::Point>;
    /// c = H(R, Y, m), by the names of R and Y; the message is hashed as it is.
    fn challenge(self, nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Self::Scalar;
    /// z as it stands in a signature.
    fn response_to_bytes(response: &Self::Scalar) -> [u8; 32];
    /// z, or `None` if the bytes are not below p.
    fn response_from_bytes(self, bytes: &[u8; 32]) -> Option<Self::Scalar>;
    /// z·G − c·Y, of public data.
    fn commitment_of(
        response: &Self::Scalar,
        challenge: &Self::Scalar,
        key: &Self::Point,
    ) -> Self::Point {
        Self::combination(response, key, &Self::negate(challenge))
    }
    /// The tweak of BIP-341 for an internal key by its name, or `None`: then the key has none.
    fn tap_tweak(
        self,
        _internal: &[u8; 32],
        _merkle_root: Option<&[u8; 32]>,
    ) -> Option<Self::Scalar> {
        None
    }
}
