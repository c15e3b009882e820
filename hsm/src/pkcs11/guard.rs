//! A PIN that was refused once is not tried again, across restarts too, until a person says so.
//!
//! A token counts wrong PINs and locks itself; a service manager that restarts what failed would use the
//! tries up in seconds. So a small file says, before each `C_Login`, that one is under way, and after
//! it what came of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::HsmError;
use crate::codec::hex;

/// Remembers on disk whether a PIN may be tried.
#[derive(Clone, Debug)]
pub struct PinGuard {
    file: PathBuf,
    source: String,
}

impl PinGuard {
    /// The file's name in the folder.
    pub const FILE: &'static str = "pin.guard";

    /// A guard that keeps [`Self::FILE`] in `folder`. `source` tells where the PIN comes from and in which
    /// state, for example a path, an inode and a time of change: as long as it is the one that the token
    /// accepted last, a login that was cut off may be repeated. It is kept as a hash.
    pub fn new(folder: &Path, source: &str) -> Self {
        Self { file: folder.join(Self::FILE), source: hex(&Sha256::digest(source)) }
    }

    /// Whether a PIN may be tried.
    ///
    /// # Errors
    /// [`HsmError::PinHeld`]; [`HsmError::Storage`] if nobody can tell.
    pub fn check(&self) -> Result<(), HsmError> {
        let held = |why| Err(HsmError::PinHeld { file: self.file.display().to_string(), why });
        let record = self.read()?;
        match record.state {
            State::Idle => Ok(()),
            State::Pending if record.good.as_ref() == Some(&self.source) => Ok(()),
            State::Pending => held("a login was cut off before the token had answered"),
            State::Refused => held("the token refused the PIN"),
        }
    }

    /// Allows one more try: for the operator, once the PIN is put right. Says whether it was held.
    ///
    /// # Errors
    /// [`HsmError::Storage`].
    pub fn clear(&self) -> Result<bool, HsmError> {
        let held = self.check().is_err();
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(held),
        }
    }

    /// The same for a password that is tried by other means, of an HSM that does not lock itself: after a
    /// refusal it is held, after any other failure it may be tried again.
    ///
    /// # Errors
    /// [`HsmError::PinHeld`] without a try; what `login` says.
    pub fn attempt<T>(&self, login: impl FnOnce() -> Result<T, HsmError>) -> Result<T, HsmError> {
        let attempt = self.begin()?;
        let result = login();
        attempt.end(match &result {
            Ok(_) => Outcome::Accepted,
            Err(HsmError::Auth) => Outcome::Refused,
            Err(_) => Outcome::NotTried,
        })?;
        result
    }

    /// To be called right before `C_Login`; durable when it returns.
    pub(super) fn begin(&self) -> Result<Attempt<'_>, HsmError> {
        self.check()?;
        let before = self.read()?;
        self.write(&Record { state: State::Pending, good: before.good.clone() })?;
        Ok(Attempt { guard: self, before })
    }

    fn read(&self) -> Result<Record, HsmError> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Record { state: State::Idle, good: None });
            }
            Err(error) => return Err(self.failed(&error)),
        };
        let mut lines = text.lines();
        let state = match (lines.next(), lines.next()) {
            (Some(HEADER), Some("idle")) => State::Idle,
            (Some(HEADER), Some("pending")) => State::Pending,
            (Some(HEADER), Some("refused")) => State::Refused,
            _ => {
                return Err(
                    self.failed(&"not a PIN guard's file; look who wrote it, then remove it")
                );
            }
        };
        Ok(Record { state, good: lines.next().map(str::to_owned) })
    }

    /// In one step: after a crash either the old or the new record is there.
    fn write(&self, record: &Record) -> Result<(), HsmError> {
        let state = match record.state {
            State::Idle => "idle",
            State::Pending => "pending",
            State::Refused => "refused",
        };
        let good = record.good.as_deref().map(|good| format!("{good}\n")).unwrap_or_default();
        let text = format!("{HEADER}\n{state}\n{good}");
        let next = self.file.with_extension("guard.next");
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            let mut out =
                options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&next, &self.file)?;
            let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| self.failed(&error))
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> HsmError {
        HsmError::Storage { path: self.file.display().to_string(), reason: reason.to_string() }
    }
}

