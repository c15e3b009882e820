//! A liar among the dealers of a key, and a coordinator of keys that nobody should follow.

use std::time::Duration;

use quorate_core::curve::Suite;
use quorate_core::hash::Transcript;
use quorate_core::key::KeyTerms;
use quorate_core::party::Holders;
use quorate_core::policy::Policy;
use quorate_node::message::{Outcome, PeerMessage, Rejection, SessionKeyCertificate};
use serde_json::Value;

use crate::dealing::{Generation, resigned};
use crate::evil::{Evil, id};
use crate::node_process::{Answer, wait_for};
use crate::scene::{LIAR, Scene, set};

const SEED: u64 = 20_260_704;
const ALL: &[u16] = &[1, 2, 3];

/// `quorate key create` at party 1 with party 4, while `lie` plays its part.
fn create_with(
    scene: &Scene,
    name: &str,
    lie: impl FnOnce(&Generation, &dyn Fn() -> bool),
) -> Answer {
    std::thread::scope(|scope| {
        let (node, name) = (scene.node(1), name.to_owned());
        let policy = scene.root.path().join("policy.json");
        let create = scope.spawn(move || {
            let policy = policy.to_str().unwrap();
            let make = ["key", "create", "--name", &name, "--threshold", "2", "--policy", policy];
            node.ask(&make)
        });
        let generation = Generation::proposed(scene.evil());
        lie(&generation, &|| create.is_finished());
        create.join().unwrap()
    })
}

