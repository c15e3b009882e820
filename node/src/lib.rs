//! One party of a Quorate group.

pub mod identity;
pub mod membership;
pub mod network;
