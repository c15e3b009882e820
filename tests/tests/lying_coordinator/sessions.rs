//! Sessions that are not what the parties agreed to: another digest, two views, and too late.

use quorate_core::request::{Payload, SignRequest};
use quorate_node::message::PeerMessage;
use quorate_tests::cluster::STRANGER;

use crate::scene::{Pay, Scene, digest_of, now, words};

/// A compressed point ends R1.
const POINT: usize = 33;

#[test]
fn no_share_leaves_for_another_digest() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let liar = &scene.liar;
    let pay = Pay::default();
    let (truth, lie) = (
        digest_of(&pay.transaction()),
        digest_of(&Pay { to: STRANGER, value: 999_999, ..pay }.transaction()),
    );
    // The proposal and its start are as they should be; only the liar's own part is about a theft.
    let request = scene.pay_well(&pay);
    let agreed = liar.open(&request, truth, &[1, 2]);
    let theft = liar.twin(&agreed, lie, agreed.own_salt());
    assert_ne!(agreed.inputs(), theft.inputs());
    liar.start(&agreed);
    for party in [1, 2] {
        liar.core_message(party, 1, &agreed.inputs());
        liar.evil.send(party, &PeerMessage::Ecdsa(theft.nonce_point()));
        scene.fence(party);
    }
    // The same point, said to belong to the session that they are in.
    let (own, other) = (agreed.nonce_point(), theft.nonce_point());
    let forged = [&own[..own.len() - POINT], &other[other.len() - POINT..]].concat();
    for party in [1, 2] {
        liar.evil.send(party, &PeerMessage::Ecdsa(forged.clone()));
    }
    for party in [1, 2] {
        let said = words(&liar.rejection(party, &agreed.id));
        assert!(said.contains("do not fit together: one of them lied"), "{said}");
        // Also who now hears the true one gives nothing: the session is over.
        liar.evil.send(party, &PeerMessage::Ecdsa(own.clone()));
        scene.fence(party);
    }
    scene.honest();

    // Each is shown another salt of the liar, so that each has a session of its own.
    let request = scene.pay_well(&pay);
    let agreed = liar.open(&request, truth, &[1, 2]);
    let second = liar.twin(&agreed, truth, [0x5a; 32]);
    liar.start_at(1, &agreed);
    liar.start_at(2, &second);
    for (party, session) in [(1, &agreed), (2, &second)] {
        liar.core_message(party, 1, &session.inputs());
        for point in [agreed.nonce_point(), second.nonce_point()] {
            liar.evil.send(party, &PeerMessage::Ecdsa(point));
        }
        scene.fence(party);
    }
    scene.honest();
    // Control: the same request in a session as it should be.
    let session = liar.open(&request, truth, &[1, 2]);
    liar.start(&session);
    scene.is_the_keys(&request, &liar.complete(session));
    scene.settle();
}

/// Between the proposal and the start lies time, which the coordinator chooses.
#[test]
fn what_is_not_allowed_any_more_at_the_start_is_refused() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let transaction = Pay::default().transaction();
    let wish = scene.wish(Payload::EthereumTransaction(&transaction));
    let at = |expires: u64| scene.signed(&SignRequest { expires, ..wish });
    scene.refused_by_all(&at(now() - 1), "denied by rule expired: the request expired at");
    let tomorrow = now() + 24 * 60 * 60;
    scene.refused_by_all(&at(tomorrow + 60), "denied by rule expiry-too-far: ");

    let request = at(now() + 8);
    let session = scene.liar.open(&request, digest_of(&transaction), &[1, 2]);
    let expires = quorate_core::request::SignedRequest::parse(&request).unwrap().expires();
    while now() < expires {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for party in [1, 2] {
        scene.liar.say_start(party, &session);
        let said = words(&scene.liar.rejection(party, &session.id));
        assert!(said.contains("denied by rule expired"), "{said}");
        scene.must_be_in_the_log(party, session.id, &said);
        scene.fence(party);
    }
    scene.honest();
    scene.is_a_lie(&request);
    scene.settle();
}
