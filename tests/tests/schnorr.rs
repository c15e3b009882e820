//! Stateless Schnorr held against others: vectors of the standards, and judges that share no code with
//! ours for what the simulated parties sign.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

use std::collections::BTreeSet;

use quorate_core::curve::{
    self, Ed25519, Fixed, Group as _, SchnorrGroup, SchnorrSecp256k1, Secp256k1, Suite,
};
use quorate_core::derive::{Derivation, ExtendedKey};
use quorate_core::key::PublicKey;
use quorate_core::nonce::{Inspected, inspect};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{MAX_PAYLOAD, Tweak, verification_key, verify};
use quorate_core::wire::{self, Bytes64};
use quorate_tests::judge::{accepts_bip340, accepts_ed25519};
use quorate_tests::simulator::schnorr::{sign, terms_of};
use quorate_tests::simulator::*;
use sha2::{Digest as _, Sha256};

/// Where these are from: `vectors/README.md`.
const BIP_340: &str = include_str!("../vectors/bip340.csv");
const BIP_341: &str = include_str!("../vectors/bip341.json");

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn the_group_of_ecdsa_makes_the_same_bip_340_key() {
    // A chip has the code of a key generation once for both suites.
    fn made<C: curve::Group>(suite: Suite) -> Vec<(PublicKey<N>, Vec<u8>, Vec<u8>)> {
        let mut terms = terms_on::<SchnorrSecp256k1>(PartySet::first(4), 2, 6).unwrap();
        terms.suite = suite;
        let mut network = Network::new(6, Weather::default());
        let finished =
            generate_on::<C>(&terms, 6, &mut network, &mut |packet| vec![packet]).finished;
        let of = |stored: Stored<C>| {
            let confirmation = wire::encode(&stored.confirmation, &mut [0; 4096]).unwrap().to_vec();
            (stored.public, stored.sealed, confirmation)
        };
        finished.into_values().map(of).collect()
    }
    let own = made::<SchnorrSecp256k1>(Suite::SchnorrSecp256k1);
    assert_eq!(own.len(), 4);
    assert_eq!(own, made::<Secp256k1>(Suite::SchnorrSecp256k1));
    assert_ne!(own, made::<Secp256k1>(Suite::EcdsaSecp256k1));
    // Each suite's other groups refuse it.
    assert!(SchnorrSecp256k1::maker(Suite::EcdsaSecp256k1).is_none());
    assert!([Suite::SchnorrEd25519, Suite::EcdsaP256].map(Secp256k1::maker) == [None; 2]);
    assert!(Ed25519::maker(Suite::SchnorrSecp256k1).is_none());
}

#[test]
fn bip_340_vectors_verify_as_they_should() {
    let mut seen = [0, 0];
    for line in BIP_340.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (key, message) = (bytes(fields[2]), hex::decode(fields[4]).unwrap());
        let signature = bytes(fields[5]);
        let expected = fields[6] == "TRUE";
        let found = verify::<SchnorrSecp256k1>(&key, &message, &Bytes64(signature));
        assert_eq!(found, expected, "{line}");
        assert_eq!(accepts_bip340(&key, &message, &signature).is_ok(), expected, "{line}");
        seen[usize::from(expected)] += 1;
    }
    assert_eq!(seen, [10, 9]);
}

