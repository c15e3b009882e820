//! What SoftHSM never does, other tokens do: a module between us and it misbehaves on command.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/context.rs"]
mod context;
#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/isolated.rs"]
mod isolated;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use context::context;
use faulty::Faulty;
use quorate_hsm::pkcs11::{Pin, Wanted, list, probe, provision};
use quorate_hsm::{Dek, HsmError, KeyProtector, Profile, open, seal};

#[test]
fn before_the_final_try_no_pin_is_tried() {
    let Some(faulty) = Faulty::new("before_the_final_try_no_pin_is_tried") else { return };
    let made = faulty.provision().unwrap();
    let before = faulty.count("C_Login");
    for (fault, expected) in
        [("final-try", HsmError::FinalTry), ("pin-locked", HsmError::PinLocked)]
    {
        faulty.set(fault);
        assert_eq!(faulty.provision().unwrap_err(), expected);
        assert_eq!(faulty.open(&made).unwrap_err(), expected);
    }
    assert_eq!(faulty.count("C_Login"), before);
    // The token locks the PIN at that very login: one try, and none by the calls that follow.
    faulty.set("login-locks");
    assert_eq!(faulty.open(&made).unwrap_err(), HsmError::PinLocked);
    assert_eq!(faulty.count("C_Login"), before + 1);
    faulty.set("");
    faulty.open(&made).unwrap();
    assert_eq!(faulty.count("C_Login"), before + 2);
}

#[test]
fn the_iv_that_was_used_is_kept() {
    let Some(faulty) = Faulty::new("the_iv_that_was_used_is_kept") else { return };
    faulty.set("own-iv");
    let made = faulty.provision().unwrap();
    let kek = faulty.open(&made).unwrap();
    let blob = seal(&kek, &context(), b"share").unwrap();
    faulty.set("");
    assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share");
}

#[test]
fn a_token_that_cannot_be_trusted_is_refused_and_keeps_no_key() {
    let name = "a_token_that_cannot_be_trusted_is_refused_and_keeps_no_key";
    let Some(faulty) = Faulty::new(name) else { return };
    for (fault, words) in [
        ("ignore-aad", "ignores associated data"),
        ("ignore-tag", "ignores the tag"),
        // It encrypts what nobody will ever decrypt.
        ("opens-nothing", "AES-256-GCM in this token"),
        // What a token does not say about the key counts as no.
        ("hide-token", "stored in the token"),
        ("hide-private", "hidden until login"),
        ("hide-sensitive", "sensitive"),
        ("hide-extractable", "not extractable"),
    ] {
        faulty.set(fault);
        let error = faulty.provision().unwrap_err();
        assert!(matches!(error, HsmError::Unsupported { .. }), "{fault}: {error:?}");
        assert!(error.to_string().contains(words), "{fault}: {error}");
    }
    // A round trip would not show that every blob has the same key.
    faulty.set("constant-sign");
    for profile in [Profile::HmacKdf, Profile::CbcHmac] {
        let wanted = Wanted { profile: Some(profile), ..faulty.wanted.clone() };
        let error = provision(wanted, Pin::new(isolated::PIN)).unwrap_err().to_string();
        assert!(error.contains("ignores the tag"), "{profile}: {error}");
    }
    faulty.set("");
    // Each time the useless key was destroyed, or its identifier would be taken.
    let made = faulty.provision().unwrap();
    faulty.set("hide-extractable");
    let error = faulty.open(&made).unwrap_err();
    assert!(error.to_string().contains("not extractable"), "{error}");
}

