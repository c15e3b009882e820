//! Opening what protects a party's secrets, and the identity key that rests under it.

mod pin;
mod yubihsm;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_core::secret::SecretBytes;
use quorate_hsm::pkcs11::{self, Pkcs11Protector, Pkcs11Signer};
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{BlobKind, Context, HsmError, HsmSigner, KeyProtector};
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, Folder, HsmConfig};
use crate::identity::IdentityKey;

pub use pin::{CREDENTIAL, Source, guarded_pin, pin};
pub use yubihsm::{device, password};

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
            Self::Hsm(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::NoPin => f.write_str(
                "no PIN: set pin_file under [hsm] to a file that only its owner may read, give the \
                 unit a credential quorate-pin, or start from a terminal to be asked",
            ),
            Self::PinFile { path, reason } => {
                write!(f, "the PIN file {}: {reason}", path.display())
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
    match &config.hsm {
        HsmConfig::Software => {
            let kek = SoftwareProtector::open(&folder.software_kek(), SoftwareSecret::KeyFile)?;
            Ok(OpenHsm { protector: Arc::new(kek), signer: None, keys: Vec::new() })
        }
        HsmConfig::Yubihsm { .. } => yubihsm::open(folder, &config.hsm),
        HsmConfig::Pkcs11 { canary, pin_file, .. } => {
            let wrong = |field, what| ConfigError::Field { field, what };
            let canary =
                hex::decode(canary).map_err(|_| wrong("hsm.canary", "must be hexadecimal"))?;
            let where_it_is = where_it_is(&config.hsm)?;
            let inside = where_it_is.identity.is_some();
            let pin_file = pin_file.as_deref().map(|path| folder.path().join(path));
            let pin = guarded_pin(folder, pin_file.as_deref())?;
            let kek = Pkcs11Protector::open(where_it_is, pin, canary)?;
            let signer: Option<Arc<dyn HsmSigner>> = match inside {
                true => Some(Arc::new(Pkcs11Signer::beside(&kek)?)),
                false => None,
            };
            Ok(OpenHsm { keys: kek.report()?, protector: Arc::new(kek), signer })
        }
    }
}

/// What the configuration says about the token.
///
/// # Errors
/// [`SealingError::Config`].
pub fn where_it_is(hsm: &HsmConfig) -> Result<pkcs11::Config, SealingError> {
    let wrong = |field, what| SealingError::from(ConfigError::Field { field, what });
    let HsmConfig::Pkcs11 { module, token, key_id, key_version, profile, identity_key, .. } = hsm
    else {
        return Err(wrong("hsm.backend", "must be pkcs11"));
    };
    Ok(pkcs11::Config {
        module: module.clone(),
        token: token.clone(),
        key_id: hex::decode(key_id).map_err(|_| wrong("hsm.key_id", "must be hexadecimal"))?,
        key_version: *key_version,
        profile: *profile,
        identity: *identity_key,
    })
}

/// A party's own secrets belong to it before it belongs to a network, so the network is all zero.
fn own_context(party: u16, kind: BlobKind) -> Context {
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
        None => IdentityKey::from_secret(&*open_own(
            &folder.identity(),
            &*hsm.protector,
            config.party,
            BlobKind::Identity,
        )?),
    };
    if identity.public() != config.identity {
        return Err(SealingError::OtherIdentity);
    }
    Ok(identity)
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
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| file(path, error))
}
