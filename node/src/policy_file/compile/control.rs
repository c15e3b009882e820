//! Who may change the policy: `controllers`, beside the rules.

use quorate_core::policy::control::{MAX_CONTROLLERS, MAX_DELAY, MAX_SIGNATURES};
use quorate_core::policy::form::Writer;
use serde_json::Value;

use super::fields::{Done, array, need, object, only, small, sorted, text};
use crate::policy_file::{parse_client, wrong};

/// One zero byte if nobody may.
pub(super) fn controllers(writer: &mut Writer<'_>, value: Option<&Value>) -> Done {
    let path = "controllers";
    let Some(value) = value else { return Ok(writer.u8(0)?) };
    let fields = object(value, path)?;
    only(fields, path, &["at_least", "of", "delay", "freeze_at_least"])?;
    let at = |name: &str| format!("{path}.{name}");
    let of = need(fields, path, "of")?;
    if array(of, &at("of"))?.len() > MAX_CONTROLLERS {
        return Err(wrong(at("of"), format!("at most {MAX_CONTROLLERS} entries")));
    }
    let of = sorted(of, &at("of"), |value, path| {
        let key = parse_client(text(value, path)?);
        key.map(|key| key.0).ok_or_else(|| wrong(path, "is no ed25519 key"))
    })?;
    let at_least = small(need(fields, path, "at_least")?, &at("at_least"))?;
    if !(1..=of.len().min(MAX_SIGNATURES)).contains(&usize::from(at_least)) {
        let what = format!("must be 1 to as many as are listed, and at most {MAX_SIGNATURES}");
        return Err(wrong(at("at_least"), what));
    }
    let freeze = match fields.get("freeze_at_least") {
        None => at_least,
        Some(value) => small(value, &at("freeze_at_least"))?,
    };
    if !(1..=at_least).contains(&freeze) {
        return Err(wrong(at("freeze_at_least"), "must be 1 to at_least"));
    }
    let delay = match fields.get("delay") {
        None => 0,
        Some(value) => delay(text(value, &at("delay"))?, &at("delay"))?,
    };
    writer.u8(at_least)?;
    writer.u8(freeze)?;
    writer.raw(&delay.to_be_bytes())?;
    Ok(writer.list(&of)?)
}

fn delay(text: &str, path: &str) -> Result<u32, crate::policy_file::PolicyFileError> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| wrong(path, format!("{text:?} is no duration (try \"24h\" or \"7days\")")))?;
    let seconds = u32::try_from(duration.as_secs()).ok();
    seconds
        .filter(|seconds| *seconds <= MAX_DELAY)
        .ok_or_else(|| wrong(path, "must be at most 30 days"))
}
