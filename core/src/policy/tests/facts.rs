//! Conditions about facts, and signatures of accounts.

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::condition::{MAX_AGE, MAX_WORDS};
use super::super::fact::{Answer, Answers, JsonValue, Question};
use super::super::form::FormError;
use super::super::*;
use super::*;

const CONTRACT: Address = Address([0x5c; 20]);
const OWN: Address = Address([0x0a; 20]);

fn at() -> Vec<u8> {
    [&1u64.to_be_bytes()[..], &12u16.to_be_bytes()].concat()
}

/// The compact form of a list of types.
fn types(list: &str) -> Vec<u8> {
    let function = super::super::ethereum::abi::Signature::parse(&format!("f{list}")).unwrap();
    function.types().as_bytes().to_vec()
}

/// A call of one function, with words as the form has them, and what the first returned value must be.
fn call(parameters: &str, words: &[&[u8]], returns: &str, wanted: &[u8]) -> Vec<u8> {
    written(|writer| {
        writer.u8(kind::CALL)?;
        writer.raw(&at())?;
        writer.raw(&CONTRACT.0)?;
        writer.raw(&[1, 2, 3, 4])?;
        writer.short(&types(parameters))?;
        writer.u8(words.len() as u8)?;
        words.iter().try_for_each(|word| writer.raw(word))?;
        writer.short(&types(returns))?;
        writer.raw(&[1, 0, 0])?;
        writer.raw(wanted)
    })
}

fn at_least_test(number: u128) -> Vec<u8> {
    [&[0, 0, 1][..], &Amount::from_u128(number).to_be_bytes()].concat()
}

fn returns_at_least(number: u128) -> Vec<u8> {
    call("()", &[], "(uint256)", &at_least_test(number))
}

pub(super) fn balance_at_least(wei: u128) -> Vec<u8> {
    [&[kind::BALANCE][..], &at(), &[1, 1], &Amount::from_u128(wei).to_be_bytes()].concat()
}

pub(super) fn block_age(max: u32) -> Vec<u8> {
    [&[kind::BLOCK_AGE][..], &at(), &max.to_be_bytes()].concat()
}

/// At least 2000.5, at most a minute old.
pub(super) fn price() -> Vec<u8> {
    let bound = Amount::from_u128(20_005).to_be_bytes();
    document("https://price.example/eth", "/usd", &[&[0, 1, 0, 1][..], &bound].concat())
}

fn document(url: &str, pointer: &str, test: &[u8]) -> Vec<u8> {
    written(|writer| {
        writer.u8(kind::JSON)?;
        writer.short(url.as_bytes())?;
        writer.short(pointer.as_bytes())?;
        writer.u8(0)?;
        writer.raw(&60u32.to_be_bytes())?;
        writer.raw(test)
    })
}

/// The same answer to every question of a kind.
#[derive(Default)]
pub(super) struct Known {
    pub(super) returned: Option<Vec<u8>>,
    pub(super) wei: Option<u128>,
    pub(super) block: Option<(u64, u64)>,
    pub(super) value: Option<(JsonValue<'static>, Option<u64>)>,
}

impl Answers for Known {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        match question {
            Question::Call { .. } => self.returned.as_deref().map(Answer::Call),
            Question::Balance { .. } => self.wei.map(|wei| Answer::Balance(Amount::from_u128(wei))),
            Question::Block { .. } => {
                self.block.map(|(number, time)| Answer::Block { number, time })
            }
            Question::Json { .. } => self.value.map(|(value, time)| Answer::Json { value, time }),
        }
    }
}

fn facts(answers: &dyn Answers) -> Facts<'_> {
    Facts { account: Some(OWN), answers, ..Facts::at(NOW) }
}

/// Why the condition, or its opposite, fails with these answers: none if it holds.
fn asked(condition: Vec<u8>, answers: &dyn Answers) -> Option<&'static str> {
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
    let policy = Policy::parse(&bytes).unwrap();
    policy.judge(&request, &facts(answers), &mut |_| {}).err().map(|denial| denial.code())
}

/// True, false or unknown: the opposite of what is unknown does not hold either.
fn truth(condition: Vec<u8>, answers: &dyn Answers) -> Truth {
    match (asked(condition.clone(), answers), asked(not(condition), answers)) {
        (None, Some(_)) => Truth::True,
        (Some(_), None) => Truth::False,
        (Some(_), Some(_)) => Truth::Unknown,
        (None, None) => panic!("it holds, and so does its opposite"),
    }
}

