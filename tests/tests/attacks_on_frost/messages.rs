//! Bytes that are not what they should be, and messages in the wrong place.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use quorate_core::curve::Suite;
use quorate_core::session::{Header, Protocol};
use quorate_core::wire;

use super::*;

attacks!(
    truncated_trailing_and_oversized_messages,
    non_canonical_points_and_the_identity,
    a_non_canonical_response,
    a_second_different_list,
    a_second_different_share,
    a_second_different_offer,
    messages_of_another_session_version_suite_protocol_or_round,
    replay_from_another_session,
    a_share_or_offer_in_the_name_of_another_party,
    an_offer_for_another_key_or_coordinator,
    commitments_that_ran_out,
);

/// 33 bytes that are no point, or no canonical one.
trait Invalid: FrostSuite {
    fn points() -> Vec<[u8; 33]>;
}

fn tagged(tag: u8, rest: [u8; 32]) -> [u8; 33] {
    let mut bytes = [tag; 33];
    bytes[1..].copy_from_slice(&rest);
    bytes
}

impl Invalid for SchnorrSecp256k1 {
    fn points() -> Vec<[u8; 33]> {
        use quorate_core::curve::Group as _;
        let valid = Self::point_to_bytes(&Self::mul_base(&7u64.into())).unwrap().0;
        let x: [u8; 32] = valid[1..].try_into().unwrap();
        // O has no such encoding; the compact form and others are a second one of the same point.
        let tags = [0, 1, 4, 5, 6, 7, 0xed].map(|tag| tagged(tag, x));
        [tagged(0, [0; 32]), tagged(2, [0; 32]), tagged(2, [0xff; 32])]
            .into_iter()
            .chain(tags)
            .collect()
    }
}

impl Invalid for Ed25519 {
    fn points() -> Vec<[u8; 33]> {
        let (mut identity, mut high) = ([0; 32], [0xff; 32]);
        identity[0] = 1;
        // y = p + 1: the identity in its second encoding.
        (high[0], high[31]) = (0xee, 0x7f);
        let torsion = EIGHT_TORSION[1].compress().to_bytes();
        let mixed = (ED25519_BASEPOINT_POINT + EIGHT_TORSION[1]).compress().to_bytes();
        let valid = ED25519_BASEPOINT_POINT.compress().to_bytes();
        let off = [2; 32];
        let wrong = [identity, high, torsion, mixed, off].map(|bytes| tagged(0xed, bytes));
        wrong.into_iter().chain([tagged(2, valid), tagged(0, valid)]).collect()
    }
}

fn truncated_trailing_and_oversized_messages<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let share = scene.answer(id(2), &terms, &list);
    let offer = offer_of(&scene.members[&id(3)].pool, id(1));
    let header_end = {
        let header: Header = Header::peek(&share).unwrap();
        let mut buffer = [0; 128];
        wire::encode(&header, &mut buffer).unwrap().len()
    };
    // Behind a whole header, its sender is to blame; before, nobody is.
    let expected = |from: u16, length: usize| -> Result<(), Failure> {
        if length >= header_end {
            culprit(from, Fault::Malformed)
        } else {
            refused(Refusal::Decode(DecodeError::Malformed))
        }
    };
    for length in 0..share.len() {
        let mut offers = again(&scene);
        let aggregator = Aggregator::new(&scene.public, terms.clone(), &mut offers);
        let found = aggregator.unwrap().handle_share(id(2), &share[..length]);
        assert_eq!(found.map(|_| ()), expected(2, length), "{length}");
    }
    for length in 0..offer.len() {
        assert_eq!(again(&scene).take(id(3), &offer[..length]), expected(3, length), "{length}");
    }
    for length in 0..list.len() {
        // A list has no receiver in its header, so that is one byte shorter.
        assert_eq!(shown(&scene, 2, &terms, &list[..length]), expected(1, length + 1), "{length}");
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert_eq!(shown(&scene, 2, &terms, &longer(&list)), culprit(1, Fault::Malformed));
    assert_eq!(again(&scene).take(id(3), &longer(&offer)), culprit(3, Fault::Malformed));
    assert_eq!(aggregator.handle_share(id(2), &longer(&share)), culprit(2, Fault::Malformed));

    let padded = |bytes: &[u8], limit: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(limit + 1, 0);
        bytes
    };
    let too_long = || Failure::Refused(Refusal::Decode(DecodeError::TooLong));
    assert_eq!(shown(&scene, 2, &terms, &padded(&list, MAX_LIST)), Err(too_long()));
    assert_eq!(again(&scene).take(id(3), &padded(&offer, MAX_OFFER)), Err(too_long()));
    let (mut aggregator, _) = scene.begin(&terms).unwrap();
    assert_eq!(aggregator.handle_share(id(2), &padded(&share, MAX_MESSAGE)), Err(too_long()));
}