#[test]
fn bip_340_vectors_with_a_secret_key_fit_our_challenge() {
    // z − c·x is the nonce's secret: its point has the x of the signature.
    type C = SchnorrSecp256k1;
    let mut seen = 0;
    for line in BIP_340.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let Some(secret) = hex::decode(fields[1]).ok().filter(|secret| secret.len() == 32) else {
            continue;
        };
        let x = C::default().scalar_from_bytes(&secret.try_into().unwrap()).unwrap();
        let (name, negated) = C::name(&C::mul_base(&x)).unwrap();
        assert_eq!(name, bytes(fields[2]));
        let (nonce, response) = (bytes(&fields[5][..64]), bytes(&fields[5][64..]));
        let c = C::default().challenge(&nonce, &name, &hex::decode(fields[4]).unwrap());
        let z = C::default().response_from_bytes(&response).unwrap();
        let k = z - c * if negated { -x } else { x };
        assert_eq!(C::name(&C::mul_base(&k)), Some((nonce, false)), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn bip_341_vectors_give_our_output_keys_and_their_signatures_verify() {
    type C = SchnorrSecp256k1;
    let vectors: serde_json::Value = serde_json::from_str(BIP_341).unwrap();
    let root = |value: &serde_json::Value| value.as_str().map(bytes);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let outputs = vectors["scriptPubKey"].as_array().unwrap();
    for one in outputs {
        let internal = C::default().named(&bytes(&text(&one["given"]["internalPubkey"]))).unwrap();
        let merkle_root = root(&one["intermediary"]["merkleRoot"]);
        let expected = bytes(&text(&one["intermediary"]["tweakedPubkey"]));
        for point in [internal, -internal] {
            let key = C::point_to_bytes(&point).unwrap();
            let found = verification_key::<C>(&key, &Tweak::Taproot { merkle_root });
            assert_eq!(found, Ok(expected));
        }
    }
    let inputs = vectors["keyPathSpending"][0]["inputSpending"].as_array().unwrap();
    for one in inputs {
        let secret = bytes(&text(&one["given"]["internalPrivkey"]));
        let key = C::mul_base(&C::default().scalar_from_bytes(&secret).unwrap());
        let key = C::point_to_bytes(&key).unwrap();
        let merkle_root = root(&one["given"]["merkleRoot"]);
        let key = verification_key::<C>(&key, &Tweak::Taproot { merkle_root }).unwrap();
        let message: [u8; 32] = bytes(&text(&one["intermediary"]["sigHash"]));
        // The last byte, if there are 65, is the type of the hash.
        let signature = bytes(&text(&one["expected"]["witness"][0])[..128]);
        assert!(verify::<C>(&key, &message, &Bytes64(signature)));
    }
    assert_eq!((outputs.len(), inputs.len()), (7, 7));
}

/// RFC 8032, 7.1: secret, public key, message, signature.
fn rfc_8032() -> Vec<[&'static str; 4]> {
    let rows = include_str!("../vectors/rfc8032.csv").lines().skip(1);
    let vectors: Vec<_> = rows
        .map(|row| {
            let fields: Vec<&str> = row.split(',').skip(1).collect();
            fields.try_into().unwrap()
        })
        .collect();
    assert_eq!(vectors.len(), 5);
    vectors
}

#[test]
fn rfc_8032_vectors_verify_and_fit_our_challenge() {
    for [secret, key, message, signature] in rfc_8032() {
        let expanded = sha2::Sha512::digest(hex::decode(secret).unwrap());
        let (key, message) = (bytes(key), hex::decode(message).unwrap());
        let signature: [u8; 64] = bytes(signature);
        assert!(verify::<Ed25519>(&key, &message, &Bytes64(signature)), "{secret}");
        accepts_ed25519(&key, &message, &signature).unwrap();
        let mut scalar: [u8; 32] = expanded[..32].try_into().unwrap();
        scalar = curve25519_dalek::scalar::clamp_integer(scalar);
        scalar.reverse();
        let a = Ed25519.scalar_from_digest(&scalar);
        assert_eq!(Ed25519::name(&Ed25519::mul_base(&a)), Some((key, false)));
        let mut wide: [u8; 64] = sha2::Sha512::new()
            .chain_update(&expanded[32..])
            .chain_update(&message)
            .finalize()
            .into();
        let r = curve25519_dalek::Scalar::from_bytes_mod_order_wide(&wide);
        wide.copy_from_slice(&signature);
        let c = Ed25519.challenge(&wide[..32].try_into().unwrap(), &key, &message);
        assert_eq!(Ed25519::response_to_bytes(&(r + c * a)), wide[32..]);
    }
}

#[test]
fn a_damaged_signature_key_or_message_does_not_verify() {
    fn damaged<G: SchnorrGroup + Fixed>() {
        let group = group_on::<G>(PartySet::first(3), 2, 1);
        let (key, signature) = signed::<G>(&group, PartySet::first(3), b"message", Tweak::None, 1);
        assert!(verify::<G>(&key, b"message", &Bytes64(signature)));
        assert!(!verify::<G>(&key, b"massage", &Bytes64(signature)));
        for bit in 0..512 {
            let (mut other, mut other_key) = (signature, key);
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify::<G>(&key, b"message", &Bytes64(other)), "bit {bit}");
            other_key[bit / 16] ^= 1 << (bit / 2 % 8);
            assert!(!verify::<G>(&other_key, b"message", &Bytes64(signature)), "bit {bit}");
        }
    }
    damaged::<SchnorrSecp256k1>();
    damaged::<Ed25519>();
}

#[test]
fn an_ed25519_response_above_the_order_does_not_verify() {
    let [_, key, message, signature] = rfc_8032()[1];
    let (key, message, mut high) = (bytes(key), hex::decode(message).unwrap(), bytes(signature));
    // z + p, in little-endian.
    let mut order = Ed25519::scalar_to_bytes(&-curve25519_dalek::Scalar::ONE);
    order.reverse();
    let mut carry = 1;
    for (digit, add) in high[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        (*digit, carry) = (sum as u8, sum >> 8);
    }
    assert!(!verify::<Ed25519>(&key, &message, &Bytes64(high)));
    assert!(accepts_ed25519(&key, &message, &high).is_err());
}

/// A signature in fair weather, with the key that it is for.
fn signed<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    quorum: PartySet,
    message: &[u8],
    tweak: Tweak,
    seed: u64,
) -> ([u8; 32], [u8; 64]) {
    let mut network = Network::new(seed, Weather { reorder: true, ..Weather::default() });
    let shown = terms_of(quorum, message, tweak, seed);
    let done = sign::<G>(group, &shown, &mut network, &mut |packet| vec![packet]);
    let public = &group.values().next().unwrap().public;
    let key = verification_key::<G>(public.group_key().unwrap(), &tweak).unwrap();
    let signature = done.signature.unwrap_or_else(|| {
        unreachable!("seed {seed}, {quorum:?}: {:?} {:?}", done.failed, done.aborted)
    });
    (key, signature.0)
}