#[test]
fn a_removed_device_is_used_again_when_it_is_back() {
    let name = "a_removed_device_is_used_again_when_it_is_back";
    let Some(faulty) = Faulty::new(name) else { return };
    let kek = faulty.open(&faulty.provision().unwrap()).unwrap();
    let blob = seal(&kek, &context(), b"share").unwrap();
    // The last one is no removal: the token answers, but what it opened before it opens no more. The
    // blob is not called corrupt for that, since the canary does not open either.
    for fault in ["remove", "no-session remove", "no-initialize remove", "opens-nothing"] {
        faulty.set(fault);
        for _ in 0..3 {
            let error = open(&kek, &context(), &blob).unwrap_err();
            assert!(matches!(error, HsmError::Unavailable { .. }), "{fault}: {error:?}");
            let error = seal(&kek, &context(), b"share").unwrap_err();
            assert!(matches!(error, HsmError::Unavailable { .. }), "{fault}: {error:?}");
        }
        faulty.set("");
        assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share", "{fault}");
    }
}

/// More callers than sessions, and the token goes away under them: each must get its answer.
#[test]
fn nobody_waits_for_ever_for_a_session() {
    const CALLERS: usize = 40;
    let Some(faulty) = Faulty::new("nobody_waits_for_ever_for_a_session") else { return };
    let kek = faulty.open(&faulty.provision().unwrap()).unwrap();
    let wrapped = kek.wrap(&Dek::random().unwrap(), b"aad").unwrap();
    let before = faulty.count("C_Decrypt");
    faulty.set("hold");
    let (kek, wrapped) = (std::sync::Arc::new(kek), std::sync::Arc::new(wrapped));
    let (answer, answers) = mpsc::channel();
    for _ in 0..CALLERS {
        let (kek, wrapped, answer) = (kek.clone(), wrapped.clone(), answer.clone());
        std::thread::spawn(move || answer.send(kek.unwrap(&wrapped, b"aad").is_ok()));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while faulty.count("C_Decrypt") < before + 8 {
        assert!(Instant::now() < deadline, "no eight callers in the token");
        std::thread::yield_now();
    }
    faulty.set("no-session remove");
    for answered in 0..CALLERS {
        let ok = answers.recv_timeout(Duration::from_secs(60));
        assert_eq!(ok, Ok(false), "only {answered} of {CALLERS} callers got an answer");
    }
    faulty.set("");
    kek.health().unwrap();
}

#[test]
fn gcm_survives_a_fault_in_any_call() {
    survives_a_fault_in_any_call("gcm_survives_a_fault_in_any_call", Profile::TokenGcm);
}

#[test]
fn hmac_kdf_survives_a_fault_in_any_call() {
    survives_a_fault_in_any_call("hmac_kdf_survives_a_fault_in_any_call", Profile::HmacKdf);
}

#[test]
fn cbc_hmac_survives_a_fault_in_any_call() {
    survives_a_fault_in_any_call("cbc_hmac_survives_a_fault_in_any_call", Profile::CbcHmac);
}

/// Each call in turn fails once, before or after the token did it: what is asked for succeeds, or is
/// refused as unavailable. A good blob is never called corrupt, and afterwards everything opens.
fn survives_a_fault_in_any_call(name: &str, profile: Profile) {
    let Some(mut faulty) = Faulty::new(name) else { return };
    faulty.wanted = Wanted { profile: Some(profile), ..faulty.wanted };
    let kek = faulty.open(&faulty.provision().unwrap()).unwrap();
    let old = seal(&kek, &context(), b"old").unwrap();
    let excused = |error: &HsmError| {
        matches!(error, HsmError::Unavailable { .. } | HsmError::TokenMissing { .. })
    };
    let (mut tried, mut recovered) = (0, 0);
    // GENERAL_ERROR, DEVICE_ERROR, DEVICE_REMOVED, SESSION_HANDLE_INVALID.
    for (action, code) in ["fail", "late"].into_iter().flat_map(|action| {
        ["0x05", "0x30", "0x32", "0xb3"].into_iter().map(move |code| (action, code))
    }) {
        for call in 1.. {
            let before = faulty.count("hit");
            faulty.rule(&format!("{action} any {call} {code}"));
            let sealed = seal(&kek, &context(), b"new");
            let opened = open(&kek, &context(), &old);
            faulty.rule("");
            if faulty.count("hit") == before {
                break;
            }
            let what = format!("{action} {code} at call {call}");
            tried += 1;
            recovered += usize::from(sealed.is_ok() && opened.is_ok());
            match &opened {
                Ok(plain) => assert_eq!(plain.as_slice(), b"old", "{what}"),
                Err(error) => assert!(excused(error), "{what}: {error:?}"),
            }
            assert_eq!(*open(&kek, &context(), &old).expect(&what), b"old");
            match sealed {
                Ok(blob) => assert_eq!(*open(&kek, &context(), &blob).expect(&what), b"new"),
                Err(error) => assert!(excused(&error), "{what}: {error:?}"),
            }
        }
    }
    println!("{profile}: {tried} faults, {recovered} without anybody noticing");
    assert!(tried > 50, "{tried}");
    assert!(recovered * 2 > tried, "{recovered} of {tried}");
}

/// Attack: whoever can write the files has the token decrypt bytes of their choice, and learns from its
/// answers (padding, timing). What is not authentic never reaches the key.
#[test]
fn nothing_is_decrypted_before_it_is_verified() {
    let name = "nothing_is_decrypted_before_it_is_verified";
    let Some(faulty) = Faulty::new(name) else { return };
    for (id, profile) in [(1, Profile::CbcHmac), (2, Profile::Oaep)] {
        let wanted =
            Wanted { key_id: vec![id; 4], profile: Some(profile), ..faulty.wanted.clone() };
        let made = provision(wanted, Pin::new(isolated::PIN)).unwrap();
        let kek = faulty.open(&made).unwrap();
        let dek = Dek::random().unwrap();
        let wrapped = kek.wrap(&dek, b"aad").unwrap();
        let before = faulty.count("C_Decrypt");
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(kek.unwrap(&altered, b"aad").is_err(), "{profile}, byte {at}");
        }
        assert!(kek.unwrap(&wrapped, b"other").is_err());
        assert_eq!(faulty.count("C_Decrypt"), before, "{profile}");
        assert_eq!(kek.unwrap(&wrapped, b"aad").unwrap().expose(), dek.expose());
        assert!(faulty.count("C_Decrypt") > before);
    }
}

