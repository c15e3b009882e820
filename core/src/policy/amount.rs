//! 256-bit unsigned integers, exact: amounts in wei.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An unsigned integer of 256 bits. As 32 big-endian bytes, which is the wire form and has the order of the numbers,
/// it takes a chip far less flash than as words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount([u8; 32]);

impl Amount {
    /// 0.
    pub const ZERO: Self = Self([0; 32]);
    /// 2^256 − 1.
    pub const MAX: Self = Self([0xff; 32]);

    /// A small amount.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        let mut bytes = [0; 32];
        bytes.split_at_mut(16).1.copy_from_slice(&value.to_be_bytes());
        Self(bytes)
    }

    /// The same number in 128 bits, if it fits.
    #[must_use]
    pub fn to_u128(self) -> Option<u128> {
        let low = self.0.last_chunk().copied().map(u128::from_be_bytes)?;
        (self == Self::from_u128(low)).then_some(low)
    }

    /// From 32 big-endian bytes.
    #[must_use]
    pub const fn from_be_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// From at most 32 big-endian bytes.
    #[must_use]
    pub fn from_be_slice(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; 32];
        let start = 32usize.checked_sub(bytes.len())?;
        padded.get_mut(start..)?.copy_from_slice(bytes);
        Some(Self(padded))
    }

    /// 32 big-endian bytes.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The difference, or `None` below 0.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        // a − b = a + (2^256 − 1 − b) + 1, without the 2^256 that is carried unless it is below 0.
        let (difference, carry) = self.sum(&other.0.map(|byte| !byte), 1);
        (carry == 1).then_some(difference)
    }

    /// The sum, or `None` above 2^256 − 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (sum, carry) = self.sum(&other.0, 0);
        (carry == 0).then_some(sum)
    }

    /// The sum modulo 2^256 with what was carried before, 0 or 1, and what is carried then.
    #[inline(never)]
    fn sum(mut self, other: &[u8; 32], mut carry: u16) -> (Self, u16) {
        for (byte, other) in self.0.iter_mut().zip(other).rev() {
            let sum = u16::from(*byte) + u16::from(*other) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        (self, carry)
    }

    /// The product with a 64-bit factor, or `None` above 2^256 − 1.
    #[must_use]
    #[inline(never)]
    pub fn checked_mul(mut self, factor: u64) -> Option<Self> {
        let mut carry = 0u128;
        for byte in self.0.iter_mut().rev() {
            let product = u128::from(*byte) * u128::from(factor) + carry;
            (*byte, carry) = (product as u8, product >> 8);
        }
        (carry == 0).then_some(self)
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
        self.divide_by_ten().1
    }

    /// (self / 10, self % 10).
    fn divide_by_ten(mut self) -> (Self, u8) {
        let mut rest = 0u16;
        for byte in &mut self.0 {
            let part = rest << 8 | u16::from(*byte);
            (*byte, rest) = ((part / 10) as u8, part % 10);
        }
        (self, rest as u8)
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
        let above = Amount::from_be_bytes(&core::array::from_fn(|at| u8::from(at == 15)));
        assert_eq!(low.checked_add(Amount::from_u128(1)), Some(above));
        assert_eq!(Amount::MAX.checked_add(Amount::from_u128(1)), None);
        let one = Amount::from_u128(1);
        assert_eq!(above.checked_sub(one), Some(low));
        assert_eq!((one.checked_sub(above), low.checked_sub(above)), (None, None));
        assert_eq!(
            (Amount::ZERO.checked_sub(one), above.checked_sub(above)),
            (None, Some(Amount::ZERO))
        );
        assert_eq!(low.checked_mul(u64::MAX).unwrap().checked_add(low), low.checked_mul_u128());
        assert_eq!(Amount::MAX.checked_mul(2), None);
        assert_eq!(Amount::MAX.checked_mul(1), Some(Amount::MAX));
        assert!(above > low);
        assert_eq!((low.to_u128(), above.to_u128()), (Some(u128::MAX), None));
    }

    impl Amount {
        /// u128::MAX · 2^64, by bytes.
        fn checked_mul_u128(self) -> Option<Self> {
            let mut bytes = [0; 32];
            bytes[8..24].copy_from_slice(&self.0[16..]);
            Some(Self::from_be_bytes(&bytes))
        }
    }
}
