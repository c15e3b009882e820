//! Fixed values of what a node sends and stores: frozen in snapshots, and the seeds of fuzzing.

use std::collections::BTreeMap;

use quorate_core::curve::{Fixed as _, Secp256k1};
use quorate_core::identity::Identity;
use quorate_core::key::KeyTerms;
use quorate_core::party::{Holders, PartySet};
use quorate_core::wire::Bytes64;
use quorate_node::audit::{Countersignature, IdentityHead, Whose};
use quorate_node::identity::IdentityKey;
use quorate_node::message::{
    Outcome, PeerMessage, PolicyState, Rejection, SessionKeyCertificate, SignedHead,
};
use quorate_node::network::frame::{Frame, Hello};
use quorate_node::store::{ChangeRow, KeyRow, KeyState, RequestRow, VetoRow, WaitingRow};

use crate::simulator::{id, public, session_key};

/// One frame of every kind.
#[must_use]
pub fn frames() -> Vec<(&'static str, Frame)> {
    let hello = Hello { version: 1, network: [1; 16], party: 2 };
    vec![
        ("hello", Frame::Hello(hello)),
        ("message", Frame::Message(vec![1, 2, 3])),
        ("ping", Frame::Ping(0x0102_0304_0506_0708)),
        ("pong", Frame::Pong(0x0102_0304_0506_0708)),
        ("close", Frame::Close("going down".to_owned())),
    ]
}

/// One message of every kind, in the order of their codes.
///
/// # Panics
/// Never: the holders are right.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn messages() -> Vec<(&'static str, PeerMessage)> {
    let session = [0x5e; 32];
    let holders = Holders::new(PartySet::first(4), 2).expect("2 of 4");
    let (suite, key) = (Secp256k1::SUITE, [2; 16]);
    let terms = KeyTerms { suite, network: [1; 16], key, epoch: 0, holders, context: [3; 32] };
    let denied = Rejection::Denied { rule: "value".to_owned(), message: "too much".to_owned() };
    let quorum: PartySet = [1, 2, 4].map(id).into_iter().collect();
    let outcome = || Outcome { r: [7; 32], s: [8; 32], y_parity: true, quorum, session };
    let salts = quorum.iter().map(|party| (party, [9; 32])).collect();
    let (name, policy, approval) = ("pay".to_owned(), vec![1, 2, 3], vec![4, 5]);
    let state = PolicyState { key, version: 2, announced: 3, holds: 1, held: 300 };
    vec![
        ("propose-key", PeerMessage::ProposeKey { session, terms, name, policy, approval }),
        ("accept-key", PeerMessage::AcceptKey { session, certificate: certificate(2) }),
        ("reject-key", PeerMessage::RejectKey { session, reason: Rejection::Busy }),
        (
            "start-key",
            PeerMessage::StartKey { session, peers: vec![certificate(1), certificate(2)] },
        ),
        ("cancel-key", PeerMessage::CancelKey { session }),
        ("dkg", PeerMessage::Dkg(vec![1, 2, 3].into())),
        ("confirm", PeerMessage::Confirm { key, confirmation: vec![1, 2], pending: true }),
        ("key-active", PeerMessage::KeyActive { key }),
        ("propose-sign", PeerMessage::ProposeSign { nonce: [9; 32], request: vec![1, 2, 3] }),
        ("accept-sign", PeerMessage::AcceptSign { session, salt: [9; 32] }),
        ("already-signed", PeerMessage::AlreadySigned { session, outcome: outcome() }),
        ("reject-sign", PeerMessage::RejectSign { session, reason: denied }),
        ("start-sign", PeerMessage::StartSign { session, quorum, salts }),
        ("cancel-sign", PeerMessage::CancelSign { session }),
        ("ecdsa", PeerMessage::Ecdsa(vec![1, 2, 3])),
        ("signed", PeerMessage::Signed { session, request: vec![1, 2], outcome: outcome() }),
        ("head", PeerMessage::Head(Box::new(head()))),
        ("recall", PeerMessage::Recall(Some(Box::new(head())))),
        ("witness", PeerMessage::Witness(Box::new(identity_head().0))),
        ("countersigned", PeerMessage::Countersigned(Box::new(countersignature()))),
        ("await", PeerMessage::Await { request: vec![1, 2, 3] }),
        ("vetoes", PeerMessage::Vetoes(vec![vec![1], vec![2, 3]])),
        ("policy-states", PeerMessage::PolicyStates { states: vec![state], more: true }),
        ("policy-change", PeerMessage::PolicyChange { change: vec![1, 2], in_force: true }),
        ("asking", PeerMessage::Asking { session, seconds: 300 }),
    ]
}

fn certificate(number: u16) -> SessionKeyCertificate {
    SessionKeyCertificate {
        party: id(number),
        boot: [4; 16],
        key: Identity::Ed25519([5; 32]),
        signature: Bytes64([6; 64]),
    }
}

fn head() -> SignedHead {
    SignedHead {
        certificate: certificate(3),
        generation: 1,
        number: 300,
        hash: [0x31; 32],
        signature: Bytes64([0x32; 64]),
    }
}

/// The head of a log, and whose it is. The signature is one: its bytes are frozen too.
///
/// # Panics
/// If a key in memory does not sign.
#[must_use]
#[expect(clippy::panic, reason = "a slip in a test, not input")]
pub fn identity_head() -> (IdentityHead, Whose) {
    let key = IdentityKey::from_secret(&[0x41; 32]);
    let whose = Whose { network: [0x42; 16], party: id(2), identity: key.public() };
    let mut head = IdentityHead {
        generation: 1,
        number: 300,
        hash: [0x43; 32],
        time: 1_800_000_000,
        signature: Bytes64([0; 64]),
    };
    match key.sign(&head.digest(&whose.network, whose.party)) {
        Ok(signature) => head.signature = Bytes64(signature),
        Err(error) => panic!("{error}"),
    }
    (head, whose)
}

/// Of that head.
#[must_use]
pub fn countersignature() -> Countersignature {
    // As text, it is read as a point.
    let key = public(&session_key(id(3)).0);
    Countersignature {
        head: identity_head().0,
        time: 1_800_000_001,
        certificate: SessionKeyCertificate { key, ..certificate(3) },
        signature: Bytes64([0x44; 64]),
    }
}

/// An active key.
#[must_use]
pub fn key_row() -> KeyRow {
    KeyRow {
        key: [0x11; 16],
        name: "pay".into(),
        state: KeyState::Active,
        public: vec![1, 2],
        policy: vec![3],
        policy_version: 2,
        sealed: vec![4, 5, 6],
        confirmations: BTreeMap::from([(1, vec![7]), (300, vec![8, 9])]),
        certificate: Some(vec![7, 8, 9]),
        sequence: 1,
        created: 1_800_000_000,
    }
}

/// A change of a policy that took effect.
#[must_use]
pub fn change_row() -> ChangeRow {
    ChangeRow { change: vec![1, 2, 3], seen: 300, due: 400, in_force: Some(500) }
}

/// A request that was answered.
#[must_use]
pub fn request_row() -> RequestRow {
    RequestRow { key: [0x22; 16], expires: 300, counted: true, outcome: Some(vec![1]) }
}

/// A request that waits.
#[must_use]
pub fn waiting_row() -> WaitingRow {
    WaitingRow { key: [0x22; 16], client: [0x33; 32], since: 200, expires: 300 }
}

/// A veto.
#[must_use]
pub fn veto_row() -> VetoRow {
    VetoRow { key: [0x22; 16], at: 250, until: 400, seen: true, veto: vec![1, 2, 3] }
}
