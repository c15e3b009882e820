//! Messages that are none, or that belong to nothing.

use quorate_core::curve::{Secp256k1, Suite};
use quorate_core::dkg::{Dkg, SessionSigner as _};
use quorate_core::key::Confirmation;
use quorate_core::session::{Header, Protocol};
use quorate_core::wire::{self, Bytes64};
use quorate_node::message::{PeerMessage, SessionKeyCertificate, SignedHead, head_session};
use quorate_node::service::{MAX_NONCE_KEYS, MAX_PARTIES};

use crate::evil::id;
use crate::node_process::wait_for;
use crate::scene::{LIAR, Scene, set};

const MAX_DKG: usize = Dkg::<Secp256k1, MAX_PARTIES, MAX_NONCE_KEYS>::MAX_MESSAGE;
const UNKNOWN: &str = "a message of a session that was never proposed here";

/// A core message's header and nothing else.
pub fn header(protocol: Protocol, round: u8, session: [u8; 32], from: u16) -> Vec<u8> {
    let suite = Suite::EcdsaSecp256k1;
    let (from, to) = (id(from), None);
    let header = Header { version: wire::VERSION, suite, protocol, round, session, from, to };
    let mut bytes = Vec::new();
    wire::encode_to(&header, |part| bytes.extend_from_slice(part));
    bytes
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(value, |part| bytes.extend_from_slice(part));
    bytes
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let scene = Scene::with_key(LIAR, true);
    let good = PeerMessage::CancelSign { session: [9; 32] }.encode();
    let other_version = [&[9], &good[1..]].concat();
    let padded = [&[good[0], good[1] | 0x80, 0], &good[2..]].concat();
    let dkg = [header(Protocol::Dkg, 1, [8; 32], LIAR), vec![0; MAX_DKG]].concat();
    let ecdsa = [header(Protocol::Ecdsa, 1, [8; 32], LIAR), vec![0; 256]].concat();
    let core = |message: PeerMessage| message.encode();
    let cases: [(&str, Vec<u8>); 13] = [
        ("a message: protocol version 9, this build speaks 1", other_version),
        ("a message: bytes after the end of the value", [&good[..], &[0]].concat()),
        ("a message: malformed or truncated bytes", good[..good.len() - 1].to_vec()),
        ("a message: malformed or truncated bytes", vec![wire::VERSION; 3]),
        ("a message: kind 99, which this build does not know", vec![wire::VERSION, 99, 1, 2]),
        ("a message: not the canonical encoding", padded),
        ("a message: no bytes at all", Vec::new()),
        ("a malformed message of a key generation", core(PeerMessage::Dkg(vec![1, 2, 3].into()))),
        ("a message of a key generation over its limit", core(PeerMessage::Dkg(dkg.into()))),
        ("a malformed signing message", core(PeerMessage::Ecdsa(Vec::new()))),
        ("a malformed signing message", core(PeerMessage::Ecdsa(vec![9; 40]))),
        ("a signing message over its limit", core(PeerMessage::Ecdsa(ecdsa))),
        // As long as a frame may be, and none of it makes sense.
        ("a message: bytes after the end of the value", vec![wire::VERSION; 128 * 1024]),
    ];
    for (turn, (why, bytes)) in cases.into_iter().enumerate() {
        let party = 1 + turn as u16 % 3;
        scene.refuses(party, why, |evil| evil.send_bytes(party, bytes));
    }
    // Control: what an honest party could say late costs it nothing.
    let before: Vec<u64> = (1..=3).map(|party| scene.sees(party, LIAR).refused).collect();
    scene.sign_while(|| (1..=3).for_each(|party| scene.evil().send_bytes(party, good.clone())));
    let after: Vec<u64> = (1..=3).map(|party| scene.sees(party, LIAR).refused).collect();
    assert_eq!(before, after);
    scene.nobody_honest_is_blamed();
}

/// A head of `party`'s log as it would sign it; by this scene's liar, whatever `party` is.
fn head(scene: &Scene, party: u16, number: u64) -> SignedHead {
    let evil = scene.evil();
    let certificate = evil.certificate(&head_session(&evil.network_id));
    let mut head = SignedHead {
        certificate: SessionKeyCertificate { party: id(party), ..certificate },
        generation: 0,
        number,
        hash: [6; 32],
        signature: Bytes64([0; 64]),
    };
    head.signature = evil.session_key.sign(&head.digest(&evil.network_id));
    head
}

