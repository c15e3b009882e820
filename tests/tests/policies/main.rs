//! Policies as people write them, judged as parties judge: the examples, and what holds of any policy.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod examples;
mod properties;
mod schema;
mod signers;

use ed25519_dalek::SigningKey;
use quorate_core::policy::{Facts, Policy, Trace};
use quorate_core::request::{
    Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest, SignedRequest,
};

/// The key of a client or approver.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A request of client 1 that expires a minute after `now`.
fn request(payload: Payload<'_>, now: u64, approvers: &[u8]) -> Vec<u8> {
    request_by(1, payload, now, approvers)
}

fn request_by(client: u8, payload: Payload<'_>, now: u64, approvers: &[u8]) -> Vec<u8> {
    let request = SignRequest {
        network: NetworkId([1; 16]),
        key: KeyId([2; 16]),
        derivation: Derivation::Root,
        payload,
        label: "",
        expires: now + 60,
        nonce: [3; 16],
    };
    let mut buffer = vec![0; MAX_REQUEST];
    let bytes = request.sign(&key(client), &mut buffer).unwrap().to_vec();
    approvers.iter().fold(bytes, |bytes, seed| {
        let request = SignedRequest::parse(&bytes).unwrap();
        request.approve(&key(*seed), &mut buffer).unwrap().to_vec()
    })
}

/// The first rule that allows the request, or the denial's stable name.
fn judged(policy: &Policy<'_>, request: &[u8], facts: &Facts<'_>) -> Result<String, &'static str> {
    let request = SignedRequest::parse(request).unwrap();
    let mut first = None;
    let mut watch = |step: Trace<'_>| {
        if let (Trace::Allowed(grant), None) = (step, &first) {
            first = Some(grant.rule.to_owned());
        }
    };
    let judged = policy.judge(&request, facts, &mut watch);
    match (judged, first) {
        (Ok(_), Some(rule)) => Ok(rule),
        (Err(denial), None) => Err(denial.code()),
        (judged, first) => panic!("{judged:?}, and {first:?}"),
    }
}
