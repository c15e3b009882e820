//! Derived keys: every quorum signs for a descendant and nobody else's key fits, an independent BIP-32
//! finds the same addresses, and a party that is shown another descendant spoils the signature and no more.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use quorate_core::curve::{EcdsaGroup as _, Group as _, P256};
use quorate_core::derive::{Derivation, DeriveError, DerivedKey};
use quorate_core::ecdsa::{Failure, SignError, SignTerms};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::ethereum::address;
use quorate_core::session::{Abort, Protocol, Refusal};
use quorate_tests::chain::javascript;
use quorate_tests::judge::{accepts, accepts_p256};
use quorate_tests::simulator::forge::kind;
use quorate_tests::simulator::*;
use sha2::{Digest as _, Sha256};

const DIGEST: [u8; 32] = [7; 32];

fn set(ids: &[u16]) -> PartySet {
    ids.iter().map(|number| id(*number)).collect()
}

fn path(text: &str) -> Derivation {
    Derivation::Path(text.parse().unwrap())
}

fn context(text: &str) -> Derivation {
    Derivation::Context(text.parse().unwrap())
}

fn calm(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

fn honest(packet: Packet) -> Vec<Packet> {
    vec![packet]
}

/// The descendant, after every holder has come to the same one.
fn derived<C: quorate_core::curve::Group>(
    group: &Group<C>,
    derivation: &Derivation,
) -> DerivedKey<C> {
    let of = |stored: &Stored<C>| stored.public.extended().unwrap().derive(derivation).unwrap();
    let first = of(group.values().next().unwrap());
    assert!(group.values().all(|stored| of(stored) == first));
    first
}

#[test]
fn a_signature_for_a_descendant_verifies_under_its_key_only() {
    let group = group(4, 2, 1);
    let all =
        [Derivation::Root, path("m/0"), path("m/0/5"), path("m/2147483647/1"), context("rent")];
    let keys = all.map(|derivation| derived(&group, &derivation).encoded().0);
    for (place, derivation) in all.into_iter().enumerate() {
        for quorum in [&[1u16, 2, 3][..], &[1, 2, 4], &[1, 3, 4], &[2, 3, 4]] {
            let (quorum, seed) = (set(quorum), place as u64);
            let mut network = calm(seed);
            let done =
                sign_derived(&group, derivation, quorum, DIGEST, seed, &mut network, &mut honest);
            let signature = done.signature.unwrap();
            for (other, key) in keys.iter().enumerate() {
                assert_eq!(accepts(key, DIGEST, &signature).is_ok(), other == place);
            }
        }
    }
}

#[test]
fn descendants_on_p256_by_context() {
    let group = group_on::<P256>(PartySet::first(4), 2, 1);
    let message = b"an ordinary message";
    let digest = Sha256::digest(message).into();
    let sign = |derivation| {
        sign_derived(&group, derivation, set(&[1, 3, 4]), digest, 1, &mut calm(1), &mut honest)
    };
    let root = P256::coordinates(&derived(&group, &Derivation::Root).point()).unwrap();
    for text in ["device 1", "device 2"] {
        let key = P256::coordinates(&derived(&group, &context(text)).point()).unwrap();
        let signature = sign(context(text)).signature.unwrap();
        assert!(accepts_p256(&key.0, message, &signature), "{text}");
        assert!(!accepts_p256(&root.0, message, &signature), "{text}");
    }
    // Wallets know no paths there, so neither do we.
    let refused = sign(path("m/0"));
    let no_paths =
        SignError::Derivation(DeriveError::NoPaths(quorate_core::curve::Suite::EcdsaP256));
    for me in [1, 3, 4] {
        assert_eq!(refused.not_started.get(&id(me)), Some(&no_paths));
    }
    assert_eq!(refused.signature, None);
}

#[test]
fn ethers_finds_the_same_addresses_from_the_xpub() {
    for seed in [1, 2] {
        let group = group(4, 2, seed);
        let root = group[&id(1)].public.extended::<Curve>().unwrap();
        let paths = ["0", "1", "0/5", "44/60/0/0/2147483647", "1/2/3/4/5/6/7/8/9/10"];
        let ours = paths.map(|text| {
            let key = root.derive(&path(&format!("m/{text}"))).unwrap();
            address(&Curve::coordinates(&key.point()).unwrap().0).to_string()
        });
        let xpub = root.xpub().unwrap();
        let line = javascript("derive.mjs", &[&[xpub.as_str()][..], &paths].concat());
        let theirs: Vec<String> = serde_json::from_str(&line).unwrap();
        assert_eq!(theirs, ours, "seed {seed}, {xpub}");
    }
}

/// A coordinator shows party 4 another descendant. Its D0 differs, so the others say so before any share
/// leaves; nobody is called a culprit, since the liar is the coordinator, whom this does not prove.
#[test]
fn another_descendant_shown_to_one_signer() {
    let group = group(4, 2, 1);
    let quorum = set(&[1, 2, 4]);
    for (shown, lie) in [
        (path("m/0"), path("m/1")),
        (Derivation::Root, path("m/0")),
        (path("m/0"), Derivation::Root),
        (path("m/0"), context("m/0")),
        (path("m/0/1"), path("m/0")),
    ] {
        for seed in 0..8 {
            let show = |me: PartyId| {
                let derivation = if me == id(4) { lie } else { shown };
                let coordinator = id(1);
                let terms = SignTerms { quorum, coordinator, derivation, digest: DIGEST };
                (terms, quorum.iter().map(|party| (party, salt_of(party, seed))).collect())
            };
            let mut network = calm(seed);
            let done = sign_with(&group, id(1), &show, seed, &mut network, &mut honest);
            assert_eq!(done.signature, None);
            for me in [1, 2] {
                let dropped = (id(me), id(4), Failure::Refused(Refusal::OtherSession));
                assert!(done.refused.contains(&dropped), "party {me}, seed {seed}");
            }
            assert!(done.aborted.is_empty() && done.failed.is_none());
            let share = |packet: &Packet| kind(packet) == Some((Protocol::Ecdsa, 2));
            assert!(!network.sent.iter().any(share), "a share left, seed {seed}");
        }
    }
}

/// A corrupt party 4 agrees to one descendant and moves its share towards another: the shares do not fit,
/// and nothing is released.
#[test]
fn a_party_that_signs_for_another_descendant_spoils_the_signature() {
    use quorate_tests::simulator::forge::{Share, changed};
    let group = group(4, 2, 1);
    let quorum = set(&[1, 2, 4]);
    for seed in 0..8 {
        let mut attack = |packet: Packet| {
            if packet.from != id(4) || kind(&packet) != Some((Protocol::Ecdsa, 2)) {
                return vec![packet];
            }
            vec![changed(packet, |share: &mut Share| {
                let nu = Curve.scalar_from_bytes(&share.nu).unwrap();
                let other = *derived(&group, &path("m/1")).tweak();
                share.nu = Curve::scalar_to_bytes(&(nu + other));
            })]
        };
        let mut network = calm(seed);
        let done =
            sign_derived(&group, path("m/0"), quorum, DIGEST, seed, &mut network, &mut attack);
        assert_eq!(done.signature, None, "seed {seed}");
        assert_eq!(done.failed, Some(Abort::InvalidSignature(quorum)));
    }
}
