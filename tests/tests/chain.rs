//! Our transaction code before real chains and an independent client; an ordinary key signs here.

// What stands outside `#[test]` functions is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use quorate_core::policy::amount::Amount;
use quorate_core::policy::ethereum::{
    Address, RlpError, SignedParts, Transaction, TransactionError, UNSIGNED_OVERHEAD,
    UnsignedFields, address, keccak256, signed_transaction, take_apart, unsigned_transaction,
};
use quorate_tests::chain::{Anvil, Chain, FUNDS, Hardhat, RpcError, high_s, javascript, judge};
use serde::Deserialize;
use serde_json::{Value, json};

#[test]
fn anvil_mines_what_we_encode() {
    mines_what_we_encode(&Anvil::start());
}

#[test]
fn hardhat_mines_what_we_encode() {
    mines_what_we_encode(&Hardhat::start());
}

fn mines_what_we_encode(chain: &Chain) {
    let account = Account::new(0x42);
    chain.fund(account.address).unwrap();
    assert_eq!(chain.balance(account.address), Ok(FUNDS));
    let receiver = Address([0x77; 20]);
    // The last one creates a contract; its code stops at once.
    for (to, data) in [(Some(receiver), &[][..]), (Some(receiver), &[0xab; 300]), (None, &[0x00])] {
        let nonce = chain.nonce(account.address).unwrap();
        let fields = UnsignedFields { to, data, ..fields(chain.chain_id(), nonce) };
        let raw = account.sign(&fields);
        let receipt = chain.send_raw(&raw).unwrap();
        assert_eq!(receipt["status"], "0x1", "{chain:?}: {receipt}");
        assert_eq!(receipt["transactionHash"].as_str(), Some(hash_of(&raw).as_str()));
        let created = receipt["contractAddress"].as_str().is_some();
        assert_eq!(created, to.is_none(), "{chain:?}: {receipt}");
        let sender = receipt["from"].as_str().and_then(Address::from_hex);
        assert_eq!(sender, Some(account.address));
        assert_eq!(chain.nonce(account.address), Ok(nonce + 1));

        let verdict = judge(&raw);
        assert_eq!(verdict.from, account.address.to_string());
        assert_eq!(verdict.to, to.map(|to| to.to_string()));
        assert_eq!(verdict.value, fields.value.to_string());
        assert_eq!((verdict.chain_id, verdict.nonce), (chain.chain_id(), nonce));
        assert_eq!((verdict.kind, verdict.low_s), (2, true));
        assert_eq!(verdict.hash, hash_of(&raw));
    }
    let spent = fields(0, 0).value;
    assert_eq!(chain.balance(receiver), Ok(spent.checked_add(spent).unwrap()));
}

/// The standing negative test: who judges with Anvil alone never sees a high s.
#[test]
fn a_high_s_twin_is_refused_by_hardhat_only() {
    let account = Account::new(0x43);
    let (strict, lenient) = (Hardhat::start(), Anvil::start());
    let raw = account.sign(&fields(strict.chain_id(), 0));
    let twin = high_s(&raw);
    let verdict = judge(&twin);
    assert!(!verdict.low_s);
    assert_eq!(verdict.from, account.address.to_string());
    let (low, high) = (apart(&raw), apart(&twin));
    assert_eq!((low.digest, low.r), (high.digest, high.r));
    assert_ne!((low.y_parity, low.s), (high.y_parity, high.s));
    assert_eq!(high_s(&twin), raw);

    strict.fund(account.address).unwrap();
    let refused = strict.send_raw(&twin).unwrap_err();
    let RpcError::Refused { message, .. } = &refused else { panic!("{refused}") };
    let message = message.to_lowercase();
    assert!(message.contains("signature") || message.contains("s-value"), "{refused}");
    assert_eq!(strict.nonce(account.address), Ok(0));
    // The control: it was the s, nothing else.
    assert_eq!(strict.send_raw(&raw).unwrap()["status"], "0x1");
    lenient.fund(account.address).unwrap();
    assert_eq!(lenient.send_raw(&twin).unwrap()["status"], "0x1");
}

