//! Opening what protects a party's secrets, and the identity key that rests under it.

mod pin;
mod software;
mod yubihsm;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_core::secret::SecretBytes;
use quorate_hsm::pkcs11::{self, Pkcs11Protector, Pkcs11Signer};
use quorate_hsm::yubihsm::YubiHsmProtector;
use quorate_hsm::{BlobKind, Context, HsmError, HsmSigner, KeyProtector};
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, Folder, HsmConfig, KekSecret};
use crate::identity::IdentityKey;

pub use pin::{CREDENTIAL, Source, guarded_pin, pin};
pub(crate) use software::Emulated;
pub use software::new_passphrase;
pub use yubihsm::{AdministratorAccess, device, password};

/// Why a party's secrets cannot be opened or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealingError {
    /// The HSM, or the sealed bytes.
    Hsm(HsmError),
    /// The configuration.
    Config(ConfigError),
    /// There is no PIN, and nobody to ask.
    NoPin,
    /// The PIN file cannot be read, or is open to others. Nothing was tried with it.
    PinFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no passphrase, and nobody to ask.
    NoPassphrase,
    /// The passphrase's file cannot be read, or is open to others. Nothing was tried with it.
    PassphraseFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A passphrase that was to be used from now on is refused.
    NewPassphrase {
        /// Why.
        what: &'static str,
    },
    /// A file could not be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The sealed identity is not the one that the configuration names.
    OtherIdentity,
}

impl std::fmt::Display for SealingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hsm(error @ HsmError::PinHeld { .. }) => {
                write!(f, "{error} (`quorate hsm clear-pin` does that)")
            }
            Self::Hsm(error @ HsmError::KeyExists { kek, objects }) if !objects.is_empty() => {
                // The reference ends with the id and the version.
                let id = kek.rsplit(':').nth(1).unwrap_or_default();
                write!(
                    f,
                    "{error} (`quorate hsm discard --key-id {id}` lists it, and destroys it with --destroy)"
                )
            }
            Self::Hsm(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::NoPin => f.write_str(
                "no PIN: set pin_file under [hsm] to a file that only its owner may read, give the \
                 unit a credential quorate-pin, or start from a terminal to be asked",
            ),
            Self::PinFile { path, reason } => {
                write!(f, "the PIN file {}: {reason}", path.display())
            }
            Self::NoPassphrase => f.write_str(
                "no passphrase: set passphrase_file under [hsm] (`quorate init --passphrase-file`) to a \
                 file that only its owner may read, give the unit a credential quorate-pin, or start \
                 from a terminal to be asked",
            ),
            Self::PassphraseFile { path, reason } => {
                write!(f, "the passphrase file {}: {reason}", path.display())
            }
            Self::NewPassphrase { what } => {
                write!(f, "the new passphrase is refused: {what}; nothing was made, try again")
            }
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::OtherIdentity => f.write_str(
                "the sealed identity key is not the one that quorate.toml names: these files belong \
                 to different parties",
            ),
        }
    }
}

impl std::error::Error for SealingError {}

impl From<HsmError> for SealingError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}

impl From<ConfigError> for SealingError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn file(path: &Path, reason: impl std::fmt::Display) -> SealingError {
    SealingError::File { path: path.to_owned(), reason: reason.to_string() }
}

/// What the configuration's `[hsm]` names, open.
pub struct OpenHsm {
    /// Seals and opens shares.
    pub protector: Arc<dyn KeyProtector>,
    /// The identity key, where it was made inside the HSM.
    pub signer: Option<Arc<dyn HsmSigner>>,
    /// What the token says of the keys, and what of them is not protected; empty for other backends.
    pub keys: Vec<pkcs11::KeyReport>,
}

/// Opens what the configuration names. A wrong PIN is tried once.
///
/// # Errors
/// [`SealingError`].
pub fn open_hsm(folder: &Folder, config: &Config) -> Result<OpenHsm, SealingError> {
    let kek = open_kek(folder, &config.hsm, config.keeping().lock)?;
    let (signer, keys) = (kek.signer(&config.hsm)?, kek.report()?);
    Ok(OpenHsm { protector: kek.protector(), signer, keys })
}

/// Whether [`open_hsm`] asks a person at the terminal, who takes the time that it takes.
#[must_use]
pub fn asks_a_person(hsm: &HsmConfig) -> bool {
    match hsm {
        HsmConfig::Software { secret: KekSecret::KeyFile, .. } => false,
        HsmConfig::Software { passphrase_file: file, .. }
        | HsmConfig::Pkcs11 { pin_file: file, .. }
        | HsmConfig::Yubihsm { password_file: file, .. } => {
            Source::of(file.as_deref()) == Source::Terminal
        }
    }
}

