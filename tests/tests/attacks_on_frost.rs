//! Attacks on FROST (`docs/PROTOCOL.md` §9), each by name and for each suite, with the culprit or the
//! refusal that every honest party must come to. The key has holders 1 to 5 with T = 3, from our key
//! generation; the quorum is {1, 2, 4, 5}, and party 1 coordinates.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

#[path = "attacks_on_frost/messages.rs"]
mod messages;
#[path = "attacks_on_frost/nonces.rs"]
mod nonces;

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::frost::{
    Aggregator, Failure, FrostKey, FrostSuite, Listed, MAX_LIST, MAX_MESSAGE, MAX_OFFER, NoncePool,
    Offers, PoolError, ReserveError, SignError, Signer, verification_key, verify,
};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{MAX_PAYLOAD, Tweak};
use quorate_core::session::{Abort, Fault, Refusal};
use quorate_core::wire::DecodeError;
use quorate_tests::simulator::frost::*;
use quorate_tests::simulator::{group_on, id};

const MESSAGE: &[u8] = b"pay the usual amount to the usual place";
/// One entry of a list: party, pool, index, and two points.
const ENTRY: usize = 1 + 32 + 1 + 66;

/// Each attack is a function over the suite; here it becomes one test for each of them.
macro_rules! attacks {
    ($($name:ident),* $(,)?) => {
        mod bip340 { $(#[test] fn $name() { super::$name::<super::SchnorrSecp256k1>(); })* }
        mod ed25519 { $(#[test] fn $name() { super::$name::<super::Ed25519>(); })* }
    };
}
use attacks;

attacks!(
    without_an_attack_there_is_a_signature,
    fewer_than_t_members,
    a_member_outside_the_holders,
    a_quorum_without_this_party,
    a_message_that_is_too_long,
    a_wrong_commitment_in_the_list_of_one_member,
    own_commitment_altered,
    a_commitment_of_another_pool_or_place,
    an_aggregated_commitment,
    a_member_listed_twice_left_out_or_out_of_order,
    a_corrupt_share_names_its_author,
    all_of_several_corrupt_shares_are_named,
    a_corrupt_share_for_a_taproot_output,
    another_message_quorum_session_or_tweak_shown_to_one_member,
);

fn set(ids: &[u16]) -> PartySet {
    ids.iter().map(|number| id(*number)).collect()
}

fn quorum() -> PartySet {
    set(&[1, 2, 4, 5])
}

fn scene<G: FrostSuite>() -> Scene<G> {
    Scene::new(ours(&group_on::<G>(PartySet::first(5), 3, 1)).unwrap(), 4, 1)
}

fn terms(seed: u64) -> Terms {
    terms_of(quorum(), MESSAGE, Tweak::None, seed)
}

fn culprit<T>(party: u16, fault: Fault) -> Result<T, Failure> {
    Err(Failure::Aborted(Abort::Culprit(id(party), fault)))
}

fn refused<T>(refusal: Refusal) -> Result<T, Failure> {
    Err(Failure::Refused(refusal))
}

/// What becomes of a list that is shown to `me`.
fn shown<G: FrostSuite>(
    scene: &Scene<G>,
    me: u16,
    terms: &Terms,
    list: &[u8],
) -> Result<(), Failure> {
    let mut signer = Signer::new(&scene.members[&id(me)].key, terms.clone()).unwrap();
    signer.handle_list(id(1), list).map(|_| ())
}

/// z + 1 in an encoded share.
fn off_by_one<G: FrostSuite>(share: &[u8]) -> Vec<u8> {
    let (head, z) = share.split_at(share.len() - 32);
    let z = G::default().scalar_from_bytes(z.try_into().unwrap()).unwrap() + G::default().number(1);
    [head, &G::scalar_to_bytes(&z)].concat()
}

/// The aggregator's last word, if each member's share goes through `alter`.
fn aggregated<G: FrostSuite>(
    scene: &mut Scene<G>,
    terms: &Terms,
    alter: impl Fn(PartyId, Vec<u8>) -> Vec<u8>,
) -> Result<(), Failure> {
    let (mut aggregator, list) = scene.begin(terms).unwrap();
    for me in terms.quorum.iter() {
        let share = alter(me, scene.answer(me, terms, &list));
        if let Some(signature) = aggregator.handle_share(me, &share)? {
            let key = verification_key::<G>(scene.public.group_key(), &terms.tweak).unwrap();
            assert!(verify::<G>(&key, &terms.message, &signature));
            let after = aggregator.handle_share(me, &share);
            assert_eq!(after, refused(Refusal::Over));
            return Ok(());
        }
    }
    unreachable!("an answer of every member, and no word")
}

fn without_an_attack_there_is_a_signature<G: FrostSuite>() {
    let mut scene = scene::<G>();
    for (seed, quorum) in [&[1u16, 2, 4, 5][..], &[2, 3, 4], &[1, 2, 3, 4, 5]].iter().enumerate() {
        let terms = terms_of(set(quorum), MESSAGE, Tweak::None, seed as u64);
        assert_eq!(aggregated(&mut scene, &terms, |_, share| share), Ok(()));
    }
}

fn fewer_than_t_members<G: FrostSuite>() {
    let mut scene = scene::<G>();
    for quorum in [&[1u16, 2][..], &[1], &[]] {
        let terms = terms_of(set(quorum), MESSAGE, Tweak::None, 1);
        let expected = SignError::QuorumTooSmall { threshold: 3, found: quorum.len() };
        assert_eq!(scene.begin(&terms).map(|_| ()), Err(expected));
        let signer = Signer::new(&scene.members[&id(1)].key, terms);
        assert_eq!(signer.map(|_| ()), Err(expected));
    }
    // A list that is shorter than the quorum of the terms.
    let (_, list) = scene.begin(&terms_of(set(&[1, 2, 4]), MESSAGE, Tweak::None, 1)).unwrap();
    let terms = terms(1);
    let found = shown(&scene, 2, &terms, &list);
    assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(1)))));
}

