//! Whole nodes that wait for facts: each for its own, no longer than its session bears, and once.

use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::At;
use quorate_node::facts::{Found, OwnedAnswer, OwnedQuestion, Seen};
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_node::policy_file;
use quorate_tests::nodes::{Answer, RECIPIENT, World, client_name, transfer};
use serde_json::json;

/// The recipient's balance, three blocks ago.
fn balance(ether: u32) -> (OwnedQuestion, Found) {
    let at = At { chain: 31337, confirmations: 3 };
    let account = Address::from_hex(RECIPIENT).unwrap();
    let wei = Amount::from_u128(u128::from(ether) * 1_000_000_000_000_000_000);
    let seen = Seen::Block { number: 7, hash: [7; 32] };
    let found = Found { answer: OwnedAnswer::Balance(wei), seen };
    (OwnedQuestion::Balance { at, account }, found)
}

/// A key that pays only who has an ether.
fn to_the_rich(world: &mut World) -> KeyInfo {
    let rich =
        json!({ "chain": 31337, "confirmations": 3, "account": "$to", "at_least": "1 ether" });
    let when = json!({ "client": [client_name()], "chain": [31337], "balance": rich });
    let policy = json!({ "rules": [{ "name": "rich", "when": when }] });
    world.create_with("rich", policy_file::from_json(&policy).unwrap().into_vec())
}

fn sign(world: &mut World, coordinator: u16, request: &[u8]) -> Result<Signed, ServiceError> {
    let answer = world.start_sign(coordinator, request.to_vec());
    match world.await_answer(answer, |_| {}) {
        Answer::Done(result) => result,
        Answer::Died => panic!("nobody dies here"),
    }
}

#[track_caller]
fn denied(result: Result<Signed, ServiceError>) -> (String, u16) {
    match result {
        Err(ServiceError::Denied { rule, party, .. }) => (rule, party),
        other => panic!("not denied: {other:?}"),
    }
}

fn tell_all(world: &mut World, facts: &[(OwnedQuestion, Found)]) {
    world.parties().into_iter().for_each(|party| world.tell(party, facts));
}

#[test]
fn each_party_asks_once_for_a_request_and_again_for_the_next() {
    let mut world = World::new(4, 1, false);
    let key = to_the_rich(&mut world);
    tell_all(&mut world, &[balance(1)]);
    let asked = |world: &World| (1..=4).map(|party| world.facts_asked(party)).collect::<Vec<_>>();
    assert_eq!(asked(&world), [0; 4]);
    let request = transfer(&world, &key, 0);
    sign(&mut world, 1, &request).unwrap();
    world.wait(1);
    assert_eq!(asked(&world), [1; 4], "its coordinator too, though it is a member as well");
    let request = transfer(&world, &key, 1);
    sign(&mut world, 2, &request).unwrap();
    world.wait(1);
    assert_eq!(asked(&world), [2; 4], "nothing is shared between requests");
    world.check();
}

#[test]
fn no_coordinator_speaks_for_the_others() {
    let mut world = World::new(4, 2, false);
    let key = to_the_rich(&mut world);
    // It invents that the recipient is rich. Three others see that it is not, or nothing at all.
    tell_all(&mut world, &[balance(0)]);
    world.tell(1, &[balance(9)]);
    world.tell(4, &[]);
    let request = transfer(&world, &key, 0);
    let (rule, party) = denied(sign(&mut world, 1, &request));
    assert!(rule == "balance" || rule == "fact", "{rule}");
    assert_ne!(party, 1);
    // One that is right, among liars, asks nobody.
    world.wait(1);
    assert_eq!(denied(sign(&mut world, 2, &request)), ("balance".into(), 2));
    assert_eq!(denied(sign(&mut world, 4, &request)), ("fact".into(), 4));
    // Two of four that believe it are no quorum of three.
    world.wait(1);
    world.tell(2, &[balance(9)]);
    let (rule, party) = denied(sign(&mut world, 1, &request));
    assert!(["balance", "fact"].contains(&&*rule) && ![1, 2].contains(&party), "{rule} {party}");
    // What is denied is looked up anew: the same request, once it is so.
    world.wait(1);
    world.tell(3, &[balance(1)]);
    sign(&mut world, 1, &request).unwrap();
    world.check();
}

