extern crate std;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::policy::Amount;
use crate::policy::ethereum::Address;

/// Parts, one behind the other.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn name(text: &str) -> Vec<u8> {
    join(&[&[text.len() as u8], text.as_bytes()])
}

fn string(text: &str) -> Vec<u8> {
    join(&[&(text.len() as u16).to_be_bytes(), text.as_bytes()])
}

fn definition(title: &str, fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = join(&[&name(title), &[fields.len() as u8]]);
    for (field, kind) in fields {
        bytes.extend(join(&[&name(field), kind]));
    }
    bytes
}

const ADDRESS: &[u8] = &[0x62];
const BOOL: &[u8] = &[0x61];
const TEXT: &[u8] = &[0x64];

fn word(last: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[31] = last;
    word
}

fn domain() -> Vec<u8> {
    let name = join(&[&[0], &string("Ether Mail")]);
    let version = join(&[&[1], &string("1")]);
    let chain = join(&[&[2], &word(1)]);
    let contract = join(&[&[3], &[0xcc; 20]]);
    join(&[&[4], &name, &version, &chain, &contract])
}

/// The example of EIP-712 itself.
fn mail() -> Vec<u8> {
    let person = |name: &str, wallet: &str| join(&[&string(name), &hex::decode(wallet).unwrap()]);
    let types = join(&[
        &[2],
        &definition("Mail", &[("from", &[0x72, 1]), ("to", &[0x72, 1]), ("contents", TEXT)]),
        &definition("Person", &[("name", TEXT), ("wallet", ADDRESS)]),
    ]);
    let message = join(&[
        &person("Cow", "CD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"),
        &person("Bob", &"b".repeat(40)),
        &string("Hello, Bob!"),
    ]);
    join(&[&[FORM], &domain(), &types, &[0], &message])
}

#[test]
fn the_example_of_the_eip() {
    let bytes = mail();
    let data = TypedData::parse(&bytes).unwrap();
    let digest = "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2";
    assert_eq!(hex::encode(data.digest()), digest);
    assert_eq!(data.primary_type(), "Mail");
    let mut text = String::new();
    data.encode_type(&mut text).unwrap();
    let expected = "Mail(Person from,Person to,string contents)Person(string name,address wallet)";
    assert_eq!(text, expected);

    assert_eq!(data.domain("name"), Some(Value::Text("Ether Mail")));
    assert_eq!(data.domain("version"), Some(Value::Text("1")));
    assert_eq!(data.domain("chainId"), Some(Value::Uint(Amount::from_u128(1))));
    assert_eq!(data.domain("verifyingContract"), Some(Value::Address(Address([0xcc; 20]))));
    assert_eq!((data.domain("salt"), data.domain("x")), (None, None));

    let name = PathStep::Name;
    assert_eq!(data.field(&[name("to"), name("name")]), Some(Value::Text("Bob")));
    let wallet = data.field(&[name("to"), name("wallet")]);
    assert_eq!(wallet, Some(Value::Address(Address([0xbb; 20]))));
    assert_eq!(data.field(&[name("contents")]), Some(Value::Text("Hello, Bob!")));
    for path in [
        &[][..],
        &[name("to")],
        &[name("cc")],
        &[name("to"), name("x")],
        &[name("contents"), name("x")],
        &[PathStep::Index(0)],
        &[name("to"), PathStep::Index(0)],
    ] {
        assert_eq!((data.field(path), data.length(path)), (None, None), "{path:?}");
    }
}

#[test]
fn every_truncation_is_refused_and_so_is_what_comes_behind() {
    let bytes = mail();
    for length in 0..bytes.len() {
        assert!(TypedData::parse(&bytes[..length]).is_err(), "{length}");
    }
    let longer = join(&[&bytes, &[0]]);
    assert_eq!(TypedData::parse(&longer).unwrap_err(), TypedDataError::Trailing);
}

/// Every bit is in the digest, or refused: nothing can be said twice.
#[test]
fn no_two_encodings_have_one_digest() {
    let bytes = mail();
    let mut digests =
        std::collections::BTreeSet::from([TypedData::parse(&bytes).unwrap().digest()]);
    let mut accepted = 1;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        if let Ok(data) = TypedData::parse(&altered) {
            accepted += 1;
            assert!(digests.insert(data.digest()), "bit {bit}");
        }
    }
    assert!(accepted > 700, "{accepted}");
}

/// A message of one struct with these definitions, the first of which is the primary type.
fn data(definitions: &[Vec<u8>], primary: u8, message: &[u8]) -> Vec<u8> {
    join(&[&[FORM, 0, definitions.len() as u8], &definitions.concat(), &[primary], message])
}

fn refusal(bytes: &[u8]) -> TypedDataError {
    TypedData::parse(bytes).unwrap_err()
}

