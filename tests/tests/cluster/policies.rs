//! What policies of rules do to real requests: approvals, rules in order, limits under quorums that
//! change, and strict ones.

use std::sync::Mutex;

use ed25519_dalek::SigningKey;
use quorate_core::request::{MAX_REQUEST, SignedRequest};
use quorate_node::handle::ServiceError;
use quorate_tests::chain::javascript;
use quorate_tests::cluster::{CHAIN, Cluster, Hsm, RECIPIENT, Transfer};
use serde_json::{Value, json};

use super::{good, refused};

/// Keys of approvers, made by the command line: their files, and their public halves.
fn approvers(cluster: &Cluster, count: u8) -> Vec<(String, String)> {
    let make = |number| {
        let file = cluster.root().join(format!("approver-{number}.key")).display().to_string();
        let made = cluster.command(1, &["client", "new", &file]).json();
        (file, made["client"].as_str().unwrap().to_owned())
    };
    (0..count).map(make).collect()
}

/// Small transfers within a limit, large ones with two of three approvals.
fn two_rules(cluster: &Cluster, approvers: &[(String, String)]) -> Value {
    let keys: Vec<&str> = approvers.iter().map(|(_, key)| key.as_str()).collect();
    let pay = json!({ "client": [cluster.client_name()], "chain": [CHAIN], "to": [RECIPIENT] });
    let small = json!({ "all": [pay, { "value": { "at_most": "1000 wei" } }] });
    let large = json!({ "all": [pay, { "approvals": { "at_least": 2, "of": keys } }] });
    json!({ "rules": [
        { "name": "small", "when": small,
          "limits": [{ "measure": "signatures", "max": 1, "per": "1day" }] },
        { "name": "large", "when": large },
    ] })
}

#[test]
fn what_one_may_not_do_alone_two_may_approve() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let approvers = approvers(&cluster, 3);
    let key = cluster.create_key(1, "pay", &two_rules(&cluster, &approvers));

    let large = Transfer { value: 5_000, ..Transfer::default() };
    let alone = refused(cluster.client(1).sign(&cluster.request(&key, &large)));
    let ServiceError::Denied { rule, reason, .. } = alone else { panic!("{alone:?}") };
    assert_eq!(rule, "approvals");
    assert!(reason.contains("0 of the 2 approvals") && reason.contains("rule large"), "{reason}");

    // By the command line: kept, shown, approved by two, sent.
    let file = cluster.root().join("large.request").display().to_string();
    let client = cluster.client_file().display().to_string();
    let mut sign = vec!["sign", "--key", "pay", "--client-key", &client, "--to", RECIPIENT];
    sign.extend(["--value", "5000", "--chain-id", "31337", "--nonce", "7"]);
    sign.extend(["--save-request", &file, "--only-save"]);
    let _ = cluster.command(2, &sign).json();
    let send = ["sign", "--request", &file];
    assert_eq!(cluster.command(2, &send).error(5)["rule"], "approvals");
    let approve = |approver: usize| {
        let key = approvers[approver].0.as_str();
        cluster.command(3, &["request", "approve", &file, "--approver-key", key])
    };
    let _ = approve(0).json();
    assert_eq!(cluster.command(2, &send).error(5)["rule"], "approvals");
    assert!(
        approve(0).error(2)["message"].as_str().unwrap().contains("approved the request already")
    );
    let shown = approve(2).json();
    assert_eq!(shown["approved_by"].as_array().unwrap().len(), 2);
    assert_eq!(shown["value"], "5000 wei");
    let signed = cluster.command(2, &send).json();
    assert_eq!(signed["signers"].as_array().unwrap().len(), 3);

    // Without its approvals it is the same request: what is signed stays signed, and is not signed anew.
    let bytes = hex::decode(std::fs::read_to_string(&file).unwrap().trim()).unwrap();
    let parsed = SignedRequest::parse(&bytes).unwrap();
    assert_eq!(parsed.approvers().count(), 2);
    let start = bytes.len() - 2 * 96 - 3;
    let bare = bytes[..start].iter().copied().chain([0, 0]).collect::<Vec<u8>>();
    assert_eq!(SignedRequest::parse(&bare).unwrap().hash(), parsed.hash());
    let (again, _) = good(&key, cluster.client(4).sign(&bare));
    assert_eq!(
        (again.repeated, again.signature),
        (true, signed["signature"].as_str().unwrap().to_owned())
    );
}

