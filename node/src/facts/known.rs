//! Questions and answers that outlive the policy and the response that they were read from.

use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::{Answer, Answers, At, JsonValue};
use quorate_core::policy::{Amount, Question};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Unavailable;

/// A [`Question`] with its own memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnedQuestion {
    /// What a contract answers.
    Call {
        /// Where and when.
        at: At,
        /// The contract.
        contract: Address,
        /// Selector and arguments.
        data: Vec<u8>,
    },
    /// An account's balance in wei.
    Balance {
        /// Where and when.
        at: At,
        /// The account.
        account: Address,
    },
    /// The block itself.
    Block {
        /// Where and when.
        at: At,
    },
    /// A value in a JSON document on the web.
    Json {
        /// The document.
        url: String,
        /// Where in it.
        pointer: String,
        /// Where in it the document says how old it is.
        time: Option<String>,
    },
}

impl OwnedQuestion {
    /// A copy.
    #[must_use]
    pub fn of(question: &Question<'_>) -> Self {
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

    /// As the core asks it.
    #[must_use]
    pub fn as_question(&self) -> Question<'_> {
        match self {
            Self::Call { at, contract, data } => {
                Question::Call { at: *at, contract: *contract, data }
            }
            Self::Balance { at, account } => Question::Balance { at: *at, account: *account },
            Self::Block { at } => Question::Block { at: *at },
            Self::Json { url, pointer, time } => {
                Question::Json { url, pointer, time: time.as_deref() }
            }
        }
    }
}

fn place(at: &At) -> String {
    match at.confirmations {
        0 => format!("at the newest block of chain {}", at.chain),
        below => format!("on chain {} with {below} confirmations", at.chain),
    }
}

/// In words, for logs and records.
impl std::fmt::Display for OwnedQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call { at, contract, data } => {
                write!(f, "call {contract} with 0x{} {}", hex::encode(data), place(at))
            }
            Self::Balance { at, account } => write!(f, "balance of {account} {}", place(at)),
            Self::Block { at } => write!(f, "block {}", place(at)),
            Self::Json { url, pointer, .. } => write!(f, "value {pointer:?} of {url}"),
        }
    }
}

/// A [`JsonValue`] with its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedJson {
    /// A truth.
    Flag(bool),
    /// A number as it is written, without an exponent.
    Number(String),
    /// A text.
    Text(String),
}

/// An [`Answer`] with its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedAnswer {
    /// The data that the contract returned.
    Call(Vec<u8>),
    /// Wei.
    Balance(Amount),
    /// The block.
    Block {
        /// Its number.
        number: u64,
        /// Unix seconds.
        time: u64,
    },
    /// The value.
    Json {
        /// The value itself.
        value: OwnedJson,
        /// When the document was true, Unix seconds.
        time: Option<u64>,
    },
}

impl OwnedAnswer {
    /// A copy.
    #[must_use]
    pub fn of(answer: &Answer<'_>) -> Self {
        match *answer {
            Answer::Call(data) => Self::Call(data.to_vec()),
            Answer::Balance(wei) => Self::Balance(wei),
            Answer::Block { number, time } => Self::Block { number, time },
            Answer::Json { value, time } => {
                let value = match value {
                    JsonValue::Flag(flag) => OwnedJson::Flag(flag),
                    JsonValue::Number(text) => OwnedJson::Number(text.to_owned()),
                    JsonValue::Text(text) => OwnedJson::Text(text.to_owned()),
                };
                Self::Json { value, time }
            }
        }
    }

