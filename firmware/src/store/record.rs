//! Records in flash: a clear header, the nonce, the sealed text, the tag. The tag is written last, so a
//! record that the power cut is none, and whoever looks for records steps over it.
//!
//! Bytes of a record, in order: magic `Q`, slot, length of the text (u16), number (u32), 12 bytes nonce,
//! text, 16 bytes tag, and 0xff up to the next [`Flash::UNIT`]. Integers are little-endian.

use embedded_storage::nor_flash::NorFlash;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::seal::{HEADER, Keys, NONCE, PIECE, TAG};
use super::{MAX_RECORD, StoreError};

const MAGIC: u8 = b'Q';
/// What a record takes besides its text.
const AROUND: usize = HEADER + NONCE + TAG;
/// Flash is read and written in blocks of at most so many bytes.
const BLOCK: usize = 256;

/// What this store makes of the traits of `embedded-storage`. No flash has larger blocks than [`BLOCK`].
pub(crate) trait Flash: NorFlash {
    /// Everything starts at a multiple of this.
    const UNIT: u32 = {
        let larger =
            if Self::READ_SIZE > Self::WRITE_SIZE { Self::READ_SIZE } else { Self::WRITE_SIZE };
        let unit = if larger > HEADER { larger } else { HEADER };
        assert!(unit <= BLOCK && unit.is_power_of_two());
        assert!(unit.is_multiple_of(Self::READ_SIZE) && unit.is_multiple_of(Self::WRITE_SIZE));
        unit as u32
    };
    /// What is erased at once.
    const PAGE: u32 = {
        // A page of the journal has room for any of its entries.
        assert!(Self::ERASE_SIZE >= 2048 && Self::ERASE_SIZE <= 1 << 20);
        assert!(Self::ERASE_SIZE.is_multiple_of(BLOCK));
        Self::ERASE_SIZE as u32
    };
}

impl<F: NorFlash> Flash for F {}

/// Some pages.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where a record is, and what its header says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: u32,
    pub(crate) slot: u8,
    pub(crate) length: u16,
    pub(crate) number: u32,
}

impl Record {
    fn header(&self) -> [u8; HEADER] {
        let ([l0, l1], [n0, n1, n2, n3]) = (self.length.to_le_bytes(), self.number.to_le_bytes());
        [MAGIC, self.slot, l0, l1, n0, n1, n2, n3]
    }

    fn parse(at: u32, header: [u8; HEADER]) -> Option<Self> {
        let [magic, slot, l0, l1, n0, n1, n2, n3] = header;
        let (length, number) = (u16::from_le_bytes([l0, l1]), u32::from_le_bytes([n0, n1, n2, n3]));
        let plausible = magic == MAGIC && usize::from(length) <= MAX_RECORD;
        plausible.then_some(Self { at, slot, length, number })
    }

    /// The bytes that it takes.
    pub(crate) fn size<F: Flash>(&self) -> u32 {
        size::<F>(usize::from(self.length))
    }

    pub(crate) fn end<F: Flash>(&self) -> u32 {
        self.at.saturating_add(self.size::<F>())
    }
}

/// The bytes that a text of this length takes.
pub(crate) fn size<F: Flash>(length: usize) -> u32 {
    // Units are powers of two, and records short.
    (length.wrapping_add(AROUND) as u32).wrapping_add(F::UNIT - 1) & !(F::UNIT - 1)
}

/// Reads on from a place; blocks are fetched whole, whatever the flash's granularity.
struct Reader<'f, F> {
    flash: &'f mut F,
    at: u32,
    end: u32,
    block: [u8; BLOCK],
    /// Where in the block the next byte is, and where it ends.
    next: usize,
    filled: usize,
}

impl<'f, F: Flash> Reader<'f, F> {
    #[inline(never)]
    fn new(flash: &'f mut F, area: Area) -> Self {
        Self { flash, at: area.start, end: area.end, block: [0; BLOCK], next: 0, filled: 0 }
    }

    fn block(&mut self) -> Result<&[u8], StoreError> {
        self.filled = BLOCK.min(self.end.saturating_sub(self.at) as usize);
        self.next = 0;
        let block = self.block.get_mut(..self.filled).unwrap_or_default();
        self.flash.read(self.at, block).map_err(|_| StoreError::Flash)?;
        self.at = self.at.saturating_add(self.filled as u32);
        Ok(block)
    }

    fn read(&mut self, mut out: &mut [u8]) -> Result<(), StoreError> {
        while !out.is_empty() {
            if self.next == self.filled && self.block()?.is_empty() {
                return Err(StoreError::Damaged);
            }
            let from = self.block.get(self.next..self.filled).unwrap_or_default();
            let count = from.len().min(out.len());
            let (to, rest) = out.split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            self.next = self.next.wrapping_add(count);
            out = rest;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut out = [0; N];
        self.read(&mut out)?;
        Ok(out)
    }
}

/// Writes on from a place.
struct Writer<'f, F> {
    flash: &'f mut F,
    at: u32,
    block: [u8; BLOCK],
    used: usize,
}

