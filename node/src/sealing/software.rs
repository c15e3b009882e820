//! The software emulation as the configuration names it: a key-encryption key in a file, as it is or under
//! a passphrase. It is NOT an HSM.

use std::path::Path;
use std::sync::Arc;

use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use zeroize::Zeroizing;

use super::{Kek, SealingError, Source};
use crate::config::{ConfigError, Folder, HsmConfig, KekSecret};

/// Fewer characters fall to guessing, whatever Argon2id costs.
const SHORTEST: usize = 12;

/// An open emulated key-encryption key, and what opens its successor.
pub(crate) struct Emulated {
    pub(super) protector: Arc<SoftwareProtector>,
    kind: KekSecret,
    secret: Arc<SoftwareSecret>,
}

/// Opens the emulated key-encryption key that `hsm` names. A passphrase comes from the places that a PIN
/// comes from, unless `known` was opened with it already. No guard holds a wrong one: nothing counts tries,
/// here or in a copy of the file, and Argon2id makes each one slow.
pub(super) fn open(
    folder: &Folder,
    hsm: &HsmConfig,
    known: Option<&Emulated>,
    lock: bool,
) -> Result<Kek, SealingError> {
    let HsmConfig::Software { kek_file, secret: kind, passphrase_file } = hsm else {
        return Err(ConfigError::Field { field: "hsm.backend", what: "must be software" }.into());
    };
    let path = kek_file.as_ref().map(|name| folder.path().join(name));
    let path = path.unwrap_or_else(|| folder.software_kek());
    let secret = match known.filter(|known| known.kind == *kind) {
        Some(known) => Arc::clone(&known.secret),
        None => Arc::new(match kind {
            KekSecret::KeyFile => SoftwareSecret::KeyFile,
            KekSecret::Passphrase => {
                let file = passphrase_file.as_deref().map(|path| folder.path().join(path));
                SoftwareSecret::Passphrase(passphrase(&Source::of(file.as_deref()))?)
            }
        }),
    };
    let protector = Arc::new(SoftwareProtector::open_with(&path, &secret, lock)?);
    Ok(Kek::Software(Emulated { protector, kind: *kind, secret }))
}

impl Emulated {
    /// Makes another key-encryption key under the same secret.
    pub(crate) fn make_successor(&self, path: &Path, lock: bool) -> Result<(), SealingError> {
        SoftwareProtector::create_with(path, &self.secret, lock)?;
        Ok(())
    }
}

fn passphrase(source: &Source) -> Result<Zeroizing<String>, SealingError> {
    read(source, "passphrase of the emulated key-encryption key: ")
}

fn read(source: &Source, prompt: &str) -> Result<Zeroizing<String>, SealingError> {
    source.read(prompt).map_err(|error| match error {
        SealingError::NoPin => SealingError::NoPassphrase,
        SealingError::PinFile { path, reason } => SealingError::PassphraseFile { path, reason },
        other => other,
    })
}

/// A passphrase that is to be used from now on. A person types it twice.
///
/// # Errors
/// [`SealingError::NewPassphrase`] if it is too short, or was not typed the same twice; the errors of
/// reading.
pub fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, SealingError> {
    let source = Source::of(file);
    let first = read(&source, "new passphrase of the emulated key-encryption key: ")?;
    if first.chars().count() < SHORTEST {
        let what =
            "it has fewer than 12 characters, and whoever has the folder can guess without end";
        return Err(SealingError::NewPassphrase { what });
    }
    if source == Source::Terminal && read(&source, "the same again: ")? != first {
        return Err(SealingError::NewPassphrase { what: "it was not typed the same twice" });
    }
    Ok(first)
}
