//! `quorate hsm rotate-kek` and `quorate hsm destroy-kek`.

use std::io::Write as _;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;

use crate::commands::init::profile;
use crate::commands::{CommandError, Global};
use crate::rotation::{self, Report, Step};

#[derive(Args, Debug)]
pub(in crate::commands) struct RotateArgs {
    /// How the token wraps from now on; left out, the best that it can really do
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct DestroyArgs {
    /// CKA_ID of the old key-encryption key, hexadecimal, as `rotate-kek` named it
    #[arg(long, value_name = "HEX")]
    key_id: String,
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
    let report = rotation::rotate(&place, profile, &mut progress)?;
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
    text.push_str(&format!(
        "\nNothing was destroyed: {from} is still there, and opens copies of this folder from before. Back \
         up the HSM and this folder; then, to end that: quorate hsm destroy-kek --key-id {from_id}"
    ));
    text
}

pub(super) fn destroy(global: &Global, args: &DestroyArgs) -> Result<(), CommandError> {
    let id = args.key_id.to_lowercase();
    let key_id = hex::decode(&id)
        .map_err(|_| CommandError::Usage("--key-id must be hexadecimal".to_owned()))?;
    if !args.yes {
        return Err(CommandError::Usage(format!(
            "KEK {id} would be gone for good: no copy of this folder from before the rotation could ever \
             be opened again, by you or by a thief, and so nobody could put this node back to such a \
             copy. See that the HSM and this folder are backed up since, then say --yes"
        )));
    }
    let destroyed = rotation::destroy(&global.place(), &key_id)?;
    let object = json!({ "event": "kek-destroyed", "key_id": id, "destroyed": destroyed });
    let text = format!(
        "destroyed KEK {id}: {}\ncopies of this folder from before the rotation never open again",
        destroyed.join(", ")
    );
    global.print(&object, &text);
    Ok(())
}
