//! What connectors, cables and devices do: answers in pieces, late, altered or lost; sessions gone.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use quorate_hsm::yubihsm::{AuditDrain, Config, Password, YubiHsmProtector};
use quorate_hsm::{HsmError, KeyProtector, Profile, open, seal};

use crate::emulator::device::SESSIONS;
use crate::emulator::{Emulator, Fault, message};
use crate::support::{AUDITOR, fresh, open as open_kek};
use crate::{context, works};

/// Messages of opening a protector, sealing, and opening a blob: DEVICE INFO, CREATE SESSION,
/// AUTHENTICATE SESSION, then six commands.
const MESSAGES: usize = 9;
const CREATE_SESSION: usize = 1;

#[test]
fn an_undisturbed_connection_is_used_once() {
    let (emulator, made) = fresh(Profile::WrapData);
    let before = emulator.seen(message::CREATE_SESSION);
    emulator.plan(|_, _| Fault::None);
    works(&open_kek(&made).unwrap()).unwrap();
    assert_eq!(emulator.messages(), MESSAGES);
    assert_eq!(emulator.seen(message::CREATE_SESSION) - before, 1);
}

/// The library's reader takes the second piece for the beginning, and zeros for the rest.
#[test]
fn answers_in_two_pieces_are_noticed_and_asked_for_again() {
    let mut met = 0;
    for number in 0..MESSAGES {
        for at in [-60, -25, 0, 1, 3, 8, 12] {
            let (emulator, made) = fresh(Profile::WrapData);
            emulator.plan(move |now, _| if now == number { Fault::Split(at) } else { Fault::None });
            let outcome = open_kek(&made).and_then(|kek| works(&kek));
            if number == CREATE_SESSION && at >= 3 && outcome.is_err() {
                // Its cryptogram does not fit, and nothing says that it was cut.
                assert_eq!(outcome, Err(HsmError::Auth), "byte {at}");
            } else {
                assert_eq!(outcome, Ok(()), "message {number}, byte {at}");
            }
            met += usize::from(emulator.messages() != MESSAGES);
        }
    }
    // On a busy machine the reader may find both pieces at once, now and then.
    assert!(met > MESSAGES, "only {met} answers arrived in two pieces");
}

#[test]
fn a_connector_that_always_answers_in_pieces_is_named() {
    for at in [0, 3, 8, 12] {
        let refused = (0..10).find_map(|_| {
            let (emulator, made) = fresh(Profile::WrapData);
            emulator.plan(move |_, _| Fault::Split(at));
            // A wrong password it seems if all before came in one piece.
            let error = open_kek(&made).err().filter(|error| *error != HsmError::Auth)?;
            Some((error, emulator.url()))
        });
        let (error, url) = refused.expect("no answer arrived in two pieces");
        assert!(matches!(error, HsmError::Unavailable { .. }), "byte {at}: {error:?}");
        assert!(error.to_string().contains(&url), "{error}");
    }
}

/// The serial number comes without a MAC: it is no other device before it reads so twice.
#[test]
fn a_serial_number_that_was_damaged_once_is_asked_for_again() {
    let damage: fn(&mut Vec<u8>) = |answer| answer[9] ^= 1;
    let (emulator, made) = fresh(Profile::WrapData);
    emulator.plan(move |now, _| if now == 0 { Fault::Corrupt(damage) } else { Fault::None });
    open_kek(&made).unwrap();
    let (emulator, made) = fresh(Profile::WrapData);
    emulator.plan(move |now, _| if now < 2 { Fault::Corrupt(damage) } else { Fault::None });
    let error = open_kek(&made).unwrap_err();
    assert!(matches!(error, HsmError::TokenMissing { .. }), "{error:?}");
}

