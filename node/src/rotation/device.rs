//! Rotation in a YubiHSM, where keys are made and deleted by the administrator alone.

use quorate_hsm::HsmError;
use quorate_hsm::yubihsm::{self, Administrator, Next, Retired, YubiHsmProtector};

use super::destroy::Former;
use super::{Leftover, RotationError, Wanted, attempts};
use crate::config::{Folder, HsmConfig};
use crate::sealing::SealingError;

/// An identifier as people and the list of attempts have it.
pub(super) fn id(id: u16) -> String {
    format!("{id:04x}")
}

fn parsed(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 16).ok()
}

/// Makes the KEK that comes after `old`. Gives what replaces `hsm`, and what provisioning says.
pub(super) fn make(
    folder: &Folder,
    hsm: &HsmConfig,
    old: &YubiHsmProtector,
    wanted: &Wanted,
) -> Result<(HsmConfig, Vec<String>), RotationError> {
    let HsmConfig::Yubihsm { profile, identity_key, auditor_key, password_file, .. } = hsm else {
        return Err(RotationError::OtherBackend);
    };
    let access = wanted.administrator.as_ref().ok_or(RotationError::NoAdministrator)?;
    let administrator = access.read()?;
    let profile = wanted.profile.unwrap_or(*profile);
    let mut tries = 0;
    let made = loop {
        let (id_now, tag) = fresh()?;
        attempts::add(folder, &format!("{}:{tag}", id(id_now)))?;
        tries += 1;
        match old.succeed(&Next { id: id_now, profile, tag }, &administrator) {
            // The identifier is a random one, and somebody else's.
            Err(HsmError::ObjectsExist { .. }) if tries < TRIES => {
                attempts::remove(folder, &id(id_now))?;
            }
            made => break made.map_err(SealingError::from)?,
        }
    };
    let mut report = made.report;
    report.extend(made.warnings.iter().map(|warning| format!("WARNING: {warning}")));
    let config = made.config;
    let hsm = HsmConfig::Yubihsm {
        connector: config.connector,
        serial: config.serial,
        auth_key: config.auth_key,
        key_id: config.key_id,
        profile: config.profile,
        key_version: config.key_version,
        identity_key: *identity_key,
        auditor_key: *auditor_key,
        canary: hex::encode(&made.canary),
        password_file: password_file.clone(),
    };
    Ok((hsm, report))
}

/// Random identifiers that are taken are rare.
const TRIES: usize = 4;

/// An identifier above those that people number by hand, and a tag for labels.
fn fresh() -> Result<(u16, String), SealingError> {
    let mut bytes = [0; 6];
    getrandom::getrandom(&mut bytes).map_err(|_| HsmError::Randomness)?;
    let [high, low, tag @ ..] = bytes;
    let id = 0x1000 + u16::from_be_bytes([high, low]) % 0xe000;
    Ok((id, hex::encode(tag)))
}

/// What an attempt, by its name in the list, has left in the device.
pub(super) fn left_by(
    kek: &YubiHsmProtector,
    name: &str,
) -> Result<Option<Leftover>, RotationError> {
    let Some((number, tag)) = name.split_once(':') else { return Ok(None) };
    let Some(number) = parsed(number) else { return Ok(None) };
    let objects = kek.left_by(number, tag).map_err(SealingError::from)?;
    let name = id(number);
    let remedy = format!("quorate hsm destroy-kek --key-id {name} --admin-auth-key ID --yes");
    Ok((!objects.is_empty()).then_some(Leftover { name, objects, remedy }))
}

/// Deletes what an attempt has left, or else a KEK that was in use.
pub(super) fn remove(
    used: &YubiHsmProtector,
    key_id: &str,
    tag: Option<String>,
    former: Option<Former>,
    administrator: &Administrator,
) -> Result<Vec<String>, RotationError> {
    let unknown = || RotationError::Unknown { id: key_id.to_owned() };
    let id = parsed(key_id).ok_or_else(unknown)?;
    let retired = match (tag, former) {
        (Some(tag), _) => Retired::Attempt { id, tag },
        (None, Some(former)) => former.retired(id).ok_or_else(|| {
            let why = "what tells it from another node's was not recorded when this node left it; if nobody needs it, delete it with the vendor's tool";
            let id = key_id.to_owned();
            SealingError::from(HsmError::NotDiscarded { id, why: why.to_owned() })
        })?,
        (None, None) => return Err(unknown()),
    };
    let removed = yubihsm::remove_kek(used, &retired, administrator);
    Ok(removed.map_err(SealingError::from)?)
}

impl Former {
    /// Nothing if the record does not say enough.
    fn retired(self, id: u16) -> Option<Retired> {
        let auth_key = match (self.auth_key, self.auth_mark) {
            (Some(auth_key), Some(mark)) => Some((auth_key, mark)),
            (Some(_), None) => return None,
            (None, _) => None,
        };
        Some(Retired::Former { id, profile: self.profile?, mark: self.mark?, auth_key })
    }
}
