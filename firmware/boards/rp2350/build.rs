//! How much of its flash and RAM the image may take: more, and it does not link.

// A build must be loud.
#![allow(clippy::panic)]

use std::path::PathBuf;
use std::{env, fs};

/// USB and embassy come on top of what the budget of the base image is for; interrupts use the same stack.
const MEMORY: &str = "\
MEMORY
{
  FLASH : ORIGIN = 0x10000000, LENGTH = 200K
  STACK : ORIGIN = 0x20000000, LENGTH = 13K
  RAM   : ORIGIN = 0x20000000 + 13K, LENGTH = 24K
}
_stack_start = ORIGIN(STACK) + LENGTH(STACK);
_stack_end = ORIGIN(STACK);
/* What the boot ROM looks for, at the image's start and end. */
SECTIONS
{
  .start_block : ALIGN(4)
  {
    __start_block_addr = .;
    KEEP(*(.start_block));
  } > FLASH
} INSERT AFTER .vector_table;
_stext = ADDR(.start_block) + SIZEOF(.start_block);
SECTIONS
{
  .end_block : ALIGN(4)
  {
    __end_block_addr = .;
    KEEP(*(.end_block));
  } > FLASH
} INSERT AFTER .uninit;
PROVIDE(start_to_end = __end_block_addr - __start_block_addr);
PROVIDE(end_to_start = __start_block_addr - __end_block_addr);
";
const TARGET: &str = "thumbv8m.main-none-eabihf";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    assert_eq!(variable("TARGET"), TARGET, "an RP2350 is no other");
    // An image of other flags would have other sizes and another digest, and nobody would know.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    assert!(flags.is_empty(), "images are built without RUSTFLAGS: they are {flags:?}");
    assert_eq!(variable("PROFILE"), "release", "images are built with --release");
    let folder = PathBuf::from(variable("OUT_DIR"));
    if let Err(error) = fs::write(folder.join("memory.x"), MEMORY) {
        panic!("memory.x cannot be written: {error}");
    }
    println!("cargo:rustc-link-search={}", folder.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Functions that are the same for two suites, once. Data, such as embassy's tables by which wakers are known,
    // keeps its address.
    println!("cargo:rustc-link-arg-bins=--icf=all");
}
