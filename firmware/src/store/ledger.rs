//! FROST: nonces are used once. Who signs computes the answer, and stores the pool without the nonce
//! together with the answer, in one record; only when that is there may the answer leave. Asked again for the
//! same session, it gives the same answer, and never signs with that nonce again.
//!
//! The record: the session (all zero without an answer), the answer's length, the answer, the pool.

use embedded_storage::nor_flash::NorFlash;
use quorate_core::hash::Digest;

use super::{MAX_RECORD, Part, Slot, Store, StoreError};

/// No answer is longer.
pub const MAX_ANSWER: usize = 128;
/// No pool is longer. Core's pools of up to 32 nonces are not.
pub const MAX_POOL: usize = MAX_RECORD - 32 - 1 - MAX_ANSWER;

/// A stored record, in parts.
struct Parts<'a> {
    session: &'a Digest,
    answer: &'a [u8],
    pool: &'a [u8],
}

fn parts(record: &[u8]) -> Option<Parts<'_>> {
    let (session, rest) = record.split_first_chunk()?;
    let ([length], rest) = rest.split_first_chunk()?;
    let (answer, pool) = rest.split_at_checked(usize::from(*length))?;
    Some(Parts { session, answer, pool })
}

/// Puts a record together in `buffer`.
fn join<'b>(
    buffer: &'b mut [u8; MAX_RECORD],
    session: &Digest,
    answer: &[u8],
    pool: &[u8],
) -> Result<&'b [u8], StoreError> {
    if answer.len() > MAX_ANSWER || pool.len() > MAX_POOL {
        return Err(StoreError::TooLong);
    }
    let mut used = 0;
    for part in [session, &[answer.len() as u8][..], answer, pool] {
        let end = part.len().saturating_add(used);
        buffer.get_mut(used..end).ok_or(StoreError::TooLong)?.copy_from_slice(part);
        used = end;
    }
    buffer.get(..used).ok_or(StoreError::TooLong)
}

impl<F: NorFlash> Store<F> {
    /// The pool of nonces of a key.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn pool<'b>(
        &mut self,
        key: u8,
        buffer: &'b mut [u8; MAX_RECORD],
    ) -> Result<Option<&'b [u8]>, StoreError> {
        let Some(record) = self.load(Slot::Key(key, Part::Pool), buffer)? else { return Ok(None) };
        Ok(Some(parts(record).ok_or(StoreError::Damaged)?.pool))
    }

    /// What a session was answered, if it is the last one that was.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn answer<'b>(
        &mut self,
        key: u8,
        session: &Digest,
        buffer: &'b mut [u8; MAX_RECORD],
    ) -> Result<Option<&'b [u8]>, StoreError> {
        let Some(record) = self.load(Slot::Key(key, Part::Pool), buffer)? else { return Ok(None) };
        let found = parts(record).ok_or(StoreError::Damaged)?;
        Ok((found.session == session).then_some(found.answer))
    }

    /// A fresh pool in place of the one before; the last answer stays. `buffer` is room to work in; the
    /// caller wipes it.
    ///
    /// # Errors
    /// [`StoreError::TooLong`], or as [`Store::save`].
    pub fn renew_pool(
        &mut self,
        key: u8,
        pool: &[u8],
        buffer: &mut [u8; MAX_RECORD],
    ) -> Result<(), StoreError> {
        let (mut session, mut answer, mut length) = ([0; 32], [0; MAX_ANSWER], 0);
        if let Some(record) = self.load(Slot::Key(key, Part::Pool), buffer)? {
            let found = parts(record).ok_or(StoreError::Damaged)?;
            (session, length) = (*found.session, found.answer.len());
            answer.iter_mut().zip(found.answer).for_each(|(to, from)| *to = *from);
        }
        let answer = answer.get(..length).ok_or(StoreError::Damaged)?;
        let record = join(buffer, &session, answer, pool)?;
        self.save(Slot::Key(key, Part::Pool), record)
    }

    /// Stores that `session` was answered, and the pool that is left. `replaces` is asked whether the
    /// stored pool is the one that the new one was made from (core's `Change::replaces`). When this
    /// returns `Ok`, and not before, the answer may leave.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if `replaces` says no, or as [`Store::save`].
    pub fn consume(
        &mut self,
        key: u8,
        (session, answer): (&Digest, &[u8]),
        pool: &[u8],
        replaces: impl FnOnce(&[u8]) -> bool,
        buffer: &mut [u8; MAX_RECORD],
    ) -> Result<(), StoreError> {
        let stored = self.pool(key, buffer)?.ok_or(StoreError::Stale)?;
        if !replaces(stored) {
            return Err(StoreError::Stale);
        }
        let record = join(buffer, session, answer, pool)?;
        self.save(Slot::Key(key, Part::Pool), record)
    }
}
