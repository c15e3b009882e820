//! The spool: a folder of numbered batches, each with the digest of the one before.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use quorate_hsm::yubihsm::{Finding, LogEntry, chain_findings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::DeviceLogError;
use crate::config::Folder;
use crate::sealing::{remove_durably, replace_private};

/// No batch of 62 entries has so many bytes.
const MAX_FILE: u64 = 256 * 1024;
const PREFIX: &str = "batch-";

/// What one drain brought, as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// 1, 2, 3, …
    pub(super) number: u64,
    /// SHA-256 of the file of the batch before, hexadecimal; all zero before the first.
    pub(super) previous: String,
    pub(super) serial: u32,
    /// Seconds since the Unix epoch.
    pub(super) at: u64,
    /// The entry that the device's chain is walked from.
    pub(super) after: Option<LogEntry>,
    pub(super) entries: Vec<LogEntry>,
    pub(super) findings: Vec<Finding>,
}

/// How far a chain of batches goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) serial: u32,
    /// The last batch; 0 before the first.
    pub(super) number: u64,
    /// Of its file, hexadecimal.
    pub(super) digest: String,
    /// The newest entry of the device's that is in it or in an earlier one.
    pub(super) last: Option<LogEntry>,
}

impl Position {
    pub(super) fn start(serial: u32) -> Self {
        Self { serial, number: 0, digest: "0".repeat(64), last: None }
    }
}

/// A batch and its bytes' digest.
pub(super) struct Found {
    pub(super) batch: Batch,
    pub(super) digest: String,
}

impl Found {
    pub(super) fn position(&self) -> Position {
        let Batch { serial, number, entries, after, .. } = &self.batch;
        let last = entries.last().or(after.as_ref()).cloned();
        Position { serial: *serial, number: *number, digest: self.digest.clone(), last }
    }

    /// What an untouched batch is by itself.
    fn check(&self, number: u64, serial: u32) -> Result<(), String> {
        let batch = &self.batch;
        if batch.number != number {
            return Err(format!("it says that it is batch {}", batch.number));
        }
        if batch.serial != serial {
            return Err(format!("it is of YubiHSM {:010}", batch.serial));
        }
        let said: Vec<Finding> =
            batch.findings.iter().filter(|finding| finding.is_of_the_chain()).copied().collect();
        if chain_findings(batch.after.as_ref(), &batch.entries) != said {
            return Err("its entries are not those that the device gave".to_owned());
        }
        Ok(())
    }
}

/// The folder; while it is open no other process changes it.
pub(super) struct Spool {
    folder: PathBuf,
    serial: u32,
    _lock: fs::File,
}

impl Spool {
    /// Waits for another process, for as long as that asks the device.
    pub(super) fn open(folder: &Folder, serial: u32) -> Result<Self, DeviceLogError> {
        let (folder, lock) = prepare(folder)?;
        lock.lock().map_err(|error| wrong(&folder, error))?;
        Ok(Self { folder, serial, _lock: lock })
    }

    /// Nothing while another process has it.
    pub(super) fn try_open(folder: &Folder, serial: u32) -> Result<Option<Self>, DeviceLogError> {
        let (folder, lock) = prepare(folder)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { folder, serial, _lock: lock })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(wrong(&folder, error)),
        }
    }

    /// The numbers of batches that wait, in order.
    pub(super) fn waiting(&self) -> Result<Vec<u64>, DeviceLogError> {
        waiting(&self.folder)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        file_of(&self.folder, number)
    }

    pub(super) fn read(&self, number: u64) -> Result<Found, DeviceLogError> {
        let path = file_of(&self.folder, number);
        let bytes = read_bounded(&path).map_err(|error| wrong(&path, error))?;
        let refused = |why: String| DeviceLogError::Refused { file: path.clone(), number, why };
        let batch = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        let found = Found { batch, digest: hex::encode(Sha256::digest(&bytes)) };
        found.check(number, self.serial).map_err(refused)?;
        Ok(found)
    }

    /// Writes a batch, durably.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), DeviceLogError> {
        let bytes = serde_json::to_vec(batch).unwrap_or_default();
        Ok(replace_private(&file_of(&self.folder, batch.number), &bytes)?)
    }

    pub(super) fn remove(&self, number: u64) -> Result<(), DeviceLogError> {
        Ok(remove_durably(&file_of(&self.folder, number))?)
    }

    /// How far the audit log was, when somebody who had it open looked last.
    pub(super) fn taken(&self) -> Result<Option<Position>, DeviceLogError> {
        let path = self.folder.join(TAKEN);
        let position: Option<Position> = parse(&path)?;
        let of_this = |position: Position| {
            if position.serial == self.serial {
                return Ok(position);
            }
            Err(wrong(&path, format!("it is of YubiHSM {:010}", position.serial)))
        };
        position.map(of_this).transpose()
    }

    pub(super) fn set_taken(&self, position: &Position) -> Result<(), DeviceLogError> {
        if self.taken().is_ok_and(|taken| taken.as_ref() == Some(position)) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(position).unwrap_or_default();
        Ok(replace_private(&self.folder.join(TAKEN), &bytes)?)
    }

    /// Where the next batch goes on; nothing if the spool does not know.
    pub(super) fn end(&self) -> Result<Option<Position>, DeviceLogError> {
        match self.waiting()?.last() {
            Some(number) => Ok(Some(self.read(*number)?.position())),
            None => self.taken(),
        }
    }
}

const TAKEN: &str = "taken.json";

fn prepare(folder: &Folder) -> Result<(PathBuf, fs::File), DeviceLogError> {
    let folder = folder.device_log();
    let open = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))
    };
    let lock = open().map_err(|error| wrong(&folder, error))?;
    Ok((folder, lock))
}

pub(super) fn waiting(folder: &Path) -> Result<Vec<u64>, DeviceLogError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| wrong(folder, error))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| wrong(folder, error))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number:08}.json"))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DeviceLogError> {
    match read_bounded(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(path, error)),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(path, error)),
    }
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> DeviceLogError {
    DeviceLogError::File { path: path.to_owned(), reason: reason.to_string() }
}
