//! One suite over every backend: what a protector must do, and what a blob must refuse.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/context.rs"]
mod context;
#[cfg(feature = "yubihsm")]
#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/isolated.rs"]
mod isolated;
#[path = "support/tokens.rs"]
mod tokens;
#[cfg(feature = "yubihsm")]
#[path = "support/yubihsm.rs"]
mod yubihsm;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use context::context;
use tokens::{Kind, Token};

use isolated::{PIN, create, module, wanted};
use quorate_hsm::pkcs11::{Curve, Pin, Pkcs11Protector, Pkcs11Signer, Wanted, probe, provision};
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{
    BlobKind, Context, Dek, HsmError, HsmSigner, KekReference, KeyProtector, Profile, inspect,
    open, rewrap, seal,
};
use zeroize::Zeroizing;

type Change = fn(&mut Context);
type Make<'a> = dyn Fn(&str) -> Box<dyn KeyProtector> + 'a;

macro_rules! over_every_backend {
    ($($test:ident),* $(,)?) => {
        in_a_token!(softhsm_gcm, SoftHsm, TokenGcm, $($test),*);
        in_a_token!(softhsm_hmac_kdf, SoftHsm, HmacKdf, $($test),*);
        in_a_token!(softhsm_cbc_hmac, SoftHsm, CbcHmac, $($test),*);
        in_a_token!(softhsm_oaep, SoftHsm, Oaep, $($test),*);
        in_a_token!(without_gcm_hmac_kdf, SoftHsmNoGcm, HmacKdf, $($test),*);
        in_a_token!(without_gcm_cbc_hmac, SoftHsmNoGcm, CbcHmac, $($test),*);
        in_a_token!(rsa_only_oaep, SoftHsmRsaOnly, Oaep, $($test),*);
        in_a_token!(nss_message_gcm, Nss, MessageGcm, $($test),*);
        in_a_token!(nss_hmac_kdf, Nss, HmacKdf, $($test),*);
        in_a_token!(nss_cbc_hmac, Nss, CbcHmac, $($test),*);
        in_a_token!(nss_oaep, Nss, Oaep, $($test),*);
        in_a_token!(kryoptic_gcm, Kryoptic, TokenGcm, $($test),*);
        in_a_token!(kryoptic_message_gcm, Kryoptic, MessageGcm, $($test),*);
        in_a_token!(kryoptic_hmac_kdf, Kryoptic, HmacKdf, $($test),*);
        in_a_token!(kryoptic_cbc_hmac, Kryoptic, CbcHmac, $($test),*);
        in_a_token!(kryoptic_oaep, Kryoptic, Oaep, $($test),*);
        #[cfg(feature = "yubihsm")]
        mod yubihsm_wrap_data {
            $(#[test]
            fn $test() {
                let emulator = super::emulator::Emulator::start(super::yubihsm::SERIAL);
                super::$test(&|name| super::yubihsm_kek(&emulator, super::Profile::WrapData, name));
            })*
        }
        #[cfg(feature = "yubihsm")]
        mod yubihsm_hmac_kdf {
            $(#[test]
            fn $test() {
                let emulator = super::emulator::Emulator::start(super::yubihsm::SERIAL);
                super::$test(&|name| super::yubihsm_kek(&emulator, super::Profile::HmacKdf, name));
            })*
        }
        mod software_emulation {
            $(#[test]
            fn $test() {
                let dir = tempfile::tempdir().unwrap();
                super::$test(&|name| super::software_kek(dir.path(), name));
            })*
        }
    };
}

macro_rules! in_a_token {
    ($module:ident, $kind:ident, $profile:ident, $($test:ident),*) => {
        mod $module {
            $(#[test]
            fn $test() {
                let name = concat!(stringify!($module), "::", stringify!($test));
                if let Some(token) = super::Token::isolated(super::Kind::$kind, name) {
                    let profile = quorate_hsm::Profile::$profile;
                    super::$test(&|label| token.kek(label, profile));
                }
            })*
        }
    };
}

over_every_backend!(
    every_size_round_trips,
    no_flipped_bit_opens,
    swaps_are_named,
    truncation_and_trailing_bytes,
    a_foreign_kek_is_refused,
    a_wrapped_key_stays_with_its_context,
    a_payload_stays_with_its_context,
    the_canary_tells_corrupt_from_unavailable,
    a_canary_must_open_to_its_value,
    threads_share_a_protector,
    a_blob_moves_to_another_kek_and_back,
);

