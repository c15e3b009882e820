//! Conditions: what a rule asks of a request, its payload and the party's own facts.

mod facts;

use super::delay::Delay;
use super::ethereum::abi::Types;
use super::fact::At;
use super::form::{FormError, List, Reader};
use super::matcher::{Bound, Kind, Test, TextMatch};
use crate::division::divided;

pub(super) use facts::flag;
pub use facts::{
    Account, Call, CallData, Json, JsonTest, MAX_AGE, MAX_CALL, MAX_DECIMALS, MAX_WORDS, Wanted,
    Word, Words, is_pointer, is_url,
};

/// Conditions go so deep, counted from a rule's own.
pub const MAX_DEPTH: usize = 8;
/// A policy has so many conditions in all. Each is looked at once per judgement at most.
pub const MAX_CONDITIONS: usize = 256;
/// A path leads through so many arrays, tuples or structs.
pub const MAX_PATH: usize = 8;

/// The frozen numbers of the kinds.
pub mod kind {
    #![allow(missing_docs)]
    pub const ALL: u8 = 0x00;
    pub const ANY: u8 = 0x01;
    pub const NOT: u8 = 0x02;
    pub const AT_LEAST: u8 = 0x03;
    pub const CLIENT: u8 = 0x10;
    pub const APPROVALS: u8 = 0x11;
    pub const TIME: u8 = 0x18;
    pub const SCHEDULE: u8 = 0x19;
    pub const DELAY: u8 = 0x1a;
    pub const CHAIN: u8 = 0x20;
    pub const RECIPIENT: u8 = 0x21;
    pub const CREATION: u8 = 0x22;
    pub const VALUE: u8 = 0x23;
    pub const FEE: u8 = 0x24;
    pub const FUNCTION: u8 = 0x25;
    pub const NO_DATA: u8 = 0x26;
    pub const ARGUMENT: u8 = 0x27;
    pub const DELEGATE: u8 = 0x28;
    pub const DOMAIN: u8 = 0x30;
    pub const TYPE: u8 = 0x31;
    pub const FIELD: u8 = 0x32;
    pub const MESSAGE: u8 = 0x38;
    pub const CALL: u8 = 0x40;
    pub const BALANCE: u8 = 0x41;
    pub const BLOCK_NUMBER: u8 = 0x42;
    pub const BLOCK_AGE: u8 = 0x43;
    pub const JSON: u8 = 0x44;
    pub const SIGNATURES: u8 = 0x45;
    pub const ELSEWHERE: u8 = 0x46;
    pub const CONFIRM: u8 = 0x47;
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Each of them.
    All(Conditions<'a>),
    /// One of them, or more.
    Any(Conditions<'a>),
    /// The opposite of the only one. What is unknown stays unknown.
    Not(Conditions<'a>),
    /// So many of them, or more.
    AtLeast(u8, Conditions<'a>),
    /// One of these clients asks (Ed25519).
    Client(List<'a, 32>),
    /// So many of these approvers (Ed25519) have signed the request's hash.
    Approvals {
        /// How many.
        at_least: u8,
        /// Of whom.
        of: List<'a, 32>,
    },
    /// Within this time, by the party's own clock: Unix seconds, the end excluded.
    Time {
        /// From then on.
        not_before: u64,
        /// Until then.
        before: u64,
    },
    /// At such times of the week.
    Schedule(Schedule),
    /// The party has had the request on record for so long, and nobody who may has vetoed it.
    Delay(Delay<'a>),
    /// A transaction for one of these chains.
    Chain(List<'a, 8>),
    /// A transaction to one of these accounts.
    Recipient(List<'a, 20>),
    /// A transaction that creates a contract.
    Creation,
    /// The transaction's value in wei.
    Value(Bound),
    /// The most that the transaction's fees can be, in wei.
    Fee(Bound),
    /// A call of one of these functions, by selector.
    Function(List<'a, 4>),
    /// A transaction without data.
    NoData,
    /// An argument of a call.
    Argument(Argument<'a>),
    /// All of a transaction's authorizations (EIP-7702) name one of these contracts.
    Delegate(List<'a, 20>),
    /// A field of the typed data's domain.
    Domain {
        /// Its name.
        field: &'a str,
        /// What is asked of it.
        test: Test<'a>,
    },
    /// The typed data's primary type.
    Type(&'a str),
    /// A field of the typed data's message.
    Field {
        /// Where.
        path: FieldPath<'a>,
        /// What is asked of it.
        test: Test<'a>,
    },
    /// The message.
    Message(TextMatch<'a>),
    /// What a contract returns.
    Call(Call<'a>),
    /// An account's balance in wei.
    Balance {
        /// Where and when.
        at: At,
        /// Whose.
        account: Account,
        /// How much.
        bound: Bound,
    },
    /// The number of a block.
    BlockNumber {
        /// Which block.
        at: At,
        /// The number.
        bound: Bound,
    },
    /// The time of a block is not long ago, by the party's clock.
    BlockAge {
        /// Which block.
        at: At,
        /// At most so many seconds.
        max: u32,
    },
    /// A value on the web.
    Json(Json<'a>),
    /// So many of these accounts have signed the request (EIP-191).
    Signatures {
        /// How many.
        at_least: u8,
        /// Of whom.
        of: List<'a, 20>,
    },
    /// The only one, which asks the world and nothing else: a device leaves it to the others, and takes it
    /// as true.
    Elsewhere(Conditions<'a>),
    /// A person at the party's device has confirmed the request. Where there is no device it holds.
    Confirm,
}

/// A list of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Conditions<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        let count = reader.u8();
        if count == 0 {
            reader.fail(FormError::Empty("conditions"));
        }
        let length = reader.u16();
        Self { count, bytes: reader.take(usize::from(length)) }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// One after the other. Of a checked policy none is an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Condition<'a>, FormError>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map(move |_| {
            let condition = Condition::read(&mut reader);
            reader.checked(condition)
        })
    }

    /// Whether one of them, or one within, is such.
    fn any(&self, such: &dyn Fn(&Condition<'a>) -> bool) -> bool {
        let mut each = self.iter().flatten();
        each.any(|one| such(&one) || one.inner().is_some_and(|inner| inner.any(such)))
    }
}

/// Times of the week. If `to` is not after `from`, it is a time of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The days on which it begins: bit 0 is Monday.
    pub days: u8,
    /// Minutes from midnight, 0 to 1439.
    pub from: u16,
    /// Minutes from midnight, 1 to 1440, excluded.
    pub to: u16,
    /// Minutes that local time is ahead of UTC; there is no daylight saving.
    pub offset: i16,
}

const DAY: u64 = 24 * 60;

impl Schedule {
    fn read(reader: &mut Reader<'_>) -> Self {
        let (days, from, to) = (reader.u8(), reader.u16(), reader.u16());
        let offset = reader.u16().cast_signed();
        let schedule = Self { days, from, to, offset };
        if !schedule.is_valid() {
            reader.fail(FormError::Range("schedule"));
        }
        schedule
    }

    /// Whether every field is in its range.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..128).contains(&self.days)
            && u64::from(self.from) < DAY
            && (1..=DAY).contains(&u64::from(self.to))
            && (-14 * 60..=14 * 60).contains(&self.offset)
    }

    /// Whether `now` (Unix seconds) is such a time.
    #[must_use]
    pub fn holds(&self, now: u64) -> bool {
        // A week ahead, so that no offset leads below zero.
        let minutes = divided(now, 60).0 + 7 * DAY;
        let (day, minute) = divided(minutes.saturating_add_signed(self.offset.into()), DAY);
        // 1 January 1970 was a Thursday.
        let on = |day: u64| self.days >> divided(day + 3, 7).1 & 1 == 1;
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        if from < to {
            return on(day) && (from..to).contains(&minute);
        }
        on(day) && minute >= from || on(day + 6) && minute < to
    }
}

/// An argument of a contract call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// The function.
    pub selector: [u8; 4],
    /// Its parameters.
    pub parameters: Types<'a>,
    /// The parameter's index, and from there on indices into tuples and arrays.
    pub path: IndexPath<'a>,
    /// What is asked of it.
    pub test: Test<'a>,
}

/// The compact types of a function's parameters, behind their length.
#[inline(never)]
pub(super) fn parameters<'a>(reader: &mut Reader<'a>) -> Types<'a> {
    Types::parse(reader.short()).unwrap_or_else(|_| {
        reader.fail(FormError::Range("a function's parameters"));
        Types::default()
    })
}

/// How many steps a path has.
#[inline(never)]
fn steps(reader: &mut Reader<'_>) -> u8 {
    let count = reader.u8();
    if count == 0 {
        reader.fail(FormError::Empty("path"));
    }
    if usize::from(count) > MAX_PATH {
        reader.fail(FormError::TooMany("steps of a path"));
    }
    count
}

/// Indices into parameters, tuples and arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPath<'a>(&'a [u8]);

impl<'a> IndexPath<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        let count = steps(reader);
        Self(reader.take(usize::from(count) * 2))
    }

    /// The indices.
    #[must_use]
    pub fn steps(&self) -> heapless::Vec<u32, MAX_PATH> {
        self.0.as_chunks::<2>().0.iter().map(|step| u16::from_be_bytes(*step).into()).collect()
    }
}

/// Where a field of typed data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPath<'a> {
    count: u8,
    bytes: &'a [u8],
}

/// One step to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A struct's field.
    Name(&'a str),
    /// An array's entry.
    Index(u16),
}

impl<'a> FieldPath<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        let count = steps(reader);
        let start = reader.rest();
        for _ in 0..count {
            Step::read(reader);
        }
        Self { count, bytes: reader.since(start) }
    }

    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let step = Step::read(&mut reader);
            reader.checked(step).ok()
        })
    }
}

