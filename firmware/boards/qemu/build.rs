//! Where flash and RAM are, and how much of them an image may take: more, and it does not link.

// A build must be loud.
#![allow(clippy::panic)]

use std::path::PathBuf;
use std::{env, fs};

/// Where an image lies, by target: in flash, and in RAM.
const BOARDS: [(&str, u32, u32); 2] = [
    ("thumbv7em-none-eabihf", 0x0000_0000, 0x2000_0000),
    ("thumbv8m.main-none-eabihf", 0x1000_0000, 0x3800_0000),
];
/// Kilobytes of flash, of RAM, and of those for the stack. It lies below all else: past its end there is
/// no memory, and so no overflow that nobody notices.
/// Flash is what the image takes now, rounded up; it is to be 120. The stack has room for the deepest chain of calls in
/// it, attacks and all, and not only for what was painted (tests/tests/chip/party.rs).
const BASE: [u32; 3] = [184, 32, 11];
/// The stack has half more than was painted (tests/tests/chip/full.rs).
const FROST: [u32; 3] = [220, 96, 34];
/// With what nobody has asked a budget for, members with P-256 identities and typed data: flash as it is now.
const FULL: [u32; 3] = [232, 96, 34];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    let Some((_, flash, ram)) = BOARDS.into_iter().find(|board| board.0 == target) else {
        panic!("no board of this package is a {target}");
    };
    // An image of other flags would have other sizes and another digest, and nobody would know.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    assert!(flags.is_empty(), "images are built without RUSTFLAGS: they are {flags:?}");
    assert_eq!(variable("PROFILE"), "release", "images are built with --release");

    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let [flash_size, ram_size, stack_size] = match (has("FROST"), has("FULL")) {
        (_, true) => FULL,
        (true, false) => FROST,
        (false, false) => BASE,
    };
    let memory = format!(
        "MEMORY\n{{\n  FLASH : ORIGIN = {flash:#010x}, LENGTH = {flash_size}K\n  \
         STACK : ORIGIN = {ram:#010x}, LENGTH = {stack_size}K\n  \
         RAM : ORIGIN = {ram:#010x} + {stack_size}K, LENGTH = {ram_size}K - {stack_size}K\n}}\n\
         _stack_start = ORIGIN(STACK) + LENGTH(STACK);\n_stack_end = ORIGIN(STACK);\n"
    );
    let folder = PathBuf::from(variable("OUT_DIR"));
    // Handlers of interrupts have no names here: none is ever called.
    for (name, text) in [("memory.x", memory.as_str()), ("device.x", "")] {
        if let Err(error) = fs::write(folder.join(name), text) {
            panic!("{name} cannot be written: {error}");
        }
    }
    println!("cargo:rustc-link-search={}", folder.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Functions that are the same for two suites, once.
    println!("cargo:rustc-link-arg-bins=--icf=all");
}