impl<'f, F: Flash> Writer<'f, F> {
    fn new(flash: &'f mut F, at: u32) -> Self {
        Self { flash, at, block: [0xff; BLOCK], used: 0 }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.block.get_mut(self.used..).unwrap_or_default();
            let (now, rest) = bytes.split_at(room.len().min(bytes.len()));
            let (room, _) = room.split_at_mut(now.len());
            room.copy_from_slice(now);
            self.used = self.used.wrapping_add(now.len());
            bytes = rest;
            if self.used == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let unit = F::UNIT as usize;
        let whole = self.used.wrapping_add(unit - 1) & !(unit - 1);
        let block = self.block.get(..whole).unwrap_or_default();
        if !block.is_empty() {
            self.flash.write(self.at, block).map_err(|_| StoreError::Flash)?;
        }
        self.at = self.at.saturating_add(whole as u32);
        (self.block, self.used) = ([0xff; BLOCK], 0);
        Ok(())
    }
}

/// Reads bytes that are no record.
pub(crate) fn read_raw<F: Flash>(flash: &mut F, at: u32, out: &mut [u8]) -> Result<(), StoreError> {
    let end = flash.capacity() as u32;
    Reader::new(flash, Area { start: at, end }).read(out)
}

/// Writes bytes that are no record, and reads them back.
pub(crate) fn write_raw<F: Flash>(flash: &mut F, at: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let mut writer = Writer::new(flash, at);
    writer.write(bytes)?;
    writer.flush()?;
    let end = flash.capacity() as u32;
    let mut reader = Reader::new(flash, Area { start: at, end });
    let mut piece = [0; PIECE];
    for expected in bytes.chunks(PIECE) {
        let found = piece.get_mut(..expected.len()).unwrap_or_default();
        reader.read(found)?;
        if !bool::from((*found).ct_eq(expected)) {
            return Err(StoreError::Flash);
        }
    }
    piece.zeroize();
    reader.block.zeroize();
    Ok(())
}

