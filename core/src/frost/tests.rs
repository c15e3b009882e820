//! What needs to look inside: the vectors of others, from the randomness of a nonce to the signature,
//! and the forms in which keys and pools are stored.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use frost_core::keys::{IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

use super::suite::C;
use super::*;
use crate::curve::{Ed25519, Group as _, PointBytes, SchnorrSecp256k1, Suite};
use crate::secret::{HedgedRng, SecretBytes, SecretScalar};
use crate::wire::DecodeError;

/// cfrg/draft-irtf-cfrg-frost, poc/: RFC 9591, appendix E.
const RFC_ED25519: &str = include_str!("../../../tests/vectors/frost-ed25519-sha512.json");
const RFC_SECP256K1: &str = include_str!("../../../tests/vectors/frost-secp256k1-sha256.json");
/// The crate frost-secp256k1-tr, tests/helpers/vectors.json.
const TR: &str = include_str!("../../../tests/vectors/frost-secp256k1-tr.json");

#[test]
fn lists_and_shares_are_read_and_written_as_serde_does() {
    crate::wire::agree!(CommitmentList, SignatureShare);
    crate::wire::written!(CommitmentList, SignatureShare);
}

fn id(number: u16) -> PartyId {
    PartyId::new(number).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn terms<G: FrostSuite>(n: u8, threshold: u8) -> FrostTerms {
    FrostTerms {
        suite: G::SUITE,
        network: [1; 16],
        key: [2; 16],
        epoch: 3,
        parties: PartySet::first(n),
        threshold,
        context: [4; 32],
    }
}

pub(super) fn sign_terms(quorum: PartySet, message: &[u8]) -> SignTerms<Vec<u8>> {
    let message = message.to_vec();
    SignTerms { session: [7; 32], quorum, coordinator: id(1), tweak: Tweak::None, message }
}

pub(super) fn hedged(seed: u8) -> HedgedRng {
    HedgedRng::new(&[seed; 32], &SecretBytes::new([9; 32]), &[0; 32], 0)
}

/// A dealer's key of 2 of 3.
pub(super) fn two_of_three<G: FrostSuite>() -> Vec<FrostKey<G>> {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let (shares, public) =
        generate_with_dealer::<C<G>, _>(3, 2, IdentifierList::Default, &mut rng).unwrap();
    let record = PublicRecord::<8>::import::<G>(terms::<G>(3, 2), &public).unwrap();
    let open = |share| {
        let package = KeyPackage::try_from(share).unwrap();
        let secret = SecretRecord::import::<G, 8>(&record, &package).unwrap();
        FrostKey::<G>::open(&record, secret.party, secret).unwrap()
    };
    shares.into_values().map(open).collect()
}

type Keys<G> = (PublicRecord<8>, Vec<FrostKey<G>>);

/// A key of 2 of 3 whose shares and group key a file of vectors gives.
fn of_vectors<G: FrostSuite>(inputs: &Value, scalar: fn(&[u8; 32]) -> G::Scalar) -> Keys<G> {
    let secrets = [&inputs["group_secret_key"], &inputs["share_polynomial_coefficients"][0]];
    let commitment = secrets
        .map(|secret| G::point_to_bytes(&G::mul_base(&scalar(&array(secret)))).unwrap())
        .into_iter()
        .collect();
    let record: PublicRecord<8> =
        PublicRecord { version: wire::VERSION, terms: terms::<G>(3, 2), commitment };
    let open = |share: &Value| {
        let party = id(share["identifier"].as_u64().unwrap() as u16);
        let scalar = SecretScalar::<G>::new(scalar(&array(&share["participant_share"])));
        let secret = SecretRecord {
            version: wire::VERSION,
            context: record.terms.context(),
            epoch: record.terms.epoch,
            party,
            share: SecretBytes::of_scalar(&scalar),
        };
        FrostKey::<G>::open(&record, party, secret).unwrap()
    };
    let shares = inputs["participant_shares"].as_array().unwrap();
    let keys: Vec<_> = shares.iter().map(open).collect();
    (record, keys)
}

/// Runs a file of vectors through pools, list, shares and aggregation, comparing every value on the way.
fn follows_vectors<G: FrostSuite>(file: &str, key_field: &str) {
    let vectors: Value = serde_json::from_str(file).unwrap();
    let inputs = &vectors["inputs"];
    let (record, keys) =
        of_vectors::<G>(inputs, |bytes| G::default().response_from_bytes(bytes).unwrap());
    let public = FrostPublic::<G>::open(&record).unwrap();
    let written = G::default().to_frost(public.group_key()).unwrap();
    assert_eq!(written, bytes(&inputs[key_field]));

    let firsts = vectors["round_one_outputs"]["outputs"].as_array().unwrap();
    let quorum: PartySet =
        firsts.iter().map(|one| id(one["identifier"].as_u64().unwrap() as u16)).collect();
    let mut offers = Offers::new(&public, id(1));
    let mut pools = Vec::new();
    for first in firsts {
        let party = id(first["identifier"].as_u64().unwrap() as u16);
        let key = keys.iter().find(|key| key.party() == party).unwrap();
        let mut random = ["hiding_nonce_randomness", "binding_nonce_randomness"]
            .map(|name| array(&first[name]))
            .into_iter();
        let pool =
            NoncePool::from_randomness(key, 0, 1, || SecretBytes::new(random.next().unwrap()));
        let pool = pool.unwrap();
        let commitments = pool.commitments(pool.id(), 0).unwrap();
        let written = [commitments.0, commitments.1];
        for (name, commitment) in ["hiding", "binding"].into_iter().zip(written) {
            let name = alloc::format!("{name}_nonce_commitment");
            let written = G::default().to_frost(&commitment).unwrap();
            assert_eq!(written, bytes(&first[name.as_str()]), "{name}");
        }
        // The nonces themselves, as the record stores them: the last 64 bytes.
        let stored = pool.record().unwrap();
        for (place, name) in [(64, "hiding_nonce"), (32, "binding_nonce")] {
            let at = stored.len() - place;
            let nonce =
                G::default().scalar_from_bytes(stored[at..at + 32].try_into().unwrap()).unwrap();
            assert_eq!(G::response_to_bytes(&nonce), array(&first[name]), "{name}");
        }
        let mut buffer = [0; MAX_OFFER];
        offers.take(party, pool.offer(id(1), &mut buffer).unwrap()).unwrap();
        pools.push(pool);
    }

    let terms = sign_terms(quorum, &bytes(&inputs["message"]));
    let mut aggregator = Aggregator::new(&public, terms.clone(), &mut offers).unwrap();
    let mut buffer = vec![0; MAX_LIST];
    let list = aggregator.list_message(&mut buffer).unwrap().to_vec();
    let seconds = vectors["round_two_outputs"]["outputs"].as_array().unwrap();
    let mut signature = None;
    for (second, pool) in seconds.iter().zip(&mut pools) {
        let party = id(second["identifier"].as_u64().unwrap() as u16);
        let key = keys.iter().find(|key| key.party() == party).unwrap();
        let mut signer = Signer::new(key, terms.clone()).unwrap();
        let listed = signer.handle_list(id(1), &list).unwrap();
        let reserved = listed.reserve(key, pool).unwrap();
        let consumed = reserved.persist(|_| Ok::<(), ()>(())).unwrap();
        let share = consumed.sign(key).unwrap();
        let response = G::default().scalar_from_bytes(&share.response).unwrap();
        assert_eq!(G::response_to_bytes(&response), array(&second["sig_share"]));
        let mut buffer = [0; MAX_MESSAGE];
        signature = aggregator.handle_share(party, share.encode(&mut buffer).unwrap()).unwrap();
    }
    let signature = signature.unwrap();
    assert_eq!(signature.0.as_slice(), bytes(&vectors["final_output"]["sig"]));
    let (name, _) = G::name_of(public.group_key()).unwrap();
    assert!(verify::<G>(&name, &terms.message, &signature));
}

#[test]
fn rfc_9591_vectors_for_ed25519() {
    follows_vectors::<Ed25519>(RFC_ED25519, "group_public_key");
}

#[test]
fn the_suite_crates_vectors_for_bip_340() {
    follows_vectors::<SchnorrSecp256k1>(TR, "verifying_key_key");
}

#[test]
fn the_key_of_rfc_9591_for_secp256k1_is_a_key_here() {
    // Its hashes are not those of BIP-340, so its signatures are none for us; its sharing is the same.
    let vectors: Value = serde_json::from_str(RFC_SECP256K1).unwrap();
    let inputs = &vectors["inputs"];
    let (record, keys) = of_vectors::<SchnorrSecp256k1>(inputs, |bytes| {
        SchnorrSecp256k1.scalar_from_bytes(bytes).unwrap()
    });
    assert_eq!(record.commitment[0].0.as_slice(), bytes(&inputs["group_public_key"]));
    assert_eq!(keys.len(), 3);
}

type Dealt<G> = (Vec<KeyPackage<C<G>>>, PublicKeyPackage<C<G>>);

fn dealt<G: FrostSuite>(n: u16, t: u16, seed: u64) -> Dealt<G> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let made = generate_with_dealer::<C<G>, _>(n, t, IdentifierList::Default, &mut rng);
    let (shares, public) = made.unwrap();
    let packages = shares.into_values().map(|share| KeyPackage::try_from(share).unwrap());
    (packages.collect(), public)
}

