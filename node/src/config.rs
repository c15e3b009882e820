//! `quorate.toml`: who this party is, where it listens, what seals its shares, and whom it asks for facts. No
//! secrets but those that its sources of facts ask for: then it must be its owner's alone.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_hsm::{Profile, PublicKey, pkcs11};
use serde::{Deserialize, Serialize};

use crate::device::DeviceConfig;
use crate::facts::{FactsConfig, FactsError};
use crate::identity::IdentityPublic;
use crate::service::{Deadlines, Keeping};

/// The file's name in a party's folder.
pub const FILE: &str = "quorate.toml";

/// The first emulated key-encryption key's file.
const SOFTWARE_KEK: &str = "kek.software";

/// What a party's folder holds besides its configuration.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`; nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `quorate.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// Where a relay remembers whether its device has refused the PIN.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        self.0.join("device")
    }

    /// The sealed identity key.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.sealed")
    }

    /// What hedges the generators, sealed.
    #[must_use]
    pub fn hedge(&self) -> PathBuf {
        self.0.join("hedge.sealed")
    }

    /// The emulated key-encryption key; [`HsmConfig::Software`] may name another file since a rotation.
    #[must_use]
    pub fn software_kek(&self) -> PathBuf {
        self.0.join(SOFTWARE_KEK)
    }

    /// A rotation of the key-encryption key that is under way.
    #[must_use]
    pub fn rotation(&self) -> PathBuf {
        self.0.join("rotation.toml")
    }

    /// Key-encryption keys that were about to be made.
    #[must_use]
    pub fn attempts(&self) -> PathBuf {
        self.0.join("rotation.attempts")
    }

    /// The token that creating keys needs.
    #[must_use]
    pub fn operator_token(&self) -> PathBuf {
        self.0.join("operator.token")
    }

    /// What was drained of a device's own log, on its way into the audit log.
    #[must_use]
    pub fn device_log(&self) -> PathBuf {
        self.0.join("hsm-log")
    }

    /// Shares, counters and the audit log.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }
}

/// What an emulated key-encryption key rests under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KekSecret {
    /// Nothing: it is in its file as it is, and only the file's mode protects it.
    #[default]
    KeyFile,
    /// A passphrase, by Argon2id.
    Passphrase,
}

impl KekSecret {
    fn is_key_file(&self) -> bool {
        *self == Self::KeyFile
    }
}

/// What seals the shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "backend", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HsmConfig {
    /// The emulation: a key in a file beside the shares, as it is or under a passphrase. It is NOT an HSM.
    Software {
        /// The key's file in the folder; left out, `kek.software`. A rotation names a new one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kek_file: Option<String>,
        /// What the key rests under: `key-file`, which is also meant where this is left out, or
        /// `passphrase`.
        #[serde(default, skip_serializing_if = "KekSecret::is_key_file")]
        secret: KekSecret,
        /// A file with the passphrase, readable by its owner alone; without it, it is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase_file: Option<PathBuf>,
    },
    /// A PKCS#11 token.
    Pkcs11 {
        /// The library.
        module: PathBuf,
        /// Which token: `{ label = "…" }` or `{ serial = "…" }`.
        token: pkcs11::TokenSelector,
        /// `CKA_ID` of the key-encryption key, hexadecimal.
        key_id: String,
        /// Counts its rotations.
        key_version: u32,
        /// How it wraps, as chosen when it was made: `token-gcm`, `message-gcm`, `hmac-kdf`, `cbc-hmac`
        /// or `oaep`.
        profile: Profile,
        /// The public half of an identity key inside the token, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity_key: Option<PublicKey>,
        /// `CKA_ID` of that identity key, where it is not `key_id`: a rotation leaves it where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity_id: Option<String>,
        /// The public half of the key that signs for the profile `oaep`, where it is not the identity key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wrap_signer: Option<PublicKey>,
        /// A wrapped key of known value, hexadecimal: tells whether the token works.
        canary: String,
        /// A file with the PIN, readable by its owner alone; without it the PIN is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin_file: Option<PathBuf>,
    },
    /// A YubiHSM 2 behind its connector. Identifiers are the device's, as numbers.
    Yubihsm {
        /// `http://127.0.0.1:12345`.
        connector: String,
        /// The device's serial number; another device is refused.
        serial: u32,
        /// The node's authentication key.
        auth_key: u16,
        /// The key-encryption key: a wrap key, or an HMAC key, as the profile has it.
        key_id: u16,
        /// `wrap-data` or `hmac-kdf`.
        profile: Profile,
        /// Counts its rotations.
        key_version: u32,
        /// The identity key, inside the device.
        identity_key: u16,
        /// The auditor's authentication key, for `quorate hsm audit-drain`.
        auditor_key: u16,
        /// A wrapped key of known value, hexadecimal: tells whether the device works.
        canary: String,
        /// A file with the password of `auth_key`, readable by its owner alone; without it, it is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password_file: Option<PathBuf>,
    },
}

