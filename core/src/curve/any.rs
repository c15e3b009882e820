//! A group that is known when the program runs: one instance of each protocol then serves the curves of secp256k1 and
//! of Ed25519. A chip that has both has their code once; everywhere else a group by its type is simpler and as good.

use core::ops::{Add, Mul, Neg, Sub};

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use super::sum::sum_of_products;
use super::{
    EcdsaGroup, Ed25519, Group, PointBytes, SchnorrGroup, SchnorrSecp256k1 as Bip340, Secp256k1,
    Suite,
};
use crate::wire::Bytes64;

type S<G> = <G as Group>::Scalar;
type P<G> = <G as Group>::Point;

/// The group of one of three suites: ECDSA and BIP-340 over secp256k1, and Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyGroup(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ecdsa,
    Bip340,
    Ed25519,
}

/// A scalar of one of the two curves.
#[derive(Clone, Copy)]
pub enum AnyScalar {
    /// Modulo the order of secp256k1.
    Secp256k1(S<Secp256k1>),
    /// Modulo the order of Ed25519.
    Ed25519(S<Ed25519>),
    /// What comes of scalars of two curves: it is no number, equal to nothing, and written as zeros. No protocol
    /// makes one; a machine that computes wrongly may.
    Neither,
}

/// A point of one of the two curves.
#[derive(Clone, Copy, Debug)]
pub enum AnyPoint {
    /// Of secp256k1.
    Secp256k1(P<Secp256k1>),
    /// Of Ed25519.
    Ed25519(P<Ed25519>),
    /// What comes of points of two curves, likewise: it has no encoding.
    Neither,
}

use AnyPoint as Point;
use AnyScalar as Scalar;

impl AnyGroup {
    /// All of them.
    pub const ALL: [Self; 3] = [Self(Kind::Ecdsa), Self(Kind::Bip340), Self(Kind::Ed25519)];

    fn is_ed25519(self) -> bool {
        self.0 == Kind::Ed25519
    }
}

// Whether two are of one curve is as public as the suite: branches depend on that alone.
impl ConstantTimeEq for Scalar {
    #[inline(never)]
    fn ct_eq(&self, other: &Self) -> Choice {
        match (self, other) {
            (Self::Secp256k1(a), Self::Secp256k1(b)) => a.ct_eq(b),
            (Self::Ed25519(a), Self::Ed25519(b)) => a.ct_eq(b),
            _ => Choice::from(0),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Zeroize for Scalar {
    #[inline(never)]
    fn zeroize(&mut self) {
        match self {
            Self::Secp256k1(a) => a.zeroize(),
            Self::Ed25519(a) => a.zeroize(),
            Self::Neither => {}
        }
    }
}

impl PartialEq for Point {
    #[inline(never)]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secp256k1(a), Self::Secp256k1(b)) => a == b,
            (Self::Ed25519(a), Self::Ed25519(b)) => a == b,
            _ => false,
        }
    }
}

macro_rules! operation {
    ($of:ident, $operator:ident, $do:ident) => {
        impl $operator for $of {
            type Output = Self;

            #[inline(never)]
            fn $do(self, other: Self) -> Self {
                match (self, other) {
                    (Self::Secp256k1(a), Self::Secp256k1(b)) => Self::Secp256k1(a.$do(b)),
                    (Self::Ed25519(a), Self::Ed25519(b)) => Self::Ed25519(a.$do(b)),
                    _ => Self::Neither,
                }
            }
        }
    };
}

operation!(AnyScalar, Add, add);
operation!(AnyScalar, Sub, sub);
operation!(AnyPoint, Add, add);
operation!(AnyPoint, Sub, sub);

impl Mul for Scalar {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        AnyGroup::product(&self, &other)
    }
}

impl Neg for Scalar {
    type Output = Self;
    fn neg(self) -> Self {
        AnyGroup::negate(&self)
    }
}

impl Neg for Point {
    type Output = Self;
    #[inline(never)]
    fn neg(self) -> Self {
        match self {
            Self::Secp256k1(a) => Self::Secp256k1(-a),
            Self::Ed25519(a) => Self::Ed25519(-a),
            Self::Neither => self,
        }
    }
}

impl Group for AnyGroup {
    fn of(suite: Suite) -> Option<Self> {
        match suite {
            Suite::EcdsaSecp256k1 => Some(Self(Kind::Ecdsa)),
            Suite::SchnorrSecp256k1 => Some(Self(Kind::Bip340)),
            Suite::SchnorrEd25519 => Some(Self(Kind::Ed25519)),
            Suite::EcdsaP256 => None,
        }
    }