fn a_member_outside_the_holders<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms_of(set(&[1, 2, 4, 6]), MESSAGE, Tweak::None, 1);
    assert_eq!(scene.begin(&terms).map(|_| ()), Err(SignError::NotAHolder));
    let signer = Signer::new(&scene.members[&id(1)].key, terms);
    assert_eq!(signer.map(|_| ()), Err(SignError::NotAHolder));
    let offer = offer_of(&scene.members[&id(2)].pool, id(1));
    assert_eq!(scene.offers.take(id(6), &offer), refused(Refusal::NotAMember(id(6))));
}

fn a_quorum_without_this_party<G: FrostSuite>() {
    let scene = scene::<G>();
    let signer = Signer::new(&scene.members[&id(3)].key, terms(1));
    assert_eq!(signer.map(|_| ()), Err(SignError::NotInQuorum));
}

fn a_message_that_is_too_long<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms_of(quorum(), &vec![0; MAX_PAYLOAD + 1], Tweak::None, 1);
    assert_eq!(scene.begin(&terms).map(|_| ()), Err(SignError::MessageTooLong));
    let signer = Signer::new(&scene.members[&id(1)].key, terms);
    assert_eq!(signer.map(|_| ()), Err(SignError::MessageTooLong));
}

/// The list with the points of one entry replaced by those of another list's.
fn with_entry_of(list: &[u8], place: usize, other: &[u8]) -> Vec<u8> {
    let at = list.len() - ENTRY * quorum().len() + ENTRY * place;
    let mut altered = list.to_vec();
    altered[at..at + ENTRY].copy_from_slice(&other[at..at + ENTRY]);
    altered
}

fn a_wrong_commitment_in_the_list_of_one_member<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let (_, other) = scene.begin(&terms).unwrap();
    // Party 4 is shown another commitment of party 5; its answer says so, and nobody is blamed.
    let altered = with_entry_of(&list, 3, &other);
    assert_ne!(altered, list);
    let share = scene.answer(id(2), &terms, &list);
    assert_eq!(aggregator.handle_share(id(2), &share), Ok(None));
    let share = scene.answer(id(4), &terms, &altered);
    let found = aggregator.handle_share(id(4), &share);
    assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(4)))));
    assert_eq!(aggregator.handle_share(id(5), &share), refused(Refusal::Over));
}

fn reserve<G: FrostSuite>(
    scene: &mut Scene<G>,
    me: u16,
    listed: Listed<G>,
) -> Result<(), ReserveError> {
    let member = scene.members.get_mut(&id(me)).unwrap();
    listed.reserve(&member.key, &mut member.pool).map(|_| ())
}

