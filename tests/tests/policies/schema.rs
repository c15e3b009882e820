//! `docs/policy.schema.json`: it says of policies what the compiler does.

use std::collections::BTreeSet;

use quorate_node::policy_file::{self, Recorded};
use quorate_tests::chain::javascript;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use super::properties::Maker;

fn schema() -> Value {
    serde_json::from_str(policy_file::SCHEMA).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The names that the compiler knows in the place of another.
fn listed(error: &policy_file::PolicyFileError) -> BTreeSet<String> {
    let listed = error.what.split_once("there are ").unwrap().1;
    listed.split(", ").map(str::to_owned).collect()
}

/// What an independent validator says of documents, each before a part of the schema.
fn validated(documents: &[(&str, Value)]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = documents.iter().map(|document| serde_json::to_string(document).unwrap());
    std::fs::write(file.path(), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.schema.json");
    let printed = javascript("validate.mjs", &[schema, file.path().to_str().unwrap()]);
    let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), documents.len());
    lines
}

fn accepted(documents: &[(&str, Value)]) {
    for (verdict, document) in validated(documents).iter().zip(documents) {
        assert_eq!(verdict, "ok", "{} {}", document.0, document.1);
    }
}

#[test]
fn the_schema_has_the_compilers_names() {
    let schema = schema();
    let known: BTreeSet<String> = policy_file::condition_names().map(str::to_owned).collect();
    assert_eq!(names(&schema["$defs"]["condition"]["properties"]), known);
    // What a part may have beside what it must have, the compiler says when it refuses something else.
    let key = "ed25519:".to_owned() + &"01".repeat(32);
    for (part, within) in [("rule", ""), ("limit", ".limits[0]")] {
        let mut rule = json!({ "name": "r", "when": { "client": [key] }, "limits": [{}] });
        let object = if within.is_empty() { &mut rule } else { &mut rule["limits"][0] };
        object["nothing"] = json!(1);
        let error = policy_file::from_json(&json!({ "rules": [rule] })).unwrap_err();
        assert_eq!(error.field, format!("rules[0]{within}.nothing"));
        assert_eq!(names(&schema["$defs"][part]["properties"]), listed(&error), "{part}");
    }
    let control = json!({ "rules": [], "nothing": 1 });
    let error = policy_file::from_json(&control).unwrap_err();
    assert_eq!(names(&schema["$defs"]["rules"]["properties"]), listed(&error));
    let control = json!({ "rules": [], "controllers": { "nothing": 1 } });
    let error = policy_file::from_json(&control).unwrap_err();
    assert_eq!(error.field, "controllers.nothing");
    assert_eq!(names(&schema["$defs"]["controllers"]["properties"]), listed(&error));
    let facts = ["block", "balance", "erc20_balance", "erc721_owner", "erc1155_balance"];
    for part in ["delay", "evm_call", "http"].into_iter().chain(facts) {
        let when = json!({ "client": [key], part: { "nothing": 1 } });
        let rules = json!({ "rules": [{ "name": "r", "when": when }] });
        let error = policy_file::from_json(&rules).unwrap_err();
        assert_eq!(error.field, format!("rules[0].when.{part}.nothing"));
        assert_eq!(names(&schema["$defs"][part]["properties"]), listed(&error), "{part}");
    }
}

#[test]
fn examples_and_random_policies_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies");
    let mut documents: Vec<(&str, Value)> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        documents.push(("", serde_json::from_str(&text).unwrap()));
    }
    assert!(documents.len() >= 12, "{}", documents.len());
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(quorate_tests::cluster::seed()));
    for _ in 0..300 {
        let condition = maker.condition(3, true);
        let rule = json!({ "name": "r", "payload": ["transaction", "message"], "when": condition });
        let written = json!({ "rules": [rule] });
        let bytes = policy_file::from_json(&written).unwrap();
        let policy = quorate_core::policy::Policy::parse(bytes.as_slice()).unwrap();
        documents.push(("", policy_file::to_json(&policy)));
        documents.push(("", written));
    }
    accepted(&documents);
}

