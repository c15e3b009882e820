//! Division of long integers, in little code. A chip divides 32 bits by itself, and the library's code for 64 bits
//! takes 1 KB of flash.

/// Quotient and remainder, both zero if `by` is; `by` has less than 64 bits. Nearly always both numbers are short: bit by
/// bit it takes many times as long.
#[must_use]
#[inline(never)]
pub fn divided(number: u64, by: u64) -> (u64, u64) {
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
        for number in numbers.into_iter().chain((0..64).map(|bit| 0xfedc_ba98_7654_3210 >> bit)) {
            let by = (1..64).map(|bit| 0xf0e1_d2c3_b4a5_9687u64 >> bit);
            for by in by.chain([1, 2, 7, 60, 1000, 1440, 32_768, 65_535]) {
                assert_eq!(divided(number, by), (number / by, number % by), "{number} / {by}");
            }
            assert_eq!(divided(number, 0), (0, 0));
        }
    }
}
