//! Writing without serde: the same encoding, in a fraction of a chip's flash.

use heapless::{String, Vec};
use zeroize::Zeroize as _;

use super::{Bytes64, NoRoom};

/// Takes values one after the other. What is written may be secret: the block is wiped.
pub struct Writer<'a> {
    sink: &'a mut dyn FnMut(&[u8]),
    /// Whoever takes the bytes does so faster by the block.
    block: [u8; 64],
    used: usize,
}

/// A value that is written to a [`Writer`], with the encoding that serde gives it.
pub trait Write {
    /// Writes it.
    fn write(&self, to: &mut Writer<'_>);
}

/// Encodes `value` into `buffer` and returns the used part, like [`super::encode`].
///
/// # Errors
/// [`NoRoom`] if the buffer is too short.
#[inline(never)]
pub fn write<'a>(value: &dyn Write, buffer: &'a mut [u8]) -> Result<&'a mut [u8], NoRoom> {
    let (mut used, mut fits) = (0, true);
    write_to(value, &mut |piece| match buffer.get_mut(used..used + piece.len()) {
        Some(place) => {
            place.copy_from_slice(piece);
            used += piece.len();
        }
        None => fits = false,
    });
    buffer.get_mut(..used).filter(|_| fits).ok_or(NoRoom)
}

/// Feeds the encoding of `value` to `sink`, like [`super::encode_to`].
#[inline(never)]
pub fn write_to(value: &dyn Write, sink: &mut dyn FnMut(&[u8])) {
    let mut to = Writer { sink, block: [0; 64], used: 0 };
    value.write(&mut to);
    to.flush();
}

impl Writer<'_> {
    fn flush(&mut self) {
        (self.sink)(self.block.get(..self.used).unwrap_or_default());
        self.used = 0;
    }

    /// Bytes as they are.
    #[inline(never)]
    pub fn raw(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.block.len()) {
            if self.used + piece.len() > self.block.len() {
                self.flush();
            }
            let end = self.used + piece.len();
            if let Some(place) = self.block.get_mut(self.used..end) {
                place.copy_from_slice(piece);
                self.used = end;
            }
        }
    }

    /// A variant's number.
    pub fn variant(&mut self, number: u8) {
        self.number(number.into());
    }

    #[inline(never)]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.raw(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.raw(&[number as u8]);
    }

    /// How many elements or bytes follow.
    pub fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// A list of bytes.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

/// Implements [`Write`] for a structure, field by field in the order of their encoding.
#[macro_export]
#[doc(hidden)]
macro_rules! write_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        $crate::write_fields!([] $name { $($field),* });
    };
    ($name:ident<$life:lifetime> { $($field:ident),* $(,)? }) => {
        $crate::write_fields!([$life] $name<$life> { $($field),* });
    };
    ([$($generics:tt)*] $name:ty { $($field:ident),* $(,)? }) => {
        impl<$($generics)*> $crate::wire::Write for $name {
            fn write(&self, to: &mut $crate::wire::Writer<'_>) {
                $($crate::wire::Write::write(&self.$field, to);)*
            }
        }
    };
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Write for $type {
            fn write(&self, to: &mut Writer<'_>) {
                to.number((*self).into());
            }
        }
    )*};
}

numbers!(u16, u32, u64);

impl Write for u8 {
    fn write(&self, to: &mut Writer<'_>) {
        to.raw(&[*self]);
    }
}

impl Write for bool {
    fn write(&self, to: &mut Writer<'_>) {
        u8::from(*self).write(to);
    }
}

impl<const N: usize> Write for [u8; N] {
    fn write(&self, to: &mut Writer<'_>) {
        to.raw(self);
    }
}

impl Write for &[u8] {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self);
    }
}

impl Write for &str {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self.as_bytes());
    }
}

impl<const N: usize> Write for String<N> {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self.as_bytes());
    }
}

impl Write for Bytes64 {
    fn write(&self, to: &mut Writer<'_>) {
        to.raw(&self.0);
    }
}

