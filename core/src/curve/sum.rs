//! Σ a·P over public data, with shared doublings (Straus) and signed digits: variable time.

use heapless::Vec;

use super::Group;

/// So many bits make a digit: on a chip, more would take too much stack.
const WIDTH: usize = if cfg!(feature = "std") { 5 } else { 4 };
/// Digits are odd, and at most this.
const LARGEST: i8 = (1 << (WIDTH - 1)) - 1;
/// Of half a factor: 129 bits, and a carry may come after the last.
const HALF: usize = 130;
/// Of two halves, or of one whole factor.
const PLACES: usize = 2 * HALF;

/// P, 3P, 5P and so on.
type Multiples<P> = [P; 1 << (WIDTH - 2)];

struct Term<P> {
    /// Of the factor; or of its two halves, if it has them, one behind the other.
    digits: [i8; PLACES],
    halved: bool,
    multiples: Multiples<P>,
}

impl<P: Copy> Term<P> {
    /// How many digits are to be gone through.
    fn places(&self) -> usize {
        if self.halved { HALF } else { PLACES }
    }

    /// The digits of one place, the second that of the other half.
    fn at(&self, place: usize) -> [i8; 2] {
        let at = |place| self.digits.get(place).copied().unwrap_or_default();
        if self.halved { [at(place), at(HALF + place)] } else { [at(place), 0] }
    }

    fn multiple(&self, digit: i8) -> Option<P> {
        self.multiples.get(usize::from(digit.unsigned_abs() / 2)).copied()
    }
}

/// Σ a·P over `terms`, in variable time: **for public data alone**. M bounds the terms; each takes the
/// stack some points and 260 bytes. `None` if there are more.
pub(crate) fn sum_of_products<G: Group, const M: usize>(
    terms: impl IntoIterator<Item = (G::Scalar, G::Point)>,
) -> Option<G::Point> {
    let mut prepared: Vec<Term<G::Point>, M> = Vec::new();
    for (factor, point) in terms {
        prepare::<G, M>(&mut prepared, &factor, &point)?;
    }
    let highest = prepared.iter().map(Term::places).max().unwrap_or_default();
    let mut sum = G::Point::default();
    // Before the first digit the sum is the identity: it need not be doubled.
    let mut begun = false;
    for place in (0..highest).rev() {
        if begun {
            sum = G::double(&sum);
        }
        for term in &prepared {
            if place >= term.places() {
                continue;
            }
            for (digit, other) in term.at(place).into_iter().zip([false, true]) {
                if digit == 0 {
                    continue;
                }
                let multiple = term.multiple(digit)?;
                let multiple = if other { G::endomorphism(&multiple) } else { multiple };
                sum = if digit > 0 { sum + multiple } else { sum - multiple };
                begun = true;
            }
        }
    }
    Some(sum)
}

#[inline(never)]
fn prepare<G: Group, const M: usize>(
    terms: &mut Vec<Term<G::Point>, M>,
    factor: &G::Scalar,
    point: &G::Point,
) -> Option<()> {
    let term = Term { digits: [0; PLACES], halved: false, multiples: [*point; 1 << (WIDTH - 2)] };
    terms.push(term).ok()?;
    let term = terms.last_mut()?;
    let double = G::double(point);
    let mut last = *point;
    for multiple in term.multiples.iter_mut().skip(1) {
        last = last + double;
        *multiple = last;
    }
    let bytes = G::scalar_to_bytes(factor);
    // One of at most 128 bits is short enough as it is.
    if bytes.iter().take(16).all(|byte| *byte == 0) {
        term.halved = true;
        digits(&bytes, &mut term.digits);
    } else if let Some([a, b]) = G::split(factor) {
        term.halved = true;
        let (of_a, of_b) = term.digits.split_at_mut(HALF);
        half::<G>(&a, of_a);
        half::<G>(&b, of_b);
    } else {
        digits(&bytes, &mut term.digits);
    }
    Some(())
}

