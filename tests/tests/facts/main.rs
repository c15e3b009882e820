//! What a node finds out about the world, and from whom: real contracts on a real chain, documents over
//! TLS, sources that lie, hang or talk nonsense, and addresses that nobody may point a node at.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chain;
mod misbehaviour;
mod waiting;
mod web;

use std::path::Path;

use quorate_node::facts::{
    ChainConfig, FactsConfig, Known, OwnedAnswer, OwnedQuestion, Sources, WebConfig,
};

/// Far more than anything that answers takes on a slow machine.
const LONG: u32 = 20_000;
/// For those that never answer.
const SHORT: u32 = 1_500;

/// Endpoints of anvil's chain, in the operator's own network.
fn chain(endpoints: &[&str], agree: u8) -> ChainConfig {
    ChainConfig {
        id: 31337,
        rpc: endpoints.iter().map(|url| (*url).to_owned().into()).collect(),
        agree,
        private: true,
        ca_file: None,
        authorization: None,
    }
}

fn chain_sources(endpoints: &[&str], agree: u8, timeout_ms: u32) -> Sources {
    let chain = vec![chain(endpoints, agree)];
    let config = FactsConfig { timeout_ms, chain, ..FactsConfig::default() };
    Sources::new(&config, Path::new("")).unwrap()
}

fn web_sources(web: WebConfig) -> Sources {
    let config = FactsConfig { timeout_ms: LONG, web: vec![web], ..FactsConfig::default() };
    Sources::new(&config, Path::new("")).unwrap()
}

/// The answer to the one question, or why there is none.
fn one(sources: &Sources, question: &OwnedQuestion) -> Result<OwnedAnswer, String> {
    only(&sources.fetch(std::slice::from_ref(question)))
}

fn only(known: &Known) -> Result<OwnedAnswer, String> {
    let mut found = known.found().map(|(_, found)| Ok(found.answer.clone()));
    let mut unknown = known.unknown().map(|(_, reason)| Err(reason.to_string()));
    found.next().or_else(|| unknown.next()).expect("one question has one answer, or a reason")
}

#[track_caller]
fn unknown(sources: &Sources, question: &OwnedQuestion, words: &str) {
    let reason = one(sources, question).expect_err(words);
    assert!(reason.contains(words), "{reason:?} does not say {words:?}");
}