/// Descendants sign under their own keys, with the tweak of BIP-341 on top where there is one.
fn descendants<G: SchnorrGroup + Fixed>(
    derivations: &[Derivation],
    tweaks: &[Tweak],
    accepts: impl Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool,
) {
    let (mut keys, mut points) = (BTreeSet::new(), BTreeSet::new());
    let mut sessions = 0;
    for key_seed in 1..=3 {
        let group = group_on::<G>(PartySet::first(4), 2, key_seed);
        let root = group[&id(1)].public.extended::<G>().unwrap();
        for (derivation, tweak) in
            derivations.iter().flat_map(|derivation| tweaks.iter().map(move |t| (derivation, t)))
        {
            let quorum = [1, 2, 4].map(id).into_iter().collect();
            // The same message and salts throughout: only the descendant keeps the nonces apart.
            let (mut terms, salts) = terms_of(quorum, b"to a descendant", *tweak, 1);
            terms.derivation = *derivation;
            let mut network = Network::new(1, Weather { reorder: true, ..Weather::default() });
            let done = sign::<G>(&group, &(terms, salts), &mut network, &mut |p| vec![p]);
            let derived = root.derive(derivation).unwrap();
            let name = verification_key::<G>(derived.encoded(), tweak).unwrap();
            let signature = done.signature.unwrap().0;
            assert!(accepts(&name, b"to a descendant", &signature), "{derivation}, {tweak:?}");
            assert!(verify::<G>(&name, b"to a descendant", &Bytes64(signature)));
            for other in &keys {
                assert!(!verify::<G>(other, b"to a descendant", &Bytes64(signature)));
            }
            assert!(keys.insert(name), "two descendants have one key");
            let first = network.sent.iter().find(|packet| packet.from == id(2)).unwrap();
            let Ok(Inspected::Nonce { point, .. }) = inspect(&first.bytes) else { unreachable!() };
            points.insert(point.0);
            sessions += 1;
        }
    }
    assert_eq!((keys.len(), points.len()), (sessions, sessions), "a nonce for each");
}

