//! An `init` under way: `init.attempt`, there from before anything is made until `quorate.toml` is, with the
//! ids of the keys that were about to be made, one a line.
//!
//! So what a cut-off `init` left is told from a node that lost its configuration. In the folder it is moved
//! aside: nothing can open it, since the canary was never kept. In the token it stays, and the next `init`
//! takes the same id and finds it. Beside a configuration the file says nothing, and goes, so that it does
//! not speak when a node loses its configuration later.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{CommandError, fresh_secret};
use crate::config::Folder;
use crate::sealing::{SealingError, remove_durably, sync_folder};
use crate::store::Store;

/// Nobody else makes a node in the folder as long as it is there.
pub(super) struct Attempt {
    path: PathBuf,
    /// Locked.
    file: File,
    ids: Vec<String>,
}

impl Attempt {
    /// Begins, or begins again where one was cut off.
    pub(super) fn begin(place: &Folder) -> Result<Self, CommandError> {
        let path = marker(place);
        let cut_off = path.exists();
        let sealed = [place.identity(), place.hedge()].iter().any(|file| file.exists());
        if !cut_off && (sealed || place.config().exists()) {
            return Err(taken(place));
        }
        make_folder(place)?;
        let failed =
            |error: std::io::Error| CommandError::local(&path.display().to_string(), error);
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => CommandError::Exists(format!(
                "another `quorate init` is at work in {}; nothing was changed",
                place.path().display()
            )),
            TryLockError::Error(error) => failed(error),
        })?;
        // Whoever had the lock may have finished, or was cut off when the node was whole; and this file may be
        // a new one, made here since.
        if place.config().exists() {
            forget(place)?;
            return Err(taken(place));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        sync_folder(&path).map_err(failed)?;
        if cut_off {
            move_aside(place)?;
        }
        let ids = text.lines().map(str::to_owned).collect();
        Ok(Self { path, file, ids })
    }

    /// The id of the keys to make: the one that is asked for, else that of the attempt that was cut off, else
    /// a new one. It is on disk when this returns.
    pub(super) fn key_id(&mut self, asked: Option<Vec<u8>>) -> Result<Vec<u8>, CommandError> {
        let earlier = || self.ids.last().and_then(|id| hex::decode(id).ok());
        let id = match asked.or_else(earlier) {
            Some(id) => id,
            None => fresh_secret()?.iter().copied().take(8).collect(),
        };
        let name = hex::encode(&id);
        if !self.ids.contains(&name) {
            // In one write: half a line would be another id.
            let line = format!("{name}\n");
            let noted = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all());
            let path = self.path.display().to_string();
            noted.map_err(|error| CommandError::local(&path, error))?;
            self.ids.push(name);
        }
        Ok(id)
    }

    /// The configuration is on disk. Says under which other ids attempts before this one may have left keys.
    pub(super) fn end(self, key_id: Option<&str>) -> Result<Vec<String>, CommandError> {
        remove_durably(&self.path)?;
        let Self { file: _, mut ids, .. } = self;
        ids.retain(|id| Some(id.as_str()) != key_id);
        Ok(ids)
    }
}

fn marker(place: &Folder) -> PathBuf {
    place.path().join("init.attempt")
}

/// The node in the folder is whole: no attempt is under way there.
pub(in crate::commands) fn forget(place: &Folder) -> Result<(), SealingError> {
    remove_durably(&marker(place))
}

fn taken(place: &Folder) -> CommandError {
    let folder = place.path().display();
    CommandError::Exists(format!(
        "{folder} holds a node already; nothing was changed: choose another --folder"
    ))
}

fn make_folder(place: &Folder) -> Result<(), CommandError> {
    let path = place.path();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| CommandError::local(&format!("making {}", path.display()), e))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(|e| CommandError::local(&format!("closing {} to others", path.display()), e))
}

/// What an `init` that was cut off wrote. A store with a key in it is none of those.
fn move_aside(place: &Folder) -> Result<(), CommandError> {
    let store = place.store();
    if store.exists() && !Store::open(&store)?.keys()?.is_empty() {
        return Err(taken(place));
    }
    for path in [place.identity(), place.hedge(), place.operator_token()] {
        if !path.exists() {
            continue;
        }
        let free = (1..=u32::MAX).map(|number| aside(&path, number)).find(|path| !path.exists());
        let moved = free.map_or(Ok(()), |free| fs::rename(&path, free));
        moved
            .and_then(|()| sync_folder(&path))
            .map_err(|error| CommandError::local(&path.display().to_string(), error))?;
    }
    Ok(())
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".cut-off-{number}"));
    name.into()
}
