//! Lists of a stated length at most, decoded onto the heap: what a sender claims to send reserves no
//! memory beyond that.

use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::wire::{Read, Reader, Write, Writer};

struct AtMost<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "at most {MAX} values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Vec<T>, A::Error> {
        // Reserved at once: a list of secrets that grew would leave copies behind.
        let mut list = Vec::with_capacity(values.size_hint().unwrap_or(0).min(MAX));
        while let Some(value) = values.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom("too many values"));
            }
            list.push(value);
        }
        Ok(list)
    }
}

pub(super) fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

/// The same without serde.
pub(super) fn list<'a, T: Read<'a>, const MAX: usize>(from: &mut Reader<'a>) -> Vec<T> {
    let length = from.length();
    if length > MAX {
        from.fail();
        return Vec::new();
    }
    // Reserved at once, likewise.
    let mut list = Vec::with_capacity(length);
    while list.len() < length && from.whole().is_ok() {
        list.push(from.field());
    }
    list
}

pub(super) fn write_list<T: Write>(list: &[T], to: &mut Writer<'_>) {
    to.length(list.len());
    list.iter().for_each(|one| one.write(to));
}
