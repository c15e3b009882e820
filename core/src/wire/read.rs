//! Reading without serde: the same encoding, in a fraction of a chip's flash and stack.
//!
//! A [`Reader`] that has failed goes on with empty values, and [`read()`] looks once, at the end, whether it has:
//! so no field needs a branch of its own, and each is read where it stays. It refuses every encoding but the one
//! that [`super::encode`] makes, and need not compare with that.

use heapless::{String, Vec};

use super::{Bytes64, DecodeError};

/// What is still to be read.
pub struct Reader<'a> {
    rest: &'a [u8],
    failed: Option<DecodeError>,
}

/// A value that a [`Reader`] reads, whose encoding is serde's. It is read from a reader that has failed too, and
/// is then never used.
pub trait Read<'a>: Sized {
    /// Reads it.
    fn read(from: &mut Reader<'a>) -> Self;
}

/// Reads exactly one value from all of `bytes`, like [`super::decode`].
///
/// # Errors
/// [`DecodeError::Malformed`], [`DecodeError::Trailing`] or [`DecodeError::NotCanonical`].
pub fn read<'a, T: Read<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut from = Reader::new(bytes);
    // Made where it is returned: a large one would take a chip's stack twice.
    let value = Ok(T::read(&mut from));
    match from.end() {
        Ok(()) => value,
        Err(error) => Err(error),
    }
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: None }
    }

    /// Whether all was read that has been asked for.
    ///
    /// # Errors
    /// What was wrong first.
    pub fn whole(&self) -> Result<(), DecodeError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// The same, and that nothing is left.
    ///
    /// # Errors
    /// What was wrong first.
    #[inline(never)]
    pub fn end(&self) -> Result<(), DecodeError> {
        self.whole()?;
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// A value is out of its range.
    pub fn fail(&mut self) {
        self.fail_with(DecodeError::Malformed);
    }

    #[inline(never)]
    fn fail_with(&mut self, error: DecodeError) {
        self.failed = self.failed.or(Some(error));
        self.rest = &[];
    }

    /// One field.
    pub fn field<T: Read<'a>>(&mut self) -> T {
        T::read(self)
    }

    #[inline(never)]
    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => {
                self.fail();
                0
            }
        }
    }

    #[inline(never)]
    fn piece(&mut self, length: usize) -> &'a [u8] {
        match self.rest.split_at_checked(length) {
            Some((piece, rest)) => {
                self.rest = rest;
                piece
            }
            None => {
                self.fail();
                &[]
            }
        }
    }

    /// Fills `place` with as many bytes; it stays as it is if there are fewer.
    #[inline(never)]
    pub fn fill(&mut self, place: &mut [u8]) {
        let piece = self.piece(place.len());
        if piece.len() == place.len() {
            place.copy_from_slice(piece);
        }
    }

    /// Seven bits in each byte, the lowest first, and the highest bit of all bytes but the last. No last byte of
    /// several is 0, and no number has more than `bits` bits.
    #[inline(never)]
    fn number(&mut self, bits: u32) -> u64 {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            let low = u64::from(byte & 0x7f);
            if shift >= bits || (bits < shift + 7 && low >> (bits - shift) != 0) {
                self.fail();
                return 0;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    self.fail_with(DecodeError::NotCanonical);
                }
                return number;
            }
            shift += 7;
        }
    }

    /// How many elements or bytes follow.
    pub(crate) fn length(&mut self) -> usize {
        // No message is longer than a chip's `usize` can tell.
        self.number(32) as usize
    }

    /// The number of a variant, below `variants`.
    pub fn variant(&mut self, variants: u8) -> u8 {
        let number = self.number(32);
        if number < u64::from(variants) {
            number as u8
        } else {
            self.fail();
            0
        }
    }

    /// A list's length and its bytes.
    #[inline(never)]
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = self.length();
        self.piece(length)
    }

    /// Text in UTF-8.
    #[inline(never)]
    pub fn text(&mut self) -> &'a str {
        core::str::from_utf8(self.bytes()).unwrap_or_else(|_| {
            self.fail();
            ""
        })
    }
}

/// Implements [`Read`] for a structure, field by field in the order of their encoding.
#[macro_export]
#[doc(hidden)]
macro_rules! read_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        $crate::read_fields!(['de] 'de $name { $($field),* });
    };
    ($name:ident<$life:lifetime> { $($field:ident),* $(,)? }) => {
        $crate::read_fields!([$life] $life $name<$life> { $($field),* });
    };
    ([$($generics:tt)*] $life:lifetime $name:ty { $($field:ident),* $(,)? }) => {
        impl<$($generics)*> $crate::wire::Read<$life> for $name {
            fn read(from: &mut $crate::wire::Reader<$life>) -> Self {
                Self { $($field: from.field()),* }
            }
        }
    };
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Read<'_> for $type {
            fn read(from: &mut Reader<'_>) -> Self {
                from.number(Self::BITS) as Self
            }
        }
    )*};
}

numbers!(u16, u32, u64);

impl Read<'_> for u8 {
    fn read(from: &mut Reader<'_>) -> Self {
        from.byte()
    }
}

impl Read<'_> for bool {
    fn read(from: &mut Reader<'_>) -> Self {
        let byte = from.byte();
        if byte > 1 {
            from.fail();
        }
        byte == 1
    }
}

impl<'a> Read<'a> for &'a [u8] {
    fn read(from: &mut Reader<'a>) -> Self {
        from.bytes()
    }
}

