//! Ed25519 by `curve25519-dalek`. Scalars at rest are big-endian like everywhere here, and
//! little-endian as in RFC 8032 where a signature leaves.
//!
//! The curve has eight times as many points as the group. Keys and commitments outside the subgroup of
//! prime order are refused, which costs a multiplication each. For nonce points that would be most of
//! the work of a signature; a small-order part in one R_j could slip through the degree check, and give
//! two honest parties two different R under one k_i. So R is 8·(the value at 0), in which such parts
//! vanish, and its secret is 8·k: [`Group::clear_cofactor`].

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity as _, IsIdentity as _};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::sum::sum_of_products;
use super::{Fixed, Group, PointBytes, SchnorrGroup, Suite};

/// The prime-order group of Ed25519 (RFC 8032).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ed25519;

impl Fixed for Ed25519 {
    const SUITE: Suite = Suite::SchnorrEd25519;
}

/// The first of the 33 bytes of a point; 2 to 4 are SEC1's.
const TAG: u8 = 0xed;

fn tagged(bytes: &PointBytes) -> Option<&[u8; 32]> {
    let (tag, compressed) = bytes.0.split_first()?;
    if *tag == TAG { compressed.try_into().ok() } else { None }
}

fn reversed(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.reverse();
    bytes
}

fn compress(point: &EdwardsPoint) -> Option<[u8; 32]> {
    (!point.is_identity()).then(|| point.compress().to_bytes())
}

/// The field's prime 2^255 − 19, little-endian.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// On the curve, canonical and not of small order. dalek alone accepts y at or above the field's prime;
/// it accepts a sign for x = 0 too, but those two points are of small order.
fn on_curve(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let mut y = *bytes;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (is_below(&y, &PRIME) && !point.is_small_order()).then_some(point)
}

/// Of two little-endian numbers. Every byte is looked at: where the first of a point's differ from the prime's would
/// show in the number of instructions, which a test compares.
fn is_below(number: &[u8; 32], limit: &[u8; 32]) -> bool {
    let borrow = |borrow: u8, (a, b): (&u8, &u8)| {
        u8::from(u16::from(*a) < u16::from(*b) + u16::from(borrow))
    };
    number.iter().zip(limit).fold(0, borrow) == 1
}

/// Whether (ℓ−1)·P = −P for the subgroup's order ℓ: so ℓ·P = O. dalek's own check takes the time of a
/// secret factor; these points are public.
fn in_subgroup(point: &EdwardsPoint) -> bool {
    let (minus_one, zero) = (Scalar::ZERO - Scalar::ONE, Scalar::ZERO);
    Ed25519::combination(&zero, point, &minus_one) == -point
}

impl Ed25519 {
    /// A number of 256 bits modulo the order. dalek's own function for it is one more multiplication in a chip's
    /// flash; that of 512 bits is needed in any case.
    pub(crate) fn reduced(bytes: &[u8; 32]) -> Scalar {
        let mut wide = [0; 64];
        wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let scalar = Scalar::from_bytes_mod_order_wide(&wide);
        wide.zeroize();
        scalar
    }
}

/// a·b in constant time: all 512 bits of it, reduced by the function that hashes need in any case. dalek's own
/// multiplication takes 4.5 KB of a chip's flash.
#[inline(never)]
fn multiplied(a: &Scalar, b: &Scalar) -> Scalar {
    let words = |scalar: &Scalar| {
        let (words, _) = scalar.as_bytes().as_chunks();
        let mut numbers = [0; 8];
        numbers.iter_mut().zip(words).for_each(|(to, word)| *to = u32::from_le_bytes(*word));
        numbers
    };
    let (mut a, mut b, mut whole, mut bytes) = (words(a), words(b), [0u32; 16], [0; 64]);
    for (place, a) in a.iter().enumerate() {
        let mut carry = 0;
        for (to, b) in whole.iter_mut().skip(place).zip(b.iter().chain([&0])) {
            let sum = u64::from(*a) * u64::from(*b) + u64::from(*to) + carry;
            (*to, carry) = (sum as u32, sum >> 32);
        }
    }
    let (words, _) = bytes.as_chunks_mut();
    words.iter_mut().zip(&whole).for_each(|(to, word)| *to = word.to_le_bytes());
    let product = Scalar::from_bytes_mod_order_wide(&bytes);
    a.zeroize();
    b.zeroize();
    whole.zeroize();
    bytes.zeroize();
    product
}

