//! JSON to the binary form. Every mistake is named by its JSON path.

mod control;

use quorate_core::party::PartyId;
use quorate_core::policy::condition::{Schedule, kind};
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::form::Writer;
use quorate_core::policy::matcher::Kind;
use quorate_core::policy::rule::{Kinds, MAX_LIMITS, MAX_NAME, MAX_RULES, MAX_WINDOW};
use quorate_core::policy::{Amount, FORM};
use serde_json::{Map, Value};

use super::value::{self, Function};
use super::{PolicyFileError, buffer, parse_client, wrong};

type Done = Result<(), PolicyFileError>;
type Fields = Map<String, Value>;

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

fn limit(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    let known = ["measure", "scope", "max", "decimals", "per", "strict"];
    only(fields, path, &known)?;
    let at = |name: &str| format!("{path}.{name}");
    match fields.get("scope").map(|scope| text(scope, &at("scope"))).transpose()? {
        None | Some("rule") => writer.u8(0)?,
        Some("key") => writer.u8(1)?,
        Some(_) => return Err(wrong(at("scope"), "must be \"rule\" or \"key\"")),
    }
    let measure = need(fields, path, "measure")?;
    match measure.as_str() {
        Some("signatures") => writer.u8(0)?,
        Some("spend") => writer.u8(1)?,
        Some("value") => writer.u8(2)?,
        Some(_) => {
            let what = "must be \"signatures\", \"spend\", \"value\" or an argument of a call";
            return Err(wrong(at("measure"), what));
        }
        None => measured_argument(writer, measure, &at("measure"))?,
    }
    let per = text(need(fields, path, "per")?, &at("per"))?;
    writer.raw(&window(per, &at("per"))?.to_be_bytes())?;
    let decimals = value::decimals(fields, path)?;
    let max = value::amount(need(fields, path, "max")?, decimals, &at("max"))?;
    writer.raw(&max.to_be_bytes())?;
    strict(writer, fields.get("strict"), &at("strict"))
}

fn measured_argument(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["contract", "function", "at"])?;
    let contract = address(need(fields, path, "contract")?, &format!("{path}.contract"))?;
    let (function, steps) = place(fields, path)?;
    if Kind::at(&function.parameters(), &steps) != Some(Kind::Unsigned) {
        return Err(wrong(format!("{path}.at"), "is no unsigned number"));
    }
    writer.u8(3)?;
    writer.raw(&contract.0)?;
    writer.raw(&function.selector())?;
    writer.short(function.parameters().as_bytes())?;
    indices(writer, &steps)
}

fn window(text: &str, path: &str) -> Result<u32, PolicyFileError> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| wrong(path, format!("{text:?} is no duration (try \"24h\" or \"7days\")")))?;
    let seconds = u32::try_from(duration.as_secs()).ok();
    seconds
        .filter(|seconds| (1..=MAX_WINDOW).contains(seconds))
        .ok_or_else(|| wrong(path, "must be one second to 30 days"))
}

fn strict(writer: &mut Writer<'_>, value: Option<&Value>, path: &str) -> Done {
    match value {
        None | Some(Value::Bool(false)) => Ok(writer.u8(0)?),
        Some(Value::String(all)) if all == "all" => Ok(writer.u8(2)?),
        Some(value) => {
            let number = value.get("party").and_then(Value::as_u64);
            let party = number.and_then(|number| PartyId::new(u16::try_from(number).ok()?));
            let what = "must be \"all\" or {\"party\": number}";
            writer.u8(1)?;
            Ok(writer.u16(party.ok_or_else(|| wrong(path, what))?.number())?)
        }
    }
}

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
    ("all", |parts, value, path| part(parts, |w| group(w, &[kind::ALL], value, path))),
    ("any", |parts, value, path| part(parts, |w| group(w, &[kind::ANY], value, path))),
    ("at_least", at_least),
    ("not", |parts, value, path| {
        part(parts, |w| {
            w.raw(&[kind::NOT, 1])?;
            w.nested(|w| condition(w, value, path))
        })
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

fn approvals(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["at_least", "of"])?;
    let of = need(fields, path, "of")?;
    let least = small(need(fields, path, "at_least")?, &format!("{path}.at_least"))?;
    let of_path = format!("{path}.of");
    if least == 0 || usize::from(least) > array(of, &of_path)?.len() {
        return Err(wrong(format!("{path}.at_least"), "must be 1 to as many as there are"));
    }
    part(parts, |w| keys(w, kind::APPROVALS, Some(least), of, &of_path))
}

fn keys(writer: &mut Writer<'_>, kind: u8, least: Option<u8>, value: &Value, path: &str) -> Done {
    let keys = sorted(value, path, |value, path| {
        let key = text(value, path).ok().and_then(parse_client);
        key.map(|key| key.0).ok_or_else(|| wrong(path, "no Ed25519 key"))
    })?;
    writer.u8(kind)?;
    least.map_or(Ok(()), |least| writer.u8(least))?;
    Ok(writer.list(&keys)?)
}

fn time(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["not_before", "before"])?;
    let moment = |name: &str, otherwise: u64| {
        let path = format!("{path}.{name}");
        fields.get(name).map_or(Ok(otherwise), |value| value::moment(value, &path))
    };
    let (not_before, before) = (moment("not_before", 0)?, moment("before", u64::MAX)?);
    if not_before >= before {
        return Err(wrong(path, "not_before must be before before"));
    }
    parts.push([&[kind::TIME][..], &not_before.to_be_bytes(), &before.to_be_bytes()].concat());
    Ok(())
}

pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn schedule(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["days", "from", "to", "utc_offset"])?;
    let mut days = 0;
    match fields.get("days") {
        None => days = 0x7f,
        Some(list) => {
            let path = format!("{path}.days");
            for (index, name) in array(list, &path)?.iter().enumerate() {
                let day = DAYS.iter().position(|day| name.as_str() == Some(day));
                let path = format!("{path}[{index}]");
                days |= 1 << day.ok_or_else(|| wrong(path, "must be mon … sun"))?;
            }
        }
    }
    let clock = |name: &str, otherwise: u16| {
        let path = format!("{path}.{name}");
        fields.get(name).map_or(Ok(otherwise), |value| value::clock(value, &path))
    };
    let (from, to) = (clock("from", 0)?, clock("to", 24 * 60)?);
    let offset = match fields.get("utc_offset") {
        None => 0,
        Some(value) => value::offset(value, &format!("{path}.utc_offset"))?,
    };
    let schedule = Schedule { days, from, to, offset };
    if !schedule.is_valid() {
        return Err(wrong(path, "a day, a time of the day or an offset is out of range"));
    }
    writer.raw(&[kind::SCHEDULE, days])?;
    writer.u16(from)?;
    writer.u16(to)?;
    Ok(writer.u16(offset.cast_unsigned())?)
}

fn chains(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let chains = sorted(value, path, |value, path| {
        let chain = value.as_u64().ok_or_else(|| wrong(path, "no chain id"))?;
        Ok(chain.to_be_bytes())
    })?;
    writer.u8(kind::CHAIN)?;
    Ok(writer.list(&chains)?)
}

fn addresses(writer: &mut Writer<'_>, kind: u8, value: &Value, path: &str) -> Done {
    let list = sorted(value, path, |value, path| Ok(address(value, path)?.0))?;
    writer.u8(kind)?;
    Ok(writer.list(&list)?)
}

pub(super) fn address(value: &Value, path: &str) -> Result<Address, PolicyFileError> {
    let address = value.as_str().and_then(Address::from_hex);
    address.ok_or_else(|| wrong(path, "no address, or a wrong checksum"))
}

fn bounds(parts: &mut Parts, kind: u8, value: &Value, path: &str) -> Done {
    for (comparison, amount) in value::bounds(object(value, path)?, path)? {
        parts.push([&[kind, comparison as u8][..], &amount.to_be_bytes()].concat());
    }
    Ok(())
}

fn functions(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let list = sorted(value, path, |value, path| Ok(Function::read(value, path)?.selector()))?;
    writer.u8(kind::FUNCTION)?;
    Ok(writer.list(&list)?)
}

/// A function, and where in its arguments.
fn place(fields: &Fields, path: &str) -> Result<(Function, Vec<u32>), PolicyFileError> {
    let function = need(fields, path, "function")?;
    let function = Function::read(function, &format!("{path}.function"))?;
    let at = need(fields, path, "at")?;
    let path = format!("{path}.at");
    let step = |value: &Value, path: &str| {
        let index = value.as_u64().and_then(|index| u16::try_from(index).ok());
        index.map(u32::from).ok_or_else(|| wrong(path, "must be an index, or a list of them"))
    };
    let steps = match at {
        Value::Array(list) => list.iter().map(|value| step(value, &path)).collect(),
        single => step(single, &path).map(|index| vec![index]),
    }?;
    Ok((function, steps))
}

fn indices(writer: &mut Writer<'_>, steps: &[u32]) -> Done {
    writer.u8(steps.len() as u8)?;
    Ok(steps.iter().try_for_each(|step| writer.u16(*step as u16))?)
}

fn argument(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    let (function, steps) = place(fields, path)?;
    let kind = Kind::at(&function.parameters(), &steps)
        .ok_or_else(|| wrong(format!("{path}.at"), "leads to no single value of the call"))?;
    let mut start = buffer();
    let mut writer = Writer::new(&mut start);
    writer.u8(kind::ARGUMENT)?;
    writer.raw(&function.selector())?;
    writer.short(function.parameters().as_bytes())?;
    indices(&mut writer, &steps)?;
    let start = writer.finish();
    let tests = value::tests(kind, fields, path, &["function", "at"])?;
    tests.iter().try_for_each(|test| tested(parts, start, test))
}

