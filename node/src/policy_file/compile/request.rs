//! What a rule asks of the request beside its payload: who, and when.

use quorate_core::policy::condition::{Schedule, kind};
use quorate_core::policy::form::Writer;
use serde_json::Value;

use super::fields::{Done, address, array, need, object, only, small, sorted, text};
use super::{DAYS, Parts, part};
use crate::policy_file::{PolicyFileError, parse_client, value, wrong};

pub(super) fn approvals(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let (least, of) = some_of(value, path)?;
    part(parts, |w| keys(w, kind::APPROVALS, Some(least), of, &format!("{path}.of")))
}

pub(super) fn signatures(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let (least, of) = some_of(value, path)?;
    let path = format!("{path}.of");
    let accounts = sorted(of, &path, |value, path| Ok(address(value, path)?.0))?;
    part(parts, |w| {
        w.raw(&[kind::SIGNATURES, least])?;
        Ok(w.list(&accounts)?)
    })
}

/// So many of a list.
fn some_of<'v>(value: &'v Value, path: &str) -> Result<(u8, &'v Value), PolicyFileError> {
    let fields = object(value, path)?;
    only(fields, path, &["at_least", "of"])?;
    let of = need(fields, path, "of")?;
    let least = small(need(fields, path, "at_least")?, &format!("{path}.at_least"))?;
    if least == 0 || usize::from(least) > array(of, &format!("{path}.of"))?.len() {
        return Err(wrong(format!("{path}.at_least"), "must be 1 to as many as there are"));
    }
    Ok((least, of))
}

pub(super) fn keys(
    writer: &mut Writer<'_>,
    kind: u8,
    least: Option<u8>,
    value: &Value,
    path: &str,
) -> Done {
    let keys = sorted(value, path, |value, path| {
        let key = text(value, path).ok().and_then(parse_client);
        key.map(|key| key.0).ok_or_else(|| wrong(path, "no Ed25519 key"))
    })?;
    writer.u8(kind)?;
    least.map_or(Ok(()), |least| writer.u8(least))?;
    Ok(writer.list(&keys)?)
}

pub(super) fn time(parts: &mut Parts, value: &Value, path: &str) -> Done {
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

pub(super) fn schedule(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
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
