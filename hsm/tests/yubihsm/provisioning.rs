//! Provisioning: what it makes, what it refuses, and what is left when it breaks off.

use std::sync::Arc;

use quorate_hsm::yubihsm::{Administrator, Config, Password, Plan, provision};
use quorate_hsm::{HsmError, Profile};

use crate::emulator::device::{Object, kind};
use crate::emulator::{Emulator, Fault, capability, message};
use crate::support::{AUDITOR, NODE, SERIAL, administrator, make, open as open_kek, plan};
use crate::works;

fn object(emulator: &Emulator, id: u16, kind: u8) -> Object {
    emulator.device().objects[&(id, kind)].clone()
}

/// Seen from inside the device: no right more than needed, nothing to delegate, one domain.
#[test]
fn the_objects_are_as_planned() {
    use capability::{GET_LOG_ENTRIES, SIGN_ECDSA, SIGN_HMAC, UNWRAP_DATA, WRAP_DATA};
    for (profile, kek, rights) in [
        (Profile::WrapData, kind::WRAP_KEY, WRAP_DATA | UNWRAP_DATA),
        (Profile::HmacKdf, kind::HMAC_KEY, SIGN_HMAC),
    ] {
        let emulator = Emulator::start(SERIAL);
        let made = make(plan(&emulator, profile)).unwrap();
        for (id, kind, capabilities, origin) in [
            (0x10, kek, rights, 1),
            (0x11, kind::ASYMMETRIC_KEY, SIGN_ECDSA, 1),
            (0x20, kind::AUTHENTICATION_KEY, rights | SIGN_ECDSA, 2),
            (0x21, kind::AUTHENTICATION_KEY, GET_LOG_ENTRIES, 2),
        ] {
            let object = object(&emulator, id, kind);
            assert_eq!(
                (object.capabilities, object.delegated, object.domains, object.origin),
                (capabilities, 0, 1 << 2, origin),
                "{id:#x}"
            );
        }
        assert_eq!(emulator.device().objects.len(), 5);
        works(&open_kek(&made).unwrap()).unwrap();
        let report = made.report.join("\n");
        for words in
            ["firmware 2.2.0", "generated in the device", "domain 3", "reading the log refused"]
        {
            assert!(report.contains(words), "{words}: {report}");
        }
        let warnings = made.warnings.join("\n");
        for words in
            ["AUTHENTICATION KEY 1 IS STILL THERE", "backup", "0x0001", "force-audit is off"]
        {
            assert!(warnings.contains(words), "{words}: {warnings}");
        }
    }
}

#[test]
fn without_the_factory_key_there_is_no_warning_about_it() {
    let emulator = Emulator::start(SERIAL);
    {
        let mut device = emulator.device();
        let factory = device.objects.remove(&(1, 2)).unwrap();
        device.objects.insert((0x77, 2), factory);
    }
    let password = administrator().password;
    let ours = Administrator { auth_key: 0x77, password };
    let plan = plan(&emulator, Profile::WrapData);
    let made = provision(plan, &ours, &Password::new(NODE), &Password::new(AUDITOR)).unwrap();
    let warnings = made.warnings.join("\n");
    assert!(!warnings.contains("STILL THERE"), "{warnings}");
    assert!(warnings.contains("0x0077"), "{warnings}");
}

