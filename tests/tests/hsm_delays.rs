//! Whole nodes whose HSMs are slow, answer in odd order, or never. Nobody waits for ever, nothing is
//! counted or sent that must not be, and whoever has its HSM back takes part again.
//!
//! `QUORATE_SEED=n` runs one seed of each test alone.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_node::message::PeerMessage;
use quorate_node::service::{HSM_THREADS, Keeping};
use quorate_tests::nodes::{Answer, HsmWeather, World, transfer};
use quorate_tests::transaction::judge;

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

/// 4 parties with a key whose shares are closed.
fn world(seed: u64) -> (World, KeyInfo) {
    let mut world = World::new(4, seed, false);
    let key = world.create("k", 100);
    (world, key)
}

fn done(answer: Answer<Signed>) -> Result<Signed, ServiceError> {
    match answer {
        Answer::Done(result) => result,
        Answer::Died => panic!("nobody crashes here"),
    }
}

fn sign(
    world: &mut World,
    coordinator: u16,
    key: &KeyInfo,
    number: u64,
) -> Result<Signed, ServiceError> {
    let request = transfer(world, key, number);
    let answer = world.start_sign(coordinator, request);
    done(world.await_answer(answer, |_| {}))
}

fn step_until(world: &mut World, what: &str, mut so: impl FnMut(&mut World) -> bool) {
    for _ in 0..20_000 {
        if so(world) {
            return;
        }
        world.step();
    }
    panic!("does not happen: {what}");
}

/// The reason that the asker gets for this party.
fn reason_of(error: &ServiceError, party: u16) -> String {
    let ServiceError::NotEnoughParties { reasons, .. } = error else { panic!("{error:?}") };
    let found = reasons.iter().find(|(other, _)| *other == party);
    found.unwrap_or_else(|| panic!("{error:?}")).1.clone()
}

#[test]
fn one_opening_serves_all_who_wait_and_a_second_answer_nobody() {
    for seed in seeds(6) {
        let (mut world, key) = world(seed);
        // Parties 1 to 3 must all sign.
        world.crash(4);
        world.set_hsm(2, HsmWeather::Held);
        let answers: Vec<_> = (0..6u64)
            .map(|number| {
                let request = transfer(&world, &key, number);
                world.start_sign([1, 3][number as usize % 2], request)
            })
            .collect();
        step_until(&mut world, "all are at party 2", |world| world.status(2).sessions == 6);
        for _ in 0..30 {
            world.step();
        }
        assert_eq!(world.hsm_calls(2), 1, "seed {seed}");
        // It answers everything else meanwhile.
        let status = world.status(2);
        assert_eq!((status.sessions, status.open_shares), (6, 0), "seed {seed}");
        assert_eq!(status.hsm_calls.waiting, 1);
        assert!(world.answer_hsm(2, 0, 3));
        for answer in answers {
            let signed = done(world.await_answer(answer, |_| {})).unwrap();
            assert_eq!(signed.signers, [1, 2, 3], "seed {seed}");
            assert_eq!(
                judge(signed.raw_transaction.as_deref().unwrap()).sender,
                key.address.to_lowercase()
            );
        }
        assert_eq!((world.hsm_calls(2), world.status(2).open_shares), (0, 1));
        let report = world.check();
        assert!(report.unexplained.is_empty(), "seed {seed}: {report:?}");
        assert_eq!(world.check_limit(&key, 100), 18, "seed {seed}");
    }
}

/// What was allowed when the session was proposed is not any more when the share is open at last.
#[test]
fn time_that_passed_in_the_hsm_is_judged() {
    let (mut world, key) = world(1);
    world.crash(4);
    world.set_hsm(2, HsmWeather::Held);
    let request = transfer(&world, &key, 1);
    let _answer = world.start_sign(1, request);
    step_until(&mut world, "party 2 waits", |world| world.hsm_calls(2) == 1);
    // The others have sent their first messages.
    for _ in 0..20 {
        world.step();
    }
    world.sleep(13 * 3600);
    assert!(world.answer_hsm(2, 0, 1));
    let released = world.released(2, &key);
    assert!(released.is_empty(), "party 2 released for an expired request: {released:?}");
    assert_eq!(world.released(1, &key).len(), 1, "the session never began");
}

