//! Keys whose policies limit in different ways, and requests that spend from them.

use std::cell::Cell;

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{Address, UnsignedFields, unsigned_transaction};
use quorate_core::request::{MAX_PAYLOAD, Payload};
use quorate_node::client::{Wish, read_client_key, signed_request};
use quorate_node::handle::KeyInfo;
use quorate_node::membership::Membership;
use quorate_tests::cluster::{CHAIN, Cluster, RECIPIENT};
use serde_json::{Value, json};

/// A token's contract.
const TOKEN: &str = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";
/// transfer(address,uint256)
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
const GAS: u64 = 60_000;
const GAS_PRICE: u64 = 20_000_000_000;
/// What a request pays for gas at most, wei.
const FEE: u128 = GAS as u128 * GAS_PRICE as u128;
/// One unit of what is paid without a token, wei.
const UNIT: u128 = 1_000_000_000_000;

/// Tokens in a day.
pub(crate) const MAX_TOKENS: u128 = 210;
/// Transfers of tokens in a day.
pub(crate) const MAX_TRANSFERS: u128 = 36;
/// Wei in a day, fees included.
pub(crate) const MAX_SPEND: u128 = 30 * (FEE + 9 * UNIT);
/// Signatures of the strict keys in a day.
pub(crate) const MAX_STRICT: u128 = 30;
/// Signatures of the key with a short window, and its length in seconds.
pub(crate) const MAX_SLIDING: usize = 8;
pub(crate) const WINDOW: u64 = 4;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Tokens of the first key: limited by their amount and by their count.
    Tokens,
    /// Ether of the same key: limited by what it costs in a day, and in a week.
    Ether,
    /// Of a key whose limit party 2 counts, by whatever rule.
    StrictParty,
    /// Of a key of three, whose limit all count.
    StrictAll,
    /// Of a key with a short window.
    Sliding,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Tokens, Self::Ether, Self::StrictParty, Self::StrictAll, Self::Sliding];

    /// Kinds that spend from one key are of the first.
    pub(crate) fn key(self) -> usize {
        match self {
            Self::Tokens | Self::Ether => 0,
            Self::StrictParty => 1,
            Self::StrictAll => 2,
            Self::Sliding => 3,
        }
    }
}

/// One request; it may be asked many times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Kind,
    /// The sender's counter: no two requests have one.
    pub(crate) nonce: u64,
    /// Tokens, or units of wei.
    pub(crate) amount: u64,
}

impl Asked {
    /// Wei, fees included.
    pub(crate) fn cost(&self) -> u128 {
        let value = if self.kind == Kind::Tokens { 0 } else { u128::from(self.amount) * UNIT };
        FEE + value
    }
}

pub(crate) struct Keys {
    pub(crate) keys: [KeyInfo; 4],
    network: [u8; 16],
    client: SigningKey,
    next: Cell<u64>,
}

fn two_rules(who: &Value) -> Value {
    let tokens = json!({ "contract": TOKEN, "function": "transfer(address,uint256)", "at": 1 });
    json!({ "rules": [
        {
            "name": "tokens",
            "when": { "all": [who, { "to": [TOKEN], "function": ["transfer(address,uint256)"] }] },
            "limits": [
                { "measure": tokens, "max": MAX_TOKENS.to_string(), "per": "1day" },
                { "measure": "signatures", "max": MAX_TRANSFERS, "per": "1day" },
            ],
        },
        {
            "name": "ether",
            "when": { "all": [who, { "to": [RECIPIENT], "data": "none" }] },
            "limits": [
                { "measure": "spend", "max": MAX_SPEND.to_string(), "per": "1day" },
                { "measure": "spend", "max": (2 * MAX_SPEND).to_string(), "per": "7days" },
            ],
        },
    ] })
}

fn one_rule(who: &Value, max: u128, per: &str, scope: &str, strict: &Value) -> Value {
    let limit = json!({
        "measure": "signatures", "max": max, "per": per, "scope": scope, "strict": strict,
    });
    json!({ "rules": [{ "name": "pay", "when": who, "limits": [limit] }] })
}

impl Keys {
    pub(crate) fn make(cluster: &Cluster) -> Self {
        let who = json!({ "client": [cluster.client_name()], "chain": [CHAIN] });
        let all = json!("all");
        let three = one_rule(&who, MAX_STRICT, "1day", "rule", &all);
        let made = cluster.client(1).create_key("all of three", 2, &[1, 2, 3], &three).unwrap();
        for party in [1, 2, 3] {
            let _ = cluster.active_key(party, "all of three");
        }
        let party = one_rule(&who, MAX_STRICT, "1day", "key", &json!({ "party": 2 }));
        let sliding =
            one_rule(&who, MAX_SLIDING as u128, &format!("{WINDOW}s"), "rule", &json!(false));
        let keys = [
            cluster.create_key(1, "two rules", &two_rules(&who)),
            cluster.create_key(2, "party 2", &party),
            made,
            cluster.create_key(3, "sliding", &sliding),
        ];
        let membership = cluster.root().join("membership.toml");
        let client = std::fs::read_to_string(cluster.client_file()).unwrap();
        Self {
            keys,
            network: Membership::load(&membership).unwrap().network(),
            client: read_client_key(&client).unwrap(),
            next: Cell::new(0),
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &KeyInfo {
        &self.keys[kind.key()]
    }

    /// Another request with each call.
    pub(crate) fn request(&self, kind: Kind, amount: u64) -> Asked {
        let nonce = self.next.replace(self.next.get() + 1);
        let recipient = Address::from_hex(RECIPIENT).unwrap();
        let (mut data, mut value) = (Vec::new(), Amount::ZERO);
        if kind == Kind::Tokens {
            data =
                [&TRANSFER[..], &[0; 12], &recipient.0, &[0; 24], &amount.to_be_bytes()].concat();
        } else {
            value = Amount::from_u128(u128::from(amount) * UNIT);
        }
        let to = if data.is_empty() { recipient } else { Address::from_hex(TOKEN).unwrap() };
        let fields = UnsignedFields {
            chain_id: CHAIN,
            nonce,
            max_priority_fee_per_gas: Amount::from_u128(1_000_000_000),
            max_fee_per_gas: Amount::from_u128(GAS_PRICE.into()),
            gas_limit: GAS,
            to: Some(to),
            value,
            data: &data,
        };
        let mut buffer = vec![0; MAX_PAYLOAD];
        let transaction = unsigned_transaction(&fields, &mut buffer).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let wish = Wish {
            network: self.network,
            key: hex::decode(&self.of(kind).key).unwrap().try_into().unwrap(),
            derivation: Derivation::Root,
            payload: Payload::EthereumTransaction(transaction),
            label: "",
            expires: now.as_secs() + 3_600,
        };
        let bytes = signed_request(&wish, &self.client).unwrap();
        Asked { bytes, kind, nonce, amount }
    }
}

/// The tokens that a signed transaction's data give away.
pub(crate) fn tokens(data: &[u8]) -> u128 {
    assert!(data.len() == 68 && data.starts_with(&TRANSFER), "no transfer: {data:?}");
    data[36..].iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
