//! Attacks on stateless ECDSA (`docs/PROTOCOL.md` §9), each by name, with the culprit or the refusal
//! that every honest party must come to. The key has holders 1 to 4 with T = 2; party 4 is corrupt in
//! the quorum {1, 2, 4}, and party 1 coordinates.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

#[path = "attacks_on_signing/epochs.rs"]
mod epochs;
#[path = "attacks_on_signing/faults.rs"]
mod faults;

use quorate_core::curve::{EcdsaGroup as _, Group as _, PointBytes};
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{Failure, Salt, SignError, SignTerms};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::{Abort, Fault, Protocol, Refusal};
use quorate_core::wire::{self, DecodeError};
use quorate_tests::judge::accepts;
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;

const NONCE: (Protocol, u8) = (Protocol::Ecdsa, 1);
const SHARE: (Protocol, u8) = (Protocol::Ecdsa, 2);
const DIGEST: [u8; 32] = [7; 32];
const SEEDS: std::ops::Range<u64> = 0..12;

fn set(ids: &[u16]) -> PartySet {
    ids.iter().map(|number| id(*number)).collect()
}

fn quorum() -> PartySet {
    set(&[1, 2, 4])
}

fn is(packet: &Packet, from: u16, what: (Protocol, u8)) -> bool {
    packet.from == id(from) && kind(packet) == Some(what)
}

fn stormy(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

fn shown(quorum: PartySet, digest: [u8; 32]) -> (SignTerms, Vec<(PartyId, Salt)>) {
    let derivation = Derivation::Root;
    let terms = SignTerms { quorum, coordinator: id(1), derivation, digest };
    (terms, quorum.iter().map(|party| (party, salt_of(party, 1))).collect())
}

/// One session under the seed's order of arrival, and what left the parties.
fn attacked(group: &Group, seed: u64, adversary: &mut Adversary<'_>) -> (Signing, Vec<Packet>) {
    let mut network = stormy(seed);
    let done = sign(group, quorum(), DIGEST, seed, &mut network, adversary);
    (done, network.sent)
}

/// One session in which the coordinator shows party 4 something else.
fn lied_to(
    group: &Group,
    seed: u64,
    lie: impl Fn(&mut SignTerms, &mut Vec<(PartyId, Salt)>),
) -> (Signing, Vec<Packet>) {
    let mut network = stormy(seed);
    let show = |me: PartyId| {
        let (mut terms, mut salts) = shown(quorum(), DIGEST);
        if me == id(4) {
            lie(&mut terms, &mut salts);
        }
        (terms, salts)
    };
    let done = sign_with(group, id(1), &show, 1, &mut network, &mut |packet| vec![packet]);
    (done, network.sent)
}

fn good(group: &Group, done: &Signing) {
    let key = group[&id(1)].public.group_key().unwrap().0;
    let signature =
        done.signature.as_ref().unwrap_or_else(|| panic!("{:?}, {:?}", done.failed, done.aborted));
    accepts(&key, DIGEST, signature).unwrap();
}

/// Parties 1 and 2 end with `abort`, and no share leaves them.
fn both_abort(group: &Group, abort: Abort, mut attack: impl FnMut(Packet) -> Vec<Packet>) {
    for seed in SEEDS {
        let (done, sent) = attacked(group, seed, &mut attack);
        for me in [1, 2] {
            assert_eq!(done.aborted.get(&id(me)), Some(&abort), "party {me}, seed {seed}");
            assert!(!sent.iter().any(|packet| is(packet, me, SHARE)), "party {me}, seed {seed}");
        }
        assert_eq!(done.signature, None);
    }
}

/// Party 4 changes its R1, alike for all.
fn with_nonce(change: impl Fn(&mut Nonce)) -> impl FnMut(Packet) -> Vec<Packet> {
    move |packet| vec![if is(&packet, 4, NONCE) { changed(packet, &change) } else { packet }]
}

/// Party 4 changes its R2.
fn with_share(change: impl Fn(&mut Share)) -> impl FnMut(Packet) -> Vec<Packet> {
    move |packet| vec![if is(&packet, 4, SHARE) { changed(packet, &change) } else { packet }]
}

/// Party 4 works on another D0: its messages are of another session, and nobody answers.
fn alone(done: &Signing, sent: &[Packet], seed: u64) {
    for me in [1, 2] {
        let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
        assert!(done.refused.contains(&dropped), "party {me}, seed {seed}: {:?}", done.refused);
    }
    assert!(!sent.iter().any(|packet| kind(packet) == Some(SHARE)), "seed {seed}");
    assert_eq!((done.signature, done.failed), (None, None), "seed {seed}");
    assert!(done.aborted.is_empty(), "seed {seed}: {:?}", done.aborted);
}

fn doubled(point: &PointBytes) -> PointBytes {
    let point = Curve.point_from_bytes(point).unwrap();
    Curve::point_to_bytes(&Curve::double(&point)).unwrap()
}

fn plus_one(bytes: &[u8; 32]) -> [u8; 32] {
    Curve::scalar_to_bytes(&(Curve.scalar_from_bytes(bytes).unwrap() + k256::Scalar::ONE))
}

#[test]
fn without_an_attack_there_is_a_signature() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        good(&group, &attacked(&group, seed, &mut |packet| vec![packet]).0);
    }
}

