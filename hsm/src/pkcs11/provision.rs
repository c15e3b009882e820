//! Making the keys of a node, and clearing away what a cut-off attempt left behind.
//!
//! Nothing can make two objects in a token at once, so a kill between them leaves some. They are under
//! the node's `CKA_ID`s and carry our labels: the next attempt under that identifier names them and changes nothing,
//! and [`discard`] removes them. No blob can need them, since the canary, without which nobody can open a
//! KEK, is returned last.

use cryptoki::object::{Attribute, AttributeType};
use serde::Serialize;

use super::identity::{Curve, read_public, sign, verify};
use super::keys::{
    Handles, KEK_LABEL, KeyReport, LABEL, Lifetime, Part, Present, present, second_id, with_id,
};
use super::probe::{Bench, Capabilities, with_session};
use super::token::{self, Failure};
use super::wrapping::{Trial, assemble, attempt};
use super::{Config, Location, Pin, unavailable};
use crate::codec::hex;
use crate::protector::{canary_aad, canary_value};
use crate::{HsmError, KekReference, Profile, PublicKey};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub location: Location,
    /// `CKA_ID` for the keys of the node (a few get a second one, made from it); nothing in the token may
    /// have it yet.
    pub key_id: Vec<u8>,
    /// Counts the KEK's rotations.
    pub key_version: u32,
    /// How to wrap; left out, the best that works.
    pub profile: Option<Profile>,
    /// An identity key too. OAEP needs one, and makes P-256 if none is asked for.
    pub identity: Option<Curve>,
}

/// What [`provision`] made. Keep the configuration and the canary; show the report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Provisioned {
    /// For opening it.
    pub config: Config,
    /// The new KEK.
    pub kek: KekReference,
    /// A wrapped DEK that tells whether the KEK works; not secret.
    pub canary: Vec<u8>,
    /// The keys, as the token describes them.
    pub keys: Vec<KeyReport>,
    /// What is not protected as one would wish; empty if nothing.
    pub unprotected: Vec<String>,
    /// What the token can do, unless the profile was given.
    pub capabilities: Option<Capabilities>,
    /// Lines for people: all of the above.
    pub report: Vec<String>,
}

/// Makes a KEK (and an identity key) in an initialised token and proves that they work. Existing keys
/// are left alone.
///
/// # Errors
/// [`HsmError::KeyExists`] names what is under the identifier already; [`HsmError::Unsupported`] says
/// what the token lacks, and then the keys that were made are gone again.
pub fn provision(wanted: Wanted, pin: Pin) -> Result<Provisioned, HsmError> {
    // Before anything is made: what no blob could name is refused.
    let kek = wanted.config(Profile::TokenGcm, None).kek()?;
    with_session(&wanted.location, &pin, |bench| {
        let taken = present(&bench.session, &wanted.key_id)?;
        if !taken.is_empty() {
            let objects = taken.iter().map(Present::to_string).collect();
            return Err(HsmError::KeyExists { kek: kek.to_string(), objects });
        }
        let capabilities = wanted.profile.is_none().then(|| bench.capabilities());
        let (profile, why) = wanted.choose(capabilities.as_ref())?;
        let identity = match (wanted.identity, profile) {
            (None, Profile::Oaep) => Some(Curve::P256),
            (asked, _) => asked,
        };
        let parts: Vec<Part> =
            Part::of(profile).iter().copied().chain(identity.map(Part::Identity)).collect();
        if Part::of(profile).is_empty() {
            return Err(HsmError::Unsupported { what: format!("{profile} through PKCS#11") });
        }
        let made = wanted.make(bench, &parts)?;
        wanted
            .prove(bench, &kek, profile, &parts, &made)
            .map(|mut made| {
                made.report.insert(1, format!("KEK: {kek}: {profile} ({why})"));
                made.capabilities = capabilities;
                made
            })
            .inspect_err(|_| {
                // The keys are seconds old and sealed nothing: do not leave useless ones behind.
                bench.destroy(&made);
            })
    })
}

impl Wanted {
    fn config(&self, profile: Profile, identity: Option<PublicKey>) -> Config {
        Config {
            module: self.location.module.clone(),
            token: self.location.token.clone(),
            key_id: self.key_id.clone(),
            key_version: self.key_version,
            profile,
            identity,
        }
    }

