extern crate std;

mod delays;
mod device;
mod facts;

use std::vec::Vec;

use ed25519_dalek::SigningKey;

use super::condition::kind;
use super::ethereum::{Address, UNSIGNED_OVERHEAD, UnsignedFields, unsigned_transaction};
use super::form::{NoRoom, Writer};
use super::*;
use crate::request::{Derivation, KeyId, MAX_REQUEST, NetworkId, SignRequest};

const NOW: u64 = 1_800_000_000;
const TO: [u8; 20] = [0x70; 20];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let mut buffer = std::vec![0; MAX_POLICY];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.finish().to_vec()
}

fn group(start: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
    written(|writer| {
        writer.raw(start)?;
        writer.u8(parts.len() as u8)?;
        writer.nested(|writer| parts.iter().try_for_each(|part| writer.raw(part)))
    })
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    group(&[kind::ALL], parts)
}

fn any(parts: &[Vec<u8>]) -> Vec<u8> {
    group(&[kind::ANY], parts)
}

fn not(part: Vec<u8>) -> Vec<u8> {
    group(&[kind::NOT], &[part])
}

fn at_least(count: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    group(&[kind::AT_LEAST, count], parts)
}

fn listed<const W: usize>(kind: u8, entries: &[[u8; W]]) -> Vec<u8> {
    written(|writer| {
        writer.u8(kind)?;
        writer.list(entries)
    })
}

fn to(account: [u8; 20]) -> Vec<u8> {
    listed(kind::RECIPIENT, &[account])
}

fn chain(id: u64) -> Vec<u8> {
    listed(kind::CHAIN, &[id.to_be_bytes()])
}

fn value_at_most(wei: u128) -> Vec<u8> {
    [&[kind::VALUE, 0][..], &Amount::from_u128(wei).to_be_bytes()].concat()
}

fn before(time: u64) -> Vec<u8> {
    [&[kind::TIME][..], &[0; 8], &time.to_be_bytes()].concat()
}

fn message(text: &str) -> Vec<u8> {
    [&[kind::MESSAGE, 0, text.len() as u8][..], text.as_bytes()].concat()
}

fn approvals(least: u8, of: &[u8]) -> Vec<u8> {
    let mut keys: Vec<[u8; 32]> = of.iter().map(|seed| public(*seed)).collect();
    keys.sort_unstable();
    written(|writer| {
        writer.raw(&[kind::APPROVALS, least])?;
        writer.list(&keys)
    })
}

fn rule(name: &str, kinds: Kinds, limits: &[Vec<u8>], condition: &[u8]) -> Vec<u8> {
    written(|writer| {
        writer.nested(|writer| {
            writer.short(name.as_bytes())?;
            writer.u16(kinds.bits())?;
            writer.u8(limits.len() as u8)?;
            limits.iter().try_for_each(|limit| writer.raw(limit))?;
            writer.raw(condition)
        })
    })
}

fn policy(rules: &[Vec<u8>]) -> Vec<u8> {
    [&[FORM, 0, rules.len() as u8][..], &rules.concat()].concat()
}

/// A limit on the spend of the rule: so much in an hour.
fn spend(max: u128) -> Vec<u8> {
    [&[0, 1][..], &3600u32.to_be_bytes(), &Amount::from_u128(max).to_be_bytes(), &[0]].concat()
}

fn transaction(value: u128) -> Vec<u8> {
    let fields = UnsignedFields {
        chain_id: 1,
        nonce: 0,
        max_priority_fee_per_gas: Amount::ZERO,
        max_fee_per_gas: Amount::from_u128(10),
        gas_limit: 21_000,
        to: Some(Address(TO)),
        value: Amount::from_u128(value),
        data: &[],
    };
    let mut buffer = [0; UNSIGNED_OVERHEAD];
    unsigned_transaction(&fields, &mut buffer).unwrap().to_vec()
}

fn signed(payload: Payload<'_>, approvers: &[u8]) -> Vec<u8> {
    let request = SignRequest {
        network: NetworkId([1; 16]),
        key: KeyId([2; 16]),
        derivation: Derivation::Root,
        payload,
        label: "",
        expires: NOW + 60,
        nonce: [3; 16],
    };
    let mut buffer = [0; MAX_REQUEST];
    let bytes = request.sign(&key(1), &mut buffer).unwrap().to_vec();
    approvers.iter().fold(bytes, |bytes, seed| {
        let mut buffer = [0; MAX_REQUEST];
        let request = SignedRequest::parse(&bytes).unwrap();
        request.approve(&key(*seed), &mut buffer).unwrap().to_vec()
    })
}

