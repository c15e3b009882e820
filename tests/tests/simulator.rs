//! The core in the simulator: every quorum signs, any weather ends cleanly, nobody honest is blamed.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use quorate_core::curve::{EcdsaGroup as _, Group as _, P256, PointBytes};
use quorate_core::key::check_certificate;
use quorate_core::party::PartySet;
use quorate_core::session::{Abort, Fault};
use quorate_tests::judge::{accepts, accepts_p256};
use quorate_tests::simulator::*;
use sha2::{Digest as _, Sha256};

fn honest(packet: Packet) -> Vec<Packet> {
    vec![packet]
}

fn calm(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

fn recovers(group: &Group, digest: [u8; 32], signature: &quorate_core::ecdsa::Signature) {
    let key = group.values().next().unwrap().public.group_key().unwrap().0;
    accepts(&key, digest, signature).unwrap();
}

fn subsets(n: u8, size: usize) -> Vec<PartySet> {
    (0u32..1 << n)
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| (1..=u16::from(n)).filter(|i| mask >> (i - 1) & 1 == 1).map(id).collect())
        .collect()
}

#[test]
fn every_quorum_signs_and_libsecp256k1_agrees() {
    for (n, t) in [(3, 2), (4, 2), (5, 3), (7, 3)] {
        let group = group(n, t, 7);
        assert_eq!(group.len(), usize::from(n));
        for (seed, quorum) in subsets(n, 2 * usize::from(t) - 1).into_iter().enumerate() {
            let digest = [seed as u8 + 1; 32];
            let done =
                sign(&group, quorum, digest, seed as u64, &mut calm(seed as u64), &mut honest);
            let signature =
                done.signature.unwrap_or_else(|| panic!("{quorum:?}: {:?}", done.aborted));
            recovers(&group, digest, &signature);
        }
    }
}

/// s is left as it comes: both kinds occur, and both are signatures on P-256.
#[test]
fn every_quorum_signs_on_p256_and_ring_agrees() {
    let (mut high, mut low) = (0, 0);
    for (n, t) in [(3, 2), (4, 2), (5, 3), (7, 3)] {
        let group = group_on::<P256>(PartySet::first(n), t, 7);
        assert_eq!(group.len(), usize::from(n));
        let compressed = group[&id(1)].public.group_key().unwrap();
        let key = P256::coordinates(&P256::point_from_bytes(compressed).unwrap()).unwrap();
        for (seed, quorum) in subsets(n, 2 * usize::from(t) - 1).into_iter().enumerate() {
            let (message, seed) = ([seed as u8; 9], seed as u64);
            let digest = Sha256::digest(message).into();
            let done = sign(&group, quorum, digest, seed, &mut calm(seed), &mut honest);
            let signature =
                done.signature.unwrap_or_else(|| panic!("{quorum:?}: {:?}", done.aborted));
            assert!(accepts_p256(&key.0, &message, &signature), "{quorum:?}");
            assert!(!accepts_p256(&key.0, &[0xff; 9], &signature));
            recovers_on_p256(&compressed.0, &digest, &signature);
            match P256::is_high(&P256::scalar_from_bytes(&signature.s).unwrap()) {
                true => high += 1,
                false => low += 1,
            }
        }
    }
    assert!(high > 0 && low > 0, "{high} high, {low} low");
}

/// Q = (s·R − h·G)/r, where R has x = r and the parity that the recovery id says.
fn recovers_on_p256(key: &[u8; 33], digest: &[u8; 32], signature: &quorate_core::ecdsa::Signature) {
    let mut encoded = PointBytes([2 + (signature.recovery_id & 1); 33]);
    encoded.0[1..].copy_from_slice(&signature.r);
    let nonce = P256::point_from_bytes(&encoded).unwrap();
    let [r, s] = [signature.r, signature.s].map(|bytes| P256::scalar_from_bytes(&bytes).unwrap());
    let hash = P256::mul_base(&P256::scalar_from_digest(digest));
    let recovered = P256::mul(&(P256::mul(&nonce, &s) - hash), &P256::invert(&r).unwrap());
    assert_eq!(&P256::point_to_bytes(&recovered).unwrap().0, key);
}

