//! The power fails at random moments, more than two hundred times in all. The emulator is killed between any two
//! instructions, and the chip begins again with what its flash holds.

use std::time::{Duration, Instant};

use quorate_core::curve::Suite;
use quorate_core::device::link::{Refused, Request};
use quorate_core::request::Payload;
use quorate_core::session::Header;
use quorate_node::message::PeerMessage;
use quorate_tests::chip::{Emulator, Gone, Options, Reply};
use quorate_tests::chip_group::Failed;
use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::desk::{Group, PIN, check_nonces, cut_within, group, policy, sign, start, turn};

const WHILE_MAKING_KEYS: usize = 50;
const WHILE_SIGNING: usize = 80;
const AT_THE_PIN: usize = 80;
const AT_A_MESSAGE: usize = 12;

/// A key is pending at all before anybody says that it is active, so a key that is active anywhere becomes
/// active on the chip, whenever its power failed.
#[test]
fn a_power_cut_loses_no_key() {
    let _turn = turn();
    let mut rng = ChaCha20Rng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let (mut cut, mut made, mut finished) = (0, 0, 0);
    let mut chip = start(folder.path());
    Group::new(1, 4).pair(&mut chip, PIN).unwrap();
    let identity = chip.host.hello().unwrap().identity.unwrap();
    drop(chip);
    let blank = Emulator::snapshot(folder.path());
    // How long one takes; it grows while the moments come too early.
    let mut longest = Duration::from_secs(2);
    while cut < WHILE_MAKING_KEYS {
        // There is room for four keys, and what is cut short early takes none.
        Emulator::restore(folder.path(), &blank);
        let mut group = Group::new(1, 4);
        group.reseed(rng.next_u64());
        group.pin(identity);
        group.connect(start(folder.path()), PIN).unwrap();
        let policy = policy(&group, 10);
        let key = group.begin_key(Suite::EcdsaSecp256k1, 4, 2, &policy);
        let power = group.link.as_ref().unwrap().power();
        let begun = Instant::now();
        match cut_within(&mut rng, longest, power, || group.finish_key(&key)) {
            // It was ready first, and the power failed then.
            Ok(()) => {
                longest = begun.elapsed().min(longest) * 9 / 10;
                made += 1;
            }
            Err(Failed::Gone) => longest = longest * 11 / 10,
            Err(other) => panic!("{other:?}"),
        }
        cut += 1;
        let was_active = group.is_active(&key);
        drop(group.disconnect());
        let mut chip = start(folder.path());
        chip.host.hello().unwrap();
        assert_eq!(chip.host.ask(Request::Unlock { pin: PIN }), Ok(Reply::Done));
        let keys = chip.host.status().unwrap().keys;
        assert!(keys == 1 || !was_active, "an active key is lost");
        let said = group.said.iter().any(|(_, said)| matches!(said, PeerMessage::Confirm { .. }));
        assert!(keys == 1 || !said, "a key that it confirmed is lost");
        group.connect(chip, PIN).unwrap();
        if said && group.has_confirmed(&key) {
            group.finish_key(&key).unwrap();
            finished += usize::from(!was_active);
            sign(&mut group, &key, "after it").unwrap();
        }
        drop(group.disconnect());
    }
    println!("{cut} cuts: {made} keys made, {finished} finished after the cut");
    assert!(made + finished >= 1 && finished + made < cut, "the moments are no test");
}

/// What the chip has said that it counted stays counted, no limit is exceeded, and it always signs again.
#[test]
fn a_power_cut_loses_no_count() {
    let _turn = turn();
    const LIMIT: usize = 12;
    let mut rng = ChaCha20Rng::seed_from_u64(seed() ^ 1);
    let folder = tempfile::tempdir().unwrap();
    let mut group = group(rng.next_u64(), folder.path(), Options::default());
    let policy = policy(&group, LIMIT);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    let begun = Instant::now();
    sign(&mut group, &key, "how long it takes").unwrap();
    let mut longest = begun.elapsed();
    let (mut asked, mut released, mut cut, mut signed, mut denied) = (1, 1, 0, 0, 0);
    let mut kept = None;
    while cut < WHILE_SIGNING {
        let request = group.request(&key, Payload::EthereumMessage(&rng.next_u64().to_be_bytes()));
        let power = group.link.as_ref().unwrap().power();
        let from = group.said.len();
        let begun = Instant::now();
        let ended = cut_within(&mut rng, longest, power, || group.sign(&request));
        group.hear_out();
        (cut, asked) = (cut + 1, asked + 1);
        let was_released = group.said.iter().skip(from).any(|(_, said)| is_nonce(said));
        released += usize::from(was_released);
        assert!(released <= LIMIT, "the limit is exceeded");
        match ended {
            Ok(_) => {
                signed += 1;
                longest = begun.elapsed().min(longest) * 9 / 10;
            }
            Err(Failed::Gone) => longest = longest * 21 / 20,
            // Whatever was counted, and was cut short before it left, counts.
            Err(Failed::Rejected(..)) if asked > LIMIT => {
                (asked, released, denied) = (0, 0, denied + 1);
                group.now += 3700;
            }
            Err(other) => panic!("{other:?}"),
        }
        kept = kept.max(group.kept_head());
        drop(group.disconnect());
        group.connect(start(folder.path()), PIN).unwrap();
        assert!(!group.is_rolled_back());
        let log = {
            let chip = group.link.as_mut().unwrap();
            chip.host.status().unwrap().log
        };
        assert!(Some(log) >= kept, "the log was at {kept:?}, and is at {log:?}");
        assert!(log.1 >= group.releases(), "{} released, {log:?} counted", group.releases());
    }
    println!("{cut} cuts, {signed} signatures before them, {denied} denied");
    assert!(signed >= 1 && signed < cut && denied >= 1, "the moments are no test");
    drop(group.disconnect());
    group.now += 3700;
    group.connect(start(folder.path()), PIN).unwrap();
    sign(&mut group, &key, "after all").unwrap();
    check_nonces(&group, 2);
}

