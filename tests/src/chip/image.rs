//! Images: built once, and read for their sizes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::cluster::process;

/// A machine of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `mps2-an386`, a Cortex-M4.
    CortexM4,
    /// `mps2-an505`, a Cortex-M33.
    CortexM33,
}

impl Machine {
    /// Its name in the emulator, and that of its image.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CortexM4 => "mps2-an386",
            Self::CortexM33 => "mps2-an505",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::CortexM4 => "thumbv7em-none-eabihf",
            Self::CortexM33 => "thumbv8m.main-none-eabihf",
        }
    }
}

/// What an image can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Keys of secp256k1, without an allocator.
    Base,
    /// Ed25519 and FROST besides.
    Frost,
    /// Members with P-256 identities and typed data besides: everything that a chip with more room can do.
    Full,
}

impl Extent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Base, Self::Frost, Self::Full];

    /// The feature of the board, and how the folder that `firmware/boards/check` builds it in ends.
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::Base => None,
            Self::Frost => Some("frost"),
            Self::Full => Some("full"),
        }
    }
}

/// A firmware image.
#[derive(Clone, Debug)]
pub struct Image(PathBuf);

impl Image {
    /// The image for `machine`, built if need be.
    ///
    /// # Panics
    /// If it cannot be built: cargo itself says what is missing, or by how much it is too large.
    #[must_use]
    pub fn of(machine: Machine, extent: Extent) -> Self {
        static BUILT: [OnceLock<Image>; 6] = [const { OnceLock::new() }; 6];
        let number = extent as usize + 3 * usize::from(machine == Machine::CortexM33);
        let Some(built) = BUILT.get(number) else { unreachable!() };
        built.get_or_init(|| build(machine, extent)).clone()
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its sections that take memory: name, address in memory, bytes.
    ///
    /// # Panics
    /// If the file is no ELF file of 32 bits.
    #[must_use]
    pub fn sections(&self) -> Vec<(String, u32, u32)> {
        sections(&std::fs::read(&self.0).unwrap_or_default()).unwrap_or_default()
    }

    /// What it takes of flash, and of RAM without the stack, in bytes.
    ///
    /// # Panics
    /// If the file is no ELF file of 32 bits.
    #[must_use]
    pub fn sizes(&self) -> (u32, u32) {
        let (mut flash, mut ram) = (0, 0);
        for (name, _, size) in self.sections() {
            match name.as_str() {
                ".data" => (flash, ram) = (flash + size, ram + size),
                ".bss" | ".uninit" => ram += size,
                _ => flash += size,
            }
        }
        // An image in which nothing was found would keep every budget.
        assert!(flash > 10_000 && ram > 0, "{} has no sections", self.0.display());
        (flash, ram)
    }

    /// Its bytes in flash, as the chip hashes them.
    ///
    /// # Panics
    /// If the file is no ELF file of 32 bits.
    #[must_use]
    pub fn flash(&self) -> Vec<u8> {
        loaded(&std::fs::read(&self.0).unwrap_or_default()).unwrap_or_default()
    }
}

fn build(machine: Machine, extent: Extent) -> Image {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/boards");
    // Tests run from below the target directory. Each feature set has a folder of its own, so that no build
    // replaces an image that another test program runs.
    let program = std::env::current_exe().unwrap_or_default();
    let Some(target) = program.ancestors().nth(3) else {
        panic!("{} is in no target directory", program.display());
    };
    let ending = extent.feature().map(|feature| format!("-{feature}")).unwrap_or_default();
    let target = target.join("tmp").join(format!("boards{ending}"));
    let mut build = Command::new(env!("CARGO"));
    // Its package, or cargo would build it with the features that other boards ask of what they share.
    build.args(["build", "--locked", "--release", "-p", "quorate-board-qemu"]);
    build.args(["--bin", machine.name()]);
    build.args(["--target", machine.target(), "--target-dir"]).arg(&target);
    if let Some(feature) = extent.feature() {
        build.args(["--features", feature]);
    }
    // What the outer build was told, such as flags for coverage, is not meant for the chip.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(workspace);
    let built = process::run(&mut build, Duration::from_secs(900));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    Image(target.join(machine.target()).join("release").join(machine.name()))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 2)?.try_into().ok().map(|half| u16::from_le_bytes(half).into())
}

const ALLOCATED: u32 = 2;

fn sections(elf: &[u8]) -> Option<Vec<(String, u32, u32)>> {
    let (start, size) = (number(elf, 0x20)? as usize, half(elf, 0x2e)?);
    let header = |index: usize| elf.get(start + index * size..start + (index + 1) * size);
    let names = number(header(half(elf, 0x32)?)?, 0x10)? as usize;
    let mut found = Vec::new();
    for index in 0..half(elf, 0x30)? {
        let header = header(index)?;
        let length = number(header, 0x14)?;
        if number(header, 8)? & ALLOCATED == 0 || length == 0 {
            continue;
        }
        let name = elf.get(names + number(header, 0)? as usize..)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        found.push((String::from_utf8_lossy(name).into(), number(header, 0x0c)?, length));
    }
    Some(found)
}

/// From the first to the last byte of what is loaded into flash; the linker fills gaps with zeros.
fn loaded(elf: &[u8]) -> Option<Vec<u8>> {
    const LOAD: u32 = 1;
    let (start, size) = (number(elf, 0x1c)? as usize, half(elf, 0x2a)?);
    let mut flash: Option<(usize, Vec<u8>)> = None;
    for index in 0..half(elf, 0x2c)? {
        let header = elf.get(start + index * size..start + (index + 1) * size)?;
        let (offset, address) = (number(header, 4)? as usize, number(header, 0x0c)? as usize);
        let length = number(header, 0x10)? as usize;
        if number(header, 0)? != LOAD || length == 0 {
            continue;
        }
        let (base, bytes) = flash.get_or_insert((address, Vec::new()));
        bytes.resize(address.checked_sub(*base)?, 0);
        bytes.extend_from_slice(elf.get(offset..offset + length)?);
    }
    flash.map(|(_, bytes)| bytes)
}
