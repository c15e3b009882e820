//! 256-bit unsigned integers, exact: amounts in wei.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An unsigned integer of 256 bits; the wire form is 32 big-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount {
    // The derived order compares `high` first.
    high: u128,
    low: u128,
}

impl Amount {
    /// 0.
    pub const ZERO: Self = Self { high: 0, low: 0 };
    /// 2^256 − 1.
    pub const MAX: Self = Self { high: u128::MAX, low: u128::MAX };

    /// A small amount.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self { high: 0, low: value }
    }

    /// The same number in 128 bits, if it fits.
    #[must_use]
    pub const fn to_u128(self) -> Option<u128> {
        if self.high == 0 { Some(self.low) } else { None }
    }

    /// From 32 big-endian bytes.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Self {
        let (high, low) = bytes.split_at(16);
        let part = |bytes: &[u8]| bytes.iter().fold(0, |sum: u128, b| sum << 8 | u128::from(*b));
        Self { high: part(high), low: part(low) }
    }

    /// From at most 32 big-endian bytes.
    #[must_use]
    pub fn from_be_slice(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; 32];
        let start = 32usize.checked_sub(bytes.len())?;
        padded.get_mut(start..)?.copy_from_slice(bytes);
        Some(Self::from_be_bytes(&padded))
    }

    /// 32 big-endian bytes.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let parts = self.high.to_be_bytes().into_iter().chain(self.low.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// The difference, or `None` below 0.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high)?.checked_sub(u128::from(borrow))?;
        Some(Self { high, low })
    }

    /// The sum, or `None` above 2^256 − 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high)?.checked_add(u128::from(carry))?;
        Some(Self { high, low })
    }

    /// The product with a 64-bit factor, or `None` above 2^256 − 1.
    #[must_use]
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        let mut carry = 0u128;
        let mut limbs = [0u64; 4];
        let parts = [self.low, self.low >> 64, self.high, self.high >> 64];
        for (limb, part) in limbs.iter_mut().zip(parts) {
            let product = u128::from(part as u64) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        let [a, b, c, d] = limbs.map(u128::from);
        (carry == 0).then_some(Self { high: d << 64 | c, low: b << 64 | a })
    }

    /// Reads a decimal number without sign or separators.
    #[must_use]
    pub fn from_decimal(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        text.bytes().try_fold(Self::ZERO, |sum, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            sum.checked_mul(10)?.checked_add(Self::from_u128(u128::from(digit)))
        })
    }

    /// self % 10.
    pub(super) fn last_digit(self) -> u8 {
        let digits = self.to_be_bytes();
        digits.iter().fold(0, |rest: u16, byte| (rest << 8 | u16::from(*byte)) % 10) as u8
    }

    /// (self / 10, self % 10).
    fn divide_by_ten(self) -> (Self, u8) {
        let mut remainder = 0u128;
        let parts = [self.high >> 64, self.high, self.low >> 64, self.low];
        let [d, c, b, a] = parts.map(|part| {
            let value = remainder << 64 | u128::from(part as u64);
            remainder = value % 10;
            value / 10
        });
        (Self { high: d << 64 | c, low: b << 64 | a }, remainder as u8)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = heapless::Vec::<u8, 80>::new();
        let mut rest = *self;
        while rest != Self::ZERO || digits.is_empty() {
            let (quotient, digit) = rest.divide_by_ten();
            let _ = digits.push(b'0' + digit);
            rest = quotient;
        }
        digits.iter().rev().try_for_each(|digit| write!(f, "{}", *digit as char))
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_be_bytes().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <[u8; 32]>::deserialize(from).map(|bytes| Self::from_be_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn decimal_text_both_ways_up_to_the_limit() {
        let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(Amount::from_decimal(max), Some(Amount::MAX));
        assert_eq!(Amount::MAX.to_string(), max);
        let above =
            "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(Amount::from_decimal(above), None);
        assert_eq!(Amount::ZERO.to_string(), "0");
        assert_eq!(Amount::from_decimal("1x"), None);
        assert_eq!(Amount::from_decimal(""), None);
    }

    #[test]
    fn sums_and_products_carry_and_stop_at_the_limit() {
        let low = Amount::from_u128(u128::MAX);
        assert_eq!(low.checked_add(Amount::from_u128(1)), Some(Amount { high: 1, low: 0 }));
        assert_eq!(Amount::MAX.checked_add(Amount::from_u128(1)), None);
        let (one, above) = (Amount::from_u128(1), Amount { high: 1, low: 0 });
        assert_eq!(above.checked_sub(one), Some(low));
        assert_eq!((one.checked_sub(above), low.checked_sub(above)), (None, None));
        assert_eq!(
            (Amount::ZERO.checked_sub(one), above.checked_sub(above)),
            (None, Some(Amount::ZERO))
        );
        assert_eq!(low.checked_mul(u64::MAX).unwrap().checked_add(low), low.checked_mul_u128());
        assert_eq!(Amount::MAX.checked_mul(2), None);
        assert_eq!(Amount::MAX.checked_mul(1), Some(Amount::MAX));
        assert!(Amount { high: 1, low: 0 } > low);
    }

    impl Amount {
        /// u128::MAX · 2^64, by bytes.
        fn checked_mul_u128(self) -> Option<Self> {
            let mut bytes = [0; 32];
            bytes[8..24].copy_from_slice(&self.low.to_be_bytes());
            Some(Self::from_be_bytes(&bytes))
        }
    }
}
