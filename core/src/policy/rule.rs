//! Rules: a name, the kinds of payload that it is for, limits over time, and a condition.

use super::amount::Amount;
use super::condition::{Condition, IndexPath, parameters};
use super::ethereum::abi::{self, Types};
use super::ethereum::{Address, TransactionKind};
use super::form::{FormError, List, Reader};
use super::matcher::Kind;
use super::payload::{Subject, Value};
use crate::hash::Transcript;
use crate::party::{PartyId, PartySet};

/// A policy has so many rules.
pub const MAX_RULES: usize = 16;
/// A rule has so many limits.
pub const MAX_LIMITS: usize = 4;
/// A name has so many bytes.
pub const MAX_NAME: usize = 32;
/// No limit looks back further, in seconds: 30 days.
pub const MAX_WINDOW: u32 = 30 * 24 * 60 * 60;

/// Kinds of payload, as a set. The bits are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// A transaction with a gas price, for one chain (EIP-155).
    pub const LEGACY: Self = Self(1);
    /// EIP-2930.
    pub const ACCESS_LIST: Self = Self(1 << 1);
    /// EIP-1559.
    pub const DYNAMIC_FEE: Self = Self(1 << 2);
    /// EIP-4844.
    pub const BLOB: Self = Self(1 << 3);
    /// EIP-7702: it lets contracts act for accounts that have signed authorizations.
    pub const SET_CODE: Self = Self(1 << 4);
    /// A transaction that this build cannot read, unseen.
    pub const OPAQUE_TRANSACTION: Self = Self(1 << 5);
    /// EIP-191 messages of wallets ("personal").
    pub const MESSAGE: Self = Self(1 << 8);
    /// EIP-712.
    pub const TYPED_DATA: Self = Self(1 << 9);
    /// A digest of nobody knows what.
    pub const DIGEST: Self = Self(1 << 15);
    /// Nothing that any rule could be for.
    pub(super) const NONE: Self = Self(0);
    /// Transactions that only move value or call contracts.
    pub const PLAIN: Self = Self(1 | 1 << 1 | 1 << 2);

    /// Each of them, alone.
    pub const EACH: [Self; 9] = [
        Self::LEGACY,
        Self::ACCESS_LIST,
        Self::DYNAMIC_FEE,
        Self::BLOB,
        Self::SET_CODE,
        Self::OPAQUE_TRANSACTION,
        Self::MESSAGE,
        Self::TYPED_DATA,
        Self::DIGEST,
    ];

    const ALL: u16 = 0x1f | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 15;

    /// What a payload is that could be read.
    #[inline(never)]
    pub(super) fn of(subject: &Subject<'_>) -> Self {
        match subject {
            Subject::Transaction(transaction) => match transaction.kind {
                TransactionKind::Legacy => Self::LEGACY,
                TransactionKind::AccessList => Self::ACCESS_LIST,
                TransactionKind::DynamicFee => Self::DYNAMIC_FEE,
                TransactionKind::Blob => Self::BLOB,
                TransactionKind::SetCode => Self::SET_CODE,
            },
            Subject::Message(_) => Self::MESSAGE,
            Subject::TypedData(_) => Self::TYPED_DATA,
            Subject::Digest(_) => Self::DIGEST,
        }
    }

    /// From the frozen bits.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        (bits != 0 && bits & !Self::ALL == 0).then_some(Self(bits))
    }

    /// The frozen bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of it one payload is, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LEGACY => "legacy transactions",
            Self::ACCESS_LIST => "transactions with an access list (EIP-2930)",
            Self::DYNAMIC_FEE => "transactions with a dynamic fee (EIP-1559)",
            Self::BLOB => "blob transactions (EIP-4844)",
            Self::SET_CODE => "transactions that set code (EIP-7702)",
            Self::OPAQUE_TRANSACTION => "transactions that cannot be read",
            Self::MESSAGE => "messages",
            Self::TYPED_DATA => "typed data",
            Self::DIGEST => "bare digests",
            _ => "payloads of several kinds",
        }
    }

    /// Whether `other` is something, and all of it is in here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure<'a> {
    /// Signatures.
    Signatures,
    /// Wei of transactions: the value and the most that fees can be.
    Spend,
    /// Wei of transactions, without fees.
    Value,
    /// A number among the arguments of one function of one contract: a token's amount.
    Argument {
        /// The contract.
        contract: Address,
        /// The function.
        selector: [u8; 4],
        /// Its parameters.
        parameters: Types<'a>,
        /// Where the number is.
        path: IndexPath<'a>,
    },
}

