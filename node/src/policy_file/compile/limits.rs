//! Limits over time.

use quorate_core::party::PartyId;
use quorate_core::policy::form::Writer;
use quorate_core::policy::matcher::Kind;
use quorate_core::policy::rule::MAX_WINDOW;
use serde_json::Value;

use super::fields::{Done, address, need, object, only, text};
use super::payload::{indices, place};
use crate::policy_file::{value, wrong};

pub(super) fn limit(writer: &mut Writer<'_>, value: &Value, path: &str) -> Done {
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
    writer.raw(&value::duration(per, MAX_WINDOW, &at("per"))?.to_be_bytes())?;
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
