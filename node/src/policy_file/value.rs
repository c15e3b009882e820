//! Single values: amounts, times, functions, and tests of what a payload holds.

use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::abi::{Signature, Types};
use quorate_core::policy::form::Writer;
use quorate_core::policy::matcher::{Comparison, Kind, TextTest};
use serde_json::{Map, Value};

use super::compile::fields::{address, only, text};
use super::{PolicyFileError, buffer, parse_amount, parse_decimal, wrong};

type Fields = Map<String, Value>;

/// Amounts that bounds name.
pub(super) type Bounds = Vec<(Comparison, Amount)>;

pub(super) const COMPARISONS: [(&str, Comparison); 3] = [
    ("at_most", Comparison::AtMost),
    ("at_least", Comparison::AtLeast),
    ("equals", Comparison::Equals),
];

const TEXT_TESTS: [(&str, TextTest); 5] = [
    ("equals", TextTest::Equals),
    ("starts_with", TextTest::StartsWith),
    ("ends_with", TextTest::EndsWith),
    ("contains", TextTest::Contains),
    ("pattern", TextTest::Pattern),
];

/// A function: its selector, and its parameters.
pub(super) struct Function(Signature);

impl Function {
    /// `transfer(address,uint256)`, or with the selector in the name's place:
    /// `0xa9059cbb(address,uint256)`.
    pub(super) fn read(value: &Value, path: &str) -> Result<Self, PolicyFileError> {
        let signature = text(value, path)?;
        let wrong = |what: &dyn std::fmt::Display| {
            wrong(path, format!("{signature:?}: {what} (try \"transfer(address,uint256)\")"))
        };
        let Some(rest) = signature.strip_prefix("0x") else {
            return Signature::parse(signature).map(Self).map_err(|error| wrong(&error));
        };
        let (digits, types) = rest.split_at_checked(8).ok_or_else(|| wrong(&"no selector"))?;
        let mut function = Signature::parse(&format!("f{types}")).map_err(|error| wrong(&error))?;
        hex::decode_to_slice(digits, &mut function.selector).map_err(|_| wrong(&"no selector"))?;
        Ok(Self(function))
    }

    pub(super) fn selector(&self) -> [u8; 4] {
        self.0.selector
    }

    pub(super) fn parameters(&self) -> Types<'_> {
        self.0.types()
    }
}

/// The type that a typed-data field is said to have.
pub(super) fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "uint" => Kind::Unsigned,
        "int" => Kind::Signed,
        "bool" => Kind::Flag,
        "address" => Kind::Address,
        "text" => Kind::Text,
        "bytes" => Kind::Bytes,
        _ => return None,
    })
}

/// The digits behind the point of a token's amounts; none says that amounts are plain, or in ether.
pub(super) fn decimals(fields: &Fields, path: &str) -> Result<Option<usize>, PolicyFileError> {
    let Some(value) = fields.get("decimals") else { return Ok(None) };
    let decimals = value.as_u64().filter(|decimals| *decimals <= 77);
    let what = "must be 0 to 77";
    decimals
        .map(|decimals| Some(decimals as usize))
        .ok_or_else(|| wrong(format!("{path}.decimals"), what))
}

/// A number or a text: decimal, with a unit of ether if there are no decimals, or hexadecimal.
pub(super) fn amount(
    value: &Value,
    decimals: Option<usize>,
    path: &str,
) -> Result<Amount, PolicyFileError> {
    let wanted = || wrong(path, format!("{value} is no amount (try \"0.1 ether\")"));
    if let Some(number) = value.as_u64() {
        return match decimals {
            Some(decimals) => parse_decimal(&number.to_string(), decimals).ok_or_else(wanted),
            None => Ok(Amount::from_u128(number.into())),
        };
    }
    let text = value.as_str().ok_or_else(wanted)?;
    let amount = match (text.strip_prefix("0x"), decimals) {
        (Some(digits), None) => hexadecimal(digits),
        (None, Some(decimals)) => parse_decimal(text.trim(), decimals),
        (None, None) => parse_amount(text),
        (Some(_), Some(_)) => None,
    };
    amount.ok_or_else(wanted)
}

