//! What the tests share: the deterministic simulator.

pub mod simulator;
