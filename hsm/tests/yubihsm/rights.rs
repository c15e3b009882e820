//! Who may do what in the device, tried with the client library itself.

use quorate_hsm::yubihsm::{
    AuditDrain, Config, Password, Provisioned, YubiHsmProtector, YubiHsmSigner,
};
use quorate_hsm::{HsmError, HsmSigner, KeyProtector, Profile, PublicKey, open, seal};
use yubihsm::device::ErrorKind as Refusal;
use yubihsm::object::Type;
use yubihsm::{Capability, Client, Connector, Credentials, Domain, HttpConfig};

use crate::emulator::Emulator;
use crate::emulator::device::DEFAULT_PASSWORD;
use crate::support::{AUDITOR, NODE, fresh, open as open_kek};
use crate::{context, works};

pub(crate) fn client(made: &Provisioned, id: u16, password: &str) -> Client {
    let address = made.config.connector.strip_prefix("http://").unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let (addr, port) = (host.to_owned(), port.parse().unwrap());
    let connector = Connector::http(&HttpConfig { addr, port, ..HttpConfig::default() });
    let credentials = Credentials::from_password(id, password.as_bytes());
    Client::open(connector, credentials, false).unwrap()
}

fn refusal<T>(outcome: Result<T, yubihsm::client::Error>) -> Option<Refusal> {
    outcome.err().expect("the device allowed it").device_error()
}

#[test]
fn the_node_cannot_delete_export_read_the_log_or_make_keys() {
    let (emulator, made) = fresh(Profile::WrapData);
    let node = client(&made, made.config.auth_key, NODE);
    let denied = Some(Refusal::InsufficientPermissions);
    for (id, kind) in [
        (0x10, Type::WrapKey),
        (0x11, Type::AsymmetricKey),
        (0x20, Type::AuthenticationKey),
        (0x21, Type::AuthenticationKey),
    ] {
        assert_eq!(refusal(node.delete_object(id, kind)), denied, "{kind}");
        assert_eq!(refusal(node.export_wrapped(0x10, kind, id)), denied, "{kind}");
    }
    assert_eq!(refusal(node.get_log_entries()), denied);
    assert_eq!(refusal(node.set_log_index(1)), denied);
    assert_eq!(refusal(node.set_force_audit_option(yubihsm::AuditOption::Off)), denied);
    let (domain, none) = (Domain::DOM3, Capability::empty());
    let made_key = node.generate_wrap_key(
        0,
        "mine".into(),
        domain,
        Capability::WRAP_DATA,
        none,
        yubihsm::wrap::Algorithm::Aes256Ccm,
    );
    assert_eq!(refusal(made_key), denied);
    let key = yubihsm::authentication::Key::derive_from_password(b"mine");
    let algorithm = yubihsm::authentication::Algorithm::YubicoAes;
    let made_key =
        node.put_authentication_key(0, "mine".into(), domain, none, none, algorithm, key);
    assert_eq!(refusal(made_key), denied);
    // The device's reset is not told about by the library: the objects are still there.
    node.reset_device().unwrap();
    assert_eq!(emulator.device().objects.len(), 5);
    works(&open_kek(&made).unwrap()).unwrap();
}