#[test]
fn a_quorum_of_another_size_or_with_strangers() {
    let group = group(4, 2, 1);
    for (ids, error) in [
        (&[1u16, 2][..], SignError::QuorumSize { expected: 3, found: 2 }),
        (&[1, 2, 3, 4], SignError::QuorumSize { expected: 3, found: 4 }),
        (&[1, 2, 5], SignError::NotAHolder),
    ] {
        let mut network = stormy(1);
        let done = sign(&group, set(ids), DIGEST, 1, &mut network, &mut |packet| vec![packet]);
        for me in ids.iter().filter(|me| **me != 5) {
            assert_eq!(done.not_started.get(&id(*me)), Some(&error), "party {me}");
        }
        assert!(network.sent.is_empty());
    }
}

#[test]
fn a_quorum_without_this_party() {
    let group = group(4, 2, 1);
    let (done, sent) = lied_to(&group, 1, |terms, salts| {
        (*terms, *salts) = shown(set(&[1, 2, 3]), DIGEST);
    });
    assert_eq!(done.not_started[&id(4)], SignError::NotInQuorum);
    assert!(!sent.iter().any(|packet| packet.from == id(4)));
}

#[test]
fn a_zero_digest_is_refused_both_as_0_and_as_the_order() {
    let group = group(4, 2, 1);
    let minus_one = Curve::scalar_to_bytes(&-k256::Scalar::ONE);
    let mut order = minus_one;
    order[31] += 1;
    for digest in [[0; 32], order] {
        let mut network = stormy(1);
        let done = sign(&group, quorum(), digest, 1, &mut network, &mut |packet| vec![packet]);
        for me in quorum().iter() {
            assert_eq!(done.not_started.get(&me), Some(&SignError::ZeroDigest));
        }
        assert!(network.sent.is_empty());
    }
    // The neighbours are signed.
    let key = group[&id(1)].public.group_key().unwrap().0;
    let mut above = order;
    above[31] += 1;
    for digest in [minus_one, above] {
        let done = sign(&group, quorum(), digest, 1, &mut stormy(1), &mut |packet| vec![packet]);
        accepts(&key, digest, &done.signature.unwrap()).unwrap();
    }
}

#[test]
fn identifiers_2_3_4_sign_for_the_same_digest() {
    // Forward differences would take p(1) for p(0) there, and the run would sign another hash.
    let group = group(4, 2, 1);
    let done = sign(&group, set(&[2, 3, 4]), DIGEST, 1, &mut stormy(1), &mut |p| vec![p]);
    good(&group, &done);
}

#[test]
fn a_nonce_point_off_the_polynomial() {
    let group = group(4, 2, 1);
    let off = Abort::OffPolynomial(quorum());
    both_abort(&group, off, with_nonce(|nonce| nonce.point = doubled(&nonce.point)));
}