/// An open key-encryption key, of which others of the same HSM may be opened without another PIN.
pub(crate) enum Kek {
    Software(software::Emulated),
    Pkcs11(Arc<Pkcs11Protector>),
    Yubihsm(Arc<YubiHsmProtector>),
}

/// Opens the key-encryption key that `hsm` names. A wrong PIN is tried once. If `lock`, one that is in this
/// process's memory is on locked pages.
pub(crate) fn open_kek(folder: &Folder, hsm: &HsmConfig, lock: bool) -> Result<Kek, SealingError> {
    match hsm {
        HsmConfig::Software { .. } => software::open(folder, hsm, None, lock),
        HsmConfig::Yubihsm { .. } => Ok(Kek::Yubihsm(Arc::new(yubihsm::open(folder, hsm)?))),
        HsmConfig::Pkcs11 { canary, pin_file, .. } => {
            let canary = decoded("hsm.canary", canary)?;
            let pin_file = pin_file.as_deref().map(|path| folder.path().join(path));
            let pin = guarded_pin(folder, pin_file.as_deref())?;
            let kek = Pkcs11Protector::open(where_it_is(hsm)?, pin, canary)?;
            Ok(Kek::Pkcs11(Arc::new(kek)))
        }
    }
}

impl Kek {
    pub(crate) fn protector(&self) -> Arc<dyn KeyProtector> {
        match self {
            Self::Software(kek) => Arc::clone(&kek.protector) as Arc<dyn KeyProtector>,
            Self::Pkcs11(kek) => Arc::clone(kek) as Arc<dyn KeyProtector>,
            Self::Yubihsm(kek) => Arc::clone(kek) as Arc<dyn KeyProtector>,
        }
    }

    /// Another key-encryption key of the same HSM, over the same login or by the same passphrase.
    pub(crate) fn beside(
        &self,
        folder: &Folder,
        hsm: &HsmConfig,
        lock: bool,
    ) -> Result<Self, SealingError> {
        match (self, hsm) {
            (Self::Software(kek), HsmConfig::Software { .. }) => {
                software::open(folder, hsm, Some(kek), lock)
            }
            (Self::Pkcs11(kek), HsmConfig::Pkcs11 { canary, .. }) => {
                let other = kek.beside(where_it_is(hsm)?, decoded("hsm.canary", canary)?)?;
                Ok(Self::Pkcs11(Arc::new(other)))
            }
            (Self::Yubihsm(kek), HsmConfig::Yubihsm { .. }) => {
                Ok(Self::Yubihsm(Arc::new(yubihsm::beside(kek, hsm)?)))
            }
            (Self::Software(_) | Self::Yubihsm(_), HsmConfig::Pkcs11 { .. })
            | (Self::Pkcs11(_) | Self::Yubihsm(_), HsmConfig::Software { .. })
            | (_, HsmConfig::Yubihsm { .. }) => open_kek(folder, hsm, lock),
        }
    }

    /// The keys, as the token describes them.
    fn report(&self) -> Result<Vec<pkcs11::KeyReport>, SealingError> {
        match self {
            Self::Software(_) | Self::Yubihsm(_) => Ok(Vec::new()),
            Self::Pkcs11(kek) => Ok(kek.report()?),
        }
    }

