//! Secrets in memory: no type of the core prints one, and every type that holds one wipes it when it is
//! dropped. Both lists of types are checked against the core's sources, so that none is forgotten.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]
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
