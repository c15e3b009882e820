//! Delays and vetoes on real processes, through the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_node::client::ClientError;
use quorate_node::handle::{KeyInfo, ServiceError, Waiting};
use quorate_tests::cluster::{CHAIN, Cluster, Hsm, RECIPIENT, Transfer};
use serde_json::{Value, json};

use super::{good, refused};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

struct Scene {
    cluster: Cluster,
    key: KeyInfo,
    /// The vetoer's key file.
    vetoer: String,
    /// A kept request.
    file: String,
}

/// A key whose policy lets everything wait, and a request that is kept and not sent.
fn scene(delay: &str) -> Scene {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let vetoer = cluster.root().join("vetoer.key").display().to_string();
    let made = cluster.command(1, &["client", "new", &vetoer]).json();
    let when = json!({
        "client": [cluster.client_name()], "chain": [CHAIN], "to": [RECIPIENT],
        "delay": { "for": delay, "veto": [made["client"]] },
    });
    let key =
        cluster.create_key(1, "slow", &json!({ "rules": [{ "name": "slow", "when": when }] }));
    let file = cluster.root().join("slow.request").display().to_string();
    let client = cluster.client_file().display().to_string();
    let mut keep = vec!["sign", "--key", "slow", "--client-key", &client, "--to", RECIPIENT];
    keep.extend(["--value", "1", "--chain-id", "31337", "--expires-in", "7200"]);
    keep.extend(["--save-request", &file, "--only-save"]);
    let _ = cluster.command(2, &keep).json();
    Scene { cluster, key, vetoer, file }
}

impl Scene {
    fn bytes(&self) -> Vec<u8> {
        hex::decode(std::fs::read_to_string(&self.file).unwrap().trim()).unwrap()
    }

    fn send(&self, party: u16) -> quorate_tests::cluster::Output {
        self.cluster.command(party, &["sign", "--request", &self.file])
    }

    /// What waits at a party, by its command line.
    fn waiting(&self, party: u16) -> Vec<Value> {
        let list = self.cluster.command(party, &["request", "list"]).json();
        list["requests"].as_array().unwrap().clone()
    }
}

