//! Division of long integers, in little code. A chip divides 32 bits by itself, and the library's code for 64 bits
//! takes 1 KB of flash.

/// Quotient and remainder; zero if `by` is.
#[must_use]
#[inline(never)]
pub fn by_short(number: u64, by: u16) -> (u64, u16) {
    let (mut digits, mut whole, mut rest) = (number, 0, 0);
    for _ in 0..4 {
        digits = digits.rotate_left(16);
        let part = rest << 16 | u32::from(digits as u16);
        // Less than 2^16, as the rest is less than the divisor.
        let digit = part.checked_div(u32::from(by)).unwrap_or_default();
        whole = whole << 16 | u64::from(digit);
        rest = if by == 0 { 0 } else { part - digit * u32::from(by) };
    }
    (whole, rest as u16)
}

/// The same of two long numbers, of which `by` has less than 64 bits. Nearly always both are short: bit by bit it
/// takes many times as long.
#[must_use]
#[inline(never)]
pub(crate) fn by_long(number: u64, by: u64) -> (u64, u64) {
    if let (Ok(number), Ok(by)) = (u32::try_from(number), u32::try_from(by)) {
        let whole = number.checked_div(by).unwrap_or_default();
        let rest = if by == 0 { 0 } else { number - whole * by };
        return (whole.into(), rest.into());
    }
    let (mut digits, mut whole, mut rest) = (number, 0, 0);
    if by == 0 {
        return (whole, rest);
    }
    for _ in 0..u64::BITS {
        rest = rest << 1 | digits >> (u64::BITS - 1);
        digits <<= 1;
        whole <<= 1;
        if rest >= by {
            (rest, whole) = (rest - by, whole | 1);
        }
    }
    (whole, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_those_of_the_machine() {
        let numbers = [0, 1, 59, 60, 1439, 1440, 65_535, 65_536, 1 << 32, u64::MAX - 1, u64::MAX];
        for number in numbers.into_iter().chain((0..64).map(|bit| 0x1234_5678_9abc_def1 >> bit)) {
            for by in [1, 2, 7, 60, 1000, 1440, 32_768, u16::MAX] {
                let expected = (number / u64::from(by), (number % u64::from(by)) as u16);
                assert_eq!(by_short(number, by), expected, "{number} / {by}");
            }
            assert_eq!(by_short(number, 0), (0, 0));
        }
        for number in (0..64).map(|bit| 0xfedc_ba98_7654_3210u64 >> bit) {
            for by in (1..64).map(|bit| 0xf0e1_d2c3_b4a5_9687u64 >> bit) {
                assert_eq!(by_long(number, by), (number / by, number % by), "{number} / {by}");
            }
        }
        assert_eq!((by_long(5, 0), by_long(u64::MAX, 0)), ((0, 0), (0, 0)));
    }
}
