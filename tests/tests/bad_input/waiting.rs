//! A coordinator that would like to wait less than the policy says, and vetoes that are none.

use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use quorate_core::request::{ClientKey, KeyId, SignedRequest, Veto};
use quorate_node::handle::KeyInfo;
use quorate_node::message::{PeerMessage, Rejection, sign_session};
use serde_json::json;

use crate::evil::{Evil, id};
use crate::node_process::wait_for;
use crate::scene::{LIAR, Scene, bytes, set};

fn vetoer() -> SigningKey {
    SigningKey::from_bytes(&[0x77; 32])
}

/// A key of the honest three, by which everything waits an hour.
fn slow(scene: &Scene) -> KeyInfo {
    let name = |key: &SigningKey| ClientKey(key.verifying_key().to_bytes()).to_string();
    let when = json!({
        "client": [name(&scene.client_key)], "chain": [31337],
        "delay": { "for": "1h", "veto": [name(&vetoer())] },
    });
    let policy = json!({ "rules": [{ "name": "slow", "when": when }] });
    std::fs::write(scene.root.path().join("policy.json"), policy.to_string()).unwrap();
    let made = scene.create_key("slow", "1,2,3").object();
    for node in &scene.nodes {
        let active = || node.client().show_key("slow").ok().filter(|key| key.state == "active");
        wait_for("the key is active everywhere", active);
    }
    serde_json::from_value(made).unwrap()
}

/// A request for the key that expires in two hours.
fn request(scene: &Scene, key: &KeyInfo) -> Vec<u8> {
    scene.request_until(scene.network_id, bytes(&key.key), 7200)
}

fn rejection(evil: &Evil, party: u16, nonce: u8, request: &[u8]) -> Rejection {
    evil.send(party, &PeerMessage::ProposeSign { nonce: [nonce; 32], request: request.to_vec() });
    let wanted = sign_session(&evil.network_id, id(evil.me), &[nonce; 32], request);
    evil.wait("a rejection", |from, message| match message {
        PeerMessage::RejectSign { session, reason } if from == party && session == wanted => {
            Some(reason)
        }
        _ => None,
    })
}

#[test]
fn a_coordinator_cannot_shorten_a_delay_nor_take_a_veto_back() {
    let scene = Scene::with_key(LIAR, true);
    let key = slow(&scene);
    let (wish, evil) = (request(&scene, &key), scene.evil());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut first = Vec::new();
    // Whatever it proposes, and however often: each party names its own time, and stays with it.
    for (nonce, party) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 2), (6, 3)] {
        let Rejection::Waiting { until } = rejection(evil, party, nonce, &wish) else {
            panic!("party {party} does not wait")
        };
        assert!(until >= now + 3600, "party {party}: {until}");
        first.push(until);
    }
    assert_eq!(first[..3], first[3..], "no repetition moves it");
    // To start what nobody accepted starts nothing.
    let session = sign_session(&evil.network_id, id(LIAR), &[1; 32], &wish);
    let salts = [1, 2, 3].map(|party| (id(party), [0; 32])).to_vec();
    let start = PeerMessage::StartSign { session, quorum: set(&[1, 2, 3]), salts };
    for party in [1, 2, 3] {
        evil.send(party, &start);
    }

    // A veto that it brings to one party alone, that one tells the others.
    let parsed = SignedRequest::parse(&wish).unwrap();
    let veto = Veto::sign(KeyId(*parsed.key().as_bytes()), parsed.hash(), now, &vetoer());
    let mut forged = veto.encode().to_vec();
    forged[100] ^= 1;
    scene.refuses(1, "did not sign this veto", |evil| {
        evil.send(1, &PeerMessage::Vetoes(vec![forged]));
    });
    scene.refuses(2, "a request that waits: the request does not decode", |evil| {
        evil.send(2, &PeerMessage::Await { request: wish[..50].to_vec() });
    });
    evil.send(1, &PeerMessage::Vetoes(vec![veto.encode().to_vec()]));
    for node in &scene.nodes {
        wait_for("the veto is known", || {
            let waiting = node.client().waiting().unwrap();
            waiting.iter().any(|waiting| !waiting.vetoed_by.is_empty()).then_some(())
        });
        let Rejection::Denied { rule, message } = rejection(evil, node.party, 9, &wish) else {
            panic!("party {} does not deny it", node.party)
        };
        assert_eq!(rule, "vetoed", "{message}");
        assert!(node.log().contains("a request is vetoed"));
    }
    scene.nobody_honest_is_blamed();
}
