//! What the tests share: the deterministic simulator, and real chains.

pub mod chain;
pub mod simulator;
