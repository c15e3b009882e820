//! SIGKILL at every call into the token: what was acknowledged opens, and what is left over can be named
//! and removed.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/isolated.rs"]
mod isolated;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use faulty::Faulty;
use isolated::{PIN, job, work};
use quorate_hsm::pkcs11::{
    Config, Curve, Pin, PinGuard, Pkcs11Protector, Pkcs11Signer, Wanted, discard, provision,
};
use quorate_hsm::{BlobKind, Context, HsmError, HsmSigner, Profile, open, seal};

/// Kept as the caller of `provision` keeps it.
type Made = (Config, Vec<u8>);

/// In one step: it is there whole, or not at all.
fn acknowledge(dir: &Path, name: &str, bytes: &[u8]) {
    let next = dir.join("acknowledging");
    fs::write(&next, bytes).unwrap();
    fs::rename(next, dir.join(name)).unwrap();
}

fn read(dir: &Path, name: &str) -> Option<Made> {
    Some(postcard::from_bytes(&fs::read(dir.join(name)).ok()?).unwrap())
}

fn pin() -> Pin {
    Pin::new(PIN)
}

/// Kills at the first call, the second, and so on, until the job ends by itself. Returns their number.
fn at_every_call(faulty: &Faulty, job: &str, mut check: impl FnMut(usize)) -> usize {
    for call in 1.. {
        faulty.rule(&format!("kill any {call}"));
        let done = work(&format!("{job} {call}"));
        faulty.rule("");
        // `timeout` dies by the signal that its command died of.
        let killed = done.status.signal() == Some(9) || done.status.code() == Some(137);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(killed || done.status.success(), "call {call}: {:?} {said}", done.status);
        check(call);
        if !killed {
            return call - 1;
        }
    }
    unreachable!()
}

#[test]
fn sealing_loses_no_acknowledged_blob() {
    if let Some((dir, job)) = job() {
        let (config, canary) = read(&dir, "made").unwrap();
        let kek = Pkcs11Protector::open(config, pin(), canary).unwrap();
        for round in 0..3 {
            let blob = seal(&kek, &context(), b"share").unwrap();
            acknowledge(&dir, &format!("blob {job} {round}"), &blob);
        }
        return;
    }
    let Some(mut faulty) = Faulty::new("sealing_loses_no_acknowledged_blob") else { return };
    faulty.wanted = Wanted { profile: Some(Profile::CbcHmac), ..faulty.wanted };
    let made = faulty.provision().unwrap();
    let kept: Made = (made.config.clone(), made.canary.clone());
    acknowledge(&faulty.dir, "made", &postcard::to_allocvec(&kept).unwrap());
    let calls = at_every_call(&faulty, "seal", |_| {});
    let kek = faulty.open(&made).unwrap();
    let mut blobs = 0;
    for file in fs::read_dir(&faulty.dir).unwrap().map(|file| file.unwrap()) {
        if file.file_name().to_str().unwrap().starts_with("blob ") {
            let blob = fs::read(file.path()).unwrap();
            assert_eq!(*open(&kek, &context(), &blob).unwrap(), b"share");
            blobs += 1;
        }
    }
    println!("{calls} kills, {blobs} acknowledged blobs, all open");
    assert!(calls > 30 && blobs > 30, "{calls} kills, {blobs} blobs");
}

#[test]
fn provisioning_is_finished_or_cleared_away() {
    let wish = |wanted: Wanted, call: u16| Wanted {
        key_id: [&[7, 7], call.to_be_bytes().as_slice()].concat(),
        profile: Some(Profile::CbcHmac),
        identity: Some(Curve::P256),
        ..wanted
    };
    if let Some((dir, job)) = job() {
        let call = job.rsplit(' ').next().unwrap().parse().unwrap();
        let made = provision(wish(Faulty::again(dir.clone()).wanted, call), pin()).unwrap();
        let kept: Made = (made.config, made.canary);
        acknowledge(&dir, &format!("made {call}"), &postcard::to_allocvec(&kept).unwrap());
        return;
    }
    let Some(faulty) = Faulty::new("provisioning_is_finished_or_cleared_away") else { return };
    let (mut whole, mut left) = (0, 0);
    let calls = at_every_call(&faulty, "provision", |call| {
        let wanted = wish(faulty.wanted.clone(), u16::try_from(call).unwrap());
        let (id, location) = (wanted.key_id.clone(), wanted.location.clone());
        let kept = read(&faulty.dir, &format!("made {call}"));
        let (config, canary) = kept.unwrap_or_else(|| {
            let made = provision(wanted.clone(), pin()).or_else(|error| {
                let HsmError::KeyExists { objects, .. } = error else {
                    panic!("{call}: {error:?}")
                };
                left += 1;
                assert!(!objects.is_empty() && objects.iter().all(|name| name.contains("quorate")));
                assert_eq!(discard(&location, &id, &[], pin()).unwrap(), objects);
                provision(wanted, pin())
            });
            let made = made.unwrap();
            (made.config, made.canary)
        });
        whole += 1;
        Pkcs11Protector::open(config.clone(), pin(), canary).unwrap();
        Pkcs11Signer::open(&config, pin()).unwrap().sign(b"message").unwrap();
        discard(&location, &id, &[], pin()).unwrap();
    });
    println!("{calls} kills: {left} left objects, {whole} nodes in the end");
    assert!(calls > 30 && left > 10, "{calls} kills, {left} with objects left");
}

/// The process dies while the token looks at the PIN: nobody knows whether it was counted.
#[test]
fn a_login_that_was_cut_off_is_not_repeated() {
    let open = |dir: &Path, source: &str| {
        let pin = pin().guarded(PinGuard::new(dir, source));
        let (config, canary) = read(dir, "made").unwrap();
        Pkcs11Protector::open(config, pin, canary)
    };
    if let Some((dir, source)) = job() {
        open(&dir, &source).unwrap();
        return;
    }
    let Some(faulty) = Faulty::new("a_login_that_was_cut_off_is_not_repeated") else { return };
    let made = faulty.provision().unwrap();
    let kept: Made = (made.config, made.canary);
    acknowledge(&faulty.dir, "made", &postcard::to_allocvec(&kept).unwrap());
    let killed = |rule: &str, source: &str| {
        faulty.rule(rule);
        assert!(!work(source).status.success());
        faulty.rule("");
    };
    for rule in ["kill Login 1", "after Login 1"] {
        killed(rule, "file 1");
        let before = faulty.count("C_Login");
        let refused = open(&faulty.dir, "file 1").unwrap_err();
        assert!(matches!(refused, HsmError::PinHeld { .. }), "{refused:?}");
        assert!(refused.to_string().contains("cut off"), "{refused}");
        assert!(!work("file 1").status.success());
        assert_eq!(faulty.count("C_Login"), before);
        assert_eq!(PinGuard::new(&faulty.dir, "file 1").clear(), Ok(true));
    }
    // A PIN that was good may be tried again, but only as long as it comes from the same source.
    assert!(work("file 1").status.success());
    killed("after Login 1", "file 1");
    let before = faulty.count("C_Login");
    assert!(!work("file 2").status.success());
    assert_eq!(faulty.count("C_Login"), before);
    assert!(work("file 1").status.success());
    assert_eq!(faulty.count("C_Login"), before + 1);
}

fn context() -> Context {
    Context {
        network: [1; 16],
        party: 2,
        key: [3; 16],
        epoch: 5,
        policy_version: 7,
        policy_hash: [8; 32],
        kind: BlobKind::Share,
        sequence: 9,
    }
}
