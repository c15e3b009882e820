//! Frames of the device link: a postcard value and its CRC-32, stuffed by COBS and ended by a zero byte.
//!
//! A zero byte appears nowhere else, so that whoever has lost the thread finds it again at the next one.
//! Nothing here is a protection against people: that is what the channel inside the frames is for.

use cobs::{DecodeResult, DecoderState, EncoderState, PushResult};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::link::{FrameFault, MAX_FRAME};
use crate::wire::{self, NoRoom};

/// Bytes of the checksum, little-endian, after the value.
const CHECKSUM: usize = 4;
const MAX_STUFFED: usize = MAX_FRAME + CHECKSUM;
/// No frame is longer on the line, its zero byte included.
pub const MAX_ENCODED: usize = MAX_STUFFED + MAX_STUFFED / 254 + 2;

// A table would take 1 KB of a chip's flash, and a frame is short.
static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Feeds the frame of `value` to `sink` piece by piece, each of at most 255 bytes: no buffer is needed.
/// Whether it fits into [`MAX_FRAME`] is not checked.
pub fn encode_to<T: Serialize + ?Sized>(value: &T, mut sink: impl FnMut(&[u8])) {
    let mut stuffer = Stuffer::new(&mut sink);
    let mut checksum = CRC.digest();
    wire::encode_to(value, |bytes| {
        checksum.update(bytes);
        stuffer.put(bytes);
    });
    stuffer.put(&checksum.finalize().to_le_bytes());
    stuffer.finish();
}

/// [`encode_to`] without serde, as a device writes.
#[inline(never)]
pub fn write_to(value: &dyn wire::Write, sink: &mut dyn FnMut(&[u8])) {
    let mut stuffer = Stuffer::new(sink);
    let mut checksum = CRC.digest();
    wire::write_to(value, &mut |bytes| {
        checksum.update(bytes);
        stuffer.put(bytes);
    });
    stuffer.put(&checksum.finalize().to_le_bytes());
    stuffer.finish();
}

/// Encodes the frame of `value` into `buffer`, and returns the used part.
///
/// # Errors
/// [`NoRoom`] if the buffer is too short; [`MAX_ENCODED`] bytes are enough for everything.
pub fn encode<'b, T: Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], NoRoom> {
    let mut used = Some(0);
    encode_to(value, |bytes| {
        used = used.and_then(|start| {
            let end = start + bytes.len();
            buffer.get_mut(start..end)?.copy_from_slice(bytes);
            Some(end)
        });
    });
    used.and_then(|end| buffer.get(..end)).ok_or(NoRoom)
}

/// Decodes the value of a frame's content, as [`Decoder`] gives it.
///
/// # Errors
/// [`FrameFault::Malformed`], also for every encoding that [`encode`] would not have produced.
pub fn decode<'a, T: Serialize + Deserialize<'a>>(content: &'a [u8]) -> Result<T, FrameFault> {
    wire::decode(content).map_err(|_| FrameFault::Malformed)
}

/// [`decode`] without serde, as a device reads.
///
/// # Errors
/// [`FrameFault::Malformed`].
pub fn read<'a, T: wire::Read<'a>>(content: &'a [u8]) -> Result<T, FrameFault> {
    wire::read(content).map_err(|_| FrameFault::Malformed)
}

/// Stuffs block by block. What passes may be secret (a PIN): the block is wiped.
struct Stuffer<'a> {
    sink: &'a mut dyn FnMut(&[u8]),
    state: EncoderState,
    /// The code, and up to 254 bytes that are not zero.
    block: [u8; 255],
    used: usize,
    /// Whether the block before was full: then no code must follow it if nothing else does.
    full: bool,
}

