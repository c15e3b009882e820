//! What is refused through the command line, with the exit codes of `docs/EXIT_CODES.md`.

use quorate_tests::cluster::{Cluster, Hsm, Output, RECIPIENT, STRANGER, Transfer, process};
use serde_json::Value;

use super::good;

/// A transfer of 5 wei with a blob, as ethers writes it unsigned.
const BLOB: &str = "0x03f848827a698001843b9aca008252089470997970c51812dc3a010c7d01b50e0d17dc79c805\
    80c009e1a00155555555555555555555555555555555555555555555555555555555555555";

/// `quorate sign` for an allowed transfer, with `changes` behind: the last of an option counts.
fn sign(cluster: &Cluster, party: u16, key: &str, changes: &[(&str, &str)]) -> Output {
    let client = cluster.client_file().display().to_string();
    let mut options = vec![
        ("--key", key),
        ("--client-key", client.as_str()),
        ("--to", RECIPIENT),
        ("--value", "1000"),
        ("--chain-id", "31337"),
    ];
    for change in changes {
        options.retain(|(name, _)| *name != change.0);
        options.push(*change);
    }
    let words = options.iter().flat_map(|(name, value)| [*name, *value]);
    let arguments: Vec<&str> = ["sign"].into_iter().chain(words).collect();
    cluster.command(party, &arguments)
}

fn create(cluster: &Cluster, party: u16, name: &str, policy: &Value) -> Output {
    let file = cluster.root().join(format!("policy-{name}.json"));
    std::fs::write(&file, policy.to_string()).unwrap();
    let file = file.display().to_string();
    cluster
        .command(party, &["key", "create", "--name", name, "--threshold", "2", "--policy", &file])
}

#[test]
fn what_a_policy_does_not_name_is_denied_by_its_kind() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let _ = create(&cluster, 1, "pay", &cluster.policy()).json();
    let file = cluster.root().join("typed-data.json");
    let typed_data = serde_json::json!({
        "types": { "A": [{ "name": "x", "type": "uint8" }] },
        "primaryType": "A", "domain": {}, "message": { "x": 7 },
    });
    std::fs::write(&file, typed_data.to_string()).unwrap();
    let (file, client) = (file.display().to_string(), cluster.client_file().display().to_string());
    let ask = |option: &str, value: &str| {
        cluster.command(2, &["sign", "--key", "pay", "--client-key", &client, option, value])
    };
    for (option, value, rule) in [
        ("--message", "Hello World", "kind"),
        ("--typed-data", &file, "kind"),
        ("--transaction", BLOB, "kind"),
    ] {
        let error = ask(option, value).error(5);
        assert_eq!((&error["code"], &error["rule"]), (&"denied".into(), &rule.into()), "{error}");
    }
    let wrong = typed_data.to_string().replace('7', "256");
    std::fs::write(&file, wrong).unwrap();
    let error = ask("--typed-data", &file).error(2);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("message.x: out of the range of uint8"), "{message}");
}

#[test]
fn a_denial_names_its_rule() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let _ = create(&cluster, 1, "pay", &cluster.policy_with_window(2, 1000)).json();
    let stranger = cluster.root().join("stranger.key").display().to_string();
    let _ = cluster.command(1, &["client", "new", &stranger]).json();
    let cases: [(&str, &[(&str, &str)]); 9] = [
        ("client", &[("--client-key", &stranger)]),
        ("chain", &[("--chain-id", "1")]),
        ("recipient", &[("--to", STRANGER)]),
        ("value", &[("--value", "0.2ether")]),
        ("fee", &[("--max-fee-per-gas", "1ether")]),
        ("data", &[("--data", "0x00")]),
        ("expired", &[("--expires-in", "0")]),
        ("expiry-too-far", &[("--expires-in", "90000")]),
        ("window", &[("--value", "0.09ether")]),
    ];
    for (rule, changes) in cases {
        let error = sign(&cluster, 2, "pay", changes).error(5);
        assert_eq!((&error["code"], &error["rule"]), (&"denied".into(), &rule.into()));
        assert_eq!(error["exit"], 5);
        assert!(error["message"].as_str().unwrap().contains(&format!("rule {rule}")), "{error}");
    }
    let garbled = ["sign", "--key", "pay", "--client-key"];
    let client = cluster.client_file().display().to_string();
    let garbled = [garbled.as_slice(), &[&client, "--transaction", "0x01c0"]].concat();
    assert_eq!(cluster.command(2, &garbled).error(5)["rule"], "payload");
    // Nothing of that was counted: there is room for two transfers, at each of four parties. The
    // third finds room at two parties at most.
    for nonce in ["0", "1"] {
        let _ = sign(&cluster, 3, "pay", &[("--nonce", nonce)]).json();
    }
    let mut denied = None;
    for nonce in ["2", "3"] {
        let output = sign(&cluster, 3, "pay", &[("--nonce", nonce)]);
        if output.code != Some(0) {
            denied = Some(output.error(5));
        }
    }
    let denied = denied.expect("12 of 8 places were used");
    assert_eq!(denied["rule"], "window");
}

