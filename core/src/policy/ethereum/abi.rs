//! The data of calls, read by the types of the function's parameters.
//!
//! Only the strict encoding of Solidity's ABI is accepted: offsets as small as they can be, in order,
//! without gaps, overlaps or anything behind the last value; unused bits zero (or the sign); strings in
//! UTF-8. That is what every common encoder writes. Each value then has one encoding, whoever decodes it
//! reads the same, and no byte is read twice, so that short data cannot stand for much.

use core::fmt;

use heapless::Vec;

use super::types::{self, Elementary, MAX_DEPTH, Type, TypeError};
use super::{Address, keccak256};
use crate::policy::amount::Amount;
use crate::policy::payload::Value;

/// The compact types of a function's parameters have at most so many bytes.
pub const MAX_TYPES: usize = 128;

/// Everything in an encoding starts at a multiple of it.
const WORD: usize = 32;

/// Why a call's data is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbiError {
    /// The parameters' types are none.
    Types(TypeError),
    /// The data ends too early, or says a length that it does not have.
    Truncated,
    /// A value does not lie where the strict encoding puts it.
    Offset,
    /// A value uses bits that its type does not have, or padding is not zero.
    Padding,
    /// A string is not UTF-8.
    Text,
    /// There is something behind the last value.
    Trailing,
    /// The path leads to no value without parts.
    NoSuchArgument,
}

impl fmt::Display for AbiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Types(error) => return error.fmt(f),
            Self::Truncated => "the call's data ends too early",
            Self::Offset => "an argument does not lie where the ABI's strict encoding puts it",
            Self::Padding => "an argument is outside its type, or its padding is not zero",
            Self::Text => "an argument is a string, and not UTF-8",
            Self::Trailing => "the call's data goes on behind the last argument",
            Self::NoSuchArgument => "the call has no such argument",
        })
    }
}

impl core::error::Error for AbiError {}

impl From<TypeError> for AbiError {
    fn from(error: TypeError) -> Self {
        Self::Types(error)
    }
}

/// The types of a function's parameters, one behind the other in the form of [`super::types`]: valid by
/// construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Types<'t>(&'t [u8]);

impl<'t> Types<'t> {
    /// Checks compact types.
    ///
    /// # Errors
    /// [`TypeError`].
    pub fn parse(bytes: &'t [u8]) -> Result<Self, TypeError> {
        if bytes.len() > MAX_TYPES {
            return Err(TypeError::TooLong);
        }
        let mut rest = bytes;
        while let Some(tag) = rest.first() {
            if types::contains(rest, |inner| matches!(inner, Type::Struct(_)))? {
                return Err(TypeError::Tag(*tag));
            }
            (_, rest) = types::read(rest)?;
        }
        Ok(Self(bytes))
    }

    /// The compact form.
    #[must_use]
    pub fn as_bytes(&self) -> &'t [u8] {
        self.0
    }

    /// The type at a path: parameter, then element or member, and so on.
    #[must_use]
    pub fn at(&self, path: &[u32]) -> Option<Type<'t>> {
        path.iter().try_fold(Type::Tuple(self.0), |opened, step| {
            let (element, count) = match opened {
                Type::Tuple(members) => (nth(members, *step)?, None),
                Type::Array(element) => (element, None),
                Type::FixedArray(count, element) => (element, Some(u32::from(count))),
                Type::Elementary(_) | Type::Struct(_) => return None,
            };
            let inside = count.is_none_or(|count| *step < count);
            types::read(element).ok().filter(|_| inside).map(|(opened, _)| opened)
        })
    }
}

impl fmt::Display for Types<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        types::write_list(self.0, &|_| None, f)?;
        f.write_str(")")
    }
}

/// The types from the one at `index` on.
fn nth(mut members: &[u8], index: u32) -> Option<&[u8]> {
    for _ in 0..index {
        (_, members) = types::read(members).ok()?;
    }
    (!members.is_empty()).then_some(members)
}

/// A function: which, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The first four bytes of a call.
    pub selector: [u8; 4],
    types: Vec<u8, MAX_TYPES>,
}

impl Signature {
    /// From a function's canonical text: `transfer(address,uint256)`, without names of parameters, blanks
    /// or short names of types.
    ///
    /// # Errors
    /// [`TypeError`].
    pub fn parse(text: &str) -> Result<Self, TypeError> {
        let (name, inner) = text.split_once('(').ok_or(TypeError::Unknown)?;
        let end = types::closing(inner).ok_or(TypeError::Unknown)?;
        let (parameters, close) = inner.split_at_checked(end).ok_or(TypeError::Unknown)?;
        if !types::is_identifier(name) || close != ")" {
            return Err(TypeError::Unknown);
        }
        let mut list = Vec::new();
        types::encode_list(parameters, &|_| None, MAX_DEPTH, &mut list)?;
        let [a, b, c, d, ..] = keccak256(text.as_bytes());
        Ok(Self { selector: [a, b, c, d], types: list })
    }

    /// The parameters.
    #[must_use]
    pub fn types(&self) -> Types<'_> {
        Types(&self.types)
    }
}