#[test]
fn a_party_whose_sources_hang_is_done_without() {
    let mut world = World::new(4, 3, false);
    let key = to_the_rich(&mut world);
    tell_all(&mut world, &[balance(1)]);
    world.hold_facts(4, true);
    let request = transfer(&world, &key, 0);
    let signed = sign(&mut world, 1, &request).unwrap();
    assert_eq!(signed.signers, [1, 2, 3]);
    // Its sources answer when nobody waits any more.
    world.wait(20);
    world.hold_facts(4, false);
    world.check();
}

#[test]
fn a_coordinator_whose_sources_hang_refuses_and_signs_what_needs_no_facts() {
    let mut world = World::new(4, 4, false);
    let key = to_the_rich(&mut world);
    let plain = world.create("plain", 100);
    tell_all(&mut world, &[balance(1)]);
    world.hold_facts(1, true);
    let request = transfer(&world, &key, 0);
    let waiting = world.start_sign(1, request.clone());
    let again = world.start_sign(1, request.clone());
    let other = transfer(&world, &plain, 1);
    sign(&mut world, 1, &other).unwrap();
    for waiting in [waiting, again] {
        let Answer::Done(result) = world.await_answer(waiting, |_| {}) else { panic!() };
        assert_eq!(denied(result), ("fact".into(), 1));
    }
    assert_eq!(world.facts_asked(1), 1, "two that wait for one request ask once");
    world.hold_facts(1, false);
    world.wait(1);
    sign(&mut world, 1, &request).unwrap();
    world.check();
}

/// However many requests are sent, so many questions are open, and the rest is told to come again.
#[test]
fn questions_under_way_are_bounded() {
    let mut world = World::new(4, 5, false);
    let key = to_the_rich(&mut world);
    world.hold_facts(1, true);
    let requests: Vec<Vec<u8>> = (0..20).map(|number| transfer(&world, &key, number)).collect();
    let answers: Vec<_> =
        requests.into_iter().map(|request| world.start_sign(1, request)).collect();
    let mut busy = 0;
    for answer in answers {
        match world.await_answer(answer, |_| {}) {
            Answer::Done(Err(ServiceError::Busy)) => busy += 1,
            Answer::Done(result) => assert_eq!(denied(result), ("fact".into(), 1)),
            Answer::Died => panic!(),
        }
    }
    assert_eq!((busy, world.facts_asked(1)), (12, 8), "8 of one client are under way");
}

/// A proposal that is repeated or cancelled while its facts are fetched is neither an offence nor signed.
#[test]
fn links_that_break_while_facts_are_fetched_blame_nobody() {
    let mut world = World::new(4, 6, false);
    let key = to_the_rich(&mut world);
    tell_all(&mut world, &[balance(1)]);
    (2..=4).for_each(|party| world.hold_facts(party, true));
    let request = transfer(&world, &key, 0);
    let answer = world.start_sign(1, request);
    for _ in 0..40 {
        world.step();
    }
    world.unlink(1, 2);
    world.link(1, 2);
    for _ in 0..10 {
        world.step();
    }
    (2..=4).for_each(|party| world.hold_facts(party, false));
    let Answer::Done(Ok(_)) = world.await_answer(answer, |_| {}) else { panic!("not signed") };
    for party in world.parties() {
        for peer in world.status(party).peers {
            assert_eq!(
                peer.refused, 0,
                "party {party} blames {}: {:?}",
                peer.party, peer.last_refusal
            );
        }
    }
    world.check();
}
