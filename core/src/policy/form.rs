//! The binary form: read in place, so that a chip needs no memory for a policy beside its bytes.
//!
//! Integers are big-endian. A *short* is a length in one byte and so many bytes; a list of fixed-width
//! entries is a count in two bytes and the entries, strictly ascending. One value has one form.

use core::fmt;
use core::str;

use super::amount::Amount;

/// Why bytes are no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// The bytes end too early.
    Truncated,
    /// Bytes are left over where a part must end.
    Trailing,
    /// The form is of a version that this build does not read.
    Version(u8),
    /// This part has no kind of that number.
    Kind(&'static str, u8),
    /// This text is not UTF-8.
    Text(&'static str),
    /// This list, or text, is empty.
    Empty(&'static str),
    /// This list names an entry twice, or is not in ascending order.
    NotSorted(&'static str),
    /// There are more of these than a policy may have.
    TooMany(&'static str),
    /// This number is out of its range.
    Range(&'static str),
    /// Conditions within conditions, deeper than a policy may go.
    TooDeep,
    /// This part may not stand there.
    Misplaced(&'static str),
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::Trailing => f.write_str("bytes are left over"),
            Self::Version(version) => write!(f, "form {version} is not understood"),
            Self::Kind(part, kind) => write!(f, "{part} {kind:#04x} is not understood"),
            Self::Text(part) => write!(f, "{part}: not UTF-8"),
            Self::Empty(part) => write!(f, "{part}: at least one entry is needed"),
            Self::NotSorted(part) => write!(f, "{part}: an entry is there twice, or out of order"),
            Self::TooMany(part) => write!(f, "{part}: too many"),
            Self::Range(part) => write!(f, "{part}: out of range"),
            Self::TooDeep => f.write_str("conditions are nested too deeply"),
            Self::Misplaced(part) => write!(f, "{part} may not stand there"),
        }
    }
}

impl core::error::Error for FormError {}

/// Reads parts from the front. Once something was wrong it goes on with empty values, and remembers what was wrong
/// first: whoever reads a part with it looks at the end, by [`Reader::checked`] or [`Reader::end`], whether the
/// part is one. So a chip needs no branch for each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    failed: Option<FormError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: None }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read since there was `start`.
    pub(super) fn since(&self, start: &'a [u8]) -> &'a [u8] {
        start.get(..start.len() - self.rest.len()).unwrap_or_default()
    }

    /// Something is wrong.
    #[inline(never)]
    pub(super) fn fail(&mut self, error: FormError) {
        self.failed = self.failed.or(Some(error));
        self.rest = &[];
    }

    #[inline(never)]
    pub(super) fn whole(&self) -> Result<(), FormError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// What was read, if nothing was wrong.
    pub(super) fn checked<T>(&self, value: T) -> Result<T, FormError> {
        self.whole().map(|()| value)
    }

    pub(super) fn end(&self) -> Result<(), FormError> {
        self.whole()?;
        if self.rest.is_empty() { Ok(()) } else { Err(FormError::Trailing) }
    }

    #[inline(never)]
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                taken
            }
            None => {
                self.fail(FormError::Truncated);
                &[]
            }
        }
    }

    pub(super) fn array<const L: usize>(&mut self) -> [u8; L] {
        self.take(L).try_into().unwrap_or([0; L])
    }

    #[inline(never)]
    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    #[inline(never)]
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    #[inline(never)]
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    #[inline(never)]
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    #[inline(never)]
    pub(super) fn amount(&mut self) -> Amount {
        Amount::from_be_bytes(&self.array())
    }

    #[inline(never)]
    pub(super) fn short(&mut self) -> &'a [u8] {
        let length = self.u8();
        self.take(usize::from(length))
    }

    /// A text that is not empty.
    #[inline(never)]
    pub(super) fn text(&mut self, part: &'static str) -> &'a str {
        let bytes = self.short();
        if bytes.is_empty() {
            self.fail(FormError::Empty(part));
        }
        str::from_utf8(bytes).unwrap_or_else(|_| {
            self.fail(FormError::Text(part));
            ""
        })
    }

    pub(super) fn list<const W: usize>(&mut self, part: &'static str) -> List<'a, W> {
        let list = self.list_or_none(part);
        if list.is_empty() {
            self.fail(FormError::Empty(part));
        }
        list
    }

    pub(super) fn list_or_none<const W: usize>(&mut self, part: &'static str) -> List<'a, W> {
        let count = usize::from(self.u16());
        let list = List(self.take(count * W));
        if !list.entries().is_sorted_by(|a, b| a < b) {
            self.fail(FormError::NotSorted(part));
        }
        list
    }
}

/// Entries of `W` bytes, strictly ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List<'a, const W: usize>(&'a [u8]);

impl<'a, const W: usize> List<'a, W> {
    fn entries(&self) -> impl ExactSizeIterator<Item = &'a [u8; W]> + use<'a, W> {
        self.0.as_chunks::<W>().0.iter()
    }

    /// The entries, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8; W]> + use<'a, W> {
        self.entries()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_chunks::<W>().0.len()
    }

    /// Never, once checked, but for vetoers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `entry` is listed: a search by halves.
    #[must_use]
    pub fn contains(&self, entry: &[u8; W]) -> bool {
        self.0.as_chunks::<W>().0.binary_search(entry).is_ok()
    }
}

/// The buffer, or the count that stands before a part, has no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too long for a policy")
    }
}

impl core::error::Error for NoRoom {}

/// Writes the binary form into a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl<'b> Writer<'b> {
    /// An empty form.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.used.checked_add(bytes.len()).ok_or(NoRoom)?;
        self.buffer.get_mut(self.used..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    /// One byte.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn u8(&mut self, value: u8) -> Result<(), NoRoom> {
        self.raw(&[value])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn u16(&mut self, value: u16) -> Result<(), NoRoom> {
        self.raw(&value.to_be_bytes())
    }

    /// A length in one byte, and so many bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn short(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.u8(u8::try_from(bytes.len()).map_err(|_| NoRoom)?)?;
        self.raw(bytes)
    }

    /// A count in two bytes, and the entries, which must be ascending.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn list<const W: usize>(&mut self, entries: &[[u8; W]]) -> Result<(), NoRoom> {
        self.u16(u16::try_from(entries.len()).map_err(|_| NoRoom)?)?;
        entries.iter().try_for_each(|entry| self.raw(entry))
    }

    /// What `parts` writes, behind its length in two bytes.
    ///
    /// # Errors
    /// Whatever `parts` returns, or [`NoRoom`].
    pub fn nested<E: From<NoRoom>>(
        &mut self,
        parts: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let place = self.used;
        self.u16(0)?;
        let start = self.used;
        parts(self)?;
        let length = u16::try_from(self.used - start).map_err(|_| NoRoom)?;
        let field = self.buffer.get_mut(place..start).ok_or(NoRoom)?;
        field.copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        self.buffer.get(..self.used).unwrap_or_default()
    }
}
