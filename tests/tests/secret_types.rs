//! Secrets in memory: no type of the core prints one, and every type that holds one wipes it when it is
//! dropped. Both lists of types are checked against the core's sources, so that none is forgotten.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

#[path = "secret_types/drops.rs"]
mod drops;
#[path = "secret_types/printing.rs"]
mod printing;
#[path = "secret_types/probe.rs"]
mod probe;
#[path = "secret_types/sources.rs"]
mod sources;
