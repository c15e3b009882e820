//! A policy as people write it: JSON, with amounts in wei or ether and functions by their signature.

mod compile;
mod explain;
mod lint;
mod recorded;
mod render;
mod shorthand;
mod standard;
mod value;
mod verdict;

use quorate_core::policy::form::{FormError, NoRoom};
use quorate_core::policy::{Amount, MAX_POLICY, Policy};
use quorate_core::request::ClientKey;
use serde_json::Value;

pub use explain::{explain, moment as moment_text};
pub use lint::{Doubt, lint};
pub use recorded::{Recorded, template};
pub use render::to_json;
pub use verdict::{Branch, Verdict, judge, verdict_text};

/// The JSON schema of policy files.
pub const SCHEMA: &str = include_str!("../../docs/policy.schema.json");

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

impl From<NoRoom> for PolicyFileError {
    fn from(error: NoRoom) -> Self {
        wrong("policy", error)
    }
}

impl From<FormError> for PolicyFileError {
    fn from(error: FormError) -> Self {
        wrong("policy", error)
    }
}

fn wrong(field: impl Into<String>, what: impl std::fmt::Display) -> PolicyFileError {
    PolicyFileError { field: field.into(), what: what.to_string() }
}

/// A policy's binary form, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBytes(Vec<u8>);

impl PolicyBytes {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a policy file.
///
/// # Errors
/// [`PolicyFileError`] names the field.
pub fn parse(text: &str) -> Result<PolicyBytes, PolicyFileError> {
    from_json(&serde_json::from_str(text).map_err(|error| wrong("JSON", error))?)
}

/// Reads a policy that is JSON already: either rules, or the short form of one rule for transactions.
///
/// # Errors
/// [`PolicyFileError`] names the field.
pub fn from_json(value: &Value) -> Result<PolicyBytes, PolicyFileError> {
    let bytes = match value.get("rules") {
        Some(_) => compile::policy(value)?,
        None => compile::policy(&shorthand::rules(value)?).map_err(shorthand::in_its_words)?,
    };
    Policy::parse(&bytes)?;
    Ok(PolicyBytes(bytes))
}

/// The names of all conditions, as a policy file has them.
pub fn condition_names() -> impl Iterator<Item = &'static str> {
    compile::members()
}

/// `"1000"`, `"1000 wei"`, `"30 gwei"` or `"0.5 ether"`, exactly; the space may be left out.
#[must_use]
pub fn parse_amount(text: &str) -> Option<Amount> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let decimals: usize = match unit {
        "" | "wei" => 0,
        "gwei" => 9,
        "ether" => 18,
        _ => return None,
    };
    parse_decimal(number.trim_end(), decimals)
}

/// A decimal number of units of 10^decimals.
fn parse_decimal(number: &str, decimals: usize) -> Option<Amount> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > decimals || whole.is_empty() {
        return None;
    }
    Amount::from_decimal(&format!("{whole}{fraction:0<decimals$}"))
}

/// Unix seconds, or a time as RFC 3339 has it, in UTC.
#[must_use]
pub fn moment(value: &Value) -> Option<u64> {
    value::moment(value, "").ok()
}

/// `ed25519:<64 hex>`, the prefix optional.
#[must_use]
pub fn parse_client(text: &str) -> Option<ClientKey> {
    let bytes = hex::decode(text.strip_prefix("ed25519:").unwrap_or(text)).ok()?;
    bytes.try_into().ok().map(ClientKey)
}

/// The longest policy, to write one into.
fn buffer() -> Vec<u8> {
    vec![0; MAX_POLICY]
}

#[cfg(test)]
mod tests;
