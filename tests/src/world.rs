//! Contracts compiled from Solidity, on a real dev chain.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

use std::collections::BTreeMap;

use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::ethereum::abi::Signature;
use serde_json::{Value, json};

use crate::chain::{Anvil, Chain, javascript};

/// A chain with a token of each standard, and a contract whose view function returns structs.
pub struct World {
    /// The chain.
    pub chain: Chain,
    /// ERC-20.
    pub coin: Address,
    /// ERC-721.
    pub badge: Address,
    /// ERC-1155.
    pub parts: Address,
    /// `book(uint256)` returns `((bool,(address,uint128,int64,string)[]),uint256)`.
    pub vault: Address,
}

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// An account.
    Account(Address),
    /// A number.
    Number(u64),
    /// One that may be negative.
    Signed(i64),
}

impl Word {
    fn bytes(self) -> [u8; 32] {
        match self {
            Self::Account(Address(account)) => {
                let mut word = [0; 32];
                word.iter_mut().skip(12).zip(account).for_each(|(to, from)| *to = from);
                word
            }
            Self::Signed(number) => {
                let mut word = [if number < 0 { 0xff } else { 0 }; 32];
                let digits = number.to_be_bytes();
                word.iter_mut().skip(24).zip(digits).for_each(|(to, from)| *to = from);
                word
            }
            Self::Number(number) => Amount::from_u128(number.into()).to_be_bytes(),
        }
    }
}

impl World {
    /// A fresh anvil with the contracts of `tests/js/contracts/World.sol`.
    ///
    /// # Panics
    /// If anything of that fails.
    #[must_use]
    pub fn start() -> Self {
        let codes = javascript("compile.mjs", &["World.sol"]);
        let codes: BTreeMap<String, String> = match serde_json::from_str(&codes) {
            Ok(codes) => codes,
            Err(error) => panic!("compile.mjs: {error}"),
        };
        let chain = Anvil::start();
        let deploy = |name: &str| {
            let Some(code) = codes.get(name) else { panic!("no contract {name}") };
            let receipt = mined(&chain, json!({ "data": code }));
            let address = receipt.get("contractAddress").and_then(Value::as_str);
            let Some(address) = address.and_then(Address::from_hex) else { panic!("{receipt}") };
            address
        };
        let (coin, badge) = (deploy("Coin"), deploy("Badge"));
        let (parts, vault) = (deploy("Parts"), deploy("Vault"));
        Self { chain, coin, badge, parts, vault }
    }

    /// A transaction from the first dev account.
    ///
    /// # Panics
    /// If it is not mined, or reverts.
    pub fn send(&self, to: Address, function: &str, words: &[Word]) {
        let data = call(function, words);
        mined(
            &self.chain,
            json!({ "to": to.to_string(), "data": format!("0x{}", hex::encode(data)) }),
        );
    }

    /// Wei for an account.
    ///
    /// # Panics
    /// If it is not mined.
    pub fn pay(&self, to: Address, wei: u128) {
        mined(&self.chain, json!({ "to": to.to_string(), "value": format!("{wei:#x}") }));
    }

    /// Empty blocks on top.
    ///
    /// # Panics
    /// If the chain refuses.
    pub fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([format!("{blocks:#x}")]));
    }

    /// The newest block's number.
    ///
    /// # Panics
    /// If the chain does not say.
    #[must_use]
    pub fn height(&self) -> u64 {
        let height = self.ask("eth_blockNumber", json!([]));
        let digits = height.as_str().and_then(|text| text.strip_prefix("0x")).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{height}"))
    }

    /// One call that must not fail.
    ///
    /// # Panics
    /// If it does.
    pub fn ask(&self, method: &str, params: Value) -> Value {
        self.chain.rpc(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

/// Selector and arguments.
///
/// # Panics
/// If it is no function.
#[must_use]
pub fn call(function: &str, words: &[Word]) -> Vec<u8> {
    let Ok(signature) = Signature::parse(function) else { panic!("{function} is no function") };
    let words = words.iter().flat_map(|word| word.bytes());
    signature.selector.into_iter().chain(words).collect()
}

fn mined(chain: &Chain, mut transaction: Value) -> Value {
    let mut send = || -> Result<Value, crate::chain::RpcError> {
        let from = chain.rpc("eth_accounts", json!([]))?;
        if let (Some(fields), Some(from)) = (transaction.as_object_mut(), from.get(0)) {
            fields.insert("from".to_owned(), from.clone());
        }
        let hash = chain.rpc("eth_sendTransaction", json!([transaction]))?;
        chain.receipt(&hash)
    };
    match send() {
        Ok(receipt) if receipt.get("status") == Some(&json!("0x1")) => receipt,
        other => panic!("not mined: {other:?}"),
    }
}
