//! A client of a node's API, and the keys and requests of clients.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use quorate_core::request::{
    ClientKey, Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest, Veto,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::audit::Page;
use crate::handle::{
    KeyInfo, PolicyInfo, ServiceError, Signed, Status, Vetoed, Waiting, WaitingPage, WaitingRequest,
};
use crate::relay::RelayStatus;

/// Longer than all sessions that one request may get, with people who are asked at devices in some of them.
const TIMEOUT: Duration = Duration::from_secs(300);
/// No answer is longer.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Nobody answers there.
    Unreachable {
        /// The address.
        api: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The node says why.
    Refused(ServiceError),
    /// Something else answers there, or another version of the node.
    Answer(String),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable { api, reason } => write!(
                f,
                "the node's API at {api} cannot be reached ({reason}); is `quorate run` running for this folder?"
            ),
            Self::Refused(error) => error.fmt(f),
            Self::Answer(what) => write!(f, "the API's answer is not understood: {what}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A client of one node.
pub struct Client {
    api: SocketAddr,
    token: Option<Zeroizing<String>>,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the node whose API listens at `api`; `token` is the operator's, for creating keys
    /// and reading the audit log.
    #[must_use]
    pub fn new(api: SocketAddr, token: Option<Zeroizing<String>>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { api, token, agent: config.into() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable { api: self.api, reason };
        let mut answer = answer.map_err(|error| unreachable(error.to_string()))?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|error| unreachable(error.to_string()))?;
        let strange = |what: String| ClientError::Answer(what);
        if answer.status() == ureq::http::StatusCode::ACCEPTED {
            let waiting: Waiting =
                serde_json::from_str(&body).map_err(|error| strange(error.to_string()))?;
            return Err(ClientError::Refused(ServiceError::Waiting(waiting)));
        }
        if answer.status().is_success() {
            return serde_json::from_str(&body).map_err(|error| strange(error.to_string()));
        }
        let error = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|value| value.get("error").cloned())
            .and_then(|error| serde_json::from_value(error).ok());
        match error {
            Some(error) => Err(ClientError::Refused(error)),
            None => Err(strange(format!("HTTP {}: {body:.200}", answer.status()))),
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        self.read(request.call())
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut request = self.agent.post(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        self.read(request.send_json(body))
    }

    /// How the node is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// How the relay of a device is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn relay_status(&self) -> Result<RelayStatus, ClientError> {
        self.get("/v1/device")
    }

    /// Has the relay of a device ask the person there to accept that it was put back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn readmit_device(&self) -> Result<RelayStatus, ClientError> {
        self.post("/v1/device/readmit", &Value::Null)
    }

    /// The audit log, from number `from` on: as much of it as one answer holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn audit(&self, from: u64) -> Result<Page, ClientError> {
        self.get(&format!("/v1/audit?from={from}"))
    }

    /// All keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn list_keys(&self) -> Result<Vec<KeyInfo>, ClientError> {
        self.get("/v1/keys")
    }

    /// One key, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn show_key(&self, name: &str) -> Result<KeyInfo, ClientError> {
        self.get(&format!("/v1/keys/{}", escaped(name)))
    }

    /// Makes a key; `policy` is a policy file's JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_key(
        &self,
        name: &str,
        threshold: u8,
        parties: &[u16],
        policy: &Value,
    ) -> Result<KeyInfo, ClientError> {
        self.create_controlled_key(name, threshold, parties, policy, &[])
    }

    /// The same with what the policy's controllers have signed for this name and policy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_controlled_key(
        &self,
        name: &str,
        threshold: u8,
        parties: &[u16],
        policy: &Value,
        approval: &[u8],
    ) -> Result<KeyInfo, ClientError> {
        let body = serde_json::json!({
            "name": name, "threshold": threshold, "parties": parties, "policy": policy,
            "approval": hex::encode(approval),
        });
        self.post("/v1/keys", &body)
    }

    /// How a key's policy stands, and its history.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn policy(&self, key: &str) -> Result<PolicyInfo, ClientError> {
        self.get(&format!("/v1/keys/{}/policy", escaped(key)))
    }

    /// Sends a signed change of a policy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_policy(&self, change: &[u8]) -> Result<PolicyInfo, ClientError> {
        self.post("/v1/policies", &serde_json::json!({ "change": hex::encode(change) }))
    }

    /// Has an encoded request signed. Repeating it is safe: it is signed and counted once.
    ///
    /// # Errors
    /// [`ClientError`]; with [`ServiceError::Waiting`] it is to be sent again later.
    pub fn sign(&self, request: &[u8]) -> Result<Signed, ClientError> {
        // The node would hang up in the middle of it, which looks as if it were not there.
        if request.len() > MAX_REQUEST {
            let what = format!("a request is no longer than {MAX_REQUEST} bytes");
            return Err(ClientError::Refused(ServiceError::bad_request(what)));
        }
        self.post("/v1/sign", &serde_json::json!({ "request": hex::encode(request) }))
    }

    /// Vetoes a request that waits, or will. Repeating it is safe.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn veto(&self, veto: &Veto) -> Result<Vetoed, ClientError> {
        self.post("/v1/vetoes", &serde_json::json!({ "veto": hex::encode(veto.encode()) }))
    }

    /// All requests that wait there for their delays.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn waiting(&self) -> Result<Vec<WaitingRequest>, ClientError> {
        let mut all: Vec<WaitingRequest> = Vec::new();
        loop {
            let after = all.last().map(|last| format!("?after={}", last.request));
            let path = format!("/v1/requests{}", after.unwrap_or_default());
            let WaitingPage { requests, more } = self.get(&path)?;
            let end = requests.is_empty() || !more;
            all.extend(requests);
            if end {
                return Ok(all);
            }
        }
    }

    /// One of them, by its hash, with its bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn waiting_request(&self, hash: &[u8; 32]) -> Result<WaitingRequest, ClientError> {
        self.get(&format!("/v1/requests/{}", hex::encode(hash)))
    }
}

