//! Why a request is denied.

use core::fmt;

use super::amount::Amount;
use super::ethereum::{Address, abi};
use super::matcher::{Bound, Comparison};
use super::payload::PayloadError;
use super::rule::Kinds;
use crate::request::ClientKey;

/// A denial: the rule that came nearest to allowing the request, and why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// The rule's name; none if no rule was asked.
    pub rule: Option<&'a str>,
    /// Why.
    pub reason: Reason,
}

/// What a condition asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A transaction.
    Transaction,
    /// A message.
    Message,
    /// Typed data.
    TypedData,
    /// A field that the typed data does not have.
    Field,
}

/// Why a request, or a condition, fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The request expired.
    Expired {
        /// When.
        expires: u64,
        /// The party's clock.
        now: u64,
    },
    /// It expires too late.
    ExpiryTooFar {
        /// So many seconds from now it may.
        limit: u64,
    },
    /// The payload cannot be read.
    Payload(PayloadError),
    /// No rule is for such payloads.
    Kind(Kinds),
    /// This client may not ask.
    Client(ClientKey),
    /// Too few approvals.
    Approvals {
        /// So many count.
        have: u8,
        /// So many are needed.
        need: u8,
    },
    /// Not at this time.
    Time {
        /// The party's clock.
        now: u64,
    },
    /// A delay is not over.
    Waiting {
        /// When it is, by the party's clock, Unix seconds; for a request that is not on record, if it were
        /// from now on.
        until: u64,
    },
    /// Somebody who may has vetoed it.
    Vetoed(ClientKey),
    /// Its delays end only when it has expired.
    ExpiresFirst {
        /// When it expires, Unix seconds.
        expires: u64,
        /// When its delays are over, Unix seconds.
        until: u64,
    },
    /// Another chain.
    Chain(u64),
    /// Another recipient, or none: a contract creation.
    Recipient(Option<Address>),
    /// The value is out of bounds.
    Value(Amount, Bound),
    /// The fee, at most, is out of bounds.
    Fee(Amount, Bound),
    /// Another function, or no call.
    Function(Option<[u8; 4]>),
    /// Data is forbidden.
    Data,
    /// An argument of the call.
    Argument,
    /// The call's data is not what the function takes.
    CallData(abi::AbiError),
    /// An authorization for another contract.
    Delegate(Address),
    /// A field of the domain.
    Domain,
    /// Another primary type.
    Type,
    /// A field of the message.
    Field,
    /// Another message.
    Message,
    /// What must not hold does.
    Excluded,
    /// The rule asks about what the payload is not.
    NotThere(Asked),
    /// A limit counts what the payload does not have.
    Measure,
}

impl Denial<'_> {
    /// The reason's stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl Reason {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::ExpiryTooFar { .. } => "expiry-too-far",
            Self::Payload(_) => "payload",
            Self::Kind(_) => "kind",
            Self::Client(_) => "client",
            Self::Approvals { .. } => "approvals",
            Self::Time { .. } => "time",
            Self::Waiting { .. } => "waiting",
            Self::Vetoed(_) => "vetoed",
            Self::ExpiresFirst { .. } => "expires-first",
            Self::Chain(_) => "chain",
            Self::Recipient(_) => "recipient",
            Self::Value(..) => "value",
            Self::Fee(..) => "fee",
            Self::Function(_) => "function",
            Self::Data => "data",
            Self::Argument | Self::CallData(_) => "argument",
            Self::Delegate(_) => "delegate",
            Self::Domain => "domain",
            Self::Type => "type",
            Self::Field => "field",
            Self::Message => "message",
            Self::Excluded => "excluded",
            Self::NotThere(_) => "not-there",
            Self::Measure => "measure",
        }
    }
}

fn out_of_bounds(f: &mut fmt::Formatter<'_>, amount: Amount, bound: Bound) -> fmt::Result {
    let limit = bound.value;
    match bound.comparison {
        Comparison::AtMost => write!(f, "{amount} wei is more than the limit of {limit} wei"),
        Comparison::AtLeast => write!(f, "{amount} wei is less than the least of {limit} wei"),
        Comparison::Equals => write!(f, "{amount} wei is not {limit} wei"),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { expires, now } => {
                write!(f, "the request expired at {expires}, it is {now}")
            }
            Self::ExpiryTooFar { limit } => {
                write!(f, "a request may expire at most {limit} seconds from now")
            }
            Self::Payload(error) => error.fmt(f),
            Self::Kind(kind) => write!(f, "no rule of the policy is for {}", kind.name()),
            Self::Client(client) => write!(f, "client {client} may not ask for this key"),
            Self::Approvals { have, need } => {
                write!(f, "{have} of the {need} approvals that are needed")
            }
            Self::Time { now } => {
                write!(f, "it is {now} (Unix seconds), which is not a time for it")
            }
            Self::Waiting { until } => {
                write!(f, "it has to wait until {until} (Unix seconds)")
            }
            Self::Vetoed(vetoer) => write!(f, "{vetoer} has vetoed it"),
            Self::ExpiresFirst { expires, until } => write!(
                f,
                "it expires at {expires}, and has to wait until {until} (Unix seconds): ask with a later expiry"
            ),
            Self::Chain(chain) => write!(f, "chain {chain} is not allowed"),
            Self::Recipient(Some(to)) => write!(f, "recipient {to} is not allowed"),
            Self::Recipient(None) => f.write_str("creating a contract is not allowed"),
            Self::Value(value, bound) => out_of_bounds(f, *value, *bound),
            Self::Fee(fee, bound) => {
                f.write_str("the fee: up to ")?;
                out_of_bounds(f, *fee, *bound)
            }
            Self::Function(None) => f.write_str("the transaction calls no function"),
            Self::Function(Some([a, b, c, d])) => {
                write!(f, "function 0x{a:02x}{b:02x}{c:02x}{d:02x} is not allowed")
            }
            Self::Data => f.write_str("the transaction carries data, which is forbidden"),
            Self::Argument => f.write_str("an argument of the call is not allowed"),
            Self::CallData(error) => write!(f, "the call's data: {error}"),
            Self::Delegate(contract) => {
                write!(f, "an authorization for the contract {contract} is not allowed")
            }
            Self::Domain => f.write_str("a field of the domain is not allowed"),
            Self::Type => f.write_str("typed data of this type is not allowed"),
            Self::Field => f.write_str("a field of the typed data is not allowed"),
            Self::Message => f.write_str("this message is not allowed"),
            Self::Excluded => f.write_str("the policy excludes it"),
            Self::NotThere(Asked::Transaction) => {
                f.write_str("the policy asks about a transaction, and this is none")
            }
            Self::NotThere(Asked::Message) => {
                f.write_str("the policy asks about a message, and this is none")
            }
            Self::NotThere(Asked::TypedData) => {
                f.write_str("the policy asks about typed data, and this is none")
            }
            Self::NotThere(Asked::Field) => {
                f.write_str("the policy asks about a field that the typed data does not have")
            }
            Self::Measure => f.write_str("a limit counts what this payload does not have"),
        }
    }
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.rule {
            Some(rule) => write!(f, " (rule {rule})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Denial<'_> {}
