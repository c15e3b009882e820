//! Real chains and an independent client, for tests: Anvil, hardhat (the stricter one) and ethers.
//!
//! Whatever is missing or fails here panics with what there is to know. Install with `tests/run`.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

mod process;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate_core::policy::amount::Amount;
use quorate_core::policy::ethereum::Address;
use serde::Deserialize;
use serde_json::{Value, json};

use process::Process;

/// Foundry's chain. Lenient: it mines a high s.
pub struct Anvil;

/// Hardhat's chain. It refuses a high s.
pub struct Hardhat;

impl Anvil {
    /// Starts a fresh chain, which mines each transaction at once.
    pub fn start() -> Chain {
        let found = Command::new(javascript_folder().join("find-anvil.sh")).output();
        let path = match found {
            Ok(output) if output.status.success() => output.stdout,
            other => panic!("anvil is missing: run tests/run ({other:?})"),
        };
        let mut command = Command::new(String::from_utf8_lossy(&path).trim());
        command.args(["--host", "127.0.0.1", "--port", "0"]);
        Chain::start("anvil", command)
    }
}

impl Hardhat {
    /// Starts a fresh chain, which mines each transaction at once.
    pub fn start() -> Chain {
        need_packages();
        let mut command = Command::new("node");
        // Not through npx: that would be another process to kill.
        command.arg("node_modules/hardhat/internal/cli/cli.js");
        command.args(["node", "--hostname", "127.0.0.1", "--port", "0"]);
        command.env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true");
        command.current_dir(javascript_folder());
        Chain::start("hardhat", command)
    }
}

/// A chain that lives as long as this value.
pub struct Chain {
    name: &'static str,
    url: String,
    chain_id: u64,
    agent: ureq::Agent,
    process: Process,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.url)
    }
}

/// Why a chain did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcError {
    /// The chain's own words: it understood, and refuses.
    Refused {
        /// JSON-RPC's code.
        code: i64,
        /// The reason.
        message: String,
    },
    /// No answer, or none that we understand.
    Transport(String),
    /// Accepted, but not mined in time.
    NotMined,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "the chain refuses: {message} ({code})"),
            Self::Transport(reason) => write!(f, "the chain does not answer: {reason}"),
            Self::NotMined => write!(f, "the chain did not mine it within {PATIENCE:?}"),
        }
    }
}

impl std::error::Error for RpcError {}

/// No answer and no receipt takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What [`Chain::fund`] sends: 10 ether.
pub const FUNDS: Amount = Amount::from_u128(10_000_000_000_000_000_000);

impl Chain {
    fn start(name: &'static str, command: Command) -> Self {
        let (process, port) = Process::start(command);
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // Both chains are here; a proxy of the environment would not find them.
            .proxy(None)
            .build()
            .into();
        let url = format!("http://127.0.0.1:{port}");
        let mut chain = Self { name, url, chain_id: 0, agent, process };
        let answer = chain.rpc("eth_chainId", json!([])).and_then(|id| u64_of(&id));
        chain.chain_id = match answer {
            Ok(id) => id,
            Err(error) => panic!("{chain:?}: {error}\n{}", chain.output()),
        };
        chain
    }

