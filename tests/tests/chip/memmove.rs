//! The board's own `memmove`, against a model.

use quorate_tests::chip::{Image, Machine};
use quorate_tests::debugger::{Debugger, function};

const LR: usize = 14;
/// Somewhere in RAM, while nothing else runs.
const MEMORY: u32 = 0x2000_0100;

#[test]
fn bytes_that_overlap_are_moved_whole() {
    let image = Image::of(Machine::CortexM4, false);
    let memmove = function(image.path(), "memmove");
    let mut chip = Debugger::start(image.path(), 4, &[]);
    // It returns to its own beginning.
    chip.stop_at(memmove).unwrap();
    let bytes: Vec<u8> = (1..=96).collect();
    let places = [(0, 0), (8, 8), (8, 9), (9, 8), (8, 12), (12, 8), (0, 48), (48, 0), (3, 33)];
    for (from, to) in places {
        for length in [0, 1, 2, 3, 4, 5, 8, 24, 25, 48] {
            let mut expected = bytes.clone();
            expected.copy_within(from..from + length, to);
            chip.write(MEMORY, &bytes).unwrap();
            let arguments = [MEMORY + to as u32, MEMORY + from as u32, length as u32];
            for (number, argument) in arguments.into_iter().enumerate() {
                chip.set_register(number, argument).unwrap();
            }
            chip.set_register(LR, memmove | 1).unwrap();
            chip.set_register(quorate_tests::debugger::PC, memmove).unwrap();
            assert_eq!(chip.run().unwrap(), Some(memmove));
            assert_eq!(chip.read(MEMORY, bytes.len()).unwrap(), expected, "{from} {to} {length}");
            assert_eq!(chip.register(0).unwrap(), arguments[0]);
        }
    }
}
