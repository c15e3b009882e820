//! The same request again: in another session, at the same time, and after all parties were killed.

use std::time::Duration;

use quorate_node::message::Outcome;

use crate::liar::{Answer, HONEST};
use crate::scene::{Pay, Scene, digest_of, now};

/// What `party` answers to a replay: its record.
fn recorded(scene: &Scene, party: u16, request: &[u8]) -> Outcome {
    match scene.liar.propose(party, &scene.liar.fresh_nonce(), request) {
        Answer::Signed(outcome) => outcome,
        other => panic!("party {party} has signed this: {other:?}"),
    }
}

fn kill_and_restart(scene: &mut Scene) {
    scene.liar.forget();
    HONEST.into_iter().for_each(|party| scene.cluster.kill(party));
    // Of one second a second count would not show.
    let killed = now();
    while now() == killed {
        std::thread::sleep(Duration::from_millis(20));
    }
    HONEST.into_iter().for_each(|party| scene.cluster.start(party));
    scene.cluster.wait_linked();
    scene.liar.wait_linked();
}

#[test]
fn a_replay_gives_what_is_on_record_and_counts_once() {
    let mut scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let pay = Pay::default();
    let digest = digest_of(&pay.transaction());

    // Signed by the honest.
    let signed = scene.pay_well(&pay);
    let (_, first) = (scene.honest(), scene.cluster.client(1).sign(&signed).unwrap());
    // The record comes to each a moment after the answer.
    HONEST.into_iter().for_each(|party| drop(scene.cluster.client(party).sign(&signed).unwrap()));
    let on_record = |scene: &Scene| {
        for party in HONEST {
            let Outcome { r, s, .. } = recorded(scene, party, &signed);
            assert_eq!((hex::encode(r), hex::encode(s)), (first.r.clone(), first.s.clone()));
            assert_eq!(scene.releases(party, &signed), 1, "party {party}");
        }
    };
    on_record(&scene);

    // Started by the liar, and left: the parties have counted it and have no signature.
    let left = scene.pay_well(&pay);
    let session = scene.liar.open(&left, digest, &[1, 2]);
    scene.liar.start(&session);
    for party in [1, 2] {
        scene.liar.core_message(party, 1, &session.inputs());
    }
    kill_and_restart(&mut scene);
    on_record(&scene);

    // Two sessions of it at the same time, with quorums that differ.
    let sessions = [[1, 2], [2, 3]].map(|others| scene.liar.open(&left, digest, &others));
    assert_ne!(sessions[0].inputs(), sessions[1].inputs());
    sessions.iter().for_each(|session| scene.liar.start(session));
    let signatures = sessions.map(|session| scene.liar.complete(session));
    signatures.iter().for_each(|signature| scene.is_the_keys(&left, signature));
    // Party 2 was in all three, and the books below say that it counted once.
    assert_eq!([1, 2, 3].map(|party| scene.releases(party, &left)), [2, 3, 1]);
    scene.honest();

    // Whichever signature the liar shows first is the one on record; another changes nothing.
    for (turn, signature) in signatures.iter().enumerate() {
        for party in HONEST {
            scene.show(party, &left, signature);
            let outcome = recorded(&scene, party, &left);
            assert_eq!(outcome.r, signatures[0].r, "turn {turn}");
        }
    }
    kill_and_restart(&mut scene);
    for party in HONEST {
        assert_eq!(recorded(&scene, party, &left).r, signatures[0].r);
    }
    scene.honest();
    scene.settle();
}
