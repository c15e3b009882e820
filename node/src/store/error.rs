//! Why the store refuses, and what its operator should do.

use std::path::PathBuf;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another process has it open.
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a version of this program that this one does not know.
    Version {
        /// The format of the file.
        found: u32,
        /// The format of this program.
        supported: u32,
    },
    /// It is damaged, or no store at all.
    Corrupt {
        /// What is wrong.
        what: String,
    },
    /// The disk failed, is full, or does not let this process in.
    Io {
        /// What happened.
        reason: String,
    },
    /// The database refuses for another reason: a defect.
    Database {
        /// What it says.
        reason: String,
    },
    /// It contradicts what is stored; the first one stays.
    Conflict {
        /// The key.
        key: [u8; 16],
        /// What it contradicts.
        with: Contradiction,
    },
    /// No such key.
    Unknown {
        /// The key asked for.
        key: [u8; 16],
    },
    /// The key exists already.
    Exists {
        /// The key.
        key: [u8; 16],
    },
    /// Longer than the store takes.
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// What a change contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// An earlier confirmation of this party: it signed two, which proves that it misbehaves.
    Confirmation {
        /// Who.
        party: u16,
    },
    /// The certificate that made the key active.
    Certificate,
    /// A key starts pending and without certificate.
    NotPending,
    /// Nothing is spent from a key that is not active.
    NotActive,
    /// The change of this number is another, or its turn has not come.
    Change {
        /// The version, or the hold.
        number: u32,
    },
    /// The request is recorded with another key or expiry, though its hash binds both.
    Request {
        /// Its hash.
        request: [u8; 32],
    },
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "the store {} is in use by another process: a second node of this party must not \
                 run; stop the other one first",
                path.display()
            ),
            Self::Version { found, supported } => write!(
                f,
                "the store has format {found}, this program knows format {supported}: use the \
                 program version that wrote it, or a newer one"
            ),
            Self::Corrupt { what } => write!(
                f,
                "the store is damaged ({what}): keep the file for examination and restore this \
                 party's folder from its newest backup"
            ),
            Self::Io { reason } => write!(
                f,
                "the store cannot be read or written ({reason}): check the disk, its free space \
                 and the file's permissions, then restart the node"
            ),
            Self::Database { reason } => {
                write!(f, "the store's database refused: {reason}; this is a defect, report it")
            }
            Self::Conflict { key, with } => write!(f, "key {}: {with}", hex::encode(key)),
            Self::Unknown { key } => write!(f, "no key {} in the store", hex::encode(key)),
            Self::Exists { key } => write!(f, "key {} is in the store already", hex::encode(key)),
            Self::TooLarge { what, size, limit } => {
                write!(f, "{what} has size {size}, the store takes at most {limit}")
            }
        }
    }
}

impl std::fmt::Display for Contradiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Confirmation { party } => write!(
                f,
                "party {party} sent a confirmation that differs from its first one; the first one \
                 is kept, ask its operator why"
            ),
            Self::Certificate => f.write_str("it is active by another certificate, which is kept"),
            Self::NotPending => f.write_str("a new key must be pending and without certificate"),
            Self::Change { number } => {
                write!(f, "change {number} of its policy is another one, or not the next")
            }
            Self::NotActive => f.write_str("it is not active, so nothing can be signed with it"),
            Self::Request { request } => {
                write!(f, "request {} is recorded with another key or expiry", hex::encode(request))
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    pub(super) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::Io { reason: format!("{what}: {error}") }
    }

    fn database(error: redb::Error) -> Self {
        use std::io::ErrorKind;
        match error {
            redb::Error::Corrupted(what) => Self::corrupt(what),
            redb::Error::Io(error)
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Self::corrupt(error.to_string())
            }
            redb::Error::Io(error) => Self::Io { reason: error.to_string() },
            redb::Error::PreviousIo => Self::Io { reason: "an earlier access failed".into() },
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::RepairAborted
            | redb::Error::UpgradeRequired(_)) => Self::corrupt(error.to_string()),
            error => Self::Database { reason: error.to_string() },
        }
    }
}

macro_rules! from_database {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::database(error.into())
            }
        })*
    };
}

from_database!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError,
    SetDurabilityError
);
