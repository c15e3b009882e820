//! The core as real ARM code in the emulator: how fast it is, how much stack it takes, whether its time depends on
//! secrets, and what leaves it when bits flip.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "chip_core/constant_time.rs"]
mod constant_time;
#[path = "chip_core/faults.rs"]
mod faults;
#[path = "chip_core/speed.rs"]
mod speed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use quorate_tests::cluster::process;

const TARGET: &str = "thumbv7em-none-eabihf";

/// An image, built if need be; cargo itself says what is missing.
fn image(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| build(&[])).join(name)
}

/// One that has all of core, and an allocator.
fn full_image(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let asked = ["--features", "full", "--bin", "measure_full", "--bin", "faults_frost"];
    FOLDER.get_or_init(|| build(&asked)).join(name)
}

/// Where the images are then.
fn build(asked: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arm");
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--locked", "--release", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(asked);
    // What the outer build was told, such as flags for coverage, is not meant for the chip.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(folder);
    let built = process::run(&mut build, Duration::from_secs(600));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    target.join(TARGET).join("release")
}