fn hexadecimal(digits: &str) -> Option<Amount> {
    let even = format!("{}{digits}", if digits.len().is_multiple_of(2) { "" } else { "0" });
    if digits.is_empty() {
        return None;
    }
    Amount::from_be_slice(&hex::decode(even).ok()?)
}

/// Bounds on an amount in wei.
pub(super) fn bounds(fields: &Fields, path: &str) -> Result<Bounds, PolicyFileError> {
    only(fields, path, &["at_most", "at_least", "equals", "decimals"])?;
    let decimals = decimals(fields, path)?;
    let mut bounds = Vec::new();
    for (name, comparison) in COMPARISONS {
        if let Some(value) = fields.get(name) {
            bounds.push((comparison, amount(value, decimals, &format!("{path}.{name}"))?));
        }
    }
    if bounds.is_empty() {
        return Err(wrong(path, "needs at_most, at_least or equals"));
    }
    Ok(bounds)
}

/// Tests of a value of that type, each in the binary form. `beside` are members that are no tests.
pub(super) fn tests(
    kind: Kind,
    fields: &Fields,
    path: &str,
    beside: &[&str],
) -> Result<Vec<Vec<u8>>, PolicyFileError> {
    let mut own = fields.clone();
    own.retain(|name, _| !beside.contains(&name.as_str()));
    match kind {
        Kind::Unsigned => {
            let bounds = bounds(&own, path)?.into_iter();
            let test = |(comparison, amount): (Comparison, Amount)| {
                [&[0, comparison as u8][..], &amount.to_be_bytes()].concat()
            };
            Ok(bounds.map(test).collect())
        }
        Kind::Signed => signed(&own, path),
        Kind::Address => one(&own, path, "in", |value, path| {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut list = list
                .iter()
                .enumerate()
                .map(|(index, value)| Ok(address(value, &format!("{path}[{index}]"))?.0))
                .collect::<Result<Vec<_>, PolicyFileError>>()?;
            list.sort_unstable();
            list.dedup();
            let mut buffer = buffer();
            let mut writer = Writer::new(&mut buffer);
            writer.u8(2)?;
            writer.list(&list)?;
            Ok(writer.finish().to_vec())
        }),
        Kind::Flag => one(&own, path, "equals", |value, path| {
            let flag = value.as_bool().ok_or_else(|| wrong(path, "must be true or false"))?;
            Ok(vec![3, u8::from(flag)])
        }),
        Kind::Text => {
            let tests = text_matches(&own, path)?.into_iter();
            Ok(tests.map(|test| [&[4][..], &test].concat()).collect())
        }
        Kind::Bytes => one(&own, path, "equals", |value, path| {
            let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
            let bytes = digits.and_then(|digits| hex::decode(digits).ok());
            let bytes = bytes.filter(|bytes| bytes.len() <= 255);
            let bytes = bytes.ok_or_else(|| wrong(path, "must be 0x and up to 255 bytes"))?;
            Ok([&[5, bytes.len() as u8][..], &bytes].concat())
        }),
    }
}

fn one(
    fields: &Fields,
    path: &str,
    name: &str,
    read: impl Fn(&Value, &str) -> Result<Vec<u8>, PolicyFileError>,
) -> Result<Vec<Vec<u8>>, PolicyFileError> {
    only(fields, path, &[name])?;
    let path = format!("{path}.{name}");
    let value = fields.get(name).ok_or_else(|| wrong(&*path, "is missing"))?;
    Ok(vec![read(value, &path)?])
}