#[test]
fn what_nobody_knows_is_unknown_and_says_where_it_is_missing() {
    let all = [returns_at_least(1), balance_at_least(1), block_age(9), price()];
    for condition in all {
        assert_eq!(truth(condition.clone(), &fact::NoAnswers), Truth::Unknown);
        assert_eq!(asked(condition, &fact::NoAnswers), Some("fact"));
    }
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    for (condition, place) in [(price(), "https://price.example/eth"), (block_age(9), "chain 1")] {
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
        let denial = Policy::parse(&bytes).unwrap();
        let denial = denial.judge(&request, &Facts::at(NOW), &mut |_| {}).unwrap_err();
        assert!(format!("{denial}").contains(place), "{denial}");
    }
}

#[test]
fn calls_are_judged_by_what_they_return() {
    let word = |number: u128| Amount::from_u128(number).to_be_bytes().to_vec();
    let known = |returned: Vec<u8>| Known { returned: Some(returned), ..Known::default() };
    assert_eq!(truth(returns_at_least(7), &known(word(7))), Truth::True);
    assert_eq!(truth(returns_at_least(7), &known(word(6))), Truth::False);
    assert_eq!(asked(returns_at_least(7), &known(word(6))), Some("call"));
    // What is no such value is unknown: nothing, too much, another type.
    for returned in [Vec::new(), std::vec![0; 31], std::vec![0; 33], std::vec![0; 64]] {
        assert_eq!(truth(returns_at_least(0), &known(returned)), Truth::Unknown);
    }
    let flag = call("()", &[], "(bool)", &[0, 3, 1]);
    assert_eq!(truth(flag.clone(), &known(word(1))), Truth::True);
    assert_eq!(truth(flag.clone(), &known(word(0))), Truth::False);
    assert_eq!(truth(flag, &known(word(2))), Truth::Unknown, "no truth of Solidity");
}

#[test]
fn a_returned_account_may_have_to_be_the_keys_own_or_one_that_signed() {
    let returned = |account: Address| Known {
        returned: Some([&[0; 12][..], &account.0].concat()),
        ..Known::default()
    };
    let own = || call("()", &[], "(address)", &[1]);
    assert_eq!(truth(own(), &returned(OWN)), Truth::True);
    assert_eq!(truth(own(), &returned(CONTRACT)), Truth::False);
    let signer = || call("()", &[], "(address)", &[2]);
    assert_eq!(truth(signer(), &returned(OWN)), Truth::False, "nobody signed");
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let (account, sent) = with_signature(&sent, 1);
    let code = |condition: Vec<u8>, known: &Known| {
        let request = SignedRequest::parse(&sent).unwrap();
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
        let policy = Policy::parse(&bytes).unwrap();
        policy.judge(&request, &facts(known), &mut |_| {}).err().map(|denial| denial.code())
    };
    assert_eq!(code(signer(), &returned(account)), None);
    assert_eq!(code(signer(), &returned(OWN)), Some("call"));
    // Nobody knows the key's account: then what should be it is unknown.
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &not(own()))]);
    let request = SignedRequest::parse(&sent).unwrap();
    let known = returned(CONTRACT);
    let nobody = Facts { account: None, ..facts(&known) };
    assert!(Policy::parse(&bytes).unwrap().judge(&request, &nobody, &mut |_| {}).is_err());
}

/// The account of a seed, and the request with its signature.
fn with_signature(request: &[u8], seed: u8) -> (Address, Vec<u8>) {
    use super::super::ethereum::message;
    let parsed = SignedRequest::parse(request).unwrap();
    let text = crate::request::approval_text(&parsed.hash());
    let key = k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
    let digest = message::digest(text.as_bytes());
    let (signature, id) = key.sign_prehash_recoverable(&digest).unwrap();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = 27 + id.to_byte();
    let mut buffer = [0; MAX_REQUEST];
    let (account, signed) = parsed.add_signature(&bytes, &mut buffer).unwrap();
    (account, signed.to_vec())
}

