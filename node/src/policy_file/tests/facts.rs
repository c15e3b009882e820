//! Conditions about facts, as people write them.

use quorate_core::policy::fact::{Answer, Answers as _, At, JsonValue, Question};
use quorate_core::policy::{Amount, Policy};
use serde_json::{Value, json};

use super::super::*;
use super::{ACCOUNT, when};

const OTHER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

/// An object about a place, with more members.
fn placed(more: Value) -> Value {
    let mut fields = json!({ "chain": 1, "confirmations": 12 });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

fn call(more: Value) -> Value {
    let mut fields = placed(json!({ "contract": ACCOUNT }));
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "evm_call": fields })
}

fn http(more: Value) -> Value {
    let mut fields =
        json!({ "url": "https://a.example/x?y=1", "pointer": "/data/0/a~1b", "max_age": "5m" });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "http": fields })
}

fn conditions() -> Vec<Value> {
    let word = format!("0x{}", "00".repeat(32));
    let dynamic = format!("0x{}20", "00".repeat(31));
    vec![
        json!({ "block": placed(json!({ "number": { "at_least": 5 } })) }),
        json!({ "block": placed(json!({ "number": { "at_least": 5, "at_most": "0x10" }, "max_age": "1m 30s" })) }),
        json!({ "block": [placed(json!({ "max_age": "5m" })), { "chain": 10, "confirmations": 0, "max_age": "1h" }] }),
        json!({ "balance": placed(json!({ "account": "$key", "at_least": "1 ether" })) }),
        json!({ "balance": placed(json!({ "account": "$to", "at_most": "1.5", "decimals": 18 })) }),
        json!({ "balance": placed(json!({ "account": ACCOUNT, "equals": 0 })) }),
        json!({ "erc20_balance": placed(json!({ "token": ACCOUNT, "owner": "$key", "at_least": "100", "decimals": 6 })) }),
        json!({ "erc20_balance": placed(json!({ "token": ACCOUNT, "owner": OTHER, "at_least": 1, "at_most": 9 })) }),
        json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": 7, "in": [OTHER] })) }),
        json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": "0xff", "is": "$signer" })) }),
        json!({ "erc1155_balance": placed(json!({ "contract": ACCOUNT, "owner": "$to", "token_id": "7", "at_least": 1 })) }),
        call(json!({ "function": "paused() returns (bool)", "equals": false })),
        call(
            json!({ "function": "allowance(address,address) returns (uint256)", "args": ["$key", OTHER], "at": [0], "at_least": "1000", "decimals": 6 }),
        ),
        call(
            json!({ "function": "f(uint8,int16,bool,bytes4,uint256,address) returns ((int256,string)[],bytes)",
            "args": [255, "-5", true, "0x01020304", "$value", "$to"], "at": [0, 2, 0], "at_least": "-7" }),
        ),
        call(
            json!({ "function": "f(uint256) returns ((int256,string)[],bytes)", "args": ["0x10"], "at": [0, 0, 1], "starts_with": "a", "ends_with": "b" }),
        ),
        call(
            json!({ "function": "f(bytes32,uint256) returns (bytes4)", "words": ["$key", "$value"], "equals": "0x01020304" }),
        ),
        call(
            json!({ "function": "f(bytes) returns (address)", "words": [dynamic, word], "is": "$key" }),
        ),
        call(
            json!({ "function": "0x01020304((uint256,uint256)) returns (address)", "words": ["$value", word], "in": [OTHER, ACCOUNT] }),
        ),
        call(
            json!({ "function": "ownerOf(uint256) returns (address)", "args": ["$value"], "is": "$signer" }),
        ),
        http(json!({ "as": "number", "at_least": "2000.50", "at_most": 3000 })),
        http(json!({ "as": "number", "equals": "-0.000001", "time": "/at" })),
        http(json!({ "as": "text", "pattern": "ok*", "pointer": "" })),
        http(json!({ "as": "bool", "equals": true })),
        json!({ "signatures": { "at_least": 1, "of": [ACCOUNT, OTHER] } }),
    ]
}