/// The command fails with exit code 8 and names party 4; so do those of `seen_by` that saw it.
fn is_named(scene: &Scene, answer: &Answer, what: &str, seen_by: &[u16]) {
    let error = answer.error(8);
    assert_eq!(error["culprits"], serde_json::json!([LIAR]), "{error}");
    assert!(error["message"].as_str().unwrap().contains(what), "{error}");
    for party in seen_by {
        let words = wait_for(&format!("party {party} names party 4"), || {
            scene.sees(*party, LIAR).last_refusal.filter(|words| words.contains(what))
        });
        println!("party {party}: {words}");
    }
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_liar_among_the_dealers_is_named_by_all() {
    println!("seed {SEED}");
    let scene = Scene::with_key(LIAR, true);
    let evil = scene.evil();
    let two_faced = "party 4 sent two different messages for one round";

    let answer = create_with(&scene, "r1", |generation, ended| {
        generation.accept(evil, evil.certificate(&generation.session));
        // Two dealings, complete in themselves: parties 1 and 2 see one, party 3 the other.
        let faces: [(u64, &[u16]); 2] = [(SEED, &[1, 2]), (SEED + 1, &[3])];
        let silent = |round, _, bytes| if round == 0 { vec![] } else { vec![bytes] };
        scene.sign_while(|| drop(generation.play(evil, &faces, silent, ended)));
    });
    is_named(&scene, &answer, two_faced, ALL);
    let words = scene.sees(1, LIAR).last_refusal.unwrap();
    assert!(words.contains(" (evidence: "), "{words}");

    let answer = create_with(&scene, "r2", |generation, ended| {
        generation.accept(evil, evil.certificate(&generation.session));
        // Party 3 sees another commitment to a pair seed. It is behind sid, points, blind and proof.
        let place = 32 + 1 + 2 * 33 + 32 + 33 + 32 + 1;
        let holders = generation.terms.holders;
        let twist = |round, to, bytes| match (round, to) {
            (0, _) => vec![],
            (2, 3) => vec![resigned(bytes, place, holders, &evil.session_key)],
            _ => vec![bytes],
        };
        scene.sign_while(|| drop(generation.play(evil, &[(SEED, ALL)], twist, ended)));
    });
    is_named(&scene, &answer, two_faced, ALL);

    let answer = create_with(&scene, "twice", |generation, ended| {
        generation.accept(evil, evil.certificate(&generation.session));
        let holders = generation.terms.holders;
        let twist = |round, _, bytes: Vec<u8>| match round {
            1 => vec![bytes.clone(), resigned(bytes, 0, holders, &evil.session_key)],
            _ => vec![bytes],
        };
        scene.sign_while(|| drop(generation.play(evil, &[(SEED, ALL)], twist, ended)));
    });
    is_named(&scene, &answer, two_faced, &[1]);

    let answer = create_with(&scene, "trailing", |generation, ended| {
        generation.accept(evil, evil.certificate(&generation.session));
        let twist = |_, _, bytes: Vec<u8>| vec![[bytes, vec![0]].concat()];
        scene.sign_while(|| drop(generation.play(evil, &[(SEED, ALL)], twist, ended)));
    });
    is_named(&scene, &answer, "party 4 sent a malformed message", &[1]);

    let answer = create_with(&scene, "forged", |generation, _| {
        generation.accept(evil, evil.forged_certificate(&generation.session));
    });
    is_named(&scene, &answer, "it accepted a key generation with a forged session key", &[1]);
}

#[test]
fn words_of_a_peer_are_clipped() {
    let scene = Scene::with_key(LIAR, true);
    let evil = scene.evil();
    let flood = format!("no\n\u{1b}[31mforged line\u{7} {}", "é".repeat(20_000));
    let short = |text: &str| {
        assert!(text.chars().count() <= 300 && !text.chars().any(char::is_control), "{text:?}");
        assert!(text.starts_with("no[31mforged line éé"), "{text:?}");
    };
    let reject = |generation: &Generation, reason: Rejection| {
        let session = generation.session;
        evil.send(generation.coordinator, &PeerMessage::RejectKey { session, reason });
    };
    let answer = create_with(&scene, "long", |generation, _| {
        reject(generation, Rejection::BadRequest(flood.clone()));
    });
    let error = answer.error(7);
    assert_eq!(error["reasons"][0][0], LIAR);
    short(error["reasons"][0][1].as_str().unwrap());

    let answer = create_with(&scene, "denied", |generation, _| {
        let (rule, message) = (flood.clone(), flood.clone());
        reject(generation, Rejection::Denied { rule, message });
    });
    let error: Value = answer.error(5);
    assert_eq!(error["party"], LIAR);
    short(error["reason"].as_str().unwrap());
    short(error["rule"].as_str().unwrap());
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_holder_that_meddles_is_named() {
    println!("seed {SEED}");
    // The one case that waits for this deadline.
    let mut scene = Scene::with_key_and_deadline(LIAR, true, Duration::from_secs(10));
    // Control of the lies above: an honest party 4 gets its key, and one message in another's name on
    // the way costs nobody anything.
    let answer = create_with(&scene, "theirs", |generation, ended| {
        let evil = scene.evil();
        generation.accept(evil, evil.certificate(&generation.session));
        let twist = |round, _, bytes: Vec<u8>| {
            let mut stolen = bytes.clone();
            // Version, suite, protocol, round, session: then who it is from.
            stolen[36] = 2;
            if round == 1 { vec![stolen, bytes] } else { vec![bytes] }
        };
        let confirm = generation.play(scene.evil(), &[(SEED, ALL)], twist, ended).unwrap();
        ALL.iter().for_each(|party| evil.send(*party, &confirm));
        while !ended() {
            // The others may not have sealed theirs yet, and ask again.
            if let Some((from, PeerMessage::Confirm { pending: true, .. })) = evil.poll() {
                evil.send(from, &confirm);
            }
        }
    });
    let theirs = answer.object();
    let key = crate::scene::bytes(theirs["key"].as_str().unwrap());
    let forged = "party 4 sent a message in the name of party 2";
    for party in [1, 3] {
        let log = scene.node(party).log();
        let named = |line: &str| line.contains(forged) && line.contains("party=4");
        assert!(log.lines().any(named), "{log}");
    }
    for party in [1, 2] {
        let node = scene.node(party);
        let active = || node.client().show_key("theirs").ok().filter(|k| k.state == "active");
        wait_for("the key is active everywhere", active);
    }

    // Without party 3, party 4 decides whether there is a quorum, and knows the session.
    scene.nodes.iter_mut().find(|node| node.party == 3).unwrap().stop();
    scene.nodes.retain(|node| node.party != 3);
    let evil = scene.evil();
    let request = scene.request_for(scene.network_id, key);
    let meddle = |session: [u8; 32]| {
        let refused = |party: u16, why: &str, message: PeerMessage| {
            evil.send(party, &message);
            wait_for(why, || {
                scene.sees(party, LIAR).last_refusal.filter(|words| words.contains(why))
            });
        };
        let start = PeerMessage::StartSign { session, quorum: set(&[1, 2, 4]), salts: Vec::new() };
        refused(2, "it started a session of another coordinator", start);
        let cancel = PeerMessage::CancelSign { session };
        refused(2, "it cancelled a session of another coordinator", cancel);
        let outcome =
            Outcome { r: [1; 32], s: [1; 32], y_parity: false, quorum: set(&[1, 2, 4]), session };
        let signed = PeerMessage::AlreadySigned { session, outcome };
        refused(1, "a record of a signature that does not verify", signed);
        let reason = Rejection::BadRequest("x".repeat(100_000));
        evil.send(1, &PeerMessage::RejectSign { session, reason });
    };
    std::thread::scope(|scope| {
        let client = scene.node(1).client();
        let signing = scope.spawn(move || client.sign(&request));
        let session = evil.wait("a request is proposed", |from, message| match message {
            PeerMessage::ProposeSign { nonce, request } if from == 1 => {
                let coordinator = id(from);
                let network = &scene.network_id;
                Some(quorate_node::message::sign_session(network, coordinator, &nonce, &request))
            }
            _ => None,
        });
        // The proposals to party 2 and to party 4 do not arrive in any order.
        wait_for("party 2 takes part", || (scene.node(2).status().sessions > 0).then_some(()));
        meddle(session);
        let error = signing.join().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("3 parties are needed") && error.contains("party 4: xxx"),
            "{error}"
        );
        assert!(error.len() < 700, "{error}");
    });
    scene.nobody_honest_is_blamed();
}

/// A proposal of party 4, as it should be.
fn proposal(scene: &Scene, key: u8) -> (KeyTerms, Vec<u8>) {
    let text = std::fs::read_to_string(scene.root.path().join("policy.json")).unwrap();
    let policy = quorate_node::policy_file::parse(&text).unwrap().into_vec();
    let terms = KeyTerms {
        suite: Suite::EcdsaSecp256k1,
        network: scene.network_id,
        key: [key; 16],
        epoch: 0,
        holders: Holders::new(set(&[1, 2, 3, 4]), 2).unwrap(),
        context: Policy::parse(&policy).unwrap().hash(),
    };
    (terms, policy)
}

fn propose(terms: KeyTerms, policy: &[u8]) -> ([u8; 32], PeerMessage) {
    let session = Transcript::new("dkg-session").bytes(&terms.context()).party(id(LIAR)).finish();
    let (name, policy) = ("evil".to_owned(), policy.to_vec());
    let approval = Vec::new();
    (session, PeerMessage::ProposeKey { session, terms, name, policy, approval })
}

fn certificate_of(evil: &Evil, party: u16, wanted: [u8; 32]) -> SessionKeyCertificate {
    evil.wait("the proposal is accepted", |from, message| match message {
        PeerMessage::AcceptKey { session, certificate } if from == party && session == wanted => {
            Some(certificate)
        }
        _ => None,
    })
}

#[test]
fn a_coordinator_of_keys_is_not_trusted() {
    let scene = Scene::with_key(LIAR, true);
    let evil = scene.evil();
    let (terms, policy) = proposal(&scene, 1);
    let refused = |party: u16, why: &str, terms: KeyTerms, policy: &[u8]| {
        let why = format!("a proposal of a key: {why}");
        scene.refuses(party, &why, |evil| evil.send(party, &propose(terms, policy).1));
    };
    let network = "the proposal is of another network or session";
    refused(1, network, KeyTerms { network: [7; 16], ..terms }, &policy);
    let unbound = KeyTerms { context: [7; 32], ..terms };
    refused(2, "the terms do not bind this policy", unbound, &policy);
    refused(3, "the policy is malformed", terms, b"whatever you like");
    let strangers = Holders::new(set(&[1, 2, 3, 9]), 2).unwrap();
    let holders = "the holders are not all members";
    refused(1, holders, KeyTerms { holders: strangers, ..terms }, &policy);
    let taken = KeyTerms { key: scene.ours(), ..terms };
    refused(2, "the key exists already", taken, &policy);
    refused(3, "the proposal's epoch", KeyTerms { epoch: 1, ..terms }, &policy);

    // Accepted once; not again while it runs, and not again when it is over.
    let (session, message) = propose(terms, &policy);
    let replayed = "a key generation that was proposed before";
    evil.send(2, &message);
    certificate_of(evil, 2, session);
    scene.refuses(2, replayed, |evil| evil.send(2, &message));
    evil.send(2, &PeerMessage::CancelKey { session });
    scene.refuses(2, replayed, |evil| evil.send(2, &message));

    // Session keys that their owners did not certify, or of others than the holders.
    let mut earlier = None;
    for (key, lie) in [(2, "forged"), (3, "old"), (4, "missing")] {
        let (terms, policy) = proposal(&scene, key);
        let (session, message) = propose(terms, &policy);
        let mut peers = Vec::new();
        for party in ALL {
            evil.send(*party, &message);
            peers.push(certificate_of(evil, *party, session));
        }
        let why = match lie {
            "forged" => {
                earlier = Some(peers[0].clone());
                peers.push(evil.certificate(&session));
                peers[0].key = peers[3].key;
                "it started a key generation with a forged session key"
            }
            // Party 1 did certify this key, for another session: it could be of an earlier boot.
            "old" => {
                peers.push(evil.certificate(&session));
                peers[0] = earlier.take().unwrap();
                "it started a key generation with a forged session key"
            }
            _ => {
                "it started a key generation that cannot be: the peers are not exactly the holders"
            }
        };
        let start = PeerMessage::StartKey { session, peers };
        scene.refuses(2, why, |evil| evil.send(2, &start));
    }
    scene.nobody_honest_is_blamed();
}
