//! What Ethereum signs, parsed by every party itself, without an allocator.

pub mod abi;
mod encoding;
pub mod message;
mod transaction;
pub mod typed_data;
pub mod types;

use core::fmt;

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};

pub use super::rlp::{NoRoom, RlpError};
pub use encoding::{
    SignedParts, UNSIGNED_OVERHEAD, UnsignedFields, signed_transaction, take_apart,
    unsigned_transaction,
};
pub use transaction::{
    AccessListEntry, Authorization, GAS_PER_BLOB, Transaction, TransactionError, TransactionKind,
};
pub use typed_data::{TypedData, TypedDataError};

/// keccak-256.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// An account, 20 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// Reads 40 hexadecimal digits, with or without `0x`. Mixed case must be a right EIP-55 checksum.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().try_fold(0u8, |sum, digit| {
                Some(sum << 4 | (*digit as char).to_digit(16)? as u8)
            })?;
        }
        let address = Self(bytes);
        let has = |test: fn(&u8) -> bool| digits.iter().any(test);
        let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        (!mixed || address.checksummed() == digits).then_some(address)
    }

    /// EIP-55: the digit is upper case where the hash of the lower-case digits has a nibble of 8 or more.
    #[must_use]
    pub fn checksummed(&self) -> [u8; 40] {
        let mut text = [0u8; 40];
        for (pair, byte) in text.chunks_mut(2).zip(self.0) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0') as u8;
            }
        }
        let hash = keccak256(&text);
        for (pair, byte) in text.chunks_mut(2).zip(hash) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                if nibble >= 8 {
                    digit.make_ascii_uppercase();
                }
            }
        }
        text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.checksummed().iter().try_for_each(|digit| write!(f, "{}", *digit as char))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a public key given as x ‖ y: the last 20 bytes of its hash.
#[must_use]
pub fn address(public_key: &[u8; 64]) -> Address {
    let mut bytes = [0; 20];
    let hash = keccak256(public_key);
    bytes.iter_mut().zip(hash.iter().skip(12)).for_each(|(to, from)| *to = *from);
    Address(bytes)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn eip_55_vectors() {
        // From the EIP itself.
        for text in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(Address::from_hex(text).unwrap().to_string(), text);
        }
        assert!(Address::from_hex("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD").is_none());
    }

    #[test]
    fn the_generator_point_has_its_well_known_address() {
        // The account of the private key 1.
        let point = hex::decode(
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
             483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
        );
        let point: [u8; 64] = point.unwrap().try_into().unwrap();
        assert_eq!(address(&point).to_string(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
    }
}
