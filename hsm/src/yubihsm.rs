//! KEKs inside a YubiHSM 2, used through its connector.
//!
//! Two profiles: WRAP_DATA, and HMAC-SHA256 as a key derivation. WRAP_DATA has no associated data, so
//! what is wrapped is `DEK ‖ SHA-256(associated data)`, and a hash that differs counts as corrupt.
//!
//! Keys with separate rights: the administrator's makes objects and then goes into a safe; the node's
//! may wrap, unwrap and sign ([`provision`]); the auditor's reads the log ([`AuditDrain`]).
//!
//! A connector listens without encryption or authentication; sessions through it have both, end to
//! end. Keep it on this host all the same: the client library reads answers in one piece only.

mod about;
mod audit;
mod identity;
mod link;
mod maker;
mod objects;
mod provision;
mod succession;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use yubihsm::device::ErrorKind as Refusal;
use yubihsm::{Connector, HttpConfig, wrap};
use zeroize::Zeroizing;

use crate::kdf;
use crate::{Dek, HsmError, KekReference, KeyProtector, Profile};
pub use about::{About, about};
pub use audit::{AuditDrain, Batch, Finding, LogEntry, chain_findings};
pub use identity::YubiHsmSigner;
use link::{Failure, Link, Repeat};
pub use provision::{Administrator, Plan, Provisioned, provision};
pub use succession::{Mark, Next, Retired, Successor, remove_kek};

/// Where a KEK is and how to reach it. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The connector: `http://127.0.0.1:12345`, or `usb` (feature `yubihsm-usb`).
    pub connector: String,
    /// The device's serial number. Another device is refused.
    pub serial: u32,
    /// The node's authentication key.
    pub auth_key: u16,
    /// The KEK: a wrap key or an HMAC key, as the profile has it.
    pub key_id: u16,
    /// [`Profile::WrapData`] or [`Profile::HmacKdf`].
    pub profile: Profile,
    /// Counts the KEK's rotations.
    pub key_version: u32,
}

/// The password of an authentication key: zeroized, never printed.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes the password as it is: strip the newline of a file first.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A KEK inside a YubiHSM 2.
pub struct YubiHsmProtector {
    config: Config,
    kek: KekReference,
    /// For people: type and identifier.
    name: String,
    canary: Vec<u8>,
    description: String,
    link: Arc<Link>,
}

impl fmt::Debug for YubiHsmProtector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YubiHsmProtector({})", self.kek)
    }
}

impl YubiHsmProtector {
    /// Authenticates once, looks at the KEK's attributes and opens the canary.
    ///
    /// Protectors and signers of one process with the same device and authentication key share one
    /// session.
    ///
    /// # Errors
    /// [`HsmError::Auth`] for a wrong password, which is never tried again by what was opened with it;
    /// [`HsmError::TokenMissing`] for another device; [`HsmError::KeyMissing`];
    /// [`HsmError::Unsupported`] for a KEK that could leave the device, or a key of the node that may
    /// do more than it should; [`HsmError::Unavailable`] and others for what the device refuses.
    pub fn open(config: Config, password: &Password, canary: Vec<u8>) -> Result<Self, HsmError> {
        let link = Link::to(Endpoint::of(&config)?, config.auth_key, password);
        Self::over(link, config, canary)
    }

    /// Another KEK of the same device, with the same password; of the same authentication key, over the
    /// same session.
    ///
    /// # Errors
    /// As [`YubiHsmProtector::open`]; [`HsmError::Unsupported`] for another device.
    pub fn beside(&self, config: Config, canary: Vec<u8>) -> Result<Self, HsmError> {
        if Endpoint::of(&config)? != *self.link.endpoint() {
            let what = format!("YubiHSM {:010} by a session with another device", config.serial);
            return Err(HsmError::Unsupported { what });
        }
        Self::over(self.link.like(config.auth_key), config, canary)
    }

