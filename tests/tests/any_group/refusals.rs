//! What a curve's own group has no type for is refused when the program runs.

use quorate_core::curve::P256;
use quorate_core::dkg::StartError;
use quorate_core::ecdsa;
use quorate_core::frost::{FrostKey, FrostPublic, KeyError, NoncePool, PoolError};
use quorate_core::key::{OpenError, OpenedKey};
use quorate_core::nonce::{Failure, MAX_MESSAGE};
use quorate_core::schnorr as core_schnorr;
use quorate_core::session::Refusal;
use quorate_tests::simulator::frost::hedged;

use super::*;

type Opened = OpenedKey<AnyGroup, N, K>;
type Salts = Vec<(PartyId, [u8; 32])>;

const SEED: u64 = 1;

/// One key of each suite.
fn keys() -> [Group<AnyGroup>; 3] {
    [key_of::<Secp256k1>(), key_of::<SchnorrSecp256k1>(), key_of::<Ed25519>()]
}

fn ecdsa_terms() -> (ecdsa::SignTerms, Salts) {
    let (quorum, coordinator, derivation) = (PartySet::first(3), id(1), Derivation::Root);
    let salts = quorum.iter().map(|me| (me, salt_of(me, SEED))).collect();
    (ecdsa::SignTerms { quorum, coordinator, derivation, digest: [1; 32] }, salts)
}

fn schnorr_terms() -> (schnorr::Terms, Salts) {
    terms_of(PartySet::first(3), MESSAGE, Tweak::None, SEED)
}

fn ecdsa_signer(key: &Opened) -> Result<ecdsa::Signer<AnyGroup, S>, SignError> {
    let (terms, salts) = ecdsa_terms();
    ecdsa::Signer::new(key, terms, &salts, &salt_of(key.party(), SEED))
}

fn schnorr_signer(key: &Opened) -> Result<core_schnorr::Signer<AnyGroup, Vec<u8>, S>, SignError> {
    let (terms, salts) = schnorr_terms();
    core_schnorr::Signer::new(key, terms, &salts, &salt_of(key.party(), SEED))
}

#[test]
fn keys_of_p_256_are_neither_made_nor_opened() {
    let terms = terms_on::<P256>(PartySet::first(4), 2, 4).unwrap();
    let peers = peers(terms.holders.parties());
    for (suite, expected) in [
        (Suite::EcdsaP256, Some(StartError::Suite)),
        (Suite::EcdsaSecp256k1, None),
        (Suite::SchnorrSecp256k1, None),
        (Suite::SchnorrEd25519, None),
    ] {
        let (terms, key) = (KeyTerms { suite, ..terms }, session_key(id(1)));
        let mut rng = hedged(id(1), SEED);
        let run = Dkg::<AnyGroup, N, K>::new(terms, [1; 32], id(1), &peers, &key, &mut rng);
        assert_eq!(run.err(), expected, "{suite:?}");
    }

    let group = group_on::<P256>(PartySet::first(4), 2, 4);
    for (me, stored) in &group {
        let record = || wire::decode(&stored.sealed).unwrap();
        let opened = Opened::open(&stored.public, *me, record(), &stored.confirmation);
        assert_eq!(opened.err(), Some(OpenError::PublicRecord));
        let own =
            OpenedKey::<P256, N, K>::open(&stored.public, *me, record(), &stored.confirmation);
        assert_eq!(own.err(), None);
    }
    let (public, (terms, salts)) = (&group[&id(1)].public, ecdsa_terms());
    let combiner = ecdsa::Combiner::<AnyGroup, S>::new(public, terms, &salts);
    assert_eq!(combiner.err(), Some(SignError::PublicRecord));
}

#[test]
fn a_record_that_is_said_to_be_of_another_curve_is_not_opened() {
    for (group, other) in keys().into_iter().zip([
        Suite::SchnorrEd25519,
        Suite::SchnorrEd25519,
        Suite::SchnorrSecp256k1,
    ]) {
        let stored = &group[&id(1)];
        let mut public = stored.public.clone();
        public.terms.suite = other;
        let record = wire::decode(&stored.sealed).unwrap();
        let opened = Opened::open(&public, id(1), record, &stored.confirmation);
        assert_eq!(opened.err(), Some(OpenError::PublicRecord), "{other:?}");
    }
}

