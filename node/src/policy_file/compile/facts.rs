//! What a rule asks of the world: chains, and documents on the web.

use quorate_core::policy::Amount;
use quorate_core::policy::condition::{
    Account, MAX_AGE, MAX_DECIMALS, MAX_WORDS, Word, is_pointer, is_url, kind,
};
use quorate_core::policy::ethereum::abi::{self, Signature};
use quorate_core::policy::ethereum::types::{Elementary, Type};
use quorate_core::policy::form::Writer;
use quorate_core::policy::matcher::{Comparison, Kind};
use serde_json::Value;

use super::fields::{Done, Fields, address, array, need, object, only, text};
use super::payload::{indices, steps};
use super::{Parts, tested};
use crate::policy_file::standard::{ERC20, ERC721, ERC1155, Form};
use crate::policy_file::value::{self, COMPARISONS, Function};
use crate::policy_file::{PolicyFileError, buffer, wrong};

type Bytes = Result<Vec<u8>, PolicyFileError>;

/// Tests of numbers, in a member's list of what is known.
const BOUNDS: [&str; 4] = ["at_most", "at_least", "equals", "decimals"];

/// Chain and confirmations.
fn place(fields: &Fields, path: &str) -> Bytes {
    let chain = need(fields, path, "chain")?.as_u64();
    let chain = chain.ok_or_else(|| wrong(format!("{path}.chain"), "no chain id"))?;
    let confirmations = need(fields, path, "confirmations")?.as_u64();
    let confirmations = confirmations.and_then(|number| u16::try_from(number).ok());
    let confirmations = confirmations
        .ok_or_else(|| wrong(format!("{path}.confirmations"), "must be a number up to 65535"))?;
    Ok([&chain.to_be_bytes()[..], &confirmations.to_be_bytes()].concat())
}

fn known(fields: &Fields, path: &str, own: &[&str], tests: &[&str]) -> Done {
    only(fields, path, &[&["chain", "confirmations"], own, tests].concat())
}

/// `"$key"`, `"$to"`, or the account itself.
fn account(value: &Value, path: &str) -> Result<Account, PolicyFileError> {
    match value.as_str() {
        Some("$key") => Ok(Account::Key),
        Some("$to") => Ok(Account::Recipient),
        Some(other) if other.starts_with('$') => {
            Err(wrong(path, format!("{other:?} is no account; there are \"$key\" and \"$to\"")))
        }
        _ => address(value, path).map(Account::Fixed),
    }
}

fn word_of(account: Account) -> Word {
    match account {
        Account::Fixed(account) => Word::Fixed(Word::of(account)),
        Account::Key => Word::Key,
        Account::Recipient => Word::Recipient,
    }
}

pub(super) fn block(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    known(fields, path, &["number", "max_age"], &[])?;
    let place = place(fields, path)?;
    let before = parts.len();
    if let Some(number) = fields.get("number") {
        let path = format!("{path}.number");
        for (comparison, number) in value::bounds(object(number, &path)?, &path)? {
            let bound = [&[comparison as u8][..], &number.to_be_bytes()].concat();
            parts.push([&[kind::BLOCK_NUMBER][..], &place, &bound].concat());
        }
    }
    if let Some(age) = fields.get("max_age") {
        let age = seconds(age, &format!("{path}.max_age"))?;
        parts.push([&[kind::BLOCK_AGE][..], &place, &age.to_be_bytes()].concat());
    }
    if parts.len() == before { Err(wrong(path, "needs number or max_age")) } else { Ok(()) }
}

fn seconds(value: &Value, path: &str) -> Result<u32, PolicyFileError> {
    value::duration(text(value, path)?, MAX_AGE, path)
}

pub(super) fn balance(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    known(fields, path, &["account"], &BOUNDS)?;
    let account = account(need(fields, path, "account")?, &format!("{path}.account"))?;
    let account = match account {
        Account::Fixed(account) => [&[0][..], &account.0].concat(),
        Account::Key => vec![1],
        Account::Recipient => vec![2],
    };
    let start = [&[kind::BALANCE][..], &place(fields, path)?, &account].concat();
    let mut own = fields.clone();
    own.retain(|name, _| BOUNDS.contains(&name.as_str()));
    for (comparison, wei) in value::bounds(&own, path)? {
        let bound = [&[comparison as u8][..], &wei.to_be_bytes()].concat();
        tested(parts, &start, &bound)?;
    }
    Ok(())
}

pub(super) fn erc20_balance(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    known(fields, path, &["token", "owner"], &BOUNDS)?;
    let owner = account(need(fields, path, "owner")?, &format!("{path}.owner"))?;
    standard(parts, ERC20, fields, path, ("token", &[word_of(owner)]))
}