#[test]
fn identifiers_in_use_are_refused_before_anything_is_made() {
    for (id, kind, name) in [
        (0x10, kind::WRAP_KEY, "wrap-key 0x0010"),
        (0x11, kind::ASYMMETRIC_KEY, "asymmetric-key 0x0011"),
        (0x20, kind::AUTHENTICATION_KEY, "authentication-key 0x0020"),
        (0x21, kind::AUTHENTICATION_KEY, "authentication-key 0x0021"),
    ] {
        let emulator = Emulator::start(SERIAL);
        let theirs = object(&emulator, 1, kind::AUTHENTICATION_KEY);
        emulator.device().objects.insert((id, kind), theirs.clone());
        let error = make(plan(&emulator, Profile::WrapData)).unwrap_err();
        assert!(matches!(error, HsmError::ObjectsExist { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(emulator.device().objects.len(), 2);
        assert_eq!(object(&emulator, id, kind).secret, theirs.secret);
        assert_eq!(emulator.commands(message::GENERATE_WRAP_KEY), 0);
    }
    // One that the administrator cannot see is found when the device refuses to make it.
    let emulator = Emulator::start(SERIAL);
    {
        let mut device = emulator.device();
        let mut theirs = device.objects[&(1, 2)].clone();
        theirs.domains = 1 << 9;
        device.objects.insert((0x20, 2), theirs);
        device.objects.get_mut(&(1, 2)).unwrap().domains = !(1 << 9);
    }
    let error = make(plan(&emulator, Profile::WrapData)).unwrap_err();
    assert!(matches!(error, HsmError::ObjectsExist { .. }), "{error:?}");
    assert_eq!(emulator.device().objects.len(), 2);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    type Change = fn(&mut Plan);
    let emulator = Emulator::start(SERIAL);
    let changes: [(Change, &str); 5] = [
        (|plan| plan.domain = 0, "domain 0"),
        (|plan| plan.domain = 17, "domain 17"),
        (|plan| plan.auditor = plan.config.auth_key, "one authentication key"),
        (|plan| plan.config.profile = Profile::TokenGcm, "token AES-256-GCM"),
        (|plan| plan.config.connector = "https://127.0.0.1".into(), "https://127.0.0.1"),
    ];
    for (change, words) in changes {
        let mut plan = plan(&emulator, Profile::WrapData);
        change(&mut plan);
        let error = make(plan).unwrap_err();
        assert!(matches!(error, HsmError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(emulator.messages(), 0);
    let other = Config { serial: 1, ..plan(&emulator, Profile::WrapData).config };
    let error = make(Plan { config: other, ..plan(&emulator, Profile::WrapData) }).unwrap_err();
    assert!(matches!(error, HsmError::TokenMissing { .. }), "{error:?}");
}

#[test]
fn an_administrator_without_the_right_is_told_so_and_leaves_nothing() {
    for (missing, words) in [
        (capability::GENERATE_WRAP_KEY, "make with wrap-key 0x0010"),
        (capability::GENERATE_ASYMMETRIC_KEY, "make with asymmetric-key 0x0011"),
        (capability::PUT_AUTHENTICATION_KEY, "make with authentication-key 0x0020"),
    ] {
        let emulator = Emulator::start(SERIAL);
        emulator.device().objects.get_mut(&(1, 2)).unwrap().capabilities &= !missing;
        let error = make(plan(&emulator, Profile::WrapData)).unwrap_err();
        assert!(matches!(error, HsmError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(emulator.device().objects.len(), 1);
    }
}

/// The connection ends at the k-th message and for good: as if the process had been killed, but for the
/// words that it still says.
#[test]
fn broken_off_anywhere_it_says_what_is_left() {
    let whole = {
        let emulator = Emulator::start(SERIAL);
        make(plan(&emulator, Profile::WrapData)).unwrap();
        emulator.messages()
    };
    assert!(whole > 25, "{whole}");
    for seen in [false, true] {
        for end in 0..whole {
            let emulator = Emulator::start(SERIAL);
            // The device may have carried out the message at which the connection ended.
            let last = if seen { Fault::CutAfter } else { Fault::CutBefore };
            emulator.plan(move |now, _| match now.cmp(&end) {
                std::cmp::Ordering::Less => Fault::None,
                std::cmp::Ordering::Equal => last.clone(),
                std::cmp::Ordering::Greater => Fault::CutBefore,
            });
            let outcome = make(plan(&emulator, Profile::WrapData));
            emulator.plan(|_, _| Fault::None);
            let left: Vec<(u16, u8)> =
                emulator.device().objects.keys().copied().filter(|key| *key != (1, 2)).collect();
            match outcome {
                // Only warnings were still to be found out.
                Ok(made) => {
                    assert_eq!(left.len(), 4, "{end}");
                    assert!(made.warnings.iter().any(|line| line.contains("cannot tell")), "{end}");
                    continue;
                }
                Err(HsmError::LeftOver { objects, cause, .. }) => {
                    assert!(matches!(*cause, HsmError::Unavailable { .. }), "{end}: {cause:?}");
                    // All that is left is named; at most one more may be, whose answer was lost.
                    for (id, _) in &left {
                        let name = format!("0x{id:04x}");
                        assert!(
                            objects.iter().any(|object| object.contains(&name)),
                            "{end} {name}"
                        );
                    }
                    assert!(objects.len() <= left.len() + 1, "{end}: {objects:?}, {left:?}");
                }
                Err(error) => {
                    assert!(matches!(error, HsmError::Unavailable { .. }), "{end}: {error:?}");
                    assert_eq!(left, [], "{end}: {error}");
                }
            }
            // Again: it works at once, or says what is in the way, and works when that is gone.
            if !left.is_empty() {
                let error = make(plan(&emulator, Profile::WrapData)).unwrap_err();
                let HsmError::ObjectsExist { objects, .. } = error else {
                    panic!("{end}: {error}")
                };
                assert_eq!(objects.len(), left.len(), "{end}: {objects:?}");
                emulator.device().objects.retain(|key, _| *key == (1, 2));
            }
            let made = make(plan(&emulator, Profile::WrapData)).unwrap();
            works(&open_kek(&made).unwrap()).unwrap();
        }
    }
}

/// One message is lost, and then the connection is well: nothing is left, or all is done.
#[test]
fn one_lost_message_leaves_nothing_behind() {
    let mut done = 0;
    for fault in [Fault::CutBefore, Fault::CutAfter] {
        for lost in 0..30 {
            let emulator = Emulator::start(SERIAL);
            let met = fault.clone();
            emulator.plan(move |now, _| if now == lost { met.clone() } else { Fault::None });
            match make(plan(&emulator, Profile::WrapData)) {
                Ok(made) => {
                    done += 1;
                    works(&open_kek(&made).unwrap()).unwrap();
                }
                Err(error) => {
                    assert!(matches!(error, HsmError::Unavailable { .. }), "{lost}: {error:?}");
                    assert_eq!(emulator.device().objects.len(), 1, "{lost}: {error}");
                    make(plan(&emulator, Profile::WrapData)).unwrap();
                }
            }
        }
    }
    // All but the commands that make an object.
    assert_eq!(done, 2 * (30 - 4));
}

/// Somebody takes an identifier in the very moment in which ours does not get through.
#[test]
fn cleaning_up_leaves_strangers_alone() {
    // After DEVICE INFO, two messages for a session, four looks, and the KEK.
    const IDENTITY: usize = 8;
    let emulator = Arc::new(Emulator::start(SERIAL));
    let stranger = object(&emulator, 1, kind::AUTHENTICATION_KEY);
    let (device, theirs) = (Arc::downgrade(&emulator), stranger.clone());
    emulator.plan(move |now, _| {
        if now != IDENTITY {
            return Fault::None;
        }
        let device = device.upgrade().unwrap();
        assert!(device.device().objects.contains_key(&(0x10, kind::WRAP_KEY)));
        device.device().objects.insert((0x11, kind::ASYMMETRIC_KEY), theirs.clone());
        Fault::CutBefore
    });
    let error = make(plan(&emulator, Profile::WrapData)).unwrap_err();
    assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
    assert_eq!(object(&emulator, 0x11, kind::ASYMMETRIC_KEY).secret, stranger.secret);
    assert_eq!(emulator.device().objects.len(), 2);
}
