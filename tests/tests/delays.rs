//! Requests that wait for a delay at whole nodes, with clocks that the test moves: when they are signed,
//! what a veto stops, and what crashes, clocks and lying coordinators change of it.
//!
//! `QUORATE_SEED=n` runs one seed of each test alone.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "delays/trouble.rs"]
mod trouble;
#[path = "delays/vetoes.rs"]
mod vetoes;

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::request::{ClientKey, KeyId, SignedRequest, Veto};
use quorate_node::handle::{KeyInfo, ServiceError, Waiting};
use quorate_node::message::PeerMessage;
use quorate_node::policy_file;
use quorate_node::store::{MAX_WAITING_OF_CLIENT, MAX_WAITING_OF_KEY};
use quorate_tests::nodes::{Wanted, World, client};
use serde_json::{Value, json};

const HOUR: u64 = 3600;
/// When simulated worlds begin, and vetoes are made.
const EPOCH: u64 = 1_800_000_000;

fn key_of(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn name(key: &SigningKey) -> String {
    ClientKey(key.verifying_key().to_bytes()).to_string()
}

/// Vetoers 1 and 2 may veto within an hour; so many signatures a day.
fn policy(delay: &str, max: u32) -> Vec<u8> {
    let veto = [name(&key_of(1)), name(&key_of(2))];
    let clients: Vec<String> = [client()].iter().chain(&others()).map(name).collect();
    let rule = json!({
        "name": "slow",
        "when": { "client": clients, "chain": [31337], "delay": { "for": delay, "veto": veto } },
        "limits": [{ "measure": "spend", "max": format!("{max} ether"), "per": "1day" }],
    });
    policy_file::from_json(&json!({ "rules": [rule] })).unwrap().into_vec()
}

/// Other clients that may ask.
fn others() -> Vec<SigningKey> {
    (0x51..0x57).map(key_of).collect()
}

fn scene(seed: u64) -> (World, KeyInfo) {
    let mut world = World::new(4, seed, false);
    let key = world.create_by("slow", policy("1h", 100));
    (world, key)
}

fn request(world: &World, key: &KeyInfo, number: u64) -> Vec<u8> {
    let (client, derivation, expires) = (client(), Derivation::Root, world.time(1) + 12 * HOUR);
    Wanted { client, derivation, number, expires }.request(world, key)
}

fn veto(request: &[u8], by: u8) -> Veto {
    let parsed = SignedRequest::parse(request).unwrap();
    Veto::sign(KeyId(*parsed.key().as_bytes()), parsed.hash(), EPOCH, &key_of(by))
}

#[track_caller]
fn waits<T: std::fmt::Debug>(answer: Result<T, ServiceError>) -> Waiting {
    match answer {
        Err(ServiceError::Waiting(waiting)) => waiting,
        other => panic!("it does not wait: {other:?}"),
    }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, ServiceError>) -> (String, u16, String) {
    match answer {
        Err(ServiceError::Denied { rule, party, reason, .. }) => (rule, party, reason),
        other => panic!("not denied: {other:?}"),
    }
}

fn events(world: &mut World, party: u16, event: &str) -> Vec<Value> {
    let log = world.audit_log(party);
    log.into_iter().filter(|record| record["event"] == event).collect()
}

#[test]
fn a_request_waits_at_every_party_and_is_signed_when_its_delay_is_over() {
    let (mut world, key) = scene(1);
    let (wish, start) = (request(&world, &key, 1), world.time(1));
    let waiting = waits(world.sign(1, &wish));
    assert_eq!((waiting.known_to, waiting.reasons), (vec![1, 2, 3, 4], vec![]));
    assert!((start + HOUR..start + HOUR + 3).contains(&waiting.until), "{}", waiting.until);
    for party in world.parties() {
        let known = world.waiting(party);
        assert_eq!(known.len(), 1, "party {party}");
        assert_eq!((known[0].state.as_str(), &known[0].name), ("waiting", &"slow".to_owned()));
        assert!(known[0].vetoed_by.is_empty() && known[0].until == Some(known[0].since + HOUR));
    }
    // Asking again, anywhere, changes nothing, and neither does a peer's word.
    let since: Vec<u64> = (1..=4).map(|party| world.waiting(party)[0].since).collect();
    world.sleep(HOUR - 60);
    for party in world.parties() {
        assert_eq!(waits(world.sign(party, &wish)).until, waiting.until);
        world.say(party % 4 + 1, party, &PeerMessage::Await { request: wish.clone() });
    }
    let again: Vec<u64> = (1..=4).map(|party| world.waiting(party)[0].since).collect();
    assert_eq!(since, again);
    world.sleep(70);
    let signed = world.sign(3, &wish).unwrap();
    assert!(!signed.repeated);
    world.wait(1);
    for party in world.parties() {
        assert!(world.waiting(party).is_empty(), "what is signed waits no more");
        assert!(world.sign(party, &wish).unwrap().repeated);
        let recorded = events(&mut world, party, "waiting");
        assert_eq!(recorded.len(), 1, "party {party}: {recorded:?}");
        assert!(events(&mut world, party, "refused").is_empty());
        assert!(events(&mut world, party, "failed").is_empty(), "that it waits is no failure");
    }
    let releases: usize = (1..=4).map(|party| world.released(party, &key).len()).sum();
    assert_eq!(releases, 3, "counted once by each of a quorum, and not while it waited");
    world.check();
}

#[test]
fn what_waits_takes_nothing_from_a_limit() {
    let mut world = World::new(4, 2, false);
    // Room for two at each party.
    let key = world.create_by("slow", policy("1h", 1));
    let wishes: Vec<Vec<u8>> = (0..6).map(|number| request(&world, &key, number)).collect();
    for wish in &wishes {
        waits(world.sign(1, wish));
    }
    assert_eq!(world.waiting(2).len(), 6);
    world.sleep(HOUR + 5);
    let answers: Vec<_> = wishes.iter().map(|wish| world.sign(2, wish)).collect();
    let signed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((1..=2).contains(&signed), "{answers:?}");
    let last = answers.into_iter().next_back().unwrap();
    assert_eq!(denied(last).0, "window");
    world.check();
    world.check_limit(&key, 1);
}

/// Which requests cannot wait: they would expire first, or more than a delay is in their way.
#[test]
fn what_would_wait_in_vain_is_refused_at_once() {
    let (mut world, key) = scene(3);
    let (client, derivation) = (client(), Derivation::Root);
    let at = |world: &World, client: &SigningKey, number, in_seconds| {
        let expires = world.time(1) + in_seconds;
        Wanted { client: client.clone(), derivation, number, expires }.request(world, &key)
    };
    let soon = at(&world, &client, 1, HOUR);
    let (rule, _, reason) = denied(world.sign(1, &soon));
    assert_eq!(rule, "expires-first");
    assert!(reason.contains("later expiry"), "{reason}");
    let stranger = at(&world, &key_of(0x99), 2, 12 * HOUR);
    assert_eq!(denied(world.sign(1, &stranger)).0, "client");
    let far = at(&world, &client, 3, 25 * HOUR + 60);
    assert_eq!(denied(world.sign(1, &far)).0, "expiry-too-far");
    for party in world.parties() {
        assert!(world.waiting(party).is_empty());
    }
    let latest = at(&world, &client, 4, 25 * HOUR - 1);
    waits(world.sign(1, &latest));
}

/// Whatever one client does: its requests are bounded, at every party, and others have places left.
#[test]
fn a_flood_of_one_client_leaves_room_for_others() {
    let (mut world, key) = scene(4);
    let mut refused = 0;
    for number in 0..40 {
        let wish = request(&world, &key, number);
        match world.sign(number as u16 % 4 + 1, &wish) {
            Err(ServiceError::Waiting(_)) => {}
            other => {
                let (rule, _, reason) = denied(other);
                assert_eq!(rule, "too-many-waiting");
                assert!(reason.contains("this client"), "{reason}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 40 - MAX_WAITING_OF_CLIENT);
    for party in world.parties() {
        assert_eq!(world.waiting(party).len(), MAX_WAITING_OF_CLIENT, "party {party}");
    }
    // All clients together fill the key's places, and no more.
    let expires = world.time(1) + 12 * HOUR;
    for client in others() {
        for number in 0..20 {
            let wanted =
                Wanted { client: client.clone(), derivation: Derivation::Root, number, expires };
            let wish = wanted.request(&world, &key);
            assert!(world.sign(1, &wish).is_err());
        }
    }
    for party in world.parties() {
        assert_eq!(world.waiting(party).len(), MAX_WAITING_OF_KEY, "party {party}");
    }
    // A party that comes back hears of all, a few at a time.
    world.crash(4);
    world.boot(4);
    world.wait(3);
    assert_eq!(world.waiting(4).len(), MAX_WAITING_OF_KEY);
    // What has expired makes room.
    world.sleep(13 * HOUR);
    let wish = request(&world, &key, 99);
    waits(world.sign(1, &wish));
}

#[test]
fn a_clock_that_goes_back_lengthens_the_delay_of_its_party_alone() {
    let (mut world, key) = scene(5);
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    world.move_clock(4, -1000);
    world.sleep(HOUR + 5);
    assert_eq!(world.waiting(4)[0].state, "waiting");
    // It may coordinate all the same: the others' delays are over.
    let signed = world.sign(4, &wish).unwrap();
    assert_eq!(signed.signers, [1, 2, 3]);

    let wish = request(&world, &key, 2);
    let until = waits(world.sign(1, &wish)).until;
    // Two of them: no quorum is left.
    world.move_clock(2, -1000);
    world.move_clock(3, -1000);
    world.sleep(HOUR + 5);
    let waiting = waits(world.sign(1, &wish));
    assert!(waiting.until.abs_diff(until) < 5, "as their clocks have it: {waiting:?}");
    world.sleep(1000);
    world.sign(1, &wish).unwrap();
    world.check();
}

/// A record from the future, by a clock that was ahead, is one that has not begun.
#[test]
fn a_clock_that_was_ahead_shortens_nothing() {
    let (mut world, key) = scene(6);
    for party in world.parties() {
        world.move_clock(party, 2 * HOUR as i64);
    }
    let wish = request(&world, &key, 1);
    waits(world.sign(1, &wish));
    for party in world.parties() {
        world.move_clock(party, -2 * HOUR as i64);
    }
    world.sleep(HOUR + 5);
    waits(world.sign(1, &wish));
    world.sleep(2 * HOUR);
    world.sign(1, &wish).unwrap();
}
