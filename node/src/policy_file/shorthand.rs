//! The short form: one rule for transactions to named accounts.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{PolicyFileError, wrong};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Short {
    clients: Vec<String>,
    chains: Vec<u64>,
    recipients: Vec<String>,
    max_value: String,
    max_fee: String,
    data: Data,
    window: Option<Window>,
    controllers: Option<Value>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Data {
    Forbidden,
    Allowed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    seconds: u32,
    max_total: String,
}

/// The rules that the short form stands for.
pub(super) fn rules(value: &Value) -> Result<Value, PolicyFileError> {
    let short = Short::deserialize(value).map_err(|error| wrong("JSON", error))?;
    let mut when = json!({
        "client": short.clients,
        "chain": short.chains,
        "to": short.recipients,
        "value": { "at_most": short.max_value },
        "fee": { "at_most": short.max_fee },
    });
    if short.data == Data::Forbidden
        && let Some(fields) = when.as_object_mut()
    {
        fields.insert("data".to_owned(), "none".into());
    }
    let mut rule = json!({ "name": "transactions", "payload": ["transaction"], "when": when });
    if let (Some(window), Some(fields)) = (short.window, rule.as_object_mut()) {
        let limit = json!({
            "measure": "spend", "scope": "key",
            "max": window.max_total, "per": format!("{}s", window.seconds),
        });
        fields.insert("limits".to_owned(), json!([limit]));
    }
    let mut policy = json!({ "rules": [rule] });
    if let (Some(controllers), Some(fields)) = (short.controllers, policy.as_object_mut()) {
        fields.insert("controllers".to_owned(), controllers);
    }
    Ok(policy)
}

/// The short form's fields, by where the rules have them.
const FIELDS: [(&str, &str); 7] = [
    ("rules[0].when.client", "clients"),
    ("rules[0].when.chain", "chains"),
    ("rules[0].when.to", "recipients"),
    ("rules[0].when.value.at_most", "max_value"),
    ("rules[0].when.fee.at_most", "max_fee"),
    ("rules[0].limits[0].max", "window.max_total"),
    ("rules[0].limits[0].per", "window.seconds"),
];

/// A mistake in the rules, named as it stands in the short form.
pub(super) fn in_its_words(error: PolicyFileError) -> PolicyFileError {
    let renamed = FIELDS.iter().find_map(|(long, short)| {
        error.field.strip_prefix(long).map(|rest| format!("{short}{rest}"))
    });
    PolicyFileError { field: renamed.unwrap_or(error.field), what: error.what }
}
