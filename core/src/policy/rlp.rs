//! Recursive length prefix, read strictly: every value has one encoding, and no other is accepted.

/// Why bytes are not canonical RLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RlpError {
    /// The bytes end too early.
    Truncated,
    /// A shorter encoding of the same value exists.
    NotMinimal,
    /// A list where a string must be, or the reverse.
    WrongKind,
    /// Bytes after the value.
    Trailing,
    /// An integer with leading zeros or too many bytes.
    Integer,
    /// A string of the wrong length.
    Length,
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) list: bool,
    pub(super) payload: &'a [u8],
}

/// Reads items from a list's payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn end(self) -> Result<(), RlpError> {
        if self.is_empty() { Ok(()) } else { Err(RlpError::Trailing) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RlpError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(RlpError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length of `size` big-endian bytes: no leading zero, and above 55.
    fn long_length(&mut self, size: u8) -> Result<usize, RlpError> {
        let bytes = self.take(usize::from(size))?;
        if bytes.first() == Some(&0) || size > 4 {
            return Err(RlpError::NotMinimal);
        }
        let length = bytes.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        if length <= 55 { Err(RlpError::NotMinimal) } else { Ok(length) }
    }

    pub(super) fn item(&mut self) -> Result<Item<'a>, RlpError> {
        let first = *self.0.first().ok_or(RlpError::Truncated)?;
        if first < 0x80 {
            return Ok(Item { list: false, payload: self.take(1)? });
        }
        self.take(1)?;
        let list = first >= 0xc0;
        let length = match first {
            0x80..=0xb7 => usize::from(first - 0x80),
            0xb8..=0xbf => self.long_length(first - 0xb7)?,
            0xc0..=0xf7 => usize::from(first - 0xc0),
            _ => self.long_length(first - 0xf7)?,
        };
        let payload = self.take(length)?;
        // A single byte below 0x80 stands for itself.
        if !list && length == 1 && payload.first().is_some_and(|byte| *byte < 0x80) {
            return Err(RlpError::NotMinimal);
        }
        Ok(Item { list, payload })
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], RlpError> {
        let item = self.item()?;
        if item.list { Err(RlpError::WrongKind) } else { Ok(item.payload) }
    }

    pub(super) fn list(&mut self) -> Result<Reader<'a>, RlpError> {
        let item = self.item()?;
        if item.list { Ok(Reader(item.payload)) } else { Err(RlpError::WrongKind) }
    }

    /// An integer of at most 32 bytes, without leading zeros.
    pub(super) fn integer(&mut self) -> Result<&'a [u8], RlpError> {
        let bytes = self.string()?;
        if bytes.first() == Some(&0) || bytes.len() > 32 {
            return Err(RlpError::Integer);
        }
        Ok(bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RlpError> {
        let bytes = self.integer()?;
        if bytes.len() > 8 {
            return Err(RlpError::Integer);
        }
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    pub(super) fn fixed<const L: usize>(&mut self) -> Result<[u8; L], RlpError> {
        self.string()?.try_into().map_err(|_| RlpError::Length)
    }
}

/// The buffer is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Writes RLP into a caller's buffer.
pub(super) struct Writer<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

/// How many bytes the header of a list, or of a string that does not stand for itself, takes.
pub(super) fn header_length(payload: usize) -> usize {
    if payload <= 55 { 1 } else { 1 + trimmed(&payload.to_be_bytes()).len() }
}

/// How many bytes a string takes, header and all.
pub(super) fn string_length(bytes: &[u8]) -> usize {
    match bytes {
        [single] if *single < 0x80 => 1,
        _ => header_length(bytes.len()) + bytes.len(),
    }
}

/// Big-endian bytes without leading zeros: the string that stands for an integer.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

impl<'b> Writer<'b> {
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.used.checked_add(bytes.len()).ok_or(NoRoom)?;
        self.buffer.get_mut(self.used..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    pub(super) fn list_header(&mut self, payload: usize) -> Result<(), NoRoom> {
        self.header(0xc0, payload)
    }

    /// `kind` is 0x80 before a string, 0xc0 before a list.
    fn header(&mut self, kind: u8, payload: usize) -> Result<(), NoRoom> {
        if payload <= 55 {
            return self.raw(&[kind + payload as u8]);
        }
        let bytes = payload.to_be_bytes();
        let length = trimmed(&bytes);
        self.raw(&[kind + 55 + length.len() as u8])?;
        self.raw(length)
    }

    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        match bytes {
            [single] if *single < 0x80 => {}
            _ => self.header(0x80, bytes.len())?,
        }
        self.raw(bytes)
    }

    /// An integer, from big-endian bytes.
    pub(super) fn integer(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.string(trimmed(bytes))
    }

    pub(super) fn finish(self) -> Result<&'b [u8], NoRoom> {
        self.buffer.get(..self.used).ok_or(NoRoom)
    }
}