#[test]
fn a_chain_says_why_it_refuses_and_dies_with_its_handle() {
    let (anvil, hardhat) = (Anvil::start(), Hardhat::start());
    assert_ne!(anvil.url(), hardhat.url());
    for chain in [anvil, hardhat] {
        let poor = Account::new(0x44);
        let raw = poor.sign(&fields(chain.chain_id(), 0));
        let error = chain.send_raw(&raw).unwrap_err();
        assert!(error.to_string().to_lowercase().contains("funds"), "{chain:?}: {error}");
        chain.fund(poor.address).unwrap();
        let elsewhere = poor.sign(&fields(chain.chain_id() + 1, 0));
        let error = chain.send_raw(&elsewhere).unwrap_err();
        assert!(matches!(error, RpcError::Refused { .. }), "{chain:?}: {error}");
        let error = chain.rpc("no_such_method", json!([])).unwrap_err();
        assert!(matches!(error, RpcError::Refused { .. }), "{chain:?}: {error}");

        let place = chain.url().trim_start_matches("http://").to_owned();
        assert!(std::net::TcpStream::connect(&place).is_ok());
        drop(chain);
        assert!(std::net::TcpStream::connect(&place).is_err(), "{place} still listens");
    }
}

/// One line of `transactions.mjs`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    chain_id: String,
    nonce: String,
    max_priority_fee_per_gas: String,
    max_fee_per_gas: String,
    gas_limit: String,
    to: Option<String>,
    value: String,
    data: String,
    access_list: Vec<Value>,
    unsigned: String,
    unsigned_hash: String,
    raw: String,
    from: String,
    r: String,
    s: String,
    y_parity: u8,
}

#[test]
fn transactions_are_read_and_written_as_ethers_writes_them() {
    let lines = javascript("transactions.mjs", &[]);
    let (mut read, mut written, mut refused) = (0, 0, 0);
    for line in lines.lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let about = &line[..line.len().min(400)];
        let unsigned = unhex(&vector.unsigned);
        signature_is_as_ethers_says(&vector, &unsigned);
        let (Some(chain_id), Some(nonce), Some(gas_limit)) =
            (small(&vector.chain_id), small(&vector.nonce), small(&vector.gas_limit))
        else {
            let error = Transaction::parse(&unsigned).unwrap_err();
            assert_eq!(error, TransactionError::Rlp(RlpError::Integer), "{about}");
            refused += 1;
            continue;
        };
        let data = unhex(&vector.data);
        let fields = UnsignedFields {
            chain_id,
            nonce,
            max_priority_fee_per_gas: amount(&vector.max_priority_fee_per_gas),
            max_fee_per_gas: amount(&vector.max_fee_per_gas),
            gas_limit,
            to: vector.to.as_deref().map(|to| Address::from_hex(to).unwrap()),
            value: amount(&vector.value),
            data: &data,
        };
        if vector.access_list.is_empty() {
            assert_eq!(encoded(&fields), unsigned, "{about}");
            written += 1;
        }
        let Some(max_fee) = fields.max_fee_per_gas.checked_mul(gas_limit) else {
            assert_eq!(Transaction::parse(&unsigned).unwrap_err(), TransactionError::Fee);
            refused += 1;
            continue;
        };
        let ours = Transaction::parse(&unsigned).unwrap();
        assert_eq!((ours.chain_id, ours.nonce, ours.gas_limit), (chain_id, nonce, gas_limit));
        assert_eq!(ours.max_priority_fee_per_gas, fields.max_priority_fee_per_gas, "{about}");
        assert_eq!((ours.max_fee_per_gas, ours.max_fee), (fields.max_fee_per_gas, max_fee));
        assert_eq!((ours.to, ours.value, ours.data), (fields.to, fields.value, fields.data));
        read += 1;
    }
    // So that a script which prints less is noticed.
    assert_eq!((read, written, refused), (138, 136, 14));
}

