//! The emulated YubiHSM 2 of the tests as a process, for programs that want a connector's URL:
//!
//! ```text
//! cargo run -p quorate-hsm --example yubihsm-emulator -- [SERIAL [PORT]]
//! ```
//! It prints the URL and its serial number, keeps nothing when it ends, and ends with its standard
//! input. A line `power-cycle` there resets the device as unplugging would (and is answered by `done`):
//! sessions are gone, keys are not. NOT an HSM: whatever is sealed with it is sealed to nothing.

// Test code: it may end with a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/emulator.rs"]
mod emulator;

use std::io::Write as _;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let serial = arguments.next().map_or(7_654_321, |text| text.parse().expect("SERIAL"));
    let port = arguments.next().map_or(0, |text| text.parse().expect("PORT"));
    let emulator = emulator::Emulator::start_at(serial, port);
    println!("{} {serial}", emulator.url());
    std::io::stdout().flush().unwrap();
    // Whoever started it holds the other end.
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "power-cycle" => emulator.device().power_cycle(),
            other => panic!("{other:?}: no such command"),
        }
        println!("done");
    }
}