fn taken_over<G: FrostSuite>(n: u8, t: u8, seed: u64) -> Keys<G> {
    let (packages, public) = dealt::<G>(n.into(), t.into(), seed);
    let record = PublicRecord::import::<G>(terms::<G>(n, t), &public).unwrap();
    let open = |package: &KeyPackage<C<G>>| {
        let secret = SecretRecord::import::<G, 8>(&record, package).unwrap();
        let party = secret.party;
        FrostKey::open(&record, party, secret).unwrap()
    };
    let keys = packages.iter().map(open).collect();
    (record, keys)
}

#[test]
fn a_taken_over_key_is_checked_against_its_terms() {
    type G = SchnorrSecp256k1;
    let (packages, public) = dealt::<G>(4, 3, 1);
    let import = |terms| PublicRecord::<8>::import::<G>(terms, &public).map(|_| ());
    let right = terms::<G>(4, 3);
    assert_eq!(import(right), Ok(()));
    assert_eq!(import(FrostTerms { threshold: 2, ..right }), Err(KeyError::Threshold));
    assert_eq!(import(FrostTerms { threshold: 5, ..right }), Err(KeyError::Threshold));
    assert_eq!(import(FrostTerms { threshold: 1, ..right }), Err(KeyError::Threshold));
    assert_eq!(PublicRecord::<2>::import::<G>(right, &public), Err(KeyError::Threshold));
    let parties = PartySet::first(5);
    assert_eq!(import(FrostTerms { parties, ..right }), Err(KeyError::Parties));
    let parties = PartySet::first(3).with(id(9));
    assert_eq!(import(FrostTerms { parties, ..right }), Err(KeyError::Parties));
    let suite = Suite::SchnorrEd25519;
    assert_eq!(import(FrostTerms { suite, ..right }), Err(KeyError::Suite(suite)));

    // A package that does not say T, as older ones: T of the terms is held against the sharing. A
    // larger one would make Φ's last point the identity, a smaller one does not fit.
    let silent =
        PublicKeyPackage::new(public.verifying_shares().clone(), *public.verifying_key(), None);
    let import = |terms| PublicRecord::<8>::import::<G>(terms, &silent).map(|_| ());
    assert_eq!(import(right), Ok(()));
    assert_eq!(import(FrostTerms { threshold: 2, ..right }), Err(KeyError::OffPolynomial));
    assert_eq!(import(FrostTerms { threshold: 4, ..right }), Err(KeyError::OffPolynomial));

    // Another group key, and the share of one party replaced by another's.
    let (_, other) = dealt::<G>(4, 3, 2);
    let swapped =
        PublicKeyPackage::new(public.verifying_shares().clone(), *other.verifying_key(), Some(3));
    let found = PublicRecord::<8>::import::<G>(right, &swapped);
    assert_eq!(found, Err(KeyError::OffPolynomial));
    for liar in public.verifying_shares().keys() {
        let mut shares = public.verifying_shares().clone();
        shares.insert(*liar, other.verifying_shares()[liar]);
        let package = PublicKeyPackage::new(shares, *public.verifying_key(), Some(3));
        let found = PublicRecord::<8>::import::<G>(right, &package);
        assert_eq!(found, Err(KeyError::OffPolynomial), "{liar:?}");
    }

    // Secret side.
    let record = PublicRecord::<8>::import::<G>(right, &public).unwrap();
    let import = |package: &KeyPackage<C<G>>| {
        SecretRecord::import::<G, 8>(&record, package).map(|secret| secret.party)
    };
    assert_eq!(import(&packages[1]), Ok(id(2)));
    let with = |number: u16, from: &KeyPackage<C<G>>, share: &KeyPackage<C<G>>, least| {
        KeyPackage::new(
            number.try_into().unwrap(),
            *share.signing_share(),
            *from.verifying_share(),
            *from.verifying_key(),
            least,
        )
    };
    let (one, two) = (&packages[0], &packages[1]);
    assert_eq!(import(&with(1, one, two, 3)), Err(KeyError::Share));
    assert_eq!(import(&with(1, one, one, 2)), Err(KeyError::Threshold));
    assert_eq!(import(&with(256, one, one, 3)), Err(KeyError::Identifier));
    assert_eq!(import(&with(257, one, one, 3)), Err(KeyError::Identifier));
    assert_eq!(import(&with(5, one, one, 3)), Err(KeyError::NotAHolder));
    assert_eq!(import(&dealt::<G>(4, 3, 2).0[0]), Err(KeyError::OtherKey));
}

