//! Why a log is not what its party wrote.

use std::path::PathBuf;

use quorate_core::party::PartyId;

use crate::handle::ServiceError;
use crate::identity::IdentityPublic;
use crate::store::StoreError;

/// Why a log does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditError {
    /// The store cannot be read.
    Store(StoreError),
    /// The chain breaks.
    Altered {
        /// The first entry that does not fit.
        entry: u64,
    },
    /// The log is whole, and ends before what the identity key signed.
    CutOff {
        /// The entry that was signed.
        signed: u64,
        /// The last one that is there.
        last: u64,
        /// The peer that has countersigned it; none if it is the party's own signature.
        witness: Option<PartyId>,
    },
    /// The log is whole, and not the one that the identity key signed.
    Replaced {
        /// The entry that was signed.
        entry: u64,
        /// The peer that has countersigned it; none if it is the party's own signature.
        witness: Option<PartyId>,
    },
    /// The head is not signed by this party's identity key.
    NotSigned {
        /// The entry that it names.
        entry: u64,
        /// The key that should have signed.
        identity: IdentityPublic,
    },
    /// The countersignature is not of this peer, or not of a head that this party's identity key has signed.
    NotCountersigned {
        /// The entry that it names.
        entry: u64,
        /// Who should have countersigned.
        witness: PartyId,
    },
    /// A countersignature's bytes are none.
    MalformedCountersignature {
        /// Whose it should be.
        witness: u16,
    },
    /// The head is of a generation that the log has not reached.
    Generation {
        /// The entry that it names.
        entry: u64,
        /// Its generation.
        signed: u32,
        /// The log's.
        found: u32,
    },
    /// The signed head's bytes are none.
    MalformedHead,
    /// An export without a signed head.
    NoHead,
    /// A line of an export that is none.
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An export cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

const WHAT_TO_DO: &str = "keep it for examination, find out who could write it, and restore this party's \
                          folder from its newest backup";

fn who(witness: Option<PartyId>) -> String {
    witness.map_or_else(
        || "this party's identity key has signed".to_owned(),
        |party| format!("party {party} has countersigned"),
    )
}

impl std::fmt::Display for AuditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Altered { entry } => {
                write!(f, "the audit log was altered at or before entry {entry}: {WHAT_TO_DO}")
            }
            Self::CutOff { signed, last, witness } => write!(
                f,
                "the audit log ends at entry {last}, and {} its head at entry {signed}: its end was cut \
                 off; {WHAT_TO_DO}",
                who(*witness)
            ),
            Self::Replaced { entry, witness } => write!(
                f,
                "entry {entry} of the audit log is not the one that {}: it or one before it was \
                 replaced; {WHAT_TO_DO}",
                who(*witness)
            ),
            Self::NotCountersigned { entry, witness } => write!(
                f,
                "the countersignature of party {witness}, at entry {entry}, is not its own, or is of a head that \
                 this party's identity key did not sign: {WHAT_TO_DO}"
            ),
            Self::MalformedCountersignature { witness } => {
                write!(f, "the countersignature of party {witness} cannot be read: {WHAT_TO_DO}")
            }
            Self::NotSigned { entry, identity } => write!(
                f,
                "the signed head of the audit log, at entry {entry}, is not signed by {identity} for \
                 this party and network: {WHAT_TO_DO}"
            ),
            Self::Generation { entry, signed, found } => write!(
                f,
                "the signed head of the audit log, at entry {entry}, is of generation {signed}, and the \
                 log is of generation {found}: {WHAT_TO_DO}"
            ),
            Self::MalformedHead => {
                write!(f, "the signed head of the audit log cannot be read: {WHAT_TO_DO}")
            }
            Self::NoHead => f.write_str(
                "the export ends with no head that an identity key signed: nothing in it is proven. It \
                 was cut off, or made before the key had signed any; export again",
            ),
            Self::Line { line, what } => {
                write!(f, "line {line} of the export: {what}; it was altered, or is no export")
            }
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for AuditError {}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AuditError> for ServiceError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(_) | AuditError::File { .. } => Self::local(error),
            error => Self::Sealed { reason: error.to_string() },
        }
    }
}
