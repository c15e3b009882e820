//! A YubiHSM 2 as the configuration names it.

use std::path::Path;
use std::sync::Arc;

use quorate_hsm::yubihsm::{self, Password, YubiHsmProtector, YubiHsmSigner};

use super::{OpenHsm, SealingError, Source};
use crate::config::{ConfigError, Folder, HsmConfig};

/// What the configuration says about the device.
///
/// # Errors
/// [`SealingError::Config`] for another backend.
pub fn device(hsm: &HsmConfig) -> Result<yubihsm::Config, SealingError> {
    let HsmConfig::Yubihsm { connector, serial, auth_key, key_id, profile, key_version, .. } = hsm
    else {
        return Err(ConfigError::Field { field: "hsm.backend", what: "must be yubihsm" }.into());
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

/// Opens KEK and identity key, over one session.
///
/// # Errors
/// [`SealingError`].
pub(super) fn open(folder: &Folder, hsm: &HsmConfig) -> Result<OpenHsm, SealingError> {
    let config = device(hsm)?;
    let HsmConfig::Yubihsm { identity_key, canary, password_file: file, .. } = hsm else {
        return Err(ConfigError::Field { field: "hsm.backend", what: "must be yubihsm" }.into());
    };
    let canary = hex::decode(canary)
        .map_err(|_| ConfigError::Field { field: "hsm.canary", what: "must be hexadecimal" })?;
    let file = file.as_deref().map(|path| folder.path().join(path));
    let password = password(file.as_deref(), "password of the node's authentication key: ")?;
    // Refused once, it is not tried again after a restart either.
    let guard = Source::of(file.as_deref()).guard(folder)?;
    let kek = guard.attempt(|| YubiHsmProtector::open(config.clone(), &password, canary))?;
    let signer = YubiHsmSigner::open(&config, *identity_key, &password)?;
    Ok(OpenHsm { protector: Arc::new(kek), signer: Some(Arc::new(signer)), keys: Vec::new() })
}
