//! Examples with delays, and how policies with delays are written.

use quorate_core::policy::{Facts, Policy};
use quorate_core::request::{ClientKey, MAX_REQUEST, Payload, SignRequest, SignedRequest};
use quorate_node::policy_file;
use serde_json::json;

use super::examples::{ALICE, BOB, Example, NOW, VAULT, transaction};
use super::{key, request_by};

const DAY: u64 = 86_400;

fn client(seed: u8) -> ClientKey {
    ClientKey(key(seed).verifying_key().to_bytes())
}

/// What the example says of a payment by `client`, with these facts: the rule, or the denial's stable name.
fn pay(
    example: &Example,
    by: u8,
    to: &str,
    milliether: u128,
    approvers: &[u8],
    facts: &Facts<'_>,
) -> Result<String, &'static str> {
    let transaction = transaction(to, milliether, &[]);
    let request = request_by(by, Payload::EthereumTransaction(&transaction), facts.now, approvers);
    super::judged(&Policy::parse(&example.bytes).unwrap(), &request, facts)
}

fn since(ago: u64) -> Facts<'static> {
    Facts { known_since: Some(NOW - ago), ..Facts::at(NOW) }
}

#[test]
fn a_recovery_after_silence() {
    let example = Example::read("recovery.json");
    let owner = |to: &str, facts: &Facts<'_>| pay(&example, 1, to, 5_000, &[], facts);
    assert_eq!(owner(BOB, &Facts::at(NOW)), Ok("owner".to_owned()), "at once, and to anybody");
    let heir = |by, to: &str, facts: &Facts<'_>| pay(&example, by, to, 500_000, &[], facts);
    assert_eq!(heir(2, VAULT, &Facts::at(NOW)), Err("waiting"));
    assert_eq!(heir(2, VAULT, &since(14 * DAY - 1)), Err("waiting"));
    for by in [2, 3] {
        assert_eq!(heir(by, VAULT, &since(14 * DAY)), Ok("heirs".to_owned()));
    }
    assert_eq!(heir(4, VAULT, &since(14 * DAY)), Err("client"), "no heir");
    assert_eq!(heir(2, BOB, &since(14 * DAY)), Err("recipient"));
    // The owner is not silent.
    let vetoes = [client(1)];
    let vetoed = Facts { vetoes: &vetoes, ..since(14 * DAY) };
    assert_eq!(heir(2, VAULT, &vetoed), Err("vetoed"));
    let heirs = [client(2), client(3)];
    let by_an_heir = Facts { vetoes: &heirs, ..since(14 * DAY) };
    assert_eq!(heir(2, VAULT, &by_an_heir), Ok("heirs".to_owned()), "heirs veto nothing");
}

#[test]
fn a_timelock_on_large_payouts() {
    let example = Example::read("timelock.json");
    let ask = |milliether, approvers: &[u8], facts: &Facts<'_>| {
        pay(&example, 1, ALICE, milliether, approvers, facts)
    };
    let (small, large) = (Ok("small payouts".to_owned()), Ok("large payouts".to_owned()));
    assert_eq!(ask(1_000, &[], &Facts::at(NOW)), small);
    assert_eq!(ask(50_000, &[], &since(DAY)), large);
    // Either wait, or have it approved by two.
    assert!(matches!(ask(50_000, &[], &since(DAY - 1)), Err("waiting" | "approvals")));
    assert_eq!(ask(50_000, &[2, 4], &Facts::at(NOW)), large);
    let vetoes = [client(2)];
    let vetoed = Facts { vetoes: &vetoes, ..since(DAY) };
    assert!(matches!(ask(50_000, &[], &vetoed), Err("vetoed" | "approvals")));
    assert_eq!(
        ask(50_000, &[3, 4], &vetoed),
        large,
        "a veto is against the delay, not the approvals"
    );
    // Whatever holds it back, the time at which waiting is enough is told.
    let transaction = transaction(ALICE, 50_000, &[]);
    let request = SignRequest {
        network: quorate_core::request::NetworkId([1; 16]),
        key: quorate_core::request::KeyId([2; 16]),
        derivation: quorate_core::request::Derivation::Root,
        payload: Payload::EthereumTransaction(&transaction),
        label: "",
        expires: NOW + 2 * DAY,
        nonce: [3; 16],
    };
    let mut buffer = vec![0; MAX_REQUEST];
    let request = request.sign(&key(1), &mut buffer).unwrap();
    let request = SignedRequest::parse(request).unwrap();
    let policy = Policy::parse(&example.bytes).unwrap();
    assert_eq!(policy.opens_at(&request, &since(100)), Some(NOW - 100 + DAY));
    assert_eq!(policy.opens_at(&request, &Facts { vetoes: &vetoes, ..since(100) }), None);
}

