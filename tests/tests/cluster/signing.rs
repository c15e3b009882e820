//! Who signs: any node coordinates, each request counts once, wherever and however often it is asked.

use quorate_node::handle::ServiceError;
use quorate_tests::cluster::{CHAIN, Cluster, Deadlines, FEE, Hsm, RECIPIENT, Transfer};
use quorate_tests::transaction::address_of;

use super::{good, refused};

#[test]
fn any_node_makes_keys_and_signs() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let mut addresses = Vec::new();
    for maker in cluster.ids() {
        let key = cluster.create_key(maker, &format!("key {maker}"), &cluster.policy());
        assert_eq!((key.threshold, key.quorum, &key.parties), (2, 3, &cluster.ids()));
        assert_eq!(key.address.to_lowercase(), address_of(&key.public_key));
        for coordinator in cluster.ids() {
            let nonce = u64::from(coordinator);
            let request = cluster.request(&key, &Transfer { value: 5, ..Transfer::number(nonce) });
            let (signed, verdict) = good(&key, cluster.client(coordinator).sign(&request));
            assert!(!signed.repeated);
            assert_eq!(hex::encode(verdict.public_key), key.public_key);
            let fields = [0, 1, 4, 6].map(|index| verdict.number(index));
            assert_eq!(fields, [CHAIN.into(), nonce.into(), 21_000, 5]);
            let to = format!("0x{}", hex::encode(&verdict.fields[5]));
            assert_eq!(to, RECIPIENT.to_lowercase());
        }
        addresses.push(key.address);
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "each key is another one");
}

/// Transfers of 5 wei as ethers writes them unsigned: a legacy one, and one with an access list.
const OTHER_TYPES: [(u8, &str); 2] = [
    (0, "0xe580843b9aca008252089470997970c51812dc3a010c7d01b50e0d17dc79c80580827a698080"),
    (
        1,
        "0x01f85d827a6980843b9aca008252089470997970c51812dc3a010c7d01b50e0d17dc79c80580\
         f838f79470997970c51812dc3a010c7d01b50e0d17dc79c8e1a044444444444444444444444444\
         44444444444444444444444444444444444444",
    ),
];

#[test]
fn older_types_of_transactions_are_signed_too() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    let client = cluster.client_file().display().to_string();
    for (kind, unsigned) in OTHER_TYPES {
        let sign = ["sign", "--key", "pay", "--client-key", &client, "--transaction", unsigned];
        let signed = cluster.command(2, &sign).json();
        let verdict = quorate_tests::chain::judge(signed["raw_transaction"].as_str().unwrap());
        assert_eq!((verdict.kind, verdict.chain_id, verdict.low_s), (kind.into(), CHAIN, true));
        assert_eq!((verdict.from.as_str(), verdict.value.as_str()), (key.address.as_str(), "5"));
        assert_eq!(signed["hash"], verdict.hash);
        let y_parity = signed["y_parity"].as_u64().unwrap();
        let text = |field: &str| signed[field].as_str().unwrap();
        let signature = format!("0x{}{}{:02x}", text("r"), text("s"), 27 + y_parity);
        assert_eq!(signed["signature"], signature);
    }
}