    #[inline(never)]
    fn suite(self) -> Suite {
        match self.0 {
            Kind::Ecdsa => Suite::EcdsaSecp256k1,
            Kind::Bip340 => Suite::SchnorrSecp256k1,
            Kind::Ed25519 => Suite::SchnorrEd25519,
        }
    }

    #[inline(never)]
    fn has(self, scalar: &Scalar, point: &Point) -> bool {
        match (scalar, point) {
            (Scalar::Secp256k1(_), Point::Secp256k1(_)) => !self.is_ed25519(),
            (Scalar::Ed25519(_), Point::Ed25519(_)) => self.is_ed25519(),
            _ => false,
        }
    }

    fn code(self) -> u8 {
        self.suite().into()
    }

    type Scalar = Scalar;
    type Point = Point;

    #[inline(never)]
    fn number(self, value: u64) -> Scalar {
        match self.is_ed25519() {
            true => Scalar::Ed25519(Ed25519.number(value)),
            false => Scalar::Secp256k1(Secp256k1.number(value)),
        }
    }

    #[inline(never)]
    fn scalar_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        match self.is_ed25519() {
            true => Ed25519.scalar_from_bytes(bytes).map(Scalar::Ed25519),
            false => Secp256k1.scalar_from_bytes(bytes).map(Scalar::Secp256k1),
        }
    }

    #[inline(never)]
    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Scalar {
        match self.is_ed25519() {
            true => Scalar::Ed25519(Ed25519.scalar_from_wide(bytes)),
            false => Scalar::Secp256k1(Secp256k1.scalar_from_wide(bytes)),
        }
    }

    #[inline(never)]
    fn scalar_from_digest(self, bytes: &[u8; 32]) -> Scalar {
        match self.is_ed25519() {
            true => Scalar::Ed25519(Ed25519.scalar_from_digest(bytes)),
            false => Scalar::Secp256k1(Secp256k1.scalar_from_digest(bytes)),
        }
    }

    #[inline(never)]
    fn identity(self) -> Point {
        match self.is_ed25519() {
            true => Point::Ed25519(Ed25519.identity()),
            false => Point::Secp256k1(Secp256k1.identity()),
        }
    }

    #[inline(never)]
    fn generator(self) -> Point {
        match self.is_ed25519() {
            true => Point::Ed25519(Ed25519.generator()),
            false => Point::Secp256k1(Secp256k1.generator()),
        }
    }

    #[inline(never)]
    fn point_from_bytes(self, bytes: &PointBytes) -> Option<Point> {
        match self.is_ed25519() {
            true => Ed25519.point_from_bytes(bytes).map(Point::Ed25519),
            false => Secp256k1.point_from_bytes(bytes).map(Point::Secp256k1),
        }
    }

    #[inline(never)]
    fn nonce_from_bytes(self, bytes: &PointBytes) -> Option<Point> {
        match self.is_ed25519() {
            true => Ed25519.nonce_from_bytes(bytes).map(Point::Ed25519),
            false => Secp256k1.nonce_from_bytes(bytes).map(Point::Secp256k1),
        }
    }

    #[inline(never)]
    fn mul_base(scalar: &Scalar) -> Point {
        match scalar {
            Scalar::Secp256k1(s) => Point::Secp256k1(Secp256k1::mul_base(s)),
            Scalar::Ed25519(s) => Point::Ed25519(Ed25519::mul_base(s)),
            Scalar::Neither => Point::Neither,
        }
    }

    #[inline(never)]
    fn mul(point: &Point, scalar: &Scalar) -> Point {
        match (point, scalar) {
            (Point::Secp256k1(p), Scalar::Secp256k1(s)) => Point::Secp256k1(Secp256k1::mul(p, s)),
            (Point::Ed25519(p), Scalar::Ed25519(s)) => Point::Ed25519(Ed25519::mul(p, s)),
            _ => Point::Neither,
        }
    }

    #[inline(never)]
    fn double(point: &Point) -> Point {
        match point {
            Point::Secp256k1(p) => Point::Secp256k1(Secp256k1::double(p)),
            Point::Ed25519(p) => Point::Ed25519(Ed25519::double(p)),
            Point::Neither => Point::Neither,
        }
    }

    #[inline(never)]
    fn negate(scalar: &Scalar) -> Scalar {
        match scalar {
            Scalar::Secp256k1(s) => Scalar::Secp256k1(Secp256k1::negate(s)),
            Scalar::Ed25519(s) => Scalar::Ed25519(Ed25519::negate(s)),
            Scalar::Neither => Scalar::Neither,
        }
    }

    #[inline(never)]
    fn product(a: &Scalar, b: &Scalar) -> Scalar {
        match (a, b) {
            (Scalar::Secp256k1(a), Scalar::Secp256k1(b)) => {
                Scalar::Secp256k1(Secp256k1::product(a, b))
            }
            (Scalar::Ed25519(a), Scalar::Ed25519(b)) => Scalar::Ed25519(Ed25519::product(a, b)),
            _ => Scalar::Neither,
        }
    }

    #[inline(never)]
    fn invert(scalar: &Scalar) -> Option<Scalar> {
        match scalar {
            Scalar::Secp256k1(s) => Secp256k1::invert(s).map(Scalar::Secp256k1),
            Scalar::Ed25519(s) => Ed25519::invert(s).map(Scalar::Ed25519),
            Scalar::Neither => None,
        }
    }

    #[inline(never)]
    fn scalar_to_bytes(scalar: &Scalar) -> [u8; 32] {
        match scalar {
            Scalar::Secp256k1(s) => Secp256k1::scalar_to_bytes(s),
            Scalar::Ed25519(s) => Ed25519::scalar_to_bytes(s),
            Scalar::Neither => [0; 32],
        }
    }

    #[inline(never)]
    fn point_to_bytes(point: &Point) -> Option<PointBytes> {
        match point {
            Point::Secp256k1(p) => Secp256k1::point_to_bytes(p),
            Point::Ed25519(p) => Ed25519::point_to_bytes(p),
            Point::Neither => None,
        }
    }

    #[inline(never)]
    fn points_to_bytes(points: &[Point], out: &mut [Option<PointBytes>]) {
        for (points, out) in points.chunks(4).zip(out.chunks_mut(4)) {
            let of_secp256k1 = |point: &Point| match point {
                Point::Secp256k1(p) => Some(*p),
                _ => None,
            };
            let some: heapless::Vec<_, 4> = points.iter().filter_map(of_secp256k1).collect();
            if some.len() == points.len() {
                Secp256k1::points_to_bytes(&some, out);
            } else {
                out.iter_mut().zip(points).for_each(|(to, p)| *to = Self::point_to_bytes(p));
            }
        }
    }

    fn split(scalar: &Scalar) -> Option<[Scalar; 2]> {
        match scalar {
            Scalar::Secp256k1(s) => Secp256k1::split(s).map(|halves| halves.map(Scalar::Secp256k1)),
            _ => None,
        }
    }

    fn endomorphism(point: &Point) -> Point {
        match point {
            Point::Secp256k1(p) => Point::Secp256k1(Secp256k1::endomorphism(p)),
            other => *other,
        }
    }

    fn mul_public(point: &Point, scalar: &Scalar) -> Point {
        Self::sum([(*scalar, *point)])
    }

    fn combination(a: &Scalar, point: &Point, b: &Scalar) -> Point {
        let generator = match a {
            Scalar::Secp256k1(_) => Point::Secp256k1(Secp256k1.generator()),
            Scalar::Ed25519(_) => Point::Ed25519(Ed25519.generator()),
            Scalar::Neither => Point::Neither,
        };
        Self::sum([(*a, generator), (*b, *point)])
    }

    fn cofactor(self) -> u64 {
        if self.is_ed25519() { Ed25519.cofactor() } else { 1 }
    }

    #[inline(never)]
    fn clear_cofactor(point: &Point) -> Point {
        match point {
            Point::Ed25519(p) => Point::Ed25519(Ed25519::clear_cofactor(p)),
            other => *other,
        }
    }
}

