//! Wycheproof's vectors held against our verification and our parsing of scalars and points. Where we are
//! stricter by design, the test names every single vector that we refuse, and why.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use base64::Engine as _;
use quorate_core::curve::{EcdsaGroup, Ed25519, Fixed, Group as _, P256, PointBytes, Secp256k1};
use quorate_core::schnorr::verify;
use quorate_core::wire::Bytes64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<G> {
    number_of_tests: usize,
    test_groups: Vec<G>,
}

/// A group of signatures under one key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signatures<K> {
    public_key: K,
    tests: Vec<Signature>,
}

#[derive(Deserialize)]
struct EcKey {
    uncompressed: String,
}

#[derive(Deserialize)]
struct EdKey {
    pk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    tc_id: u32,
    flags: Vec<String>,
    msg: String,
    sig: String,
    result: String,
}

/// A group of public keys as they come from a peer.
#[derive(Deserialize)]
struct Agreements<K> {
    tests: Vec<Agreement<K>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agreement<K> {
    tc_id: u32,
    flags: Vec<String>,
    public: K,
    result: String,
}

fn read<G: DeserializeOwned>(name: &str) -> File<G> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/wycheproof");
    let text = std::fs::read_to_string(format!("{folder}/{name}_test.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// The point with these coordinates, as our short form names it, and only if it has them.
fn point<C: EcdsaGroup + Fixed>(x: &[u8], y: &[u8]) -> Option<C::Point> {
    let mut short = PointBytes([2 + (y.last()? & 1); 33]);
    short.0[1..].copy_from_slice(x);
    let point = C::default().point_from_bytes(&short)?;
    // Off the curve, x and a sign may still name a point, but not the one that was claimed.
    (C::coordinates(&point)?.0 == [x, y].concat()[..]).then_some(point)
}

/// The point that is an uncompressed SEC1 point.
fn uncompressed<C: EcdsaGroup + Fixed>(bytes: &[u8]) -> Option<C::Point> {
    let both = <&[u8; 64]>::try_from(bytes.strip_prefix(&[4])?).ok()?;
    let (x, y) = both.split_at(32);
    point::<C>(x, y)
}

/// Our verdict on r ‖ s, as a verifier that is built on our parsing would come to it.
fn accepts<C: EcdsaGroup + Fixed>(key: &C::Point, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <&[u8; 64]>::try_from(signature) else { return false };
    let (r, s) = signature.split_at(32);
    let (r, s) = (r.try_into().unwrap(), s.try_into().unwrap());
    let (Some(r), Some(s)) = (C::default().scalar_from_bytes(r), C::default().scalar_from_bytes(s))
    else {
        return false;
    };
    C::verify(key, &Sha256::digest(message).into(), &r, &s)
}

/// Goes through an ECDSA file; returns the valid signatures that we refuse. Nothing invalid is accepted.
fn refused<C: EcdsaGroup + Fixed>(name: &str, form: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u32> {
    let file: File<Signatures<EcKey>> = read(name);
    let (mut seen, mut refused) = (0, Vec::new());
    for group in &file.test_groups {
        let key = uncompressed::<C>(&bytes(&group.public_key.uncompressed)).unwrap();
        for test in &group.tests {
            let taken = form(&bytes(&test.sig))
                .is_some_and(|signature| accepts::<C>(&key, &bytes(&test.msg), &signature));
            match test.result.as_str() {
                "valid" if !taken => refused.push(test.tc_id),
                "valid" => {}
                "invalid" => assert!(!taken, "{name} {}: {:?}", test.tc_id, test.flags),
                other => unreachable!("{name} {}: {other}", test.tc_id),
            }
            seen += 1;
        }
    }
    assert_eq!(seen, file.number_of_tests);
    refused
}

/// Strict DER, as libsecp256k1 reads it: we parse no DER ourselves, and get signatures as r ‖ s.
fn from_der(signature: &[u8]) -> Option<Vec<u8>> {
    let parsed = secp256k1::ecdsa::Signature::from_der(signature).ok()?;
    Some(parsed.serialize_compact().to_vec())
}

#[test]
fn ecdsa_on_p256() {
    assert_eq!(
        refused::<P256>("ecdsa_secp256r1_sha256_p1363", |raw| Some(raw.to_vec())),
        Vec::<u32>::new()
    );
}

#[test]
fn ecdsa_on_secp256k1_as_bitcoin_has_it() {
    assert_eq!(refused::<Secp256k1>("ecdsa_secp256k1_sha256_bitcoin", from_der), Vec::<u32>::new());
}

/// The file without the rule of low s: exactly the signatures with a high one are refused (BIP-146, EIP-2).
#[test]
fn ecdsa_on_secp256k1_is_refused_for_a_high_s_alone() {
    const NAME: &str = "ecdsa_secp256k1_sha256_p1363";
    let refused = refused::<Secp256k1>(NAME, |raw| Some(raw.to_vec()));
    assert_eq!(refused, HIGH_S);
    let file: File<Signatures<EcKey>> = read(NAME);
    for group in &file.test_groups {
        let key = uncompressed::<Secp256k1>(&bytes(&group.public_key.uncompressed)).unwrap();
        for test in group.tests.iter().filter(|test| HIGH_S.contains(&test.tc_id)) {
            let mut signature = bytes(&test.sig);
            let s = Secp256k1.scalar_from_bytes(signature[32..].try_into().unwrap()).unwrap();
            assert!(Secp256k1::is_high(&s), "{}", test.tc_id);
            // The other signature of the same pair is taken: nothing else was wrong with this one.
            signature[32..].copy_from_slice(&Secp256k1::scalar_to_bytes(&-s));
            assert!(accepts::<Secp256k1>(&key, &bytes(&test.msg), &signature), "{}", test.tc_id);
        }
    }
}

const HIGH_S: [u32; 72] = [
    1, 62, 63, 64, 66, 67, 68, 70, 72, 74, 75, 76, 78, 81, 83, 85, 87, 88, 89, 90, 95, 96, 97, 100,
    102, 112, 113, 115, 117, 134, 135, 136, 167, 168, 171, 172, 173, 174, 176, 177, 181, 187, 188,
    192, 196, 198, 200, 202, 206, 207, 212, 213, 221, 222, 226, 227, 228, 229, 231, 232, 233, 234,
    235, 237, 238, 239, 240, 241, 242, 243, 247, 252,
];

#[test]
fn ed25519() {
    let file: File<Signatures<EdKey>> = read("ed25519");
    let (mut seen, mut refused) = (0, Vec::new());
    for group in &file.test_groups {
        let key: [u8; 32] = bytes(&group.public_key.pk).try_into().unwrap();
        for test in &group.tests {
            let signature = <[u8; 64]>::try_from(bytes(&test.sig)).ok();
            let taken = signature.is_some_and(|signature| {
                verify::<Ed25519>(&key, &bytes(&test.msg), &Bytes64(signature))
            });
            match test.result.as_str() {
                "valid" if !taken => refused.push(test.tc_id),
                "valid" => {}
                "invalid" => assert!(!taken, "{}: {:?}", test.tc_id, test.flags),
                other => unreachable!("{}: {other}", test.tc_id),
            }
            seen += 1;
        }
    }
    assert_eq!(seen, file.number_of_tests);
    // Keys of small or mixed order and cofactored equations, where we are stricter than the RFC must be, do
    // not occur among the valid ones.
    assert_eq!(refused, Vec::<u32>::new());
}

/// Public keys from a peer, for P-256 as SEC1 bytes: whatever is on the curve parses, and nothing else does.
/// Our one form is the short one; of a long one we ask for the point that has its x and its y.
#[test]
fn points_of_p256() {
    let file: File<Agreements<String>> = read("ecdh_secp256r1_ecpoint");
    let mut seen = [0, 0];
    for test in file.test_groups.iter().flat_map(|group| &group.tests) {
        let encoded = bytes(&test.public);
        let parsed = match <[u8; 33]>::try_from(encoded.as_slice()) {
            Ok(short) => P256.point_from_bytes(&PointBytes(short)),
            Err(_) => uncompressed::<P256>(&encoded),
        };
        // "acceptable" is the compressed form, which not everybody takes: we do.
        let expected = test.result != "invalid";
        assert_eq!(parsed.is_some(), expected, "{}: {:?}", test.tc_id, test.flags);
        if let Some(point) = parsed {
            let short = P256::point_to_bytes(&point).unwrap();
            assert_eq!(P256.point_from_bytes(&short), Some(point));
        }
        seen[usize::from(expected)] += 1;
    }
    assert_eq!(seen.iter().sum::<usize>(), file.number_of_tests);
    assert!(seen[0] > 20 && seen[1] > 300, "{seen:?}");
}

#[derive(Deserialize)]
struct Jwk {
    crv: String,
    x: String,
    y: String,
}

/// The same for secp256k1, by coordinates.
#[test]
fn points_of_secp256k1() {
    let file: File<Agreements<Jwk>> = read("ecdh_secp256k1_webcrypto");
    let coordinate = |text: &str| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
    };
    let mut seen = [0, 0];
    for test in file.test_groups.iter().flat_map(|group| &group.tests) {
        let key = &test.public;
        let both: Option<([u8; 32], [u8; 32])> = coordinate(&key.x).zip(coordinate(&key.y));
        let both = both.filter(|_| key.crv == "P-256K");
        let parsed = both.and_then(|(x, y)| point::<Secp256k1>(&x, &y));
        let expected = test.result == "valid";
        assert_eq!(parsed.is_some(), expected, "{}: {:?}", test.tc_id, test.flags);
        seen[usize::from(expected)] += 1;
    }
    assert_eq!(seen.iter().sum::<usize>(), file.number_of_tests);
    assert!(seen[0] > 20 && seen[1] > 400, "{seen:?}");
}
