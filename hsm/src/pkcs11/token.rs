//! One token: selecting it, and logging in once.

use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use super::guard::{Outcome, PinGuard};
use super::module::Module;
use super::{Pin, TokenSelector, unavailable};
use crate::HsmError;

/// The one token that matches: duplicate labels are accepted by tokens, but not by us.
pub(super) fn select(
    pkcs11: &Pkcs11,
    selector: &TokenSelector,
) -> Result<(Slot, TokenInfo), Failure> {
    let (mut matches, mut available) = (Vec::new(), Vec::new());
    for slot in pkcs11.get_slots_with_token()? {
        // A slot that fails to answer must not hide the others.
        let Ok(info) = pkcs11.get_token_info(slot) else { continue };
        if !info.token_initialized() {
            continue;
        }
        available.push(name(&info));
        let found = match selector {
            TokenSelector::Label(label) => info.label() == label,
            TokenSelector::Serial(serial) => info.serial_number() == serial,
        };
        if found {
            matches.push((slot, info));
        }
    }
    let label = selector.to_string();
    if matches.len() > 1 {
        let matches = matches.iter().map(|(_, info)| name(info)).collect();
        return Err(HsmError::AmbiguousToken { label, matches }.into());
    }
    Ok(matches.pop().ok_or(HsmError::TokenMissing { label, available })?)
}

/// A token that a library sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
}

/// The initialised tokens that a library sees. Nobody logs in.
///
/// # Errors
/// [`HsmError::ModuleMissing`], [`HsmError::Unavailable`].
pub fn tokens(module: &Path) -> Result<Vec<TokenName>, HsmError> {
    let module = Module::load(module)?;
    let _inside = module.enter();
    let slots = module.pkcs11.get_slots_with_token().map_err(|error| unavailable(&error))?;
    let infos = slots.into_iter().filter_map(|slot| module.pkcs11.get_token_info(slot).ok());
    let initialised = infos.filter(TokenInfo::token_initialized);
    let named = initialised.map(|info| TokenName {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
    });
    Ok(named.collect())
}

fn name(info: &TokenInfo) -> String {
    format!("{} (serial {})", info.label(), info.serial_number())
}

/// Exactly one `C_Login`, or none where a wrong PIN could lock the token.
pub(super) fn login(session: &Session, info: &TokenInfo, pin: &Pin) -> Result<(), HsmError> {
    if info.user_pin_locked() {
        return Err(HsmError::PinLocked);
    }
    if info.user_pin_final_try() {
        return Err(HsmError::FinalTry);
    }
    let Some(text) = pin.expose() else { return must_be_logged_in(session) };
    // An empty PIN would mean "ask at the reader's own keypad".
    if text.is_empty() {
        return Err(HsmError::Auth);
    }
    let attempt = pin.guard().map(PinGuard::begin).transpose()?;
    let raw = RawAuthPin::new(Box::new(text.as_bytes().to_vec()));
    let (outcome, result) = match session.login_with_raw(UserType::User, &raw) {
        Ok(()) => (Outcome::Accepted, Ok(())),
        // Login belongs to the token and the process, so another connection may hold it already: then
        // nobody looked at this PIN.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => (Outcome::NotTried, Ok(())),
        Err(Error::Pkcs11(
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired,
            _,
        )) => (Outcome::Refused, Err(HsmError::Auth)),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => (Outcome::Refused, Err(HsmError::PinLocked)),
        Err(error) => (Outcome::Unknown, Err(unavailable(&error))),
    };
    if let Some(attempt) = attempt {
        attempt.end(outcome)?;
    }
    result
}

fn must_be_logged_in(session: &Session) -> Result<(), HsmError> {
    let state = session.get_session_info().map_err(|error| unavailable(&error))?.session_state();
    if matches!(state, SessionState::RoUser | SessionState::RwUser) {
        return Ok(());
    }
    let reason = "the login of this process is gone, and no PIN was tried: start the command again";
    Err(HsmError::Unavailable { reason: reason.to_owned() })
}

pub(super) fn describe(info: &TokenInfo) -> String {
    format!("{}, token {}", info.model(), name(info))
}

/// Why a call failed, and whether finalising and initialising the library could mend it.
pub(super) struct Failure {
    pub(super) error: HsmError,
    pub(super) lost: bool,
}

impl From<Failure> for HsmError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<HsmError> for Failure {
    fn from(error: HsmError) -> Self {
        // The list of slots is made at initialisation: a token that came back is seen after a restart only.
        let lost = matches!(error, HsmError::TokenMissing { .. });
        Self { error, lost }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let lost = matches!(
            error,
            Error::Pkcs11(
                RvError::DeviceRemoved
                    | RvError::DeviceError
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::SessionHandleInvalid
                    | RvError::SessionClosed
                    | RvError::ObjectHandleInvalid
                    | RvError::KeyHandleInvalid
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized,
                _
            )
        );
        Self { error: unavailable(&error), lost }
    }
}
