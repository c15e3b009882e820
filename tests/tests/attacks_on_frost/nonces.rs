//! A nonce is used once, whatever crashes, is copied or comes back from a backup.

use frost_core::round1::{NonceCommitment, SigningCommitments};
use frost_core::{Ciphersuite, Field as _, Identifier, SigningPackage};
use quorate_core::curve::{Group, SchnorrGroup};
use quorate_core::vss;

use super::*;

attacks!(
    a_nonce_is_taken_once,
    two_copies_of_one_pool,
    a_pool_restored_from_a_backup,
    a_crash_before_the_change_is_durable,
    a_crash_after_the_change_is_durable,
    a_pool_of_another_party_or_epoch_in_a_session,
    offers_of_an_earlier_incarnation,
);

/// Lets member `me` answer from `pool`, with a store that says yes to everything.
fn careless<G: FrostSuite>(
    key: &FrostKey<G>,
    pool: &mut NoncePool<G>,
    terms: &Terms,
    list: &[u8],
) -> Vec<u8> {
    let listed = Signer::new(key, terms.clone()).unwrap().handle_list(id(1), list).unwrap();
    let consumed = listed.reserve(key, pool).unwrap().persist(|_| Ok::<(), ()>(())).unwrap();
    encode(&consumed.sign(key).unwrap())
}

type S = <Ed25519 as Group>::Scalar;

/// z = d + ρ·e + L·c·x: what one answer says about the three secrets.
struct Equation {
    rho: S,
    factor: S,
    z: S,
}

fn commitments<C: Ciphersuite>(offer: &[u8]) -> SigningCommitments<C> {
    let point = |at: usize| NonceCommitment::deserialize(&offer[at + 1..at + 33]).unwrap();
    SigningCommitments::new(point(offer.len() - 66), point(offer.len() - 33))
}

/// One session among 1, who coordinates and is corrupt, and 2, who answers from a copy of its pool as
/// it was before.
fn ask(keys: &[FrostKey<Ed25519>], backup: &[u8], round: u8) -> Equation {
    type C = <Ed25519 as FrostSuite>::Ciphersuite;
    let public = keys[0].public();
    let mut victim = NoncePool::open(&keys[1], 0, backup).unwrap();
    let mut own = NoncePool::generate(&keys[0], 0, 1, &mut hedged(id(1), round.into())).unwrap();
    let mut offers = Offers::new(public, id(1));
    let offered = [offer_of(&own, id(1)), offer_of(&victim, id(1))];
    offers.take(id(1), &offered[0]).unwrap();
    offers.take(id(2), &offered[1]).unwrap();
    let quorum = PartySet::first(2);
    let terms = terms_of(quorum, &[round; 20], Tweak::None, round.into());
    let mut aggregator = Aggregator::new(public, terms.clone(), &mut offers).unwrap();
    let list = list_of(&aggregator);
    let share = careless(&keys[1], &mut victim, &terms, &list);
    assert_eq!(aggregator.handle_share(id(2), &share), Ok(None));
    let other = careless(&keys[0], &mut own, &terms, &list);
    let signature = aggregator.handle_share(id(1), &other).unwrap().unwrap();

    // Everything below is known to the coordinator.
    let package = SigningPackage::<C>::new(
        offered
            .iter()
            .zip(1u16..)
            .map(|(offer, number)| (number.try_into().unwrap(), commitments(offer)))
            .collect(),
        &terms.message,
    );
    let name = verification_key::<Ed25519>(public.group_key(), &Tweak::None).unwrap();
    let key = frost_core::VerifyingKey::<C>::deserialize(&name).unwrap();
    let preimages = package.binding_factor_preimages(&key, &[]).unwrap();
    let victim: Identifier<C> = 2u16.try_into().unwrap();
    let (_, preimage) = preimages.iter().find(|(party, _)| *party == victim).unwrap();
    let rho = C::H1(preimage);
    let nonce = signature.0[..32].try_into().unwrap();
    let c = Ed25519.challenge(&nonce, &name, &terms.message);
    let z = share[share.len() - 32..].try_into().unwrap();
    Equation {
        rho,
        factor: vss::lagrange(Ed25519, quorum, id(2)) * c,
        z: Ed25519.scalar_from_bytes(&z).unwrap(),
    }
}

