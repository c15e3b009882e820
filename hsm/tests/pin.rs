//! PIN tries are counted by `pkcs11-spy`, and every missing thing has an error of its own.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/isolated.rs"]
mod isolated;

use std::path::{Path, PathBuf};

use isolated::{PIN, config, create, isolated, job, module, wanted, work};
use quorate_hsm::pkcs11::{
    Location, Pin, PinGuard, Pkcs11Protector, TokenSelector, Wanted, probe, provision, softhsm,
};
use quorate_hsm::{HsmError, KeyProtector};

#[test]
fn a_wrong_pin_is_tried_once() {
    let Some(dir) = isolated("a_wrong_pin_is_tried_once", &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    let before = logins(&dir);
    let error = Pkcs11Protector::open(config(spy(), "a"), Pin::new("wrong"), made.canary.clone())
        .unwrap_err();
    assert_eq!(error, HsmError::Auth);
    assert_eq!(logins(&dir) - before, 1);
    let before = logins(&dir);
    Pkcs11Protector::open(config(spy(), "a"), Pin::new(PIN), made.canary).unwrap();
    assert_eq!(logins(&dir) - before, 1);
}

/// What a service manager does that restarts what failed: each start is a process of its own.
#[test]
fn three_starts_try_a_wrong_pin_once() {
    let open = |dir: &Path, pin: &str, source: &str| {
        let pin = Pin::new(pin).guarded(PinGuard::new(dir, source));
        let canary = std::fs::read(dir.join("canary")).unwrap();
        Pkcs11Protector::open(config(spy(), "a"), pin, canary)
    };
    if let Some((dir, source)) = job() {
        let expected = if logins(&dir) == 0 { "wrong PIN" } else { "no PIN was tried now" };
        let error = open(&dir, "wrong", &source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        return;
    }
    let Some(dir) = isolated("three_starts_try_a_wrong_pin_once", &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    std::fs::write(dir.join("canary"), &made.canary).unwrap();
    // The last one has another source: a person must say so all the same.
    for source in ["file 1", "file 1", "file 2"] {
        let done = work(source);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        assert_eq!(logins(&dir), 1);
    }
    // Provisioning and probing are held as well, and the token is not even looked at.
    let held = || Pin::new(PIN).guarded(PinGuard::new(&dir, "file 2"));
    let refused = provision(wanted("/nowhere".into(), "a"), held()).unwrap_err();
    assert!(matches!(refused, HsmError::PinHeld { .. }), "{refused:?}");
    let refused = probe(&wanted(spy(), "a").location, held()).unwrap_err();
    assert!(matches!(refused, HsmError::PinHeld { .. }), "{refused:?}");
    assert_eq!(logins(&dir), 1);
    assert_eq!(PinGuard::new(&dir, "file 2").clear(), Ok(true));
    open(&dir, PIN, "file 2").unwrap();
    assert_eq!(logins(&dir), 2);
}

/// The token is asked once for the whole process, so that the second PIN is looked at by nobody.
#[test]
fn a_pin_that_nobody_judged_is_not_known_to_be_good() {
    let name = "a_pin_that_nobody_judged_is_not_known_to_be_good";
    let Some(dir) = isolated(name, &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    let open =
        |pin: Pin| Pkcs11Protector::open(config(module(), "a"), pin, made.canary.clone()).unwrap();
    let guard = || PinGuard::new(&dir, "file");
    let record = || std::fs::read_to_string(dir.join(PinGuard::FILE)).unwrap().lines().count();
    let first = open(Pin::new(PIN));
    open(Pin::new("wrong").guarded(guard()));
    assert_eq!(record(), 2, "a source is noted as good");
    drop(first);
    open(Pin::new(PIN).guarded(guard()));
    assert_eq!(record(), 3, "the source is not noted");
}

#[test]
fn provisioning_tries_a_wrong_pin_once() {
    let Some(dir) = isolated("provisioning_tries_a_wrong_pin_once", &[]) else { return };
    create("a");
    assert_eq!(provision(wanted(spy(), "a"), Pin::new("wrong")).unwrap_err(), HsmError::Auth);
    assert_eq!(logins(&dir), 1);
    // An empty PIN would ask for a keypad.
    assert_eq!(provision(wanted(spy(), "a"), Pin::new("")).unwrap_err(), HsmError::Auth);
    assert_eq!(logins(&dir), 1);
}

#[test]
fn recovery_does_not_repeat_a_refused_pin() {
    let Some(dir) = isolated("recovery_does_not_repeat_a_refused_pin", &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    let kek = Pkcs11Protector::open(config(spy(), "a"), Pin::new(PIN), made.canary).unwrap();
    let changed = std::process::Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module())
        .args([
            "--token-label",
            "a",
            "--login",
            "--pin",
            PIN,
            "--change-pin",
            "--new-pin",
            "87654321",
        ])
        .status()
        .expect("pkcs11-tool is not installed: run tests/run");
    assert!(changed.success());
    let before = logins(&dir);
    // The token goes and comes back, so the next call finds every handle invalid and recovers.
    let (here, away) = (dir.join("tokens"), dir.join("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    kek.health().expect_err("the token is away");
    std::fs::remove_dir_all(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    for _ in 0..20 {
        assert_eq!(kek.health(), Err(HsmError::Auth));
    }
    assert_eq!(logins(&dir) - before, 1);
}

#[test]
fn what_is_missing_is_named() {
    let Some(_) = isolated("what_is_missing_is_named", &[]) else { return };
    create("a");
    let open = |config| Pkcs11Protector::open(config, Pin::new(PIN), vec![0; 60]).unwrap_err();
    let library = open(config(PathBuf::from("/nowhere/lib.so"), "a"));
    assert!(matches!(library, HsmError::ModuleMissing { .. }), "{library:?}");
    assert!(library.to_string().contains("/nowhere/lib.so"));
    let token = open(config(module(), "b"));
    assert!(
        matches!(&token, HsmError::TokenMissing { available, .. } if available.len() == 1),
        "{token:?}"
    );
    assert!(token.to_string().contains("no token b; available: a (serial "), "{token}");
    let key = open(config(module(), "a"));
    assert!(matches!(key, HsmError::KeyMissing { .. }), "{key:?}");
    assert!(key.to_string().contains("01020304"));
}

#[test]
fn existing_keys_and_bad_canaries_are_refused() {
    let Some(_) = isolated("existing_keys_and_bad_canaries_are_refused", &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    let again = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap_err();
    assert!(matches!(again, HsmError::KeyExists { .. }), "{again:?}");
    let mut canary = made.canary;
    canary[20] ^= 1;
    let error = Pkcs11Protector::open(made.config, Pin::new(PIN), canary).unwrap_err();
    assert!(matches!(error, HsmError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("the canary does not open"), "{error}");
    let cut = Pkcs11Protector::open(config(module(), "a"), Pin::new(PIN), vec![0; 59]).unwrap_err();
    assert!(matches!(cut, HsmError::Unavailable { .. }), "{cut:?}");
}

#[test]
fn duplicate_labels_are_ambiguous() {
    let Some(_) = isolated("duplicate_labels_are_ambiguous", &[]) else { return };
    for _ in 0..2 {
        let made = std::process::Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                "twin",
                "--so-pin",
                "12345678",
                "--pin",
                PIN,
            ])
            .status()
            .expect("softhsm2-util is not installed: run tests/run");
        assert!(made.success());
    }
    create("other");
    let error = provision(wanted(module(), "twin"), Pin::new(PIN)).unwrap_err();
    let HsmError::AmbiguousToken { matches, .. } = &error else { panic!("{error:?}") };
    // Only the twins, with what tells them apart.
    assert_eq!(matches.len(), 2, "{error}");
    assert!(matches.iter().all(|name| name.starts_with("twin (serial ")), "{error}");
    let serial =
        |name: &str| name.split_once("serial ").unwrap().1.trim_end_matches(')').to_owned();
    let token = TokenSelector::Serial(serial(&matches[0]));
    let location = Location { module: module(), token };
    let made = provision(Wanted { location, ..wanted(module(), "") }, Pin::new(PIN)).unwrap();
    Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).unwrap();
}

#[test]
fn a_token_is_never_initialised_over_another_of_its_label() {
    let Some(_) = isolated("a_token_is_never_initialised_over_another_of_its_label", &[]) else {
        return;
    };
    let new = || softhsm::create_token(&module(), "a", &Pin::new("12345678"), &Pin::new(PIN));
    let first = new().unwrap();
    assert_eq!(new(), Err(HsmError::TokenExists { label: "a".into(), serial: first }));
}

/// A key that was put there by other means, weaker than ours, under our identifier.
#[test]
fn a_key_that_could_leave_its_token_is_refused() {
    let Some(_) = isolated("a_key_that_could_leave_its_token_is_refused", &[]) else { return };
    create("a");
    let made = std::process::Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module())
        .args(["--token-label", "a", "--login", "--pin", PIN, "--id", "01020304"])
        .args(["--keygen", "--key-type", "AES:32", "--extractable"])
        .status()
        .expect("pkcs11-tool is not installed: run tests/run");
    assert!(made.success());
    let weak = config(module(), "a");
    let error = Pkcs11Protector::open(weak, Pin::new(PIN), vec![0; 60]).unwrap_err();
    assert!(matches!(error, HsmError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("not extractable"), "{error}");
}

#[test]
fn pins_are_never_printed() {
    assert_eq!(format!("{:?}", Pin::new(PIN)), "Pin(..)");
}

/// Debian has it beside the libraries or among the modules, below a folder named after the machine.
fn spy() -> PathBuf {
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
    folders.extend(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    folders
        .iter()
        .flat_map(|folder| ["pkcs11-spy.so", "pkcs11/pkcs11-spy.so"].map(|name| folder.join(name)))
        .find(|path| path.is_file())
        .expect("pkcs11-spy.so (of opensc) is not installed: run tests/run")
}

fn logins(dir: &Path) -> usize {
    let log = std::fs::read_to_string(dir.join("spy.log")).unwrap_or_default();
    log.lines().filter(|line| line.ends_with(": C_Login")).count()
}

/// Where a command joins its own login and finds it gone, nothing is put in the PIN's place.
#[test]
fn without_a_login_to_join_no_pin_is_tried() {
    let Some(dir) = isolated("without_a_login_to_join_no_pin_is_tried", &[]) else { return };
    create("a");
    let made = provision(wanted(module(), "a"), Pin::new(PIN)).unwrap();
    let before = logins(&dir);
    let join =
        || Pkcs11Protector::open(config(spy(), "a"), Pin::of_this_login(), made.canary.clone());
    let gone = join().unwrap_err();
    assert!(
        matches!(&gone, HsmError::Unavailable { reason } if reason.contains("is gone")),
        "{gone}"
    );
    assert_eq!(logins(&dir), before);
    // Control: beside a login it opens, and still nobody is asked.
    let first =
        Pkcs11Protector::open(config(spy(), "a"), Pin::new(PIN), made.canary.clone()).unwrap();
    join().unwrap().health().unwrap();
    assert_eq!(logins(&dir), before + 1);
    drop(first);
}