/// Some tokens have no keys that live for a session only: the trial makes others, and destroys them.
#[test]
fn a_probe_without_session_keys_leaves_nothing_behind() {
    let name = "a_probe_without_session_keys_leaves_nothing_behind";
    let Some(faulty) = Faulty::new(name) else { return };
    faulty.set("token-keys-only");
    let location = &faulty.wanted.location;
    let found = probe(location, Pin::new(isolated::PIN)).unwrap();
    assert!(!found.session_keys);
    assert_eq!(found.choice().unwrap().0, Profile::TokenGcm);
    assert_eq!(found.profiles.iter().filter(|trial| trial.works()).count(), 4);
    assert_eq!(list(location, Pin::new(isolated::PIN)), Ok(vec![]));
}

/// A device that thinks for long keeps nobody else waiting.
#[test]
fn a_slow_call_holds_nobody_up() {
    let Some(faulty) = Faulty::new("a_slow_call_holds_nobody_up") else { return };
    let kek = faulty.open(&faulty.provision().unwrap()).unwrap();
    let blob = seal(&kek, &context(), b"share").unwrap();
    faulty.rule("hold Decrypt 1");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| open(&kek, &context(), &blob));
        let deadline = Instant::now() + Duration::from_secs(60);
        while faulty.count("held") == 0 {
            assert!(Instant::now() < deadline, "nobody is in the token");
            std::thread::yield_now();
        }
        for _ in 0..20 {
            assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share");
        }
        assert!(!slow.is_finished());
        faulty.rule("");
        assert_eq!(*slow.join().unwrap().unwrap(), b"share");
    });
}