/// A signature of the first `signers` of 14 holders, T = 3, as `frost-core` itself judges it.
fn signed_by<G: FrostSuite>(signers: u8) {
    let (record, keys) = taken_over::<G>(14, 3, 6);
    let public = FrostPublic::<G>::open(&record).unwrap();
    let mut offers = Offers::new(&public, id(1));
    let mut buffer = vec![0; MAX_LIST];
    let mut pools = Vec::new();
    for key in &keys {
        let pool = NoncePool::generate(key, 0, 1, &mut hedged(key.party().number() as u8)).unwrap();
        offers.take(key.party(), pool.offer(id(1), &mut buffer).unwrap()).unwrap();
        pools.push(pool);
    }
    let terms = sign_terms(PartySet::first(signers), b"many");
    let mut aggregator = Aggregator::new(&public, terms.clone(), &mut offers).unwrap();
    let list = aggregator.list_message(&mut buffer).unwrap();
    let mut signature = None;
    for (key, pool) in keys.iter().zip(&mut pools).take(signers.into()) {
        let listed = Signer::new(key, terms.clone()).unwrap().handle_list(id(1), list).unwrap();
        let consumed = listed.reserve(key, pool).unwrap().persist(|_| Ok::<(), ()>(())).unwrap();
        let mut share = [0; MAX_MESSAGE];
        let share = consumed.sign(key).unwrap().encode(&mut share).unwrap().to_vec();
        signature = aggregator.handle_share(key.party(), &share).unwrap();
    }
    let signature = frost_core::Signature::<C<G>>::deserialize(&signature.unwrap().0).unwrap();
    let package = public.to_frost().unwrap();
    package.verifying_key().verify(b"many", &signature).unwrap();
}