    /// `anvil` or `hardhat`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its identifier.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The last lines that its process wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// One call.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let transport = |error: ureq::Error| RpcError::Transport(error.to_string());
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = self.agent.post(&self.url).send_json(&body).map_err(transport)?;
        let answer: Answer = response.body_mut().read_json().map_err(transport)?;
        match answer.error {
            Some(error) => Err(RpcError::Refused { code: error.code, message: error.message }),
            None => Ok(answer.result),
        }
    }

    /// Sends [`FUNDS`] from the first dev account, and waits for the receipt.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn fund(&self, address: Address) -> Result<Value, RpcError> {
        let accounts = self.rpc("eth_accounts", json!([]))?;
        let from = accounts.get(0).ok_or_else(|| strange("eth_accounts", &accounts))?;
        let value = format!("0x{}", hex::encode(FUNDS.to_be_bytes()).trim_start_matches('0'));
        let transaction = json!({ "from": from, "to": address.to_string(), "value": value });
        let hash = self.rpc("eth_sendTransaction", json!([transaction]))?;
        self.receipt(&hash)
    }

    /// Sends a raw signed transaction (hexadecimal, `0x` or not), and waits for the receipt.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn send_raw(&self, raw: &str) -> Result<Value, RpcError> {
        let digits = raw.strip_prefix("0x").unwrap_or(raw);
        let hash = self.rpc("eth_sendRawTransaction", json!([format!("0x{digits}")]))?;
        self.receipt(&hash)
    }

    /// Waits until a transaction is mined.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn receipt(&self, hash: &Value) -> Result<Value, RpcError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash]))?;
            if !receipt.is_null() {
                return Ok(receipt);
            }
            if Instant::now() > deadline {
                return Err(RpcError::NotMined);
            }
            // Between two looks, so as not to burn a core.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The nonce of an account's next transaction.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn nonce(&self, address: Address) -> Result<u64, RpcError> {
        let params = json!([address.to_string(), "latest"]);
        u64_of(&self.rpc("eth_getTransactionCount", params)?)
    }

    /// An account's wei.
    ///
    /// # Errors
    /// [`RpcError`].
    pub fn balance(&self, address: Address) -> Result<Amount, RpcError> {
        amount_of(&self.rpc("eth_getBalance", json!([address.to_string(), "latest"]))?)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: i64,
    message: String,
}

fn strange(what: &str, value: &Value) -> RpcError {
    RpcError::Transport(format!("{what}: {value}"))
}

/// A quantity: hexadecimal without leading zeros.
fn amount_of(value: &Value) -> Result<Amount, RpcError> {
    let parse = || {
        let digits = value.as_str()?.strip_prefix("0x")?;
        let even = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
        Amount::from_be_slice(&hex::decode(even).ok()?)
    };
    parse().ok_or_else(|| strange("not a quantity", value))
}

fn u64_of(value: &Value) -> Result<u64, RpcError> {
    amount_of(value)?.to_string().parse().map_err(|_| strange("not 64 bits", value))
}

/// What ethers reads in a raw transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The recovered sender, with checksum.
    pub from: String,
    /// The receiver, with checksum.
    pub to: Option<String>,
    /// Wei, decimal.
    pub value: String,
    /// The chain.
    pub chain_id: u64,
    /// The sender's counter.
    pub nonce: u64,
    /// 2 for EIP-1559.
    #[serde(rename = "type")]
    pub kind: u64,
    /// keccak-256 of the raw bytes, `0x`.
    pub hash: String,
    /// `0x` and 64 digits.
    pub r: String,
    /// `0x` and 64 digits.
    pub s: String,
    /// Whether s is at most half the order.
    pub low_s: bool,
}

/// Asks ethers what a raw transaction is.
#[must_use]
pub fn judge(raw: &str) -> Verdict {
    let line = javascript("judge.mjs", &[raw]);
    match serde_json::from_str(&line) {
        Ok(verdict) => verdict,
        Err(error) => panic!("judge.mjs printed {line:?} ({error})"),
    }
}

/// The same transaction with the other valid signature, whose s is high (or low, if it was high).
#[must_use]
pub fn high_s(raw: &str) -> String {
    javascript("high-s.mjs", &[raw]).trim().to_owned()
}

/// What a script in `tests/js` prints.
#[must_use]
pub fn javascript(script: &str, arguments: &[&str]) -> String {
    need_packages();
    let mut command = Command::new("node");
    command.arg(script).args(arguments).current_dir(javascript_folder()).stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into(),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            panic!("{script} {arguments:?} ends with {}:\n{words}", output.status)
        }
        Err(error) => panic!("cannot start node ({error}): run tests/run"),
    }
}

/// What an auditor finds in an export of an audit log, by Node's own cryptography.
///
/// # Errors
/// What is wrong with it.
pub fn audit_export(file: &Path, identity: &str) -> Result<serde_json::Value, String> {
    let mut command = Command::new("node");
    command.arg("audit.mjs").arg(file).arg(identity).current_dir(javascript_folder());
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot start node ({error}): run tests/run"));
    match output.status.success() {
        true => serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

fn javascript_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("js")
}

fn need_packages() {
    for package in ["ethers", "hardhat", "solc", "@openzeppelin/contracts"] {
        let path = javascript_folder().join("node_modules").join(package);
        assert!(path.is_dir(), "{} is missing: run tests/run", path.display());
    }
}