#[test]
fn what_does_not_exist_and_what_exists_already() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let _ = create(&cluster, 1, "pay", &cluster.policy()).json();
    for arguments in [["key", "show", "nosuch"].as_slice(), &["key", "show", "00/../x"]] {
        let error = cluster.command(2, arguments).error(14);
        assert_eq!(error["code"], "unknown-key");
        assert!(error["message"].as_str().unwrap().contains(arguments[2]), "{error}");
    }
    let error = sign(&cluster, 2, "nosuch", &[]).error(14);
    assert_eq!(error["exit"], 14);

    for party in [1, 2] {
        let error = create(&cluster, party, "pay", &cluster.policy()).error(15);
        assert!(error["message"].as_str().unwrap().contains("pay"), "{error}");
    }
    let before = std::fs::read(cluster.folder(1).join("quorate.toml")).unwrap();
    let error = cluster.init_again(1).error(15);
    assert!(error["message"].as_str().unwrap().contains("nothing was changed"), "{error}");
    assert_eq!(std::fs::read(cluster.folder(1).join("quorate.toml")).unwrap(), before);
    let client = cluster.client_file().display().to_string();
    let _ = cluster.command(1, &["client", "new", &client]).error(15);
    // A second node of the same party.
    let error = cluster.command(1, &["run"]).error(15);
    assert!(error["message"].as_str().unwrap().contains("in use"), "{error}");
    cluster.wait_linked();
}

#[test]
fn mistakes_in_policies_are_found_before_anything_happens() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    for (field, value) in [
        ("max_value", "much".into()),
        ("chains", serde_json::json!([])),
        ("recipients", serde_json::json!(["0x70997970c51812Dc3A010C7d01b50e0d17dc79C8"])),
        ("surprise", 1.into()),
    ] {
        let mut policy = cluster.policy();
        policy[field] = value;
        let error = create(&cluster, 1, "pay", &policy).error(3);
        assert!(error["message"].as_str().unwrap().contains(field), "{error}");
    }
    let none = serde_json::json!({ "keys": [] });
    assert_eq!(cluster.command(1, &["key", "list"]).json(), none);
}

#[test]
fn without_its_token_nobody_makes_keys() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let token = cluster.folder(1).join("operator.token");
    let kept = std::fs::read(&token).unwrap();
    std::fs::remove_file(&token).unwrap();
    let error = create(&cluster, 1, "pay", &cluster.policy()).error(6);
    assert!(error["message"].as_str().unwrap().contains("operator.token"), "{error}");
    for wrong in [std::fs::read(cluster.folder(2).join("operator.token")).unwrap(), Vec::new()] {
        std::fs::write(&token, wrong).unwrap();
        let error = create(&cluster, 1, "pay", &cluster.policy()).error(6);
        assert_eq!(error["code"], "unauthorised");
    }
    std::fs::write(&token, kept).unwrap();
    let _ = create(&cluster, 1, "pay", &cluster.policy()).json();
}

#[test]
fn a_request_that_the_client_did_not_sign_is_not_authorised() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    let request = cluster.request(&key, &Transfer::default());
    let file = cluster.root().join("forged.request");
    let mut forged = request.clone();
    // The signature's last byte: behind it stands the empty list of approvals.
    let place = forged.len() - 3;
    forged[place] ^= 1;
    std::fs::write(&file, hex::encode(&forged)).unwrap();
    let file = file.display().to_string();
    let error = cluster.command(2, &["sign", "--request", &file]).error(6);
    assert!(error["message"].as_str().unwrap().contains("signature"), "{error}");
    good(&key, cluster.client(2).sign(&request));
}

#[test]
fn a_node_that_does_not_run_cannot_be_reached() {
    let cluster = Cluster::new(2, Hsm::Software);
    for arguments in [["status"].as_slice(), &["key", "list"], &["key", "show", "pay"]] {
        let error = cluster.command(1, arguments).error(4);
        assert!(error["message"].as_str().unwrap().contains("quorate run"), "{error}");
    }
    let _ = sign(&cluster, 1, "pay", &[]).error(4);
    let _ = create(&cluster, 1, "pay", &cluster.policy()).error(4);
}

#[test]
fn a_node_does_not_start_with_a_wrong_configuration() {
    let mut cluster = Cluster::new(2, Hsm::Software);
    let file = cluster.folder(1).join("quorate.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let api = cluster.api(1).to_string();
    let open = good.replace(&format!("api = \"{api}\""), "api = \"0.0.0.0:9\"");
    let other = cluster.command(2, &["identity"]).json()["identity"].as_str().unwrap().to_owned();
    let own = cluster.command(1, &["identity"]).json()["identity"].as_str().unwrap().to_owned();
    for (code, named, text) in [
        (3, "surprise", format!("surprise = 1\n{good}")),
        (3, "loopback", open),
        (3, "identity", good.replace(&own, &other)),
        (3, "party", good.replace("party = 1", "party = 0")),
        (3, "membership", good.replace("membership.toml", "nothing.toml")),
    ] {
        assert_ne!(text, good, "{named}");
        std::fs::write(&file, text).unwrap();
        let error = cluster.command(1, &["run"]).error(code);
        assert!(error["message"].as_str().unwrap().contains(named), "{named}: {error}");
    }
    std::fs::write(&file, good).unwrap();
    cluster.start(1);
    assert!(process::processes_with(&cluster.folder(1).display().to_string()).len() == 1);
}
