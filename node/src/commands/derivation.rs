//! `--path` and `--context`: which descendant of a key is meant.

use clap::Args;
use quorate_core::curve::{EcdsaGroup as _, PointBytes};
use quorate_core::derive::{Context, Derivation, DeriveError, ExtendedKey};
use quorate_core::policy::ethereum;
use serde_json::{Value, json};

use super::CommandError;
use crate::handle::KeyInfo;
use crate::service::Curve;

#[derive(Args, Debug)]
pub(super) struct DerivationArgs {
    /// The key's descendant by this BIP-32 path, like m/0/5, instead of the key itself
    #[arg(long, value_name = "PATH", value_parser = path, conflicts_with = "context")]
    path: Option<Derivation>,
    /// The key's descendant for this text of at most 64 bytes
    #[arg(long, value_name = "TEXT", value_parser = context)]
    context: Option<Derivation>,
}

fn path(text: &str) -> Result<Derivation, DeriveError> {
    if text == "m" { Ok(Derivation::Root) } else { text.parse().map(Derivation::Path) }
}

fn context(text: &str) -> Result<Derivation, DeriveError> {
    text.parse::<Context>().map(Derivation::Context)
}

impl DerivationArgs {
    pub(super) fn derivation(&self) -> Derivation {
        self.path.or(self.context).unwrap_or(Derivation::Root)
    }

    /// The descendant of `key`, computed here from what the node says of the key; `None` for the key
    /// itself.
    pub(super) fn of(&self, key: &KeyInfo) -> Result<Option<Value>, CommandError> {
        let derivation = self.derivation();
        if derivation == Derivation::Root {
            return Ok(None);
        }
        let unfit = || CommandError::Local("the node gave no public key and chain code".into());
        let (mut point, mut chain_code) = ([0; 33], [0; 32]);
        hex::decode_to_slice(&key.public_key, &mut point).map_err(|_| unfit())?;
        hex::decode_to_slice(&key.chain_code, &mut chain_code).map_err(|_| unfit())?;
        let root =
            ExtendedKey::new(Curve::default(), &PointBytes(point), chain_code).ok_or_else(unfit)?;
        let usage = |error: DeriveError| CommandError::Usage(error.to_string());
        let derived = root.derive(&derivation).map_err(usage)?;
        let affine = Curve::coordinates(&derived.point()).ok_or_else(unfit)?;
        Ok(Some(json!({
            "derivation": derivation.to_string(),
            "public_key": hex::encode(derived.encoded().0),
            "address": ethereum::address(&affine.0).to_string(),
        })))
    }
}
