//! The end of a KEK that nothing needs any more.

use quorate_hsm::{HsmError, Profile, pkcs11};
use serde_json::{Value, json};

use super::{RotationError, attempts, device, must_not_be_under_way, pin_again, sealed};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Folder, HsmConfig};
use crate::sealing::{
    AdministratorAccess, Kek, SealingError, open_kek, store_must_exist, where_it_is,
};
use crate::store::{MAX_AUDIT_PAGE, Store};

/// Destroys a KEK that this node used, or began to make, and that nothing in the folder names any more.
/// Says what was destroyed.
///
/// # Errors
/// [`RotationError`]; then nothing was.
pub fn destroy(
    folder: &Folder,
    key_id: &[u8],
    administrator: Option<&AdministratorAccess>,
) -> Result<Vec<String>, RotationError> {
    store_must_exist(folder)?;
    let store = Store::open(&folder.store())?;
    must_not_be_under_way(folder)?;
    let config = Config::load(folder).map_err(SealingError::from)?;
    let current = match &config.hsm {
        HsmConfig::Software { .. } => return Err(RotationError::OtherBackend),
        HsmConfig::Pkcs11 { .. } => where_it_is(&config.hsm)?.key_id,
        HsmConfig::Yubihsm { key_id, .. } => key_id.to_be_bytes().to_vec(),
    };
    let id = hex::encode(key_id);
    if current == key_id {
        return Err(RotationError::InUse { id });
    }
    let everything = sealed::everything(folder, &config, &store)?;
    for sealed in &everything {
        if sealed.kek()?.id == key_id {
            return Err(RotationError::StillNamed { id, name: sealed.name.clone() });
        }
    }
    // The HSM may hold the KEKs of other nodes.
    let (attempted, former) = (attempts::names(folder, &id)?, Former::find(&store, &id)?);
    if !attempted && former.is_none() {
        return Err(RotationError::Unknown { id });
    }
    if matches!(config.hsm, HsmConfig::Yubihsm { .. }) && administrator.is_none() {
        return Err(RotationError::NoAdministrator);
    }
    let kek = open_kek(folder, &config.hsm, config.keeping().lock)?;
    for sealed in &everything {
        sealed.must_open(&*kek.protector())?;
    }
    // Before it happens, so that it does not happen unrecorded.
    let record = json!({
        "event": "kek-destroyed", "at": SystemClock.unix().as_secs(), "id": id,
    });
    store.audit_append(record.to_string().into_bytes())?;
    let destroyed = match (&kek, administrator) {
        (Kek::Yubihsm(kek), Some(access)) => {
            device::remove(kek, &id, attempts::tag(folder, &id)?, former.as_ref(), access)?
        }
        _ => in_token(folder, &config.hsm, key_id)?,
    };
    attempts::remove(folder, &id)?;
    if destroyed.is_empty() {
        let kek = format!("{id} (in {})", kek.protector().kek().token);
        return Err(SealingError::from(HsmError::KeyMissing { kek }).into());
    }
    Ok(destroyed)
}

fn in_token(folder: &Folder, hsm: &HsmConfig, key_id: &[u8]) -> Result<Vec<String>, RotationError> {
    let HsmConfig::Pkcs11 { pin_file, identity_id, .. } = hsm else {
        return Err(RotationError::OtherBackend);
    };
    let current = where_it_is(hsm)?;
    let pin = pin_again(folder, pin_file.as_deref())?;
    let location = current.location();
    let destroyed = if identity_id.as_ref() == Some(&hex::encode(key_id)) {
        pkcs11::destroy_kek(&location, key_id, &current, pin)
    } else {
        // What signed for this KEK alone goes with it.
        pkcs11::discard(&location, key_id, std::slice::from_ref(&current), pin)
    };
    Ok(destroyed.map_err(SealingError::from)?)
}

/// A KEK that the node left, by its audit log.
pub(super) struct Former {
    pub(super) version: Option<u32>,
    pub(super) profile: Option<Profile>,
    pub(super) auth_key: Option<u16>,
}

impl Former {
    /// The newest record that names it.
    fn find(store: &Store, id: &str) -> Result<Option<Self>, RotationError> {
        let (mut from, mut found) = (1, None);
        loop {
            let page = store.audit(from, MAX_AUDIT_PAGE)?;
            let Some(last) = page.last() else { return Ok(found) };
            from = last.number + 1;
            found = page.iter().rev().find_map(|entry| Self::read(&entry.record, id)).or(found);
        }
    }

    fn read(record: &[u8], id: &str) -> Option<Self> {
        let record: Value = serde_json::from_slice(record).ok()?;
        let field = |name: &str| record.get(name).cloned().unwrap_or_default();
        let is = |name: &str, text: &str| field(name).as_str() == Some(text);
        if !is("event", "kek-rotated") || !is("from_id", id) {
            return None;
        }
        let from = field("from");
        let version = from.as_str().and_then(|kek| kek.rsplit_once(":v")?.1.parse().ok());
        let profile = serde_json::from_value(field("from_profile")).ok();
        let auth_key = serde_json::from_value(field("from_auth_key")).ok();
        Some(Self { version, profile, auth_key })
    }
}
