//! The audit log of real nodes: its head signed by the identity key, of either kind; what breaks it; and
//! exports, which others check.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_node::audit::IdentityHead;
use quorate_node::handle::{KeyInfo, ServiceError};
use quorate_tests::chain::audit_export;
use quorate_tests::cluster::{Cluster, Hsm, Transfer};
use redb::{ReadableTable as _, TableDefinition};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{good, refused};

const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
const COUNTERSIGNED: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("countersigned-heads");
const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("identity-head");

fn sign(cluster: &Cluster, key: &KeyInfo, number: u64) {
    let request = cluster.request(key, &Transfer::number(number));
    good(key, cluster.client(1).sign(&request));
}

fn identity(cluster: &Cluster) -> String {
    cluster.command(1, &["identity"]).json()["identity"].as_str().unwrap().to_owned()
}

/// Party 1 has signed some transactions, and stopped.
fn with_a_log(hsm: Hsm) -> (Cluster, KeyInfo) {
    let mut cluster = Cluster::running(4, hsm, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    (0..3).for_each(|number| sign(&cluster, &key, number));
    cluster.wait_for("a signed head", || {
        let status = cluster.client(1).status().unwrap();
        let all = status.countersigned_by == [2, 3, 4];
        status.signed_head.filter(|_| all).ok_or((status.audit_entries, status.countersigned_by))
    });
    cluster.terminate(1);
    (cluster, key)
}

/// An auditor's own check of party 1's export, and ours without a folder.
fn judged(cluster: &Cluster, file: &Path) -> Value {
    let identity = identity(cluster);
    let text = file.to_str().unwrap();
    let membership = cluster.root().join("membership.toml").display().to_string();
    let ours = ["audit", "verify", "--file", text, "--identity", &identity];
    let ours = [&ours[..], &["--membership", &membership]].concat();
    let ours = cluster.command(2, &ours).json();
    // All the others have seen this log, in both checks' eyes.
    let witnesses = |checked: &Value, field: &str| -> Vec<u64> {
        let all = checked["countersigned"].as_array().unwrap().iter();
        all.map(|one| one[field].as_u64().unwrap()).collect()
    };
    assert_eq!(witnesses(&ours, "witness"), [2, 3, 4]);
    let theirs = audit_export(file, &identity).unwrap();
    assert_eq!(theirs["entries"], ours["entries"]);
    assert_eq!(theirs["signed"], ours["signed_head"]["number"]);
    assert_eq!(witnesses(&theirs, "party"), [2, 3, 4]);
    assert_eq!((&theirs["party"], &ours["party"]), (&1.into(), &1.into()));
    ours
}

fn heads_are_signed_kept_and_exported(hsm: Hsm, kind: &str) {
    let (mut cluster, key) = with_a_log(hsm);
    assert!(identity(&cluster).starts_with(kind));
    // The last head was signed at the end.
    let store = cluster.store(1);
    let (kept, head) =
        (IdentityHead::newest(&store).unwrap().unwrap(), store.audit_head().unwrap());
    assert_eq!((kept.number, kept.hash), (head.number, head.hash));
    drop(store);
    let checked = cluster.command(1, &["audit", "verify"]).json();
    assert_eq!((&checked["entries"], &checked["party"]), (&head.number.into(), &1.into()));
    assert_eq!(checked["signed_head"]["number"], head.number);

    // An auditor's export, and one that was tampered with.
    let file = cluster.root().join("stopped.jsonl");
    let _ = cluster.command(1, &["audit", "export", file.to_str().unwrap()]).json();
    assert_eq!(judged(&cluster, &file)["entries"], head.number);
    let _ = cluster.command(1, &["audit", "export", file.to_str().unwrap()]).error(15);
    exports_that_lie(&cluster, &file);

    // It runs again, with what it had, and its log is read while it runs.
    cluster.start(1);
    let status = cluster.client(1).status().unwrap();
    let signed = status.signed_head.unwrap();
    assert_eq!((signed.number, signed.time), (kept.number, kept.time));
    cluster.wait_linked();
    sign(&cluster, &key, 10);
    let entries = cluster.client(1).status().unwrap().audit_entries;
    assert!(entries > head.number);
    let checked = cluster.command(1, &["audit", "verify"]).json();
    assert!(checked["entries"].as_u64().unwrap() >= entries, "{checked}");
    let file = cluster.root().join("running.jsonl");
    let _ = cluster.command(1, &["audit", "export", file.to_str().unwrap()]).json();
    judged(&cluster, &file);
    let shown = cluster.command(1, &["audit", "show", "--from", "2", "--limit", "3"]).json();
    let numbers = |shown: &Value| -> Vec<u64> {
        let entries = shown["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&shown), [2, 3, 4]);
    assert!(shown["entries"][0]["record"]["event"].is_string(), "{shown}");
    let newest = cluster.command(1, &["audit", "show", "--limit", "1"]).json();
    assert_eq!(numbers(&newest), [newest["last"].as_u64().unwrap()]);

    // The API's page is the operator's.
    assert!(!cluster.client(1).audit(1).unwrap().entries.is_empty());
    let stranger = quorate_node::client::Client::new(cluster.api(1), None);
    assert!(matches!(refused(stranger.audit(1)), ServiceError::Unauthorised { .. }));
}

#[test]
fn a_sealed_identity_signs_heads() {
    heads_are_signed_kept_and_exported(Hsm::Software, "ed25519:");
}

#[test]
fn an_identity_inside_a_token_signs_heads() {
    heads_are_signed_kept_and_exported(Hsm::SoftHsm, "p256:");
}

fn exports_that_lie(cluster: &Cluster, file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |place: usize| {
        let mut lines = lines.clone();
        lines.remove(place);
        lines.join("\n") + "\n"
    };
    let last = lines.len() - 1;
    let (before, end) = text.split_at(text.find("signed_head").unwrap());
    let digit = |text: &str, field: &str| {
        let at = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4;
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let lies = [
        ("a changed record", text.replacen("released", "relaased", 1)),
        ("a removed entry", without(1)),
        ("the last entry removed", without(last - 1)),
        ("no signed head", without(last)),
        ("another countersignature", {
            let (before, after) = text.split_at(text.find("\"certificate\"").unwrap());
            format!("{before}{}", digit(after, "signature"))
        }),
        ("another hash", digit(&text, "hash")),
        ("another network", before.to_owned() + &digit(end, "network")),
        ("another signature", before.to_owned() + &digit(end, "signature")),
        ("another time", before.to_owned() + &end.replacen("\"time\":1", "\"time\":2", 1)),
        ("another line", text.clone() + "{}\n"),
        ("a cut line", text[..text.len() - 3].to_owned()),
    ];
    let (identity, changed) = (identity(cluster), file.with_extension("changed"));
    let path = changed.to_str().unwrap();
    for (what, lie) in lies {
        assert_ne!(lie, text, "{what}");
        fs::write(&changed, lie).unwrap();
        let ours = ["audit", "verify", "--file", path, "--identity", &identity];
        let ours = cluster.command(2, &ours);
        assert_eq!(ours.code, Some(13), "{what}: {ours:?}");
        // The other judge reads no line after the head, and no end of the last line.
        assert!(audit_export(&changed, &identity).is_err(), "{what}");
    }
    let stranger = cluster.command(2, &["identity"]).json()["identity"].clone();
    let stranger = stranger.as_str().unwrap();
    let file = file.to_str().unwrap();
    let _ =
        cluster.command(2, &["audit", "verify", "--file", file, "--identity", stranger]).error(13);
}

/// Changes the stopped party's store in a way that its database does not mind.
fn raw(cluster: &Cluster, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::create(cluster.folder(1).join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// H("audit", previous, number, record), once more and not by ours.
fn entry(previous: &[u8], number: u64, record: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for field in [b"quorate/1".as_slice(), b"audit", previous, &number.to_be_bytes(), record] {
        hash.update((field.len() as u32).to_be_bytes());
        hash.update(field);
    }
    [previous, &hash.finalize(), record].concat()
}

type Log<'a> = redb::Table<'a, u64, &'static [u8]>;

fn rewrite(log: &mut Log<'_>, from: u64, to: u64) {
    for number in from..=to {
        let bytes = log.get(number).unwrap().unwrap().value().to_vec();
        let previous = match number {
            1 => vec![0; 32],
            _ => log.get(number - 1).unwrap().unwrap().value()[32..64].to_vec(),
        };
        log.insert(number, entry(&previous, number, &bytes[64..]).as_slice()).unwrap();
    }
}

#[test]
fn a_log_that_is_not_what_was_signed_is_refused_at_the_start_and_by_verify() {
    let (cluster, _) = with_a_log(Hsm::Software);
    let copy: PathBuf = cluster.copy_folder(1);
    let last = cluster.store(1).audit_head().unwrap().number;
    assert!(last > 3);
    let log = |change: &dyn Fn(&mut Log<'_>)| {
        raw(&cluster, |to| change(&mut to.open_table(AUDIT).unwrap()));
    };
    let flip = |log: &mut Log<'_>, number: u64, place: usize| {
        let mut bytes = log.get(number).unwrap().unwrap().value().to_vec();
        bytes[place] ^= 1;
        log.insert(number, bytes.as_slice()).unwrap();
    };
    let still_refused = |what: &str, words: &[&str], damage: &dyn Fn()| {
        cluster.restore_folder(1, &copy);
        damage();
        for verb in [["audit", "verify"].as_slice(), &["run"]] {
            let output = cluster.command(1, verb);
            assert_eq!(output.code, Some(13), "{what}, {verb:?}: {output:?}");
            for word in words {
                assert!(output.stderr.contains(word), "{what}, {verb:?}: {}", output.stderr);
            }
        }
    };
    // With what peers have countersigned, some would be refused sooner and in other words.
    let refused = |what: &str, words: &[&str], damage: &dyn Fn()| {
        still_refused(what, words, &|| {
            raw(&cluster, |to| to.open_table(COUNTERSIGNED).unwrap().retain(|_, _| false).unwrap());
            damage();
        });
    };
    // Also a party that signs its head anew, or takes it away, has peers that have seen it.
    // Which entry they saw last is a matter of when they were asked: all differ from the first on.
    still_refused("another log, without a head", &["has countersigned"], &|| {
        log(&|log| {
            flip(log, 1, 70);
            rewrite(log, 1, last);
        });
        raw(&cluster, |to| drop(to.open_table(HEAD).unwrap().remove(()).unwrap()));
    });
    refused("a flipped byte", &["altered at or before entry 2"], &|| {
        log(&|log| flip(log, 2, 70));
    });
    refused("a swapped record", &["altered at or before entry 3"], &|| {
        log(&|log| {
            let record = log.get(1).unwrap().unwrap().value()[64..].to_vec();
            let previous = log.get(1).unwrap().unwrap().value()[32..64].to_vec();
            log.insert(2, entry(&previous, 2, &record).as_slice()).unwrap();
        });
    });
    let replaced = format!("entry {last} of the audit log is not the one");
    refused("a record swapped, and all hashes after it", &[&replaced], &|| {
        log(&|log| {
            flip(log, 2, 70);
            rewrite(log, 2, last);
        });
    });
    let cut = [format!("ends at entry {}", last - 1), format!("at entry {last}")];
    refused("the last entry removed", &cut.each_ref().map(String::as_str), &|| {
        log(&|log| drop(log.remove(last).unwrap()));
    });
    refused("all entries removed", &["ends at entry 0"], &|| {
        log(&|log| log.retain(|_, _| false).unwrap());
    });
    let head = |change: &dyn Fn(&mut Vec<u8>)| {
        raw(&cluster, |to| {
            let mut table = to.open_table(HEAD).unwrap();
            let mut bytes = table.get(()).unwrap().unwrap().value().to_vec();
            change(&mut bytes);
            table.insert((), bytes.as_slice()).unwrap();
        });
    };
    refused("another signature", &["is not signed by ed25519:"], &|| {
        head(&|head| *head.last_mut().unwrap() ^= 1);
    });
    // The number: after the generation, one byte each.
    refused("a head that says less", &["is not signed by ed25519:", "at entry 1"], &|| {
        head(&|head| head[1] = 1);
    });
    refused("half a head", &["cannot be read"], &|| head(&|head| head.truncate(50)));
    // Untouched it starts.
    cluster.restore_folder(1, &copy);
    let mut cluster = cluster;
    cluster.start(1);
}