fn every_size_round_trips(make: &Make<'_>) {
    let kek = make("a");
    kek.health().unwrap();
    for size in [0, 1, 31, 32, 33, 4096, 65_537, 256 * 1024] {
        let payload = vec![size as u8; size];
        let blob = seal(&*kek, &context(), &payload).unwrap();
        assert_eq!(*open(&*kek, &context(), &blob).unwrap(), payload);
        let header = inspect(&blob).unwrap();
        assert_eq!(
            (header.context, &header.kek, header.profile),
            (context(), kek.kek(), kek.profile())
        );
    }
    let limit = 256 * 1024;
    let refused = seal(&*kek, &context(), &vec![0; limit + 1]);
    assert_eq!(refused, Err(HsmError::TooLarge { size: limit + 1, limit }));
    println!("{}", kek.describe());
}

fn no_flipped_bit_opens(make: &Make<'_>) {
    let kek = make("a");
    let blob = seal(&*kek, &context(), b"share").unwrap();
    // RSA is slow, and its blobs are long: there each byte once, low and high bits by turns.
    let slow = kek.profile() == Profile::Oaep;
    let places = (0..blob.len()).flat_map(|index| [(index, 1), (index, 0x80)]);
    for (index, bit) in places.filter(|(index, bit)| !slow || (index % 2 == 0) == (*bit == 1)) {
        let mut altered = blob.clone();
        altered[index] ^= bit;
        let error = open(&*kek, &context(), &altered).expect_err("an altered blob opened");
        let precise = matches!(
            error,
            HsmError::Corrupt { .. }
                | HsmError::WrongContext { .. }
                | HsmError::Rollback { .. }
                | HsmError::WrongKek { .. }
                | HsmError::Unsupported { .. }
        );
        assert!(precise, "byte {index}: {error:?}");
        // Even who believes the altered header does not get it open.
        if let Ok(header) = inspect(&altered) {
            assert!(open(&*kek, &header.context, &altered).is_err(), "byte {index}");
        }
    }
    assert!(open(&*kek, &context(), &blob).is_ok());
}

