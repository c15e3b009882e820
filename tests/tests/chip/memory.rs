//! The board's own `memcpy` and `memmove`, against a model.

use quorate_tests::chip::{Image, Machine};
use quorate_tests::debugger::{Debugger, function};

const LR: usize = 14;
/// Somewhere in RAM, while nothing else runs.
const MEMORY: u32 = 0x2000_0100;
const SIZE: usize = 96;
/// Of registers that a callee keeps, before and after.
const KEPT: std::ops::RangeInclusive<usize> = 4..=11;

/// Calls `name` for every place and length.
fn copies(name: &str, calls: impl IntoIterator<Item = (usize, usize, usize)>) {
    let image = Image::of(Machine::CortexM4, false);
    let code = function(image.path(), name);
    let mut chip = Debugger::start(image.path(), 4, &[]);
    // It returns to its own beginning.
    chip.stop_at(code).unwrap();
    let bytes: Vec<u8> = (1..=SIZE as u8).collect();
    for (from, to, length) in calls {
        let mut expected = bytes.clone();
        expected.copy_within(from..from + length, to);
        chip.write(MEMORY, &bytes).unwrap();
        let arguments = [MEMORY + to as u32, MEMORY + from as u32, length as u32];
        for (number, argument) in arguments.into_iter().enumerate() {
            chip.set_register(number, argument).unwrap();
        }
        for register in KEPT {
            chip.set_register(register, 0x4b00 + register as u32).unwrap();
        }
        chip.set_register(LR, code | 1).unwrap();
        chip.set_register(quorate_tests::debugger::PC, code).unwrap();
        assert_eq!(chip.run().unwrap(), Some(code));
        assert_eq!(chip.read(MEMORY, bytes.len()).unwrap(), expected, "{from} {to} {length}");
        assert_eq!(chip.register(0).unwrap(), arguments[0]);
        for register in KEPT {
            assert_eq!(chip.register(register).unwrap(), 0x4b00 + register as u32);
        }
    }
}

const LENGTHS: [usize; 10] = [0, 1, 2, 3, 4, 5, 8, 24, 25, 48];

#[test]
fn bytes_that_overlap_are_moved_whole() {
    let places = [(0, 0), (8, 8), (8, 9), (9, 8), (8, 12), (12, 8), (0, 48), (48, 0), (3, 33)];
    copies(
        "memmove",
        places.into_iter().flat_map(|(from, to)| LENGTHS.map(|length| (from, to, length))),
    );
}

#[test]
fn bytes_are_copied_whole_however_they_are_aligned() {
    // Every rest, and every alignment of both ends.
    let aligned = (0..=48).map(|length| (0, 48, length));
    let places = (0..4).flat_map(|from| (44..48).map(move |to| (from, to)));
    let others = places.flat_map(|(from, to)| LENGTHS.map(|length| (from, to, length.min(44))));
    copies("memcpy", aligned.chain(others));
}
