//! `quorate status`: how the running node is.

use super::{CommandError, Global};
use crate::clock::utc;

pub(super) fn status(global: &Global) -> Result<(), CommandError> {
    let status = global.client()?.status()?;
    let object = serde_json::to_value(&status).unwrap_or_default();
    let signed = status.signed_head.as_ref().map_or_else(
        || "no head is signed by the identity key yet".to_owned(),
        |head| {
            let (number, time) = (head.number, utc(head.time));
            let by: Vec<String> = status.countersigned_by.iter().map(ToString::to_string).collect();
            let by = match by.is_empty() {
                true => "nobody has countersigned it yet".to_owned(),
                false => format!("countersigned by parties {}", by.join(", ")),
            };
            format!("the identity key signed its head at entry {number}, on {time}; {by}")
        },
    );
    let mut text = format!(
        "party     {} ({}), quorate {}\nnetwork   {}\nmembers   {}\nsealed by {}\nlistens   {}\nkeys      {}, open shares {}, open sessions {}\naudit     {} entries, {}\npeers",
        status.party,
        status.name,
        status.version,
        status.network,
        status.membership,
        status.hsm,
        status.address,
        status.keys,
        status.open_shares,
        status.sessions,
        status.audit_entries,
        signed,
    );
    let calls = &status.hsm_calls;
    if let (Some(seconds), Some(since)) = (calls.silent_seconds, calls.silent_since) {
        text.insert_str(
            0,
            &format!(
                "HSM       has not answered for {seconds} s (since {since}, Unix time); calls that wait: {}, beyond their deadline: {}; check the device, its driver and its connection\n",
                calls.waiting, calls.overdue,
            ),
        );
    } else if calls.overdue > 0 {
        text.insert_str(
            0,
            &format!("HSM       answers, but {} calls never came back\n", calls.overdue),
        );
    }
    if status.rolled_back {
        text.insert_str(
            0,
            "ROLLBACK  this folder is older than what peers have seen: nothing is signed; see `quorate readmit --help`\n",
        );
    }
    for peer in &status.peers {
        let link = match (peer.connected, peer.round_trip_ms) {
            (true, Some(ms)) => format!("connected, {ms:.1} ms"),
            (true, None) => "connected".to_owned(),
            (false, _) => {
                let why = peer.last_error.as_deref().unwrap_or("not yet tried");
                format!("not connected: {why}")
            }
        };
        text.push_str(&format!("\n  {:>3}  {:<16} {link}", peer.party, peer.name));
        if peer.rolled_back {
            text.push_str(
                "\n       ROLLBACK: it was put back to an earlier state; nothing is signed with it until its operator re-admits it",
            );
        }
        if let Some(last) = &peer.last_refusal {
            text.push_str(&format!("\n       {} refused, the last: {last}", peer.refused));
        }
    }
    global.print(&object, &text);
    Ok(())
}
