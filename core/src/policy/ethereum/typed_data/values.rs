//! The values of typed data: read, hashed, found.

use sha3::{Digest as _, Keccak256};

use super::cursor::Cursor;
use super::table::Table;
use super::{MAX_DEPTH, MAX_STRUCTS, TypedDataError};
use crate::hash::Digest;
use crate::policy::amount::Amount;
use crate::policy::ethereum::types::{self, Elementary, Type, TypeError};
use crate::policy::ethereum::{Address, keccak256};
use crate::policy::payload::{PathStep, Value};

/// Reads a value without parts.
pub(super) fn elementary<'a>(
    kind: Elementary,
    cursor: &mut Cursor<'a>,
) -> Result<Value<'a>, TypedDataError> {
    Ok(match kind {
        Elementary::Uint(size) => {
            let bytes = cursor.take(size.into())?;
            Value::Uint(Amount::from_be_slice(bytes).ok_or(TypedDataError::Truncated)?)
        }
        Elementary::Int(size) => {
            let bytes = cursor.take(size.into())?;
            let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
            let mut word = [if negative { 0xff } else { 0 }; 32];
            word.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
            Value::Int(word)
        }
        Elementary::FixedBytes(size) => Value::FixedBytes(cursor.take(size.into())?),
        Elementary::Bool => match cursor.u8()? {
            bit @ (0 | 1) => Value::Bool(bit == 1),
            _ => return Err(TypedDataError::Bool),
        },
        Elementary::Address => Value::Address(Address(cursor.array()?)),
        Elementary::Bytes => Value::Bytes(cursor.bytes()?),
        Elementary::Text => {
            let bytes = cursor.bytes()?;
            Value::Text(core::str::from_utf8(bytes).map_err(|_| TypedDataError::Text)?)
        }
    })
}

/// The 32 bytes that stand for a value in its struct or array.
pub(super) fn word(value: &Value<'_>) -> [u8; 32] {
    let mut word = [0; 32];
    match value {
        Value::Uint(number) => return number.to_be_bytes(),
        Value::Int(number) => return *number,
        Value::Bytes(bytes) => return keccak256(bytes),
        Value::Text(text) => return keccak256(text.as_bytes()),
        Value::Bool(bit) => word.iter_mut().rev().take(1).for_each(|to| *to = u8::from(*bit)),
        Value::Address(Address(bytes)) => {
            word.iter_mut().skip(12).zip(bytes).for_each(|(to, from)| *to = *from);
        }
        Value::FixedBytes(bytes) => {
            word.iter_mut().zip(*bytes).for_each(|(to, from)| *to = *from);
        }
    }
    word
}

/// Walks over values. Every value takes at least one byte, so that the steps are bounded by the bytes.
pub(super) struct Walk<'w, 'a> {
    pub(super) table: &'w Table<'a>,
}

impl<'a> Walk<'_, 'a> {
    /// Reads a value and hashes it: the 32 bytes that stand for it.
    pub(super) fn hash(
        &self,
        kind: Type<'a>,
        values: &mut Cursor<'a>,
        type_hashes: &[Digest; MAX_STRUCTS],
        depth: usize,
    ) -> Result<Digest, TypedDataError> {
        if let Type::Elementary(kind) = kind {
            return elementary(kind, values).map(|value| word(&value));
        }
        let depth = depth.checked_sub(1).ok_or(TypedDataError::TooDeep)?;
        let mut state = Keccak256::new();
        let (count, element) = match kind {
            Type::Struct(index) => {
                let hash = type_hashes.get(usize::from(index));
                state.update(hash.ok_or(TypedDataError::Type(TypeError::Unknown))?);
                let mut fields = self.table.fields(index)?;
                while let Some((_, kind)) = fields.next()? {
                    let (kind, _) = types::read(kind)?;
                    state.update(self.hash(kind, values, type_hashes, depth)?);
                }
                return Ok(state.finalize_reset().into());
            }
            Type::Array(element) => (values.u16()?, element),
            Type::FixedArray(count, element) => (count, element),
            Type::Elementary(_) | Type::Tuple(_) => return Err(TypeError::Unknown.into()),
        };
        let (element, _) = types::read(element)?;
        for _ in 0..count {
            state.update(self.hash(element, values, type_hashes, depth)?);
        }
        // In place: there may be a state at every depth, and a chip's stack is short.
        Ok(state.finalize_reset().into())
    }

    /// Passes a value.
    fn skip(
        &self,
        kind: Type<'a>,
        values: &mut Cursor<'a>,
        depth: usize,
    ) -> Result<(), TypedDataError> {
        let inner = || depth.checked_sub(1).ok_or(TypedDataError::TooDeep);
        let (count, element) = match kind {
            Type::Elementary(kind) => return elementary(kind, values).map(|_| ()),
            Type::Struct(index) => {
                let mut fields = self.table.fields(index)?;
                while let Some((_, kind)) = fields.next()? {
                    self.skip(types::read(kind)?.0, values, inner()?)?;
                }
                return Ok(());
            }
            Type::Array(element) => (values.u16()?, element),
            Type::FixedArray(count, element) => (count, element),
            Type::Tuple(_) => return Err(TypeError::Unknown.into()),
        };
        let (element, _) = types::read(element)?;
        (0..count).try_for_each(|_| self.skip(element, values, inner()?))
    }

    /// The type and the place of what lies at a path, in values that [`Walk::hash`] has read.
    pub(super) fn find(
        &self,
        kind: Type<'a>,
        values: Cursor<'a>,
        path: &[PathStep<'_>],
    ) -> Option<(Type<'a>, Cursor<'a>)> {
        let (mut found, mut values) = (kind, values);
        for step in path {
            found = match (found, step) {
                (Type::Struct(index), PathStep::Name(wanted)) => {
                    self.member(index, wanted, &mut values)?
                }
                (Type::Array(element), PathStep::Index(index)) => {
                    let count = values.u16().ok()?;
                    self.element(element, count, *index, &mut values)?
                }
                (Type::FixedArray(count, element), PathStep::Index(index)) => {
                    self.element(element, count, *index, &mut values)?
                }
                _ => return None,
            };
        }
        Some((found, values))
    }

    fn member(&self, index: u8, wanted: &str, values: &mut Cursor<'a>) -> Option<Type<'a>> {
        let mut fields = self.table.fields(index).ok()?;
        while let Some((name, kind)) = fields.next().ok()? {
            let (kind, _) = types::read(kind).ok()?;
            if name == wanted {
                return Some(kind);
            }
            self.skip(kind, values, MAX_DEPTH).ok()?;
        }
        None
    }

    fn element(
        &self,
        element: &'a [u8],
        count: u16,
        index: u32,
        values: &mut Cursor<'a>,
    ) -> Option<Type<'a>> {
        let (element, _) = types::read(element).ok()?;
        if index >= u32::from(count) {
            return None;
        }
        (0..index).try_for_each(|_| self.skip(element, values, MAX_DEPTH)).ok()?;
        Some(element)
    }
}
