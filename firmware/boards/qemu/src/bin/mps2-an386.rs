//! QEMU's `mps2-an386`: a Cortex-M4, at 25 MHz by its own word.
#![no_std]
#![no_main]

use quorate_board_qemu::{Map, run};

#[cortex_m_rt::entry]
fn main() -> ! {
    run(&Map { uarts: 0x4000_4000, timer: 0x4000_0000, hertz: 25_000_000, flash: 0x2100_0000 })
}