#[test]
fn more_members_sign_than_integer_fractions_have_room_for() {
    for signers in [3, 11, 12, 14] {
        signed_by::<SchnorrSecp256k1>(signers);
        signed_by::<Ed25519>(signers);
    }
}

#[test]
fn packages_go_out_and_come_back_as_the_same_key() {
    fn there_and_back<G: FrostSuite>() {
        let (record, keys) = taken_over::<G>(5, 3, 8);
        let public = FrostPublic::<G>::open(&record).unwrap().to_frost().unwrap();
        let again = PublicRecord::<8>::import::<G>(record.terms, &public).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.digest(), record.digest());
        for key in &keys {
            let secret = SecretRecord::import::<G, 8>(&again, &key.to_frost().unwrap()).unwrap();
            assert_eq!(secret.party, key.party());
            assert_eq!(*secret.share.expose(), G::scalar_to_bytes(key.share().expose()));
        }
    }
    there_and_back::<SchnorrSecp256k1>();
    there_and_back::<Ed25519>();
}

#[test]
fn a_record_of_another_key_party_epoch_or_version_does_not_open() {
    type G = Ed25519;
    let (record, keys) = taken_over::<G>(3, 2, 1);
    let secret = |party: u16| SecretRecord {
        version: wire::VERSION,
        context: record.terms.context(),
        epoch: record.terms.epoch,
        party: id(party),
        share: SecretBytes::of_scalar(keys[0].share()),
    };
    let open = |me, secret| FrostKey::<G>::open(&record, id(me), secret).map(|key| key.party());
    assert_eq!(open(1, secret(1)), Ok(id(1)));
    assert_eq!(open(2, secret(1)), Err(KeyError::NotAHolder));
    assert_eq!(open(2, secret(2)), Err(KeyError::Share));
    assert_eq!(open(4, secret(4)), Err(KeyError::NotAHolder));
    let found = open(1, SecretRecord { epoch: 2, ..secret(1) });
    assert_eq!(found, Err(KeyError::Epoch { expected: 3, found: 2 }));
    let found = open(1, SecretRecord { context: [0; 32], ..secret(1) });
    assert_eq!(found, Err(KeyError::OtherKey));
    assert_eq!(open(1, SecretRecord { version: 2, ..secret(1) }), Err(KeyError::Version(2)));
    let share = SecretBytes::new([0xff; 32]);
    assert_eq!(open(1, SecretRecord { share, ..secret(1) }), Err(KeyError::Share));

    let public = |record: &PublicRecord<8>| FrostPublic::<G>::open(record).map(|_| ());
    assert_eq!(public(&record), Ok(()));
    let mut other = record.clone();
    other.version = 2;
    assert_eq!(public(&other), Err(KeyError::Version(2)));
    other = record.clone();
    other.terms.threshold = 1;
    assert_eq!(public(&other), Err(KeyError::Threshold));
    other.terms.threshold = 3;
    assert_eq!(public(&other), Err(KeyError::PublicRecord));
    other.terms.threshold = 4;
    assert_eq!(public(&other), Err(KeyError::Threshold));
    other = record.clone();
    other.commitment[1] = PointBytes([0xed; 33]);
    assert_eq!(public(&other), Err(KeyError::PublicRecord));
    let error = FrostPublic::<SchnorrSecp256k1>::open(&record).map(|_| ());
    assert_eq!(error, Err(KeyError::Suite(Suite::SchnorrEd25519)));
}

