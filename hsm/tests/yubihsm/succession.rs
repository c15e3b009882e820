//! A KEK after another one, and the end of the other one: what is made, what is never touched.

use quorate_hsm::yubihsm::{Mark, Next, Retired, Successor, YubiHsmProtector, about, remove_kek};
use quorate_hsm::{HsmError, KeyProtector, Profile, rewrap, seal};

use crate::emulator::device::{Object, kind};
use crate::emulator::{Emulator, Fault, capability, message};
use crate::support::{SERIAL, administrator, fresh, open};
use crate::{context, works};

const TAG: &str = "0a1b2c3d";

fn next(id: u16, profile: Profile) -> Next {
    Next { id, profile, tag: TAG.to_owned() }
}

fn beside(old: &YubiHsmProtector, made: &Successor) -> YubiHsmProtector {
    old.beside(made.config.clone(), made.canary.clone()).unwrap()
}

fn put(emulator: &Emulator, id: u16, kind: u8, domains: u16, label: &str) {
    let mut object: Object = emulator.device().objects[&(1, kind::AUTHENTICATION_KEY)].clone();
    let mut bytes = [0; 40];
    bytes[..label.len()].copy_from_slice(label.as_bytes());
    (object.domains, object.label) = (domains, bytes);
    emulator.device().objects.insert((id, kind), object);
}

