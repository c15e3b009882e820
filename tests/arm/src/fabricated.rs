//! Secrets to try, and keys of them that nobody generated.
#![allow(dead_code, reason = "each program uses a part of it")]

use quorate_core::curve::Group;
use quorate_core::secret::SecretBytes;

use crate::group::{Confirmed, Key, Meter, Public, Record, party, terms};

/// So many of each kind.
pub(crate) const SECRETS: u8 = 24;

pub(crate) fn secret<G: Group>(group: G, seed: u8, kind: u8) -> G::Scalar {
    // Some with many zeros, some with many ones, most with neither.
    let mut bytes = [0; 48];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = match seed {
            0 => u8::from(place == 47) + kind,
            1 => 0xff - kind,
            _ => {
                (place as u8).wrapping_mul(31).wrapping_add(seed.wrapping_mul(77))
                    ^ kind.wrapping_mul(113)
            }
        };
    }
    group.scalar_from_wide(&bytes)
}

pub(crate) fn bytes<G: Group>(group: G, seed: u8, kind: u8) -> SecretBytes {
    SecretBytes::new(G::scalar_to_bytes(&secret(group, seed, kind)))
}

/// What is stored of a 2 of 4 by one holder: its share is on a line, and its nonce keys follow from who has them.
pub(crate) fn records<G: Group>(group: G, seed: u8, place: usize) -> (Public, Record) {
    let (terms, me) = (terms(group.suite(), 4, 2), party(place + 1));
    let line = [secret(group, seed, 1), secret(group, seed, 2)];
    let points = line.iter().map(|f| G::point_to_bytes(&G::mul_base(f)).unwrap());
    let public = Public { terms, transcript: [6; 32], commitment: points.collect() };
    let share = line[0] + line[1] * group.number(me.number().into());
    let holders = terms.holders;
    let pairs = holders.parties().without(me).iter();
    let sets = holders.nonce_sets_of(me);
    let bytes = |seed, kind| bytes(group, seed, kind);
    let record = Record {
        epoch: 0,
        share: SecretBytes::new(G::scalar_to_bytes(&share)),
        pair_seeds: pairs.map(|other| bytes(seed, (other.number() * me.number()) as u8)).collect(),
        nonce_keys: sets
            .map(|set| bytes(seed, set.iter().fold(0, |sum, id| sum | 1 << id.number())))
            .collect(),
    };
    (public, record)
}

/// The key of it, opened.
pub(crate) fn key<G: Group>(group: G, seed: u8, place: usize, meter: &mut Meter) -> Key<G> {
    let ((public, record), me) = (records(group, seed, place), party(place + 1));
    let word = Confirmed::unsigned(&public, me, &record);
    meter.time(|| Key::<G>::open(&public, me, record, &word)).unwrap()
}
