//! Whole nodes whose keys have controllers: policies that are replaced and withdrawn, keys that are frozen,
//! parties that were away or put back, HSMs that fail in between, and liars. Nobody signs under a policy
//! that is not in force any more.
//!
//! `QUORATE_SEED=n` runs one seed of each test alone.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "controllers/liars.rs"]
mod liars;
#[path = "controllers/restored.rs"]
mod restored;

use quorate_core::policy::hash_of;
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_tests::nodes::{Answer, HsmWeather, World, controlled, transfer};

const HOUR: u64 = 3600;

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

/// A policy that allows half an ether, and one that allows a tenth.
fn policies(delay: &str) -> (Vec<u8>, Vec<u8>) {
    (controlled("1 ether", delay), controlled("0.1 ether", delay))
}

/// 4 parties with a key under the first policy.
fn world(seed: u64, delay: &str) -> (World, KeyInfo) {
    let mut world = World::new(4, seed, false);
    let key = world.create_controlled("k", &policies(delay).0);
    (world, key)
}

fn sign(
    world: &mut World,
    coordinator: u16,
    key: &KeyInfo,
    number: u64,
) -> Result<Signed, ServiceError> {
    let request = transfer(world, key, number);
    let answer = world.start_sign(coordinator, request);
    match world.await_answer(answer, |_| {}) {
        Answer::Done(result) => result,
        Answer::Died => panic!("nobody crashes here"),
    }
}

/// The rule by which a request for half an ether is denied.
fn denied(world: &mut World, coordinator: u16, key: &KeyInfo, number: u64) -> (String, String) {
    match sign(world, coordinator, key, number) {
        Err(ServiceError::Denied { rule, reason, .. }) => (rule, reason),
        other => panic!("not denied: {other:?}"),
    }
}

/// (version in force, newest version, holds) of each running party, in its own words.
fn standings(world: &mut World, key: &KeyInfo) -> Vec<(u32, u32, u32)> {
    let parties = world.running();
    let of = |world: &mut World, party| {
        let info = world.policy_of(party, key);
        let next = info.next_policy.map_or(info.version, |next| next.version);
        (info.version, next, info.holds)
    };
    parties.into_iter().map(|party| of(world, party)).collect()
}

#[test]
fn a_policy_without_delay_is_replaced_everywhere_at_once() {
    for seed in seeds(3) {
        let (mut world, key) = world(seed, "0s");
        let (old, new) = policies("0s");
        assert!(sign(&mut world, 2, &key, 1).is_ok());
        let change = world.changes(&key).replace(2, &old, &new, &[1, 2]);
        let info = world.set_policy(1, change.clone()).unwrap();
        // The HSM has not answered yet.
        assert_eq!((info.version, info.history.len()), (1, 2), "seed {seed}");
        world.wait(1);
        assert_eq!(standings(&mut world, &key), [(2, 2, 0); 4], "seed {seed}");
        for party in 1..=4 {
            assert_eq!(denied(&mut world, party, &key, 10 + u64::from(party)).0, "value");
            let shown = world.policy_of(party, &key);
            assert_eq!(shown.policy_hash, hex::encode(hash_of(&new)));
            assert!(shown.parties.iter().all(|other| other.version == Some(2)), "{shown:?}");
        }
        // It is signed once more what was signed before.
        assert!(sign(&mut world, 3, &key, 1).unwrap().repeated);
        // The same change again is no error and changes nothing; another of its number is one.
        assert_eq!(world.set_policy(3, change).unwrap().version, 2);
        let other = world.changes(&key).replace(2, &old, &controlled("2 ether", "0s"), &[1, 2]);
        let error = world.set_policy(3, other).unwrap_err();
        assert!(
            matches!(&error, ServiceError::Conflict { reason } if reason.contains("3 is the next"))
        );
        // And back, by the controllers of the new policy: shares open under each version.
        let back = world.changes(&key).replace(3, &new, &old, &[2, 3]);
        world.set_policy(4, back).unwrap();
        world.wait(1);
        assert!(sign(&mut world, 1, &key, 30).is_ok());
        let report = world.check();
        assert!(report.unexplained.is_empty(), "seed {seed}: {report:?}");
        assert_eq!(standings(&mut world, &key), [(3, 3, 0); 4], "after a restart");
        assert!(sign(&mut world, 2, &key, 31).is_ok());
    }
}

