//! Denials that come with their judgement, accounts that sign requests, and facts in a file: by the command
//! line, before real processes.

use quorate_node::handle::ServiceError;
use quorate_tests::cluster::{CHAIN, Cluster, Hsm, RECIPIENT, Transfer};
use serde_json::{Value, json};

use super::refused;

fn kept(cluster: &Cluster, key: &str, name: &str) -> String {
    let file = cluster.root().join(name).display().to_string();
    let client = cluster.client_file().display().to_string();
    let sign = ["sign", "--key", key, "--client-key", &client, "--to", RECIPIENT, "--value", "5"];
    let rest = ["--chain-id", "31337", "--save-request", &file, "--only-save"];
    let _ = cluster.command(2, &[&sign[..], &rest].concat()).json();
    file
}

#[test]
fn a_denial_shows_the_judgement_to_whom_the_policy_names() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let stranger = "01".repeat(32);
    let too_small = json!({ "chain": [CHAIN], "value": { "at_most": "1 wei" } });
    let by = |named: &str, name: &str| {
        let who = json!({ "any": [{ "client": [named] }, { "time": { "not_before": 0 } }] });
        let when = json!({ "all": [who, too_small] });
        let policy = json!({ "rules": [{ "name": "small", "when": when }] });
        let key = cluster.create_key(1, name, &policy);
        let request = cluster.request(&key, &Transfer { value: 5, ..Transfer::default() });
        let refusal = refused(cluster.client(1).sign(&request));
        let ServiceError::Denied { rule, reason, verdict, .. } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(rule, "value");
        assert!(reason.contains("5 wei is more than the limit of 1 wei"), "{reason}");
        verdict.map(|verdict| *verdict)
    };
    let shown = by(cluster.client_name(), "named").unwrap();
    assert_eq!((&shown["allowed"], &shown["denial"]["rule"]), (&json!(false), &json!("value")));
    let conditions = &shown["rules"][0]["conditions"][0]["conditions"];
    let holds: Vec<&Value> =
        conditions.as_array().unwrap().iter().map(|one| &one["holds"]).collect();
    assert_eq!(holds, [true, false]);
    let limit = &conditions[1]["conditions"][1];
    assert_eq!(limit["condition"], "the value is at most 1 wei");
    assert_eq!(by(&stranger, "unnamed"), None);

    // By the command line, and as people see it.
    let file = kept(&cluster, "named", "named.request");
    let error = cluster.command(2, &["sign", "--request", &file]).error(5);
    assert_eq!(error["verdict"], shown);
    let text = quorate_node::policy_file::verdict_text(&error["verdict"]);
    for line in [
        "Rule \"small\" does not allow it\n",
        "  no      all of these hold\n",
        "      no      the value is",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn another_key_signs_a_request() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let client = cluster.client_name();
    let approvals = json!({ "rules": [{ "name": "approvals", "payload": ["message"], "when": {
        "client": [client], "message": { "pattern": "Quorate approval of request 0x*" } } }] });
    let second = cluster.create_key(1, "second", &approvals);
    let when = json!({ "client": [client], "chain": [CHAIN],
        "signatures": { "at_least": 1, "of": [second.address] } });
    let _ = cluster.create_key(1, "first", &json!({ "rules": [{ "name": "both", "when": when }] }));

    let file = kept(&cluster, "first", "first.request");
    let send = ["sign", "--request", &file];
    assert_eq!(cluster.command(2, &send).error(5)["rule"], "signatures");
    let shown = cluster.command(2, &["request", "show", &file]).json();
    assert_eq!(shown["signed_by"], json!([]));
    let text = shown["message_to_sign"].as_str().unwrap();
    assert_eq!(
        text,
        format!("Quorate approval of request 0x{}", shown["request"].as_str().unwrap())
    );
    let key_file = cluster.client_file().display().to_string();
    let sign = ["sign", "--key", "second", "--client-key", &key_file, "--message"];
    let other = [&sign[..], &["Quorate approval of nothing"]].concat();
    assert_eq!(cluster.command(3, &other).error(5)["rule"], "message");
    let signed = cluster.command(3, &[&sign[..], &[text]].concat()).json();
    let signature = signed["signature"].as_str().unwrap();

    let approve = |signature: &str| {
        cluster.command(2, &["request", "approve", &file, "--signature", signature])
    };
    let wrong = approve(&format!("0x{}", "00".repeat(65))).error(2);
    assert!(wrong["message"].as_str().unwrap().contains("no signature of an account"), "{wrong}");
    assert_eq!(approve(signature).json()["signed_by"], json!([second.address]));
    let again = approve(signature).error(2);
    assert!(again["message"].as_str().unwrap().contains("approved the request already"), "{again}");
    assert_eq!(cluster.command(2, &send).json()["signers"].as_array().unwrap().len(), 3);
}

#[test]
fn facts_in_a_file_are_simulated_and_a_node_without_them_denies() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let path = |name: &str| cluster.root().join(name).display().to_string();
    let write = |name: &str, value: &Value| {
        std::fs::write(path(name), value.to_string()).unwrap();
        path(name)
    };
    let owner = json!({ "chain": CHAIN, "confirmations": 1, "account": "$to", "at_least": 7 });
    let policy = json!({ "rules": [{ "name": "rich", "when": {
        "client": [cluster.client_name()], "chain": [CHAIN], "balance": owner } }] });
    let key = cluster.create_key(1, "rich", &policy);
    let (policy, request) = (write("policy.json", &policy), kept(&cluster, "rich", "rich.request"));
    let simulate = |more: &[&str]| {
        let start = ["policy", "simulate", &policy, "--request", &request];
        let account = ["--account", &key.address];
        cluster.command(1, &[&start[..], &account, more].concat())
    };
    let unknown = simulate(&[]).json();
    assert_eq!(unknown["denial"]["rule"], "fact");
    let mut entry = unknown["missing_facts"][0].clone();
    assert_eq!(entry["balance"]["account"], RECIPIENT);
    for (wei, allowed) in [("7", true), ("6", false)] {
        entry["wei"] = json!(wei);
        let file = write("facts.json", &json!({ "facts": [entry] }));
        let judged = simulate(&["--facts", &file]).json();
        assert_eq!(judged["allowed"], json!(allowed), "{judged}");
        assert_eq!(judged["missing_facts"], json!([]));
    }
    // The node itself has no source for this chain.
    let send = ["sign", "--request", &request];
    assert_eq!(cluster.command(1, &send).error(5)["rule"], "fact");
    let error = simulate(&["--facts", &write("facts.json", &json!({ "facts": [{}] }))]).error(3);
    assert!(error["message"].as_str().unwrap().contains("facts[0]"), "{error}");
}

#[test]
fn the_schema_is_printed_and_served() {
    let mut cluster = Cluster::new(2, Hsm::Software);
    cluster.start(1);
    let printed = cluster.command(1, &["policy", "schema"]).json();
    let expected: Value = serde_json::from_str(quorate_node::policy_file::SCHEMA).unwrap();
    assert_eq!(printed, expected);
    let (status, served) = super::http::call(cluster.api(1), "GET /v1/policy/schema", "", "");
    assert_eq!((status, served), (200, expected));
}