impl<'a> Step<'a> {
    fn read(reader: &mut Reader<'a>) -> Self {
        match reader.u8() {
            0 => Self::Name(reader.text("field name")),
            1 => Self::Index(reader.u16()),
            other => {
                reader.fail(FormError::Kind("step", other));
                Self::Index(0)
            }
        }
    }
}

impl Argument<'_> {
    /// Whether the path leads to a value that the test is made for.
    #[inline(never)]
    fn check(&self) -> Result<(), FormError> {
        match Kind::at(&self.parameters, &self.path.steps()) {
            Some(kind) if kind == self.test.kind() => Ok(()),
            _ => Err(FormError::Range("argument")),
        }
    }
}

impl<'a> Condition<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        match reader.u8() {
            kind::ALL => Self::All(Conditions::read(reader)),
            kind::ANY => Self::Any(Conditions::read(reader)),
            kind::NOT => Self::Not(Conditions::read(reader)),
            kind::AT_LEAST => Self::AtLeast(reader.u8(), Conditions::read(reader)),
            kind::CLIENT => Self::Client(reader.list("clients")),
            kind::APPROVALS => {
                Self::Approvals { at_least: reader.u8(), of: reader.list("approvers") }
            }
            kind::TIME => Self::Time { not_before: reader.u64(), before: reader.u64() },
            kind::SCHEDULE => Self::Schedule(Schedule::read(reader)),
            kind::DELAY => Self::Delay(Delay::read(reader)),
            kind::CHAIN => Self::Chain(reader.list("chains")),
            kind::RECIPIENT => Self::Recipient(reader.list("recipients")),
            kind::CREATION => Self::Creation,
            kind::VALUE => Self::Value(Bound::read(reader)),
            kind::FEE => Self::Fee(Bound::read(reader)),
            kind::FUNCTION => Self::Function(reader.list("functions")),
            kind::NO_DATA => Self::NoData,
            kind::ARGUMENT => Self::Argument(Argument {
                selector: reader.array(),
                parameters: parameters(reader),
                path: IndexPath::read(reader),
                test: Test::read(reader),
            }),
            kind::DELEGATE => Self::Delegate(reader.list("delegates")),
            kind::DOMAIN => {
                Self::Domain { field: reader.text("domain field"), test: Test::read(reader) }
            }
            kind::TYPE => Self::Type(reader.text("type")),
            kind::FIELD => Self::Field { path: FieldPath::read(reader), test: Test::read(reader) },
            kind::MESSAGE => Self::Message(TextMatch::read(reader)),
            kind::CALL => Self::Call(Call::read(reader)),
            kind::BALANCE => Self::Balance {
                at: At::read(reader),
                account: Account::read(reader),
                bound: Bound::read(reader),
            },
            kind::BLOCK_NUMBER => {
                Self::BlockNumber { at: At::read(reader), bound: Bound::read(reader) }
            }
            kind::BLOCK_AGE => Self::BlockAge { at: At::read(reader), max: facts::age(reader) },
            kind::JSON => Self::Json(Json::read(reader)),
            kind::SIGNATURES => {
                Self::Signatures { at_least: reader.u8(), of: reader.list("signers") }
            }
            kind::ELSEWHERE => Self::Elsewhere(Conditions::read(reader)),
            kind::CONFIRM => Self::Confirm,
            other => {
                reader.fail(FormError::Kind("condition", other));
                // Nobody asks.
                Self::Client(List::default())
            }
        }
    }

    /// The conditions within, if it is made of conditions.
    #[must_use]
    pub fn inner(&self) -> Option<Conditions<'a>> {
        match self {
            Self::All(inner)
            | Self::Any(inner)
            | Self::Not(inner)
            | Self::AtLeast(_, inner)
            | Self::Elsewhere(inner) => Some(*inner),
            _ => None,
        }
    }

    /// Whether it, or one within, lists this Ed25519 key.
    pub(super) fn names(&self, key: &[u8; 32]) -> bool {
        match self {
            Self::Client(list) | Self::Approvals { of: list, .. } => list.contains(key),
            Self::Delay(delay) => delay.veto.contains(key),
            _ => self
                .inner()
                .is_some_and(|inner| inner.iter().any(|one| one.is_ok_and(|one| one.names(key)))),
        }
    }

    /// Checks everything within, and counts it into `count`.
    #[inline(never)]
    pub(super) fn check(&self, depth: usize, count: &mut usize) -> Result<(), FormError> {
        *count += 1;
        if *count > MAX_CONDITIONS {
            return Err(FormError::TooMany("conditions"));
        }
        match self {
            Self::Not(inner) if inner.count != 1 => return Err(FormError::Range("not")),
            Self::Elsewhere(inner) if inner.count != 1 => {
                return Err(FormError::Range("elsewhere"));
            }
            Self::AtLeast(least, inner) if *least == 0 || *least > inner.count => {
                return Err(FormError::Range("at_least"));
            }
            Self::Approvals { at_least, of }
                if *at_least == 0 || usize::from(*at_least) > of.len() =>
            {
                return Err(FormError::Range("at_least"));
            }
            Self::Signatures { at_least, of }
                if *at_least == 0 || usize::from(*at_least) > of.len() =>
            {
                return Err(FormError::Range("at_least"));
            }
            Self::Time { not_before, before } if not_before >= before => {
                return Err(FormError::Range("time"));
            }
            Self::Argument(argument) => argument.check()?,
            Self::Call(call) => call.check()?,
            _ => {}
        }
        let Some(inner) = self.inner() else { return Ok(()) };
        if depth >= MAX_DEPTH {
            return Err(FormError::TooDeep);
        }
        let mut reader = Reader::new(inner.bytes);
        for _ in 0..inner.count {
            let condition = Condition::read(&mut reader);
            reader.checked(condition)?.check(depth + 1, count)?;
        }
        reader.end()?;
        self.check_places(&inner)
    }

    /// Whether what stands within may stand there.
    fn check_places(&self, inner: &Conditions<'a>) -> Result<(), FormError> {
        match self {
            Self::Not(_) if self.waits() => Err(FormError::Misplaced("a delay within a not")),
            // It would hold because nobody looked, or because a person refused.
            Self::Not(_) if inner.any(&|one| matches!(one, Self::Elsewhere(_))) => {
                Err(FormError::Misplaced("an elsewhere within a not"))
            }
            Self::Not(_) if inner.any(&|one| matches!(one, Self::Confirm)) => {
                Err(FormError::Misplaced("a confirmation within a not"))
            }
            Self::Elsewhere(_) if inner.any(&|one| !one.asks_the_world_alone()) => {
                Err(FormError::Misplaced("what asks the world nothing, within an elsewhere,"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it asks the world, or joins others: what may stand within an `elsewhere`. What a device can
    /// judge by itself it must judge.
    fn asks_the_world_alone(&self) -> bool {
        self.asks_the_world()
            || matches!(self, Self::All(_) | Self::Any(_) | Self::Not(_) | Self::AtLeast(..))
    }

    /// Whether it asks what only a party with a network can find out.
    #[must_use]
    pub fn asks_the_world(&self) -> bool {
        matches!(
            self,
            Self::Call(_)
                | Self::Balance { .. }
                | Self::BlockNumber { .. }
                | Self::BlockAge { .. }
                | Self::Json(_)
        )
    }
}