fn domain(parts: &mut Parts, value: &Value, path: &str) -> Done {
    for (name, value) in object(value, path)? {
        let path = format!("{path}.{name}");
        let kind = match name.as_str() {
            "name" | "version" => Kind::Text,
            "chainId" => Kind::Unsigned,
            "verifyingContract" => Kind::Address,
            "salt" => Kind::Bytes,
            _ => return Err(wrong(path, "is no field of a domain (EIP-712)")),
        };
        let start = [&[self::kind::DOMAIN, name.len() as u8][..], name.as_bytes()].concat();
        let tests = value::tests(kind, object(value, &path)?, &path, &[])?;
        tests.iter().try_for_each(|test| tested(parts, &start, test))?;
    }
    Ok(())
}

fn field(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    let at = need(fields, path, "at")?;
    let of_type = text(need(fields, path, "as")?, &format!("{path}.as"))?;
    let kind = value::kind(of_type).ok_or_else(|| {
        wrong(format!("{path}.as"), "must be uint, int, bool, address, text or bytes")
    })?;
    let steps: Vec<Value> = match at {
        Value::Array(list) => list.clone(),
        Value::String(text) => text.split('.').map(Value::from).collect(),
        _ => {
            return Err(wrong(
                format!("{path}.at"),
                "must be a name, or a list of names and indices",
            ));
        }
    };
    let mut start = buffer();
    let mut writer = Writer::new(&mut start);
    writer.u8(self::kind::FIELD)?;
    writer.u8(count(&steps, &format!("{path}.at"), quorate_core::policy::condition::MAX_PATH)?)?;
    for step in &steps {
        match (step.as_str(), step.as_u64().and_then(|index| u16::try_from(index).ok())) {
            (Some(name), _) => {
                writer.u8(0)?;
                writer.short(name.as_bytes())?;
            }
            (None, Some(index)) => {
                writer.u8(1)?;
                writer.u16(index)?;
            }
            (None, None) => {
                return Err(wrong(format!("{path}.at"), "a step is no name and no index"));
            }
        }
    }
    let start = writer.finish();
    let tests = value::tests(kind, fields, path, &["at", "as"])?;
    tests.iter().try_for_each(|test| tested(parts, start, test))
}

fn sorted<const W: usize>(
    value: &Value,
    path: &str,
    one: impl Fn(&Value, &str) -> Result<[u8; W], PolicyFileError>,
) -> Result<Vec<[u8; W]>, PolicyFileError> {
    let list = array(value, path)?;
    let entries = list.iter().enumerate();
    let mut entries = entries
        .map(|(index, value)| one(value, &format!("{path}[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_unstable();
    if entries.is_empty() {
        return Err(wrong(path, "at least one entry is needed"));
    }
    if !entries.is_sorted_by(|a, b| a < b) {
        return Err(wrong(path, "an entry is there twice"));
    }
    Ok(entries)
}

fn must_be(value: &Value, only: &Value, path: &str) -> Done {
    if value == only { Ok(()) } else { Err(wrong(path, format!("must be {only}"))) }
}

fn count<T>(list: &[T], path: &str, most: usize) -> Result<u8, PolicyFileError> {
    let count = u8::try_from(list.len()).ok().filter(|count| usize::from(*count) <= most);
    match count {
        Some(0) => Err(wrong(path, "at least one entry is needed")),
        Some(count) => Ok(count),
        None => Err(wrong(path, format!("at most {most} entries"))),
    }
}

fn small(value: &Value, path: &str) -> Result<u8, PolicyFileError> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number.ok_or_else(|| wrong(path, "must be a small number"))
}

pub(super) fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Fields, PolicyFileError> {
    value.as_object().ok_or_else(|| wrong(path, "must be an object"))
}

fn array<'v>(value: &'v Value, path: &str) -> Result<&'v [Value], PolicyFileError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(path, "must be a list"))
}

pub(super) fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str, PolicyFileError> {
    value.as_str().ok_or_else(|| wrong(path, "must be a text"))
}

fn need<'v>(fields: &'v Fields, path: &str, name: &str) -> Result<&'v Value, PolicyFileError> {
    fields.get(name).ok_or_else(|| wrong(format!("{path}.{name}"), "is missing"))
}

pub(super) fn only(fields: &Fields, path: &str, known: &[&str]) -> Done {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let what = format!("is not known here; there are {}", known.join(", "));
            Err(wrong(format!("{path}.{name}"), what))
        }
    }
}

/// An amount that a bound names.
pub(super) type Bounds = Vec<(quorate_core::policy::matcher::Comparison, Amount)>;
