//! Memory for FROST, the one part of the firmware that allocates.

use core::mem::MaybeUninit;

use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// One session takes between 12 and 24 KB at its most; two may be under way, and what is freed lies in pieces.
const SIZE: usize = 40 << 10;

/// Once, before anything is allocated.
pub(crate) fn start() {
    static mut MEMORY: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];
    // SAFETY: the board's start is the one caller, once, and nothing else knows this memory.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) }
}
