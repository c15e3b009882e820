//! One way to turn values into bytes and back: postcard, decoded by [`decode`] alone, which refuses
//! trailing bytes and every encoding that [`encode`] would not have produced. For what a chip reads and writes,
//! [`read()`] and [`write()`] do the same without serde; their tests compare them with these.

mod read;
mod write;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

#[cfg(test)]
pub(crate) use read::agree;
pub use read::{Read, Reader, read};
#[cfg(test)]
pub(crate) use write::written;
pub use write::{Write, Writer, write, write_to};

/// The protocol version that this build speaks; the first byte of every message.
pub const VERSION: u8 = 1;

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end too early, or a value in them is out of its range.
    Malformed,
    /// The value ends before the bytes do.
    Trailing,
    /// The same value has a shorter or other encoding.
    NotCanonical,
    /// More bytes than this kind of message may have.
    TooLong,
    /// Another version of the protocol.
    Version(u8),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed or truncated bytes"),
            Self::Trailing => f.write_str("bytes after the end of the value"),
            Self::NotCanonical => f.write_str("not the canonical encoding"),
            Self::TooLong => f.write_str("longer than this kind of message may be"),
            Self::Version(version) => {
                write!(f, "protocol version {version}, this build speaks {VERSION}")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// The value does not fit into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the buffer is too small for the message")
    }
}

impl core::error::Error for NoRoom {}

/// Encodes `value` into `buffer` and returns the used part.
///
/// # Errors
/// [`NoRoom`] if the buffer is too short.
pub fn encode<'a, T: Serialize + ?Sized>(
    value: &T,
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], NoRoom> {
    let mut used = 0;
    let put = &mut |piece: &[u8]| {
        let Some(place) = buffer.get_mut(used..used + piece.len()) else { return false };
        place.copy_from_slice(piece);
        used += piece.len();
        true
    };
    if !in_blocks(value, put) {
        return Err(NoRoom);
    }
    buffer.get_mut(..used).ok_or(NoRoom)
}

/// Feeds the canonical encoding of `value` to `sink`, without a buffer: for hashing.
pub fn encode_to<T: Serialize + ?Sized>(value: &T, mut sink: impl FnMut(&[u8])) {
    // This sink takes all, and our serializers do not fail.
    in_blocks(value, &mut |piece| {
        sink(piece);
        true
    });
}

/// Every encoding comes this way: with a serializer for each use, a chip's flash would hold all types'
/// encodings several times.
fn in_blocks<T: Serialize + ?Sized>(value: &T, out: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    postcard::serialize_with_flavor(value, Blocks { out, block: [0; 64], used: 0 }).is_ok()
}

/// Decodes exactly one value from all of `bytes`.
///
/// # Errors
/// [`DecodeError::Malformed`], [`DecodeError::Trailing`] or [`DecodeError::NotCanonical`].
pub fn decode<'a, T: Serialize + Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing);
    }
    // postcard accepts varints with padding; comparing with our own encoding finds them all.
    let mut expected = bytes;
    let same = in_blocks(&value, &mut |piece| match expected.strip_prefix(piece) {
        Some(rest) => {
            expected = rest;
            true
        }
        None => false,
    });
    if same && expected.is_empty() { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// A 64-byte value (serde knows arrays up to 32 bytes only): a signature, or a pair of scalars.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes64(pub [u8; 64]);

impl core::fmt::Debug for Bytes64 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Bytes64 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (low, high) = self.0.split_at(32);
        let halves: (&[u8; 32], &[u8; 32]) = (
            low.try_into().map_err(serde::ser::Error::custom)?,
            high.try_into().map_err(serde::ser::Error::custom)?,
        );
        halves.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (low, high) = <([u8; 32], [u8; 32])>::deserialize(from)?;
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(low.into_iter().chain(high)).for_each(|(to, from)| *to = from);
        Ok(Self(bytes))
    }
}

/// Most values are encoded byte by byte, and whatever takes them does so much faster by the block. What is
/// encoded may be secret: the block is wiped.
struct Blocks<'a> {
    /// Whether it took the bytes.
    out: &'a mut dyn FnMut(&[u8]) -> bool,
    block: [u8; 64],
    used: usize,
}

impl Blocks<'_> {
    fn put(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if (self.out)(bytes) { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }

    #[inline(never)]
    fn flush(&mut self) -> postcard::Result<()> {
        let used = core::mem::take(&mut self.used);
        let block = self.block.get(..used).unwrap_or_default();
        if (self.out)(block) { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }
}

impl postcard::ser_flavors::Flavor for Blocks<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.used == self.block.len() {
            self.flush()?;
        }
        if let Some(place) = self.block.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.flush()?;
        self.put(bytes)
    }
    fn finalize(mut self) -> postcard::Result<()> {
        self.flush()
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_is_what_is_encoded() {
        for count in [0, 1, 62, 63, 64, 65, 127, 128, 129, 200] {
            let numbers: heapless::Vec<u8, 200> = (0..count).collect();
            let value = (&numbers, piece(&numbers), 7u32, &numbers);
            let (mut buffer, mut sunk) = ([0; 1024], heapless::Vec::<u8, 1024>::new());
            encode_to(&value, |bytes| sunk.extend_from_slice(bytes).unwrap());
            assert_eq!(*encode(&value, &mut buffer).unwrap(), sunk);
        }
    }

    /// Bytes that are encoded in one piece.
    fn piece(bytes: &[u8]) -> impl Serialize + '_ {
        struct Piece<'a>(&'a [u8]);
        impl Serialize for Piece<'_> {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_bytes(self.0)
            }
        }
        Piece(bytes)
    }

    #[test]
    fn trailing_bytes_and_padded_varints_are_refused() {
        assert_eq!(decode::<u32>(&[0x85, 0x01]), Ok(133));
        assert_eq!(decode::<u32>(&[0x05, 0x00]), Err(DecodeError::Trailing));
        assert_eq!(decode::<u32>(&[0x85, 0x00]), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<u32>(&[0x85]), Err(DecodeError::Malformed));
    }
}
