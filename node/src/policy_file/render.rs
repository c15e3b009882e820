//! The binary form back to JSON: what it compiles to again, byte for byte.

mod facts;

use quorate_core::policy::condition::{Argument, Condition, Conditions, Schedule, Step};
use quorate_core::policy::control::Controllers;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::matcher::{Bound, Comparison, Test, TextMatch, TextTest};
use quorate_core::policy::{Delay, Kinds, Limit, Measure, Policy, Rule, Scope, Strict, rule};
use serde_json::{Map, Value, json};

use super::compile::{DAYS, KINDS};

pub(super) use facts::{account as account_name, number, word};

/// The policy as a file would have it, amounts in wei.
#[must_use]
pub fn to_json(policy: &Policy<'_>) -> Value {
    let rules = policy.rules().map(|rule| self::rule(&rule)).collect::<Vec<_>>();
    let mut policy_fields = Map::from_iter([("rules".to_owned(), rules.into())]);
    if let Some(controllers) = policy.controllers() {
        policy_fields.insert("controllers".to_owned(), self::controllers(&controllers));
    }
    policy_fields.into()
}

fn controllers(controllers: &Controllers<'_>) -> Value {
    let delay = std::time::Duration::from_secs(controllers.delay.into());
    json!({
        "at_least": controllers.at_least,
        "freeze_at_least": controllers.freeze_at_least,
        "delay": humantime::format_duration(delay).to_string(),
        "of": keys(controllers.of.iter()),
    })
}

fn rule(rule: &Rule<'_>) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), rule.name.into());
    fields.insert("payload".to_owned(), kinds(rule.kinds));
    let limits: Vec<Value> = rule.limits().map(|limit| self::limit(&limit)).collect();
    if !limits.is_empty() {
        fields.insert("limits".to_owned(), limits.into());
    }
    fields.insert("when".to_owned(), condition(&rule.condition));
    fields.into()
}

fn kinds(kinds: Kinds) -> Value {
    // The first name stands for three others.
    let names = KINDS.iter().skip(1).filter(|(_, kind)| kinds.contains(*kind));
    names.map(|(name, _)| Value::from(*name)).collect()
}

fn limit(limit: &Limit<'_>) -> Value {
    let measure = match &limit.measure {
        Measure::Signatures => "signatures".into(),
        Measure::Spend => "spend".into(),
        Measure::Value => "value".into(),
        Measure::Argument { contract, selector, parameters, path } => json!({
            "contract": contract.to_string(),
            "function": format!("0x{}{parameters}", hex::encode(selector)),
            "at": path.steps().as_slice(),
        }),
    };
    let scope = match limit.scope {
        Scope::Rule => "rule",
        Scope::Key => "key",
    };
    let strict = match limit.strict {
        Strict::No => Value::Bool(false),
        Strict::Party(party) => json!({ "party": party.number() }),
        Strict::All => "all".into(),
    };
    let per = duration(limit.window);
    let max = limit.max.to_string();
    json!({ "measure": measure, "scope": scope, "max": max, "per": per, "strict": strict })
}

/// One member of an object.
fn member(name: &str, value: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value.into())]))
}

/// Each condition as an object of its own: several members of one object would be all of them, and so
/// would not be what the bytes are.
fn condition(condition: &Condition<'_>) -> Value {
    match condition {
        Condition::All(inner) => member("all", list(inner)),
        Condition::Any(inner) => member("any", list(inner)),
        Condition::Not(inner) => member("not", single(inner)),
        Condition::AtLeast(least, inner) => {
            member("at_least", json!({ "count": least, "of": list(inner) }))
        }
        Condition::Client(list) => member("client", keys(list.iter())),
        Condition::Approvals { at_least, of } => {
            member("approvals", json!({ "at_least": at_least, "of": keys(of.iter()) }))
        }
        Condition::Time { not_before, before } => {
            member("time", json!({ "not_before": not_before, "before": before }))
        }
        Condition::Schedule(schedule) => member("schedule", self::schedule(schedule)),
        Condition::Delay(delay) => member("delay", self::delay(delay)),
        Condition::Chain(list) => member("chain", rule::chains(list).collect::<Vec<u64>>()),
        Condition::Recipient(list) => member("to", accounts(list.iter())),
        Condition::Creation => member("creates_contract", true),
        Condition::Value(bound) => member("value", self::bound(bound)),
        Condition::Fee(bound) => member("fee", self::bound(bound)),
        Condition::Function(list) => {
            let names = list.iter().map(|selector| format!("0x{}()", hex::encode(selector)));
            member("function", names.collect::<Vec<_>>())
        }
        Condition::NoData => member("data", "none"),
        Condition::Argument(argument) => member("argument", self::argument(argument)),
        Condition::Delegate(list) => member("delegate", accounts(list.iter())),
        Condition::Domain { field, test } => member("domain", member(field, tested(test))),
        Condition::Type(name) => member("type", *name),
        Condition::Field { path, test } => {
            let steps = path.steps().map(|step| match step {
                Step::Name(name) => Value::from(name),
                Step::Index(index) => Value::from(index),
            });
            let mut fields = tested(test);
            fields.insert("at".to_owned(), steps.collect());
            fields.insert("as".to_owned(), kind(test).into());
            member("field", fields)
        }
        Condition::Message(text) => member("message", matched(text)),
        Condition::Call(call) => facts::call(call),
        Condition::Balance { at, account, bound } => {
            let mut fields = self::bound(bound);
            fields.insert("account".to_owned(), account_name(*account).into());
            member("balance", facts::placed(*at, fields))
        }
        Condition::BlockNumber { at, bound } => member("block", facts::block_number(*at, bound)),
        Condition::BlockAge { at, max } => {
            let fields = Map::from_iter([("max_age".to_owned(), facts::duration(*max).into())]);
            member("block", facts::placed(*at, fields))
        }
        Condition::Json(json) => member("http", facts::json(json)),
        Condition::Signatures { at_least, of } => {
            member("signatures", json!({ "at_least": at_least, "of": accounts(of.iter()) }))
        }
        Condition::Elsewhere(inner) => member("elsewhere", single(inner)),
        Condition::Confirm => member("confirm", true),
    }
}

