//! Facts in a file: to judge a request again as it was, or as it would be.

use std::collections::BTreeMap;

use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::{Answer, Answers, At, JsonValue, Question};
use quorate_core::policy::{Amount, fact};
use serde_json::{Map, Value, json};

use super::compile::fields::{Fields, address, array, need, object, only, text};
use super::{PolicyFileError, value, wrong};

/// A question, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Call { at: At, contract: Address, data: Vec<u8> },
    Balance { at: At, account: Address },
    Block { at: At },
    Json { url: String, pointer: String, time: Option<String> },
}

/// An answer, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Call(Vec<u8>),
    Balance(Amount),
    Block { number: u64, time: u64 },
    Json { value: Scalar, time: Option<u64> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scalar {
    Flag(bool),
    Number(String),
    Text(String),
}

/// Answers to questions, as a file keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded(BTreeMap<Asked, Found>);

impl Answers for Recorded {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        Some(match self.0.get(&Asked::from(question))? {
            Found::Call(returned) => Answer::Call(returned),
            Found::Balance(wei) => Answer::Balance(*wei),
            Found::Block { number, time } => Answer::Block { number: *number, time: *time },
            Found::Json { value, time } => {
                let value = match value {
                    Scalar::Flag(flag) => JsonValue::Flag(*flag),
                    Scalar::Number(number) => JsonValue::Number(number),
                    Scalar::Text(text) => JsonValue::Text(text),
                };
                Answer::Json { value, time: *time }
            }
        })
    }
}

impl Recorded {
    /// Reads `{"facts": […]}`.
    ///
    /// # Errors
    /// [`PolicyFileError`] names the entry's field.
    pub fn parse(text: &str) -> Result<Self, PolicyFileError> {
        Self::from_json(&serde_json::from_str(text).map_err(|error| wrong("JSON", error))?)
    }

    /// The same, of what is JSON already.
    ///
    /// # Errors
    /// [`PolicyFileError`] names the entry's field.
    pub fn from_json(value: &Value) -> Result<Self, PolicyFileError> {
        let fields = object(value, "facts file")?;
        only(fields, "facts file", &["facts"])?;
        let mut facts = BTreeMap::new();
        for (index, entry) in
            array(need(fields, "facts file", "facts")?, "facts")?.iter().enumerate()
        {
            let path = format!("facts[{index}]");
            let (asked, found) = read(object(entry, &path)?, &path)?;
            if facts.insert(asked, found).is_some() {
                return Err(wrong(path, "the same question has an answer already"));
            }
        }
        Ok(Self(facts))
    }

    /// What [`Self::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let entries = self.0.iter().map(|(asked, found)| written(asked, found));
        json!({ "facts": entries.collect::<Vec<_>>() })
    }

    /// One answer more; it takes the place of an earlier one. An answer of another kind than the question
    /// is left out.
    pub fn insert(&mut self, question: &Question<'_>, answer: &Answer<'_>) {
        let found = match (question, answer) {
            (Question::Call { .. }, Answer::Call(returned)) => Found::Call(returned.to_vec()),
            (Question::Balance { .. }, Answer::Balance(wei)) => Found::Balance(*wei),
            (Question::Block { .. }, Answer::Block { number, time }) => {
                Found::Block { number: *number, time: *time }
            }
            (Question::Json { .. }, Answer::Json { value, time }) => {
                let value = match *value {
                    JsonValue::Flag(flag) => Scalar::Flag(flag),
                    JsonValue::Number(number) => Scalar::Number(number.to_owned()),
                    JsonValue::Text(text) => Scalar::Text(text.to_owned()),
                };
                Found::Json { value, time: *time }
            }
            _ => return,
        };
        self.0.insert(Asked::from(question), found);
    }
}

/// An entry of a facts file for this question, to be completed with its answer.
#[must_use]
pub fn template(question: &Question<'_>) -> Value {
    let blank = match question {
        Question::Call { .. } => json!({ "returns": "0x…" }),
        Question::Balance { .. } => json!({ "wei": "…" }),
        Question::Block { .. } => json!({ "number": "…", "time": "…" }),
        Question::Json { .. } => json!({ "value": { "number": "…" }, "time": "…" }),
    };
    let mut entry = named(&Asked::from(question));
    entry.extend(blank.as_object().cloned().unwrap_or_default());
    entry.into()
}

impl From<&Question<'_>> for Asked {
    fn from(question: &Question<'_>) -> Self {
        match *question {
            Question::Call { at, contract, data } => {
                Self::Call { at, contract, data: data.to_vec() }
            }
            Question::Balance { at, account } => Self::Balance { at, account },
            Question::Block { at } => Self::Block { at },
            Question::Json { url, pointer, time } => Self::Json {
                url: url.to_owned(),
                pointer: pointer.to_owned(),
                time: time.map(str::to_owned),
            },
        }
    }
}

fn named(asked: &Asked) -> Map<String, Value> {
    let place = |at: &At| json!({ "chain": at.chain, "confirmations": at.confirmations });
    let with = |at: &At, more: Value| {
        let mut fields = place(at);
        if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        fields
    };
    let (kind, fields) = match asked {
        Asked::Call { at, contract, data } => {
            let data = format!("0x{}", hex::encode(data));
            ("call", with(at, json!({ "contract": contract.to_string(), "data": data })))
        }
        Asked::Balance { at, account } => {
            ("balance", with(at, json!({ "account": account.to_string() })))
        }
        Asked::Block { at } => ("block", place(at)),
        Asked::Json { url, pointer, time: None } => {
            ("http", json!({ "url": url, "pointer": pointer }))
        }
        Asked::Json { url, pointer, time } => {
            ("http", json!({ "url": url, "pointer": pointer, "time": time }))
        }
    };
    Map::from_iter([(kind.to_owned(), fields)])
}

