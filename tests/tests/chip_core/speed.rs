//! Instructions and stack, against the budgets.

use quorate_tests::debugger::{Debugger, SP, function};

use super::image;

/// So much below the stack pointer is painted.
const PAINTED: u32 = 20 * 1024;
const PAINT: u8 = 0xa5;
/// Nanoseconds of a tick of the machine's clock, and of an instruction at this shift.
const TICK: u64 = 40;
const SHIFT: u32 = 4;

/// Instructions and bytes of stack that work may take: what it takes, and a little. What is wanted is
/// 4.5 and 5.5 million for a signature, 22 million for a key of four, 10 KB of stack.
const BUDGETS: [(&str, u64, u32); 8] = [
    ("ecdsa 2 of 4", 3_200_000, 10 * 1024),
    ("ecdsa 3 of 7", 4_690_000, 10 * 1024),
    ("bip340 2 of 4", 3_000_000, 10 * 1024),
    ("bip340 3 of 7", 3_960_000, 10 * 1024),
    ("open key 2 of 4", 1_280_000, 10 * 1024),
    ("open key 3 of 7", 1_840_000, 10 * 1024),
    ("dkg 2 of 4", 22_000_000, 10 * 1024),
    ("dkg 3 of 7", 45_300_000, 10 * 1024),
];

/// Runs to the end, and gives the deepest stack between the marks of every piece of work.
fn stacks(chip: &mut Debugger, begin: u32, end: u32) -> Vec<(String, u32)> {
    let mut deepest = Vec::<(String, u32)>::new();
    let mut top = 0;
    loop {
        let Some(place) = chip.run().unwrap() else { return deepest };
        if place == begin {
            top = chip.register(SP).unwrap();
            chip.write(top - PAINTED, &[PAINT; PAINTED as usize]).unwrap();
            continue;
        }
        assert_eq!(place, end);
        let left = chip.read(top - PAINTED, PAINTED as usize).unwrap();
        let untouched = left.iter().take_while(|byte| **byte == PAINT).count() as u32;
        let used = PAINTED - untouched;
        let printed = chip.printed();
        let name = printed.lines().filter_map(|line| line.strip_prefix("begin ")).next_back();
        let name = name.unwrap_or_default().to_owned();
        match deepest.last_mut() {
            Some((last, depth)) if *last == name => *depth = (*depth).max(used),
            _ => deepest.push((name, used)),
        }
    }
}

#[test]
fn work_on_a_chip_keeps_its_budgets() {
    let image = image("measure");
    let mut chip = Debugger::start(&image, SHIFT, &[("task", b"s")]);
    let (begin, end) =
        (function(&image, "measured_from_here"), function(&image, "measured_to_here"));
    chip.stop_at(begin).unwrap();
    chip.stop_at(end).unwrap();
    let stacks = stacks(&mut chip, begin, end);
    let printed = chip.printed();
    assert!(printed.ends_with("end\n"), "{printed}");
    let mut over = Vec::new();
    println!(
        "{:24} {:>12} {:>12} {:>12} {:>8}",
        "work", "instructions", "M4, 64 MHz", "M33, 150 MHz", "stack"
    );
    let mut name = "";
    for line in printed.lines() {
        if let Some(begun) = line.strip_prefix("begin ") {
            name = begun;
        }
        let Some(ticks) = line.strip_prefix("ticks ") else { continue };
        let instructions = (ticks.parse::<u64>().unwrap() * TICK) >> SHIFT;
        let stack =
            stacks.iter().filter(|(of, _)| of == name).map(|(_, depth)| *depth).max().unwrap_or(0);
        // As measured on real chips: 1.3 cycles an instruction.
        let milliseconds = |mhz: u64| instructions as f64 * 1.3 / (mhz as f64 * 1000.0);
        println!(
            "{name:24} {instructions:12} {:9.1} ms {:9.1} ms {stack:8}",
            milliseconds(64),
            milliseconds(150)
        );
        let budget = BUDGETS.iter().find(|(of, ..)| *of == name);
        if budget.is_some_and(|(_, most, depth)| instructions > *most || stack > *depth) {
            over.push(name);
        }
    }
    assert!(over.is_empty(), "over budget: {over:?}");
}
