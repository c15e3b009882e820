//! What the tests share: the deterministic simulator, and those who judge what comes out of it.

pub mod judge;
pub mod nonce_checker;
pub mod simulator;
