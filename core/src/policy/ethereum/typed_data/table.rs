//! The structs of typed data, and what EIP-712 hashes of a type.

use core::fmt;

use sha3::{Digest as _, Keccak256};

use super::cursor::Cursor;
use super::values::Walk;
use super::{MAX_DEPTH, MAX_FIELDS, MAX_STRUCTS, TypedDataError, is_field_name, is_struct_name};
use crate::hash::Digest;
use crate::policy::ethereum::types::{self, Type, TypeError};

/// The structs, by where each begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    structs: [Cursor<'a>; MAX_STRUCTS],
    count: u8,
}

/// The fields of a struct.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    cursor: Cursor<'a>,
    left: u8,
}

/// A field: its name and its type in compact form, with whatever follows that.
type Field<'a> = (&'a str, &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, TypedDataError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let name = self.cursor.name(is_field_name)?;
        let kind = self.cursor.0;
        self.cursor.0 = types::read(kind)?.1;
        Ok(Some((name, kind)))
    }
}

/// The struct at the bottom of a type, if one is there.
fn innermost(kind: &[u8]) -> Result<Option<u8>, TypeError> {
    match types::read(kind)?.0 {
        Type::Array(element) | Type::FixedArray(_, element) => innermost(element),
        Type::Struct(index) => Ok(Some(index)),
        Type::Elementary(_) => Ok(None),
        Type::Tuple(_) => Err(TypeError::Unknown),
    }
}

impl<'a> Table<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, TypedDataError> {
        let count = cursor.u8()?;
        if count == 0 || usize::from(count) > MAX_STRUCTS {
            return Err(TypedDataError::Count);
        }
        let mut structs = [Cursor(&[]); MAX_STRUCTS];
        let mut before = "";
        for place in structs.iter_mut().take(count.into()) {
            *place = *cursor;
            let name = cursor.name(is_struct_name)?;
            // No name is empty.
            if name <= before {
                return Err(TypedDataError::Order);
            }
            before = name;
            read_fields(cursor, count)?;
        }
        Ok(Self { structs, count })
    }

    fn definition(&self, index: u8) -> Result<(&'a str, Fields<'a>), TypedDataError> {
        let unknown = TypedDataError::Type(TypeError::Unknown);
        let known = index < self.count;
        let mut cursor = *self.structs.get(usize::from(index)).filter(|_| known).ok_or(unknown)?;
        let name = cursor.name(is_struct_name)?;
        let left = cursor.u8()?;
        Ok((name, Fields { cursor, left }))
    }

    pub(super) fn name(&self, index: u8) -> Option<&'a str> {
        self.definition(index).ok().map(|(name, _)| name)
    }

    pub(super) fn fields(&self, index: u8) -> Result<Fields<'a>, TypedDataError> {
        self.definition(index).map(|(_, fields)| fields)
    }

    /// The structs that the one at `index` needs, and itself, as bits.
    fn needed(&self, index: u8) -> Result<u32, TypedDataError> {
        let (mut needed, mut done) = (1u32.checked_shl(index.into()).unwrap_or(0), 0u32);
        while needed != done {
            // The lowest that has not been looked at: every turn looks at another one.
            let next = (needed & !done).trailing_zeros() as u8;
            done |= 1 << next;
            let mut fields = self.fields(next)?;
            while let Some((_, kind)) = fields.next()? {
                if let Some(inner) = innermost(kind)? {
                    needed |= 1u32.checked_shl(inner.into()).unwrap_or(0);
                }
            }
        }
        Ok(needed)
    }

    /// The primary type needs all structs.
    pub(super) fn check_needed(&self, primary: u8) -> Result<(), TypedDataError> {
        let needed = self.needed(primary)?;
        match (0..self.count).find(|index| needed & 1 << index == 0) {
            Some(unused) => Err(TypedDataError::Unused(unused)),
            None => Ok(()),
        }
    }

    fn write_struct(&self, index: u8, out: &mut dyn fmt::Write) -> fmt::Result {
        let (name, mut fields) = self.definition(index).map_err(|_| fmt::Error)?;
        write!(out, "{name}(")?;
        let mut comma = "";
        while let Some((name, kind)) = fields.next().map_err(|_| fmt::Error)? {
            out.write_str(comma)?;
            types::write_name(kind, &|index| self.name(index), out)?;
            write!(out, " {name}")?;
            comma = ",";
        }
        out.write_str(")")
    }

    /// EIP-712's `encodeType`: the struct, and behind it those that it needs, in the order of their names.
    pub(super) fn encode_type(&self, index: u8, out: &mut dyn fmt::Write) -> fmt::Result {
        let needed = self.needed(index).map_err(|_| fmt::Error)?;
        self.write_struct(index, out)?;
        let others = (0..self.count).filter(|other| *other != index && needed & 1 << other != 0);
        others.into_iter().try_for_each(|other| self.write_struct(other, out))
    }

    /// EIP-712's `hashStruct` of the values that the cursor is at.
    pub(super) fn hash_struct(
        &self,
        index: u8,
        values: &mut Cursor<'a>,
    ) -> Result<Digest, TypedDataError> {
        // Once for each struct, not for each value: a long array of small structs would repeat them all.
        let mut hashes = [[0; 32]; MAX_STRUCTS];
        for (index, hash) in (0..self.count).zip(&mut hashes) {
            let mut text = Hasher(Keccak256::new());
            // What was read can be written, and hashing refuses nothing.
            self.encode_type(index, &mut text).map_err(|_| TypedDataError::Truncated)?;
            *hash = text.0.finalize().into();
        }
        Walk { table: self }.hash(Type::Struct(index), values, &hashes, MAX_DEPTH)
    }
}

/// Reads a struct's fields: their names differ, their types are types.
fn read_fields(cursor: &mut Cursor<'_>, structs: u8) -> Result<(), TypedDataError> {
    let count = cursor.u8()?;
    if count == 0 || usize::from(count) > MAX_FIELDS {
        return Err(TypedDataError::Count);
    }
    let mut fields = Fields { cursor: *cursor, left: count };
    let all = fields;
    for place in 0..count {
        let Some((name, kind)) = fields.next()? else { break };
        if innermost(kind)?.is_some_and(|index| index >= structs) {
            return Err(TypeError::Unknown.into());
        }
        let mut before = Fields { left: place, ..all };
        while let Some((other, _)) = before.next()? {
            if other == name {
                return Err(TypedDataError::Duplicate);
            }
        }
    }
    *cursor = fields.cursor;
    Ok(())
}

/// Hashes text.
pub(super) struct Hasher(pub(super) Keccak256);

impl fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