#[test]
fn different_nonce_points_to_two_parties() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, sent) = attacked(&group, seed, &mut |packet| {
            vec![match is(&packet, 4, NONCE) && packet.to == id(2) {
                true => changed(packet, |nonce: &mut Nonce| nonce.point = doubled(&nonce.point)),
                false => packet,
            }]
        });
        assert_eq!(done.aborted.get(&id(2)), Some(&Abort::OffPolynomial(quorum())), "seed {seed}");
        assert!(!sent.iter().any(|packet| is(packet, 2, SHARE)));
        assert_eq!(done.signature, None);
    }
}

#[test]
fn a_nonce_point_forged_by_a_relay() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, _) = attacked(&group, seed, &mut |packet| {
            if !(is(&packet, 4, NONCE) && packet.to == id(2)) {
                return vec![packet];
            }
            let forged = changed(packet.clone(), |nonce: &mut Nonce| {
                nonce.header.from = id(1);
                nonce.point = doubled(&nonce.point);
            });
            vec![forged, packet]
        });
        let refusal = Refusal::NotTheSender { claimed: id(1), actual: id(4) };
        let expected = [Failure::Refused(refusal), Failure::Refused(Refusal::Over)];
        let refused = done.refused.iter().find(|(me, from, _)| (*me, *from) == (id(2), id(4)));
        assert!(expected.contains(&refused.unwrap().2), "seed {seed}");
        good(&group, &done);
    }
}

#[test]
fn an_invalid_nonce_point_or_the_identity() {
    let group = group(4, 2, 1);
    let invalid = Abort::Culprit(id(4), Fault::InvalidPoint);
    both_abort(&group, invalid, with_nonce(|nonce| nonce.point = PointBytes([0; 33])));
    both_abort(&group, invalid, with_nonce(|nonce| nonce.point.0[0] = 4));
    // A coordinate above the field's prime, and one of no point: y² = 5³ + 7 has no root.
    both_abort(&group, invalid, with_nonce(|nonce| nonce.point.0[1..].fill(0xff)));
    both_abort(
        &group,
        invalid,
        with_nonce(|nonce| {
            nonce.point.0[1..].fill(0);
            nonce.point.0[32] = 5;
        }),
    );
}

#[test]
fn another_digest_shown_to_one_signer() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, sent) = lied_to(&group, seed, |terms, _| terms.digest = [8; 32]);
        alone(&done, &sent, seed);
    }
}

#[test]
fn another_quorum_shown_to_one_signer() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, sent) = lied_to(&group, seed, |terms, salts| {
            (*terms, *salts) = shown(set(&[1, 3, 4]), DIGEST);
        });
        alone(&done, &sent, seed);
    }
}

#[test]
fn another_coordinator_shown_to_one_signer_leaves_the_masks_on() {
    let group = group(4, 2, 1);
    for lying in [false, true] {
        for seed in SEEDS {
            let mut network = stormy(seed);
            let show = |me: PartyId| {
                let (mut terms, salts) = shown(quorum(), DIGEST);
                if me == id(4) && lying {
                    terms.coordinator = id(2);
                }
                (terms, salts)
            };
            // The lying coordinator makes all shares look alike: only the masks are left to protect.
            let done = sign_with(&group, id(1), &show, 1, &mut network, &mut |packet| {
                vec![match kind(&packet) == Some(SHARE) {
                    true => changed(packet, |share: &mut Share| share.header.to = Some(id(1))),
                    false => packet,
                }]
            });
            if lying {
                assert_eq!(done.failed, Some(Abort::InvalidSignature(quorum())), "seed {seed}");
            } else {
                good(&group, &done);
            }
        }
    }
}