/// By Fermat: to the power of ℓ − 2, bit by bit. dalek's own, of fewer multiplications and more code, takes 3.6 KB
/// of a chip's flash for what it does once or twice in a signature.
fn inverse(scalar: &Scalar) -> Scalar {
    let exponent = Scalar::ZERO - Scalar::from(2u64);
    let mut power = Scalar::ONE;
    for byte in exponent.as_bytes().iter().rev() {
        for bit in (0..8).rev() {
            power = multiplied(&power, &power);
            // The exponent is public.
            if byte >> bit & 1 == 1 {
                power = multiplied(&power, scalar);
            }
        }
    }
    power
}

/// A number below the order. It may be secret, and is compared in constant time.
fn canonical(bytes: &[u8; 32]) -> Option<Scalar> {
    let scalar = Ed25519::reduced(bytes);
    bool::from(scalar.as_bytes().ct_eq(bytes)).then_some(scalar)
}

/// In the subgroup besides.
fn decompress(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    on_curve(bytes).filter(in_subgroup)
}

impl Group for Ed25519 {
    type Scalar = Scalar;
    type Point = EdwardsPoint;

    fn of(suite: Suite) -> Option<Self> {
        (suite == Self::SUITE).then_some(Self)
    }

    fn suite(self) -> Suite {
        Self::SUITE
    }

    fn number(self, value: u64) -> Scalar {
        Scalar::from(value)
    }

    fn identity(self) -> EdwardsPoint {
        EdwardsPoint::identity()
    }

    fn mul_base(scalar: &Scalar) -> EdwardsPoint {
        // The table, which FROST's crate brings onto a chip too, would take 30 KB there.
        if cfg!(feature = "std") {
            EdwardsPoint::mul_base(scalar)
        } else {
            ED25519_BASEPOINT_POINT * scalar
        }
    }

    fn mul(point: &EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        point * scalar
    }

    fn negate(scalar: &Scalar) -> Scalar {
        // The library reduces it first, which takes 2 KB on a chip: here every scalar is reduced.
        Scalar::ZERO - scalar
    }

    fn product(a: &Scalar, b: &Scalar) -> Scalar {
        if cfg!(feature = "std") { a * b } else { multiplied(a, b) }
    }

    fn double(point: &EdwardsPoint) -> EdwardsPoint {
        // The addition formulas are complete.
        point + point
    }

    fn invert(scalar: &Scalar) -> Option<Scalar> {
        // The exponentiation gives 0 for 0, in the same time.
        let inverse = if cfg!(feature = "std") { scalar.invert() } else { inverse(scalar) };
        (inverse != Scalar::ZERO).then_some(inverse)
    }

    fn scalar_to_bytes(scalar: &Scalar) -> [u8; 32] {
        reversed(scalar.to_bytes())
    }