fn swaps_are_named(make: &Make<'_>) {
    let kek = make("a");
    let blob = seal(&*kek, &context(), b"share").unwrap();
    let changes: [(&str, Change); 9] = [
        ("network", |c| c.network[0] ^= 1),
        ("party", |c| c.party = 3),
        ("key", |c| c.key[15] ^= 1),
        ("kind", |c| c.kind = BlobKind::PendingShare),
        ("policy version", |c| c.policy_version = 8),
        ("policy hash", |c| c.policy_hash[31] ^= 1),
        // The blob would be newer than what the caller knows.
        ("epoch", |c| c.epoch = 4),
        ("sequence", |c| c.sequence = 8),
        ("network", |c| (c.network[3], c.sequence) = (9, 99)),
    ];
    for (name, change) in changes {
        let mut expected = context();
        change(&mut expected);
        match open(&*kek, &expected, &blob) {
            Err(HsmError::WrongContext { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let newer = Context { sequence: 10, ..context() };
    let rollback = HsmError::Rollback { field: "sequence", expected: 10, found: 9 };
    assert_eq!(open(&*kek, &newer, &blob), Err(rollback));
    let newer = Context { epoch: 6, policy_version: 9, ..context() };
    assert_eq!(
        open(&*kek, &newer, &blob),
        Err(HsmError::Rollback { field: "epoch", expected: 6, found: 5 })
    );
}

fn truncation_and_trailing_bytes(make: &Make<'_>) {
    let kek = make("a");
    let blob = seal(&*kek, &context(), b"share").unwrap();
    for length in 0..blob.len() {
        let error = open(&*kek, &context(), &blob[..length]).expect_err("a truncated blob opened");
        assert!(matches!(error, HsmError::Corrupt { .. }), "{length}: {error:?}");
    }
    let longer = [blob.as_slice(), &[0]].concat();
    assert_eq!(open(&*kek, &context(), &longer), Err(HsmError::Corrupt { what: "trailing bytes" }));
}

fn a_foreign_kek_is_refused(make: &Make<'_>) {
    let (ours, theirs) = (make("a"), make("b"));
    let blob = seal(&*theirs, &context(), b"share").unwrap();
    assert!(matches!(open(&*ours, &context(), &blob), Err(HsmError::WrongKek { .. })));
    // Nor does a wrapped key open beneath the header's check.
    let wrapped = theirs.wrap(&Dek::random().unwrap(), b"aad").unwrap();
    assert!(ours.unwrap(&wrapped, b"aad").is_err());
    assert!(theirs.unwrap(&wrapped, b"other").is_err());
    assert!(theirs.unwrap(&wrapped, b"aad").is_ok());
}

/// The wrapped key of another context, by the same KEK, is refused before any payload is tried.
fn a_wrapped_key_stays_with_its_context(make: &Make<'_>) {
    let kek = make("a");
    let theirs = Context { party: 3, ..context() };
    let mut ours = seal(&*kek, &context(), b"share").unwrap();
    let other = seal(&*kek, &theirs, b"share").unwrap();
    assert_eq!(ours.len(), other.len());
    // What comes after the wrapped key: nonce, length, payload and tag.
    let end = ours.len() - (24 + 4 + b"share".len() + 16);
    let start = end - kek.wrap(&Dek::random().unwrap(), b"").unwrap().len();
    ours[start..].copy_from_slice(&other[start..]);
    let refused = HsmError::Corrupt { what: "wrapped key or header" };
    assert_eq!(open(&*kek, &context(), &ours), Err(refused));
}

/// The payload is bound by itself, not only through its key.
fn a_payload_stays_with_its_context(make: &Make<'_>) {
    let careless = Faulty { careless: true, ..Faulty::new(make("a")) };
    let blob = seal(&careless, &context(), b"share").unwrap();
    let theirs = Context { party: 3, ..context() };
    let other = seal(&careless, &theirs, b"share").unwrap();
    let header = 4 + 2 + 16 + 2 + 16 + 4 + 4 + 32 + 1 + 8;
    let altered = [&other[..header], &blob[header..]].concat();
    assert_eq!(inspect(&altered).unwrap().context, theirs);
    let refused = HsmError::Corrupt { what: "payload" };
    assert_eq!(open(&careless, &theirs, &altered), Err(refused));
    assert!(open(&careless, &context(), &blob).is_ok());
}

fn a_canary_must_open_to_its_value(make: &Make<'_>) {
    let faulty = Faulty::new(make("a"));
    faulty.health().unwrap();
    faulty.lies.store(true, Ordering::Relaxed);
    assert!(matches!(faulty.health(), Err(HsmError::Unavailable { .. })));
    // Nor does a fresh blob pass that opens to something else, or not at all.
    assert!(seal(&faulty, &context(), b"share").is_err());
}

fn the_canary_tells_corrupt_from_unavailable(make: &Make<'_>) {
    let faulty = Faulty::new(make("a"));
    let blob = seal(&faulty, &context(), b"share").unwrap();
    let mut altered = blob.clone();
    let wrapped_key = blob.len() - (b"share".len() + 16) - 4 - 24 - 1;
    altered[wrapped_key] ^= 1;
    assert!(matches!(open(&faulty, &context(), &altered), Err(HsmError::Corrupt { .. })));
    faulty.broken.store(true, Ordering::Relaxed);
    assert!(matches!(open(&faulty, &context(), &blob), Err(HsmError::Unavailable { .. })));
    assert!(matches!(open(&faulty, &context(), &altered), Err(HsmError::Unavailable { .. })));
    assert!(faulty.health().is_err());
}

fn threads_share_a_protector(make: &Make<'_>) {
    let kek = make("a");
    std::thread::scope(|scope| {
        for thread in 0..12u8 {
            let kek = &*kek;
            scope.spawn(move || {
                for round in 0..20u8 {
                    let blob = seal(kek, &context(), &[thread, round]).unwrap();
                    assert_eq!(*open(kek, &context(), &blob).unwrap(), [thread, round]);
                }
            });
        }
    });
}

fn a_blob_moves_to_another_kek_and_back(make: &Make<'_>) {
    let dir = tempfile::tempdir().unwrap();
    let (kek, file) = (make("a"), software_kek(dir.path(), "file"));
    let home = seal(&*kek, &context(), b"share").unwrap();
    let away = rewrap(&*kek, &*file, &context(), &home).unwrap();
    let back = rewrap(&*file, &*kek, &context(), &away).unwrap();
    for (kek, blob) in [(&kek, &home), (&file, &away), (&kek, &back)] {
        assert_eq!(*open(&**kek, &context(), blob).unwrap(), b"share");
        let header = inspect(blob).unwrap();
        assert_eq!((&header.kek, header.profile), (kek.kek(), kek.profile()));
    }
    // All but the wrapped DEK and the KEK's name stays byte for byte: context, nonce, ciphertext.
    let prefix = 6 + 16 + 2 + 16 + 4 + 4 + 32 + 1 + 8;
    let tail = 24 + 4 + b"share".len() + 16;
    for blob in [&away, &back] {
        assert_eq!(blob[..prefix], home[..prefix]);
        assert_eq!(blob[blob.len() - tail..], home[home.len() - tail..]);
    }
    // What the new KEK would not open again is not handed out, nor what opens to something else.
    let faulty = Faulty::new(file);
    faulty.lies.store(true, Ordering::Relaxed);
    assert!(rewrap(&*kek, &faulty, &context(), &home).is_err());
    faulty.broken.store(true, Ordering::Relaxed);
    assert!(rewrap(&*kek, &faulty, &context(), &home).is_err());
}

#[test]
fn a_deleted_kek_is_named() {
    let Some(_) = isolated::isolated("a_deleted_kek_is_named", &[]) else { return };
    let kek = softhsm_kek("a");
    let blob = seal(&*kek, &context(), b"share").unwrap();
    let deleted = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module())
        .args(["--token-label", "a", "--login", "--pin", PIN])
        .args(["--delete-object", "--type", "secrkey", "--id", "01020304"])
        .status()
        .expect("pkcs11-tool is not installed: run tests/run");
    assert!(deleted.success());
    let error = open(&*kek, &context(), &blob).expect_err("the KEK is gone");
    assert!(matches!(error, HsmError::KeyMissing { .. }), "{error:?}");
    assert!(matches!(kek.health(), Err(HsmError::KeyMissing { .. })));
}

#[test]
fn a_token_that_returns_is_used_again() {
    let Some(dir) = isolated::isolated("a_token_that_returns_is_used_again", &[]) else { return };
    let kek = softhsm_kek("a");
    let blob = seal(&*kek, &context(), b"share").unwrap();
    let (here, away) = (dir.join("tokens"), dir.join("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    let error = open(&*kek, &context(), &blob).expect_err("the token is away");
    assert!(
        matches!(error, HsmError::TokenMissing { .. } | HsmError::Unavailable { .. }),
        "{error:?}"
    );
    std::fs::remove_dir_all(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(*open(&*kek, &context(), &blob).unwrap(), b"share");
}

#[test]
fn a_race_to_create_a_key_file_has_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kek");
    let start = std::sync::Barrier::new(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    SoftwareProtector::create(&path, SoftwareSecret::KeyFile)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut winners = results.iter().filter_map(|result| result.as_ref().ok());
    let winner = winners.next().unwrap();
    assert!(winners.next().is_none());
    let kept = SoftwareProtector::open(&path, SoftwareSecret::KeyFile).unwrap();
    assert_eq!(kept.kek(), winner.kek());
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(refused, HsmError::KeyExists { .. }), "{refused:?}");
    }
}

#[test]
fn software_files_are_guarded() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let secret = |text: &str| SoftwareSecret::Passphrase(Zeroizing::new(text.to_owned()));
    let path = dir.path().join("passphrase");
    let kek = SoftwareProtector::create(&path, secret("correct horse")).unwrap();
    let blob = seal(&kek, &context(), b"share").unwrap();
    assert_eq!(SoftwareProtector::open(&path, secret("wrong")).unwrap_err(), HsmError::Auth);
    assert!(matches!(
        SoftwareProtector::open(&path, SoftwareSecret::KeyFile),
        Err(HsmError::Storage { .. })
    ));
    let again = SoftwareProtector::open(&path, secret("correct horse")).unwrap();
    assert_eq!(*open(&again, &context(), &blob).unwrap(), b"share");
    assert!(again.describe().contains("NOT an HSM"));
    argon2_costs_have_limits(&path);

    let path = dir.path().join("keyfile");
    SoftwareProtector::create(&path, SoftwareSecret::KeyFile).unwrap();
    let exists = SoftwareProtector::create(&path, SoftwareSecret::KeyFile).unwrap_err();
    assert!(matches!(exists, HsmError::KeyExists { .. }));
    // What a crash left beside it is not in the way, and nothing of ours is left.
    let other = dir.path().join("other.kek");
    std::fs::write(other.with_extension("tmp"), "half").unwrap();
    SoftwareProtector::create(&other, SoftwareSecret::KeyFile).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["keyfile", "other.kek", "other.tmp", "passphrase"]);
    for path in [&path, &other] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let open_to_group = SoftwareProtector::open(&path, SoftwareSecret::KeyFile).unwrap_err();
    assert!(open_to_group.to_string().contains("chmod 600"), "{open_to_group}");
}

/// `path`: a file under the passphrase `correct horse`.
fn argon2_costs_have_limits(path: &std::path::Path) {
    let whole = std::fs::read(path).unwrap();
    let opened = |field: usize, value: u32| {
        let mut bytes = whole.clone();
        // After magic, mode and identifier: memory in KiB, passes, lanes.
        bytes[22 + 4 * field..][..4].copy_from_slice(&value.to_be_bytes());
        std::fs::write(path, bytes).unwrap();
        let secret = SoftwareSecret::Passphrase(Zeroizing::new("correct horse".to_owned()));
        SoftwareProtector::open(path, secret).map(drop)
    };
    let corrupt = Err(HsmError::Corrupt { what: "key file" });
    for (field, value) in
        [(0, 19 * 1024 - 1), (0, 1024 * 1024 + 1), (1, 1), (1, 17), (2, 0), (2, 9), (0, u32::MAX)]
    {
        assert_eq!(opened(field, value), corrupt, "field {field}: {value}");
    }
    // Within the limits it is another key, whatever the passphrase.
    assert_eq!(opened(1, 4), Err(HsmError::Auth));
    assert_eq!(opened(1, 3), Ok(()));
}

struct Faulty {
    inner: Box<dyn KeyProtector>,
    /// Opens nothing.
    broken: AtomicBool,
    /// Opens everything to something else.
    lies: AtomicBool,
    /// Ignores associated data.
    careless: bool,
}

impl Faulty {
    fn new(inner: Box<dyn KeyProtector>) -> Self {
        let never = AtomicBool::default;
        Self { inner, broken: never(), lies: never(), careless: false }
    }

    fn aad<'a>(&self, aad: &'a [u8]) -> &'a [u8] {
        if self.careless { b"" } else { aad }
    }
}

