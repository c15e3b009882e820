//! A policy in plain sentences.

mod facts;

use quorate_core::policy::condition::{Condition, Conditions, Schedule, Step};
use quorate_core::policy::control::Controllers;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::matcher::{Bound, Comparison, Test, TextMatch, TextTest};
use quorate_core::policy::{Amount, Kinds, Limit, Measure, Policy, Rule, Scope, Strict, rule};

use super::compile::DAYS;
use super::render::{duration, offset, signed, time_of_day};

/// Lists longer than this are counted, not written out.
const SHOWN: usize = 6;

/// The policy in plain sentences, one to a line.
#[must_use]
pub fn explain(policy: &Policy<'_>) -> String {
    let mut lines = Lines::default();
    let count = policy.rules().count();
    if count > 1 {
        lines.add(0, format!("A request is signed if one of {count} rules allows it:"));
    }
    for rule in policy.rules() {
        self::rule(&mut lines, &rule);
    }
    match policy.controllers() {
        Some(controllers) => self::controllers(&mut lines, &controllers),
        None => lines.add(0, "Nobody can ever change this policy."),
    }
    lines.0
}

/// Who may change it.
fn controllers(lines: &mut Lines, controllers: &Controllers<'_>) {
    let Controllers { at_least, freeze_at_least, delay, of } = controllers;
    let names = listed(of.iter().map(client));
    lines.add(0, format!("It belongs to {} controllers: {names}.", of.len()));
    let delay = match delay {
        0 => "at once".to_owned(),
        seconds => {
            let delay = std::time::Duration::from_secs((*seconds).into());
            format!("{} after a party has seen it", humantime::format_duration(delay))
        }
    };
    let so_many = |count: &u8| match count {
        1 => "any one of them".to_owned(),
        count => format!("any {count} of them together"),
    };
    lines.add(
        1,
        format!("- {} may replace this policy, these controllers too: {delay}", so_many(at_least)),
    );
    lines.add(1, format!("- {} may freeze the key: at once", so_many(freeze_at_least)));
    lines.add(1, format!("- {} may end a freeze: {delay}", so_many(at_least)));
}

/// A condition in one sentence; what is made of others is named only.
#[must_use]
pub(super) fn sentence(condition: &Condition<'_>) -> String {
    match condition {
        Condition::All(_) => "all of these hold".into(),
        Condition::Any(_) => "at least one of these holds".into(),
        Condition::Not(_) => "this does not hold".into(),
        Condition::AtLeast(least, inner) => format!("{least} of these {} hold", inner.count()),
        Condition::Client(list) => {
            format!("the request is signed by {}", one_of(list.iter().map(client)))
        }
        Condition::Approvals { at_least, of } => format!(
            "at least {at_least} of these {} have approved it: {}",
            of.len(),
            listed(of.iter().map(client))
        ),
        Condition::Time { not_before, before } => time(*not_before, *before),
        Condition::Schedule(schedule) => self::schedule(schedule),
        Condition::Delay(delay) => {
            let known = format!("the party has had it on record for {}", duration(delay.seconds));
            match delay.veto.is_empty() {
                true => known,
                false => {
                    let vetoers = one_of(delay.veto.iter().map(client));
                    format!("{known}, without a veto by {vetoers}")
                }
            }
        }
        Condition::Chain(list) => {
            format!("the chain is {}", one_of(rule::chains(list).map(|chain| chain.to_string())))
        }
        Condition::Recipient(list) => format!("the recipient is {}", one_of(accounts(list.iter()))),
        Condition::Creation => "it creates a contract".into(),
        Condition::Value(bound) => format!("the value is {}", self::bound(bound, true)),
        Condition::Fee(bound) => format!("the fee can be {}", self::bound(bound, true)),
        Condition::Function(list) => {
            let names = list.iter().map(|selector| format!("0x{}", hex::encode(selector)));
            format!("it calls function {}", one_of(names))
        }
        Condition::NoData => "it carries no data".into(),
        Condition::Argument(argument) => format!(
            "argument {:?} of the call 0x{}{} is {}",
            argument.path.steps().as_slice(),
            hex::encode(argument.selector),
            argument.parameters,
            test(&argument.test)
        ),
        Condition::Delegate(list) => {
            format!("every authorization is for {}", one_of(accounts(list.iter())))
        }
        Condition::Domain { field, test } => {
            format!("the domain's {field} is {}", self::test(test))
        }
        Condition::Type(name) => format!("the typed data is a {name}"),
        Condition::Field { path, test } => {
            let steps = path.steps().map(|step| match step {
                Step::Name(name) => name.to_owned(),
                Step::Index(index) => index.to_string(),
            });
            let path = steps.collect::<Vec<_>>().join(".");
            format!("the typed data's {path} is {}", self::test(test))
        }
        Condition::Message(text) => format!("the message {}", matched(text)),
        Condition::Call(call) => facts::call(call),
        Condition::Balance { at, account, bound } => facts::balance(*at, *account, bound),
        Condition::BlockNumber { at, bound } => {
            let number = self::bound(bound, false);
            format!("the number of the block {} is {number}", facts::place(*at))
        }
        Condition::BlockAge { at, max } => {
            format!("the block {} is at most {} old", facts::place(*at), facts::duration(*max))
        }
        Condition::Json(json) => facts::json(json),
        Condition::Signatures { at_least, of } => format!(
            "at least {at_least} of these {} accounts have signed it: {}",
            of.len(),
            listed(accounts(of.iter()))
        ),
        Condition::Elsewhere(_) => "elsewhere, for a device takes it as true, this holds".into(),
        Condition::Confirm => "the person at the party's device, if it is one, confirms it".into(),
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, depth: usize, line: impl AsRef<str>) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }
}

