//! A coordinator that nobody should trust, and records of signatures that are none.

use quorate_core::ecdsa::Salt;
use quorate_core::party::PartyId;
use quorate_core::session::{Header, Protocol};
use quorate_node::message::{Outcome, PeerMessage, Rejection, sign_session};

use crate::evil::{Evil, id};
use crate::messages::header;
use crate::scene::{LIAR, Scene, bytes, set};

fn propose(nonce: u8, request: &[u8]) -> PeerMessage {
    PeerMessage::ProposeSign { nonce: [nonce; 32], request: request.to_vec() }
}

/// The salt of `party`, which accepts a proposal that is as it should be.
fn salt_of(evil: &Evil, party: u16, nonce: u8, request: &[u8]) -> Salt {
    evil.send(party, &propose(nonce, request));
    let wanted = sign_session(&evil.network_id, id(evil.me), &[nonce; 32], request);
    evil.wait("the proposal is accepted", |from, message| match message {
        PeerMessage::AcceptSign { session, salt } if from == party && session == wanted => {
            Some(salt)
        }
        _ => None,
    })
}

/// What `party` says to a proposal, or to its start.
fn rejection(evil: &Evil, party: u16) -> Rejection {
    evil.wait("a rejection", |from, message| match message {
        PeerMessage::RejectSign { reason, .. } if from == party => Some(reason),
        _ => None,
    })
}

#[test]
fn a_coordinator_cannot_propose_what_a_client_did_not_sign() {
    let scene = Scene::with_key(LIAR, true);
    let mut forged = scene.request();
    // The signature's last byte: behind it stand two empty lists, of approvals and of accounts' signatures.
    let place = forged.len() - 3;
    forged[place] ^= 1;
    let mut of_nothing = scene.request();
    of_nothing.truncate(40);
    let cases = [
        ("a proposal to sign: the client's signature on the request is wrong", forged),
        ("a proposal to sign: the request does not decode: malformed", of_nothing),
        (
            "a proposal to sign: the request is for another network",
            scene.request_for([7; 16], scene.ours()),
        ),
        (
            "a proposal to sign with a key that is not active here",
            scene.request_for(scene.network_id, [7; 16]),
        ),
    ];
    for (turn, (why, request)) in cases.iter().enumerate() {
        let (party, nonce) = (1 + turn as u16 % 3, turn as u8);
        scene.refuses(party, why, |evil| evil.send(party, &propose(nonce, request)));
        let reason = rejection(scene.evil(), party);
        let expected = matches!(reason, Rejection::BadRequest(_) | Rejection::UnknownKey);
        assert!(expected, "{reason:?}");
    }
    // Control: what a client did sign is accepted from the same coordinator.
    salt_of(scene.evil(), 2, 99, &scene.request());
    scene.nobody_honest_is_blamed();
}

