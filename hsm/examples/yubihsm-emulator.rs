//! The emulated YubiHSM 2 of the tests as a process, for programs that want a connector's URL:
//!
//! ```text
//! cargo run -p quorate-hsm --example yubihsm-emulator -- [SERIAL [PORT]]
//! ```
//! It prints the URL and its serial number, keeps nothing when it ends, and ends with its standard
//! input. It takes lines there, and answers each by one:
//!
//! - `power-cycle` resets the device as unplugging would: sessions are gone, keys are not; `done`.
//! - `force-audit` has a full log stop the device; `done`.
//! - `hold N`: of the messages from now on, number N (from 0) is carried out and never answered; `done`.
//! - `stall N`: the same, but the device never gets it; `done`.
//! - `messages`: how many there were since, or since the start.
//! - `objects`: identifier and type of each, as `0012/4`.
//!
//! NOT an HSM: whatever is sealed with it is sealed to nothing.

// Test code: it may end with a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/emulator.rs"]
mod emulator;

use std::io::Write as _;
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let serial = arguments.next().map_or(7_654_321, |text| text.parse().expect("SERIAL"));
    let port = arguments.next().map_or(0, |text| text.parse().expect("PORT"));
    let emulator = emulator::Emulator::start_at(serial, port);
    println!("{} {serial}", emulator.url());
    std::io::stdout().flush().unwrap();
    // Whoever started it holds the other end.
    for line in std::io::stdin().lines() {
        println!("{}", answer(&emulator, &line.unwrap()));
    }
}

fn answer(emulator: &emulator::Emulator, line: &str) -> String {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("power-cycle", _) => emulator.device().power_cycle(),
        ("force-audit", _) => emulator.device().log.force = true,
        ("messages", _) => return emulator.messages().to_string(),
        ("objects", _) => {
            let device = emulator.device();
            let names = device.objects.keys().map(|(id, kind)| format!("{id:04x}/{kind}"));
            return names.collect::<Vec<_>>().join(" ");
        }
        (what @ ("hold" | "stall"), number) => {
            let held: usize = number.parse().expect("a number");
            let carried_out = what == "hold";
            emulator.plan(move |number, _| match (number == held, carried_out) {
                (true, true) => emulator::Fault::Slow(FOR_EVER),
                (true, false) => emulator::Fault::Stall(FOR_EVER),
                (false, _) => emulator::Fault::None,
            });
        }
        _ => panic!("{line:?}: no such command"),
    }
    "done".to_owned()
}

const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
