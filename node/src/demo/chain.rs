//! A dev chain by JSON-RPC: just what the demo needs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::DemoError;

pub(super) struct Chain {
    url: String,
    agent: ureq::Agent,
}

fn wrong(what: impl std::fmt::Display) -> DemoError {
    DemoError::Chain(what.to_string())
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

impl Chain {
    pub(super) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        Self { url: url.to_owned(), agent: config.build().into() }
    }

    fn call(&self, method: &str, params: Value) -> Result<Value, DemoError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self
            .agent
            .post(&self.url)
            .send_json(&body)
            .map_err(|e| wrong(format!("{method} at {}: {e}", self.url)))?;
        let mut answer: Value = answer.body_mut().read_json().map_err(wrong)?;
        match answer.get("error") {
            Some(error) => Err(wrong(format!("{method}: {error}"))),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    pub(super) fn id(&self) -> Result<u64, DemoError> {
        number(&self.call("eth_chainId", json!([]))?).ok_or_else(|| wrong("no chain id"))
    }

    pub(super) fn nonce(&self, address: &str) -> Result<u64, DemoError> {
        let count = self.call("eth_getTransactionCount", json!([address, "pending"]))?;
        number(&count).ok_or_else(|| wrong("no nonce"))
    }

    /// One ether from the chain's first dev account, which Anvil and Hardhat keep unlocked.
    pub(super) fn fund(&self, address: &str) -> Result<(), DemoError> {
        let accounts = self.call("eth_accounts", json!([]))?;
        let from = accounts.get(0).cloned().ok_or_else(|| wrong("it has no dev account"))?;
        let value = "0xde0b6b3a7640000";
        let sent = json!([{ "from": from, "to": address, "value": value }]);
        let hash = self.call("eth_sendTransaction", sent)?;
        self.receipt(hash.as_str().unwrap_or_default()).map(drop)
    }

    pub(super) fn send(&self, raw: &str) -> Result<Value, DemoError> {
        let hash = self.call("eth_sendRawTransaction", json!([raw]))?;
        self.receipt(hash.as_str().unwrap_or_default())
    }

    fn receipt(&self, hash: &str) -> Result<Value, DemoError> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash]))?;
            if receipt.is_object() {
                if number(receipt.get("status").unwrap_or(&Value::Null)) != Some(1) {
                    return Err(wrong(format!("the transaction {hash} failed: {receipt}")));
                }
                return Ok(receipt);
            }
            if Instant::now() > until {
                return Err(wrong(format!("{hash} was not mined in 20 s")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