#[test]
fn a_salt_altered_left_out_or_repeated() {
    let group = group(4, 2, 1);
    type Lie = fn(&mut Vec<(PartyId, Salt)>);
    let lies: [(Lie, SignError); 5] = [
        (|salts| salts[2].1[0] ^= 1, SignError::OwnSalt),
        (|salts| salts[2].1 = salts[1].1, SignError::OwnSalt),
        (|salts| salts.truncate(2), SignError::Salts),
        (|salts| salts[1] = salts[2], SignError::Salts),
        (|salts| salts.push(salts[2]), SignError::Salts),
    ];
    for (lie, error) in lies {
        let (done, sent) = lied_to(&group, 1, |_, salts| lie(salts));
        assert_eq!(done.not_started.get(&id(4)), Some(&error));
        assert!(!sent.iter().any(|packet| packet.from == id(4)));
    }
    // Another's salt altered for one party: its own is there, so it starts, and all disagree.
    let (done, sent) = lied_to(&group, 1, |_, salts| salts[0].1[0] ^= 1);
    alone(&done, &sent, 1);
}

/// What party 4 sends as R1 in the session of `seed`.
fn nonce_of_4(group: &Group, seed: u64, digest: [u8; 32]) -> Nonce {
    let mut found = None;
    sign(group, quorum(), digest, seed, &mut stormy(seed), &mut |packet| {
        if is(&packet, 4, NONCE) {
            found = Some(parse(&packet.bytes));
        }
        vec![packet]
    });
    found.unwrap()
}

#[test]
fn a_nonce_point_replayed_from_other_inputs() {
    let group = group(4, 2, 1);
    let old = nonce_of_4(&group, 99, [9; 32]);
    for seed in SEEDS {
        // As it was authenticated, in its own session.
        let mut replay = with_nonce(|nonce| *nonce = old.clone());
        let (done, sent) = attacked(&group, seed, &mut replay);
        for me in [1, 2] {
            let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
            assert!(done.refused.contains(&dropped), "party {me}, seed {seed}");
            assert!(!sent.iter().any(|packet| is(packet, me, SHARE)), "seed {seed}");
        }
        assert_eq!(done.signature, None);
    }
    // Under a changed label it does not fit to the honest points.
    let off = Abort::OffPolynomial(quorum());
    both_abort(&group, off, with_nonce(|nonce| nonce.point = old.point));
}

#[test]
fn a_corrupt_mu_or_nu_never_makes_a_signature() {
    let group = group(4, 2, 1);
    let changes: [fn(&mut Share); 5] = [
        |share| share.mu = plus_one(&share.mu),
        |share| share.nu = plus_one(&share.nu),
        |share| share.nu = [0; 32],
        |share| share.mu = [0; 32],
        |share| (share.mu, share.nu) = (share.nu, share.mu),
    ];
    for change in changes {
        for seed in SEEDS {
            let (done, _) = attacked(&group, seed, &mut with_share(change));
            let abort = Abort::InvalidSignature(quorum());
            assert_eq!((done.signature, done.failed), (None, Some(abort)), "seed {seed}");
        }
    }
}

#[test]
fn non_canonical_scalars_in_a_share() {
    let group = group(4, 2, 1);
    for change in [|s: &mut Share| s.mu = [0xff; 32], |s: &mut Share| s.nu = [0xff; 32]] {
        for seed in SEEDS {
            let (done, _) = attacked(&group, seed, &mut with_share(change));
            let abort = Abort::Culprit(id(4), Fault::Malformed);
            assert_eq!(done.failed, Some(abort), "seed {seed}");
        }
    }
}

#[test]
fn a_share_in_the_name_of_another_party() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, _) = attacked(&group, seed, &mut |packet| match is(&packet, 4, SHARE) {
            true => {
                let forge = |share: &mut Share| {
                    share.header.from = id(2);
                    share.nu = plus_one(&share.nu);
                };
                vec![changed(packet.clone(), forge), packet]
            }
            false => vec![packet],
        });
        good(&group, &done);
    }
}