    fn choose(&self, found: Option<&Capabilities>) -> Result<(Profile, String), HsmError> {
        let (Some(found), None) = (found, self.profile) else {
            return Ok((self.profile.unwrap_or(Profile::TokenGcm), "as asked for".to_owned()));
        };
        found.choice().ok_or_else(|| {
            let why = |trial: &Trial| {
                format!("{}: {}", trial.profile, trial.refused.as_deref().unwrap_or(""))
            };
            let why: Vec<String> = found.profiles.iter().map(why).collect();
            HsmError::Unsupported {
                what: format!("sealing with this token, in any way ({})", why.join("; ")),
            }
        })
    }

    fn make(&self, bench: &Bench<'_>, parts: &[Part]) -> Result<Vec<Handles>, HsmError> {
        let mut made = Vec::new();
        for part in parts {
            let label = part.label(self.key_version);
            match part.generate(&bench.session, &self.key_id, &label, Lifetime::Token) {
                Ok(keys) => made.push(keys),
                Err(failure) => {
                    bench.destroy(&made);
                    let why = match failure.error {
                        HsmError::Unavailable { reason } => reason,
                        exact => exact.to_string(),
                    };
                    return Err(HsmError::Unsupported {
                        what: format!("making \"{label}\" in this token: {why}"),
                    });
                }
            }
        }
        Ok(made)
    }

    fn prove(
        &self,
        bench: &Bench<'_>,
        kek: &KekReference,
        profile: Profile,
        parts: &[Part],
        made: &[Handles],
    ) -> Result<Provisioned, HsmError> {
        // Proves the attributes that the token really gave, not those that were asked for.
        let mut keys = Vec::new();
        for part in parts {
            let found = part.find(&bench.session, &self.key_id, &kek.to_string())?;
            keys.push(part.report(&bench.session, found.secret)?);
        }
        let identity = match (parts.last(), made.last()) {
            (Some(Part::Identity(curve)), Some(pair)) => Some(check_identity(bench, *curve, pair)?),
            _ => None,
        };
        let (value, aad) = (canary_value(profile, kek)?, canary_aad(profile, kek)?);
        let (trial, canary) = match (profile, made, identity) {
            (Profile::Oaep, [rsa, pair], Some(pinned)) => {
                bench.try_oaep(*rsa, *pair, pinned, &value, &aad)
            }
            _ => {
                let own = made.get(..Part::of(profile).len()).unwrap_or_default();
                let wrapping = assemble(profile, own)?;
                attempt(profile, &*wrapping, &|| bench.open(), &value, &aad)
            }
        };
        let Some(canary) = canary else {
            let why = trial.refused.unwrap_or_default();
            return Err(HsmError::Unsupported { what: format!("{profile} in this token: {why}") });
        };
        let unprotected: Vec<String> =
            keys.iter().flat_map(|key| key.unprotected.clone()).collect();
        let mut report = vec![format!("token: {}", token::describe(&bench.info))];
        report.extend(keys.iter().map(|key| format!("made: {key}")));
        if let Some(public) = identity {
            report.push(format!("identity: {public}, its signature verified on the host"));
        }
        let note = trial.note.map(|note| format!(" ({note})")).unwrap_or_default();
        report.push(format!(
            "checked: round trip, wrong associated data refused, altered ciphertext refused{note}"
        ));
        report.extend(unprotected.iter().map(|what| format!("NOT protected: {what}")));
        Ok(Provisioned {
            config: self.config(profile, identity),
            kek: kek.clone(),
            canary,
            keys,
            unprotected,
            capabilities: None,
            report,
        })
    }
}

fn check_identity(bench: &Bench<'_>, curve: Curve, pair: &Handles) -> Result<PublicKey, HsmError> {
    let public = read_public(&bench.session, curve, pair)?;
    let message = b"quorate identity check v1";
    let sign = || -> Result<_, Failure> { sign(&bench.open()?, pair.secret, &public, message) };
    if verify(&public, message, &sign()?) {
        return Ok(public);
    }
    let what = format!("{curve} in this token: its signature does not verify on the host");
    Err(HsmError::Unsupported { what })
}