fn own_commitment_altered<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (_, list) = scene.begin(&terms).unwrap();
    let altered = {
        // D and E of party 2 exchanged: both are valid points, and its own.
        let at = list.len() - ENTRY * 3 + 34;
        let mut altered = list.clone();
        altered[at..at + 33].copy_from_slice(&list[at + 33..at + 66]);
        altered[at + 33..at + 66].copy_from_slice(&list[at..at + 33]);
        altered
    };
    let before = scene.members[&id(2)].pool.remaining();
    let mut signer = Signer::new(&scene.members[&id(2)].key, terms.clone()).unwrap();
    let listed = signer.handle_list(id(1), &altered).unwrap();
    let abort = Abort::Culprit(id(1), Fault::AlteredCommitment);
    assert_eq!(reserve(&mut scene, 2, listed), Err(ReserveError::Aborted(abort)));
    // No nonce was lost by it, and the honest list is still answered in another session.
    assert_eq!(scene.members[&id(2)].pool.remaining(), before);
    scene.answer(id(2), &terms, &list);
}

fn a_commitment_of_another_pool_or_place<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (_, list) = scene.begin(&terms).unwrap();
    let at = list.len() - ENTRY * 3;
    let alter = |place: usize, value: u8| {
        let mut altered = list.clone();
        altered[at + place] ^= value;
        altered
    };
    let mut found = |list: &[u8]| {
        let mut signer = Signer::new(&scene.members[&id(2)].key, terms.clone()).unwrap();
        let listed = signer.handle_list(id(1), list).unwrap();
        reserve(&mut scene, 2, listed)
    };
    let abort = Abort::Culprit(id(1), Fault::AlteredCommitment);
    assert_eq!(found(&alter(33, 1)), Err(ReserveError::Aborted(abort)));
    assert_eq!(found(&alter(33, 64)), Err(ReserveError::Pool(PoolError::Taken(64))));
    assert_eq!(found(&alter(1, 1)), Err(ReserveError::Pool(PoolError::OtherPool)));
}

fn an_aggregated_commitment<G: FrostSuite>() {
    // A coordinator that shows the sum of all commitments could blame whom it likes: party 2 is shown
    // one entry in place of those of 1, 4 and 5.
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (_, list) = scene.begin(&terms).unwrap();
    let entries = list.len() - ENTRY * 4;
    let point = |place: usize, offset: usize| {
        let at = entries + ENTRY * place + offset;
        let bytes = list[at..at + 33].try_into().unwrap();
        G::default().point_from_bytes(&quorate_core::curve::PointBytes(bytes)).unwrap()
    };
    let sum = |offset| G::point_to_bytes(&(point(0, offset) + point(2, offset) + point(3, offset)));
    let mut summed = list[entries..entries + 34].to_vec();
    summed.extend(sum(34).unwrap().0);
    summed.extend(sum(67).unwrap().0);
    let own = &list[entries + ENTRY..entries + 2 * ENTRY];
    let mut short = list[..entries - 1].to_vec();
    short.push(2);
    short.extend(&summed);
    short.extend(own);
    assert_eq!(shown(&scene, 2, &terms, &short), culprit(1, Fault::CommitmentList));
    // As an entry of party 1, with the others' as they are, the sum is one more wrong commitment: the
    // coordinator that has the true ones does not take the answer.
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let mut swapped = list.clone();
    swapped[entries + 34..entries + ENTRY].copy_from_slice(&summed[34..]);
    let share = scene.answer(id(2), &terms, &swapped);
    let found = aggregator.handle_share(id(2), &share);
    assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(2)))));
}

