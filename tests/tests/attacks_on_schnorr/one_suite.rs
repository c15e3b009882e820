//! Attacks that only one of the suites knows.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{SignError, Tweak};
use quorate_core::session::{Abort, Fault};
use quorate_tests::simulator::forge::{Nonce, changed};
use quorate_tests::simulator::schnorr::{sign, terms_of};
use quorate_tests::simulator::*;

use super::{
    MESSAGE, NONCE, SEEDS, SHARE, all_abort, disagreement, good, is, key, plus_one, quorum, stormy,
    with_nonce, with_share,
};

#[test]
fn an_ed25519_key_for_taproot() {
    let (group, mut network) = (key::<Ed25519>(), stormy(1));
    let shown = terms_of(quorum(), MESSAGE, Tweak::Taproot { merkle_root: None }, 1);
    let done = sign::<Ed25519>(&group, &shown, &mut network, &mut |packet| vec![packet]);
    for me in quorum().iter() {
        assert_eq!(done.not_started.get(&me), Some(&SignError::Tweak));
    }
    assert!(network.sent.is_empty());
}

/// R_4 with a part of small order.
fn shifted(nonce: &mut Nonce, small: &EdwardsPoint) {
    let honest: [u8; 32] = nonce.point.0[1..].try_into().unwrap();
    let honest = CompressedEdwardsY(honest).decompress().unwrap();
    nonce.point.0[1..].copy_from_slice((honest + small).compress().as_bytes());
}

#[test]
fn ed25519_nonce_points_of_small_order() {
    let invalid = Abort::Culprit(id(4), Fault::InvalidPoint);
    for small in EIGHT_TORSION {
        let alone = |nonce: &mut Nonce| {
            nonce.point.0[1..].copy_from_slice(small.compress().as_bytes());
        };
        all_abort::<Ed25519>(invalid, with_nonce(alone));
    }
}

#[test]
fn ed25519_nonce_points_with_a_part_of_small_order_for_one_party() {
    // The degree check weighs the points of 1, 3 and 5 with 1, −2 and 1, so a part of order 2 in R_3
    // passes it, and would stay in R: two R under one k_i. In 8·R it is gone.
    let quorum: PartySet = [1, 3, 5].map(id).into_iter().collect();
    let group = group_on::<Ed25519>(PartySet::first(5), 2, 1);
    let (mut refused, mut taken) = (0, 0);
    for (liar, victim, honest) in [(3, 1, 5), (3, 5, 1), (1, 3, 5), (5, 3, 1)] {
        for small in EIGHT_TORSION.iter().skip(1) {
            let mut network = stormy(1);
            let shown = terms_of(quorum, MESSAGE, Tweak::None, 1);
            let done = sign::<Ed25519>(&group, &shown, &mut network, &mut |packet| {
                let lie = is(&packet, liar, NONCE) && packet.to == id(victim);
                vec![if lie { changed(packet, |n| shifted(n, small)) } else { packet }]
            });
            let sent = network.sent;
            let answered = |party| sent.iter().any(|packet| is(packet, party, SHARE));
            match answered(victim) {
                false => {
                    let off = Abort::OffPolynomial(quorum);
                    assert_eq!(done.aborted.get(&id(victim)), Some(&off));
                    refused += 1;
                }
                // For the same R as the others: their shares make a signature.
                true => {
                    assert!(answered(honest));
                    good::<Ed25519>(&group, &done);
                    taken += 1;
                }
            }
        }
    }
    assert_eq!((refused, taken), (26, 2));
}

#[test]
fn another_tweak_shown_to_one_signer() {
    disagreement::<SchnorrSecp256k1>(|terms, _| {
        terms.tweak = Tweak::Taproot { merkle_root: None };
    });
}

#[test]
fn a_corrupt_response_under_a_tweak_names_its_author() {
    type G = SchnorrSecp256k1;
    for seed in SEEDS {
        let group = group_on::<G>(PartySet::first(4), 2, seed);
        let tweak = Tweak::Taproot { merkle_root: Some([seed as u8; 32]) };
        let shown = terms_of(quorum(), MESSAGE, tweak, seed);
        let mut lie = with_share(4, |share| share.response = plus_one::<G>(&share.response));
        let done = sign::<G>(&group, &shown, &mut stormy(seed), &mut lie);
        let named = Abort::Culprit(id(4), Fault::BadSignatureShare);
        assert_eq!((done.signature, done.failed), (None, Some(named)), "seed {seed}");
    }
}