/// 32 bytes are no request, and a client's signature over 32 bytes is no payload that a policy can judge.
#[test]
fn a_coordinator_that_asks_for_a_bare_digest() {
    let scene = Scene::with_key(LIAR, true);
    let why = "a proposal to sign: the request does not decode";
    scene.refuses(1, why, |evil| evil.send(1, &propose(1, &[7; 32])));
    assert!(matches!(rejection(scene.evil(), 1), Rejection::BadRequest(_)));
    let wished = scene.request_of(scene.network_id, scene.ours(), &[7; 32], 600);
    for party in [1, 2, 3] {
        scene.evil().send(party, &propose(2, &wished));
        let reason = rejection(scene.evil(), party);
        assert!(
            matches!(reason, Rejection::Denied { .. } | Rejection::BadRequest(_)),
            "{reason:?}"
        );
    }
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_session_starts_once_and_as_agreed() {
    let scene = Scene::with_key(LIAR, true);
    let (evil, request, victim) = (scene.evil(), scene.request(), 2);
    let stranger = (id(LIAR), [4; 32]);
    let of = |party: u16, salt: Salt| (id(party), salt);
    type Salts = Vec<(PartyId, Salt)>;
    type Case<'a> = (&'a str, &'a [u16], Box<dyn Fn(Salt) -> Salts>);
    let cases: [Case<'_>; 6] = [
        (
            "this key is signed for by exactly 3 parties, not 2",
            &[1, 2],
            Box::new(move |salt| vec![of(1, [1; 32]), of(2, salt)]),
        ),
        (
            "a member of the quorum holds no share of the key",
            &[1, 2, LIAR],
            Box::new(move |salt| vec![of(1, [1; 32]), of(2, salt), stranger]),
        ),
        (
            "there must be exactly one salt of every member of the quorum",
            &[1, 2, 3],
            Box::new(move |_| vec![of(1, [1; 32]), of(3, [3; 32])]),
        ),
        (
            "there must be exactly one salt of every member of the quorum",
            &[1, 2, 3],
            Box::new(move |salt| vec![of(1, [1; 32]), of(2, salt), of(2, salt), of(3, [3; 32])]),
        ),
        (
            "this party's salt is missing or was altered",
            &[1, 2, 3],
            Box::new(move |_| vec![of(1, [1; 32]), of(2, [2; 32]), of(3, [3; 32])]),
        ),
        (
            "this party's salt is missing or was altered",
            &[1, 2, 3],
            Box::new(move |mut salt| {
                salt[31] ^= 1;
                vec![of(1, [1; 32]), of(2, salt), of(3, [3; 32])]
            }),
        ),
    ];
    for (nonce, (why, quorum, salts)) in (0u8..).zip(&cases) {
        let salt = salt_of(evil, victim, nonce, &request);
        let session = sign_session(&scene.network_id, id(LIAR), &[nonce; 32], &request);
        let start = PeerMessage::StartSign { session, quorum: set(quorum), salts: salts(salt) };
        let why = format!("a start of a session: {why}");
        scene.refuses(victim, &why, |evil| evil.send(victim, &start));
        assert!(matches!(rejection(evil, victim), Rejection::BadRequest(_)));
        // The session is over: neither it nor its proposal comes back.
        let again = "a proposal to sign: the session was proposed before";
        scene.refuses(victim, again, |evil| evil.send(victim, &propose(nonce, &request)));
        rejection(evil, victim);
    }
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_session_is_not_started_twice_nor_joined_by_strangers() {
    let scene = Scene::with_key(LIAR, true);
    let (evil, request, nonce) = (scene.evil(), scene.request(), 1);
    // Asked again before the start, a party gives the same salt: the first answer may have been lost.
    let salt = salt_of(evil, 2, nonce, &request);
    assert_eq!(salt_of(evil, 2, nonce, &request), salt);
    assert_eq!(scene.sees(2, LIAR).refused, 0);
    let salts = vec![(id(1), [1; 32]), (id(2), salt), (id(3), [3; 32])];
    let session = sign_session(&scene.network_id, id(LIAR), &[nonce; 32], &request);
    let start = PeerMessage::StartSign { session, quorum: set(&[1, 2, 3]), salts };
    evil.send(2, &start);
    // As its coordinator, party 4 learns what the session is called.
    let inputs = evil.wait("party 2's nonce point", |from, message| match message {
        PeerMessage::Ecdsa(bytes) if from == 2 => Some(Header::peek(&bytes).unwrap().session),
        _ => None,
    });
    scene.refuses(2, "it started a session twice", |evil| evil.send(2, &start));
    let again = "a proposal to sign: the session was proposed before";
    scene.refuses(2, again, |evil| evil.send(2, &propose(nonce, &request)));
    let nonce_point = [header(Protocol::Ecdsa, 1, inputs, LIAR), vec![0; 33]].concat();
    scene.refuses(2, "party 4 takes no part in this session", |evil| {
        evil.send(2, &PeerMessage::Ecdsa(nonce_point.clone()));
    });
    scene.nobody_honest_is_blamed();
}

#[test]
fn a_false_record_of_a_signature_is_refused() {
    let scene = Scene::with_key(LIAR, true);
    let (request, signed) = scene.sign_while(|| ());
    let truth = Outcome {
        r: bytes(&signed.r),
        s: bytes(&signed.s),
        y_parity: signed.y_parity == 1,
        quorum: set(&[1, 2, 3]),
        session: bytes(&signed.session),
    };
    let record = |request: &[u8], outcome: &Outcome| PeerMessage::Signed {
        session: [5; 32],
        request: request.to_vec(),
        outcome: outcome.clone(),
    };
    let wrong = "a record of a signature that does not verify";
    let fresh = scene.request();
    let invented = Outcome { s: [1; 32], ..truth.clone() };
    scene.refuses(1, wrong, |evil| evil.send(1, &record(&fresh, &invented)));
    let other_sender = Outcome { y_parity: !truth.y_parity, ..truth.clone() };
    scene.refuses(2, wrong, |evil| evil.send(2, &record(&request, &other_sender)));
    let high = Outcome { s: negated(&truth.s), y_parity: !truth.y_parity, ..truth.clone() };
    scene.refuses(3, wrong, |evil| evil.send(3, &record(&request, &high)));
    let zero = Outcome { r: [0; 32], ..truth.clone() };
    scene.refuses(1, wrong, |evil| evil.send(1, &record(&fresh, &zero)));
    let mut forged = request.clone();
    // The signature's last byte: behind it stand two empty lists, of approvals and of accounts' signatures.
    let place = forged.len() - 3;
    forged[place] ^= 1;
    let unsigned = "a record of a signature: the client's signature on the request is wrong";
    scene.refuses(2, unsigned, |evil| evil.send(2, &record(&forged, &truth)));
    // Control: the truth is welcome from anybody, and the record is what it was.
    let before = scene.sees(3, LIAR).refused;
    scene.sign_while(|| scene.evil().send(3, &record(&request, &truth)));
    assert_eq!(scene.sees(3, LIAR).refused, before);
    for node in &scene.nodes {
        let again = node.client().sign(&request).unwrap();
        assert!(again.repeated && again.raw_transaction == signed.raw_transaction, "{again:?}");
    }
    scene.nobody_honest_is_blamed();
}

/// −s: the other signature that verifies, with a high s.
fn negated(s: &[u8; 32]) -> [u8; 32] {
    use k256::elliptic_curve::PrimeField as _;
    let s = k256::Scalar::from_repr((*s).into()).unwrap();
    (-s).to_repr().into()
}
