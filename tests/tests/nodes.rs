//! Whole nodes in simulated trouble: crashes at any moment on disks that forget, broken links, folders
//! that are put back to older copies, generators that are stuck. Every message is watched.
//!
//! `QUORATE_SEED=n` runs one seed of each test alone.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use quorate_core::derive::Derivation;
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_tests::nodes::{Answer, World, transfer, transfer_from};
use quorate_tests::transaction::judge;
use rand_core::SeedableRng;

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

/// The answers that a disturbed node may give: clear, typed, and nobody's honest party blamed.
fn is_clean(error: &ServiceError) -> bool {
    match error {
        ServiceError::NotEnoughParties { .. }
        | ServiceError::Deadline { .. }
        | ServiceError::UnknownKey { .. }
        | ServiceError::Busy
        | ServiceError::Local { .. } => true,
        ServiceError::ProtocolFailure { culprits, .. } => culprits.is_empty(),
        ServiceError::Denied { rule, .. } => rule == "window",
        _ => false,
    }
}

fn signature_is_valid(signed: &Signed, key: &KeyInfo) {
    assert_eq!(
        judge(signed.raw_transaction.as_deref().unwrap()).sender,
        key.address.to_lowercase()
    );
}

#[test]
fn a_calm_world_makes_keys_and_signatures() {
    let mut world = World::new(4, 1, false);
    let key = world.create("calm", 100);
    for coordinator in world.parties() {
        let request = transfer(&world, &key, u64::from(coordinator));
        let answer = world.start_sign(coordinator, request.clone());
        let Answer::Done(Ok(signed)) = world.await_answer(answer, |_| {}) else { panic!("calm") };
        signature_is_valid(&signed, &key);
        // Anybody answers the same request from the record.
        world.wait(1);
        let other = coordinator % 4 + 1;
        let answer = world.start_sign(other, request);
        let Answer::Done(Ok(again)) = world.await_answer(answer, |_| {}) else { panic!("calm") };
        assert!(again.repeated);
        assert_eq!(again.raw_transaction, signed.raw_transaction);
    }
    let report = world.check();
    assert_eq!((report.points, report.repeated), (12, 0));
    assert!(report.unexplained.is_empty());
}

#[test]
fn descendants_of_a_key_sign_for_their_own_addresses() {
    let mut world = World::new(4, 1, false);
    let key = world.create("family", 100);
    let mut senders = std::collections::BTreeSet::from([key.address.clone()]);
    for (number, derivation) in [
        Derivation::Path("m/0/5".parse().unwrap()),
        Derivation::Path("m/0/6".parse().unwrap()),
        Derivation::Context("rent".parse().unwrap()),
    ]
    .into_iter()
    .enumerate()
    {
        // The same transaction each time: only the descendant differs.
        let request = transfer_from(&world, &key, derivation, 7);
        let coordinator = number as u16 + 1;
        let answer = world.start_sign(coordinator, request.clone());
        let Answer::Done(Ok(signed)) = world.await_answer(answer, |_| {}) else { panic!("calm") };
        assert!(
            senders.insert(judge(signed.raw_transaction.as_deref().unwrap()).sender),
            "{derivation}"
        );
        // Another party took the record over, since it verifies under the descendant's key.
        world.wait(1);
        let answer = world.start_sign(coordinator + 1, request);
        let Answer::Done(Ok(again)) = world.await_answer(answer, |_| {}) else { panic!("calm") };
        assert!(again.repeated);
        assert_eq!(again.raw_transaction, signed.raw_transaction);
    }
    assert_eq!(senders.len(), 4);
    let report = world.check();
    assert_eq!((report.points, report.repeated), (9, 0));
    assert!(report.unexplained.is_empty());
}

