//! Where conditions may stand that mean something else elsewhere: refused here by their path.

use quorate_core::policy::condition::kind;
use serde_json::Value;

use super::super::wrong;
use super::fields::Done;
use super::{Parts, condition, part};

/// What a condition within an `elsewhere` may have: groups, and what asks the world.
const OF_THE_WORLD: [&str; 11] = [
    "all",
    "any",
    "at_least",
    "not",
    "block",
    "balance",
    "erc20_balance",
    "erc721_owner",
    "erc1155_balance",
    "evm_call",
    "http",
];

pub(super) fn not(parts: &mut Parts, value: &Value, path: &str) -> Done {
    each_member(value, path, &mut |name, path| {
        let what = match name {
            // It would hold because a record is missing, or because of a veto.
            "delay" => "a delay may not stand within a not",
            "elsewhere" => {
                "an elsewhere may not stand within a not; a not may stand within an elsewhere"
            }
            // It would hold because a person refused.
            "confirm" => "a confirmation may not stand within a not",
            _ => return Ok(()),
        };
        Err(wrong(path, what))
    })?;
    single(parts, kind::NOT, value, path)
}

pub(super) fn elsewhere(parts: &mut Parts, value: &Value, path: &str) -> Done {
    each_member(value, path, &mut |name, path| {
        if OF_THE_WORLD.contains(&name) || !super::members().any(|known| known == name) {
            return Ok(());
        }
        let what = "asks the world nothing, and may not stand within an elsewhere: a device \
                    judges it by itself";
        Err(wrong(path, what))
    })?;
    single(parts, kind::ELSEWHERE, value, path)
}

/// A condition made of one other.
fn single(parts: &mut Parts, kind: u8, value: &Value, path: &str) -> Done {
    part(parts, |writer| {
        writer.raw(&[kind, 1])?;
        writer.nested(|writer| condition(writer, value, path))
    })
}

/// Gives `visit` the members of a condition and of those within, with their paths.
fn each_member(value: &Value, path: &str, visit: &mut dyn FnMut(&str, &str) -> Done) -> Done {
    let Value::Object(fields) = value else { return Ok(()) };
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        visit(name, &path)?;
        match name.as_str() {
            "not" | "elsewhere" => each_member(value, &path, visit)?,
            "all" | "any" => each_of(value, &path, visit)?,
            "at_least" => {
                if let Some(of) = value.get("of") {
                    each_of(of, &format!("{path}.of"), visit)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn each_of(value: &Value, path: &str, visit: &mut dyn FnMut(&str, &str) -> Done) -> Done {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut list = list.iter().enumerate();
    list.try_for_each(|(index, one)| each_member(one, &format!("{path}[{index}]"), visit))
}
