//! The same number of instructions for every secret.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_tests::debugger::Debugger;

use super::image;

/// An instruction takes 64 nanoseconds, and so more than a tick of the timer.
const SHIFT: u32 = 6;
const TICK: f64 = 40.0;
const SECRETS: usize = 24;

/// What a program printed of each kind of work: the instructions for each secret.
fn counted(program: &str) -> BTreeMap<String, Vec<i64>> {
    let mut chip = Debugger::start(&image(program), SHIFT, &[("task", b"c")]);
    chip.limit(Duration::from_secs(240));
    assert_eq!(chip.run().unwrap(), None);
    let printed = chip.printed();
    assert!(printed.ends_with("end\n"), "{printed}");
    let mut counts = BTreeMap::<String, Vec<i64>>::new();
    for (name, ticks) in printed.lines().filter_map(|line| line.split_once(": ")) {
        let instructions = ticks.parse::<f64>().unwrap() * TICK / f64::from(1 << SHIFT);
        counts.entry(name.to_owned()).or_default().push(instructions.round() as i64);
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
            "variable-time control" => assert!(spread > 100_000, "{counts:?}"),
            _ => assert!(spread <= 1, "{name}: {counts:?}"),
        }
        *of_kind.entry(name.split(',').next().unwrap()).or_default() += counts.len();
    }
    assert_eq!(of_kind.len(), kinds, "{of_kind:?}");
    assert!(of_kind.values().all(|count| *count == SECRETS), "{of_kind:?}");
}

#[test]
fn work_with_secrets_takes_the_same_instructions_for_all_of_them() {
    constant(&counted("measure"), 8);
}

/// PIN, store, randomness, party channel, identity, and a key generation until the deal.
#[test]
fn what_a_device_does_with_its_secrets_takes_the_same_instructions_for_all_of_them() {
    constant(&counted("device_work"), 19);
}
