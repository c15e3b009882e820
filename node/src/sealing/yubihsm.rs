//! A YubiHSM 2 as the configuration names it.

use std::path::{Path, PathBuf};

use quorate_hsm::yubihsm::{self, Administrator, Password, YubiHsmProtector, YubiHsmSigner};

use super::{SealingError, Source};
use crate::config::{ConfigError, Folder, HsmConfig};

/// What the configuration says about the device.
///
/// # Errors
/// [`SealingError::Config`] for another backend.
pub fn device(hsm: &HsmConfig) -> Result<yubihsm::Config, SealingError> {
    let HsmConfig::Yubihsm { connector, serial, auth_key, key_id, profile, key_version, .. } = hsm
    else {
        return Err(other());
    };
    Ok(yubihsm::Config {
        connector: connector.clone(),
        serial: *serial,
        auth_key: *auth_key,
        key_id: *key_id,
        profile: *profile,
        key_version: *key_version,
    })
}

/// The password of an authentication key, from the same places as a PIN.
///
/// # Errors
/// [`SealingError::NoPin`], [`SealingError::PinFile`].
pub fn password(file: Option<&Path>, prompt: &str) -> Result<Password, SealingError> {
    Ok(Password::new(Source::of(file).read(prompt)?.as_str()))
}

/// The way to an administrator's credentials. Nothing is read, and nobody asked, before they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdministratorAccess {
    /// The authentication key.
    pub auth_key: u16,
    /// A file with its password, readable by its owner alone; without it a person is asked.
    pub password_file: Option<PathBuf>,
}

impl AdministratorAccess {
    /// Reads the password. A credential of the service manager is the node's and never taken for it.
    ///
    /// # Errors
    /// [`SealingError::NoPin`], [`SealingError::PinFile`].
    pub fn read(&self) -> Result<Administrator, SealingError> {
        let source = self.password_file.clone().map_or(Source::Terminal, Source::File);
        let auth_key = self.auth_key;
        let prompt =
            format!("password of the administrator's authentication key 0x{auth_key:04x}: ");
        Ok(Administrator { auth_key, password: Password::new(source.read(&prompt)?.as_str()) })
    }
}

/// Opens the KEK with the node's password, which is tried once.
///
/// # Errors
/// [`SealingError`].
pub(super) fn open(folder: &Folder, hsm: &HsmConfig) -> Result<YubiHsmProtector, SealingError> {
    let (config, canary) = (device(hsm)?, canary(hsm)?);
    let HsmConfig::Yubihsm { password_file: file, .. } = hsm else { return Err(other()) };
    let file = file.as_deref().map(|path| folder.path().join(path));
    let password = password(file.as_deref(), "password of the node's authentication key: ")?;
    // Refused once, it is not tried again after a restart either.
    let guard = Source::of(file.as_deref()).guard(folder)?;
    Ok(guard.attempt(|| YubiHsmProtector::open(config, &password, canary))?)
}

/// Another KEK of the same device, with the same password.
pub(super) fn beside(
    kek: &YubiHsmProtector,
    hsm: &HsmConfig,
) -> Result<YubiHsmProtector, SealingError> {
    Ok(kek.beside(device(hsm)?, canary(hsm)?)?)
}

pub(super) fn signer(
    kek: &YubiHsmProtector,
    hsm: &HsmConfig,
) -> Result<YubiHsmSigner, SealingError> {
    let HsmConfig::Yubihsm { identity_key, .. } = hsm else { return Err(other()) };
    Ok(YubiHsmSigner::beside(kek, *identity_key)?)
}

fn canary(hsm: &HsmConfig) -> Result<Vec<u8>, SealingError> {
    let HsmConfig::Yubihsm { canary, .. } = hsm else { return Err(other()) };
    super::decoded("hsm.canary", canary)
}

fn other() -> SealingError {
    ConfigError::Field { field: "hsm.backend", what: "must be yubihsm" }.into()
}
