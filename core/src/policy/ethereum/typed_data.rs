//! Typed data (EIP-712), read and hashed by every party itself, without an allocator.
//!
//! What wallets exchange is JSON. Here it is a compact form in which every typed data has one encoding;
//! lengths and numbers are big-endian:
//!
//! | Part | Bytes |
//! |---|---|
//! | version of the form | 1 |
//! | domain | count (1 byte, at most 5), and per field its tag and its value |
//! | structs | count (1 byte, 1 … [`MAX_STRUCTS`]), and per struct, in ascending order of the names: name, count of fields (1 byte, 1 … [`MAX_FIELDS`]), and per field name and type |
//! | primary type | index of its struct (1 byte) |
//! | message | the values of the primary type's fields, in order |
//!
//! A name is its length (1 byte) and ASCII. A type is as in [`super::types`], without tuples. The domain's
//! fields have the tags 0 `name`, 1 `version`, 2 `chainId`, 3 `verifyingContract`, 4 `salt`, with the types
//! that EIP-712 gives them, in the order in which `EIP712Domain` has them. There are exactly the structs that
//! the primary type needs; `EIP712Domain` is not among them.
//!
//! | Type | Value |
//! |---|---|
//! | `uintN`, `intN` | N / 8 bytes, two's complement |
//! | `bytesN` | N bytes |
//! | `bool` | 0 or 1 |
//! | `address` | 20 bytes |
//! | `bytes`, `string` (UTF-8) | length (2 bytes), content |
//! | array | count (2 bytes) unless the type says it, elements |
//! | struct | values of its fields, in order |
//!
//! A struct may contain itself through an array; values end at a depth of [`MAX_DEPTH`] structs and arrays.
//! (That a struct is missing, `null` in some wallets, cannot be said.)

mod cursor;
mod table;
mod values;

use core::fmt;

use sha3::{Digest as _, Keccak256};

use super::types::{self, Elementary, Type, TypeError};
use crate::hash::Digest;
use crate::policy::payload::{PathStep, Value};
use cursor::Cursor;
use table::Table;
use values::Walk;

/// The version of the form that this build reads and writes.
pub const FORM: u8 = 1;
/// Typed data has at most so many structs.
pub const MAX_STRUCTS: usize = 32;
/// A struct has at most so many fields.
pub const MAX_FIELDS: usize = 64;
/// A name has at most so many bytes.
pub const MAX_NAME: usize = 128;
/// Structs and arrays, one in another, at most so deep; the message itself is the first.
pub const MAX_DEPTH: usize = 8;
/// The domain's fields, by their tags.
pub const DOMAIN_FIELDS: [(&str, Elementary); 5] = [
    ("name", Elementary::Text),
    ("version", Elementary::Text),
    ("chainId", Elementary::Uint(32)),
    ("verifyingContract", Elementary::Address),
    ("salt", Elementary::FixedBytes(32)),
];

/// Why bytes are no typed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedDataError {
    /// Another version of the form.
    Version(u8),
    /// The bytes end too early.
    Truncated,
    /// There is something behind the message.
    Trailing,
    /// The domain has a field that is unknown, or twice.
    Domain,
    /// No struct or no field, or more than there may be.
    Count,
    /// A name that a struct or a field cannot have.
    Name,
    /// Structs are not in the order of their names, or two have one name.
    Order,
    /// Two fields of a struct have one name.
    Duplicate,
    /// A type is none, or of a struct that is not there.
    Type(TypeError),
    /// The primary type does not need this struct.
    Unused(u8),
    /// More than [`MAX_DEPTH`] structs and arrays in one another.
    TooDeep,
    /// A bool that is neither 0 nor 1.
    Bool,
    /// A string is not UTF-8.
    Text,
    /// This build reads no typed data: it lacks the feature `typed-data`.
    NotInThisBuild,
}

impl fmt::Display for TypedDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Version(version) => {
                return write!(f, "typed data of form {version} is not understood, only {FORM}");
            }
            Self::Type(error) => return write!(f, "the typed data has a wrong type: {error}"),
            Self::TooDeep => {
                return write!(
                    f,
                    "the typed data is more than {MAX_DEPTH} structs and arrays deep"
                );
            }
            Self::Unused(_) => "the typed data has a struct that its primary type does not need",
            Self::Truncated => "the typed data ends too early",
            Self::Trailing => "the typed data goes on behind its message",
            Self::Domain => "the typed data's domain has a field that is unknown, or twice",
            Self::Count => "the typed data has too many structs or fields, or a struct without any",
            Self::Name => "the typed data has a name that no struct or field can have",
            Self::Order => "the typed data's structs are not in the order of their names",
            Self::Duplicate => "a struct of the typed data has two fields of one name",
            Self::Bool => "a bool of the typed data is neither 0 nor 1",
            Self::Text => "a string of the typed data is not UTF-8",
            Self::NotInThisBuild => "this build reads no typed data",
        };
        f.write_str(what)
    }
}

impl core::error::Error for TypedDataError {}

