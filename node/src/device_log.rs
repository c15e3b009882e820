//! A YubiHSM's own log on its way into this party's audit log, whether the node runs or not.
//!
//! ```text
//! device ─▶ hsm-log/batch-N.json (durable) ─▶ the device may forget ─▶ audit log ─▶ batch-N.json goes
//! ```
//! `quorate hsm audit-drain` does the first three steps, with the auditor's key. The fourth is of whoever
//! has the store open: the running node, or else the drain. A batch goes into the audit log in one
//! transaction that says its number and digest, so that a second try sees that it is there. Batches are
//! chained by their digests, entries by the device's: what was altered is refused and stays in the spool,
//! what is missing is recorded.

mod spool;

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_hsm::HsmError;
use quorate_hsm::yubihsm::{AuditDrain, Finding, LogEntry, chain_findings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::{Clock as _, SystemClock};
use crate::config::Folder;
use crate::sealing::SealingError;
use crate::store::{MAX_AUDIT_PAGE, Store, StoreError};
use spool::{Batch, Found, Position, Spool};

/// Why a device's log is not drained, or not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceLogError {
    /// The device.
    Hsm(HsmError),
    /// The store.
    Store(StoreError),
    /// A file of the spool cannot be read or written.
    File {
        /** The file. */
        path: PathBuf,
        /** Why. */
        reason: String,
    },
    /// A batch is not what the drain wrote, or not the next one.
    Refused {
        /** Its file. */
        file: PathBuf,
        /** Its number. */
        number: u64,
        /** What is wrong. */
        why: String,
    },
    /// The spool is empty, and the store, which says where to go on, is in use.
    NoPosition,
    /// The folder is another user's, who could not read what this one writes.
    NotOwner {
        /** The node's. */
        folder: PathBuf,
        /** Its user's number. */
        owner: u32,
    },
}

impl std::fmt::Display for DeviceLogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hsm(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Refused { file, why, .. } => write!(
                f,
                "{} does not go into the audit log: {why}. Somebody altered it, or the disk did: find out \
                 who, and put the right file back; if there is none, move this one away, and the loss is \
                 recorded",
                file.display()
            ),
            Self::NotOwner { folder, owner } => write!(
                f,
                "{folder} belongs to user {owner}, and a node of that user could not read what you drain; \
                 nothing was read from the device. Run this as that user: `sudo -u '#{owner}' quorate \
                 --folder {folder} hsm audit-drain`",
                folder = folder.display()
            ),
            Self::NoPosition => f.write_str(
                "where the device's log goes on is not known yet: the store is in use, and whoever uses it \
                 has not said so in hsm-log; nothing was read from the device. Try again in a few seconds; \
                 if that lasts, stop the node and drain once without it",
            ),
        }
    }
}

impl std::error::Error for DeviceLogError {}

impl From<SealingError> for DeviceLogError {
    fn from(error: SealingError) -> Self {
        match error {
            SealingError::Hsm(error) => Self::Hsm(error),
            SealingError::File { path, reason } => Self::File { path, reason },
            other => Self::File { path: PathBuf::new(), reason: other.to_string() },
        }
    }
}

impl From<StoreError> for DeviceLogError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<HsmError> for DeviceLogError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}

/// What a drain did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// New entries.
    pub entries: usize,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// The newest entry that is stored, here or before.
    pub last: Option<u16>,
    /// Batches that wait for the node, which has the store.
    pub waiting: usize,
}