    fn over(link: Arc<Link>, config: Config, canary: Vec<u8>) -> Result<Self, HsmError> {
        let protector = Self { canary, ..Self::unproven(config, link)? };
        objects::check_node(&protector.link, protector.config.auth_key)?;
        protector.health()?;
        Ok(protector)
    }

    /// Looks at the KEK's attributes only.
    fn unproven(config: Config, link: Arc<Link>) -> Result<Self, HsmError> {
        let kek = config.kek()?;
        let name = objects::name(objects::kek_type(config.profile)?, config.key_id);
        let origin = objects::check_kek(&link, &config)?;
        let description = format!("{}, {name} ({origin}), {}", link.endpoint(), config.profile);
        Ok(Self { config, kek, name, canary: Vec::new(), description, link })
    }

    fn wrap_data(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        let mut plain = Zeroizing::new([0; PLAIN]);
        let fields = dek.expose().iter().copied().chain(Sha256::digest(aad));
        plain.iter_mut().zip(fields).for_each(|(byte, value)| *byte = value);
        // The library takes a vector and does not wipe it.
        let wrap = |client: &yubihsm::Client| client.wrap_data(self.config.key_id, plain.to_vec());
        let wrapped = self.link.ask("wrap", &self.name, wrap)?.into_vec();
        if !WRAPPED.contains(&wrapped.len()) {
            return Err(HsmError::Unsupported {
                what: format!("WRAP DATA of {PLAIN} bytes gave {}", wrapped.len()),
            });
        }
        Ok(wrapped)
    }

    fn unwrap_data(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        // What does not fit into a command makes the library panic.
        if !WRAPPED.contains(&wrapped.len()) {
            return Err(corrupt);
        }
        let message = wrap::Message::from_vec(wrapped.to_vec()).map_err(|_| corrupt.clone())?;
        let unwrap = |client: &yubihsm::Client| {
            client.unwrap_data(self.config.key_id, message.clone()).map(Zeroizing::new)
        };
        let plain = match self.link.call(Repeat::Once, unwrap) {
            Err(Failure::Refused(Refusal::InvalidData | Refusal::WrongLength)) => {
                return Err(corrupt);
            }
            other => other.map_err(|failure| self.link.explain(failure, "unwrap", &self.name))?,
        };
        let (dek, hash) = plain.split_at_checked(PLAIN - 32).ok_or(corrupt.clone())?;
        if !bool::from(hash.ct_eq(&Sha256::digest(aad))) {
            return Err(corrupt);
        }
        Dek::from_slice(dek).ok_or(corrupt)
    }

    fn hmac(&self, message: &[u8; kdf::MESSAGE]) -> Result<Dek, HsmError> {
        let sign = |client: &yubihsm::Client| {
            client
                .sign_hmac(self.config.key_id, message.as_slice())
                .map(|tag| Zeroizing::new(tag.0))
        };
        let tag = self.link.ask("make an HMAC", &self.name, sign)?;
        Dek::from_slice(&tag).ok_or_else(|| HsmError::Unsupported {
            what: format!("an HMAC of {} bytes", tag.len()),
        })
    }
}

impl KeyProtector for YubiHsmProtector {
    fn profile(&self) -> Profile {
        self.config.profile
    }

    fn kek(&self) -> &KekReference {
        &self.kek
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn wrap(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        match self.config.profile {
            Profile::HmacKdf => kdf::wrap(dek, aad, |message| self.hmac(message)),
            _ => self.wrap_data(dek, aad),
        }
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        match self.config.profile {
            Profile::HmacKdf => kdf::unwrap(wrapped, aad, |message| self.hmac(message)),
            _ => self.unwrap_data(wrapped, aad),
        }
    }

    fn canary(&self) -> &[u8] {
        &self.canary
    }
}

/// DEK and hash of the associated data.
const PLAIN: usize = 64;
/// Nonce (13), a byte of the device's own in most firmware, what was wrapped, tag (16).
const WRAPPED: std::ops::RangeInclusive<usize> = 13 + PLAIN + 16..=128;

/// A device behind a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    connector: String,
    serial: u32,
    route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Http {
        host: String,
        port: u16,
    },
    #[cfg(feature = "yubihsm-usb")]
    Usb,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YubiHSM {:010}", self.serial)
    }
}

