//! Tests of single values: of call arguments, of typed-data fields, of messages.

use core::cmp::Ordering;

use super::amount::Amount;
use super::condition::flag;
use super::ethereum::Address;
use super::ethereum::abi::Types;
use super::ethereum::types::{Elementary, Type};
use super::form::{FormError, List, Reader};
use super::payload::Value;

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Comparison {
    /// Not above the bound.
    AtMost = 0,
    /// Not below the bound.
    AtLeast = 1,
    /// Exactly it.
    Equals = 2,
}

impl Comparison {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.u8() {
            0 => Self::AtMost,
            1 => Self::AtLeast,
            2 => Self::Equals,
            other => {
                reader.fail(FormError::Kind("comparison", other));
                Self::AtMost
            }
        }
    }

    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::AtMost => order.is_le(),
            Self::AtLeast => order.is_ge(),
            Self::Equals => order.is_eq(),
        }
    }
}

/// A bound on an unsigned number of up to 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: Amount,
}

impl Bound {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { comparison: Comparison::read(reader), value: reader.amount() }
    }

    /// Whether `amount` is within the bound.
    #[must_use]
    pub fn holds(&self, amount: &Amount) -> bool {
        self.comparison.holds(amount.cmp(&self.value))
    }
}

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TextTest {
    /// Exactly.
    Equals = 0,
    /// Its beginning.
    StartsWith = 1,
    /// Its end.
    EndsWith = 2,
    /// Any part of it.
    Contains = 3,
    /// As a pattern: `*` stands for any bytes or none, `?` for one byte, `\` takes the next literally.
    Pattern = 4,
}

/// A text and how it is compared. Texts are bytes here: a message need not be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextMatch<'a> {
    /// How.
    pub test: TextTest,
    /// With what.
    pub text: &'a str,
}

impl<'a> TextMatch<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        let test = match reader.u8() {
            0 => TextTest::Equals,
            1 => TextTest::StartsWith,
            2 => TextTest::EndsWith,
            3 => TextTest::Contains,
            4 => TextTest::Pattern,
            other => {
                reader.fail(FormError::Kind("text test", other));
                TextTest::Equals
            }
        };
        let text = reader.text("text");
        if test == TextTest::Pattern && !is_pattern(text.as_bytes()) {
            reader.fail(FormError::Range("pattern"));
        }
        Self { test, text }
    }

    /// Whether `bytes` are as the test asks.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match self.test {
            TextTest::Equals => bytes == text,
            TextTest::StartsWith => bytes.starts_with(text),
            TextTest::EndsWith => bytes.ends_with(text),
            // The form has no empty text, but whoever makes this by hand may; there is no window of 0.
            TextTest::Contains => {
                text.is_empty() || bytes.windows(text.len()).any(|part| part == text)
            }
            TextTest::Pattern => matches(text, bytes),
        }
    }
}

/// A backslash at the end takes nothing literally.
fn is_pattern(mut pattern: &[u8]) -> bool {
    while let Some((token, rest)) = next_token(pattern) {
        if token == Token::Dangling {
            return false;
        }
        pattern = rest;
    }
    true
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Byte(u8),
    Dangling,
}

fn next_token(pattern: &[u8]) -> Option<(Token, &[u8])> {
    let (first, rest) = pattern.split_first()?;
    Some(match first {
        b'*' => (Token::Any, rest),
        b'?' => (Token::One, rest),
        b'\\' => match rest.split_first() {
            Some((literal, rest)) => (Token::Byte(*literal), rest),
            None => (Token::Dangling, rest),
        },
        byte => (Token::Byte(*byte), rest),
    })
}

/// Goes back to the last `*` only, which is enough: at most |pattern| · |bytes| steps.
fn matches(mut pattern: &[u8], mut bytes: &[u8]) -> bool {
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        let fits = match (next_token(pattern), bytes.split_first()) {
            (Some((Token::Any, rest)), _) => {
                star = Some((rest, bytes));
                pattern = rest;
                continue;
            }
            (None, None) => return true,
            (Some((Token::One, rest)), Some((_, after))) => Some((rest, after)),
            (Some((Token::Byte(byte), rest)), Some((first, after))) if byte == *first => {
                Some((rest, after))
            }
            _ => None,
        };
        if let Some((rest, after)) = fits {
            (pattern, bytes) = (rest, after);
            continue;
        }
        let Some((rest, from)) = star else { return false };
        let Some((_, from)) = from.split_first() else { return false };
        star = Some((rest, from));
        (pattern, bytes) = (rest, from);
    }
}

/// Kinds of values: each has its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned numbers.
    Unsigned,
    /// Signed numbers.
    Signed,
    /// Truths.
    Flag,
    /// Accounts.
    Address,
    /// Texts.
    Text,
    /// Bytes, of a fixed or any length.
    Bytes,
}