/// The whole data (what follows the selector) decodes as values of these types.
///
/// # Errors
/// [`AbiError`].
pub fn check(data: &[u8], types: Types<'_>) -> Result<(), AbiError> {
    let end = Data(data).sequence(Parts::Members(types.0), 0)?;
    if end == data.len() { Ok(()) } else { Err(AbiError::Trailing) }
}

/// The argument at a path (parameter, then element or member, and so on), of data that [`check`] accepts.
///
/// # Errors
/// [`AbiError`].
pub fn argument<'a>(data: &'a [u8], types: Types<'_>, path: &[u32]) -> Result<Value<'a>, AbiError> {
    check(data, types)?;
    match Data(data).find(Type::Tuple(types.0), path)? {
        (Type::Elementary(elementary), at) => {
            Data(data).elementary(elementary, at).map(|read| read.0)
        }
        _ => Err(AbiError::NoSuchArgument),
    }
}

/// How many elements the array at a path has, of data that [`check`] accepts.
///
/// # Errors
/// [`AbiError`].
pub fn length(data: &[u8], types: Types<'_>, path: &[u32]) -> Result<u32, AbiError> {
    check(data, types)?;
    match Data(data).find(Type::Tuple(types.0), path)? {
        (Type::FixedArray(count, _), _) => Ok(count.into()),
        (Type::Array(_), at) => {
            u32::try_from(Data(data).small(at)?).map_err(|_| AbiError::Truncated)
        }
        _ => Err(AbiError::NoSuchArgument),
    }
}

/// What lies side by side: their heads first, and then what of them has no fixed size.
#[derive(Clone, Copy)]
enum Parts<'t> {
    Members(&'t [u8]),
    Elements(usize, &'t [u8]),
}

impl<'t> Parts<'t> {
    fn next(&mut self) -> Result<Option<Type<'t>>, AbiError> {
        match self {
            Self::Members([]) | Self::Elements(0, _) => Ok(None),
            Self::Members(rest) => {
                let (first, others) = types::read(rest)?;
                *rest = others;
                Ok(Some(first))
            }
            Self::Elements(count, element) => {
                *count -= 1;
                Ok(Some(types::read(element)?.0))
            }
        }
    }

    /// How many bytes all heads have. More than any data has does not fit.
    fn heads(mut self) -> Result<usize, AbiError> {
        if let Self::Elements(count, element) = self {
            let one = head(types::read(element)?.0)?;
            return one.checked_mul(count).ok_or(AbiError::Truncated);
        }
        let mut sum = 0usize;
        while let Some(part) = self.next()? {
            sum = sum.checked_add(head(part)?).ok_or(AbiError::Truncated)?;
        }
        Ok(sum)
    }
}

/// How many bytes a value has, or, if that is not the same for all of its type, its offset.
fn head(part: Type<'_>) -> Result<usize, AbiError> {
    Ok(size(part)?.unwrap_or(WORD))
}

/// How many bytes every value of this type has; `None` if that differs.
fn size(part: Type<'_>) -> Result<Option<usize>, AbiError> {
    let mut parts = match part {
        Type::Elementary(Elementary::Bytes | Elementary::Text) | Type::Array(_) => return Ok(None),
        Type::Elementary(_) => return Ok(Some(WORD)),
        Type::FixedArray(count, element) => {
            let Some(one) = size(types::read(element)?.0)? else { return Ok(None) };
            return one.checked_mul(count.into()).ok_or(AbiError::Truncated).map(Some);
        }
        Type::Tuple(members) => Parts::Members(members),
        Type::Struct(_) => return Err(TypeError::Unknown.into()),
    };
    let mut sum = 0usize;
    while let Some(member) = parts.next()? {
        let Some(one) = size(member)? else { return Ok(None) };
        sum = sum.checked_add(one).ok_or(AbiError::Truncated)?;
    }
    Ok(Some(sum))
}

