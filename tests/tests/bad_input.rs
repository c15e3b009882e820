//! Bad input from a member with a real identity key: every fault has an error of its own that names the
//! culprit, in the status and in the log of whoever saw it, and other sessions do not notice.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "bad_input/dealing.rs"]
mod dealing;
#[path = "bad_input/evil.rs"]
mod evil;
#[path = "bad_input/frames.rs"]
mod frames;
#[path = "bad_input/generations.rs"]
mod generations;
#[path = "bad_input/messages.rs"]
mod messages;
// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "support/node_process.rs"]
mod node_process;
#[path = "bad_input/policies.rs"]
mod policies;
#[path = "bad_input/scene.rs"]
mod scene;
#[path = "bad_input/signatures.rs"]
mod signatures;
#[path = "bad_input/waiting.rs"]
mod waiting;