impl AnyGroup {
    /// Σ s·P of public data; at most two terms, all of the first one's curve.
    fn sum<const M: usize>(terms: [(Scalar, Point); M]) -> Point {
        let group = match terms.first() {
            Some((Scalar::Secp256k1(_), _)) => Self(Kind::Ecdsa),
            Some((Scalar::Ed25519(_), _)) => Self(Kind::Ed25519),
            _ => return Point::Neither,
        };
        sum_of_products::<_, 2>(group, terms).unwrap_or(Point::Neither)
    }
}

impl EcdsaGroup for AnyGroup {
    fn normalizes_s(self) -> bool {
        Secp256k1.normalizes_s()
    }

    fn x_coordinate(self, point: &PointBytes) -> (Scalar, bool, bool) {
        let (x, odd, above) = Secp256k1.x_coordinate(point);
        (Scalar::Secp256k1(x), odd, above)
    }

    fn coordinates(point: &Point) -> Option<Bytes64> {
        match point {
            Point::Secp256k1(p) => Secp256k1::coordinates(p),
            _ => None,
        }
    }

    fn is_high(scalar: &Scalar) -> bool {
        matches!(scalar, Scalar::Secp256k1(s) if Secp256k1::is_high(s))
    }

    fn verify(key: &Point, digest: &[u8; 32], r: &Scalar, s: &Scalar) -> bool {
        match (key, r, s) {
            (Point::Secp256k1(key), Scalar::Secp256k1(r), Scalar::Secp256k1(s)) => {
                Secp256k1::verify(key, digest, r, s)
            }
            _ => false,
        }
    }
}

