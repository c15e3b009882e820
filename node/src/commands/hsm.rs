//! `quorate hsm`: the key-encryption key.

mod rotate;

use clap::Subcommand;

use super::{CommandError, Global};

#[derive(Subcommand, Debug)]
pub(super) enum HsmVerb {
    /// Put everything sealed under a new key-encryption key; the node must not run
    RotateKek(rotate::RotateArgs),
    /// Destroy a key-encryption key that nothing in this folder needs any more
    DestroyKek(rotate::DestroyArgs),
}

pub(super) fn hsm(global: &Global, verb: &HsmVerb) -> Result<(), CommandError> {
    match verb {
        HsmVerb::RotateKek(args) => rotate::rotate(global, args),
        HsmVerb::DestroyKek(args) => rotate::destroy(global, args),
    }
}
