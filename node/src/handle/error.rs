//! Why a command failed.

use quorate_hsm::HsmError;
use serde::{Deserialize, Serialize};

use super::Waiting;
use crate::exit::Exit;

/// Why a command failed, by blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum ServiceError {
    /// Not an error: the request waits for the delays of the key's policy.
    Waiting(Waiting),
    /// A party's policy denies the request.
    Denied {
        /// The rule's stable name.
        rule: String,
        /// What a person sees.
        reason: String,
        /// Whose policy.
        party: u16,
        /// The coordinator's own judgement, each rule and condition, as `quorate policy simulate --json`
        /// has it: only for those whom the policy names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<Box<serde_json::Value>>,
    },
    /// The operator token is missing or wrong.
    Unauthorised {
        /// Details.
        reason: String,
    },
    /// The caller's input is wrong.
    BadRequest {
        /// What is wrong.
        reason: String,
    },
    /// No such key.
    UnknownKey {
        /// What was asked for.
        key: String,
    },
    /// No request with that hash waits.
    UnknownRequest {
        /// What was asked for.
        request: String,
    },
    /// It exists already.
    Conflict {
        /// What exists.
        reason: String,
    },
    /// Too few parties take part.
    NotEnoughParties {
        /// So many are needed.
        need: usize,
        /// These take part.
        have: Vec<u16>,
        /// Why others do not.
        reasons: Vec<(u16, String)>,
    },
    /// A peer misbehaved.
    ProtocolFailure {
        /// What happened.
        reason: String,
        /// Who is proven to have misbehaved.
        culprits: Vec<u16>,
    },
    /// The deadline passed.
    Deadline {
        /// Who was silent.
        waiting_for: Vec<u16>,
        /// In which phase.
        phase: String,
    },
    /// The HSM.
    Hsm {
        /// What happened and what to do.
        reason: String,
        /// The process's exit code for it.
        exit: u8,
    },
    /// Sealed data are damaged or belong elsewhere.
    Sealed {
        /// What happened and what to do.
        reason: String,
    },
    /// Too much at once.
    Busy,
    /// A fault of this machine.
    Local {
        /// What happened.
        reason: String,
    },
}

impl ServiceError {
    /// A fault of this machine.
    pub fn local(reason: impl std::fmt::Display) -> Self {
        Self::Local { reason: reason.to_string() }
    }

    /// A mistake of the caller.
    pub fn bad_request(reason: impl std::fmt::Display) -> Self {
        Self::BadRequest { reason: reason.to_string() }
    }

    /// An error of the HSM over the share of key `name`.
    #[must_use]
    pub fn from_hsm(name: &str, error: &HsmError) -> Self {
        let reason = format!("the share of key {name}: {error}");
        match Exit::of_hsm(error) {
            Exit::Sealed => Self::Sealed { reason },
            exit => Self::Hsm { reason, exit: exit.code() },
        }
    }

    /// The exit code of a command that fails so.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Waiting(_) => Exit::Waiting.code(),
            Self::Denied { .. } => Exit::Denied.code(),
            Self::Unauthorised { .. } => Exit::NotAuthorised.code(),
            Self::BadRequest { .. } => Exit::Usage.code(),
            Self::UnknownKey { .. } | Self::UnknownRequest { .. } => Exit::Unknown.code(),
            Self::Conflict { .. } => Exit::Conflict.code(),
            Self::NotEnoughParties { .. } => Exit::NotEnoughParties.code(),
            Self::ProtocolFailure { .. } => Exit::ProtocolFailure.code(),
            Self::Deadline { .. } => Exit::Deadline.code(),
            Self::Hsm { exit, .. } => *exit,
            Self::Sealed { .. } => Exit::Sealed.code(),
            Self::Busy | Self::Local { .. } => Exit::Local.code(),
        }
    }

    /// The HTTP status of an answer that fails so.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Waiting(_) => 202,
            Self::Denied { .. } => 403,
            Self::Unauthorised { .. } => 401,
            Self::BadRequest { .. } => 400,
            Self::UnknownKey { .. } | Self::UnknownRequest { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::NotEnoughParties { .. } | Self::Busy => 503,
            Self::ProtocolFailure { .. } => 502,
            Self::Deadline { .. } => 504,
            Self::Hsm { .. } | Self::Sealed { .. } | Self::Local { .. } => 500,
        }
    }
}

impl std::fmt::Display for ServiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting(waiting) => waiting.fmt(f),
            Self::UnknownRequest { request } => write!(f, "no such request waits here: {request}"),
            Self::Denied { rule, reason, party, .. } => {
                write!(f, "party {party}'s policy denies the request (rule {rule}): {reason}")
            }
            Self::Unauthorised { reason } => write!(f, "not authorised: {reason}"),
            Self::BadRequest { reason } => write!(f, "bad request: {reason}"),
            Self::UnknownKey { key } => write!(f, "no such key here: {key}"),
            Self::Conflict { reason } => f.write_str(reason),
            Self::NotEnoughParties { need, have, reasons } => {
                write!(f, "{need} parties are needed, only {have:?} take part")?;
                reasons.iter().try_for_each(|(party, why)| write!(f, "; party {party}: {why}"))
            }
            Self::ProtocolFailure { reason, culprits } if culprits.is_empty() => {
                f.write_str(reason)
            }
            Self::ProtocolFailure { reason, culprits } => {
                write!(f, "{reason} (culprits: {culprits:?})")
            }
            Self::Deadline { waiting_for, phase } => {
                write!(f, "the deadline passed in {phase}, waiting for parties {waiting_for:?}")
            }
            Self::Hsm { reason, .. } | Self::Sealed { reason } | Self::Local { reason } => {
                f.write_str(reason)
            }
            Self::Busy => f.write_str("too many requests at once; try again"),
        }
    }
}

impl std::error::Error for ServiceError {}