fn waits(refusal: ServiceError) -> Waiting {
    match refusal {
        ServiceError::Waiting(waiting) => waiting,
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn a_request_waits_through_kills_and_is_signed_when_its_delay_is_over() {
    let mut scene = scene("8s");
    let start = now();
    let error = scene.send(1).error(16);
    assert_eq!((&error["code"], &error["state"]), (&"waiting".into(), &"waiting".into()));
    assert_eq!(error["known_to"], json!([1, 2, 3, 4]), "{error}");
    let until = error["until"].as_u64().unwrap();
    assert!(until >= start + 8, "{error}");
    assert!(error["message"].as_str().unwrap().contains("waits until"), "{error}");
    // As the API has it, byte for byte: no error, 202.
    let api = format!("http://{}/v1/sign", scene.cluster.api(3));
    let body = json!({ "request": hex::encode(scene.bytes()) });
    let mut answer = ureq::post(&api).send_json(&body).unwrap();
    let early = now() < until;
    let said: Value = answer.body_mut().read_json().unwrap();
    assert!(!early || (answer.status() == 202 && said["state"] == "waiting"), "{said}");

    let since: Vec<Value> = [1, 2, 3, 4].map(|id| scene.waiting(id)[0]["since"].clone()).into();
    for party in [2, 3] {
        scene.cluster.kill(party);
        scene.cluster.start(party);
    }
    scene.cluster.wait_linked();
    for (party, since) in [1, 2, 3, 4].into_iter().zip(&since) {
        // Unless the machine was so slow that it is signed.
        let Some(waiting) = scene.waiting(party).into_iter().next() else { continue };
        assert_eq!(&waiting["since"], since, "party {party}: {waiting}");
    }
    let early = scene.cluster.client(4).sign(&scene.bytes());
    assert!(now() >= until || matches!(early, Err(ClientError::Refused(ServiceError::Waiting(_)))));
    let waited = scene.cluster.command(2, &["sign", "--request", &scene.file, "--wait"]).json();
    assert!(now() >= start + 8, "{waited}");
    assert_eq!(waited["signers"].as_array().unwrap().len(), 3);
    let (again, _) = good(&scene.key, scene.cluster.client(3).sign(&scene.bytes()));
    assert_eq!(again.signature, waited["signature"].as_str().unwrap());
    scene.cluster.terminate_all();
    for party in scene.cluster.ids() {
        let log = scene.cluster.store(party).audit(1, 1000).unwrap();
        let records =
            log.iter().map(|entry| serde_json::from_slice::<Value>(&entry.record).unwrap());
        let waits = records.filter(|record| record["event"] == "waiting").count();
        assert_eq!(waits, 1, "party {party}");
    }
}

#[test]
fn a_veto_through_one_node_stops_the_request_everywhere() {
    let mut scene = scene("1h");
    let _ = scene.send(1).error(16);
    let waiting = scene.waiting(2).remove(0);
    let hash = waiting["request"].as_str().unwrap().to_owned();
    assert_eq!((&waiting["state"], &waiting["name"]), (&"waiting".into(), &"slow".into()));
    let shown = scene.cluster.command(4, &["request", "show", &hash]).json();
    assert_eq!((&shown["value"], &shown["waiting"]["state"]), (&"1 wei".into(), &"waiting".into()));

    let client = scene.cluster.client_file().display().to_string();
    let veto = |party: u16, which: &str, key: &str| {
        scene.cluster.command(party, &["request", "veto", which, "--vetoer-key", key])
    };
    let error = veto(3, &hash, &client).error(5);
    assert_eq!(error["rule"], "vetoer", "{error}");
    assert_eq!(veto(3, &"77".repeat(32), &scene.vetoer).error(14)["code"], "unknown-request");
    assert_eq!(scene.waiting(1)[0]["state"], "waiting", "nobody has vetoed it yet");
    let vetoed = veto(3, &hash, &scene.vetoer).json();
    assert_eq!((&vetoed["state"], &vetoed["told"]), (&"vetoed".into(), &json!([1, 2, 4])));
    assert_eq!(veto(3, &scene.file, &scene.vetoer).json()["repeated"], true);
    scene.cluster.fence(3);
    for party in scene.cluster.ids() {
        let error = scene.send(party).error(5);
        assert_eq!((&error["rule"], &error["party"]), (&"vetoed".into(), &party.into()));
        assert_eq!(scene.waiting(party)[0]["state"], "denied");
    }
    scene.cluster.kill(2);
    scene.cluster.start(2);
    assert_eq!(scene.send(2).error(5)["rule"], "vetoed");
}

/// By hash and key, before anybody has sent the request.
#[test]
fn a_veto_of_a_request_that_nobody_has_seen_waits_for_it() {
    let scene = scene("1h");
    let hash =
        scene.cluster.command(1, &["request", "show", &scene.file]).json()["request"].clone();
    let hash = hash.as_str().unwrap();
    let veto = ["request", "veto", hash, "--vetoer-key", &scene.vetoer, "--key", "slow"];
    let vetoed = scene.cluster.command(2, &veto).json();
    assert_eq!((&vetoed["waiting"], &vetoed["told"]), (&false.into(), &json!([1, 3, 4])));
    scene.cluster.fence(2);
    for party in scene.cluster.ids() {
        let refusal = refused(scene.cluster.client(party).sign(&scene.bytes()));
        assert!(matches!(&refusal, ServiceError::Denied { rule, .. } if rule == "vetoed"));
    }
    let other =
        scene.cluster.request(&scene.key, &Transfer { expires_in: 7200, ..Transfer::number(9) });
    waits(refused(scene.cluster.client(1).sign(&other)));
}