#[test]
fn a_silent_hsm_costs_its_party_the_session_and_nobody_else() {
    for seed in seeds(6) {
        let (mut world, key) = world(seed);
        world.set_hsm(2, HsmWeather::Held);
        // As a member, and as the coordinator.
        for (number, coordinator) in [(1, 1), (2, 2), (3, 3), (4, 2)] {
            let signed = sign(&mut world, coordinator, &key, number).unwrap();
            assert!(!signed.signers.contains(&2), "seed {seed}: {signed:?}");
        }
        world.wait(3);
        let calls = world.status(2).hsm_calls;
        assert!(calls.silent_seconds.unwrap() >= 3 && calls.waiting == 1, "{calls:?}");
        // Where it is needed, the asker hears why there is no signature, whomever it asks.
        world.crash(4);
        for coordinator in [1, 2] {
            let error = sign(&mut world, coordinator, &key, 10).unwrap_err();
            let reason = reason_of(&error, 2);
            assert!(reason.contains("its HSM has not answered for"), "{error:?}");
        }
        // The answer comes after all, and is kept: nothing more is asked of the HSM.
        assert!(world.answer_hsm(2, 0, 1));
        assert_eq!((world.status(2).open_shares, world.hsm_calls(2)), (1, 0));
        assert_eq!(world.status(2).hsm_calls.silent_seconds, None);
        for coordinator in [1, 2] {
            let signed = sign(&mut world, coordinator, &key, 20 + u64::from(coordinator)).unwrap();
            assert_eq!(signed.signers, [1, 2, 3]);
        }
        assert_eq!(world.hsm_calls(2), 0);
        // By the idle rule, like any other.
        world.wait(61);
        assert_eq!(world.status(2).open_shares, 0);
        world.set_hsm(2, HsmWeather::AtOnce);
        world.check();
    }
}

/// Its own session gives up, tells why, and has counted nothing; the answer that comes later starts
/// nothing.
#[test]
fn the_deadline_of_a_session_that_waits_for_the_hsm() {
    for seed in seeds(6) {
        let (mut world, key) = world(seed);
        world.crash(4);
        world.set_hsm(2, HsmWeather::Held);
        let request = transfer(&world, &key, 1);
        let answer = world.start_sign(1, request);
        step_until(&mut world, "party 2 waits", |world| world.hsm_calls(2) == 1);
        world.wait(2);
        assert_eq!(world.status(2).sessions, 1, "seed {seed}");
        world.wait(1);
        world.tick();
        // Before the coordinator has given it up.
        assert_eq!(world.status(2).sessions, 0, "seed {seed}");
        let error = done(world.await_answer(answer, |_| {})).unwrap_err();
        assert!(reason_of(&error, 2).contains("HSM has not answered"), "seed {seed}: {error:?}");
        assert!(world.answer_hsm(2, 0, 1));
        world.wait(10);
        assert_eq!(world.status(2).sessions, 0);
        // Parties 1 and 3 had begun, party 2 had not.
        assert_eq!(world.check_limit(&key, 100), 2, "seed {seed}");
        world.boot(4);
        world.set_hsm(2, HsmWeather::AtOnce);
        world.check();
    }
}

