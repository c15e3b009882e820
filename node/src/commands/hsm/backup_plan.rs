//! `quorate hsm backup-plan`: which keys no backup of the folder has, and what their loss means.

use quorate_hsm::Profile;
use serde_json::json;

use super::super::{CommandError, Global};
use super::listed;
use crate::config::{HsmConfig, KekSecret};
use crate::store::{Store, StoreError};

pub(super) fn backup_plan(global: &Global) -> Result<(), CommandError> {
    let config = global.config()?;
    let Plan { keys, how, without } = Plan::of(&config.hsm);
    let names = key_names(global)?;
    let lost = match names.as_slice() {
        [] => "this party holds no share yet".to_owned(),
        some => format!("this party's shares of: {}", some.join(", ")),
    };
    let group = "The group can go on without this party as long as enough others are left, and must replace it: no other party, and nobody outside, can make this party's shares anew.";
    let folder = "A backup of the folder alone is useless: its shares open under the key in the HSM only. A backup of the HSM alone is useless, too: the shares are in the folder. Back up both, apart from each other. An older folder must not be put back while a newer one exists (see `quorate readmit --help`).";
    let heading = match &config.hsm {
        HsmConfig::Yubihsm { .. } => "in the device alone, and never to be backed up:",
        _ => "back up with the HSM's own tools, not with ours:",
    };
    let object = json!({
        "backend": how.0, "keys": keys, "how": how.1, "without": without,
        "shares": names, "group": group, "folder": folder,
    });
    let text = format!(
        "party     {} ({})\n{}{}\nif lost   {lost}\n          {without}\n          {group}\nfolder    {folder}",
        config.party,
        config.name,
        listed(heading, &keys).trim_start(),
        listed("how", &how.1),
    );
    global.print(&object, &text);
    Ok(())
}

struct Plan {
    keys: Vec<String>,
    how: (&'static str, Vec<String>),
    without: &'static str,
}

impl Plan {
    fn of(hsm: &HsmConfig) -> Self {
        match hsm {
            HsmConfig::Software { kek_file, secret, .. } => {
                let file = kek_file.as_deref().unwrap_or("kek.software");
                let mut how = vec![
                    "this is an emulation and NOT an HSM: the key is in the folder, and so is everything else".to_owned(),
                ];
                let without = match secret {
                    KekSecret::KeyFile => "Without that file nothing in this folder opens.",
                    KekSecret::Passphrase => {
                        how.push("the passphrase is nowhere in the folder: keep it apart from every copy of it".to_owned());
                        "Without that file, or without the passphrase, nothing in this folder opens."
                    }
                };
                Self {
                    keys: vec![format!("{file}, a file of this folder")],
                    how: ("software", how),
                    without,
                }
            }
            HsmConfig::Yubihsm {
                serial,
                auth_key,
                key_id,
                profile,
                key_version,
                identity_key,
                auditor_key,
                ..
            } => {
                let kind = if *profile == Profile::HmacKdf { "HMAC key" } else { "wrap key" };
                Self {
                    keys: vec![
                        format!("YubiHSM {serial:010}: key-encryption key, {kind} 0x{key_id:04x}, version {key_version}"),
                        format!("YubiHSM {serial:010}: identity key, asymmetric key 0x{identity_key:04x}"),
                        format!("YubiHSM {serial:010}: authentication keys 0x{auth_key:04x} (node) and 0x{auditor_key:04x} (auditor): their password files"),
                    ],
                    how: ("yubihsm", vec![
                        "the keys were made in the device without the capability exportable-under-wrap: no backup of them can be made, with any tool".to_owned(),
                        "a node accepts only keys like these, and only the device with that serial number: a lost device is a lost party".to_owned(),
                        "so plan for replacing this party, and keep enough others: that is what the threshold is for".to_owned(),
                    ]),
                    without: "Without the key-encryption key nothing in this folder opens. Without the identity key the party cannot speak to its group.",
                }
            }
            HsmConfig::Pkcs11 { token, key_id, key_version, profile, identity_key, .. } => {
                let kek = match profile {
                    Profile::CbcHmac => {
                        "secret keys, AES and HMAC (the HMAC key has an id of its own; `quorate hsm status` shows both)"
                    }
                    Profile::Oaep => "RSA key pair",
                    _ => "secret key",
                };
                let mut keys = vec![format!(
                    "token {token}: key-encryption key, CKA_ID {key_id}, version {key_version}: {kek}"
                )];
                keys.extend(identity_key.map(|public| {
                    format!("token {token}: identity key, CKA_ID {key_id}, key pair: {public}")
                }));
                Self {
                    keys,
                    how: ("pkcs11", vec![
                        "the keys were made in the token as not extractable: no export of single keys, with any PKCS#11 tool, contains them".to_owned(),
                        "use the vendor's backup of the whole token: cloning into a second HSM of the same security domain, or a backup device; for SoftHSM, a copy of its token folder, which anybody can use who has the PIN".to_owned(),
                        "after restoring, select the token by its label, since a clone has another serial number, and see that `quorate hsm status` works".to_owned(),
                        "without such a backup nothing else helps: that is a choice one can make, since losing one party is what the threshold is for".to_owned(),
                    ]),
                    without: "Without the key-encryption key nothing in this folder opens. Without the identity key the party cannot speak to its group.",
                }
            }
        }
    }
}

/// The keys that this party holds shares of: from the store, or from the node that has it open.
fn key_names(global: &Global) -> Result<Vec<String>, CommandError> {
    let path = global.place().store();
    // Opening would make a new one.
    if !path.exists() {
        return Ok(Vec::new());
    }
    match Store::open(&path) {
        Ok(store) => Ok(store.keys()?.into_iter().map(|row| row.name).collect()),
        Err(StoreError::Locked { .. }) => {
            Ok(global.client()?.list_keys()?.into_iter().map(|key| key.name).collect())
        }
        Err(error) => Err(error.into()),
    }
}
