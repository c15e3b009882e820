//! SIGKILL at every call into the token, and at every write of SoftHSM's: what was acknowledged opens, and what is left over can be named
//! and removed.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/context.rs"]
mod context;
#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/isolated.rs"]
mod isolated;

use std::fs;
use std::path::{Path, PathBuf};

use context::context;
use faulty::Faulty;
use isolated::{PIN, compile, create, isolated, job, module, wanted, was_killed, work, work_with};
use quorate_hsm::pkcs11::{
    Config, Curve, Pin, PinGuard, Pkcs11Protector, Pkcs11Signer, Wanted, discard, provision,
};
use quorate_hsm::{HsmError, HsmSigner, Profile, open, seal};

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
        let killed = was_killed(&done);
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

/// SoftHSM beneath a library that dies right after a file was truncated: support/truncate.c.
struct Truncating {
    dir: PathBuf,
    library: PathBuf,
}

impl Truncating {
    /// `None` in the parent process.
    fn new(test: &str) -> Option<Self> {
        let dir = isolated(test, &[])?;
        create("a");
        Some(Self { library: compile(&dir, "truncate"), dir })
    }

    /// Runs a job that dies when the `count`-th file whose name ends so is truncated. Whether it did.
    fn kill(&self, job: &str, end: &str, count: usize) -> bool {
        fs::write(self.dir.join("truncate"), format!("{end} {count}")).unwrap();
        let _ = fs::remove_file(self.dir.join("truncated"));
        let done = work_with(job, &[("LD_PRELOAD", &self.library)]);
        let killed = was_killed(&done);
        assert!(killed || done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        killed
    }

    /// What the last job truncated.
    fn truncated(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("truncated")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn token_folder(&self) -> PathBuf {
        let mut tokens = fs::read_dir(self.dir.join("tokens")).unwrap();
        tokens.next().unwrap().unwrap().path()
    }
}

const TOKEN_OBJECT: &str = "token.object";

/// SoftHSM 2.6 writes its description of the token anew at each login, in place: it empties the file, then
/// writes it. What dies between the two leaves no token; docs/KEY_CEREMONY.md tells operators.
#[test]
fn a_kill_at_the_login_can_cost_softhsm_its_token_and_a_copy_brings_it_back() {
    if let Some((dir, job)) = job() {
        let id = |number: u8| Wanted { key_id: vec![9, number], ..wanted(module(), "a") };
        let (what, number) = job.split_once(' ').unwrap();
        let name = format!("made {number}");
        if what == "make" {
            let made = provision(id(number.parse().unwrap()), pin()).unwrap();
            let kept: Made = (made.config.clone(), made.canary.clone());
            acknowledge(&dir, &name, &postcard::to_allocvec(&kept).unwrap());
            return;
        }
        let (config, canary) = read(&dir, &name).unwrap();
        let kek = Pkcs11Protector::open(config, pin(), canary).unwrap();
        let blob = seal(&kek, &context(), b"share").unwrap();
        let old = fs::read(dir.join("blob"));
        acknowledge(&dir, "blob", &blob);
        if let Ok(old) = old {
            open(&kek, &context(), &old).unwrap();
        }
        return;
    }
    let test = "a_kill_at_the_login_can_cost_softhsm_its_token_and_a_copy_brings_it_back";
    let Some(token) = Truncating::new(test) else { return };
    let file = token.token_folder().join(TOKEN_OBJECT);
    let never = usize::MAX;
    // Before the keys are made: a copy stays good until a PIN changes.
    let copy = fs::read(&file).unwrap();
    for number in [1, 2] {
        assert!(!token.kill(&format!("make {number}"), TOKEN_OBJECT, never));
        let truncated = token.truncated();
        let at_logins = truncated.iter().filter(|name| *name == TOKEN_OBJECT).count();
        assert_eq!(at_logins, 1, "one login, whatever is made: {truncated:?}");
    }
    assert!(!token.kill("use 1", TOKEN_OBJECT, never));
    assert_eq!(
        token.truncated(),
        [TOKEN_OBJECT],
        "whoever only seals and opens writes nothing else"
    );

    assert!(token.kill("use 1", TOKEN_OBJECT, 1));
    assert_eq!(
        fs::read(&file).unwrap(),
        [],
        "SoftHSM has changed: then this is to be looked at anew"
    );
    let gone = work("use 1");
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && said.contains("TokenMissing"), "{said}");
    fs::write(&file, copy).unwrap();
    for number in [1, 2] {
        let _ = fs::remove_file(token.dir.join("blob")).is_ok_and(|()| number == 1);
        assert!(work(&format!("use {number}")).status.success());
        assert!(work(&format!("use {number}")).status.success());
    }
}

/// SoftHSM writes a key attribute by attribute, each time the whole file anew. Whatever such a kill leaves:
/// the keys that were there open, and provisioning works again, or names what is left.
#[test]
fn a_kill_at_every_write_of_a_key_breaks_no_other_key() {
    let wish =
        |id: u8| Wanted { identity: Some(Curve::P256), key_id: vec![id], ..wanted(module(), "a") };
    if let Some((dir, job)) = job() {
        let location = wish(1).location;
        let made = match (job.as_str(), provision(wish(u8::from(job != "first")), pin())) {
            ("again", Err(HsmError::KeyExists { objects, .. })) => {
                assert_eq!(discard(&location, &[1], &[], pin()).unwrap(), objects);
                provision(wish(1), pin()).unwrap()
            }
            (_, made) => made.unwrap(),
        };
        match job.as_str() {
            "first" => {
                let kept: Made = (made.config, made.canary);
                acknowledge(&dir, "made", &postcard::to_allocvec(&kept).unwrap());
            }
            "again" => {
                let (config, canary) = read(&dir, "made").unwrap();
                let kek = Pkcs11Protector::open(config.clone(), pin(), canary).unwrap();
                Pkcs11Signer::beside(&kek).unwrap().sign(b"message").unwrap();
                assert_eq!(discard(&location, &[1], &[config], pin()).unwrap().len(), 3);
            }
            _ => {}
        }
        return;
    }
    let test = "a_kill_at_every_write_of_a_key_breaks_no_other_key";
    let Some(token) = Truncating::new(test) else { return };
    assert!(work("first").status.success());
    let objects = || {
        let files = fs::read_dir(token.token_folder()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "object")).count()
    };
    let before = objects();
    let mut kills = 0;
    // The login comes first, and is another matter.
    while token.kill("make", ".object", kills + 2) {
        kills += 1;
        let again = work("again");
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success(), "kill {kills}: {said}");
    }
    println!("{kills} kills; {} files of keys that nobody can find are left", objects() - before);
    assert!(kills > 60, "{kills}");
}
