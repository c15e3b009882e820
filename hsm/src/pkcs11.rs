//! KEKs inside PKCS#11 tokens, used through AES-256-GCM with associated data.
//!
//! Rules that bite when broken: a PIN is tried once and never again after a refusal; a token is
//! selected by label or serial, never by slot; the IV is read back after encrypting; after a token
//! was lost, only finalize + initialize brings it back.
//!
//! PKCS#11 keeps one login per token and process: while one protector is logged in, opening a second
//! one on the same token succeeds whatever PIN it brings.

mod module;
pub mod softhsm;
mod token;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::TokenInfo;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::protector::{canary_aad, canary_value};
use crate::{Dek, HsmError, KekReference, KeyProtector, Profile};
use module::Module;
use token::Failure;

/// Where a KEK is and how to reach it. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
    /// `CKA_ID` of the KEK.
    pub key_id: Vec<u8>,
    /// Counts the KEK's rotations.
    pub key_version: u32,
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
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Takes the PIN as it is: strip the newline of a file first.
    pub fn new(pin: impl Into<String>) -> Self {
        Self(Zeroizing::new(pin.into()))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

/// What [`provision`] made. Keep the configuration and the canary; show the report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Provisioned {
    /// As given.
    pub config: Config,
    /// The new KEK.
    pub kek: KekReference,
    /// A wrapped DEK that tells whether the KEK works; not secret.
    pub canary: Vec<u8>,
    /// Lines for people: the token, and what was checked.
    pub report: Vec<String>,
}

/// Makes a KEK in an initialised token and proves that it works. Existing keys are left alone.
pub fn provision(config: Config, pin: Pin) -> Result<Provisioned, HsmError> {
    let kek = config.kek()?;
    let module = Module::load(&config.module)?;
    let seen = {
        let inside = module.enter();
        let found = token::select(&module.pkcs11, &config.token);
        found.is_err_and(|failure| failure.lost).then_some(*inside)
    };
    if let Some(seen) = seen {
        // Perhaps the token was made by another process after this one had listed the slots.
        module.restart(seen)?;
    }
    let _inside = module.enter();
    let (slot, info) = token::select(&module.pkcs11, &config.token)?;
    let session = module.pkcs11.open_rw_session(slot).map_err(|error| unavailable(&error))?;
    token::login(&session, &info, &pin)?;
    let key = token::generate_key(&session, &config, &kek)?;
    match probe(&session, key, &kek) {
        Ok(canary) => {
            let report = vec![
                format!("token: {}", describe(&info)),
                format!("KEK: {kek}: AES-256, sensitive, not extractable"),
                "checked: round trip, wrong associated data refused, altered ciphertext refused"
                    .to_owned(),
            ];
            Ok(Provisioned { config, kek, canary, report })
        }
        Err(error) => {
            // The key is seconds old and sealed nothing: do not leave a useless one behind.
            let _ = session.destroy_object(key);
            Err(error)
        }
    }
}

/// A KEK inside a PKCS#11 token.
pub struct Pkcs11Protector {
    config: Config,
    kek: KekReference,
    pin: Pin,
    canary: Vec<u8>,
    description: String,
    module: Arc<Module>,
    seats: Seats,
    state: Mutex<State>,
}

impl fmt::Debug for Pkcs11Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Protector({})", self.kek)
    }
}

impl Pkcs11Protector {
    /// Logs in once, finds the KEK and opens the canary.
    pub fn open(config: Config, pin: Pin, canary: Vec<u8>) -> Result<Self, HsmError> {
        let mut protector = Self {
            kek: config.kek()?,
            module: Module::load(&config.module)?,
            config,
            pin,
            canary,
            description: String::new(),
            seats: Seats { free: Mutex::new(MAX_SESSIONS), returned: Condvar::new() },
            state: Mutex::new(State { refused: None, login: None }),
        };
        protector.health()?;
        let inside = protector.module.enter();
        let (_, info) = token::select(&protector.module.pkcs11, &protector.config.token)?;
        drop(inside);
        protector.description = format!("{}, {}", describe(&info), Profile::TokenGcm);
        Ok(protector)
    }

    /// Runs one call, and once more after a restart of the library if the token was lost meanwhile.
    fn call<T>(
        &self,
        operation: impl Fn(&Session, ObjectHandle) -> Result<T, Failure>,
    ) -> Result<T, HsmError> {
        let (seen, first) = self.attempt(&operation);
        match first {
            Err(failure) if failure.lost => {
                self.module.restart(seen)?;
                self.attempt(&operation).1.map_err(|failure| failure.error)
            }
            other => other.map_err(|failure| failure.error),
        }
    }

    fn attempt<T>(
        &self,
        operation: &impl Fn(&Session, ObjectHandle) -> Result<T, Failure>,
    ) -> (u64, Result<T, Failure>) {
        // Before entering the library, so that whoever waits does not keep a restart away.
        let _seat = self.seats.take();
        let inside = self.module.enter();
        let generation = *inside;
        let result = self.check_out(generation).and_then(|(session, key)| {
            let result = operation(&session, key);
            self.check_in(session, generation, result.is_ok());
            result
        });
        (generation, result)
    }

