//! FROST held against others: keys from our key generation, from `frost-core`'s and from its dealer
//! sign for every quorum of T or more, and judges that share no code with ours agree.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::frost::{
    FrostKey, FrostSuite, PublicRecord, SignError, verification_key, verify,
};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{MAX_PAYLOAD, Tweak};
use quorate_tests::judge::{accepts_bip340, accepts_ed25519};
use quorate_tests::simulator::frost::*;
use quorate_tests::simulator::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest as _, Sha256};

trait Judge: FrostSuite {
    fn accepts(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), String>;
}

impl Judge for SchnorrSecp256k1 {
    fn accepts(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), String> {
        accepts_bip340(key, message, signature)
    }
}

impl Judge for Ed25519 {
    fn accepts(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), String> {
        accepts_ed25519(key, message, signature)
    }
}

/// Signs with `quorum`, has it judged twice, and gives the name of the key.
fn signs<G: Judge>(
    scene: &mut Scene<G>,
    quorum: PartySet,
    message: &[u8],
    tweak: Tweak,
) -> [u8; 32] {
    let terms = terms_of(quorum, message, tweak, message.len() as u64);
    let signature = scene.sign(&terms).unwrap();
    let key = verification_key::<G>(scene.public.group_key(), &tweak).unwrap();
    assert!(verify::<G>(&key, message, &signature), "{quorum:?}");
    G::accepts(&key, message, &signature.0).unwrap();
    key
}

/// Every subset of 1 … n with `least` or more members.
fn subsets(n: u8, least: usize) -> Vec<PartySet> {
    (0u32..1 << n)
        .filter(|mask| mask.count_ones() as usize >= least)
        .map(|mask| (1..=u16::from(n)).filter(|i| mask >> (i - 1) & 1 == 1).map(id).collect())
        .collect()
}

fn parity<G: FrostSuite>(keys: &[FrostKey<G>]) -> usize {
    usize::from(keys[0].public().group_key().0[0] & 1)
}

fn every_quorum_signs<G: Judge>(keys: Vec<FrostKey<G>>, seed: u64) {
    let (n, t) = (keys.len() as u8, keys[0].public().threshold());
    let quorums = subsets(n, t);
    let mut scene = Scene::new(keys, quorums.len(), seed);
    for (number, quorum) in quorums.into_iter().enumerate() {
        signs(&mut scene, quorum, &vec![number as u8; number * 7], Tweak::None);
    }
}

#[test]
fn keys_of_our_generation_sign_with_every_quorum_odd_and_even() {
    let mut parities = [0, 0];
    for (n, t, seed) in [(3, 2, 1), (3, 2, 2), (4, 2, 3), (4, 2, 4), (5, 3, 5), (5, 3, 6)] {
        let keys = ours(&group_on::<SchnorrSecp256k1>(PartySet::first(n), t, seed)).unwrap();
        parities[parity(&keys)] += 1;
        every_quorum_signs(keys, seed);
    }
    assert!(parities[0] > 0 && parities[1] > 0, "{parities:?}");
    for (n, t, seed) in [(3, 2, 1), (5, 3, 2)] {
        let keys = ours(&group_on::<Ed25519>(PartySet::first(n), t, seed)).unwrap();
        every_quorum_signs(keys, seed);
    }
}

#[test]
fn keys_of_frost_core_sign_with_every_quorum_odd_and_even() {
    // T of n as our own generation has none: 2 of 2, 3 of 3, 4 of 5.
    let mut parities = [0, 0];
    for (n, t, seed) in [(2u8, 2u8, 1), (3, 3, 2), (5, 4, 3), (4, 2, 4), (2, 2, 5), (2, 2, 6)] {
        let terms = key_terms::<SchnorrSecp256k1>(n, t);
        for packages in
            [dealt(n.into(), t.into(), seed).unwrap(), generated(n.into(), t.into(), seed).unwrap()]
        {
            let keys = taken_over::<SchnorrSecp256k1>(terms, &packages).unwrap();
            parities[parity(&keys)] += 1;
            every_quorum_signs(keys, seed);
        }
        let terms = key_terms::<Ed25519>(n, t);
        for packages in
            [dealt(n.into(), t.into(), seed).unwrap(), generated(n.into(), t.into(), seed).unwrap()]
        {
            every_quorum_signs(taken_over::<Ed25519>(terms, &packages).unwrap(), seed);
        }
    }
    assert!(parities[0] > 0 && parities[1] > 0, "{parities:?}");
}