#[test]
fn descendants_sign_whatever_the_parities_and_the_judges_agree() {
    let context = |text: &str| Derivation::Context(text.parse().unwrap());
    let path = |text: &str| Derivation::Path(text.parse().unwrap());
    let tweaks = [Tweak::None, Tweak::Taproot { merkle_root: None }];
    descendants::<SchnorrSecp256k1>(
        &[Derivation::Root, path("m/0/0"), path("m/0/1"), path("m/1"), context("rent")],
        &tweaks,
        |key, message, signature| accepts_bip340(key, message, signature).is_ok(),
    );
    descendants::<Ed25519>(
        &[Derivation::Root, context("rent"), context("wages"), context("m/0")],
        &tweaks[..1],
        |key, message, signature| accepts_ed25519(key, message, signature).is_ok(),
    );
    // Paths are those of the same point under ECDSA's suite, which is held against BIP-32's vectors.
    let group = group_on::<SchnorrSecp256k1>(PartySet::first(4), 2, 1);
    let root = group[&id(1)].public.extended::<SchnorrSecp256k1>().unwrap();
    let chain_code = group[&id(1)].public.chain_code();
    let same = ExtendedKey::new(Secp256k1, root.encoded(), chain_code).unwrap();
    let path = path("m/86/0/5");
    assert_eq!(root.derive(&path).unwrap().encoded(), same.derive(&path).unwrap().encoded());
    assert_eq!(root.xpub(), same.xpub());
}

fn subsets(n: u8, size: usize) -> Vec<PartySet> {
    (0u32..1 << n)
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| (1..=u16::from(n)).filter(|i| mask >> (i - 1) & 1 == 1).map(id).collect())
        .collect()
}

#[test]
fn every_quorum_signs_for_odd_and_even_keys_and_libsecp256k1_agrees() {
    let mut parities = [0, 0];
    for (n, t, seed) in [(3, 2, 1), (3, 2, 2), (4, 2, 3), (4, 2, 4), (4, 2, 5), (7, 3, 6)] {
        let group = group_on::<SchnorrSecp256k1>(PartySet::first(n), t, seed);
        let tag = group[&id(1)].public.group_key().unwrap().0[0];
        parities[usize::from(tag & 1)] += 1;
        for (seed, quorum) in subsets(n, 2 * usize::from(t) - 1).into_iter().enumerate() {
            let message = [seed as u8; 32];
            let (key, signature) =
                signed::<SchnorrSecp256k1>(&group, quorum, &message, Tweak::None, seed as u64);
            assert_eq!(key, group[&id(1)].public.group_key().unwrap().0[1..]);
            accepts_bip340(&key, &message, &signature).unwrap();
        }
    }
    assert!(parities[0] > 0 && parities[1] > 0, "{parities:?}");
}

/// The output key as libsecp256k1 computes it, with a tag hash that is written down here again.
fn taproot_judge(internal: &[u8; 32], root: Option<&[u8; 32]>) -> ([u8; 32], bool) {
    let tag = Sha256::digest("TapTweak");
    let hash = Sha256::new().chain_update(tag).chain_update(tag).chain_update(internal);
    let tweak: [u8; 32] = hash.chain_update(root.map_or(&[][..], |root| root)).finalize().into();
    let internal = secp256k1::XOnlyPublicKey::from_byte_array(*internal).unwrap();
    let tweak = secp256k1::Scalar::from_be_bytes(tweak).unwrap();
    let (key, parity) = internal.add_tweak(&secp256k1::Secp256k1::new(), &tweak).unwrap();
    (key.serialize(), parity == secp256k1::Parity::Odd)
}

