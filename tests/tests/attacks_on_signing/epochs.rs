//! What an old share is worth after a refresh. The core has no refresh protocol yet, so the test makes the
//! second sharing itself: the same X, shares moved by a polynomial that is 0 at 0, epoch 1, other pair seeds
//! and nonce keys.

use quorate_core::curve::Group as _;
use quorate_core::ecdsa::Failure;
use quorate_core::hash::Transcript;
use quorate_core::key::ShareRecord;
use quorate_core::party::PartyId;
use quorate_core::secret::SecretBytes;
use quorate_core::session::Refusal;
use quorate_core::vss;
use quorate_core::wire;
use quorate_tests::simulator::forge::bytes_of;
use quorate_tests::simulator::*;

use super::{DIGEST, SEEDS, SHARE, alone, attacked, good, is, quorum, set, stormy};

fn record_of(stored: &Stored) -> ShareRecord<N, K> {
    wire::decode(&stored.sealed).unwrap()
}

fn fresh(what: &[u8], index: u16, member: u16) -> SecretBytes {
    Transcript::new("test-refresh").bytes(what).u16(index).u16(member).secret()
}

/// The key at epoch 1, for T = 2.
fn refreshed(old: &Group) -> Group {
    let slope = Curve.scalar_from_digest(&[3; 32]);
    let holders = old[&id(1)].public.terms.holders;
    let all: Vec<_> = holders.nonce_sets().collect();
    old.iter()
        .map(|(me, stored)| {
            let mut public = stored.public.clone();
            public.terms.epoch = 1;
            let phi = Curve.point_from_bytes(&public.commitment[1]).unwrap();
            let moved = phi + Curve::mul_base(&slope);
            public.commitment[1] = Curve::point_to_bytes(&moved).unwrap();
            let share = Curve.scalar_from_bytes(record_of(stored).share.expose()).unwrap();
            let share = share + slope * k256::Scalar::from(u64::from(me.number()));
            let pair = |j: PartyId| {
                fresh(b"pair", me.number().min(j.number()), me.number().max(j.number()))
            };
            let nonce = |a| {
                let place = all.iter().position(|set| *set == a).unwrap();
                fresh(b"set", place as u16, 0)
            };
            let record = ShareRecord {
                epoch: 1,
                share: SecretBytes::new(Curve::scalar_to_bytes(&share)),
                pair_seeds: holders.parties().without(*me).iter().map(pair).collect(),
                nonce_keys: holders.nonce_sets_of(*me).map(nonce).collect(),
            };
            (*me, Stored::new(*me, public, &record))
        })
        .collect()
}

#[test]
fn old_epoch_after_a_refresh() {
    let old = group(4, 2, 1);
    let new = refreshed(&old);
    assert_eq!(old[&id(1)].public.group_key(), new[&id(1)].public.group_key());
    for seed in SEEDS {
        good(&new, &attacked(&new, seed, &mut |packet| vec![packet]).0);
    }

    // Party 4's folder is put back whole: it lives in the old epoch, alone.
    let mut put_back = refreshed(&old);
    put_back.insert(id(4), group(4, 2, 1).remove(&id(4)).unwrap());
    for seed in SEEDS {
        let (done, sent) = attacked(&put_back, seed, &mut |packet| vec![packet]);
        alone(&done, &sent, seed);
    }

    // The old record under the new certificate, as it is, relabelled, and with its share alone.
    let relabelled = |record: &mut ShareRecord<N, K>| record.epoch = 1;
    type Change<'a> = &'a dyn Fn(&mut ShareRecord<N, K>);
    let only_share = |record: &mut ShareRecord<N, K>| {
        let mut current = record_of(&new[&id(4)]);
        std::mem::swap(&mut current.share, &mut record.share);
        *record = current;
    };
    let only_seeds = |record: &mut ShareRecord<N, K>| {
        let current = record_of(&new[&id(4)]);
        (record.epoch, record.share) = (1, current.share);
    };
    let cases: [(Change<'_>, &str); 4] = [
        (&|_| (), "epoch 0"),
        (&relabelled, "share does not belong"),
        (&only_share, "share does not belong"),
        (&only_seeds, "pair seed"),
    ];
    for (change, text) in cases {
        let mut mixed = refreshed(&old);
        let mut record = record_of(&old[&id(4)]);
        change(&mut record);
        mixed.get_mut(&id(4)).unwrap().sealed = bytes_of(&record);
        let (done, sent) = attacked(&mixed, 1, &mut |packet| vec![packet]);
        assert!(done.unopened[&id(4)].contains(text), "{:?}, not {text}", done.unopened);
        assert!(!sent.iter().any(|packet| packet.from == id(4)));
    }

    // Old messages are of old sessions, though request, quorum and salts are the same.
    let mut network = stormy(1);
    sign(&old, quorum(), DIGEST, 1, &mut network, &mut |packet| vec![packet]);
    let replayed = network.sent;
    let mut network = stormy(1);
    let done =
        sign(&new, quorum(), DIGEST, 1, &mut network, &mut |packet| match packet.from == id(4) {
            true => replayed
                .iter()
                .filter(|old| old.from == id(4) && old.to == packet.to)
                .cloned()
                .collect(),
            false => vec![packet],
        });
    for me in [1, 2] {
        let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
        assert!(done.refused.contains(&dropped), "party {me}: {:?}", done.refused);
        assert!(!network.sent.iter().any(|packet| is(packet, me, SHARE)));
    }

    // One old and one new share are not the key; two of an epoch are.
    let key = Curve.point_from_bytes(new[&id(1)].public.group_key().unwrap()).unwrap();
    let share = |group: &Group, party: u16| {
        Curve.scalar_from_bytes(record_of(&group[&id(party)]).share.expose()).unwrap()
    };
    let pair = set(&[2, 4]);
    let combined = |two: &Group, four: &Group| {
        let weigh = |party, share| vss::lagrange(Curve, pair, id(party)) * share;
        Curve::mul_base(&(weigh(2, share(two, 2)) + weigh(4, share(four, 4))))
    };
    assert!(combined(&old, &old) == key && combined(&new, &new) == key);
    assert!(combined(&old, &new) != key && combined(&new, &old) != key);
}
