//! Domain-separated hashing (`docs/PROTOCOL.md` §1): `H(tag, x1 … xk)` is SHA-256 over the
//! length-prefixed tag and fields, so that no two different lists of fields have one encoding.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::party::{PartyId, PartySet};
use crate::secret::SecretBytes;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// One computation of `H(tag, …)`: fields go in by value order, [`Transcript::finish`] gives the digest.
#[derive(Clone)]
pub struct Transcript(Sha256);

impl Transcript {
    /// Starts `H(tag, …)`. The tag names one purpose in the whole protocol.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        let mut transcript = Self(Sha256::new());
        transcript.0.update(b"\0\0\0\x09quorate/1");
        transcript.bytes(tag.as_bytes())
    }

    /// Adds one field of any length, prefixed by its length in four big-endian bytes.
    #[must_use]
    #[inline(never)]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.put(field);
        self
    }

    /// [`Self::bytes`] in place, where several computations go on side by side.
    pub fn put(&mut self, field: &[u8]) {
        // A field longer than u32::MAX cannot occur: every input is bounded far below.
        let length = (field.len() as u32).to_be_bytes();
        // Nearly all fields are short: then in one piece, which takes the hash half the time.
        let mut piece = [0; 4 + 36];
        match piece.get_mut(..4 + field.len()).and_then(<[u8]>::split_first_chunk_mut) {
            Some((head, tail)) => {
                *head = length;
                tail.copy_from_slice(field);
                self.0.update(piece.get(..4 + field.len()).unwrap_or_default());
                piece.zeroize();
            }
            None => {
                self.0.update(length);
                self.0.update(field);
            }
        }
    }

    /// Adds a 16-bit field.
    #[must_use]
    #[inline(never)]
    pub fn u16(mut self, value: u16) -> Self {
        let [high, low] = value.to_be_bytes();
        // Public, and in one piece with its length: there is nothing to wipe.
        self.0.update([0, 0, 0, 2, high, low]);
        self
    }

    /// Adds a 32-bit field.
    #[must_use]
    #[inline(never)]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds a 64-bit field.
    #[must_use]
    #[inline(never)]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds a party as a 16-bit identifier.
    #[must_use]
    #[inline(never)]
    pub fn party(self, id: PartyId) -> Self {
        self.u16(id.number())
    }

    /// Adds a set: its count, then its members in increasing order.
    #[must_use]
    #[inline(never)]
    pub fn set(self, set: PartySet) -> Self {
        set.iter().fold(self.u16(set.len() as u16), Self::party)
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }

    /// The digest as a secret; no copy of it stays behind here.
    #[must_use]
    pub fn secret(self) -> SecretBytes {
        let mut digest = self.finish();
        let secret = SecretBytes::new(digest);
        digest.zeroize();
        secret
    }

    /// 48 bytes for a reduction modulo the group order ("H2F"): the bias is below 2^-128. They are
    /// H(…, 0) and the first half of H(…, 1), with one more field of one byte.
    #[must_use]
    pub fn wide(self) -> [u8; 48] {
        let mut out = [0; 48];
        let (head, tail) = out.split_at_mut(32);
        let (mut first, mut second) =
            (self.clone().bytes(&[0]).finish(), self.bytes(&[1]).finish());
        head.copy_from_slice(&first);
        tail.iter_mut().zip(&second).for_each(|(to, from)| *to = *from);
        // The caller wipes the result, if it is secret.
        first.zeroize();
        second.zeroize();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_slide_into_each_other() {
        let a = Transcript::new("t").bytes(b"ab").bytes(b"c").finish();
        let b = Transcript::new("t").bytes(b"a").bytes(b"bc").finish();
        let c = Transcript::new("tab").bytes(b"c").finish();
        assert!(a != b && a != c && b != c);
    }
}