#[test]
fn a_policy_with_a_delay_waits_and_may_be_withdrawn() {
    let (mut world, key) = world(1, "1h");
    let (old, new) = policies("1h");
    let change = world.changes(&key).replace(2, &old, &new, &[1, 2]);
    let info = world.set_policy(1, change).unwrap();
    let next = info.next_policy.unwrap();
    assert_eq!((info.version, next.version, next.due), (1, 2, info.history[1].seen + HOUR));
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(1, 2, 0); 4]);
    assert!(sign(&mut world, 2, &key, 1).is_ok(), "the old one is in force");
    let other = world.changes(&key).replace(2, &old, &controlled("2 ether", "1h"), &[1, 2]);
    let error = world.set_policy(2, other).unwrap_err();
    assert!(error.to_string().contains("waits for its delay"), "{error}");
    let withdraw = world.changes(&key).replace(3, &new, &old, &[2, 3]);
    world.set_policy(3, withdraw).unwrap();
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(3, 3, 0); 4]);
    world.sleep(2 * HOUR);
    world.wait(1);
    assert!(sign(&mut world, 2, &key, 2).is_ok(), "it never takes effect");
    // The next one does, also through a restart of everybody while it waits.
    let change = world.changes(&key).replace(4, &old, &new, &[1, 3]);
    world.set_policy(4, change).unwrap();
    world.wait(1);
    world.check();
    assert_eq!(standings(&mut world, &key), [(3, 4, 0); 4]);
    world.sleep(HOUR);
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(4, 4, 0); 4]);
    assert_eq!(denied(&mut world, 1, &key, 3).0, "value");
    world.check();
}

#[test]
fn a_freeze_stops_signing_at_once_and_holds_what_waits_until_it_ends() {
    let (mut world, key) = world(2, "1h");
    let (old, new) = policies("1h");
    let signs = world.changes(&key);
    world.set_policy(1, signs.replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    let info = world.set_policy(2, signs.hold(1, &[3])).unwrap();
    assert!(info.frozen);
    world.wait(1);
    for party in 1..=4 {
        let (rule, reason) = denied(&mut world, party, &key, u64::from(party));
        assert_eq!(rule, "frozen", "{reason}");
        assert!(world.keys(party)[0].frozen);
    }
    let more = signs.replace(2, &old, &controlled("2 ether", "1h"), &[1, 2]);
    assert!(world.set_policy(1, more).is_err());
    world.sleep(2 * HOUR);
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(1, 2, 1); 4], "it does not take effect");
    assert!(world.set_policy(1, signs.hold(2, &[3])).is_err(), "one alone ends no freeze");
    world.set_policy(1, signs.hold(2, &[1, 3])).unwrap();
    world.wait(1);
    assert_eq!(denied(&mut world, 1, &key, 9).0, "frozen", "the end has a delay");
    world.check();
    assert_eq!(standings(&mut world, &key), [(1, 2, 1); 4]);
    world.sleep(HOUR);
    world.wait(1);
    // The freeze is over, and what was held takes effect.
    assert_eq!(standings(&mut world, &key), [(2, 2, 2); 4]);
    assert_eq!(denied(&mut world, 1, &key, 10).0, "value");
    // Under a freeze it could have been withdrawn.
    let change = signs.replace(3, &new, &old, &[1, 2]);
    world.set_policy(1, change).unwrap();
    world.wait(1);
    world.set_policy(4, signs.hold(3, &[2])).unwrap();
    world.wait(1);
    world.set_policy(2, signs.replace(4, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(4, 4, 3); 4]);
    world.check();
}

#[test]
fn each_party_that_knows_of_a_freeze_stops_it_whatever_the_others_know() {
    let (mut world, key) = world(3, "0s");
    // Parties 1 and 3 do not hear of it.
    world.crash(4);
    for party in [1, 3] {
        world.unlink(2, party);
    }
    world.set_policy(2, world.changes(&key).hold(1, &[1])).unwrap();
    assert_eq!(denied(&mut world, 2, &key, 1).0, "frozen");
    for party in [1, 3] {
        world.link(2, party);
    }
    // The freeze comes over the link before anything that could be signed there.
    assert_eq!(denied(&mut world, 1, &key, 2).0, "frozen");
    assert!(world.released(2, &key).is_empty());
    world.wait(2);
    assert_eq!(standings(&mut world, &key), [(1, 1, 1); 3]);
}

