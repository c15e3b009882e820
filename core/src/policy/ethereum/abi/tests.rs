extern crate std;
use std::string::ToString;
use std::vec::Vec;

use super::*;

/// Words, each from the end of its hexadecimal digits: `ff` is 255.
fn words(texts: &[&str]) -> Vec<u8> {
    let word = |text: &&str| hex::decode(std::format!("{text:0>64}")).unwrap();
    texts.iter().flat_map(word).collect()
}

/// A word that its digits begin.
fn left(text: &str) -> std::string::String {
    std::format!("{text:0<64}")
}

fn signature(text: &str) -> Signature {
    Signature::parse(text).unwrap()
}

fn checked(text: &str, data: &[&str]) -> Result<(), AbiError> {
    check(&words(data), signature(text).types())
}

#[test]
fn selectors_that_everybody_knows() {
    for (text, selector) in [
        ("transfer(address,uint256)", "a9059cbb"),
        ("approve(address,uint256)", "095ea7b3"),
        ("balanceOf(address)", "70a08231"),
        ("totalSupply()", "18160ddd"),
    ] {
        assert_eq!(hex::encode(signature(text).selector), selector);
        let types = signature(text).types().to_string();
        assert!(text.ends_with(&types) && types.starts_with('('), "{types}");
    }
    for text in [
        "",
        "transfer",
        "transfer(",
        "(address)",
        "transfer(address,uint)",
        "transfer(address, uint256)",
        "transfer(address to)",
        "transfer(address))",
        "transfer(address) ",
        "trans fer(address)",
        "1f(address)",
        "f(address,)",
        "f(Person)",
        "f(())",
    ] {
        assert!(Signature::parse(text).is_err(), "{text}");
    }
    // Structs are typed data's; here they would have no size.
    assert_eq!(Types::parse(&[0x72, 0]), Err(TypeError::Tag(0x72)));
    assert_eq!(Types::parse(&[0x70, 0x73, 1, 0x72, 0]), Err(TypeError::Tag(0x70)));
    assert_eq!(Types::parse(&[0x61; MAX_TYPES + 1]), Err(TypeError::TooLong));
    assert!(Types::parse(&[0x61; MAX_TYPES]).is_ok());
}

#[test]
fn a_transfer() {
    let signature = signature("transfer(address,uint256)");
    let data = words(&["70997970c51812dc3a010c7d01b50e0d17dc79c8", "0de0b6b3a7640000"]);
    let to = argument(&data, signature.types(), &[0]).unwrap();
    let address = Address::from_hex("0x70997970c51812dc3a010c7d01b50e0d17dc79c8").unwrap();
    assert_eq!(to, Value::Address(address));
    let value = Value::Uint(Amount::from_u128(1_000_000_000_000_000_000));
    assert_eq!(argument(&data, signature.types(), &[1]), Ok(value));
    for path in [&[][..], &[2], &[u32::MAX], &[0, 0]] {
        let nothing = Err(AbiError::NoSuchArgument);
        assert_eq!(argument(&data, signature.types(), path), nothing, "{path:?}");
    }
    for length in 0..data.len() {
        assert_eq!(check(&data[..length], signature.types()), Err(AbiError::Truncated));
    }
    let longer = [data.as_slice(), &[0; 32]].concat();
    assert_eq!(check(&longer, signature.types()), Err(AbiError::Trailing));
}

#[test]
fn values_outside_their_types() {
    let f = "f".repeat(64);
    let minus_128 = std::format!("{}80", &f[2..]);
    for (kind, word, right) in [
        ("uint8", "ff", true),
        ("uint8", "100", false),
        ("uint256", f.as_str(), true),
        ("int8", "7f", true),
        ("int8", "80", false),
        ("int8", minus_128.as_str(), true),
        ("int8", "ff", false),
        ("int256", f.as_str(), true),
        ("bool", "1", true),
        ("bool", "2", false),
        ("bool", f.as_str(), false),
        ("address", &"f".repeat(40), true),
        ("address", &"1".repeat(41), false),
        ("bytes3", &left("ffffff"), true),
        ("bytes3", &left("ffffffff"), false),
        ("bytes32", f.as_str(), true),
    ] {
        let expected = if right { Ok(()) } else { Err(AbiError::Padding) };
        assert_eq!(checked(&std::format!("f({kind})"), &[word]), expected, "{kind} {word}");
    }
    let text = |word: &str| checked("f(string)", &["20", "2", &left(word)]);
    assert_eq!(text("c3a9"), Ok(()));
    assert_eq!(text("c328"), Err(AbiError::Text));
    assert_eq!(text("c3a900000001"), Err(AbiError::Padding));
    assert_eq!(checked("f(bytes)", &["20", "2", &left("c328")]), Ok(()));
    assert_eq!(checked("f(bytes)", &["20", "0"]), Ok(()));
    assert_eq!(checked("f(bytes)", &["20", "21", "0"]), Err(AbiError::Truncated));
    assert_eq!(checked("f(bytes)", &["20", &f, "0"]), Err(AbiError::Truncated));
    let almost = std::format!("{}1f", &f[2..]);
    assert_eq!(checked("f(bytes)", &["20", &almost, "0"]), Err(AbiError::Truncated));
}

