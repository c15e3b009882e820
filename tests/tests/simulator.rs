//! The core in the simulator: every quorum signs, any weather ends cleanly, nobody honest is blamed.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use quorate_core::curve::{EcdsaGroup as _, Group as _, P256, PointBytes};
use quorate_core::dkg::Dkg;
use quorate_core::key::check_certificate;
use quorate_core::party::PartySet;
use quorate_core::session::{Abort, Fault, Protocol};
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
        let key = P256::coordinates(&P256.point_from_bytes(compressed).unwrap()).unwrap();
        for (seed, quorum) in subsets(n, 2 * usize::from(t) - 1).into_iter().enumerate() {
            let (message, seed) = ([seed as u8; 9], seed as u64);
            let digest = Sha256::digest(message).into();
            let done = sign(&group, quorum, digest, seed, &mut calm(seed), &mut honest);
            let signature =
                done.signature.unwrap_or_else(|| panic!("{quorum:?}: {:?}", done.aborted));
            assert!(accepts_p256(&key.0, &message, &signature), "{quorum:?}");
            assert!(!accepts_p256(&key.0, &[0xff; 9], &signature));
            recovers_on_p256(&compressed.0, &digest, &signature);
            match P256::is_high(&P256.scalar_from_bytes(&signature.s).unwrap()) {
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
    let nonce = P256.point_from_bytes(&encoded).unwrap();
    let [r, s] = [signature.r, signature.s].map(|bytes| P256.scalar_from_bytes(&bytes).unwrap());
    let hash = P256::mul_base(&P256.scalar_from_digest(digest));
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

/// As many nonce keys as a party may hold, nearly: 495 of 13 parties, 455 of 16.
#[test]
fn the_largest_groups_sign() {
    for (n, t, quorum) in [(13, 5, 9), (16, 4, 7)] {
        let terms = terms(PartySet::first(n), t, 5).unwrap();
        let mut network = calm(5);
        let done = generate(&terms, 5, &mut network, &mut honest);
        assert_eq!(done.finished.len(), usize::from(n), "{:?}", done.aborted);
        let longest = network.sent.iter().map(|packet| packet.bytes.len()).max().unwrap();
        assert!(longest > 32 * 455 && longest <= Dkg::<Curve, N, K>::MAX_MESSAGE, "{longest}");
        let group = done.finished;
        let public = &group[&id(1)].public;
        let confirmations: Vec<_> = group.values().map(|s| s.confirmation.clone()).collect();
        check_certificate(public, &confirmations, |party| Some(super_identity(party))).unwrap();
        let quorum = (0..quorum).map(|place| id(u16::from(n) - place)).collect();
        let signed = sign(&group, quorum, [9; 32], 1, &mut calm(1), &mut honest);
        recovers(&group, [9; 32], &signed.signature.unwrap());
    }
}

/// A complaint with a whole private message is the longest message, where a party has most nonce keys.
#[test]
fn the_longest_complaint_is_not_longer_than_a_message_may_be() {
    for (n, t) in [(13, 5), (16, 4)] {
        let terms = terms(PartySet::first(n), t, 5).unwrap();
        let mut network = calm(5);
        let done = generate(&terms, 5, &mut network, &mut |packet| {
            let bad = packet.from == id(3)
                && packet.to == id(2)
                && forge::kind(&packet) == Some((Protocol::Dkg, 3));
            let change = |deal: &mut forge::Deal| deal.share[31] ^= 1;
            vec![if bad { forge::resigned(packet, change) } else { packet }]
        });
        assert_eq!(done.aborted[&id(2)], Abort::Culprit(id(3), Fault::BadShare));
        let complaint = |packet: &&Packet| forge::kind(packet) == Some((Protocol::Dkg, 0));
        let length = network.sent.iter().find(complaint).unwrap().bytes.len();
        assert!(length <= Dkg::<Curve, N, K>::MAX_MESSAGE, "{length}");
        let mut buffer = [0; Dkg::<Curve, N, K>::MAX_EVIDENCE];
        assert!(done.evidence[&id(2)].encode(&mut buffer).is_ok());
    }
}

/// The slow party gets R1 of the last one when R2 of all others is there, and its R2 when R3 of all others
/// is: everything else comes before it can be checked.
#[test]
fn messages_of_the_next_round_in_any_order_give_the_same_key() {
    for n in [4u8, 7] {
        let terms = terms(PartySet::first(n), n.div_ceil(2), 3).unwrap();
        let others = usize::from(n) - 2;
        let mut publics = Vec::new();
        for slow in 1..=u16::from(n) {
            let last = id(if slow == u16::from(n) { 1 } else { u16::from(n) });
            let (mut held, mut early): (Vec<Packet>, usize) = (Vec::new(), 0);
            let done = generate(&terms, 3, &mut calm(u64::from(slow)), &mut |packet| {
                let round = forge::kind(&packet).map_or(0, |(_, round)| usize::from(round));
                if packet.to != id(slow) {
                    return vec![packet];
                }
                if packet.from == last && round < 3 {
                    held.push(packet);
                    return Vec::new();
                }
                early += usize::from(packet.from != last);
                let due = |held: &Packet| {
                    let round = forge::kind(held).map_or(0, |(_, round)| usize::from(round));
                    early == (round + 1) * others
                };
                let released = held.iter().position(due).map(|place| held.remove(place));
                std::iter::once(packet).chain(released).collect()
            });
            assert_eq!(done.finished.len(), usize::from(n), "{slow}: {:?}", done.aborted);
            assert!(done.refused.is_empty(), "{:?}", done.refused);
            publics.extend(done.finished.values().map(|stored| stored.public.clone()));
        }
        assert!(publics.iter().all(|key| *key == publics[0]));
    }
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
        let share = Curve.scalar_from_bytes(record.share.expose()).unwrap();
        sum + quorate_core::vss::lagrange(Curve, set, party) * share
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
