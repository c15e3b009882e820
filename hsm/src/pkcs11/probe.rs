//! What a token can really do: every profile and every kind of identity key is tried with temporary keys.

use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use serde::Serialize;

use super::identity::{Curve, read_public, sign, verify};
use super::keys::{Handles, Lifetime, PROBE_LABEL, Part};
use super::module::Module;
use super::oaep::{Oaep, OaepHash};
use super::token::{self, Failure};
use super::wrapping::{Trial, assemble, attempt};
use super::{Location, Pin, unavailable};
use crate::protector::random;
use crate::{Dek, HsmError, Profile, PublicKey};

/// The profiles that a PKCS#11 token may offer, better ones first.
pub const PREFERENCE: [Profile; 5] =
    [Profile::TokenGcm, Profile::MessageGcm, Profile::HmacKdf, Profile::CbcHmac, Profile::Oaep];

/// What a token can do, as tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Model, label, serial number.
    pub token: String,
    /// The maker, by the token's word.
    pub manufacturer: String,
    /// Firmware version, by the token's word.
    pub firmware: String,
    /// Whether keys can live for one session only; if not, the trial made and destroyed token keys.
    pub session_keys: bool,
    /// What the token says about its PIN.
    pub pin: PinState,
    /// Each of [`PREFERENCE`], in that order.
    pub profiles: Vec<Trial>,
    /// P-256 and Ed25519 as identity keys: why not, or nothing if it works.
    pub identities: Vec<(Curve, Option<String>)>,
}

/// The token's flags about the user's PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PinState {
    /// At least one wrong PIN since the last right one.
    pub count_low: bool,
    /// One more wrong PIN locks it.
    pub final_try: bool,
    /// It is locked.
    pub locked: bool,
    /// It must be changed first.
    pub to_be_changed: bool,
}

impl Capabilities {
    /// The best profile that works, and why it is that one.
    pub fn choice(&self) -> Option<(Profile, String)> {
        let chosen = self.profiles.iter().find(|trial| trial.works())?;
        let better = self.profiles.iter().take_while(|trial| !trial.works());
        let better: Vec<String> = better
            .map(|trial| format!("{}: {}", trial.profile, trial.refused.as_deref().unwrap_or("")))
            .collect();
        let why = match better.as_slice() {
            [] => "the most preferred one, and it works".to_owned(),
            some => format!("the first that works, for {}", some.join("; ")),
        };
        Some((chosen.profile, why))
    }

    /// Whether identity keys of this curve can be made.
    pub fn can_sign(&self, curve: Curve) -> bool {
        self.identities.iter().any(|(known, refused)| *known == curve && refused.is_none())
    }
}

/// Tries everything. Keys in the token are not touched; those that it makes are gone when it returns.
///
/// # Errors
/// [`HsmError`] if the token cannot be reached or refuses the PIN; what the token cannot do is no error.
pub fn probe(location: &Location, pin: Pin) -> Result<Capabilities, HsmError> {
    with_session(location, &pin, |bench| Ok(bench.capabilities()))
}

/// A session for making keys, and the means to open more.
pub(super) struct Bench<'a> {
    pub(super) pkcs11: &'a Pkcs11,
    pub(super) slot: Slot,
    pub(super) info: TokenInfo,
    /// Read and write; session keys live as long as it does.
    pub(super) session: Session,
}

