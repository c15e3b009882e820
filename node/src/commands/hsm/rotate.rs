//! `quorate hsm rotate-kek` and `quorate hsm destroy-kek`.

use std::io::Write as _;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;

use crate::commands::init::{AdministratorArgs, profile};
use crate::commands::{CommandError, Global};
use crate::rotation::{self, Report, Step, Wanted};

#[derive(Args, Debug)]
pub(in crate::commands) struct RotateArgs {
    /// How the HSM wraps from now on; left out, the best that a token can really do, and as before in a
    /// YubiHSM
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    #[command(flatten)]
    administrator: AdministratorArgs,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct DestroyArgs {
    /// The old key-encryption key, hexadecimal, as `rotate-kek` named it: its CKA_ID, or its identifier in
    /// the YubiHSM
    #[arg(long, value_name = "HEX")]
    key_id: String,
    #[command(flatten)]
    administrator: AdministratorArgs,
    /// Accept that copies of this folder from before the rotation never open again
    #[arg(long)]
    yes: bool,
}

pub(super) fn rotate(global: &Global, args: &RotateArgs) -> Result<(), CommandError> {
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let place = global.place();
    let mut count = 0;
    let mut progress = |step: &Step| {
        let line = match step {
            Step::Made => "the new key-encryption key is made".to_owned(),
            Step::Moved { name, already } => {
                count += 1;
                let what = if *already { "is under it already" } else { "re-wrapped" };
                format!("{count:>6}  {name}: {what}")
            }
            Step::Verified => "everything opens under it".to_owned(),
            Step::Planned | Step::Stored | Step::Configured | Step::Recorded => String::new(),
        };
        if !global.json && !line.is_empty() {
            // A reader that went away is no error of ours.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        ControlFlow::Continue(())
    };
    let wanted = Wanted { profile, administrator: args.administrator.access() };
    let report = rotation::rotate(&place, &wanted, &mut progress)?;
    let mut object = serde_json::to_value(&report).unwrap_or_default();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("event".to_owned(), json!("kek-rotated"));
    }
    global.print(&object, &text(&report));
    Ok(())
}

fn text(report: &Report) -> String {
    let Report { from, from_id, to, rewrapped, skipped, shares, .. } = report;
    let mut text = format!(
        "rotated   {from} -> {to}\nblobs     {rewrapped} re-wrapped, {skipped} were there already ({shares} shares)"
    );
    for line in &report.report {
        text.push_str(&format!("\n  {line}"));
    }
    for left in &report.leftover {
        let objects = left.objects.join(", ");
        text.push_str(&format!(
            "\nleft over {}: a rotation that was cut off made it, nothing is sealed under it ({objects}); to get rid of it: {}",
            left.name, left.remedy
        ));
    }
    let by = if from.starts_with("yubihsm:") { " --admin-auth-key ID" } else { "" };
    text.push_str(&format!(
        "\nNothing was destroyed: {from} is still there, and opens copies of this folder from before. Back \
         up the HSM and this folder; then, to end that: quorate hsm destroy-kek --key-id {from_id}{by}"
    ));
    text
}

pub(super) fn destroy(global: &Global, args: &DestroyArgs) -> Result<(), CommandError> {
    let id = args.key_id.to_lowercase();
    // As the vendor's tools write it.
    let id = id.strip_prefix("0x").map_or_else(|| id.clone(), |digits| format!("{digits:0>4}"));
    let key_id = hex::decode(&id)
        .map_err(|_| CommandError::Usage("--key-id must be hexadecimal".to_owned()))?;
    if !args.yes {
        return Err(CommandError::Usage(format!(
            "KEK {id} would be gone for good: no copy of this folder from before the rotation could ever \
             be opened again, by you or by a thief, and so nobody could put this node back to such a \
             copy. See that the HSM and this folder are backed up since, then say --yes"
        )));
    }
    let destroyed =
        rotation::destroy(&global.place(), &key_id, args.administrator.access().as_ref())?;
    let object = json!({ "event": "kek-destroyed", "key_id": id, "destroyed": destroyed });
    let text = format!(
        "destroyed KEK {id}: {}\ncopies of this folder from before the rotation never open again",
        destroyed.join(", ")
    );
    global.print(&object, &text);
    Ok(())
}
