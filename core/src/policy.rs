//! What a key may sign. Each party judges each request by itself, with its own clock and counters.

pub mod amount;
pub mod ethereum;
mod rlp;

use core::fmt;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::request::{ClientKey, Payload, SignedRequest};
use crate::wire::{self, DecodeError, NoRoom};

pub use amount::Amount;
use ethereum::{Address, Transaction, TransactionError};

/// Clients that a policy may name.
pub const MAX_CLIENTS: usize = 16;
/// Chains that a policy may name.
pub const MAX_CHAINS: usize = 8;
/// Recipients that a policy may name.
pub const MAX_RECIPIENTS: usize = 32;
/// No encoded policy is longer.
pub const MAX_POLICY: usize = 2048;
/// A request may expire at most so many seconds from now: its record must outlive it.
pub const MAX_EXPIRY: u64 = 24 * 60 * 60;

/// Whether a transaction may carry data, that is, call contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataRule {
    /// Plain transfers only.
    Forbidden,
    /// Any data to the named recipients.
    Allowed,
}

/// A limit on what is spent in a rolling window of time, by each party's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    seconds: u32,
    max_total: Amount,
}

impl Window {
    /// A window of 1 second to 30 days.
    #[must_use]
    pub fn new(seconds: u32, max_total: Amount) -> Option<Self> {
        (1..=30 * 24 * 60 * 60).contains(&seconds).then_some(Self { seconds, max_total })
    }

    /// The window's length.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// The most that may be spent in it, fees included.
    #[must_use]
    pub fn max_total(&self) -> Amount {
        self.max_total
    }
}

/// The binary form; a new form gets a new variant, and old bytes stay valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    V1(Rules),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rules {
    clients: Vec<ClientKey, MAX_CLIENTS>,
    chains: Vec<u64, MAX_CHAINS>,
    recipients: Vec<Address, MAX_RECIPIENTS>,
    max_value: Amount,
    max_fee: Amount,
    data: DataRule,
    window: Option<Window>,
}

/// A key's policy: valid by construction, lists sorted and free of duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy(Rules);

/// What a policy is made of.
#[derive(Clone, Copy, Debug)]
pub struct PolicyParts<'a> {
    /// Who may ask.
    pub clients: &'a [ClientKey],
    /// On which chains.
    pub chains: &'a [u64],
    /// To whom.
    pub recipients: &'a [Address],
    /// At most so many wei a transaction.
    pub max_value: Amount,
    /// At most so many wei of fee a transaction.
    pub max_fee: Amount,
    /// Whether data may be sent.
    pub data: DataRule,
    /// A limit over time.
    pub window: Option<Window>,
}

/// Why a policy cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The bytes do not decode.
    Decode(DecodeError),
    /// This list is empty, so that nothing could ever be signed.
    Empty(&'static str),
    /// This list has more entries than a policy has room for.
    TooMany(&'static str),
    /// This list names an entry twice, or is not sorted in the binary form.
    NotSorted(&'static str),
    /// The window's length is out of range.
    Window,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "the policy does not decode: {error}"),
            Self::Empty(list) => write!(f, "{list}: at least one entry is needed"),
            Self::TooMany(list) => write!(f, "{list}: too many entries"),
            Self::NotSorted(list) => write!(f, "{list}: an entry is there twice, or out of order"),
            Self::Window => f.write_str("window: seconds must be 1 to 2592000 (30 days)"),
        }
    }
}

impl core::error::Error for PolicyError {}

/// What the party knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its clock, Unix seconds.
    pub now: u64,
}

/// An allowed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is signed, computed by this party.
    pub digest: Digest,
    /// What counts against the window: value and the most that the fee can be.
    pub spend: Amount,
    /// The window to count in.
    pub window: Option<Window>,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It expired.
    Expired {
        /// When.
        expires: u64,
        /// The party's clock.
        now: u64,
    },
    /// It expires too late.
    ExpiryTooFar,
    /// This client may not ask.
    Client(ClientKey),
    /// The payload is not understood.
    Payload(TransactionError),
    /// Another chain.
    Chain(u64),
    /// Another recipient, or none: a contract creation.
    Recipient(Option<Address>),
    /// Too much.
    Value {
        /// Asked.
        value: Amount,
        /// Allowed.
        limit: Amount,
    },
    /// Too high a fee.
    Fee {
        /// Asked, at most.
        fee: Amount,
        /// Allowed.
        limit: Amount,
    },
    /// Data is forbidden.
    Data,
}

impl Denial {
    /// The rule's stable name.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::ExpiryTooFar => "expiry-too-far",
            Self::Client(_) => "client",
            Self::Payload(_) => "payload",
            Self::Chain(_) => "chain",
            Self::Recipient(_) => "recipient",
            Self::Value { .. } => "value",
            Self::Fee { .. } => "fee",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { expires, now } => {
                write!(f, "the request expired at {expires}, it is {now}")
            }
            Self::ExpiryTooFar => {
                write!(f, "a request may expire at most {MAX_EXPIRY} seconds from now")
            }
            Self::Client(client) => write!(f, "client {client} may not ask for this key"),
            Self::Payload(error) => error.fmt(f),
            Self::Chain(chain) => write!(f, "chain {chain} is not allowed"),
            Self::Recipient(Some(to)) => write!(f, "recipient {to} is not allowed"),
            Self::Recipient(None) => f.write_str("creating a contract is not allowed"),
            Self::Value { value, limit } => {
                write!(f, "{value} wei is more than the limit of {limit} wei")
            }
            Self::Fee { fee, limit } => {
                write!(f, "a fee of up to {fee} wei is more than the limit of {limit} wei")
            }
            Self::Data => f.write_str("the transaction carries data, which is forbidden"),
        }
    }
}