#[test]
fn a_second_different_nonce_point_or_share() {
    let group = group(4, 2, 1);
    let twice = |packet: Packet, second: Packet| vec![packet, second];
    let (mut nonces, mut shares) = (0, 0);
    for seed in SEEDS {
        let (done, _) = attacked(&group, seed, &mut |packet| match is(&packet, 4, NONCE) {
            true => twice(
                packet.clone(),
                changed(packet, |nonce: &mut Nonce| nonce.point = doubled(&nonce.point)),
            ),
            false => vec![packet],
        });
        let named = Abort::Culprit(id(4), Fault::Equivocation);
        nonces += [1, 2].iter().filter(|me| done.aborted.get(&id(**me)) == Some(&named)).count();
        let (done, _) = attacked(&group, seed, &mut |packet| match is(&packet, 4, SHARE) {
            true => twice(
                packet.clone(),
                changed(packet, |share: &mut Share| share.mu = plus_one(&share.mu)),
            ),
            false => vec![packet],
        });
        shares += usize::from(done.failed == Some(named));
        if let Some(abort) = done.failed {
            let unnamed = Abort::InvalidSignature(quorum());
            assert!(abort == named || abort == unnamed, "seed {seed}: {abort}");
        } else {
            good(&group, &done);
        }
    }
    assert!(nonces > 0 && shares > 0, "{nonces}, {shares}");
}

#[test]
fn a_repeated_message_changes_nothing() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, _) = attacked(&group, seed, &mut |packet| vec![packet.clone(), packet]);
        good(&group, &done);
    }
}

/// Party 4 sends something besides, in front of every R1; it is refused, and there is a signature.
fn refused(group: &Group, expected: Refusal, besides: impl Fn(&mut Vec<u8>)) {
    let mut network = Network::new(1, Weather::default());
    let done = sign(group, quorum(), DIGEST, 1, &mut network, &mut |packet| {
        if !is(&packet, 4, NONCE) {
            return vec![packet];
        }
        let mut extra = packet.clone();
        besides(&mut extra.bytes);
        vec![extra, packet]
    });
    for me in [1, 2] {
        let found = done.refused.contains(&(id(me), id(4), Failure::Refused(expected)));
        assert!(found, "party {me}: {:?}", done.refused);
    }
    good(group, &done);
}

#[test]
fn messages_of_another_session_version_suite_protocol_or_round() {
    let group = group(4, 2, 1);
    refused(&group, Refusal::Decode(DecodeError::Version(9)), |bytes| bytes[0] = 9);
    refused(&group, Refusal::Decode(DecodeError::Malformed), |bytes| bytes[1] = 9);
    refused(&group, Refusal::OtherProtocol, |bytes| bytes[2] = 0);
    refused(&group, Refusal::WrongRound(3), |bytes| bytes[3] = 3);
    refused(&group, Refusal::OtherSession, |bytes| bytes[9] ^= 1);
    refused(&group, Refusal::Decode(DecodeError::Malformed), |bytes| bytes.truncate(20));
    refused(&group, Refusal::Decode(DecodeError::TooLong), |bytes| bytes.resize(257, 0));
    let other = Refusal::NotTheSender { claimed: id(2), actual: id(4) };
    refused(&group, other, |bytes| bytes[36] = 2);
}

#[test]
fn truncated_and_trailing_messages() {
    let group = group(4, 2, 1);
    let malformed = Abort::Culprit(id(4), Fault::Malformed);
    let damages: [fn(&mut Vec<u8>); 2] = [|bytes| bytes.truncate(60), |bytes| bytes.push(0)];
    for damage in damages {
        both_abort(&group, malformed, |mut packet| {
            if is(&packet, 4, NONCE) {
                damage(&mut packet.bytes);
            }
            vec![packet]
        });
    }
}

#[test]
fn a_stranger_in_the_session() {
    let group = group(4, 2, 1);
    for seed in SEEDS {
        let (done, _) = attacked(&group, seed, &mut |packet| {
            let stranger = Packet { from: id(3), ..packet.clone() };
            vec![stranger, packet]
        });
        good(&group, &done);
        let refusal = Failure::Refused(Refusal::NotAMember(id(3)));
        assert!(done.refused.iter().any(|(_, _, failure)| *failure == refusal));
    }
}

/// The secret record of `party`, changed and put back.
fn tampered(
    mut group: Group,
    party: u16,
    change: impl FnOnce(&mut quorate_core::key::ShareRecord<N, K>),
) -> Group {
    let stored = group.get_mut(&id(party)).unwrap();
    let mut record = wire::decode(&stored.sealed).unwrap();
    change(&mut record);
    stored.sealed = bytes_of(&record);
    group
}

