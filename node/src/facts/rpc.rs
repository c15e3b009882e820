//! Ethereum's JSON-RPC, as much as facts need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quorate_core::policy::Amount;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ureq::http::Uri;

use super::Unavailable;
use super::http::{Door, shown};
use super::known::{Found, OwnedAnswer, OwnedQuestion, Seen};

/// What a contract may return, bytes.
const MAX_RETURNED: usize = 8 * 1024;
/// An endpoint's own words in a log, characters.
const MAX_WORDS: usize = 160;

/// Why an endpoint gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is of no use now.
    Endpoint(Unavailable),
    /// It works, and has no answer to this question.
    Question(Unavailable),
}

impl Failure {
    pub(super) fn reason(self) -> Unavailable {
        match self {
            Self::Endpoint(reason) | Self::Question(reason) => reason,
        }
    }
}

/// A block, as an endpoint shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) hash: [u8; 32],
    pub(super) time: u64,
}

/// One JSON-RPC endpoint of one chain.
pub(super) struct Endpoint {
    chain: u64,
    uri: Uri,
    door: std::sync::Arc<Door>,
    /// Whether it has said that it is of this chain.
    checked: AtomicBool,
}

#[derive(Deserialize)]
struct Reply<'r> {
    id: Value,
    #[serde(borrow, default)]
    result: Option<&'r RawValue>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct Header {
    number: String,
    hash: String,
    timestamp: String,
}

impl Endpoint {
    pub(super) fn new(chain: u64, uri: Uri, door: std::sync::Arc<Door>) -> Self {
        Self { chain, uri, door, checked: AtomicBool::new(false) }
    }

    /// What may be shown of it.
    pub(super) fn name(&self) -> String {
        shown(&self.uri)
    }

    /// The number of its newest block, if it is of this chain.
    pub(super) fn head(&self, until: Instant) -> Result<u64, Failure> {
        self.check_chain(until)?;
        quantity(&self.text("eth_blockNumber", &json!([]), until)?).ok_or_else(garbage)
    }

    /// Its newest block, or the one of this number.
    pub(super) fn block(&self, number: Option<u64>, until: Instant) -> Result<Block, Failure> {
        self.check_chain(until)?;
        let name = number.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let header: Header = self.call("eth_getBlockByNumber", &json!([name, false]), until)?;
        let block = Block {
            number: quantity(&header.number).ok_or_else(garbage)?,
            hash: data(&header.hash).and_then(|hash| hash.try_into().ok()).ok_or_else(garbage)?,
            time: quantity(&header.timestamp).ok_or_else(garbage)?,
        };
        match number.is_none_or(|number| number == block.number) {
            true => Ok(block),
            false => Err(garbage()),
        }
    }

    /// Its answer to a question in the state after this block, and in no other: should the block not be in
    /// its chain any more, it says so.
    pub(super) fn answer(
        &self,
        question: &OwnedQuestion,
        block: &Block,
        until: Instant,
    ) -> Result<Found, Failure> {
        // EIP-1898.
        let state = json!({
            "blockHash": format!("0x{}", hex::encode(block.hash)), "requireCanonical": true,
        });
        let answer = match question {
            OwnedQuestion::Block { .. } => {
                OwnedAnswer::Block { number: block.number, time: block.time }
            }
            OwnedQuestion::Balance { account, .. } => {
                let params = json!([account.to_string(), state]);
                let balance = self.text("eth_getBalance", &params, until)?;
                OwnedAnswer::Balance(amount(&balance).ok_or_else(garbage)?)
            }
            OwnedQuestion::Call { contract, data: call, .. } => {
                let call = format!("0x{}", hex::encode(call));
                let params = json!([{ "to": contract.to_string(), "data": call }, state]);
                let returned = self.text("eth_call", &params, until)?;
                if returned.len() > 2 + 2 * MAX_RETURNED {
                    let what = format!("the contract returned more than {MAX_RETURNED} bytes");
                    return Err(Failure::Question(Unavailable::new(what)));
                }
                OwnedAnswer::Call(data(&returned).ok_or_else(garbage)?)
            }
            OwnedQuestion::Json { .. } => return Err(garbage()),
        };
        Ok(Found { answer, seen: Seen::Block { number: block.number, hash: block.hash } })
    }

    fn check_chain(&self, until: Instant) -> Result<(), Failure> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let chain = quantity(&self.text("eth_chainId", &json!([]), until)?).ok_or_else(garbage)?;
        if chain != self.chain {
            let what = format!("it is of chain {chain}, not {}", self.chain);
            return Err(Failure::Endpoint(Unavailable::new(what)));
        }
        self.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn text(&self, method: &str, params: &Value, until: Instant) -> Result<String, Failure> {
        self.call(method, params, until)
    }

    fn call<T: for<'r> Deserialize<'r>>(
        &self,
        method: &str,
        params: &Value,
        until: Instant,
    ) -> Result<T, Failure> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.door.ask(&self.uri, Some(&body.to_string()), until);
        let response = response.map_err(Failure::Endpoint)?;
        let reply: Reply<'_> = serde_json::from_slice(&response.body).map_err(|_| garbage())?;
        if reply.id != 1 {
            return Err(garbage());
        }
        match (reply.result, reply.error) {
            (_, Some(Fault { code, message })) => {
                let what = format!("{method}: {} ({code})", plain(&message));
                Err(Failure::Question(Unavailable::new(what)))
            }
            (Some(result), None) => serde_json::from_str(result.get()).map_err(|_| garbage()),
            (None, None) => {
                let what = format!("{method}: it knows of none");
                Err(Failure::Question(Unavailable::new(what)))
            }
        }
    }
}

fn garbage() -> Failure {
    Failure::Endpoint(Unavailable::new("it does not answer as a chain's node does"))
}

/// A stranger's words, harmless in a log.
fn plain(words: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(MAX_WORDS).map(visible).collect()
}

/// Hexadecimal with `0x`: a number of at most 256 bits.
fn amount(text: &str) -> Option<Amount> {
    let digits = text.strip_prefix("0x").filter(|digits| (1..=64).contains(&digits.len()))?;
    Amount::from_be_slice(&hex::decode(format!("{digits:0>64}")).ok()?)
}

fn quantity(text: &str) -> Option<u64> {
    amount(text)?.to_u128()?.try_into().ok()
}

/// Hexadecimal with `0x`: bytes.
fn data(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_and_data() {
        assert_eq!(quantity("0x0"), Some(0));
        assert_eq!(quantity("0x7a69"), Some(31337));
        assert_eq!(quantity("0xffffffffffffffff"), Some(u64::MAX));
        for none in ["", "0x", "7a69", "0xg", "0x10000000000000000", "0X1", "0x-1", "0x 1"] {
            assert_eq!(quantity(none), None, "{none}");
        }
        assert_eq!(amount(&format!("0x{}", "f".repeat(64))), Some(Amount::MAX));
        assert_eq!(amount(&format!("0x{}", "f".repeat(65))), None);
        assert_eq!(data("0x"), Some(vec![]));
        assert_eq!(data("0x00fF"), Some(vec![0, 255]));
        assert_eq!((data("0x0"), data("00"), data("0xzz")), (None, None, None));
        assert_eq!(plain("a\nb\u{1b}[31m"), "a b [31m");
    }
}
