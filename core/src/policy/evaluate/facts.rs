//! Conditions about facts. What a party cannot find out, or cannot read, is unknown.

use core::cmp::Ordering;

use super::{Answer, Evaluation, Truth, answer, tested, unknown};
use crate::policy::amount::Amount;
use crate::policy::condition::{Account, Call, CallData, Json, JsonTest, Wanted, Word};
use crate::policy::denial::{Asked, Gap, Reason, Source};
use crate::policy::ethereum::{Address, Transaction, abi};
use crate::policy::fact::{self, At, JsonValue, Question};
use crate::policy::matcher::Bound;
use crate::policy::payload::{Subject, Value};

/// Clocks may differ by so many seconds: a fact of so near a future is one of now.
const SKEW: u64 = 60;

/// How old a fact of `time` is.
fn age(time: u64, now: u64) -> Result<u64, Gap> {
    if time > now.saturating_add(SKEW) {
        return Err(Gap::Future { time, now });
    }
    Ok(now.saturating_sub(time))
}

fn decides_nothing(source: Source<'_>, gap: Gap) -> Answer<'_> {
    (Truth::Unknown, Some(Reason::Fact(source, gap)))
}

impl<'a> Evaluation<'_, 'a> {
    fn seen(&self) -> Result<&Transaction<'_>, Asked> {
        match self.subject {
            Some(Subject::Transaction(seen)) => Ok(seen),
            _ => Err(Asked::Transaction),
        }
    }

    fn own(&self) -> Result<Address, Asked> {
        self.facts.account.ok_or(Asked::Account)
    }

    fn recipient(&self) -> Result<Address, Asked> {
        self.seen()?.to.ok_or(Asked::Recipient)
    }

    /// The answer, as far as `read` finds it to be one of the kind that was asked for.
    fn find<R>(
        &mut self,
        question: &Question<'_>,
        read: impl FnOnce(fact::Answer<'_>) -> Option<R>,
    ) -> Result<R, Gap> {
        if let Some(answer) = self.facts.answers.answer(question) {
            return read(answer).ok_or(Gap::Missing);
        }
        (self.missing)(question);
        Err(Gap::Missing)
    }

    // Not part of the frame of what calls itself: the data of a call takes half a kilobyte.
    #[inline(never)]
    pub(super) fn call(&mut self, call: &Call<'a>) -> Answer<'a> {
        let data = match self.call_data(call) {
            Ok(data) => data,
            Err(asked) => return unknown(asked),
        };
        let Call { at, contract, .. } = *call;
        let question = Question::Call { at, contract, data: &data };
        let (account, request) = (self.facts.account, self.request);
        let signed = |account: &Address| request.signers().any(|signer| signer == *account);
        let judged = self.find(&question, |answer| {
            let fact::Answer::Call(returned) = answer else { return None };
            let value = match abi::argument(returned, call.returns, &call.path.steps()) {
                Ok(value) => value,
                Err(error) => return Some(Err(Gap::Returned(error))),
            };
            let reason = Reason::Call(contract);
            Some(Ok(match (&call.wanted, &value, account) {
                (Wanted::Test(test), value, _) => tested(test, value, reason),
                (Wanted::Key, Value::Address(_), None) => unknown(Asked::Account),
                (Wanted::Key, Value::Address(found), Some(account)) => {
                    super::answer(*found == account, reason)
                }
                (Wanted::Signer, Value::Address(found), _) => super::answer(signed(found), reason),
                _ => (Truth::Unknown, Some(reason)),
            }))
        });
        match judged {
            Ok(Ok(answer)) => answer,
            Ok(Err(gap)) | Err(gap) => decides_nothing(Source::Chain(at.chain), gap),
        }
    }

    #[inline(never)]
    fn call_data(&self, call: &Call<'_>) -> Result<CallData, Asked> {
        let mut why = Asked::Transaction;
        let data = call.data(&mut |word| {
            let word = match word {
                Word::Fixed(word) => Ok(word),
                Word::Key => self.own().map(Word::of),
                Word::Recipient => self.recipient().map(Word::of),
                Word::Value => self.seen().map(|seen| seen.value.to_be_bytes()),
            };
            word.map_err(|asked| why = asked).ok()
        });
        data.ok_or(why)
    }

    #[inline(never)]
    pub(super) fn balance(&mut self, at: At, account: Account, bound: &Bound) -> Answer<'a> {
        let account = match account {
            Account::Fixed(account) => Ok(account),
            Account::Key => self.own(),
            Account::Recipient => self.recipient(),
        };
        let account = match account {
            Ok(account) => account,
            Err(asked) => return unknown(asked),
        };
        let balance = self.find(&Question::Balance { at, account }, |found| match found {
            fact::Answer::Balance(balance) => Some(balance),
            _ => None,
        });
        match balance {
            Ok(balance) => answer(bound.holds(&balance), Reason::Balance(at.chain, *bound)),
            Err(gap) => decides_nothing(Source::Chain(at.chain), gap),
        }
    }

    fn block(&mut self, at: At) -> Result<(u64, u64), Gap> {
        self.find(&Question::Block { at }, |found| match found {
            fact::Answer::Block { number, time } => Some((number, time)),
            _ => None,
        })
    }

    #[inline(never)]
    pub(super) fn block_number(&mut self, at: At, bound: &Bound) -> Answer<'a> {
        match self.block(at) {
            Ok((number, _)) => {
                let number = Amount::from_u128(number.into());
                answer(bound.holds(&number), Reason::BlockNumber(at.chain))
            }
            Err(gap) => decides_nothing(Source::Chain(at.chain), gap),
        }
    }

    #[inline(never)]
    pub(super) fn block_age(&mut self, at: At, max: u32) -> Answer<'a> {
        let (chain, now) = (at.chain, self.facts.now);
        match self.block(at).and_then(|(_, time)| age(time, now)) {
            Ok(age) => answer(age <= max.into(), Reason::BlockAge { chain, max }),
            Err(gap) => decides_nothing(Source::Chain(chain), gap),
        }
    }

    #[inline(never)]
    pub(super) fn json(&mut self, json: &Json<'a>) -> Answer<'a> {
        let Json { url, pointer, time, max_age, test } = *json;
        let now = self.facts.now;
        let holds = self.find(&Question::Json { url, pointer, time }, |found| {
            let fact::Answer::Json { value, time } = found else { return None };
            let fresh = time.ok_or(Gap::Undated).and_then(|time| match age(time, now)? {
                age if age <= max_age.into() => Ok(()),
                _ => Err(Gap::Old { time, now }),
            });
            Some(fresh.and_then(|()| passes(&test, &value).ok_or(Gap::Type)))
        });
        match holds {
            Ok(Ok(holds)) => answer(holds, Reason::Json(url)),
            Ok(Err(gap)) | Err(gap) => decides_nothing(Source::Url(url), gap),
        }
    }
}