    fn scalar_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        canonical(&reversed(*bytes))
    }

    fn scalar_from_wide(self, bytes: &[u8; 48]) -> Scalar {
        let mut padded = [0; 64];
        padded.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
        let scalar = Scalar::from_bytes_mod_order_wide(&padded);
        padded.zeroize();
        scalar
    }

    fn scalar_from_digest(self, bytes: &[u8; 32]) -> Scalar {
        Self::reduced(&reversed(*bytes))
    }

    fn point_to_bytes(point: &EdwardsPoint) -> Option<PointBytes> {
        let mut bytes = PointBytes([TAG; 33]);
        let compressed = compress(point)?;
        bytes.0.iter_mut().skip(1).zip(compressed).for_each(|(to, from)| *to = from);
        Some(bytes)
    }

    fn point_from_bytes(self, bytes: &PointBytes) -> Option<EdwardsPoint> {
        decompress(tagged(bytes)?)
    }

    fn combination(a: &Scalar, point: &EdwardsPoint, b: &Scalar) -> EdwardsPoint {
        // Again FROST's crate would bring a table onto a chip, of 8 KB.
        if cfg!(all(feature = "frost", not(feature = "std"))) {
            let terms = [(*a, ED25519_BASEPOINT_POINT), (*b, *point)];
            return sum_of_products::<_, 3>(Self, terms).unwrap_or_default();
        }
        EdwardsPoint::vartime_double_scalar_mul_basepoint(b, point, a)
    }

    fn cofactor(self) -> u64 {
        8
    }

    fn clear_cofactor(point: &EdwardsPoint) -> EdwardsPoint {
        point.mul_by_cofactor()
    }

    fn nonce_from_bytes(self, bytes: &PointBytes) -> Option<EdwardsPoint> {
        on_curve(tagged(bytes)?)
    }
}

