//! Attacks on stateless Schnorr (`docs/PROTOCOL.md` §9), each by name and for each suite, with the
//! culprit or the refusal that every honest party must come to. The key has holders 1 to 4 with T = 2;
//! party 4 is corrupt in the quorum {1, 2, 4}, and party 1 coordinates.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

#[path = "attacks_on_schnorr/one_suite.rs"]
mod one_suite;
#[path = "attacks_on_schnorr/two_lists.rs"]
mod two_lists;

use quorate_core::curve::{Ed25519, Fixed, PointBytes, SchnorrGroup, SchnorrSecp256k1, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::key::OpenedKey;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{
    Failure, MAX_PAYLOAD, Salt, SignError, Tweak, verification_key, verify,
};
use quorate_core::session::{Abort, Fault, Protocol, Refusal};
use quorate_core::wire::{self, DecodeError};
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::schnorr::{Signing, Terms, sign, sign_with, terms_of};
use quorate_tests::simulator::*;

const NONCE: (Protocol, u8) = (Protocol::Schnorr, 1);
const SHARE: (Protocol, u8) = (Protocol::Schnorr, 2);
const MESSAGE: &[u8] = b"pay the usual amount to the usual place";
const SEEDS: std::ops::Range<u64> = 0..6;

/// Each attack is a function over the suite; here it becomes one test for each of them.
macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        mod bip340 { $(#[test] fn $name() { super::$name::<super::SchnorrSecp256k1>(); })* }
        mod ed25519 { $(#[test] fn $name() { super::$name::<super::Ed25519>(); })* }
    };
}

attacks!(
    without_an_attack_there_is_a_signature_for_odd_and_even_keys,
    a_quorum_of_another_size_or_with_strangers,
    a_quorum_without_this_party,
    identifiers_2_3_4_sign_for_the_same_key,
    a_message_that_is_too_long,
    a_nonce_point_off_the_polynomial,
    different_nonce_points_to_two_parties,
    a_different_nonce_point_to_the_coordinator,
    a_nonce_point_forged_by_a_relay,
    an_invalid_nonce_point_or_the_identity,
    another_message_shown_to_one_signer,
    another_descendant_shown_to_one_signer,
    another_quorum_shown_to_one_signer,
    another_coordinator_shown_to_one_signer,
    a_salt_altered_left_out_or_repeated,
    a_nonce_point_replayed_from_other_inputs,
    a_corrupt_response_names_its_author,
    of_two_corrupt_responses_the_first_party_is_named,
    a_non_canonical_response,
    a_share_of_another_session,
    a_share_in_the_name_of_another_party,
    a_second_different_nonce_point_or_share,
    a_repeated_message_changes_nothing,
    messages_of_another_session_version_suite_protocol_or_round,
    truncated_and_trailing_messages,
    a_stranger_in_the_session,
    a_party_at_another_epoch,
    a_key_is_not_opened_as_one_of_another_suite,
);

fn set(ids: &[u16]) -> PartySet {
    ids.iter().map(|number| id(*number)).collect()
}

fn quorum() -> PartySet {
    set(&[1, 2, 4])
}

fn key<G: SchnorrGroup + Fixed>() -> Group<G> {
    group_on::<G>(PartySet::first(4), 2, 1)
}

fn is(packet: &Packet, from: u16, what: (Protocol, u8)) -> bool {
    packet.from == id(from) && kind(packet) == Some(what)
}

fn stormy(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

/// One session under the seed's order of arrival, and what left the parties.
fn attacked<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    seed: u64,
    adversary: &mut Adversary<'_>,
) -> (Signing, Vec<Packet>) {
    let mut network = stormy(seed);
    let shown = terms_of(quorum(), MESSAGE, Tweak::None, seed);
    let done = sign::<G>(group, &shown, &mut network, adversary);
    (done, network.sent)
}

/// One session in which the coordinator shows party 4 something else.
fn lied_to<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    seed: u64,
    lie: impl Fn(&mut Terms, &mut Vec<(PartyId, Salt)>),
) -> (Signing, Vec<Packet>) {
    let mut network = stormy(seed);
    let show = |me: PartyId| {
        let (mut terms, mut salts) = terms_of(quorum(), MESSAGE, Tweak::None, 1);
        if me == id(4) {
            lie(&mut terms, &mut salts);
        }
        (terms, salts)
    };
    let done = sign_with::<G>(group, id(1), &show, &mut network, &mut |packet| vec![packet]);
    (done, network.sent)
}

fn good<G: SchnorrGroup + Fixed>(group: &Group<G>, done: &Signing) {
    let key = group[&id(1)].public.group_key().unwrap();
    let key = verification_key::<G>(key, &Tweak::None).unwrap();
    let signature =
        done.signature.unwrap_or_else(|| panic!("{:?}, {:?}", done.failed, done.aborted));
    assert!(verify::<G>(&key, MESSAGE, &signature));
}

/// Parties 1 and 2 end with `abort`, and no share leaves them.
fn all_abort<G: SchnorrGroup + Fixed>(abort: Abort, mut attack: impl FnMut(Packet) -> Vec<Packet>) {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, sent) = attacked::<G>(&group, seed, &mut attack);
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

/// `party` changes its R2.
fn with_share(party: u16, change: impl Fn(&mut Response)) -> impl FnMut(Packet) -> Vec<Packet> {
    move |packet| vec![if is(&packet, party, SHARE) { changed(packet, &change) } else { packet }]
}

fn doubled<G: SchnorrGroup + Fixed>(point: &PointBytes) -> PointBytes {
    G::point_to_bytes(&G::double(&G::default().nonce_from_bytes(point).unwrap())).unwrap()
}

fn plus_one<G: SchnorrGroup + Fixed>(bytes: &[u8; 32]) -> [u8; 32] {
    G::scalar_to_bytes(&(G::default().scalar_from_bytes(bytes).unwrap() + G::default().number(1)))
}

fn without_an_attack_there_is_a_signature_for_odd_and_even_keys<G: SchnorrGroup + Fixed>() {
    let (mut keys, mut nonces) = ([0, 0], [0, 0]);
    for seed in SEEDS {
        let group = group_on::<G>(PartySet::first(4), 2, seed);
        let (done, sent) = attacked::<G>(&group, seed, &mut |packet| vec![packet]);
        good::<G>(&group, &done);
        assert!(done.aborted.is_empty() && done.failed.is_none() && done.refused.is_empty());
        let point = group[&id(1)].public.points::<G>().unwrap()[0];
        keys[usize::from(G::name(&point).unwrap().1)] += 1;
        nonces[usize::from(two_lists::value_at_zero::<G>(&sent).1)] += 1;
    }
    // Ed25519 names a point by both coordinates: nothing is ever negated.
    let both = G::default().standard() == "bip340";
    assert!([keys, nonces].iter().all(|one| one[0] > 0 && (one[1] > 0) == both), "{keys:?}");
}

fn a_quorum_of_another_size_or_with_strangers<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for (ids, error) in [
        (&[1u16, 2][..], SignError::QuorumSize { expected: 3, found: 2 }),
        (&[1, 2, 3, 4], SignError::QuorumSize { expected: 3, found: 4 }),
        (&[1, 2, 5], SignError::NotAHolder),
    ] {
        let mut network = stormy(1);
        let shown = terms_of(set(ids), MESSAGE, Tweak::None, 1);
        let done = sign::<G>(&group, &shown, &mut network, &mut |packet| vec![packet]);
        for me in ids.iter().filter(|me| **me != 5) {
            assert_eq!(done.not_started.get(&id(*me)), Some(&error), "party {me}");
        }
        assert!(network.sent.is_empty());
    }
}

fn a_quorum_without_this_party<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    let (done, sent) = lied_to::<G>(&group, 1, |terms, salts| {
        (*terms, *salts) = terms_of(set(&[1, 2, 3]), MESSAGE, Tweak::None, 1);
    });
    assert_eq!(done.not_started[&id(4)], SignError::NotInQuorum);
    assert!(!sent.iter().any(|packet| packet.from == id(4)));
}