#[test]
fn our_key_goes_to_frost_core_and_back_as_the_same_key() {
    fn there_and_back<G: Judge>() {
        for seed in 1..5 {
            let group = group_on::<G>(PartySet::first(4), 2, seed);
            let stored = &group[&id(1)].public;
            let keys = ours(&group).unwrap();
            let public = keys[0].public().to_frost().unwrap();
            let packages: Vec<_> = keys.iter().map(|key| key.to_frost().unwrap()).collect();

            let terms = key_terms::<G>(4, 2);
            let record = PublicRecord::<N>::import::<G>(terms, &public).unwrap();
            assert_eq!(record.commitment, stored.commitment);
            let back = taken_over::<G>(terms, &(packages, public)).unwrap();
            for (ours, back) in keys.iter().zip(&back) {
                assert_eq!(ours.to_frost().unwrap(), back.to_frost().unwrap());
            }
            let key = signs(&mut Scene::new(back, 1, 1), PartySet::first(2), b"m", Tweak::None);
            assert_eq!(
                key,
                verification_key::<G>(stored.group_key().unwrap(), &Tweak::None).unwrap()
            );
        }
    }
    there_and_back::<SchnorrSecp256k1>();
    there_and_back::<Ed25519>();
}

#[test]
fn our_packages_sign_in_frost_core_itself() {
    fn by_frost_core<G: Judge>() {
        for seed in 1..5 {
            let keys = ours(&group_on::<G>(PartySet::first(3), 2, seed)).unwrap();
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let packages: Vec<_> = keys[1..].iter().map(|key| key.to_frost().unwrap()).collect();
            let nonces: Vec<_> = packages
                .iter()
                .map(|package| frost_core::round1::commit(package.signing_share(), &mut rng).0)
                .collect();
            let commitments = packages.iter().zip(&nonces);
            let commitments = commitments.map(|(key, nonces)| (*key.identifier(), nonces.into()));
            let package = frost_core::SigningPackage::new(commitments.collect(), b"message");
            let shares = packages.iter().zip(&nonces).map(|(key, nonces)| {
                let share = frost_core::round2::sign(&package, nonces, key).unwrap();
                (*key.identifier(), share)
            });
            let public = keys[0].public().to_frost().unwrap();
            let made = frost_core::aggregate(&package, &shares.collect(), &public).unwrap();
            let signature: [u8; 64] = made.serialize().unwrap().try_into().unwrap();
            let key = verification_key::<G>(keys[0].public().group_key(), &Tweak::None).unwrap();
            G::accepts(&key, b"message", &signature).unwrap();
        }
    }
    by_frost_core::<SchnorrSecp256k1>();
    by_frost_core::<Ed25519>();
}

/// The output key as libsecp256k1 computes it, with a tag hash that is written down here again.
fn taproot_judge(internal: &[u8; 32], root: Option<&[u8; 32]>) -> ([u8; 32], bool) {
    let tag = Sha256::digest("TapTweak");
    let hash = Sha256::new().chain_update(tag).chain_update(tag).chain_update(internal);
    let tweak: [u8; 32] = hash.chain_update(root.map_or(&[][..], |root| root)).finalize().into();
    let internal = secp256k1::XOnlyPublicKey::from_byte_array(*internal).unwrap();
    let tweak = secp256k1::Scalar::from_be_bytes(tweak).unwrap();
    let (key, parity) = internal.add_tweak(&secp256k1::Secp256k1::new(), &tweak).unwrap();
    (key.serialize(), parity == secp256k1::Parity::Odd)
}

