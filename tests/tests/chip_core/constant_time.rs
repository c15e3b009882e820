//! The same number of instructions for every secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use quorate_tests::debugger::Debugger;

use super::{full_image, image};

/// An instruction takes 2^6 nanoseconds of the machine's clock, and so more than a tick of the timer.
const SHIFT: u32 = 6;
/// And here 2^7, so much more that the timer's reading tells the number exactly: numbers are subtracted.
const EXACT: u32 = 7;
const TICK: f64 = 40.0;
const SECRETS: usize = 24;

/// What a program printed of each kind of work: the instructions for each secret.
fn counted(program: &Path, shift: u32) -> BTreeMap<String, Vec<i64>> {
    let mut chip = Debugger::start(program, shift, &[("task", b"c")]);
    chip.limit(Duration::from_secs(240));
    assert_eq!(chip.run().unwrap(), None);
    let printed = chip.printed();
    assert!(printed.ends_with("end\n"), "{printed}");
    let instructions =
        |ticks: &str| (ticks.parse::<f64>().unwrap() * TICK / f64::from(1 << shift)).round() as i64;
    let mut counts = BTreeMap::<String, Vec<i64>>::new();
    for (name, ticks) in printed.lines().filter_map(|line| line.split_once(": ")) {
        // Less what is public in it.
        let (whole, public) = ticks.split_once(" - ").unwrap_or((ticks, "0"));
        let secret = instructions(whole) - instructions(public);
        counts.entry(name.to_owned()).or_default().push(secret);
    }
    counts
}

/// Fails if any but the control takes other instructions for another secret, or if there are not so many kinds.
fn constant(counts: &BTreeMap<String, Vec<i64>>, kinds: usize) {
    let mut of_kind = BTreeMap::<&str, usize>::new();
    for (name, counts) in counts {
        let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        println!(
            "{name:44} {:10} instructions, {:2} secrets, spread {spread}",
            counts[0],
            counts.len()
        );
        // What is public may show, and the timer's reading is to the nearest instruction.
        match name.as_str() {
            name if name.ends_with("variable-time control") => {
                assert!(spread > 100_000, "{counts:?}")
            }
            name => assert!(spread <= 1, "{name}: {counts:?}"),
        }
        *of_kind.entry(name.split(',').next().unwrap()).or_default() += counts.len();
    }
    assert_eq!(of_kind.len(), kinds, "{of_kind:?}");
    assert!(of_kind.values().all(|count| *count == SECRETS), "{of_kind:?}");
}

#[test]
fn work_with_secrets_takes_the_same_instructions_for_all_of_them() {
    constant(&counted(&image("measure"), SHIFT), 8);
}

/// PIN, store, randomness, party channel, identity, and a key generation until the deal.
#[test]
fn what_a_device_does_with_its_secrets_takes_the_same_instructions_for_all_of_them() {
    constant(&counted(&image("device_work"), SHIFT), 19);
}

/// In the group that such an image has: FROST, Schnorr, ECDSA, and a key generation from the first share that it
/// receives.
#[test]
fn work_with_secrets_in_a_full_image_takes_the_same_instructions_for_all_of_them() {
    constant(&counted(&full_image("measure_full"), EXACT), 45);
}
