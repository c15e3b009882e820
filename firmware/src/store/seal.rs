//! Records are sealed with ChaCha20-Poly1305 (RFC 8439), piece by piece, under keys that come from the
//! root. The nonce is a keyed hash of all that is sealed: whoever puts the flash back to an earlier
//! state, or repeats the noise, gets the same bytes or another nonce, and never one nonce for two texts.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};
use quorate_core::hash::Transcript;
use quorate_core::secret::SecretBytes;
use zeroize::Zeroize as _;

/// The clear part of a record: magic, slot, length of the text, number. It is authenticated.
pub(super) const HEADER: usize = 8;
pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;
/// A text is sealed and opened in pieces of so many bytes; only the last may be shorter.
pub(crate) const PIECE: usize = 64;

/// What comes from the root.
pub(super) struct Keys {
    seal: SecretBytes,
    nonce: SecretBytes,
    pin: SecretBytes,
}

impl Keys {
    pub(super) fn new(root: &[u8; 32]) -> Self {
        let key = |tag| Transcript::new(tag).bytes(root).secret();
        Self { seal: key("store-seal"), nonce: key("store-nonce"), pin: key("store-pin") }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> [[u8; 32]; 3] {
        [&self.seal, &self.nonce, &self.pin].map(|key| *key.expose())
    }

    pub(super) fn pin(&self) -> &SecretBytes {
        &self.pin
    }

    pub(super) fn nonce(&self, header: &[u8; HEADER], text: &[u8]) -> [u8; NONCE] {
        let transcript = Transcript::new("store-record").bytes(self.nonce.expose());
        let mut digest = transcript.bytes(header).bytes(text).finish();
        let nonce = digest.first_chunk().copied().unwrap_or_default();
        digest.zeroize();
        nonce
    }

    /// Opens the first piece of a text, and asks for no tag.
    pub(super) fn peek(&self, nonce: &[u8; NONCE], piece: &mut [u8; PIECE]) {
        let mut stream = ChaCha20::new(self.seal.expose().into(), nonce.into());
        stream.seek(64u32);
        stream.apply_keystream(piece);
    }

    pub(super) fn cipher(&self, header: &[u8; HEADER], nonce: &[u8; NONCE]) -> Cipher {
        let mut stream = ChaCha20::new(self.seal.expose().into(), nonce.into());
        let mut key = poly1305::Key::default();
        stream.apply_keystream(&mut key);
        let mut mac = Poly1305::new(&key);
        key.zeroize();
        // The rest of the first block is not used.
        stream.seek(64u32);
        mac.update_padded(header);
        Cipher { stream, mac, length: 0 }
    }
}

/// One record under way.
pub(super) struct Cipher {
    stream: ChaCha20,
    mac: Poly1305,
    length: u64,
}

impl Cipher {
    pub(super) fn seal(&mut self, piece: &mut [u8]) {
        self.stream.apply_keystream(piece);
        self.check(piece);
    }

    /// Takes in a sealed piece, for the tag alone.
    pub(super) fn check(&mut self, piece: &[u8]) {
        self.mac.update_padded(piece);
        self.length = self.length.saturating_add(piece.len() as u64);
    }

    /// Opens pieces after [`Self::check`] has taken in all of them, and the tag was right.
    pub(super) fn open(&mut self, text: &mut [u8]) {
        self.stream.apply_keystream(text);
    }

    /// The tag of what was sealed or checked so far.
    pub(super) fn tag(&self) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        let (mut lengths, header) = ([0; TAG], (HEADER as u64).to_le_bytes());
        let parts = header.into_iter().chain(self.length.to_le_bytes());
        lengths.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        mac.update(&[lengths.into()]);
        mac.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
    use chacha20poly1305::{ChaCha20Poly1305, Tag};

    use super::*;

    #[test]
    fn it_is_the_rfcs_construction() {
        let keys = Keys::new(&[7; 32]);
        let header = *b"Q\x01\x02\x03\x04\x05\x06\x07";
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 200, 2560] {
            let text: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let nonce = keys.nonce(&header, &text);
            let mut sealed = text.clone();
            let mut cipher = keys.cipher(&header, &nonce);
            sealed.chunks_mut(PIECE).for_each(|piece| cipher.seal(piece));
            let tag = cipher.tag();
            // Theirs opens what ours has sealed, and ours what it sealed itself.
            let theirs = ChaCha20Poly1305::new(keys.seal.expose().into());
            let mut opened = sealed.clone();
            let tag = Tag::from(tag);
            theirs.decrypt_in_place_detached(&nonce.into(), &header, &mut opened, &tag).unwrap();
            assert_eq!(opened, text);
            let mut cipher = keys.cipher(&header, &nonce);
            sealed.chunks(PIECE).for_each(|piece| cipher.check(piece));
            assert_eq!(cipher.tag(), <[u8; TAG]>::from(tag));
            cipher.open(&mut sealed);
            assert_eq!(sealed, text);
        }
    }
}