#[test]
fn structs_that_cannot_be() {
    let one = |title: &str, fields: &[(&str, &[u8])]| data(&[definition(title, fields)], 0, &[1]);
    assert!(TypedData::parse(&one("A", &[("x", BOOL)])).is_ok());
    assert!(TypedData::parse(&one("HyperliquidTransaction:UsdSend", &[("x", BOOL)])).is_ok());
    for title in
        ["", "1A", "A B", "A(", "A,", "A[]", "Ä", "uint256", "uint", "bytes", "EIP712Domain"]
    {
        assert_eq!(refusal(&one(title, &[("x", BOOL)])), TypedDataError::Name, "{title}");
    }
    for field in ["", "1x", "x y", "x)", "x:y", "ä"] {
        assert_eq!(refusal(&one("A", &[(field, BOOL)])), TypedDataError::Name, "{field}");
    }
    assert_eq!(refusal(&one("A", &[("x", BOOL), ("x", BOOL)])), TypedDataError::Duplicate);
    assert_eq!(refusal(&one("A", &[])), TypedDataError::Count);
    let unknown = TypedDataError::Type(TypeError::Unknown);
    assert_eq!(refusal(&one("A", &[("x", &[0x72, 1])])), unknown);
    assert_eq!(refusal(&one("A", &[("x", &[0x73, 1, 0x61])])), unknown);
    assert_eq!(refusal(&one("A", &[("x", &[0x70, 0x73, 1, 0x61])])), unknown);
    assert_eq!(refusal(&one("A", &[("x", &[0])])), TypedDataError::Type(TypeError::Tag(0)));

    let (a, b) = (definition("A", &[("x", BOOL)]), definition("B", &[("x", BOOL)]));
    assert_eq!(refusal(&data(&[a.clone(), b.clone()], 0, &[1])), TypedDataError::Unused(1));
    assert_eq!(refusal(&data(&[a.clone(), b.clone()], 1, &[1])), TypedDataError::Unused(0));
    assert_eq!(refusal(&data(&[b, a.clone()], 0, &[1])), TypedDataError::Order);
    assert_eq!(refusal(&data(&[a.clone(), a.clone()], 0, &[1])), TypedDataError::Order);
    for primary in [1, 31, 32, 255] {
        assert!(TypedData::parse(&data(core::slice::from_ref(&a), primary, &[1])).is_err());
    }
    assert_eq!(refusal(&data(&[], 0, &[1])), TypedDataError::Count);
    assert_eq!(refusal(&[0]), TypedDataError::Version(0));
    assert_eq!(refusal(&[]), TypedDataError::Truncated);
    assert_eq!(refusal(&data(&[a], 0, &[2])), TypedDataError::Bool);
    let text = data(&[definition("A", &[("x", TEXT)])], 0, &[0, 1, 0xff]);
    assert_eq!(refusal(&text), TypedDataError::Text);
}

#[test]
fn domains_that_cannot_be() {
    let body = data(&[definition("A", &[("x", BOOL)])], 0, &[1]);
    let with = |domain: &[u8]| join(&[&[FORM], domain, &body[2..]]);
    assert!(TypedData::parse(&with(&[0])).is_ok());
    let (name, version) = (join(&[&[0], &string("n")]), join(&[&[1], &string("v")]));
    // The order of the fields is the dapp's, and part of what is signed.
    let orders = [join(&[&[2], &name, &version]), join(&[&[2], &version, &name])];
    let [one, other] = orders.map(|domain| TypedData::parse(&with(&domain)).unwrap().digest());
    assert_ne!(one, other);
    assert_eq!(refusal(&with(&join(&[&[2], &name, &name]))), TypedDataError::Domain);
    assert_eq!(refusal(&with(&[1, 5])), TypedDataError::Domain);
}

#[test]
fn recursion_ends_at_its_limit() {
    let tree = definition("Tree", &[("leaf", BOOL), ("branches", &[0x70, 0x72, 0])]);
    // Each level is a struct in an array.
    let deep = |levels: usize| {
        let mut message = [1, 0, 1].repeat(levels);
        message.extend([1, 0, 0]);
        data(core::slice::from_ref(&tree), 0, &message)
    };
    let bytes = deep(3);
    let parsed = TypedData::parse(&bytes).unwrap();
    let (name, index) = (PathStep::Name("branches"), PathStep::Index);
    let path = [name, index(0), name, index(0), name, index(0), PathStep::Name("leaf")];
    assert_eq!(parsed.field(&path), Some(Value::Bool(true)));
    assert_eq!((parsed.length(&path[..1]), parsed.length(&path[..5])), (Some(1), Some(1)));
    assert_eq!(parsed.length(&[name, index(0), name, index(0), name, index(0), name]), Some(0));
    assert_eq!(parsed.field(&[name, index(1)]), None);
    assert_eq!(refusal(&deep(4)), TypedDataError::TooDeep);
    // A struct that contains itself has no values.
    let endless = definition("A", &[("a", &[0x72, 0])]);
    assert_eq!(refusal(&data(&[endless], 0, &[0; 64])), TypedDataError::TooDeep);
}

#[test]
fn a_huge_count_of_little_costs_little() {
    // As many elements as a count can say, and no bytes for them.
    let list = definition("A", &[("x", &[0x70, 0x71, 0xff, 0xff, 0x71, 0xff, 0xff, 0x61])]);
    assert_eq!(refusal(&data(&[list], 0, &[0xff, 0xff, 1, 1])), TypedDataError::Truncated);
}
