//! Vetoes: before the request, while it waits, too late, by strangers; and how they get around.

use quorate_node::handle::ServiceError;
use quorate_node::message::{MAX_VETOES, PeerMessage};
use quorate_tests::nodes::{Answer, World};

use super::*;

fn vetoed_by(world: &mut World, party: u16) -> Vec<String> {
    world.waiting(party).into_iter().flat_map(|waiting| waiting.vetoed_by).collect()
}

#[test]
fn a_veto_at_one_party_stops_a_request_at_all_for_ever() {
    let (mut world, key) = scene(21);
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    let vetoed = world.veto(3, &veto(&wish, 2)).unwrap();
    assert_eq!((vetoed.told.as_slice(), vetoed.waiting), (&[1, 2, 4][..], true));
    assert!(!vetoed.repeated && !vetoed.released && vetoed.vetoer == name(&key_of(2)));
    assert!(world.veto(3, &veto(&wish, 2)).unwrap().repeated);
    world.wait(1);
    let restarted = |world: &mut World| {
        for party in world.parties() {
            world.crash(party);
            world.boot(party);
        }
    };
    for pause in [0, HOUR + 5, 8 * HOUR] {
        world.sleep(pause);
        restarted(&mut world);
        for party in world.parties() {
            assert_eq!(vetoed_by(&mut world, party), [name(&key_of(2))], "party {party}");
            assert_eq!(world.waiting(party)[0].state, "denied");
            let (rule, by, reason) = denied(world.sign(party, &wish));
            assert_eq!((rule.as_str(), by), ("vetoed", party));
            assert!(reason.contains(&name(&key_of(2))), "{reason}");
        }
    }
    for party in world.parties() {
        let vetoes = events(&mut world, party, "vetoed");
        assert_eq!(vetoes.len(), 1, "party {party}: {vetoes:?}");
        assert_eq!(vetoes[0]["vetoer"], name(&key_of(2)));
        assert!(world.released(party, &key).is_empty());
    }
    // Another request is not concerned.
    let wish = request(&world, &key, 2);
    waits(world.sign(1, &wish));
    world.sleep(HOUR + 5);
    world.sign(1, &wish).unwrap();
    world.check();
}

#[test]
fn a_veto_before_the_request_cannot_be_raced() {
    let (mut world, key) = scene(22);
    let wish = request(&world, &key, 1);
    let vetoed = world.veto(2, &veto(&wish, 1)).unwrap();
    assert!(!vetoed.waiting);
    world.wait(1);
    for party in world.parties() {
        assert_eq!(denied(world.sign(party, &wish)).0, "vetoed");
        assert!(world.waiting(party).is_empty(), "it need not wait");
    }
    world.sleep(HOUR + 5);
    assert_eq!(denied(world.sign(1, &wish)).0, "vetoed");
}

#[test]
fn a_stranger_vetoes_nothing_and_a_forged_veto_is_its_senders_fault() {
    let (mut world, key) = scene(23);
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    // Not the client either: who asks does not name itself a vetoer.
    for by in [3, 0xc1] {
        let (rule, party, reason) = denied(world.veto(2, &veto(&wish, by)));
        assert_eq!((rule.as_str(), party), ("vetoer", 2));
        assert!(reason.contains("key slow"), "{reason}");
        world.say(1, 2, &PeerMessage::Vetoes(vec![veto(&wish, by).encode().to_vec()]));
    }
    let mut forged = veto(&wish, 1).encode().to_vec();
    forged[148] ^= 1;
    let refused = |world: &mut World| {
        let peers = world.status(2).peers;
        peers.into_iter().find(|peer| peer.party == 1).unwrap()
    };
    assert_eq!(refused(&mut world).refused, 0, "another party may know another policy");
    world.say(1, 2, &PeerMessage::Vetoes(vec![forged]));
    world.say(1, 2, &PeerMessage::Vetoes(vec![vec![1]]));
    let flood = vec![veto(&wish, 1).encode().to_vec(); MAX_VETOES + 1];
    world.say(1, 2, &PeerMessage::Vetoes(flood));
    let peer = refused(&mut world);
    assert_eq!(peer.refused, 3, "{peer:?}");
    assert!(vetoed_by(&mut world, 2).is_empty());
    let other_key = Veto::sign(KeyId([9; 16]), [1; 32], EPOCH, &key_of(1));
    assert!(matches!(world.veto(2, &other_key), Err(ServiceError::UnknownKey { .. })));
    world.sleep(HOUR + 5);
    world.sign(1, &wish).unwrap();
}

/// The key in a veto only says whose policy names the vetoer: for another key's request it stops nothing.
#[test]
fn a_vetoer_of_one_key_has_no_say_over_another() {
    let (mut world, _) = scene(24);
    let mut bytes = policy("1h", 100);
    // The same policy with other vetoers.
    for (old, new) in [(1, 0x31), (2, 0x32)] {
        let (old, new) = (key_of(old).verifying_key(), key_of(new).verifying_key());
        let place = bytes.windows(32).position(|part| part == old.as_bytes()).unwrap();
        bytes[place..place + 32].copy_from_slice(new.as_bytes());
    }
    let other = match quorate_core::policy::Policy::parse(&bytes) {
        Ok(_) => world.create_by("other", bytes),
        // Out of order: the two in the other places.
        Err(_) => {
            let start = bytes.len() - 64;
            let (one, two) = bytes.split_at_mut(start + 32);
            one[start..].swap_with_slice(&mut two[..32]);
            world.create_by("other", bytes)
        }
    };
    let wish = request(&world, &other, 1);
    waits(world.sign(1, &wish));
    let slow = world.keys(1).into_iter().find(|key| key.name == "slow").unwrap();
    let slow = KeyId(hex::decode(&slow.key).unwrap().try_into().unwrap());
    let hash = SignedRequest::parse(&wish).unwrap().hash();
    // Vetoer 1 of the key "slow" names it, and the request of the other key.
    world.veto(1, &Veto::sign(slow, hash, EPOCH, &key_of(1))).unwrap();
    world.sleep(HOUR + 5);
    world.sign(1, &wish).unwrap();
}