/// A name as part of a path.
fn escaped(name: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes()
        .map(|b| if unreserved(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Why there is no client key, or no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKeyError {
    /// 64 hexadecimal digits are expected.
    Text,
    /// The operating system gives no randomness.
    Randomness,
    /// The payload or the label is over its limit.
    TooLong,
}

impl std::fmt::Display for ClientKeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "not a client key: 64 hexadecimal digits are expected",
            Self::Randomness => "the operating system gives no randomness",
            Self::TooLong => "the payload or the label is longer than a request may carry",
        })
    }
}

impl std::error::Error for ClientKeyError {}

/// A fresh client key, as its file's text.
///
/// # Errors
/// [`ClientKeyError::Randomness`].
pub fn new_client_key() -> Result<Zeroizing<String>, ClientKeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::getrandom(seed.as_mut_slice()).map_err(|_| ClientKeyError::Randomness)?;
    Ok(Zeroizing::new(hex::encode(*seed)))
}

/// Reads a client key from its file's text.
///
/// # Errors
/// [`ClientKeyError::Text`].
pub fn read_client_key(text: &str) -> Result<SigningKey, ClientKeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| ClientKeyError::Text)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// The public half of the client key in `text`.
///
/// # Errors
/// [`ClientKeyError::Text`].
pub fn client_key_of(text: &str) -> Result<ClientKey, ClientKeyError> {
    read_client_key(text).map(|key| ClientKey(key.verifying_key().to_bytes()))
}

/// A wish, before it is signed.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The network's id.
    pub network: [u8; 16],
    /// The key's id.
    pub key: [u8; 16],
    /// Which of its descendants.
    pub derivation: Derivation,
    /// What is to be signed.
    pub payload: Payload<'a>,
    /// For people and logs.
    pub label: &'a str,
    /// Unix seconds.
    pub expires: u64,
}

/// Signs a wish with the client's key, with a fresh nonce: every call makes another request.
///
/// # Errors
/// [`ClientKeyError::Randomness`], [`ClientKeyError::TooLong`].
pub fn signed_request(wish: &Wish<'_>, key: &SigningKey) -> Result<Vec<u8>, ClientKeyError> {
    let mut nonce = [0; 16];
    getrandom::getrandom(&mut nonce).map_err(|_| ClientKeyError::Randomness)?;
    let request = SignRequest {
        network: NetworkId(wish.network),
        key: KeyId(wish.key),
        derivation: wish.derivation,
        payload: wish.payload,
        label: wish.label,
        expires: wish.expires,
        nonce,
    };
    let mut buffer = vec![0; MAX_REQUEST];
    let bytes = request.sign(key, &mut buffer).map_err(|_| ClientKeyError::TooLong)?;
    Ok(bytes.to_vec())
}
