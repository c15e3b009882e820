//! KEKs and identity keys inside PKCS#11 tokens.
//!
//! Tokens differ in what they can, and in what they say they can. So [`probe`] tries every way of
//! wrapping for real, [`provision`] takes the best that works, and [`Config`] pins it.
//!
//! Rules that bite when broken: a PIN is tried once and never again after a refusal; a token is
//! selected by label or serial, never by slot; the IV is read back after encrypting; after a token
//! was lost, only finalize + initialize brings it back.
//!
//! PKCS#11 keeps one login per token and process: while one protector is logged in, opening a second
//! one on the same token succeeds whatever PIN it brings.

mod cbc_hmac;
mod connection;
mod gcm;
mod guard;
mod hmac_kdf;
mod identity;
mod keys;
mod message_gcm;
mod module;
mod oaep;
mod probe;
mod provision;
pub mod softhsm;
mod token;
mod uri;
mod wrapping;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Dek, HsmError, KekReference, KeyProtector, Profile, PublicKey};
use connection::{Connection, Found};
use keys::Part;
use wrapping::Wrapping;

pub use guard::PinGuard;
pub use identity::{Curve, Pkcs11Signer};
pub use keys::{KeyReport, second_id as other_id};
pub use probe::{Capabilities, PREFERENCE, PinState, probe};
pub use provision::{Listed, Provisioned, Wanted, destroy_kek, discard, list, provision};
pub use token::{TokenName, tokens};
pub use uri::Uri;
pub use wrapping::Trial;

/// Which token, through which library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
}

/// Where a KEK is and how it wraps. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
    /// `CKA_ID` of the KEK's keys, and of the identity key.
    pub key_id: Vec<u8>,
    /// Counts the KEK's rotations.
    pub key_version: u32,
    /// How the KEK wraps, as chosen at provisioning.
    pub profile: Profile,
    /// The public half of the identity key under the same `CKA_ID`, if there is one.
    pub identity: Option<PublicKey>,
}

/// Slot ids change; labels and serials stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSelector {
    /// The token's label.
    Label(String),
    /// The token's serial number.
    Serial(String),
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Label(name) | Self::Serial(name)) = self;
        f.write_str(name)
    }
}

/// A PIN: zeroized, never printed.
pub struct Pin {
    /// None: the login that this process has already.
    text: Option<Zeroizing<String>>,
    guard: Option<PinGuard>,
}

impl Pin {
    /// Takes the PIN as it is: strip the newline of a file first.
    pub fn new(pin: impl Into<String>) -> Self {
        Self { text: Some(Zeroizing::new(pin.into())), guard: None }
    }

    /// No PIN at all: for what joins the login that this process has already. If that is lost, the call
    /// fails, and the token is not asked.
    #[must_use]
    pub fn of_this_login() -> Self {
        Self { text: None, guard: None }
    }

    /// The same PIN under a guard: refused once, it is not tried again after a restart either.
    #[must_use]
    pub fn guarded(self, guard: PinGuard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    fn expose(&self) -> Option<&str> {
        self.text.as_ref().map(|text| text.as_str())
    }

    fn guard(&self) -> Option<&PinGuard> {
        self.guard.as_ref()
    }

    fn must_not_be_held(&self) -> Result<(), HsmError> {
        self.guard.as_ref().map_or(Ok(()), PinGuard::check)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

/// A KEK inside a PKCS#11 token.
pub struct Pkcs11Protector {
    config: Config,
    kek: KekReference,
    canary: Vec<u8>,
    description: String,
    connection: Arc<Connection>,
    wrapping: Found<Arc<dyn Wrapping>>,
}

impl fmt::Debug for Pkcs11Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Protector({})", self.kek)
    }
}

impl Pkcs11Protector {
    /// Logs in once, finds the KEK and opens the canary.
    pub fn open(config: Config, pin: Pin, canary: Vec<u8>) -> Result<Self, HsmError> {
        let connection = Arc::new(Connection::new(config.location(), pin)?);
        Self::over(connection, config, canary)
    }

    /// Another KEK of the same token, over the same login: no PIN is needed.
    ///
    /// # Errors
    /// As [`Self::open`]; [`HsmError::Unsupported`] if `config` names another token.
    pub fn beside(&self, config: Config, canary: Vec<u8>) -> Result<Self, HsmError> {
        if config.location() != self.config.location() {
            let what = format!("a login to {} for {}", self.config.token, config.token);
            return Err(HsmError::Unsupported { what });
        }
        Self::over(Arc::clone(&self.connection), config, canary)
    }

    fn over(
        connection: Arc<Connection>,
        config: Config,
        canary: Vec<u8>,
    ) -> Result<Self, HsmError> {
        let mut protector = Self {
            kek: config.kek()?,
            connection,
            config,
            canary,
            description: String::new(),
            wrapping: Found::new(),
        };
        protector.health()?;
        let info = token::describe(&protector.connection.info()?);
        protector.description = format!("{info}, {}", protector.config.profile);
        Ok(protector)
    }

    /// What the token says now about the KEK's keys, and about an identity key beside them.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn report(&self) -> Result<Vec<KeyReport>, HsmError> {
        let identity = self.config.identity.as_ref().map(|key| Part::Identity(Curve::from(key)));
        let own = Part::of(self.config.profile).iter().copied();
        let parts: Vec<Part> = own.chain(identity).collect();
        self.connection.call(|session, _| {
            let mut reports = Vec::new();
            for part in &parts {
                let key = part.find(session, &self.config.key_id, &self.kek.to_string())?;
                reports.push(part.report(session, key.secret)?);
            }
            Ok(reports)
        })
    }

    fn call<T>(
        &self,
        operation: impl Fn(&dyn Wrapping, &cryptoki::session::Session) -> Result<T, token::Failure>,
    ) -> Result<T, HsmError> {
        self.connection.call(|session, generation| {
            let find = || wrapping::find(session, &self.config, &self.canary);
            operation(&*self.wrapping.get(generation, find)?, session)
        })
    }
}

impl KeyProtector for Pkcs11Protector {
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
        self.call(|wrapping, session| wrapping.wrap(session, dek, aad))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        self.call(|wrapping, session| wrapping.unwrap(session, wrapped, aad))
    }

    fn canary(&self) -> &[u8] {
        &self.canary
    }
}

impl Config {
    /// Which token, through which library.
    pub fn location(&self) -> Location {
        Location { module: self.module.clone(), token: self.token.clone() }
    }

    fn kek(&self) -> Result<KekReference, HsmError> {
        if self.key_id.is_empty() {
            return Err(HsmError::Unsupported { what: "an empty key id".to_owned() });
        }
        let (backend, token) = ("pkcs11".to_owned(), self.token.to_string());
        let kek =
            KekReference { backend, token, id: self.key_id.clone(), version: self.key_version };
        // Refuse now what no blob could name later.
        kek.encode(&mut Vec::new())?;
        Ok(kek)
    }
}

fn unavailable(error: &cryptoki::error::Error) -> HsmError {
    // The long form of a PKCS#11 error is a paragraph of the standard; its name says enough.
    let reason = match error {
        cryptoki::error::Error::Pkcs11(code, function) => format!("{function}: {code:?}"),
        cryptoki::error::Error::NullFunctionPointer => "the library lacks this call".to_owned(),
        other => other.to_string(),
    };
    HsmError::Unavailable { reason }
}