/// A coordinator's offers as at the start.
fn again<G: FrostSuite>(scene: &Scene<G>) -> Offers<G> {
    let mut offers = Offers::new(&scene.public, id(1));
    for (party, member) in &scene.members {
        let pool = NoncePool::generate(&member.key, 0, 4, &mut hedged(*party, 1)).unwrap();
        offers.take(*party, &offer_of(&pool, id(1))).unwrap();
    }
    offers
}

fn non_canonical_points_and_the_identity<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (_, list) = scene.begin(&terms).unwrap();
    let offer = offer_of(&scene.members[&id(3)].pool, id(1));
    let mut seen = 0;
    for point in G::points() {
        // D and E of party 5 in the list: the coordinator had to look at them before it showed them.
        for back in [66, 33] {
            let (mut altered, at) = (list.clone(), list.len() - back);
            altered[at..at + 33].copy_from_slice(&point);
            assert_eq!(shown(&scene, 2, &terms, &altered), culprit(1, Fault::InvalidPoint));
            let (mut altered, at) = (offer.clone(), offer.len() - back);
            altered[at..at + 33].copy_from_slice(&point);
            let mut offers = Offers::new(&scene.public, id(1));
            let found = offers.take(id(3), &altered);
            assert_eq!(found, culprit(3, Fault::InvalidPoint), "{point:02x?}");
            assert_eq!(offers.available(id(3)), 0);
            seen += 1;
        }
    }
    assert!(seen >= 14);
}

fn a_non_canonical_response<G: Invalid>() {
    let mut scene = scene::<G>();
    let mut order = G::scalar_to_bytes(&-G::default().number(1));
    *order.last_mut().unwrap() += 1;
    for (seed, z) in [order, [0xff; 32]].into_iter().enumerate() {
        let found = aggregated(&mut scene, &terms(seed as u64), |me, share| {
            if me == id(4) { [&share[..share.len() - 32], &z].concat() } else { share }
        });
        assert_eq!(found, culprit(4, Fault::Malformed));
    }
}

fn a_second_different_list<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let ((_, one), (_, two)) = (scene.begin(&terms).unwrap(), scene.begin(&terms).unwrap());
    let mut signer = Signer::new(&scene.members[&id(2)].key, terms.clone()).unwrap();
    assert!(signer.handle_list(id(1), &one).is_ok());
    let found = signer.handle_list(id(1), &one).map(|_| ());
    assert_eq!(found, refused(Refusal::Duplicate));
    let found = signer.handle_list(id(1), &two).map(|_| ());
    assert_eq!(found, culprit(1, Fault::Equivocation));
    for list in [&one, &two] {
        let found = signer.handle_list(id(1), list).map(|_| ());
        assert_eq!(found, refused(Refusal::Over));
    }
}

