//! `quorate demo`: four parties as four processes make a key and sign with it, through the same
//! command line and API that everybody uses. Everything happens in a temporary folder.

mod chain;
#[doc(hidden)]
pub mod chip;
mod cluster;
mod story;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub use cluster::DemoError;

/// What seals the shares of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoHsm {
    /// The embedded software emulation, which is NOT an HSM.
    Software,
    /// SoftHSM tokens over PKCS#11, one per party.
    Pkcs11,
}

/// Arguments of `quorate demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// What seals the shares: the embedded emulation (needs nothing installed), or SoftHSM tokens
    #[arg(long, value_enum, default_value = "software")]
    pub hsm: DemoHsm,
    /// The PKCS#11 library; by default SoftHSM's usual places are tried
    #[arg(long)]
    pub module: Option<PathBuf>,
    /// A dev chain (Anvil, Hardhat) by its JSON-RPC URL: funds the address and sends the transactions
    #[arg(long)]
    pub chain: Option<String>,
    /// Party 4 is a chip: the firmware as ARM code in QEMU, with a screen and two buttons
    #[arg(long)]
    pub device: bool,
    /// The chip's firmware, an ELF file; by default where `firmware/boards/check` or the tests build it
    #[arg(long, value_name = "FILE", requires = "device")]
    pub firmware: Option<PathBuf>,
    /// You press the chip's buttons
    #[arg(long, requires = "device")]
    pub interactive: bool,
    /// Makes one SoftHSM token in this folder and stops; the demo calls itself with it
    #[arg(long, hide = true)]
    pub make_token: Option<PathBuf>,
}

/// Runs the demo, and cleans up whatever happens.
///
/// # Errors
/// [`DemoError`] says which step failed and why.
pub fn run(args: &DemoArgs, json: bool) -> Result<(), DemoError> {
    if let Some(folder) = &args.make_token {
        return cluster::make_token(folder, args.module.as_deref());
    }
    if args.device {
        return story::device::tell(args, json);
    }
    story::tell(args, json)
}