impl<'a> Stuffer<'a> {
    fn new(sink: &'a mut dyn FnMut(&[u8])) -> Self {
        Self { sink, state: EncoderState::default(), block: [0; 255], used: 1, full: false }
    }

    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.state.push(*byte) {
                PushResult::AddSingle(byte) => self.add(byte),
                PushResult::ModifyFromStartAndSkip((_, code)) => self.close(code),
                PushResult::ModifyFromStartAndPushAndSkip((_, code, byte)) => {
                    self.add(byte);
                    self.close(code);
                    self.full = true;
                }
            }
        }
    }

    fn add(&mut self, byte: u8) {
        if let Some(place) = self.block.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
    }

    fn close(&mut self, code: u8) {
        if let Some(first) = self.block.first_mut() {
            *first = code;
        }
        (self.sink)(self.block.get(..self.used).unwrap_or_default());
        (self.used, self.full) = (1, false);
    }

    fn finish(mut self) {
        let (_, code) = self.state.clone().finalize();
        if !(self.full && self.used == 1) {
            self.close(code);
        }
        (self.sink)(&[0]);
    }
}

impl Drop for Stuffer<'_> {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

/// Takes the bytes of the line one by one or in slices, and gives the content of each frame. It has the one
/// buffer that a frame needs, and every zero byte begins anew.
pub struct Decoder {
    content: [u8; MAX_STUFFED],
    length: usize,
    /// Whether any byte came since the last zero; the stuffing alone does not tell.
    begun: bool,
    too_long: bool,
    stuffing: DecoderState,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of a line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            content: [0; MAX_STUFFED],
            length: 0,
            begun: false,
            too_long: false,
            stuffing: DecoderState::Idle,
        }
    }

    /// Takes one byte. With the zero byte at the end of a frame comes its content, to be decoded (and what
    /// it carries, opened) in place, or what is wrong with it. Nothing between two zero bytes is no frame.
    ///
    /// # Errors
    /// [`FrameFault`], but never [`FrameFault::Malformed`]: that is what [`decode`] finds.
    pub fn push(&mut self, byte: u8) -> Option<Result<&mut [u8], FrameFault>> {
        let length = match self.step(byte)? {
            Ok(length) => length,
            Err(fault) => return Some(Err(fault)),
        };
        Some(self.content.get_mut(..length).ok_or(FrameFault::TooLong))
    }

    /// Takes bytes from the front of `bytes` up to the end of a frame, or all.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Result<&mut [u8], FrameFault>> {
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            match self.step(*first) {
                Some(Ok(length)) => {
                    return Some(self.content.get_mut(..length).ok_or(FrameFault::TooLong));
                }
                Some(Err(fault)) => return Some(Err(fault)),
                None => {}
            }
        }
        None
    }

    /// The whole buffer, the content of the frame that just came at its start. Until the next byte comes, its
    /// holder may use it for something else.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.content
    }

    /// Erases what the last frame has left: it may have been a PIN, or a share of a key in the making.
    pub fn wipe(&mut self) {
        self.content.zeroize();
    }

    fn step(&mut self, byte: u8) -> Option<Result<usize, FrameFault>> {
        let decoded = self.stuffing.feed(byte);
        if byte != 0 {
            self.begun = true;
            if let Ok(DecodeResult::DataContinue(byte)) = decoded {
                self.add(byte);
            }
            return None;
        }
        let (begun, too_long, length) = (self.begun, self.too_long, self.length);
        (self.begun, self.too_long, self.length) = (false, false, 0);
        if !begun {
            return None;
        }
        Some(match decoded {
            _ if too_long => Err(FrameFault::TooLong),
            Ok(DecodeResult::DataComplete) => self.check(length),
            _ => Err(FrameFault::Stuffing),
        })
    }

    fn add(&mut self, byte: u8) {
        match self.content.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.too_long = true,
        }
    }

    fn check(&self, length: usize) -> Result<usize, FrameFault> {
        let content = self.content.get(..length).unwrap_or_default();
        let (value, checksum) =
            content.split_last_chunk::<CHECKSUM>().ok_or(FrameFault::Checksum)?;
        if CRC.checksum(value) != u32::from_le_bytes(*checksum) {
            return Err(FrameFault::Checksum);
        }
        Ok(value.len())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests;