#[test]
fn a_stored_pool_opens_for_its_own_key_alone() {
    type G = SchnorrSecp256k1;
    let (record, keys) = taken_over::<G>(3, 2, 1);
    let pool = NoncePool::generate(&keys[0], 5, 3, &mut hedged(1)).unwrap();
    let stored = pool.record().unwrap();
    let open = |key: &FrostKey<G>, incarnation, stored: &[u8]| {
        NoncePool::open(key, incarnation, stored).map(|pool| pool.remaining())
    };
    assert_eq!(open(&keys[0], 5, &stored), Ok(3));
    assert_eq!(open(&keys[1], 5, &stored), Err(PoolError::OtherParty(id(1))));
    let found = open(&keys[0], 6, &stored);
    assert_eq!(found, Err(PoolError::OtherIncarnation { expected: 6, found: 5 }));

    let of_terms = |terms: FrostTerms| {
        let record = PublicRecord { terms, ..record.clone() };
        let share = SecretBytes::of_scalar(keys[0].share());
        let (context, epoch, party) = (terms.context(), terms.epoch, id(1));
        let secret = SecretRecord { version: wire::VERSION, context, epoch, party, share };
        FrostKey::<G>::open(&record, party, secret).unwrap()
    };
    let terms = record.terms;
    let found = open(&of_terms(FrostTerms { epoch: 4, ..terms }), 5, &stored);
    assert_eq!(found, Err(PoolError::OtherEpoch { expected: 4, found: 3 }));
    for other in [
        FrostTerms { key: [5; 16], ..terms },
        FrostTerms { key: [5; 16], epoch: 4, ..terms },
        FrostTerms { network: [5; 16], ..terms },
        FrostTerms { context: [5; 32], ..terms },
        FrostTerms { parties: PartySet::first(4), ..terms },
    ] {
        assert_eq!(open(&of_terms(other), 5, &stored), Err(PoolError::OtherKey));
    }
    let (_, others) = taken_over::<Ed25519>(3, 2, 1);
    let found = NoncePool::open(&others[0], 5, &stored).map(|pool| pool.remaining());
    assert_eq!(found, Err(PoolError::OtherKey));
}

