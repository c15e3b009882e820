//! Σ a·P over public data, with shared doublings (Straus) and signed digits: variable time.

use heapless::Vec;

use super::Group;

/// So many bits make a digit: on a chip, more would take too much stack.
const WIDTH: usize = if cfg!(feature = "std") { 5 } else { 4 };
/// Digits are odd, and at most this.
const LARGEST: i8 = (1 << (WIDTH - 1)) - 1;
/// A carry may come after the last bit.
const PLACES: usize = 257;

type Digits = [i8; PLACES];

/// P, 3P, 5P and so on.
type Multiples<P> = [P; 1 << (WIDTH - 2)];

/// Of one factor, or of one half of it.
struct Part<P> {
    digits: Digits,
    multiples: Multiples<P>,
}

/// Σ a·P over `terms`, in variable time: **for public data alone**. M bounds the parts, one for each
/// term, or two where [`Group::split`] halves a factor; each takes the stack some points and 257 bytes.
/// `None` if there are more.
pub(crate) fn sum_of_products<G: Group, const M: usize>(
    terms: &[(G::Scalar, G::Point)],
) -> Option<G::Point> {
    let mut parts: Vec<Part<G::Point>, M> = Vec::new();
    for (factor, point) in terms {
        let multiples = multiples::<G>(point);
        match halves::<G>(factor) {
            Some([a, b]) => {
                let of_b = multiples.map(|multiple| G::endomorphism(&multiple));
                parts.push(half::<G>(&a, multiples)).ok()?;
                parts.push(half::<G>(&b, of_b)).ok()?;
            }
            None => {
                let digits = digits(&G::scalar_to_bytes(factor));
                parts.push(Part { digits, multiples }).ok()?;
            }
        }
    }
    let highest = |part: &Part<_>| part.digits.iter().rposition(|digit| *digit != 0);
    let Some(highest) = parts.iter().filter_map(highest).max() else {
        return Some(G::Point::default());
    };
    let mut sum = G::Point::default();
    for place in (0..=highest).rev() {
        if place != highest {
            sum = G::double(&sum);
        }
        for part in &parts {
            let digit = part.digits.get(place).copied().unwrap_or_default();
            if digit == 0 {
                continue;
            }
            let multiple = *part.multiples.get(usize::from(digit.unsigned_abs() / 2))?;
            sum = if digit > 0 { sum + multiple } else { sum - multiple };
        }
    }
    Some(sum)
}

/// A factor of at most 128 bits is short enough as it is.
fn halves<G: Group>(factor: &G::Scalar) -> Option<[G::Scalar; 2]> {
    let short = G::scalar_to_bytes(factor).iter().take(16).all(|byte| *byte == 0);
    if short { None } else { G::split(factor) }
}

/// A half is short, or its negative is.
fn half<G: Group>(factor: &G::Scalar, multiples: Multiples<G::Point>) -> Part<G::Point> {
    let bytes = G::scalar_to_bytes(factor);
    if bytes.first() == Some(&0) {
        return Part { digits: digits(&bytes), multiples };
    }
    let digits = digits(&G::scalar_to_bytes(&-*factor));
    Part { digits, multiples: multiples.map(|multiple| -multiple) }
}

fn multiples<G: Group>(point: &G::Point) -> Multiples<G::Point> {
    let double = G::double(point);
    let mut multiples = [*point; 1 << (WIDTH - 2)];
    let mut last = *point;
    for multiple in multiples.iter_mut().skip(1) {
        last = last + double;
        *multiple = last;
    }
    multiples
}

/// The number in 32 big-endian bytes is Σ digit·2^place; every digit is 0, or odd and at most
/// [`LARGEST`] in magnitude.
fn digits(bytes: &[u8; 32]) -> Digits {
    let mut low_first = [0; 34];
    low_first.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    // So many bits from `place` on; there are none behind the last.
    let bits = |place: usize| {
        let pair = low_first.get(place / 8..).and_then(<[u8]>::first_chunk);
        (pair.copied().map_or(0, u16::from_le_bytes) >> (place % 8)) as i8 & ((1 << WIDTH) - 1)
    };
    let mut digits = [0; PLACES];
    let (mut place, mut carry) = (0, 0);
    while let Some(digit) = digits.get_mut(place) {
        let word = bits(place) + carry;
        if word & 1 == 0 {
            place += 1;
            continue;
        }
        carry = i8::from(word > LARGEST);
        *digit = word - (carry << WIDTH);
        place += WIDTH;
    }
    digits
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
            let digits = digits(&bytes);
            assert!(digits.iter().all(|d| *d == 0 || (d & 1 == 1 && d.abs() <= LARGEST)));
            // Adding up from below, byte by byte, with a carry that is never lost.
            let mut carry = 0i64;
            for (byte, places) in bytes.iter().rev().zip(digits.chunks(8)) {
                let sum = places.iter().rev().fold(0, |sum, d| 2 * sum + i64::from(*d)) + carry;
                assert_eq!(sum.rem_euclid(256), i64::from(*byte));
                carry = sum.div_euclid(256);
            }
            assert_eq!(carry + i64::from(digits[256]), 0);
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
            let terms = &terms[..count];
            let add = |sum, (scalar, point): &(G::Scalar, G::Point)| sum + G::mul(point, scalar);
            let expected = terms.iter().fold(G::Point::default(), add);
            assert_eq!(sum_of_products::<G, 12>(terms), Some(expected));
        }
        assert_eq!(sum_of_products::<G, 5>(&terms), None);
        let zero = [(minus_one, point(9)), (G::Scalar::from(9), point(1))];
        assert_eq!(sum_of_products::<G, 4>(&zero), Some(G::Point::default()));
    }

    #[test]
    fn a_sum_of_products_is_what_it_says() {
        every_sum::<Secp256k1>();
        every_sum::<P256>();
        every_sum::<Ed25519>();
    }
}