/// Crashes and broken links, at random; the dead come back after a while.
fn trouble(world: &mut World) {
    let parties = world.parties();
    let any = |world: &mut World| parties[world.below(parties.len() as u32) as usize];
    match world.below(400) {
        0 => {
            let party = any(world);
            world.crash(party);
        }
        1..=3 => {
            // In the middle of whatever it does next.
            let (party, changes) = (any(world), u64::from(world.below(12)));
            world.crash_soon(party, changes);
        }
        4 => {
            let (a, b) = (any(world), any(world));
            world.unlink(a, b);
            world.link(a, b);
        }
        5..=30 => {
            for party in parties {
                world.boot(party);
            }
        }
        _ => {}
    }
}

#[test]
fn a_finished_request_is_answered_after_its_expiry_and_an_unfinished_one_is_not() {
    let mut world = World::new(4, 2, false);
    let key = world.create("late", 100);
    let finished = transfer(&world, &key, 1);
    let answer = world.start_sign(1, finished.clone());
    let Answer::Done(Ok(signed)) = world.await_answer(answer, |_| {}) else { panic!("calm") };
    world.wait(1);
    world.sleep(13 * 3600);
    for party in world.parties() {
        let answer = world.start_sign(party, finished.clone());
        let Answer::Done(Ok(again)) = world.await_answer(answer, |_| {}) else {
            panic!("recorded")
        };
        assert_eq!((again.repeated, again.hash), (true, signed.hash.clone()));
    }
    let late = transfer(&world, &key, 2);
    let answer = world.start_sign(1, late);
    match world.await_answer(answer, |_| {}) {
        Answer::Done(Err(ServiceError::Denied { rule, .. })) => assert_eq!(rule, "expired"),
        _ => panic!("an expired request was not refused"),
    }
}

#[test]
fn crashes_at_any_moment_cost_sessions_and_nothing_else() {
    let (mut made, mut signed_count, mut failed) = (0, 0, 0);
    for seed in seeds(60) {
        println!("seed {seed}");
        let mut world = World::new(4, seed, seed % 2 == 0);
        let key = world.create("first", 5);
        let mut signed_requests = BTreeMap::new();
        for round in 0..12 {
            let coordinator = world.below(4) as u16 + 1;
            world.boot(coordinator);
            if round % 4 == 3 {
                let answer = world.start_create(coordinator, &format!("key {round}"), 5);
                match world.await_answer(answer, trouble) {
                    Answer::Done(Ok(key)) => {
                        world.learn(&key);
                        made += 1;
                    }
                    Answer::Done(Err(error)) => assert!(is_clean(&error), "seed {seed}: {error:?}"),
                    Answer::Died => {}
                }
                continue;
            }
            let request = transfer(&world, &key, round);
            // Repeated at another party if it fails: it still counts once.
            for attempt in 0..3u16 {
                let coordinator = (coordinator + attempt - 1) % 4 + 1;
                world.boot(coordinator);
                let answer = world.start_sign(coordinator, request.clone());
                match world.await_answer(answer, trouble) {
                    Answer::Done(Ok(signed)) => {
                        signature_is_valid(&signed, &key);
                        signed_requests.insert(round, signed.hash);
                        signed_count += 1;
                        break;
                    }
                    Answer::Done(Err(error)) => {
                        assert!(is_clean(&error), "seed {seed}: {error:?}");
                        failed += 1;
                    }
                    Answer::Died => failed += 1,
                }
            }
        }
        // Each party allows 5 ether: ten requests of just under half an ether. A signature takes three
        // parties' count, so four parties together allow 13.
        assert!(signed_requests.len() * 3 <= 4 * 10, "seed {seed}: the limit was exceeded");
        world.check();
        let releases = world.check_limit(&key, 5);
        assert!(
            releases >= 3 * signed_requests.len(),
            "seed {seed}: {releases} releases are logged"
        );
    }
    println!("{made} keys, {signed_count} signatures, {failed} failures");
    if seeds(60).len() > 1 {
        assert!(made > 20 && signed_count > 100 && failed > 20, "{made} {signed_count} {failed}");
    }
}