pub(super) fn erc721_owner(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    known(fields, path, &["contract", "token_id"], &["in", "is"])?;
    let id = token_id(fields, path)?;
    standard(parts, ERC721, fields, path, ("contract", &[id]))
}

pub(super) fn erc1155_balance(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    known(fields, path, &["contract", "owner", "token_id"], &BOUNDS)?;
    let owner = account(need(fields, path, "owner")?, &format!("{path}.owner"))?;
    let id = token_id(fields, path)?;
    standard(parts, ERC1155, fields, path, ("contract", &[word_of(owner), id]))
}

fn token_id(fields: &Fields, path: &str) -> Result<Word, PolicyFileError> {
    let id = need(fields, path, "token_id")?;
    Ok(Word::Fixed(whole(id, &format!("{path}.token_id"))?.to_be_bytes()))
}

/// Decimal, or hexadecimal.
fn whole(value: &Value, path: &str) -> Result<Amount, PolicyFileError> {
    let decimal = value::amount(value, Some(0), path);
    decimal.or_else(|_| value::amount(value, None, path))
}

/// A call that has a short form.
fn standard(
    parts: &mut Parts,
    form: Form,
    fields: &Fields,
    path: &str,
    (contract, words): (&str, &[Word]),
) -> Done {
    let function = format!("{} returns {}", form.function, form.returns);
    let (function, returns) = view(&Value::from(function), path)?;
    let start = start(fields, path, contract, (&function, words, &returns), &[0])?;
    expected(parts, &start, (&returns, &[0]), fields, path)
}

/// `allowance(address,address) returns (uint256)`.
fn view(value: &Value, path: &str) -> Result<(Function, Signature), PolicyFileError> {
    let example = "balanceOf(address) returns (uint256)";
    let wrong = |what: &dyn std::fmt::Display| wrong(path, format!("{what} (try {example:?})"));
    let whole = text(value, path)?;
    let (call, returns) =
        whole.split_once(" returns ").ok_or_else(|| wrong(&"does not say what it returns"))?;
    let function = Function::read(&Value::from(call), path)?;
    let returns = Signature::parse(&format!("f{returns}")).map_err(|error| wrong(&error))?;
    Ok((function, returns))
}

pub(super) fn evm_call(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    let own = ["contract", "function", "args", "words", "at"];
    let tests = ["is", "in", "starts_with", "ends_with", "contains", "pattern"];
    known(fields, path, &own, &[&tests[..], &BOUNDS].concat())?;
    let (function, returns) = view(need(fields, path, "function")?, &format!("{path}.function"))?;
    let words = match fields.get("words") {
        None => arguments(fields, path, &function)?,
        Some(words) if !fields.contains_key("args") => {
            raw_words(words, &format!("{path}.words"), &function)?
        }
        Some(_) => return Err(wrong(format!("{path}.words"), "there are args already")),
    };
    let steps = match fields.get("at") {
        None => vec![0],
        Some(at) => steps(at, &format!("{path}.at"))?,
    };
    let start = start(fields, path, "contract", (&function, &words, &returns), &steps)?;
    expected(parts, &start, (&returns, &steps), fields, path)
}

/// Everything of a call but what is asked of the returned value.
fn start(
    fields: &Fields,
    path: &str,
    contract: &str,
    (function, words, returns): (&Function, &[Word], &Signature),
    steps: &[u32],
) -> Bytes {
    let contract = address(need(fields, path, contract)?, &format!("{path}.{contract}"))?;
    let mut buffer = buffer();
    let mut writer = Writer::new(&mut buffer);
    writer.u8(kind::CALL)?;
    writer.raw(&place(fields, path)?)?;
    writer.raw(&contract.0)?;
    writer.raw(&function.selector())?;
    writer.short(function.parameters().as_bytes())?;
    writer.u8(words.len() as u8)?;
    for word in words {
        match word {
            Word::Fixed(word) => writer.u8(0).and_then(|()| writer.raw(word))?,
            Word::Key => writer.u8(1)?,
            Word::Recipient => writer.u8(2)?,
            Word::Value => writer.u8(3)?,
        }
    }
    writer.short(returns.types().as_bytes())?;
    indices(&mut writer, steps)?;
    Ok(writer.finish().to_vec())
}

