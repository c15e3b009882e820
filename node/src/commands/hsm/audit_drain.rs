//! `quorate hsm audit-drain`: the device's own log into this party's audit log.

use std::path::PathBuf;

use clap::Args;
use quorate_hsm::yubihsm::{AuditDrain, Batch, LogEntry};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::init::AUDITOR_PASSWORD;
use super::super::{CommandError, Global};
use super::listed;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{ConfigError, HsmConfig};
use crate::sealing::{SealingError, device, password};
use crate::store::{MAX_AUDIT_PAGE, Store};

#[derive(Args, Debug)]
pub(in crate::commands) struct DrainArgs {
    /// The auditor's password, in a file that you alone may read; left out, yubihsm-auditor.password of the
    /// folder
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Entries in one record: what a record may hold is bounded.
const CHUNK: usize = 32;
const EVENT: &str = "hsm-log";

pub(super) fn audit_drain(global: &Global, args: &DrainArgs) -> Result<(), CommandError> {
    let (place, config) = (global.place(), global.config()?);
    let HsmConfig::Yubihsm { serial, auditor_key, .. } = &config.hsm else {
        let what = "must be yubihsm: only that device keeps a log that can be drained";
        return Err(ConfigError::Field { field: "hsm.backend", what }.into());
    };
    // First, so that nothing is read from the device that could not be kept.
    if !place.store().exists() {
        let what = format!("{} is missing; restore this folder", place.store().display());
        return Err(CommandError::Local(what));
    }
    let store = Store::open(&place.store())?;
    let last = last_stored(&store, *serial)?;
    let own = place.path().join(AUDITOR_PASSWORD);
    let file = args.password_file.clone().or_else(|| own.exists().then_some(own));
    let password = password(file.as_deref(), "password of the auditor's authentication key: ")?;
    let drain = AuditDrain::open(&device(&config.hsm)?, *auditor_key, &password);
    let drain = drain.map_err(SealingError::Hsm)?;
    let batch = drain.read(last.as_ref()).map_err(SealingError::Hsm)?;
    for record in records(*serial, SystemClock.unix().as_secs(), &batch) {
        store.audit_append(record.to_string().into_bytes())?;
    }
    // Only now may the device forget them.
    drain.confirm(&batch).map_err(SealingError::Hsm)?;
    let findings: Vec<String> = batch.findings.iter().map(ToString::to_string).collect();
    let object = json!({
        "serial": serial, "entries": batch.entries.len(), "findings": findings,
        "last": batch.entries.last().or(last.as_ref()).map(|entry| entry.number),
    });
    let text = format!(
        "{} entries of YubiHSM {serial:010} are in this party's audit log, and the device may forget them{}",
        batch.entries.len(),
        listed("to be looked into", &findings),
    );
    global.print(&object, &text);
    Ok(())
}

/// What is read again of a record.
#[derive(Deserialize)]
struct Drained {
    event: String,
    serial: u32,
    entries: Vec<LogEntry>,
}

/// Nothing at all if nothing is new.
fn records(serial: u32, at: u64, batch: &Batch) -> Vec<Value> {
    let record = |entries: &[LogEntry], findings: &[_]| json!({ "event": EVENT, "serial": serial, "entries": entries, "findings": findings, "at": at });
    let mut records = Vec::new();
    if !batch.findings.is_empty() {
        records.push(record(&[], &batch.findings));
    }
    records.extend(batch.entries.chunks(CHUNK).map(|entries| record(entries, &[])));
    records
}

/// The newest entry of that device in the log, looked for from the log's end.
fn last_stored(store: &Store, serial: u32) -> Result<Option<LogEntry>, CommandError> {
    let page = u64::try_from(MAX_AUDIT_PAGE).unwrap_or(1).max(1);
    let mut end = store.audit_head()?.number;
    while end > 0 {
        let from = end.saturating_sub(page) + 1;
        let limit = usize::try_from(end - from + 1).unwrap_or(MAX_AUDIT_PAGE);
        for entry in store.audit(from, limit)?.iter().rev() {
            // Records of other kinds have other fields.
            let Ok(record) = serde_json::from_slice::<Drained>(&entry.record) else { continue };
            if record.event != EVENT || record.serial != serial {
                continue;
            }
            if let Some(last) = record.entries.into_iter().next_back() {
                return Ok(Some(last));
            }
        }
        end = from - 1;
    }
    Ok(None)
}
