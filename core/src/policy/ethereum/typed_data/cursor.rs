//! Reading forward.

use super::TypedDataError;

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TypedDataError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TypedDataError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const L: usize>(&mut self) -> Result<[u8; L], TypedDataError> {
        self.take(L)?.try_into().map_err(|_| TypedDataError::Truncated)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TypedDataError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TypedDataError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], TypedDataError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A name, if it is one.
    pub(super) fn name(&mut self, is_name: fn(&str) -> bool) -> Result<&'a str, TypedDataError> {
        let length = self.u8()?;
        let name = core::str::from_utf8(self.take(length.into())?);
        name.ok().filter(|name| is_name(name)).ok_or(TypedDataError::Name)
    }
}
