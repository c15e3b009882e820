//! KEKs that were about to be made: `rotation.attempts`, one name a line, written before the HSM is asked.
//! What a crash leaves in the HSM before `rotation.toml` names it can so be told from the KEKs of others.
//! In a YubiHSM identifiers are few, so a tag follows after a colon, which the label of the KEK ends with.

use quorate_hsm::pkcs11;
use serde::Serialize;

use super::{RotationError, device, pin_again};
use crate::config::{Folder, HsmConfig};
use crate::sealing::{Kek, SealingError, remove_durably, replace_private, where_it_is};

/// A KEK under which nothing is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Its identifier in the token, hexadecimal, or its file in the folder.
    pub name: String,
    /// What is there, for people.
    pub objects: Vec<String>,
    /// How to get rid of it.
    pub remedy: String,
}

fn read(folder: &Folder) -> Result<Vec<String>, RotationError> {
    let path = folder.attempts();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(SealingError::File { path, reason: error.to_string() }.into()),
    }
}

fn write(folder: &Folder, names: &[String]) -> Result<(), RotationError> {
    let path = folder.attempts();
    if names.is_empty() {
        return Ok(remove_durably(&path)?);
    }
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    Ok(replace_private(&path, text.as_bytes())?)
}

pub(super) fn add(folder: &Folder, name: &str) -> Result<(), RotationError> {
    let mut names = read(folder)?;
    names.push(name.to_owned());
    write(folder, &names)
}

pub(super) fn remove(folder: &Folder, name: &str) -> Result<(), RotationError> {
    let mut names = read(folder)?;
    let before = names.len();
    names.retain(|other| without_tag(other) != name);
    if names.len() == before { Ok(()) } else { write(folder, &names) }
}

pub(super) fn names(folder: &Folder, name: &str) -> Result<bool, RotationError> {
    Ok(read(folder)?.iter().any(|other| without_tag(other) == name))
}

/// The tag of an attempt that has one.
pub(super) fn tag(folder: &Folder, name: &str) -> Result<Option<String>, RotationError> {
    let names = read(folder)?.into_iter();
    let tag = |line: String| line.split_once(':').map(|(_, tag)| tag.to_owned());
    Ok(names.filter(|other| without_tag(other) == name).find_map(tag))
}

fn without_tag(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// What attempts have left in the HSM of `kek`; those that left nothing are forgotten.
pub(super) fn leftover(
    folder: &Folder,
    hsm: &HsmConfig,
    kek: &Kek,
) -> Result<Vec<Leftover>, RotationError> {
    let names = read(folder)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Option<Leftover>> = match (hsm, kek) {
        (HsmConfig::Pkcs11 { pin_file, .. }, _) => {
            let location = where_it_is(hsm)?.location();
            // The process is logged in.
            let pin = pin_again(folder, pin_file.as_deref())?;
            let listed = pkcs11::list(&location, pin).map_err(SealingError::from)?;
            names.iter().map(|name| in_token(name.clone(), &listed)).collect()
        }
        (_, Kek::Yubihsm(kek)) => {
            names.iter().map(|name| device::left_by(kek, name)).collect::<Result<_, _>>()?
        }
        _ => names.iter().map(|name| in_folder(folder, name.clone())).collect(),
    };
    let there = names.iter().zip(&found).filter(|(_, found)| found.is_some());
    write(folder, &there.map(|(name, _)| name.clone()).collect::<Vec<_>>())?;
    Ok(found.into_iter().flatten().collect())
}

fn in_folder(folder: &Folder, name: String) -> Option<Leftover> {
    let path = folder.path().join(&name);
    let remedy = format!("remove {}", path.display());
    path.exists().then(|| Leftover { name, objects: Vec::new(), remedy })
}

fn in_token(name: String, listed: &[pkcs11::Listed]) -> Option<Leftover> {
    let id = hex::decode(&name).ok()?;
    let ids = [pkcs11::other_id(&id), id];
    let objects: Vec<String> = listed
        .iter()
        .filter(|object| ids.contains(&object.id))
        .map(|object| object.object.clone())
        .collect();
    let remedy = format!("quorate hsm destroy-kek --key-id {name} --yes");
    (!objects.is_empty()).then_some(Leftover { name, objects, remedy })
}