#[test]
fn calls_that_never_return_are_few_and_cost_no_restart() {
    let mut world = World::new(4, 3, false);
    let keys: Vec<KeyInfo> =
        (0..HSM_THREADS + 2).map(|number| world.create(&format!("key {number}"), 100)).collect();
    world.crash(4);
    world.set_hsm(2, HsmWeather::Held);
    for (number, key) in keys.iter().enumerate() {
        let begin = world.status(2).hsm_calls;
        let error = sign(&mut world, 1, key, number as u64).unwrap_err();
        assert!(reason_of(&error, 2).contains("HSM has not answered for"), "{error:?}");
        // Beyond its deadline a call counts as lost, and the next session tries again, on another thread.
        let expected = (number + 1).min(HSM_THREADS);
        assert_eq!((world.hsm_calls(2), begin.overdue), (expected, number.min(HSM_THREADS)));
        world.wait(21);
    }
    let calls = world.status(2).hsm_calls;
    assert_eq!((calls.waiting, calls.overdue), (HSM_THREADS, HSM_THREADS));
    assert!(calls.silent_seconds.unwrap() > 80, "{calls:?}");
    // Keys need the HSM too, and nobody waits for it now.
    let answer = world.start_create(1, "more", 5);
    let begin = world.status(2).hsm_calls;
    match world.await_answer(answer, |_| {}) {
        Answer::Done(Err(error)) => {
            let ServiceError::NotEnoughParties { reasons, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(reasons.iter().any(|(party, _)| *party == 4 || *party == 2), "{error:?}");
        }
        _ => panic!("a key without two parties"),
    }
    assert_eq!(begin.waiting, HSM_THREADS);
    world.set_hsm(2, HsmWeather::AtOnce);
    assert_eq!(world.status(2).hsm_calls.overdue, 0);
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(sign(&mut world, 2, key, 100 + number as u64).unwrap().signers, [1, 2, 3]);
    }
    world.boot(4);
    world.create("after", 5);
    world.check();
}

/// A peer's memory of this party arrives while the HSM opens the share: nothing is signed with it.
#[test]
fn a_roll_back_that_shows_while_the_share_is_opened() {
    let (mut world, key) = world(5);
    let copy = world.snapshot(2).unwrap();
    // Parties 1 and 4 see party 2 release, party 3 does not.
    world.crash(3);
    assert_eq!(sign(&mut world, 1, &key, 1).unwrap().signers, [1, 2, 4]);
    world.wait(1);
    world.boot(3);
    world.crash(4);
    world.set_hsm(2, HsmWeather::Held);
    world.roll_back(2, &copy, false);
    // Party 1 lies.
    world.unlink(1, 2);
    world.say(1, 2, &PeerMessage::Recall(None));
    let request = transfer(&world, &key, 2);
    let _answer = world.start_sign(3, request);
    // Party 1 cannot be reached from party 2, but takes part.
    step_until(&mut world, "party 2 waits for its HSM", |world| {
        world.hsm_calls(2) == 1 && world.status(2).sessions == 1
    });
    for _ in 0..20 {
        world.step();
    }
    world.boot(4);
    step_until(&mut world, "party 4 shows what it knows", |world| world.status(2).rolled_back);
    assert!(world.answer_hsm(2, 0, 1));
    world.wait(1);
    let released = world.released(2, &key);
    assert!(released.is_empty(), "party 2 released, though its folder is old: {released:?}");
    assert_eq!(world.released(3, &key).len(), 1, "the session never began");
}

#[test]
fn a_slow_hsm_stops_no_key_whose_share_is_open() {
    let (mut world, open) = world(13);
    let closed = world.create("closed", 100);
    world.crash(4);
    sign(&mut world, 1, &open, 1).unwrap();
    world.set_hsm(2, HsmWeather::Held);
    let request = transfer(&world, &closed, 2);
    let waits = world.start_sign(2, request);
    for number in 10..20 {
        let coordinator = [1, 2][number as usize % 2];
        assert_eq!(sign(&mut world, coordinator, &open, number).unwrap().signers, [1, 2, 3]);
    }
    assert_eq!(world.hsm_calls(2), 1);
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(done(world.await_answer(waits, |_| {})).unwrap().signers, [1, 2, 3]);
}

