//! `quorate hsm status`: is this folder's HSM there, and does it do what the node needs?

use quorate_core::wire::Bytes64;
use quorate_hsm::{HsmError, yubihsm};
use serde_json::{Value, json};

use super::super::{CommandError, Global};
use super::listed;
use crate::config::{Config, Folder, HsmConfig, KekSecret};
use crate::identity::IdentityKey;
use crate::sealing::{OpenHsm, SealingError, Source, open_hedge, open_hsm, open_identity};

pub(super) fn status(global: &Global) -> Result<(), CommandError> {
    let (place, config) = (global.place(), global.config()?);
    let before = guard_state(&place, &config);
    let tried = examine(&place, &config);
    let after = guard_state(&place, &config);
    let log = device_log(&place, &config);
    // Shown before the error, which says what to do: what a program reads here is whole either way.
    let (mut object, text) = match &tried {
        Ok(found) => (found.object(), found.text()),
        Err(error) => (
            json!({ "works": false, "failure": error.to_string() }),
            format!("works     NO: {error}"),
        ),
    };
    if let Some(fields) = object.as_object_mut() {
        fields.insert("party".to_owned(), config.party.into());
        fields.insert("backend".to_owned(), backend(&config.hsm).into());
        fields.insert("pin_guard".to_owned(), after.clone().into());
        if let Some((object, _)) = &log {
            fields.insert("device_log".to_owned(), object.clone());
        }
    }
    let changed = if before == after { String::new() } else { format!(" (before: {before})") };
    let text =
        format!("party     {} ({})\n{text}\nPIN guard {after}{changed}", config.party, config.name);
    let text = log.map_or(text.clone(), |(_, line)| format!("{text}\n{line}"));
    global.print(&object, &text);
    tried.map(drop).map_err(CommandError::from)
}

/// How full a YubiHSM's own log is, which the device tells without a password, and what waits for the
/// node.
fn device_log(place: &Folder, config: &Config) -> Option<(Value, String)> {
    let HsmConfig::Yubihsm { connector, .. } = &config.hsm else { return None };
    let said = yubihsm::about(connector);
    let (used, room) = match &said {
        Ok(about) => (json!(about.log_used), json!(about.log_room)),
        Err(_) => (Value::Null, Value::Null),
    };
    let waiting = crate::device_log::waiting(place);
    let object = json!({
        "used": used, "room": room, "waiting": waiting.as_ref().ok(),
        "failure": waiting.as_ref().err().map(ToString::to_string),
    });
    let full = match said {
        Ok(about) if about.log_used >= about.log_room => format!(
            "FULL with {} entries: more overwrite the oldest, or with force-audit the device stops; drain it \
             with `quorate hsm audit-drain`",
            about.log_used
        ),
        Ok(about) => format!("{} of {} entries are not drained", about.log_used, about.log_room),
        Err(error) => format!("unknown how full it is: {error}"),
    };
    let waits = match waiting {
        Ok(0) => "no batch waits in hsm-log".to_owned(),
        Ok(count) => format!(
            "batches that wait in hsm-log for the node, or for the next `quorate hsm audit-drain`: {count}"
        ),
        Err(error) => error.to_string(),
    };
    Some((object, format!("log       {full}; {waits}")))
}

struct Found {
    kek: String,
    profile: String,
    hsm: String,
    identity: String,
    inside: bool,
    keys: Vec<String>,
    unprotected: Vec<String>,
}

/// Everything that a node does with its HSM when it starts, and a signature.
fn examine(place: &Folder, config: &Config) -> Result<Found, SealingError> {
    // Opens the canary, too.
    let hsm = open_hsm(place, config)?;
    let identity = open_identity(place, config, &hsm)?;
    let message = b"quorate hsm status v1";
    let signature = identity.sign(message).map_err(|error| match error {
        crate::identity::IdentityError::Hsm(error) => error,
        other => HsmError::Unavailable { reason: other.to_string() },
    })?;
    if !config.identity.key().verify(message, &Bytes64(signature)) {
        let reason = "a signature by the identity key does not verify".to_owned();
        return Err(HsmError::Unavailable { reason }.into());
    }
    drop(open_hedge(place, config, &*hsm.protector)?);
    hsm.protector.health()?;
    let protector = &hsm.protector;
    Ok(Found {
        kek: protector.kek().to_string(),
        profile: super::profile_name(protector.profile()),
        hsm: protector.describe(),
        identity: identity.public().to_string(),
        inside: matches!(identity, IdentityKey::Inside(_)),
        keys: hsm.keys.iter().map(ToString::to_string).collect(),
        unprotected: unprotected(config, &hsm),
    })
}

