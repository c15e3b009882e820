//! `[facts]` of `quorate.toml`: whom this node asks about the world. Without it, it asks nobody.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http::check_url;

/// Chains, and the same of web sources, that can be configured: each has threads of its own.
const MAX_SOURCES: usize = 32;
/// Endpoints of one chain.
const MAX_ENDPOINTS: usize = 8;
/// Of a response, bytes, at most.
const MOST_BYTES: u32 = 4 * 1024 * 1024;

/// Whom a node asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactsConfig {
    /// All answers of one request must be there after so many milliseconds. Half of the deadline for
    /// accepting a proposal holds as well.
    #[serde(default = "timeout")]
    pub timeout_ms: u32,
    /// The longest response that is read, bytes.
    #[serde(default = "longest")]
    pub max_bytes: u32,
    /// Chains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<ChainConfig>,
    /// Documents on the web.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub web: Vec<WebConfig>,
}

const fn timeout() -> u32 {
    1500
}

const fn longest() -> u32 {
    256 * 1024
}

const fn one() -> u8 {
    1
}

const fn is_no(flag: &bool) -> bool {
    !*flag
}

impl Default for FactsConfig {
    fn default() -> Self {
        Self { timeout_ms: timeout(), max_bytes: longest(), chain: Vec::new(), web: Vec::new() }
    }
}

/// Where to ask about one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The chain (EIP-155); an endpoint of another is not used.
    pub id: u64,
    /// JSON-RPC endpoints.
    pub rpc: Vec<SecretText>,
    /// So many of them must answer alike. With 1, the first that answers counts, in their order; more must be
    /// more than half.
    #[serde(default = "one")]
    pub agree: u8,
    /// Whether they may be in the operator's own network, and without TLS there.
    #[serde(default, skip_serializing_if = "is_no")]
    pub private: bool,
    /// Root certificates (PEM) that count instead of Mozilla's; relative to the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What is sent as `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<SecretText>,
}

/// Documents that may be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// How their addresses begin: `https://`, a host and a slash at least.
    pub prefix: String,
    /// Whether they may be in the operator's own network.
    #[serde(default, skip_serializing_if = "is_no")]
    pub private: bool,
    /// Root certificates (PEM) that count instead of Mozilla's; relative to the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What is sent as `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<SecretText>,
}

/// A text that is not shown: addresses of endpoints often have a key in them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Why `[facts]` is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsError {
    /// The field.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl FactsError {
    pub(super) fn within(self, place: &str) -> Self {
        Self { field: format!("{place}.{}", self.field), ..self }
    }
}

impl std::fmt::Display for FactsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "facts.{}: {}", self.field, self.what)
    }
}

impl std::error::Error for FactsError {}

impl FactsConfig {
    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// Every rule that the types do not express.
    ///
    /// # Errors
    /// [`FactsError`] names the field.
    pub fn check(&self) -> Result<(), FactsError> {
        let wrong = |field: String, what: String| Err(FactsError { field, what });
        if !(50..=60_000).contains(&self.timeout_ms) {
            return wrong("timeout_ms".into(), "must be 50 to 60000".into());
        }
        if !(256..=MOST_BYTES).contains(&self.max_bytes) {
            return wrong("max_bytes".into(), format!("must be 256 to {MOST_BYTES}"));
        }
        if self.chain.len() > MAX_SOURCES || self.web.len() > MAX_SOURCES {
            return wrong("chain, web".into(), format!("at most {MAX_SOURCES} of each"));
        }
        for (index, chain) in self.chain.iter().enumerate() {
            chain.check().map_err(|error| error.within(&format!("chain[{index}]")))?;
            if self.chain.iter().take(index).any(|other| other.id == chain.id) {
                let what = format!("chain {} is there twice; put all endpoints into one", chain.id);
                return wrong(format!("chain[{index}].id"), what);
            }
        }
        for (index, web) in self.web.iter().enumerate() {
            web.check().map_err(|error| error.within(&format!("web[{index}]")))?;
        }
        Ok(())
    }
}

