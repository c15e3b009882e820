//! The board's own `memcpy`, `memmove`, `__aeabi_memset` and `__aeabi_memclr`, against models.

use quorate_tests::chip::{Extent, Image, Machine};
use quorate_tests::debugger::{Debugger, PC, function};

const LR: usize = 14;
/// Somewhere in RAM, while nothing else runs.
const MEMORY: u32 = 0x2000_0100;
/// Registers that a function leaves as they were.
const KEPT: std::ops::RangeInclusive<usize> = 4..=11;
const LENGTHS: [usize; 14] = [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 25, 47, 48];

/// One function of the image, and the chip that it runs on.
struct Call {
    chip: Debugger,
    function: u32,
}

impl Call {
    fn of(name: &str) -> Self {
        let image = Image::of(Machine::CortexM4, Extent::Base);
        let function = function(image.path(), name);
        let mut chip = Debugger::start(image.path(), 4, &[]);
        // It returns to its own beginning.
        chip.stop_at(function).unwrap();
        Self { chip, function }
    }

    /// What `bytes` become, and what is returned.
    fn run(&mut self, bytes: &[u8], arguments: [u32; 3]) -> (Vec<u8>, u32) {
        let Self { chip, function } = self;
        chip.write(MEMORY, bytes).unwrap();
        for (number, argument) in arguments.into_iter().enumerate() {
            chip.set_register(number, argument).unwrap();
        }
        for number in KEPT {
            chip.set_register(number, 0x4b00 + number as u32).unwrap();
        }
        chip.set_register(LR, *function | 1).unwrap();
        chip.set_register(PC, *function).unwrap();
        assert_eq!(chip.run().unwrap(), Some(*function));
        for number in KEPT {
            assert_eq!(chip.register(number).unwrap(), 0x4b00 + number as u32, "r{number}");
        }
        (chip.read(MEMORY, bytes.len()).unwrap(), chip.register(0).unwrap())
    }
}

#[test]
fn bytes_that_overlap_are_moved_whole() {
    let mut memmove = Call::of("memmove");
    let bytes: Vec<u8> = (1..=96).collect();
    let places = [(0, 0), (8, 8), (8, 9), (9, 8), (8, 12), (12, 8), (0, 48), (48, 0), (3, 33)];
    for (from, to) in places {
        for length in LENGTHS {
            let mut expected = bytes.clone();
            expected.copy_within(from..from + length, to);
            let place = MEMORY + to as u32;
            let found = memmove.run(&bytes, [place, MEMORY + from as u32, length as u32]);
            assert_eq!(found, (expected, place), "{from} {to} {length}");
        }
    }
}

#[test]
fn bytes_are_copied_wherever_they_lie() {
    let mut memcpy = Call::of("memcpy");
    let bytes: Vec<u8> = (1..=128).collect();
    for (from, to) in (0..5).flat_map(|from| (64..69).map(move |to| (from, to))) {
        for length in LENGTHS {
            let mut expected = bytes.clone();
            expected.copy_within(from..from + length, to);
            let place = MEMORY + to as u32;
            let found = memcpy.run(&bytes, [place, MEMORY + from as u32, length as u32]);
            assert_eq!(found, (expected, place), "{from} {to} {length}");
        }
    }
}

#[test]
fn memory_is_filled_to_the_byte() {
    let bytes: Vec<u8> = (1..=96).collect();
    let (mut memset, mut clear) = (Call::of("__aeabi_memset"), Call::of("__aeabi_memclr"));
    for (to, length) in (8..13).flat_map(|to| LENGTHS.map(|length| (to, length))) {
        let place = MEMORY + to as u32;
        let mut expected = bytes.clone();
        expected[to..to + length].fill(0xa7);
        // Of the third argument the lowest byte counts.
        let found = memset.run(&bytes, [place, length as u32, 0x1234_56a7]);
        assert_eq!(found.0, expected, "{to} {length}");
        expected[to..to + length].fill(0);
        let (found, _) = clear.run(&bytes, [place, length as u32, 0xff]);
        assert_eq!(found, expected, "{to} {length}");
    }
}
