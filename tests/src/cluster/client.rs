//! A client of a cluster: its key, the policies that name it, and the requests that it signs.

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{Address, UnsignedFields, unsigned_transaction};
use quorate_core::request::{MAX_PAYLOAD, Payload};
use quorate_node::client::{Wish, signed_request};
use quorate_node::handle::KeyInfo;
use serde_json::{Value, json};

use super::{key_id, must, unix_now};

/// Who may receive by [`policy`].
pub const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Somebody whom [`policy`] does not name.
pub const STRANGER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
/// The chain of [`policy`].
pub const CHAIN: u64 = 31337;
/// What a [`Transfer`] pays for gas at most, wei.
pub const FEE: u64 = 21_000 * GAS_PRICE;
const GAS_PRICE: u64 = 20_000_000_000;

/// A plain transfer that [`policy`] allows; tests change what they are about.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The recipient.
    pub to: &'static str,
    /// Wei.
    pub value: u64,
    /// The sender's counter.
    pub nonce: u64,
    /// The chain.
    pub chain: u64,
    /// Seconds until it expires; negative if it did.
    pub expires_in: i64,
    /// For people.
    pub label: &'static str,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            to: RECIPIENT,
            value: 1_000,
            nonce: 0,
            chain: CHAIN,
            expires_in: 3600,
            label: "a test",
        }
    }
}

impl Transfer {
    /// A transfer with the sender's counter at `nonce`.
    #[must_use]
    pub fn number(nonce: u64) -> Self {
        Self { nonce, ..Self::default() }
    }

    /// The request for it under `key`, signed by `client`. Each call makes another request.
    ///
    /// # Panics
    /// If a field is wrong.
    #[must_use]
    pub fn request(&self, network: [u8; 16], key: &KeyInfo, client: &SigningKey) -> Vec<u8> {
        let to = Address::from_hex(self.to);
        let fields = UnsignedFields {
            chain_id: self.chain,
            nonce: self.nonce,
            max_priority_fee_per_gas: Amount::from_u128(1_000_000_000),
            max_fee_per_gas: Amount::from_u128(GAS_PRICE.into()),
            gas_limit: 21_000,
            to: Some(to.unwrap_or_else(|| panic!("{} is no address", self.to))),
            value: Amount::from_u128(self.value.into()),
            data: &[],
        };
        let mut buffer = vec![0; MAX_PAYLOAD];
        let transaction = match unsigned_transaction(&fields, &mut buffer) {
            Ok(bytes) => bytes,
            Err(error) => panic!("{error:?}"),
        };
        let wish = Wish {
            derivation: Derivation::Root,
            network,
            key: key_id(key),
            payload: Payload::EthereumTransaction(transaction),
            label: self.label,
            expires: unix_now().saturating_add_signed(self.expires_in),
        };
        must("signing a request", signed_request(&wish, client))
    }
}

/// A policy that allows `client` every [`Transfer`] up to 0.1 ether, without a window.
#[must_use]
pub fn policy(client: &str) -> Value {
    json!({
        "clients": [client], "chains": [CHAIN], "recipients": [RECIPIENT],
        "max_value": "0.1 ether", "max_fee": "0.01 ether", "data": "forbidden",
    })
}

/// The same with a window in which `count` transfers of `value` wei have room, and one more has not.
#[must_use]
pub fn policy_with_window(client: &str, count: u64, value: u64) -> Value {
    let mut policy = policy(client);
    if let Some(fields) = policy.as_object_mut() {
        let total = (u128::from(value) + u128::from(FEE)) * u128::from(count);
        let window = json!({ "seconds": 86_400, "max_total": total.to_string() });
        fields.insert("window".to_owned(), window);
    }
    policy
}