/// What the token said.
pub(super) enum Outcome {
    Accepted,
    Refused,
    /// Somebody was logged in already.
    NotTried,
    /// Nobody knows whether the token looked at the PIN.
    Unknown,
}

/// One `C_Login` under way.
pub(super) struct Attempt<'a> {
    guard: &'a PinGuard,
    before: Record,
}

impl Attempt<'_> {
    pub(super) fn end(self, outcome: Outcome) -> Result<(), HsmError> {
        let source = || Some(self.guard.source.clone());
        match outcome {
            Outcome::Accepted => self.guard.write(&Record { state: State::Idle, good: source() }),
            Outcome::Refused => self.guard.write(&Record { state: State::Refused, good: None }),
            Outcome::NotTried => self.guard.write(&self.before),
            // It stays pending: a PIN that was good may be tried again, an unknown one may not.
            Outcome::Unknown => Ok(()),
        }
    }
}

const HEADER: &str = "quorate PIN guard v1";

struct Record {
    state: State,
    /// The source whose PIN the token accepted last.
    good: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Pending,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(guard: &PinGuard) -> Option<&'static str> {
        match guard.check() {
            Ok(()) => None,
            Err(HsmError::PinHeld { why, .. }) => Some(why),
            Err(other) => Some(Box::leak(other.to_string().into_boxed_str())),
        }
    }

    #[test]
    fn a_refused_pin_is_held_until_a_person_clears_it() {
        let dir = tempfile::tempdir().unwrap();
        let guard = PinGuard::new(dir.path(), "file 1");
        guard.begin().unwrap().end(Outcome::Accepted).unwrap();
        guard.begin().unwrap().end(Outcome::Refused).unwrap();
        // For another source too, and for one that was good before.
        for source in ["file 1", "file 2"] {
            let guard = PinGuard::new(dir.path(), source);
            assert!(held(&guard).unwrap().contains("refused"));
            assert!(guard.begin().is_err());
        }
        assert_eq!(guard.clear(), Ok(true));
        assert_eq!(held(&guard), None);
        assert_eq!(guard.clear(), Ok(false));
    }

    #[test]
    fn a_login_that_was_cut_off_is_repeated_with_a_known_good_pin_only() {
        let dir = tempfile::tempdir().unwrap();
        let guard = PinGuard::new(dir.path(), "file 1");
        drop(guard.begin().unwrap());
        assert!(held(&guard).unwrap().contains("cut off"));
        guard.clear().unwrap();
        guard.begin().unwrap().end(Outcome::Accepted).unwrap();
        drop(guard.begin().unwrap());
        assert_eq!(held(&guard), None);
        let changed = PinGuard::new(dir.path(), "file 2");
        assert!(held(&changed).unwrap().contains("cut off"));
        // Not looked at: then it is neither good nor bad.
        guard.begin().unwrap().end(Outcome::Accepted).unwrap();
        changed.begin().unwrap().end(Outcome::NotTried).unwrap();
        drop(changed.begin().unwrap());
        assert!(held(&changed).is_some());
        assert_eq!(held(&guard), None);
        guard.begin().unwrap().end(Outcome::Unknown).unwrap();
        assert!(held(&changed).is_some());
    }

    #[test]
    fn a_file_that_nobody_understands_holds_the_pin() {
        let dir = tempfile::tempdir().unwrap();
        let guard = PinGuard::new(dir.path(), "file");
        for text in ["", "quorate PIN guard v1\n", "quorate PIN guard v2\nidle\n", "idle\n"] {
            fs::write(dir.path().join(PinGuard::FILE), text).unwrap();
            assert!(held(&guard).unwrap().contains("not a PIN guard's file"), "{text:?}");
        }
    }
}
