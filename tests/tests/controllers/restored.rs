//! Stores that were put back to before a change, in part or whole.

use quorate_node::message::PeerMessage;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::*;

const KEYS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("keys");
type ChangeKey = ([u8; 16], u8, u32);
const CHANGES: TableDefinition<'_, ChangeKey, &[u8]> = TableDefinition::new("policy-changes");

fn read_key(database: &Database, key: [u8; 16]) -> Vec<u8> {
    let table = database.begin_read().unwrap().open_table(KEYS).unwrap();
    table.get(key).unwrap().unwrap().value().to_vec()
}

fn write_key(database: &Database, key: [u8; 16], row: &[u8]) {
    let transaction = database.begin_write().unwrap();
    transaction.open_table(KEYS).unwrap().insert(key, row).unwrap();
    transaction.commit().unwrap();
}

/// All changes of a key, and how to put them in place of what is there.
fn read_changes(database: &Database) -> Vec<(ChangeKey, Vec<u8>)> {
    let table = database.begin_read().unwrap().open_table(CHANGES).unwrap();
    let entries = table.iter().unwrap().map(|entry| {
        let (key, row) = entry.unwrap();
        (key.value(), row.value().to_vec())
    });
    entries.collect()
}

fn write_changes(database: &Database, changes: &[(ChangeKey, Vec<u8>)]) {
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(CHANGES).unwrap();
        table.retain(|_, _| false).unwrap();
        for (key, row) in changes {
            table.insert(key, row.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

/// What party 2 says when it must sign, and whether it has signed anything.
fn refuses(world: &mut World, key: &KeyInfo, why: &str) {
    world.wait(3);
    let shown = world.keys(2);
    let problem = shown[0].policy_problem.clone().unwrap_or_default();
    assert!(problem.contains(why), "{problem:?} does not tell {why:?}");
    let (rule, reason) = denied(world, 2, key, 77);
    assert_eq!((rule.as_str(), reason.contains(why)), ("policy-history", true), "{reason}");
    // Nor as a member.
    let error = sign(world, 1, key, 78).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(world.released(2, key).is_empty());
    let change = world.changes(key).hold(1, &[1]);
    let error = world.set_policy(2, change).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn rows_that_were_put_back_are_noticed_by_the_log() {
    for case in ["key", "key and history", "history", "a freeze", "what waits"] {
        let (mut world, key) = world(1, if case == "what waits" { "1h" } else { "0s" });
        let (old, new) = policies(if case == "what waits" { "1h" } else { "0s" });
        let signs = world.changes(&key);
        let before = world.tamper(2, |db| (read_key(db, signs.key), read_changes(db)));
        world.wait(1);
        let change = match case {
            "a freeze" => signs.hold(1, &[1]),
            // From a policy that denies back to one that allows: the old one would be tempting.
            _ => signs.replace(2, &old, &new, &[1, 2]),
        };
        world.set_policy(2, change).unwrap();
        world.wait(1);
        world.crash(4);
        world.tamper(2, |db| {
            if case.starts_with("key") {
                write_key(db, signs.key, &before.0);
            }
            if case != "key" {
                write_changes(db, &before.1);
            }
        });
        let why = match case {
            "key" => "its history ends with version 2 of the policy, and its share with version 1",
            "history" => {
                "its history ends with version 1 of the policy, and its share with version 2"
            }
            _ => "the store was put back",
        };
        match case {
            "a freeze" | "what waits" => {
                world.wait(3);
                let problem = world.keys(2)[0].policy_problem.clone().unwrap_or_default();
                assert!(problem.contains(why), "{case}: {problem:?}");
                let (rule, _) = denied(&mut world, 2, &key, 5);
                assert_eq!(rule, "policy-history", "{case}");
            }
            _ => {
                // The others would sign by the old policy only.
                let back = signs.replace(3, &new, &old, &[1, 2]);
                world.set_policy(1, back).unwrap();
                refuses(&mut world, &key, why);
            }
        }
    }
}

#[test]
fn a_history_that_the_controllers_did_not_sign_is_noticed() {
    let (mut world, key) = world(2, "0s");
    let (old, new) = policies("0s");
    let signs = world.changes(&key);
    world.set_policy(1, signs.replace(2, &new, &old, &[1, 2])).unwrap_err();
    world.set_policy(1, signs.replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    world.crash(4);
    // A change that one controller alone signed, in the place of the real one.
    let forged = signs.replace(2, &old, &new, &[1]);
    world.tamper(2, |db| {
        let mut changes = read_changes(db);
        let row =
            quorate_node::store::ChangeRow { change: forged, seen: 1, due: 1, in_force: Some(1) };
        let mut bytes = Vec::new();
        quorate_core::wire::encode_to(&row, |part| bytes.extend_from_slice(part));
        changes[1].1 = bytes;
        write_changes(db, &changes);
    });
    world.set_policy(1, signs.replace(3, &new, &old, &[1, 2])).unwrap();
    refuses(&mut world, &key, "1 of the 2 signatures of controllers");
}

/// The row's own policy cannot be loosened under a version: the history says what it must be.
#[test]
fn a_policy_that_was_loosened_in_the_row_is_noticed() {
    let (mut world, key) = world(3, "0s");
    let (old, new) = policies("0s");
    let signs = world.changes(&key);
    world.set_policy(1, signs.replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    world.crash(4);
    world.tamper(2, |db| {
        let row = read_key(db, signs.key);
        let mut row: quorate_node::store::KeyRow = quorate_core::wire::decode(&row).unwrap();
        assert_eq!((row.policy_version, &row.policy), (2, &new));
        row.policy = old.clone();
        let mut bytes = Vec::new();
        quorate_core::wire::encode_to(&row, |part| bytes.extend_from_slice(part));
        write_key(db, signs.key, &bytes);
    });
    world.set_policy(1, signs.replace(3, &new, &old, &[1, 2])).unwrap();
    refuses(&mut world, &key, "its history ends with version 2");
}

/// The whole folder: its log is old too, and only the peers know. When the loss is accepted, the party
/// follows the others before it signs.
#[test]
fn a_whole_store_that_was_put_back_is_noticed_by_the_peers() {
    let (mut world, key) = world(4, "0s");
    let (old, new) = policies("0s");
    let signs = world.changes(&key);
    let copy = world.snapshot(2).unwrap();
    world.set_policy(1, signs.replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    world.crash(4);
    world.roll_back(2, &copy, false);
    world.wait(1);
    assert!(world.status(2).rolled_back, "a change alone makes the peers know");
    assert_eq!(world.policy_of(2, &key).version, 1);
    let error = sign(&mut world, 2, &key, 1).unwrap_err();
    assert!(error.to_string().contains("quorate readmit"), "{error}");
    let error = world.set_policy(2, signs.replace(2, &old, &new, &[1, 2])).unwrap_err();
    assert!(error.to_string().contains("quorate readmit"), "{error}");
    // Nor does it take changes from peers meanwhile.
    world.say(1, 2, &PeerMessage::PolicyChange { change: signs.hold(1, &[1]), in_force: true });
    assert_eq!(world.policy_of(2, &key).holds, 0);
    world.roll_back_and_readmit(2, &copy, false);
    world.wait(2);
    assert_eq!(standings(&mut world, &key), [(2, 2, 0); 3]);
    assert_eq!(denied(&mut world, 2, &key, 2).0, "value");
    world.boot(4);
    world.check();
}