    /// The identity key, where it was made inside the HSM.
    fn signer(&self, hsm: &HsmConfig) -> Result<Option<Arc<dyn HsmSigner>>, SealingError> {
        if let Self::Yubihsm(kek) = self {
            return Ok(Some(Arc::new(yubihsm::signer(kek, hsm)?)));
        }
        let (Self::Pkcs11(kek), HsmConfig::Pkcs11 { key_id, identity_key, identity_id, .. }) =
            (self, hsm)
        else {
            return Ok(None);
        };
        let Some(public) = identity_key else { return Ok(None) };
        let id = decoded("hsm.identity_id", identity_id.as_ref().unwrap_or(key_id))?;
        Ok(Some(Arc::new(Pkcs11Signer::beside_as(kek, id, *public)?)))
    }
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, SealingError> {
    let what = "must be hexadecimal";
    hex::decode(text).map_err(|_| ConfigError::Field { field, what }.into())
}

/// What the configuration says about the token.
///
/// # Errors
/// [`SealingError::Config`].
pub fn where_it_is(hsm: &HsmConfig) -> Result<pkcs11::Config, SealingError> {
    let HsmConfig::Pkcs11 {
        module,
        token,
        key_id,
        key_version,
        profile,
        identity_key,
        identity_id,
        wrap_signer,
        ..
    } = hsm
    else {
        let (field, what) = ("hsm.backend", "must be pkcs11");
        return Err(ConfigError::Field { field, what }.into());
    };
    // What signs for OAEP is beside the KEK, under its id.
    let beside = identity_key.filter(|_| identity_id.is_none());
    Ok(pkcs11::Config {
        module: module.clone(),
        token: token.clone(),
        key_id: decoded("hsm.key_id", key_id)?,
        key_version: *key_version,
        profile: *profile,
        identity: wrap_signer.or(beside),
    })
}

/// A party's own secrets belong to it before it belongs to a network, so the network is all zero.
pub(crate) fn own_context(party: u16, kind: BlobKind) -> Context {
    Context {
        network: [0; 16],
        party,
        key: [0; 16],
        epoch: 0,
        policy_version: 0,
        policy_hash: [0; 32],
        kind,
        sequence: 1,
    }
}

/// Seals a secret that belongs to `party` alone: its identity key, or what hedges its generators.
///
/// # Errors
/// [`SealingError`].
pub fn seal_own(
    protector: &dyn KeyProtector,
    party: u16,
    kind: BlobKind,
    secret: &[u8; 32],
) -> Result<Vec<u8>, SealingError> {
    Ok(quorate_hsm::seal(protector, &own_context(party, kind), secret)?)
}

fn open_own(
    path: &Path,
    protector: &dyn KeyProtector,
    party: u16,
    kind: BlobKind,
) -> Result<Zeroizing<[u8; 32]>, SealingError> {
    let blob = fs::read(path).map_err(|error| file(path, error))?;
    let opened = quorate_hsm::open(protector, &own_context(party, kind), &blob)?;
    let secret: [u8; 32] = opened
        .as_slice()
        .try_into()
        .map_err(|_| HsmError::Corrupt { what: "a sealed secret (its length)" })?;
    Ok(Zeroizing::new(secret))
}

/// Opens what hedges a party's generators.
///
/// # Errors
/// [`SealingError`].
pub fn open_hedge(
    folder: &Folder,
    config: &Config,
    protector: &dyn KeyProtector,
) -> Result<SecretBytes, SealingError> {
    let secret = open_own(&folder.hedge(), protector, config.party, BlobKind::HedgeKey)?;
    Ok(SecretBytes::new(*secret))
}

/// Opens a party's identity key: inside the HSM if it was made there, else its sealed file.
///
/// # Errors
/// [`SealingError`].
pub fn open_identity(
    folder: &Folder,
    config: &Config,
    hsm: &OpenHsm,
) -> Result<IdentityKey, SealingError> {
    let identity = match &hsm.signer {
        Some(signer) => IdentityKey::Inside(Arc::clone(signer)),
        None => {
            let (path, kind) = (folder.identity(), BlobKind::Identity);
            let seed = open_own(&path, &*hsm.protector, config.party, kind)?;
            IdentityKey::kept(&seed, config.keeping().lock)?
        }
    };
    if identity.public() != config.identity {
        return Err(SealingError::OtherIdentity);
    }
    Ok(identity)
}

/// A lost store means lost shares and fresh limits: never made anew by itself.
pub(crate) fn store_must_exist(folder: &Folder) -> Result<(), SealingError> {
    if folder.store().exists() {
        return Ok(());
    }
    let what = "the store with this party's shares and counters is missing; restore this folder from \
                its newest backup";
    Err(file(&folder.store(), what))
}

/// Puts a file that only its owner may read in place of what is there, durably: after a crash the old one
/// is there, or the new one. Only one process at a time may do so.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), SealingError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    // Left there by a crash, and never whole for certain.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file(Path::new(&aside), error));
        }
        _ => {}
    }
    write_private(Path::new(&aside), bytes)?;
    fs::rename(&aside, path).and_then(|()| sync_folder(path)).map_err(|error| file(path, error))
}

/// Removes a file, durably; one that is not there is fine.
pub(crate) fn remove_durably(path: &Path) -> Result<(), SealingError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_folder(path)).map_err(|error| file(path, error)),
    }
}

pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a new file that only its owner may read, durably; an existing one is never replaced.
///
/// # Errors
/// [`SealingError::File`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SealingError> {
    let write = || -> std::io::Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        sync_folder(path)
    };
    write().map_err(|error| file(path, error))
}
