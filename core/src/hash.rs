//! Domain-separated hashing (`docs/PROTOCOL.md` §1): `H(tag, x1 … xk)` is SHA-256 over the
//! length-prefixed tag and fields, so that no two different lists of fields have one encoding.

use sha2::{Digest as _, Sha256, compress256};
use zeroize::Zeroize as _;

use crate::party::{PartyId, PartySet};
use crate::secret::{Piece, SecretBytes};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Every hash begins with it, as with a field.
const PROTOCOL: &[u8; 13] = b"\0\0\0\x09quorate/1";

/// One computation of `H(tag, …)`: fields go in by value order, [`Transcript::finish`] gives the digest.
#[derive(Clone)]
pub struct Transcript(Sha256);

impl Transcript {
    /// Starts `H(tag, …)`. The tag names one purpose in the whole protocol.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        let mut transcript = Self(Sha256::new());
        transcript.0.update(PROTOCOL);
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
        let mut piece = Piece([0; 4 + 36]);
        match piece.0.get_mut(..4 + field.len()).and_then(<[u8]>::split_first_chunk_mut) {
            Some((head, tail)) => {
                *head = length;
                tail.copy_from_slice(field);
                self.0.update(piece.0.get(..4 + field.len()).unwrap_or_default());
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
    pub fn set(mut self, set: PartySet) -> Self {
        let members = set.iter().map(PartyId::number);
        let mut numbers = core::iter::once(set.len() as u16).chain(members).peekable();
        // Some fields in one piece, as in `put`.
        while numbers.peek().is_some() {
            let mut piece = [[0; 6]; 8];
            let filled = piece.iter_mut().zip(&mut numbers);
            let count = filled
                .map(|(to, number)| {
                    let [high, low] = number.to_be_bytes();
                    *to = [0, 0, 0, 2, high, low];
                })
                .count();
            self.0.update(piece.as_flattened().get(..6 * count).unwrap_or_default());
        }
        self
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

/// H2F(tag, key, label, digest), as [`Transcript::wide`] gives it, under many keys: all that is not the key is laid
/// out once. The tag's length puts the key and three zeros, of the label's length, at the end of the first block of
/// SHA-256; so that block is compressed once for both halves of the result, and nothing but the key is copied. That
/// takes half the time of the transcript, and is nearly all that signing hashes.
pub(crate) struct Prf {
    first: Piece<64>,
    /// With the last field 0 and 1.
    second: [[u8; 64]; 2],
}

/// Of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

impl Prf {
    const TAG: usize = PROTOCOL.len() + 4;
    const KEY: usize = Self::TAG + 8 + 4;
    /// After the key and three of the label's four bytes of length.
    const BLOCK: () = assert!(Self::KEY + 32 + 3 == 64);

    pub(crate) fn new<const L: usize>(tag: &[u8; 8], label: &[u8; L], digest: &Digest) -> Self {
        // Behind both fields there is one of one byte, then the padding's one and the length of all.
        const { assert!(1 + L + 4 + 32 + 4 + 1 + 1 + 8 <= 64) };
        let () = Self::BLOCK;
        let mut prf = Self { first: Piece([0; 64]), second: [[0; 64]; 2] };
        let head = PROTOCOL.iter().chain(&[0, 0, 0, 8]).chain(tag).chain(&[0, 0, 0, 32]);
        prf.first.0.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        let start = [L as u8];
        let fields = start.iter().chain(label).chain(&[0, 0, 0, 32]).chain(digest);
        let bits = 8 * (64 + 1 + L + 4 + 32 + 4 + 1) as u64;
        for (block, number) in prf.second.iter_mut().zip(0..) {
            let fields = fields.clone().chain(&[0, 0, 0, 1]).copied().chain([number, 0x80]);
            block.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
            if let Some(end) = block.last_chunk_mut() {
                *end = bits.to_be_bytes();
            }
        }
        prf
    }

    /// The value under one key; the caller wipes it.
    #[inline(never)]
    pub(crate) fn of(&self, key: &SecretBytes) -> Piece<48> {
        let mut first = self.first;
        let rest = first.0.get_mut(Self::KEY..).and_then(<[u8]>::first_chunk_mut);
        // There is room, as the constants above say.
        if let Some(place) = rest {
            *place = *key.expose();
        }
        let mut keyed = Words(INITIAL);
        compress(&mut keyed, &first.0);
        first.zeroize();
        let mut out = Piece([0; 48]);
        for (block, out) in self.second.iter().zip(out.0.chunks_mut(32)) {
            let mut words = keyed;
            compress(&mut words, block);
            let bytes = out.chunks_exact_mut(4).zip(words.0);
            bytes.for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
            words.zeroize();
        }
        keyed.zeroize();
        out
    }
}

/// SHA-256 between two blocks.
#[derive(Clone, Copy, Default)]
struct Words([u32; 8]);

impl zeroize::DefaultIsZeroes for Words {}

fn compress(words: &mut Words, block: &[u8; 64]) {
    compress256(&mut words.0, core::slice::from_ref(block.into()));
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

    #[test]
    fn a_set_is_its_count_and_its_members() {
        for members in [0, 1, 6, 7, 8, 15, 16, 17, 255] {
            let set = PartySet::first(members);
            let start = Transcript::new("t").u16(u16::from(members));
            let expected = set.iter().fold(start, Transcript::party).finish();
            assert_eq!(Transcript::new("t").set(set).finish(), expected, "{members}");
        }
    }

    #[test]
    fn a_prf_is_the_transcript_of_its_fields() {
        fn of<const L: usize>(tag: &[u8; 8], label: &[u8; L], seed: u8) {
            let (key, digest) = (SecretBytes::new([seed; 32]), [seed ^ 0x5a; 32]);
            let text = core::str::from_utf8(tag).unwrap();
            let start = Transcript::new(text).bytes(key.expose()).bytes(label);
            assert_eq!(Prf::new(tag, label, &digest).of(&key).0, start.bytes(&digest).wide());
        }
        for seed in 0..=255 {
            of(b"prss-prf", b"k", seed);
            of(b"zero-prf", b"nu", seed);
            of(b"longest1", b"thirteen byte", seed);
            of(b"without1", b"", seed);
        }
    }
}