fn identifiers_2_3_4_sign_for_the_same_key<G: SchnorrGroup + Fixed>() {
    // Forward differences would take p(1) for p(0) there: all would answer for a wrong R.
    let group = key::<G>();
    let shown = terms_of(set(&[2, 3, 4]), MESSAGE, Tweak::None, 1);
    let done = sign::<G>(&group, &shown, &mut stormy(1), &mut |packet| vec![packet]);
    good::<G>(&group, &done);
}

fn a_message_that_is_too_long<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    let mut network = stormy(1);
    let shown = terms_of(quorum(), &vec![7; MAX_PAYLOAD + 1], Tweak::None, 1);
    let done = sign::<G>(&group, &shown, &mut network, &mut |packet| vec![packet]);
    for me in quorum().iter() {
        assert_eq!(done.not_started.get(&me), Some(&SignError::MessageTooLong));
    }
    assert!(network.sent.is_empty());
}

fn a_nonce_point_off_the_polynomial<G: SchnorrGroup + Fixed>() {
    let off = Abort::OffPolynomial(quorum());
    all_abort::<G>(off, with_nonce(|nonce| nonce.point = doubled::<G>(&nonce.point)));
}

fn different_nonce_points_to_two_parties<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, sent) = attacked::<G>(&group, seed, &mut |packet| {
            vec![match is(&packet, 4, NONCE) && packet.to == id(2) {
                true => changed(packet, |n: &mut Nonce| n.point = doubled::<G>(&n.point)),
                false => packet,
            }]
        });
        assert_eq!(done.aborted.get(&id(2)), Some(&Abort::OffPolynomial(quorum())), "seed {seed}");
        assert!(!sent.iter().any(|packet| is(packet, 2, SHARE)));
        assert_eq!(done.signature, None);
    }
}

