//! What the documents promise, the code keeps.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

/// The first number of each line that `number` finds one in; none is there twice.
fn numbers(text: &str, number: impl Fn(&str) -> Option<u8>) -> BTreeSet<u8> {
    let mut found = BTreeSet::new();
    for number in text.lines().filter_map(number) {
        assert!(found.insert(number), "{number} is there twice");
    }
    found
}

#[test]
fn every_exit_code_is_documented_and_no_other() {
    let code = include_str!("../../node/src/exit.rs");
    let variants = code.split_once("pub enum Exit {").unwrap().1.split_once("\n}").unwrap().0;
    let in_code = numbers(variants, |line| {
        line.split_once(" = ").map(|(_, number)| number.trim_end_matches(',').parse().unwrap())
    });
    let table = include_str!("../../docs/EXIT_CODES.md");
    let mut in_docs = numbers(table, |line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let number = cells.next()?.parse().ok()?;
        let meaning = cells.next().unwrap_or_default();
        assert!(!meaning.is_empty(), "{number} means nothing");
        Some(number)
    });
    assert!(in_code.len() >= 15, "{in_code:?}");
    // Success is no variant of a failure.
    assert!(in_docs.remove(&0));
    assert_eq!(in_code, in_docs);
}