/// The rules that allow it, or the denial.
fn judged<'p>(policy: &'p [u8], request: &[u8]) -> Result<Vec<std::string::String>, Denial<'p>> {
    let (policy, request) =
        (Policy::parse(policy).unwrap(), SignedRequest::parse(request).unwrap());
    let mut rules = Vec::new();
    let mut watch = |step: Trace<'_>| {
        if let Trace::Allowed(grant) = step {
            rules.push(grant.rule.into());
        }
    };
    policy.judge(&request, &Facts::at(NOW), &mut watch).map(|_| rules)
}

fn code(condition: Vec<u8>, request: &[u8]) -> Option<&'static str> {
    let kinds = Kinds::PLAIN.with(Kinds::MESSAGE);
    let policy = policy(&[rule("rule", kinds, &[], &condition)]);
    judged(&policy, request).err().map(|denial| denial.code())
}

#[test]
fn conditions_hold_or_say_what_is_wrong() {
    let request = &signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    assert_eq!(code(to(TO), request), None);
    assert_eq!(code(to([1; 20]), request), Some("recipient"));
    assert_eq!(code(all(&[chain(1), value_at_most(5), to(TO)]), request), None);
    assert_eq!(code(all(&[chain(1), value_at_most(4), to(TO)]), request), Some("value"));
    assert_eq!(code(all(&[chain(2), value_at_most(4)]), request), Some("chain"));
    assert_eq!(code(any(&[chain(2), to(TO)]), request), None);
    assert_eq!(code(any(&[chain(2), to([1; 20])]), request), Some("recipient"), "the last way");
    assert_eq!(code(before(NOW + 1), request), None);
    assert_eq!(code(before(NOW), request), Some("time"), "the end is excluded");
    assert_eq!(code(not(chain(2)), request), None);
    assert_eq!(code(not(chain(1)), request), Some("excluded"));
    // A failure inside of what holds anyway is not the reason.
    let condition = all(&[any(&[chain(2), chain(1)]), value_at_most(1)]);
    assert_eq!(code(condition, request), Some("value"));
    let two_of = |bad| at_least(2, &[chain(1), bad, to(TO)]);
    assert_eq!(code(two_of(chain(2)), request), None);
    assert_eq!(code(at_least(3, &[chain(1), chain(2), to(TO)]), request), Some("chain"));
}

#[test]
fn the_unknown_allows_nothing_and_neither_does_its_opposite() {
    let message_request = &signed(Payload::EthereumMessage(b"hello"), &[]);
    assert_eq!(code(message("hello"), message_request), None);
    assert_eq!(code(message("bye"), message_request), Some("message"));
    assert_eq!(code(not(message("bye")), message_request), None);
    for about_a_transaction in [chain(1), to(TO), value_at_most(0)] {
        assert_eq!(code(about_a_transaction.clone(), message_request), Some("not-there"));
        assert_eq!(code(not(about_a_transaction.clone()), message_request), Some("not-there"));
        let one_of_two = at_least(1, &[about_a_transaction.clone(), message("bye")]);
        assert!(code(not(one_of_two), message_request).is_some());
        assert_eq!(code(any(&[about_a_transaction, message("hello")]), message_request), None);
    }
}

#[test]
fn a_kind_of_payload_needs_a_rule_of_its_own() {
    let anything = before(NOW + 1);
    let code = |kinds: Kinds, payload: Payload<'_>| {
        let policy = policy(&[rule("rule", kinds, &[], &anything)]);
        judged(&policy, &signed(payload, &[])).err().map(|denial| denial.code())
    };
    let all_others = Kinds::from_bits(0x1f | 1 << 8 | 1 << 9).unwrap();
    assert_eq!(code(all_others, Payload::Digest([7; 32])), Some("kind"));
    assert_eq!(code(Kinds::DIGEST, Payload::Digest([7; 32])), None);
    assert_eq!(code(Kinds::PLAIN, Payload::EthereumMessage(b"m")), Some("kind"));
    assert_eq!(code(Kinds::MESSAGE, Payload::EthereumTransaction(&transaction(1))), Some("kind"));
    // What cannot be read, nobody signs without a grant for just that.
    let unreadable = Payload::EthereumTransaction(&[9, 9]);
    assert_eq!(code(all_others.with(Kinds::DIGEST), unreadable), Some("payload"));
    assert_eq!(code(Kinds::OPAQUE_TRANSACTION, unreadable), None);
    assert_eq!(code(all_others, Payload::EthereumTypedData(&[])), Some("payload"));
}

