//! Facts: what a party finds out by itself about the world, while it judges a request.
//!
//! The core fetches nothing. A condition about a chain or a web page becomes a [`Question`]; whoever drives
//! the core has the [`Answer`], or has none, and then nobody can say whether the condition holds.

use super::amount::Amount;
use super::ethereum::Address;
use crate::request::ClientKey;

/// A place in a chain's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The chain (EIP-155).
    pub chain: u64,
    /// The state is that after the newest block with so many blocks on top of it: 0 is the newest block.
    pub confirmations: u16,
}

/// What a condition asks, with everything that the answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question<'q> {
    /// What a contract answers to a call that changes nothing (`eth_call`).
    Call {
        /// Where and when.
        at: At,
        /// The contract.
        contract: Address,
        /// Selector and arguments.
        data: &'q [u8],
    },
    /// An account's balance in wei.
    Balance {
        /// Where and when.
        at: At,
        /// The account.
        account: Address,
    },
    /// The block itself.
    Block {
        /// Where and when.
        at: At,
    },
    /// A value in a JSON document on the web.
    Json {
        /// The document (https).
        url: &'q str,
        /// Where in it: a JSON Pointer (RFC 6901).
        pointer: &'q str,
        /// Where in it the document says how old it is; without, the server's `Date` and `Age` say it.
        time: Option<&'q str>,
    },
}

/// A value in a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonValue<'f> {
    /// A truth.
    Flag(bool),
    /// A number as it is written; numbers with exponents are written out by who fetches.
    Number(&'f str),
    /// A text.
    Text(&'f str),
}

/// What is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'f> {
    /// The data that the contract returned.
    Call(&'f [u8]),
    /// Wei.
    Balance(Amount),
    /// The block.
    Block {
        /// Its number.
        number: u64,
        /// Unix seconds.
        time: u64,
    },
    /// The value.
    Json {
        /// The value itself.
        value: JsonValue<'f>,
        /// When the document was true, Unix seconds; none if nobody says.
        time: Option<u64>,
    },
}

/// Who has answers. Whether one is missing because nobody asked yet, or because it cannot be had, makes no
/// difference to the judgement: it is unknown.
pub trait Answers {
    /// The answer, if there is one.
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>>;
}

/// Knows nothing: what a party without a network has.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswers;

impl Answers for NoAnswers {
    fn answer(&self, _: &Question<'_>) -> Option<Answer<'_>> {
        None
    }
}

/// What the person at a device has said of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing yet.
    NotAsked,
    /// Yes.
    Confirmed,
    /// No.
    Refused,
}

/// Where a request is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// At a node: it may have a network, and has no button.
    Node,
    /// On a device: it has a button, and no network.
    Device(Confirmation),
}

/// What the party knows by itself.
#[derive(Clone, Copy)]
pub struct Facts<'f> {
    /// Its clock, Unix seconds.
    pub now: u64,
    /// Since when it has known of the request, Unix seconds, if it has that on record.
    pub known_since: Option<u64>,
    /// Whose vetoes against the request it has on record.
    pub vetoes: &'f [ClientKey],
    /// The Ethereum account of the key that would sign.
    pub account: Option<Address>,
    /// The world.
    pub answers: &'f dyn Answers,
    /// Where it judges.
    pub here: Here,
}

impl Facts<'_> {
    /// A node's clock, and nothing else.
    #[must_use]
    pub fn at(now: u64) -> Self {
        let here = Here::Node;
        Self { now, known_since: None, vetoes: &[], account: None, answers: &NoAnswers, here }
    }

    /// A device's clock, and what the person there has said.
    #[must_use]
    pub fn on_device(now: u64, confirmation: Confirmation) -> Self {
        Self { here: Here::Device(confirmation), ..Self::at(now) }
    }
}

impl core::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Facts")
            .field("now", &self.now)
            .field("known_since", &self.known_since)
            .field("vetoes", &self.vetoes)
            .field("account", &self.account)
            .field("here", &self.here)
            .finish_non_exhaustive()
    }
}
