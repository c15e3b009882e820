//! Blobs that move from one KEK to the next, and KEKs that end.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/context.rs"]
mod context;
#[path = "support/isolated.rs"]
mod isolated;

use context::context;
use isolated::{PIN, create, module, wanted};
use quorate_hsm::pkcs11::{
    Curve, Pin, Pkcs11Protector, Pkcs11Signer, Provisioned, Wanted, destroy_kek, list, provision,
};
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{
    Context, HsmError, HsmSigner as _, KeyProtector as _, Profile, open, rewrap, seal,
};

fn kek(version: u32, profile: Profile, identity: Option<Curve>) -> Provisioned {
    let key_id = vec![1, 2, 3, version as u8];
    let profile = Some(profile);
    let wanted = wanted(module(), "a");
    provision(Wanted { key_id, key_version: version, profile, identity, ..wanted }, pin()).unwrap()
}

fn pin() -> Pin {
    Pin::new(PIN)
}

#[test]
fn every_profile_hands_over_to_every_other_in_one_token() {
    let name = "every_profile_hands_over_to_every_other_in_one_token";
    let Some(_) = isolated::isolated(name, &[]) else { return };
    create("a");
    let profiles = [Profile::TokenGcm, Profile::HmacKdf, Profile::CbcHmac, Profile::Oaep];
    let made = profiles.iter().zip(1..).map(|(profile, version)| kek(version, *profile, None));
    let made: Vec<Provisioned> = made.collect();
    let first =
        Pkcs11Protector::open(made[0].config.clone(), pin(), made[0].canary.clone()).unwrap();
    let keks = made.iter().map(|kek| first.beside(kek.config.clone(), kek.canary.clone()).unwrap());
    let keks: Vec<Pkcs11Protector> = keks.collect();
    for old in &keks {
        for new in &keks {
            let blob = seal(old, &context(), b"share").unwrap();
            let moved = rewrap(old, new, &context(), &blob).unwrap();
            assert_eq!(*open(new, &context(), &moved).unwrap(), b"share");
            // The old blob opens as long as its KEK is there, and under no other.
            assert_eq!(*open(old, &context(), &blob).unwrap(), b"share");
            if old.kek() != new.kek() {
                let refused = open(old, &context(), &moved).unwrap_err();
                assert!(matches!(refused, HsmError::WrongKek { .. }), "{refused:?}");
            }
        }
    }
    create("b");
    let mut elsewhere = made[1].config.clone();
    elsewhere.token = quorate_hsm::pkcs11::TokenSelector::Label("b".into());
    let refused = first.beside(elsewhere, made[1].canary.clone()).unwrap_err();
    assert!(matches!(refused, HsmError::Unsupported { .. }), "{refused:?}");
}

#[test]
fn what_cannot_move_is_named_and_a_destroyed_kek_too() {
    let name = "what_cannot_move_is_named_and_a_destroyed_kek_too";
    let Some(dir) = isolated::isolated(name, &[]) else { return };
    create("a");
    let (one, two) = (kek(1, Profile::CbcHmac, Some(Curve::P256)), kek(2, Profile::TokenGcm, None));
    let old = Pkcs11Protector::open(one.config.clone(), pin(), one.canary.clone()).unwrap();
    let new = old.beside(two.config.clone(), two.canary.clone()).unwrap();
    let software = SoftwareProtector::create(&dir.join("kek"), SoftwareSecret::KeyFile).unwrap();
    let blob = seal(&old, &context(), b"share").unwrap();
    let other = Context { party: 3, ..context() };
    let refused = rewrap(&old, &new, &other, &blob).unwrap_err();
    assert!(matches!(refused, HsmError::WrongContext { field: "party", .. }), "{refused:?}");
    let newer = Context { sequence: 10, ..context() };
    let refused = rewrap(&old, &new, &newer, &blob).unwrap_err();
    assert!(matches!(refused, HsmError::Rollback { field: "sequence", .. }), "{refused:?}");
    let refused = rewrap(&software, &new, &context(), &blob).unwrap_err();
    assert!(matches!(refused, HsmError::WrongKek { .. }), "{refused:?}");
    // The payload is not needed for the new wrapped key; it is looked at all the same.
    for place in [blob.len() - 1, blob.len() - 60] {
        let mut altered = blob.clone();
        altered[place] ^= 1;
        let refused = rewrap(&old, &new, &context(), &altered).unwrap_err();
        assert!(matches!(refused, HsmError::Corrupt { .. }), "{place}: {refused:?}");
    }
    let moved = rewrap(&old, &new, &context(), &blob).unwrap();

    // The KEK in use, and half of it, are not destroyed.
    let location = one.config.location();
    let half: Vec<u8> = vec![1, 2, 3, 2 ^ 0x80];
    for id in [&two.config.key_id, &half, &Vec::new()] {
        let refused = destroy_kek(&location, id, &two.config, pin()).unwrap_err();
        assert!(matches!(refused, HsmError::NotDiscarded { .. }), "{refused:?}");
    }
    let count = list(&location, pin()).unwrap().len();
    let gone = destroy_kek(&location, &one.config.key_id, &two.config, pin()).unwrap();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert_eq!(list(&location, pin()).unwrap().len(), count - 2);
    // The identity key under the same id signs on.
    let (id, public) = (one.config.key_id.clone(), one.config.identity.unwrap());
    assert_eq!(Pkcs11Signer::beside_as(&new, id, public).unwrap().public(), public);
    assert_eq!(*open(&new, &context(), &moved).unwrap(), b"share");
    let error = rewrap(&old, &new, &context(), &blob).unwrap_err();
    assert!(matches!(error, HsmError::KeyMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("01020301"), "{error}");
}
