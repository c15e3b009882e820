//! Changes of policies, and keys in the name of controllers, from a member that lies.

use quorate_core::curve::Suite;
use quorate_core::hash::Transcript;
use quorate_core::key::KeyTerms;
use quorate_core::party::Holders;
use quorate_core::policy::hash_of;
use quorate_node::message::PeerMessage;
use quorate_node::policy_file;
use quorate_tests::controllers::{Changes, controllers};
use serde_json::{Value, json};

use crate::evil::id;
use crate::node_process::wait_for;
use crate::scene::{LIAR, Scene, bytes, now, set};

fn policy(max_value: &str, scene: &Scene) -> (Value, Vec<u8>) {
    let text = std::fs::read_to_string(scene.root.path().join("policy.json")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["controllers"] = controllers("0s");
    file["max_value"] = json!(max_value);
    let bytes = policy_file::from_json(&file).unwrap().into_vec();
    (file, bytes)
}

/// The liar brings changes of a key that it does not even hold: what the controllers did not sign moves no
/// party, and each says why; what they signed is taken from anybody.
#[test]
fn a_policy_is_changed_by_its_controllers_alone() {
    let scene = Scene::with_key(LIAR, true);
    let (file, old) = policy("1 ether", &scene);
    let (_, new) = policy("0.5 ether", &scene);
    let signs = Changes { network: scene.network_id, key: [0; 16], expires: now() + 3600 };
    let approval = signs.create("owned", &old, &[1, 2]);
    let client = scene.nodes[0].operator();
    let key = client.create_controlled_key("owned", 2, &[1, 2, 3], &file, &approval).unwrap();
    let signs = Changes { key: bytes(&key.key), ..signs };
    let change = |change: Vec<u8>| PeerMessage::PolicyChange { change, in_force: true };
    for party in [1, 2, 3] {
        for (wrong, why) in [
            (signs.replace(2, &old, &new, &[3]), "1 of the 2 signatures of controllers"),
            (signs.replace(2, &old, &new, &[3, 9]), "who is no controller"),
            (
                Changes { network: [7; 16], ..signs }.replace(2, &old, &new, &[1, 2]),
                "for another network",
            ),
            (b"own policy".to_vec(), "does not decode"),
        ] {
            scene.refuses(party, why, |evil| evil.send(party, &change(wrong)));
        }
    }
    let versions = |wanted: u32| {
        for node in &scene.nodes {
            wait_for("the version", || {
                node.client().policy("owned").ok().filter(|info| info.version == wanted)
            });
        }
    };
    versions(1);
    let evil = scene.evil();
    let real = signs.replace(2, &old, &new, &[1, 2]);
    evil.send(2, &change(real.clone()));
    versions(2);
    let back = signs.replace(3, &new, &old, &[1, 2]);
    evil.send(3, &change(back));
    versions(3);
    // A version that was, and one that skips: nothing moves.
    evil.send(1, &change(real));
    evil.send(1, &change(signs.replace(5, &old, &new, &[1, 2])));
    evil.send(1, &change(signs.hold(2, &[1, 2])));
    // Behind them on the same link, so that they have been looked at.
    scene.refuses(1, "does not decode", |evil| evil.send(1, &change(vec![0xff])));
    versions(3);
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_key_in_the_controllers_name_needs_their_hands() {
    let scene = Scene::with_key(LIAR, true);
    let (_, policy) = policy("1 ether", &scene);
    let signs = Changes { network: scene.network_id, key: [0; 16], expires: now() + 3600 };
    let terms = KeyTerms {
        suite: Suite::EcdsaSecp256k1,
        network: scene.network_id,
        key: [9; 16],
        epoch: 0,
        holders: Holders::new(set(&[1, 2, 3, 4]), 2).unwrap(),
        context: hash_of(&policy),
    };
    let session = Transcript::new("dkg-session").bytes(&terms.context()).party(id(LIAR)).finish();
    for party in [1, 2, 3] {
        for (approval, why) in [
            (Vec::new(), "0 of the 2 signatures of controllers"),
            (signs.create("evil", &policy, &[1]), "1 of the 2 signatures of controllers"),
            (signs.create("good", &policy, &[1, 2]), "a key of another name"),
        ] {
            let (name, policy) = ("evil".to_owned(), policy.clone());
            let proposal = PeerMessage::ProposeKey { session, terms, name, policy, approval };
            scene.refuses(party, why, |evil| evil.send(party, &proposal));
        }
    }
    scene.nobody_honest_is_blamed();
}