/// Whose signatures a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that the rule of that name allowed.
    Rule,
    /// Those that any rule with a limit of this scope on the same measure allowed.
    Key,
}

/// Which quorums may sign under a limit. Every party counts only what it takes part in, so under a
/// limit L that is not strict the group may sign L for every quorum's worth of parties that others miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// Any.
    No,
    /// Those that contain this party: its count is the group's.
    Party(PartyId),
    /// Only all holders together.
    All,
}

/// A limit over a rolling window of time, by each party's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<'a> {
    /// Counted with what else.
    pub scope: Scope,
    /// What is counted.
    pub measure: Measure<'a>,
    /// How long it looks back, seconds.
    pub window: u32,
    /// The most in that time.
    pub max: Amount,
    /// Which quorums may sign.
    pub strict: Strict,
}

/// What one request takes from one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is counted together, whatever version of the policy says so: a hash of scope and measure.
    pub series: [u8; 16],
    /// How much this request takes.
    pub amount: Amount,
    /// How long the limit looks back, seconds.
    pub window: u32,
    /// The most in that time.
    pub max: Amount,
    /// Which quorums may sign.
    pub strict: Strict,
}

impl Strict {
    /// Whether `quorum` of `holders` may sign.
    #[must_use]
    pub fn admits(self, quorum: &PartySet, holders: &PartySet) -> bool {
        match self {
            Self::No => true,
            Self::Party(party) => quorum.contains(party),
            Self::All => quorum == holders,
        }
    }
}

impl<'a> Limit<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        let scope = match reader.u8() {
            0 => Scope::Rule,
            1 => Scope::Key,
            other => {
                reader.fail(FormError::Kind("scope", other));
                Scope::Rule
            }
        };
        let measure = match reader.u8() {
            0 => Measure::Signatures,
            1 => Measure::Spend,
            2 => Measure::Value,
            3 => Measure::Argument {
                contract: Address(reader.array()),
                selector: reader.array(),
                parameters: parameters(reader),
                path: IndexPath::read(reader),
            },
            other => {
                reader.fail(FormError::Kind("measure", other));
                Measure::Signatures
            }
        };
        let (window, max) = (reader.u32(), reader.amount());
        let strict = match reader.u8() {
            0 => Strict::No,
            1 => PartyId::new(reader.u16()).map_or_else(
                || {
                    reader.fail(FormError::Range("party"));
                    Strict::All
                },
                Strict::Party,
            ),
            2 => Strict::All,
            other => {
                reader.fail(FormError::Kind("strictness", other));
                Strict::All
            }
        };
        if !(1..=MAX_WINDOW).contains(&window) {
            reader.fail(FormError::Range("window"));
        }
        Self { scope, measure, window, max, strict }
    }

    /// What the request takes from this limit of a rule; `None` if the payload has no such measure, and
    /// then the rule does not allow it.
    #[must_use]
    #[inline(never)]
    pub fn charge(&self, rule: &str, subject: Option<&Subject<'_>>) -> Option<Charge> {
        let (amount, series) = (self.measure.of(subject)?, self.series(rule));
        let Self { window, max, strict, .. } = *self;
        Some(Charge { series, amount, window, max, strict })
    }
}

impl Limit<'_> {
    /// What it adds up, as the limit of a rule of that name.
    #[must_use]
    #[inline(never)]
    pub fn series(&self, rule: &str) -> [u8; 16] {
        match self.scope {
            Scope::Rule => self.measure.series(Some(rule)),
            Scope::Key => self.measure.series(None),
        }
    }
}

