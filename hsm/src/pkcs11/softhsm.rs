//! SoftHSM for rehearsals and tests: configuration, and a token from nothing.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use super::module::Module;
use super::{Pin, TokenSelector, token, unavailable};
use crate::HsmError;

/// The library, where distributions put it.
pub fn find_module() -> Option<PathBuf> {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
}

/// Writes `softhsm2.conf` and makes its `tokens` folder, for this user only. The caller sets `SOFTHSM2_CONF` to the result.
pub fn write_config(dir: &Path) -> Result<PathBuf, HsmError> {
    let write = || -> std::io::Result<PathBuf> {
        let dir = std::path::absolute(dir)?;
        let tokens = dir.join("tokens");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
        let config = dir.join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        std::fs::write(&config, text)?;
        Ok(config)
    };
    write().map_err(|error| HsmError::Storage {
        path: dir.display().to_string(),
        reason: error.to_string(),
    })
}

/// Initialises a free slot and returns the new token's serial. A label in use is refused.
pub fn create_token(
    module: &Path,
    label: &str,
    so_pin: &Pin,
    user_pin: &Pin,
) -> Result<String, HsmError> {
    // PKCS#11 cuts longer labels silently, and then nobody finds the token.
    if label.len() > 32 {
        return Err(HsmError::TooLarge { size: label.len(), limit: 32 });
    }
    let module = Module::load(module)?;
    let _inside = module.enter();
    let pkcs11 = &module.pkcs11;
    match token::select(pkcs11, &TokenSelector::Label(label.to_owned())).map_err(HsmError::from) {
        Err(HsmError::TokenMissing { .. }) => {}
        Ok((_, info)) => {
            let serial = info.serial_number().to_owned();
            return Err(HsmError::TokenExists { label: label.to_owned(), serial });
        }
        Err(error) => return Err(error),
    }
    let fail = |error| unavailable(&error);
    let slots = pkcs11.get_slots_with_token().map_err(fail)?;
    let free = |slot: &cryptoki::slot::Slot| {
        pkcs11.get_token_info(*slot).is_ok_and(|info| !info.token_initialized())
    };
    let slot = slots.into_iter().find(free).ok_or_else(|| HsmError::Unavailable {
        reason: "no free slot for a new token".to_owned(),
    })?;
    let so_pin = AuthPin::from(so_pin.expose().unwrap_or_default());
    pkcs11.init_token(slot, &so_pin, label).map_err(fail)?;
    let session = pkcs11.open_rw_session(slot).map_err(fail)?;
    session.login(UserType::So, Some(&so_pin)).map_err(fail)?;
    session.init_pin(&AuthPin::from(user_pin.expose().unwrap_or_default())).map_err(fail)?;
    session.logout().map_err(fail)?;
    Ok(pkcs11.get_token_info(slot).map_err(fail)?.serial_number().to_owned())
}