/// Whether nothing has been written there since it was erased.
pub(crate) fn is_blank<F: Flash>(flash: &mut F, area: Area) -> Result<bool, StoreError> {
    let mut reader = Reader::new(flash, area);
    while reader.at < reader.end {
        if reader.block()?.iter().any(|byte| *byte != 0xff) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a record, and reads it back: when this returns, it is there.
pub(crate) fn append<F: Flash>(
    flash: &mut F,
    keys: &Keys,
    record: Record,
    text: &[u8],
) -> Result<(), StoreError> {
    let header = record.header();
    let nonce = keys.nonce(&header, text);
    let mut cipher = keys.cipher(&header, &nonce);
    let mut writer = Writer::new(flash, record.at);
    writer.write(&header)?;
    writer.write(&nonce)?;
    let mut buffer = [0; PIECE];
    for piece in text.chunks(PIECE) {
        let sealed = buffer.get_mut(..piece.len()).unwrap_or_default();
        sealed.copy_from_slice(piece);
        cipher.seal(sealed);
        writer.write(sealed)?;
    }
    let tag = cipher.tag();
    writer.write(&tag)?;
    writer.flush()?;
    match read(flash, keys, Area { start: record.at, end: record.end::<F>() }, &mut [])? {
        // The same tag under the same nonce: the same text.
        Some((found, found_tag)) if found == record && found_tag == tag => Ok(()),
        _ => Err(StoreError::Flash),
    }
}

/// The whole record at the start of `area`, and its tag. Its text goes to the start of `text`, opened, if
/// there is room for it.
fn read<F: Flash>(
    flash: &mut F,
    keys: &Keys,
    area: Area,
    text: &mut [u8],
) -> Result<Option<(Record, [u8; TAG])>, StoreError> {
    read_on(&mut Reader::new(flash, area), keys, area, text)
}

fn read_on<F: Flash>(
    reader: &mut Reader<'_, F>,
    keys: &Keys,
    area: Area,
    text: &mut [u8],
) -> Result<Option<(Record, [u8; TAG])>, StoreError> {
    let header = reader.array()?;
    let Some(record) = Record::parse(area.start, header) else { return Ok(None) };
    if record.end::<F>() > area.end {
        return Ok(None);
    }
    let mut cipher = keys.cipher(&header, &reader.array()?);
    let text = text.get_mut(..record.length.into()).unwrap_or_default();
    let (mut buffer, mut done, length) = ([0; PIECE], 0, usize::from(record.length));
    while done < length {
        let end = length.min(done.saturating_add(PIECE));
        let piece = buffer.get_mut(..end.saturating_sub(done)).unwrap_or_default();
        reader.read(piece)?;
        cipher.check(piece);
        if let Some(to) = text.get_mut(done..end) {
            to.copy_from_slice(piece);
        }
        done = end;
    }
    let (tag, found) = (cipher.tag(), reader.array::<TAG>()?);
    if !bool::from(tag.ct_eq(&found)) {
        return Ok(None);
    }
    text.chunks_mut(PIECE).for_each(|piece| cipher.open(piece));
    Ok(Some((record, tag)))
}

/// Opens a record that is there.
///
/// # Errors
/// [`StoreError::Damaged`] if it is another one, or none; [`StoreError::NoRoom`].
pub(crate) fn load<'b, F: Flash>(
    flash: &mut F,
    keys: &Keys,
    record: &Record,
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], StoreError> {
    let text = buffer.get_mut(..record.length.into()).ok_or(StoreError::NoRoom)?;
    let area = Area { start: record.at, end: record.end::<F>() };
    match read(flash, keys, area, text)? {
        Some((found, _)) if found == *record => Ok(text),
        _ => Err(StoreError::Damaged),
    }
}

/// What begins at the start of `area` and is known to be whole, and the first of its text. It is not
/// authenticated: that was done when the store was opened.
pub(crate) fn peek<F: Flash>(
    flash: &mut F,
    keys: &Keys,
    area: Area,
    first: &mut [u8; PIECE],
) -> Result<Option<Record>, StoreError> {
    let some = size::<F>(PIECE).min(area.end.saturating_sub(area.start));
    if (some as usize) < HEADER + NONCE + PIECE {
        return Ok(None);
    }
    let end = area.start.wrapping_add(some);
    let mut reader = Reader::new(flash, Area { start: area.start, end });
    let Some(record) = Record::parse(area.start, reader.array()?) else { return Ok(None) };
    let nonce = reader.array()?;
    reader.read(first)?;
    keys.peek(&nonce, first);
    Ok(Some(record))
}

/// The header of the record that was found at `at`.
pub(crate) fn header<F: Flash>(flash: &mut F, at: u32) -> Result<Record, StoreError> {
    let mut header = [0; HEADER];
    read_raw(flash, at, &mut header)?;
    Record::parse(at, header).ok_or(StoreError::Damaged)
}

/// Looks for records from the start of `area` on: the first whole one, or `None`. `written` becomes
/// the place behind the last thing that is there, whole or torn. The text goes to the start of `text`,
/// opened, if there is room for it.
pub(crate) fn find<F: Flash>(
    flash: &mut F,
    keys: &Keys,
    area: Area,
    written: &mut u32,
    text: &mut [u8],
) -> Result<Option<Record>, StoreError> {
    let mut at = area.start;
    while at < area.end {
        let mut reader = Reader::new(flash, Area { start: at, end: area.end });
        let block = reader.block()?;
        let blank = block.iter().take_while(|byte| **byte == 0xff).count() as u32;
        let length = block.len() as u32;
        if blank == length {
            at = at.wrapping_add(length);
            continue;
        }
        let blank = blank & !(F::UNIT - 1);
        at = at.wrapping_add(blank);
        reader.next = blank as usize;
        let found = read_on(&mut reader, keys, Area { start: at, end: area.end }, text)?;
        if let Some((record, _)) = found {
            *written = record.end::<F>();
            return Ok(Some(record));
        }
        // Torn: the next record starts behind it.
        at = at.wrapping_add(F::UNIT);
        *written = at;
    }
    Ok(None)
}

/// Copies a sealed record as it is, and checks the copy.
pub(crate) fn copy<F: Flash>(
    flash: &mut F,
    keys: &Keys,
    record: &Record,
    to: u32,
) -> Result<Record, StoreError> {
    let mut block = [0; BLOCK];
    let (mut from, end, mut at) = (record.at, record.end::<F>(), to);
    while from < end {
        let count = BLOCK.min((end - from) as usize);
        let block = block.get_mut(..count).unwrap_or_default();
        flash.read(from, block).map_err(|_| StoreError::Flash)?;
        flash.write(at, block).map_err(|_| StoreError::Flash)?;
        (from, at) = (from.saturating_add(count as u32), at.saturating_add(count as u32));
    }
    let copied = Record { at: to, ..*record };
    match read(flash, keys, Area { start: to, end: at }, &mut [])? {
        Some((found, _)) if found == copied => Ok(copied),
        _ => Err(StoreError::Flash),
    }
}

/// Erases pages.
pub(crate) fn erase<F: Flash>(flash: &mut F, area: Area) -> Result<(), StoreError> {
    flash.erase(area.start, area.end).map_err(|_| StoreError::Flash)
}