impl SchnorrGroup for AnyGroup {
    #[inline(never)]
    fn standard(self) -> &'static str {
        if self.is_ed25519() { Ed25519.standard() } else { Bip340.standard() }
    }

    #[inline(never)]
    fn name_of(bytes: &PointBytes) -> Option<([u8; 32], bool)> {
        // As their first bytes say.
        match bytes.0.first() {
            Some(2 | 3) => Bip340::name_of(bytes),
            _ => Ed25519::name_of(bytes),
        }
    }

    fn named(self, bytes: &[u8; 32]) -> Option<Point> {
        match self.is_ed25519() {
            true => Ed25519.named(bytes).map(Point::Ed25519),
            false => Bip340.named(bytes).map(Point::Secp256k1),
        }
    }

    #[inline(never)]
    fn challenge(self, nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        match self.is_ed25519() {
            true => Scalar::Ed25519(Ed25519.challenge(nonce, key, message)),
            false => Scalar::Secp256k1(Bip340.challenge(nonce, key, message)),
        }
    }

    #[inline(never)]
    fn response_to_bytes(response: &Scalar) -> [u8; 32] {
        match response {
            Scalar::Secp256k1(z) => Bip340::response_to_bytes(z),
            Scalar::Ed25519(z) => Ed25519::response_to_bytes(z),
            Scalar::Neither => [0; 32],
        }
    }

    #[inline(never)]
    fn response_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        match self.is_ed25519() {
            true => Ed25519.response_from_bytes(bytes).map(Scalar::Ed25519),
            false => Bip340.response_from_bytes(bytes).map(Scalar::Secp256k1),
        }
    }

    #[inline(never)]
    fn tap_tweak(self, internal: &[u8; 32], merkle_root: Option<&[u8; 32]>) -> Option<Scalar> {
        match self.is_ed25519() {
            true => None,
            false => Bip340.tap_tweak(internal, merkle_root).map(Scalar::Secp256k1),
        }
    }
}

#[cfg(feature = "frost")]
mod frost {
    use alloc::vec::Vec;

    use super::{AnyGroup, Bip340, Ed25519, Group as _, Point, PointBytes, Scalar};
    use crate::frost::FrostGroup;
    use crate::secret::SecretScalar;

    impl crate::frost::Sealed for AnyGroup {}

    impl FrostGroup for AnyGroup {
        #[inline(never)]
        fn to_frost(self, point: &PointBytes) -> Option<&[u8]> {
            if self.is_ed25519() { Ed25519.to_frost(point) } else { Bip340.to_frost(point) }
        }

        #[inline(never)]
        fn encoding(self, name: &[u8; 32]) -> PointBytes {
            if self.is_ed25519() { Ed25519.encoding(name) } else { Bip340.encoding(name) }
        }

        fn factor(self, input: &[u8]) -> Option<Scalar> {
            match self.is_ed25519() {
                true => Ed25519.factor(input).map(Scalar::Ed25519),
                false => Bip340.factor(input).map(Scalar::Secp256k1),
            }
        }

        fn nonce(self, input: &[u8; 64]) -> Option<SecretScalar<Self>> {
            let scalar = match self.is_ed25519() {
                true => Scalar::Ed25519(*Ed25519.nonce(input)?.expose()),
                false => Scalar::Secp256k1(*Bip340.nonce(input)?.expose()),
            };
            Some(SecretScalar::new(scalar))
        }

        fn digests(self, message: &[u8], list: &[u8], out: &mut Vec<u8>) {
            match self.is_ed25519() {
                true => Ed25519.digests(message, list, out),
                false => Bip340.digests(message, list, out),
            }
        }

        fn sum_of_products(self, terms: &[(Point, Scalar)]) -> Point {
            let add =
                |sum, (point, scalar): &(Point, Scalar)| sum + Self::mul_public(point, scalar);
            terms.iter().fold(self.identity(), add)
        }
    }
}

#[cfg(test)]
mod tests;
