//! What an operator does with a device, and what a host may not.

use quorate_core::device::frame;
use quorate_core::device::link::{FrameFault, Refused, Request, ToDevice};
use quorate_core::identity::Identity;
use quorate_firmware::hosted::Samples;
use quorate_firmware::platform::Button;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::node::id;
use super::world::{PIN, Said, World};

fn refused(refused: Refused) -> Said {
    Said::Refused(refused)
}

#[test]
fn a_device_comes_to_life_and_into_a_network() {
    let mut world = World::joined();
    let status = world.status();
    assert!(status.initialized && status.unlocked && !status.rolled_back);
    assert_eq!((status.channels, status.keys, status.pin_tries), (0b111, 0, 8));
    assert_eq!(status.now, Some(super::world::NOW + 1));
    // It is still the same after a power cut, and asks for its PIN.
    world.reboot();
    let Said::Hello(hello) = world.hello() else { panic!() };
    assert_eq!(hello.identity, Some(world.me.identity));
    assert_eq!(hello.joined, Some((super::node::NETWORK, id(4))));
    let status = world.status();
    assert!(!status.unlocked && status.channels == 0);
}

#[test]
fn nothing_is_done_before_hello_the_pin_and_the_network() {
    let mut world = World::blank(Samples::seeded(1));
    assert_eq!(world.ask(Request::Status), refused(Refused::HelloFirst));
    let newer = Request::Hello { min: 2, max: 9, entropy: [0; 32] };
    assert_eq!(world.ask(newer), refused(Refused::Version { min: 1, max: 1 }));
    assert_eq!(world.ask(Request::Status), refused(Refused::HelloFirst));
    world.hello();
    assert_eq!(world.ask(Request::Unlock { pin: PIN }), refused(Refused::NotInitialized));
    assert_eq!(world.ask(Request::Initialize { pin: b"12345" }), refused(Refused::PinLength));
    assert_eq!(world.ask(Request::Initialize { pin: PIN }), Said::Done);
    assert_eq!(world.ask(Request::Initialize { pin: PIN }), refused(Refused::Initialized));
    assert_eq!(world.ask(Request::PeerUp(id(1))), refused(Refused::Locked));
    assert_eq!(
        world.ask(Request::Unlock { pin: b"654321" }),
        refused(Refused::WrongPin { left: 7 })
    );
    let soon = world.ask(Request::Unlock { pin: PIN });
    assert!(matches!(soon, Said::Refused(Refused::PinTooSoon { .. })), "{soon:?}");
    world.ticks.pass(60_000);
    assert_eq!(world.ask(Request::Unlock { pin: PIN }), Said::Done);
    assert_eq!(world.ask(Request::PeerUp(id(1))), refused(Refused::NotJoined));
    let relay = Request::Relay { from: id(1), bytes: &[0; 33] };
    assert_eq!(world.ask(relay), refused(Refused::NotJoined));
    assert_eq!(world.ask(Request::Readmit), refused(Refused::NotJoined));
    assert_eq!(world.ask(Request::Key(0)), refused(Refused::NotJoined));
    assert_eq!(world.ask(Request::Forget([7; 16])), refused(Refused::NotJoined));
}

#[test]
fn a_network_is_joined_by_a_person_with_the_right_members() {
    let mut world = World::blank(Samples::seeded(2));
    world.hello();
    world.ask(Request::Initialize { pin: PIN });
    let Said::Hello(hello) = world.hello() else { panic!() };
    world.ask(Request::Unlock { pin: PIN });
    // Another identity than its own.
    let mut members: heapless::Vec<_, 8> = world.nodes.iter().map(|node| node.member()).collect();
    members.push(world.me).unwrap();
    let request = Request::Join { network: [1; 16], party: id(4), members };
    assert_eq!(world.ask(request), refused(Refused::Members));
    world.me.identity = hello.identity.unwrap();
    assert_eq!(world.join(Button::Refuse), refused(Refused::Declined));
    assert!(world.screen().is_empty());
    assert_eq!(world.ask(Request::PeerUp(id(1))), refused(Refused::NotJoined));
    assert_eq!(world.join(Button::Confirm), Said::Done);
    assert_eq!(world.ask(Request::PeerUp(id(4))), refused(Refused::Stranger(id(4))));
    assert_eq!(world.ask(Request::PeerUp(id(5))), refused(Refused::Stranger(id(5))));
    let Said::Refused(Refused::Joined) = ({
        let mut members: heapless::Vec<_, 8> = world.nodes.iter().map(|n| n.member()).collect();
        members.push(world.me).unwrap();
        world.ask(Request::Join { network: [1; 16], party: id(4), members })
    }) else {
        panic!()
    };
}

