//! What the tests share: the deterministic simulator of the core, and a disk that loses what was not
//! synced.

pub mod disk;
pub mod simulator;
