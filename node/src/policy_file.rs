//! A policy as people write it: JSON, with amounts in wei or ether.

use quorate_core::policy::ethereum::Address;
use quorate_core::policy::{Amount, DataRule, Policy, PolicyParts, Window};
use quorate_core::request::ClientKey;
use serde::Deserialize;
use serde_json::{Value, json};

/// Why a policy file is refused: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFileError {
    /// The JSON path.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy file, {}: {}", self.field, self.what)
    }
}

impl std::error::Error for PolicyFileError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    clients: Vec<String>,
    chains: Vec<u64>,
    recipients: Vec<String>,
    max_value: String,
    max_fee: String,
    data: DataField,
    window: Option<WindowField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DataField {
    Forbidden,
    Allowed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowField {
    seconds: u32,
    max_total: String,
}

fn wrong(field: impl Into<String>, what: impl std::fmt::Display) -> PolicyFileError {
    PolicyFileError { field: field.into(), what: what.to_string() }
}

/// `"1000"`, `"1000 wei"`, `"30 gwei"` or `"0.5 ether"`, exactly; the space may be left out.
#[must_use]
pub fn parse_amount(text: &str) -> Option<Amount> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number = number.trim_end();
    let decimals: usize = match unit {
        "" | "wei" => 0,
        "gwei" => 9,
        "ether" => 18,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > decimals || whole.is_empty() {
        return None;
    }
    Amount::from_decimal(&format!("{whole}{fraction:0<decimals$}"))
}

/// `ed25519:<64 hex>`, the prefix optional.
#[must_use]
pub fn parse_client(text: &str) -> Option<ClientKey> {
    let bytes = hex::decode(text.strip_prefix("ed25519:").unwrap_or(text)).ok()?;
    bytes.try_into().ok().map(ClientKey)
}

/// Reads a policy file.
///
/// # Errors
/// [`PolicyFileError`] names the field.
pub fn parse(text: &str) -> Result<Policy, PolicyFileError> {
    check(&serde_json::from_str(text).map_err(|error| wrong("JSON", error))?)
}

/// Reads a policy that is JSON already.
///
/// # Errors
/// [`PolicyFileError`] names the field.
pub fn from_json(value: Value) -> Result<Policy, PolicyFileError> {
    check(&serde_json::from_value(value).map_err(|error| wrong("JSON", error))?)
}

fn check(file: &File) -> Result<Policy, PolicyFileError> {
    let amount = |field: &str, text: &str| {
        parse_amount(text)
            .ok_or_else(|| wrong(field, format!("{text:?} is no amount (try \"0.1 ether\")")))
    };
    let clients = file.clients.iter().enumerate().map(|(i, text)| {
        parse_client(text).ok_or_else(|| wrong(format!("clients[{i}]"), "no Ed25519 key"))
    });
    let recipients = file.recipients.iter().enumerate().map(|(i, text)| {
        Address::from_hex(text)
            .ok_or_else(|| wrong(format!("recipients[{i}]"), "no address, or a wrong checksum"))
    });
    let (clients, recipients) =
        (clients.collect::<Result<Vec<_>, _>>()?, recipients.collect::<Result<Vec<_>, _>>()?);
    let window = match &file.window {
        None => None,
        Some(window) => {
            let total = amount("window.max_total", &window.max_total)?;
            let window = Window::new(window.seconds, total);
            Some(window.ok_or_else(|| wrong("window.seconds", "must be 1 to 2592000"))?)
        }
    };
    Policy::new(PolicyParts {
        clients: &clients,
        chains: &file.chains,
        recipients: &recipients,
        max_value: amount("max_value", &file.max_value)?,
        max_fee: amount("max_fee", &file.max_fee)?,
        data: match file.data {
            DataField::Forbidden => DataRule::Forbidden,
            DataField::Allowed => DataRule::Allowed,
        },
        window,
    })
    .map_err(|error| wrong("policy", error))
}

/// The policy as a file would have it, amounts in wei.
#[must_use]
pub fn to_json(policy: &Policy) -> Value {
    let texts = |list: Vec<String>| Value::from(list);
    let mut file = json!({
        "clients": texts(policy.clients().iter().map(ToString::to_string).collect()),
        "chains": policy.chains(),
        "recipients": texts(policy.recipients().iter().map(ToString::to_string).collect()),
        "max_value": policy.max_value().to_string(),
        "max_fee": policy.max_fee().to_string(),
        "data": match policy.data() {
            DataRule::Forbidden => "forbidden",
            DataRule::Allowed => "allowed",
        },
    });
    if let (Some(window), Some(fields)) = (policy.window(), file.as_object_mut()) {
        let window =
            json!({ "seconds": window.seconds(), "max_total": window.max_total().to_string() });
        fields.insert("window".to_owned(), window);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"clients":["ed25519:0101010101010101010101010101010101010101010101010101010101010101"],
        "chains":[1],"recipients":["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        "max_value":"0.5 ether","max_fee":"21000 gwei","data":"forbidden",
        "window":{"seconds":60,"max_total":"1 ether"}}"#;

    #[test]
    fn a_policy_survives_both_forms() {
        let policy = parse(GOOD).unwrap();
        assert_eq!(policy.max_value().to_string(), "500000000000000000");
        assert_eq!(parse(&to_json(&policy).to_string()).unwrap(), policy);
        let mut buffer = [0; quorate_core::policy::MAX_POLICY];
        let bytes = policy.encode(&mut buffer).unwrap();
        assert_eq!(Policy::parse(bytes).unwrap(), policy);
    }

    #[test]
    fn mistakes_name_their_field() {
        let field = |text: String| parse(&text).unwrap_err().field;
        assert_eq!(field(GOOD.replace("0.5 ether", "0.5")), "max_value");
        assert_eq!(field(GOOD.replace("79C8", "79c8")), "recipients[0]");
        assert_eq!(field(GOOD.replace(":60,", ":0,")), "window.seconds");
        assert_eq!(field(GOOD.replace("\"data\"", "\"extra\":1,\"data\"")), "JSON");
        assert_eq!(field(GOOD.replace("[1]", "[]")), "policy");
    }
}