impl KeyProtector for Faulty {
    fn profile(&self) -> Profile {
        self.inner.profile()
    }
    fn kek(&self) -> &KekReference {
        self.inner.kek()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn wrap(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.inner.wrap(dek, self.aad(aad))
    }
    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(HsmError::Unavailable { reason: "fault".into() });
        }
        if self.lies.load(Ordering::Relaxed) {
            return Dek::random();
        }
        self.inner.unwrap(wrapped, self.aad(aad))
    }
    fn canary(&self) -> &[u8] {
        self.inner.canary()
    }
}

fn softhsm_kek(label: &str) -> Box<dyn KeyProtector> {
    create(label);
    kek(wanted(module(), label))
}

/// What each software token can, as known. The probe must find exactly this, and what is missing from the
/// suite above is missing here with a word of the reason.
struct Expected {
    kind: Kind,
    works: &'static [Profile],
    refused: &'static [(Profile, &'static str)],
    oaep: &'static str,
    ed25519: bool,
}

use Profile::{CbcHmac, HmacKdf, MessageGcm, Oaep, TokenGcm};

const SOFTHSM: Expected = Expected {
    kind: Kind::SoftHsm,
    works: &[TokenGcm, HmacKdf, CbcHmac, Oaep],
    refused: &[(MessageGcm, "the library lacks this call")],
    oaep: "OAEP with SHA-1",
    ed25519: true,
};