fn signature_is_as_ethers_says(vector: &Vector, unsigned: &[u8]) {
    assert_eq!(keccak256(unsigned).as_slice(), unhex(&vector.unsigned_hash));
    let parts = apart(&vector.raw);
    assert_eq!(parts.digest, keccak256(unsigned));
    assert_eq!((parts.r.as_slice(), parts.s.as_slice()), (&*unhex(&vector.r), &*unhex(&vector.s)));
    assert_eq!(u8::from(parts.y_parity), vector.y_parity);
    assert_eq!(sender(&parts).to_string(), vector.from);
    let mut buffer = vec![0; unsigned.len() + 80];
    let raw = signed_transaction(unsigned, parts.y_parity, &parts.r, &parts.s, &mut buffer);
    assert_eq!(raw.unwrap(), unhex(&vector.raw));
}

/// An ordinary key, without any threshold.
struct Account {
    key: SigningKey,
    address: Address,
}

impl Account {
    fn new(byte: u8) -> Self {
        let key = SigningKey::from_slice(&[byte; 32]).unwrap();
        let address = address_of(key.verifying_key());
        Self { key, address }
    }

    /// The raw transaction, in hexadecimal with `0x`.
    fn sign(&self, fields: &UnsignedFields<'_>) -> String {
        let unsigned = encoded(fields);
        let (signature, id) = self.key.sign_prehash_recoverable(&keccak256(&unsigned)).unwrap();
        let (r, s) = signature.split_bytes();
        let mut buffer = vec![0; unsigned.len() + 80];
        let raw = signed_transaction(&unsigned, id.is_y_odd(), &r.into(), &s.into(), &mut buffer);
        let raw = raw.unwrap();
        let parts = take_apart(raw).unwrap();
        assert_eq!(parts.digest, keccak256(&unsigned));
        assert_eq!((parts.r, parts.s, parts.y_parity), (r.into(), s.into(), id.is_y_odd()));
        assert_eq!(sender(&parts), self.address);
        format!("0x{}", hex::encode(raw))
    }
}

fn fields(chain_id: u64, nonce: u64) -> UnsignedFields<'static> {
    UnsignedFields {
        chain_id,
        nonce,
        max_priority_fee_per_gas: Amount::from_u128(1_000_000_000),
        max_fee_per_gas: Amount::from_u128(20_000_000_000),
        gas_limit: 100_000,
        to: Some(Address([0x77; 20])),
        value: Amount::from_u128(1_234_567_890_123_456_789),
        data: &[],
    }
}

fn encoded(fields: &UnsignedFields<'_>) -> Vec<u8> {
    let mut buffer = vec![0; fields.data.len() + UNSIGNED_OVERHEAD];
    unsigned_transaction(fields, &mut buffer).unwrap().to_vec()
}

fn sender(parts: &SignedParts) -> Address {
    let signature = Signature::from_scalars(parts.r, parts.s).unwrap();
    let id = RecoveryId::new(parts.y_parity, false);
    address_of(&VerifyingKey::recover_from_prehash(&parts.digest, &signature, id).unwrap())
}

fn address_of(key: &VerifyingKey) -> Address {
    address(key.to_encoded_point(false).as_bytes()[1..].try_into().unwrap())
}

fn apart(raw: &str) -> SignedParts {
    take_apart(&unhex(raw)).unwrap()
}

fn hash_of(raw: &str) -> String {
    format!("0x{}", hex::encode(keccak256(&unhex(raw))))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap()).unwrap()
}

fn amount(text: &str) -> Amount {
    Amount::from_decimal(text).unwrap()
}

/// What fits 64 bits.
fn small(text: &str) -> Option<u64> {
    text.parse().ok()
}
