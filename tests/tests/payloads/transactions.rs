//! Transactions of all five types.

use std::collections::BTreeMap;

use quorate_core::policy::amount::Amount;
use quorate_core::policy::ethereum::{
    RlpError, Transaction, TransactionError, TransactionKind, keccak256, signed_transaction,
    take_apart,
};
use quorate_tests::chain::javascript;
use serde::Deserialize;

/// One line of `transaction-corpus.mjs`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    about: String,
    bytes: String,
    read: Option<Read>,
    raw: Option<String>,
    r: Option<String>,
    s: Option<String>,
    y_parity: Option<u8>,
}

/// chain id, address, nonce, y parity, r, s.
type Authorized = (String, String, String, u8, String, String);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "type")]
    kind: u8,
    signed: bool,
    chain_id: String,
    nonce: u64,
    gas_limit: String,
    max_fee_per_gas: String,
    max_priority_fee_per_gas: String,
    to: Option<String>,
    value: String,
    data: String,
    max_fee: String,
    max_fee_per_blob_gas: String,
    access_list: Vec<(String, Vec<String>)>,
    blob_versioned_hashes: Vec<String>,
    authorizations: Vec<Authorized>,
    canonical: String,
    digest: String,
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap()).unwrap()
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Everything that both readers say of a transaction.
fn assert_same(ours: &Transaction<'_>, theirs: &Read, about: &str) {
    assert_eq!(ours.kind.type_byte().unwrap_or(0), theirs.kind, "{about}");
    assert_eq!(ours.chain_id.to_string(), theirs.chain_id, "{about}");
    assert_eq!((ours.nonce, ours.gas_limit.to_string()), (theirs.nonce, theirs.gas_limit.clone()));
    assert_eq!(ours.max_fee_per_gas.to_string(), theirs.max_fee_per_gas, "{about}");
    assert_eq!(ours.max_priority_fee_per_gas.to_string(), theirs.max_priority_fee_per_gas);
    assert_eq!(ours.to.map(|to| to.to_string()), theirs.to, "{about}");
    assert_eq!(ours.value.to_string(), theirs.value, "{about}");
    assert_eq!(text(ours.data), theirs.data, "{about}");
    assert_eq!(ours.max_fee.to_string(), theirs.max_fee, "{about}");
    assert_eq!(ours.max_fee_per_blob_gas.to_string(), theirs.max_fee_per_blob_gas, "{about}");
    let list = ours.access_list().map(|entry| {
        (entry.address.to_string(), entry.storage_keys().map(text).collect::<Vec<_>>())
    });
    assert_eq!(list.collect::<Vec<_>>(), theirs.access_list, "{about}");
    assert_eq!(ours.blob_hashes().map(text).collect::<Vec<_>>(), theirs.blob_versioned_hashes);
    assert_eq!(ours.blobs, theirs.blob_versioned_hashes.len());
    let authorizations = ours.authorizations().map(|one| {
        let numbers = (one.chain_id.to_string(), one.nonce.to_string());
        let (r, s) = (text(one.r), text(one.s));
        (numbers.0, one.address.to_string(), numbers.1, u8::from(one.y_parity), r, s)
    });
    assert_eq!(authorizations.collect::<Vec<_>>(), theirs.authorizations, "{about}");
    assert_eq!(text(ours.digest()), theirs.digest, "{about}");
}