#[test]
fn a_party_that_was_away_catches_up_and_only_then_signs() {
    for (seed, delay) in [(1, "0s"), (2, "1h"), (3, "0s"), (4, "1h")] {
        let (mut world, key) = world(seed, delay);
        let (old, new) = policies(delay);
        let signs = world.changes(&key);
        world.crash(4);
        world.set_policy(1, signs.replace(2, &old, &new, &[1, 2])).unwrap();
        world.wait(1);
        world.sleep(HOUR);
        world.wait(1);
        // Back to a policy that allows it, a second version further.
        world.set_policy(2, signs.replace(3, &new, &old, &[1, 2])).unwrap();
        world.wait(1);
        world.sleep(HOUR);
        world.wait(1);
        world.set_policy(3, signs.hold(1, &[2])).unwrap();
        world.wait(1);
        world.set_policy(3, signs.hold(2, &[2, 3])).unwrap();
        world.wait(1);
        world.sleep(HOUR);
        world.wait(1);
        assert_eq!(standings(&mut world, &key), [(3, 3, 2); 3], "seed {seed}");
        // It has its share still under the first version, and its HSM is slow.
        world.set_hsm(4, HsmWeather::Held);
        world.boot(4);
        world.wait(1);
        assert_eq!(world.policy_of(4, &key).version, 1);
        world.crash(1);
        let error = sign(&mut world, 2, &key, 1).unwrap_err();
        assert!(error.to_string().contains("version 2 of key k's policy is due"), "{error}");
        world.set_hsm(4, HsmWeather::AtOnce);
        // Long after the changes expired: the others vouch for them.
        world.wait(4);
        assert_eq!(standings(&mut world, &key), [(3, 3, 2); 3], "seed {seed}");
        let signed = sign(&mut world, 2, &key, 2).unwrap();
        assert_eq!(signed.signers, [2, 3, 4], "seed {seed}");
        world.boot(1);
        world.check();
    }
}

#[test]
fn changes_that_expired_are_followed_when_enough_others_have_them() {
    let (mut world, key) = world(5, "1h");
    let (old, new) = policies("1h");
    world.crash(4);
    world.set_policy(1, world.changes(&key).replace(2, &old, &new, &[1, 2])).unwrap();
    world.sleep(HOUR);
    world.wait(1);
    world.sleep(40 * 24 * HOUR);
    // One alone could lie, and nobody takes what expired from it.
    world.unlink(1, 2);
    world.crash(2);
    world.crash(3);
    world.boot(4);
    world.wait(3);
    assert_eq!(world.policy_of(4, &key).next_policy, None);
    assert_eq!(world.policy_of(4, &key).version, 1);
    world.boot(3);
    world.wait(3);
    assert_eq!(standings(&mut world, &key), [(2, 2, 0); 3]);
    world.boot(2);
    world.check();
}

/// Nobody has it in force yet, so nobody vouches for it: the time alone says that the old policy is over.
#[test]
fn what_is_due_by_the_clock_ends_the_old_policy() {
    let (mut world, key) = world(9, "10m");
    let (old, new) = policies("10m");
    world.set_policy(1, world.changes(&key).replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(1, 2, 0); 4]);
    assert!(sign(&mut world, 1, &key, 1).is_ok(), "not due yet");
    for party in 1..=4 {
        world.set_hsm(party, HsmWeather::Held);
    }
    world.sleep(601);
    for party in 1..=4 {
        assert_eq!(denied(&mut world, party, &key, 1 + u64::from(party)).0, "policy-change");
    }
    assert_eq!(standings(&mut world, &key), [(1, 2, 0); 4]);
    for party in 1..=4 {
        world.set_hsm(party, HsmWeather::AtOnce);
    }
    world.wait(30);
    assert_eq!(standings(&mut world, &key), [(2, 2, 0); 4]);
    assert_eq!(denied(&mut world, 2, &key, 9).0, "value");
}

#[test]
fn while_the_hsm_is_silent_nothing_is_signed_under_the_old_policy() {
    let (mut world, key) = world(6, "0s");
    let (old, new) = policies("0s");
    world.crash(4);
    world.set_hsm(2, HsmWeather::Held);
    world.set_policy(1, world.changes(&key).replace(2, &old, &new, &[1, 2])).unwrap();
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(2, 2, 0), (1, 2, 0), (2, 2, 0)]);
    let (rule, reason) = denied(&mut world, 2, &key, 1);
    assert_eq!(rule, "policy-change");
    assert!(reason.contains("being sealed under it"), "{reason}");
    // Beyond its deadline the call counts as lost, and is made again.
    world.wait(21);
    let (rule, reason) = denied(&mut world, 2, &key, 2);
    assert_eq!(rule, "policy-change");
    assert!(reason.contains("has not answered"), "{reason}");
    assert!(world.policy_of(2, &key).next_policy.unwrap().problem.is_some());
    world.wait(3);
    assert!(world.hsm_calls(2) >= 2);
    // The first answer comes too late, and the second counts.
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(world.policy_of(2, &key).version, 1);
    assert!(world.answer_hsm(2, 0, 2));
    assert_eq!(world.policy_of(2, &key).version, 2);
    assert_eq!(denied(&mut world, 2, &key, 3).0, "value");
    // Frozen, or withdrawn, while the HSM is at work: the answer is dropped. Nobody vouches for anything.
    for party in [1, 3] {
        world.unlink(2, party);
    }
    let signs = world.changes(&key);
    world.set_policy(2, signs.replace(3, &new, &old, &[1, 2])).unwrap();
    world.set_policy(2, signs.hold(1, &[1])).unwrap();
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(world.policy_of(2, &key).version, 2);
    world.set_policy(2, signs.hold(2, &[1, 2])).unwrap();
    world.wait(1);
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(world.policy_of(2, &key).version, 3);
    world.set_policy(2, signs.replace(4, &old, &new, &[1, 2])).unwrap();
    world.set_policy(2, signs.replace(5, &new, &old, &[1, 2])).unwrap();
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(world.policy_of(2, &key).version, 3);
    world.wait(1);
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(world.policy_of(2, &key).version, 5);
    for party in [1, 3] {
        world.link(2, party);
    }
    world.wait(3);
    assert_eq!(standings(&mut world, &key), [(5, 5, 2); 3]);
    world.set_hsm(2, HsmWeather::AtOnce);
    world.boot(4);
    world.check();
}