/// A half is short, or its negative is.
fn half<G: Group>(factor: &G::Scalar, out: &mut [i8]) {
    let bytes = G::scalar_to_bytes(factor);
    if bytes.first() == Some(&0) {
        return digits(&bytes, out);
    }
    digits(&G::scalar_to_bytes(&-*factor), out);
    out.iter_mut().for_each(|digit| *digit = -*digit);
}

/// The number in 32 big-endian bytes is Σ digit·2^place; every digit is 0, or odd and at most
/// [`LARGEST`] in magnitude. `out` is zero, and long enough.
fn digits(bytes: &[u8; 32], out: &mut [i8]) {
    let mut low_first = [0; 35];
    low_first.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    // So many bits from `place` on; there are none behind the last.
    let bits = |place: usize| {
        let pair = low_first.get(place / 8..).and_then(<[u8]>::first_chunk);
        (pair.copied().map_or(0, u16::from_le_bytes) >> (place % 8)) as i8 & ((1 << WIDTH) - 1)
    };
    let (mut place, mut carry) = (0, 0);
    while let Some(digit) = out.get_mut(place) {
        let word = bits(place) + carry;
        if word & 1 == 0 {
            place += 1;
            continue;
        }
        carry = i8::from(word > LARGEST);
        *digit = word - (carry << WIDTH);
        place += WIDTH;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ed25519, P256, Secp256k1};
    use super::*;

    #[test]
    fn digits_are_the_number() {
        let mut numbers = heapless::Vec::<[u8; 32], 300>::new();
        numbers.extend([[0; 32], [0xff; 32], [0x55; 32], [0xaa; 32], [0x80; 32], [0x7f; 32]]);
        numbers.extend((0..=255).map(|low| {
            let mut bytes = [low ^ 0x3c; 32];
            (bytes[31], bytes[0]) = (low, !low);
            bytes
        }));
        for bytes in numbers {
            let mut digits = [0; PLACES];
            super::digits(&bytes, &mut digits);
            assert!(digits.iter().all(|d| *d == 0 || (d & 1 == 1 && d.abs() <= LARGEST)));
            // Adding up from below, byte by byte, with a carry that is never lost.
            let mut carry = 0i64;
            for (byte, places) in bytes.iter().rev().zip(digits.chunks(8)) {
                let sum = places.iter().rev().fold(0, |sum, d| 2 * sum + i64::from(*d)) + carry;
                assert_eq!(sum.rem_euclid(256), i64::from(*byte));
                carry = sum.div_euclid(256);
            }
            assert_eq!(carry + i64::from(digits[256]), 0);
            assert_eq!(digits[257..], [0; PLACES - 257]);
        }
    }

    fn every_sum<G: Group>() {
        let point = |k: u64| G::mul_base(&G::Scalar::from(k));
        let minus_one = -G::Scalar::from(1);
        let terms = [
            (G::Scalar::from(0), point(2)),
            (G::Scalar::from(1), point(3)),
            (minus_one, point(5)),
            (G::scalar_from_wide(&[0xa7; 48]), point(7)),
            (G::scalar_from_wide(&[0x5c; 48]), G::Point::default()),
            (G::scalar_from_digest(&[0x0f; 32]), point(11)),
        ];
        for count in 0..=terms.len() {
            let terms = terms[..count].iter().copied();
            let add = |sum, (scalar, point): (G::Scalar, G::Point)| sum + G::mul(&point, &scalar);
            let expected = terms.clone().fold(G::Point::default(), add);
            assert_eq!(sum_of_products::<G, 12>(terms), Some(expected));
        }
        assert_eq!(sum_of_products::<G, 5>(terms), None);
        let zero = [(minus_one, point(9)), (G::Scalar::from(9), point(1))];
        assert_eq!(sum_of_products::<G, 4>(zero), Some(G::Point::default()));
    }

    #[test]
    fn a_sum_of_products_is_what_it_says() {
        every_sum::<Secp256k1>();
        every_sum::<P256>();
        every_sum::<Ed25519>();
    }
}