const SOFTHSM_WITHOUT_GCM: Expected = Expected {
    kind: Kind::SoftHsmNoGcm,
    works: &[HmacKdf, CbcHmac, Oaep],
    refused: &[(TokenGcm, "MechanismInvalid"), (MessageGcm, "the library lacks this call")],
    ed25519: false,
    ..SOFTHSM
};

const SOFTHSM_RSA_ONLY: Expected = Expected {
    kind: Kind::SoftHsmRsaOnly,
    works: &[Oaep],
    refused: &[
        (TokenGcm, "MechanismInvalid"),
        (MessageGcm, "the library lacks this call"),
        (HmacKdf, "MechanismInvalid"),
        (CbcHmac, "MechanismInvalid"),
    ],
    ..SOFTHSM_WITHOUT_GCM
};

const NSS: Expected = Expected {
    kind: Kind::Nss,
    works: &[MessageGcm, HmacKdf, CbcHmac, Oaep],
    refused: &[(TokenGcm, "BufferTooSmall")],
    oaep: "OAEP with SHA-256",
    ed25519: false,
};

const KRYOPTIC: Expected = Expected {
    kind: Kind::Kryoptic,
    works: &[TokenGcm, MessageGcm, HmacKdf, CbcHmac, Oaep],
    refused: &[],
    ..NSS
};

