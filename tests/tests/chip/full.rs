//! The larger images: Ed25519, FROST with its ledger of nonces, and typed data on the screen.

use std::path::Path;
use std::time::Instant;

use quorate_core::curve::{Ed25519, SchnorrSecp256k1, Suite};
use quorate_core::request::Payload;
use quorate_node::message::Rejection;
use quorate_node::policy_file;
use quorate_node::typed_data::compact_typed_data;
use quorate_tests::chip::{Emulator, Extent, Image, Machine, Options};
use quorate_tests::chip_group::{Failed, FrostSuite, List, Offered, Person, Signed};
use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde_json::json;

use super::desk::{Group, PIN, cut_within, group, group_of, policy, turn};

const FROST: Options = Options {
    machine: Machine::CortexM4,
    extent: Extent::Frost,
    noise: quorate_tests::chip::Source::Random,
};
/// What an image with Ed25519 and FROST may take of RAM: what it has in it always, its heap, and its stack.
const RAM: u32 = 96 << 10;
const RANDOM_CUTS: usize = 6;

fn restart(group: &mut Group, folder: &Path) {
    drop(group.disconnect());
    group.connect(Emulator::start(folder, FROST), PIN).unwrap();
}

/// A session about a digest that nobody has asked for before.
fn begin(group: &mut Group, key: &[u8; 16], rng: &mut ChaCha20Rng) -> Offered {
    let mut digest = [0; 32];
    rng.fill_bytes(&mut digest);
    let request = group.request(key, Payload::Digest(digest));
    group.begin_frost(&request).unwrap()
}

/// After whatever became of `list`: it gets one answer or none, however often it is shown, and another list with
/// the same commitment of the device gets one only if it got none. Whether it had been answered.
fn one_list_each(
    group: &mut Group,
    key: &[u8; 16],
    (offer, list): (&[u8], &List),
    first: &Result<Vec<u8>, Failed>,
    rng: &mut ChaCha20Rng,
) -> bool {
    let again = group.show_list(list);
    match (first, &again) {
        (Ok(first), Ok(again)) => assert_eq!(first, again, "one list, two answers"),
        (Ok(_), Err(error)) => panic!("an answer is forgotten: {error:?}"),
        (Err(_), Ok(_) | Err(Failed::Silence(_))) => {}
        (Err(_), Err(error)) => panic!("{error:?}"),
    }
    let session = begin(group, key, rng);
    let other: List = group.frost_list(key, &session, offer).unwrap();
    assert_ne!(list.bytes, other.bytes);
    match (again.is_ok(), group.show_list(&other)) {
        (true, Err(Failed::Rejected(_, Rejection::Failed(why)))) => {
            assert_eq!(why, "the device's own commitment is not there");
        }
        (false, Ok(share)) => {
            group.finish_frost(other, &share).unwrap();
            let late = group.show_list(list);
            assert!(matches!(late, Err(Failed::Silence(_))), "a nonce under two lists: {late:?}");
        }
        (answered, other) => panic!("the first was answered: {answered}; the second: {other:?}"),
    }
    again.is_ok()
}

/// Two of four sign with Ed25519, and an outside library verifies it. The power fails after the commitment, after
/// the share, and at random moments in between: no commitment ever answers two lists.
#[test]
fn an_image_with_frost_signs_with_it_and_uses_no_nonce_twice() {
    let _turn = turn();
    let mut rng = ChaCha20Rng::seed_from_u64(seed() ^ 3);
    let folder = tempfile::tempdir().unwrap();
    let mut group = group_of(7, 61, folder.path(), FROST);
    let policy = policy(&group, 100);
    let key = group.make_key(Suite::SchnorrEd25519, 7, 2, &policy).unwrap();
    let request = group.request(&key, Payload::Digest([7; 32]));
    assert_eq!(group.sign(&request).unwrap().quorum.len(), 3, "the stateless mode, with three");

    // Two at once: each has the first commitment that the other has not used.
    let sessions = [(); 2].map(|()| begin(&mut group, &key, &mut rng));
    let list: List = group.frost_list(&key, &sessions[0], &sessions[0].offer).unwrap();
    let begun = Instant::now();
    let share = group.show_list(&list).unwrap();
    let mut longest = begun.elapsed();
    group.finish_frost(list, &share).unwrap();
    let offer = begin(&mut group, &key, &mut rng).offer;
    let list: List = group.frost_list(&key, &sessions[1], &offer).unwrap();
    let share = group.show_list(&list).unwrap();
    group.finish_frost(list, &share).unwrap();

    // Between the commitment and the list.
    let session = begin(&mut group, &key, &mut rng);
    let list: List = group.frost_list(&key, &session, &session.offer).unwrap();
    group.link.as_ref().unwrap().power().cut();
    restart(&mut group, folder.path());
    let none = Err(Failed::Gone);
    assert!(!one_list_each(&mut group, &key, (&session.offer, &list), &none, &mut rng));

    // Behind the share.
    let session = begin(&mut group, &key, &mut rng);
    let list: List = group.frost_list(&key, &session, &session.offer).unwrap();
    let share = group.show_list(&list);
    assert!(share.is_ok(), "{share:?}");
    group.link.as_ref().unwrap().power().cut();
    restart(&mut group, folder.path());
    assert!(one_list_each(&mut group, &key, (&session.offer, &list), &share, &mut rng));

    let mut answered = 0;
    for _ in 0..RANDOM_CUTS {
        let session = begin(&mut group, &key, &mut rng);
        let list: List = group.frost_list(&key, &session, &session.offer).unwrap();
        let power = group.link.as_ref().unwrap().power();
        let share = cut_within(&mut rng, longest, power, || group.show_list(&list));
        let tenths = if share.is_ok() { 9 } else { 11 };
        longest = longest * tenths / 10;
        restart(&mut group, folder.path());
        let used = one_list_each(&mut group, &key, (&session.offer, &list), &share, &mut rng);
        answered += usize::from(used);
    }
    println!("{RANDOM_CUTS} cuts at random, {answered} lists answered by then");
    makes_and_signs(&mut group, Suite::EcdsaSecp256k1, 4, 2);
    let key = makes_and_signs(&mut group, Suite::SchnorrSecp256k1, 4, 2);
    signs_by_frost::<SchnorrSecp256k1>(&mut group, &key, &mut rng);
    let key = makes_and_signs(&mut group, Suite::SchnorrEd25519, 7, 3);
    signs_by_frost::<Ed25519>(&mut group, &key, &mut rng);
    measured(&mut group);
}

