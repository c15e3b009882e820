//! Where a PIN or a password comes from: a file, a credential of the service manager, or a person at the
//! terminal. Never from arguments or the environment, which other processes can see.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quorate_hsm::HsmError;
use quorate_hsm::pkcs11::{Pin, PinGuard};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::SealingError;
use crate::config::Folder;

/// The credential's name: `LoadCredentialEncrypted=quorate-pin:…` in the unit.
pub const CREDENTIAL: &str = "quorate-pin";

/// A place that a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that its owner alone may read.
    File(PathBuf),
    /// A credential of systemd's, in the folder that `CREDENTIALS_DIRECTORY` names.
    Credential(PathBuf),
    /// A person at the terminal.
    Terminal,
}

impl Source {
    /// The file if one is named, else the credential if the service manager gives one, else a person.
    #[must_use]
    pub fn of(file: Option<&Path>) -> Self {
        if let Some(path) = file {
            return Self::File(path.to_owned());
        }
        // The variable names a folder; what is secret is in its file.
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        let path = folder.map(|folder| Path::new(&folder).join(CREDENTIAL));
        path.filter(|path| path.exists()).map_or(Self::Terminal, Self::Credential)
    }

    /// The secret, without the newline that editors leave. A person is asked with `prompt`.
    ///
    /// # Errors
    /// [`SealingError::NoPin`] without a terminal; [`SealingError::PinFile`] for a file that others may
    /// read.
    pub fn read(&self, prompt: &str) -> Result<Zeroizing<String>, SealingError> {
        // systemd lets the unit's user in by an access list, whose mask stands where the group's rights
        // do: reading by a group is no sign of anything there.
        let (path, forbidden) = match self {
            Self::Terminal => {
                return ask(prompt).map_err(|_| SealingError::NoPin);
            }
            Self::File(path) => (path, 0o077),
            Self::Credential(path) => (path, 0o037),
        };
        let wrong = |reason: String| SealingError::PinFile { path: path.clone(), reason };
        let opened = fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
        let mode = opened.metadata().map_err(|e| wrong(e.to_string()))?.permissions().mode();
        if mode & forbidden != 0 {
            let mode = mode & 0o7777;
            return Err(wrong(format!("others may read it (mode {mode:04o}); chmod 600 it")));
        }
        let mut text = Zeroizing::new(String::with_capacity(1024));
        std::io::Read::read_to_string(&mut std::io::Read::take(opened, 1024), &mut text)
            .map_err(|e| wrong(e.to_string()))?;
        let kept = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(kept);
        Ok(text)
    }

    /// Names the source and its state, for a guard: a changed file is another source.
    fn fingerprint(&self) -> Result<String, SealingError> {
        let (Self::File(path) | Self::Credential(path)) = self else {
            // What a person types may differ each time, so it is never known to be good.
            let mut fresh = [0; 16];
            getrandom::getrandom(&mut fresh).map_err(|_| HsmError::Randomness)?;
            return Ok(hex::encode(fresh));
        };
        let seen = fs::metadata(path).map_err(|error| SealingError::PinFile {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let (inode, time, nanos) = (seen.ino(), seen.mtime(), seen.mtime_nsec());
        Ok(format!("{}:{}:{inode}:{time}.{nanos}", path.display(), seen.dev()))
    }

    /// The guard of a party's folder, as it looks at this source.
    ///
    /// # Errors
    /// [`SealingError::PinFile`] if the file is not there.
    pub fn guard(&self, folder: &Folder) -> Result<PinGuard, SealingError> {
        Ok(PinGuard::new(folder.path(), &self.fingerprint()?))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Credential(path) => write!(f, "the credential {}", path.display()),
            Self::Terminal => f.write_str("a person at the terminal"),
        }
    }
}

/// What a person types at the terminal. `rpassword` asks before it switches the echo off, so that who answers
/// at once, as a paste does, is seen: here the echo is off before the question is there.
fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = fs::File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
    let asked = terminal.write_all(prompt.as_bytes()).and_then(|()| rpassword::read_password());
    let asked = asked.map(Zeroizing::new);
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    asked
}

/// The PIN, from the file or wherever else one is: see [`Source::of`].
///
/// # Errors
/// [`SealingError::NoPin`], or the file is open to others.
pub fn pin(pin_file: Option<&Path>) -> Result<Pin, SealingError> {
    let text = Source::of(pin_file).read("PIN of the token: ")?;
    Ok(Pin::new(text.as_str()))
}

/// The PIN under a guard in the party's folder: refused once, it is not tried again, after a restart
/// neither, until a person clears the guard.
///
/// # Errors
/// [`SealingError::NoPin`], or the file is open to others.
pub fn guarded_pin(folder: &Folder, pin_file: Option<&Path>) -> Result<Pin, SealingError> {
    let guard = Source::of(pin_file).guard(folder)?;
    Ok(pin(pin_file)?.guarded(guard))
}