#[test]
fn what_is_read_back_is_the_same_policy() {
    let mut sentences = std::collections::BTreeSet::new();
    for condition in conditions() {
        let bytes = when(&condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let policy = Policy::parse(bytes.as_slice()).unwrap();
        let json = to_json(&policy);
        assert_eq!(from_json(&json).as_ref(), Ok(&bytes), "{json}");
        sentences.insert(explain(&policy));
    }
    assert_eq!(sentences.len(), 24, "each has its own sentences");
}

fn read_back(condition: Value) -> Value {
    let bytes = when(&condition).unwrap();
    to_json(&Policy::parse(bytes.as_slice()).unwrap())["rules"][0]["when"].clone()
}

#[test]
fn short_forms_are_calls_and_are_recognised() {
    let owner = |inner: Value| json!({ "erc20_balance": placed(inner) });
    let short = owner(json!({ "token": ACCOUNT, "owner": "$key", "at_least": "1" }));
    let long = call(
        json!({ "function": "balanceOf(address) returns (uint256)", "args": ["$key"], "at_least": 1 }),
    );
    assert_eq!(when(&short), when(&long));
    assert_eq!(read_back(long), short);
    let short = json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": "7", "is": "$key" })) });
    let long = call(
        json!({ "function": "ownerOf(uint256) returns (address)", "args": [7], "is": "$key" }),
    );
    assert_eq!(when(&short), when(&long));
    assert_eq!(read_back(long), short);
    let short = json!({ "erc1155_balance": placed(json!({ "contract": ACCOUNT, "owner": OTHER, "token_id": "7", "equals": "2" })) });
    let long = call(
        json!({ "function": "balanceOf(address,uint256) returns (uint256)", "args": [OTHER, 7], "equals": 2 }),
    );
    assert_eq!(when(&short), when(&long));
    assert_eq!(read_back(long), short);
    // A token by the transaction's value is no short form, nor is another returned value.
    for other in [
        call(
            json!({ "function": "ownerOf(uint256) returns (address)", "args": ["$value"], "is": "$key" }),
        ),
        call(
            json!({ "function": "balanceOf(address) returns (uint256,uint256)", "args": ["$key"], "at": 1, "at_least": 1 }),
        ),
    ] {
        assert!(read_back(other)["evm_call"].is_object());
    }
}

#[test]
fn sentences_name_place_and_bound() {
    let sentence = |condition: &Value| {
        let bytes = when(condition).unwrap();
        explain(&Policy::parse(bytes.as_slice()).unwrap()).lines().nth(1).unwrap().trim().to_owned()
    };
    let at = "on chain 1, 12 blocks back";
    for (condition, expected) in [
        (
            json!({ "erc20_balance": placed(json!({ "token": ACCOUNT, "owner": "$key", "at_least": 5 })) }),
            format!("- the key's own account has at least 5 of the token {ACCOUNT}, {at}"),
        ),
        (
            json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": 7, "is": "$signer" })) }),
            format!("- the owner of token 7 of {ACCOUNT}, {at}, is an account that has signed the request"),
        ),
        (
            json!({ "balance": placed(json!({ "account": "$to", "at_most": "1 ether" })) }),
            format!("- the recipient has at most 1 ether {at}"),
        ),
        (
            http(json!({ "as": "number", "at_least": "2000.5" })),
            "- /data/0/a~1b of https://a.example/x?y=1, at most 5m old by the server's word, is at least 2000.5".to_owned(),
        ),
        (
            json!({ "block": placed(json!({ "max_age": "60s" })) }),
            format!("- the block {at} is at most 1m old"),
        ),
    ] {
        assert_eq!(sentence(&condition), expected);
    }
}

#[test]
fn mistakes_name_their_field() {
    let field = |condition: Value| {
        let error = when(&condition).unwrap_err();
        error.field.strip_prefix("rules[0].when.").unwrap_or(&error.field).to_owned()
    };
    let view = "f(uint8) returns (uint256)";
    for (condition, expected) in [
        (json!({ "block": { "chain": 1, "max_age": "1m" } }), "block.confirmations"),
        (json!({ "block": { "chain": "1", "confirmations": 1, "max_age": "1m" } }), "block.chain"),
        (json!({ "block": placed(json!({})) }), "block"),
        (json!({ "block": [placed(json!({ "max_age": "31days" }))] }), "block[0].max_age"),
        (json!({ "block": placed(json!({ "age": "1m" })) }), "block.age"),
        (
            json!({ "balance": placed(json!({ "account": "$sender", "at_least": 1 })) }),
            "balance.account",
        ),
        (json!({ "balance": placed(json!({ "account": "$key" })) }), "balance"),
        (
            json!({ "balance": placed(json!({ "account": "$key", "at_least": "x" })) }),
            "balance.at_least",
        ),
        (
            json!({ "erc20_balance": placed(json!({ "owner": "$key", "at_least": 1 })) }),
            "erc20_balance.token",
        ),
        (
            json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": 7, "is": "$to" })) }),
            "erc721_owner.is",
        ),
        (
            json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": 7, "in": ["x"] })) }),
            "erc721_owner.in[0]",
        ),
        (call(json!({ "function": "f() (uint256)", "at_least": 1 })), "evm_call.function"),
        (call(json!({ "function": "f() returns uint256", "at_least": 1 })), "evm_call.function"),
        (call(json!({ "function": view, "at_least": 1 })), "evm_call.args"),
        (call(json!({ "function": view, "args": [256], "at_least": 1 })), "evm_call.args[0]"),
        (call(json!({ "function": view, "args": ["$value"], "at_least": 1 })), "evm_call.args[0]"),
        (
            call(json!({ "function": view, "args": [1], "words": [], "at_least": 1 })),
            "evm_call.words",
        ),
        (call(json!({ "function": view, "words": [], "at_least": 1 })), "evm_call.words"),
        (call(json!({ "function": view, "words": ["0x01"], "at_least": 1 })), "evm_call.words[0]"),
        (call(json!({ "function": view, "args": [1], "at": 1, "at_least": 1 })), "evm_call.at"),
        (call(json!({ "function": view, "args": [1], "at": [], "at_least": 1 })), "evm_call.at"),
        (call(json!({ "function": view, "args": [1], "is": "$key" })), "evm_call.is"),
        (call(json!({ "function": view, "args": [1], "equals": true })), "evm_call.equals"),
        (call(json!({ "function": view, "args": [1] })), "evm_call"),
        (
            call(json!({ "function": "f(int8) returns (bool)", "args": [128], "equals": true })),
            "evm_call.args[0]",
        ),
        (
            call(json!({ "function": "f(bytes) returns (bool)", "args": ["0x"], "equals": true })),
            "evm_call.args[0]",
        ),
        (
            call(
                json!({ "function": "f(bytes2) returns (bool)", "args": ["0x01"], "equals": true }),
            ),
            "evm_call.args[0]",
        ),
        (http(json!({ "as": "number", "at_least": 1.5 })), "http.at_least"),
        (http(json!({ "as": "number", "at_least": "1e9" })), "http.at_least"),
        (http(json!({ "as": "number", "contains": "1" })), "http.contains"),
        (http(json!({ "as": "number" })), "http"),
        (http(json!({ "as": "uint", "at_least": 1 })), "http.as"),
        (http(json!({ "as": "bool", "equals": "yes" })), "http.equals"),
        (http(json!({ "as": "text", "equals": "x", "url": "http://a.example" })), "http.url"),
        (http(json!({ "as": "text", "equals": "x", "url": "a.example" })), "http.url"),
        (http(json!({ "as": "text", "equals": "x", "pointer": "data" })), "http.pointer"),
        (http(json!({ "as": "text", "equals": "x", "time": "at" })), "http.time"),
        (
            json!({ "http": { "url": "https://a", "pointer": "", "as": "bool", "equals": true } }),
            "http.max_age",
        ),
        (json!({ "signatures": { "at_least": 2, "of": [ACCOUNT] } }), "signatures.at_least"),
        (json!({ "signatures": { "at_least": 1, "of": ["ed25519:00"] } }), "signatures.of[0]"),
    ] {
        assert_eq!(field(condition.clone()), expected, "{condition}");
    }
}

#[test]
fn parts_of_one_object_ask_facts_last() {
    let bytes = when(&json!({
        "http": { "url": "https://a", "pointer": "", "max_age": "1m", "as": "bool", "equals": true },
        "not": { "to": [ACCOUNT] }, "chain": [1], "approvals": { "at_least": 1, "of": ["01".repeat(32)] },
    }))
    .unwrap();
    let json = to_json(&Policy::parse(bytes.as_slice()).unwrap());
    let order: Vec<&str> = json["rules"][0]["when"]["all"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|part| part.as_object().unwrap().keys().map(String::as_str))
        .collect();
    assert_eq!(order, ["chain", "approvals", "not", "http"]);
}

#[test]
fn signed_numbers_have_decimals_too() {
    let price = |test: Value| {
        let mut fields =
            json!({ "function": "latestRoundData() returns (uint80,int256)", "at": 1 });
        fields.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        when(&call(fields))
    };
    let scaled = price(json!({ "at_least": "-4000.5", "decimals": 8 })).unwrap();
    assert_eq!(price(json!({ "at_least": "-400050000000" })), Ok(scaled));
    assert!(price(json!({ "at_least": "4000.123456789", "decimals": 8 })).is_err());
}

#[test]
fn doubts_about_facts() {
    let codes = |condition: &Value| {
        let bytes = when(condition).unwrap();
        let doubts = lint(&Policy::parse(bytes.as_slice()).unwrap());
        doubts.into_iter().map(|doubt| doubt.code).collect::<Vec<_>>()
    };
    let newest = json!({ "block": { "chain": 1, "confirmations": 0, "max_age": "1m" } });
    assert!(codes(&json!({ "any": [{ "not": newest }] })).contains(&"unconfirmed"));
    assert!(
        !codes(&json!({ "block": placed(json!({ "max_age": "1m" })) })).contains(&"unconfirmed")
    );
    let fact = |age: &str| http(json!({ "as": "bool", "equals": true, "max_age": age }));
    assert!(
        codes(&fact("25h")).contains(&"old-fact") && !codes(&fact("24h")).contains(&"old-fact")
    );
    // Whoever signed is somebody.
    assert!(codes(&fact("1h")).contains(&"anybody"));
    assert!(
        !codes(&json!({ "signatures": { "at_least": 1, "of": [ACCOUNT] } })).contains(&"anybody")
    );
    let owner = |is: &str| json!({ "erc721_owner": placed(json!({ "contract": ACCOUNT, "token_id": 7, "is": is })) });
    assert!(!codes(&owner("$signer")).contains(&"anybody"));
    assert!(codes(&owner("$key")).contains(&"anybody"));
}

#[test]
fn recorded_facts_are_read_back_and_answer() {
    let at = At { chain: 1, confirmations: 12 };
    let account = quorate_core::policy::ethereum::Address([7; 20]);
    let json_question = |time| Question::Json { url: "https://a.example", pointer: "/p", time };
    let pairs: Vec<(Question<'_>, Answer<'_>)> = vec![
        (Question::Call { at, contract: account, data: &[1, 2] }, Answer::Call(&[3, 4])),
        (Question::Balance { at, account }, Answer::Balance(Amount::MAX)),
        (Question::Block { at }, Answer::Block { number: 5, time: 6 }),
        (json_question(None), Answer::Json { value: JsonValue::Number("1.50"), time: None }),
        (json_question(Some("/t")), Answer::Json { value: JsonValue::Text("x"), time: Some(7) }),
        (
            Question::Json { url: "https://b.example", pointer: "", time: None },
            Answer::Json { value: JsonValue::Flag(true), time: Some(8) },
        ),
    ];
    let mut recorded = Recorded::default();
    for (question, answer) in &pairs {
        assert_eq!(recorded.answer(question), None);
        // An answer of another kind is none.
        let other = if matches!(answer, Answer::Call(_)) {
            Answer::Balance(Amount::ZERO)
        } else {
            Answer::Call(&[])
        };
        recorded.insert(question, &other);
        assert_eq!(recorded.answer(question), None);
        recorded.insert(question, answer);
    }
    let again = Recorded::from_json(&recorded.to_json()).unwrap();
    assert_eq!(again, recorded);
    for (question, answer) in &pairs {
        assert_eq!(again.answer(question).as_ref(), Some(answer));
        // What is printed for a missing fact, completed, is an entry.
        let mut entry = template(question);
        let whole = again.to_json();
        let with_answer = whole["facts"].as_array().unwrap().iter().find(|one| {
            ["call", "balance", "block", "http"].iter().all(|kind| one.get(kind) == entry.get(kind))
        });
        entry.as_object_mut().unwrap().extend(with_answer.unwrap().as_object().unwrap().clone());
        let single = Recorded::from_json(&json!({ "facts": [entry] })).unwrap();
        assert_eq!(single.answer(question).as_ref(), Some(answer));
    }
}

#[test]
fn mistakes_in_recorded_facts_name_their_field() {
    let field = |entry: Value| Recorded::from_json(&json!({ "facts": [entry] })).unwrap_err().field;
    let block = json!({ "chain": 1, "confirmations": 1 });
    assert_eq!(field(json!({})), "facts[0]");
    assert_eq!(field(json!({ "block": block, "number": 1 })), "facts[0].time");
    assert_eq!(field(json!({ "block": block, "number": "…", "time": 1 })), "facts[0].number");
    assert_eq!(
        field(json!({ "block": { "chain": 1 }, "number": 1, "time": 1 })),
        "facts[0].block.confirmations"
    );
    let call = json!({ "chain": 1, "confirmations": 1, "contract": ACCOUNT, "data": "0x" });
    assert_eq!(field(json!({ "call": call, "returns": "0x…" })), "facts[0].returns");
    let web = json!({ "url": "https://a", "pointer": "" });
    assert_eq!(field(json!({ "http": web, "value": 5 })), "facts[0].value");
    assert_eq!(
        field(json!({ "http": web, "value": { "flag": true }, "time": "x" })),
        "facts[0].time"
    );
    let twice = json!({ "block": block, "number": 1, "time": 1 });
    let twice = Recorded::from_json(&json!({ "facts": [twice, twice] })).unwrap_err();
    assert_eq!(twice.field, "facts[1]");
    assert_eq!(Recorded::parse("[").unwrap_err().field, "JSON");
}