#[test]
fn a_limit_holds_with_changing_quorums_and_crashes() {
    for seed in seeds(8) {
        let mut world = World::new(4, seed, false);
        let key = world.create("limited", 2);
        let mut signed = 0;
        for round in 0..10 {
            let away = (round % 4) as u16 + 1;
            world.crash(away);
            let coordinator = away % 4 + 1;
            let request = transfer(&world, &key, round);
            let answer = world.start_sign(coordinator, request);
            match world.await_answer(answer, |_| {}) {
                Answer::Done(Ok(done)) => {
                    signature_is_valid(&done, &key);
                    signed += 1;
                }
                Answer::Done(Err(error)) => {
                    assert!(
                        matches!(&error, ServiceError::Denied { rule, .. } if rule == "window"),
                        "{error:?}"
                    );
                }
                Answer::Died => panic!("nobody crashed"),
            }
            world.boot(away);
        }
        // Four requests per party, and each signature takes three parties.
        assert!((4..=5).contains(&signed), "seed {seed}: {signed}");
        world.check();
        let releases = world.check_limit(&key, 2);
        assert!(releases >= 3 * signed, "seed {seed}: {releases} releases are logged");
    }
}

#[test]
fn a_folder_put_back_to_an_older_copy_never_reuses_a_nonce() {
    let (mut points, mut repeated, mut after) = (0, 0, 0);
    for seed in seeds(40) {
        // Stuck generators, and clocks that go back with the folder: nothing fresh is left at all.
        let (stuck, clock) = (seed % 2 == 0, seed % 4 < 2);
        println!("seed {seed}, stuck {stuck}, clock goes back {clock}");
        let mut world = World::new(4, seed, stuck);
        let key = world.create("rolled back", 100);
        let mut requests = Vec::new();
        let mut copies = Vec::new();
        for round in 0..10u64 {
            let victim = world.below(4) as u16 + 1;
            copies.extend(world.snapshot(victim).map(|copy| (victim, copy)));
            // A new wish, or an old one again, at one coordinator or at two at once.
            let old = world.below(3) == 0 && !requests.is_empty();
            let request = if old {
                let place = world.below(requests.len() as u32) as usize;
                requests[place]
            } else {
                requests.len() as u64
            };
            if !old {
                requests.push(request);
            }
            let bytes = transfer(&world, &key, request);
            let mut answers: Vec<_> = (0..=world.below(2))
                .map(|_| {
                    let coordinator = world.below(4) as u16 + 1;
                    world.start_sign(coordinator, bytes.clone())
                })
                .collect();
            if round % 2 == 1 {
                let steps = world.below(40);
                (0..steps).for_each(|_| world.step());
                let place = world.below(copies.len() as u32) as usize;
                let (victim, copy) = &copies[place];
                world.roll_back_and_readmit(*victim, copy, clock);
                after += 1;
            }
            for answer in answers.drain(..) {
                match world.await_answer(answer, |_| {}) {
                    Answer::Done(Ok(signed)) => signature_is_valid(&signed, &key),
                    Answer::Done(Err(error)) => assert!(is_clean(&error), "seed {seed}: {error:?}"),
                    Answer::Died => {}
                }
            }
            world.wait(1);
        }
        let report = world.check();
        assert!(report.unexplained.is_empty(), "seed {seed}: {report:?}");
        repeated += report.repeated;
        points += report.points;
    }
    println!("{after} roll-backs, {points} nonce points, {repeated} of them in two sessions");
    if seeds(40).len() > 1 {
        assert!(points > 500);
    }
}