#[test]
fn nobody_can_talk_a_party_into_having_been_put_back() {
    let scene = Scene::with_key(LIAR, true);
    let recall = |party, number| PeerMessage::Recall(Some(Box::new(head(&scene, party, number))));
    let never = "a head that this party never signed";
    // Of the party itself, by the liar's keys; and the liar's own, truly signed.
    for (party, message) in [(1, recall(1, 1_000)), (2, recall(LIAR, 1_000)), (3, recall(3, 0))] {
        scene.refuses(party, never, |evil| evil.send(party, &message));
        assert!(!scene.node(party).status().rolled_back);
    }
    let shown = |party, number| PeerMessage::Head(Box::new(head(&scene, party, number)));
    let mut forged = head(&scene, LIAR, 9);
    forged.number = 10;
    let forged = PeerMessage::Head(Box::new(forged));
    scene.refuses(1, "a head of another party's log", |evil| evil.send(1, &shown(2, 1)));
    scene.refuses(2, "a head of its log that it did not sign", |evil| evil.send(2, &forged));
    // A log that shrinks is noticed, one that grows is not worth a word.
    let before = scene.sees(3, LIAR).refused;
    scene.sign_while(|| scene.evil().send(3, &shown(LIAR, 5)));
    scene.sign_while(|| scene.evil().send(3, &shown(LIAR, 6)));
    assert_eq!(scene.sees(3, LIAR).refused, before);
    scene.refuses(3, "its log is shorter than it was", |evil| evil.send(3, &shown(LIAR, 4)));
    // From then on that party counts for nothing there, however long its log grows again; until its
    // operator begins a new generation.
    assert!(scene.sees(3, LIAR).rolled_back && !scene.sees(2, LIAR).rolled_back);
    scene.sign_while(|| scene.evil().send(3, &shown(LIAR, 7)));
    let make = ["key", "create", "--name", "another", "--threshold", "2", "--policy"];
    let policy = scene.node(1).folder.parent().unwrap().join("policy.json");
    let refused = scene.node(3).ask(&[&make[..], &[policy.to_str().unwrap()]].concat());
    refused.message(7, &["party 4", "put back to an earlier state", "re-admits it"]);
    let mut readmitted = head(&scene, LIAR, 3);
    readmitted.generation = 1;
    readmitted.signature =
        scene.evil().session_key.sign(&readmitted.digest(&scene.evil().network_id));
    scene.sign_while(|| scene.evil().send(3, &PeerMessage::Head(Box::new(readmitted))));
    wait_for("party 4 is trusted again", || (!scene.sees(3, LIAR).rolled_back).then_some(()));
    scene.nobody_honest_is_blamed();
}

#[test]
fn messages_of_no_session_are_refused() {
    let scene = Scene::with_key(LIAR, true);
    let session = [8; 32];
    let core = |protocol, round| header(protocol, round, session, LIAR);
    let messages = [
        PeerMessage::Ecdsa(core(Protocol::Ecdsa, 2)),
        PeerMessage::StartKey { session, peers: vec![scene.evil().certificate(&session)] },
        PeerMessage::StartSign { session, quorum: set(&[1, 2, 3]), salts: Vec::new() },
    ];
    for (turn, message) in messages.iter().enumerate() {
        let party = 1 + turn as u16 % 3;
        scene.refuses(party, UNKNOWN, |evil| evil.send(party, message));
    }
    // A lying coordinator can make an honest member send these, so that they are in the log alone.
    let induced = [
        PeerMessage::Dkg(core(Protocol::Dkg, 1).into()),
        PeerMessage::Ecdsa(core(Protocol::Ecdsa, 1)),
    ];
    let before = scene.sees(1, LIAR).refused;
    let said = || {
        let log = scene.node(1).log();
        let strays = log.lines().filter(|line| line.contains(UNKNOWN) && line.contains("dropped"));
        strays.filter(|line| line.contains("party=4")).count()
    };
    for (count, message) in induced.iter().enumerate() {
        scene.sign_while(|| scene.evil().send(1, message));
        wait_for("a stray message is in the log", || (said() == count + 1).then_some(()));
    }
    assert_eq!(scene.sees(1, LIAR).refused, before);
    scene.nobody_honest_is_blamed();
}

#[test]
fn forged_confirmations_are_refused() {
    let scene = Scene::with_key(LIAR, true);
    let key = scene.ours();
    let forged = |party: u16| {
        let confirmation = Confirmation::<MAX_PARTIES, MAX_NONCE_KEYS> {
            party: id(party),
            pair_commitments: [[1; 32]; 2].into_iter().collect(),
            nonce_commitments: [[2; 32]; 2].into_iter().collect(),
            signature: Bytes64([3; 64]),
        };
        let confirmation = encoded(&confirmation);
        PeerMessage::Confirm { key, confirmation, pending: true }
    };
    let malformed = PeerMessage::Confirm { key, confirmation: vec![1], pending: false };
    let cases = [
        ("a confirmation that party 2 did not sign for this key", forged(2)),
        // Its own receiver's, and a member's that holds no share.
        ("a confirmation that party 1 did not sign for this key", forged(1)),
        ("a confirmation that party 4 did not sign for this key", forged(LIAR)),
        ("a malformed confirmation of a key", malformed),
    ];
    for (why, message) in cases {
        scene.refuses(1, why, |evil| evil.send(1, &message));
    }
    scene.nobody_honest_is_blamed();
}