fn check_authorization(authorization: Option<&SecretText>) -> Result<(), FactsError> {
    let good = |text: &SecretText| {
        let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        (1..=4096).contains(&text.0.len()) && text.0.bytes().all(visible)
    };
    if authorization.is_none_or(good) {
        return Ok(());
    }
    let what = "must be 1 to 4096 visible ASCII characters".to_owned();
    Err(FactsError { field: "authorization".into(), what })
}

impl ChainConfig {
    fn check(&self) -> Result<(), FactsError> {
        let wrong = |field: &str, what: String| Err(FactsError { field: field.into(), what });
        if self.rpc.is_empty() || self.rpc.len() > MAX_ENDPOINTS {
            return wrong("rpc", format!("must be 1 to {MAX_ENDPOINTS} addresses"));
        }
        for (index, url) in self.rpc.iter().enumerate() {
            if let Err(what) = check_url(&url.0, self.private) {
                return wrong(&format!("rpc[{index}]"), what.to_owned());
            }
            if self.rpc.iter().take(index).any(|other| other == url) {
                return wrong(&format!("rpc[{index}]"), "is there twice".to_owned());
            }
        }
        let (agree, all) = (usize::from(self.agree), self.rpc.len());
        if agree == 0 || agree > all || (agree > 1 && 2 * agree <= all) {
            let what = format!("must be 1, or more than half of the {all} endpoints");
            return wrong("agree", what);
        }
        check_authorization(self.authorization.as_ref())
    }
}

impl WebConfig {
    fn check(&self) -> Result<(), FactsError> {
        let wrong = |what: &str| Err(FactsError { field: "prefix".into(), what: what.into() });
        match check_url(&self.prefix, false) {
            Err(what) => return wrong(what),
            Ok(_) if self.prefix.matches('/').count() < 3 => {
                return wrong(
                    "must go on to a slash after the host, so that no longer name fits it",
                );
            }
            Ok(_) => {}
        }
        check_authorization(self.authorization.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FactsConfig, String> {
        let config: FactsConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn sources_survive_and_are_not_shown() {
        let text = r#"
            timeout_ms = 900
            [[chain]]
            id = 1
            rpc = ["https://rpc.example/v3/secret", "https://two.example/"]
            agree = 2
            authorization = "Bearer secret"
            [[chain]]
            id = 31337
            rpc = ["http://127.0.0.1:8545"]
            private = true
            [[web]]
            prefix = "https://api.example/v1/"
            ca_file = "ca.pem"
        "#;
        let config = read(text).unwrap();
        assert_eq!(read(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert!(!format!("{config:?}").contains("secret"), "{config:?}");
        assert_eq!(read("").unwrap(), FactsConfig::default());
    }

    #[test]
    fn mistakes_are_named() {
        let chain = |rest: &str| format!("[[chain]]\nid = 1\n{rest}");
        let web = |prefix: &str| format!("[[web]]\nprefix = \"{prefix}\"");
        for (text, words) in [
            (chain("rpc = []"), "facts.chain[0].rpc: must be 1 to 8"),
            (chain("rpc = [\"http://127.0.0.1/\"]"), "facts.chain[0].rpc[0]: is http://"),
            (chain("rpc = [\"https://u:secret@a.example/\"]"), "rpc[0]: has a user name"),
            (
                chain("rpc = [\"https://a.example\"]\nagree = 2"),
                "agree: must be 1, or more than half",
            ),
            (chain("rpc = [\"https://a.example\"]\nagree = 0"), "agree: must be 1"),
            (chain("rpc = [\"https://a.example\"]\nextra = 0"), "extra"),
            (
                chain("rpc = [\"https://a.example\"]\nauthorization = \"\""),
                "authorization: must be",
            ),
            (
                chain("rpc = [\"https://a.example\", \"https://a.example\"]"),
                "rpc[1]: is there twice",
            ),
            (web("https://api.example"), "web[0].prefix: must go on to a slash"),
            (web("http://api.example/"), "web[0].prefix: is http://"),
            (web("https://api.example/../"), "web[0].prefix: has a . or .."),
            ("timeout_ms = 1".to_owned(), "timeout_ms: must be 50"),
            ("max_bytes = 1".to_owned(), "max_bytes: must be 256"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let twice = format!("{0}\n{0}", chain("rpc = [\"https://a.example\"]"));
        assert!(read(&twice).unwrap_err().contains("chain 1 is there twice"));
    }
}