impl<T: Write> Write for &T {
    fn write(&self, to: &mut Writer<'_>) {
        (**self).write(to);
    }
}

impl<T: Write> Write for Option<T> {
    fn write(&self, to: &mut Writer<'_>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }
}

impl<A: Write, B: Write> Write for (A, B) {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
        self.1.write(to);
    }
}

impl<A: Write, B: Write, C: Write> Write for (A, B, C) {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
        self.1.write(to);
        self.2.write(to);
    }
}

impl<T: Write, const N: usize> Write for Vec<T, N> {
    fn write(&self, to: &mut Writer<'_>) {
        to.length(self.len());
        self.iter().for_each(|one| one.write(to));
    }
}

/// Whether [`write()`] makes the bytes of [`super::encode`] of what can be decoded from bytes at random, most of
/// them small; `agree` says why.
#[cfg(test)]
macro_rules! written {
    ($($name:ty),* $(,)?) => {$({
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
        use $crate::wire::{encode, write};
        let (mut rng, mut found) = (ChaCha8Rng::seed_from_u64(2), 0);
        for round in 0..6000 {
            let mut bytes = [0; 1500];
            rng.fill_bytes(&mut bytes);
            for byte in &mut bytes {
                *byte = if *byte >= 8 { *byte % 4 } else { *byte << 5 | *byte };
            }
            // Whole variants of the larger enumerations.
            for byte in bytes.iter_mut().take(round % 3) {
                *byte = rng.next_u32() as u8 % 32;
            }
            let Ok((value, _)) = postcard::take_from_bytes::<$name>(&bytes) else { continue };
            let mut buffers = ([0; 8192], [0; 8192]);
            let expected = encode(&value, &mut buffers.0).unwrap();
            assert_eq!(*write(&value, &mut buffers.1).unwrap(), *expected, "{}", stringify!($name));
            let short = expected.len().saturating_sub(1);
            assert_eq!(write(&value, &mut buffers.1[..short]).is_ok(), expected.is_empty());
            found += 1;
        }
        assert!(found > 20, "{}: {found}", stringify!($name));
    })*};
}

#[cfg(test)]
pub(crate) use written;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{PointBytes, Suite};
    use crate::head::SignedHead;
    use crate::identity::{Identity, SessionKeyCertificate};
    use crate::key::{Confirmation, KeyTerms, PublicKey, ShareRecord};
    use crate::nonce::NoncePoint;
    use crate::party::{Holders, PartyId, PartySet};
    use crate::session::Header;

    #[test]
    fn values_are_written_as_serde_writes_them() {
        written!(u8, u16, u32, u64, bool, &[u8], &str, [u8; 16], [u8; 32], Bytes64);
        written!(Option<u64>, (u16, bool), (u8, u32, bool), Vec<u32, 3>, String<5>, Vec<&[u8], 4>);
        written!(Suite, PartyId, PartySet, Holders, PointBytes);
        written!(Identity, SessionKeyCertificate, SignedHead, Header, NoncePoint);
        written!(KeyTerms, PublicKey<3>, ShareRecord<3, 4>, Confirmation<3, 4>);
    }

    #[test]
    fn numbers_and_long_pieces() {
        for number in (0..64).map(|bits| u64::MAX >> bits).chain([0, 0x7f, 0x80, 0x3fff, 0x4000]) {
            let mut buffers = ([0; 16], [0; 16]);
            let expected = super::super::encode(&number, &mut buffers.0).unwrap();
            assert_eq!(*write(&number, &mut buffers.1).unwrap(), *expected);
        }
        let long: [u8; 200] = core::array::from_fn(|place| place as u8);
        for length in [0, 1, 61, 62, 63, 64, 65, 127, 128, 129, 200] {
            let (value, mut buffers) = ((7u8, &long[..length], 9u8), ([0; 256], [0; 256]));
            let expected = super::super::encode(&value, &mut buffers.0).unwrap();
            assert_eq!(*write(&value, &mut buffers.1).unwrap(), *expected);
        }
    }
}
