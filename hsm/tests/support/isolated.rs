//! Runs a test in a process of its own: PKCS#11 configuration is process-wide, and so is a module.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use quorate_hsm::Profile;
use quorate_hsm::pkcs11::{Config, Location, Pin, TokenSelector, Wanted, softhsm};

pub(crate) const SO_PIN: &str = "12345678";
pub(crate) const PIN: &str = "4711-user";

/// In the parent: starts this test again with a SoftHSM of its own. In the child: returns its folder.
pub(crate) fn isolated(name: &str, environment: &[(&str, &str)]) -> Option<PathBuf> {
    if std::env::var("QUORATE_TEST_CHILD").as_deref() == Ok(name) {
        return Some(PathBuf::from(std::env::var_os("QUORATE_TEST_DIR").unwrap()));
    }
    let dir = tempfile::tempdir().unwrap();
    let output = child(name, dir.path(), environment);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} in its own process:\n{text}"
    );
    None
}

fn child(name: &str, dir: &Path, environment: &[(&str, &str)]) -> Output {
    let config = softhsm::write_config(dir).unwrap();
    // Bounded: a hang in a PKCS#11 library must not hang all tests.
    Command::new("timeout")
        .args(["--kill-after=5", "300"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("QUORATE_TEST_CHILD", name)
        .env("QUORATE_TEST_DIR", dir)
        .env("SOFTHSM2_CONF", config)
        .env("KRYOPTIC_CONF", dir.join("kryoptic.toml"))
        .env("PKCS11SPY", module())
        .env("PKCS11SPY_OUTPUT", dir.join("spy.log"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// What this process is to do, if a test has started it for a part of its work: see [`work`].
#[allow(dead_code)]
pub(crate) fn job() -> Option<(PathBuf, String)> {
    let job = std::env::var("QUORATE_TEST_JOB").ok()?;
    Some((PathBuf::from(std::env::var_os("QUORATE_TEST_DIR").unwrap()), job))
}

/// From inside an isolated test: starts this test once more as a process that finds `job`.
#[allow(dead_code)]
pub(crate) fn work(job: &str) -> Output {
    work_with(job, &[])
}

#[allow(dead_code)]
pub(crate) fn work_with(job: &str, environment: &[(&str, &Path)]) -> Output {
    let name = std::env::var("QUORATE_TEST_CHILD").unwrap();
    Command::new("timeout")
        .args(["--kill-after=5", "60"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env("QUORATE_TEST_JOB", job)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// `timeout` dies by the signal that its command died of.
#[allow(dead_code)]
pub(crate) fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(137)
}

/// Compiles a library of ours.
#[allow(dead_code)]
pub(crate) fn compile(dir: &Path, name: &str) -> PathBuf {
    let library = dir.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/support/{name}.c"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("cc is not installed: run tests/run");
    assert!(compiled.success());
    library
}

pub(crate) fn module() -> PathBuf {
    softhsm::find_module()
        .expect("SoftHSM is not installed: run tests/run, it installs what tests need")
}

#[allow(dead_code)] // Not every test that is run so provisions.
pub(crate) fn wanted(module: PathBuf, label: &str) -> Wanted {
    Wanted {
        location: Location { module, token: TokenSelector::Label(label.into()) },
        key_id: vec![1, 2, 3, 4],
        key_version: 1,
        profile: Some(Profile::TokenGcm),
        identity: None,
    }
}

/// For opening a KEK that is not ours.
#[allow(dead_code)]
pub(crate) fn config(module: PathBuf, label: &str) -> Config {
    Config {
        module,
        token: TokenSelector::Label(label.into()),
        key_id: vec![1, 2, 3, 4],
        key_version: 1,
        profile: Profile::TokenGcm,
        identity: None,
    }
}

pub(crate) fn create(label: &str) {
    softhsm::create_token(&module(), label, &Pin::new(SO_PIN), &Pin::new(PIN)).unwrap();
}
