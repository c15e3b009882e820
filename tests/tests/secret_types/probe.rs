//! Looks at the memory of a value before and after its drop. Unsafe code of the tests is here and in `frost_memory.rs` alone.
#![expect(unsafe_code, reason = "memory of dropped values is what this is about")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// A value in memory of its own, which stays when the value goes.
pub struct Probe<T> {
    place: NonNull<T>,
    alive: bool,
}

impl<T> Probe<T> {
    pub fn new(value: T) -> Self {
        let layout = Layout::new::<T>();
        assert!(layout.size() > 0);
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<T>();
        let Some(place) = NonNull::new(memory) else { handle_alloc_error(layout) };
        // SAFETY: the memory is fresh, has T's layout, and belongs to nobody else.
        unsafe { place.write(value) };
        Self { place, alive: true }
    }

    pub fn value(&mut self) -> &mut T {
        assert!(self.alive);
        // SAFETY: it was written in `new` and has not been dropped; `self` is borrowed as long.
        unsafe { self.place.as_mut() }
    }

    /// Drops the value; its memory stays to be looked at.
    pub fn drop_value(&mut self) {
        assert!(self.alive);
        self.alive = false;
        // SAFETY: it is alive, and from here on nobody reads it as a T.
        unsafe { self.place.drop_in_place() };
    }

    /// All bytes of the value's memory, padding too.
    pub fn memory(&self) -> Vec<u8> {
        let bytes = self.place.cast::<u8>();
        // SAFETY: `bytes` to `bytes + size` is one live allocation. Padding was zeroed at first and holds
        // whatever a move put there; volatile, because a compiler may think that nobody reads a dropped value.
        (0..size_of::<T>()).map(|place| unsafe { bytes.add(place).read_volatile() }).collect()
    }
}

impl<T> Drop for Probe<T> {
    fn drop(&mut self) {
        if self.alive {
            self.drop_value();
        }
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.place.as_ptr().cast(), Layout::new::<T>()) };
    }
}

/// A type that does not wipe is caught.
#[test]
fn what_is_not_wiped_is_seen() {
    let mut probe = Probe::new([7u8; 64]);
    probe.drop_value();
    assert_eq!(probe.memory(), [7; 64]);
}