#[test]
fn frost_nonce_used_again_and_again_would_give_away_the_share() {
    // A backup that comes back twice as the same incarnation, with a store that does not compare: three
    // answers under one (d, e) are three equations in d, e and x_2.
    let packages = dealt(2, 2, 1).unwrap();
    let keys = taken_over::<Ed25519>(key_terms::<Ed25519>(2, 2), &packages).unwrap();
    let pool = NoncePool::generate(&keys[1], 0, 1, &mut hedged(id(2), 1)).unwrap();
    let backup = pool.record().unwrap();
    let [a, b, c] = [1, 2, 3].map(|round| ask(&keys, &backup, round));
    // Differences lose d: Δz = Δρ·e + Δf·x.
    let minus = |one: &Equation, two: &Equation| {
        (one.rho - two.rho, one.factor - two.factor, one.z - two.z)
    };
    let ((rho_1, f_1, z_1), (rho_2, f_2, z_2)) = (minus(&a, &b), minus(&b, &c));
    let x = (z_1 * rho_2 - z_2 * rho_1) * Ed25519::invert(&(f_1 * rho_2 - f_2 * rho_1)).unwrap();
    let share = packages.0[1].signing_share().serialize();
    assert_eq!(Ed25519::response_to_bytes(&x).as_slice(), share);
    assert_eq!(frost_ed25519_scalar(&share), x);
}

fn frost_ed25519_scalar(bytes: &[u8]) -> S {
    type C = <Ed25519 as FrostSuite>::Ciphersuite;
    type F = <<C as Ciphersuite>::Group as frost_core::Group>::Field;
    F::deserialize(bytes.try_into().unwrap()).unwrap()
}

fn a_nonce_is_taken_once<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let (one, two) = (terms(1), Terms { message: b"another".to_vec(), ..terms(2) });
    let (_, list) = scene.begin(&one).unwrap();
    scene.answer(id(2), &one, &list);
    // A coordinator that forgot what it had shown, and one that asks for another message.
    for terms in [&one, &two] {
        let mut offers = Offers::new(&scene.public, id(1));
        for member in scene.members.values() {
            offers.take(member.key.party(), &offer_before(&scene, member.key.party())).unwrap();
        }
        let list = list_of(&Aggregator::new(&scene.public, terms.clone(), &mut offers).unwrap());
        let mut signer = Signer::new(&scene.members[&id(2)].key, terms.clone()).unwrap();
        let listed = signer.handle_list(id(1), &list).unwrap();
        let found = reserve(&mut scene, 2, listed);
        assert_eq!(found, Err(ReserveError::Pool(PoolError::Taken(0))));
    }
}

/// What a party had offered at first.
fn offer_before<G: FrostSuite>(scene: &Scene<G>, party: PartyId) -> Vec<u8> {
    let key = &scene.members[&party].key;
    let pool = NoncePool::generate(key, 0, 4, &mut hedged(party, 1)).unwrap();
    assert_eq!(pool.id(), scene.members[&party].pool.id());
    offer_of(&pool, id(1))
}

fn two_copies_of_one_pool<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let (one, two) = (terms(1), terms(2));
    let ((_, list_1), (_, list_2)) = (scene.begin(&one).unwrap(), scene.begin(&two).unwrap());
    let member = &scene.members[&id(2)];
    let stored = member.store.0[member.pool.id()].clone();
    let mut copy = NoncePool::open(&member.key, 0, &stored).unwrap();
    scene.answer(id(2), &one, &list_1);
    // The copy still has the nonce of the first list, and that of the second.
    for (terms, list) in [(&one, &list_1), (&two, &list_2)] {
        let member = scene.members.get_mut(&id(2)).unwrap();
        let mut signer = Signer::new(&member.key, terms.clone()).unwrap();
        let listed = signer.handle_list(id(1), list).unwrap();
        let reserved = listed.reserve(&member.key, &mut copy).unwrap();
        let found = reserved.persist(|change| member.store.replace(change));
        assert_eq!(found.map(|_| ()), Err(Stale));
        // What the copy holds is no longer believed: only the store knows.
        assert_eq!(copy.record().map(|_| ()), Err(PoolError::Unsaved));
        copy = NoncePool::open(&member.key, 0, &stored).unwrap();
    }
    scene.answer(id(2), &two, &list_2);
}

fn a_pool_restored_from_a_backup<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let one = terms(1);
    let (_, list) = scene.begin(&one).unwrap();
    let member = &scene.members[&id(2)];
    let backup = member.store.0[member.pool.id()].clone();
    scene.answer(id(2), &one, &list);
    let found = NoncePool::open(&scene.members[&id(2)].key, 1, &backup).map(|_| ());
    assert_eq!(found, Err(PoolError::OtherIncarnation { expected: 1, found: 0 }));
}

