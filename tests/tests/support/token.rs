//! SoftHSM tokens for nodes that run as processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_hsm::pkcs11::softhsm;

pub const PIN: &str = "4711-user";
const SO_PIN: &str = "12345678";
const MISSING: &str = "is not installed: run tests/run, it installs what tests need";

pub fn module() -> PathBuf {
    softhsm::find_module().unwrap_or_else(|| panic!("SoftHSM {MISSING}"))
}

/// Makes a token; `configuration` is what [`softhsm::write_config`] wrote.
pub fn make(configuration: &Path, label: &str) {
    let mut make = Command::new("softhsm2-util");
    make.args(["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN]);
    let made = make.env("SOFTHSM2_CONF", configuration).output();
    let made = made.unwrap_or_else(|e| panic!("softhsm2-util {MISSING} ({e})"));
    assert!(made.status.success(), "{made:?}");
}

pub fn write_pin(path: &Path, pin: &str, mode: u32) {
    fs::write(path, pin).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What `quorate init` is told.
pub fn arguments<'a>(module: &'a Path, label: &'a str, pin: &'a Path) -> [&'a str; 8] {
    let (module, pin) = (module.to_str().unwrap(), pin.to_str().unwrap());
    ["--hsm", "pkcs11", "--module", module, "--token", label, "--pin-file", pin]
}

/// A library that writes every call into `PKCS11SPY_OUTPUT`, and passes it on to `PKCS11SPY`.
pub fn spy() -> PathBuf {
    let below = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
    folders.extend(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    let places = folders
        .iter()
        .flat_map(|folder| ["pkcs11-spy.so", "pkcs11/pkcs11-spy.so"].map(|name| folder.join(name)));
    let found = places.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("pkcs11-spy.so (of opensc) {MISSING}"))
}