/// With no idle time at all, a share goes with its last session; sessions of one key still share one.
#[test]
fn a_share_that_is_closed_at_once_is_opened_again() {
    let mut world = World::new(4, 7, false);
    world.keeping = Keeping { idle: Duration::ZERO, lock: true };
    let key = world.create("k", 100);
    (1..=4).for_each(|party| world.crash(party));
    (1..=3).for_each(|party| world.boot(party));
    world.wait(1);
    for round in 0..3u64 {
        world.set_hsm(2, HsmWeather::Held);
        let answers: Vec<_> = (0..3u64)
            .map(|number| {
                let request = transfer(&world, &key, round * 10 + number);
                world.start_sign(1, request)
            })
            .collect();
        for _ in 0..100 {
            world.step();
        }
        assert_eq!(world.hsm_calls(2), 1, "one opening for all three");
        world.answer_hsm(2, 0, 1);
        for answer in answers {
            assert!(done(world.await_answer(answer, |_| {})).is_ok());
        }
        // Its log has grown, so that a head of it is to be signed.
        world.set_hsm(2, HsmWeather::AtOnce);
        world.wait(1);
        assert_eq!(world.hsm_calls(2), 0);
        assert_eq!((world.status(1).open_shares, world.status(2).open_shares), (0, 0));
    }
    world.boot(4);
    world.set_hsm(2, HsmWeather::AtOnce);
    world.check();
}

#[test]
fn a_key_waits_for_the_hsm_that_certifies_and_seals() {
    let (mut world, _) = world(9);
    world.set_hsm(3, HsmWeather::Held);
    let answer = world.start_create(1, "waits", 5);
    step_until(&mut world, "certifying", |world| world.hsm_calls(3) == 1);
    assert!(world.answer_hsm(3, 0, 2));
    step_until(&mut world, "sealing", |world| world.hsm_calls(3) == 1);
    for _ in 0..50 {
        world.step();
    }
    let named = |world: &mut World, party| {
        world.keys(party).into_iter().find(|key| key.name == "waits").map(|key| key.state)
    };
    // Nobody has party 3's confirmation, and it has none to give.
    assert_eq!(named(&mut world, 3), None);
    assert_eq!(named(&mut world, 1).as_deref(), Some("pending"));
    assert!(world.answer_hsm(3, 0, 2));
    let Answer::Done(Ok(key)) = world.await_answer(answer, |_| {}) else { panic!("no key") };
    world.learn(&key);
    world.wait(2);
    (1..=4).for_each(|party| {
        assert_eq!(named(&mut world, party).as_deref(), Some("active"), "party {party}");
    });
    world.set_hsm(3, HsmWeather::AtOnce);
    world.crash(4);
    assert_eq!(sign(&mut world, 1, &key, 1).unwrap().signers, [1, 2, 3]);
    world.check();
}

#[test]
fn a_key_that_is_given_up_meanwhile_drops_the_answer() {
    // Certifying: the proposal is refused before its coordinator gives up.
    let (mut world, _) = world(11);
    world.set_hsm(3, HsmWeather::Held);
    let answer = world.start_create(1, "first", 5);
    match world.await_answer(answer, |_| {}) {
        Answer::Done(Err(error)) => {
            assert!(reason_of(&error, 3).contains("HSM has not answered for 2 s"), "{error:?}");
        }
        _ => panic!("a key without party 3"),
    }
    assert_eq!(world.status(3).sessions, 0);
    assert!(world.answer_hsm(3, 0, 1));
    // Sealing: the others' shares stay pending for ever, and party 3 has none.
    for ends in ["deadline", "cancel", "crash"] {
        let name = format!("by {ends}");
        let answer = world.start_create(1, &name, 5);
        step_until(&mut world, "certifying", |world| world.hsm_calls(3) == 1);
        world.answer_hsm(3, 0, 1);
        step_until(&mut world, "sealing", |world| world.hsm_calls(3) == 1);
        for _ in 0..50 {
            world.step();
        }
        match ends {
            "deadline" => {
                let Answer::Done(Err(error)) = world.await_answer(answer, |_| {}) else {
                    panic!("a key without party 3")
                };
                assert!(error.to_string().contains("HSM has not answered for"), "{error}");
            }
            // The coordinator's link breaks: it gives up, and says so on its next link.
            "cancel" => {
                world.crash(1);
                world.boot(1);
                world.wait(21);
            }
            _ => {
                world.crash(3);
                world.boot(3);
                world.wait(1);
            }
        }
        world.answer_hsm(3, 0, 1);
        world.wait(25);
        assert!(!world.keys(3).iter().any(|key| key.name == name), "{name}");
        for party in [1, 2, 4] {
            let own = world.keys(party).into_iter().find(|key| key.name == name);
            assert!(own.is_none_or(|key| key.state == "pending"), "{name}, party {party}");
        }
    }
    world.set_hsm(3, HsmWeather::AtOnce);
    world.create("at last", 5);
    world.check();
}