impl Measure<'_> {
    /// What is added up together: for one rule, or for the whole key.
    #[must_use]
    #[inline(never)]
    pub fn series(&self, rule: Option<&str>) -> [u8; 16] {
        let transcript = Transcript::new("policy-series");
        let transcript = match rule {
            Some(rule) => transcript.bytes(b"rule").bytes(rule.as_bytes()),
            None => transcript.bytes(b"key"),
        };
        let transcript = match self {
            Measure::Signatures => transcript.bytes(b"signatures"),
            Measure::Spend => transcript.bytes(b"spend"),
            Measure::Value => transcript.bytes(b"value"),
            Measure::Argument { contract, selector, path, .. } => {
                let start = transcript.bytes(b"argument").bytes(&contract.0).bytes(selector);
                path.steps().iter().fold(start, |transcript, step| transcript.u32(*step))
            }
        };
        let digest = transcript.finish();
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// How much of it a payload has; `None` if the payload has no such measure.
    #[must_use]
    #[inline(never)]
    pub fn of(&self, subject: Option<&Subject<'_>>) -> Option<Amount> {
        let transaction = || match subject {
            Some(Subject::Transaction(transaction)) => Some(transaction),
            _ => None,
        };
        match *self {
            Measure::Signatures => Some(Amount::from_u128(1)),
            Measure::Spend => transaction().and_then(|seen| seen.value.checked_add(seen.max_fee)),
            Measure::Value => transaction().map(|seen| seen.value),
            Measure::Argument { contract, selector, parameters, path } => {
                let seen = transaction().filter(|seen| seen.to == Some(contract))?;
                let data = seen.data.strip_prefix(selector.as_slice())?;
                match abi::argument(data, parameters, &path.steps()).ok()? {
                    Value::Uint(amount) => Some(amount),
                    _ => None,
                }
            }
        }
    }
}

/// A rule: whoever and whatever passes its condition is allowed, within its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its name, for people and for its counters.
    pub name: &'a str,
    /// What it is for.
    pub kinds: Kinds,
    /// What it asks.
    pub condition: Condition<'a>,
    limits: &'a [u8],
    limit_count: u8,
}

impl<'a> Rule<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FormError> {
        let length = usize::from(reader.u16());
        let bytes = reader.take(length);
        reader.whole()?;
        let mut reader = Reader::new(bytes);
        let name = reader.text("name");
        let kinds = Kinds::from_bits(reader.u16());
        if kinds.is_none() {
            reader.fail(FormError::Range("payload kinds"));
        }
        let limit_count = reader.u8();
        if usize::from(limit_count) > MAX_LIMITS {
            reader.fail(FormError::TooMany("limits"));
        }
        let limits = reader.rest();
        for _ in 0..limit_count {
            Limit::read(&mut reader);
        }
        let condition = Condition::read(&mut reader);
        reader.end()?;
        let kinds = kinds.ok_or(FormError::Range("payload kinds"))?;
        Ok(Self { name, kinds, condition, limits, limit_count })
    }

    pub(super) fn check(&self, conditions: &mut usize) -> Result<(), FormError> {
        if self.name.len() > MAX_NAME {
            return Err(FormError::TooMany("bytes of a name"));
        }
        for limit in self.limits() {
            if let Measure::Argument { parameters, path, .. } = limit.measure
                && Kind::at(&parameters, &path.steps()) != Some(Kind::Unsigned)
            {
                return Err(FormError::Range("the measure's argument"));
            }
        }
        self.condition.check(1, conditions)
    }

    /// Its limits.
    pub fn limits(&self) -> impl Iterator<Item = Limit<'a>> + use<'a> {
        let mut reader = Reader::new(self.limits);
        (0..self.limit_count).map_while(move |_| {
            let limit = Limit::read(&mut reader);
            reader.checked(limit).ok()
        })
    }

    /// What the request takes from the rule's limits; `None` if the payload has no such measure.
    #[must_use]
    #[inline(never)]
    pub fn charges(
        &self,
        subject: Option<&Subject<'_>>,
    ) -> Option<heapless::Vec<Charge, MAX_LIMITS>> {
        let mut charges = heapless::Vec::new();
        for limit in self.limits() {
            charges.push(limit.charge(self.name, subject)?).ok()?;
        }
        Some(charges)
    }
}

/// Chains, as conditions list them.
#[must_use]
pub fn chains<'a>(list: &List<'a, 8>) -> impl ExactSizeIterator<Item = u64> + use<'a> {
    list.iter().map(|chain| u64::from_be_bytes(*chain))
}
