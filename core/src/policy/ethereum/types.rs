//! Types of values, Solidity's and EIP-712's, in one compact form that is read without an allocator.
//!
//! A type is a tag, and for compound types what follows it:
//!
//! | Tag | Type |
//! |---|---|
//! | 0x01 … 0x20 | `uint8` … `uint256` |
//! | 0x21 … 0x40 | `int8` … `int256` |
//! | 0x41 … 0x60 | `bytes1` … `bytes32` |
//! | 0x61, 0x62, 0x63, 0x64 | `bool`, `address`, `bytes`, `string` |
//! | 0x70, type | array of any length |
//! | 0x71, length (2 bytes, big-endian, not 0), type | array of this length |
//! | 0x72, index (1 byte) | the struct at this index of a table (typed data only) |
//! | 0x73, count (1 byte, not 0), types | tuple (call data only) |

use core::fmt;

use heapless::Vec;

/// Arrays and tuples, one in another, at most so deep.
pub const MAX_DEPTH: usize = 8;

const BOOL: u8 = 0x61;
const ADDRESS: u8 = 0x62;
const BYTES: u8 = 0x63;
const TEXT: u8 = 0x64;
const ARRAY: u8 = 0x70;
const FIXED_ARRAY: u8 = 0x71;
const STRUCT: u8 = 0x72;
const TUPLE: u8 = 0x73;

/// Why there is no such type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeError {
    /// The bytes end in the middle of a type.
    Truncated,
    /// No type has this tag, or not here.
    Tag(u8),
    /// More than [`MAX_DEPTH`] arrays and tuples in one another.
    TooDeep,
    /// An array of length 0, or a tuple of nothing: its values would take no room.
    Empty,
    /// More bytes than there is room for.
    TooLong,
    /// The text names no type.
    Unknown,
    /// `uint` or `int` without its size: names of types are hashed, and the hash is of the full name.
    Alias,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a type ends too early"),
            Self::Tag(tag) => write!(f, "{tag:#04x} is no type here"),
            Self::TooDeep => {
                write!(f, "at most {MAX_DEPTH} arrays and tuples may stand in one another")
            }
            Self::Empty => f.write_str("an array of length 0 or an empty tuple is no type"),
            Self::TooLong => f.write_str("the types are too many"),
            Self::Unknown => f.write_str("no such type"),
            Self::Alias => f.write_str("the type's size is missing: write uint256 or int256"),
        }
    }
}

impl core::error::Error for TypeError {}

/// A type without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementary {
    /// uint8 … uint256, by its bytes.
    Uint(u8),
    /// int8 … int256, by its bytes.
    Int(u8),
    /// bytes1 … bytes32.
    FixedBytes(u8),
    /// bool.
    Bool,
    /// address.
    Address,
    /// bytes.
    Bytes,
    /// string.
    Text,
}

/// One of 1 … 32 from its decimal text, without leading zeros.
fn size(digits: &str, unit: u16) -> Option<u8> {
    let number = decimal(digits)?;
    let size = number / unit;
    ((1..=32).contains(&size) && number % unit == 0).then_some(size as u8)
}

/// A decimal number of 1 … 65535 without leading zeros.
fn decimal(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    if plain { digits.parse().ok() } else { None }
}

impl Elementary {
    fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            0x01..=0x20 => Self::Uint(tag),
            0x21..=0x40 => Self::Int(tag - 0x20),
            0x41..=0x60 => Self::FixedBytes(tag - 0x40),
            BOOL => Self::Bool,
            ADDRESS => Self::Address,
            BYTES => Self::Bytes,
            TEXT => Self::Text,
            _ => return None,
        })
    }

    fn tag(self) -> u8 {
        match self {
            Self::Uint(size) => size,
            Self::Int(size) => 0x20 + size,
            Self::FixedBytes(size) => 0x40 + size,
            Self::Bool => BOOL,
            Self::Address => ADDRESS,
            Self::Bytes => BYTES,
            Self::Text => TEXT,
        }
    }

    /// By its full name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "address" => Self::Address,
            "bytes" => Self::Bytes,
            "string" => Self::Text,
            _ => {
                if let Some(digits) = name.strip_prefix("uint") {
                    Self::Uint(size(digits, 8)?)
                } else if let Some(digits) = name.strip_prefix("int") {
                    Self::Int(size(digits, 8)?)
                } else {
                    Self::FixedBytes(size(name.strip_prefix("bytes")?, 1)?)
                }
            }
        })
    }
}

impl fmt::Display for Elementary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(size) => write!(f, "uint{}", u16::from(*size) * 8),
            Self::Int(size) => write!(f, "int{}", u16::from(*size) * 8),
            Self::FixedBytes(size) => write!(f, "bytes{size}"),
            Self::Bool => f.write_str("bool"),
            Self::Address => f.write_str("address"),
            Self::Bytes => f.write_str("bytes"),
            Self::Text => f.write_str("string"),
        }
    }
}