#[test]
fn softhsm_can_what_is_known() {
    the_probe_finds("softhsm_can_what_is_known", &SOFTHSM);
}

#[test]
fn softhsm_without_gcm_can_what_is_known() {
    the_probe_finds("softhsm_without_gcm_can_what_is_known", &SOFTHSM_WITHOUT_GCM);
}

#[test]
fn softhsm_with_rsa_only_can_what_is_known() {
    the_probe_finds("softhsm_with_rsa_only_can_what_is_known", &SOFTHSM_RSA_ONLY);
}

#[test]
fn nss_can_what_is_known() {
    the_probe_finds("nss_can_what_is_known", &NSS);
}

#[test]
fn kryoptic_can_what_is_known() {
    the_probe_finds("kryoptic_can_what_is_known", &KRYOPTIC);
}

fn the_probe_finds(name: &str, expected: &Expected) {
    let Some(token) = Token::isolated(expected.kind, name) else { return };
    let wanted = token.wanted("a");
    let found = probe(&wanted.location, Pin::new(PIN)).unwrap();
    for trial in &found.profiles {
        println!("{}: {}: {trial:?}", found.token, trial.profile);
    }
    let works = found.profiles.iter().filter(|trial| trial.works());
    assert_eq!(works.map(|trial| trial.profile).collect::<Vec<_>>(), expected.works);
    let refused: Vec<_> = found
        .profiles
        .iter()
        .filter_map(|trial| Some((trial.profile, trial.refused.clone()?)))
        .collect();
    assert_eq!(refused.len(), expected.refused.len(), "{refused:?}");
    for ((profile, why), (known, word)) in refused.iter().zip(expected.refused) {
        assert!(profile == known && why.contains(word), "{profile}: {why}, not {word}");
    }
    let oaep = found.profiles.last().unwrap();
    assert_eq!(oaep.note.as_deref(), Some(expected.oaep));
    assert!(found.can_sign(Curve::P256));
    assert_eq!(found.can_sign(Curve::Ed25519), expected.ed25519);
    // Provisioning without a wish takes the first that works, and what it makes opens.
    let wanted = Wanted { identity: Some(Curve::P256), ..wanted };
    let made = provision(wanted, Pin::new(PIN)).unwrap();
    println!("{}", made.report.join("\n"));
    assert_eq!(made.config.profile, expected.works[0]);
    assert_eq!(found.choice().unwrap().0, expected.works[0]);
    let signer = Pkcs11Signer::open(&made.config, Pin::new(PIN)).unwrap();
    signer.sign(b"message").unwrap();
    Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).unwrap();
}

fn kek(wanted: Wanted) -> Box<dyn KeyProtector> {
    let made = provision(wanted, Pin::new(PIN)).unwrap();
    Box::new(Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).unwrap())
}

#[cfg(feature = "yubihsm")]
/// In one device, under identifiers of its own.
fn yubihsm_kek(
    emulator: &emulator::Emulator,
    profile: Profile,
    name: &str,
) -> Box<dyn KeyProtector> {
    let mut plan = yubihsm::plan(emulator, profile);
    let base = u16::from(name.as_bytes()[0]) << 8;
    plan.config.key_id += base;
    plan.config.auth_key += base;
    plan.identity_key += base;
    plan.auditor += base;
    Box::new(yubihsm::open(&yubihsm::make(plan).unwrap()).unwrap())
}

fn software_kek(dir: &Path, name: &str) -> Box<dyn KeyProtector> {
    Box::new(SoftwareProtector::create(&dir.join(name), SoftwareSecret::KeyFile).unwrap())
}