#[test]
fn a_key_signs_by_the_scheme_of_its_suite_alone() {
    for group in keys() {
        let suite = suite_of(&group);
        let key = group[&id(2)].open(id(2)).unwrap();
        let refused = |is_possible| if is_possible { None } else { Some(SignError::PublicRecord) };
        assert_eq!(ecdsa_signer(&key).err(), refused(suite.is_ecdsa()), "{suite:?}");
        assert_eq!(schnorr_signer(&key).err(), refused(!suite.is_ecdsa()), "{suite:?}");

        let public = &group[&id(1)].public;
        let (terms, salts) = ecdsa_terms();
        let combiner = ecdsa::Combiner::<AnyGroup, S>::new(public, terms, &salts);
        assert_eq!(combiner.err(), refused(suite.is_ecdsa()), "{suite:?}");
        let combiner = ecdsa::Combiner::<AnyGroup, S>::of_member(&key, terms, &salts);
        assert_eq!(combiner.err(), refused(suite.is_ecdsa()), "{suite:?}");
        let (terms, salts) = schnorr_terms();
        let combiner = core_schnorr::Combiner::<AnyGroup, _, S>::new(public, terms.clone(), &salts);
        assert_eq!(combiner.err(), refused(!suite.is_ecdsa()), "{suite:?}");
        let combiner =
            core_schnorr::Combiner::<AnyGroup, _, S>::of_member(&key, public, terms, &salts);
        assert_eq!(combiner.err(), refused(!suite.is_ecdsa()), "{suite:?}");
    }
}

#[test]
fn frost_takes_no_ecdsa_key() {
    for group in keys() {
        let (suite, public) = (suite_of(&group), &group[&id(1)].public);
        let refused = suite.is_ecdsa().then_some(KeyError::Suite(suite));
        assert_eq!(FrostPublic::<AnyGroup>::of(public).err(), refused);
        let opened = group[&id(1)].open(id(1)).unwrap();
        assert_eq!(FrostKey::of(public, &opened).err(), refused);
    }
    let public = &group_on::<P256>(PartySet::first(4), 2, 4)[&id(1)].public;
    let refused = KeyError::Suite(Suite::EcdsaP256);
    assert_eq!(FrostPublic::<AnyGroup>::of(public).err(), Some(refused));
}

#[test]
fn a_pool_of_nonces_is_not_opened_with_a_key_of_the_other_curve() {
    let [_, bip340, ed25519] = keys().map(|group| {
        let opened = group[&id(1)].open(id(1)).unwrap();
        FrostKey::of(&group[&id(1)].public, &opened).ok()
    });
    let (bip340, ed25519) = (bip340.unwrap(), ed25519.unwrap());
    for (key, other) in [(&bip340, &ed25519), (&ed25519, &bip340)] {
        let pool = NoncePool::generate(key, 0, 2, &mut hedged(id(1), 1)).unwrap();
        let record = pool.record().unwrap();
        assert_eq!(NoncePool::open(other, 0, &record).err(), Some(PoolError::OtherKey));
        assert!(NoncePool::open(key, 0, &record).is_ok());
    }
}

/// What party 2 answers to R1 of all in a session of `group`, if it goes on with `key`, which may be another's.
fn answered(group: &Group<AnyGroup>, key: &Opened) -> Result<Vec<u8>, Failure> {
    let mut buffer = [0; MAX_MESSAGE];
    let mut nonces = Vec::new();
    for me in [id(1), id(3)] {
        let own = group[&me].open(me).unwrap();
        let nonce = match suite_of(group).is_ecdsa() {
            true => ecdsa_signer(&own).unwrap().nonce_message(&mut buffer).unwrap().to_vec(),
            false => schnorr_signer(&own).unwrap().nonce_message(&mut buffer).unwrap().to_vec(),
        };
        nonces.push((me, nonce));
    }
    let own = group[&id(2)].open(id(2)).unwrap();
    let share = match suite_of(group).is_ecdsa() {
        true => ecdsa_signer(&own).unwrap().handle_nonces(key, &nonces),
        false => schnorr_signer(&own).unwrap().handle_nonces(key, &nonces),
    };
    share.map(|share| share.unwrap().encode(&mut buffer).unwrap().to_vec())
}

/// Types alone do not keep them apart any more.
#[test]
fn a_session_does_not_go_on_with_a_key_of_another_suite() {
    let groups = keys();
    for (group, other) in (0..9).map(|pair| (pair / 3, pair % 3)) {
        let key = groups[other][&id(2)].open(id(2)).unwrap();
        let answer = answered(&groups[group], &key);
        match group == other {
            true => assert!(answer.is_ok()),
            false => assert_eq!(answer, Err(Failure::Refused(Refusal::OtherProtocol))),
        }
    }
}
