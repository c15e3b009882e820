//! Conditions about facts, in sentences.

use quorate_core::policy::condition::{Account, Call, Json, JsonTest, Wanted};
use quorate_core::policy::fact::At;
use quorate_core::policy::matcher::Bound;

use super::{bound, compared, matched, test};
use crate::policy_file::render::{account_name, number, word};
use crate::policy_file::standard::{self, Standard};

/// Where a fact is looked up.
pub(super) fn place(at: At) -> String {
    match at.confirmations {
        0 => format!("on chain {}, after its newest block", at.chain),
        1 => format!("on chain {}, one block back", at.chain),
        many => format!("on chain {}, {many} blocks back", at.chain),
    }
}

pub(super) fn duration(seconds: u32) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string()
}

pub(super) fn whose(account: Account) -> String {
    match account {
        Account::Fixed(account) => account.to_string(),
        Account::Key => "the key's own account".to_owned(),
        Account::Recipient => "the recipient".to_owned(),
    }
}

pub(super) fn balance(at: At, account: Account, limit: &Bound) -> String {
    format!("{} has {} {}", whose(account), bound(limit, true), place(at))
}

fn wanted(wanted: &Wanted<'_>) -> String {
    match wanted {
        Wanted::Test(one) => test(one),
        Wanted::Key => "the key's own account".to_owned(),
        Wanted::Signer => "an account that has signed the request".to_owned(),
    }
}

pub(super) fn call(call: &Call<'_>) -> String {
    let (contract, place) = (call.contract, place(call.at));
    match standard::recognised(call) {
        Some(Standard::Erc20 { owner, bound: limit }) => {
            format!(
                "{} has {} of the token {contract}, {place}",
                whose(owner),
                bound(&limit, false)
            )
        }
        Some(Standard::Erc721 { id, wanted: by }) => {
            format!("the owner of token {id} of {contract}, {place}, is {}", wanted(&by))
        }
        Some(Standard::Erc1155 { owner, id, bound: limit }) => format!(
            "{} has {} of token {id} of {contract}, {place}",
            whose(owner),
            bound(&limit, false)
        ),
        None => {
            let words = call.words.iter().map(|one| match standard::account(one) {
                Some(account) => account_name(account),
                None => word(one).as_str().unwrap_or_default().to_owned(),
            });
            format!(
                "value {:?} that the contract {contract}, {place}, returns for the call 0x{}{} with \
                 ({}) is {}",
                call.path.steps().as_slice(),
                hex::encode(call.selector),
                call.parameters,
                words.collect::<Vec<_>>().join(", "),
                wanted(&call.wanted)
            )
        }
    }
}

pub(super) fn json(json: &Json<'_>) -> String {
    let what = match &json.test {
        JsonTest::Number { comparison, .. } => {
            compared(*comparison, &number(&json.test).unwrap_or_default())
        }
        JsonTest::Text(text) => format!("a text that {}", matched(text)),
        JsonTest::Flag(flag) => flag.to_string(),
    };
    let pointer = if json.pointer.is_empty() { "the whole" } else { json.pointer };
    let by = match json.time {
        Some(time) => format!("by its own time at {time}"),
        None => "by the server's word".to_owned(),
    };
    let (url, age) = (json.url, duration(json.max_age));
    format!("{pointer} of {url}, at most {age} old {by}, is {what}")
}
