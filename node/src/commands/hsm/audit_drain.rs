//! `quorate hsm audit-drain`: the device's own log into this party's audit log, at any time.

use std::path::PathBuf;

use clap::Args;
use quorate_hsm::yubihsm::AuditDrain;
use serde_json::json;

use super::super::init::AUDITOR_PASSWORD;
use super::super::{CommandError, Global};
use super::listed;
use crate::config::{ConfigError, HsmConfig};
use crate::device_log;
use crate::sealing::{SealingError, device, password};

#[derive(Args, Debug)]
pub(in crate::commands) struct DrainArgs {
    /// The auditor's password, in a file that you alone may read; left out, yubihsm-auditor.password of the
    /// folder
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) fn audit_drain(global: &Global, args: &DrainArgs) -> Result<(), CommandError> {
    let (place, config) = (global.place(), global.config()?);
    let HsmConfig::Yubihsm { serial, auditor_key, .. } = &config.hsm else {
        let what = "must be yubihsm: only that device keeps a log that can be drained";
        return Err(ConfigError::Field { field: "hsm.backend", what }.into());
    };
    // First, so that nothing is read from the device that could not be kept.
    device_log::must_be_the_owner(&place)?;
    if !place.store().exists() {
        let what = format!("{} is missing; restore this folder", place.store().display());
        return Err(CommandError::Local(what));
    }
    let own = place.path().join(AUDITOR_PASSWORD);
    let file = args.password_file.clone().or_else(|| own.exists().then_some(own));
    let password = password(file.as_deref(), "password of the auditor's authentication key: ")?;
    let drain = AuditDrain::open(&device(&config.hsm)?, *auditor_key, &password);
    let drain = drain.map_err(SealingError::Hsm)?;
    let drained = device_log::drain(&place, *serial, &drain)?;
    let findings: Vec<String> = drained.findings.iter().map(ToString::to_string).collect();
    let object = json!({
        "serial": serial, "entries": drained.entries, "findings": findings, "last": drained.last,
        "waiting": drained.waiting,
    });
    let place = match drained.waiting {
        0 => "are in this party's audit log".to_owned(),
        count => format!(
            "are on disk, in {} (batches that wait: {count}): the node takes them into its audit log",
            place.device_log().display()
        ),
    };
    let text = format!(
        "{} entries of YubiHSM {serial:010} {place}, and the device may forget them{}",
        drained.entries,
        listed("to be looked into", &findings),
    );
    global.print(&object, &text);
    Ok(())
}