/// What holds whatever the HSM does, and what the HSM itself says.
fn unprotected(config: &Config, hsm: &OpenHsm) -> Vec<String> {
    let mut lines: Vec<String> =
        hsm.keys.iter().flat_map(|key| key.unprotected.iter().cloned()).collect();
    match &config.hsm {
        HsmConfig::Software { secret: KekSecret::Passphrase, .. } => lines.push(
            "this is an emulation and NOT an HSM: its key is in this host's memory while the node runs, and whoever copies the folder can guess at the passphrase, without end and unseen, as fast as Argon2id lets them".to_owned(),
        ),
        HsmConfig::Software { .. } => lines.push(
            "this is an emulation and NOT an HSM: its key lies beside what it seals, and whoever copies the folder has the shares".to_owned(),
        ),
        HsmConfig::Yubihsm { .. } => lines.extend([
            "whoever has the node's password and reaches the connector can open shares and sign as this node".to_owned(),
            "whoever has the administrator's authentication key can delete the KEK, or make a key that opens shares".to_owned(),
        ]),
        HsmConfig::Pkcs11 { .. } => lines.push(
            "whoever has the PIN and reaches the token can open shares and sign as this node; the token does not tell who asks".to_owned(),
        ),
    }
    if hsm.protector.profile() == quorate_hsm::Profile::HmacKdf {
        lines.push("the keys that the HSM derives pass through this host's memory".to_owned());
    }
    if hsm.signer.is_none() {
        lines.push("the identity key is in this host's memory while the node runs".to_owned());
    }
    lines.push(
        "a share that is open for signing is in this host's memory until it is closed".to_owned(),
    );
    lines
}

fn backend(hsm: &HsmConfig) -> &'static str {
    match hsm {
        HsmConfig::Software { .. } => "software",
        HsmConfig::Pkcs11 { .. } => "pkcs11",
        HsmConfig::Yubihsm { .. } => "yubihsm",
    }
}

/// Whether the PIN may be tried, by the guard's file.
fn guard_state(place: &Folder, config: &Config) -> String {
    let (HsmConfig::Pkcs11 { pin_file, .. } | HsmConfig::Yubihsm { password_file: pin_file, .. }) =
        &config.hsm
    else {
        return match &config.hsm {
            HsmConfig::Software { secret: KekSecret::Passphrase, .. } => {
                "none: nothing counts or locks wrong passphrases; Argon2id makes each try slow"
            }
            _ => "none: this backend has no PIN that locks",
        }
        .to_owned();
    };
    let file = pin_file.as_deref().map(|path| place.path().join(path));
    let held = match Source::of(file.as_deref()).guard(place) {
        Ok(guard) => guard.check().map_err(SealingError::Hsm),
        Err(error) => Err(error),
    };
    match held {
        Ok(()) => "free".to_owned(),
        Err(SealingError::Hsm(HsmError::PinHeld { why, .. })) => {
            format!("held: {why}; correct the PIN, then `quorate hsm clear-pin`")
        }
        Err(error) => format!("unknown: {error}"),
    }
}

impl Found {
    fn object(&self) -> Value {
        json!({
            "works": true, "hsm": self.hsm, "kek": self.kek, "profile": self.profile,
            "canary": "opens", "identity": self.identity,
            "identity_key": if self.inside { "inside" } else { "sealed" },
            "identity_signs": true, "keys": self.keys, "unprotected": self.unprotected,
        })
    }

    fn text(&self) -> String {
        let place = match self.inside {
            true => "made inside the HSM",
            false => "sealed under the KEK",
        };
        format!(
            "works     yes: logged in, the canary and this folder's sealed files open\nHSM       {}\nKEK       {}, {}\nidentity  {}\n          {place}; a test message was signed, and the signature verifies{}{}",
            self.hsm,
            self.kek,
            self.profile,
            self.identity,
            listed("keys", &self.keys),
            listed("NOT protected", &self.unprotected),
        )
    }
}
