//! What a rule asks of the payload.

use quorate_core::policy::condition::{MAX_PATH, kind};
use quorate_core::policy::form::Writer;
use quorate_core::policy::matcher::Kind;
use serde_json::Value;

use super::fields::{Done, Fields, address, count, need, object, sorted, text};
use super::{Parts, tested};
use crate::policy_file::value::{self, Function};
use crate::policy_file::{PolicyFileError, buffer, wrong};

pub(super) fn chains(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let chains = sorted(value, path, |value, path| {
        let chain = value.as_u64().ok_or_else(|| wrong(path, "no chain id"))?;
        Ok(chain.to_be_bytes())
    })?;
    writer.u8(kind::CHAIN)?;
    Ok(writer.list(&chains)?)
}

pub(super) fn addresses(writer: &mut Writer<'_>, kind: u8, value: &Value, path: &str) -> Done {
    let list = sorted(value, path, |value, path| Ok(address(value, path)?.0))?;
    writer.u8(kind)?;
    Ok(writer.list(&list)?)
}

pub(super) fn bounds(parts: &mut Parts, kind: u8, value: &Value, path: &str) -> Done {
    for (comparison, amount) in value::bounds(object(value, path)?, path)? {
        parts.push([&[kind, comparison as u8][..], &amount.to_be_bytes()].concat());
    }
    Ok(())
}

pub(super) fn functions(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
    let list = sorted(value, path, |value, path| Ok(Function::read(value, path)?.selector()))?;
    writer.u8(kind::FUNCTION)?;
    Ok(writer.list(&list)?)
}

/// A function, and where in its arguments.
pub(super) fn place(fields: &Fields, path: &str) -> Result<(Function, Vec<u32>), PolicyFileError> {
    let function = need(fields, path, "function")?;
    let function = Function::read(function, &format!("{path}.function"))?;
    let steps = steps(need(fields, path, "at")?, &format!("{path}.at"))?;
    Ok((function, steps))
}

/// An index, or a list of them.
pub(super) fn steps(at: &Value, path: &str) -> Result<Vec<u32>, PolicyFileError> {
    let step = |value: &Value| {
        let index = value.as_u64().and_then(|index| u16::try_from(index).ok());
        index.map(u32::from).ok_or_else(|| wrong(path, "must be an index, or a list of them"))
    };
    let steps: Vec<u32> = match at {
        Value::Array(list) => list.iter().map(step).collect::<Result<_, _>>()?,
        single => vec![step(single)?],
    };
    if steps.is_empty() || steps.len() > MAX_PATH {
        return Err(wrong(path, format!("must have 1 to {MAX_PATH} indices")));
    }
    Ok(steps)
}

pub(super) fn indices(writer: &mut Writer<'_>, steps: &[u32]) -> Done {
    writer.u8(steps.len() as u8)?;
    Ok(steps.iter().try_for_each(|step| writer.u16(*step as u16))?)
}

pub(super) fn argument(parts: &mut Parts, value: &Value, path: &str) -> Done {
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

pub(super) fn domain(parts: &mut Parts, value: &Value, path: &str) -> Done {
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

pub(super) fn field(parts: &mut Parts, value: &Value, path: &str) -> Done {
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
    writer.u8(count(&steps, &format!("{path}.at"), MAX_PATH)?)?;
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
