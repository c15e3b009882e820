//! Coordinators and peers that lie about policies: each party judges what it is told alone.

use quorate_core::curve::Suite;
use quorate_core::hash::Transcript;
use quorate_core::key::KeyTerms;
use quorate_core::party::{Holders, PartySet};
use quorate_node::message::{PeerMessage, PolicyState};
use quorate_tests::controllers::Changes;
use quorate_tests::simulator::id;

use super::*;

/// What party 2 last refused of party 1.
fn refused(world: &mut World) -> (u64, String) {
    let status = world.status(2);
    let peer = status.peers.into_iter().find(|peer| peer.party == 1).unwrap();
    (peer.refused, peer.last_refusal.unwrap_or_default())
}

fn say(world: &mut World, change: Vec<u8>, in_force: bool) {
    world.say(1, 2, &PeerMessage::PolicyChange { change, in_force });
    world.wait(1);
}

#[test]
fn a_change_that_the_controllers_did_not_sign_moves_nobody() {
    let (mut world, key) = world(1, "0s");
    let (old, new) = policies("0s");
    let signs = world.changes(&key);
    let elsewhere = Changes { network: [9; 16], ..signs };
    let good = signs.replace(2, &old, &new, &[1, 2]);
    let mut altered = good.clone();
    let place = altered.len() / 2;
    altered[place] ^= 1;
    for (change, why) in [
        (signs.replace(2, &old, &new, &[]), "0 of the 2 signatures of controllers"),
        (signs.replace(2, &old, &new, &[1]), "1 of the 2 signatures of controllers"),
        (signs.replace(2, &old, &new, &[1, 9]), "who is no controller"),
        (elsewhere.replace(2, &old, &new, &[1, 2]), "for another network"),
        (signs.create("k", &new, &[1, 2]), "no active key"),
        (altered, "a change of a policy"),
        (b"whatever".to_vec(), "does not decode"),
    ] {
        let (count, _) = refused(&mut world);
        say(&mut world, change, true);
        let (more, what) = refused(&mut world);
        assert!(what.contains(why) || why == "no active key", "{what:?} does not tell {why:?}");
        assert_eq!(more, count + u64::from(why != "no active key"), "{why}");
    }
    // In their hands, but not the next: refused, and nobody is blamed for what may have been late.
    let (count, _) = refused(&mut world);
    for change in [
        signs.replace(3, &old, &new, &[1, 2]),
        signs.replace(2, &new, &new, &[1, 2]),
        Changes { expires: 1, ..signs }.replace(2, &old, &new, &[1, 2]),
        Changes { key: [8; 16], ..signs }.replace(2, &old, &new, &[1, 2]),
        signs.hold(2, &[1, 2]),
        signs.hold(3, &[1, 2]),
    ] {
        say(&mut world, change, true);
    }
    assert_eq!(refused(&mut world).0, count);
    assert_eq!(standings(&mut world, &key), [(1, 1, 0); 4]);
    assert!(sign(&mut world, 1, &key, 1).is_ok());
    // From whomever it comes, the real one is taken, and an old one is not taken again.
    say(&mut world, good.clone(), false);
    assert_eq!(standings(&mut world, &key), [(2, 2, 0); 4]);
    let back = signs.replace(3, &new, &old, &[2, 3]);
    say(&mut world, back, false);
    say(&mut world, good, true);
    assert_eq!(standings(&mut world, &key), [(3, 3, 0); 4]);
    world.check();
}

#[test]
fn an_old_end_of_a_freeze_ends_no_later_one() {
    let (mut world, key) = world(2, "0s");
    let signs = world.changes(&key);
    for number in 1..=3 {
        world.set_policy(1, signs.hold(number, &[1, 2])).unwrap();
        world.wait(1);
    }
    say(&mut world, signs.hold(2, &[1, 2]), true);
    say(&mut world, signs.hold(2, &[2, 3]), true);
    assert_eq!(standings(&mut world, &key), [(1, 1, 3); 4]);
    assert_eq!(denied(&mut world, 2, &key, 1).0, "frozen");
}

