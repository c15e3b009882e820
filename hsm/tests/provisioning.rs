//! What a token can do is tried, not believed; what is made in it is reported as the token describes it.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/isolated.rs"]
mod isolated;

use std::process::Command;

use isolated::{PIN, create, isolated, module, wanted};
use quorate_hsm::pkcs11::{
    Config, Curve, PREFERENCE, Pin, Pkcs11Protector, Pkcs11Signer, TokenSelector, Wanted, discard,
    list, probe, provision,
};
use quorate_hsm::{HsmError, HsmSigner, KeyProtector, Profile, PublicKey};

fn pin() -> Pin {
    Pin::new(PIN)
}

/// An id of its own for each.
fn other(id: u8, profile: Option<Profile>, identity: Option<Curve>) -> Wanted {
    Wanted { key_id: vec![id; 4], profile, identity, ..wanted(module(), "a") }
}

fn objects() -> Vec<String> {
    let listed = list(&other(1, None, None).location, pin()).unwrap();
    listed.into_iter().map(|listed| listed.object).collect()
}

#[test]
fn a_probe_leaves_nothing_behind() {
    let Some(dir) = isolated("a_probe_leaves_nothing_behind", &[]) else { return };
    create("a");
    let files = || {
        let tokens = std::fs::read_dir(dir.join("tokens")).unwrap();
        tokens.map(|token| std::fs::read_dir(token.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = files();
    let found = probe(&wanted(module(), "a").location, pin()).unwrap();
    assert_eq!(files(), before);
    assert!(found.session_keys);
    assert_eq!(found.choice().unwrap().0, Profile::TokenGcm);
    assert!(found.token.contains("SoftHSM"), "{found:?}");
    assert_eq!(found.manufacturer, "SoftHSM project");
    let tried: Vec<Profile> = found.profiles.iter().map(|trial| trial.profile).collect();
    assert_eq!(tried, PREFERENCE);
    for trial in found.profiles.iter().filter(|trial| trial.works()) {
        assert_eq!((trial.tag_enforced, trial.aad_enforced), (Some(true), Some(true)));
    }
    assert_eq!(found.profiles[4].note.as_deref(), Some("OAEP with SHA-1"));
}

#[test]
fn keys_are_reported_as_the_token_describes_them() {
    let name = "keys_are_reported_as_the_token_describes_them";
    let Some(_) = isolated(name, &[]) else { return };
    create("a");
    let made = provision(other(1, Some(Profile::CbcHmac), Some(Curve::P256)), pin()).unwrap();
    let kinds: Vec<_> = made.keys.iter().map(|key| (&*key.kind, &*key.label, &*key.id)).collect();
    assert_eq!(
        kinds,
        [
            ("AES", "quorate KEK v1 cbc", "01010101"),
            ("HMAC", "quorate KEK v1 hmac", "01010181"),
            ("P-256", "quorate identity", "01010101"),
        ]
    );
    let may = |index: usize| -> Vec<&str> {
        let said = made.keys[index].attributes.iter();
        said.filter_map(|words| words.strip_prefix("may ")).collect()
    };
    assert_eq!(may(0), ["encrypt", "decrypt"]);
    assert_eq!(may(1), ["sign"]);
    assert_eq!(may(2), ["sign"]);
    for key in &made.keys {
        for words in ["sensitive", "not extractable", "made in the token", "never extractable"] {
            assert!(key.attributes.iter().any(|said| said == words), "{key:?}");
        }
    }
    assert!(made.unprotected.is_empty(), "{:?}", made.unprotected);
    let report = made.report.join("\n");
    for words in ["as asked for", "\"quorate identity\"", "p256:", "wrong associated data refused"]
    {
        assert!(report.contains(words), "{words}: {report}");
    }
}

#[test]
fn without_a_wish_the_best_profile_is_taken() {
    let Some(_) = isolated("without_a_wish_the_best_profile_is_taken", &[]) else { return };
    create("a");
    let made = provision(other(1, None, None), pin()).unwrap();
    assert_eq!(made.config.profile, Profile::TokenGcm);
    assert!(made.report.join("\n").contains("the most preferred one"), "{:?}", made.report);
    assert_eq!(made.capabilities.unwrap().profiles.len(), PREFERENCE.len());
    for profile in [Profile::MessageGcm, Profile::WrapData, Profile::SoftwareEmulation] {
        let refused = provision(other(2, Some(profile), None), pin()).unwrap_err();
        assert!(matches!(refused, HsmError::Unsupported { .. }), "{refused:?}");
    }
    // What was made for a trial that failed is gone.
    assert_eq!(objects(), ["secret key \"quorate KEK v1\""]);
}

#[test]
fn identity_keys_sign_inside_the_token() {
    let Some(_) = isolated("identity_keys_sign_inside_the_token", &[]) else { return };
    create("a");
    for (id, curve) in [(1, Curve::P256), (2, Curve::Ed25519)] {
        let made = provision(other(id, Some(Profile::HmacKdf), Some(curve)), pin()).unwrap();
        let signer = Pkcs11Signer::open(&made.config, pin()).unwrap();
        assert_eq!(Some(signer.public()), made.config.identity);
        let kek = Pkcs11Protector::open(made.config.clone(), pin(), made.canary).unwrap();
        let beside = Pkcs11Signer::beside(&kek).unwrap();
        assert!(beside.describe().contains("identity key"), "{}", beside.describe());
        for signer in [&signer, &beside] {
            let signature = signer.sign(b"message").unwrap();
            assert!(verifies(&signer.public(), b"message", &signature));
            assert!(!verifies(&signer.public(), b"massage", &signature));
        }
        // Another public key than the token's is noticed before anybody relies on it.
        let swapped =
            provision(other(id + 10, Some(Profile::HmacKdf), Some(curve)), pin()).unwrap();
        let config = Config { identity: swapped.config.identity, ..made.config.clone() };
        let refused = Pkcs11Signer::open(&config, pin()).unwrap_err();
        assert!(refused.to_string().contains("which the configuration names"), "{refused}");
        let none = Config { identity: None, ..made.config };
        assert!(Pkcs11Signer::open(&none, pin()).unwrap_err().to_string().contains("no identity"));
    }
}

/// By other libraries than those that the token and the crate use.
fn verifies(public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
    match public {
        PublicKey::Ed25519(key) => {
            UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
        }
        PublicKey::P256(key) => {
            let point = p256::PublicKey::from_sec1_bytes(key).unwrap();
            let point = p256::elliptic_curve::sec1::ToEncodedPoint::to_encoded_point(&point, false);
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes());
            key.verify(message, signature).is_ok()
        }
    }
}

/// Attack: whoever has the public key encrypts a DEK of their own choice and puts the result in place of
/// a share's. Without the identity key it does not open.
#[test]
fn an_oaep_blob_by_another_signer_is_refused() {
    let Some(_) = isolated("an_oaep_blob_by_another_signer_is_refused", &[]) else { return };
    create("a");
    let open = |made: &quorate_hsm::pkcs11::Provisioned, config: Config| {
        Pkcs11Protector::open(config, pin(), made.canary.clone())
    };
    let ours = provision(other(1, Some(Profile::Oaep), None), pin()).unwrap();
    let theirs = provision(other(2, Some(Profile::Oaep), None), pin()).unwrap();
    let dek = quorate_hsm::Dek::random().unwrap();
    let kek = open(&ours, ours.config.clone()).unwrap();
    let wrapped = kek.wrap(&dek, b"aad").unwrap();
    assert_eq!(kek.unwrap(&wrapped, b"aad").unwrap().expose(), dek.expose());
    // Their signature over our ciphertext: well formed, but not by the pinned key.
    let signer = Pkcs11Signer::open(&theirs.config, pin()).unwrap();
    let (head, _) = wrapped.split_last_chunk::<64>().unwrap();
    let hash = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let message = [b"quorate oaep v1", hash(b"aad").as_ref(), head].concat();
    let resign = |signer: &Pkcs11Signer| [head, &signer.sign(&message).unwrap()].concat();
    assert!(kek.unwrap(&resign(&signer), b"aad").is_err());
    // Control: by our own key, if it happens to make the smaller s, it opens; the other form of the same
    // signature does not, so that a wrapped key has one form only.
    let own = Pkcs11Signer::beside(&kek).unwrap();
    let signed = (0..64).map(|_| resign(&own)).find(|bytes| kek.unwrap(bytes, b"aad").is_ok());
    let mut signed = signed.unwrap();
    let smaller = p256::ecdsa::Signature::from_slice(&signed[signed.len() - 64..]).unwrap();
    let larger = p256::ecdsa::Signature::from_scalars(smaller.r(), -smaller.s()).unwrap();
    let start = signed.len() - 64;
    signed[start..].copy_from_slice(&larger.to_bytes());
    assert!(kek.unwrap(&signed, b"aad").is_err());
    // Who swaps the pinned key is noticed at opening.
    let swapped = Config { identity: theirs.config.identity, ..ours.config.clone() };
    assert!(open(&ours, swapped).is_err());
    let none = open(&ours, Config { identity: None, ..ours.config.clone() }).unwrap_err();
    assert!(none.to_string().contains("without an identity key"), "{none}");
}

#[test]
fn what_is_there_is_named_and_only_ours_is_discarded() {
    let name = "what_is_there_is_named_and_only_ours_is_discarded";
    let Some(_) = isolated(name, &[]) else { return };
    create("a");
    let made = provision(other(1, Some(Profile::CbcHmac), Some(Curve::P256)), pin()).unwrap();
    let refused = provision(other(1, None, None), pin()).unwrap_err();
    let HsmError::KeyExists { objects: named, .. } = &refused else { panic!("{refused:?}") };
    let mut named = named.clone();
    named.sort();
    assert_eq!(
        named,
        [
            "private key \"quorate identity\"",
            "public key \"quorate identity\"",
            "secret key \"quorate KEK v1 cbc\"",
            "secret key \"quorate KEK v1 hmac\"",
        ]
    );
    assert!(refused.to_string().contains("discard"), "{refused}");
    let location = made.config.location();
    let kept = [made.config.clone()];
    let in_use = discard(&location, &[1; 4], &kept, pin()).unwrap_err();
    assert!(matches!(in_use, HsmError::NotDiscarded { .. }), "{in_use:?}");
    assert!(matches!(discard(&location, &[], &[], pin()), Err(HsmError::NotDiscarded { .. })));
    // Somebody else's key under the same id protects all of it.
    let tool = |arguments: &[&str]| {
        let done = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(module())
            .args(["--token-label", "a", "--login", "--pin", PIN])
            .args(arguments)
            .status()
            .expect("pkcs11-tool is not installed: run tests/run");
        assert!(done.success());
    };
    tool(&["--id", "01010101", "--keygen", "--key-type", "AES:16", "--label", "theirs"]);
    let strange = discard(&location, &[1; 4], &[], pin()).unwrap_err();
    assert!(strange.to_string().contains("theirs"), "{strange}");
    assert_eq!(objects().len(), 4);
    let two = Pkcs11Protector::open(made.config.clone(), pin(), made.canary.clone()).unwrap_err();
    assert!(matches!(two, HsmError::AmbiguousKey { .. }), "{two:?}");
    tool(&["--delete-object", "--type", "secrkey", "--label", "theirs"]);
    Pkcs11Protector::open(made.config.clone(), pin(), made.canary.clone()).unwrap();
    let second = provision(other(2, Some(Profile::TokenGcm), None), pin()).unwrap();
    assert_eq!(
        discard(&location, &[1; 4], std::slice::from_ref(&second.config), pin()).unwrap().len(),
        4
    );
    assert_eq!(objects(), ["secret key \"quorate KEK v1\""]);
    Pkcs11Protector::open(second.config, pin(), second.canary).unwrap();
    let gone = Pkcs11Protector::open(made.config, pin(), made.canary).unwrap_err();
    assert!(matches!(gone, HsmError::KeyMissing { .. }), "{gone:?}");
    assert_eq!(discard(&location, &[1; 4], &[], pin()).unwrap().len(), 0);
}

#[test]
fn a_profile_does_not_open_what_another_wrapped() {
    let Some(_) = isolated("a_profile_does_not_open_what_another_wrapped", &[]) else { return };
    create("a");
    let made = provision(other(1, Some(Profile::TokenGcm), None), pin()).unwrap();
    for profile in PREFERENCE.into_iter().skip(1) {
        let config = Config { profile, ..made.config.clone() };
        let refused = Pkcs11Protector::open(config, pin(), made.canary.clone());
        assert!(refused.is_err(), "{profile}");
    }
    assert_eq!(made.config.token, TokenSelector::Label("a".into()));
}