    fn check_out(&self, generation: u64) -> Result<(Session, ObjectHandle), Failure> {
        let mut state = self.lock();
        // A refused PIN is never tried again: not by a recovery, not by the next call.
        if let Some(refused) = &state.refused {
            return Err(refused.clone().into());
        }
        if state.login.as_ref().is_none_or(|login| login.generation != generation) {
            let fresh = self.log_in(generation);
            if let Err(Failure { error, .. }) = &fresh
                && matches!(error, HsmError::Auth | HsmError::PinLocked | HsmError::FinalTry)
            {
                state.refused = Some(error.clone());
            }
            // Handles of an older generation are dropped unclosed: their numbers may be in use again.
            state.login = None;
            state.login = Some(fresh?);
        }
        let Some(login) = state.login.as_mut() else {
            return Err(HsmError::Unavailable { reason: "not logged in".to_owned() }.into());
        };
        let session = match login.idle.pop() {
            Some(session) => session,
            None => self.module.pkcs11.open_ro_session_no_drop(login.slot)?,
        };
        Ok((session, login.key))
    }

    fn check_in(&self, session: Session, generation: u64, clean: bool) {
        let mut state = self.lock();
        match state.login.as_mut() {
            Some(login) if clean && login.generation == generation => login.idle.push(session),
            // After a failure the session may hold half an operation.
            _ => drop(session.close()),
        }
    }

    fn log_in(&self, generation: u64) -> Result<Login, Failure> {
        let pkcs11 = &self.module.pkcs11;
        let (slot, info) = token::select(pkcs11, &self.config.token)?;
        let anchor = pkcs11.open_ro_session_no_drop(slot)?;
        let key = token::login(&anchor, &info, &self.pin)
            .map_err(Failure::from)
            .and_then(|()| token::find_key(&anchor, &self.kek));
        match key {
            Ok(key) => Ok(Login { generation, slot, key, anchor, idle: Vec::new() }),
            Err(failure) => {
                drop(anchor.close());
                Err(failure)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pkcs11Protector {
    fn drop(&mut self) {
        let inside = self.module.enter();
        let Some(login) = self.lock().login.take() else { return };
        if login.generation == *inside {
            // No logout: another protector of this process may share the login.
            login.idle.into_iter().for_each(|session| drop(session.close()));
            drop(login.anchor.close());
        }
    }
}

impl KeyProtector for Pkcs11Protector {
    fn profile(&self) -> Profile {
        Profile::TokenGcm
    }

    fn kek(&self) -> &KekReference {
        &self.kek
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn wrap(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.call(|session, key| token::encrypt(session, key, dek, aad))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        self.call(|session, key| token::decrypt(session, key, wrapped, aad))
    }

    fn canary(&self) -> &[u8] {
        &self.canary
    }
}

impl Config {
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

/// More sessions than this do not make a token faster.
const MAX_SESSIONS: usize = 8;

struct State {
    refused: Option<HsmError>,
    login: Option<Login>,
}

/// Bounds the sessions in use. A seat goes back whatever became of its taker: if a failure could keep
/// one, those who wait would wait for ever once the token is gone.
struct Seats {
    free: Mutex<usize>,
    returned: Condvar,
}

struct Seat<'a>(&'a Seats);

impl Seats {
    fn take(&self) -> Seat<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .returned
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Seat(self)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

struct Login {
    generation: u64,
    slot: cryptoki::slot::Slot,
    key: ObjectHandle,
    /// Never used: it keeps the login alive, since closing the last session logs out.
    anchor: Session,
    idle: Vec<Session>,
}

/// Mechanism lists lie; a round trip does not. Returns the canary.
fn probe(session: &Session, key: ObjectHandle, kek: &KekReference) -> Result<Vec<u8>, HsmError> {
    let unsupported = |what: &str| HsmError::Unsupported { what: what.to_owned() };
    // Proves the attributes that the token really gave, not those that were asked for.
    token::find_key(session, kek)?;
    let aad = canary_aad(Profile::TokenGcm, kek)?;
    let value = canary_value(Profile::TokenGcm, kek)?;
    let failed = |failure: Failure| HsmError::Unsupported {
        what: format!("AES-GCM in this token: {}", failure.error),
    };
    let canary = token::encrypt(session, key, &value, &aad).map_err(failed)?;
    let opened = token::decrypt(session, key, &canary, &aad).map_err(failed)?;
    if !bool::from(opened.expose().ct_eq(value.expose())) {
        return Err(unsupported("AES-GCM in this token returns something else than was sealed"));
    }
    // First, because who ignores the tag ignores the associated data too.
    let mut altered = canary.clone();
    if let Some(byte) = altered.last_mut() {
        *byte ^= 1;
    }
    if token::decrypt(session, key, &altered, &aad).is_ok() {
        return Err(unsupported("AES-GCM in this token ignores the tag"));
    }
    if token::decrypt(session, key, &canary, b"other").is_ok() {
        return Err(unsupported("AES-GCM in this token ignores associated data"));
    }
    Ok(canary)
}

fn describe(info: &TokenInfo) -> String {
    format!("{}, token {} (serial {})", info.model(), info.label(), info.serial_number())
}

fn unavailable(error: &cryptoki::error::Error) -> HsmError {
    // The long form of a PKCS#11 error is a paragraph of the standard; its name says enough.
    let reason = match error {
        cryptoki::error::Error::Pkcs11(code, function) => format!("{function}: {code:?}"),
        other => other.to_string(),
    };
    HsmError::Unavailable { reason }
}
