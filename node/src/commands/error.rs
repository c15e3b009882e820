//! Why a command failed, by blame, with its exit code.

use serde_json::{Value, json};

use crate::audit::AuditError;
use crate::client::{ClientError, ClientKeyError};
use crate::config::ConfigError;
use crate::demo::DemoError;
use crate::device::DeviceError;
use crate::device_log::DeviceLogError;
use crate::exit::Exit;
use crate::handle::ServiceError;
use crate::membership::MembershipError;
use crate::network::NetworkError;
use crate::policy_file::PolicyFileError;
use crate::rotation::RotationError;
use crate::sealing::SealingError;
use crate::store::StoreError;

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// The arguments contradict each other or the files that they name.
    Usage(String),
    /// `quorate.toml`.
    Config(ConfigError),
    /// The membership file.
    Membership(MembershipError),
    /// A policy file.
    Policy(PolicyFileError),
    /// A client key.
    ClientKey(ClientKeyError),
    /// HSM, PIN, sealed files.
    Sealing(SealingError),
    /// The store.
    Store(StoreError),
    /// The network.
    Network(NetworkError),
    /// The operator token.
    NotAuthorised(String),
    /// The running node refused, or is not there.
    Client(ClientError),
    /// The node could not start.
    Service(ServiceError),
    /// A rotation of the key-encryption key.
    Rotation(RotationError),
    /// The device that holds a share.
    Device(DeviceError),
    /// The device's own log.
    DeviceLog(DeviceLogError),
    /// The audit log is not what this party wrote.
    Audit(AuditError),
    /// It exists already.
    Exists(String),
    /// This machine.
    Local(String),
    /// The demo.
    Demo(DemoError),
}

impl CommandError {
    /// A fault of this machine: what was tried, and why it failed.
    pub(super) fn local(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Local(format!("{what}: {error}"))
    }

    /// As `docs/EXIT_CODES.md` has it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => Exit::Usage.code(),
            Self::Config(_) | Self::Membership(_) | Self::Policy(_) | Self::ClientKey(_) => {
                Exit::Config.code()
            }
            Self::Sealing(SealingError::Hsm(error)) => Exit::of_hsm(error).code(),
            Self::Sealing(
                SealingError::Config(_)
                | SealingError::PinFile { .. }
                | SealingError::PassphraseFile { .. }
                | SealingError::NewPassphrase { .. },
            ) => Exit::Config.code(),
            Self::Sealing(SealingError::OtherIdentity) => Exit::Sealed.code(),
            Self::Sealing(SealingError::NoPin | SealingError::NoPassphrase) => Exit::Hsm.code(),
            Self::Store(StoreError::Locked { .. }) => Exit::Conflict.code(),
            Self::Store(StoreError::Corrupt { .. }) => Exit::Sealed.code(),
            Self::Sealing(SealingError::File { .. })
            | Self::Store(_)
            | Self::Network(_)
            | Self::Local(_) => Exit::Local.code(),
            Self::NotAuthorised(_) => Exit::NotAuthorised.code(),
            Self::Client(ClientError::Refused(error)) | Self::Service(error) => error.exit(),
            Self::Client(ClientError::Unreachable { .. } | ClientError::Answer(_)) => {
                Exit::Unreachable.code()
            }
            Self::Rotation(error) => error.exit().code(),
            Self::Device(error) => error.exit().code(),
            Self::DeviceLog(DeviceLogError::Refused { .. }) => Exit::Sealed.code(),
            Self::DeviceLog(DeviceLogError::NotOwner { .. }) => Exit::Usage.code(),
            Self::DeviceLog(DeviceLogError::NoPosition) => Exit::Conflict.code(),
            Self::DeviceLog(_) | Self::Audit(AuditError::File { .. }) => Exit::Local.code(),
            Self::Audit(_) => Exit::Sealed.code(),
            Self::Exists(_) => Exit::Conflict.code(),
            Self::Demo(error) => error.exit_code(),
        }
    }

    /// The judgement that a denial came with, for people; nothing for other errors.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self {
            Self::Client(ClientError::Refused(ServiceError::Denied { verdict, .. })) => {
                verdict.as_deref().map(crate::policy_file::verdict_text).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = match self {
            Self::Client(ClientError::Refused(error)) | Self::Service(error) => {
                crate::api::error_body(error)
            }
            other => json!({ "error": { "message": other.to_string() } }),
        };
        if let Some(fields) = body.get_mut("error").and_then(Value::as_object_mut) {
            fields.insert("exit".to_owned(), self.exit_code().into());
        }
        body
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(what) | Self::NotAuthorised(what) | Self::Exists(what) => f.write_str(what),
            Self::Local(what) => f.write_str(what),
            Self::Config(error) => error.fmt(f),
            Self::Membership(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::ClientKey(error) => error.fmt(f),
            Self::Sealing(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::Rotation(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
            Self::DeviceLog(error) => error.fmt(f),
            Self::Audit(error) => error.fmt(f),
            Self::Demo(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommandError {}

/// What other commands know too keeps its exit code.
impl From<RotationError> for CommandError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Sealing(error) => Self::Sealing(error),
            RotationError::Store(error) => Self::Store(error),
            RotationError::Membership(error) => Self::Membership(error),
            own => Self::Rotation(own),
        }
    }
}

impl From<DeviceLogError> for CommandError {
    fn from(error: DeviceLogError) -> Self {
        match error {
            DeviceLogError::Hsm(error) => Self::Sealing(error.into()),
            DeviceLogError::Store(error) => Self::Store(error),
            own => Self::DeviceLog(own),
        }
    }
}

impl From<AuditError> for CommandError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => Self::Store(error),
            own => Self::Audit(own),
        }
    }
}

macro_rules! from {
    ($($variant:ident: $error:ty),* $(,)?) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from!(
    Config: ConfigError,
    Membership: MembershipError,
    Policy: PolicyFileError,
    ClientKey: ClientKeyError,
    Sealing: SealingError,
    Store: StoreError,
    Network: NetworkError,
    Client: ClientError,
    Service: ServiceError,
    Device: DeviceError,
);