/// Crashes, broken links, folders that go back, and HSMs that turn slow and silent.
#[test]
fn slow_hsms_in_any_weather() {
    let (mut signed, mut failed, mut late) = (0, 0, 0);
    for seed in seeds(30) {
        println!("seed {seed}");
        let mut world = World::new(4, seed, seed % 3 == 0);
        if seed % 2 == 0 {
            world.keeping.idle = Duration::ZERO;
        }
        let keys = [world.create("a", 100), world.create("b", 100)];
        (1..=4).for_each(|party| world.set_hsm(party, HsmWeather::Seeded));
        let mut copies = Vec::new();
        for round in 0..6u64 {
            let victim = world.below(4) as u16 + 1;
            copies.extend(world.snapshot(victim).map(|copy| (victim, copy)));
            let answers: Vec<_> = (0..4u64)
                .map(|one| {
                    let key = &keys[world.below(2) as usize];
                    // Now and then an old wish again.
                    let number = (round * 4 + one) / (1 + u64::from(world.below(2)));
                    let request = transfer(&world, key, number);
                    let coordinator = world.below(4) as u16 + 1;
                    world.boot(coordinator);
                    (key.address.to_lowercase(), world.start_sign(coordinator, request))
                })
                .collect();
            if round % 3 == 2 {
                let steps = world.below(60);
                (0..steps).for_each(|_| world.step());
                let place = world.below(copies.len() as u32) as usize;
                let (victim, copy) = &copies[place];
                world.roll_back_and_readmit(*victim, copy, seed % 4 == 0);
            }
            for (sender, answer) in answers {
                match world.await_answer(answer, trouble) {
                    Answer::Done(Ok(done)) => {
                        assert_eq!(judge(done.raw_transaction.as_deref().unwrap()).sender, sender);
                        signed += 1;
                    }
                    Answer::Done(Err(error)) => {
                        late += usize::from(error.to_string().contains("HSM has not answered"));
                        failed += 1;
                    }
                    Answer::Died => failed += 1,
                }
            }
            // Some shares are closed in between.
            world.wait(if round % 2 == 0 { 70 } else { 1 });
        }
        (1..=4).for_each(|party| world.set_hsm(party, HsmWeather::AtOnce));
        let report = world.check();
        assert!(report.unexplained.is_empty(), "seed {seed}: {report:?}");
    }
    println!("{signed} signatures, {failed} failures, {late} of them by an HSM");
    if seeds(30).len() > 1 {
        assert!(signed > 200 && failed > 20 && late > 0, "{signed} {failed} {late}");
    }
}

fn trouble(world: &mut World) {
    let party = world.below(4) as u16 + 1;
    match world.below(300) {
        0 => world.crash(party),
        1..=2 => world.crash_soon(party, 7),
        3..=5 => world.set_hsm(party, HsmWeather::Held),
        6..=11 => world.set_hsm(party, HsmWeather::Seeded),
        12..=20 => (1..=4).for_each(|party| world.boot(party)),
        _ => {}
    }
}