#[test]
fn nobody_answers_in_time_and_the_question_is_over() {
    let mut world = World::joined();
    let frame = ToDevice { id: 1000, request: Request::Wipe };
    frame::encode_to(&frame, |bytes| world.line.say(bytes));
    assert_eq!(world.listen(), []);
    assert!(world.screen().starts_with("ERASE EVERYTHING?"));
    world.ticks.pass(54_000);
    assert_eq!(world.listen(), []);
    world.ticks.pass(2_000);
    assert_eq!(world.listen(), [(1000, refused(Refused::Declined))]);
    assert!(world.screen().is_empty());
}

#[test]
fn a_wiped_device_is_blank() {
    let mut world = World::joined();
    assert_eq!(world.ask_person(Request::Wipe, Button::Confirm), Said::Done);
    let Said::Hello(hello) = world.hello() else { panic!() };
    assert_eq!((hello.identity, hello.joined), (None, None));
    assert_eq!(world.ask(Request::Unlock { pin: PIN }), refused(Refused::NotInitialized));
    assert_eq!(world.ask(Request::Initialize { pin: PIN }), Said::Done);
    let Said::Hello(hello) = world.hello() else { panic!() };
    assert!(
        matches!(hello.identity, Some(new @ Identity::Secp256k1(_)) if new != world.me.identity)
    );
}

#[test]
fn a_stuck_source_of_randomness_makes_no_identity() {
    let mut world = World::blank(Samples::Stuck);
    world.hello();
    assert_eq!(world.ask(Request::Initialize { pin: PIN }), refused(Refused::Entropy));
    let Said::Hello(hello) = world.hello() else { panic!() };
    assert_eq!(hello.identity, None);
}

#[test]
fn ten_thousand_frames_of_garbage_are_refused_one_by_one_and_the_next_good_one_works() {
    let mut world = World::joined();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut good = Vec::new();
    let frame = ToDevice { id: 7, request: Request::Relay { from: id(1), bytes: &[2; 300] } };
    frame::encode_to(&frame, |bytes| good.extend_from_slice(bytes));
    let mut faults = [0u32; 5];
    for round in 0..10_000 {
        let mut bytes = good.clone();
        match round % 5 {
            0 => {
                bytes.truncate(1 + rng.next_u32() as usize % (bytes.len() - 2));
                bytes.push(0);
            }
            1 => {
                let place = rng.next_u32() as usize % (bytes.len() - 1);
                bytes[place] = bytes[place].wrapping_add(1 + (rng.next_u32() % 254) as u8);
                bytes.retain(|byte| *byte != 0);
                bytes.push(0);
            }
            2 => {
                bytes = vec![0; 1 + rng.next_u32() as usize % 200];
                rng.fill_bytes(&mut bytes);
                bytes.retain(|byte| *byte != 0);
                bytes.extend([1, 0]);
            }
            3 => bytes = [&[9; 6000][..], &[0]].concat(),
            // Out of order: its id is an old one.
            _ => {}
        }
        world.line.say(&bytes);
        let said = loop {
            let said = world.listen();
            if !said.is_empty() {
                break said;
            }
        };
        let [(answered, Said::Refused(refused))] = &said[..] else { panic!("{said:?}") };
        let kind = match refused {
            Refused::Frame(FrameFault::TooLong) => 0,
            Refused::Frame(FrameFault::Stuffing) => 1,
            Refused::Frame(FrameFault::Checksum) => 2,
            Refused::Frame(FrameFault::Malformed) => 3,
            Refused::OldId { .. } => 4,
            other => panic!("{other:?}"),
        };
        faults[kind] += 1;
        assert_eq!(*answered, if kind == 4 { 7 } else { 0 });
    }
    assert!(faults[0] == 2000 && faults[1] > 1000 && faults[2] > 1000 && faults[4] == 2000);
    // Nothing was reset: it is unlocked, and the channels are there.
    let status = world.status();
    assert!(status.unlocked && status.channels == 0b111);
}

#[test]
fn a_relay_that_alters_a_frame_loses_the_channel_and_a_new_one_begins() {
    let mut world = World::joined();
    let sealed = [&[2u8][..], &[0x55; 40]].concat();
    let said = world.ask(Request::Relay { from: id(2), bytes: &sealed });
    assert_eq!(said, refused(Refused::Channel(id(2))));
    assert!(world.node(id(2)).is_closed(), "it was told");
    assert_eq!(world.status().channels, 0b101);
    let me = world.me;
    world.node(id(2)).begin(&me);
    world.pump();
    assert_eq!(world.status().channels, 0b111);
    assert_eq!(world.ask(Request::PeerDown(id(2))), Said::Done);
    assert_eq!(world.status().channels, 0b101);
    assert_eq!(world.ask(Request::Lock), Said::Done);
    let status = world.status();
    assert!(!status.unlocked && status.channels == 0);
    let relay = Request::Relay { from: id(1), bytes: &sealed };
    assert_eq!(world.ask(relay), refused(Refused::Locked));
}