/// A key of a suite among n beside the others, which the same code serves, signs in the stateless mode.
fn makes_and_signs(group: &mut Group, suite: Suite, n: u8, t: u8) -> [u8; 16] {
    let policy = policy(group, 100);
    let key = group.make_key(suite, n, t, &policy).unwrap();
    let request = group.request(&key, Payload::Digest([8; 32]));
    assert_eq!(group.sign(&request).unwrap().quorum.len(), usize::from(2 * t - 1));
    key
}

/// And by T.
fn signs_by_frost<G: FrostSuite>(group: &mut Group, key: &[u8; 16], rng: &mut ChaCha20Rng) {
    let session = begin(group, key, rng);
    let list = group.frost_list::<G>(key, &session, &session.offer).unwrap();
    let share = group.show_list(&list).unwrap();
    group.finish_frost(list, &share).unwrap();
}

/// What the image takes of RAM.
fn measured(group: &mut Group) {
    let mut chip = group.disconnect().unwrap();
    let status = chip.host.status().unwrap();
    let (flash, fixed) = Image::of(FROST.machine, FROST.extent).sizes();
    let (stack, all) = (status.stack, fixed + status.stack);
    println!("{flash} bytes of flash, {fixed} of RAM and {stack} of stack: {all}");
    assert!(all <= RAM, "{all} bytes of RAM");
}

fn mail(amount: &str) -> Vec<u8> {
    let field = |name: &str, kind: &str| json!({ "name": name, "type": kind });
    let json = json!({
        "types": {
            "EIP712Domain": [field("name", "string"), field("chainId", "uint256"), field("verifyingContract", "address")],
            "Order": [field("to", "address"), field("amount", "uint256")],
        },
        "primaryType": "Order",
        "domain": {
            "name": "Market", "chainId": 5,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": { "to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": amount },
    });
    compact_typed_data(&json).unwrap()
}

fn orders(group: &Group) -> Vec<u8> {
    let client = hex::encode(group.client().verifying_key().to_bytes());
    let rule = json!({
        "name": "orders", "payload": ["typed-data"],
        "when": { "client": [client], "type": "Order", "confirm": true },
    });
    policy_file::from_json(&json!({ "rules": [rule] })).unwrap().into_vec()
}

fn sign_order(group: &mut Group, key: &[u8; 16], amount: &str) -> Result<Signed, Failed> {
    let order = mail(amount);
    let request = group.request(key, Payload::EthereumTypedData(&order));
    group.sign(&request)
}

/// The person sees what it is and for which contract, and decides; an image that cannot read typed data signs none.
#[test]
fn typed_data_is_shown_and_confirmed_or_refused() {
    let _turn = turn();
    for extent in Extent::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut group = group(71, folder.path(), Options { extent, ..FROST });
        let policy = orders(&group);
        let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
        let from = group.link.as_ref().unwrap().screens().len();
        let confirmed = sign_order(&mut group, &key, "17");
        if extent != Extent::Full {
            assert!(matches!(confirmed, Err(Failed::Rejected(..))), "{confirmed:?}");
            println!("without typed data: {confirmed:?}");
            assert!(!asked(&group, from), "nobody is asked about what cannot be read");
            continue;
        }
        assert!(confirmed.is_ok(), "{confirmed:?}");
        let shown = group.link.as_ref().unwrap().screens()[from..].join("\n");
        for words in ["typed data Order", "name Market", "chainId 5", "verifyingContract"] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        group.person = Person::Refuses;
        let refused = sign_order(&mut group, &key, "18");
        match refused {
            Err(Failed::Rejected(_, Rejection::Denied { rule, .. })) => assert_eq!(rule, "refused"),
            other => panic!("{other:?}"),
        }
    }
}

fn asked(group: &Group, from: usize) -> bool {
    let screens = group.link.as_ref().unwrap().screens();
    screens.iter().skip(from).any(|screen| screen.contains("SIGN?"))
}
