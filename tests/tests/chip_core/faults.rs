//! A bit flips at a random moment of a signature: in memory that is in use, or in a register. What leaves the
//! chip is right, or nothing leaves it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_tests::cluster::seed;
use quorate_tests::debugger::{Debugger, SP, function};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::{full_image, image};

/// The end of the stack, where it begins.
const TOP: u32 = 0x2040_0000;
/// Nanoseconds of a tick of the timer; an instruction takes one.
const TICK: u32 = 40;
/// Tasks of `faults_frost`.
const FROST: [u8; 5] = *b"pqrof";
/// Bytes of a stored nonce, (d, e).
const NONCE: usize = 64;
/// Handlers of exceptions and panics.
const CRASHES: [&str; 2] = ["HardFault", "rust_begin_unwind"];

/// Where the program stops.
struct Places {
    ready: u32,
    nonce: u32,
    share: u32,
    refused: u32,
    moment: u32,
    crashes: Vec<u32>,
}

/// The chip, as it is before every signature.
struct Bench {
    /// The letter by which the program knows what to sign.
    task: u8,
    image: PathBuf,
    places: Places,
    inputs: Vec<u8>,
    chip: Debugger,
    registers: Vec<u32>,
    memory: Vec<u8>,
}

/// What left, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    nonce: Option<Vec<u8>>,
    share: Option<Vec<u8>>,
    crashed: bool,
}

impl Bench {
    fn new(task: u8) -> Self {
        let frost = FROST.contains(&task);
        let image = if frost { full_image("faults_frost") } else { image("faults") };
        let mut first = Debugger::start(&image, 0, &[("task", &[task])]);
        assert_eq!(first.run().unwrap(), None);
        let inputs = first.file("inputs");
        assert!(!inputs.is_empty());
        let at = |name: &str| function(&image, &format!("{}{name}17h", name.len()));
        let places = Places {
            ready: at("ready"),
            nonce: at("sent_nonce"),
            share: at("sent_share"),
            refused: at("refused"),
            moment: at("moment"),
            crashes: CRASHES.iter().map(|name| function(&image, name)).collect(),
        };
        let (chip, registers, memory) = Self::boot(&image, task, &places, &inputs);
        Self { task, image, places, inputs, chip, registers, memory }
    }

    /// Runs to the signature, and keeps all that it depends on.
    fn boot(
        image: &Path,
        task: u8,
        places: &Places,
        inputs: &[u8],
    ) -> (Debugger, Vec<u32>, Vec<u8>) {
        let files: [(&str, &[u8]); 2] = [("task", &[task]), ("inputs", inputs)];
        let mut chip = Debugger::start(image, 0, &files);
        let stops = [places.ready, places.nonce, places.share, places.refused, places.moment];
        for place in stops.iter().chain(&places.crashes) {
            chip.stop_at(*place).unwrap();
        }
        assert_eq!(chip.run().unwrap(), Some(places.ready));
        chip.limit(Duration::from_secs(5));
        let registers: Vec<u32> = (0..16).map(|number| chip.register(number).unwrap()).collect();
        let memory = chip.read(registers[SP], (TOP - registers[SP]) as usize).unwrap();
        (chip, registers, memory)
    }

    fn start_again(&mut self) {
        let (chip, registers, memory) =
            Self::boot(&self.image, self.task, &self.places, &self.inputs);
        (self.chip, self.registers, self.memory) = (chip, registers, memory);
    }

    /// Whether something else left than should have. Of FROST the store comes first: it may get other nonces, or what
    /// is no pool any more, but never the nonce that was used if a share leaves.
    fn does_harm(&self, left: &Left, right: &Left) -> bool {
        let is_right =
            |found: &Option<Vec<u8>>, right: &Option<Vec<u8>>| found.is_none() || found == right;
        if !is_right(&left.share, &right.share) {
            return true;
        }
        if !FROST.contains(&self.task) {
            return !is_right(&left.nonce, &right.nonce);
        }
        let stored = |left: &Left| left.nonce.clone().unwrap_or_default();
        let (found, expected) = (stored(left), stored(right));
        // The nonce that is left is the last that is stored, and before its tag is the one that was used.
        let last = &expected[expected.len() - NONCE..];
        let at = self.inputs.windows(NONCE).position(|bytes| bytes == last).unwrap();
        let mut used = self.inputs[at - 1 - NONCE..at - 1].chunks(NONCE / 2);
        let holds = |part: &[u8]| found.windows(part.len()).any(|bytes| bytes == part);
        left.share.is_some() && used.any(holds)
    }

    /// One signature; `flip` is asked once, after so many ticks.
    fn sign(&mut self, guarded: bool, ticks: u32, flip: &mut dyn FnMut(&mut Debugger)) -> Left {
        let mut left = Left::default();
        let choices = [ticks, u32::from(guarded)].map(u32::to_le_bytes).concat();
        self.chip.write(self.registers[0], &choices).unwrap();
        loop {
            let Some(place) = self.chip.run().ok().flatten() else {
                left.crashed = true;
                break;
            };
            let places = &self.places;
            if place == places.moment {
                flip(&mut self.chip);
            } else if place == places.nonce || place == places.share {
                let start = self.chip.register(0).unwrap();
                let length = self.chip.register(1).unwrap().min(256) as usize;
                let bytes = self.chip.read(start, length).unwrap_or_default();
                let slot = if place == places.nonce { &mut left.nonce } else { &mut left.share };
                *slot = Some(bytes);
            } else {
                left.crashed = place != places.refused;
                break;
            }
        }
        if left.crashed {
            self.start_again();
        } else {
            self.chip.write(self.registers[SP], &self.memory).unwrap();
            for (number, value) in self.registers.iter().enumerate() {
                self.chip.set_register(number, *value).unwrap();
            }
        }
        left
    }
}