fn a_second_different_share<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let share = scene.answer(id(2), &terms, &list);
    assert_eq!(aggregator.handle_share(id(2), &share), Ok(None));
    assert_eq!(aggregator.handle_share(id(2), &share), refused(Refusal::Duplicate));
    assert_eq!(aggregator.missing(), set(&[1, 4, 5]));
    let found = aggregator.handle_share(id(2), &off_by_one::<G>(&share));
    assert_eq!(found, culprit(2, Fault::Equivocation));
    assert_eq!(aggregator.handle_share(id(2), &share), refused(Refusal::Over));
}

fn a_second_different_offer<G: Invalid>() {
    let mut scene = scene::<G>();
    let offer = offer_of(&scene.members[&id(2)].pool, id(1));
    assert_eq!(scene.offers.take(id(2), &offer), Ok(()));
    assert_eq!(scene.offers.available(id(2)), 4);
    // The last two commitments exchanged, under the same pool and places.
    let (mut altered, end) = (offer.clone(), offer.len());
    altered[end - 66..].copy_from_slice(&offer[end - 133..end - 67]);
    assert_eq!(scene.offers.take(id(2), &altered), culprit(2, Fault::Equivocation));
    // One place twice.
    altered = offer.clone();
    altered[end - 67] = offer[end - 134];
    let found = Offers::new(&scene.public, id(1)).take(id(2), &altered);
    assert_eq!(found, culprit(2, Fault::Malformed));
    assert_eq!(scene.offers.available(id(2)), 4);
}

/// The same message under another header.
fn under(bytes: &[u8], change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::peek(bytes).unwrap();
    let mut buffer = [0; 128];
    let length = wire::encode(&header, &mut buffer).unwrap().len();
    change(&mut header);
    let head = wire::encode(&header, &mut buffer).unwrap();
    [head, &bytes[length..]].concat()
}

fn messages_of_another_session_version_suite_protocol_or_round<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let share = scene.answer(id(2), &terms, &list);
    let offer = offer_of(&scene.members[&id(2)].pool, id(1));
    let mut found = |change: &dyn Fn(&mut Header)| {
        [
            shown(&scene, 4, &terms, &under(&list, change)),
            aggregator.handle_share(id(2), &under(&share, change)).map(|_| ()),
            scene.offers.take(id(2), &under(&offer, change)),
        ]
    };
    let version = |header: &mut Header| header.version = 2;
    let refusal = Refusal::Decode(DecodeError::Version(2));
    assert_eq!(found(&version), [refused(refusal), refused(refusal), refused(refusal)]);
    for change in [
        (|header| header.suite = Suite::EcdsaSecp256k1) as fn(&mut Header),
        |header| header.protocol = Protocol::Schnorr,
        |header| header.protocol = Protocol::Dkg,
    ] {
        let refusal = Refusal::OtherProtocol;
        assert_eq!(found(&change), [refused(refusal), refused(refusal), refused(refusal)]);
    }
    let round = |header: &mut Header| header.round = 7;
    let refusal = Refusal::WrongRound(7);
    assert_eq!(found(&round), [refused(refusal), refused(refusal), refused(refusal)]);
    // An offer is of no session but its pool's; the others are.
    let session = |header: &mut Header| header.session = [5; 32];
    let [list, share, _] = found(&session);
    assert_eq!([list, share], [refused(Refusal::OtherSession), refused(Refusal::OtherSession)]);
    let to = |header: &mut Header| header.to = Some(id(3));
    assert_eq!(
        found(&to),
        [refused(Refusal::NotForMe), refused(Refusal::NotForMe), refused(Refusal::NotForMe)]
    );
}

fn replay_from_another_session<G: Invalid>() {
    let mut scene = scene::<G>();
    let (one, two) = (terms(1), terms(2));
    let ((_, list_1), (mut aggregator, list_2)) =
        (scene.begin(&one).unwrap(), scene.begin(&two).unwrap());
    let share = scene.answer(id(2), &one, &list_1);
    assert_eq!(aggregator.handle_share(id(2), &share), refused(Refusal::OtherSession));
    assert_eq!(shown(&scene, 2, &two, &list_1), refused(Refusal::OtherSession));
    // Under the right header, the body still says what was answered.
    let forged = under(&share, |header| header.session = two.session);
    let found = aggregator.handle_share(id(2), &forged);
    assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(2)))));
    let forged = under(&list_1, |header| header.session = two.session);
    let found = shown(&scene, 2, &two, &forged);
    assert_eq!(found, Err(Failure::Aborted(Abort::Disagreement(id(1)))));
    scene.answer(id(2), &two, &list_2);
}