fn a_crash_before_the_change_is_durable<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let (one, two) = (terms(1), terms(2));
    let ((_, list_1), (_, list_2)) = (scene.begin(&one).unwrap(), scene.begin(&two).unwrap());
    let Member { key, pool, store } = scene.members.get_mut(&id(2)).unwrap();
    let listed = Signer::new(key, one.clone()).unwrap().handle_list(id(1), &list_1).unwrap();
    let found = listed.reserve(key, pool).unwrap().persist(|_| Err("the disk is full"));
    assert_eq!(found.map(|_| ()), Err("the disk is full"));
    // Neither that nonce nor another leaves a pool whose state nobody knows.
    for (terms, list) in [(&one, &list_1), (&two, &list_2)] {
        let listed = Signer::new(key, terms.clone()).unwrap().handle_list(id(1), list).unwrap();
        let found = listed.reserve(key, pool).map(|_| ());
        assert_eq!(found, Err(ReserveError::Pool(PoolError::Unsaved)));
    }
    // The same if the nonce was merely dropped.
    let stored = store.0[pool.id()].clone();
    *pool = NoncePool::open(key, 0, &stored).unwrap();
    let listed = Signer::new(key, one.clone()).unwrap().handle_list(id(1), &list_1).unwrap();
    drop(listed.reserve(key, pool).unwrap());
    assert_eq!(pool.record().map(|_| ()), Err(PoolError::Unsaved));
    // No share was made with it, so what the store has may be used.
    *pool = NoncePool::open(key, 0, &stored).unwrap();
    assert_eq!(pool.remaining(), 4);
    scene.answer(id(2), &one, &list_1);
}

fn a_crash_after_the_change_is_durable<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let one = terms(1);
    let (_, list) = scene.begin(&one).unwrap();
    let Member { key, pool, store } = scene.members.get_mut(&id(2)).unwrap();
    let listed = Signer::new(key, one.clone()).unwrap().handle_list(id(1), &list).unwrap();
    drop(listed.reserve(key, pool).unwrap().persist(|change| store.replace(change)).unwrap());
    let mut pool = NoncePool::open(key, 0, &store.0[pool.id()]).unwrap();
    assert_eq!(pool.remaining(), 3);
    let listed = Signer::new(key, one).unwrap().handle_list(id(1), &list).unwrap();
    let found = listed.reserve(key, &mut pool).map(|_| ());
    assert_eq!(found, Err(ReserveError::Pool(PoolError::Taken(0))));
}

fn a_pool_of_another_party_or_epoch_in_a_session<G: FrostSuite>() {
    let packages = dealt(3, 2, 1).unwrap();
    let now = key_terms::<G>(3, 2);
    let at = |epoch, key| {
        let terms = quorate_core::frost::FrostTerms { epoch, key, ..now };
        taken_over::<G>(terms, &packages).unwrap()
    };
    let mut scene = Scene::new(at(0, now.key), 1, 1);
    let terms = terms_of(PartySet::first(2), MESSAGE, Tweak::None, 1);
    let (_, list) = scene.begin(&terms).unwrap();
    let mut found = |key: &FrostKey<G>| {
        let listed = Signer::new(&scene.members[&id(2)].key, terms.clone()).unwrap();
        let listed = { listed }.handle_list(id(1), &list).unwrap();
        let mut pool = NoncePool::generate(key, 0, 1, &mut hedged(key.party(), 1)).unwrap();
        let member = scene.members.get_mut(&id(2)).unwrap();
        listed.reserve(&member.key, &mut pool).map(|_| ())
    };
    let pool = |error| Err(ReserveError::Pool(error));
    let keys = at(0, now.key);
    assert_eq!(found(&keys[0]), pool(PoolError::OtherParty(id(1))));
    let epoch = at(1, now.key);
    assert_eq!(found(&epoch[1]), pool(PoolError::OtherEpoch { expected: 0, found: 1 }));
    let other = at(0, [9; 16]);
    assert_eq!(found(&other[1]), pool(PoolError::OtherKey));
    // Nor does a share of another epoch or party answer in this session.
    for key in [&epoch[1], &other[1], &keys[0]] {
        let member = scene.members.get_mut(&id(2)).unwrap();
        let mut signer = Signer::new(&member.key, terms.clone()).unwrap();
        let listed = signer.handle_list(id(1), &list).unwrap();
        let found = listed.reserve(key, &mut member.pool).map(|_| ());
        assert_eq!(found, pool(PoolError::OtherKey));
    }
    let member = scene.members.get_mut(&id(2)).unwrap();
    let mut signer = Signer::new(&member.key, terms.clone()).unwrap();
    let listed = signer.handle_list(id(1), &list).unwrap();
    let reserved = listed.reserve(&member.key, &mut member.pool).unwrap();
    let consumed = reserved.persist(|change| member.store.replace(change)).unwrap();
    assert_eq!(consumed.sign(&epoch[1]).map(|_| ()), Err(SignError::OtherKey));
}

fn offers_of_an_earlier_incarnation<G: FrostSuite>() {
    let mut scene = scene::<G>();
    let key = &scene.members[&id(2)].key;
    let before = offer_of(&scene.members[&id(2)].pool, id(1));
    assert_eq!(scene.offers.available(id(2)), 4);
    let restored = NoncePool::generate(key, 1, 2, &mut hedged(id(2), 1)).unwrap();
    scene.offers.take(id(2), &offer_of(&restored, id(1))).unwrap();
    // What the party had offered before its state was restored is gone, and does not come back.
    assert_eq!(scene.offers.available(id(2)), 2);
    assert_eq!(scene.offers.take(id(2), &before), refused(Refusal::OtherSession));
    assert_eq!(scene.offers.available(id(2)), 2);
}