impl HsmConfig {
    /// Every rule that the types do not express.
    ///
    /// # Errors
    /// [`ConfigError::Field`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, what| Err(ConfigError::Field { field, what });
        let is_id = |text: &String| hex::decode(text).is_ok_and(|id| (1..=64).contains(&id.len()));
        match self {
            Self::Software { kek_file: Some(name), .. }
                if name.is_empty() || name.contains('/') =>
            {
                wrong("hsm.kek_file", "must be the name of a file in the folder")
            }
            Self::Software { secret: KekSecret::KeyFile, passphrase_file: Some(_), .. } => {
                wrong("hsm.passphrase_file", "is for secret = \"passphrase\" only")
            }
            Self::Software { .. } => Ok(()),
            Self::Pkcs11 { key_id, .. } if !is_id(key_id) => {
                wrong("hsm.key_id", "must be 1 to 64 bytes in hexadecimal")
            }
            Self::Pkcs11 { identity_id: Some(id), .. } if !is_id(id) => {
                wrong("hsm.identity_id", "must be 1 to 64 bytes in hexadecimal")
            }
            Self::Pkcs11 { canary, .. } if hex::decode(canary).is_err() => {
                wrong("hsm.canary", "must be hexadecimal")
            }
            Self::Yubihsm { canary, .. } if hex::decode(canary).is_err() => {
                wrong("hsm.canary", "must be hexadecimal")
            }
            Self::Pkcs11 { .. } | Self::Yubihsm { .. } => Ok(()),
        }
    }

    /// The emulation, as `quorate init` makes it if nothing else is said.
    #[must_use]
    pub const fn software() -> Self {
        Self::Software { kek_file: None, secret: KekSecret::KeyFile, passphrase_file: None }
    }
}

/// Deadlines in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineConfig {
    /// A whole key generation, once all accepted.
    pub key_ms: u32,
    /// For answers to a proposal.
    pub accept_ms: u32,
    /// For the rounds of a signature.
    pub sign_ms: u32,
    /// For one call of the HSM. Left out: 20 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsm_ms: Option<u32>,
}

/// Opened shares in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// An open share that no session has needed for so many seconds is closed and wiped; with 0, as soon
    /// as its session ends. Left out: 60.
    #[serde(default = "sixty")]
    pub close_after_seconds: u32,
    /// Whether the pages of open shares are locked, so that they are never swapped out. Left out: yes.
    #[serde(default = "yes")]
    pub lock: bool,
}

const fn sixty() -> u32 {
    60
}

