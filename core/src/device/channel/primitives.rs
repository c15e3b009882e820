//! X25519, ChaCha20-Poly1305 and SHA-256 of the crates that the rest of core uses, for `noise-protocol`.
//! Its own adapters need an operating system's randomness, and some of its buffers would not be wiped.

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, Key, KeyInit as _, Nonce, Tag};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::montgomery::MontgomeryPoint;
use hmac::{Hmac, Mac as _};
use noise_protocol::{Cipher, DH, Hash, U8Array};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// 32 bytes that wipe themselves: keys and what becomes one.
#[derive(ZeroizeOnDrop)]
pub(super) struct Wiped([u8; 32]);

impl U8Array for Wiped {
    fn new() -> Self {
        Self([0; 32])
    }
    fn new_with(byte: u8) -> Self {
        Self([byte; 32])
    }
    fn from_slice(bytes: &[u8]) -> Self {
        let mut array = Self::new();
        array.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        array
    }
    fn len() -> usize {
        32
    }
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

pub(super) enum X25519 {}

impl DH for X25519 {
    type Key = Wiped;
    type Pubkey = [u8; 32];
    type Output = Wiped;

    fn name() -> &'static str {
        "25519"
    }

    /// Never called: the ephemeral key is always given. If it were, `dh` would refuse this one.
    fn genkey() -> Wiped {
        Wiped::new()
    }

    fn pubkey(key: &Wiped) -> [u8; 32] {
        // On a chip without the table of this point's multiples, which takes 30 KB: FROST's crate would bring it.
        if cfg!(feature = "std") {
            MontgomeryPoint::mul_base_clamped(key.0).to_bytes()
        } else {
            ED25519_BASEPOINT_POINT.mul_clamped(key.0).to_montgomery().to_bytes()
        }
    }

    /// A point of small order, which makes the secret everybody's, is refused.
    fn dh(key: &Wiped, point: &[u8; 32]) -> Result<Wiped, ()> {
        let mut shared = MontgomeryPoint(*point).mul_clamped(key.0);
        let secret = Wiped(shared.to_bytes());
        shared.zeroize();
        let good = !secret.0.ct_eq(&[0; 32]) & !key.0.ct_eq(&[0; 32]);
        if bool::from(good) { Ok(secret) } else { Err(()) }
    }
}

pub(super) enum ChaChaPoly {}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce.iter_mut().skip(4).zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    nonce
}

impl ChaChaPoly {
    fn seal(key: &Wiped, number: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        let cipher = ChaCha20Poly1305::new(Key::from_slice(&key.0));
        // It fails for texts of 256 GiB only.
        cipher.encrypt_in_place_detached(&nonce(number), ad, text).unwrap_or_default()
    }
}

impl Cipher for ChaChaPoly {
    type Key = Wiped;

    fn name() -> &'static str {
        "ChaChaPoly"
    }

    fn encrypt(key: &Wiped, number: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) {
        out.iter_mut().zip(plaintext).for_each(|(to, from)| *to = *from);
        Self::encrypt_in_place(key, number, ad, out, plaintext.len());
    }

    fn encrypt_in_place(
        key: &Wiped,
        number: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> usize {
        if let Some((text, rest)) = in_out.split_at_mut_checked(length) {
            let tag = Self::seal(key, number, ad, text);
            rest.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        }
        length + Self::tag_len()
    }

    fn decrypt(
        key: &Wiped,
        number: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<(), ()> {
        let (text, tag) = ciphertext.split_at_checked(out.len()).ok_or(())?;
        out.copy_from_slice(text);
        decrypt(key, number, ad, out, tag)
    }

    fn decrypt_in_place(
        key: &Wiped,
        number: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> Result<usize, ()> {
        let end = length.checked_sub(Self::tag_len()).ok_or(())?;
        let (text, tag) = in_out.get_mut(..length).ok_or(())?.split_at_mut(end);
        decrypt(key, number, ad, text, tag).map(|()| end)
    }
}

fn decrypt(key: &Wiped, number: u64, ad: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), ()> {
    if tag.len() != ChaChaPoly::tag_len() {
        return Err(());
    }
    ChaCha20Poly1305::new(Key::from_slice(&key.0))
        .decrypt_in_place_detached(&nonce(number), ad, text, Tag::from_slice(tag))
        .map_err(|_| ())
}

#[derive(Default)]
pub(super) struct Sha256(sha2::Sha256);

impl Hash for Sha256 {
    type Block = [u8; 64];
    type Output = Wiped;

    fn name() -> &'static str {
        "SHA256"
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self) -> Wiped {
        wiped(self.0.finalize_reset().into())
    }

    fn hmac_many(key: &[u8], data: &[&[u8]]) -> Wiped {
        // A key of any length is taken.
        let Ok(mut mac) = <Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(key) else {
            return Wiped::new();
        };
        data.iter().for_each(|part| mac.update(part));
        wiped(mac.finalize().into_bytes().into())
    }
}

fn wiped(mut bytes: [u8; 32]) -> Wiped {
    let wiped = Wiped(bytes);
    bytes.zeroize();
    wiped
}