fn with(condition: &serde_json::Value) -> Result<Vec<u8>, String> {
    let rule = json!({ "name": "r", "when": condition });
    let bytes = policy_file::from_json(&json!({ "rules": [rule] }));
    bytes.map(policy_file::PolicyBytes::into_vec).map_err(|error| error.to_string())
}

#[test]
fn delays_are_written_read_and_explained() {
    let (one, two) = (client(1).to_string(), client(2).to_string());
    let bytes = with(&json!({ "delay": { "for": "36h", "veto": [one, two] } })).unwrap();
    let policy = Policy::parse(&bytes).unwrap();
    assert_eq!((policy.longest_delay(), policy.names_vetoer(&client(2))), (129_600, true));
    let json = policy_file::to_json(&policy);
    assert_eq!(json["rules"][0]["when"]["delay"]["for"], "1day 12h");
    assert_eq!(policy_file::from_json(&json).unwrap().as_slice(), bytes);
    let said = policy_file::explain(&policy);
    assert!(said.contains("on record for 1day 12h, without a veto by one of ed25519:"), "{said}");
    // Nobody may veto: said so, and a doubt.
    let bytes = with(&json!({ "delay": { "for": "20days" } })).unwrap();
    assert_eq!(bytes, with(&json!({ "delay": { "for": "20days", "veto": [] } })).unwrap());
    let policy = Policy::parse(&bytes).unwrap();
    let json = policy_file::to_json(&policy);
    assert_eq!(json["rules"][0]["when"]["delay"], json!({ "for": "20days" }));
    let codes = |policy: &Policy<'_>| -> Vec<&str> {
        let doubts = policy_file::lint(policy).into_iter().map(|doubt| doubt.code);
        doubts.filter(|code| code.contains("veto") || code.contains("delay")).collect()
    };
    assert_eq!(codes(&policy), ["no-veto", "long-delay"]);
    let short = with(&json!({ "any": [{ "delay": { "for": "9m", "veto": [one] } }] })).unwrap();
    assert_eq!(codes(&Policy::parse(&short).unwrap()), ["short-delay"]);
    let good = with(&json!({ "delay": { "for": "10m", "veto": [one] } })).unwrap();
    assert!(codes(&Policy::parse(&good).unwrap()).is_empty());
}

#[test]
fn mistakes_in_delays_are_named_by_their_path() {
    let one = client(1).to_string();
    let many: Vec<String> = (1..=17).map(|seed| client(seed).to_string()).collect();
    for (condition, path, what) in [
        (json!({ "delay": {} }), "when.delay.for", "is missing"),
        (json!({ "delay": { "for": "soon" } }), "when.delay.for", "no duration"),
        (json!({ "delay": { "for": "0s" } }), "when.delay.for", "one second to 30 days"),
        (json!({ "delay": { "for": "31days" } }), "when.delay.for", "one second to 30 days"),
        (json!({ "delay": { "for": "1500ms" } }), "when.delay.for", "whole seconds"),
        (json!({ "delay": { "for": "1h", "by": [] } }), "when.delay.by", "not known"),
        (json!({ "delay": { "for": "1h", "veto": ["x"] } }), "when.delay.veto[0]", "Ed25519"),
        (json!({ "delay": { "for": "1h", "veto": [one, one] } }), "when.delay.veto", "twice"),
        (json!({ "delay": { "for": "1h", "veto": many } }), "when.delay.veto", "at most 16"),
        (
            json!({ "not": { "any": [{ "chain": [1] }, { "delay": { "for": "1h" } }] } }),
            "when.not.any[1].delay",
            "may not stand within a not",
        ),
    ] {
        let error = with(&condition).unwrap_err();
        assert!(error.contains(path) && error.contains(what), "{error}");
    }
}
