//! Reading JSON: each complains with the path of what is wrong.

use quorate_core::policy::ethereum::Address;
use serde_json::{Map, Value};

use crate::policy_file::{PolicyFileError, wrong};

pub(in crate::policy_file) type Done = Result<(), PolicyFileError>;
pub(in crate::policy_file) type Fields = Map<String, Value>;

pub(in crate::policy_file) fn sorted<const W: usize>(
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

pub(in crate::policy_file) fn must_be(value: &Value, only: &Value, path: &str) -> Done {
    if value == only { Ok(()) } else { Err(wrong(path, format!("must be {only}"))) }
}

pub(in crate::policy_file) fn count<T>(
    list: &[T],
    path: &str,
    most: usize,
) -> Result<u8, PolicyFileError> {
    let count = u8::try_from(list.len()).ok().filter(|count| usize::from(*count) <= most);
    match count {
        Some(0) => Err(wrong(path, "at least one entry is needed")),
        Some(count) => Ok(count),
        None => Err(wrong(path, format!("at most {most} entries"))),
    }
}

pub(in crate::policy_file) fn small(value: &Value, path: &str) -> Result<u8, PolicyFileError> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number.ok_or_else(|| wrong(path, "must be a small number"))
}

pub(in crate::policy_file) fn object<'v>(
    value: &'v Value,
    path: &str,
) -> Result<&'v Fields, PolicyFileError> {
    value.as_object().ok_or_else(|| wrong(path, "must be an object"))
}

pub(in crate::policy_file) fn array<'v>(
    value: &'v Value,
    path: &str,
) -> Result<&'v [Value], PolicyFileError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(path, "must be a list"))
}

pub(in crate::policy_file) fn text<'v>(
    value: &'v Value,
    path: &str,
) -> Result<&'v str, PolicyFileError> {
    value.as_str().ok_or_else(|| wrong(path, "must be a text"))
}

pub(in crate::policy_file) fn need<'v>(
    fields: &'v Fields,
    path: &str,
    name: &str,
) -> Result<&'v Value, PolicyFileError> {
    fields.get(name).ok_or_else(|| wrong(format!("{path}.{name}"), "is missing"))
}

pub(in crate::policy_file) fn only(fields: &Fields, path: &str, known: &[&str]) -> Done {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let what = format!("is not known here; there are {}", known.join(", "));
            Err(wrong(format!("{path}.{name}"), what))
        }
    }
}

pub(in crate::policy_file) fn address(
    value: &Value,
    path: &str,
) -> Result<Address, PolicyFileError> {
    let address = value.as_str().and_then(Address::from_hex);
    address.ok_or_else(|| wrong(path, "no address, or a wrong checksum"))
}
