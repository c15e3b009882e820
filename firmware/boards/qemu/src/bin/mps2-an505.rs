//! QEMU's `mps2-an505`: a Cortex-M33, at 20 MHz by its own word. All is reached as the secure world sees it.
#![no_std]
#![no_main]

use quorate_board_qemu::{Map, run};

#[cortex_m_rt::entry]
fn main() -> ! {
    run(&Map { uarts: 0x5020_0000, timer: 0x5000_0000, hertz: 20_000_000, flash: 0x8000_0000 })
}
