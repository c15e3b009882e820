//! Who signed a raw transaction, by libsecp256k1.

use quorate_core::policy::ethereum::{address, take_apart};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1};

/// The address that signed `raw` (0x…, EIP-1559), EIP-55; a high s is an error.
///
/// # Errors
/// What is wrong with the transaction or its signature.
pub fn sender(raw: &str) -> Result<String, String> {
    let bytes = hex::decode(raw.trim_start_matches("0x")).map_err(|e| e.to_string())?;
    let parts = take_apart(&bytes).map_err(|e| e.to_string())?;
    let id = RecoveryId::try_from(i32::from(parts.y_parity)).map_err(|e| e.to_string())?;
    let both = [parts.r, parts.s].concat();
    let signature = RecoverableSignature::from_compact(&both, id).map_err(|e| e.to_string())?;
    let standard = signature.to_standard();
    let mut low = standard;
    low.normalize_s();
    if low != standard {
        return Err("s is high".to_owned());
    }
    let message = Message::from_digest(parts.digest);
    let secp = Secp256k1::verification_only();
    let key = secp.recover_ecdsa(message, &signature).map_err(|e| e.to_string())?;
    secp.verify_ecdsa(message, &standard, &key).map_err(|e| e.to_string())?;
    let point = key.serialize_uncompressed();
    let point: [u8; 64] = point
        .get(1..)
        .and_then(|point| point.try_into().ok())
        .ok_or_else(|| "no point".to_owned())?;
    Ok(address(&point).to_string())
}