/// One of our objects in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// `CKA_ID`.
    pub id: Vec<u8>,
    /// `secret key "quorate KEK v1"`, for people.
    pub object: String,
}

/// All objects in the token whose label is one of ours, whichever node they belong to.
///
/// # Errors
/// [`HsmError`].
pub fn list(location: &Location, pin: Pin) -> Result<Vec<Listed>, HsmError> {
    let fail = |error: cryptoki::error::Error| unavailable(&error);
    with_session(location, &pin, |bench| {
        let mut ids = Vec::new();
        for object in bench.session.find_objects(&[Attribute::Token(true)]).map_err(fail)? {
            let said = bench.session.get_attributes(object, &[AttributeType::Id]).map_err(fail)?;
            if let [Attribute::Id(id)] = said.as_slice()
                && !ids.contains(id)
            {
                ids.push(id.clone());
            }
        }
        let mut listed = Vec::new();
        for id in ids {
            let ours = with_id(&bench.session, id.clone())?;
            let ours = ours.iter().filter(|object| object.label.starts_with(LABEL));
            listed.extend(ours.map(|object| Listed { id: id.clone(), object: object.to_string() }));
        }
        Ok(listed)
    })
}

/// Destroys what a cut-off [`provision`] left under `key_id`, and says what that was. There is no way back:
/// blobs under a KEK that is destroyed never open again.
///
/// `kept` is every configuration that the caller knows of: an identifier that one of them names is not
/// touched. Neither is one under which anything lies that we did not make.
///
/// # Errors
/// [`HsmError::NotDiscarded`] says why nothing was removed.
pub fn discard(
    location: &Location,
    key_id: &[u8],
    kept: &[Config],
    pin: Pin,
) -> Result<Vec<String>, HsmError> {
    let refuse = |why: String| Err(HsmError::NotDiscarded { id: hex(key_id), why });
    if key_id.is_empty() {
        return refuse("an empty id names nothing".to_owned());
    }
    let related = |kept: &&Config| kept.key_id == key_id || second_id(&kept.key_id) == key_id;
    if let Some(kept) = kept.iter().find(related) {
        return refuse(format!("a configuration names it (token {})", kept.token));
    }
    remove(location, key_id, LABEL, &pin)
}

/// Destroys the keys of the KEK under `key_id`, and says what they were. An identity key under the same
/// identifier stays. There is no way back: blobs under this KEK never open again.
///
/// `current` is the configuration of the KEK in use, whose keys are not touched.
///
/// # Errors
/// [`HsmError::NotDiscarded`] says why nothing was removed.
pub fn destroy_kek(
    location: &Location,
    key_id: &[u8],
    current: &Config,
    pin: Pin,
) -> Result<Vec<String>, HsmError> {
    let refuse = |why: &str| HsmError::NotDiscarded { id: hex(key_id), why: why.to_owned() };
    if key_id.is_empty() {
        return Err(refuse("an empty id names nothing"));
    }
    if current.key_id == key_id || second_id(&current.key_id) == key_id {
        return Err(refuse("it is the KEK in use"));
    }
    remove(location, key_id, KEK_LABEL, &pin)
}

/// Removes everything under `key_id` whose label begins so; with anything there that is not ours, nothing.
fn remove(
    location: &Location,
    key_id: &[u8],
    label: &str,
    pin: &Pin,
) -> Result<Vec<String>, HsmError> {
    with_session(location, pin, |bench| {
        let found = present(&bench.session, key_id)?;
        let strangers: Vec<String> = found
            .iter()
            .filter(|object| !object.label.starts_with(LABEL))
            .map(Present::to_string)
            .collect();
        if !strangers.is_empty() {
            let why = format!("not made by us: {}", strangers.join(", "));
            return Err(HsmError::NotDiscarded { id: hex(key_id), why });
        }
        let of_these = |object: &&Present| object.label.starts_with(label);
        for object in found.iter().filter(of_these) {
            bench.session.destroy_object(object.handle).map_err(|error| unavailable(&error))?;
        }
        Ok(found.iter().filter(of_these).map(Present::to_string).collect())
    })
}
