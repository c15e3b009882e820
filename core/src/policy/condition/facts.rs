//! Conditions about facts: where a party looks, and what it asks of what it finds.

use crate::policy::amount::Amount;
use crate::policy::ethereum::Address;
use crate::policy::ethereum::abi::{self, Types};
use crate::policy::fact::At;
use crate::policy::form::{FormError, Reader};
use crate::policy::matcher::{Comparison, Kind, Test, TextMatch};

use super::{IndexPath, parameters};

/// The arguments of a call are so many words.
pub const MAX_WORDS: usize = 16;
/// Selector and arguments of the longest call.
pub const MAX_CALL: usize = 4 + WORD * MAX_WORDS;
/// No fact is of use that is older, in seconds: 30 days.
pub const MAX_AGE: u32 = 30 * 24 * 60 * 60;
/// A number of a document is compared by at most so many digits behind the point.
pub const MAX_DECIMALS: u8 = 77;

const WORD: usize = 32;

/// The data of a call.
pub type CallData = heapless::Vec<u8, MAX_CALL>;

impl At {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { chain: reader.u64(), confirmations: reader.u16() }
    }
}

/// Seconds, one at least.
pub(super) fn age(reader: &mut Reader<'_>) -> u32 {
    let age = reader.u32();
    if !(1..=MAX_AGE).contains(&age) {
        reader.fail(FormError::Range("age"));
    }
    age
}

/// An account, named by itself or by its part in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// This one.
    Fixed(Address),
    /// That of the key that would sign.
    Key,
    /// The transaction's recipient.
    Recipient,
}

impl Account {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.u8() {
            0 => Self::Fixed(Address(reader.array())),
            1 => Self::Key,
            2 => Self::Recipient,
            other => {
                reader.fail(FormError::Kind("account", other));
                Self::Key
            }
        }
    }
}

/// A word of a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// This one.
    Fixed([u8; WORD]),
    /// The account of the key that would sign.
    Key,
    /// The transaction's recipient.
    Recipient,
    /// The transaction's value in wei.
    Value,
}

impl Word {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.u8() {
            0 => Self::Fixed(reader.array()),
            1 => Self::Key,
            2 => Self::Recipient,
            3 => Self::Value,
            other => {
                reader.fail(FormError::Kind("word", other));
                Self::Key
            }
        }
    }

    /// The word of an account.
    #[must_use]
    pub fn of(Address(account): Address) -> [u8; WORD] {
        let mut word = [0; WORD];
        word.iter_mut().skip(WORD - account.len()).zip(account).for_each(|(to, from)| *to = from);
        word
    }
}

/// The arguments of a call, as the words that they are encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Words<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        let count = reader.u8();
        if usize::from(count) > MAX_WORDS {
            reader.fail(FormError::TooMany("words of a call"));
        }
        let start = reader.rest();
        for _ in 0..count {
            Word::read(reader);
        }
        Self { count, bytes: reader.since(start) }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Word> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let word = Word::read(&mut reader);
            reader.checked(word).ok()
        })
    }
}

/// What a returned value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// It passes a test.
    Test(Test<'a>),
    /// It is the account of the key that would sign.
    Key,
    /// It is one of the accounts that have signed the request.
    Signer,
}

impl<'a> Wanted<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        match reader.u8() {
            0 => Self::Test(Test::read(reader)),
            1 => Self::Key,
            2 => Self::Signer,
            other => {
                reader.fail(FormError::Kind("expectation", other));
                Self::Signer
            }
        }
    }

    /// What values it is made for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Test(test) => test.kind(),
            Self::Key | Self::Signer => Kind::Address,
        }
    }
}

/// A call of a contract that changes nothing, and what it must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Where and when.
    pub at: At,
    /// The contract.
    pub contract: Address,
    /// The function.
    pub selector: [u8; 4],
    /// Its parameters.
    pub parameters: Types<'a>,
    /// The arguments.
    pub words: Words<'a>,
    /// What it returns.
    pub returns: Types<'a>,
    /// Which of the returned values is asked: its index, and from there on into tuples and arrays.
    pub path: IndexPath<'a>,
    /// What is asked of it.
    pub wanted: Wanted<'a>,
}

