//! Requests that the client did not sign as they are, or signed for somebody else.

use ed25519_dalek::SigningKey;
use quorate_core::request::{Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest};
use quorate_tests::cluster::STRANGER;

use crate::liar::{Answer, HONEST};
use crate::scene::{Pay, Scene, digest_of};

const SIGNATURE: &str = "the client's signature on the request is wrong";

#[test]
fn what_the_client_did_not_sign_is_signed_by_nobody() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let transaction = Pay::default().transaction();
    let wish = scene.wish(Payload::EthereumTransaction(&transaction));
    let signed = scene.signed(&wish);
    let other = Pay { to: STRANGER, ..Pay::default() }.transaction();
    let more = Pay { value: 1_001, ..Pay::default() }.transaction();
    let (other, more) = (Payload::EthereumTransaction(&other), Payload::EthereumTransaction(&more));
    let cases: [SignRequest<'_>; 10] = [
        SignRequest { payload: other, ..wish },
        SignRequest { payload: more, ..wish },
        // The hash that would be signed is the same.
        SignRequest { payload: Payload::Digest(digest_of(&transaction)), ..wish },
        SignRequest { payload: Payload::EthereumMessage(&transaction), ..wish },
        SignRequest { label: "rent for May", ..wish },
        SignRequest { nonce: [0xff; 16], ..wish },
        SignRequest { expires: wish.expires + 1, ..wish },
        SignRequest { derivation: Derivation::Path("m/1".parse().unwrap()), ..wish },
        SignRequest { key: KeyId([7; 16]), ..wish },
        SignRequest { network: NetworkId([7; 16]), ..wish },
    ];
    for case in &cases {
        scene.refused_by_all(&scene.under_old_signature(case, &signed), SIGNATURE);
    }
    // Any bit of it; these are too many for the audit log.
    for place in 0..signed.len() {
        let mut changed = signed.clone();
        changed[place] ^= 1 << (place % 8);
        let party = HONEST[place % HONEST.len()];
        let answer = scene.liar.propose(party, &scene.liar.fresh_nonce(), &changed);
        assert!(matches!(answer, Answer::Rejected(_)), "byte {place}: {answer:?}");
    }
    // Control: nothing else is wrong with it, and the liar's share and transport are good.
    scene.may_count(&signed, &Pay::default());
    let session = scene.liar.open(&signed, digest_of(&transaction), &[1, 3]);
    scene.liar.start(&session);
    scene.is_the_keys(&signed, &scene.liar.complete(session));
    scene.settle();
}

#[test]
fn a_request_of_another_network_key_or_client_is_refused() {
    let scene = Scene::new(|cluster| Scene::usual(cluster, &[]));
    let transaction = Pay::default().transaction();
    let wish = || scene.wish(Payload::EthereumTransaction(&transaction));
    let network = SignRequest { network: NetworkId([7; 16]), ..wish() };
    scene.refused_by_all(&scene.signed(&network), "the request is for another network");
    let key = SignRequest { key: KeyId([7; 16]), ..wish() };
    scene.refused_by_all(&scene.signed(&key), "no active share of this key");
    let nobody = SigningKey::from_bytes(&[0x66; 32]);
    let of_nobody = wish().sign(&nobody, &mut [0; MAX_REQUEST]).unwrap().to_vec();
    scene.refused_by_all(&of_nobody, "denied by rule client: client ed25519:");
    // The client itself may wish for nothing that nobody can read.
    let digest = scene.wish(Payload::Digest(digest_of(&transaction)));
    let unreadable = "denied by rule kind: no rule of the policy is for";
    scene.refused_by_all(&scene.signed(&digest), unreadable);
    let mut garbled = transaction.clone();
    garbled.push(0);
    let garbled = scene.wish(Payload::EthereumTransaction(&garbled));
    scene.refused_by_all(&scene.signed(&garbled), "denied by rule payload: ");
    scene.refused_by_all(&scene.signed(&wish())[..60], "the request does not decode");
    scene.settle();
}