/// What is asked of the returned value: tests, or that it is an account of the request's.
fn expected(
    parts: &mut Parts,
    start: &[u8],
    (returns, steps): (&Signature, &[u32]),
    fields: &Fields,
    path: &str,
) -> Done {
    let kind = Kind::at(&returns.types(), steps)
        .ok_or_else(|| wrong(format!("{path}.at"), "leads to no single value that it returns"))?;
    let mut own = fields.clone();
    let beside = ["chain", "confirmations", "contract", "token", "owner", "token_id"];
    let of_call = ["function", "args", "words", "at"];
    own.retain(|name, _| !beside.contains(&name.as_str()) && !of_call.contains(&name.as_str()));
    let Some(is) = own.get("is") else {
        let tests = value::tests(kind, &own, path, &[])?;
        return tests.iter().try_for_each(|test| tested(parts, start, &[&[0], &test[..]].concat()));
    };
    only(&own, path, &["is"])?;
    let path = format!("{path}.is");
    match (is.as_str(), kind) {
        (Some("$key"), Kind::Address) => tested(parts, start, &[1]),
        (Some("$signer"), Kind::Address) => tested(parts, start, &[2]),
        (_, Kind::Address) => Err(wrong(path, "must be \"$key\" or \"$signer\"")),
        _ => Err(wrong(path, "the function returns no account there")),
    }
}

/// Arguments of types that have one word.
fn arguments(
    fields: &Fields,
    path: &str,
    function: &Function,
) -> Result<Vec<Word>, PolicyFileError> {
    let path = format!("{path}.args");
    let none = Value::Array(Vec::new());
    let list = array(fields.get("args").unwrap_or(&none), &path)?;
    let parameters = function.parameters();
    let count = (0..).take_while(|index| parameters.at(&[*index]).is_some()).count();
    if list.len() != count || count > MAX_WORDS {
        let what = format!("the function takes {count}, and a call at most {MAX_WORDS}");
        return Err(wrong(path, what));
    }
    let types = (0..).map_while(|index| parameters.at(&[index]));
    let each = list.iter().zip(types).enumerate();
    each.map(|(index, (value, of_type))| {
        let path = format!("{path}[{index}]");
        match of_type {
            Type::Elementary(one) if one_word(one) => argument(one, value, &path),
            _ => Err(wrong(path, "has no fixed size, or parts: give the call's words instead")),
        }
    })
    .collect()
}

pub(in crate::policy_file) fn one_word(of_type: Elementary) -> bool {
    !matches!(of_type, Elementary::Bytes | Elementary::Text)
}

fn argument(of_type: Elementary, value: &Value, path: &str) -> Result<Word, PolicyFileError> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let number = || value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let outside = |what: &str| wrong(path, format!("{value} is no {what}"));
    let word = match of_type {
        Elementary::Address => return account(value, path).map(word_of),
        Elementary::Uint(32) if value == "$value" => return Ok(Word::Value),
        Elementary::Uint(size) => {
            let word = whole(value, path)?.to_be_bytes();
            fits(&word, size, 0).ok_or_else(|| outside(&format!("uint{}", 8 * u16::from(size))))
        }
        Elementary::Int(size) => {
            let word = value::twos_complement(&number(), 0);
            let sign = |word: &[u8; 32]| if word[0] & 0x80 == 0 { 0 } else { 0xff };
            let word = word.filter(|word| {
                let place = 32 - usize::from(size);
                let same = word.get(place).is_some_and(|top| (top ^ sign(word)) & 0x80 == 0);
                same && fits(word, size, sign(word)).is_some()
            });
            word.ok_or_else(|| outside(&format!("int{}", 8 * u16::from(size))))
        }
        Elementary::Bool => {
            let flag = value.as_bool().ok_or_else(|| outside("truth"))?;
            Ok(Amount::from_u128(flag.into()).to_be_bytes())
        }
        Elementary::FixedBytes(size) => {
            let bytes = digits.and_then(|digits| hex::decode(digits).ok());
            let bytes = bytes.filter(|bytes| bytes.len() == usize::from(size));
            let mut word = [0; 32];
            let bytes = bytes.ok_or_else(|| outside(&format!("bytes{size}")))?;
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            Ok(word)
        }
        Elementary::Bytes | Elementary::Text => Err(outside("word")),
    };
    word.map(Word::Fixed)
}

/// Whether all bytes before the last `size` are `unused`.
fn fits(word: &[u8; 32], size: u8, unused: u8) -> Option<[u8; 32]> {
    let before = word.get(..32 - usize::from(size))?;
    before.iter().all(|byte| *byte == unused).then_some(*word)
}