impl<'a> Call<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        Self {
            at: At::read(reader),
            contract: Address(reader.array()),
            selector: reader.array(),
            parameters: parameters(reader),
            words: Words::read(reader),
            returns: parameters(reader),
            path: IndexPath::read(reader),
            wanted: Wanted::read(reader),
        }
    }

    /// Whether the words are arguments of such a function, whatever the request has in their places, and
    /// the path leads to a value that the test is made for.
    #[inline(never)]
    pub(super) fn check(&self) -> Result<(), FormError> {
        let least = |word| match word {
            Word::Fixed(word) => word,
            _ => [0; WORD],
        };
        let most = |word| match word {
            Word::Fixed(word) => word,
            Word::Value => [0xff; WORD],
            Word::Key | Word::Recipient => Word::of(Address([0xff; 20])),
        };
        for fill in [least as fn(Word) -> [u8; WORD], most] {
            let data = self.data(&mut |word| Some(fill(word)));
            let arguments = data.as_ref().and_then(|data| data.get(4..)).unwrap_or_default();
            abi::check(arguments, self.parameters)
                .map_err(|_| FormError::Range("a call's arguments"))?;
        }
        match Kind::at(&self.returns, &self.path.steps()) {
            Some(kind) if kind == self.wanted.kind() => Ok(()),
            _ => Err(FormError::Range("the returned value")),
        }
    }

    /// Selector and arguments, if `word` knows every word.
    #[must_use]
    pub fn data(&self, word: &mut dyn FnMut(Word) -> Option<[u8; WORD]>) -> Option<CallData> {
        let mut data = CallData::new();
        data.extend_from_slice(&self.selector).ok()?;
        for one in self.words.iter() {
            data.extend_from_slice(&word(one)?).ok()?;
        }
        Some(data)
    }
}

/// What a value of a document must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonTest<'a> {
    /// A number, or a text that is one. It is compared exactly, however many digits it has.
    Number {
        /// How.
        comparison: Comparison,
        /// Whether the bound is below zero.
        negative: bool,
        /// The bound in units of 10^−decimals, without its sign.
        size: Amount,
        /// The bound's digits behind the point; the last of them is not zero.
        decimals: u8,
    },
    /// A text.
    Text(TextMatch<'a>),
    /// A truth.
    Flag(bool),
}

#[inline(never)]
pub(in crate::policy) fn flag(reader: &mut Reader<'_>) -> bool {
    let byte = reader.u8();
    if byte > 1 {
        reader.fail(FormError::Kind("truth", byte));
    }
    byte == 1
}

impl<'a> JsonTest<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>) -> Self {
        match reader.u8() {
            0 => {
                let (comparison, negative) = (Comparison::read(reader), flag(reader));
                let (decimals, size) = (reader.u8(), reader.amount());
                let one_form = decimals == 0 || size.last_digit() != 0;
                if decimals > MAX_DECIMALS || !one_form || negative && size == Amount::ZERO {
                    reader.fail(FormError::Range("number"));
                }
                Self::Number { comparison, negative, size, decimals }
            }
            1 => Self::Text(TextMatch::read(reader)),
            2 => Self::Flag(flag(reader)),
            other => {
                reader.fail(FormError::Kind("test of a document", other));
                Self::Flag(false)
            }
        }
    }
}

/// A value in a JSON document on the web, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a> {
    /// The document (https).
    pub url: &'a str,
    /// Where in it (RFC 6901).
    pub pointer: &'a str,
    /// Where in it the document says how old it is; without, the server does.
    pub time: Option<&'a str>,
    /// It is at most so old, in seconds.
    pub max_age: u32,
    /// What is asked of the value.
    pub test: JsonTest<'a>,
}

impl<'a> Json<'a> {
    #[inline(never)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        let url = reader.text("url");
        if !is_url(url) {
            reader.fail(FormError::Range("url"));
        }
        let pointer = pointer(reader);
        let time = if flag(reader) { Some(self::pointer(reader)) } else { None };
        Self { url, pointer, time, max_age: age(reader), test: JsonTest::read(reader) }
    }
}

/// The pointer to the whole document is empty.
fn pointer<'a>(reader: &mut Reader<'a>) -> &'a str {
    let Ok(text) = core::str::from_utf8(reader.short()) else {
        reader.fail(FormError::Text("pointer"));
        return "";
    };
    if !is_pointer(text) {
        reader.fail(FormError::Range("pointer"));
    }
    text
}

/// Whether it is a JSON Pointer (RFC 6901).
#[must_use]
pub fn is_pointer(text: &str) -> bool {
    let escaped = |part: &str| part.starts_with(['0', '1']);
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(escaped)
}

/// Whether it is an https address without a user's name, a fragment or bytes that people cannot see.
/// Whether it leads anywhere is for who fetches.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"');
    !host.is_empty() && !host.contains('@') && text.bytes().all(plain)
}
