//! Messages for people (EIP-191, version 0x45): `personal_sign`.

use sha3::{Digest as _, Keccak256};

use crate::hash::Digest;

/// keccak-256 of `"\x19Ethereum Signed Message:\n" ‖ length in decimal ‖ message`: what is signed.
/// The first byte is no transaction's, so that no message is one.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    // A length has at most 20 digits; they come out last one first.
    let mut digits = [0; 20];
    let (mut rest, mut start) = (message.len(), digits.len());
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        (rest, start) = (rest / 10, start - 1);
        if rest == 0 {
            break;
        }
    }
    Keccak256::new()
        .chain_update(b"\x19Ethereum Signed Message:\n")
        .chain_update(digits.get(start..).unwrap_or_default())
        .chain_update(message)
        .finalize()
        .into()
}