#[test]
fn the_auditor_can_only_read_the_log() {
    let (_emulator, made) = fresh(Profile::WrapData);
    let auditor = client(&made, 0x21, AUDITOR);
    let denied = Some(Refusal::InsufficientPermissions);
    assert_eq!(refusal(auditor.wrap_data(0x10, vec![0; 64])), denied);
    assert_eq!(refusal(auditor.sign_ecdsa_prehash_raw(0x11, [0u8; 32])), denied);
    assert_eq!(refusal(auditor.delete_object(0x10, Type::WrapKey)), denied);
    auditor.get_log_entries().unwrap();
    // And the node is no auditor.
    let config = made.config.clone();
    let error = AuditDrain::open(&config, config.auth_key, &Password::new(NODE)).unwrap_err();
    assert!(matches!(error, HsmError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("authentication key 0x0020"), "{error}");
    // Nor is the auditor's key one for a node.
    let config = Config { auth_key: 0x21, ..config };
    let error = YubiHsmProtector::open(config, &Password::new(AUDITOR), made.canary).unwrap_err();
    assert!(error.to_string().contains("get-log-entries"), "{error}");
}

/// An authentication key of another node: the same rights, another domain.
#[test]
fn another_domain_sees_nothing() {
    let (emulator, made) = fresh(Profile::WrapData);
    {
        let mut device = emulator.device();
        let mut neighbour = device.objects[&(0x20, 2)].clone();
        neighbour.domains = 1 << 7;
        device.objects.insert((0x30, 2), neighbour);
    }
    let config = Config { auth_key: 0x30, ..made.config.clone() };
    let node = Password::new(NODE);
    let error = YubiHsmProtector::open(config.clone(), &node, made.canary.clone()).unwrap_err();
    assert!(matches!(error, HsmError::KeyMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("wrap-key 0x0010"), "{error}");
    let error = YubiHsmSigner::open(&config, 0x11, &node).unwrap_err();
    assert!(matches!(error, HsmError::KeyMissing { .. }), "{error:?}");
    let neighbour = client(&made, 0x30, NODE);
    assert_eq!(refusal(neighbour.wrap_data(0x10, vec![0; 64])), Some(Refusal::ObjectNotFound));
    open_kek(&made).unwrap();
}

#[test]
fn a_deleted_kek_is_named() {
    for (profile, kind, name) in [
        (Profile::WrapData, Type::WrapKey, "wrap-key 0x0010"),
        (Profile::HmacKdf, Type::HmacKey, "hmac-key 0x0010"),
    ] {
        let (_emulator, made) = fresh(profile);
        let kek = open_kek(&made).unwrap();
        let blob = seal(&kek, &context(), b"share").unwrap();
        client(&made, 1, DEFAULT_PASSWORD).delete_object(0x10, kind).unwrap();
        let error = open(&kek, &context(), &blob).unwrap_err();
        assert!(matches!(error, HsmError::KeyMissing { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(kek.health().unwrap_err(), error);
        assert_eq!(seal(&kek, &context(), b"share").unwrap_err(), error);
        assert_eq!(open_kek(&made).unwrap_err(), error);
    }
}

type Weaken = fn(&Emulator);

/// Objects that other means put there, weaker than ours, under our identifiers.
#[test]
fn keys_that_could_do_more_are_refused() {
    use crate::emulator::capability;
    let change: [(Weaken, &str); 6] = [
        (
            |e| {
                e.device().objects.get_mut(&(0x10, 4)).unwrap().capabilities |=
                    capability::EXPORTABLE_UNDER_WRAP
            },
            "exportable-under-wrap",
        ),
        (
            |e| {
                e.device().objects.get_mut(&(0x10, 4)).unwrap().capabilities |=
                    capability::EXPORT_WRAPPED
            },
            "export-wrapped",
        ),
        (
            |e| e.device().objects.get_mut(&(0x10, 4)).unwrap().delegated |= capability::SIGN_ECDSA,
            "delegates sign-ecdsa",
        ),
        (|e| e.device().objects.get_mut(&(0x10, 4)).unwrap().algorithm = 0x29, "Aes192Ccm"),
        (
            |e| {
                e.device().objects.get_mut(&(0x20, 2)).unwrap().capabilities |=
                    capability::delete(4)
            },
            "delete-wrap-key",
        ),
        (
            |e| {
                e.device().objects.get_mut(&(0x20, 2)).unwrap().delegated |=
                    capability::GET_LOG_ENTRIES
            },
            "get-log-entries",
        ),
    ];
    for (weaken, words) in change {
        let (emulator, made) = fresh(Profile::WrapData);
        weaken(&emulator);
        let error = open_kek(&made).unwrap_err();
        assert!(matches!(error, HsmError::Unsupported { .. }), "{words}: {error:?}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let (emulator, made) = fresh(Profile::WrapData);
    emulator.device().objects.get_mut(&(0x10, 4)).unwrap().origin = 2;
    let description = open_kek(&made).unwrap().describe();
    assert!(description.contains("imported: others may have it"), "{description}");
}

/// A KEK whose authentication key lost a right while the node runs.
#[test]
fn a_right_that_was_taken_away_is_named() {
    let (emulator, made) = fresh(Profile::WrapData);
    let kek = open_kek(&made).unwrap();
    emulator.device().objects.get_mut(&(0x20, 2)).unwrap().capabilities = 0;
    let error = kek.health().unwrap_err();
    assert!(matches!(error, HsmError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("unwrap with wrap-key 0x0010"), "{error}");
}

#[test]
fn the_identity_key_signs_in_the_device() {
    use p256::ecdsa::signature::Verifier;
    let (emulator, made) = fresh(Profile::WrapData);
    let node = Password::new(NODE);
    let signer = YubiHsmSigner::open(&made.config, 0x11, &node).unwrap();
    assert_eq!(signer.public(), made.identity);
    let PublicKey::P256(point) = signer.public() else { panic!("{}", signer.public()) };
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    for size in [0, 1, 64, 100_000] {
        let message = vec![7; size];
        let signature = signer.sign(&message).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        key.verify(&message, &signature).unwrap();
    }
    println!("{}", signer.describe());
    // A protector of the same process shares its session.
    open_kek(&made).unwrap();
    assert_eq!(emulator.device().open_sessions(), 1);

    // The administrator replaces the key under its identifier.
    let administrator = client(&made, 1, DEFAULT_PASSWORD);
    administrator.delete_object(0x11, Type::AsymmetricKey).unwrap();
    let error = signer.sign(b"message").unwrap_err();
    assert!(error.to_string().contains("asymmetric-key 0x0011"), "{error}");
    let algorithm = yubihsm::asymmetric::Algorithm::EcP256;
    administrator
        .generate_asymmetric_key(
            0x11,
            "new".into(),
            Domain::DOM3,
            Capability::SIGN_ECDSA,
            algorithm,
        )
        .unwrap();
    let error = signer.sign(b"message").unwrap_err();
    assert!(error.to_string().contains("does not fit its public key"), "{error}");
}