#[test]
fn taproot_keys_are_those_of_the_stateless_mode_whatever_the_parities() {
    type G = SchnorrSecp256k1;
    let mut parities = [[0, 0], [0, 0]];
    for key_seed in 1..6 {
        let group = group_on::<G>(PartySet::first(4), 2, key_seed);
        let mut scene = Scene::new(ours(&group).unwrap(), 6, key_seed);
        let internal = scene.public.group_key().0;
        for seed in 0..6u8 {
            let merkle_root = (seed > 0).then_some([seed; 32]);
            let tweak = Tweak::Taproot { merkle_root };
            let quorum = subsets(4, 2)[usize::from(seed)];
            let key = signs(&mut scene, quorum, b"spend", tweak);
            let (expected, odd) =
                taproot_judge(internal[1..].try_into().unwrap(), merkle_root.as_ref());
            assert_eq!(key, expected);
            parities[usize::from(internal[0] & 1)][usize::from(odd)] += 1;

            let mut network = Network::new(1, Weather::default());
            let shown = schnorr::terms_of(PartySet::first(3), b"spend", tweak, 1);
            let done = schnorr::sign::<G>(&group, &shown, &mut network, &mut |packet| vec![packet]);
            accepts_bip340(&key, b"spend", &done.signature.unwrap().0).unwrap();
        }
    }
    assert!(parities.iter().flatten().all(|count| *count > 0), "{parities:?}");
}

#[test]
fn a_key_that_frost_core_generated_is_the_output_key_of_bip_341_without_scripts() {
    // Its suite for secp256k1 tweaks what its own key generation gives; a dealer's key stays as it is.
    type G = SchnorrSecp256k1;
    for seed in 1..5 {
        let packages = generated::<<G as FrostSuite>::Ciphersuite>(3, 2, seed).unwrap();
        let keys = taken_over::<G>(key_terms::<G>(3, 2), &packages).unwrap();
        let key = signs(&mut Scene::new(keys, 1, seed), PartySet::first(2), b"m", Tweak::None);
        let written = packages.1.verifying_key().serialize().unwrap();
        assert_eq!(key, written[1..]);
    }
}

#[test]
fn ed25519_keys_have_no_taproot_tweak() {
    let keys = taken_over::<Ed25519>(key_terms::<Ed25519>(2, 2), &dealt(2, 2, 1).unwrap());
    let mut scene = Scene::new(keys.unwrap(), 1, 1);
    let tweak = Tweak::Taproot { merkle_root: None };
    let terms = terms_of(PartySet::first(2), b"m", tweak, 1);
    assert_eq!(scene.begin(&terms).map(|_| ()), Err(SignError::Tweak));
}

#[test]
fn scattered_identifiers_a_large_group_and_the_longest_message() {
    let parties: PartySet = [3, 8, 40, 41, 99, 128, 254, 255].map(id).into_iter().collect();
    let quorum: PartySet = [3, 40, 99, 254].map(id).into_iter().collect();
    let message = vec![0xa5; MAX_PAYLOAD];
    let keys = ours(&group_on::<SchnorrSecp256k1>(parties, 3, 1)).unwrap();
    signs(&mut Scene::new(keys, 1, 1), quorum, &message, Tweak::None);

    // The largest group there can be, for the limits on lists.
    let packages = dealt::<<Ed25519 as FrostSuite>::Ciphersuite>(255, 9, 1).unwrap();
    let keys = taken_over::<Ed25519>(key_terms::<Ed25519>(255, 9), &packages).unwrap();
    signs(&mut Scene::new(keys, 1, 1), PartySet::first(255), &message, Tweak::None);
}

#[test]
fn whatever_the_seed_the_group_and_the_quorum_honest_parties_have_a_signature() {
    fn any<G: Judge>(parities: &mut [usize; 2]) {
        for seed in 0..40u64 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut below = |limit: u32| rng.next_u32() % limit;
            let n = 2 + below(9) as u8;
            let t = 2 + below(u32::from(n) - 1) as u8;
            let made = if below(2) == 0 { dealt } else { generated };
            let packages = made(n.into(), t.into(), seed).unwrap();
            let keys = taken_over::<G>(key_terms::<G>(n, t), &packages).unwrap();
            parities[parity(&keys)] += 1;
            let mut scene = Scene::new(keys, 3, seed);
            for _ in 0..3 {
                let size = u32::from(t) + below(u32::from(n - t) + 1);
                let mut quorum = PartySet::first(n);
                while quorum.len() > size as usize {
                    quorum = quorum.without(id(1 + below(n.into()) as u16));
                }
                let message: Vec<u8> = (0..below(200)).map(|_| below(256) as u8).collect();
                signs(&mut scene, quorum, &message, Tweak::None);
            }
        }
    }
    let mut parities = [0, 0];
    any::<SchnorrSecp256k1>(&mut parities);
    assert!(parities[0] > 5 && parities[1] > 5, "{parities:?}");
    any::<Ed25519>(&mut [0, 0]);
}
