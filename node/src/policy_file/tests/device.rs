//! Conditions for devices, as people write them.

use quorate_core::policy::Policy;
use serde_json::{Value, json};

use super::super::*;
use super::{ACCOUNT, when};

fn block() -> Value {
    json!({ "block": { "chain": 1, "confirmations": 2, "max_age": "5m" } })
}

fn rich() -> Value {
    json!({ "balance": { "chain": 1, "confirmations": 6, "account": "$key", "at_least": 7 } })
}

#[test]
fn what_is_read_back_is_the_same_policy() {
    for condition in [
        json!({ "confirm": true }),
        json!({ "to": [ACCOUNT], "elsewhere": block(), "confirm": true }),
        json!({ "elsewhere": { "any": [block(), { "not": rich() }] } }),
        json!({ "elsewhere": { "at_least": { "count": 1, "of": [block(), { "all": [rich()] }] } } }),
        json!({ "any": [{ "elsewhere": rich() }, { "confirm": true }] }),
    ] {
        let bytes = when(&condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let policy = Policy::parse(bytes.as_slice()).unwrap();
        let json = to_json(&policy);
        assert_eq!(from_json(&json).as_ref(), Ok(&bytes), "{json}");
    }
    // What must be fetched, and then the person, comes last.
    let all = json!({ "confirm": true, "elsewhere": block(), "chain": [1] });
    let bytes = when(&all).unwrap();
    let json = to_json(&Policy::parse(bytes.as_slice()).unwrap());
    let order =
        [json!({ "chain": [1] }), json!({ "elsewhere": block() }), json!({ "confirm": true })];
    assert_eq!(json["rules"][0]["when"]["all"], json!(order));
}

#[test]
fn sentences_say_who_looks_and_who_confirms() {
    let bytes = when(&json!({ "elsewhere": block(), "confirm": true })).unwrap();
    let text = explain(&Policy::parse(bytes.as_slice()).unwrap());
    for part in [
        "  - all of these hold:\n",
        "    - this holds, as the others check (a device takes it as true):\n      - the block",
        "    - the person at the device confirms it (a party that is no device has nobody to ask)\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn mistakes_name_their_field() {
    let wrong = |condition: Value| {
        let error = when(&condition).unwrap_err();
        (error.field.strip_prefix("rules[0].when.").unwrap().to_owned(), error.what)
    };
    let field = |condition| wrong(condition).0;
    assert_eq!(field(json!({ "confirm": false })), "confirm");
    assert_eq!(field(json!({ "confirm": {} })), "confirm");
    assert_eq!(field(json!({ "elsewhere": {} })), "elsewhere");
    assert_eq!(field(json!({ "elsewhere": true })), "elsewhere");
    assert_eq!(field(json!({ "elsewhere": { "blocks": 1 } })), "elsewhere.blocks");
    assert_eq!(field(json!({ "elsewhere": { "block": {} } })), "elsewhere.block.chain");
    let (field_, what) = wrong(json!({ "elsewhere": { "any": [block(), { "chain": [1] }] } }));
    assert_eq!(field_, "elsewhere.any[1].chain");
    assert!(what.starts_with("asks the world nothing"), "{what}");
    for own in [
        json!({ "confirm": true }),
        json!({ "elsewhere": block() }),
        json!({ "delay": { "for": "1h" } }),
        json!({ "client": ["01".repeat(32)] }),
    ] {
        let name = own.as_object().unwrap().keys().next().unwrap().clone();
        let inside = json!({ "elsewhere": { "at_least": { "count": 1, "of": [own] } } });
        assert_eq!(field(inside), format!("elsewhere.at_least.of[0].{name}"));
    }
    for turned in [json!({ "confirm": true }), json!({ "elsewhere": block() })] {
        let name = turned.as_object().unwrap().keys().next().unwrap().clone();
        let inside = json!({ "not": { "all": [{ "any": [turned] }] } });
        assert_eq!(field(inside), format!("not.all[0].any[0].{name}"));
    }
}

fn doubts(condition: &Value, limits: &Value) -> Vec<&'static str> {
    let mut when = json!({ "client": ["01".repeat(32)], "chain": [1] });
    when.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
    let rule = json!({ "name": "r", "when": when, "limits": limits });
    let bytes = from_json(&json!({ "rules": [rule] })).unwrap();
    let doubts = lint(&Policy::parse(bytes.as_slice()).unwrap());
    doubts.iter().map(|doubt| doubt.code).filter(|code| *code != "fixed").collect()
}

#[test]
fn a_rule_that_leaves_something_to_others_names_them() {
    let limits = |strict: &[Value]| -> Value {
        let limit = |strict| json!({ "measure": "spend", "max": 1, "per": "1h", "strict": strict });
        strict.iter().map(limit).collect()
    };
    let (first, fourth) = (json!({ "party": 1 }), json!({ "party": 4 }));
    let (confirm, left) = (json!({ "confirm": true }), json!({ "elsewhere": block() }));
    let both = json!({ "confirm": true, "elsewhere": block() });
    assert_eq!(doubts(&confirm, &json!([])), ["no-limit", "unconfirmed-quorum"]);
    assert_eq!(doubts(&left, &json!([])), ["no-limit", "unchecked-quorum"]);
    for one in [&confirm, &left] {
        assert!(doubts(one, &limits(std::slice::from_ref(&first))).is_empty());
    }
    assert_eq!(doubts(&both, &json!([])), ["no-limit", "unconfirmed-quorum", "unchecked-quorum"]);
    // Who confirms is not who looks.
    assert_eq!(doubts(&both, &limits(&[first.clone(), first.clone()])), ["unchecked-quorum"]);
    assert!(doubts(&both, &limits(&[first, fourth])).is_empty());
    assert!(doubts(&both, &limits(&[json!("all")])).is_empty());
    // What a device can never find out.
    let rules = |condition: Value| doubts(&condition, &limits(&[json!("all")]));
    assert_eq!(rules(json!({ "all": [block()], "confirm": true })), ["never-on-device"]);
    assert_eq!(rules(json!({ "all": [rich()], "elsewhere": block() })), ["never-on-device"]);
    assert!(rules(json!({ "any": [rich(), { "confirm": true }] })).is_empty());
    assert!(rules(json!({ "all": [rich()] })).is_empty(), "not for devices at all");
}
