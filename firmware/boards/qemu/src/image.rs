//! The image itself: what it is, and how much stack it has used.

use sha2::{Digest as _, Sha256};

unsafe extern "C" {
    static __vector_table: u8;
    static __sidata: u8;
    static __sdata: u8;
    static __edata: u8;
    static _stack_start: u32;
    static _stack_end: u32;
}

/// SHA-256 of all that the image has in flash: vectors, code, constants, and what RAM begins with.
#[must_use]
pub fn digest() -> [u8; 32] {
    let (start, data) = (&raw const __vector_table, &raw const __sidata);
    let (from, to) = (&raw const __sdata, &raw const __edata);
    let length = data as usize - start as usize + (to as usize - from as usize);
    // SAFETY: from the vectors to the end of what `.data` begins with, everything is the image, in flash.
    let image = unsafe { core::slice::from_raw_parts(start, length) };
    Sha256::digest(image).into()
}

/// What `cortex-m-rt` fills the stack with, at its start.
const PAINT: u32 = 0xcccc_cccc;

/// Bytes of stack that were ever used.
#[must_use]
pub fn stack_used() -> u32 {
    let (top, end) = (&raw const _stack_start, &raw const _stack_end);
    let mut place = end;
    // SAFETY: between its ends, the stack is memory; a word that is being written is read as something.
    while place < top && unsafe { place.read_volatile() } == PAINT {
        place = place.wrapping_add(1);
    }
    (top as usize - place as usize) as u32
}
