//! What a chip says to its host, whatever the host says.

use quorate_core::device::link::{Refused, Request, VERSIONS};
use quorate_tests::chip::{Emulator, Image, Machine, Options, Reply};
use sha2::{Digest as _, Sha256};

/// It boots on both machines, and says which firmware it is: the hash of what lies in flash.
#[test]
fn a_chip_greets_with_the_digest_of_its_image() {
    for machine in [Machine::CortexM4, Machine::CortexM33] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { machine, ..Options::default() };
        let mut chip = Emulator::start(folder.path(), options);
        let hello = chip.host.hello().unwrap();
        let image = Image::of(machine, false).flash();
        assert_eq!(hello.firmware[..], Sha256::digest(image)[..], "{machine:?}");
        assert_eq!((hello.version, hello.identity, hello.joined), (1, None, None));
        let status = chip.host.status().unwrap();
        assert!(!status.initialized && status.stack > 0, "{status:?}");
        assert_eq!(chip.starts(), 1);
    }
}

#[test]
fn versions_that_do_not_meet_are_refused() {
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
