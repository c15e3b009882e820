//! The KEK that comes after another one, and the end of the other one; both as the administrator.

use serde::{Deserialize, Serialize};
use yubihsm::device::ErrorKind as Refusal;
use yubihsm::object::{Info, Type};

use super::link::{Failure, Link, Repeat};
use super::maker::Maker;
use super::objects::{self, name};
use super::provision::{PROVED, prove_node, warnings};
use super::{Administrator, Config, Endpoint, YubiHsmProtector};
use crate::{HsmError, Profile};

/// What [`YubiHsmProtector::succeed`] is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Of the KEK, and of an authentication key if the node needs another one: of objects of different
    /// types, one identifier may name several.
    pub id: u16,
    /// How it wraps.
    pub profile: Profile,
    /// Ends the labels of all that is made, and tells it from all else: 8 characters.
    pub tag: String,
}

/// What [`YubiHsmProtector::succeed`] made. Nothing is sealed under it yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Successor {
    /// What the node will use. The authentication key is another one where the old one may not use the
    /// new KEK; it has the same password.
    pub config: Config,
    /// A wrapped DEK that tells whether the KEK works; not secret.
    pub canary: Vec<u8>,
    /// Lines for people: what was made, read back and checked.
    pub report: Vec<String>,
    /// Lines for people, louder: what is not protected.
    pub warnings: Vec<String>,
}

/// What tells an object from a later one that has its identifier; not secret. Read while the object is
/// in use, and required of what is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The whole label: its end tells the run that made the object from all others.
    pub label: String,
    /// How often the device has made an object under that identifier, modulo 256.
    pub sequence: u8,
}

impl Mark {
    fn of(info: &Info) -> Self {
        Self { label: info.label.to_string(), sequence: info.sequence }
    }
}

/// A KEK that is to be removed, and how it is known not to be another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retired {
    /// It was in use.
    Former {
        /// Its identifier.
        id: u16,
        /// How it wrapped.
        profile: Profile,
        /// What it was when it was left.
        mark: Mark,
        /// The authentication key that was left with it, and what that was.
        auth_key: Option<(u16, Mark)>,
    },
    /// What an attempt has left: [`Next::id`] and [`Next::tag`].
    Attempt {
        /// The identifier.
        id: u16,
        /// The end of the labels.
        tag: String,
    },
}

/// What an attempt may have made.
const ANYTHING: [Type; 3] = [Type::WrapKey, Type::HmacKey, Type::AuthenticationKey];

impl YubiHsmProtector {
    /// Makes the KEK that comes after this one, in the same domain, and proves that it works. Nothing
    /// else is changed; what was made is removed again if anything fails.
    ///
    /// # Errors
    /// As [`super::provision()`].
    pub fn succeed(
        &self,
        next: &Next,
        administrator: &Administrator,
    ) -> Result<Successor, HsmError> {
        let old = &self.config;
        let version = old.key_version.checked_add(1).ok_or_else(|| HsmError::Unsupported {
            what: "another version of the KEK: they cannot be counted further".to_owned(),
        })?;
        let may = objects::node_capabilities(next.profile);
        let node = objects::read(&self.link, Type::AuthenticationKey, old.auth_key)?;
        let stays = node.capabilities.contains(may);
        let config = Config {
            key_id: next.id,
            profile: next.profile,
            key_version: version,
            auth_key: if stays { old.auth_key } else { next.id },
            ..old.clone()
        };
        let kek = config.kek()?;
        let domains = self.info()?.domains;
        let link = administrator.link(old)?;
        let mut maker = Maker::new(link, domains, next.tag.clone());
        let mut wanted = vec![(Type::WrapKey, next.id), (Type::HmacKey, next.id)];
        if !stays {
            wanted.push((Type::AuthenticationKey, next.id));
        }
        maker.nothing_is_there(&wanted)?;
        let mut make = || {
            maker.make_kek(&config)?;
            maker.read_back_kek(&config)?;
            if !stays {
                let key = self.link.key();
                maker.make_auth_key(config.auth_key, objects::NODE_LABEL, may, key)?;
                maker.read_back_auth_key(config.auth_key, may)?;
            }
            prove_node(&config, &kek, self.link.like(config.auth_key))
        };
        match make() {
            Ok(canary) => {
                let warnings = warnings(&maker.link, config.profile, administrator.auth_key);
                maker.report.push(PROVED.to_owned());
                Ok(Successor { config, canary, report: maker.report, warnings })
            }
            Err(cause) => Err(maker.undo(cause)),
        }
    }

    /// What an attempt has left in the device, as the node sees it; nothing if it left nothing.
    ///
    /// # Errors
    /// As [`YubiHsmProtector::open`].
    pub fn left_by(&self, id: u16, tag: &str) -> Result<Vec<String>, HsmError> {
        let mut found = Vec::new();
        for kind in ANYTHING {
            if let Some(info) = there(&self.link, kind, id)?
                && info.label.to_string().ends_with(tag)
            {
                found.push(named(kind, id, &info));
            }
        }
        Ok(found)
    }