impl SchnorrGroup for Ed25519 {
    fn standard(self) -> &'static str {
        "ed25519"
    }

    fn name_of(bytes: &PointBytes) -> Option<([u8; 32], bool)> {
        let (_, compressed) = bytes.0.split_first()?;
        Some((compressed.try_into().ok()?, false))
    }

    fn named(self, bytes: &[u8; 32]) -> Option<EdwardsPoint> {
        decompress(bytes)
    }

    fn challenge(self, nonce: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        let hash = Sha512::new().chain_update(nonce).chain_update(key).chain_update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    fn response_to_bytes(response: &Scalar) -> [u8; 32] {
        response.to_bytes()
    }

    fn response_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
        canonical(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::EIGHT_TORSION;

    #[test]
    fn small_factors_agree_with_scalars() {
        let point = Ed25519::mul_base(&Scalar::from(7u64));
        for factor in [0i64, 1, -1, 2, 3, 255, -254, i64::MAX, i64::MIN + 1] {
            let expected = Ed25519::mul(&point, &Ed25519.integer(factor));
            assert_eq!(Ed25519.mul_small(&point, factor), expected, "{factor}");
        }
    }

    #[test]
    fn products_are_those_of_the_library() {
        let mut numbers = heapless::Vec::<Scalar, 300>::new();
        numbers.extend((0..=255).map(|byte| Ed25519.scalar_from_wide(&[byte; 48])));
        numbers.extend(
            (0..4u64).flat_map(|low| [Scalar::from(low), Scalar::ZERO - Scalar::from(low)]),
        );
        for a in &numbers {
            assert!(numbers.iter().all(|b| multiplied(a, b) == a * b));
        }
    }

    #[test]
    fn bytes_of_scalars_are_big_endian_canonical_and_reduced_alike() {
        let mut one = [0; 32];
        one[31] = 1;
        assert_eq!(Ed25519::scalar_to_bytes(&Scalar::ONE), one);
        let minus_one = Ed25519::scalar_to_bytes(&-Scalar::ONE);
        let mut order = minus_one;
        order[31] += 1;
        assert_eq!(Ed25519.scalar_from_bytes(&minus_one), Some(-Scalar::ONE));
        assert_eq!(Ed25519.scalar_from_bytes(&order), None);
        assert_eq!(Ed25519.scalar_from_bytes(&[0xff; 32]), None);
        assert_eq!(Ed25519.scalar_from_digest(&order), Scalar::ZERO);
        let mut wide = [0; 48];
        wide[16..].copy_from_slice(&order);
        assert_eq!(Ed25519.scalar_from_wide(&wide), Scalar::ZERO);
        // 2^256 · order, and a bit.
        wide = [0; 48];
        wide[15] = 1;
        let half = Scalar::from(1u64 << 63) + Scalar::from(1u64 << 63);
        let (a, b) = (half * half, Ed25519.scalar_from_wide(&wide));
        assert_eq!(a * a, b);
        assert_eq!(Ed25519::invert(&Scalar::ZERO), None);
        assert_eq!(Ed25519::invert(&b).unwrap() * b, Scalar::ONE);
    }

    #[test]
    fn a_point_has_one_encoding_only() {
        let point = Ed25519::mul_base(&Scalar::from(7u64));
        let canonical = Ed25519::point_to_bytes(&point).unwrap();
        assert_eq!(Ed25519.point_from_bytes(&canonical), Some(point));
        assert_eq!(Ed25519.nonce_from_bytes(&canonical), Some(point));
        for tag in (0..=255).filter(|tag| *tag != TAG) {
            let mut other = canonical;
            other.0[0] = tag;
            assert_eq!(Ed25519.point_from_bytes(&other), None, "tag {tag}");
            assert_eq!(Ed25519.nonce_from_bytes(&other), None, "tag {tag}");
        }
        // y = p + y' for the small y' that are on the curve; dalek itself takes them.
        let mut taken = 0;
        for small in 0..19u8 {
            let mut above = [0xff; 32];
            (above[0], above[31]) = (0xed + small, 0x7f);
            taken += u8::from(CompressedEdwardsY(above).decompress().is_some());
            assert_eq!(Ed25519.named(&above), None, "p + {small}");
        }
        assert!(taken > 0);
    }

    #[test]
    fn the_identity_and_small_orders_are_refused_alone_and_added_to_a_point() {
        let point = Ed25519::mul_base(&Scalar::from(7u64));
        for small in EIGHT_TORSION {
            assert_eq!(Ed25519.named(&small.compress().to_bytes()), None);
            let sum = (point + small).compress().to_bytes();
            assert_eq!(Ed25519.named(&sum), small.is_identity().then_some(point));
            // As a nonce point the sum is taken, and the part vanishes.
            let nonce = |compressed: [u8; 32]| {
                let mut bytes = PointBytes([TAG; 33]);
                bytes.0[1..].copy_from_slice(&compressed);
                Ed25519.nonce_from_bytes(&bytes)
            };
            assert_eq!(nonce(small.compress().to_bytes()), None);
            let cleared = Ed25519::clear_cofactor(&nonce(sum).unwrap());
            assert_eq!(cleared, Ed25519::mul_base(&Scalar::from(7 * Ed25519.cofactor())));
        }
        let identity = EdwardsPoint::default();
        assert_eq!(Ed25519::point_to_bytes(&identity), None);
        assert_eq!(Ed25519::name(&identity), None);
        // The other sign of x = 0.
        let mut signed = identity.compress().to_bytes();
        signed[31] |= 0x80;
        assert_eq!(Ed25519.named(&signed), None);
    }

    #[test]
    fn a_number_is_reduced_as_dalek_reduces_it() {
        for byte in 0..=255 {
            let (bytes, expected) = ([byte; 32], Scalar::from_bytes_mod_order([byte; 32]));
            assert_eq!(Ed25519::reduced(&bytes), expected);
            assert_eq!(canonical(&bytes), Option::from(Scalar::from_canonical_bytes(bytes)));
        }
        let mut order = (Scalar::ZERO - Scalar::ONE).to_bytes();
        order[0] += 1;
        assert_eq!(canonical(&order), None);
    }

    #[test]
    fn inverses_are_those_of_dalek() {
        for byte in 1..=255 {
            let scalar = Ed25519::reduced(&[byte; 32]);
            assert_eq!(inverse(&scalar), scalar.invert());
        }
        assert_eq!(inverse(&Scalar::ZERO), Scalar::ZERO);
    }
}