/// Whether a struct of this name could be taken for a type that Solidity has, or may get.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let sized = |prefix| name.strip_prefix(prefix).is_some_and(all_digits);
    matches!(name, "bool" | "address" | "string" | "function" | "byte" | "fixed" | "ufixed")
        || sized("uint")
        || sized("int")
        || sized("bytes")
}

/// A name as Solidity has them: letters, digits, `_` and `$`, not a digit first.
#[must_use]
pub fn is_identifier(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    name.bytes().all(inner) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit())
}

/// One type, opened one level.
#[derive(Clone, Copy, Debug)]
pub enum Type<'t> {
    /// A type without parts.
    Elementary(Elementary),
    /// Any number of elements of the type that the bytes are.
    Array(&'t [u8]),
    /// So many elements of the type that the bytes are.
    FixedArray(u16, &'t [u8]),
    /// The struct at this index.
    Struct(u8),
    /// The members' types, one behind the other.
    Tuple(&'t [u8]),
}

/// Opens the first type of `bytes`; the rest comes back too.
///
/// # Errors
/// [`TypeError`], wherever in the type it is.
pub fn read(bytes: &[u8]) -> Result<(Type<'_>, &[u8]), TypeError> {
    let (tag, body) = bytes.split_first().ok_or(TypeError::Truncated)?;
    let rest = after(bytes, MAX_DEPTH)?;
    let until = |body: &'_ [u8]| body.len() - rest.len();
    let part = |from: usize| -> Result<&[u8], TypeError> {
        body.get(from..until(body)).ok_or(TypeError::Truncated)
    };
    let opened = match *tag {
        ARRAY => Type::Array(part(0)?),
        FIXED_ARRAY => {
            let length = body.first_chunk().ok_or(TypeError::Truncated)?;
            Type::FixedArray(u16::from_be_bytes(*length), part(2)?)
        }
        STRUCT => Type::Struct(*body.first().ok_or(TypeError::Truncated)?),
        TUPLE => Type::Tuple(part(1)?),
        tag => Type::Elementary(Elementary::from_tag(tag).ok_or(TypeError::Tag(tag))?),
    };
    Ok((opened, rest))
}

/// What follows the first type of `bytes`, in which at most `depth` compound types stand in one another.
fn after(bytes: &[u8], depth: usize) -> Result<&[u8], TypeError> {
    let (tag, body) = bytes.split_first().ok_or(TypeError::Truncated)?;
    let inner = || depth.checked_sub(1).ok_or(TypeError::TooDeep);
    match *tag {
        ARRAY => after(body, inner()?),
        FIXED_ARRAY => {
            let (length, element) = body.split_first_chunk().ok_or(TypeError::Truncated)?;
            if *length == [0, 0] {
                return Err(TypeError::Empty);
            }
            after(element, inner()?)
        }
        STRUCT => body.get(1..).ok_or(TypeError::Truncated),
        TUPLE => {
            let (count, mut members) = body.split_first().ok_or(TypeError::Truncated)?;
            if *count == 0 {
                return Err(TypeError::Empty);
            }
            for _ in 0..*count {
                members = after(members, inner()?)?;
            }
            Ok(members)
        }
        tag => Elementary::from_tag(tag).map(|_| body).ok_or(TypeError::Tag(tag)),
    }
}

/// Whether a tag occurs in the first type of `bytes` that `read` accepted.
pub(super) fn contains(bytes: &[u8], unwanted: fn(&Type<'_>) -> bool) -> Result<bool, TypeError> {
    let (opened, _) = read(bytes)?;
    if unwanted(&opened) {
        return Ok(true);
    }
    match opened {
        Type::Array(element) | Type::FixedArray(_, element) => contains(element, unwanted),
        Type::Tuple(mut members) => {
            while !members.is_empty() {
                if contains(members, unwanted)? {
                    return Ok(true);
                }
                (_, members) = read(members)?;
            }
            Ok(false)
        }
        Type::Elementary(_) | Type::Struct(_) => Ok(false),
    }
}

/// No compact type that has a name here is longer.
pub const MAX_TYPE: usize = 128;

/// A type's compact form, from its text: `uint256`, `bytes32[2][]`, `(address,uint256)[]`. `structs` finds a
/// struct's index by its name.
///
/// # Errors
/// [`TypeError`].
pub fn compact(
    text: &str,
    structs: &dyn Fn(&str) -> Option<u8>,
) -> Result<Vec<u8, MAX_TYPE>, TypeError> {
    let mut out = Vec::new();
    encode_below(text, structs, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn push<const L: usize>(out: &mut Vec<u8, L>, bytes: &[u8]) -> Result<(), TypeError> {
    out.extend_from_slice(bytes).map_err(|_| TypeError::TooLong)
}

fn encode_below<const L: usize>(
    text: &str,
    structs: &dyn Fn(&str) -> Option<u8>,
    depth: usize,
    out: &mut Vec<u8, L>,
) -> Result<(), TypeError> {
    let tuple = text.strip_prefix('(');
    let end = match tuple {
        Some(inner) => closing(inner).ok_or(TypeError::Unknown)? + 2,
        None => text.find('[').unwrap_or(text.len()),
    };
    let (base, suffixes) = text.split_at_checked(end).ok_or(TypeError::Unknown)?;
    let lengths = array_lengths(suffixes)?;
    let depth = depth.checked_sub(lengths.len()).ok_or(TypeError::TooDeep)?;
    // The last pair of brackets is the outermost array.
    for length in lengths.iter().rev() {
        match length {
            None => push(out, &[ARRAY])?,
            Some(length) => {
                push(out, &[FIXED_ARRAY])?;
                push(out, &length.to_be_bytes())?;
            }
        }
    }
    if let Some(inner) = tuple {
        let depth = depth.checked_sub(1).ok_or(TypeError::TooDeep)?;
        push(out, &[TUPLE, 0])?;
        let place = out.len() - 1;
        let members = inner.get(..end - 2).ok_or(TypeError::Unknown)?;
        let count = encode_list(members, structs, depth, out)?;
        let count = u8::try_from(count).map_err(|_| TypeError::TooLong)?;
        if count == 0 {
            return Err(TypeError::Empty);
        }
        *out.get_mut(place).ok_or(TypeError::TooLong)? = count;
        return Ok(());
    }
    if let Some(elementary) = Elementary::from_name(base) {
        return push(out, &[elementary.tag()]);
    }
    match structs(base) {
        Some(index) => push(out, &[STRUCT, index]),
        None if matches!(base, "uint" | "int") => Err(TypeError::Alias),
        None => Err(TypeError::Unknown),
    }
}

/// Appends the types of a list with commas; nothing at all is a list of none. How many they are.
pub(super) fn encode_list<const L: usize>(
    text: &str,
    structs: &dyn Fn(&str) -> Option<u8>,
    depth: usize,
    out: &mut Vec<u8, L>,
) -> Result<usize, TypeError> {
    let (mut rest, mut count) = (text, 0);
    while !rest.is_empty() {
        let end = comma(rest).unwrap_or(rest.len());
        let (first, tail) = rest.split_at_checked(end).ok_or(TypeError::Unknown)?;
        encode_below(first, structs, depth, out)?;
        count += 1;
        if tail == "," {
            return Err(TypeError::Unknown);
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    Ok(count)
}

/// Where the first comma outside all parentheses is.
fn comma(text: &str) -> Option<usize> {
    let mut open = 0usize;
    text.bytes().position(|byte| {
        match byte {
            b'(' => open += 1,
            b')' => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0 && byte == b','
    })
}

/// Where the parenthesis closes that opened before `text`.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut open = 1usize;
    text.bytes().position(|byte| {
        match byte {
            b'(' => open += 1,
            b')' => open -= 1,
            _ => {}
        }
        open == 0
    })
}

fn array_lengths(mut suffixes: &str) -> Result<Vec<Option<u16>, MAX_DEPTH>, TypeError> {
    let mut lengths = Vec::new();
    while !suffixes.is_empty() {
        let inner = suffixes.strip_prefix('[').ok_or(TypeError::Unknown)?;
        let (digits, rest) = inner.split_once(']').ok_or(TypeError::Unknown)?;
        let length = match digits {
            "" => None,
            "0" => return Err(TypeError::Empty),
            _ => Some(decimal(digits).ok_or(TypeError::Unknown)?),
        };
        lengths.push(length).map_err(|_| TypeError::TooDeep)?;
        suffixes = rest;
    }
    Ok(lengths)
}

/// Writes the name of the first type of `bytes`; `structs` names the struct at an index.
pub(super) fn write_name<'n>(
    bytes: &[u8],
    structs: &dyn Fn(u8) -> Option<&'n str>,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    let (opened, _) = read(bytes).map_err(|_| fmt::Error)?;
    match opened {
        Type::Elementary(elementary) => write!(out, "{elementary}"),
        Type::Struct(index) => out.write_str(structs(index).ok_or(fmt::Error)?),
        Type::Array(element) => {
            write_name(element, structs, out)?;
            out.write_str("[]")
        }
        Type::FixedArray(length, element) => {
            write_name(element, structs, out)?;
            write!(out, "[{length}]")
        }
        Type::Tuple(members) => {
            out.write_char('(')?;
            write_list(members, structs, out)?;
            out.write_char(')')
        }
    }
}

/// Writes the names of all types in `bytes`, with commas.
pub(super) fn write_list<'n>(
    mut bytes: &[u8],
    structs: &dyn Fn(u8) -> Option<&'n str>,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    while !bytes.is_empty() {
        write_name(bytes, structs, out)?;
        (_, bytes) = read(bytes).map_err(|_| fmt::Error)?;
        if !bytes.is_empty() {
            out.write_char(',')?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString};

    fn compact(text: &str) -> Result<Vec<u8, MAX_TYPE>, TypeError> {
        super::compact(text, &|name| (name == "Person").then_some(3))
    }

    fn name(bytes: &[u8]) -> String {
        let mut text = String::new();
        write_name(bytes, &|index| (index == 3).then_some("Person"), &mut text).unwrap();
        text
    }

    #[test]
    fn names_both_ways() {
        for (text, bytes) in [
            ("uint8", "01"),
            ("uint256", "20"),
            ("int8", "21"),
            ("int256", "40"),
            ("bytes1", "41"),
            ("bytes32", "60"),
            ("bool", "61"),
            ("address", "62"),
            ("bytes", "63"),
            ("string", "64"),
            ("Person", "7203"),
            ("Person[]", "707203"),
            ("uint256[2][]", "7071000220"),
            ("uint256[][2]", "7100027020"),
            ("(address,(bool,bytes)[3],string[])[65535]", "71ffff73036271000373026163"),
        ] {
            let read_back = compact(text).unwrap();
            assert!(
                hex::encode(&read_back).starts_with(bytes),
                "{text}: {}",
                hex::encode(&read_back)
            );
            assert_eq!(name(&read_back), text);
            assert!(read(&read_back).unwrap().1.is_empty(), "{text}");
        }
        for tag in 0..=255u8 {
            let elementary = Elementary::from_tag(tag);
            assert!(elementary.is_none_or(|e| e.tag() == tag));
            assert!(elementary.is_none_or(|e| Elementary::from_name(&e.to_string()) == elementary));
        }
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for (text, error) in [
            ("", TypeError::Unknown),
            ("uint", TypeError::Alias),
            ("int[]", TypeError::Alias),
            ("uint7", TypeError::Unknown),
            ("uint08", TypeError::Unknown),
            ("uint0", TypeError::Unknown),
            ("uint264", TypeError::Unknown),
            ("uint+8", TypeError::Unknown),
            ("bytes0", TypeError::Unknown),
            ("bytes33", TypeError::Unknown),
            ("bytes032", TypeError::Unknown),
            ("person", TypeError::Unknown),
            ("uint256[0]", TypeError::Empty),
            ("uint256[01]", TypeError::Unknown),
            ("uint256[65536]", TypeError::Unknown),
            ("uint256[", TypeError::Unknown),
            ("uint256]", TypeError::Unknown),
            ("uint256[]x", TypeError::Unknown),
            ("uint256[-1]", TypeError::Unknown),
            ("()", TypeError::Empty),
            ("(bool,)", TypeError::Unknown),
            ("(,bool)", TypeError::Unknown),
            ("(bool", TypeError::Unknown),
            ("(bool))", TypeError::Unknown),
            ("( bool)", TypeError::Unknown),
            ("bool[][][][][][][][][]", TypeError::TooDeep),
            ("(((((((((bool)))))))))", TypeError::TooDeep),
            ("(bool[][][][])[][][][]", TypeError::TooDeep),
            ("é[]", TypeError::Unknown),
        ] {
            assert_eq!(compact(text), Err(error), "{text}");
        }
        assert!(compact("(bool[][][][])[][][]").is_ok());
        for (bytes, error) in [
            ("", TypeError::Truncated),
            ("00", TypeError::Tag(0)),
            ("65", TypeError::Tag(0x65)),
            ("70", TypeError::Truncated),
            ("7100", TypeError::Truncated),
            ("71000061", TypeError::Empty),
            ("7300", TypeError::Empty),
            ("730261", TypeError::Truncated),
            ("72", TypeError::Truncated),
            ("707070707070707070", TypeError::TooDeep),
            ("73017301730173017301730173017301730161", TypeError::TooDeep),
        ] {
            assert_eq!(read(&hex::decode(bytes).unwrap()).unwrap_err(), error, "{bytes}");
        }
        for name in ["uint", "uint9", "int", "bytes", "bytes99", "bool", "address", "function"] {
            assert!(is_reserved(name));
        }
        assert!(!is_reserved("uintx") && !is_reserved("Mail"));
    }
}