#[test]
fn bytes_that_are_no_pool_are_refused() {
    type G = SchnorrSecp256k1;
    let (_, keys) = taken_over::<G>(3, 2, 1);
    let stored = NoncePool::generate(&keys[0], 0, 2, &mut hedged(1)).unwrap().record().unwrap();
    let open = |stored: &[u8]| NoncePool::open(&keys[0], 0, stored).map(|pool| pool.remaining());
    let decode = |error| Err(PoolError::Decode(error));
    for length in 0..stored.len() {
        assert_eq!(open(&stored[..length]), decode(DecodeError::Malformed), "{length}");
    }
    let mut longer = stored.to_vec();
    longer.push(0);
    assert_eq!(open(&longer), decode(DecodeError::Trailing));
    assert_eq!(open(&vec![1; MAX_POOL + 1]), decode(DecodeError::TooLong));
    let mut other = stored.to_vec();
    other[0] = 2;
    assert_eq!(open(&other), decode(DecodeError::Version(2)));
    for nonce in [[0xff; 32], [0; 32]] {
        let (mut other, at) = (stored.to_vec(), stored.len() - 32);
        other[at..].copy_from_slice(&nonce);
        assert_eq!(open(&other), decode(DecodeError::Malformed));
    }
    // A pool without any nonce, and one with more than a pool may have.
    let pair = 1 + 64;
    let empty = &stored[..stored.len() - 2 * pair - 1];
    let mut none = empty.to_vec();
    none.push(0);
    assert_eq!(open(&none), Err(PoolError::Size));
    let mut many = empty.to_vec();
    many.push(MAX_NONCES as u8 + 1);
    many.extend((0..=MAX_NONCES).map(|_| 0));
    assert_eq!(open(&many), decode(DecodeError::Malformed));
    for count in [0, MAX_NONCES + 1] {
        let made = NoncePool::generate(&keys[0], 0, count, &mut hedged(1));
        assert_eq!(made.map(|pool| pool.remaining()), Err(PoolError::Size));
    }
}

