//! Clusters of real processes over real TLS: who signs, what is refused and how, and what restarts and
//! old copies do.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod audit;
mod controllers;
mod delays;
mod explained;
mod facts;
mod http;
mod policies;
mod refusals;
mod restarts;
mod signing;

use quorate_node::client::ClientError;
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_tests::transaction::{Verdict, judge};

/// The signature, judged by others' code and found to be `key`'s.
#[track_caller]
fn good(key: &KeyInfo, signed: Result<Signed, ClientError>) -> (Signed, Verdict) {
    let signed = signed.unwrap_or_else(|error| panic!("not signed: {error}"));
    let verdict = judge(signed.raw_transaction.as_deref().unwrap());
    assert_eq!(verdict.sender, key.address.to_lowercase());
    assert_eq!(verdict.hash, signed.hash);
    assert_eq!(hex::encode(verdict.signature), format!("{}{}", signed.r, signed.s));
    assert_eq!(signed.signers.len(), usize::from(key.quorum));
    (signed, verdict)
}

/// What the node says why not.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ServiceError {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}
