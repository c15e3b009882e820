//! Exit codes, as `docs/EXIT_CODES.md` lists them.

use quorate_hsm::HsmError;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A fault of this machine.
    Local = 1,
    /// Wrong arguments.
    Usage = 2,
    /// The configuration or membership file is wrong.
    Config = 3,
    /// The node does not answer.
    Unreachable = 4,
    /// A policy denies.
    Denied = 5,
    /// Operator token or client signature.
    NotAuthorised = 6,
    /// Too few parties take part.
    NotEnoughParties = 7,
    /// A peer misbehaved.
    ProtocolFailure = 8,
    /// The deadline passed.
    Deadline = 9,
    /// HSM, library, token or key are not there.
    Hsm = 10,
    /// Wrong PIN, or one that is held since it was refused; never retried.
    Pin = 11,
    /// The PIN is locked, or the token says it is the last try.
    PinLocked = 12,
    /// Sealed data are corrupt or of another context.
    Sealed = 13,
    /// No such key or request.
    Unknown = 14,
    /// It exists already.
    Conflict = 15,
    /// The request waits for the delays of the key's policy.
    Waiting = 16,
}

impl Exit {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The class of an HSM error.
    #[must_use]
    pub fn of_hsm(error: &HsmError) -> Self {
        match error {
            HsmError::Auth | HsmError::PinHeld { .. } => Self::Pin,
            HsmError::PinLocked | HsmError::FinalTry => Self::PinLocked,
            HsmError::Corrupt { .. }
            | HsmError::WrongContext { .. }
            | HsmError::Rollback { .. }
            | HsmError::WrongKek { .. } => Self::Sealed,
            HsmError::KeyExists { .. }
            | HsmError::NotDiscarded { .. }
            | HsmError::ObjectsExist { .. }
            | HsmError::TokenExists { .. } => Self::Conflict,
            HsmError::Randomness | HsmError::Storage { .. } | HsmError::TooLarge { .. } => {
                Self::Local
            }
            _ => Self::Hsm,
        }
    }
}
