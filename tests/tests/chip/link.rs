//! What a chip says to its host, whatever the host says.

use std::collections::BTreeMap;

use quorate_core::device::link::{Refused, Request, VERSIONS};
use quorate_tests::chip::{Emulator, Extent, Image, Machine, Options, Reply};
use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use super::desk::turn;
use super::spoil::spoil;

/// It boots on both machines, and says which firmware it is: the hash of what lies in flash.
#[test]
fn a_chip_greets_with_the_digest_of_its_image() {
    let _turn = turn();
    for machine in [Machine::CortexM4, Machine::CortexM33] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { machine, ..Options::default() };
        let mut chip = Emulator::start(folder.path(), options);
        let hello = chip.host.hello().unwrap();
        let image = Image::of(machine, Extent::Base).flash();
        assert_eq!(hello.firmware[..], Sha256::digest(image)[..], "{machine:?}");
        assert_eq!((hello.version, hello.identity, hello.joined), (1, None, None));
        let status = chip.host.status().unwrap();
        assert!(!status.initialized && status.stack > 0, "{status:?}");
        assert_eq!(chip.starts(), 1);
    }
}

#[test]
fn versions_that_do_not_meet_are_refused() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut chip = Emulator::start(folder.path(), Options::default());
    let (min, max) = VERSIONS;
    for (from, to) in [(max + 1, max + 4), (0, min - 1), (max, min - 1)] {
        let hello = Request::Hello { min: from, max: to, entropy: [0; 32] };
        assert_eq!(chip.host.ask(hello), Ok(Reply::Refused(Refused::Version { min, max })));
        assert_eq!(chip.host.ask(Request::Status), Ok(Reply::Refused(Refused::HelloFirst)));
    }
    // A host that will speak more some day finds the version that both speak.
    let hello = Request::Hello { min: 0, max: u8::MAX, entropy: [0; 32] };
    match chip.host.ask(hello) {
        Ok(Reply::Hello(hello)) => assert_eq!(hello.version, max),
        reply => panic!("{reply:?}"),
    }
}

/// Whatever comes over the line, the chip says what is wrong with it, does not start again, and does what
/// the next good frame asks.
#[test]
fn ten_thousand_bad_frames_are_refused_one_by_one() {
    let _turn = turn();
    let mut rng = ChaCha20Rng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let mut chip = Emulator::start(folder.path(), Options::default());
    let hello = chip.host.hello().unwrap();
    let mut kinds = BTreeMap::new();
    let mut last = 1;
    for number in 0..10_000 {
        let (bytes, id, refused) = spoil(&mut rng, last);
        chip.host.send_raw(&bytes).unwrap();
        let answer = chip.host.answer().unwrap();
        assert_eq!(answer, (id, Reply::Refused(refused)), "frame {number}: {bytes:02x?}");
        let kind = match refused {
            Refused::OldId { .. } => "OldId".to_owned(),
            refused => format!("{refused:?}"),
        };
        *kinds.entry(kind).or_insert(0) += 1;
        if rng.next_u32() % 8 == 0 {
            last += 1;
            chip.host.status().unwrap();
        }
    }
    // It would not be a test if one kind were missing.
    assert!(kinds.len() == 5 && kinds.values().all(|count| *count >= 100), "{kinds:?}");
    assert_eq!(chip.starts(), 1);
    assert_eq!(chip.host.hello(), Ok(hello));
}

/// What the linked images take. The one with Ed25519 and FROST has 220 KB of flash, and 96 of RAM with its stack. That
/// for ECDSA and BIP-340 has 32 KB of RAM, and takes no more flash than it does now; it is to take 120 KB. The last has
/// what nobody has asked a budget for.
#[test]
fn images_keep_their_budgets() {
    let _turn = turn();
    for machine in [Machine::CortexM4, Machine::CortexM33] {
        for (extent, [most_flash, most_ram]) in
            Extent::ALL.into_iter().zip([[184, 21], [220, 62], [232, 62]])
        {
            let (flash, ram) = Image::of(machine, extent).sizes();
            println!(
                "{machine:?}, {extent:?}: {flash} bytes of flash, {ram} of RAM without the stack"
            );
            let kept = flash <= most_flash << 10 && ram <= most_ram << 10;
            assert!(kept, "{machine:?}, {extent:?}: {flash}, {ram}");
        }
    }
}
