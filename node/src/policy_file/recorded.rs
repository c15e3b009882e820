//! Facts in a file: to judge a request again as it was, or as it would be.

use std::collections::BTreeMap;

use quorate_core::policy::fact::{self, Answer, Answers, At, Question};
use serde_json::{Map, Value, json};

use super::compile::fields::{Fields, address, array, need, object, only, text};
use super::{PolicyFileError, value, wrong};
use crate::facts::{OwnedAnswer, OwnedJson, OwnedQuestion};

/// Answers to questions, as a file keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded(BTreeMap<OwnedQuestion, OwnedAnswer>);

impl Answers for Recorded {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        self.0.get(&OwnedQuestion::of(question)).map(OwnedAnswer::as_answer)
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
        let fits = matches!(
            (question, answer),
            (Question::Call { .. }, Answer::Call(_))
                | (Question::Balance { .. }, Answer::Balance(_))
                | (Question::Block { .. }, Answer::Block { .. })
                | (Question::Json { .. }, Answer::Json { .. })
        );
        if fits {
            self.0.insert(OwnedQuestion::of(question), OwnedAnswer::of(answer));
        }
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
    let mut entry = named(&OwnedQuestion::of(question));
    entry.extend(blank.as_object().cloned().unwrap_or_default());
    entry.into()
}

fn named(asked: &OwnedQuestion) -> Map<String, Value> {
    let place = |at: &At| json!({ "chain": at.chain, "confirmations": at.confirmations });
    let with = |at: &At, more: Value| {
        let mut fields = place(at);
        if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        fields
    };
    let (kind, fields) = match asked {
        OwnedQuestion::Call { at, contract, data } => {
            let data = format!("0x{}", hex::encode(data));
            ("call", with(at, json!({ "contract": contract.to_string(), "data": data })))
        }
        OwnedQuestion::Balance { at, account } => {
            ("balance", with(at, json!({ "account": account.to_string() })))
        }
        OwnedQuestion::Block { at } => ("block", place(at)),
        OwnedQuestion::Json { url, pointer, time: None } => {
            ("http", json!({ "url": url, "pointer": pointer }))
        }
        OwnedQuestion::Json { url, pointer, time } => {
            ("http", json!({ "url": url, "pointer": pointer, "time": time }))
        }
    };
    Map::from_iter([(kind.to_owned(), fields)])
}

fn written(asked: &OwnedQuestion, found: &OwnedAnswer) -> Value {
    let answer = match found {
        OwnedAnswer::Call(returned) => json!({ "returns": format!("0x{}", hex::encode(returned)) }),
        OwnedAnswer::Balance(wei) => json!({ "wei": wei.to_string() }),
        OwnedAnswer::Block { number, time } => json!({ "number": number, "time": time }),
        OwnedAnswer::Json { value, time } => {
            let value = match value {
                OwnedJson::Flag(flag) => json!({ "flag": flag }),
                OwnedJson::Number(number) => json!({ "number": number }),
                OwnedJson::Text(text) => json!({ "text": text }),
            };
            json!({ "value": value, "time": time })
        }
    };
    let mut entry = named(asked);
    entry.extend(answer.as_object().cloned().unwrap_or_default());
    entry.into()
}

fn read(entry: &Fields, path: &str) -> Result<(OwnedQuestion, OwnedAnswer), PolicyFileError> {
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
            Ok((
                OwnedQuestion::Call { at: place(fields, &inner)?, contract, data },
                OwnedAnswer::Call(returned),
            ))
        }
        "balance" => {
            only(entry, path, &["balance", "wei"])?;
            only(fields, &inner, &["chain", "confirmations", "account"])?;
            let account = address(need(fields, &inner, "account")?, &format!("{inner}.account"))?;
            let wei = value::amount(need(entry, path, "wei")?, None, &at("wei"))?;
            Ok((
                OwnedQuestion::Balance { at: place(fields, &inner)?, account },
                OwnedAnswer::Balance(wei),
            ))
        }
        "block" => {
            only(entry, path, &["block", "number", "time"])?;
            only(fields, &inner, &["chain", "confirmations"])?;
            let number = need(entry, path, "number")?.as_u64();
            let number = number.ok_or_else(|| wrong(at("number"), "must be a number"))?;
            let time = value::moment(need(entry, path, "time")?, &at("time"))?;
            Ok((
                OwnedQuestion::Block { at: place(fields, &inner)? },
                OwnedAnswer::Block { number, time },
            ))
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
            Ok((
                OwnedQuestion::Json { url, pointer, time: own_time },
                OwnedAnswer::Json { value, time },
            ))
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

fn scalar(value: &Value, path: &str) -> Result<OwnedJson, PolicyFileError> {
    let wanted =
        || wrong(path, "must be {\"number\": \"…\"}, {\"text\": \"…\"} or {\"flag\": true}");
    let fields = value.as_object().filter(|fields| fields.len() == 1).ok_or_else(wanted)?;
    let (name, value) = fields.iter().next().ok_or_else(wanted)?;
    match (name.as_str(), value) {
        ("flag", Value::Bool(flag)) => Ok(OwnedJson::Flag(*flag)),
        ("number", Value::String(number)) => Ok(OwnedJson::Number(number.clone())),
        ("text", Value::String(text)) => Ok(OwnedJson::Text(text.clone())),
        _ => Err(wanted()),
    }
}