fn signed(fields: &Fields, path: &str) -> Result<Vec<Vec<u8>>, PolicyFileError> {
    only(fields, path, &["at_most", "at_least", "equals", "decimals"])?;
    let decimals = decimals(fields, path)?;
    let mut tests = Vec::new();
    for (name, comparison) in COMPARISONS {
        let Some(value) = fields.get(name) else { continue };
        let path = format!("{path}.{name}");
        let number = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let number = twos_complement(&number, decimals.unwrap_or(0));
        let number = number.ok_or_else(|| wrong(path, format!("{value} is no signed number")))?;
        tests.push([&[1, comparison as u8][..], &number].concat());
    }
    if tests.is_empty() {
        return Err(wrong(path, "needs at_most, at_least or equals"));
    }
    Ok(tests)
}

/// −2^255 to 2^255 − 1, of so many digits behind the point.
pub(super) fn twos_complement(text: &str, decimals: usize) -> Option<[u8; 32]> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut bytes = parse_decimal(digits, decimals)?.to_be_bytes();
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
        // Minus zero is zero; below −2^255 the sign is lost.
        let zero = bytes.iter().all(|byte| *byte == 0);
        return (zero || bytes.first()? & 0x80 != 0).then_some(bytes);
    }
    (bytes.first()? & 0x80 == 0).then_some(bytes)
}

/// Tests of a text, each in the binary form.
pub(super) fn text_matches(fields: &Fields, path: &str) -> Result<Vec<Vec<u8>>, PolicyFileError> {
    only(fields, path, &["equals", "starts_with", "ends_with", "contains", "pattern"])?;
    let mut tests = Vec::new();
    for (name, test) in TEXT_TESTS {
        let Some(value) = fields.get(name) else { continue };
        let path = format!("{path}.{name}");
        let text = text(value, &path)?;
        if text.is_empty() || text.len() > 255 {
            return Err(wrong(path, "must have 1 to 255 bytes"));
        }
        tests.push([&[test as u8, text.len() as u8][..], text.as_bytes()].concat());
    }
    if tests.is_empty() {
        return Err(wrong(path, "needs equals, starts_with, ends_with, contains or pattern"));
    }
    Ok(tests)
}

/// Unix seconds, or a time as RFC 3339 has it, in UTC.
pub(super) fn moment(value: &Value, path: &str) -> Result<u64, PolicyFileError> {
    let read = |text: &str| {
        let moment = humantime::parse_rfc3339(text).ok()?;
        moment.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
    };
    let moment = value.as_u64().or_else(|| value.as_str().and_then(read));
    moment.ok_or_else(|| wrong(path, "is no time (try \"2027-01-31T12:00:00Z\")"))
}

/// `24h`, in seconds: one, up to so many.
pub(super) fn duration(text: &str, most: u32, path: &str) -> Result<u32, PolicyFileError> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| wrong(path, format!("{text:?} is no duration (try \"24h\" or \"7days\")")))?;
    let seconds = u32::try_from(duration.as_secs()).ok();
    seconds
        .filter(|seconds| (1..=most).contains(seconds))
        .ok_or_else(|| wrong(path, format!("must be one second to {} days", most / 86_400)))
}

/// `09:30`, in minutes from midnight.
pub(super) fn clock(value: &Value, path: &str) -> Result<u16, PolicyFileError> {
    let read = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let digits = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok())?;
        let (hours, minutes) = (digits(hours)?, digits(minutes)?);
        (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
    };
    value
        .as_str()
        .and_then(read)
        .ok_or_else(|| wrong(path, "is no time of the day (try \"09:30\")"))
}

/// `+01:00`, in minutes.
pub(super) fn offset(value: &Value, path: &str) -> Result<i16, PolicyFileError> {
    let no_offset = || wrong(path, "is no offset from UTC (try \"+01:00\")");
    let text = value.as_str().ok_or_else(no_offset)?;
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(no_offset()),
    };
    let minutes = clock(&Value::from(rest), path).map_err(|_| no_offset())?;
    Ok(sign * minutes.cast_signed())
}