impl<'a> Read<'a> for &'a str {
    fn read(from: &mut Reader<'a>) -> Self {
        from.text()
    }
}

impl<const N: usize> Read<'_> for [u8; N] {
    fn read(from: &mut Reader<'_>) -> Self {
        let mut bytes = [0; N];
        from.fill(&mut bytes);
        bytes
    }
}

impl Read<'_> for Bytes64 {
    fn read(from: &mut Reader<'_>) -> Self {
        Self(from.field())
    }
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    fn read(from: &mut Reader<'a>) -> Self {
        if from.field() { Some(from.field()) } else { None }
    }
}

impl<'a, A: Read<'a>, B: Read<'a>> Read<'a> for (A, B) {
    fn read(from: &mut Reader<'a>) -> Self {
        (from.field(), from.field())
    }
}

impl<'a, T: Read<'a>, const N: usize> Read<'a> for Vec<T, N> {
    fn read(from: &mut Reader<'a>) -> Self {
        let mut list = Self::new();
        let length = from.length();
        if length > N {
            from.fail();
            return list;
        }
        for _ in 0..length {
            // There is room.
            let _ = list.push(from.field());
        }
        list
    }
}

impl<const N: usize> Read<'_> for String<N> {
    fn read(from: &mut Reader<'_>) -> Self {
        let mut string = Self::new();
        if string.push_str(from.text()).is_err() {
            from.fail();
        }
        string
    }
}

/// Whether [`read()`] and [`super::decode`] take the same bytes, and for the same value: bytes at random, most of
/// them small, so that many begin with a value of nearly any type; what was taken, with every byte altered and
/// cut off anywhere. There must be some of both.
#[cfg(test)]
macro_rules! agree {
    ($($name:ty),* $(,)?) => {$({
        extern crate std;
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
        use $crate::wire::{decode, encode, read};
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut taken, mut refused, mut buffers) = (0, 0, ([0; 8192], [0; 8192]));
        let mut compare = |bytes: &[u8]| match (read::<$name>(bytes), decode::<$name>(bytes)) {
            (Ok(read), Ok(decoded)) => {
                let read = encode(&read, &mut buffers.0).unwrap();
                assert_eq!(*read, *encode(&decoded, &mut buffers.1).unwrap());
                assert_eq!(*read, *bytes);
                taken += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (read, _) => panic!("{}: {:?}, {bytes:?}", stringify!($name), read.err()),
        };
        for _ in 0..3000 {
            let mut bytes = [0; 1500];
            rng.fill_bytes(&mut bytes);
            for byte in &mut bytes {
                *byte = if *byte >= 8 { *byte % 4 } else { *byte << 5 | *byte };
            }
            let Ok((_, rest)) = postcard::take_from_bytes::<$name>(&bytes) else { continue };
            let length = bytes.len() - rest.len();
            let bytes = &mut bytes[..length];
            compare(bytes);
            if rng.next_u32() % 64 == 0 {
                for end in 0..length {
                    compare(&bytes[..end]);
                }
                for place in 0..length {
                    for value in [0, 1, 5, 0x7f, 0x80, 0x81, 0xff] {
                        let before = core::mem::replace(&mut bytes[place], value);
                        compare(bytes);
                        bytes[place] = before;
                    }
                }
            }
        }
        assert!(taken > 20 && refused > 20, "{}: {taken}, {refused}", stringify!($name));
    })*};
}

#[cfg(test)]
pub(crate) use agree;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{PointBytes, Suite};
    use crate::derive::{Context, Derivation, Path};
    use crate::head::SignedHead;
    use crate::identity::{Identity, SessionKeyCertificate};
    use crate::key::{Confirmation, KeyTerms, PublicKey, ShareRecord};
    use crate::nonce::NoncePoint;
    use crate::party::{Holders, PartyId, PartySet};
    use crate::session::Header;

    #[test]
    fn values_are_read_as_serde_reads_them() {
        agree!(u8, u16, u32, u64, bool, &[u8], &str, [u8; 16], [u8; 32], Bytes64);
        agree!(Option<u64>, (u16, bool), Vec<u32, 3>, String<5>, Vec<&[u8], 4>);
        agree!(Suite, PartyId, PartySet, Holders, PointBytes, Path, Context, Derivation);
        agree!(Identity, SessionKeyCertificate, SignedHead, Header, NoncePoint);
        agree!(KeyTerms, PublicKey<3>, ShareRecord<3, 4>, Confirmation<3, 4>);
    }

    #[test]
    fn numbers_have_one_encoding_and_their_range() {
        assert_eq!(read::<u16>(&[0xff, 0xff, 3]), Ok(u16::MAX));
        assert_eq!(read::<u16>(&[0xff, 0xff, 4]), Err(DecodeError::Malformed));
        assert_eq!(read::<u32>(&[0xff, 0xff, 0xff, 0xff, 15]), Ok(u32::MAX));
        assert_eq!(read::<u32>(&[0xff, 0xff, 0xff, 0xff, 16]), Err(DecodeError::Malformed));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(read::<u64>(&most), Ok(u64::MAX));
        assert_eq!(read::<u64>(&[0x80; 11]), Err(DecodeError::Malformed));
        assert_eq!(read::<u32>(&[0x85, 0]), Err(DecodeError::NotCanonical));
        assert_eq!(read::<u32>(&[5, 0]), Err(DecodeError::Trailing));
        assert_eq!(read::<u32>(&[0x85]), Err(DecodeError::Malformed));
        assert_eq!(read::<(u8, u8)>(&[1]), Err(DecodeError::Malformed));
    }
}
