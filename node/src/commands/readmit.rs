//! `quorate readmit`: the operator accepts that this party's folder is older than it was.

use clap::Args;
use quorate_core::policy::Policy;
use serde_json::json;

use super::{CommandError, Global};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{KeyState, Store};

#[derive(Args, Debug)]
pub(super) struct ReadmitArgs {
    /// Accept that what this party counted and logged since is lost
    #[arg(long)]
    accept_loss: bool,
}

pub(super) fn readmit(global: &Global, args: &ReadmitArgs) -> Result<(), CommandError> {
    let (place, config) = (global.place(), global.config()?);
    if !place.store().exists() {
        let what = format!("{} is not there", place.store().display());
        return Err(CommandError::Local(what));
    }
    let store = Store::open(&place.store())?;
    let Some(generation) = store.rolled_back()? else {
        let text = "nothing to do: no peer has shown that this folder is older than it was";
        global.print(&json!({ "party": config.party, "readmitted": false }), text);
        return Ok(());
    };
    if !args.accept_loss {
        return Err(CommandError::Usage(
            "this folder was put back to an earlier state. If there is a newer one, restore that \
             instead. With --accept-loss this party signs again; the limits of all its keys count as \
             fully spent from now on, for as long as their windows are, because what was really spent \
             is not known here"
                .to_owned(),
        ));
    }
    let mut exhausted = Vec::new();
    for row in store.keys()?.into_iter().filter(|row| row.state == KeyState::Active) {
        let policy = Policy::parse(&row.policy)
            .map_err(|error| CommandError::local(&format!("the policy of {}", row.name), error))?;
        for rule in policy.rules() {
            exhausted.extend(rule.limits().map(|limit| {
                let series = limit.series(rule.name);
                (row.key, series, limit.max.to_be_bytes())
            }));
        }
    }
    let now = SystemClock.unix().as_secs();
    let record = json!({ "event": "readmitted", "at": now, "lost_generation": generation });
    let next = store.readmit(generation, &exhausted, now, record.to_string().into_bytes())?;
    let object = json!({
        "party": config.party, "readmitted": true, "generation": next,
        "exhausted_keys": exhausted.len(),
    });
    let text = format!(
        "party {} signs again when it runs: generation {next} of its log begins. {} keys with a limit \
         count as fully spent for one window",
        config.party,
        exhausted.len(),
    );
    global.print(&object, &text);
    Ok(())
}
