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
    pub reason: Reason<'a>,
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
    /// The recipient of a transaction that creates a contract.
    Recipient,
    /// The account of the key that would sign, which is not known here.
    Account,
}

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A chain.
    Chain(u64),
    /// A document on the web.
    Url(&'a str),
}

/// Why a fact decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// This party has no answer.
    Missing,
    /// What the contract returned is not what the function returns.
    Returned(abi::AbiError),
    /// The value is not of the type that the condition asks about.
    Type,
    /// Nobody says how old it is.
    Undated,
    /// It is too old.
    Old {
        /// When it was true, Unix seconds.
        time: u64,
        /// The party's clock.
        now: u64,
    },
    /// It is from the future.
    Future {
        /// When it is to be true, Unix seconds.
        time: u64,
        /// The party's clock.
        now: u64,
    },
}

/// Why a request, or a condition, fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<'a> {
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
    /// What a contract returned.
    Call(Address),
    /// A balance on a chain.
    Balance(u64, Bound),
    /// The number of a block of this chain.
    BlockNumber(u64),
    /// A block of this chain is too old.
    BlockAge {
        /// The chain.
        chain: u64,
        /// So old it may be, seconds.
        max: u32,
    },
    /// The value that this document has.
    Json(&'a str),
    /// Too few signatures of accounts.
    Signatures {
        /// So many count.
        have: u8,
        /// So many are needed.
        need: u8,
    },
    /// A fact, without which nobody can say.
    Fact(Source<'a>, Gap),
    /// Nobody has confirmed it at the device yet.
    Unconfirmed,
    /// The person at the device has refused it.
    Refused,
    /// What must not hold does.
    Excluded,
    /// The rule asks about what the payload is not.
    NotThere(Asked),
    /// A limit counts what the payload does not have.
    Measure,
}

/// One list of the codes: a variant of [`Code`], the reasons it stands for, and the text.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $reason:pat, $text:literal;)*) => {
        /// What kind a reason is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "they are those of the reasons")]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            /// A stable name for programs.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl Reason<'_> {
            /// What kind it is.
            #[must_use]
            pub fn kind(&self) -> Code {
                match self {
                    $($reason => Code::$name,)*
                }
            }

            /// A stable name for programs.
            #[must_use]
            pub fn code(&self) -> &'static str {
                self.kind().text()
            }
        }
    };
}

codes! {
    Expired, Reason::Expired { .. }, "expired";
    ExpiryTooFar, Reason::ExpiryTooFar { .. }, "expiry-too-far";
    Payload, Reason::Payload(_), "payload";
    Kind, Reason::Kind(_), "kind";
    Client, Reason::Client(_), "client";
    Approvals, Reason::Approvals { .. }, "approvals";
    Time, Reason::Time { .. }, "time";
    Waiting, Reason::Waiting { .. }, "waiting";
    Vetoed, Reason::Vetoed(_), "vetoed";
    ExpiresFirst, Reason::ExpiresFirst { .. }, "expires-first";
    Chain, Reason::Chain(_), "chain";
    Recipient, Reason::Recipient(_), "recipient";
    Value, Reason::Value(..), "value";
    Fee, Reason::Fee(..), "fee";
    Function, Reason::Function(_), "function";
    Data, Reason::Data, "data";
    Argument, Reason::Argument | Reason::CallData(_), "argument";
    Delegate, Reason::Delegate(_), "delegate";
    Domain, Reason::Domain, "domain";
    Type, Reason::Type, "type";
    Field, Reason::Field, "field";
    Message, Reason::Message, "message";
    Call, Reason::Call(_), "call";
    Balance, Reason::Balance(..), "balance";
    Block, Reason::BlockNumber(_), "block";
    BlockAge, Reason::BlockAge { .. }, "block-age";
    Http, Reason::Json(_), "http";
    Signatures, Reason::Signatures { .. }, "signatures";
    Fact, Reason::Fact(..), "fact";
    Unconfirmed, Reason::Unconfirmed, "unconfirmed";
    Refused, Reason::Refused, "refused";
    Excluded, Reason::Excluded, "excluded";
    NotThere, Reason::NotThere(_), "not-there";
    Measure, Reason::Measure, "measure";
}

impl Denial<'_> {
    /// The reason's stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(chain) => write!(f, "chain {chain}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = match self {
            Self::Missing => return f.write_str("this party has no answer"),
            Self::Type => return f.write_str("the value is not of the type that is asked about"),
            Self::Undated => return f.write_str("nobody says how old it is"),
            Self::Old { time, now } => {
                return write!(f, "it is of {time}, it is {now}: too old");
            }
            Self::Future { time, now } => {
                return write!(f, "it is of {time}, it is {now}: from the future");
            }
            Self::Returned(error) => error,
        };
        f.write_str("what the contract returned ")?;
        f.write_str(match returned {
            abi::AbiError::Types(error) => return error.fmt(f),
            abi::AbiError::Truncated => "ends too early (is there a contract?)",
            abi::AbiError::Offset => "is not in the strict order of the ABI",
            abi::AbiError::Padding => "has a value outside its type, or padding that is not zero",
            abi::AbiError::Text => "has a string that is not UTF-8",
            abi::AbiError::Trailing => "goes on behind the last value",
            abi::AbiError::NoSuchArgument => "has no value in that place",
        })
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

impl fmt::Display for Reason<'_> {
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
            Self::Call(contract) => {
                write!(f, "what the contract {contract} says is not allowed")
            }
            Self::Balance(chain, Bound { comparison, value }) => {
                let wrong = match comparison {
                    Comparison::AtMost => "more than",
                    Comparison::AtLeast => "less than",
                    Comparison::Equals => "not",
                };
                write!(f, "a balance on chain {chain} is {wrong} {value} wei")
            }
            Self::BlockNumber(chain) => {
                write!(f, "the number of the block of chain {chain} is not allowed")
            }
            Self::BlockAge { chain, max } => {
                write!(f, "the block of chain {chain} is more than {max} seconds old")
            }
            Self::Json(url) => write!(f, "what {url} says is not allowed"),
            Self::Signatures { have, need } => {
                write!(f, "{have} of the {need} signatures of accounts that are needed")
            }
            Self::Fact(source, gap) => write!(f, "a fact from {source} decides nothing: {gap}"),
            Self::Unconfirmed => f.write_str("nobody has confirmed it at the device yet"),
            Self::Refused => f.write_str("it was refused at the device"),
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
            Self::NotThere(Asked::Recipient) => {
                f.write_str("the policy asks about a recipient, and the transaction has none")
            }
            Self::NotThere(Asked::Account) => {
                f.write_str("the policy asks about the key's own account, which is not known here")
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