fn a_share_or_offer_in_the_name_of_another_party<G: Invalid>() {
    let mut scene = scene::<G>();
    let terms = terms(1);
    let (mut aggregator, list) = scene.begin(&terms).unwrap();
    let share = scene.answer(id(2), &terms, &list);
    let refusal = Refusal::NotTheSender { claimed: id(2), actual: id(4) };
    assert_eq!(aggregator.handle_share(id(4), &share), refused(refusal));
    assert_eq!(aggregator.handle_share(id(3), &share), refused(Refusal::NotAMember(id(3))));
    let offer = offer_of(&scene.members[&id(2)].pool, id(1));
    assert_eq!(scene.offers.take(id(4), &offer), refused(refusal));
    let mut signer = Signer::new(&scene.members[&id(4)].key, terms).unwrap();
    let found = signer.handle_list(id(5), &list).map(|_| ());
    assert_eq!(found, refused(Refusal::NotAMember(id(5))));
    assert!(signer.handle_list(id(1), &list).is_ok());
}

fn an_offer_for_another_key_or_coordinator<G: Invalid>() {
    let mut scene = scene::<G>();
    let key = &scene.members[&id(2)].key;
    let pool = NoncePool::generate(key, 0, 1, &mut hedged(id(2), 8)).unwrap();
    let found = scene.offers.take(id(2), &offer_of(&pool, id(3)));
    assert_eq!(found, refused(Refusal::NotForMe));
    let other = taken_over::<G>(key_terms::<G>(3, 2), &dealt(3, 2, 1).unwrap()).unwrap();
    let pool = NoncePool::generate(&other[1], 0, 1, &mut hedged(id(2), 8)).unwrap();
    let found = scene.offers.take(id(2), &offer_of(&pool, id(1)));
    assert_eq!(found, refused(Refusal::OtherSession));
    let elsewhere = Aggregator::new(
        other[0].public(),
        terms_of(set(&[1, 2]), MESSAGE, Tweak::None, 1),
        &mut scene.offers,
    );
    assert_eq!(elsewhere.map(|_| ()), Err(SignError::OtherKey));
    let terms = Terms { coordinator: id(2), ..terms(1) };
    let elsewhere = Aggregator::new(&scene.public, terms, &mut scene.offers);
    assert_eq!(elsewhere.map(|_| ()), Err(SignError::OtherKey));
}

fn commitments_that_ran_out<G: Invalid>() {
    let mut scene = scene::<G>();
    for seed in 0..4 {
        scene.sign(&terms(seed)).unwrap();
    }
    let found = scene.begin(&terms(5)).map(|_| ());
    assert_eq!(found, Err(SignError::NoCommitment(quorum())));
    assert_eq!(scene.offers.available(id(3)), 4);
    // What is offered again was not used; what was used is not offered.
    let offer = offer_of(&scene.members[&id(2)].pool, id(1));
    scene.offers.take(id(2), &offer).unwrap();
    assert_eq!(scene.offers.available(id(2)), 0);
    // Of many pools, the newest are kept.
    for seed in 2..9 {
        let key = &scene.members[&id(2)].key;
        let pool = NoncePool::generate(key, 0, 2, &mut hedged(id(2), seed)).unwrap();
        scene.offers.take(id(2), &offer_of(&pool, id(1))).unwrap();
    }
    assert_eq!(scene.offers.available(id(2)), 2 * quorate_core::frost::MAX_POOLS);
    scene.offers.forget(id(2));
    assert_eq!(scene.offers.available(id(2)), 0);
}
