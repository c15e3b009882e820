//! Why a rotation stops, by blame.

use std::path::PathBuf;

use quorate_hsm::{HsmError, Profile};

use crate::exit::Exit;
use crate::membership::MembershipError;
use crate::sealing::SealingError;
use crate::store::StoreError;

/// Why a rotation does not begin or go on, or a KEK is not destroyed.
#[derive(Debug)]
pub enum RotationError {
    /// HSM, PIN, files, configuration.
    Sealing(SealingError),
    /// The store.
    Store(StoreError),
    /// The membership file, which says to which network shares belong.
    Membership(MembershipError),
    /// One sealed blob.
    Blob {
        /** Which. */
        name: String,
        /** What is wrong with it. */
        error: HsmError,
    },
    /// A rotation is not finished.
    UnderWay {
        /** Its file. */
        file: PathBuf,
    },
    /// The rotation under way is to another profile.
    OtherProfile {
        /** That profile. */
        profile: Profile,
    },
    /// The KEK is the one in use.
    InUse {
        /** Its identifier, hexadecimal. */
        id: String,
    },
    /// A blob is under the KEK.
    StillNamed {
        /** Its identifier, hexadecimal. */
        id: String,
        /** The blob. */
        name: String,
    },
    /// This node never had such a KEK.
    Unknown {
        /** Its identifier, hexadecimal. */
        id: String,
    },
    /// This node destroyed the KEK: what has its identifier now is not its own.
    Destroyed {
        /** Its identifier, hexadecimal. */
        id: String,
    },
    /// The emulation's KEK is a file, which people remove.
    OtherBackend,
    /// A YubiHSM's keys are made and deleted by its administrator, whose credentials were not named.
    NoAdministrator,
    /// The version of KEKs cannot be counted further.
    Versions,
    /// Who watched has stopped it.
    Stopped,
}

impl RotationError {
    /// As `docs/EXIT_CODES.md` has it; nothing for what other commands know too.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Blob { error, .. } => Exit::of_hsm(error),
            Self::UnderWay { .. }
            | Self::OtherProfile { .. }
            | Self::InUse { .. }
            | Self::StillNamed { .. } => Exit::Conflict,
            Self::Unknown { .. } | Self::Destroyed { .. } => Exit::Unknown,
            Self::OtherBackend | Self::NoAdministrator => Exit::Usage,
            Self::Sealing(_)
            | Self::Store(_)
            | Self::Membership(_)
            | Self::Versions
            | Self::Stopped => Exit::Local,
        }
    }
}

impl std::fmt::Display for RotationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sealing(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Membership(error) => error.fmt(f),
            Self::Blob { name, error } => write!(
                f,
                "{name}: {error}. The rotation is not finished and nothing is lost: put this right, then \
                 run `quorate hsm rotate-kek` again"
            ),
            Self::UnderWay { file } => write!(
                f,
                "a rotation of the key-encryption key is not finished ({}): finish it with `quorate hsm \
                 rotate-kek`",
                file.display()
            ),
            Self::OtherProfile { profile } => write!(
                f,
                "a rotation to {profile} is not finished: finish it without --profile, then rotate again"
            ),
            Self::InUse { id } => {
                write!(f, "KEK {id} is the one in use; nothing was destroyed: rotate it first")
            }
            Self::StillNamed { id, name } => write!(
                f,
                "{name} is sealed under KEK {id}; nothing was destroyed: rotate it first"
            ),
            Self::Unknown { id } => write!(
                f,
                "this node never had a KEK {id}; nothing was destroyed: it may be another node's. The id \
                 is what `quorate hsm rotate-kek` called it"
            ),
            Self::Destroyed { id } => write!(
                f,
                "this node destroyed KEK {id} already, by its audit log; nothing was destroyed now: a key \
                 with that id is another node's"
            ),
            Self::OtherBackend => f.write_str(
                "only a KEK inside an HSM is destroyed by command; of the software emulation, remove the \
                 old key file by hand",
            ),
            Self::NoAdministrator => f.write_str(
                "the node's own key may neither make nor delete keys in a YubiHSM; nothing was changed: \
                 name the administrator's with --admin-auth-key ID (and --admin-password-file FILE, or you \
                 are asked)",
            ),
            Self::Versions => f.write_str("the version of the KEK cannot be counted further"),
            Self::Stopped => f.write_str("the rotation was stopped; another one continues it"),
        }
    }
}

impl std::error::Error for RotationError {}

impl From<SealingError> for RotationError {
    fn from(error: SealingError) -> Self {
        Self::Sealing(error)
    }
}

impl From<StoreError> for RotationError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<MembershipError> for RotationError {
    fn from(error: MembershipError) -> Self {
        Self::Membership(error)
    }
}
