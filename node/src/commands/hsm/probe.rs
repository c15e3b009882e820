//! `quorate hsm probe`: what a token can really do.

use clap::Args;
use quorate_hsm::pkcs11::{self, Capabilities};
use quorate_hsm::yubihsm;
use serde_json::{Value, json};

use super::super::{CommandError, Global};
use super::TokenArgs;
use crate::sealing::SealingError;

#[derive(Args, Debug)]
pub(in crate::commands) struct ProbeArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// The connector of a YubiHSM 2, instead of a token: what the device says without a password
    #[arg(long, value_name = "URL", conflicts_with_all = ["module", "token", "token_serial", "uri"])]
    connector: Option<String>,
}

pub(super) fn probe(global: &Global, args: &ProbeArgs) -> Result<(), CommandError> {
    if let Some(connector) = &args.connector {
        return device(global, connector);
    }
    let location = args.token.location()?;
    let found = pkcs11::probe(&location, args.token.pin(global)?).map_err(SealingError::Hsm)?;
    global.print(&object(&found), &text(&found));
    Ok(())
}

/// A device says nothing of what its keys may do before somebody has a key: `quorate init` tries that.
fn device(global: &Global, connector: &str) -> Result<(), CommandError> {
    let about = yubihsm::about(connector).map_err(SealingError::Hsm)?;
    let (serial, [major, minor, patch]) = (about.serial, about.firmware);
    let firmware = format!("{major}.{minor}.{patch}");
    let object = json!({
        "serial": serial, "firmware": firmware, "log_used": about.log_used,
        "log_room": about.log_room,
    });
    let text = format!(
        "device    YubiHSM {serial:010}, firmware {firmware}, as whoever answers at {connector} says: nothing proves it\nlog       {} of {} entries are not drained\nnext      `quorate init --hsm yubihsm --serial {serial} …` makes the keys, and tries with them what must work and what must be refused",
        about.log_used, about.log_room
    );
    global.print(&object, &text);
    Ok(())
}

fn object(found: &Capabilities) -> Value {
    let profiles = found.profiles.iter().map(|trial| {
        json!({
            "profile": trial.profile, "works": trial.works(), "refused": trial.refused,
            "tag_enforced": trial.tag_enforced, "aad_enforced": trial.aad_enforced,
            "note": trial.note,
        })
    });
    let identities = found.identities.iter().map(
        |(curve, refused)| json!({ "curve": curve, "works": refused.is_none(), "refused": refused }),
    );
    let choice = found.choice().map(|(profile, why)| json!({ "profile": profile, "why": why }));
    json!({
        "token": found.token, "manufacturer": found.manufacturer, "firmware": found.firmware,
        "session_keys": found.session_keys, "pin": found.pin,
        "profiles": profiles.collect::<Vec<_>>(), "identities": identities.collect::<Vec<_>>(),
        "choice": choice,
    })
}

fn text(found: &Capabilities) -> String {
    let verdict = |refused: &Option<String>, note: &Option<String>| match (refused, note) {
        (Some(why), _) => format!("no: {why}"),
        (None, Some(note)) => format!("works ({note})"),
        (None, None) => "works".to_owned(),
    };
    let mut lines = vec![
        format!("token     {}", found.token),
        format!("made by   {}, firmware {}", found.manufacturer, found.firmware),
        format!("PIN       {}", pin_words(found)),
        "sealing   each way was tried with keys that are gone now, better ways first:".to_owned(),
    ];
    for trial in &found.profiles {
        let name = super::profile_name(trial.profile);
        lines.push(format!("  {name:<12} {}", verdict(&trial.refused, &trial.note)));
    }
    lines.push("identity  keys inside the token:".to_owned());
    for (curve, refused) in &found.identities {
        lines.push(format!("  {:<12} {}", curve.to_string(), verdict(refused, &None)));
    }
    if !found.session_keys {
        lines.push(
            "note      this token has no keys for one session: the trial made and destroyed token keys"
                .to_owned(),
        );
    }
    lines.push(match found.choice() {
        Some((profile, why)) => format!("choice    {profile}: {why}"),
        None => "choice    none: this token cannot seal shares in any way that we would rely on"
            .to_owned(),
    });
    lines.join("\n")
}

/// What the token said of its PIN before this login, which it accepted.
fn pin_words(found: &Capabilities) -> String {
    let pin = found.pin;
    let flags = [
        (pin.locked, "locked"),
        (pin.final_try, "one more wrong one would have locked it"),
        (pin.count_low, "a wrong one was tried since the last right one"),
        (pin.to_be_changed, "must be changed first"),
    ];
    let raised: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
    if raised.is_empty() {
        "accepted; nobody was wrong before".to_owned()
    } else {
        format!("accepted; before: {}", raised.join("; "))
    }
}