#[test]
fn taproot_keys_sign_whatever_the_parities_and_libsecp256k1_agrees() {
    let mut parities = [[0, 0], [0, 0]];
    for key_seed in [1, 2, 3, 4] {
        let group = group_on::<SchnorrSecp256k1>(PartySet::first(4), 2, key_seed);
        let internal = group[&id(1)].public.group_key().unwrap().0;
        for seed in 0..6u8 {
            let merkle_root = (seed > 0).then_some([seed; 32]);
            let tweak = Tweak::Taproot { merkle_root };
            let quorum = subsets(4, 3)[usize::from(seed % 4)];
            let (key, signature) =
                signed::<SchnorrSecp256k1>(&group, quorum, b"spend", tweak, u64::from(seed));
            let x = internal[1..].try_into().unwrap();
            let (expected, odd) = taproot_judge(x, merkle_root.as_ref());
            assert_eq!(key, expected);
            accepts_bip340(&key, b"spend", &signature).unwrap();
            parities[usize::from(internal[0] & 1)][usize::from(odd)] += 1;
        }
    }
    assert!(parities.iter().flatten().all(|count| *count > 0), "{parities:?}");
}

#[test]
fn every_quorum_signs_with_ed25519_and_ring_and_dalek_agree() {
    for (n, t, seed) in [(3, 2, 1), (4, 2, 2), (7, 3, 3)] {
        let group = group_on::<Ed25519>(PartySet::first(n), t, seed);
        for (seed, quorum) in subsets(n, 2 * usize::from(t) - 1).into_iter().enumerate() {
            let message = vec![7; seed * 37];
            let (key, signature) =
                signed::<Ed25519>(&group, quorum, &message, Tweak::None, seed as u64);
            accepts_ed25519(&key, &message, &signature).unwrap();
        }
    }
}

#[test]
fn scattered_identifiers_and_the_longest_message() {
    let parties: PartySet = [3, 8, 40, 41, 99, 128, 254, 255].map(id).into_iter().collect();
    let quorum: PartySet = [3, 40, 41, 99, 254].map(id).into_iter().collect();
    let message = vec![0xa5; MAX_PAYLOAD];
    let group = group_on::<Ed25519>(parties, 3, 1);
    let (key, signature) = signed::<Ed25519>(&group, quorum, &message, Tweak::None, 1);
    accepts_ed25519(&key, &message, &signature).unwrap();
    let group = group_on::<SchnorrSecp256k1>(parties, 3, 1);
    let (key, signature) = signed::<SchnorrSecp256k1>(&group, quorum, &message, Tweak::None, 1);
    accepts_bip340(&key, &message, &signature).unwrap();
}

#[test]
fn signing_in_any_weather_never_gives_a_wrong_signature_and_blames_nobody_for_the_weather() {
    let group = group_on::<Ed25519>(PartySet::first(4), 2, 5);
    let quorum: PartySet = [1, 2, 4].map(id).into_iter().collect();
    let mut made = 0;
    for seed in 0..150 {
        let corrupt = (seed as u32 % 2) * 30;
        let weather = Weather { drop: 20, duplicate: 300, corrupt, reorder: true };
        let mut network = Network::new(seed, weather);
        let shown = terms_of(quorum, b"weather", Tweak::None, seed);
        let done = sign::<Ed25519>(&group, &shown, &mut network, &mut |packet| vec![packet]);
        let key = group[&id(1)].public.group_key().unwrap().0[1..].try_into().unwrap();
        if let Some(signature) = done.signature {
            accepts_ed25519(&key, b"weather", &signature.0).unwrap();
            made += 1;
        }
        if corrupt == 0 {
            assert!(done.failed.is_none() && done.aborted.is_empty(), "seed {seed}");
        }
    }
    assert!(made > 50, "{made}");
}
