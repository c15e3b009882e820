//! A chip as a party: keys, signatures, a person, bad noise, the end.

use std::collections::HashSet;

use quorate_core::curve::Suite;
use quorate_core::device::link::{Refused, Request};
use quorate_core::request::Payload;
use quorate_node::message::Rejection;
use quorate_tests::chip::{Emulator, Extent, Image, Machine, Options, Reply, Source};
use quorate_tests::chip_group::Failed;

use super::desk::{PIN, check_nonces, group, policy, sign, start, turn};

/// Keys of both schemes on both machines, made with three host parties, sign what other libraries verify; the
/// stack stays within what the image has for it.
#[test]
fn a_chip_makes_keys_and_signs_with_three_host_parties() {
    let _turn = turn();
    for (machine, seed) in [(Machine::CortexM4, 1), (Machine::CortexM33, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let mut group = group(seed, folder.path(), Options { machine, ..Options::default() });
        let policy = policy(&group, 10);
        let ecdsa = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
        let signed = sign(&mut group, &ecdsa, "a text").unwrap();
        assert!(signed.quorum.contains(group.device));
        let taproot = group.make_key(Suite::SchnorrSecp256k1, 4, 2, &policy).unwrap();
        let request = group.request(&taproot, Payload::Digest([7; 32]));
        group.sign(&request).unwrap();
        check_nonces(&group, 2);
        assert_eq!(group.incidents(), Vec::<String>::new());

        // The same keys after a restart.
        drop(group.disconnect());
        let chip = Emulator::start(folder.path(), Options { machine, ..Options::default() });
        group.connect(chip, PIN).unwrap();
        sign(&mut group, &ecdsa, "another").unwrap();
        let mut chip = group.disconnect().unwrap();
        let status = chip.host.status().unwrap();
        let (_, fixed) = Image::of(machine, Extent::Base).sizes();
        let (stack, all) = (status.stack, fixed + status.stack);
        println!("{machine:?}: {fixed} bytes of RAM and {stack} of stack: {all}");
        assert!(all <= RAM, "{machine:?}: {all} bytes of RAM");
        assert_eq!((status.keys, chip.starts()), (2, 1));
    }
}

/// With noise that is all zeros there is no identity, and none that is there is used.
#[test]
fn a_chip_without_noise_makes_nothing() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let zeros = Options { noise: Source::Zeros, ..Options::default() };
    let refused = Ok(Reply::Refused(Refused::Entropy));
    let mut chip = Emulator::start(folder.path(), zeros);
    assert_eq!(chip.host.hello().unwrap().identity, None);
    assert_eq!(chip.host.ask(Request::Initialize { pin: PIN }), refused);
    assert!(!chip.host.status().unwrap().initialized);
    drop(chip);

    let mut chip = start(folder.path());
    chip.host.hello().unwrap();
    assert_eq!(chip.host.ask(Request::Initialize { pin: PIN }), Ok(Reply::Done));
    assert_eq!(chip.host.ask(Request::Unlock { pin: PIN }), Ok(Reply::Done));
    drop(chip);
    let mut chip = Emulator::start(folder.path(), zeros);
    assert!(chip.host.hello().unwrap().identity.is_some());
    assert_eq!(chip.host.ask(Request::Unlock { pin: PIN }), refused);
    assert_eq!(chip.starts(), 1);
}

/// The other key goes on.
#[test]
fn a_key_is_forgotten_and_stays_so() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut group = group(6, folder.path(), Options::default());
    let policy = policy(&group, 10);
    let [old, kept] =
        [(); 2].map(|()| group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap());
    let mut chip = group.disconnect().unwrap();
    chip.host.hello().unwrap();
    assert_eq!(chip.host.ask(Request::Unlock { pin: PIN }), Ok(Reply::Done));
    let at = |chip: &mut Emulator, place| match chip.host.ask(Request::Key(place)).unwrap() {
        Reply::Key { key, active: true, .. } => Some(key),
        Reply::Refused(Refused::UnknownKey) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2].map(|place| at(&mut chip, place)), [Some(old), Some(kept), None]);
    assert_eq!(chip.ask_person(Request::Forget(old), false), Ok(Reply::Refused(Refused::Declined)));
    assert_eq!(chip.ask_person(Request::Forget(old), true), Ok(Reply::Done));
    drop(chip);

    group.connect(start(folder.path()), PIN).unwrap();
    let gone = sign(&mut group, &old, "a text");
    assert!(matches!(gone, Err(Failed::Rejected(_, Rejection::UnknownKey))), "{gone:?}");
    sign(&mut group, &kept, "a text").unwrap();
    let chip = group.link.as_mut().unwrap();
    assert_eq!([0, 1, 2].map(|place| at(chip, place)), [None, Some(kept), None]);
}

/// A wipe leaves nothing of what the flash held.
#[test]
fn a_wiped_flash_holds_nothing_of_what_was() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut group = group(5, folder.path(), Options::default());
    let policy = policy(&group, 10);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    sign(&mut group, &key, "a text").unwrap();
    let before = Emulator::snapshot(folder.path());
    let mut chip = group.disconnect().unwrap();
    // No, and yes.
    assert_eq!(chip.ask_person(Request::Wipe, false), Ok(Reply::Refused(Refused::Declined)));
    assert_eq!(chip.ask_person(Request::Wipe, true), Ok(Reply::Done));
    let hello = chip.host.hello().unwrap();
    assert_eq!((hello.identity, hello.joined), (None, None));
    drop(chip);

    let after = Emulator::snapshot(folder.path());
    // So many bytes are never the same by chance. Erased ones are, and the marks that pages begin with.
    let telling = |window: &&[u8]| window.iter().filter(|byte| **byte != 0xff).count() >= 10;
    let windows: HashSet<&[u8]> = before.windows(12).filter(telling).collect();
    assert!(windows.len() > 1000, "only {} pieces to look for", windows.len());
    let left: Vec<_> = after.windows(12).filter(|window| windows.contains(window)).collect();
    assert!(left.is_empty(), "{left:02x?}");
    let written = after.iter().filter(|byte| **byte != 0xff).count();
    assert!(written <= 64, "{written} bytes are not erased");
    // It can begin again, as another.
    let mut chip = start(folder.path());
    chip.host.hello().unwrap();
    assert_eq!(chip.host.ask(Request::Initialize { pin: PIN }), Ok(Reply::Done));
}

/// What the image without Ed25519 and FROST may take of RAM: what it has in it always, and its stack. There is room
/// for keys of seven holders, and for two sessions.
const RAM: u32 = 32 << 10;
