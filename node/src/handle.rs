//! The seam between the faces (API, command line) and the service: commands with a place to answer.

mod error;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::audit::Page;

pub use error::ServiceError;

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
    /// Take a signed change of a policy.
    SetPolicy(Vec<u8>, oneshot::Sender<Result<PolicyInfo, ServiceError>>),
    /// A policy's history, by the key's id or name.
    ShowPolicy(String, oneshot::Sender<Result<PolicyInfo, ServiceError>>),
    /// Sign the client's encoded request.
    Sign(Vec<u8>, oneshot::Sender<Result<Signed, ServiceError>>),
    /// An encoded veto of a request.
    Veto(Vec<u8>, oneshot::Sender<Result<Vetoed, ServiceError>>),
    /// Requests that wait for their delays, after that hash.
    Waiting(Option<[u8; 32]>, oneshot::Sender<Result<WaitingPage, ServiceError>>),
    /// One of them, by its hash.
    WaitingRequest([u8; 32], oneshot::Sender<Result<WaitingRequest, ServiceError>>),
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
    /// What its controllers signed for that; empty if it has none.
    pub approval: Vec<u8>,
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
    /// 1 is what the key was made with.
    pub policy_version: u32,
    /// Whether its controllers have frozen it: nothing is signed then.
    pub frozen: bool,
    /// The version of the policy that comes next, if one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_policy: Option<NextPolicy>,
    /// Why this party neither signs with it nor takes changes of its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_problem: Option<String>,
    /// Unix seconds.
    pub created: u64,
    /// The policy as JSON.
    pub policy: Option<serde_json::Value>,
}

/// A version of a policy that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextPolicy {
    /// Its number.
    pub version: u32,
    /// When it takes effect at this party, Unix seconds.
    pub due: u64,
    /// Why it is due and not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One change of a policy, as this party has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeInfo {
    /// The version, or of a freeze and its end the hold, that it makes.
    pub number: u32,
    /// `create`, `replace`, `freeze` or `unfreeze`.
    pub action: String,
    /// The change's hash, hexadecimal.
    pub change: String,
    /// The hash of the policy that it brings, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// Who has signed it.
    pub signers: Vec<String>,
    /// When this party first saw it, Unix seconds.
    pub seen: u64,
    /// When it takes effect here, Unix seconds.
    pub due: u64,
    /// When it took effect; nothing if it waits, or was withdrawn.
    pub in_force: Option<u64>,
}

/// How a policy stands at a party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyPolicy {
    /// The party.
    pub party: u16,
    /// Whether it is linked, and has said so.
    pub connected: bool,
    /// The version in force there, if it has said so.
    pub version: Option<u32>,
    /// The newest version that it has seen.
    pub announced: Option<u32>,
    /// Freezes and ends of freezes in force there: an odd number is a freeze.
    pub holds: Option<u32>,
    /// The newest of them that it has seen.
    pub held: Option<u32>,
}

/// A key's policy: how it stands, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// The key's id, hexadecimal.
    pub key: String,
    /// Its name.
    pub name: String,
    /// The version in force.
    pub version: u32,
    /// Its hash, hexadecimal.
    pub policy_hash: String,
    /// Whether nothing is signed.
    pub frozen: bool,
    /// Freezes and ends of freezes in force.
    pub holds: u32,
    /// The version that waits.
    pub next_policy: Option<NextPolicy>,
    /// The hash of the policy that waits, hexadecimal.
    pub next_hash: Option<String>,
    /// Why this party neither signs with the key nor takes changes.
    pub problem: Option<String>,
    /// Who may change it, as in a policy file; nothing if nobody may.
    pub controllers: Option<serde_json::Value>,
    /// All changes, in the order in which this party has seen them.
    pub history: Vec<ChangeInfo>,
    /// What the holders say.
    pub parties: Vec<PartyPolicy>,
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

/// That a request waits for the delays of the key's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename = "waiting")]
pub struct Waiting {
    /// When the delays of a quorum are over, by its members' own words and clocks, Unix seconds. If fewer
    /// know of the request: when theirs are.
    pub until: u64,
    /// The parties that have it on record.
    pub known_to: Vec<u16>,
    /// Why others have not.
    pub reasons: Vec<(u16, String)>,
}

/// A request that waits, as one party has it on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRequest {
    /// Its hash, hexadecimal.
    pub request: String,
    /// The key, hexadecimal.
    pub key: String,
    /// The key's name.
    pub name: String,
    /// Who asks: `ed25519:…`
    pub client: String,
    /// Since when this party has it on record, Unix seconds.
    pub since: u64,
    /// When it expires, Unix seconds.
    pub expires: u64,
    /// `waiting`, `ready` if nothing holds it back any more, or `denied`.
    pub state: String,
    /// When this party's delays are over, Unix seconds, while it waits.
    pub until: Option<u64>,
    /// Why it is denied.
    pub reason: Option<String>,
    /// Who has vetoed it.
    pub vetoed_by: Vec<String>,
    /// The client's bytes, hexadecimal; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// Some of the requests that wait, by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingPage {
    /// In ascending order.
    pub requests: Vec<WaitingRequest>,
    /// Whether there are more after the last of these.
    pub more: bool,
}

/// A veto that a party has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename = "vetoed")]
pub struct Vetoed {
    /// The request's hash, hexadecimal.
    pub request: String,
    /// The key, hexadecimal.
    pub key: String,
    /// Who vetoes: `ed25519:…`
    pub vetoer: String,
    /// Whether this party had the veto before.
    pub repeated: bool,
    /// Whether it has the request on record.
    pub waiting: bool,
    /// Whether it has sent its part of the signature before: a signature may exist, or come to be.
    pub released: bool,
    /// The parties to which it has passed the veto on; others hear of it when their links are up.
    pub told: Vec<u16>,
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
    /// Whether it was put back to an earlier state: nothing is signed with it until its operator re-admits it.
    #[serde(default)]
    pub rolled_back: bool,
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
    /// Who has countersigned that head.
    pub countersigned_by: Vec<u16>,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (until, known_to) = (crate::clock::utc(self.until), &self.known_to);
        write!(f, "the request waits until {until}: send it again then")?;
        write!(f, ". Parties {known_to:?} have it on record")?;
        self.reasons.iter().try_for_each(|(party, why)| write!(f, "; party {party}: {why}"))
    }
}

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

    /// Takes a signed change of a policy.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn set_policy(&self, change: Vec<u8>) -> Result<PolicyInfo, ServiceError> {
        self.ask(|reply| Command::SetPolicy(change, reply)).await?
    }

    /// A policy's history, by the key's id or name.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn show_policy(&self, name: String) -> Result<PolicyInfo, ServiceError> {
        self.ask(|reply| Command::ShowPolicy(name, reply)).await?
    }

    /// Signs the client's encoded request.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn sign(&self, request: Vec<u8>) -> Result<Signed, ServiceError> {
        self.ask(|reply| Command::Sign(request, reply)).await?
    }

    /// Takes an encoded veto.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn veto(&self, veto: Vec<u8>) -> Result<Vetoed, ServiceError> {
        self.ask(|reply| Command::Veto(veto, reply)).await?
    }

    /// Requests that wait for their delays, after that hash.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn waiting(&self, after: Option<[u8; 32]>) -> Result<WaitingPage, ServiceError> {
        self.ask(|reply| Command::Waiting(after, reply)).await?
    }

    /// One of them, by its hash.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn waiting_request(&self, hash: [u8; 32]) -> Result<WaitingRequest, ServiceError> {
        self.ask(|reply| Command::WaitingRequest(hash, reply)).await?
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