    /// What tells this KEK from a later one of the same identifier.
    ///
    /// # Errors
    /// As [`YubiHsmProtector::open`].
    pub fn mark(&self) -> Result<Mark, HsmError> {
        Ok(Mark::of(&self.info()?))
    }

    /// The same of the authentication key that this node uses.
    ///
    /// # Errors
    /// As [`YubiHsmProtector::open`].
    pub fn mark_of_auth_key(&self) -> Result<Mark, HsmError> {
        let id = self.config.auth_key;
        Ok(Mark::of(&objects::read(&self.link, Type::AuthenticationKey, id)?))
    }

    fn info(&self) -> Result<Info, HsmError> {
        let kind = objects::kek_type(self.config.profile)?;
        objects::read(&self.link, kind, self.config.key_id)
    }
}

/// Deletes a KEK that the node of `used` does not use any more, with the authentication key that was for
/// it alone. Only the very objects that the marks are of, or that carry the attempt's tag, in the domain of
/// the KEK in use. Says what is gone; nothing if nothing was there.
///
/// # Errors
/// [`HsmError::NotDiscarded`] if an object with that identifier is not what is to go: then nothing was
/// deleted. [`HsmError::Denied`] if the administrator's key may not, and as [`YubiHsmProtector::open`].
pub fn remove_kek(
    used: &YubiHsmProtector,
    retired: &Retired,
    administrator: &Administrator,
) -> Result<Vec<String>, HsmError> {
    let (config, domains) = (&used.config, used.info()?.domains);
    let link = administrator.link(config)?;
    let auth_key = |id| (Type::AuthenticationKey, id);
    let (id, wanted) = match retired {
        Retired::Former { id, profile, auth_key: left, .. } => {
            let kek = (objects::kek_type(*profile)?, *id);
            let left = left.iter().map(|(left, _)| *left).filter(|left| *left != config.auth_key);
            let left = left.map(auth_key);
            (*id, [kek].into_iter().chain(left).collect::<Vec<_>>())
        }
        Retired::Attempt { id, .. } => (*id, ANYTHING.map(|kind| (kind, *id)).to_vec()),
    };
    let refused = |why: String| HsmError::NotDiscarded { id: format!("{id:04x}"), why };
    // All are looked at before any is deleted.
    let mut going = Vec::new();
    for (kind, id) in wanted {
        let Some(info) = there(&link, kind, id)? else { continue };
        let found = Mark::of(&info);
        let ours = match retired {
            Retired::Attempt { tag, .. } => found.label.ends_with(tag.as_str()),
            Retired::Former { auth_key, .. } if kind == Type::AuthenticationKey => {
                auth_key.as_ref().is_some_and(|(_, mark)| found == *mark)
            }
            Retired::Former { mark, .. } => found == *mark,
        };
        let used = (kind, id) == (objects::kek_type(config.profile)?, config.key_id)
            || (kind, id) == auth_key(config.auth_key)
            || (kind, id) == auth_key(administrator.auth_key);
        match (used, ours && info.domains == domains) {
            (true, _) => return Err(refused(format!("{} is in use", named(kind, id, &info)))),
            (false, true) => going.push((kind, id, named(kind, id, &info))),
            // What else has that identifier is somebody else's.
            (false, false) if matches!(retired, Retired::Attempt { .. }) => {}
            (false, false) => {
                let what = named(kind, id, &info);
                return Err(refused(format!(
                    "{what} is not the one that this node left, by label, sequence and domain: another node's may have its identifier now; if nobody needs it, delete it with the vendor's tool"
                )));
            }
        }
    }
    let mut gone = Vec::new();
    for (kind, id, what) in going {
        match link.call(Repeat::Once, |client| client.delete_object(id, kind)) {
            // Gone by the first try, whose answer was lost.
            Ok(()) | Err(Failure::Refused(Refusal::ObjectNotFound)) => gone.push(what),
            Err(failure) => return Err(link.explain(failure, "delete", &name(kind, id))),
        }
    }
    Ok(gone)
}

impl Administrator {
    fn link(&self, config: &Config) -> Result<std::sync::Arc<Link>, HsmError> {
        Ok(Link::to(Endpoint::of(config)?, self.auth_key, &self.password))
    }
}

fn there(link: &Link, kind: Type, id: u16) -> Result<Option<Info>, HsmError> {
    match objects::read(link, kind, id) {
        Ok(info) => Ok(Some(info)),
        Err(HsmError::KeyMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn named(kind: Type, id: u16, info: &Info) -> String {
    format!("{} \"{}\"", name(kind, id), info.label)
}
