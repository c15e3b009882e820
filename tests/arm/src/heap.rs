//! Memory for FROST: the allocator that the boards have, which can begin anew.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use linked_list_allocator::Heap as List;

struct Heap(UnsafeCell<List>);

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(List::empty()));

// SAFETY: there is one thread, and what interrupts it does not allocate.
#[allow(unsafe_code, reason = "an allocator")]
unsafe impl Sync for Heap {}

// SAFETY: nothing else has the list, and it keeps the promises of an allocator.
#[allow(unsafe_code, reason = "an allocator")]
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread.
        let list = unsafe { &mut *self.0.get() };
        list.allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: one thread.
        let list = unsafe { &mut *self.0.get() };
        if let Some(place) = NonNull::new(place) {
            // SAFETY: it was allocated here, as the caller promises.
            unsafe { list.deallocate(place, layout) };
        }
    }
}

/// All that is allocated from here on lies in `memory`, and goes when `memory` does. What was allocated before is
/// forgotten.
#[allow(unsafe_code, reason = "an allocator")]
pub(crate) fn start(memory: &mut [MaybeUninit<u8>]) {
    // SAFETY: one thread; the caller keeps the memory for as long as anything is allocated.
    unsafe { *HEAP.0.get() = List::new(memory.as_mut_ptr().cast(), memory.len()) };
}