impl Kind {
    /// The kind of the value at a path into parameters; none if there is no value without parts.
    #[must_use]
    pub fn at(types: &Types<'_>, path: &[u32]) -> Option<Self> {
        let Some(Type::Elementary(elementary)) = types.at(path) else { return None };
        Some(match elementary {
            Elementary::Uint(_) => Self::Unsigned,
            Elementary::Int(_) => Self::Signed,
            Elementary::Bool => Self::Flag,
            Elementary::Address => Self::Address,
            Elementary::Text => Self::Text,
            Elementary::FixedBytes(_) | Elementary::Bytes => Self::Bytes,
        })
    }
}

/// A test of one value. What it is made for differs by the value's type: of another type, nobody can say
/// whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test<'a> {
    /// A bound on an unsigned number.
    Unsigned(Bound),
    /// A bound on a signed number, both in two's complement.
    Signed {
        /// How.
        comparison: Comparison,
        /// With what, big-endian.
        value: [u8; 32],
    },
    /// One of these accounts.
    Address(List<'a, 20>),
    /// This truth.
    Flag(bool),
    /// A text.
    Text(TextMatch<'a>),
    /// Exactly these bytes.
    Bytes(&'a [u8]),
}

impl<'a> Test<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        match reader.u8() {
            0 => Self::Unsigned(Bound::read(reader)),
            1 => Self::Signed { comparison: Comparison::read(reader), value: reader.array() },
            2 => Self::Address(reader.list("addresses")),
            3 => Self::Flag(flag(reader)),
            4 => Self::Text(TextMatch::read(reader)),
            5 => Self::Bytes(reader.short()),
            other => {
                reader.fail(FormError::Kind("test", other));
                Self::Flag(false)
            }
        }
    }

    /// What values it is made for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unsigned(_) => Kind::Unsigned,
            Self::Signed { .. } => Kind::Signed,
            Self::Address(_) => Kind::Address,
            Self::Flag(_) => Kind::Flag,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
        }
    }

    /// Whether the value passes; `None` if it is of a type that this test is not made for.
    #[must_use]
    pub fn holds(&self, value: &Value<'_>) -> Option<bool> {
        Some(match (self, value) {
            (Self::Unsigned(bound), Value::Uint(number)) => bound.holds(number),
            (Self::Signed { comparison, value }, Value::Int(number)) => {
                comparison.holds(ordered(number).cmp(&ordered(value)))
            }
            (Self::Address(list), Value::Address(Address(account))) => list.contains(account),
            (Self::Flag(wanted), Value::Bool(flag)) => wanted == flag,
            (Self::Text(text), Value::Text(found)) => text.holds(found.as_bytes()),
            (Self::Bytes(wanted), Value::Bytes(found) | Value::FixedBytes(found)) => {
                wanted == found
            }
            _ => return None,
        })
    }
}

/// Two's complement, so that bytes compare as the numbers do.
fn ordered(number: &[u8; 32]) -> [u8; 32] {
    let mut bytes = *number;
    let [first, ..] = &mut bytes;
    *first ^= 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, text: &str| {
            let (test, bytes) = (TextTest::Pattern, text.as_bytes());
            TextMatch { test, text: pattern }.holds(bytes)
        };
        for (pattern, text) in [
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbbc"),
            ("a*c", "ac"),
            ("a?c", "abc"),
            ("*b*", "abc"),
            ("a*b*c", "a-b-b-c"),
            (r"1\*2", "1*2"),
            (r"\\", r"\"),
            ("*ab", "aab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a?c", "ac"),
            ("a*c", "abcd"),
            (r"1\*2", "1x2"),
            ("?", ""),
            ("a*b", "a"),
            ("ab", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(is_pattern(br"a\\"));
        assert!(!is_pattern(br"a\"));
    }

    #[test]
    fn an_empty_text_is_part_of_every_text() {
        let holds = |test, bytes: &[u8]| TextMatch { test, text: "" }.holds(bytes);
        for test in [TextTest::Contains, TextTest::StartsWith, TextTest::EndsWith] {
            assert!(holds(test, b"") && holds(test, b"a"), "{test:?}");
        }
        assert!(holds(TextTest::Equals, b"") && !holds(TextTest::Equals, b"a"));
    }

    #[test]
    fn signed_numbers_have_an_order() {
        let number = |value: i128| {
            let mut bytes = [if value < 0 { 0xff } else { 0 }; 32];
            bytes[16..].copy_from_slice(&value.to_be_bytes());
            bytes
        };
        let at_most = |bound, value: i128| {
            Test::Signed { comparison: Comparison::AtMost, value: number(bound) }
                .holds(&Value::Int(number(value)))
        };
        assert_eq!(at_most(0, -1), Some(true));
        assert_eq!(at_most(-1, 0), Some(false));
        assert_eq!(at_most(-5, -6), Some(true));
        assert_eq!(at_most(-6, -5), Some(false));
        assert_eq!(at_most(7, 7), Some(true));
        let unsigned = Test::Unsigned(Bound { comparison: Comparison::AtMost, value: Amount::MAX });
        assert_eq!(unsigned.holds(&Value::Int(number(1))), None);
        assert_eq!(unsigned.holds(&Value::Bool(true)), None);
    }
}
