//! Signatures of the simulated parties as OpenSSL judges them: it shares no code with ours, and it reads the
//! files that people exchange.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use quorate_core::curve::{EcdsaGroup, Ed25519, Fixed, P256, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::party::PartySet;
use quorate_core::schnorr::Tweak;
use quorate_tests::judge::{Scheme, accepts_by_openssl};
use quorate_tests::simulator::*;
use sha2::{Digest as _, Sha256};

const QUORUMS: [[u16; 3]; 4] = [[1, 2, 3], [1, 2, 4], [1, 3, 4], [2, 3, 4]];

fn calm(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

fn quorum(ids: [u16; 3]) -> PartySet {
    ids.map(id).into_iter().collect()
}

/// A yes to this message, a no to another and to a damaged signature, so that the judge does judge.
fn judged(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) {
    assert!(accepts_by_openssl(scheme, key, message, signature).unwrap(), "{scheme:?}");
    let mut other = message.to_vec();
    other.push(b'!');
    assert!(!accepts_by_openssl(scheme, key, &other, signature).unwrap(), "{scheme:?}");
    let mut damaged = signature.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(!accepts_by_openssl(scheme, key, message, &damaged).unwrap(), "{scheme:?}");
}

fn ecdsa<C: EcdsaGroup + Fixed>(scheme: Scheme, der: impl Fn([u8; 32], [u8; 32]) -> Vec<u8>) {
    let group = group_on::<C>(PartySet::first(4), 2, 5);
    let root = group.get(&id(1)).unwrap().public.extended::<C>().unwrap();
    for (seed, ids) in QUORUMS.into_iter().enumerate() {
        for derivation in [Derivation::Root, Derivation::Context("a customer".parse().unwrap())] {
            let (message, seed) = (vec![b'm'; 1 + seed * 100], seed as u64);
            let digest = Sha256::digest(&message).into();
            let (quorum, mut network) = (quorum(ids), calm(seed));
            let done = sign_derived(
                &group,
                derivation,
                quorum,
                digest,
                seed,
                &mut network,
                &mut |packet| vec![packet],
            );
            let signature = done.signature.unwrap();
            let key = root.derive(&derivation).unwrap().point();
            let key = C::coordinates(&key).unwrap();
            judged(scheme, &key.0, &message, &der(signature.r, signature.s));
        }
    }
}

#[test]
fn ecdsa_on_secp256k1_in_der() {
    ecdsa::<Secp256k1>(Scheme::EcdsaSecp256k1, |r, s| {
        k256::ecdsa::Signature::from_scalars(r, s).unwrap().to_der().as_bytes().to_vec()
    });
}

#[test]
fn ecdsa_on_p256_in_der() {
    ecdsa::<P256>(Scheme::EcdsaP256, |r, s| {
        p256::ecdsa::Signature::from_scalars(r, s).unwrap().to_der().as_bytes().to_vec()
    });
}

#[test]
fn ed25519() {
    let group = group_on::<Ed25519>(PartySet::first(4), 2, 5);
    let key = &group[&id(1)].public.group_key().unwrap().0[1..];
    for (seed, ids) in QUORUMS.into_iter().enumerate() {
        let message = vec![b'm'; 1 + seed * 100];
        let shown = schnorr::terms_of(quorum(ids), &message, Tweak::None, seed as u64);
        let mut network = calm(seed as u64);
        let done =
            schnorr::sign::<Ed25519>(&group, &shown, &mut network, &mut |packet| vec![packet]);
        judged(Scheme::Ed25519, key, &message, &done.signature.unwrap().0);
    }
}

/// A judge that cannot judge is an error, not a no.
#[test]
fn a_key_that_is_none_is_no_verdict() {
    for scheme in [Scheme::EcdsaSecp256k1, Scheme::EcdsaP256, Scheme::Ed25519] {
        assert!(accepts_by_openssl(scheme, &[1], b"m", &[0; 64]).is_err(), "{scheme:?}");
    }
}