/// Logs in for the time of one task.
pub(super) fn with_session<T>(
    location: &Location,
    pin: &Pin,
    task: impl FnOnce(&Bench<'_>) -> Result<T, HsmError>,
) -> Result<T, HsmError> {
    pin.must_not_be_held()?;
    let module = Module::load(&location.module)?;
    let seen = {
        let inside = module.enter();
        let found = token::select(&module.pkcs11, &location.token);
        found.is_err_and(|failure| failure.lost).then_some(*inside)
    };
    if let Some(seen) = seen {
        // Perhaps the token was made by another process after this one had listed the slots.
        module.restart(seen)?;
    }
    let _inside = module.enter();
    let pkcs11 = &module.pkcs11;
    let (slot, info) = token::select(pkcs11, &location.token)?;
    let session = pkcs11.open_rw_session(slot).map_err(|error| unavailable(&error))?;
    token::login(&session, &info, pin)?;
    task(&Bench { pkcs11, slot, info, session })
}

impl Bench<'_> {
    pub(super) fn open(&self) -> Result<Session, Failure> {
        Ok(self.pkcs11.open_ro_session(self.slot)?)
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        // Once, at the beginning: some trials need two keys at a time.
        self.sweep();
        let info = &self.info;
        let version = info.firmware_version();
        let aes = Part::Aes.generate(&self.session, b"probe", PROBE_LABEL, Lifetime::Session);
        let hmac = Part::Hmac.generate(&self.session, b"probe", PROBE_LABEL, Lifetime::Session);
        Capabilities {
            token: token::describe(info),
            manufacturer: info.manufacturer_id().to_owned(),
            firmware: format!("{}.{}", version.major(), version.minor()),
            session_keys: aes.is_ok() || hmac.is_ok(),
            pin: PinState {
                count_low: info.user_pin_count_low(),
                final_try: info.user_pin_final_try(),
                locked: info.user_pin_locked(),
                to_be_changed: info.user_pin_to_be_changed(),
            },
            profiles: PREFERENCE.into_iter().map(|profile| self.try_profile(profile)).collect(),
            identities: [Curve::P256, Curve::Ed25519]
                .into_iter()
                .map(|curve| (curve, self.try_identity(curve).err().map(|failure| words(&failure))))
                .collect(),
        }
    }

    /// One profile, with keys that are gone afterwards.
    fn try_profile(&self, profile: Profile) -> Trial {
        let tried = self.with_temporary(Part::of(profile), |keys| {
            let value = Dek::random()?;
            let aad = b"quorate probe v1";
            if profile != Profile::Oaep {
                let wrapping = assemble(profile, keys)?;
                return Ok(attempt(profile, &*wrapping, &|| self.open(), &value, aad).0);
            }
            let [rsa] = keys else { return Err(nothing(profile).into()) };
            let curve = Curve::P256;
            self.with_temporary(&[Part::Identity(curve)], |keys| {
                let [identity] = keys else { return Err(nothing(profile).into()) };
                let pinned = read_public(&self.session, curve, identity)?;
                Ok(self.try_oaep(*rsa, *identity, pinned, &value, aad).0)
            })
        });
        tried.unwrap_or_else(|failure| Trial::refused(profile, words(&failure)))
    }

    /// With SHA-256 if the token can, else with SHA-1.
    pub(super) fn try_oaep(
        &self,
        rsa: Handles,
        identity: Handles,
        pinned: PublicKey,
        value: &Dek,
        aad: &[u8],
    ) -> (Trial, Option<Vec<u8>>) {
        let profile = Profile::Oaep;
        let mut reasons = Vec::new();
        for hash in OaepHash::ALL {
            let tried = match Oaep::new(rsa, identity, pinned, hash) {
                Ok(oaep) => attempt(profile, &oaep, &|| self.open(), value, aad),
                Err(error) => (Trial::refused(profile, error.to_string()), None),
            };
            match tried {
                (Trial { refused: Some(why), .. }, _) => {
                    reasons.push(format!("{}: {why}", hash.words()));
                }
                (mut trial, wrapped) => {
                    trial.note = Some(hash.words().to_owned());
                    return (trial, wrapped);
                }
            }
        }
        (Trial::refused(profile, reasons.join("; ")), None)
    }

    fn try_identity(&self, curve: Curve) -> Result<(), Failure> {
        self.with_temporary(&[Part::Identity(curve)], |keys| {
            let [pair] = keys else { return Err(nothing(Profile::Oaep).into()) };
            let public = read_public(&self.session, curve, pair)?;
            let message = b"quorate probe v1";
            let signature = sign(&self.open()?, pair.secret, &public, message)?;
            if verify(&public, message, &signature) && !verify(&public, b"other", &signature) {
                return Ok(());
            }
            let what = "its signature does not verify on the host".to_owned();
            Err(HsmError::Unsupported { what }.into())
        })
    }

    /// Session keys if the token has such, else token keys that are destroyed whatever happens.
    fn with_temporary<T>(
        &self,
        parts: &[Part],
        task: impl FnOnce(&[Handles]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut id = [0; 16];
        random(&mut id)?;
        let make = |lifetime| {
            let mut made: Vec<Handles> = Vec::new();
            for part in parts {
                match part.generate(&self.session, &id, PROBE_LABEL, lifetime) {
                    Ok(keys) => made.push(keys),
                    Err(failure) => {
                        self.destroy(&made);
                        return Err(failure);
                    }
                }
            }
            Ok(made)
        };
        let made = make(Lifetime::Session).or_else(|_| make(Lifetime::Token))?;
        let result = task(&made);
        self.destroy(&made);
        result
    }

    pub(super) fn destroy(&self, keys: &[Handles]) {
        for Handles { secret, public } in keys {
            let _ = self.session.destroy_object(*secret);
            if let Some(public) = public {
                let _ = self.session.destroy_object(*public);
            }
        }
    }

    /// Token keys of a trial that was killed: they never sealed anything.
    fn sweep(&self) {
        let ours = [Attribute::Label(PROBE_LABEL.as_bytes().to_vec()), Attribute::Token(true)];
        for left in self.session.find_objects(&ours).unwrap_or_default() {
            let _ = self.session.destroy_object(left);
        }
    }
}

fn nothing(profile: Profile) -> HsmError {
    HsmError::Unsupported { what: format!("{profile} through PKCS#11") }
}

fn words(failure: &Failure) -> String {
    match &failure.error {
        HsmError::Unavailable { reason } => reason.clone(),
        HsmError::Unsupported { what } => what.clone(),
        exact => exact.to_string(),
    }
}