#[test]
fn altered_answers_never_pass() {
    let changes: [fn(&mut Vec<u8>); 7] = [
        |answer| answer[0] ^= 0x80,
        // Another command's answer, which has a session but no MAC: the library panics at that.
        |answer| answer[0] = 0x83,
        |answer| answer[2] ^= 1,
        |answer| answer[3] ^= 1,
        |answer| *answer.last_mut().unwrap() ^= 1,
        |answer| answer.truncate(answer.len() / 2),
        |answer| answer.clear(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        for number in [3, 5, 6, 7, 8] {
            let (emulator, made) = fresh(Profile::WrapData);
            emulator.plan(
                move |now, _| if now == number { Fault::Corrupt(change) } else { Fault::None },
            );
            let outcome = open_kek(&made).and_then(|kek| works(&kek));
            assert_eq!(outcome, Ok(()), "change {index} of message {number}");
            assert!(emulator.messages() > MESSAGES, "change {index} of message {number}: unseen");
        }
        let (emulator, made) = fresh(Profile::WrapData);
        let kek = open_kek(&made).unwrap();
        let blob = seal(&kek, &context(), b"share").unwrap();
        let session = |code| code == message::SESSION_MESSAGE;
        emulator
            .plan(move |_, code| if session(code) { Fault::Corrupt(change) } else { Fault::None });
        let error = open(&kek, &context(), &blob).unwrap_err();
        assert!(matches!(error, HsmError::Unavailable { .. }), "change {index}: {error:?}");
    }
}

#[test]
fn lost_connections_are_made_again_once_per_call() {
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::Status("502 Bad Gateway")] {
        for number in 0..MESSAGES {
            let (emulator, made) = fresh(Profile::WrapData);
            let met = fault.clone();
            emulator.plan(move |now, _| if now == number { met.clone() } else { Fault::None });
            let outcome = open_kek(&made).and_then(|kek| works(&kek));
            assert_eq!(outcome, Ok(()), "message {number}");
        }
        // Two in a row are too many for one call, but not for the next.
        let (emulator, made) = fresh(Profile::WrapData);
        let kek = open_kek(&made).unwrap();
        let met = fault.clone();
        emulator.plan(move |now, _| if now < 2 { met.clone() } else { Fault::None });
        let error = kek.health().unwrap_err();
        assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
        assert_eq!(emulator.messages(), 2);
        kek.health().unwrap();
    }
    // A connection that ends between two calls is found dead by the second.
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    emulator.plan(|now, _| if now == 0 { Fault::Hangup } else { Fault::None });
    kek.health().unwrap();
    kek.health().unwrap();
}

#[test]
fn a_late_answer_is_waited_for() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let late = Fault::Slow(Duration::from_secs(5));
    emulator.plan(move |now, _| if now == 0 { late.clone() } else { Fault::None });
    works(&kek).unwrap();
}

#[test]
fn sessions_that_the_device_forgot_are_opened_again() {
    type Event = fn(&Emulator);
    let events: [(&str, Event); 3] = [
        ("dropped", |emulator| emulator.device().drop_sessions()),
        ("power", |emulator| emulator.device().power_cycle()),
        ("idle", |emulator| emulator.device().advance(Duration::from_secs(31))),
    ];
    for (name, event) in events {
        for profile in [Profile::WrapData, Profile::HmacKdf] {
            let (emulator, made) = fresh(profile);
            let kek = open_kek(&made).unwrap();
            let blob = seal(&kek, &context(), b"share").unwrap();
            let before = emulator.seen(message::CREATE_SESSION);
            event(&emulator);
            assert_eq!(emulator.device().open_sessions(), 0, "{name}");
            assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share", "{name}");
            assert_eq!(emulator.seen(message::CREATE_SESSION) - before, 1, "{name}");
        }
    }
}

#[test]
fn a_device_that_was_reset_to_factory_settings_is_named() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let blob = seal(&kek, &context(), b"share").unwrap();
    emulator.device().factory_reset();
    for _ in 0..3 {
        let error = open(&kek, &context(), &blob).unwrap_err();
        assert!(error.to_string().contains("no authentication key 0x0020"), "{error}");
    }
}

/// After damaged answers a wrong cryptogram proves nothing: that is no verdict on the password.
#[test]
fn damage_is_not_taken_for_a_wrong_password() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let damage: fn(&mut Vec<u8>) = |answer| *answer.last_mut().unwrap() ^= 1;
    emulator.plan(move |now, _| if now < 3 { Fault::Corrupt(damage) } else { Fault::None });
    let error = kek.health().unwrap_err();
    assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("damaged answers"), "{error}");
    kek.health().unwrap();
}

#[test]
fn a_wrong_password_is_tried_once() {
    let (emulator, made) = fresh(Profile::WrapData);
    let (created, authenticated) =
        (emulator.seen(message::CREATE_SESSION), emulator.seen(message::AUTHENTICATE_SESSION));
    for _ in 0..20 {
        let wrong = Password::new("wrong");
        let error = YubiHsmProtector::open(made.config.clone(), &wrong, made.canary.clone());
        assert_eq!(error.unwrap_err(), HsmError::Auth);
    }
    assert_eq!(emulator.seen(message::CREATE_SESSION) - created, 1);
    assert_eq!(emulator.seen(message::AUTHENTICATE_SESSION) - authenticated, 0);
    // The right one is another matter.
    open_kek(&made).unwrap();

    // Changed in the device while the node runs: the recovery tries the old one once.
    let kek = open_kek(&made).unwrap();
    let key = crate::emulator::device::password_key("another").to_vec();
    emulator.device().objects.get_mut(&(0x20, 2)).unwrap().secret = key;
    emulator.device().drop_sessions();
    let created = emulator.seen(message::CREATE_SESSION);
    for _ in 0..20 {
        assert_eq!(kek.health(), Err(HsmError::Auth));
    }
    assert_eq!(emulator.seen(message::CREATE_SESSION) - created, 1);
}

