//! A chip whose flash was put back to what it was.

use quorate_core::curve::Suite;
use quorate_core::device::link::Request;
use quorate_tests::chip::{Emulator, Options, Reply, Source};
use quorate_tests::chip_group::Failed;

use super::desk::{PIN, check_nonces, group, policy, sign, start, start_with, turn};

/// It is noticed, does nothing until its operator and the person there accept it, and has never used a nonce in
/// two contexts, though its own noise and the host parties' were the same as before.
#[test]
fn a_chip_that_was_put_back_is_noticed_and_refused() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let options = Options { noise: Source::Seed(40), ..Options::default() };
    let mut group = group(41, folder.path(), options);
    let policy = policy(&group, 100);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    sign(&mut group, &key, "first").unwrap();
    drop(group.disconnect());
    let earlier = Emulator::snapshot(folder.path());

    // Twice from the same state, with the same noise everywhere, and another text.
    for (round, text) in ["second", "another second"].into_iter().enumerate() {
        Emulator::restore(folder.path(), &earlier);
        group.reseed(42);
        group.connect(start_with(folder.path(), 43), PIN).unwrap();
        let signed = sign(&mut group, &key, text);
        match (round, signed) {
            (0, signed) => assert!(signed.is_ok(), "{signed:?}"),
            (_, Err(Failed::Rejected(..) | Failed::Session(_))) => {}
            (_, other) => panic!("{other:?}"),
        }
        let mut chip = group.disconnect().unwrap();
        assert_eq!(chip.host.status().unwrap().rolled_back, round == 1);
    }
    check_nonces(&group, 2);

    // Also after a restart, and with good noise.
    group.connect(start(folder.path()), PIN).unwrap();
    assert!(sign(&mut group, &key, "third").is_err());
    let mut chip = group.disconnect().unwrap();
    let (generation, _) = chip.host.status().unwrap().log;
    assert_eq!(chip.ask_person(Request::Readmit, true), Ok(Reply::Done));
    let status = chip.host.status().unwrap();
    assert!(status.log.0 > generation && !status.rolled_back, "{status:?}");
    drop(chip);

    group.connect(start(folder.path()), PIN).unwrap();
    // What it had counted is lost: the person has heard that. Within the hour nothing is left.
    let over = sign(&mut group, &key, "fourth");
    println!("after it was re-admitted, within the hour: {over:?}");
    drop(group.disconnect());
    group.now += 2 * 3600;
    group.connect(start(folder.path()), PIN).unwrap();
    sign(&mut group, &key, "fifth").unwrap();
    assert!(!group.is_rolled_back());
    check_nonces(&group, 3);
}