#[test]
fn approvals_count_once_each_and_only_of_the_set() {
    let transaction = transaction(1);
    let request = |approvers: &[u8]| signed(Payload::EthereumTransaction(&transaction), approvers);
    let two_of_three = || approvals(2, &[11, 12, 13]);
    assert_eq!(code(two_of_three(), &request(&[11, 13])), None);
    assert_eq!(code(two_of_three(), &request(&[11, 12, 13])), None);
    assert_eq!(code(two_of_three(), &request(&[12])), Some("approvals"));
    assert_eq!(code(two_of_three(), &request(&[12, 14, 15])), Some("approvals"));
    assert_eq!(code(two_of_three(), &request(&[])), Some("approvals"));
}

#[test]
fn rules_are_asked_in_order_and_the_nearest_one_says_why() {
    let request = &signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let small = rule("small", Kinds::PLAIN, &[spend(1)], &all(&[to(TO), value_at_most(10)]));
    let large = rule("large", Kinds::PLAIN, &[], &all(&[to(TO), chain(1), approvals(1, &[11])]));
    let far = rule("far", Kinds::PLAIN, &[], &to([1; 20]));
    let both = policy(&[far.clone(), large.clone(), small]);
    assert_eq!(judged(&both, request).unwrap(), ["small"]);
    let approved = &signed(Payload::EthereumTransaction(&transaction(5)), &[11]);
    assert_eq!(judged(&both, approved).unwrap(), ["large", "small"]);
    let without_small = policy(&[far, large]);
    let denial = judged(&without_small, request).unwrap_err();
    assert_eq!((denial.rule, denial.code()), (Some("large"), "approvals"));
}

#[test]
fn limits_charge_what_a_payload_has_and_deny_what_it_has_not() {
    let limited =
        policy(&[rule("pay", Kinds::PLAIN.with(Kinds::MESSAGE), &[spend(7)], &before(NOW + 1))]);
    let transaction = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&transaction).unwrap();
    let mut grants = Vec::new();
    let mut watch = |step: Trace<'_>| {
        if let Trace::Allowed(grant) = step {
            grants.push((grant.charges.to_vec(), grant.base.to_vec()));
        }
    };
    let policy = Policy::parse(&limited).unwrap();
    policy.judge(&request, &Facts::at(NOW), &mut watch).unwrap();
    let [(charges, base)] = grants.as_slice() else { panic!("one grant") };
    let fee = 21_000 * 10;
    let expected = Charge {
        series: Measure::Spend.series(Some("pay")),
        amount: Amount::from_u128(5 + fee),
        window: 3600,
        max: Amount::from_u128(7),
        strict: Strict::No,
    };
    assert_eq!(charges.as_slice(), [expected]);
    let amounts: Vec<Amount> = base.iter().map(|(_, amount)| *amount).collect();
    assert_eq!(amounts, [1, 5 + fee, 5].map(Amount::from_u128));
    let message = signed(Payload::EthereumMessage(b"m"), &[]);
    assert_eq!(judged(&limited, &message).unwrap_err().code(), "measure");
}

#[test]
fn series_differ_by_rule_scope_and_measure() {
    let all = [Measure::Signatures, Measure::Spend, Measure::Value]
        .iter()
        .flat_map(|measure| [None, Some("a"), Some("b")].map(|rule| measure.series(rule)))
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(all.len(), 9);
}

#[test]
fn expired_and_far_requests_are_denied() {
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &to(TO))]);
    let policy = Policy::parse(&bytes).unwrap();
    let request = signed(Payload::EthereumTransaction(&transaction(1)), &[]);
    let request = SignedRequest::parse(&request).unwrap();
    let code = |now| policy.judge(&request, &Facts::at(now), &mut |_| {}).err().map(|d| d.code());
    assert_eq!(code(NOW + 59), None);
    assert_eq!(code(NOW + 60), Some("expired"));
    assert_eq!(code(NOW + 60 - MAX_EXPIRY), None);
    assert_eq!(code(NOW + 59 - MAX_EXPIRY), Some("expiry-too-far"));
}