fn written(asked: &Asked, found: &Found) -> Value {
    let answer = match found {
        Found::Call(returned) => json!({ "returns": format!("0x{}", hex::encode(returned)) }),
        Found::Balance(wei) => json!({ "wei": wei.to_string() }),
        Found::Block { number, time } => json!({ "number": number, "time": time }),
        Found::Json { value, time } => {
            let value = match value {
                Scalar::Flag(flag) => json!({ "flag": flag }),
                Scalar::Number(number) => json!({ "number": number }),
                Scalar::Text(text) => json!({ "text": text }),
            };
            json!({ "value": value, "time": time })
        }
    };
    let mut entry = named(asked);
    entry.extend(answer.as_object().cloned().unwrap_or_default());
    entry.into()
}

fn read(entry: &Fields, path: &str) -> Result<(Asked, Found), PolicyFileError> {
    const KINDS: [&str; 4] = ["call", "balance", "block", "http"];
    let kind = KINDS.into_iter().find(|kind| entry.contains_key(*kind));
    let kind = kind.ok_or_else(|| wrong(path, "needs call, balance, block or http"))?;
    let inner = format!("{path}.{kind}");
    let fields = object(need(entry, path, kind)?, &inner)?;
    let at = |name: &str| format!("{path}.{name}");
    match kind {
        "call" => {
            only(entry, path, &["call", "returns"])?;
            only(fields, &inner, &["chain", "confirmations", "contract", "data"])?;
            let contract =
                address(need(fields, &inner, "contract")?, &format!("{inner}.contract"))?;
            let data = bytes(need(fields, &inner, "data")?, &format!("{inner}.data"))?;
            let returned = bytes(need(entry, path, "returns")?, &at("returns"))?;
            Ok((Asked::Call { at: place(fields, &inner)?, contract, data }, Found::Call(returned)))
        }
        "balance" => {
            only(entry, path, &["balance", "wei"])?;
            only(fields, &inner, &["chain", "confirmations", "account"])?;
            let account = address(need(fields, &inner, "account")?, &format!("{inner}.account"))?;
            let wei = value::amount(need(entry, path, "wei")?, None, &at("wei"))?;
            Ok((Asked::Balance { at: place(fields, &inner)?, account }, Found::Balance(wei)))
        }
        "block" => {
            only(entry, path, &["block", "number", "time"])?;
            only(fields, &inner, &["chain", "confirmations"])?;
            let number = need(entry, path, "number")?.as_u64();
            let number = number.ok_or_else(|| wrong(at("number"), "must be a number"))?;
            let time = value::moment(need(entry, path, "time")?, &at("time"))?;
            Ok((Asked::Block { at: place(fields, &inner)? }, Found::Block { number, time }))
        }
        _ => {
            only(entry, path, &["http", "value", "time"])?;
            only(fields, &inner, &["url", "pointer", "time"])?;
            let owned = |name: &str| {
                let value = need(fields, &inner, name)?;
                text(value, &format!("{inner}.{name}")).map(str::to_owned)
            };
            let own_time = fields.contains_key("time").then(|| owned("time")).transpose()?;
            let (url, pointer) = (owned("url")?, owned("pointer")?);
            let value = scalar(need(entry, path, "value")?, &at("value"))?;
            let time = match entry.get("time") {
                None | Some(Value::Null) => None,
                Some(time) => Some(value::moment(time, &at("time"))?),
            };
            Ok((Asked::Json { url, pointer, time: own_time }, Found::Json { value, time }))
        }
    }
}

fn place(fields: &Fields, path: &str) -> Result<At, PolicyFileError> {
    let number = |name: &str| {
        let value = need(fields, path, name)?.as_u64();
        value.ok_or_else(|| wrong(format!("{path}.{name}"), "must be a number"))
    };
    let confirmations = u16::try_from(number("confirmations")?)
        .map_err(|_| wrong(format!("{path}.confirmations"), "must be a number up to 65535"))?;
    Ok(fact::At { chain: number("chain")?, confirmations })
}

fn bytes(value: &Value, path: &str) -> Result<Vec<u8>, PolicyFileError> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let bytes = digits.and_then(|digits| hex::decode(digits).ok());
    bytes.ok_or_else(|| wrong(path, "must be 0x and hexadecimal bytes"))
}

fn scalar(value: &Value, path: &str) -> Result<Scalar, PolicyFileError> {
    let wanted =
        || wrong(path, "must be {\"number\": \"…\"}, {\"text\": \"…\"} or {\"flag\": true}");
    let fields = value.as_object().filter(|fields| fields.len() == 1).ok_or_else(wanted)?;
    let (name, value) = fields.iter().next().ok_or_else(wanted)?;
    match (name.as_str(), value) {
        ("flag", Value::Bool(flag)) => Ok(Scalar::Flag(*flag)),
        ("number", Value::String(number)) => Ok(Scalar::Number(number.clone())),
        ("text", Value::String(text)) => Ok(Scalar::Text(text.clone())),
        _ => Err(wanted()),
    }
}
