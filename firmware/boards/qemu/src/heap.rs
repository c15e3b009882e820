//! Memory for FROST, the one part of the firmware that allocates.

use core::mem::MaybeUninit;

use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// What FROST's key generation with seven takes, and room for pieces.
const SIZE: usize = 48 << 10;

/// Once, before anything is allocated.
pub(crate) fn start() {
    static mut MEMORY: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];
    // SAFETY: the board's start is the one caller, once, and nothing else knows this memory.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) }
}