#[test]
fn every_truncation_and_every_tail_is_refused() {
    let condition = all(&[
        any(&[chain(1), not(to(TO))]),
        at_least(1, &[message("m"), approvals(1, &[3])]),
        before(9),
    ]);
    let bytes = policy(&[
        rule("one", Kinds::PLAIN, &[spend(1), spend(2)], &condition),
        rule("two", Kinds::DIGEST, &[], &before(1)),
    ]);
    assert!(Policy::parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(Policy::parse(&bytes[..length]).is_err(), "length {length}");
    }
    assert_eq!(Policy::parse(&[&bytes[..], &[0]].concat()), Err(FormError::Trailing));
}

#[test]
fn what_has_no_meaning_is_refused() {
    let with = |condition: Vec<u8>| {
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], &condition)]);
        Policy::parse(&bytes).err()
    };
    assert_eq!(with(at_least(0, &[chain(1)])), Some(FormError::Range("at_least")));
    assert_eq!(with(at_least(2, &[chain(1)])), Some(FormError::Range("at_least")));
    assert_eq!(with(approvals(2, &[1])), Some(FormError::Range("at_least")));
    assert_eq!(with(group(&[kind::NOT], &[chain(1), chain(2)])), Some(FormError::Range("not")));
    assert_eq!(with(all(&[])), Some(FormError::Empty("conditions")));
    assert_eq!(with(before(0)), Some(FormError::Range("time")));
    let twice = listed(kind::CHAIN, &[[1; 8], [1; 8]]);
    assert_eq!(with(twice), Some(FormError::NotSorted("chains")));
    assert_eq!(with(std::vec![0xee]), Some(FormError::Kind("condition", 0xee)));
    let deep = |depth| (0..depth).fold(chain(1), |inner, _| not(inner));
    assert_eq!(with(deep(MAX_DEPTH - 1)), None);
    assert_eq!(with(deep(MAX_DEPTH)), Some(FormError::TooDeep));
    let many = std::vec![chain(1); 255];
    assert_eq!(with(all(&many)), None);
    assert_eq!(with(all(&[all(&many), chain(1)])), Some(FormError::TooMany("conditions")));
    let rule = rule("same", Kinds::PLAIN, &[], &chain(1));
    let doubled = policy(&[rule.clone(), rule]);
    assert_eq!(Policy::parse(&doubled), Err(FormError::NotSorted("names of rules")));
    assert_eq!(Policy::parse(&[2, 1]), Err(FormError::Version(2)));
}

use super::condition::{MAX_DEPTH, Schedule};

#[test]
fn schedules_go_over_midnight_and_over_the_week() {
    // Thursday, 1 January 1970.
    let minutes = |day: u64, hour: u64, minute: u64| ((day * 24 + hour) * 60 + minute) * 60;
    let office = Schedule { days: 0b0001_1111, from: 9 * 60, to: 17 * 60, offset: 0 };
    assert!(office.holds(minutes(0, 9, 0)) && office.holds(minutes(0, 16, 59)));
    assert!(!office.holds(minutes(0, 8, 59)) && !office.holds(minutes(0, 17, 0)));
    assert!(office.holds(minutes(1, 12, 0)), "Friday");
    assert!(!office.holds(minutes(2, 12, 0)), "Saturday");
    let saturday_night = Schedule { days: 1 << 5, from: 22 * 60, to: 6 * 60, offset: 0 };
    assert!(saturday_night.holds(minutes(2, 23, 0)) && saturday_night.holds(minutes(3, 5, 59)));
    assert!(!saturday_night.holds(minutes(3, 6, 0)) && !saturday_night.holds(minutes(2, 5, 0)));
    let sunday_night = Schedule { days: 1 << 6, from: 22 * 60, to: 6 * 60, offset: 0 };
    assert!(sunday_night.holds(minutes(4, 1, 0)), "Monday");
    let east = Schedule { days: 1 << 3, from: 0, to: 60, offset: 60 };
    assert!(!east.holds(0), "01:00 there");
    assert!(!east.holds(minutes(0, 0, 59)) && east.holds(minutes(6, 23, 30)));
    let west = Schedule { days: 1 << 2, from: 23 * 60, to: 24 * 60, offset: -60 };
    assert!(west.holds(0), "Wednesday, 23:00 there");
}
