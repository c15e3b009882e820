//! One party's store: what it keeps through crashes, what it counts, and whom it refuses.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "store/crash.rs"]
mod crash;
#[path = "store/model.rs"]
mod model;