const fn yes() -> bool {
    true
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This party's identifier, 1 to 255.
    pub party: u16,
    /// Its name for people.
    pub name: String,
    /// Its public identity key, for `quorate identity`; the private one is sealed.
    pub identity: IdentityPublic,
    /// Where it listens for peers.
    pub listen: SocketAddr,
    /// Where its API listens: loopback only.
    pub api: SocketAddr,
    /// The membership file, relative to the folder.
    pub membership: PathBuf,
    /// What seals its shares.
    pub hsm: HsmConfig,
    /// How long it waits for others; left out, the defaults hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<DeadlineConfig>,
    /// How it keeps opened shares in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryConfig>,
    /// Whom it asks about the world; left out, nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<FactsConfig>,
    /// The device that it relays for: then it is no party itself, but the way to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceConfig>,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is malformed; the text names line and field.
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A field's value.
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A source of facts.
    Facts(FactsError),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(
                f,
                "{} cannot be read ({reason}); make a node with `quorate init`, or name its folder with --folder",
                path.display()
            ),
            Self::Syntax { path, reason } => {
                write!(f, "{} is malformed: {}", path.display(), reason.trim())
            }
            Self::Field { field, what } => write!(f, "{FILE}, {field}: {what}"),
            Self::Facts(error) => write!(f, "{FILE}, {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a folder's configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names file and field.
    pub fn load(folder: &Folder) -> Result<Self, ConfigError> {
        let path = folder.config();
        let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path, reason: error.to_string() })?;
        config.check()?;
        // Addresses of endpoints often hold a key, and `authorization` does.
        let mode = std::fs::metadata(folder.config()).map(|metadata| metadata.mode());
        if config.facts.is_some() && mode.is_ok_and(|mode| mode & 0o077 != 0) {
            let what = "holds secrets, and others can read the file: chmod 600 quorate.toml";
            return Err(ConfigError::Field { field: "facts", what });
        }
        Ok(config)
    }

    /// Every rule that the types do not express.
    ///
    /// # Errors
    /// [`ConfigError::Field`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, what| Err(ConfigError::Field { field, what });
        if !(1..=255).contains(&self.party) {
            return wrong("party", "must be 1 to 255");
        }
        if self.name.is_empty() || self.name.len() > 64 {
            return wrong("name", "must have 1 to 64 bytes");
        }
        if !self.api.ip().is_loopback() {
            return wrong(
                "api",
                "must be a loopback address: the API has no TLS and trusts this machine",
            );
        }
        if let Some(DeadlineConfig { key_ms, accept_ms, sign_ms, hsm_ms }) = self.deadlines
            && ![Some(key_ms), Some(accept_ms), Some(sign_ms), hsm_ms]
                .iter()
                .flatten()
                .all(|ms| (50..=600_000).contains(ms))
        {
            return wrong("deadlines", "each must be 50 to 600000 milliseconds");
        }
        if self.memory.is_some_and(|memory| memory.close_after_seconds > 86_400) {
            return wrong("memory.close_after_seconds", "must be at most 86400, a day");
        }
        self.facts.as_ref().map_or(Ok(()), FactsConfig::check).map_err(ConfigError::Facts)?;
        self.device.as_ref().map_or(Ok(()), DeviceConfig::check)?;
        self.hsm.check()
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] if the library cannot write it.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self)
            .map_err(|error| ConfigError::Syntax { path: FILE.into(), reason: error.to_string() })
    }

    /// The text of the folder's file with this `[hsm]` in it: what people wrote beside stays, comments too.
    ///
    /// # Errors
    /// As [`Self::to_toml`].
    pub(crate) fn to_toml_like(&self, folder: &Folder) -> Result<String, ConfigError> {
        let whole = self.to_toml()?;
        let is_hsm = |line: &str| line.starts_with("[hsm]") || line.starts_with("[hsm.");
        // A section lasts until the next one begins.
        let section = |text: &str, wanted: bool| -> String {
            let mut inside = false;
            let lines = text.lines().filter(|line| {
                if line.starts_with('[') {
                    inside = is_hsm(line);
                }
                inside == wanted
            });
            lines.map(|line| format!("{line}\n")).collect()
        };
        let old = std::fs::read_to_string(folder.config()).unwrap_or_default();
        let kept = format!("{}\n{}", section(&old, false).trim_end(), section(&whole, true));
        // Written in a way that this does not know: then all is written anew.
        let good = toml::from_str::<Self>(&kept).is_ok_and(|config| config == *self);
        Ok(if good { kept } else { whole })
    }

    /// How opened shares are kept.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        self.memory.map_or_else(Keeping::default, |memory| Keeping {
            idle: Duration::from_secs(memory.close_after_seconds.into()),
            lock: memory.lock,
        })
    }

    /// The deadlines in force.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines.map_or_else(Deadlines::default, |d| Deadlines {
            key: Duration::from_millis(d.key_ms.into()),
            accept: Duration::from_millis(d.accept_ms.into()),
            sign: Duration::from_millis(d.sign_ms.into()),
            hsm: d.hsm_ms.map_or(Deadlines::default().hsm, |ms| Duration::from_millis(ms.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            party: 1,
            name: "one".into(),
            identity: crate::identity::IdentityKey::from_secret(&[1; 32]).public(),
            listen: "0.0.0.0:7001".parse().unwrap(),
            api: "127.0.0.1:7101".parse().unwrap(),
            membership: "membership.toml".into(),
            hsm: HsmConfig::Pkcs11 {
                module: "/lib.so".into(),
                token: pkcs11::TokenSelector::Label("a".into()),
                key_id: "01".into(),
                key_version: 1,
                profile: Profile::TokenGcm,
                identity_key: None,
                identity_id: None,
                wrap_signer: None,
                canary: "00".into(),
                pin_file: None,
            },
            deadlines: None,
            memory: None,
            facts: None,
            device: None,
        }
    }

    #[test]
    fn a_configuration_survives_and_unknown_fields_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = Folder::new(folder.path());
        let device = HsmConfig::Yubihsm {
            connector: "http://127.0.0.1:12345".into(),
            serial: 7,
            auth_key: 16,
            key_id: 18,
            profile: Profile::WrapData,
            key_version: 1,
            identity_key: 19,
            auditor_key: 17,
            canary: "00".into(),
            password_file: None,
        };
        let passphrase = HsmConfig::Software {
            kek_file: Some("kek-01.software".into()),
            secret: KekSecret::Passphrase,
            passphrase_file: Some("/run/passphrase".into()),
        };
        for hsm in [HsmConfig::software(), passphrase, config().hsm, device] {
            let written = Config { hsm, ..config() };
            std::fs::write(place.config(), written.to_toml().unwrap()).unwrap();
            assert_eq!(Config::load(&place).unwrap(), written);
        }
        let unknown = format!("extra = 1\n{}", config().to_toml().unwrap());
        std::fs::write(place.config(), unknown).unwrap();
        let error = Config::load(&place).unwrap_err().to_string();
        assert!(error.contains("extra"), "{error}");
    }

    #[test]
    fn sources_of_facts_are_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = Folder::new(folder.path());
        let facts = "[[facts.chain]]\nid = 1\nrpc = [\"https://a.example/KEY\"]\n";
        for (text, mode, good) in
            [(facts, 0o600, true), (facts, 0o640, false), (facts, 0o604, false), ("", 0o644, true)]
        {
            let written = format!("{}\n{text}", config().to_toml().unwrap());
            std::fs::write(place.config(), written).unwrap();
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.config(), permissions).unwrap();
            let loaded = Config::load(&place);
            assert_eq!(loaded.is_ok(), good, "{mode:o}: {loaded:?}");
        }
    }

    #[test]
    fn the_api_stays_on_loopback() {
        let mut open = config();
        open.api = "0.0.0.0:7101".parse().unwrap();
        assert!(matches!(open.check(), Err(ConfigError::Field { field: "api", .. })));
    }
}