fn a_different_nonce_point_to_the_coordinator<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| {
            vec![match is(&packet, 4, NONCE) && packet.to == id(1) {
                true => changed(packet, |n: &mut Nonce| n.point = doubled::<G>(&n.point)),
                false => packet,
            }]
        });
        // As a member it stops, so its own share is missing, and nobody else is blamed for anything.
        assert_eq!(done.aborted.get(&id(1)), Some(&Abort::OffPolynomial(quorum())), "seed {seed}");
        assert_eq!((done.signature, done.failed), (None, None));
    }
}

fn a_nonce_point_forged_by_a_relay<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| {
            if !(is(&packet, 4, NONCE) && packet.to == id(2)) {
                return vec![packet];
            }
            let forged = changed(packet.clone(), |nonce: &mut Nonce| {
                nonce.header.from = id(1);
                nonce.point = doubled::<G>(&nonce.point);
            });
            vec![forged, packet]
        });
        let refusal = Refusal::NotTheSender { claimed: id(1), actual: id(4) };
        let expected = [Failure::Refused(refusal), Failure::Refused(Refusal::Over)];
        let refused = done.refused.iter().find(|(me, from, _)| (*me, *from) == (id(2), id(4)));
        assert!(expected.contains(&refused.unwrap().2), "seed {seed}");
        good::<G>(&group, &done);
    }
}

fn an_invalid_nonce_point_or_the_identity<G: SchnorrGroup + Fixed>() {
    let invalid = Abort::Culprit(id(4), Fault::InvalidPoint);
    all_abort::<G>(invalid, with_nonce(|nonce| nonce.point = PointBytes([0; 33])));
    all_abort::<G>(invalid, with_nonce(|nonce| nonce.point.0[0] = 4));
    all_abort::<G>(invalid, with_nonce(|nonce| nonce.point.0[1..].fill(0xff)));
}

/// Party 4, honest, works on other inputs than all others: nobody answers.
fn disagreement<G: SchnorrGroup + Fixed>(lie: impl Fn(&mut Terms, &mut Vec<(PartyId, Salt)>)) {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, sent) = lied_to::<G>(&group, seed, &lie);
        alone(&done, &sent, seed);
    }
}

