//! Conditions about facts, back to JSON.

use quorate_core::policy::Amount;
use quorate_core::policy::condition::{Account, Call, Json, JsonTest, Wanted, Word};
use quorate_core::policy::ethereum::types::{Elementary, Type};
use quorate_core::policy::fact::At;
use serde_json::{Map, Value};

use super::{bound, matched, member, name, signed, tested};
use crate::policy_file::compile::one_word;
use crate::policy_file::standard::{self, Standard};

/// A duration as people write it.
pub(super) fn duration(seconds: u32) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string()
}

/// An object about a place on a chain.
pub(super) fn placed(at: At, mut fields: Map<String, Value>) -> Value {
    fields.insert("chain".to_owned(), at.chain.into());
    fields.insert("confirmations".to_owned(), at.confirmations.into());
    fields.into()
}

/// An account as a file names it.
pub(in crate::policy_file) fn account(account: Account) -> String {
    match account {
        Account::Fixed(account) => account.to_string(),
        Account::Key => "$key".to_owned(),
        Account::Recipient => "$to".to_owned(),
    }
}

pub(super) fn call(call: &Call<'_>) -> Value {
    let mut fields = match &call.wanted {
        Wanted::Test(test) => tested(test),
        Wanted::Key => is("$key"),
        Wanted::Signer => is("$signer"),
    };
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let contract = Value::from(call.contract.to_string());
    let name = match standard::recognised(call) {
        Some(Standard::Erc20 { owner, .. }) => {
            add("token", contract);
            add("owner", account(owner).into());
            "erc20_balance"
        }
        Some(Standard::Erc721 { id, .. }) => {
            add("contract", contract);
            add("token_id", id.to_string().into());
            "erc721_owner"
        }
        Some(Standard::Erc1155 { owner, id, .. }) => {
            add("contract", contract);
            add("owner", account(owner).into());
            add("token_id", id.to_string().into());
            "erc1155_balance"
        }
        None => {
            let (selector, parameters) = (hex::encode(call.selector), call.parameters);
            let function = format!("0x{selector}{parameters} returns {}", call.returns);
            add("contract", contract);
            add("function", function.into());
            add("at", call.path.steps().as_slice().into());
            match arguments(call) {
                Some(args) => add("args", args),
                None => add("words", call.words.iter().map(word).collect()),
            };
            "evm_call"
        }
    };
    member(name, placed(call.at, fields))
}

fn is(whose: &str) -> Map<String, Value> {
    Map::from_iter([("is".to_owned(), whose.into())])
}

/// A word as a file has it.
pub(in crate::policy_file) fn word(word: Word) -> Value {
    match word {
        Word::Fixed(word) => format!("0x{}", hex::encode(word)).into(),
        Word::Key => "$key".into(),
        Word::Recipient => "$to".into(),
        Word::Value => "$value".into(),
    }
}

/// The arguments by their types, if each has one word.
fn arguments(call: &Call<'_>) -> Option<Value> {
    let types = (0..).map_while(|index| call.parameters.at(&[index]));
    let each = types.zip(call.words.iter()).map(|(of_type, word)| match of_type {
        Type::Elementary(one) if one_word(one) => argument(one, word),
        _ => None,
    });
    let list: Option<Vec<Value>> = each.collect();
    // An argument of more words leaves some over.
    list.filter(|list| list.len() == call.words.iter().count()).map(Value::from)
}

fn argument(of_type: Elementary, word: Word) -> Option<Value> {
    let fixed = match word {
        Word::Fixed(fixed) => fixed,
        _ if of_type == Elementary::Address => {
            return standard::account(word).map(|known| account(known).into());
        }
        Word::Value if of_type == Elementary::Uint(32) => return Some("$value".into()),
        _ => return None,
    };
    Some(match of_type {
        Elementary::Address => account(standard::account(word)?).into(),
        Elementary::Uint(_) => Amount::from_be_bytes(&fixed).to_string().into(),
        Elementary::Int(_) => signed(&fixed).into(),
        Elementary::Bool => (fixed.last() == Some(&1)).into(),
        Elementary::FixedBytes(size) => {
            format!("0x{}", hex::encode(fixed.get(..size.into())?)).into()
        }
        Elementary::Bytes | Elementary::Text => return None,
    })
}

pub(super) fn json(json: &Json<'_>) -> Value {
    let (mut fields, of_type) = match &json.test {
        JsonTest::Number { comparison, .. } => {
            let number = number(&json.test).unwrap_or_default();
            (Map::from_iter([(name(*comparison).to_owned(), number.into())]), "number")
        }
        JsonTest::Text(text) => (matched(text), "text"),
        JsonTest::Flag(flag) => (Map::from_iter([("equals".to_owned(), (*flag).into())]), "bool"),
    };
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("url", json.url.into());
    add("pointer", json.pointer.into());
    if let Some(time) = json.time {
        add("time", time.into());
    }
    add("max_age", duration(json.max_age).into());
    add("as", of_type.into());
    fields.into()
}

/// The bound on a document's number, as people write it.
pub(in crate::policy_file) fn number(test: &JsonTest<'_>) -> Option<String> {
    let JsonTest::Number { negative, size, decimals, .. } = test else { return None };
    let places = usize::from(*decimals);
    let digits = format!("{:0>width$}", size.to_string(), width = places + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - places)?;
    let (sign, point) = (if *negative { "-" } else { "" }, if places > 0 { "." } else { "" });
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// A number of a block, bounded.
pub(super) fn block_number(at: At, limit: &quorate_core::policy::matcher::Bound) -> Value {
    placed(at, Map::from_iter([("number".to_owned(), bound(limit).into())]))
}
