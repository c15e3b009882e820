//! JSON to the binary form. Every mistake is named by its JSON path.

mod control;
mod delay;
mod facts;
pub(super) mod fields;
mod limits;
mod payload;
mod place;
mod request;

use quorate_core::policy::FORM;
use quorate_core::policy::condition::kind;
use quorate_core::policy::form::Writer;
use quorate_core::policy::rule::{Kinds, MAX_LIMITS, MAX_NAME, MAX_RULES};
use serde_json::Value;

use super::{PolicyFileError, buffer, value, wrong};
use fields::{Done, array, count, must_be, need, object, only, small, text};
use limits::limit;
use payload::{addresses, argument, bounds, chains, domain, field, functions};
use request::{approvals, keys, schedule, signatures, time};

pub(super) use facts::one_word;

/// A whole policy.
pub(super) fn policy(value: &Value) -> Result<Vec<u8>, PolicyFileError> {
    let fields = object(value, "policy")?;
    only(fields, "policy", &["rules", "controllers"])?;
    let rules = array(fields.get("rules").unwrap_or(&Value::Null), "rules")?;
    let mut buffer = buffer();
    let mut writer = Writer::new(&mut buffer);
    writer.u8(FORM)?;
    control::controllers(&mut writer, fields.get("controllers"))?;
    writer.u8(count(rules, "rules", MAX_RULES)?)?;
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        writer.nested(|writer| self::rule(writer, rule, &path))?;
    }
    Ok(writer.finish().to_vec())
}

fn rule(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["name", "payload", "limits", "when"])?;
    let name = text(need(fields, path, "name")?, &format!("{path}.name"))?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(wrong(format!("{path}.name"), format!("must have 1 to {MAX_NAME} bytes")));
    }
    writer.short(name.as_bytes())?;
    let kinds = match fields.get("payload") {
        None => Kinds::PLAIN,
        Some(names) => kinds(names, &format!("{path}.payload"))?,
    };
    writer.u16(kinds.bits())?;
    let none = Value::Array(Vec::new());
    let limits_path = format!("{path}.limits");
    let limits = array(fields.get("limits").unwrap_or(&none), &limits_path)?;
    if limits.len() > MAX_LIMITS {
        return Err(wrong(limits_path, format!("at most {MAX_LIMITS}")));
    }
    writer.u8(limits.len() as u8)?;
    for (index, value) in limits.iter().enumerate() {
        limit(writer, value, &format!("{limits_path}[{index}]"))?;
    }
    condition(writer, need(fields, path, "when")?, &format!("{path}.when"))
}

fn kinds(value: &Value, path: &str) -> Result<Kinds, PolicyFileError> {
    let mut all: Option<Kinds> = None;
    for (index, name) in array(value, path)?.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(name, &path)?;
        let known = KINDS.iter().find(|(known, _)| *known == name);
        let (_, kinds) = known.ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            wrong(path, format!("{name:?} is no kind of payload; there are {}", names.join(", ")))
        })?;
        all = Some(all.map_or(*kinds, |all| all.with(*kinds)));
    }
    all.ok_or_else(|| wrong(path, "at least one kind is needed"))
}

/// Kinds of payload by name; the first stands for three.
pub(super) const KINDS: [(&str, Kinds); 10] = [
    ("transaction", Kinds::PLAIN),
    ("legacy", Kinds::LEGACY),
    ("access-list", Kinds::ACCESS_LIST),
    ("dynamic-fee", Kinds::DYNAMIC_FEE),
    ("blob", Kinds::BLOB),
    ("set-code", Kinds::SET_CODE),
    ("opaque-transaction", Kinds::OPAQUE_TRANSACTION),
    ("message", Kinds::MESSAGE),
    ("typed-data", Kinds::TYPED_DATA),
    ("raw-digest", Kinds::DIGEST),
];

/// A condition: an object, whose several members must all hold.
fn condition(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    if let Some(name) = fields.keys().find(|name| !MEMBERS.iter().any(|(known, _)| known == name)) {
        let names: Vec<&str> = MEMBERS.iter().map(|(name, _)| *name).collect();
        let what = format!("is no condition; there are {}", names.join(", "));
        return Err(wrong(format!("{path}.{name}"), what));
    }
    let mut parts = Vec::new();
    for (name, write) in MEMBERS {
        let Some(value) = fields.get(*name) else { continue };
        let path = format!("{path}.{name}");
        write(&mut parts, value, &path)?;
    }
    together(writer, &parts, path)
}

/// One condition as it is, several as all of them.
fn together(writer: &mut Writer<'_>, parts: &[Vec<u8>], path: &str) -> Done {
    match parts {
        [] => Err(wrong(path, "a condition is needed")),
        [single] => Ok(writer.raw(single)?),
        several => {
            writer.u8(kind::ALL)?;
            writer.u8(count(several, path, 255)?)?;
            writer.nested(|writer| Ok(several.iter().try_for_each(|part| writer.raw(part))?))
        }
    }
}

