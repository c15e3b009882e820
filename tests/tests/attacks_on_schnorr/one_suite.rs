//! Attacks that only one of the suites knows.

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{SignError, Tweak};
use quorate_core::session::{Abort, Fault};
use quorate_tests::simulator::forge::Nonce;
use quorate_tests::simulator::schnorr::{sign, terms_of};
use quorate_tests::simulator::*;

use super::{
    MESSAGE, SEEDS, all_abort, disagreement, key, plus_one, quorum, stormy, with_nonce, with_share,
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

#[test]
fn ed25519_nonce_points_with_a_part_of_small_order() {
    // Weights of the degree check may be even: such a part could slip through it, and give two
    // honest parties two encodings of R.
    use curve25519_dalek::edwards::CompressedEdwardsY;
    let invalid = Abort::Culprit(id(4), Fault::InvalidPoint);
    for small in curve25519_dalek::constants::EIGHT_TORSION {
        let shift = |nonce: &mut Nonce, alone: bool| {
            let honest: [u8; 32] = nonce.point.0[..32].try_into().unwrap();
            let honest = CompressedEdwardsY(honest).decompress().unwrap();
            let point = if alone { small } else { honest + small };
            nonce.point.0[..32].copy_from_slice(point.compress().as_bytes());
        };
        all_abort::<Ed25519>(invalid, with_nonce(|nonce| shift(nonce, true)));
        if small != curve25519_dalek::constants::EIGHT_TORSION[0] {
            all_abort::<Ed25519>(invalid, with_nonce(|nonce| shift(nonce, false)));
        }
    }
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
        let group = group_in::<G>(PartySet::first(4), 2, seed);
        let tweak = Tweak::Taproot { merkle_root: Some([seed as u8; 32]) };
        let shown = terms_of(quorum(), MESSAGE, tweak, seed);
        let mut lie = with_share(4, |share| share.response = plus_one::<G>(&share.response));
        let done = sign::<G>(&group, &shown, &mut stormy(seed), &mut lie);
        let named = Abort::Culprit(id(4), Fault::BadSignatureShare);
        assert_eq!((done.signature, done.failed), (None, Some(named)), "seed {seed}");
    }
}