fn a_member_listed_twice_left_out_or_out_of_order<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (_, list) = scene.begin(&terms).unwrap();
    let (head, entries) = list.split_at(list.len() - ENTRY * 4);
    let with = |places: &[usize]| {
        let mut altered = head.to_vec();
        *altered.last_mut().unwrap() = places.len() as u8;
        altered.extend(places.iter().flat_map(|i| &entries[ENTRY * i..ENTRY * (i + 1)]));
        altered
    };
    assert_eq!(shown(&scene, 2, &terms, &with(&[0, 1, 2, 3])), Ok(()));
    for places in [&[0, 1, 2][..], &[0, 1, 1, 2, 3], &[1, 0, 2, 3], &[0, 1, 2, 2], &[], &[3; 100]] {
        let found = shown(&scene, 2, &terms, &with(places));
        assert_eq!(found, culprit(1, Fault::CommitmentList), "{places:?}");
    }
    // More entries than there can be parties: 256, in two bytes.
    let mut many = head[..head.len() - 1].to_vec();
    many.extend([0x80, 0x02]);
    many.extend(entries[..ENTRY].repeat(256));
    assert_eq!(shown(&scene, 2, &terms, &many), culprit(1, Fault::Malformed));
}

fn a_corrupt_share_names_its_author<G: FrostSuite>() {
    let mut scene = scene::<G>();
    for (seed, liar) in [1, 2, 4, 5].into_iter().enumerate() {
        let found = aggregated(&mut scene, &terms(seed as u64), |me, share| {
            if me == id(liar) { off_by_one::<G>(&share) } else { share }
        });
        let abort = Abort::Culprits(set(&[liar]), Fault::BadSignatureShare);
        assert_eq!(found, Err(Failure::Aborted(abort)));
        assert_eq!(abort.culprits(), set(&[liar]));
    }
}

fn all_of_several_corrupt_shares_are_named<G: FrostSuite>() {
    let mut scene = scene::<G>();
    for (seed, liars) in [&[2u16, 5][..], &[1, 4, 5], &[1, 2, 4, 5]].into_iter().enumerate() {
        let found = aggregated(&mut scene, &terms(seed as u64), |me, share| {
            if liars.contains(&me.number()) { off_by_one::<G>(&share) } else { share }
        });
        let abort = Abort::Culprits(set(liars), Fault::BadSignatureShare);
        assert_eq!(found, Err(Failure::Aborted(abort)));
    }
    // Errors that cancel make a valid signature: then there is nothing to blame anybody for.
    let found = aggregated(&mut scene, &terms(9), |me, share| match me.number() {
        2 => off_by_one::<G>(&share),
        5 => {
            let (head, z) = share.split_at(share.len() - 32);
            let z = G::default().scalar_from_bytes(z.try_into().unwrap()).unwrap()
                - G::default().number(1);
            [head, &G::scalar_to_bytes(&z)].concat()
        }
        _ => share,
    });
    assert_eq!(found, Ok(()));
}

fn a_corrupt_share_for_a_taproot_output<G: FrostSuite>() {
    let mut scene = scene::<G>();
    for seed in 0..4 {
        let tweak = Tweak::Taproot { merkle_root: Some([seed; 32]) };
        let terms = terms_of(quorum(), MESSAGE, tweak, seed.into());
        if G::default().standard() == "ed25519" {
            assert_eq!(scene.begin(&terms).map(|_| ()), Err(SignError::Tweak));
            continue;
        }
        let found = aggregated(&mut scene, &terms, |me, share| match me.number() {
            2 | 4 => off_by_one::<G>(&share),
            _ => share,
        });
        let abort = Abort::Culprits(set(&[2, 4]), Fault::BadSignatureShare);
        assert_eq!(found, Err(Failure::Aborted(abort)));
    }
}

fn another_message_quorum_session_or_tweak_shown_to_one_member<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let honest = terms(1);
    let (_, list) = scene.begin(&honest).unwrap();
    let mut lies = vec![
        Terms { message: b"pay me".to_vec(), ..honest.clone() },
        Terms { quorum: set(&[1, 2, 4]), ..honest.clone() },
        Terms { quorum: PartySet::first(5), ..honest.clone() },
    ];
    if G::default().standard() == "bip340" {
        let tweak = Tweak::Taproot { merkle_root: None };
        lies.push(Terms { tweak, ..honest.clone() });
    }
    for lie in lies {
        let found = shown(&scene, 2, &lie, &list);
        assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(1)))));
    }
    let other = Terms { session: [9; 32], ..honest.clone() };
    assert_eq!(shown(&scene, 2, &other, &list), refused(Refusal::OtherSession));
    let other = Terms { coordinator: id(2), ..honest };
    assert_eq!(shown(&scene, 2, &other, &list), refused(Refusal::NotAMember(id(1))));
}