/// Why we refuse what ethers reads; `None` if there is no good reason.
fn stricter(error: TransactionError, bytes: &str, theirs: &Read) -> Option<&'static str> {
    let small = |number: &str| number.parse::<u64>().is_ok();
    let numbers = theirs.authorizations.iter().all(|one| small(&one.0) && small(&one.2));
    let has = |right: bool, reason| right.then_some(reason);
    if theirs.signed {
        return Some("signed");
    }
    // What ethers would write is not what it has read: a second encoding of the same fields.
    if theirs.canonical != bytes {
        return match error {
            // ethers fills in an address, where none is.
            TransactionError::NoRecipient => Some("no recipient"),
            TransactionError::NoChain => Some("no chain"),
            TransactionError::Rlp(_) => Some("another encoding"),
            _ => None,
        };
    }
    match error {
        TransactionError::Rlp(RlpError::Integer) => has(
            !(small(&theirs.chain_id) && small(&theirs.gas_limit) && numbers),
            "a counter above 64 bits",
        ),
        TransactionError::NoChain => has(theirs.kind == 0 && theirs.chain_id == "0", "no chain"),
        TransactionError::Fee => {
            has(Amount::from_decimal(&theirs.max_fee).is_none(), "a fee above 256 bits")
        }
        TransactionError::NoRecipient => {
            has(theirs.kind > 2 && theirs.to.is_none(), "no recipient")
        }
        TransactionError::NoBlobs => has(theirs.blob_versioned_hashes.is_empty(), "no blobs"),
        TransactionError::BlobVersion(version) => has(
            version != 1
                && theirs.blob_versioned_hashes.iter().any(|hash| self::bytes(hash)[0] == version),
            "a blob's version",
        ),
        TransactionError::NoAuthorizations => {
            has(theirs.authorizations.is_empty(), "no authorizations")
        }
        _ => None,
    }
}

/// Why we accept what ethers does not read: none of it changes what the fields say.
fn looser(ours: &Transaction<'_>) -> Option<&'static str> {
    // Its counters are JavaScript's numbers.
    if ours.nonce > (1 << 53) - 1 {
        return Some("a nonce above 53 bits");
    }
    // No chain mines it.
    if ours.max_priority_fee_per_gas > ours.max_fee_per_gas {
        return Some("a tip above the fee");
    }
    None
}

#[test]
fn transactions_of_all_types_are_read_as_ethers_reads_them() {
    let mut outcomes = BTreeMap::<(String, &str), u32>::new();
    let mut kinds = BTreeMap::<TransactionKind, u32>::new();
    for line in javascript("transaction-corpus.mjs", &["20261128", "2000"]).lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        let unsigned = bytes(&line.bytes);
        let about = format!("{}: {}", line.about, line.bytes);
        let outcome = match (Transaction::parse(&unsigned), &line.read) {
            (Ok(ours), Some(theirs)) => {
                assert!(!theirs.signed, "{about}");
                assert_eq!(theirs.canonical, line.bytes, "accepted, and not the one encoding");
                assert_same(&ours, theirs, &about);
                *kinds.entry(ours.kind).or_default() += 1;
                "read by both"
            }
            (Err(_), None) => "refused by both",
            (Err(error), Some(theirs)) => stricter(error, &line.bytes, theirs)
                .unwrap_or_else(|| panic!("{error:?} without a reason: {about}\n{theirs:?}")),
            (Ok(ours), None) => {
                looser(&ours).unwrap_or_else(|| panic!("ethers does not read {about}\n{ours:?}"))
            }
        };
        *outcomes.entry((line.about.clone(), outcome)).or_default() += 1;
        if line.about == "whole" {
            assert_eq!(outcome, "read by both", "{about}");
            signed_as_ethers_signs(&line, &unsigned);
        }
    }
    println!("{outcomes:#?}\n{kinds:?}");
    // The corpus has everything in it that this test is about.
    assert_eq!(kinds.len(), 5);
    for reason in [
        "signed",
        "another encoding",
        "a counter above 64 bits",
        "no chain",
        "no recipient",
        "no blobs",
        "a blob's version",
        "no authorizations",
        "a nonce above 53 bits",
        "a tip above the fee",
    ] {
        assert!(outcomes.keys().any(|(_, outcome)| *outcome == reason), "never: {reason}");
    }
}

fn signed_as_ethers_signs(line: &Line, unsigned: &[u8]) {
    let number =
        |text: &Option<String>| <[u8; 32]>::try_from(bytes(text.as_ref().unwrap())).unwrap();
    let (r, s, y_parity) = (number(&line.r), number(&line.s), line.y_parity == Some(1));
    let raw = line.raw.as_ref().unwrap();
    let mut buffer = vec![0; unsigned.len() + 80];
    let ours = signed_transaction(unsigned, y_parity, &r, &s, &mut buffer).unwrap();
    assert_eq!(&text(ours), raw);
    let parts = take_apart(ours).unwrap();
    assert_eq!((parts.y_parity, parts.r, parts.s), (y_parity, r, s), "{raw}");
    assert_eq!(parts.digest, keccak256(unsigned), "{raw}");
}