/// One liar vouches for the end of a delay; it takes T = 2.
#[test]
fn no_liar_alone_shortens_a_delay() {
    let (mut world, key) = world(3, "1h");
    let (old, new) = policies("1h");
    let signs = world.changes(&key);
    let change = signs.replace(2, &old, &new, &[1, 2]);
    say(&mut world, change.clone(), true);
    say(&mut world, change.clone(), true);
    assert_eq!(standings(&mut world, &key), [(1, 2, 0); 4]);
    // Nor does a stranger to the key, nor the party itself.
    world.say(2, 2, &PeerMessage::PolicyChange { change, in_force: false });
    world.wait(1);
    assert_eq!(standings(&mut world, &key), [(1, 2, 0); 4]);
    assert!(sign(&mut world, 1, &key, 1).is_ok());
}

/// Whoever claims to be ahead and shows nothing for it is not waited for.
#[test]
fn a_liar_who_claims_to_be_ahead_stops_nobody() {
    let (mut world, key) = world(4, "0s");
    let signs = world.changes(&key);
    let state = PolicyState { key: signs.key, version: 99, announced: 99, holds: 7, held: 7 };
    for to in [2, 3, 4] {
        let states = vec![state];
        world.say(1, to, &PeerMessage::PolicyStates { states, more: false });
    }
    // Three others are left, and a quorum needs two besides each.
    let signed = sign(&mut world, 2, &key, 1).unwrap();
    assert_eq!(signed.signers.len(), 3);
    let unknown = PolicyState { key: [7; 16], ..state };
    world.say(1, 2, &PeerMessage::PolicyStates { states: vec![unknown], more: true });
    assert_eq!(refused(&mut world).0, 0);
    // Nobody is answered twice for one key.
    world.say(1, 2, &PeerMessage::PolicyStates { states: vec![state; 2], more: true });
    assert!(refused(&mut world).1.contains("out of order"));
    world.check();
}

#[test]
fn nobody_else_makes_keys_in_the_controllers_name() {
    let (mut world, key) = world(5, "0s");
    let (policy, other) = policies("0s");
    let signs = world.changes(&key);
    let ask = |world: &mut World, approval: Vec<u8>| {
        let answer = world.start_controlled("mine", policy.clone(), approval);
        match world.await_answer(answer, |_| {}) {
            Answer::Done(Err(ServiceError::Denied { rule, .. })) => rule,
            _ => panic!("not denied"),
        }
    };
    assert_eq!(ask(&mut world, Vec::new()), "too-few");
    assert_eq!(ask(&mut world, signs.create("mine", &policy, &[3])), "too-few");
    assert_eq!(ask(&mut world, signs.create("mine", &policy, &[3, 7])), "stranger");
    assert_eq!(ask(&mut world, signs.create("other", &policy, &[1, 2])), "name");
    assert_eq!(ask(&mut world, signs.create("mine", &other, &[1, 2])), "policy");
    assert_eq!(ask(&mut world, signs.hold(1, &[1, 2])), "action");
    let late = Changes { expires: 1, ..signs };
    assert_eq!(ask(&mut world, late.create("mine", &policy, &[1, 2])), "expired");

    // A coordinator that does not ask the same of itself gets no further.
    let terms = KeyTerms {
        suite: Suite::EcdsaSecp256k1,
        network: signs.network,
        key: [5; 16],
        epoch: 0,
        holders: Holders::new(PartySet::first(4), 2).unwrap(),
        context: hash_of(&policy),
    };
    let session = Transcript::new("dkg-session").bytes(&terms.context()).party(id(1)).finish();
    for (approval, why) in [
        (Vec::new(), "the controllers' approval: 0 of the 2 signatures"),
        (signs.create("mine", &policy, &[1]), "the controllers' approval: 1 of the 2 signatures"),
        (signs.create("other", &policy, &[1, 2]), "a key of another name"),
        (signs.create("mine", &other, &[1, 2]), "a key with another policy"),
        (b"nonsense".to_vec(), "the controllers' approval: the change does not decode"),
    ] {
        let (name, policy) = ("mine".to_owned(), policy.clone());
        let proposal = PeerMessage::ProposeKey { session, terms, name, policy, approval };
        let (count, _) = refused(&mut world);
        world.say(1, 2, &proposal);
        let (more, what) = refused(&mut world);
        assert!(more == count + 1 && what.contains(why), "{what:?} does not tell {why:?}");
    }
}