#[test]
fn signatures_of_accounts_count_once_each_and_only_of_the_set() {
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let (one, with_one) = with_signature(&sent, 1);
    let (two, with_both) = with_signature(&with_one, 2);
    let mut of = [one.0, two.0, [0xff; 20]];
    of.sort_unstable();
    let signatures =
        |least, of: &[[u8; 20]]| [&[kind::SIGNATURES, least][..], &listed(0, of)[1..]].concat();
    assert_eq!(code(signatures(1, &of), &sent), Some("signatures"));
    assert_eq!(code(signatures(1, &of), &with_one), None);
    assert_eq!(code(signatures(2, &of), &with_one), Some("signatures"));
    assert_eq!(code(signatures(2, &of), &with_both), None);
    assert_eq!(code(signatures(1, &[[0xff; 20]]), &with_both), Some("signatures"));
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &signatures(4, &of))]);
    assert_eq!(Policy::parse(&bytes), Err(FormError::Range("at_least")));
}

#[test]
fn balances_blocks_and_their_age() {
    let wei = |wei| Known { wei: Some(wei), ..Known::default() };
    assert_eq!(truth(balance_at_least(5), &wei(5)), Truth::True);
    assert_eq!(truth(balance_at_least(5), &wei(4)), Truth::False);
    let block = |number, time| Known { block: Some((number, time)), ..Known::default() };
    let number = [&[kind::BLOCK_NUMBER][..], &at(), &[1], &Amount::from_u128(5).to_be_bytes()];
    assert_eq!(truth(number.concat(), &block(5, 0)), Truth::True);
    assert_eq!(truth(number.concat(), &block(4, 0)), Truth::False);
    assert_eq!(truth(block_age(30), &block(1, NOW - 30)), Truth::True);
    assert_eq!(truth(block_age(30), &block(1, NOW - 31)), Truth::False);
    assert_eq!(truth(block_age(30), &block(1, NOW + 60)), Truth::True, "clocks differ a little");
    assert_eq!(truth(block_age(30), &block(1, NOW + 61)), Truth::Unknown);
    // The wrong kind of answer is none.
    struct Confused;
    impl Answers for Confused {
        fn answer(&self, _: &Question<'_>) -> Option<Answer<'_>> {
            Some(Answer::Call(&[]))
        }
    }
    assert_eq!(truth(block_age(30), &Confused), Truth::Unknown);
    assert_eq!(truth(price(), &Confused), Truth::Unknown);
    assert_eq!(truth(balance_at_least(0), &Confused), Truth::Unknown);
}

#[test]
fn documents_must_be_fresh_and_of_the_type_that_is_asked() {
    let of = |value, time| Known { value: Some((value, time)), ..Known::default() };
    let number = |text| of(JsonValue::Number(text), Some(NOW));
    assert_eq!(truth(price(), &number("2000.5")), Truth::True);
    assert_eq!(truth(price(), &number("2000.4999999999999999999999")), Truth::False);
    assert_eq!(asked(price(), &number("2000.49")), Some("http"));
    assert_eq!(truth(price(), &of(JsonValue::Text("2001"), Some(NOW))), Truth::True);
    for value in [JsonValue::Text("2001 USD"), JsonValue::Flag(true), JsonValue::Number("3e9")] {
        assert_eq!(truth(price(), &of(value, Some(NOW))), Truth::Unknown, "{value:?}");
    }
    for (time, expected) in [
        (Some(NOW - 60), Truth::True),
        (Some(NOW - 61), Truth::Unknown),
        (Some(NOW + 60), Truth::True),
        (Some(NOW + 61), Truth::Unknown),
        (None, Truth::Unknown),
    ] {
        assert_eq!(truth(price(), &of(JsonValue::Number("3000"), time)), expected, "{time:?}");
    }
    let text = document("https://a.example", "", &[1, 0, 2, b'o', b'k']);
    assert_eq!(truth(text.clone(), &of(JsonValue::Text("ok"), Some(NOW))), Truth::True);
    assert_eq!(truth(text.clone(), &of(JsonValue::Text("no"), Some(NOW))), Truth::False);
    assert_eq!(truth(text, &of(JsonValue::Flag(true), Some(NOW))), Truth::Unknown);
    let flag = document("https://a.example", "/a~1b/0", &[2, 1]);
    assert_eq!(truth(flag.clone(), &of(JsonValue::Flag(true), Some(NOW))), Truth::True);
    assert_eq!(truth(flag.clone(), &of(JsonValue::Flag(false), Some(NOW))), Truth::False);
    assert_eq!(truth(flag, &of(JsonValue::Text("true"), Some(NOW))), Truth::Unknown);
}

#[test]
fn calls_ask_with_what_the_request_has() {
    let [own, recipient, value] = [[1u8], [2], [3]];
    let fixed = [&[0][..], &[0; 31], &[9]].concat();
    let condition = call(
        "(address,address,uint256,uint8)",
        &[&own, &recipient, &value, &fixed],
        "(uint256)",
        &at_least_test(1),
    );
    let expected = [
        &[1, 2, 3, 4][..],
        &[0; 12],
        &OWN.0,
        &[0; 12],
        &TO,
        &Amount::from_u128(5).to_be_bytes(),
        &[0; 31],
        &[9],
    ]
    .concat();
    assert_eq!(questions(&condition), [format!("call {}", hex::encode(expected))]);
    // A message has no recipient: nothing is asked, and nothing is known.
    let bytes = policy(&[rule("rule", Kinds::MESSAGE, &[], &condition)]);
    let message = signed(Payload::EthereumMessage(b"m"), &[]);
    let request = SignedRequest::parse(&message).unwrap();
    let parsed = Policy::parse(&bytes).unwrap();
    let known = Known::default();
    parsed.questions(&request, &facts(&known), &mut |question| panic!("{question:?}"));
    let denial = parsed.judge(&request, &facts(&known), &mut |_| {}).unwrap_err();
    assert_eq!(denial.reason, Reason::NotThere(Asked::Transaction));
}

fn named(question: &Question<'_>) -> String {
    match question {
        Question::Call { data, .. } => format!("call {}", hex::encode(data)),
        Question::Balance { account, .. } => format!("balance {account}"),
        Question::Block { .. } => "block".into(),
        Question::Json { url, pointer, .. } => format!("{url} {pointer}"),
    }
}

/// What is asked when nothing is known.
fn questions(condition: &[u8]) -> Vec<String> {
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], condition)]);
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    let mut asked = Vec::new();
    let known = Known::default();
    let mut ask = |question: &Question<'_>| asked.push(named(question));
    Policy::parse(&bytes).unwrap().questions(&request, &facts(&known), &mut ask);
    asked
}