#[test]
fn the_largest_pool_and_its_offer_have_room() {
    type G = SchnorrSecp256k1;
    let (_, keys) = taken_over::<G>(3, 2, 1);
    let pool = NoncePool::generate(&keys[0], u64::MAX, MAX_NONCES, &mut hedged(1)).unwrap();
    let stored = pool.record().unwrap();
    let again = NoncePool::open(&keys[0], u64::MAX, &stored).unwrap();
    let (mut one, mut two) = ([0; MAX_OFFER], [0; MAX_OFFER]);
    assert_eq!(pool.offer(id(2), &mut one), again.offer(id(2), &mut two));
    assert!(pool.offer(id(2), &mut one).is_ok());
}

#[test]
fn nonces_depend_on_the_share_and_on_the_generator() {
    // The same generator in the same state, as after a restored image: other shares, other nonces.
    type G = Ed25519;
    let (_, keys) = taken_over::<G>(3, 2, 1);
    let commitments = |key: &FrostKey<G>, seed| {
        let pool = NoncePool::generate(key, 0, 1, &mut hedged(seed)).unwrap();
        let (hiding, binding) = pool.commitments(pool.id(), 0).unwrap();
        [hiding, binding]
    };
    let [one, again, other, share] =
        [(0, 1), (0, 1), (0, 2), (1, 1)].map(|(key, seed)| commitments(&keys[key], seed));
    assert_eq!(one, again);
    assert!(one[0] != one[1] && one[0] != other[0] && one[0] != share[0]);
}

#[test]
fn nothing_prints_a_secret() {
    type G = SchnorrSecp256k1;
    let (record, keys) = taken_over::<G>(3, 2, 1);
    let key = &keys[0];
    let secret = SecretRecord::import::<G, 8>(&record, &key.to_frost().unwrap()).unwrap();
    let mut pool = NoncePool::generate(key, 0, 1, &mut hedged(1)).unwrap();
    let stored = pool.record().unwrap();
    let hidden: Vec<Vec<u8>> = vec![
        G::scalar_to_bytes(key.share().expose()).to_vec(),
        stored[stored.len() - 64..stored.len() - 32].to_vec(),
        stored[stored.len() - 32..].to_vec(),
    ];
    let mut printed = alloc::format!("{key:?} {secret:?} {pool:?} {:?}", key.to_frost().unwrap());
    let public = key.public().clone();
    let quorum: PartySet = [1, 2].map(id).into_iter().collect();
    let mut offers = Offers::new(&public, id(1));
    let mut buffer = [0; MAX_OFFER];
    offers.take(id(1), pool.offer(id(1), &mut buffer).unwrap()).unwrap();
    let second = NoncePool::generate(&keys[1], 0, 1, &mut hedged(2)).unwrap();
    offers.take(id(2), second.offer(id(1), &mut buffer).unwrap()).unwrap();
    let terms = sign_terms(quorum, b"m");
    let aggregator = Aggregator::new(&public, terms.clone(), &mut offers).unwrap();
    let mut buffer = vec![0; MAX_LIST];
    let list = aggregator.list_message(&mut buffer).unwrap();
    let listed = Signer::new(key, terms).unwrap().handle_list(id(1), list).unwrap();
    printed += &alloc::format!("{listed:?}");
    let reserved = listed.reserve(key, &mut pool).unwrap();
    printed += &alloc::format!("{reserved:?}");
    let consumed = reserved.persist(|change| {
        printed += &alloc::format!("{change:?}");
        Ok::<(), ()>(())
    });
    printed += &alloc::format!("{:?}", consumed.unwrap());
    for secret in hidden {
        let decimal: Vec<String> = secret.iter().map(|byte| alloc::format!("{byte}")).collect();
        assert!(!printed.contains(&hex::encode(&secret)));
        assert!(!printed.contains(&decimal.join(", ")));
    }
    assert!(printed.contains("SecretScalar(..)") && printed.contains("SecretBytes(..)"));
}