/// Blobs move from each profile to each; the new objects have the least rights, in the node's domain.
#[test]
fn a_successor_is_made_in_the_nodes_domain_with_the_least_rights() {
    use capability::{SIGN_ECDSA, SIGN_HMAC, UNWRAP_DATA, WRAP_DATA};
    let both = [Profile::WrapData, Profile::HmacKdf];
    for (from, to) in both.into_iter().flat_map(|from| both.map(|to| (from, to))) {
        let (emulator, made) = fresh(from);
        let old = open(&made).unwrap();
        let blob = seal(&old, &context(), b"share").unwrap();
        let before = emulator.device().objects.len();
        let (mark, auth_mark) = (old.mark().unwrap(), old.mark_of_auth_key().unwrap());
        let next = old.succeed(&next(0x1a2b, to), &administrator()).unwrap();
        let new = beside(&old, &next);
        let (kek, rights) = match to {
            Profile::HmacKdf => (kind::HMAC_KEY, SIGN_HMAC),
            _ => (kind::WRAP_KEY, WRAP_DATA | UNWRAP_DATA),
        };
        let object = emulator.device().objects[&(0x1a2b, kek)].clone();
        assert_eq!(
            (object.capabilities, object.delegated, object.domains, object.origin),
            (rights, 0, 1 << 2, 1)
        );
        assert!(object.label.starts_with(b"quorate KEK v2 0a1b2c3d"));
        // Another authentication key only where the old one has no right.
        let changed = from != to;
        assert_eq!(emulator.device().objects.len(), before + 1 + usize::from(changed));
        assert_eq!(next.config.auth_key, if changed { 0x1a2b } else { made.config.auth_key });
        if changed {
            let node = emulator.device().objects[&(0x1a2b, kind::AUTHENTICATION_KEY)].clone();
            assert_eq!((node.capabilities, node.domains), (rights | SIGN_ECDSA, 1 << 2));
        }
        works(&new).unwrap();
        let moved = rewrap(&old, &new, &context(), &blob).unwrap();
        assert_eq!(*quorate_hsm::open(&new, &context(), &moved).unwrap(), b"share");
        assert!(next.report.join("\n").contains("deleting the KEK refused"), "{next:?}");
        // The old one, and what was left with it, goes on request; the new one stays.
        let retired = Retired::Former {
            id: made.config.key_id,
            profile: from,
            mark,
            auth_key: Some((made.config.auth_key, auth_mark)),
        };
        let gone = remove_kek(&new, &retired, &administrator()).unwrap();
        assert_eq!(gone.len(), 1 + usize::from(changed), "{gone:?}");
        assert_eq!(emulator.device().objects.len(), before);
        works(&new).unwrap();
        assert!(old.health().is_err());
        assert_eq!(remove_kek(&new, &retired, &administrator()).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn identifiers_in_use_and_what_breaks_off_leave_all_as_it_was() {
    let (emulator, made) = fresh(Profile::WrapData);
    let old = open(&made).unwrap();
    for kind in [kind::WRAP_KEY, kind::HMAC_KEY, kind::AUTHENTICATION_KEY] {
        put(&emulator, 0x1a2b, kind, 1 << 2, "another's");
        let error = old.succeed(&next(0x1a2b, Profile::HmacKdf), &administrator()).unwrap_err();
        assert!(matches!(error, HsmError::ObjectsExist { .. }), "{error:?}");
        assert!(emulator.device().objects.remove(&(0x1a2b, kind)).is_some());
    }
    let next_one = next(0x2000, Profile::HmacKdf);
    emulator.plan(|_, _| Fault::None);
    let made = old.succeed(&next_one, &administrator()).unwrap();
    let whole = emulator.messages();
    let attempt = Retired::Attempt { id: 0x2000, tag: TAG.to_owned() };
    let new = beside(&old, &made);
    let in_use = remove_kek(&new, &attempt, &administrator());
    assert!(matches!(in_use, Err(HsmError::NotDiscarded { .. })), "{in_use:?}");
    assert_eq!(remove_kek(&old, &attempt, &administrator()).unwrap().len(), 2);
    // Whatever message is cut off, what was made is gone.
    let (mut failed, mut healed) = (0, 0);
    for cut in 0..whole {
        let (emulator, made) = fresh(Profile::WrapData);
        let old = open(&made).unwrap();
        let before: Vec<_> = emulator.device().objects.keys().copied().collect();
        emulator.plan(move |number, _| if number == cut { Fault::CutAfter } else { Fault::None });
        match old.succeed(&next_one, &administrator()) {
            // What changes nothing in the device is asked once more.
            Ok(next) => {
                works(&beside(&old, &next)).unwrap();
                healed += 1;
            }
            Err(HsmError::Unavailable { .. }) => {
                let now: Vec<_> = emulator.device().objects.keys().copied().collect();
                assert_eq!(now, before, "message {cut}");
                failed += 1;
            }
            Err(other) => panic!("{cut}: {other:?}"),
        }
        works(&old).unwrap();
    }
    assert!(failed >= 2 && healed > 10, "{failed} failed, {healed} healed");
}

#[test]
fn only_what_is_this_nodes_is_removed() {
    let (emulator, made) = fresh(Profile::WrapData);
    let used = open(&made).unwrap();
    let mark = |label: &str| Mark { label: label.to_owned(), sequence: 0 };
    let former = |id, label: &str| Retired::Former {
        id,
        profile: Profile::WrapData,
        mark: mark(label),
        auth_key: None,
    };
    let refused = |retired: &Retired, words: &str| {
        let before = emulator.device().objects.len();
        let error = remove_kek(&used, retired, &administrator()).unwrap_err();
        assert!(matches!(error, HsmError::NotDiscarded { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(emulator.device().objects.len(), before);
    };
    let in_use = Retired::Former {
        id: made.config.key_id,
        profile: Profile::WrapData,
        mark: used.mark().unwrap(),
        auth_key: None,
    };
    refused(&in_use, "in use");
    // Of another domain, of several domains, of another make, of another version; of another node, which
    // has the same domain and version: another run made it.
    for (domains, label) in [
        (1 << 3, "quorate KEK v1 00000000"),
        (0b1100, "quorate KEK v1 00000000"),
        (1 << 2, "backup key"),
        (1 << 2, "quorate KEK v10 00000000"),
        (1 << 2, "quorate KEK v1 00000001"),
    ] {
        put(&emulator, 0x3000, kind::WRAP_KEY, domains, label);
        refused(&former(0x3000, "quorate KEK v1 00000000"), "not the one that this node left");
    }
    // The label is copied, but the object was made again.
    put(&emulator, 0x3000, kind::WRAP_KEY, 1 << 2, "quorate KEK v1 00000000");
    emulator.device().objects.get_mut(&(0x3000, kind::WRAP_KEY)).unwrap().sequence = 1;
    refused(&former(0x3000, "quorate KEK v1 00000000"), "not the one that this node left");
    // Another node's authentication key under the old identifier; then the KEK stays too.
    put(&emulator, 0x3002, kind::WRAP_KEY, 1 << 2, "quorate KEK v1 0");
    put(&emulator, 0x3003, kind::AUTHENTICATION_KEY, 1 << 2, "quorate node 00000001");
    let both = Retired::Former {
        id: 0x3002,
        profile: Profile::WrapData,
        mark: mark("quorate KEK v1 0"),
        auth_key: Some((0x3003, mark("quorate node 00000000"))),
    };
    refused(&both, "authentication-key 0x3003");
    // An attempt that made nothing does not take what has its identifier.
    let attempt = Retired::Attempt { id: 0x3000, tag: TAG.to_owned() };
    assert_eq!(used.left_by(0x3000, TAG).unwrap(), Vec::<String>::new());
    assert_eq!(remove_kek(&used, &attempt, &administrator()).unwrap(), Vec::<String>::new());
    put(&emulator, 0x3000, kind::WRAP_KEY, 1 << 2, "quorate KEK v2 0a1b2c3d");
    assert_eq!(used.left_by(0x3000, TAG).unwrap().len(), 1);
    assert_eq!(remove_kek(&used, &attempt, &administrator()).unwrap().len(), 1);
    // The administrator's own key, whatever it is called.
    put(&emulator, 0x3001, kind::WRAP_KEY, 1 << 2, "quorate KEK v1 0");
    put(&emulator, 1, kind::AUTHENTICATION_KEY, 0xffff, "quorate node 0");
    let both = Retired::Former {
        id: 0x3001,
        profile: Profile::WrapData,
        mark: mark("quorate KEK v1 0"),
        auth_key: Some((1, mark("quorate node 0"))),
    };
    refused(&both, "authentication-key 0x0001");
    // Without the right to delete, and with a wrong password.
    let mut weak = administrator();
    weak.password = quorate_hsm::yubihsm::Password::new("wrong");
    assert_eq!(remove_kek(&used, &former(0x3001, "quorate KEK v1 0"), &weak), Err(HsmError::Auth));
    works(&used).unwrap();
}

#[test]
fn a_device_tells_who_it_is_and_how_full_its_log_is() {
    let (emulator, _) = fresh(Profile::WrapData);
    let said = about(&emulator.url()).unwrap();
    assert_eq!((said.serial, said.firmware, said.log_room), (SERIAL, [2, 2, 0], 62));
    assert_eq!(usize::from(said.log_used), emulator.device().log.entries.len());
    assert_eq!(emulator.seen(message::CREATE_SESSION), 0);
    emulator.plan(|number, _| if number == 0 { Fault::CutAfter } else { Fault::None });
    about(&emulator.url()).unwrap();
    drop(emulator);
    assert!(matches!(about("http://127.0.0.1:1"), Err(HsmError::Unavailable { .. })));
    assert!(matches!(about("https://127.0.0.1"), Err(HsmError::Unsupported { .. })));
}