#[test]
fn only_what_can_help_is_asked() {
    let own = format!("balance {OWN}");
    let web = "https://price.example/eth /usd";
    // An unknown does not stop the rest: one round has all.
    let both = all(&[balance_at_least(1), price(), chain(1)]);
    assert_eq!(questions(&both), [own.as_str(), web]);
    // Wherever the part stands that fails.
    assert!(questions(&all(&[chain(2), balance_at_least(1)])).is_empty());
    assert!(questions(&all(&[balance_at_least(1), chain(2)])).is_empty());
    assert!(questions(&any(&[chain(1), balance_at_least(1)])).is_empty());
    assert!(questions(&any(&[balance_at_least(1), chain(1)])).is_empty(), "it is allowed already");
    assert_eq!(questions(&any(&[chain(2), balance_at_least(1)])), [own.as_str()]);
    assert_eq!(questions(&not(balance_at_least(1))), [own.as_str()]);
    assert_eq!(questions(&at_least(2, &[balance_at_least(1), chain(2), price()])), [&own, web]);
    assert!(questions(&at_least(2, &[balance_at_least(1), chain(2), chain(3)])).is_empty());
}

/// Answers to these questions.
struct Part<'k>(&'k BTreeSet<String>, bool);

impl Answers for Part<'_> {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let wei = Amount::from_u128(u128::from(self.1));
        self.0.contains(&named(question)).then_some(match question {
            Question::Balance { .. } => Answer::Balance(wei),
            Question::Block { .. } => Answer::Block { number: 1, time: u64::from(self.1) * NOW },
            Question::Json { .. } => {
                Answer::Json { value: JsonValue::Flag(self.1), time: Some(NOW) }
            }
            Question::Call { .. } => Answer::Call(&[]),
        })
    }
}

