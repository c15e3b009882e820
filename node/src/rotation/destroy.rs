//! The end of a KEK that nothing needs any more.

use quorate_hsm::yubihsm::Mark;
use quorate_hsm::{HsmError, Profile, pkcs11};
use serde::de::DeserializeOwned;
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
/// [`RotationError`]; the audit log says whether anything was begun.
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
    let (attempted, past) = (attempts::names(folder, &id)?, Past::find(&store, &id)?);
    match (attempted, &past) {
        (true, _) | (false, Past::Left(_)) => {}
        (false, Past::Never) => return Err(RotationError::Unknown { id }),
        (false, Past::Destroyed) => return Err(RotationError::Destroyed { id }),
    }
    if matches!(config.hsm, HsmConfig::Yubihsm { .. }) && administrator.is_none() {
        return Err(RotationError::NoAdministrator);
    }
    let kek = open_kek(folder, &config.hsm, config.keeping().lock)?;
    for sealed in &everything {
        sealed.must_open(&*kek.protector())?;
    }
    let administrator = administrator.map(AdministratorAccess::read).transpose()?;
    let record = |event: &str, more: Value| {
        let at = SystemClock.unix().as_secs();
        let mut record = json!({ "event": event, "at": at, "id": id });
        if let (Some(record), Value::Object(more)) = (record.as_object_mut(), more) {
            record.extend(more);
        }
        store.audit_append(record.to_string().into_bytes())
    };
    // Before it happens, so that it does not happen unrecorded.
    record("kek-destroy-begun", json!({}))?;
    let destroyed = match (&kek, &administrator) {
        (Kek::Yubihsm(kek), Some(administrator)) => {
            let former = if let Past::Left(former) = past { Some(former) } else { None };
            device::remove(kek, &id, attempts::tag(folder, &id)?, former, administrator)
        }
        _ => in_token(folder, &config.hsm, key_id),
    };
    let destroyed = destroyed.and_then(|destroyed| {
        if destroyed.is_empty() {
            let kek = format!("{id} (in {})", kek.protector().kek().token);
            return Err(SealingError::from(HsmError::KeyMissing { kek }).into());
        }
        Ok(destroyed)
    });
    match &destroyed {
        // From here on what has the identifier is another's.
        Ok(objects) => record("kek-destroyed", json!({ "objects": objects }))?,
        Err(error) => record("kek-not-destroyed", json!({ "why": error.to_string() }))?,
    };
    let nothing_left = matches!(
        &destroyed,
        Ok(_) | Err(RotationError::Sealing(SealingError::Hsm(HsmError::KeyMissing { .. })))
    );
    if nothing_left {
        attempts::remove(folder, &id)?;
    }
    destroyed
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

/// What this node's audit log says of a KEK that is not in use.
enum Past {
    Never,
    Left(Former),
    Destroyed,
}

/// A KEK that the node left.
pub(super) struct Former {
    pub(super) profile: Option<Profile>,
    /// What is needed to know the objects in a YubiHSM again.
    pub(super) mark: Option<Mark>,
    pub(super) auth_key: Option<u16>,
    pub(super) auth_mark: Option<Mark>,
}

impl Past {
    /// By the newest record that names it.
    fn find(store: &Store, id: &str) -> Result<Self, RotationError> {
        let (mut from, mut found) = (1, Self::Never);
        loop {
            let page = store.audit(from, MAX_AUDIT_PAGE)?;
            let Some(last) = page.last() else { return Ok(found) };
            from = last.number + 1;
            found =
                page.iter().rev().find_map(|entry| Self::read(&entry.record, id)).unwrap_or(found);
        }
    }

    fn read(record: &[u8], id: &str) -> Option<Self> {
        let record: Value = serde_json::from_slice(record).ok()?;
        let is = |name: &str, text: &str| record.get(name).and_then(Value::as_str) == Some(text);
        if is("event", "kek-destroyed") && is("id", id) {
            return Some(Self::Destroyed);
        }
        if !is("event", "kek-rotated") || !is("from_id", id) {
            return None;
        }
        Some(Self::Left(Former {
            profile: field(&record, "from_profile"),
            mark: field(&record, "from_mark"),
            auth_key: field(&record, "from_auth_key"),
            auth_mark: field(&record, "from_auth_mark"),
        }))
    }
}

fn field<T: DeserializeOwned>(record: &Value, name: &str) -> Option<T> {
    serde_json::from_value(record.get(name)?.clone()).ok()
}
