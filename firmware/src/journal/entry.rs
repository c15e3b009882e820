//! One entry, as bytes: request, time (u64), expiry (u64), key, generation (u32), the entry's hash, and for
//! each charge its series, the amount's length and the amount, big-endian without zeros in front.
//! Other integers are little-endian. The first 64 bytes tell whether the rest is of interest.

use quorate_core::hash::{Digest, Transcript};

use super::{MAX_CHARGES, Release};
use crate::store::{PIECE, StoreError};

/// Without charges.
const FIXED: usize = 32 + 8 + 8 + 16 + 4 + 32;
/// Where the hash is.
const HASH: usize = FIXED - 32;
/// No entry is longer.
pub(super) const MAX_ENTRY: usize = FIXED + MAX_CHARGES * (16 + 1 + 32);

/// An entry.
pub(super) struct Entry<'a> {
    pub(super) number: u64,
    pub(super) generation: u32,
    pub(super) at: u64,
    pub(super) expires: u64,
    pub(super) key: [u8; 16],
    pub(super) request: Digest,
    pub(super) hash: Digest,
    pub(super) charges: Charges<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Charges<'a> {
    New(&'a [super::Charge]),
    Stored(&'a [u8]),
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn charge(&mut self) -> Option<([u8; 16], &'a [u8])> {
        let (series, [length]) = (self.array()?, self.array()?);
        let (amount, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some((series, amount))
    }
}

impl<'a> Entry<'a> {
    /// A new one: number, generation and hash are the journal's to give.
    pub(super) fn of(release: &Release<'a>) -> Self {
        let Release { request, key, at, expires, charges } = *release;
        let charges = Charges::New(charges);
        Self { number: 0, generation: 0, at, expires, key, request, hash: [0; 32], charges }
    }

    pub(super) fn parse(number: u64, bytes: &'a [u8]) -> Result<Self, StoreError> {
        let mut cursor = Cursor(bytes);
        let mut parse = || {
            Some(Self {
                number,
                request: cursor.array()?,
                at: u64::from_le_bytes(cursor.array()?),
                expires: u64::from_le_bytes(cursor.array()?),
                key: cursor.array()?,
                generation: u32::from_le_bytes(cursor.array()?),
                hash: cursor.array()?,
                charges: Charges::Stored(cursor.0),
            })
        };
        parse().ok_or(StoreError::Damaged)
    }

    /// What an entry begins with; generation, hash and charges are not in it.
    pub(super) fn peek(number: u64, first: &'a [u8; PIECE]) -> Result<Self, StoreError> {
        let mut cursor = Cursor(first);
        let mut parse = || {
            Some(Self {
                number,
                request: cursor.array()?,
                at: u64::from_le_bytes(cursor.array()?),
                expires: u64::from_le_bytes(cursor.array()?),
                key: cursor.array()?,
                generation: 0,
                hash: [0; 32],
                charges: Charges::Stored(&[]),
            })
        };
        parse().ok_or(StoreError::Damaged)
    }

    /// What it counts, of an entry that was stored: series, and the amount's bytes.
    pub(super) fn charges(&self) -> impl Iterator<Item = ([u8; 16], &'a [u8])> + use<'a> {
        let mut cursor =
            Cursor(if let Charges::Stored(bytes) = self.charges { bytes } else { &[] });
        core::iter::from_fn(move || cursor.charge())
    }

    /// Its bytes, and its hash over them and the hash before.
    pub(super) fn encode<'b>(
        &self,
        previous: &Digest,
        buffer: &'b mut [u8; MAX_ENTRY],
    ) -> Result<(&'b [u8], Digest), StoreError> {
        let mut used = 0;
        let mut put = |bytes: &[u8]| -> Result<(), StoreError> {
            let end = used + bytes.len();
            buffer.get_mut(used..end).ok_or(StoreError::TooLong)?.copy_from_slice(bytes);
            used = end;
            Ok(())
        };
        put(&self.request)?;
        put(&self.at.to_le_bytes())?;
        put(&self.expires.to_le_bytes())?;
        put(&self.key)?;
        put(&self.generation.to_le_bytes())?;
        put(&[0; 32])?;
        let charges = if let Charges::New(charges) = self.charges { charges } else { &[] };
        for (index, charge) in charges.iter().enumerate() {
            // Several windows of one series are one charge; as with nodes, the last.
            if charges.iter().skip(index + 1).any(|later| later.series == charge.series) {
                continue;
            }
            let amount = charge.amount.to_be_bytes();
            let zeros = amount.iter().take_while(|byte| **byte == 0).count();
            let amount = amount.get(zeros..).unwrap_or_default();
            put(&charge.series)?;
            put(&[amount.len() as u8])?;
            put(amount)?;
        }
        let bytes = buffer.get_mut(..used).ok_or(StoreError::TooLong)?;
        let hash = Transcript::new("device-journal")
            .bytes(previous)
            .u64(self.number)
            .bytes(bytes)
            .finish();
        bytes.get_mut(HASH..FIXED).ok_or(StoreError::TooLong)?.copy_from_slice(&hash);
        Ok((bytes, hash))
    }
}