fn flipped(secret: &quorate_core::secret::SecretBytes) -> quorate_core::secret::SecretBytes {
    let mut bytes = *secret.expose();
    bytes[31] ^= 1;
    quorate_core::secret::SecretBytes::new(bytes)
}

#[test]
fn a_flipped_nonce_key_pair_seed_or_share_is_not_opened() {
    type Change = fn(&mut quorate_core::key::ShareRecord<N, K>);
    let changes: [(Change, &str); 6] = [
        (|record| record.nonce_keys[1] = flipped(&record.nonce_keys[1]), "nonce key"),
        (|record| record.nonce_keys.swap(0, 1), "nonce key"),
        (|record| drop(record.nonce_keys.pop()), "nonce key"),
        (|record| record.pair_seeds[2] = flipped(&record.pair_seeds[2]), "pair seed"),
        (|record| drop(record.pair_seeds.pop()), "pair seed"),
        (|record| record.share = flipped(&record.share), "share does not belong"),
    ];
    for (change, text) in changes {
        let group = tampered(group(4, 2, 1), 4, change);
        let (done, sent) = attacked(&group, 1, &mut |packet| vec![packet]);
        assert!(done.unopened[&id(4)].contains(text), "{:?}", done.unopened);
        assert!(!sent.iter().any(|packet| packet.from == id(4)));
    }
}

#[test]
fn a_share_of_another_epoch_beside_clean_ones() {
    let group = tampered(group(4, 2, 1), 4, |record| record.epoch = 1);
    let (done, sent) = attacked(&group, 1, &mut |packet| vec![packet]);
    assert!(done.unopened[&id(4)].contains("epoch 1"), "{:?}", done.unopened);
    assert!(!sent.iter().any(|packet| packet.from == id(4)));
}

#[test]
fn a_share_of_another_key_or_party_swapped_in() {
    let mut key = group(4, 2, 1);
    let stranger = group(4, 2, 2).remove(&id(4)).unwrap().sealed;
    let neighbour = key[&id(2)].sealed.clone();
    for sealed in [stranger, neighbour] {
        key.get_mut(&id(4)).unwrap().sealed = sealed;
        let (done, _) = attacked(&key, 1, &mut |packet| vec![packet]);
        assert!(done.unopened[&id(4)].contains("share does not belong"), "{:?}", done.unopened);
    }
}

#[test]
fn a_party_at_another_epoch() {
    // The same key once more, one epoch later: party 4 alone is there.
    let mut key = group(4, 2, 1);
    let mut terms = terms(PartySet::first(4), 2, 1).unwrap();
    terms.epoch = 1;
    let mut later = generate(&terms, 1, &mut stormy(1), &mut |packet| vec![packet]).finished;
    key.insert(id(4), later.remove(&id(4)).unwrap());
    for seed in SEEDS {
        let (done, sent) = attacked(&key, seed, &mut |packet| vec![packet]);
        alone(&done, &sent, seed);
    }
}

#[test]
fn a_high_s_is_never_produced() {
    let group = group(4, 2, 1);
    let (mut high, mut low) = (0, 0);
    for seed in 0..40 {
        let (done, sent) = attacked(&group, seed, &mut |packet| vec![packet]);
        good(&group, &done);
        // What the shares say before it is made low: both kinds occur.
        let zero = (k256::Scalar::ZERO, k256::Scalar::ZERO);
        let (mu, nu) = sent.iter().filter(|p| kind(p) == Some(SHARE)).fold(zero, |sum, packet| {
            let share: Share = parse(&packet.bytes);
            let weight = quorate_core::vss::lagrange(Curve, quorum(), packet.from);
            let of = |bytes| weight * Curve.scalar_from_bytes(bytes).unwrap();
            (sum.0 + of(&share.mu), sum.1 + of(&share.nu))
        });
        match Curve::is_high(&(nu * Curve::invert(&mu).unwrap())) {
            true => high += 1,
            false => low += 1,
        }
    }
    assert!(high > 0 && low > 0, "{high} high, {low} low");
}