/// Blocks of JSON in the document, and conditions in its tables: whole but for what anybody can fill in.
fn documented() -> Vec<Value> {
    let account = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let document = include_str!("../../../docs/POLICY.md");
    let cells = document.lines().filter_map(|line| line.strip_prefix("| `\"")?.split_once("` |"));
    // Each key is another, and so a list of them has none twice.
    let whole = |text: &str| {
        let text = text
            .replace("0x…", account)
            .replace("[ … ]", r#"[{ "name": "r", "when": { "chain": [1] } }]"#);
        let mut parts = text.split("ed25519:…").enumerate();
        let (_, start) = parts.next().unwrap();
        parts.fold(start.to_owned(), |whole, (number, part)| {
            format!("{whole}ed25519:{number:064x}{part}")
        })
    };
    let inline = cells
        .map(|(cell, _)| whole(&format!("{{ \"{cell} }}")))
        // Some only say that there is more.
        .filter(|cell| !cell.contains('…') && cell.contains(':'))
        .map(|cell| serde_json::from_str(&cell).unwrap_or_else(|error| panic!("{error}: {cell}")));
    let blocks = document.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let blocks = blocks.map(|block| {
        serde_json::from_str(&whole(block)).unwrap_or_else(|error| panic!("{error}: {block}"))
    });
    blocks.chain(inline).collect()
}

#[test]
fn what_the_document_shows_is_valid_and_compiles() {
    let key = "ed25519:".to_owned() + &"01".repeat(32);
    let compiles = |condition: &Value, limits: &Value| {
        let kinds = ["transaction", "message", "typed-data"];
        let rule = json!({ "name": "r", "payload": kinds, "when": condition, "limits": limits });
        policy_file::from_json(&json!({ "rules": [rule] })).map(|_| ())
    };
    let mut documents = Vec::new();
    for block in documented() {
        let has = |name: &str| block.get(name).is_some();
        let (part, compiled) = if has("facts") {
            Recorded::from_json(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
            continue;
        } else if has("rules") || has("clients") {
            ("", policy_file::from_json(&block).map(|_| ()))
        } else if has("measure") {
            ("limit", compiles(&json!({ "client": [key] }), &json!([block])))
        } else {
            ("condition", compiles(&block, &json!([])))
        };
        compiled.unwrap_or_else(|error| panic!("{error}: {block}"));
        documents.push((part, block));
    }
    assert!(documents.len() >= 18, "{}", documents.len());
    accepted(&documents);
}

#[test]
fn the_schema_refuses_what_the_compiler_refuses() {
    let place = json!({ "chain": 1, "confirmations": 1 });
    let with = |more: Value| {
        let mut fields = place.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let wrong = [
        json!({}),
        json!({ "chains": [1] }),
        json!({ "chain": [] }),
        json!({ "not": {} }),
        json!({ "any": [] }),
        json!({ "to": ["0x7099"] }),
        json!({ "creates_contract": false }),
        json!({ "block": { "chain": 1, "max_age": "1m" } }),
        json!({ "block": place }),
        json!({ "balance": with(json!({ "account": "$from", "at_least": 1 })) }),
        json!({ "erc721_owner": with(json!({ "contract": "0x…", "token_id": 1, "is": "$key" })) }),
        json!({ "http": { "url": "http://a", "pointer": "", "max_age": "1m", "as": "bool", "equals": true } }),
        json!({ "http": { "url": "https://a", "pointer": "x", "max_age": "1m", "as": "bool", "equals": true } }),
        json!({ "http": { "url": "https://a", "pointer": "", "as": "bool", "equals": true } }),
        json!({ "signatures": { "at_least": 0, "of": [] } }),
        json!({ "confirm": false }),
        json!({ "elsewhere": {} }),
        json!({ "elsewhere": { "chain": [1] } }),
        json!({ "elsewhere": { "confirm": true } }),
    ];
    let documents: Vec<(&str, Value)> =
        wrong.iter().map(|one| ("condition", one.clone())).collect();
    for (verdict, (_, document)) in validated(&documents).iter().zip(&documents) {
        assert_ne!(verdict, "ok", "{document}");
        let rule = json!({ "name": "r", "when": document });
        assert!(policy_file::from_json(&json!({ "rules": [rule] })).is_err(), "{document}");
    }
}
