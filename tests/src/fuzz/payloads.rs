//! Payloads: transactions, typed data, the data of calls.

use quorate_core::policy::ethereum::abi::{self, AbiError, Signature, Types};
use quorate_core::policy::ethereum::typed_data::TypedData;
use quorate_core::policy::ethereum::types::{Elementary, Type};
use quorate_core::policy::ethereum::{
    Transaction, UNSIGNED_OVERHEAD, UnsignedFields, keccak256, signed_transaction, take_apart,
    unsigned_transaction,
};
use quorate_core::policy::payload::PathStep;
use quorate_node::typed_data::compact_typed_data;
use serde_json::json;

use super::seeds::{Seeds, named};

/// A transaction that is allowed to be signed reads the same everywhere.
pub(super) fn ethereum(input: &[u8]) {
    let _ = take_apart(input);
    let Ok(transaction) = Transaction::parse(input) else { return };
    // What was counted is there to be read.
    assert_eq!(transaction.blob_hashes().count(), transaction.blobs);
    assert!(transaction.access_list().all(|entry| entry.storage_keys().count() < input.len()));
    assert!(transaction.authorizations().count() < input.len());
    // The signed form is of this unsigned one.
    let (r, s) = ([0x11; 32], [0x22; 32]);
    let mut buffer = vec![0; input.len() + 80];
    let signed = signed_transaction(input, true, &r, &s, &mut buffer);
    let parts = signed.ok().and_then(|raw| take_apart(raw).ok());
    let parts = parts.map(|parts| (parts.digest, parts.y_parity, parts.r, parts.s));
    assert_eq!(parts, Some((transaction.digest(), true, r, s)));
    assert_eq!(transaction.digest(), keccak256(input));
    let fields = UnsignedFields {
        chain_id: transaction.chain_id,
        nonce: transaction.nonce,
        max_priority_fee_per_gas: transaction.max_priority_fee_per_gas,
        max_fee_per_gas: transaction.max_fee_per_gas,
        gas_limit: transaction.gas_limit,
        to: transaction.to,
        value: transaction.value,
        data: transaction.data,
    };
    let mut buffer = vec![0; transaction.data.len() + UNSIGNED_OVERHEAD];
    // One encoding only; the other types and access lists are parsed, and not written by ours.
    if let (Ok(bytes), Some(2)) =
        (unsigned_transaction(&fields, &mut buffer), transaction.kind.type_byte())
    {
        assert!(bytes == input || bytes.len() < input.len());
    }
}

/// Typed data says what it is, and all its fields can be reached.
pub(super) fn typed_data(input: &[u8]) {
    let Ok(data) = TypedData::parse(input) else { return };
    let mut text = String::new();
    assert!(data.encode_type(&mut text).is_ok());
    let fields = text.strip_prefix(data.primary_type()).and_then(|rest| rest.strip_prefix('('));
    let fields = fields.and_then(|rest| rest.split_once(')')).map_or("", |(fields, _)| fields);
    assert!(!fields.is_empty(), "{text}");
    for field in fields.split(',') {
        let (kind, name) = field.split_once(' ').unwrap_or_default();
        let path = [PathStep::Name(name)];
        assert_eq!(data.field(&path).is_some(), Elementary::from_name(kind).is_some(), "{field}");
        assert_eq!(data.length(&path).is_some(), kind.ends_with(']'), "{field}");
    }
    // It ends where it ends.
    assert!(TypedData::parse(&[input, &[0]].concat()).is_err());
}

/// Every argument of data that is accepted can be read, and nothing can be added to it.
///
/// The first byte says how many bytes of types come next; the rest is data.
pub(super) fn call_data(input: &[u8]) {
    if let Some(signature) = str::from_utf8(input).ok().and_then(|text| Signature::parse(text).ok())
    {
        let text = signature.types().to_string();
        assert!(input.ends_with(text.as_bytes()));
        assert_eq!(Types::parse(signature.types().as_bytes()), Ok(signature.types()));
    }
    let Some((count, rest)) = input.split_first() else { return };
    let Some((types, data)) = rest.split_at_checked((*count).into()) else { return };
    let Ok(types) = Types::parse(types) else { return };
    if abi::check(data, types).is_err() {
        assert!(abi::argument(data, types, &[0]).is_err());
        return;
    }
    assert_eq!(data.len() % 32, 0);
    assert_eq!(abi::check(&[data, &[0; 32]].concat(), types), Err(AbiError::Trailing));
    read_all(data, types, &mut Vec::new(), &mut 1_000);
}

/// Reads everything below a path; how many there are at most.
fn read_all(data: &[u8], types: Types<'_>, path: &mut Vec<u32>, left: &mut u32) {
    for index in 0.. {
        path.push(index);
        let Some(kind) = types.at(path).filter(|_| *left > 0) else { break };
        *left -= 1;
        let behind = match path.split_last() {
            Some((index, [])) => types.at(&[*index]).is_none(),
            Some((index, above)) => {
                abi::length(data, types, above).is_ok_and(|length| *index >= length)
            }
            None => false,
        };
        let elementary = matches!(kind, Type::Elementary(_));
        assert_eq!(abi::argument(data, types, path).is_ok(), elementary && !behind, "{path:?}");
        if behind {
            break;
        }
        if !elementary {
            read_all(data, types, path, left);
        }
        path.pop();
    }
    path.pop();
}

/// One transaction of every type that ours does not write, as ethers writes it.
pub(super) fn transactions() -> Seeds {
    [("legacy", LEGACY), ("access-list", ACCESS_LIST), ("blob", BLOB), ("set-code", SET_CODE)]
        .into_iter()
        .map(|(name, text)| named(name, decoded(text)))
        .collect()
}