fn single(conditions: &Conditions<'_>) -> Value {
    let one = conditions.iter().find_map(Result::ok);
    one.map(|one| condition(&one)).unwrap_or_default()
}

fn list(conditions: &Conditions<'_>) -> Value {
    conditions.iter().flatten().map(|one| condition(&one)).collect()
}

fn keys<'a>(keys: impl Iterator<Item = &'a [u8; 32]>) -> Value {
    keys.map(|key| Value::from(format!("ed25519:{}", hex::encode(key)))).collect()
}

fn accounts<'a>(accounts: impl Iterator<Item = &'a [u8; 20]>) -> Value {
    accounts.map(|account| Value::from(Address(*account).to_string())).collect()
}

pub(super) fn time_of_day(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

pub(super) fn offset(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{}", time_of_day(minutes.unsigned_abs()))
}

fn schedule(schedule: &Schedule) -> Value {
    let days = DAYS.iter().enumerate().filter(|(index, _)| schedule.days >> index & 1 == 1);
    json!({
        "days": days.map(|(_, day)| *day).collect::<Vec<_>>(),
        "from": time_of_day(schedule.from),
        "to": time_of_day(schedule.to),
        "utc_offset": offset(schedule.offset),
    })
}

fn delay(delay: &Delay<'_>) -> Map<String, Value> {
    let mut fields = Map::from_iter([("for".to_owned(), duration(delay.seconds).into())]);
    if !delay.veto.is_empty() {
        fields.insert("veto".to_owned(), keys(delay.veto.iter()));
    }
    fields
}

pub(super) fn duration(seconds: u32) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string()
}

fn name(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::AtMost => "at_most",
        Comparison::AtLeast => "at_least",
        Comparison::Equals => "equals",
    }
}

fn bound(bound: &Bound) -> Map<String, Value> {
    Map::from_iter([(name(bound.comparison).to_owned(), bound.value.to_string().into())])
}

fn argument(argument: &Argument<'_>) -> Value {
    let mut fields = tested(&argument.test);
    let function = format!("0x{}{}", hex::encode(argument.selector), argument.parameters);
    fields.insert("function".to_owned(), function.into());
    fields.insert("at".to_owned(), argument.path.steps().as_slice().into());
    fields.into()
}

fn kind(test: &Test<'_>) -> &'static str {
    match test {
        Test::Unsigned(_) => "uint",
        Test::Signed { .. } => "int",
        Test::Address(_) => "address",
        Test::Flag(_) => "bool",
        Test::Text(_) => "text",
        Test::Bytes(_) => "bytes",
    }
}

fn tested(test: &Test<'_>) -> Map<String, Value> {
    let (name, value) = match test {
        Test::Unsigned(bound) => return self::bound(bound),
        Test::Signed { comparison, value } => (name(*comparison), signed(value).into()),
        Test::Address(list) => ("in", accounts(list.iter())),
        Test::Flag(flag) => ("equals", (*flag).into()),
        Test::Text(text) => return matched(text),
        Test::Bytes(bytes) => ("equals", format!("0x{}", hex::encode(bytes)).into()),
    };
    Map::from_iter([(name.to_owned(), value)])
}

fn matched(text: &TextMatch<'_>) -> Map<String, Value> {
    let name = match text.test {
        TextTest::Equals => "equals",
        TextTest::StartsWith => "starts_with",
        TextTest::EndsWith => "ends_with",
        TextTest::Contains => "contains",
        TextTest::Pattern => "pattern",
    };
    Map::from_iter([(name.to_owned(), text.text.into())])
}

/// A number in two's complement, decimal.
pub(super) fn signed(number: &[u8; 32]) -> String {
    use quorate_core::policy::Amount;
    if number.first().is_some_and(|first| first & 0x80 == 0) {
        return Amount::from_be_bytes(number).to_string();
    }
    let inverted = Amount::from_be_bytes(&number.map(|byte| !byte));
    // The inverse of a negative number is at most 2^255 − 1.
    let size = inverted.checked_add(Amount::from_u128(1)).unwrap_or(Amount::MAX);
    format!("-{size}")
}