impl From<TypeError> for TypedDataError {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

/// Whether a struct may have this name. Besides an identifier's letters some dapps use `:` and `.`; nothing
/// that separates names in a type's text may be in it, nor may it be taken for another type.
#[must_use]
pub fn is_struct_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | ':' | '.');
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
    let own = !types::is_reserved(name) && name != "EIP712Domain";
    own && name.len() <= MAX_NAME && name.starts_with(first) && name.chars().all(plain)
}

/// Whether a field may have this name.
#[must_use]
pub fn is_field_name(name: &str) -> bool {
    name.len() <= MAX_NAME && types::is_identifier(name)
}

/// Typed data, checked and hashed; it walks its bytes afterwards.
#[derive(Clone, Copy, Debug)]
pub struct TypedData<'a> {
    domain: Cursor<'a>,
    table: Table<'a>,
    primary: u8,
    message: Cursor<'a>,
    digest: Digest,
}

impl<'a> TypedData<'a> {
    /// Reads and hashes typed data.
    ///
    /// # Errors
    /// [`TypedDataError`].
    #[inline(never)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TypedDataError> {
        let mut cursor = Cursor(bytes);
        match cursor.u8()? {
            FORM => {}
            version => return Err(TypedDataError::Version(version)),
        }
        let domain = cursor;
        let separator = domain_separator(&mut cursor)?;
        let table = Table::read(&mut cursor)?;
        let primary = cursor.u8()?;
        table.check_needed(primary)?;
        let message = cursor;
        let hash = table.hash_struct(primary, &mut cursor)?;
        if !cursor.is_empty() {
            return Err(TypedDataError::Trailing);
        }
        let digest = Keccak256::new()
            .chain_update([0x19, 0x01])
            .chain_update(separator)
            .chain_update(hash)
            .finalize()
            .into();
        Ok(Self { domain, table, primary, message, digest })
    }

    /// keccak-256 of `0x1901 ‖ domain separator ‖ hash of the message`: what is signed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The name of the message's struct.
    #[must_use]
    pub fn primary_type(&self) -> &'a str {
        self.table.name(self.primary).unwrap_or_default()
    }

    /// A field of the domain: `name`, `version`, `chainId`, `verifyingContract` or `salt`.
    #[must_use]
    #[inline(never)]
    pub fn domain(&self, field: &str) -> Option<Value<'a>> {
        let mut cursor = self.domain;
        for _ in 0..cursor.u8().ok()? {
            let (name, kind) = domain_field(&mut cursor).ok()?;
            let value = values::elementary(kind, &mut cursor).ok()?;
            if name == field {
                return Some(value);
            }
        }
        None
    }

    /// The value at the end of a path into the message; `None` where there is none, or a struct or array.
    #[must_use]
    pub fn field(&self, path: &[PathStep<'_>]) -> Option<Value<'a>> {
        match self.find(path)? {
            (Type::Elementary(kind), mut cursor) => values::elementary(kind, &mut cursor).ok(),
            _ => None,
        }
    }

    /// How many elements the array at the end of a path has.
    #[must_use]
    pub fn length(&self, path: &[PathStep<'_>]) -> Option<u32> {
        match self.find(path)? {
            (Type::Array(_), mut cursor) => cursor.u16().ok().map(u32::from),
            (Type::FixedArray(count, _), _) => Some(count.into()),
            _ => None,
        }
    }

    /// The text that is hashed for the primary type: `Mail(Person from,…)Person(…)`.
    ///
    /// # Errors
    /// If `out` refuses it.
    pub fn encode_type(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.table.encode_type(self.primary, out)
    }

    fn find(&self, path: &[PathStep<'_>]) -> Option<(Type<'a>, Cursor<'a>)> {
        Walk { table: &self.table }.find(Type::Struct(self.primary), self.message, path)
    }
}

fn domain_field(cursor: &mut Cursor<'_>) -> Result<(&'static str, Elementary), TypedDataError> {
    DOMAIN_FIELDS.get(usize::from(cursor.u8()?)).copied().ok_or(TypedDataError::Domain)
}

/// The struct hash of the domain. Its type names the fields that are there, in their order.
#[inline(never)]
fn domain_separator(cursor: &mut Cursor<'_>) -> Result<Digest, TypedDataError> {
    let start = *cursor;
    let (mut kind, mut seen) = (Keccak256::new().chain_update("EIP712Domain("), 0u8);
    let count = cursor.u8()?;
    for place in 0..count {
        let tag = *cursor.0.first().ok_or(TypedDataError::Truncated)?;
        let (name, elementary) = domain_field(cursor)?;
        // The tag is below 5: it has been found.
        if seen & 1 << tag != 0 {
            return Err(TypedDataError::Domain);
        }
        seen |= 1 << tag;
        values::elementary(elementary, cursor)?;
        let mut text = table::Hasher(kind);
        let comma = if place == 0 { "" } else { "," };
        // Hashing refuses nothing.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{comma}{elementary} {name}"));
        kind = text.0;
    }
    let mut state = Keccak256::new().chain_update(kind.chain_update(")").finalize());
    let mut fields = start;
    for _ in 0..fields.u8()? {
        let (_, elementary) = domain_field(&mut fields)?;
        state.update(values::word(&values::elementary(elementary, &mut fields)?));
    }
    Ok(state.finalize().into())
}

#[cfg(test)]
mod tests;