fn decoded(text: &[&str]) -> Vec<u8> {
    hex::decode(text.concat()).unwrap_or_default()
}

/// The example of EIP-712, and one with everything in it.
pub(super) fn typed() -> Seeds {
    let field = |name: &str, kind: &str| json!({ "name": name, "type": kind });
    let person = json!([field("name", "string"), field("wallet", "address")]);
    let mail = json!({
        "types": {
            "Mail": [field("from", "Person"), field("to", "Person"), field("contents", "string")],
            "Person": person,
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail", "version": "1", "chainId": 1,
            "verifyingContract": format!("0x{}", "cc".repeat(20)),
        },
        "message": {
            "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
            "to": { "name": "Bob", "wallet": format!("0x{}", "bb".repeat(20)) },
            "contents": "Hello, Bob!",
        },
    });
    let all = json!({
        "types": {
            "All": [
                field("u", "uint16"), field("i", "int8"), field("b", "bytes3"), field("yes", "bool"),
                field("raw", "bytes"), field("lists", "uint8[2][]"), field("trees", "Tree[]"),
            ],
            "Tree": [field("leaf", "string"), field("branches", "Tree[]")],
        },
        "primaryType": "All",
        "domain": { "salt": format!("0x{}", "5a".repeat(32)) },
        "message": {
            "u": 65535, "i": -128, "b": "0x010203", "yes": true, "raw": "0x", "lists": [[1, 2], [3, 4]],
            "trees": [{ "leaf": "a", "branches": [{ "leaf": "b", "branches": [] }] }],
        },
    });
    [("mail", mail), ("all", all)]
        .into_iter()
        .map(|(name, json)| named(name, compact_typed_data(&json).unwrap_or_default()))
        .collect()
}

/// Texts, and types with data that ethers encoded.
pub(super) fn calls() -> Seeds {
    let call = |text: &str, data: &[&str]| {
        let signature = Signature::parse(text);
        let types = signature.as_ref().map_or(&[][..], |signature| signature.types().as_bytes());
        [&[types.len() as u8], types, &decoded(data)].concat()
    };
    let nested = "f((address,(uint8,bytes)[2])[],int16,string,bool[])";
    vec![
        named("text", nested.into()),
        named("transfer", call("transfer(address,uint256)", TRANSFER)),
        named("nested", call(nested, NESTED)),
    ]
}

const LEGACY: &[&str] =
    &["e307148275309470997970c51812dc3a010c7d01b50e0d17dc79c80584a9059cbb018080"];
const ACCESS_LIST: &[&str] = &[
    "01f85b0107148275309470997970c51812dc3a010c7d01b50e0d17dc79c80584a9059cbbf838f794",
    "70997970c51812dc3a010c7d01b50e0d17dc79c8e1a0444444444444444444444444444444444444",
    "4444444444444444444444444444",
];
const BLOB: &[&str] = &[
    "03f88101070282012c8275309470997970c51812dc3a010c7d01b50e0d17dc79c80584a9059cbbf8",
    "38f79470997970c51812dc3a010c7d01b50e0d17dc79c8e1a0444444444444444444444444444444",
    "444444444444444444444444444444444409e1a00155555555555555555555555555555555555555",
    "555555555555555555555555",
];
const SET_CODE: &[&str] = &[
    "04f8bc01070282012c8275309470997970c51812dc3a010c7d01b50e0d17dc79c80584a9059cbbf8",
    "38f79470997970c51812dc3a010c7d01b50e0d17dc79c8e1a0444444444444444444444444444444",
    "4444444444444444444444444444444444f85cf85a019470997970c51812dc3a010c7d01b50e0d17",
    "dc79c80301a01111111111111111111111111111111111111111111111111111111111111111a022",
    "22222222222222222222222222222222222222222222222222222222222222",
];
const TRANSFER: &[&str] = &[
    "00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000",
    "0000000000000000000000000000000000000000000003e8",
];
const NESTED: &[&str] = &[
    "0000000000000000000000000000000000000000000000000000000000000080ffffffffffffffff",
    "fffffffffffffffffffffffffffffffffffffffffffffffe00000000000000000000000000000000",
    "00000000000000000000000000000220000000000000000000000000000000000000000000000000",
    "00000000000002600000000000000000000000000000000000000000000000000000000000000001",
    "00000000000000000000000000000000000000000000000000000000000000200000000000000000",
    "0000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000000000000",
    "00000000000000000000000000000040000000000000000000000000000000000000000000000000",
    "000000000000004000000000000000000000000000000000000000000000000000000000000000c0",
    "00000000000000000000000000000000000000000000000000000000000000010000000000000000",
    "00000000000000000000000000000000000000000000004000000000000000000000000000000000",
    "00000000000000000000000000000001aa0000000000000000000000000000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000000000000000000000000002",
    "00000000000000000000000000000000000000000000000000000000000000400000000000000000",
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000368c3a9000000000000000000000000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000000000000000000000000002",
    "00000000000000000000000000000000000000000000000000000000000000010000000000000000",
    "000000000000000000000000000000000000000000000000",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_whole() {
        for (name, bytes) in transactions() {
            assert!(Transaction::parse(&bytes).is_ok(), "{name}");
        }
        for (name, bytes) in typed() {
            assert!(TypedData::parse(&bytes).is_ok(), "{name}");
        }
        for (name, bytes) in calls() {
            let (count, rest) = bytes.split_first().unwrap();
            let Some((types, data)) = rest.split_at_checked((*count).into()) else {
                assert_eq!(name, "text");
                continue;
            };
            assert_eq!(abi::check(data, Types::parse(types).unwrap()), Ok(()), "{name}");
        }
    }
}