/// Nobody accepted the loss: what a party released after the copy was made, at least one honest peer knows.
#[test]
fn a_folder_put_back_signs_nothing_that_its_peers_know_better() {
    for seed in seeds(10) {
        let mut world = World::new(4, seed, false);
        let key = world.create("witnessed", 100);
        let victim = world.below(4) as u16 + 1;
        let copy = world.snapshot(victim).unwrap();
        let mut number = 0;
        let mut sign = |world: &mut World, coordinator: u16| {
            number += 1;
            let request = transfer(world, &key, number);
            let answer = world.start_sign(coordinator, request);
            match world.await_answer(answer, |_| {}) {
                Answer::Done(result) => result,
                Answer::Died => panic!("seed {seed}: nobody crashes here"),
            }
        };
        // Control: what nobody has seen more of than it knows itself is no roll-back.
        world.roll_back(victim, &copy, false);
        while !sign(&mut world, victim).unwrap().signers.contains(&victim) {}
        world.roll_back(victim, &copy, false);
        // The victim too may coordinate until it knows, and last of all it does.
        for coordinator in [1, 2, 3, 4, victim] {
            match sign(&mut world, coordinator) {
                Ok(signed) => {
                    assert!(!signed.signers.contains(&victim), "seed {seed}: {signed:?}");
                }
                Err(ServiceError::Sealed { reason }) if coordinator == victim => {
                    assert!(reason.contains("earlier state"), "seed {seed}: {reason}");
                }
                other => panic!("seed {seed}: party {coordinator}: {other:?}"),
            }
        }
        assert!(sign(&mut world, victim).is_err(), "seed {seed}");
    }
}

#[test]
fn a_whole_group_put_back_repeats_itself_harmlessly() {
    for seed in seeds(10) {
        let mut world = World::new(4, seed, true);
        let key = world.create("twice", 100);
        let copies: Vec<_> =
            world.parties().into_iter().map(|p| (p, world.snapshot(p).unwrap())).collect();
        // The same request twice, another one between them, all from the very same state and time.
        for number in [1, 2, 1] {
            for (party, copy) in &copies {
                world.roll_back(*party, copy, true);
            }
            // The network does the same too, so that the same quorum is found.
            world.rng = SeedableRng::seed_from_u64(seed);
            let request = transfer(&world, &key, number);
            let answer = world.start_sign(1, request);
            let Answer::Done(Ok(signed)) = world.await_answer(answer, |_| {}) else {
                panic!("seed {seed}: nobody is away")
            };
            signature_is_valid(&signed, &key);
        }
        let report = world.check();
        // Two requests of three parties: the third run made the first one's nonces again, in the same
        // session and for the same (Y, h, R); the request between them had nonces of its own.
        assert_eq!(report.points, 6, "seed {seed}: {report:?}");
    }
}

/// Party 3 hears nobody's confirmation, and every deadline passes. Its share is one of those that the others
/// count on, who may have the whole certificate: it stays, however long.
#[test]
fn premature_deletion_on_a_time_out() {
    for seed in seeds(8) {
        let mut world = World::new(4, seed, false);
        let _answer = world.start_create(1, "patient", 100);
        let state =
            |world: &mut World, party| world.keys(party).first().map(|key| key.state.clone());
        let mut steps = 0;
        while world.parties().into_iter().any(|party| state(&mut world, party).is_none()) {
            world.step();
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: somebody never had a share");
        }
        assert_eq!(state(&mut world, 3).as_deref(), Some("pending"), "seed {seed}");
        // Cut off before anything more arrives; the others go on, and time goes by for all.
        [1, 2, 4].into_iter().for_each(|other| world.unlink(3, other));
        world.wait(120);
        world.sleep(1800);
        world.wait(5);
        world.crash(3);
        world.boot(3);
        [1, 2, 4].into_iter().for_each(|other| world.unlink(3, other));
        world.wait(5);
        assert_eq!(state(&mut world, 3).as_deref(), Some("pending"), "seed {seed}");
        // The link is back: everybody has the key, and party 3 signs with it.
        [1, 2, 4].into_iter().for_each(|other| world.link(3, other));
        world.wait(10);
        for party in world.parties() {
            let now = state(&mut world, party);
            assert_eq!(now.as_deref(), Some("active"), "seed {seed}, party {party}");
        }
        let key = world.keys(1).remove(0);
        world.learn(&key);
        world.crash(4);
        let request = transfer(&world, &key, 1);
        let answer = world.start_sign(3, request);
        let Answer::Done(Ok(signed)) = world.await_answer(answer, |_| {}) else {
            panic!("seed {seed}: parties 1, 2 and 3 do not sign")
        };
        signature_is_valid(&signed, &key);
        world.check();
    }
}