/// The messages of party 4 are of another session, and nobody answers.
fn alone(done: &Signing, sent: &[Packet], seed: u64) {
    for me in [1, 2] {
        let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
        assert!(done.refused.contains(&dropped), "party {me}, seed {seed}: {:?}", done.refused);
    }
    assert!(!sent.iter().any(|packet| kind(packet) == Some(SHARE)), "seed {seed}");
    assert_eq!((done.signature, done.failed), (None, None), "seed {seed}");
    assert!(done.aborted.is_empty(), "seed {seed}: {:?}", done.aborted);
}

fn another_message_shown_to_one_signer<G: SchnorrGroup + Fixed>() {
    disagreement::<G>(|terms, _| terms.message[0] ^= 1);
    disagreement::<G>(|terms, _| terms.message.push(0));
    disagreement::<G>(|terms, _| terms.message.truncate(8));
}

fn another_descendant_shown_to_one_signer<G: SchnorrGroup + Fixed>() {
    let context = |text: &str| Derivation::Context(text.parse().unwrap());
    disagreement::<G>(|terms, _| terms.derivation = context("rent"));
}

fn another_quorum_shown_to_one_signer<G: SchnorrGroup + Fixed>() {
    disagreement::<G>(|terms, salts| {
        (*terms, *salts) = terms_of(set(&[1, 3, 4]), MESSAGE, Tweak::None, 1);
    });
}

fn another_coordinator_shown_to_one_signer<G: SchnorrGroup + Fixed>() {
    // The challenge is the same, so a share for another coordinator gives away nothing.
    let group = key::<G>();
    for seed in SEEDS {
        let (done, sent) = lied_to::<G>(&group, seed, |terms, _| terms.coordinator = id(2));
        let share = sent.iter().find(|packet| is(packet, 4, SHARE)).unwrap();
        let share: Response = parse(&share.bytes);
        assert_eq!(share.header.to, Some(id(2)));
        let refused = (id(1), id(4), Failure::Refused(Refusal::NotForMe));
        assert!(done.refused.contains(&refused), "{:?}", done.refused);
        assert_eq!((done.signature, done.failed), (None, None));
    }
}

fn a_salt_altered_left_out_or_repeated<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    type Lie = fn(&mut Vec<(PartyId, Salt)>);
    let lies: [(Lie, SignError); 5] = [
        (|salts| salts[2].1[0] ^= 1, SignError::OwnSalt),
        (|salts| salts[2].1 = salts[1].1, SignError::OwnSalt),
        (|salts| salts.truncate(2), SignError::Salts),
        (|salts| salts[1] = salts[2], SignError::Salts),
        (|salts| salts.push(salts[2]), SignError::Salts),
    ];
    for (lie, error) in lies {
        let (done, sent) = lied_to::<G>(&group, 1, |_, salts| lie(salts));
        assert_eq!(done.not_started.get(&id(4)), Some(&error));
        assert!(!sent.iter().any(|packet| packet.from == id(4)));
    }
    // Another's salt altered for one party: its own is there, so it starts, and all disagree.
    disagreement::<G>(|_, salts| salts[0].1[0] ^= 1);
}

fn a_nonce_point_replayed_from_other_inputs<G: SchnorrGroup + Fixed>() {
    let mut found = None;
    let shown = terms_of(quorum(), b"another message", Tweak::None, 99);
    sign::<G>(&key::<G>(), &shown, &mut stormy(99), &mut |packet| {
        if is(&packet, 4, NONCE) {
            found = Some(parse::<Nonce>(&packet.bytes));
        }
        vec![packet]
    });
    let old = found.unwrap();
    let group = key::<G>();
    for seed in SEEDS {
        // As it was authenticated, in its own session.
        let mut replay = with_nonce(|nonce| *nonce = old.clone());
        let (done, sent) = attacked::<G>(&group, seed, &mut replay);
        for me in [1, 2] {
            let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
            assert!(done.refused.contains(&dropped), "party {me}, seed {seed}");
            assert!(!sent.iter().any(|packet| is(packet, me, SHARE)), "seed {seed}");
        }
        assert_eq!(done.signature, None);
    }
    // Under a changed label it does not fit to the honest points.
    let off = Abort::OffPolynomial(quorum());
    all_abort::<G>(off, with_nonce(|nonce| nonce.point = old.point));
}