/// One bit of what is in use: half the time near the stack pointer, where the registers were put when the moment
/// came; else a register that was not, or anything on the stack.
fn flip(chip: &mut Debugger, random: &mut ChaCha20Rng) {
    let sp = chip.register(SP).unwrap();
    let bit = random.next_u32() % 8;
    let reach = match random.next_u32() % 4 {
        0 => {
            let number = 4 + random.next_u32() as usize % 8;
            let value = chip.register(number).unwrap();
            chip.set_register(number, value ^ 1 << (random.next_u32() % 32)).unwrap();
            return;
        }
        1 => 64,
        _ => TOP - sp,
    };
    let place = sp + random.next_u32() % reach;
    let byte = chip.read(place, 1).unwrap();
    chip.write(place, &[byte[0] ^ 1 << bit]).unwrap();
}

/// How many of `count` faulted signatures let something wrong out; how many did nothing, refused or crashed, is printed.
fn wrong(bench: &mut Bench, guarded: bool, count: usize, random: &mut ChaCha20Rng) -> usize {
    let never = &mut |_: &mut Debugger| {};
    let right = bench.sign(guarded, 0x00ff_ffff, never);
    assert!(right.nonce.is_some() && right.share.is_some(), "{right:?}");
    assert_eq!(bench.sign(guarded, 0x00ff_ffff, never), right);
    let longest = longest(bench, guarded);
    let (mut wrong, mut kinds) = (0, [0; 4]);
    for number in 0..count {
        // A fault may have changed what is not put back: all that follows would be refused.
        if number % 20 == 19 && bench.sign(guarded, 0x00ff_ffff, never) != right {
            bench.start_again();
        }
        let ticks = 1 + random.next_u32() % longest;
        let mut fork = ChaCha20Rng::seed_from_u64(random.next_u64());
        let left = bench.sign(guarded, ticks, &mut |chip| flip(chip, &mut fork));
        if bench.does_harm(&left, &right) {
            let task = char::from(bench.task);
            println!("{task}: fault {number} after {} instructions: {left:?}", ticks * TICK);
            wrong += 1;
            // Without a guard, one shows what the test would find.
            if !guarded {
                break;
            }
        }
        kinds[if left.crashed {
            3
        } else if left.nonce.is_none() {
            1
        } else if left.share.is_none() {
            2
        } else {
            0
        }] += 1;
    }
    let task = char::from(bench.task);
    println!(
        "{task}, guarded {guarded}: {wrong} wrong; none, before R1, before R2, crashed: {kinds:?}"
    );
    wrong
}

/// Ticks of a whole signature: the longest wait that a moment still comes after.
fn longest(bench: &mut Bench, guarded: bool) -> u32 {
    let (mut low, mut high) = (1, 1 << 20);
    while high - low > 1000 {
        let middle = (low + high) / 2;
        let mut came = false;
        bench.sign(guarded, middle, &mut |_| came = true);
        if came { low = middle } else { high = middle }
    }
    low
}

/// `guarded` faults of a task, after `unguarded` ones, in two halves side by side: how many let something wrong out.
fn harm(task: u8, unguarded: usize, guarded: usize, random: &mut ChaCha20Rng) -> (usize, usize) {
    let half = |seed| {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut bench = Bench::new(task);
        let without = match unguarded {
            0 => 0,
            _ => wrong(&mut bench, false, unguarded / 2, &mut random),
        };
        (without, wrong(&mut bench, true, guarded / 2, &mut random))
    };
    let seeds = [random.next_u64(), random.next_u64()];
    let [one, other] = std::thread::scope(|scope| {
        seeds.map(|seed| scope.spawn(move || half(seed))).map(|half| half.join().unwrap())
    });
    (one.0 + other.0, one.1 + other.1)
}

/// How many faults, unless the environment says so.
fn count(otherwise: usize) -> usize {
    let asked = std::env::var("QUORATE_FAULTS").ok().and_then(|count| count.parse().ok());
    asked.unwrap_or(otherwise)
}

#[test]
fn what_leaves_a_chip_that_a_fault_hit_is_right_or_nothing() {
    let mut random = ChaCha20Rng::seed_from_u64(seed());
    let (without, with) = harm(b'e', 80, count(1000), &mut random);
    // Without the guard such faults do harm, or this would be no test.
    assert!(without > 0);
    assert_eq!(with, 0);
}

/// A derived key, BIP-340 and that under an address of a derived key, and seven holders; and in the group of a chip with
/// several curves a derived key, BIP-340, and Ed25519.
#[test]
fn it_is_so_for_other_keys_and_schemes() {
    let mut random = ChaCha20Rng::seed_from_u64(seed());
    let found = [b'd', b's', b't', b'7', b'a', b'b', b'g'].map(|task| {
        let faults = count(if task == b's' { 100 } else { 300 });
        (char::from(task), harm(task, 0, faults, &mut random).1)
    });
    assert!(found.iter().all(|(_, with)| *with == 0), "{found:?}");
}

/// FROST, for BIP-340, under an address, and for Ed25519; once in the group of its suite alone, and once while the key is
/// opened as well.
#[test]
fn it_is_so_for_frost() {
    let mut random = ChaCha20Rng::seed_from_u64(seed());
    let (without, with) = harm(b'p', 800, count(300), &mut random);
    assert!(without > 0);
    assert_eq!(with, 0);
    let found = [(b'q', 100), (b'r', 100), (b'o', 300), (b'f', 300)]
        .map(|(task, faults)| (char::from(task), harm(task, 0, count(faults), &mut random).1));
    assert!(found.iter().all(|(_, with)| *with == 0), "{found:?}");
}