/// What a condition's object may have.
pub(super) fn members() -> impl Iterator<Item = &'static str> {
    MEMBERS.iter().map(|(name, _)| *name)
}

type Parts = Vec<Vec<u8>>;
type Member = fn(&mut Parts, &Value, &str) -> Done;

/// The members of a condition, in the order in which they are asked.
const MEMBERS: &[(&str, Member)] = &[
    ("client", |parts, value, path| part(parts, |w| keys(w, kind::CLIENT, None, value, path))),
    ("time", time),
    ("schedule", |parts, value, path| part(parts, |w| schedule(w, value, path))),
    ("chain", |parts, value, path| part(parts, |w| chains(w, value, path))),
    ("to", |parts, value, path| part(parts, |w| addresses(w, kind::RECIPIENT, value, path))),
    ("creates_contract", |parts, value, path| {
        must_be(value, &Value::Bool(true), path)?;
        part(parts, |w| Ok(w.u8(kind::CREATION)?))
    }),
    ("value", |parts, value, path| bounds(parts, kind::VALUE, value, path)),
    ("fee", |parts, value, path| bounds(parts, kind::FEE, value, path)),
    ("function", |parts, value, path| part(parts, |w| functions(w, value, path))),
    ("data", |parts, value, path| {
        must_be(value, &Value::from("none"), path)?;
        part(parts, |w| Ok(w.u8(kind::NO_DATA)?))
    }),
    ("argument", |parts, value, path| each(parts, value, path, argument)),
    ("delegate", |parts, value, path| part(parts, |w| addresses(w, kind::DELEGATE, value, path))),
    ("type", |parts, value, path| {
        let name = text(value, path)?;
        part(parts, |w| {
            w.u8(kind::TYPE)?;
            Ok(w.short(name.as_bytes())?)
        })
    }),
    ("domain", domain),
    ("field", |parts, value, path| each(parts, value, path, field)),
    ("message", |parts, value, path| {
        let tests = value::text_matches(object(value, path)?, path)?;
        tests.iter().try_for_each(|test| tested(parts, &[kind::MESSAGE], test))
    }),
    // After what is said of the request itself: a denial then asks for approvals only where they help.
    ("approvals", approvals),
    ("signatures", signatures),
    // Last of what is asked of the request: what waits in vain should not wait at all.
    ("delay", delay::delay),
    ("all", |parts, value, path| part(parts, |w| group(w, &[kind::ALL], value, path))),
    ("any", |parts, value, path| part(parts, |w| group(w, &[kind::ANY], value, path))),
    ("at_least", at_least),
    ("not", place::not),
    // What must be fetched comes last: it is asked only where it matters.
    ("block", |parts, value, path| each(parts, value, path, facts::block)),
    ("balance", |parts, value, path| each(parts, value, path, facts::balance)),
    ("erc20_balance", |parts, value, path| each(parts, value, path, facts::erc20_balance)),
    ("erc721_owner", |parts, value, path| each(parts, value, path, facts::erc721_owner)),
    ("erc1155_balance", |parts, value, path| each(parts, value, path, facts::erc1155_balance)),
    ("evm_call", |parts, value, path| each(parts, value, path, facts::evm_call)),
    ("http", |parts, value, path| each(parts, value, path, facts::http)),
    ("elsewhere", place::elsewhere),
    // A person is asked only about what everything else allows.
    ("confirm", |parts, value, path| {
        must_be(value, &Value::Bool(true), path)?;
        part(parts, |w| Ok(w.u8(kind::CONFIRM)?))
    }),
];

/// One more condition.
fn part(parts: &mut Parts, write: impl FnOnce(&mut Writer<'_>) -> Done) -> Done {
    let mut buffer = buffer();
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer)?;
    parts.push(writer.finish().to_vec());
    Ok(())
}

/// A start, and a test of a value.
fn tested(parts: &mut Parts, start: &[u8], test: &[u8]) -> Done {
    parts.push([start, test].concat());
    Ok(())
}

/// One, or a list of them.
fn each(parts: &mut Parts, value: &Value, path: &str, one: Member) -> Done {
    match value {
        Value::Array(list) => list
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| one(parts, value, &format!("{path}[{index}]"))),
        single => one(parts, single, path),
    }
}

fn group(writer: &mut Writer<'_>, start: &[u8], value: &Value, path: &str) -> Done {
    let list = array(value, path)?;
    writer.raw(start)?;
    writer.u8(count(list, path, 255)?)?;
    writer.nested(|writer| {
        let mut conditions = list.iter().enumerate();
        conditions
            .try_for_each(|(index, value)| condition(writer, value, &format!("{path}[{index}]")))
    })
}

fn at_least(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["count", "of"])?;
    let of = need(fields, path, "of")?;
    let least = small(need(fields, path, "count")?, &format!("{path}.count"))?;
    if least == 0 || usize::from(least) > array(of, &format!("{path}.of"))?.len() {
        return Err(wrong(format!("{path}.count"), "must be 1 to as many as there are"));
    }
    part(parts, |w| group(w, &[kind::AT_LEAST, least], of, &format!("{path}.of")))
}

pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
