//! One token: selecting it, logging in once, finding its KEK, and the GCM calls.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use zeroize::Zeroizing;

use super::{Config, Pin, TokenSelector, unavailable};
use crate::protector::random;
use crate::{Dek, HsmError, KekReference};

pub(super) const IV: usize = 12;
/// IV, encrypted DEK, tag.
pub(super) const WRAPPED: usize = IV + 32 + 16;

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
    // An empty PIN would mean "ask at the reader's own keypad".
    if pin.expose().is_empty() {
        return Err(HsmError::Auth);
    }
    let raw = RawAuthPin::new(Box::new(pin.expose().as_bytes().to_vec()));
    match session.login_with_raw(UserType::User, &raw) {
        // Login belongs to the token and the process, so another protector may hold it already.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired,
            _,
        )) => Err(HsmError::Auth),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(HsmError::PinLocked),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Finds the KEK and refuses one that could leave the token.
pub(super) fn find_key(session: &Session, kek: &KekReference) -> Result<ObjectHandle, Failure> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Id(kek.id.clone()),
    ];
    let mut found = session.find_objects(&template)?;
    let key = found.pop().ok_or_else(|| HsmError::KeyMissing { kek: kek.to_string() })?;
    if !found.is_empty() {
        return Err(HsmError::AmbiguousKey { kek: kek.to_string() }.into());
    }
    // What the token does not say counts as no: an attribute that it cannot tell is left out here.
    let said = session.get_attributes(key, &REQUIRED.map(|(kind, _, _)| kind))?;
    let lacking = REQUIRED.iter().filter(|(_, attribute, _)| !said.contains(attribute));
    let lacking: Vec<&str> = lacking.map(|(_, _, words)| *words).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        return Err(HsmError::Unsupported {
            what: format!(
                "KEK {kek}: the token does not confirm that it is {lacking}; make a new one"
            ),
        }
        .into());
    }
    Ok(key)
}

/// What a KEK must be, by the token's own word.
const REQUIRED: [(AttributeType, Attribute, &str); 4] = [
    (AttributeType::Token, Attribute::Token(true), "stored in the token"),
    (AttributeType::Private, Attribute::Private(true), "hidden until login"),
    (AttributeType::Sensitive, Attribute::Sensitive(true), "sensitive"),
    (AttributeType::Extractable, Attribute::Extractable(false), "not extractable"),
];

/// Makes the KEK, where nothing has its identifier yet.
pub(super) fn generate_key(
    session: &Session,
    config: &Config,
    kek: &KekReference,
) -> Result<ObjectHandle, HsmError> {
    let taken = session
        .find_objects(&[Attribute::Id(kek.id.clone())])
        .map_err(|error| unavailable(&error))?;
    if !taken.is_empty() {
        return Err(HsmError::KeyExists { kek: kek.to_string() });
    }
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Id(config.key_id.clone()),
        Attribute::Label(format!("quorate KEK v{}", config.key_version).into_bytes()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).map_err(|error| match error {
        Error::Pkcs11(RvError::MechanismInvalid, _) => {
            HsmError::Unsupported { what: "the token makes no AES keys".to_owned() }
        }
        other => unavailable(&other),
    })
}

pub(super) fn encrypt(
    session: &Session,
    key: ObjectHandle,
    dek: &Dek,
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut iv = [0; IV];
    random(&mut iv)?;
    let sealed = {
        let parameters = GcmParams::new(&mut iv, aad, 128.into())?;
        session.encrypt(&Mechanism::AesGcm(parameters), key, dek.expose())?
    };
    // Some tokens write an IV of their own into the parameters: store what was used, not what was offered.
    let wrapped = [iv.as_slice(), &sealed].concat();
    if wrapped.len() != WRAPPED {
        return Err(HsmError::Unsupported {
            what: format!("AES-GCM output of {} bytes", sealed.len()),
        }
        .into());
    }
    Ok(wrapped)
}

pub(super) fn decrypt(
    session: &Session,
    key: ObjectHandle,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<Dek, Failure> {
    let corrupt = HsmError::Corrupt { what: "wrapped key" };
    if wrapped.len() != WRAPPED {
        return Err(corrupt.into());
    }
    let (iv, sealed) = wrapped.split_first_chunk::<IV>().ok_or(corrupt.clone())?;
    let mut iv = *iv;
    let parameters = GcmParams::new(&mut iv, aad, 128.into())?;
    let plain = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(parameters), key, sealed)?);
    Ok(Dek::from_slice(&plain).ok_or(corrupt)?)
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
