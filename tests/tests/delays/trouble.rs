//! Crashes, parties that are away, and coordinators that tell only whom they like.

use std::collections::BTreeMap;

use quorate_node::handle::ServiceError;
use quorate_node::message::PeerMessage;
use quorate_tests::nodes::Answer;

use super::*;

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

#[test]
fn records_survive_restarts() {
    let (mut world, key) = scene(11);
    let wish = request(&world, &key, 1);
    let until = waits(world.sign(1, &wish)).until;
    let since: Vec<u64> = (1..=4).map(|party| world.waiting(party)[0].since).collect();
    world.sleep(HOUR / 2);
    for party in world.parties() {
        world.crash(party);
    }
    for party in world.parties() {
        world.boot(party);
    }
    let again: Vec<u64> = (1..=4).map(|party| world.waiting(party)[0].since).collect();
    assert_eq!(since, again);
    assert_eq!(waits(world.sign(2, &wish)).until, until);
    world.sleep(HOUR / 2 + 5);
    world.sign(2, &wish).unwrap();
    world.check();
}

/// Crashes in the middle of anything: no party ever moves when its delay began, what it has said that it
/// has on record is there, and nothing is signed before a quorum's delays are over.
#[test]
fn crashes_at_any_moment_move_no_record() {
    let (mut crashes, mut signed) = (0, 0);
    for seed in seeds(20) {
        let (mut world, key) = scene(100 + seed);
        let wish = request(&world, &key, 1);
        let start = world.time(1);
        let mut known: BTreeMap<u16, u64> = BTreeMap::new();
        for round in 0..12 {
            let coordinator = world.below(4) as u16 + 1;
            world.boot(coordinator);
            let answer = world.start_sign(coordinator, wish.clone());
            let answer = world.await_answer(answer, |world| {
                if world.below(12) == 0 {
                    let (party, changes) = (world.below(4) as u16 + 1, u64::from(world.below(25)));
                    world.crash_soon(party, changes);
                    crashes += 1;
                }
            });
            match answer {
                Answer::Done(Ok(_)) => {
                    assert!(world.time(1) >= start + HOUR, "seed {seed}: too early");
                    signed += 1;
                    break;
                }
                Answer::Done(Err(ServiceError::Waiting(waiting))) => {
                    for party in waiting.known_to {
                        known.entry(party).or_insert(u64::MAX);
                    }
                }
                Answer::Done(Err(
                    ServiceError::NotEnoughParties { .. }
                    | ServiceError::Local { .. }
                    | ServiceError::ProtocolFailure { .. },
                ))
                | Answer::Died => {}
                Answer::Done(Err(other)) => panic!("seed {seed}, round {round}: {other:?}"),
            }
            for party in world.parties() {
                world.crash(party);
                world.boot(party);
            }
            world.wait(1);
            for party in world.parties() {
                let Some(record) = world.waiting(party).first().cloned() else {
                    // Who has the signature forgets it.
                    let early = world.time(party) < start + HOUR;
                    let kept = !early || !known.contains_key(&party);
                    assert!(kept, "seed {seed}: party {party} forgot it");
                    continue;
                };
                let first = known.entry(party).or_insert(record.since);
                if *first == u64::MAX {
                    *first = record.since;
                }
                assert_eq!(*first, record.since, "seed {seed}: party {party}");
            }
            world.sleep(HOUR / 6);
        }
        world.check();
    }
    println!("{crashes} crashes, {signed} signed");
    if seeds(20).len() > 1 {
        assert!(crashes > 60 && signed > 10, "{crashes} {signed}");
    }
}

#[test]
fn who_was_away_waits_from_when_it_hears_and_the_others_may_sign() {
    let (mut world, key) = scene(12);
    world.crash(4);
    let wish = request(&world, &key, 1);
    let waiting = waits(world.sign(1, &wish));
    assert_eq!(waiting.known_to, [1, 2, 3]);
    assert_eq!(waiting.reasons, [(4, "not connected".to_owned())]);
    world.sleep(HOUR / 2);
    world.boot(4);
    world.wait(1);
    // Told when its link came up, and for itself from then on.
    let late = world.waiting(4)[0].clone();
    assert!(late.since >= world.waiting(1)[0].since + HOUR / 2, "{late:?}");
    world.sleep(HOUR / 2);
    world.crash(3);
    let waiting = waits(world.sign(1, &wish));
    assert_eq!((waiting.known_to, waiting.until), (vec![1, 2, 4], late.since + HOUR));
    world.boot(3);
    world.wait(1);
    assert_eq!(world.sign(4, &wish).unwrap().signers, [1, 2, 3]);
    world.check();
}

/// It tells one party alone; that one tells the others, and all can be watched.
#[test]
fn a_coordinator_that_hides_a_request_from_most_is_overtaken_by_whom_it_told() {
    let (mut world, key) = scene(13);
    let wish = request(&world, &key, 1);
    for other in [2, 3, 4] {
        world.unlink(1, other);
    }
    world.say(1, 3, &PeerMessage::ProposeSign { nonce: [7; 32], request: wish.clone() });
    world.wait(1);
    for party in [2, 3, 4] {
        assert_eq!(world.waiting(party).len(), 1, "party {party}");
    }
    assert!(world.waiting(1).is_empty());
}

/// It has had the request on record for long, and told nobody: the others' delays begin when they hear.
#[test]
fn a_coordinator_that_told_nobody_has_gained_nothing() {
    let (mut world, key) = scene(14);
    let wish = request(&world, &key, 1);
    for other in [2, 3, 4] {
        world.unlink(1, other);
    }
    assert_eq!(waits(world.sign(1, &wish)).known_to, [1]);
    world.sleep(2 * HOUR);
    for other in [2, 3, 4] {
        // Nobody is told by the link itself: as if the coordinator kept that back as well.
        world.link(1, other);
    }
    let now = world.time(2);
    let waiting = waits(world.sign(1, &wish));
    assert!(waiting.until >= now + HOUR, "{waiting:?}");
    assert_eq!(waiting.known_to, [1, 2, 3, 4]);
    for other in [2, 3, 4] {
        assert!(world.waiting(other)[0].since >= now);
    }
    world.check();
}

/// What a peer says of a request that waits is checked like a proposal.
#[test]
fn nobody_puts_on_record_what_its_policy_does_not_let_wait() {
    let (mut world, key) = scene(15);
    let good = request(&world, &key, 1);
    let mut forged = good.clone();
    let place = forged.len() - 2;
    forged[place] ^= 1;
    let fast = world.create("fast", 100);
    let at_once = request(&world, &fast, 2);
    let client = key_of(0x99);
    let expires = world.time(1) + 12 * HOUR;
    let stranger =
        Wanted { client, derivation: Derivation::Root, number: 3, expires }.request(&world, &key);
    for bytes in [forged, at_once, stranger, vec![], vec![1]] {
        world.say(1, 2, &PeerMessage::Await { request: bytes });
        assert!(world.waiting(2).is_empty());
    }
    let refused = world.status(2).peers.iter().find(|peer| peer.party == 1).unwrap().refused;
    assert_eq!(refused, 3, "what does not parse is the sender's fault");
    world.say(1, 2, &PeerMessage::Await { request: good });
    assert_eq!(world.waiting(2).len(), 1);
}