#[test]
fn hundreds_of_calls_share_one_session() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let before = emulator.seen(message::CREATE_SESSION);
    for round in 0..200 {
        works(&kek).unwrap();
        // Errors cost no session either.
        assert!(kek.unwrap(&[round; 94], b"").is_err());
        assert!(kek.unwrap(&[round; 4096], b"").is_err());
        works(&open_kek(&made).unwrap()).unwrap();
    }
    assert_eq!(emulator.seen(message::CREATE_SESSION), before);
    assert_eq!(emulator.device().open_sessions(), 1);
}

/// Each lost session occupies a place in the device for 30 seconds: there is an end to that.
#[test]
fn a_bad_connection_does_not_use_up_the_sessions_of_the_device() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let before = emulator.seen(message::CREATE_SESSION);
    // Whatever comes inside a session is lost.
    let session = |code| code == message::SESSION_MESSAGE;
    emulator.plan(move |_, code| if session(code) { Fault::CutAfter } else { Fault::None });
    let mut last = None;
    for _ in 0..50 {
        last = kek.health().err();
    }
    assert!(emulator.seen(message::CREATE_SESSION) - before < 8);
    assert!(emulator.device().open_sessions() <= SESSIONS / 2);
    let last = last.unwrap().to_string();
    assert!(last.contains("8 sessions") && last.contains(&emulator.url()), "{last}");
}

#[test]
fn a_device_whose_sessions_are_taken_is_named() {
    let (emulator, made) = fresh(Profile::WrapData);
    for _ in 0..SESSIONS {
        let taken = emulator.device().handle(&[3, 0, 10, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(taken[0], 0x83);
    }
    let error = open_kek(&made).unwrap_err();
    assert!(matches!(error, HsmError::SessionsFull { .. }), "{error:?}");
    assert!(error.to_string().contains("0007654321"), "{error}");
    emulator.device().advance(Duration::from_secs(31));
    open_kek(&made).unwrap();
}

#[test]
fn another_device_behind_the_connector_is_refused() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    let missing = HsmError::TokenMissing {
        label: "YubiHSM 0007654321".into(),
        available: vec!["YubiHSM 0000000099".into()],
    };
    let created = emulator.seen(message::CREATE_SESSION);
    emulator.device().serial = 99;
    // The session that is open is with the device that knows our key.
    kek.health().unwrap();
    emulator.device().power_cycle();
    assert_eq!(kek.health(), Err(missing.clone()));
    let other = Config { auth_key: 0x21, ..made.config };
    let drain = AuditDrain::open(&other, 0x21, &Password::new(AUDITOR));
    assert_eq!(drain.unwrap_err(), missing);
    // No strange device is asked to create a session.
    assert_eq!(emulator.seen(message::CREATE_SESSION), created);
}

/// DEVICE INFO of newer firmware lists algorithms that the library refuses.
#[test]
fn newer_firmware_is_no_obstacle() {
    let (emulator, made) = fresh(Profile::WrapData);
    emulator.device().algorithms.extend(0x30..=0x3a);
    works(&open_kek(&made).unwrap()).unwrap();
}

#[test]
fn a_connector_that_is_not_there_is_named() {
    let made = {
        let (_emulator, made) = fresh(Profile::WrapData);
        made
    };
    let error = open_kek(&made).unwrap_err();
    assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(&made.config.connector), "{error}");
}

/// More callers than one, and the connector goes away under them: each gets its answer.
#[test]
fn nobody_waits_for_ever() {
    const CALLERS: usize = 24;
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = Arc::new(open_kek(&made).unwrap());
    emulator.plan(|_, _| Fault::CutBefore);
    let start = Arc::new(Barrier::new(CALLERS));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (kek, start) = (Arc::clone(&kek), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                kek.health()
            })
        })
        .collect();
    for caller in callers {
        let outcome = caller.join().unwrap();
        assert!(matches!(outcome, Err(HsmError::Unavailable { .. })), "{outcome:?}");
    }
    emulator.plan(|_, _| Fault::None);
    kek.health().unwrap();
}