#[test]
fn one_round_of_questions_is_enough() {
    let flag = |url: &str| document(url, "", &[2, 1]);
    let leaves = [
        balance_at_least(1),
        block_age(9),
        flag("https://a.example"),
        flag("https://b.example"),
        chain(1),
        chain(2),
    ];
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    let mut asked_some = 0;
    for number in 0..6usize.pow(4) {
        let leaf = |place: u32| leaves[number / 6usize.pow(place) % 6].clone();
        let inner = [leaf(1), leaf(2)];
        let group = match number % 4 {
            0 => all(&inner),
            1 => any(&inner),
            2 => at_least(2, &inner),
            _ => not(any(&inner)),
        };
        let condition = if number % 2 == 0 {
            any(&[leaf(0), group, leaf(3)])
        } else {
            all(&[leaf(0), group, leaf(3)])
        };
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
        let policy = Policy::parse(&bytes).unwrap();
        let mut first = BTreeSet::new();
        let known = Known::default();
        policy.questions(&request, &facts(&known), &mut |question| {
            first.insert(named(question));
        });
        asked_some += usize::from(!first.is_empty());
        for value in [false, true] {
            let answers = Part(&first, value);
            let mut again = |question: &Question<'_>| panic!("{question:?} after {first:?}");
            policy.questions(&request, &facts(&answers), &mut again);
        }
    }
    assert!(asked_some > 100, "{asked_some}");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let with = |condition: Vec<u8>| {
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
        Policy::parse(&bytes).err()
    };
    let range = |name| Some(FormError::Range(name));
    let one = at_least_test(1);
    let word = |bytes: [u8; 32]| [&[0][..], &bytes].concat();
    // Words that are no arguments of the function: too few, too many, outside the type, a placeholder
    // where not every value of it fits, an offset out of place.
    let dirty = word([0xff; 32]);
    let zero = word([0; 32]);
    let cases: [(&str, &[&[u8]]); 8] = [
        ("(uint256)", &[]),
        ("()", &[&zero]),
        ("(address)", &[&dirty]),
        ("(address)", &[&[3]]),
        ("(uint8)", &[&[1]]),
        ("(bool)", &[&[3]]),
        ("(bytes)", &[&zero, &zero]),
        ("(uint256[])", &[&word(Amount::from_u128(32).to_be_bytes()), &[3]]),
    ];
    for (parameters, words) in cases {
        let refused = with(call(parameters, words, "(uint256)", &one));
        assert_eq!(refused, range("a call's arguments"), "{parameters}");
    }
    for (parameters, words) in [("(address)", [[1u8]]), ("(uint160)", [[2]]), ("(bytes32)", [[3]])]
    {
        assert_eq!(with(call(parameters, &[&words[0]], "(uint256)", &one)), None, "{parameters}");
    }
    let many = [&zero[..]; MAX_WORDS + 1];
    assert_eq!(
        with(call("(uint256[17])", &many, "(uint256)", &one)),
        Some(FormError::TooMany("words of a call"))
    );
    assert_eq!(with(call("(uint256[16])", &many[1..], "(uint256)", &one)), None);
    for returns in ["()", "(bool)", "(uint256[])", "((uint256,bool))"] {
        assert_eq!(with(call("()", &[], returns, &one)), range("the returned value"), "{returns}");
    }
    for wanted in [[1u8], [2]] {
        assert_eq!(with(call("()", &[], "(uint256)", &wanted)), range("the returned value"));
    }
    assert_eq!(with(call("()", &[], "(uint256)", &[3])), Some(FormError::Kind("expectation", 3)));
    assert_eq!(with(block_age(0)), range("age"));
    assert_eq!(with(block_age(MAX_AGE)), None);
    assert_eq!(with(block_age(MAX_AGE + 1)), range("age"));
    for url in [
        "http://a.example",
        "https://",
        "https:///x",
        "ftp://a",
        "https://user@a.example",
        "https://a.example/#x",
        "https://a.example/ x",
        "https://ä.example",
    ] {
        assert_eq!(with(document(url, "", &[2, 1])), range("url"), "{url}");
    }
    for pointer in ["a", "/~", "/~2", "/a~"] {
        assert_eq!(
            with(document("https://a.example", pointer, &[2, 1])),
            range("pointer"),
            "{pointer}"
        );
    }
    let number = |negative, decimals, size: u128| {
        let size = Amount::from_u128(size).to_be_bytes();
        with(document("https://a.example", "", &[&[0, 2, negative, decimals][..], &size].concat()))
    };
    assert_eq!(number(0, 2, 1050), range("number"), "10.50 is 10.5");
    assert_eq!(number(1, 0, 0), range("number"), "minus zero");
    assert_eq!(number(0, 78, 1), range("number"));
    assert_eq!(number(1, 77, 1), None);
}
