//! secp256k1 on a machine with faults: what a computation gives is wrong when a test says so.

use std::cell::Cell;

use quorate_core::curve::{EcdsaGroup, Fixed, Group, PointBytes, Secp256k1, Suite};
use quorate_core::wire::Bytes64;

type Scalar = <Secp256k1 as Group>::Scalar;
type Point = <Secp256k1 as Group>::Point;

/// What goes wrong on this thread.
#[derive(Clone, Copy, Debug, Default)]
pub enum Glitch {
    /// Nothing.
    #[default]
    None,
    /// The next multiplication of the generator.
    NextMulBase,
    /// The next x(R) mod p comes out as this.
    NextX(Scalar),
    /// Every x(R) mod p comes out as this.
    EveryX(Scalar),
}

thread_local! {
    static GLITCH: Cell<Glitch> = const { Cell::new(Glitch::None) };
}

/// Arms a fault on this thread, in place of the one before.
pub fn arm(glitch: Glitch) {
    GLITCH.set(glitch);
}

/// The group with its faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glitched;

impl Fixed for Glitched {
    const SUITE: Suite = Secp256k1::SUITE;
}

impl Group for Glitched {
    fn of(suite: Suite) -> Option<Self> {
        (suite == Self::SUITE).then_some(Self)
    }

    fn suite(self) -> Suite {
        Self::SUITE
    }

    type Scalar = Scalar;
    type Point = Point;

    fn number(self, value: u64) -> Scalar {
        Secp256k1.number(value)
    }

    fn identity(self) -> Point {
        Secp256k1.identity()
    }

    fn mul_base(scalar: &Scalar) -> Point {
        let product = Secp256k1::mul_base(scalar);
        match GLITCH.get() {
            Glitch::NextMulBase => {
                arm(Glitch::None);
                Secp256k1::double(&product)
            }
            _ => product,
        }
    }

    fn mul(point: &Point, scalar: &Scalar) -> Point {
        Secp256k1::mul(point, scalar)
    }

    fn double(point: &Point) -> Point {
        Secp256k1::double(point)
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
}

impl EcdsaGroup for Glitched {
    fn normalizes_s(self) -> bool {
        Secp256k1.normalizes_s()
    }

    fn x_coordinate(self, point: &PointBytes) -> (Scalar, bool, bool) {
        let (x, odd, above) = Secp256k1.x_coordinate(point);
        match GLITCH.get() {
            Glitch::NextX(other) => {
                arm(Glitch::None);
                (other, odd, above)
            }
            Glitch::EveryX(other) => (other, odd, above),
            _ => (x, odd, above),
        }
    }

    fn coordinates(point: &Point) -> Option<Bytes64> {
        Secp256k1::coordinates(point)
    }

    fn is_high(scalar: &Scalar) -> bool {
        Secp256k1::is_high(scalar)
    }

    fn verify(key: &Point, digest: &[u8; 32], r: &Scalar, s: &Scalar) -> bool {
        Secp256k1::verify(key, digest, r, s)
    }
}