/// Entries in one record: what a record may hold is bounded.
const CHUNK: usize = 32;
const EVENT: &str = "hsm-log";
/// The node looks for batches so often.
const EVERY: Duration = Duration::from_secs(1);
/// A node that starts says where the log goes on within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the device's log into the spool, lets the device forget it, and takes it into the audit log
/// unless somebody else has that open, who then will.
///
/// # Errors
/// [`DeviceLogError`]. Nothing is lost: what the device may forget is on disk.
pub fn drain(folder: &Folder, serial: u32, device: &AuditDrain) -> Result<Drained, DeviceLogError> {
    let (spool, end) = position(folder, serial)?;
    let got = device.read(end.last.as_ref())?;
    let last = got.entries.last().or(end.last.as_ref()).map(|entry| entry.number);
    if !(got.entries.is_empty() && got.findings.is_empty()) {
        spool.write(&Batch {
            number: end.number + 1,
            previous: end.digest,
            serial,
            at: SystemClock.unix().as_secs(),
            after: end.last,
            entries: got.entries.clone(),
            findings: got.findings.clone(),
        })?;
    }
    // Only now may the device forget them.
    device.confirm(&got)?;
    match Store::open(&folder.store()) {
        Ok(store) => take_in(&spool, &store, &mut stored(&store, serial)?)?,
        Err(StoreError::Locked { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (entries, findings) = (got.entries.len(), got.findings);
    Ok(Drained { entries, findings, last, waiting: spool.waiting()?.len() })
}

/// What another user writes into the folder, the node cannot read; and it must read all of it.
///
/// # Errors
/// [`DeviceLogError::NotOwner`], [`DeviceLogError::File`].
pub fn must_be_the_owner(folder: &Folder) -> Result<(), DeviceLogError> {
    let path = folder.path().to_owned();
    let owner = match std::fs::metadata(&path) {
        Ok(found) => found.uid(),
        Err(error) => return Err(DeviceLogError::File { path, reason: error.to_string() }),
    };
    match owner == rustix::process::geteuid().as_raw() {
        true => Ok(()),
        false => Err(DeviceLogError::NotOwner { folder: path, owner }),
    }
}

/// The spool, and where it goes on.
fn position(folder: &Folder, serial: u32) -> Result<(Spool, Position), DeviceLogError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let spool = Spool::open(folder, serial)?;
        match Store::open(&folder.store()) {
            Ok(store) => {
                // The audit log itself says best where it ends.
                let mut end = stored(&store, serial)?;
                take_in(&spool, &store, &mut end)?;
                return Ok((spool, end));
            }
            Err(StoreError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match spool.end()? {
            Some(end) => return Ok((spool, end)),
            None if Instant::now() < until => {}
            None => return Err(DeviceLogError::NoPosition),
        }
        drop(spool);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What waits in the spool: how many batches.
///
/// # Errors
/// [`DeviceLogError::File`].
pub fn waiting(folder: &Folder) -> Result<usize, DeviceLogError> {
    Ok(spool::waiting(&folder.device_log())?.len())
}

/// Takes batches in while the node runs.
pub struct Intake {
    folder: Folder,
    serial: u32,
    /// What the audit log has.
    position: Position,
    next: Option<Instant>,
    /// What was said already.
    said: Option<DeviceLogError>,
}

impl Intake {
    /// The spool of that folder and device, and where the audit log is: that may take as long as reading all
    /// of it.
    ///
    /// # Errors
    /// [`DeviceLogError::Store`].
    pub fn begin(folder: &Folder, serial: u32, store: &Store) -> Result<Self, DeviceLogError> {
        let position = stored(store, serial)?;
        Ok(Self { folder: folder.clone(), serial, position, next: None, said: None })
    }

    /// Looks into the spool once a second, and takes one batch in: what comes first here waits for it. What
    /// is wrong there is said and recorded once.
    pub(crate) fn tick(&mut self, store: &Store, at: Instant) {
        if self.next.is_some_and(|next| at < next) {
            return;
        }
        self.next = at.checked_add(EVERY);
        match self.take(store) {
            Ok(Looked::Through) => self.said = None,
            Ok(Looked::NotNow) => {}
            Err(error) if self.said.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::error!("the device's log: {error}");
                if let DeviceLogError::Refused { number, why, .. } = &error {
                    let at = SystemClock.unix().as_secs();
                    let record = json!({
                        "event": "hsm-log-refused", "serial": self.serial, "batch": number,
                        "why": why, "at": at,
                    });
                    if let Err(error) = store.audit_append(record.to_string().into_bytes()) {
                        tracing::error!(%error, "the audit log cannot be written");
                    }
                }
                self.said = Some(error);
            }
        }
    }

    fn take(&mut self, store: &Store) -> Result<Looked, DeviceLogError> {
        // An auditor may be at it, and then this comes later.
        let Some(spool) = Spool::try_open(&self.folder, self.serial)? else {
            return Ok(Looked::NotNow);
        };
        match spool.waiting()?.first() {
            Some(number) => take_one(&spool, store, &mut self.position, *number)?,
            None => spool.set_taken(&self.position)?,
        }
        Ok(Looked::Through)
    }
}

enum Looked {
    /// Nothing is wrong with what comes next.
    Through,
    /// Somebody else has the spool.
    NotNow,
}

/// Takes all batches that wait into the audit log, in order. `position` is where that is.
fn take_in(spool: &Spool, store: &Store, position: &mut Position) -> Result<(), DeviceLogError> {
    for number in spool.waiting()? {
        take_one(spool, store, position, number)?;
    }
    spool.set_taken(position)
}

fn take_one(
    spool: &Spool,
    store: &Store,
    position: &mut Position,
    number: u64,
) -> Result<(), DeviceLogError> {
    let found = spool.read(number)?;
    // A crash came before its file went.
    if !(number == position.number && found.digest == position.digest) {
        let file = spool.path(number);
        let refused = |why: &str| DeviceLogError::Refused { file, number, why: why.to_owned() };
        let records = records(position, &found).map_err(refused)?;
        let records = records.iter().map(|record| record.to_string().into_bytes());
        store.audit_append_all(records.collect())?;
        *position = found.position();
    }
    spool.set_taken(position)?;
    spool.remove(number)
}

/// What goes into the audit log of a batch that comes after `position`.
fn records(position: &Position, found: &Found) -> Result<Vec<Value>, &'static str> {
    let Found { batch, digest } = found;
    let Batch { number, serial, at, entries, .. } = batch;
    let mut findings = batch.findings.clone();
    let mut records = Vec::new();
    if *number <= position.number {
        return Err("the audit log has another batch with that number");
    }
    if *number == position.number + 1 {
        if batch.previous != position.digest || batch.after != position.last {
            return Err("it does not continue what the audit log has");
        }
    } else {
        tracing::error!(
            after = position.number,
            next = number,
            "batches of the device's log are missing"
        );
        records.push(json!({
            "event": "hsm-log-missing", "serial": serial, "after": position.number,
            "next": number, "at": at,
        }));
        findings.retain(|finding| !finding.is_of_the_chain());
        findings.extend(chain_findings(position.last.as_ref(), entries));
    }
    let record = |entries: &[LogEntry], findings: &[Finding]| {
        json!({
            "event": EVENT, "serial": serial, "batch": number, "digest": digest, "entries": entries,
            "findings": findings, "at": at,
        })
    };
    if !findings.is_empty() {
        records.push(record(&[], &findings));
    }
    records.extend(entries.chunks(CHUNK).map(|entries| record(entries, &[])));
    Ok(records)
}

/// What is read again of a record.
#[derive(Deserialize)]
struct Recorded {
    event: String,
    serial: u32,
    entries: Vec<LogEntry>,
    /// Records of before there were batches have none.
    batch: Option<u64>,
    digest: Option<String>,
}

/// How far the audit log is, looked for from its end.
fn stored(store: &Store, serial: u32) -> Result<Position, DeviceLogError> {
    let page = u64::try_from(MAX_AUDIT_PAGE).unwrap_or(1).max(1);
    let (mut end, mut found) = (store.audit_head()?.number, None::<Position>);
    while end > 0 {
        let from = end.saturating_sub(page) + 1;
        let limit = usize::try_from(end - from + 1).unwrap_or(MAX_AUDIT_PAGE);
        for entry in store.audit(from, limit)?.iter().rev() {
            // Records of other kinds have other fields.
            let Ok(record) = serde_json::from_slice::<Recorded>(&entry.record) else { continue };
            if record.event != EVENT || record.serial != serial {
                continue;
            }
            let mut position = found.take().unwrap_or_else(|| {
                let start = Position::start(serial);
                let number = record.batch.unwrap_or(start.number);
                Position { number, digest: record.digest.unwrap_or(start.digest), ..start }
            });
            position.last = record.entries.into_iter().next_back();
            if position.last.is_some() {
                return Ok(position);
            }
            found = Some(position);
        }
        end = from - 1;
    }
    Ok(found.unwrap_or_else(|| Position::start(serial)))
}
