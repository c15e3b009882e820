//! What every profile has in common: wrapping, unwrapping, and a trial that believes nothing.

use std::sync::Arc;

use cryptoki::session::Session;
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::cbc_hmac::CbcHmac;
use super::gcm::Gcm;
use super::hmac_kdf::HmacKdf;
use super::keys::{Handles, Part};
use super::message_gcm::MessageGcm;
use super::oaep::{Oaep, OaepHash};
use super::token::Failure;
use super::{Config, Curve};
use crate::{Dek, HsmError, Profile};

/// A profile with its keys at hand.
pub(super) trait Wrapping: Send + Sync {
    fn wrap(&self, session: &Session, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, Failure>;
    fn unwrap(&self, session: &Session, wrapped: &[u8], aad: &[u8]) -> Result<Dek, Failure>;
}

/// Puts a profile and the keys of its parts together; OAEP needs more, see [`super::oaep`].
pub(super) fn assemble(profile: Profile, keys: &[Handles]) -> Result<Box<dyn Wrapping>, HsmError> {
    match (profile, keys) {
        (Profile::TokenGcm, [key]) => Ok(Box::new(Gcm(key.secret))),
        (Profile::MessageGcm, [key]) => Ok(Box::new(MessageGcm(key.secret))),
        (Profile::HmacKdf, [key]) => Ok(Box::new(HmacKdf(key.secret))),
        (Profile::CbcHmac, [cipher, mac]) => {
            Ok(Box::new(CbcHmac { cipher: cipher.secret, mac: mac.secret }))
        }
        _ => Err(HsmError::Unsupported { what: format!("{profile} through PKCS#11") }),
    }
}

/// Finds the keys of a KEK and puts them together.
pub(super) fn find(
    session: &Session,
    config: &Config,
    canary: &[u8],
) -> Result<Arc<dyn Wrapping>, Failure> {
    let owner = config.kek()?.to_string();
    let find = |part: &Part| part.find(session, &config.key_id, &owner);
    let keys: Vec<Handles> = Part::of(config.profile).iter().map(find).collect::<Result<_, _>>()?;
    let (Profile::Oaep, [rsa]) = (config.profile, keys.as_slice()) else {
        return Ok(assemble(config.profile, &keys)?.into());
    };
    let what = "OAEP without an identity key in the configuration".to_owned();
    let pinned = config.identity.ok_or(HsmError::Unsupported { what })?;
    let reason = "the canary does not open: it names no hash".to_owned();
    let hash = OaepHash::of(canary).ok_or(HsmError::Unavailable { reason })?;
    let identity = find(&Part::Identity(Curve::from(&pinned)))?;
    Ok(Arc::new(Oaep::new(*rsa, identity, pinned, hash)?))
}

/// What became of a profile when it was tried for real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// The profile.
    pub profile: Profile,
    /// Why it is not to be used; nothing if it is.
    pub refused: Option<String>,
    /// Whether altered bytes were refused, as far as it came to that.
    pub tag_enforced: Option<bool>,
    /// Whether other associated data was refused, as far as it came to that.
    pub aad_enforced: Option<bool>,
    /// How it was done where the profile leaves that open, for example OAEP's hash.
    pub note: Option<String>,
}

impl Trial {
    pub(super) fn refused(profile: Profile, why: String) -> Self {
        let refused = Some(why);
        Self { profile, refused, tag_enforced: None, aad_enforced: None, note: None }
    }

    /// Whether sealing may rely on it.
    pub fn works(&self) -> bool {
        self.refused.is_none()
    }
}

/// Mechanism lists lie; a round trip does not. Wraps `value` and returns the result, if the profile may
/// be relied upon. Each call has a session of its own from `open`, since a failed one may leave its
/// session in the middle of an operation.
pub(super) fn attempt(
    profile: Profile,
    wrapping: &dyn Wrapping,
    open: &dyn Fn() -> Result<Session, Failure>,
    value: &Dek,
    aad: &[u8],
) -> (Trial, Option<Vec<u8>>) {
    let mut trial = Trial::refused(profile, String::new());
    match believe_nothing(&mut trial, wrapping, open, value, aad) {
        Ok(wrapped) => {
            trial.refused = None;
            (trial, Some(wrapped))
        }
        Err(failure) => {
            trial.refused = Some(match failure.error {
                HsmError::Unavailable { reason } => reason,
                HsmError::Unsupported { what } => what,
                exact => exact.to_string(),
            });
            (trial, None)
        }
    }
}

fn believe_nothing(
    trial: &mut Trial,
    wrapping: &dyn Wrapping,
    open: &dyn Fn() -> Result<Session, Failure>,
    value: &Dek,
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let refuse = |what: &str| Failure::from(HsmError::Unsupported { what: what.to_owned() });
    let opens = |bytes: &[u8], aad: &[u8]| wrapping.unwrap(&open()?, bytes, aad);
    let wrapped = wrapping.wrap(&open()?, value, aad)?;
    let opened = opens(&wrapped, aad)?;
    if !bool::from(opened.expose().ct_eq(value.expose())) {
        return Err(refuse("it returns something else than was wrapped"));
    }
    if wrapped.windows(value.expose().len()).any(|bytes| bytes == value.expose()) {
        return Err(refuse("it returns the key unencrypted"));
    }
    // First, because who ignores the tag ignores the associated data too. The first byte is the IV's or the
    // salt's: a token whose HMAC is the same for every message is found out by it.
    trial.tag_enforced = Some(false);
    for place in [0, wrapped.len() / 2, wrapped.len() - 1] {
        let mut altered = wrapped.clone();
        if let Some(byte) = altered.get_mut(place) {
            *byte ^= 1;
        }
        if opens(&altered, aad).is_ok() {
            return Err(refuse("it ignores the tag"));
        }
    }
    trial.tag_enforced = Some(true);
    trial.aad_enforced = Some(false);
    if opens(&wrapped, b"other").is_ok() {
        return Err(refuse("it ignores associated data"));
    }
    trial.aad_enforced = Some(true);
    // Failures on purpose must not have worn the key out.
    opens(&wrapped, aad)?;
    Ok(wrapped)
}
