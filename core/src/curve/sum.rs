//! Σ a·P over public data, with shared doublings (Straus) and signed digits: variable time.

use core::ops::Range;

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
/// Digits that a byte has room for: on a chip two.
const IN_BYTE: usize = if cfg!(feature = "std") { 1 } else { 2 };

/// P, 3P, 5P and so on.
type Multiples<P> = [P; 1 << (WIDTH - 2)];

struct Term<G: Group> {
    /// Of the factor; or of its two halves, if it has them, one behind the other.
    digits: [u8; PLACES / IN_BYTE],
    halved: bool,
    multiples: Multiples<G::Point>,
}

impl<G: Group> Term<G> {
    /// How many digits are to be gone through.
    fn places(&self) -> usize {
        if self.halved { HALF } else { PLACES }
    }

    /// The digits of one place, the second that of the other half.
    fn at(&self, place: usize) -> [i8; 2] {
        let at = |place| digit::<IN_BYTE>(&self.digits, place);
        if self.halved { [at(place), at(HALF + place)] } else { [at(place), 0] }
    }

    fn multiple(&self, digit: i8) -> Option<G::Point> {
        self.multiples.get(usize::from(digit.unsigned_abs() / 2)).copied()
    }

    #[inline(never)]
    fn fill(&mut self, factor: &G::Scalar, point: &G::Point) {
        let double = G::double(point);
        let mut next = *point;
        for multiple in &mut self.multiples {
            *multiple = next;
            next = next + double;
        }
        let bytes = G::scalar_to_bytes(factor);
        // One of at most 128 bits is short enough as it is.
        if bytes.iter().take(16).all(|byte| *byte == 0) {
            self.halved = true;
            self.put_digits(&bytes, false, 0..HALF);
        } else if let Some([a, b]) = G::split(factor) {
            self.halved = true;
            self.put_half(&a, 0..HALF);
            self.put_half(&b, HALF..PLACES);
        } else {
            self.put_digits(&bytes, false, 0..PLACES);
        }
    }

    /// A half is short, or its negative is.
    fn put_half(&mut self, factor: &G::Scalar, places: Range<usize>) {
        let bytes = G::scalar_to_bytes(factor);
        if bytes.first() == Some(&0) {
            return self.put_digits(&bytes, false, places);
        }
        self.put_digits(&G::scalar_to_bytes(&G::negate(factor)), true, places);
    }

    #[inline(never)]
    fn put_digits(&mut self, bytes: &[u8; 32], negative: bool, places: Range<usize>) {
        digits(bytes, places.len(), |place, digit| {
            let digit = if negative { -digit } else { digit };
            put_digit::<IN_BYTE>(&mut self.digits, places.start + place, digit);
        });
    }
}

/// One of the digits, of which so many are in a byte, the first lowest.
fn digit<const IN_BYTE: usize>(digits: &[u8], place: usize) -> i8 {
    let (bits, at) = (8 / IN_BYTE, place % IN_BYTE);
    let byte = digits.get(place / IN_BYTE).copied().unwrap_or_default();
    // Its highest bit is its sign.
    ((byte << (8 - bits * (at + 1))) as i8) >> (8 - bits)
}

/// It was 0.
fn put_digit<const IN_BYTE: usize>(digits: &mut [u8], place: usize, digit: i8) {
    let bits = 8 / IN_BYTE;
    if let Some(byte) = digits.get_mut(place / IN_BYTE) {
        *byte |= ((digit << (8 - bits)) as u8) >> (8 - bits * (place % IN_BYTE + 1));
    }
}

/// Σ a·P while it grows, in variable time: **for public data alone**. M bounds the terms; each takes some
/// points and the digits.
pub(crate) struct Sum<G: Group, const M: usize> {
    terms: Vec<Term<G>, M>,
    group: G,
}

impl<G: Group, const M: usize> Sum<G, M> {
    pub(crate) fn new(group: G) -> Self {
        Self { terms: Vec::new(), group }
    }

    /// A term is large for a chip's stack: it passes through here alone, and is made where it stays.
    #[inline(never)]
    fn begin(&mut self) -> Option<&mut Term<G>> {
        let multiples = [self.group.identity(); 1 << (WIDTH - 2)];
        let digits = [0; PLACES / IN_BYTE];
        self.terms.push(Term { digits, halved: false, multiples }).ok()?;
        self.terms.last_mut()
    }

    /// One more term; `None` if there are too many, or if it is of another curve.
    pub(crate) fn add(&mut self, factor: &G::Scalar, point: &G::Point) -> Option<()> {
        if !self.group.has(factor, point) {
            return None;
        }
        self.begin()?.fill(factor, point);
        Some(())
    }

    /// The sum of all terms.
    pub(crate) fn value(&self) -> Option<G::Point> {
        value(self.group, &self.terms)
    }
}

