//! `"delay": {"for": "24h", "veto": ["ed25519:…"]}`.

use quorate_core::policy::condition::kind;
use quorate_core::policy::{MAX_DELAY, MAX_VETOERS};
use serde_json::Value;

use super::super::{PolicyFileError, parse_client, wrong};
use super::fields::{Done, array, need, object, only, sorted, text};
use super::{Parts, part};

pub(super) fn delay(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    only(fields, path, &["for", "veto"])?;
    let for_path = format!("{path}.for");
    let seconds = seconds(text(need(fields, path, "for")?, &for_path)?, &for_path)?;
    let vetoers = match fields.get("veto") {
        None => Vec::new(),
        Some(list) => vetoers(list, &format!("{path}.veto"))?,
    };
    part(parts, |writer| {
        writer.u8(kind::DELAY)?;
        writer.raw(&seconds.to_be_bytes())?;
        Ok(writer.list(&vetoers)?)
    })
}

fn seconds(text: &str, path: &str) -> Result<u32, PolicyFileError> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| wrong(path, format!("{text:?} is no duration (try \"24h\" or \"7days\")")))?;
    let whole = duration.subsec_nanos() == 0;
    let seconds = u32::try_from(duration.as_secs()).ok();
    seconds
        .filter(|seconds| whole && (1..=MAX_DELAY).contains(seconds))
        .ok_or_else(|| wrong(path, "must be one second to 30 days, in whole seconds"))
}

fn vetoers(list: &Value, path: &str) -> Result<Vec<[u8; 32]>, PolicyFileError> {
    match array(list, path)?.len() {
        0 => Ok(Vec::new()),
        1..=MAX_VETOERS => sorted(list, path, |value, path| {
            let key = value.as_str().and_then(parse_client);
            key.map(|key| key.0).ok_or_else(|| wrong(path, "no Ed25519 key"))
        }),
        _ => Err(wrong(path, format!("at most {MAX_VETOERS} vetoers"))),
    }
}