#[test]
fn every_party_shows_the_same_key_and_policy() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let made = cluster.create_key(3, "pay", &cluster.policy_with_window(9, 7));
    let other = cluster.create_key(3, "other", &cluster.policy_with_window(10, 7));
    assert_ne!(made.policy_hash, other.policy_hash);
    for party in cluster.ids() {
        let shown = cluster.command(party, &["key", "show", "pay"]).json();
        assert_eq!(shown["state"], "active");
        assert_eq!(shown["key"], made.key);
        assert_eq!(shown["public_key"], made.public_key);
        assert_eq!(shown["policy_hash"], made.policy_hash);
        assert_eq!(Some(&shown["policy"]), made.policy.as_ref());
        let rule = &shown["policy"]["rules"][0];
        assert_eq!(rule["when"]["all"][0]["client"][0], cluster.client_name());
        let total = (7 + u128::from(FEE)) * 9;
        assert_eq!(rule["limits"][0]["max"], total.to_string());
        let listed = cluster.command(party, &["key", "list"]).json();
        assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_request_asked_again_gives_the_signature_that_there_is() {
    let mut cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    let request = cluster.request(&key, &Transfer { value: 100, ..Transfer::default() });
    let (first, _) = good(&key, cluster.client(1).sign(&request));
    assert!(!first.repeated);
    cluster.fence(1);
    for party in [1, 2, 3, 4, 1] {
        let (again, _) = good(&key, cluster.client(party).sign(&request));
        assert!(again.repeated, "party {party} signed anew");
        assert_eq!(again.raw_transaction, first.raw_transaction);
        assert_eq!((&again.signers, &again.session), (&first.signers, &first.session));
    }
    // An equal wish with a nonce of its own is another request.
    let other = cluster.request(&key, &Transfer { value: 100, ..Transfer::default() });
    let (other, _) = good(&key, cluster.client(2).sign(&other));
    assert!(!other.repeated);

    cluster.terminate_all();
    cluster.start_all();
    cluster.wait_linked();
    let (again, _) = good(&key, cluster.client(4).sign(&request));
    assert_eq!((again.repeated, &again.raw_transaction), (true, &first.raw_transaction));

    cluster.terminate_all();
    let one = 100 + u128::from(FEE);
    for party in cluster.ids() {
        assert_eq!(cluster.counted(party, &request), first.signers.contains(&party));
        let signed = [&first, &other].iter().filter(|s| s.signers.contains(&party)).count();
        assert_eq!(cluster.spent(party, &key), one * signed as u128, "party {party}");
    }
}

#[test]
fn a_request_asked_everywhere_at_once_counts_once() {
    let mut cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    let requests: Vec<_> = (0..5).map(|n| cluster.request(&key, &Transfer::number(n))).collect();
    for request in &requests {
        std::thread::scope(|scope| {
            let asked = [1, 2, 3, 4, 4, 1, 2, 3].map(|party| {
                let client = cluster.client(party);
                scope.spawn(move || client.sign(request))
            });
            for thread in asked {
                good(&key, thread.join().unwrap());
            }
        });
    }
    cluster.terminate_all();
    for party in cluster.ids() {
        let counted = requests.iter().filter(|request| cluster.counted(party, request)).count();
        let one = 1_000 + u128::from(FEE);
        assert_eq!(cluster.spent(party, &key), one * counted as u128, "party {party}");
    }
    for request in &requests {
        let parties = cluster.ids();
        let counted = parties.iter().filter(|party| cluster.counted(**party, request)).count();
        assert!(counted >= 3, "{counted} parties counted a request that was signed");
    }
}

#[test]
fn without_a_quorum_the_answer_names_who_is_away() {
    let deadlines = Deadlines { key: 10_000, accept: 1_000, sign: 4_000 };
    let mut cluster = Cluster::running(4, Hsm::Software, Some(deadlines));
    let key = cluster.create_key(1, "pay", &cluster.policy());
    cluster.kill(2);
    cluster.kill(4);
    let file = cluster.root().join("kept.request").display().to_string();
    let client = cluster.client_file().display().to_string();
    let mut sign = vec!["sign", "--key", "pay", "--client-key", &client, "--to", RECIPIENT];
    sign.extend(["--value", "7", "--chain-id", "31337", "--save-request", &file]);
    let error = cluster.command(1, &sign).error(7);
    assert_eq!(error["code"], "not-enough-parties");
    assert_eq!((&error["need"], &error["have"]), (&3.into(), &serde_json::json!([1, 3])));
    let away = serde_json::json!([[2, "not connected"], [4, "not connected"]]);
    assert_eq!(error["reasons"], away, "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("party 2: not connected"), "{message}");

    cluster.start(4);
    cluster.wait_linked();
    let signed = cluster.command(3, &["sign", "--request", &file]).json();
    assert_eq!(signed["signers"], serde_json::json!([1, 3, 4]));
    let raw = signed["raw_transaction"].as_str().unwrap();
    assert_eq!(quorate_tests::transaction::judge(raw).sender, key.address.to_lowercase());
}

#[test]
fn a_key_needs_all_its_parties_and_the_answer_names_who_is_away() {
    let deadlines = Deadlines { key: 10_000, accept: 1_000, sign: 4_000 };
    let mut cluster = Cluster::running(4, Hsm::Software, Some(deadlines));
    cluster.kill(3);
    let error = refused(cluster.client(1).create_key("pay", 2, &[], &cluster.policy()));
    let ServiceError::NotEnoughParties { need: 4, have, reasons } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(have, &[1, 2, 4]);
    assert_eq!(reasons, &[(3, "not connected".to_owned())]);
    let policy = cluster.root().join("policy.json");
    std::fs::write(&policy, cluster.policy().to_string()).unwrap();
    let policy = policy.display().to_string();
    let mut create = vec!["key", "create", "--threshold", "2", "--policy", &policy, "--name"];
    create.push("pay");
    let said = cluster.command(2, &create).error(7);
    assert_eq!(said["reasons"], serde_json::json!([[3, "not connected"]]));
    // Those who are there can make one for themselves.
    create.extend(["--parties", "1,2,4"]);
    let made = cluster.command(2, &create).json();
    assert_eq!(made["parties"], serde_json::json!([1, 2, 4]));
    // Nothing of it reaches who is no holder; that party says so.
    cluster.start(3);
    cluster.wait_linked();
    let _ = cluster.command(3, &["key", "show", "pay"]).error(14);
}

#[test]
fn shares_in_tokens_sign_and_survive_a_restart() {
    let mut cluster = Cluster::running(4, Hsm::SoftHsm, None);
    let status = cluster.client(2).status().unwrap();
    assert!(status.hsm.contains("SoftHSM"), "{}", status.hsm);
    let key = cluster.create_key(2, "pay", &cluster.policy());
    let request = cluster.request(&key, &Transfer::number(0));
    good(&key, cluster.client(3).sign(&request));
    cluster.kill(1);
    cluster.terminate(4);
    cluster.start_all();
    cluster.wait_linked();
    cluster.kill(2);
    let request = cluster.request(&key, &Transfer::number(1));
    let (signed, _) = good(&key, cluster.client(4).sign(&request));
    assert_eq!(signed.signers, [1, 3, 4]);
}