#[inline(never)]
fn value<G: Group>(group: G, terms: &[Term<G>]) -> Option<G::Point> {
    let highest = terms.iter().map(Term::places).max().unwrap_or_default();
    let mut sum = group.identity();
    // Before the first digit the sum is the identity: it need not be doubled.
    let mut begun = false;
    for place in (0..highest).rev() {
        if begun {
            sum = G::double(&sum);
        }
        for term in terms.iter().filter(|term| place < term.places()) {
            for (digit, other) in term.at(place).into_iter().zip([false, true]) {
                if digit == 0 {
                    continue;
                }
                let multiple = term.multiple(digit)?;
                let multiple = if other { G::endomorphism(&multiple) } else { multiple };
                sum = sum + if digit > 0 { multiple } else { -multiple };
                begun = true;
            }
        }
    }
    Some(sum)
}

/// Σ a·P over `terms`, likewise; `None` if there are more than M, or if not all are of this group's curve.
pub(crate) fn sum_of_products<G: Group, const M: usize>(
    group: G,
    terms: impl IntoIterator<Item = (G::Scalar, G::Point)>,
) -> Option<G::Point> {
    let mut sum = Sum::<G, M>::new(group);
    for (factor, point) in terms {
        sum.add(&factor, &point)?;
    }
    sum.value()
}

/// The number in 32 big-endian bytes is Σ digit·2^place; every digit is 0, or odd and at most
/// [`LARGEST`] in magnitude. Those that are not 0 go to `put`; there are enough `places`.
fn digits(bytes: &[u8; 32], places: usize, mut put: impl FnMut(usize, i8)) {
    let mut low_first = [0; 35];
    low_first.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    // So many bits from `place` on; there are none behind the last.
    let bits = |place: usize| {
        let pair = low_first.get(place / 8..).and_then(<[u8]>::first_chunk);
        (pair.copied().map_or(0, u16::from_le_bytes) >> (place % 8)) as i8 & ((1 << WIDTH) - 1)
    };
    let (mut place, mut carry) = (0, 0);
    while place < places {
        let word = bits(place) + carry;
        if word & 1 == 0 {
            place += 1;
            continue;
        }
        carry = i8::from(word > LARGEST);
        put(place, word - (carry << WIDTH));
        place += WIDTH;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AnyGroup, Ed25519, P256, Secp256k1};
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
            super::digits(&bytes, PLACES, |place, digit| digits[place] = digit);
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

    #[test]
    fn digits_are_found_as_they_were_put() {
        fn packed<const IN_BYTE: usize>(largest: i8) {
            let mut bytes = [0; PLACES];
            let expected = |place: usize| {
                let digit = (place as i8).wrapping_mul(37) % (largest + 1);
                if digit & 1 == 0 { 0 } else { digit }
            };
            for place in (0..PLACES).filter(|place| expected(*place) != 0) {
                put_digit::<IN_BYTE>(&mut bytes, place, expected(place));
            }
            assert!((0..PLACES).all(|place| digit::<IN_BYTE>(&bytes, place) == expected(place)));
            assert!(bytes[PLACES.div_ceil(IN_BYTE)..].iter().all(|byte| *byte == 0));
            let both = [largest, -largest];
            assert!(both.iter().all(|digit| (0..PLACES).any(|place| expected(place) == *digit)));
        }
        packed::<1>(15);
        packed::<2>(7);
    }

    fn every_sum<G: Group>(group: G) {
        let point = |k: u64| G::mul_base(&group.number(k));
        let minus_one = -group.number(1);
        let terms = [
            (group.number(0), point(2)),
            (group.number(1), point(3)),
            (minus_one, point(5)),
            (group.scalar_from_wide(&[0xa7; 48]), point(7)),
            (group.scalar_from_wide(&[0x5c; 48]), group.identity()),
            (group.scalar_from_digest(&[0x0f; 32]), point(11)),
        ];
        for count in 0..=terms.len() {
            let terms = terms[..count].iter().copied();
            let add = |sum, (scalar, point): (G::Scalar, G::Point)| sum + G::mul(&point, &scalar);
            let expected = terms.clone().fold(group.identity(), add);
            assert_eq!(sum_of_products::<_, 12>(group, terms), Some(expected));
        }
        assert_eq!(sum_of_products::<_, 5>(group, terms), None);
        let zero = [(minus_one, point(9)), (group.number(9), point(1))];
        assert_eq!(sum_of_products::<_, 4>(group, zero), Some(group.identity()));
    }

    #[test]
    fn a_sum_of_products_is_what_it_says() {
        every_sum(Secp256k1);
        every_sum(P256);
        every_sum(Ed25519);
        AnyGroup::ALL.into_iter().for_each(every_sum);
    }
}
