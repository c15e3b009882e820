//! The demo with a chip in the emulator, on a real chain.

use quorate_core::policy::ethereum::Address;
use quorate_tests::chain::{Anvil, judge};
use quorate_tests::chip::{Extent, Image, Machine};
use serde_json::json;

use super::{Place, lines};

#[test]
fn a_chip_is_asked_refuses_loses_its_power_and_signs_again() {
    let (image, chain, place) =
        (Image::of(Machine::CortexM4, Extent::Base), Anvil::start(), Place::new());
    let firmware = image.path().to_str().unwrap();
    let output = place.run(&["--json", "--device", "--firmware", firmware, "--chain", chain.url()]);
    let lines = lines(&output);
    let steps: Vec<&str> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "joined",
            "key",
            "confirmed",
            "unasked",
            "refused",
            "denied",
            "power-cut",
            "signed-after-power-cut",
            "done"
        ]
    );
    let [joined, key, confirmed, unasked, refused, denied, _, again, _] = lines.as_slice() else {
        unreachable!()
    };
    // A person compares what fits the screen.
    let digest = joined["digest"].as_str().unwrap();
    assert!(joined["screen"].as_str().unwrap().contains(&digest[..32]), "{joined}");
    let address = key["address"].as_str().unwrap();
    for line in [confirmed, unasked, again] {
        let verdict = judge(line["raw_transaction"].as_str().unwrap());
        assert!(verdict.low_s);
        assert_eq!(verdict.from, address);
        assert!(line["signers"].as_array().unwrap().contains(&json!(4)), "{line}");
        assert_eq!(line["receipt"]["status"], "0x1");
    }
    for line in [confirmed, refused, again] {
        let screen = line["screen"].as_str().unwrap();
        for word in ["SIGN?", "send 0.01 ETH", "to 0x70997970", "chain 31337", "key demo"] {
            assert!(screen.contains(word), "{word}: {screen}");
        }
    }
    assert!(refused["message"].as_str().unwrap().contains("party 4"), "{refused}");
    assert!(denied["message"].as_str().unwrap().contains("recipient"), "{denied}");
    // What was refused was not signed by anybody.
    assert_eq!(chain.nonce(Address::from_hex(address).unwrap()), Ok(3));
    place.is_clean();
}

#[test]
fn without_a_chip_it_says_what_is_missing() {
    let place = Place::new();
    let output = place.run(&["--json", "--device", "--firmware", "/nothing/here.elf"]);
    let message = output.error(1)["message"].to_string();
    assert!(message.contains("/nothing/here.elf"), "{message}");
    place.is_clean();
}