impl core::error::Error for Denial {}

fn sorted<T: Ord + Copy, const L: usize>(
    name: &'static str,
    entries: &[T],
) -> Result<Vec<T, L>, PolicyError> {
    let mut list = Vec::from_slice(entries).map_err(|_| PolicyError::TooMany(name))?;
    list.sort_unstable();
    check_list(name, &list)?;
    Ok(list)
}

fn check_list<T: Ord>(name: &'static str, list: &[T]) -> Result<(), PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::Empty(name));
    }
    if !list.is_sorted_by(|a, b| a < b) {
        return Err(PolicyError::NotSorted(name));
    }
    Ok(())
}

impl Policy {
    /// A policy of these parts, in any order.
    ///
    /// # Errors
    /// [`PolicyError`] names the list.
    pub fn new(parts: PolicyParts<'_>) -> Result<Self, PolicyError> {
        Ok(Self(Rules {
            clients: sorted("clients", parts.clients)?,
            chains: sorted("chains", parts.chains)?,
            recipients: sorted("recipients", parts.recipients)?,
            max_value: parts.max_value,
            max_fee: parts.max_fee,
            data: parts.data,
            window: parts.window,
        }))
    }

    /// Reads the canonical binary form.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError::Decode(DecodeError::TooLong));
        }
        let Form::V1(rules) = wire::decode(bytes).map_err(PolicyError::Decode)?;
        check_list("clients", &rules.clients)?;
        check_list("chains", &rules.chains)?;
        check_list("recipients", &rules.recipients)?;
        if rules.window.is_some_and(|w| Window::new(w.seconds, w.max_total).is_none()) {
            return Err(PolicyError::Window);
        }
        Ok(Self(rules))
    }

    /// The canonical binary form.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_POLICY`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        wire::encode(&Form::V1(self.0.clone()), buffer).map(|bytes| &*bytes)
    }

    /// H("policy", canonical bytes): what a key's terms bind.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut buffer = [0; MAX_POLICY];
        // MAX_POLICY bounds every policy, so the empty field never occurs.
        Transcript::new("policy").bytes(self.encode(&mut buffer).unwrap_or_default()).finish()
    }

    /// Judges a request, purely. The window's sum is the caller's to check, in the transaction that
    /// counts the spend.
    ///
    /// # Errors
    /// [`Denial`] with the rule and the values.
    pub fn judge(&self, request: &SignedRequest<'_>, facts: &Facts) -> Result<Verdict, Denial> {
        let rules = &self.0;
        let (expires, now) = (request.expires(), facts.now);
        if expires <= now {
            return Err(Denial::Expired { expires, now });
        }
        if expires - now > MAX_EXPIRY {
            return Err(Denial::ExpiryTooFar);
        }
        if !rules.clients.contains(request.client()) {
            return Err(Denial::Client(*request.client()));
        }
        let Payload::EthereumTransaction(bytes) = request.payload();
        let transaction = Transaction::parse(bytes).map_err(Denial::Payload)?;
        if !rules.chains.contains(&transaction.chain_id) {
            return Err(Denial::Chain(transaction.chain_id));
        }
        if !transaction.to.is_some_and(|to| rules.recipients.contains(&to)) {
            return Err(Denial::Recipient(transaction.to));
        }
        let (value, fee) = (transaction.value, transaction.max_fee);
        if value > rules.max_value {
            return Err(Denial::Value { value, limit: rules.max_value });
        }
        if fee > rules.max_fee {
            return Err(Denial::Fee { fee, limit: rules.max_fee });
        }
        if rules.data == DataRule::Forbidden && !transaction.data.is_empty() {
            return Err(Denial::Data);
        }
        let spend = value.checked_add(fee).ok_or(Denial::Payload(TransactionError::Fee))?;
        Ok(Verdict { digest: ethereum::keccak256(bytes), spend, window: rules.window })
    }

    /// Who may ask.
    #[must_use]
    pub fn clients(&self) -> &[ClientKey] {
        &self.0.clients
    }

    /// On which chains.
    #[must_use]
    pub fn chains(&self) -> &[u64] {
        &self.0.chains
    }

    /// To whom.
    #[must_use]
    pub fn recipients(&self) -> &[Address] {
        &self.0.recipients
    }

    /// At most so many wei a transaction.
    #[must_use]
    pub fn max_value(&self) -> Amount {
        self.0.max_value
    }

    /// At most so many wei of fee a transaction.
    #[must_use]
    pub fn max_fee(&self) -> Amount {
        self.0.max_fee
    }

    /// Whether data may be sent.
    #[must_use]
    pub fn data(&self) -> DataRule {
        self.0.data
    }

    /// The limit over time.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.0.window
    }
}