fn a_corrupt_response_names_its_author<G: SchnorrGroup + Fixed>() {
    let changes: [fn(&mut Response); 3] = [
        |share| share.response = plus_one::<G>(&share.response),
        |share| share.response = [0; 32],
        |share| {
            let response = G::default().scalar_from_bytes(&share.response).unwrap();
            share.response = G::scalar_to_bytes(&-response);
        },
    ];
    for seed in SEEDS {
        // Odd and even keys and nonces among them.
        let group = group_on::<G>(PartySet::first(4), 2, seed);
        for (change, liar) in changes.iter().zip([1, 2, 4]) {
            let (done, _) = attacked::<G>(&group, seed, &mut with_share(liar, change));
            let named = Abort::Culprit(id(liar), Fault::BadSignatureShare);
            assert_eq!((done.signature, done.failed), (None, Some(named)), "seed {seed}");
        }
    }
}

fn of_two_corrupt_responses_the_first_party_is_named<G: SchnorrGroup + Fixed>() {
    // Two liars are more than T = 2 allows; the honest one is still not blamed.
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| {
            vec![match kind(&packet) == Some(SHARE) && packet.from != id(1) {
                true => changed(packet, |s: &mut Response| s.response = plus_one::<G>(&s.response)),
                false => packet,
            }]
        });
        let named = Abort::Culprit(id(2), Fault::BadSignatureShare);
        assert_eq!(done.failed, Some(named), "seed {seed}");
    }
}

fn a_non_canonical_response<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) =
            attacked::<G>(&group, seed, &mut with_share(4, |share| share.response = [0xff; 32]));
        assert_eq!(done.failed, Some(Abort::Culprit(id(4), Fault::Malformed)), "seed {seed}");
    }
}

fn a_share_of_another_session<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let mut lie = with_share(4, |share| share.header.session[5] ^= 1);
        let (done, _) = attacked::<G>(&group, seed, &mut lie);
        let dropped = (id(1), id(4), Failure::Refused(Refusal::OtherSession));
        assert!(done.refused.contains(&dropped), "seed {seed}");
        assert_eq!((done.signature, done.failed), (None, None));
    }
}

fn a_share_in_the_name_of_another_party<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| match is(&packet, 4, SHARE) {
            true => {
                let forge = |share: &mut Response| {
                    share.header.from = id(2);
                    share.response = plus_one::<G>(&share.response);
                };
                vec![changed(packet.clone(), forge), packet]
            }
            false => vec![packet],
        });
        good::<G>(&group, &done);
    }
}

fn a_second_different_nonce_point_or_share<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    let (mut nonces, mut shares) = (0, 0);
    let named = Abort::Culprit(id(4), Fault::Equivocation);
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| match is(&packet, 4, NONCE) {
            true => vec![
                packet.clone(),
                changed(packet, |n: &mut Nonce| n.point = doubled::<G>(&n.point)),
            ],
            false => vec![packet],
        });
        nonces += [1, 2].iter().filter(|me| done.aborted.get(&id(**me)) == Some(&named)).count();
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| match is(&packet, 4, SHARE) {
            true => vec![
                packet.clone(),
                changed(packet, |s: &mut Response| s.response = plus_one::<G>(&s.response)),
            ],
            false => vec![packet],
        });
        shares += usize::from(done.failed == Some(named));
        match done.failed {
            // The corrupt one came first, and the other was the last of all: then it is just wrong.
            Some(abort) => {
                let wrong = Abort::Culprit(id(4), Fault::BadSignatureShare);
                assert!(abort == named || abort == wrong, "seed {seed}: {abort}");
            }
            None => good::<G>(&group, &done),
        }
    }
    assert!(nonces > 0 && shares > 0, "{nonces}, {shares}");
}

fn a_repeated_message_changes_nothing<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| vec![packet.clone(), packet]);
        good::<G>(&group, &done);
    }
}

