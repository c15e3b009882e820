//! `Debug` of every type with a secret in it, walked with planted secrets.

use std::collections::BTreeSet;
use std::fmt;

use quorate_core::curve::{Ed25519, Fixed, Group, P256, Secp256k1};
use quorate_core::dkg::{Output, SessionKey};
use quorate_core::frost::{
    Aggregator, MAX_POOL, NoncePool, Offers, PoolError, SecretRecord, Signer,
};
use quorate_core::key::ShareRecord;
use quorate_core::party::PartySet;
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{SecretBytes, SecretScalar};
use quorate_core::wire;
use quorate_tests::simulator::frost::{forge, hedged, list_of, offer_of, ours, terms_of};
use quorate_tests::simulator::{group_on, id};

use super::drops::frost_key;
use super::sources::{Debug, secret_types};

/// Below the order of every group.
const SECRET: [u8; 32] = *b"\x0b\xad\xc0\xde a needle in every haystack!";

fn scalar<G: Fixed>() -> SecretScalar<G> {
    SecretScalar::new(G::default().scalar_from_bytes(&SECRET).unwrap())
}

fn bytes() -> SecretBytes {
    SecretBytes::new(SECRET)
}

/// Ways in which four bytes of the secret could show: as they are, as hexadecimal, or as numbers, in both
/// byte orders. Four in a row do not come up by chance in a few lines of text.
fn shows_secret(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    let joined: Vec<u8> = text.iter().copied().filter(|c| !b" \n\t".contains(c)).collect();
    SECRET.windows(4).any(|part| {
        let mut reversed = part.to_vec();
        reversed.reverse();
        [part.to_vec(), reversed].iter().any(|part| {
            let decimal: Vec<String> = part.iter().map(u8::to_string).collect();
            let spaced: Vec<String> = part.iter().map(|byte| format!("{byte:02x}")).collect();
            let prefixed: Vec<String> = part.iter().map(|byte| format!("0x{byte:x}")).collect();
            let word = u32::from_be_bytes(part.as_slice().try_into().unwrap()).to_string();
            let texts = [decimal.join(","), hex::encode(part), spaced.join(","), word];
            let mut forms = texts.into_iter().chain([prefixed.join(",")]).map(String::into_bytes);
            contains(&text, &part.to_ascii_lowercase())
                || forms.any(|form| contains(&joined, &form))
        })
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Every type that prints and holds a secret, with the secret in all its places.
fn walk(mut show: impl FnMut(&'static str, &dyn fmt::Debug)) {
    show("secret::SecretBytes", &bytes());
    show("secret::SecretScalar", &scalar::<Secp256k1>());
    show("secret::SecretScalar", &scalar::<P256>());
    show("secret::SecretScalar", &scalar::<Ed25519>());
    show(
        "key::ShareRecord",
        &ShareRecord::<4, 4> {
            epoch: 0,
            share: bytes(),
            pair_seeds: (0..3).map(|_| bytes()).collect(),
            nonce_keys: (0..3).map(|_| bytes()).collect(),
        },
    );
    let (version, context, epoch) = (1, [0; 32], 0);
    let record = SecretRecord { version, context, epoch, party: id(1), share: bytes() };
    show("frost::key::SecretRecord", &record);
    show("frost::key::FrostKey", &frost_key().0);
    show_nonces(&mut show);
    show("dkg::session_key::SessionKey", &SessionKey::new(&bytes()));
    // Its bytes are the encoded private message of a key generation.
    show("dkg::Output", &Output::Send { to: Some(id(2)), bytes: &SECRET });
}

/// A pool whose nonces are the secret, and one of them on its way to a share.
fn show_nonces(show: &mut impl FnMut(&'static str, &dyn fmt::Debug)) {
    let group = group_on::<Ed25519>(PartySet::first(4), 2, 1);
    let keys = ours(&group).unwrap();
    let [first, second] = [0, 1].map(|place: usize| &keys[place]);
    let generated = |key| NoncePool::generate(key, 0, 2, &mut hedged(id(1), 1)).unwrap();
    let mut record: forge::Pool = wire::decode(&generated(first).record().unwrap()).unwrap();
    record.nonces.fill(Some((SECRET, SECRET)));
    let mut buffer = vec![0; MAX_POOL];
    let mut pool = NoncePool::open(first, 0, wire::encode(&record, &mut buffer).unwrap()).unwrap();
    show("frost::pool::NoncePool", &pool);

    let mut offers = Offers::new(first.public(), id(1));
    offers.take(id(1), &offer_of(&pool, id(1))).unwrap();
    offers.take(id(2), &offer_of(&generated(second), id(1))).unwrap();
    let terms = terms_of(PartySet::first(2), b"message", Tweak::None, 1);
    let aggregator = Aggregator::new(first.public(), terms.clone(), &mut offers).unwrap();
    let mut signer = Signer::new(first, terms).unwrap();
    let listed = signer.handle_list(id(1), &list_of(&aggregator)).unwrap();
    let reserved = listed.reserve(first, &mut pool).unwrap();
    show("frost::sign::Reserved", &reserved);
    let consumed = reserved.persist(|change| {
        // The other nonce is in it still.
        assert!(contains(change.record(), &SECRET));
        show("frost::pool::Change", change);
        Ok::<_, PoolError>(())
    });
    show("frost::sign::Consumed", &consumed.unwrap());
}

/// The records that are stored.
const DERIVED: [&str; 2] = ["frost::key::SecretRecord", "key::ShareRecord"];

/// Secret by what stands in their bytes, which no scan of the sources can see.
const BY_CONTENT: [&str; 1] = ["dkg::Output"];

#[test]
fn a_frost_key_does_not_print_its_share() {
    let (key, share) = frost_key();
    let text = format!("{key:?} {key:#?}").to_ascii_lowercase();
    for form in [share, share.iter().rev().copied().collect::<Vec<u8>>().try_into().unwrap()] {
        assert!(!text.contains(&hex::encode(form)), "{text}");
        assert!(!text.contains(&format!("{form:?}")), "{text}");
    }
}

#[test]
fn nothing_prints_a_secret() {
    walk(|name, value| {
        for text in [format!("{value:?}"), format!("{value:#?}"), format!("{value:02x?}")] {
            assert!(!shows_secret(text.as_bytes()), "{name}: {text}");
            // It prints something, so that the walk is not of empty strings.
            assert!(text.len() > 4, "{name}");
        }
    });
}

#[test]
fn no_type_that_prints_is_forgotten() {
    let mut walked = BTreeSet::new();
    walk(|name, _| {
        walked.insert(name.to_owned());
    });
    let found = secret_types();
    let by_hand = found.iter().filter(|ty| ty.debug == Some(Debug::ByHand));
    let expected = by_hand.map(|ty| ty.path.clone());
    let expected = expected.chain(BY_CONTENT.map(str::to_owned));
    // A type that derives prints by the types that are walked; the stored records are walked all the same.
    let expected = expected.chain(DERIVED.map(str::to_owned));
    assert_eq!(walked, expected.collect::<BTreeSet<String>>());
}

#[test]
fn every_form_is_recognised() {
    let of = |text: String| shows_secret(text.as_bytes());
    assert!(of(format!("{SECRET:?}")) && of(format!("{SECRET:#?}")) && of(format!("{SECRET:x?}")));
    assert!(of(format!("{SECRET:02x?}")) && of(format!("{:?}", hex::encode_upper(SECRET))));
    assert!(of(format!("{SECRET:#x?}")) && shows_secret(&SECRET));
    let scalar = Secp256k1.scalar_from_bytes(&SECRET).unwrap();
    assert!(of(format!("{scalar:?}")));
    let scalar = Ed25519.scalar_from_bytes(&SECRET).unwrap();
    assert!(of(format!("{scalar:?}")));
    assert!(!of("SecretBytes(..) 1, 2, 3, 4 and 0badc0d".to_owned()));
}
