//! `quorate init --hsm yubihsm`: KEK, identity key and two authentication keys in a device.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_hsm::yubihsm::{self, Password, Plan, YubiHsmProtector};
use quorate_hsm::{Profile, yubihsm::Provisioned};
use zeroize::Zeroizing;

use super::{IdentityPlace, InitArgs, Made, fresh_secret, profile};
use crate::commands::CommandError;
use crate::config::{Folder, HsmConfig};
use crate::sealing::{AdministratorAccess, SealingError, password, write_private};

#[derive(Args, Debug)]
pub(super) struct DeviceArgs {
    /// The connector of a YubiHSM 2
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12345")]
    connector: String,
    /// The device's serial number; another device is refused ever after
    #[arg(long, value_name = "NUMBER")]
    serial: Option<u32>,
    #[command(flatten)]
    administrator: AdministratorArgs,
    /// The node's authentication key, to be made
    #[arg(long, value_name = "ID", default_value = "0x0010", value_parser = object_id)]
    node_auth_key: u16,
    /// The auditor's authentication key, to be made
    #[arg(long, value_name = "ID", default_value = "0x0011", value_parser = object_id)]
    auditor_auth_key: u16,
    /// The key-encryption key, to be made: a wrap key, or an HMAC key if the profile says so
    #[arg(long, value_name = "ID", default_value = "0x0012", value_parser = object_id)]
    wrap_key: u16,
    /// The identity key, to be made
    #[arg(long, value_name = "ID", default_value = "0x0013", value_parser = object_id)]
    identity_key: u16,
    /// The node's domain in the device, 1 to 16: one of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    domain: u8,
}

/// Who may make and delete keys in a YubiHSM: never the node.
#[derive(Args, Debug)]
pub(in crate::commands) struct AdministratorArgs {
    /// The administrator's authentication key in a YubiHSM, which makes the others and then goes into a safe
    #[arg(long, value_name = "ID", value_parser = object_id)]
    admin_auth_key: Option<u16>,
    /// A file with its password, readable by you alone; without it you are asked
    #[arg(long, value_name = "FILE", requires = "admin_auth_key")]
    admin_password_file: Option<PathBuf>,
}

impl AdministratorArgs {
    /// Nothing without the authentication key.
    pub(in crate::commands) fn access(&self) -> Option<AdministratorAccess> {
        let password_file = self.admin_password_file.clone();
        self.admin_auth_key.map(|auth_key| AdministratorAccess { auth_key, password_file })
    }
}

/// Decimal, or hexadecimal after `0x`, as the vendor's tools write it.
fn object_id(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let wrong = "1 to 65534, decimal or as 0x0001".to_owned();
    parsed.ok().filter(|id| (1..=0xfffe).contains(id)).ok_or(wrong)
}

/// Beside the configuration; the auditor's is to be taken away from the node.
const NODE_PASSWORD: &str = "yubihsm-node.password";
pub(in crate::commands) const AUDITOR_PASSWORD: &str = "yubihsm-auditor.password";

pub(super) fn device(place: &Folder, args: &InitArgs) -> Result<Made, CommandError> {
    let asked = &args.device;
    let missing = |option: &str| CommandError::Usage(format!("--hsm yubihsm needs {option}"));
    let serial = asked.serial.ok_or_else(|| missing("--serial"))?;
    let access = asked.administrator.access().ok_or_else(|| missing("--admin-auth-key"))?;
    if args.identity != IdentityPlace::P256 {
        let what = "a YubiHSM makes the identity key inside, on P-256: leave --identity out";
        return Err(CommandError::Usage(what.to_owned()));
    }
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let config = yubihsm::Config {
        connector: asked.connector.clone(),
        serial,
        auth_key: asked.node_auth_key,
        key_id: asked.wrap_key,
        profile: profile.unwrap_or(Profile::WrapData),
        key_version: 1,
    };
    let administrator = access.read()?;
    let node = kept_password(&place.path().join(NODE_PASSWORD))?;
    let auditor = kept_password(&place.path().join(AUDITOR_PASSWORD))?;
    let plan = Plan {
        config,
        domain: asked.domain,
        identity_key: asked.identity_key,
        auditor: asked.auditor_auth_key,
    };
    let made = yubihsm::provision(plan, &administrator, &node, &auditor);
    let made = made.map_err(SealingError::Hsm)?;
    let hsm = HsmConfig::Yubihsm {
        connector: made.config.connector.clone(),
        serial,
        auth_key: made.config.auth_key,
        key_id: made.config.key_id,
        profile: made.config.profile,
        key_version: made.config.key_version,
        identity_key: asked.identity_key,
        auditor_key: asked.auditor_auth_key,
        canary: hex::encode(&made.canary),
        password_file: Some(NODE_PASSWORD.into()),
    };
    let report = report(&made);
    let protector = YubiHsmProtector::open(made.config, &node, made.canary);
    let protector = protector.map_err(SealingError::Hsm)?;
    Ok((hsm, Box::new(protector), report, Some(made.identity)))
}

/// A password that nobody chose, in a file before the device knows it: a cut-off attempt finds it again.
fn kept_password(path: &Path) -> Result<Password, CommandError> {
    if !path.exists() {
        let text = Zeroizing::new(hex::encode(*fresh_secret()?));
        write_private(path, text.as_bytes())?;
    }
    Ok(password(Some(path), "")?)
}

fn report(made: &Provisioned) -> Vec<String> {
    let mut lines = vec![format!("KEK: {}", made.kek)];
    lines.extend(made.report.iter().cloned());
    lines.push(format!(
        "passwords were made and are in {NODE_PASSWORD} and {AUDITOR_PASSWORD} of the folder; take the auditor's to the auditor: whoever drains the log should not be the node"
    ));
    lines.extend(made.warnings.iter().map(|warning| format!("WARNING: {warning}")));
    lines
}