fn rule(lines: &mut Lines, rule: &Rule<'_>) {
    lines.add(0, format!("Rule {:?}, for {}, if", rule.name, kinds(rule.kinds)));
    condition(lines, 1, &rule.condition);
    for limit in rule.limits() {
        lines.add(1, format!("and, within {}", self::limit(&limit)));
    }
}

fn condition(lines: &mut Lines, depth: usize, one: &Condition<'_>) {
    let within: Option<Conditions<'_>> = one.inner();
    let end = if within.is_some() { ":" } else { "" };
    lines.add(depth, format!("- {}{end}", sentence(one)));
    for inner in within.iter().flat_map(Conditions::iter).flatten() {
        condition(lines, depth + 1, &inner);
    }
}

fn kinds(kinds: Kinds) -> String {
    let names = Kinds::EACH.iter().filter(|kind| kinds.contains(**kind)).map(|kind| kind.name());
    names.collect::<Vec<_>>().join(", ")
}

fn limit(limit: &Limit<'_>) -> String {
    let window = duration(limit.window);
    let max = limit.max;
    let what = match &limit.measure {
        Measure::Signatures => format!("{max} signatures"),
        Measure::Spend => format!("{} of value and fees", ether(max)),
        Measure::Value => format!("{} of value", ether(max)),
        Measure::Argument { contract, selector, parameters, path } => format!(
            "a sum of {max} in argument {:?} of 0x{}{parameters} at {contract}",
            path.steps().as_slice(),
            hex::encode(selector)
        ),
    };
    let scope = match limit.scope {
        Scope::Rule => "under this rule",
        Scope::Key => "with this key",
    };
    let strict = match limit.strict {
        Strict::No => "as each party counts what it takes part in".to_owned(),
        Strict::Party(party) => format!("party {} always taking part", party.number()),
        Strict::All => "all holders taking part".to_owned(),
    };
    format!("any {window}, at most {what} {scope}, {strict}")
}

/// Wei, in ether or gwei if that is short.
fn ether(amount: Amount) -> String {
    let digits = amount.to_string();
    let without = |zeros: usize| {
        let end = digits.len().checked_sub(zeros).filter(|end| *end > 0)?;
        let (start, zeros) = digits.split_at_checked(end)?;
        zeros.bytes().all(|digit| digit == b'0').then(|| start.parse::<u64>().ok())?
    };
    if let Some(thousandths) = without(15) {
        let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        return format!("{} ether", text.trim_end_matches('0').trim_end_matches('.'));
    }
    match without(9) {
        Some(gwei) => format!("{gwei} gwei"),
        None => format!("{digits} wei"),
    }
}

fn bound(bound: &Bound, wei: bool) -> String {
    let value = if wei { ether(bound.value) } else { bound.value.to_string() };
    compared(bound.comparison, &value)
}

fn compared(comparison: Comparison, value: &str) -> String {
    match comparison {
        Comparison::AtMost => format!("at most {value}"),
        Comparison::AtLeast => format!("at least {value}"),
        Comparison::Equals => format!("exactly {value}"),
    }
}

fn client(key: &[u8; 32]) -> String {
    format!("ed25519:{}", hex::encode(key))
}

fn accounts<'a>(
    list: impl ExactSizeIterator<Item = &'a [u8; 20]>,
) -> impl ExactSizeIterator<Item = String> {
    list.map(|account| Address(*account).to_string())
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn one_of(names: impl ExactSizeIterator<Item = String>) -> String {
    let start = if names.len() > 1 { "one of " } else { "" };
    format!("{start}{}", listed(names))
}

/// A time as people read it, in UTC.
#[must_use]
pub fn moment(seconds: u64) -> String {
    // Beyond year 9999 there is no text.
    if seconds > 253_402_300_799 {
        return "the end of time".to_owned();
    }
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(moment).to_string()
}

fn time(not_before: u64, before: u64) -> String {
    match (not_before, before) {
        (0, u64::MAX) => "it is any time".to_owned(),
        (from, u64::MAX) => format!("it is {} or later", moment(from)),
        (0, until) => format!("it is before {}", moment(until)),
        (from, until) => format!("it is {} or later, and before {}", moment(from), moment(until)),
    }
}

fn schedule(schedule: &Schedule) -> String {
    let days = DAYS.iter().enumerate().filter(|(index, _)| schedule.days >> index & 1 == 1);
    let days: Vec<_> = days.map(|(_, day)| *day).collect();
    let next = if schedule.to <= schedule.from { " of the next day" } else { "" };
    format!(
        "it is {} to {}{next} (UTC{}), beginning on {}",
        time_of_day(schedule.from),
        time_of_day(schedule.to),
        offset(schedule.offset),
        days.join(", ")
    )
}

fn test(test: &Test<'_>) -> String {
    match test {
        Test::Unsigned(bound) => self::bound(bound, false),
        Test::Signed { comparison, value } => compared(*comparison, &signed(value)),
        Test::Address(list) => one_of(accounts(list.iter())),
        Test::Flag(flag) => flag.to_string(),
        Test::Text(text) => format!("a text that {}", matched(text)),
        Test::Bytes(bytes) => format!("0x{}", hex::encode(bytes)),
    }
}

fn matched(text: &TextMatch<'_>) -> String {
    let how = match text.test {
        TextTest::Equals => "is",
        TextTest::StartsWith => "starts with",
        TextTest::EndsWith => "ends with",
        TextTest::Contains => "contains",
        TextTest::Pattern => "has the pattern",
    };
    format!("{how} {:?}", text.text)
}
