//! A policy's history as the store has it: checked from the key's terms to the policy in force, and against
//! what the audit log says.

use std::collections::BTreeMap;

use quorate_core::hash::Digest;
use quorate_core::party::Holders;
use quorate_core::policy::control::{Action, SignedChange, Standing};
use quorate_core::policy::{Policy, hash_of};
use quorate_core::request::{KeyId, NetworkId};
use quorate_core::wire;
use serde_json::Value;

use super::super::records::Public;
use super::{Owned, Waiting};
use crate::message::PolicyState;
use crate::store::{ChangeRow, KeyRow, Series, Store, StoreError};

/// A key that was just made.
pub(super) fn fresh(row: &KeyRow, holders: Holders) -> Owned {
    Owned {
        holders,
        version: row.policy_version,
        policy: hash_of(&row.policy),
        waiting: Vec::new(),
        holds: 0,
        ending: None,
        problem: None,
        resealing: None,
        failed: None,
    }
}

/// The key's history; none if nobody could ever change its policy.
pub(super) fn read(
    store: &Store,
    network: [u8; 16],
    row: &KeyRow,
) -> Result<Option<Owned>, StoreError> {
    // Damage of other kinds has its own words, when the key is used.
    let (Ok(policy), Ok(public)) =
        (Policy::parse(&row.policy), wire::decode::<Public>(&row.public))
    else {
        return Ok(None);
    };
    let versions = store.changes(row.key, Series::Version)?;
    if policy.controllers().is_none() && row.policy_version == 1 && versions.is_empty() {
        return Ok(None);
    }
    let mut owned = fresh(row, public.terms.holders);
    match follow(network, row.key, &public.terms.context, &versions) {
        Ok(end) if end.in_force == (row.policy_version, owned.policy) => {
            owned.waiting = end.waiting
        }
        Ok(end) => {
            owned.problem = Some(format!(
                "its history ends with version {} of the policy, and its share with version {}; restore \
                 this party's folder from its newest backup",
                end.in_force.0, row.policy_version
            ));
        }
        Err(what) => owned.problem = Some(what),
    }
    if let Err(what) = holds(&mut owned, &store.changes(row.key, Series::Hold)?) {
        owned.problem.get_or_insert(what);
    }
    Ok(Some(owned))
}

/// Where a history leads.
struct End {
    in_force: (u32, Digest),
    waiting: Vec<Waiting>,
}

fn broken(number: u32, why: &dyn std::fmt::Display) -> String {
    format!(
        "change {number} of its policy's history is not what its controllers signed ({why}); restore this \
         party's folder from its newest backup"
    )
}

/// Each version was signed by the controllers of the one before, back to what the key was made with.
fn follow(
    network: [u8; 16],
    key: [u8; 16],
    made_with: &Digest,
    versions: &[(u32, ChangeRow)],
) -> Result<End, String> {
    let (first, later) = versions.split_first().ok_or_else(|| broken(1, &"it is missing"))?;
    let creation = SignedChange::parse(&first.1.change).map_err(|error| broken(1, &error))?;
    let Action::Create { policy, .. } = creation.action() else {
        return Err(broken(1, &"it makes no key"));
    };
    if first.0 != 1 || hash_of(policy) != *made_with {
        return Err(broken(1, &"the key was made with another policy"));
    }
    let mut standing = Standing {
        network: NetworkId(network),
        key: KeyId(key),
        version: 1,
        policy: Policy::parse(policy).map_err(|error| broken(1, &error))?,
        pending: None,
        holds: 0,
        unfreezing: false,
    };
    let mut waiting = Vec::new();
    for (number, row) in later {
        let change = SignedChange::parse(&row.change).map_err(|error| broken(*number, &error))?;
        standing.admits(&change, 0, true).map_err(|error| broken(*number, &error))?;
        let Some(policy) = change.action().policy() else {
            return Err(broken(*number, &"it brings no policy"));
        };
        let hash = hash_of(policy);
        if change.number() != *number {
            return Err(broken(*number, &"it has another number"));
        }
        match row.in_force {
            Some(_) => {
                standing.version = *number;
                standing.policy = Policy::parse(policy).map_err(|error| broken(*number, &error))?;
                standing.pending = None;
                waiting.clear();
            }
            None => {
                standing.pending = Some(hash);
                waiting.push(Waiting {
                    number: *number,
                    policy: hash,
                    due: row.due,
                    vouched: false,
                });
            }
        }
    }
    Ok(End { in_force: (standing.version, standing.policy.hash()), waiting })
}

