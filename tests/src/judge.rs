//! An independent judge of signatures: libsecp256k1, which shares no code with ours.

use quorate_core::ecdsa::Signature;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1};

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