#[test]
fn a_crash_at_any_write_leaves_the_old_policy_or_the_new() {
    let mut early = 0;
    for writes in 0..60 {
        let (mut world, key) = world(writes, "0s");
        let (old, new) = policies("0s");
        let signs = world.changes(&key);
        world.crash_soon(2, writes);
        let asked = world.try_set_policy(2, signs.replace(2, &old, &new, &[1, 2]));
        early += u32::from(!matches!(asked, Some(Ok(_))));
        world.wait(1);
        if !world.running().contains(&2) {
            world.boot(2);
        }
        world.wait(3);
        let found = standings(&mut world, &key);
        assert!(found.iter().all(|one| *one == found[0]), "{writes} writes: {found:?}");
        match found[0].0 {
            1 => assert!(sign(&mut world, 1, &key, 1).is_ok(), "{writes} writes"),
            2 => assert_eq!(denied(&mut world, 1, &key, 1).0, "value"),
            other => panic!("version {other} after {writes} writes"),
        }
        world.check();
    }
    assert!(early > 2, "only {early} crashes came before the answer");
}

#[test]
fn whatever_happens_all_end_alike() {
    let mut frozen = 0;
    for seed in seeds(12) {
        let (mut world, key) = world(seed, "10m");
        let (old, new) = policies("10m");
        let (mut version, mut holds, mut current) = (1, 0, 0);
        for round in 0..40 {
            let party = 1 + world.below(4) as u16;
            match world.below(8) {
                0 => world.crash(party),
                1 | 2 => world.boot(party),
                3 => world.sleep(300),
                4 => {
                    let writes = u64::from(world.below(30));
                    world.crash_soon(party, writes);
                }
                5 => {
                    let change = world.changes(&key).hold(holds + 1, &[1, 2]);
                    if let Some(Ok(_)) = world.try_set_policy(party, change) {
                        holds += 1;
                    }
                }
                _ => {
                    let of = [&old, &new];
                    let change = world.changes(&key).replace(
                        version + 1,
                        of[current],
                        of[1 - current],
                        &[2, 3],
                    );
                    if let Some(Ok(_)) = world.try_set_policy(party, change) {
                        (version, current) = (version + 1, 1 - current);
                    }
                }
            }
            let request = transfer(&world, &key, round);
            drop(world.start_sign(party, request));
            world.wait(1);
        }
        world.check();
        for _ in 0..4 {
            world.sleep(700);
            world.wait(3);
        }
        let found = standings(&mut world, &key);
        assert!(found.iter().all(|one| one.2 == found[0].2), "seed {seed}: {found:?}");
        // A freeze keeps out what some had seen, or followed, before it reached them. When it ends, all have it.
        if found[0].2 % 2 == 1 {
            frozen += 1;
            let change = world.changes(&key).hold(found[0].2 + 1, &[1, 2]);
            assert!(matches!(world.try_set_policy(1, change), Some(Ok(_))), "seed {seed}");
            for _ in 0..4 {
                world.sleep(700);
                world.wait(3);
            }
        }
        let found = standings(&mut world, &key);
        assert!(found.iter().all(|one| *one == found[0]), "seed {seed}: {found:?}");
        assert!(found[0].0 == found[0].1 && found[0].2.is_multiple_of(2), "seed {seed}: {found:?}");
        let report = world.check();
        assert!(report.unexplained.is_empty(), "seed {seed}: {report:?}");
    }
    println!("{frozen} ended frozen");
}
