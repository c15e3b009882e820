//! What a party parses, before an independent client (ethers): whole, and damaged.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "payloads/abi.rs"]
mod abi;
#[path = "payloads/transactions.rs"]
mod transactions;
#[path = "payloads/typed_data.rs"]
mod typed_data;

use quorate_core::policy::amount::Amount;
use quorate_core::policy::payload::{Subject, Value};
use quorate_core::request::Payload;
use quorate_tests::chain::javascript;

/// A value as JavaScript's `String` shows it.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::Uint(number) => number.to_string(),
        Value::Int(word) if word[0] < 0x80 => Amount::from_be_bytes(word).to_string(),
        Value::Int(word) => {
            let below = Amount::from_be_bytes(&word.map(|byte| !byte));
            format!("-{}", below.checked_add(Amount::from_u128(1)).unwrap())
        }
        Value::Bool(bit) => bit.to_string(),
        Value::Address(address) => address.to_string(),
        Value::FixedBytes(bytes) | Value::Bytes(bytes) => format!("0x{}", hex::encode(bytes)),
        Value::Text(text) => (*text).to_owned(),
    }
}

#[test]
fn messages_are_hashed_as_ethers_hashes_them() {
    let lines = javascript("messages.mjs", &[]);
    assert_eq!(lines.lines().count(), 109);
    for line in lines.lines() {
        let [message, digest]: [String; 2] = serde_json::from_str(line).unwrap();
        let bytes = hex::decode(message.strip_prefix("0x").unwrap()).unwrap();
        let ours = Subject::parse(&Payload::EthereumMessage(&bytes)).unwrap().digest();
        assert_eq!(format!("0x{}", hex::encode(ours)), digest, "{} bytes", bytes.len());
    }
}