/// The words of a call as they are.
fn raw_words(value: &Value, path: &str, function: &Function) -> Result<Vec<Word>, PolicyFileError> {
    let list = array(value, path)?;
    if list.len() > MAX_WORDS {
        return Err(wrong(path, format!("at most {MAX_WORDS}")));
    }
    let word = |(index, value): (usize, &Value)| {
        let bytes = |text: &str| hex::decode(text.strip_prefix("0x")?).ok()?.try_into().ok();
        match value.as_str() {
            Some("$key") => Ok(Word::Key),
            Some("$to") => Ok(Word::Recipient),
            Some("$value") => Ok(Word::Value),
            other => other.and_then(bytes).map(Word::Fixed).ok_or_else(|| {
                let what = "must be 0x and 32 bytes, \"$key\", \"$to\" or \"$value\"";
                wrong(format!("{path}[{index}]"), what)
            }),
        }
    };
    let words = list.iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()?;
    let fixed = |word: &Word| match word {
        Word::Fixed(word) => *word,
        _ => [0; 32],
    };
    let data: Vec<u8> = words.iter().flat_map(fixed).collect();
    abi::check(&data, function.parameters()).map_err(|error| wrong(path, error))?;
    Ok(words)
}

pub(super) fn http(parts: &mut Parts, value: &Value, path: &str) -> Done {
    let fields = object(value, path)?;
    let at = |name: &str| format!("{path}.{name}");
    let own = ["url", "pointer", "time", "max_age", "as", "at_most", "at_least", "equals"];
    only(fields, path, &[&own[..], &["starts_with", "ends_with", "contains", "pattern"]].concat())?;
    let url = text(need(fields, path, "url")?, &at("url"))?;
    if url.starts_with("http://") {
        return Err(wrong(at("url"), "must be https: anybody on the way could answer"));
    }
    if !is_url(url) || url.len() > 255 {
        return Err(wrong(
            at("url"),
            "must be an https address of up to 255 bytes, no # and no user",
        ));
    }
    let pointer = |name: &str| {
        let pointer = text(need(fields, path, name)?, &at(name))?;
        let good = is_pointer(pointer) && pointer.len() <= 255;
        good.then_some(pointer).ok_or_else(|| {
            wrong(at(name), "is no JSON Pointer of up to 255 bytes (try \"/data/price\")")
        })
    };
    let mut buffer = buffer();
    let mut writer = Writer::new(&mut buffer);
    writer.u8(kind::JSON)?;
    writer.short(url.as_bytes())?;
    writer.short(pointer("pointer")?.as_bytes())?;
    if fields.contains_key("time") {
        writer.u8(1)?;
        writer.short(pointer("time")?.as_bytes())?;
    } else {
        writer.u8(0)?;
    }
    writer.raw(&seconds(need(fields, path, "max_age")?, &at("max_age"))?.to_be_bytes())?;
    let start = writer.finish();
    let mut own = fields.clone();
    own.retain(|name, _| !["url", "pointer", "time", "max_age", "as"].contains(&name.as_str()));
    let tests = match text(need(fields, path, "as")?, &at("as"))? {
        "number" => numbers(&own, path)?,
        "text" => {
            let tests = value::text_matches(&own, path)?.into_iter();
            tests.map(|test| [&[1][..], &test].concat()).collect()
        }
        "bool" => {
            only(&own, path, &["equals"])?;
            let flag = need(&own, path, "equals")?.as_bool();
            let flag = flag.ok_or_else(|| wrong(at("equals"), "must be true or false"))?;
            vec![vec![2, u8::from(flag)]]
        }
        _ => return Err(wrong(at("as"), "must be number, text or bool")),
    };
    tests.iter().try_for_each(|test| tested(parts, start, test))
}

/// Bounds on a number of a document.
fn numbers(fields: &Fields, path: &str) -> Result<Vec<Vec<u8>>, PolicyFileError> {
    only(fields, path, &["at_most", "at_least", "equals"])?;
    let mut tests = Vec::new();
    for (name, comparison) in COMPARISONS {
        let Some(value) = fields.get(name) else { continue };
        let path = format!("{path}.{name}");
        let test = number(value, comparison).ok_or_else(|| {
            wrong(path, format!("{value} is no number: a decimal, as a text if it has a point"))
        })?;
        tests.push(test);
    }
    if tests.is_empty() {
        return Err(wrong(path, "needs at_most, at_least or equals"));
    }
    Ok(tests)
}

fn number(value: &Value, comparison: Comparison) -> Option<Vec<u8>> {
    // A number with a point went through binary fractions when it was read.
    let whole = value.as_i64().map(|number| number.to_string());
    let whole = whole.or_else(|| value.as_u64().map(|number| number.to_string()));
    let written = whole.or_else(|| value.as_str().map(str::to_owned))?;
    let (negative, digits) = match written.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, written.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let decimals = u8::try_from(fraction.len()).ok().filter(|count| *count <= MAX_DECIMALS)?;
    if whole.is_empty() {
        return None;
    }
    let size = Amount::from_decimal(&format!("{whole}{fraction}"))?;
    let negative = negative && size != Amount::ZERO;
    Some([&[0, comparison as u8, negative.into(), decimals][..], &size.to_be_bytes()].concat())
}
