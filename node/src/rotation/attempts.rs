//! KEKs that were about to be made: `rotation.attempts`, one name a line, written before the HSM is asked.
//! What a crash leaves in the HSM before `rotation.toml` names it can so be told from the KEKs of others.

use quorate_hsm::pkcs11;
use serde::Serialize;

use super::{RotationError, pin_again};
use crate::config::{Folder, HsmConfig};
use crate::sealing::{SealingError, remove_durably, replace_private, where_it_is};

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
    names.retain(|other| other != name);
    if names.len() == before { Ok(()) } else { write(folder, &names) }
}

pub(super) fn names(folder: &Folder, name: &str) -> Result<bool, RotationError> {
    Ok(read(folder)?.iter().any(|other| other == name))
}

/// What attempts have left; those that left nothing are forgotten. The process must be logged in.
pub(super) fn leftover(folder: &Folder, hsm: &HsmConfig) -> Result<Vec<Leftover>, RotationError> {
    let names = read(folder)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = match hsm {
        HsmConfig::Software { .. } => names
            .into_iter()
            .filter_map(|name| {
                let path = folder.path().join(&name);
                let remedy = format!("remove {}", path.display());
                path.exists().then(|| Leftover { name, objects: Vec::new(), remedy })
            })
            .collect(),
        // Nothing was begun there: rotation refuses this backend first.
        HsmConfig::Yubihsm { .. } => Vec::new(),
        HsmConfig::Pkcs11 { pin_file, .. } => {
            let location = where_it_is(hsm)?.location();
            let pin = pin_again(folder, pin_file.as_deref())?;
            let listed = pkcs11::list(&location, pin).map_err(SealingError::from)?;
            names.into_iter().filter_map(|name| in_token(name, &listed)).collect::<Vec<_>>()
        }
    };
    write(folder, &found.iter().map(|left| left.name.clone()).collect::<Vec<_>>())?;
    Ok(found)
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
