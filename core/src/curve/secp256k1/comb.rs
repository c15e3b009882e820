//! k·G on a chip, by a comb (Lim and Lee, Crypto '94) with signed digits (Hamburg, ePrint 2012/309): a third of the
//! time of a multiplication of any point, for a table of 4 KB that lies in flash.
//!
//! With digits ±1 for the bits 1 and 0, the digits of m = (k + 2^258 − 1)/2 mod p are Σ ±2^i = 2m − (2^258 − 1) = k.
//! Six of them, i, i + 43, … i + 215, are one column. There are 43: those from i = 22 on have a table of their own,
//! 2^22 times the first, so that two columns, i and i + 22, share the doubling before them. A column and its negative
//! share a row of the table, since one is minus the other. No column is 0. What is done does not depend on the
//! digits: the whole table is read for each column, and the sign selects one of two points.

mod table;

use k256::elliptic_curve::ops::Reduce as _;
use k256::elliptic_curve::sec1::FromEncodedPoint as _;
use k256::elliptic_curve::subtle::{Choice, ConditionallySelectable as _};
use k256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::Zeroize as _;

use table::TABLE;

/// Between two digits of one column.
const STEP: usize = 43;
/// Between two columns that share a doubling.
const HIGH: usize = 22;
/// Digits of a column.
const TEETH: usize = 6;

/// Four words of each row.
type Rows = [[u32; 4]; 1 << (TEETH - 1)];

/// 1/2 and (2^258 − 1)/2 modulo p.
const HALF: U256 =
    U256::from_be_hex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1");
const SHIFT: U256 =
    U256::from_be_hex("80000000000000000000000000000001e7f9b4a5f9130fa66044722cc7ae9e1e");

/// The digits i, i + 43, …: the row of them or of their negatives, and whether it is that of the negatives.
fn column(bytes: &[u8; 32], i: usize) -> (u32, Choice) {
    let bits = (0..TEETH).fold(0, |bits, tooth| {
        let place = i + tooth * STEP;
        // Big-endian; there are fewer than 258 bits.
        let byte = 31usize.checked_sub(place / 8).and_then(|at| bytes.get(at));
        bits | u32::from(byte.copied().unwrap_or(0) >> (place % 8) & 1) << tooth
    });
    let low = (1 << (TEETH - 1)) - 1;
    let top = bits >> (TEETH - 1);
    // All ones if the highest digit is −1.
    let turn = top.wrapping_sub(1);
    ((bits ^ turn) & low, Choice::from(1 ^ top as u8))
}

/// 1 if the two are equal, else 0; both are small.
fn is_same(a: u32, b: u32) -> u32 {
    // Only 0 has a negative predecessor. The compiler is not to know that a factor of 0 or 1 follows: it would make
    // two instructions of one.
    core::hint::black_box((a ^ b).wrapping_sub(1) >> 31)
}

/// The four words of a row among those of all rows, in bytes.
#[inline(never)]
fn words(rows: &Rows, row: u32) -> [u8; 16] {
    // In registers: nothing of them is in memory.
    let (mut w, mut x, mut y, mut z) = (0u32, 0u32, 0u32, 0u32);
    for (number, [a, b, c, d]) in (0..).zip(rows) {
        let same = is_same(row, number);
        w = w.wrapping_add(a.wrapping_mul(same));
        x = x.wrapping_add(b.wrapping_mul(same));
        y = y.wrapping_add(c.wrapping_mul(same));
        z = z.wrapping_add(d.wrapping_mul(same));
    }
    let word = |word: u32, shift: u32| u128::from(word) << shift;
    (word(w, 96) | word(x, 64) | word(y, 32) | word(z, 0)).to_be_bytes()
}

/// The point of a row.
#[inline(never)]
fn entry(table: &[Rows; 4], row: u32) -> AffinePoint {
    let mut coordinates = [FieldBytes::default(), FieldBytes::default()];
    let halves = coordinates.iter_mut().flat_map(|bytes| bytes.chunks_exact_mut(16));
    halves.zip(table).for_each(|(to, rows)| to.copy_from_slice(&words(rows, row)));
    let [x, y] = &coordinates;
    let point = EncodedPoint::from_affine_coordinates(x, y, false);
    // All are on the curve.
    AffinePoint::from_encoded_point(&point).unwrap_or(AffinePoint::IDENTITY)
}

/// `scalar`·G, in constant time.
#[inline(never)]
pub(super) fn mul_base(scalar: &Scalar) -> ProjectivePoint {
    let mut halved = *scalar * Scalar::reduce(HALF) + Scalar::reduce(SHIFT);
    let mut bytes: [u8; 32] = halved.to_bytes().into();
    let mut sum = ProjectivePoint::IDENTITY;
    for i in (0..HIGH).rev() {
        if i + 1 != HIGH {
            sum = sum.double();
        }
        for (i, table) in [i, i + HIGH].into_iter().zip(&TABLE).filter(|(i, _)| *i < STEP) {
            let (row, negative) = column(&bytes, i);
            let point = entry(table, row);
            sum += AffinePoint::conditional_select(&point, &-point, negative);
        }
    }
    halved.zeroize();
    bytes.zeroize();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Group as _, Secp256k1};

    #[test]
    fn the_table_is_what_it_says() {
        let teeth: [ProjectivePoint; TEETH] = core::array::from_fn(|tooth| {
            (0..tooth * STEP).fold(ProjectivePoint::GENERATOR, |point, _| point.double())
        });
        for row in 0..1 << (TEETH - 1) {
            let signed =
                |tooth: usize| if row >> tooth & 1 == 1 { teeth[tooth] } else { -teeth[tooth] };
            let sum: ProjectivePoint = (0..TEETH - 1).map(signed).sum();
            let low = teeth[TEETH - 1] + sum;
            let high = (0..HIGH).fold(low, |point, _| point.double());
            for (table, point) in TABLE.iter().zip([low, high]) {
                assert_eq!(ProjectivePoint::from(entry(table, row)), point, "{row}");
            }
        }
    }

    #[test]
    fn it_multiplies_as_the_library_does() {
        let small = (0..70u64).map(Scalar::from);
        let wide = (0..=255u8).map(|byte| Secp256k1.scalar_from_wide(&[byte; 48]));
        for scalar in small.clone().chain(small.map(|scalar| -scalar)).chain(wide) {
            assert_eq!(mul_base(&scalar), ProjectivePoint::GENERATOR * scalar);
        }
    }
}
