//! Independent judges of signatures: libsecp256k1 and ring (BoringSSL's Ed25519), which share no code
//! with ours, ed25519-dalek, which shares the curve but is the stricter, and the `openssl` command.

mod openssl;

use quorate_core::ecdsa::Signature;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};

pub use openssl::{Scheme, accepts_by_openssl};

/// Whether the judge recovers exactly `key` (SEC1-compressed) from the signature, verifies it, and
/// finds its s low.
///
/// # Errors
/// What the judge dislikes.
pub fn accepts(key: &[u8; 33], digest: [u8; 32], signature: &Signature) -> Result<(), String> {
    let text = |error: secp256k1::Error| error.to_string();
    let id = RecoveryId::try_from(i32::from(signature.recovery_id)).map_err(text)?;
    let bytes: Vec<u8> = signature.r.into_iter().chain(signature.s).collect();
    let recoverable = RecoverableSignature::from_compact(&bytes, id).map_err(text)?;
    let (secp, message) = (Secp256k1::new(), Message::from_digest(digest));
    let recovered = secp.recover_ecdsa(message, &recoverable).map_err(text)?;
    if recovered.serialize() != *key {
        return Err(format!("recovers {recovered}, another key"));
    }
    let standard = recoverable.to_standard();
    secp.verify_ecdsa(message, &standard, &recovered).map_err(text)?;
    let mut low = standard;
    low.normalize_s();
    if low == standard { Ok(()) } else { Err("s is high".to_owned()) }
}

/// Whether the judge of P-256 verifies the signature on `message`, which it hashes itself, under `key`
/// (x ‖ y).
#[must_use]
pub fn accepts_p256(key: &[u8; 64], message: &[u8], signature: &Signature) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4][..], key].concat());
    key.verify(message, &[signature.r, signature.s].concat()).is_ok()
}

/// Whether libsecp256k1 verifies the BIP-340 signature.
///
/// # Errors
/// What the judge dislikes.
pub fn accepts_bip340(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), String> {
    let text = |error: secp256k1::Error| error.to_string();
    let key = XOnlyPublicKey::from_byte_array(*key).map_err(text)?;
    let signature = schnorr::Signature::from_byte_array(*signature);
    Secp256k1::new().verify_schnorr(&signature, message, &key).map_err(text)
}

/// Whether ring and ed25519-dalek, strictly, verify the Ed25519 signature.
///
/// # Errors
/// What a judge dislikes.
pub fn accepts_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), String> {
    let text = |error: ed25519_dalek::SignatureError| error.to_string();
    let strict = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(text)?;
    strict
        .verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(text)?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
        .verify(message, signature)
        .map_err(|error| format!("ring: {error}"))
}
