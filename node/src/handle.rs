//! The seam between the faces (API, command line) and the service: commands with a place to answer.

use quorate_hsm::HsmError;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::audit::Page;
use crate::exit::Exit;

/// Commands that may wait for the service; more are refused as busy.
const QUEUE: usize = 64;

/// One wish of the API.
#[derive(Debug)]
pub enum Command {
    /// Make a key.
    CreateKey(CreateKey, oneshot::Sender<Result<KeyInfo, ServiceError>>),
    /// All keys.
    ListKeys(oneshot::Sender<Result<Vec<KeyInfo>, ServiceError>>),
    /// One key, by id or name.
    ShowKey(String, oneshot::Sender<Result<KeyInfo, ServiceError>>),
    /// Sign the client's encoded request.
    Sign(Vec<u8>, oneshot::Sender<Result<Signed, ServiceError>>),
    /// How the node is.
    Status(oneshot::Sender<Status>),
    /// The audit log from this number on.
    Audit(u64, oneshot::Sender<Result<Page, ServiceError>>),
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Its name for people.
    pub name: String,
    /// T.
    pub threshold: u8,
    /// The holders; empty means all members.
    pub parties: Vec<u16>,
    /// The policy's canonical bytes.
    pub policy: Vec<u8>,
}

/// A key, as people and programs see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The random identifier, hexadecimal.
    pub key: String,
    /// The name.
    pub name: String,
    /// The signature scheme.
    pub scheme: String,
    /// `active`, or `pending` until all holders have confirmed.
    pub state: String,
    /// SEC1-compressed, hexadecimal.
    pub public_key: String,
    /// The Ethereum address, EIP-55.
    pub address: String,
    /// What derived keys follow from, besides the public key; hexadecimal.
    pub chain_code: String,
    /// Both in the notation of BIP-32, if the suite has paths.
    pub xpub: Option<String>,
    /// T: so many shares are the key.
    pub threshold: u8,
    /// 2T−1: so many parties must be online to sign.
    pub quorum: u16,
    /// The holders.
    pub parties: Vec<u16>,
    /// The generation of sharings.
    pub epoch: u32,
    /// Hexadecimal.
    pub policy_hash: String,
    /// Unix seconds.
    pub created: u64,
    /// The policy as JSON.
    pub policy: Option<serde_json::Value>,
}

/// A signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// The signed transaction, `0x…`; nothing for other payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_transaction: Option<String>,
    /// The keccak-256 of the signed transaction, or else what is signed, `0x…`
    pub hash: String,
    /// r ‖ s ‖ v, 65 bytes, v being 27 or 28, as wallets have it: `0x…`
    pub signature: String,
    /// Hexadecimal.
    pub r: String,
    /// Hexadecimal, low.
    pub s: String,
    /// 0 or 1.
    pub y_parity: u8,
    /// The quorum.
    pub signers: Vec<u16>,
    /// The session, hexadecimal.
    pub session: String,
    /// How long it took, at the coordinator.
    pub ms: u64,
    /// Whether the answer came from the record.
    pub repeated: bool,
}

/// A peer, as this node sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its identifier.
    pub party: u16,
    /// Its name in the membership file.
    pub name: String,
    /// Whether there is a live link.
    pub connected: bool,
    /// Of the last ping.
    pub round_trip_ms: Option<f64>,
    /// Why the last link or try ended.
    pub last_error: Option<String>,
    /// How many of its messages were refused, or named it as a culprit.
    pub refused: u64,
    /// The last of them.
    pub last_refusal: Option<String>,
}

/// Calls of the HSM that are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsmCalls {
    /// How many.
    pub waiting: usize,
    /// Of these, so many are beyond their deadline: nobody waits for them any more.
    pub overdue: usize,
    /// If the HSM owes answers and gives none: for how long.
    pub silent_seconds: Option<u64>,
    /// The same as a time, Unix seconds.
    pub silent_since: Option<u64>,
}

/// The newest head of the audit log that the identity key signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeadInfo {
    /// Times that the operator accepted a lost history.
    pub generation: u32,
    /// The number of the last entry then.
    pub number: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// When it was signed, Unix seconds.
    pub time: u64,
}

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its identifier.
    pub party: u16,
    /// Its name.
    pub name: String,
    /// The network's identifier.
    pub network: String,
    /// The membership file's digest: the same at all parties.
    pub membership: String,
    /// The program's version.
    pub version: String,
    /// What seals its shares.
    pub hsm: String,
    /// Its calls of the HSM.
    pub hsm_calls: HsmCalls,
    /// Where it listens for peers.
    pub address: String,
    /// Its peers.
    pub peers: Vec<PeerInfo>,
    /// How many keys it has.
    pub keys: usize,
    /// How many sessions are open.
    pub sessions: usize,
    /// How many shares wait, open, for a next session.
    pub open_shares: usize,
    /// Whether a peer has shown that this party's folder is older than it was: nothing is signed then.
    pub rolled_back: bool,
    /// How many entries its audit log has.
    pub audit_entries: u64,
    /// How far its identity key has signed it.
    pub signed_head: Option<SignedHeadInfo>,
}

/// Why a command failed, by blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum ServiceError {
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
            Self::Denied { .. } => Exit::Denied.code(),
            Self::Unauthorised { .. } => Exit::NotAuthorised.code(),
            Self::BadRequest { .. } => Exit::Usage.code(),
            Self::UnknownKey { .. } => Exit::Unknown.code(),
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
            Self::Denied { .. } => 403,
            Self::Unauthorised { .. } => 401,
            Self::BadRequest { .. } => 400,
            Self::UnknownKey { .. } => 404,
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

/// The faces' end.
#[derive(Clone)]
pub struct Handle(mpsc::Sender<Command>);

impl Handle {
    /// A handle, and the queue that the service reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ServiceError> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(command(sender)).map_err(|_| ServiceError::Busy)?;
        answer.await.map_err(|_| ServiceError::local("the node is shutting down"))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn create_key(&self, create: CreateKey) -> Result<KeyInfo, ServiceError> {
        self.ask(|reply| Command::CreateKey(create, reply)).await?
    }

    /// All keys.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>, ServiceError> {
        self.ask(Command::ListKeys).await?
    }

    /// One key, by id or name.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn show_key(&self, name: String) -> Result<KeyInfo, ServiceError> {
        self.ask(|reply| Command::ShowKey(name, reply)).await?
    }

    /// Signs the client's encoded request.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn sign(&self, request: Vec<u8>) -> Result<Signed, ServiceError> {
        self.ask(|reply| Command::Sign(request, reply)).await?
    }

    /// How the node is.
    ///
    /// # Errors
    /// [`ServiceError::Busy`], or the node is shutting down.
    pub async fn status(&self) -> Result<Status, ServiceError> {
        self.ask(Command::Status).await
    }

    /// The audit log, from number `from` on.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn audit(&self, from: u64) -> Result<Page, ServiceError> {
        self.ask(|reply| Command::Audit(from, reply)).await?
    }
}
