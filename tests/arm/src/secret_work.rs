//! The same work over many secrets.

use core::hint::black_box;

use heapless::Vec;
use quorate_core::curve::{Group, PointBytes, SchnorrSecp256k1, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{self, Guard};
use quorate_core::party::PartySet;
use quorate_core::schnorr;
use semihosting::println;

use crate::fabricated::{SECRETS, key, secret};
use crate::group::{Meter, QUORUM, party};
use crate::{Nonces, Salts};

/// Each kind of work, over all secrets.
pub(crate) fn all() {
    over("generator times secret", |scalar, meter| {
        meter.time(|| black_box(Secp256k1::mul_base(black_box(scalar))));
    });
    over("secret inverse", |scalar, meter| {
        meter.time(|| black_box(Secp256k1::invert(black_box(scalar))));
    });
    over("variable-time control", |scalar, meter| {
        let bytes = Secp256k1::scalar_to_bytes(scalar);
        let factor = bytes.iter().take(7).fold(0i64, |sum, byte| sum << 8 | i64::from(*byte));
        let point = Secp256k1.generator();
        meter.time(|| black_box(Secp256k1.mul_small(&point, black_box(factor))));
    });
    for seed in 0..SECRETS {
        ecdsa_of(seed);
    }
    for seed in 0..SECRETS {
        schnorr_of(seed);
    }
}

fn over(name: &str, work: impl Fn(&<Secp256k1 as Group>::Scalar, &mut Meter)) {
    for seed in 0..SECRETS {
        let mut meter = Meter::default();
        work(&secret(Secp256k1, seed, 0), &mut meter);
        said(name, &meter);
    }
}

fn said(name: &str, meter: &Meter) {
    println!("{name}: {}", meter.ticks);
}

fn salts() -> (PartySet, Salts) {
    let quorum = PartySet::first(3);
    (quorum, quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect())
}

fn idle() -> Meter {
    Meter::default()
}

#[inline(never)]
fn ecdsa_of(seed: u8) {
    let (quorum, salts) = salts();
    let (coordinator, derivation) = (party(2), Derivation::Root);
    let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest: [7; 32] };
    let mut nonces = Nonces::new();
    for place in 1..quorum.len() {
        let key = key(Secp256k1, seed, place, &mut idle());
        let own = &salts[place].1;
        let signer = ecdsa::Signer::<_, QUORUM>::new(&key, terms, &salts, own).unwrap();
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    let mut meter = Meter::default();
    let key = key(Secp256k1, seed, 0, &mut meter);
    said("share check when a key is opened", &meter);
    let (mut meter, guard) = (Meter::default(), Guard::Recompute);
    let start = || ecdsa::Signer::<_, QUORUM>::guarded(&key, terms, &salts, &salts[0].1, guard);
    let mut signer = meter.time(start).unwrap();
    said("ecdsa nonce", &meter);
    let mut meter = Meter::default();
    let share = meter.time(|| signer.handle_nonces(&key, &nonces)).unwrap();
    said("ecdsa share", &meter);
    black_box(share);
}

#[inline(never)]
fn schnorr_of(seed: u8) {
    let (quorum, salts) = salts();
    let (coordinator, derivation, tweak) = (party(2), Derivation::Root, schnorr::Tweak::None);
    let message = [5; 32];
    let message = message.as_slice();
    let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
    let mut nonces = Nonces::new();
    for place in 1..quorum.len() {
        let key = key(SchnorrSecp256k1, seed, place, &mut idle());
        let own = &salts[place].1;
        let signer = schnorr::Signer::<_, &[u8], QUORUM>::new(&key, terms, &salts, own).unwrap();
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    let key = key(SchnorrSecp256k1, seed, 0, &mut idle());
    let (mut meter, guard) = (Meter::default(), Guard::Recompute);
    let own = &salts[0].1;
    let start = || schnorr::Signer::<_, &[u8], QUORUM>::guarded(&key, terms, &salts, own, guard);
    let mut signer = meter.time(start).unwrap();
    // Who sees Y and R knows whether they are negated, and that takes its time: four kinds.
    let odd = key.group_key_bytes()[0] & 1;
    println!("bip340 nonce, y(Y) odd {odd}: {}", meter.ticks);
    let mut buffer = [0; ecdsa::MAX_MESSAGE];
    let first = point(signer.nonce_message(&mut buffer).unwrap());
    // R, on the line through the points of 1 and 2.
    let nonce = first + first - point(&nonces[0].1);
    let nonce = SchnorrSecp256k1::point_to_bytes(&nonce).unwrap().0[0] & 1;
    let mut meter = Meter::default();
    let share = meter.time(|| signer.handle_nonces(&key, &nonces)).unwrap();
    println!("bip340 share, y(Y) odd {odd} y(R) odd {nonce}: {}", meter.ticks);
    black_box(share);
}

/// The nonce point at the end of a message.
fn point(message: &[u8]) -> <SchnorrSecp256k1 as Group>::Point {
    let bytes = message.last_chunk().unwrap();
    SchnorrSecp256k1.point_from_bytes(&PointBytes(*bytes)).unwrap()
}