/// `None` if the value is not what the test is made for.
#[inline(never)]
fn passes(test: &JsonTest<'_>, value: &JsonValue<'_>) -> Option<bool> {
    Some(match (*test, *value) {
        (
            JsonTest::Number { comparison, negative, size, decimals },
            JsonValue::Number(text) | JsonValue::Text(text),
        ) => comparison.holds(Decimal::read(text, decimals)?.compared(negative, size)),
        (JsonTest::Text(text), JsonValue::Text(found)) => text.holds(found.as_bytes()),
        (JsonTest::Flag(wanted), JsonValue::Flag(flag)) => wanted == flag,
        _ => return None,
    })
}

/// A number in units of 10^−decimals.
struct Decimal {
    negative: bool,
    /// Whole units.
    size: Amount,
    /// Whether there is more than they are, less than one unit.
    more: bool,
}

impl Decimal {
    /// A number as JSON writes it, without an exponent; `None` if it is none, or needs more than 256 bits.
    fn read(text: &str, decimals: u8) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let digit = |byte: u8| byte.checked_sub(b'0').filter(|digit| *digit < 10);
        let (mut size, mut more) = (Amount::ZERO, false);
        let units = fraction.bytes().chain(core::iter::repeat(b'0')).take(decimals.into());
        for byte in whole.bytes().chain(units) {
            let digit = Amount::from_u128(digit(byte)?.into());
            size = size.checked_mul(10)?.checked_add(digit)?;
        }
        for byte in fraction.bytes().skip(decimals.into()) {
            more |= digit(byte)? != 0;
        }
        Some(Self { negative, size, more })
    }

    fn compared(&self, negative: bool, size: Amount) -> Ordering {
        let below = self.negative && (self.size != Amount::ZERO || self.more);
        let by_size = self.size.cmp(&size);
        let by_size = if self.more { by_size.then(Ordering::Greater) } else { by_size };
        match (below, negative) {
            (false, false) => by_size,
            (true, true) => by_size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        let compared = |text, negative, size: u128, decimals| {
            let number = Decimal::read(text, decimals)?;
            Some(number.compared(negative, Amount::from_u128(size)))
        };
        use Ordering::{Equal, Greater, Less};
        for (text, negative, size, decimals, order) in [
            ("2000.5", false, 20_005, 1, Equal),
            ("2000.50", false, 20_005, 1, Equal),
            ("2000.5000000000000000000000000000000001", false, 20_005, 1, Greater),
            ("2000.4999999999999999999999999999999999", false, 20_005, 1, Less),
            ("2000", false, 20_005, 1, Less),
            ("2001", false, 2000, 0, Greater),
            ("0", false, 0, 0, Equal),
            ("-0.0", false, 0, 0, Equal),
            ("-0.1", false, 0, 0, Less),
            ("0.1", false, 0, 0, Greater),
            ("-1.5", true, 15, 1, Equal),
            ("-1.51", true, 15, 1, Less),
            ("-1.49", true, 15, 1, Greater),
            ("-7", false, 7, 0, Less),
            ("7", true, 7, 0, Greater),
        ] {
            assert_eq!(compared(text, negative, size, decimals), Some(order), "{text} {size}");
        }
        for text in
            ["", "-", ".5", "5.", "1e3", "1.5e3", "+1", "01", "1 ", "0x1", "1_0", "1.-5", "NaN"]
        {
            assert_eq!(compared(text, false, 0, 0), None, "{text:?}");
            assert_eq!(compared(text, false, 0, 4), None, "{text:?}");
        }
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert!(Decimal::read(most, 0).is_some() && Decimal::read(most, 1).is_none());
    }
}
