//! What the group's policy denies, whatever the liar's own would allow; and limits.

use quorate_core::curve::Suite;
use quorate_core::hash::Transcript;
use quorate_core::key::KeyTerms;
use quorate_core::party::Holders;
use quorate_core::policy::Policy;
use quorate_core::request::Payload;
use quorate_node::message::PeerMessage;
use quorate_tests::cluster::{FEE, STRANGER};
use serde_json::json;

use crate::evil::id;
use crate::liar::{HONEST, LIAR};
use crate::scene::{Pay, Scene, digest_of, words};

#[test]
fn each_party_asks_the_groups_policy() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let pay = Pay::default();
    let cases = [
        ("recipient", Pay { to: STRANGER, ..pay }),
        ("value", Pay { value: 5_001, ..pay }),
        ("chain", Pay { chain: 1, ..pay }),
        ("fee", Pay { gas_price: 2_000_000_000_000, ..pay }),
        ("data", Pay { data: &[1], ..pay }),
    ];
    for (rule, pay) in cases {
        scene.refused_by_all(&scene.pay(&pay), &format!("denied by rule {rule}: "));
    }
    let message = scene.wish(Payload::EthereumMessage(b"pay the liar"));
    let kind = "denied by rule kind: no rule of the policy is for";
    scene.refused_by_all(&scene.signed(&message), kind);
    scene.settle();
}

/// A policy that its terms do not bind, and one that only some of the holders were shown.
#[test]
fn a_key_has_the_policy_that_all_holders_saw() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let encoded = |value: u64| {
        let when =
            json!({ "client": [scene.cluster.client_name()], "value": { "at_most": value } });
        let file = json!({ "rules": [{ "name": "all", "when": when }] });
        quorate_node::policy_file::from_json(&file).unwrap().into_vec()
    };
    let (strict, loose) = (encoded(1), encoded(u64::MAX));
    let propose = |key: u8, bound: &[u8], shown: &[u8], party: u16| {
        let terms = KeyTerms {
            suite: Suite::EcdsaSecp256k1,
            network: scene.network,
            key: [key; 16],
            epoch: 0,
            holders: Holders::new([1, 2, 3, LIAR].map(id).into_iter().collect(), 2).unwrap(),
            context: Policy::parse(bound).unwrap().hash(),
        };
        let session =
            Transcript::new("dkg-session").bytes(&terms.context()).party(id(LIAR)).finish();
        let (name, policy) = (format!("key {key}"), shown.to_vec());
        scene.liar.evil.send(
            party,
            &PeerMessage::ProposeKey { session, terms, name, policy, approval: Vec::new() },
        );
        session
    };
    for party in HONEST {
        let session = propose(1, &strict, &loose, party);
        let said = scene.liar.wait("a refusal", |from, message| match message {
            PeerMessage::RejectKey { session: of, reason } if (from, *of) == (party, session) => {
                Some(words(reason))
            }
            _ => None,
        });
        assert_eq!(said, "the terms do not bind this policy");
        scene.must_be_in_the_log(party, session, &said);
    }
    scene.honest();

    // The same key with another policy for party 3: its session is another one, and nobody has a
    // session key of it for the first.
    let shown = [(1, &strict), (2, &strict), (3, &loose)];
    let sessions = shown.map(|(party, policy)| (party, propose(2, policy, policy, party)));
    let certificates = sessions.map(|(party, session)| {
        scene.liar.wait("a proposal is accepted", |from, message| match message {
            PeerMessage::AcceptKey { session: of, certificate }
                if (from, *of) == (party, session) =>
            {
                Some(certificate.clone())
            }
            _ => None,
        })
    });
    for (party, session) in sessions {
        let own = scene.liar.evil.certificate(&session);
        let peers = certificates.iter().cloned().chain([own]).collect();
        scene.liar.evil.send(party, &PeerMessage::StartKey { session, peers });
        let words = "it started a key generation with a forged session key";
        scene.cluster.wait_for(&format!("party {party} sees through it"), || {
            let status = scene.cluster.client(party).status().unwrap();
            let seen = status.peers.into_iter().find(|peer| peer.party == LIAR).unwrap();
            if seen.last_refusal.as_deref() == Some(words) { Ok(()) } else { Err(seen) }
        });
        scene.fence(party);
    }
    scene.honest();
    scene.settle();
}

/// Each of two sessions has room when it is proposed. Only one has when it starts.
#[test]
fn a_limit_holds_for_sessions_that_start_together() {
    let scene = Scene::new(|cluster| {
        let mut policy = Scene::usual(cluster, &[]);
        policy["rules"][0]["limits"] = json!([
            { "measure": "signatures", "max": 2, "per": "1day", "scope": "key" },
            { "measure": "spend", "max": (3 * (FEE + 1_000)).to_string(), "per": "1day" },
        ]);
        policy
    });
    // The scene itself has signed once.
    let pay = Pay::default();
    let (first, second) = (scene.pay_well(&pay), scene.pay(&pay));
    let sessions =
        [&first, &second].map(|r| scene.liar.open(r, digest_of(&pay.transaction()), &[1, 2]));
    let [allowed, too_much] = sessions;
    scene.liar.start(&allowed);
    scene.is_the_keys(&first, &scene.liar.complete(allowed));
    for party in [1, 2] {
        scene.liar.say_start(party, &too_much);
        let said = words(&scene.liar.rejection(party, &too_much.id));
        assert!(said.starts_with("denied by rule window: "), "{said}");
        scene.must_be_in_the_log(party, too_much.id, &said);
    }
    scene.is_a_lie(&second);
    for party in [1, 2] {
        let nonce = scene.liar.fresh_nonce();
        let answer = scene.liar.propose(party, &nonce, &second);
        let crate::liar::Answer::Rejected(reason) = answer else { panic!("{answer:?}") };
        assert!(words(&reason).starts_with("denied by rule window: "));
        scene.must_be_in_the_log(party, scene.liar.session_of(&nonce, &second), &words(&reason));
    }
    // Party 3 has room for one more, and no quorum with it has.
    scene.fence(3);
    scene.settle();
}