/// A time that ends while a request is under way takes no signature back, and gives none.
#[test]
fn a_time_that_is_over_gives_no_signature_and_takes_none_back() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = now + 6;
    let when =
        json!({ "client": [cluster.client_name()], "chain": [CHAIN], "time": { "before": end } });
    let policy = json!({ "rules": [{ "name": "soon", "when": when }] });
    let key = cluster.create_key(1, "pay", &policy);
    let request = cluster.request(&key, &Transfer::number(0));
    let (signed, _) = good(&key, cluster.client(1).sign(&request));
    while std::time::SystemTime::now() < std::time::UNIX_EPOCH + std::time::Duration::from_secs(end)
    {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for party in cluster.ids() {
        let (again, _) = good(&key, cluster.client(party).sign(&request));
        assert_eq!((again.repeated, &again.signature), (true, &signed.signature), "party {party}");
        let fresh = cluster.request(&key, &Transfer::number(1));
        let ServiceError::Denied { rule, .. } = refused(cluster.client(party).sign(&fresh)) else {
            panic!()
        };
        assert_eq!(rule, "time");
    }
}

#[test]
fn a_rule_without_room_leaves_the_request_to_the_next() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let approvers = approvers(&cluster, 3);
    let key = cluster.create_key(1, "pay", &two_rules(&cluster, &approvers));
    let small = |nonce| cluster.request(&key, &Transfer { value: 1, ..Transfer::number(nonce) });
    // Quorums of 3 out of 4: whichever sign, each party counts at most one.
    let (first, _) = good(&key, cluster.client(1).sign(&small(0)));
    let second = small(1);
    let refusal = refused(cluster.client(first.signers[0]).sign(&second));
    let ServiceError::Denied { rule, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(rule, "window");
    // The same request with two approvals passes by the other rule.
    let approved = approvers.iter().take(2).fold(second, |bytes, (file, _)| {
        let seed = std::fs::read_to_string(file).unwrap();
        let key: SigningKey = quorate_node::client::read_client_key(&seed).unwrap();
        let mut buffer = vec![0; MAX_REQUEST];
        SignedRequest::parse(&bytes).unwrap().approve(&key, &mut buffer).unwrap().to_vec()
    });
    good(&key, cluster.client(1).sign(&approved));
}

/// Asks all parties at once for transfers of their own, and counts what was signed.
fn signed_at_once(cluster: &Cluster, name: &str, policy: &Value, requests: u64) -> u64 {
    let key = cluster.create_key(1, name, policy);
    let (signed, next) = (Mutex::new(0), Mutex::new(0..requests));
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let client = cluster.client(thread % 4 + 1);
            let (key, signed, next) = (&key, &signed, &next);
            scope.spawn(move || {
                loop {
                    let Some(number) = next.lock().unwrap().next() else { return };
                    let request = cluster.request(key, &Transfer::number(number));
                    match client.sign(&request) {
                        Ok(_) => *signed.lock().unwrap() += 1,
                        refused => {
                            let refusal = super::refused(refused);
                            let ServiceError::Denied { rule, .. } = &refusal else {
                                panic!("{refusal:?}")
                            };
                            assert_eq!(rule, "window");
                        }
                    }
                }
            });
        }
    });
    signed.into_inner().unwrap()
}

fn ten_signatures(cluster: &Cluster, strict: &Value) -> Value {
    let when = json!({ "client": [cluster.client_name()], "chain": [CHAIN], "to": [RECIPIENT] });
    let limit = json!({ "measure": "signatures", "max": 10, "per": "1day", "strict": strict });
    json!({ "rules": [{ "name": "ten", "when": when, "limits": [limit] }] })
}

#[test]
fn a_strict_limit_is_the_groups_and_another_is_each_partys() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let strict = ten_signatures(&cluster, &json!({ "party": 2 }));
    // An accepted request stays counted though its session fails, so a busy cluster may sign fewer.
    let signed = signed_at_once(&cluster, "strict", &strict, 50);
    assert!((7..=10).contains(&signed), "{signed}");
    // Each of 4 parties counts 10, and a signature takes 3 of them: at most 13.
    let loose = ten_signatures(&cluster, &json!(false));
    let signed = signed_at_once(&cluster, "loose", &loose, 50);
    assert!((7..=13).contains(&signed), "{signed}");
}

/// A party that one rule names is not needed where another rule allows the request without it.
#[test]
fn the_party_of_a_strict_limit_may_be_away_if_another_rule_allows() {
    let mut cluster = Cluster::running(4, Hsm::Software, None);
    let mut policy = ten_signatures(&cluster, &json!({ "party": 2 }));
    let key = cluster.create_key(1, "strict", &policy);
    let mut second = policy["rules"][0].clone();
    (second["name"], second["limits"]) = ("others".into(), json!([]));
    policy["rules"].as_array_mut().unwrap().push(second);
    let both = cluster.create_key(1, "both", &policy);
    let (signed, _) =
        good(&both, cluster.client(1).sign(&cluster.request(&both, &Transfer::number(0))));
    assert!(signed.signers.contains(&2), "the first rule counts: {:?}", signed.signers);
    cluster.kill(2);
    good(&both, cluster.client(1).sign(&cluster.request(&both, &Transfer::number(1))));
    let refusal = refused(cluster.client(1).sign(&cluster.request(&key, &Transfer::number(0))));
    let ServiceError::NotEnoughParties { reasons, .. } = &refusal else { panic!("{refusal:?}") };
    assert!(reasons.iter().any(|(party, _)| *party == 2), "{refusal:?}");
}