    /// As the core reads it.
    #[must_use]
    pub fn as_answer(&self) -> Answer<'_> {
        match self {
            Self::Call(data) => Answer::Call(data),
            Self::Balance(wei) => Answer::Balance(*wei),
            Self::Block { number, time } => Answer::Block { number: *number, time: *time },
            Self::Json { value, time } => {
                let value = match value {
                    OwnedJson::Flag(flag) => JsonValue::Flag(*flag),
                    OwnedJson::Number(text) => JsonValue::Number(text),
                    OwnedJson::Text(text) => JsonValue::Text(text),
                };
                Answer::Json { value, time: *time }
            }
        }
    }

    /// What it takes in memory, bytes.
    fn size(&self) -> usize {
        match self {
            Self::Call(data) => data.len(),
            Self::Json { value: OwnedJson::Number(text) | OwnedJson::Text(text), .. } => text.len(),
            _ => 32,
        }
    }
}

/// Where an answer was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In the state after this block.
    Block {
        /// Its number.
        number: u64,
        /// Its hash.
        hash: [u8; 32],
    },
    /// In the document of this SHA-256.
    Document([u8; 32]),
}

/// An answer and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The answer.
    pub answer: OwnedAnswer,
    /// Where it was read.
    pub seen: Seen,
}

/// What is kept of one request's answers, bytes; what is beyond is unknown.
const MAX_KNOWN: usize = 128 * 1024;

/// What was asked for one request, and what is known of it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    entries: Vec<(OwnedQuestion, Result<Found, Unavailable>)>,
    size: usize,
}

impl Known {
    /// Adds what came of a question.
    pub fn add(&mut self, question: OwnedQuestion, result: Result<Found, Unavailable>) {
        let size = result.as_ref().map_or(0, |found| found.answer.size());
        let fits = self.size + size <= MAX_KNOWN;
        let result = if fits { result } else { Err(Unavailable::TOO_MUCH) };
        self.size += if fits { size } else { 0 };
        self.entries.push((question, result));
    }

    /// What is not known, and why.
    pub fn unknown(&self) -> impl Iterator<Item = (&OwnedQuestion, &Unavailable)> {
        self.entries
            .iter()
            .filter_map(|(question, result)| Some((question, result.as_ref().err()?)))
    }

    /// What is known.
    pub fn found(&self) -> impl Iterator<Item = (&OwnedQuestion, &Found)> {
        self.entries.iter().filter_map(|(question, result)| Some((question, result.as_ref().ok()?)))
    }

    /// For the audit log: each question in words, what was known, and where it was seen. Texts from the web and
    /// contracts' data are there as their SHA-256: they may be secret, or long.
    #[must_use]
    pub fn record(&self) -> Vec<Value> {
        let record = |(question, found): (&OwnedQuestion, &Found)| {
            let mut entry = match &found.answer {
                OwnedAnswer::Call(data) => json!({ "returned_sha256": digest(data) }),
                OwnedAnswer::Balance(wei) => json!({ "wei": wei.to_string() }),
                OwnedAnswer::Block { number, time } => json!({ "number": number, "time": time }),
                OwnedAnswer::Json { value, time } => {
                    let bytes = match value {
                        OwnedJson::Flag(flag) => flag.to_string(),
                        OwnedJson::Number(text) | OwnedJson::Text(text) => text.clone(),
                    };
                    json!({ "value_sha256": digest(bytes.as_bytes()), "time": time })
                }
            };
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("question".to_owned(), clip(&question.to_string()).into());
                match found.seen {
                    Seen::Block { number, hash } => {
                        fields.insert("block".to_owned(), number.into());
                        fields.insert("block_hash".to_owned(), hex::encode(hash).into());
                    }
                    Seen::Document(hash) => {
                        fields.insert("document_sha256".to_owned(), hex::encode(hash).into());
                    }
                }
            }
            entry
        };
        self.found().map(record).collect()
    }
}

impl Answers for Known {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let same = |(own, _): &&(OwnedQuestion, Result<Found, Unavailable>)| {
            own.as_question() == *question
        };
        let (_, result) = self.entries.iter().find(same)?;
        result.as_ref().ok().map(|found| found.answer.as_answer())
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A record has room for so much of each question; long call data are cut.
const MAX_WORDS: usize = 300;

fn clip(words: &str) -> String {
    match words.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words.to_owned(),
    }
}