#[derive(Clone, Copy)]
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn bytes(self, at: usize, length: usize) -> Result<&'a [u8], AbiError> {
        let end = at.checked_add(length).ok_or(AbiError::Truncated)?;
        self.0.get(at..end).ok_or(AbiError::Truncated)
    }

    fn word(self, at: usize) -> Result<&'a [u8; WORD], AbiError> {
        self.bytes(at, WORD)?.try_into().map_err(|_| AbiError::Truncated)
    }

    /// A length or an offset; larger than any data has is refused.
    fn small(self, at: usize) -> Result<usize, AbiError> {
        match Amount::from_be_bytes(self.word(at)?).to_u128().map(u32::try_from) {
            Some(Ok(number)) => Ok(number as usize),
            _ => Err(AbiError::Truncated),
        }
    }

    /// Checks what lies side by side from `base` on. Where it ends.
    fn sequence(self, mut parts: Parts<'_>, base: usize) -> Result<usize, AbiError> {
        let mut tail = base.checked_add(parts.heads()?).ok_or(AbiError::Truncated)?;
        if tail > self.0.len() {
            return Err(AbiError::Truncated);
        }
        let mut at = base;
        while let Some(part) = parts.next()? {
            if let Some(size) = size(part)? {
                self.value(part, at)?;
                at += size;
            } else {
                if base.checked_add(self.small(at)?) != Some(tail) {
                    return Err(AbiError::Offset);
                }
                tail = self.value(part, tail)?;
                at += WORD;
            }
        }
        Ok(tail)
    }

    /// Checks a value. Where it ends.
    fn value(self, part: Type<'_>, at: usize) -> Result<usize, AbiError> {
        match part {
            Type::Elementary(elementary) => self.elementary(elementary, at).map(|read| read.1),
            Type::Struct(_) => Err(TypeError::Unknown.into()),
            _ => {
                let (parts, base) = self.open(part, at)?;
                self.sequence(parts, base)
            }
        }
    }

    /// The parts of a compound value, and where they begin.
    fn open<'t>(self, part: Type<'t>, at: usize) -> Result<(Parts<'t>, usize), AbiError> {
        match part {
            Type::Tuple(members) => Ok((Parts::Members(members), at)),
            Type::FixedArray(count, element) => Ok((Parts::Elements(count.into(), element), at)),
            // Its length was there to be read: the sum is within the data.
            Type::Array(element) => Ok((Parts::Elements(self.small(at)?, element), at + WORD)),
            Type::Elementary(_) | Type::Struct(_) => Err(AbiError::NoSuchArgument),
        }
    }

    /// Where the value at a path lies, in data that was checked.
    fn find<'t>(self, whole: Type<'t>, path: &[u32]) -> Result<(Type<'t>, usize), AbiError> {
        let (mut found, mut at) = (whole, 0);
        for step in path {
            let (mut parts, base) = self.open(found, at)?;
            let mut place = base;
            if let Parts::Elements(count, element) = &mut parts {
                let step = *step as usize;
                *count = count.checked_sub(step).ok_or(AbiError::NoSuchArgument)?;
                let skipped = head(types::read(element)?.0)?.checked_mul(step);
                place = skipped
                    .and_then(|skipped| base.checked_add(skipped))
                    .ok_or(AbiError::Truncated)?;
            } else {
                for _ in 0..*step {
                    let part = parts.next()?.ok_or(AbiError::NoSuchArgument)?;
                    place = place.checked_add(head(part)?).ok_or(AbiError::Truncated)?;
                }
            }
            found = parts.next()?.ok_or(AbiError::NoSuchArgument)?;
            at = match size(found)? {
                Some(_) => place,
                None => base.checked_add(self.small(place)?).ok_or(AbiError::Truncated)?,
            };
        }
        Ok((found, at))
    }

    /// A value without parts, and where it ends.
    fn elementary(self, kind: Elementary, at: usize) -> Result<(Value<'a>, usize), AbiError> {
        if matches!(kind, Elementary::Bytes | Elementary::Text) {
            return self.bytes_or_text(kind, at);
        }
        let word = self.word(at)?;
        let split = |at: usize| word.split_at_checked(at).ok_or(AbiError::Padding);
        let all = |bytes: &[u8], byte: u8| bytes.iter().all(|other| *other == byte);
        let value = match kind {
            Elementary::Uint(size) => {
                let (unused, _) = split(WORD - usize::from(size))?;
                all(unused, 0).then(|| Value::Uint(Amount::from_be_bytes(word)))
            }
            Elementary::Int(size) => {
                let (unused, number) = split(WORD - usize::from(size))?;
                let negative = number.first().is_some_and(|byte| *byte >= 0x80);
                all(unused, if negative { 0xff } else { 0 }).then_some(Value::Int(*word))
            }
            Elementary::FixedBytes(size) => {
                let (bytes, unused) = split(size.into())?;
                all(unused, 0).then_some(Value::FixedBytes(bytes))
            }
            Elementary::Bool => match split(WORD - 1)? {
                (unused, [bit @ (0 | 1)]) => all(unused, 0).then_some(Value::Bool(*bit == 1)),
                _ => None,
            },
            Elementary::Address => {
                let (unused, account) = split(WORD - 20)?;
                let account = account.try_into().map_err(|_| AbiError::Padding)?;
                all(unused, 0).then_some(Value::Address(Address(account)))
            }
            Elementary::Bytes | Elementary::Text => None,
        };
        Ok((value.ok_or(AbiError::Padding)?, at + WORD))
    }

    /// A length, so many bytes, and zeros up to a whole word.
    fn bytes_or_text(self, kind: Elementary, at: usize) -> Result<(Value<'a>, usize), AbiError> {
        let length = self.small(at)?;
        let start = at + WORD;
        let bytes = self.bytes(start, length)?;
        let end = start + length;
        let padded = end.next_multiple_of(WORD);
        if self.bytes(end, padded - end)?.iter().any(|byte| *byte != 0) {
            return Err(AbiError::Padding);
        }
        let value = match kind {
            Elementary::Text => {
                Value::Text(core::str::from_utf8(bytes).map_err(|_| AbiError::Text)?)
            }
            _ => Value::Bytes(bytes),
        };
        Ok((value, padded))
    }
}

#[cfg(test)]
mod tests;