#[test]
fn a_strict_limit_that_no_quorum_meets_is_refused_with_the_key() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    for strict in [json!({ "party": 9 }), json!("all")] {
        let file = cluster.root().join("policy.json");
        std::fs::write(&file, ten_signatures(&cluster, &strict).to_string()).unwrap();
        let file = file.display().to_string();
        let create = ["key", "create", "--name", "k", "--threshold", "2", "--policy", &file];
        let error = cluster.command(1, &create).error(2);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("a strict limit of rule ten admits no quorum"), "{message}");
    }
}

/// Who signed, as ethers recovers it.
fn recovered(kind: &str, what: &str, signature: &str) -> String {
    javascript("verify.mjs", &[kind, what, signature]).trim().to_owned()
}

const PERMIT: &str = r#"{
    "types": {
        "EIP712Domain": [{ "name": "name", "type": "string" }, { "name": "chainId", "type": "uint256" }],
        "Permit": [{ "name": "spender", "type": "address" }, { "name": "value", "type": "uint256" }]
    },
    "primaryType": "Permit",
    "domain": { "name": "Coin", "chainId": 31337 },
    "message": { "spender": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "value": "100" }
}"#;

#[test]
fn messages_and_typed_data_are_signed_as_wallets_sign_them() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let who = json!({ "client": [cluster.client_name()] });
    let policy = json!({ "rules": [
        { "name": "logins", "payload": ["message"],
          "when": { "all": [who, { "message": { "starts_with": "login " } }] } },
        { "name": "permits", "payload": ["typed-data"], "when": { "all": [
            who,
            { "type": "Permit", "domain": { "name": { "equals": "Coin" }, "chainId": { "equals": CHAIN } } },
            { "field": { "at": "spender", "as": "address", "in": [RECIPIENT] } },
            { "field": { "at": "value", "as": "uint", "at_most": 100 } },
        ] } },
        { "name": "digests", "payload": ["raw-digest"],
          "when": { "all": [who, { "time": { "not_before": "2099-01-01T00:00:00Z" } }] } },
    ] });
    let key = cluster.create_key(1, "pay", &policy);
    let client = cluster.client_file().display().to_string();
    let sign = |payload: &[&str]| {
        let start = ["sign", "--key", "pay", "--client-key", &client];
        cluster.command(2, &[&start, payload].concat())
    };
    let signature = |signed: &Value| {
        assert!(signed.get("raw_transaction").is_none(), "{signed}");
        signed["signature"].as_str().unwrap().to_owned()
    };

    let signed = sign(&["--message", "login to the shop"]).json();
    let signer = recovered("message", "login to the shop", &signature(&signed));
    assert_eq!(signer, key.address);
    assert_eq!(sign(&["--message", "logout"]).error(5)["rule"], "message");

    let file = cluster.root().join("permit.json").display().to_string();
    std::fs::write(&file, PERMIT).unwrap();
    let signed = sign(&["--typed-data", &file]).json();
    assert_eq!(recovered("typed-data", &file, &signature(&signed)), key.address);
    assert_eq!(
        recovered("digest", signed["hash"].as_str().unwrap(), &signature(&signed)),
        key.address
    );
    for (altered, rule) in [
        (PERMIT.replace("\"100\"", "\"101\""), "field"),
        (PERMIT.replace("\"Coin\"", "\"Other\""), "domain"),
        (PERMIT.replace("31337", "1"), "domain"),
        (
            PERMIT.replace("79C8", "79c8").replace(
                "0x70997970C51812dc3A010C7d01b50e0d17dc79c8",
                "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            ),
            "field",
        ),
        (PERMIT.replace("Permit", "Order"), "type"),
    ] {
        std::fs::write(&file, &altered).unwrap();
        assert_eq!(sign(&["--typed-data", &file]).error(5)["rule"], rule, "{altered}");
    }
    let digest = format!("0x{}", "11".repeat(32));
    assert_eq!(sign(&["--digest", &digest]).error(5)["rule"], "time");
    let transfer = ["--to", RECIPIENT, "--chain-id", "31337"];
    assert_eq!(sign(&transfer).error(5)["rule"], "kind");
}