/// Party 4 sends something besides, in front of every R1; it is refused, and there is a signature.
fn refused<G: SchnorrGroup + Fixed>(expected: Refusal, besides: impl Fn(&mut Vec<u8>)) {
    let (group, mut network) = (key::<G>(), Network::new(1, Weather::default()));
    let shown = terms_of(quorum(), MESSAGE, Tweak::None, 1);
    let done = sign::<G>(&group, &shown, &mut network, &mut |packet| {
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
    good::<G>(&group, &done);
}

fn messages_of_another_session_version_suite_protocol_or_round<G: SchnorrGroup + Fixed>() {
    refused::<G>(Refusal::Decode(DecodeError::Version(9)), |bytes| bytes[0] = 9);
    refused::<G>(Refusal::Decode(DecodeError::Malformed), |bytes| bytes[1] = 9);
    refused::<G>(Refusal::OtherProtocol, |bytes| bytes[1] = 1);
    refused::<G>(Refusal::OtherProtocol, |bytes| bytes[2] = 1);
    refused::<G>(Refusal::WrongRound(3), |bytes| bytes[3] = 3);
    refused::<G>(Refusal::OtherSession, |bytes| bytes[9] ^= 1);
    refused::<G>(Refusal::Decode(DecodeError::Malformed), |bytes| bytes.truncate(20));
    refused::<G>(Refusal::Decode(DecodeError::TooLong), |bytes| bytes.resize(257, 0));
    let other = Refusal::NotTheSender { claimed: id(2), actual: id(4) };
    refused::<G>(other, |bytes| bytes[36] = 2);
}

fn truncated_and_trailing_messages<G: SchnorrGroup + Fixed>() {
    let malformed = Abort::Culprit(id(4), Fault::Malformed);
    let damages: [fn(&mut Vec<u8>); 2] = [|bytes| bytes.truncate(60), |bytes| bytes.push(0)];
    for damage in damages {
        all_abort::<G>(malformed, |mut packet| {
            if is(&packet, 4, NONCE) {
                damage(&mut packet.bytes);
            }
            vec![packet]
        });
        let group = key::<G>();
        let (done, _) = attacked::<G>(&group, 1, &mut |mut packet| {
            if is(&packet, 4, SHARE) {
                damage(&mut packet.bytes);
            }
            vec![packet]
        });
        assert_eq!(done.failed, Some(malformed));
    }
}

fn a_stranger_in_the_session<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let (done, _) = attacked::<G>(&group, seed, &mut |packet| {
            let stranger = Packet { from: id(3), ..packet.clone() };
            vec![stranger, packet]
        });
        good::<G>(&group, &done);
        let refusal = Failure::Refused(Refusal::NotAMember(id(3)));
        assert!(done.refused.iter().any(|(_, _, failure)| *failure == refusal));
    }
}

fn a_party_at_another_epoch<G: SchnorrGroup + Fixed>() {
    // The same key once more, one epoch later: party 4 alone is there.
    let mut key = key::<G>();
    let mut terms = terms(PartySet::first(4), 2, 1).unwrap();
    (terms.epoch, terms.suite) = (1, G::SUITE);
    let mut later = generate_on::<G>(&terms, 1, &mut stormy(1), &mut |p| vec![p]).finished;
    key.insert(id(4), later.remove(&id(4)).unwrap());
    for seed in SEEDS {
        let (done, sent) = attacked::<G>(&key, seed, &mut |packet| vec![packet]);
        alone(&done, &sent, seed);
    }
}

fn a_key_is_not_opened_as_one_of_another_suite<G: SchnorrGroup + Fixed>() {
    // Least of all one of the same curve: its nonce keys would serve two schemes.
    fn opens<C: quorate_core::curve::Group, O>(stored: &Stored<O>) -> bool {
        let record = wire::decode(&stored.sealed).unwrap();
        OpenedKey::<C, N, K>::open(&stored.public, id(1), record, &stored.confirmation).is_ok()
    }
    let group = key::<G>();
    assert!(opens::<G, _>(&group[&id(1)]));
    assert!(!opens::<Secp256k1, _>(&group[&id(1)]));
    let ecdsa = group_on::<Secp256k1>(PartySet::first(4), 2, 1);
    assert!(opens::<Secp256k1, _>(&ecdsa[&id(1)]));
    assert!(!opens::<G, _>(&ecdsa[&id(1)]));
}