#[test]
fn a_veto_after_the_signature_says_that_it_is_too_late() {
    let (mut world, key) = scene(25);
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    world.sleep(HOUR + 5);
    let signed = world.sign(1, &wish).unwrap();
    world.wait(1);
    for party in world.parties() {
        match world.veto(party, &veto(&wish, 1)) {
            Err(ServiceError::Conflict { reason }) => assert!(reason.contains("signed already")),
            other => panic!("party {party}: {other:?}"),
        }
        assert_eq!(world.sign(party, &wish).unwrap().signature, signed.signature);
    }
}

/// Links that were down when the veto came: it is told first of all when they are up.
#[test]
fn a_veto_is_passed_on_when_links_come_back() {
    let (mut world, key) = scene(26);
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    for other in [1, 2, 4] {
        world.unlink(3, other);
    }
    let vetoed = world.veto(3, &veto(&wish, 1)).unwrap();
    assert!(vetoed.told.is_empty());
    world.sleep(HOUR + 5);
    assert!(vetoed_by(&mut world, 1).is_empty());
    // One link is enough: who hears of it tells the others.
    world.link(3, 2);
    world.wait(1);
    for party in world.parties() {
        assert_eq!(vetoed_by(&mut world, party), [name(&key_of(1))], "party {party}");
        assert_eq!(denied(world.sign(party, &wish)).0, "vetoed");
    }
}

/// A folder from before the veto: the party has it again before it has heard enough peers to sign.
#[test]
fn a_party_whose_folder_was_put_back_hears_of_vetoes_before_it_signs() {
    for seed in 0..4 {
        let (mut world, key) = scene(200 + seed);
        let wish = request(&world, &key, 1);
        waits(world.sign(1, &wish));
        let copies: Vec<_> = [2, 3].map(|party| (party, world.snapshot(party).unwrap())).into();
        world.veto(1, &veto(&wish, 1)).unwrap();
        world.wait(1);
        world.sleep(HOUR + 5);
        // Two of four forget: with the one liar that they may have beside them, a quorum.
        for (party, copy) in &copies {
            world.roll_back_and_readmit(*party, copy, false);
        }
        world.say(4, 2, &PeerMessage::ProposeSign { nonce: [1; 32], request: wish.clone() });
        world.wait(2);
        for (party, _) in &copies {
            assert_eq!(vetoed_by(&mut world, *party), [name(&key_of(1))], "seed {seed}");
            assert_eq!(denied(world.sign(*party, &wish)).0, "vetoed");
        }
        world.check();
    }
}

/// A veto that comes while sessions are under way: whoever has it releases nothing from then on.
#[test]
fn a_veto_races_a_session_and_whoever_has_it_first_releases_nothing() {
    let (mut signed, mut stopped, mut between) = (0, 0, 0);
    for seed in 0..60 {
        let (mut world, key) = scene(300 + seed);
        let wish = request(&world, &key, 1);
        waits(world.sign(1, &wish));
        world.sleep(HOUR + 5);
        let answer = world.start_sign(2, wish.clone());
        let mut left = world.below(24);
        let late = world.await_answer(answer, |world| {
            if left == 0 {
                let party = world.below(4) as u16 + 1;
                let _ = world.veto(party, &veto(&wish, 1));
            }
            left = left.saturating_sub(1);
        });
        match late {
            Answer::Done(Ok(_)) => signed += 1,
            Answer::Done(Err(ServiceError::Denied { rule, .. })) => {
                assert_eq!(rule, "vetoed", "seed {seed}");
                stopped += 1;
            }
            Answer::Done(Err(other)) => panic!("seed {seed}: {other:?}"),
            Answer::Died => panic!("seed {seed}: nobody dies here"),
        }
        world.wait(1);
        for party in world.parties() {
            let log = world.audit_log(party);
            let place = |event: &str| log.iter().position(|record| record["event"] == event);
            let released = log.iter().rposition(|record| record["event"] == "released");
            if let (Some(vetoed), Some(released)) = (place("vetoed"), released) {
                assert!(released < vetoed, "seed {seed}: party {party} released after the veto");
                assert_eq!(log[vetoed]["released"], true);
                between += 1;
            }
        }
        world.check();
    }
    println!("{signed} signed, {stopped} stopped, {between} vetoes after a release");
    assert!(signed > 5 && stopped > 5, "{signed} {stopped}");
}

/// What parties tell each other again and again ends: a veto of a request that never came is dropped by
/// all, and a peer that still has it cannot bring it back.
#[test]
fn a_veto_of_what_never_came_ends_everywhere() {
    let (mut world, key) = scene(27);
    let wish = request(&world, &key, 1);
    let veto = veto(&wish, 1);
    world.veto(1, &veto).unwrap();
    world.wait(1);
    // A day, an hour of delay, and a day of margin.
    world.sleep(49 * HOUR);
    let bytes = veto.encode().to_vec();
    world.say(2, 1, &PeerMessage::Vetoes(vec![bytes]));
    match world.veto(1, &veto) {
        Err(ServiceError::BadRequest { reason }) => assert!(reason.contains("older"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // Made anew it counts again, and before the request as well.
    let parsed = SignedRequest::parse(&wish).unwrap();
    let anew =
        Veto::sign(KeyId(*parsed.key().as_bytes()), parsed.hash(), world.time(1), &key_of(1));
    assert!(world.veto(1, &anew).is_ok());
}