fn holds(owned: &mut Owned, holds: &[(u32, ChangeRow)]) -> Result<(), String> {
    for (place, (number, row)) in holds.iter().enumerate() {
        let change = SignedChange::parse(&row.change).map_err(|error| broken(*number, &error))?;
        let next = place + 1 == *number as usize && change.number() == *number;
        if !next || !change.action().is_hold() || owned.ending.is_some() {
            return Err(broken(*number, &"it is not the next"));
        }
        match row.in_force {
            Some(_) => owned.holds = *number,
            None => {
                owned.ending = Some(Waiting {
                    number: *number,
                    policy: [0; 32],
                    due: row.due,
                    vouched: false,
                });
            }
        }
    }
    Ok(())
}

/// How far a key is, in the newest record of the log.
fn logged(record: &Value) -> Option<[u64; 4]> {
    let field = |name| record.get(name).and_then(Value::as_u64);
    Some([field("version")?, field("announced")?, field("holds")?, field("held")?])
}

/// The event of every record about a policy.
pub(super) const EVENT: &str = "policy";

/// Who puts a key's rows back to an earlier day does not put back the log, each entry of which covers all
/// before it.
pub(super) fn compare_with_log(
    store: &Store,
    keys: &mut BTreeMap<[u8; 16], Owned>,
) -> Result<(), StoreError> {
    let mut open: BTreeMap<String, [u8; 16]> =
        keys.keys().map(|key| (hex::encode(key), *key)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let needle = format!("\"event\":\"{EVENT}\"");
    store.audit_backwards(|entry| {
        // Most entries are about something else, and not worth reading.
        let text = std::str::from_utf8(&entry.record).unwrap_or_default();
        if !text.contains(&needle) {
            return true;
        }
        let record: Value = serde_json::from_str(text).unwrap_or_default();
        let named = record.get("key").and_then(Value::as_str).unwrap_or_default();
        if record.get("event").and_then(Value::as_str) == Some(EVENT)
            && let Some(key) = open.remove(named)
            && let Some(owned) = keys.get_mut(&key)
        {
            let state = owned.state(key);
            let found = [state.version, state.announced, state.holds, state.held].map(u64::from);
            if let Some(problem) = contradiction(logged(&record), found) {
                owned.problem.get_or_insert(problem);
            }
        }
        !open.is_empty()
    })?;
    for key in open.into_values() {
        if let Some(owned) = keys.get_mut(&key) {
            let what = "this party's audit log does not know that its controllers made it";
            owned.problem.get_or_insert(what.to_owned());
        }
    }
    Ok(())
}

fn contradiction(logged: Option<[u64; 4]>, found: [u64; 4]) -> Option<String> {
    let logged = logged.unwrap_or_default();
    if logged == found {
        return None;
    }
    let ([version, _, holds, _], [own, _, own_holds, _]) = (logged, found);
    Some(format!(
        "the store was put back: it has version {own} of its policy and {own_holds} freezes and ends of \
         freezes, and this party's audit log says {version} and {holds}; restore this party's folder from \
         its newest backup"
    ))
}

/// The audit record of a change: what became of it, and how the key stands then.
pub(super) fn record(
    what: &str,
    now: u64,
    state: &PolicyState,
    change: &SignedChange<'_>,
    due: u64,
) -> Vec<u8> {
    let signers: Vec<String> = change.signers().map(|signer| signer.to_string()).collect();
    let record = serde_json::json!({
        "event": EVENT, "what": what, "at": now, "key": hex::encode(state.key),
        "version": state.version, "announced": state.announced, "holds": state.holds,
        "held": state.held, "number": change.number(), "action": change.action().name(),
        "change": hex::encode(change.hash()), "signers": signers, "due": due,
        "policy": change.action().policy().map(|policy| hex::encode(hash_of(policy))),
    });
    record.to_string().into_bytes()
}

/// The same of a key that is made in its controllers' name.
pub(super) fn record_of_creation(now: u64, key: [u8; 16], bytes: &[u8]) -> Vec<u8> {
    let state = PolicyState { key, version: 1, announced: 1, holds: 0, held: 0 };
    SignedChange::parse(bytes)
        .map(|change| record("created", now, &state, &change, now))
        .unwrap_or_default()
}
