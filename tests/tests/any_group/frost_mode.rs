//! FROST: members whose group is known when they run, with a coordinator that knows it by its type.

use quorate_core::frost::{
    FrostKey, FrostSuite, Guard, NoncePool, PublicRecord, SecretRecord, Signer,
};
use quorate_tests::simulator::frost::{
    Scene, Store, Terms, dealt, encode, hedged, key_terms, offer_of, ours, terms_of,
};

use super::*;

/// A member, apart from the scene of those whose group is known by its type.
struct Runtime {
    key: FrostKey<AnyGroup>,
    pool: NoncePool<AnyGroup>,
    store: Store,
}

impl Runtime {
    fn new(key: FrostKey<AnyGroup>, count: usize, seed: u64) -> Self {
        let pool = NoncePool::generate(&key, 0, count, &mut hedged(key.party(), seed)).unwrap();
        let mut store = Store::default();
        store.0.insert(*pool.id(), pool.record().unwrap().to_vec());
        Self { key, pool, store }
    }

    fn answer(&mut self, terms: &Terms, list: &[u8], guard: Guard) -> Vec<u8> {
        let Self { key, pool, store } = self;
        let mut signer = Signer::guarded(key, terms.clone(), guard).unwrap();
        let listed = signer.handle_list(terms.coordinator, list).unwrap();
        let reserved = listed.reserve(key, pool).unwrap();
        let consumed = reserved.persist(|change| store.replace(change)).unwrap();
        encode(&consumed.sign(key).unwrap())
    }
}

/// All keys make the same offers, and the same shares of the same lists, whose sum is a signature.
fn are_alike<G: FrostSuite>(
    accepts: Judge,
    (own, any): (Vec<FrostKey<G>>, Vec<FrostKey<AnyGroup>>),
    tweaks: &[Tweak],
) {
    let (threshold, holders) = (own[0].public().threshold() as u8, own[0].public().parties());
    assert_eq!(any.len(), holders.len());
    let mut scene = Scene::new(own, 8, 3);
    let mut members: Vec<_> = any.into_iter().map(|key| Runtime::new(key, 8, 3)).collect();
    for Runtime { key, pool, store } in &members {
        let other = &scene.members[&key.party()];
        assert_eq!(pool.id(), other.pool.id());
        assert_eq!(store.0, other.store.0);
        assert_eq!(offer_of(pool, id(1)), offer_of(&other.pool, id(1)));
    }
    let quorums = [PartySet::first(threshold), holders.without(id(1)), holders];
    let whats = tweaks.iter().flat_map(|tweak| quorums.map(|quorum| (*tweak, quorum)));
    for (seed, (tweak, quorum)) in (0..).zip(whats) {
        let terms = terms_of(quorum, MESSAGE, tweak, seed);
        let guard = if seed % 2 == 0 { Guard::Off } else { Guard::Recompute };
        let (mut aggregator, list) = scene.begin(&terms).unwrap();
        let mut signature = None;
        for member in members.iter_mut().filter(|member| quorum.contains(member.key.party())) {
            let me = member.key.party();
            let share = member.answer(&terms, &list, guard);
            assert_eq!(share, scene.answer(me, &terms, &list), "{quorum:?}");
            signature = aggregator.handle_share(me, &share).unwrap();
            assert_eq!(member.store.0, scene.members[&me].store.0);
        }
        let key = verification_key::<G>(scene.public.group_key(), &tweak).unwrap();
        accepts(&key, MESSAGE, &signature.unwrap().0).unwrap();
    }
}

fn keys_of_our_generation<G: FrostSuite>(accepts: Judge, tweaks: &[Tweak]) {
    for (n, t, key_seed) in [(3, 2, 1), (4, 2, 2), (7, 3, 3)] {
        let group = group_on::<G>(PartySet::first(n), t, key_seed);
        let known = known_by::<AnyGroup, _>(&group);
        are_alike(accepts, (ours(&group).unwrap(), ours(&known).unwrap()), tweaks);
    }
}

const TAPROOT: [Tweak; 2] = [Tweak::None, Tweak::Taproot { merkle_root: Some([6; 32]) }];

#[test]
fn frost_over_secp256k1_makes_the_same_offers_and_shares() {
    keys_of_our_generation::<SchnorrSecp256k1>(accepts_bip340, &TAPROOT);
}

#[test]
fn frost_over_ed25519_makes_the_same_offers_and_shares() {
    keys_of_our_generation::<Ed25519>(accepts_ed25519, &[Tweak::None]);
}

#[test]
fn a_key_of_frost_core_is_the_same_for_both() {
    fn is<G: FrostSuite>(accepts: Judge, tweaks: &[Tweak]) {
        for (n, t, seed) in [(4, 3, 1), (5, 4, 2)] {
            let (packages, public) = dealt::<G::Ciphersuite>(n.into(), t.into(), seed).unwrap();
            let record = PublicRecord::<N>::import::<G>(key_terms::<G>(n, t), &public).unwrap();
            let (mut own, mut any) = (Vec::new(), Vec::new());
            for package in &packages {
                let secret = || SecretRecord::import::<G, N>(&record, package).unwrap();
                let me = secret().party;
                own.push(FrostKey::<G>::open(&record, me, secret()).unwrap());
                any.push(FrostKey::<AnyGroup>::open(&record, me, secret()).unwrap());
            }
            are_alike(accepts, (own, any), tweaks);
        }
    }
    is::<SchnorrSecp256k1>(accepts_bip340, &TAPROOT);
    is::<Ed25519>(accepts_ed25519, &[Tweak::None]);
}

#[test]
fn a_stored_pool_is_opened_by_both() {
    fn is<G: FrostSuite>() {
        let group = group_on::<G>(PartySet::first(3), 2, 4);
        let (own, known) = (ours(&group).unwrap(), ours(&known_by::<AnyGroup, _>(&group)).unwrap());
        let pool = NoncePool::generate(&own[0], 0, 3, &mut hedged(id(1), 5)).unwrap();
        let record = pool.record().unwrap();
        let opened = NoncePool::open(&known[0], 0, &record).unwrap();
        assert_eq!(offer_of(&opened, id(1)), offer_of(&pool, id(1)));
        assert_eq!(opened.record().unwrap(), record);
        let back = NoncePool::open(&own[0], 0, &opened.record().unwrap()).unwrap();
        assert_eq!(offer_of(&back, id(1)), offer_of(&pool, id(1)));
    }
    is::<SchnorrSecp256k1>();
    is::<Ed25519>();
}