impl Endpoint {
    fn of(config: &Config) -> Result<Self, HsmError> {
        let connector = config.connector.clone();
        Ok(Self { route: route(&connector)?, connector, serial: config.serial })
    }

    fn connector(&self) -> Connector {
        match &self.route {
            Route::Http { host, port } => Connector::http(&HttpConfig {
                addr: host.clone(),
                port: *port,
                ..HttpConfig::default()
            }),
            #[cfg(feature = "yubihsm-usb")]
            Route::Usb => Connector::usb(&yubihsm::UsbConfig {
                serial: format!("{:010}", self.serial).parse().ok(),
                ..yubihsm::UsbConfig::default()
            }),
        }
    }
}

fn route(connector: &str) -> Result<Route, HsmError> {
    const DEFAULT_PORT: u16 = 12345;
    if connector == "usb" {
        #[cfg(feature = "yubihsm-usb")]
        return Ok(Route::Usb);
        #[cfg(not(feature = "yubihsm-usb"))]
        return Err(HsmError::Unsupported {
            what: "USB without the connector: this program was built without `yubihsm-usb`"
                .to_owned(),
        });
    }
    let wrong = || HsmError::Unsupported {
        what: format!("connector {connector}: write http://HOST:PORT, it has no TLS"),
    };
    let authority = connector.strip_prefix("http://").ok_or_else(wrong)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    // A bracketed IPv6 address has colons of its own.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (authority, DEFAULT_PORT),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ', '\r', '\n']) {
        return Err(wrong());
    }
    Ok(Route::Http { host: host.to_owned(), port })
}

impl Config {
    fn kek(&self) -> Result<KekReference, HsmError> {
        objects::kek_type(self.profile)?;
        Ok(KekReference {
            backend: "yubihsm".to_owned(),
            token: format!("{:010}", self.serial),
            id: self.key_id.to_be_bytes().to_vec(),
            version: self.key_version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_read_or_refused() {
        let http = |host: &str, port| Ok(Route::Http { host: host.to_owned(), port });
        assert_eq!(route("http://127.0.0.1:12345"), http("127.0.0.1", 12345));
        assert_eq!(route("http://localhost/"), http("localhost", 12345));
        assert_eq!(route("http://[::1]"), http("[::1]", 12345));
        assert_eq!(route("http://[::1]:80/"), http("[::1]", 80));
        for wrong in [
            "",
            "127.0.0.1:12345",
            "https://127.0.0.1:12345",
            "http://",
            "http://:1",
            "http://host:70000",
            "http://host:",
            "http://host/path",
            "http://user@host",
        ] {
            assert!(matches!(route(wrong), Err(HsmError::Unsupported { .. })), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_never_printed() {
        assert_eq!(format!("{:?}", Password::new("secret")), "Password(..)");
    }

    #[test]
    fn a_configuration_is_read_strictly() {
        let config = Config {
            connector: "http://127.0.0.1:12345".into(),
            serial: 12,
            auth_key: 2,
            key_id: 3,
            profile: Profile::WrapData,
            key_version: 1,
        };
        let text = r#"{"connector":"http://127.0.0.1:12345","serial":12,"auth_key":2,"key_id":3,"profile":"wrap-data","key_version":1}"#;
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        assert_eq!(serde_json::from_str::<Config>(text).unwrap(), config);
        for wrong in [
            text.replace(r#""serial":12,"#, ""),
            text.replace(r#""serial":12"#, r#""serial":12,"password":"x""#),
            text.replace(r#""key_id":3"#, r#""key_id":65536"#),
        ] {
            assert!(serde_json::from_str::<Config>(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(config.kek().unwrap().to_string(), "yubihsm:0000000012:0003:v1");
        let other = Config { profile: Profile::TokenGcm, ..config };
        assert!(matches!(other.kek(), Err(HsmError::Unsupported { .. })));
    }
}
