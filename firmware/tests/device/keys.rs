//! Key generations with a device among the holders.

use quorate_core::curve::{SchnorrSecp256k1, Secp256k1, Suite};
use quorate_core::device::link::Event;
use quorate_core::party::{Holders, PartySet};
use quorate_core::policy::Kinds;
use quorate_firmware::message::{self, kind};
use quorate_firmware::platform::Button;

use super::group::{make_key, propose, rejection, terms};
use super::node::id;
use super::policies::{payments, policy, rule};
use super::world::World;

#[test]
fn four_parties_make_keys_of_two_schemes_and_the_device_keeps_them() {
    let mut world = World::joined();
    let policy = payments();
    make_key::<Secp256k1>(&mut world, &policy, "treasury", 1);
    make_key::<SchnorrSecp256k1>(&mut world, &policy, "taproot", 2);
    assert_eq!(world.status().keys, 2);
    for number in [1, 2] {
        assert!(world.events.contains(&Event::KeyActive([number; 16])));
    }
    assert!(!world.events.iter().any(|event| matches!(event, Event::Misbehaved(_))));
    world.reboot();
    assert_eq!(world.status().keys, 2);
    // Its certificate is given to whoever still waits.
    let confirmation = &[0; 10][..];
    world.node(id(2)).send(&message::Confirm { key: [1; 16], confirmation, pending: true });
    world.pump();
    let mut words = 0;
    while let Some(body) = world.node(id(2)).next(kind::CONFIRM) {
        let confirm: message::Confirm<'_> = message::read(&body).unwrap();
        assert!(!confirm.pending && confirm.key == [1; 16]);
        words += 1;
    }
    assert_eq!(words, 4);
}

#[test]
fn the_person_reads_what_is_made_and_may_refuse() {
    let mut world = World::joined();
    let policy = payments();
    let session =
        propose(&mut world, terms(Suite::EcdsaSecp256k1, &policy, 1), "tre\nasury", &policy);
    let screen = world.screen();
    for line in ["MAKE KEY?\ntre\\x0aasury", "2 of 4 hold it, 3 sign", "proposed by party 1"] {
        assert!(screen.contains(line), "{screen}");
    }
    world.press(Button::Refuse);
    assert_eq!(rejection(&mut world, kind::REJECT_KEY), "denied: refused");
    assert!(world.screen().is_empty());
    // And nobody may answer for the person: the start of what was not accepted is nothing.
    let peers = heapless::Vec::new();
    world.node(id(1)).send(&message::StartKey { session, peers });
    world.pump();
    assert!(world.events.contains(&Event::Misbehaved(id(1))));
    assert_eq!(world.status().keys, 0);
}

#[test]
fn a_cancelled_proposal_leaves_the_screen() {
    let mut world = World::joined();
    let policy = payments();
    let session = propose(&mut world, terms(Suite::EcdsaSecp256k1, &policy, 1), "k", &policy);
    // Another than its coordinator cannot.
    world.node(id(2)).send(&message::CancelKey { session });
    world.pump();
    assert!(!world.screen().is_empty());
    world.node(id(1)).send(&message::CancelKey { session });
    world.pump();
    assert!(world.screen().is_empty());
    // A second proposal while the person is asked is one too many.
    propose(&mut world, terms(Suite::EcdsaSecp256k1, &policy, 2), "k2", &policy);
    propose(&mut world, terms(Suite::EcdsaSecp256k1, &policy, 3), "k3", &policy);
    assert_eq!(rejection(&mut world, kind::REJECT_KEY), "Busy");
    world.pass(56_000);
    assert_eq!(rejection(&mut world, kind::REJECT_KEY), "denied: refused");
}

#[test]
fn what_a_device_cannot_do_it_refuses_with_the_reason() {
    let mut world = World::joined();
    let good = payments();
    let mut refused = |terms, name: &str, policy: &[u8]| {
        propose(&mut world, terms, name, policy);
        rejection(&mut world, kind::REJECT_KEY)
    };
    let ecdsa = |policy: &[u8]| terms(Suite::EcdsaSecp256k1, policy, 1);
    assert_eq!(
        refused(terms(Suite::EcdsaP256, &good, 1), "k", &good),
        "bad: the device has no such scheme"
    );
    let network = quorate_core::key::KeyTerms { network: [1; 16], ..ecdsa(&good) };
    assert_eq!(refused(network, "k", &good), "bad: the proposal is of another network or session");
    assert_eq!(
        refused(ecdsa(&good), "", &good),
        "bad: the proposal's epoch or name is out of range"
    );
    let holders = Holders::new(PartySet::first(3), 2).unwrap();
    let without = quorate_core::key::KeyTerms { holders, ..ecdsa(&good) };
    assert!(refused(without, "k", &good).contains("this party is not among them"));
    let holders = Holders::new(PartySet::first(8), 2).unwrap();
    let many = quorate_core::key::KeyTerms { holders, ..ecdsa(&good) };
    assert!(refused(many, "k", &good).contains("at most 7 holders"));
    let other = policy(&[rule("other", Kinds::MESSAGE, &[], &super::policies::confirm())]);
    assert_eq!(refused(ecdsa(&good), "k", &other), "bad: the terms do not bind this policy");
    assert_eq!(refused(ecdsa(&good), "k", &good[..9]), "bad: the policy is malformed");
    // A delay of an hour, with nobody to veto.
    let delay = [&[quorate_core::policy::condition::kind::DELAY][..], &3600u32.to_be_bytes(), &[0]]
        .concat();
    let slow = policy(&[rule("slow", Kinds::MESSAGE, &[], &delay)]);
    if quorate_core::policy::Policy::parse(&slow).is_ok() {
        assert!(refused(ecdsa(&slow), "k", &slow).contains("controllers or delays"));
    }
    assert_eq!(world.status().keys, 0);
}

#[test]
fn a_key_that_was_cut_short_while_pending_is_confirmed_after_a_reboot() {
    let mut world = World::joined();
    let policy = payments();
    // The others' confirmations come only after the power was cut.
    let key = super::group::make_key_with::<Secp256k1>(&mut world, &policy, "late", 5, |world| {
        world.reboot();
        assert_eq!(world.status().keys, 1);
    });
    assert_eq!(key.public.terms.key, [5; 16]);
    assert!(world.events.contains(&Event::KeyActive([5; 16])));
}