#[test]
fn only_one_layout_is_read() {
    let pair = |offsets: [&str; 2]| {
        let [first, second] = offsets;
        checked("f(bytes,bytes)", &[first, second, "1", &left("aa"), "1", &left("bb")])
    };
    assert_eq!(pair(["40", "80"]), Ok(()));
    // Swapped, the same one twice, into the head, far outside, and around the end of the numbers.
    let negative = std::format!("{}e0", "f".repeat(62));
    for offsets in [
        ["80", "40"],
        ["40", "40"],
        ["80", "80"],
        ["0", "40"],
        ["20", "80"],
        ["40", "81"],
        ["40", "ffffffff"],
    ] {
        assert_eq!(pair(offsets), Err(AbiError::Offset), "{offsets:?}");
    }
    assert_eq!(pair(["40", &negative]), Err(AbiError::Truncated));
    assert_eq!(pair(["40", "100000000"]), Err(AbiError::Truncated));
    // A gap between the two.
    let gap = ["40", "a0", "1", &left("aa"), "0", "1", &left("bb")];
    assert_eq!(checked("f(bytes,bytes)", &gap), Err(AbiError::Offset));
}

/// Lists whose members share their bytes would stand for more than any party can read.
#[test]
fn short_data_cannot_stand_for_much() {
    let shared = ["20", "3", "60", "60", "60", "1", "7"];
    assert_eq!(checked("f(uint256[][])", &shared), Err(AbiError::Offset));
    for count in ["ffffffff", "10000000", "8000000"] {
        assert_eq!(checked("f(uint256[])", &["20", count, "0"]), Err(AbiError::Truncated));
        assert_eq!(checked("f(uint256[][])", &["20", count, "0"]), Err(AbiError::Truncated));
    }
    let many = "f(uint8[65535][65535][65535][65535][65535][65535][65535][65535])";
    assert_eq!(checked(many, &["0"]), Err(AbiError::Truncated));
    assert_eq!(checked("f(uint8[65535][65535][])", &["20", "ffff", "0"]), Err(AbiError::Truncated));
}

#[test]
fn arguments_inside_of_others() {
    let order = signature("f((address,(uint8,bytes)[2])[],int16)");
    let minus_two = std::format!("{}fe", "f".repeat(62));
    let data = words(&[
        "40",
        &minus_two, // the list, int16
        "1",
        "20", // one tuple
        "aa",
        "40", // its address, its pairs
        "40",
        "c0", // two pairs
        "1",
        "40",
        "1",
        &left("aa"), //
        "2",
        "40",
        "0",
    ]);
    let at = |path: &[u32]| argument(&data, order.types(), path);
    assert_eq!(check(&data, order.types()), Ok(()));
    assert_eq!(at(&[0, 0, 1, 0, 0]), Ok(Value::Uint(Amount::from_u128(1))));
    assert_eq!(at(&[0, 0, 1, 0, 1]), Ok(Value::Bytes(&[0xaa])));
    assert_eq!(at(&[0, 0, 1, 1, 0]), Ok(Value::Uint(Amount::from_u128(2))));
    assert_eq!(at(&[0, 0, 1, 1, 1]), Ok(Value::Bytes(&[])));
    assert!(matches!(at(&[1]), Ok(Value::Int(word)) if word[31] == 0xfe && word[0] == 0xff));
    for path in [&[0][..], &[0, 1], &[0, 0, 2], &[0, 0, 1, 2], &[0, 0, 1, 0, 2], &[1, 0]] {
        assert_eq!(at(path), Err(AbiError::NoSuchArgument), "{path:?}");
    }
    let length = |path: &[u32]| length(&data, order.types(), path);
    assert_eq!((length(&[0]), length(&[0, 0, 1])), (Ok(1), Ok(2)));
    assert_eq!(length(&[0, 0]), Err(AbiError::NoSuchArgument));
    let types = order.types();
    assert!(matches!(types.at(&[0, 7, 1, 1, 0]), Some(Type::Elementary(Elementary::Uint(1)))));
    assert!(types.at(&[0, 7, 1, 2, 0]).is_none() && types.at(&[2]).is_none());
    assert_eq!(Types::parse(types.as_bytes()), Ok(types));
}