#[test]
fn a_large_group_with_scattered_identifiers_signs() {
    let parties: PartySet =
        [3, 8, 40, 41, 99, 128, 200, 201, 254, 255].map(id).into_iter().collect();
    let group = group_of(parties, 4, 3);
    assert_eq!(group.len(), 10);
    let quorum: PartySet = [3, 40, 41, 99, 200, 254, 255].map(id).into_iter().collect();
    let done = sign(&group, quorum, [9; 32], 1, &mut calm(1), &mut honest);
    recovers(&group, [9; 32], &done.signature.unwrap());
}

#[test]
fn all_holders_agree_on_one_key_and_its_certificate() {
    let group = group(4, 2, 11);
    let public = &group[&id(1)].public;
    assert!(group.values().all(|stored| stored.public == *public));
    let confirmations: Vec<_> = group.values().map(|stored| stored.confirmation.clone()).collect();
    let identities = |party| Some(super_identity(party));
    check_certificate(public, &confirmations, identities).unwrap();
    let missing = check_certificate(public, &confirmations[1..], identities);
    assert!(missing.is_err(), "one missing confirmation leaves the key pending");
    // Any T shares are the key, and the key is nowhere: interpolate to see that it fits.
    let set: PartySet = [id(2), id(4)].into_iter().collect();
    let secret = set.iter().fold(k256::Scalar::ZERO, |sum, party| {
        let record: quorate_core::key::ShareRecord<N, K> =
            quorate_core::wire::decode(&group[&party].sealed).unwrap();
        let share = Curve::scalar_from_bytes(record.share.expose()).unwrap();
        sum + quorate_core::vss::lagrange::<Curve>(set, party) * share
    });
    let key = Curve::point_to_bytes(&Curve::mul_base(&secret)).unwrap();
    assert_eq!(&key, public.group_key().unwrap());
}

fn super_identity(party: quorate_core::party::PartyId) -> quorate_core::identity::Identity {
    quorate_tests::simulator::public(&identity_key(party))
}

#[test]
fn any_weather_ends_in_one_key_or_in_clean_aborts() {
    let mut keys = 0;
    for seed in 0..150 {
        let weather = Weather {
            drop: (seed as u32 % 3) * 10,
            duplicate: 200,
            corrupt: (seed as u32 % 5) * 8,
            reorder: true,
        };
        let terms = terms(PartySet::first(4), 2, seed).unwrap();
        let done = generate(&terms, seed, &mut Network::new(seed, weather), &mut honest);
        assert_eq!(done.finished.len() + done.aborted.len(), 4, "seed {seed}");
        let mut publics = done.finished.values().map(|stored| &stored.public);
        if let Some(first) = publics.next() {
            assert!(publics.all(|other| other == first), "seed {seed}: two keys");
        }
        keys += usize::from(done.finished.len() == 4);
        if weather.corrupt == 0 {
            for abort in done.aborted.values() {
                assert!(
                    !matches!(abort, Abort::Culprit(..)),
                    "seed {seed}: {abort} blames the honest"
                );
            }
        }
    }
    assert!(keys > 10, "fair seeds make keys: {keys}");
}

#[test]
fn signing_in_any_weather_never_gives_a_wrong_signature() {
    let group = group(4, 2, 5);
    let quorum: PartySet = [1, 2, 4].map(id).into_iter().collect();
    let mut signed = 0;
    for seed in 0..300 {
        let weather = Weather { drop: 20, duplicate: 300, corrupt: 30, reorder: true };
        let mut network = Network::new(seed, weather);
        let done = sign(&group, quorum, [7; 32], seed, &mut network, &mut honest);
        if let Some(signature) = done.signature {
            recovers(&group, [7; 32], &signature);
            signed += 1;
        }
    }
    assert!(signed > 100, "{signed}");
}

#[test]
fn a_culprit_is_named_by_all_who_can_know() {
    let terms = terms(PartySet::first(4), 2, 1).unwrap();
    let mut network = calm(1);
    // Party 3 cuts its R2 short.
    let done = generate(&terms, 1, &mut network, &mut |mut packet| {
        let round = quorate_core::session::Header::peek(&packet.bytes).unwrap().round;
        if packet.from == id(3) && round == 2 {
            packet.bytes.truncate(200);
        }
        vec![packet]
    });
    for me in [1, 2, 4] {
        assert_eq!(done.aborted[&id(me)], Abort::Culprit(id(3), Fault::Malformed));
    }
}
