//! Accounts that sign requests: a wallet, and another key under a policy of its own.

use k256::ecdsa::SigningKey;
use quorate_core::policy::ethereum::{Address, address};
use quorate_core::policy::{Facts, Policy};
use quorate_core::request::{ApproveError, MAX_REQUEST, Payload, SignedRequest, approval_text};
use quorate_tests::chain::javascript;

use super::examples::{ALICE, Example, NOW, rule, transaction};
use super::request;

/// The account of a secret key.
pub(super) fn account(secret: u8) -> Address {
    let key = SigningKey::from_slice(&[secret; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    address(point.as_bytes()[1..].try_into().unwrap())
}

/// r ‖ s ‖ v of a digest.
fn signature(secret: u8, digest: &[u8; 32]) -> [u8; 65] {
    let key = SigningKey::from_slice(&[secret; 32]).unwrap();
    let (signature, id) = key.sign_prehash_recoverable(digest).unwrap();
    let bytes = [&signature.to_bytes()[..], &[27 + id.to_byte()]].concat();
    bytes.try_into().unwrap()
}

/// The request with the signature of an account.
pub(super) fn signed_by(request: &[u8], secret: u8) -> Vec<u8> {
    let parsed = SignedRequest::parse(request).unwrap();
    let text = approval_text(&parsed.hash());
    let digest = quorate_core::policy::ethereum::message::digest(text.as_bytes());
    let mut buffer = vec![0; MAX_REQUEST];
    let (found, bytes) = parsed.add_signature(&signature(secret, &digest), &mut buffer).unwrap();
    assert_eq!(found, account(secret));
    bytes.to_vec()
}

fn payment() -> Vec<u8> {
    let transaction = transaction(ALICE, 5_000, &[]);
    request(Payload::EthereumTransaction(&transaction), NOW, &[])
}

#[test]
fn a_wallet_signs_a_request() {
    let example = Example::read("second-key.json");
    let request = payment();
    assert_eq!(example.ask(&request, NOW), Err("signatures"));
    let parsed = SignedRequest::parse(&request).unwrap();
    let text = approval_text(&parsed.hash());
    let wallet = |secret: u8, text: &str| {
        let key = format!("0x{}", hex::encode([secret; 32]));
        let line = javascript("wallet.mjs", &[&key, text]);
        let [account, signature]: [String; 2] = serde_json::from_str(&line).unwrap();
        let bytes = hex::decode(signature.strip_prefix("0x").unwrap()).unwrap();
        (account, <[u8; 65]>::try_from(bytes).unwrap())
    };
    let mut buffer = vec![0; MAX_REQUEST];
    let (account, signature) = wallet(0x22, &text);
    let (found, signed) = parsed.add_signature(&signature, &mut buffer).unwrap();
    assert_eq!(found.to_string(), account);
    assert_eq!(example.ask(signed, NOW), rule("with the second key"));
    // Of another request's text it is the signature of nobody that anybody knows.
    let (_, other) = wallet(0x22, &text.replace("request 0x", "request 0x0"));
    let mut buffer = vec![0; MAX_REQUEST];
    let (stranger, signed) = parsed.add_signature(&other, &mut buffer).unwrap();
    assert_ne!(stranger.to_string(), account);
    assert_eq!(example.ask(signed, NOW), Err("signatures"));
    let mut buffer = vec![0; MAX_REQUEST];
    let none = parsed.add_signature(&[0; 65], &mut buffer);
    assert_eq!(none, Err(ApproveError::NoSignature));
}

/// The second key signs the text for the first only as its own policy allows.
#[test]
fn one_key_approves_for_another() {
    let example = Example::read("second-key.json");
    let payment = payment();
    let text = approval_text(&SignedRequest::parse(&payment).unwrap().hash());
    let for_the_other = |approvers: &[u8]| {
        let message = Payload::EthereumMessage(text.as_bytes());
        request(message, NOW, approvers)
    };
    assert_eq!(example.ask(&for_the_other(&[]), NOW), Err("approvals"));
    let approved = for_the_other(&[2]);
    assert_eq!(example.ask(&approved, NOW), rule("signing for others"));
    // What its parties sign, computed by each of them, is what makes the approval.
    let policy = Policy::parse(&example.bytes).unwrap();
    let parsed = SignedRequest::parse(&approved).unwrap();
    let digest = policy.judge(&parsed, &Facts::at(NOW), &mut |_| {}).unwrap();
    let first = SignedRequest::parse(&payment).unwrap();
    let mut buffer = vec![0; MAX_REQUEST];
    let (_, signed) = first.add_signature(&signature(0x22, &digest), &mut buffer).unwrap();
    assert_eq!(example.ask(signed, NOW), rule("with the second key"));
}
