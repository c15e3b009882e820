//! **A lying coordinator gets nothing.** Party 4 of four holds a share, and is in the hands of a liar: real
//! identity, real share, the node's own transport. It coordinates sessions of parties 1, 2 and 3, which
//! are real processes, and lies in every way there is. Each of them must refuse by itself and name the
//! reason, to the liar and in its own audit log; nothing is counted, no nonce point leaves; and the next
//! honest request is signed.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

mod altered;
mod approvals;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "../bad_input/evil.rs"]
mod evil;
mod liar;
#[allow(dead_code)]
#[path = "../support/node_process.rs"]
mod node_process;
mod policies;
mod replays;
mod scene;
mod sessions;
