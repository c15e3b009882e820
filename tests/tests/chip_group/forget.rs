//! A key is given up: one whose making never ended, and one that was used.

use std::time::Duration;

use quorate_core::curve::Suite;
use quorate_core::device::link::{Event, MAX_KEYS, Refused, Request};
use quorate_node::message::Rejection;
use quorate_tests::chip::Reply;
use quorate_tests::chip_group::{ChipGroup, DeviceLink, Failed, Flash, HostedDevice, Person};

use super::{PIN, check_nonces, group, pay, policy};

const SUITE: Suite = Suite::EcdsaSecp256k1;

/// Which keys the device has, by place, and whether they are active.
fn held(device: &mut HostedDevice) -> Vec<Option<([u8; 16], bool)>> {
    let mut at = |place| match device.ask(Request::Key(place)).unwrap() {
        Reply::Key { key, name, active } => {
            assert_eq!(name, format!("key-{}", hex::encode(key)));
            Some((key, active))
        }
        Reply::Refused(Refused::UnknownKey) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!((at(MAX_KEYS), at(255)), (None, None));
    (0..MAX_KEYS).map(at).collect()
}

/// As long as the device has it as pending; it has no channels afterwards.
fn leave_pending(group: &mut ChipGroup<HostedDevice>, policy: &[u8]) -> ([u8; 16], HostedDevice) {
    let key = group.begin_key(SUITE, 4, 2, policy);
    group.run(|group| group.has_confirmed(&key), "the device's own word").unwrap();
    let mut device = group.disconnect().unwrap();
    device.hello().unwrap();
    assert_eq!(device.ask(Request::Key(0)), Ok(Reply::Refused(Refused::Locked)));
    assert_eq!(device.ask(Request::Forget(key)), Ok(Reply::Refused(Refused::Locked)));
    assert_eq!(device.ask(Request::Unlock { pin: PIN }), Ok(Reply::Done));
    (key, device)
}

fn unknown(result: Result<impl std::fmt::Debug, Failed>) {
    assert!(
        matches!(result, Err(Failed::Rejected(_, Rejection::UnknownKey))),
        "it signs with a key that it has forgotten: {result:?}"
    );
}

#[test]
fn a_key_that_never_came_to_be_gives_its_place_back() {
    let flash = Flash::default();
    let mut group = group(61, 4, &flash);
    let policy = policy(&group);
    let first = group.make_key(SUITE, 4, 2, &policy).unwrap();
    let (pending, mut device) = leave_pending(&mut group, &policy);
    let both = [Some((first, true)), Some((pending, false)), None, None];
    assert_eq!(held(&mut device), both);
    let unknown = Ok(Reply::Refused(Refused::UnknownKey));
    assert_eq!(device.ask(Request::Forget([9; 16])), unknown);
    let declined = device.ask_person(Request::Forget(pending), false);
    assert_eq!(declined, Ok(Reply::Refused(Refused::Declined)));
    assert_eq!(held(&mut device), both);
    // A lock ends the question, with an answer.
    device.post(Request::Forget(pending));
    assert_eq!(device.ask(Request::Lock), Ok(Reply::Done));
    assert_eq!(device.answered(), Some(Reply::Refused(Refused::Declined)));
    assert_eq!(device.ask(Request::Unlock { pin: PIN }), Ok(Reply::Done));
    assert_eq!(held(&mut device), both);
    assert_eq!(device.ask_person(Request::Forget(pending), true), Ok(Reply::Done));
    let screens = device.screens().concat();
    let shown =
        format!("FORGET KEY?\nkey-{0}\n{0}\nits making has not ended here", hex::encode(pending));
    assert!(screens.contains(&shown), "{screens}");
    assert_eq!(device.ask(Request::Forget(pending)), unknown);
    assert_eq!(held(&mut device), [Some((first, true)), None, None, None]);

    // The others go on saying that they have it: nothing comes of it here.
    group.connect(device, PIN).unwrap();
    for _ in 0..200 {
        group.step().unwrap();
    }
    assert!(!group.is_active(&pending));
    pay(&mut group, &first, 1).unwrap();
    let next = group.make_key(SUITE, 4, 2, &policy).unwrap();
    pay(&mut group, &next, 1).unwrap();
    let device = group.link.as_mut().unwrap();
    assert_eq!(held(device), [Some((first, true)), Some((next, true)), None, None]);
    check_nonces(&group, 2);
}

#[test]
fn a_key_that_was_used_signs_no_more_once_it_is_forgotten() {
    let flash = Flash::default();
    let mut group = group(62, 4, &flash);
    let policy = policy(&group);
    let all: Vec<[u8; 16]> =
        (0..MAX_KEYS).map(|_| group.make_key(SUITE, 4, 2, &policy).unwrap()).collect();
    let (old, kept) = (all[1], all[2]);
    pay(&mut group, &old, 1).unwrap();
    let full = group.make_key(SUITE, 4, 2, &policy);
    let Err(Failed::Rejected(_, Rejection::BadRequest(reason))) = full else { panic!("{full:?}") };
    assert_eq!(
        reason,
        "the device has no room for another key; `quorate device forget` gives a place back"
    );

    // Its sessions end with it.
    let request = group.request(&old, quorate_core::request::Payload::EthereumMessage(b"late"));
    let (late, said) = (group.begin_signature(&request).unwrap(), group.said.len());
    group.run(|group| group.said.len() > said, "the device's part in a session").unwrap();
    let device = group.link.as_mut().unwrap();
    assert_eq!(device.ask_person(Request::Forget(old), true), Ok(Reply::Done));
    let screens = device.screens().concat();
    assert!(screens.contains("ACTIVE: its share on this device is lost"), "{screens}");
    for _ in 0..200 {
        group.step().unwrap();
    }
    assert_eq!(group.said.len(), said + 1, "it goes on with a session: {:?}", group.said.last());
    group.cancel_signature(&late);
    unknown(pay(&mut group, &old, 1));
    pay(&mut group, &kept, 1).unwrap();

    // Nor after a restart; and its place is taken by another.
    drop(group.disconnect());
    group.connect(HostedDevice::start(&flash, 63).unwrap(), PIN).unwrap();
    unknown(pay(&mut group, &old, 1));
    pay(&mut group, &kept, 1).unwrap();
    let next = group.make_key(SUITE, 4, 2, &policy).unwrap();
    pay(&mut group, &next, 1).unwrap();
    let places = held(group.link.as_mut().unwrap());
    let expected = [all[0], next, all[2], all[3]].map(|key| Some((key, true)));
    assert_eq!(places, expected);
    check_nonces(&group, 4);
}

/// A person who has read that a key is not complete has not agreed to lose one that is.
#[test]
fn a_key_that_becomes_active_while_the_person_reads_is_kept() {
    let mut group = group(64, 4, &Flash::default());
    let policy = policy(&group);
    let key = group.begin_key(SUITE, 4, 2, &policy);
    group.run(|group| group.has_confirmed(&key), "the device's own word").unwrap();
    assert_eq!(held(group.link.as_mut().unwrap())[0], Some((key, false)));
    group.person = Person::IsAway;
    let device = group.link.as_mut().unwrap();
    device.post(Request::Forget(key));
    group.finish_key(&key).unwrap();
    assert!(group.events.contains(&Event::KeyActive(key)));
    let device = group.link.as_mut().unwrap();
    assert_eq!(device.answered(), None);
    device.press(true);
    let answer = (0..100).find_map(|_| {
        device.said(Duration::from_millis(10)).unwrap();
        device.answered()
    });
    assert_eq!(answer, Some(Reply::Refused(Refused::Busy)));
    group.person = Person::Confirms;
    pay(&mut group, &key, 1).unwrap();
    check_nonces(&group, 1);
}

/// While a key is made, none is given up: the person has one question at a time.
#[test]
fn nothing_is_forgotten_while_a_key_is_made() {
    let mut group = group(65, 4, &Flash::default());
    let policy = policy(&group);
    let first = group.make_key(SUITE, 4, 2, &policy).unwrap();
    let second = group.begin_key(SUITE, 4, 2, &policy);
    let round = |group: &ChipGroup<HostedDevice>, round| {
        group.events.iter().filter(|event| **event == Event::KeyRound(round)).count() == 2
    };
    group.run(|group| round(group, 1), "the first round").unwrap();
    let device = group.link.as_mut().unwrap();
    assert_eq!(device.ask(Request::Forget(first)), Ok(Reply::Refused(Refused::Busy)));
    group.finish_key(&second).unwrap();
    pay(&mut group, &first, 1).unwrap();
    pay(&mut group, &second, 1).unwrap();
}