/// The power fails the moment that a message is on the line. What the nonces that have left belong to is counted by
/// then: between two messages is no time for that.
#[test]
fn a_nonce_leaves_after_it_is_counted() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut group = group(seed() ^ 4, folder.path(), Options::default());
    let policy = policy(&group, 100);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    let mut behind_a_nonce = 0;
    for number in 0..AT_A_MESSAGE {
        let chip = group.link.as_mut().unwrap();
        let power = chip.power();
        // One accepts the proposal; three with its head and two with its nonce follow.
        chip.host.cut_after(2 + number % 5, power);
        let before = group.releases();
        let ended = sign(&mut group, &key, &format!("text {number}"));
        assert!(matches!(ended, Err(Failed::Gone)), "{ended:?}");
        group.hear_out();
        behind_a_nonce += usize::from(group.releases() > before);
        drop(group.disconnect());
        let mut chip = start(folder.path());
        chip.host.hello().unwrap();
        let (_, counted) = chip.host.status().unwrap().log;
        let released = group.releases();
        assert!(counted >= released, "{number}: {released} released, {counted} counted");
        group.connect(chip, PIN).unwrap();
    }
    println!("{behind_a_nonce} of {AT_A_MESSAGE} cuts behind a nonce");
    assert!(behind_a_nonce > 0, "the moments are no test");
}

/// The first of what a signature says: from here on it counts.
fn is_nonce(said: &PeerMessage) -> bool {
    match said {
        PeerMessage::Ecdsa(bytes) => Header::peek(bytes).is_ok_and(|header| header.round == 1),
        _ => false,
    }
}

/// A wrong PIN costs a try however short the power lasts, and no more than one; the right one gives them back.
#[test]
fn a_power_cut_wins_no_try_of_the_pin() {
    let _turn = turn();
    let mut rng = ChaCha20Rng::seed_from_u64(seed() ^ 2);
    let folder = tempfile::tempdir().unwrap();
    let mut chip = start(folder.path());
    chip.host.hello().unwrap();
    assert_eq!(chip.host.ask(Request::Initialize { pin: PIN }), Ok(Reply::Done));
    let all = chip.host.status().unwrap().pin_tries;
    let (mut left, mut taken, mut longest) = (all, 0, Duration::from_millis(20));
    for number in 0..AT_THE_PIN {
        let wrong = rng.next_u32() % 3 > 0;
        let pin = if wrong { b"654321" } else { PIN };
        let power = chip.power();
        let answer =
            cut_within(&mut rng, longest, power, || chip.host.ask(Request::Unlock { pin }));
        drop(chip);
        chip = start(folder.path());
        chip.host.hello().unwrap();
        let now = chip.host.status().unwrap().pin_tries;
        let expected = match answer {
            Ok(Reply::Refused(Refused::WrongPin { left: told })) => {
                assert_eq!((wrong, told), (true, left - 1), "{number}");
                told..=told
            }
            Ok(Reply::Done) => {
                assert!(!wrong, "{number}");
                all..=all
            }
            Err(Gone) if wrong => left - 1..=left,
            Err(Gone) => left - 1..=all,
            other => panic!("{number}: {other:?}"),
        };
        longest = match answer {
            Err(Gone) => longest * 21 / 20,
            Ok(_) => longest * 19 / 20,
        };
        assert!(expected.contains(&now), "{number}: {now} of {expected:?} after {answer:?}");
        taken += usize::from(now < left);
        left = now;
        // Wrong ones make it wait: the right one ends that.
        while left < all {
            match chip.host.ask(Request::Unlock { pin: PIN }) {
                Ok(Reply::Done) => left = all,
                Ok(Reply::Refused(Refused::PinTooSoon { .. })) => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => panic!("{number}: {other:?}"),
            }
        }
    }
    assert!(taken >= AT_THE_PIN / 20, "only {taken} tries were taken");
}
