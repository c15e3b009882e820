//! What others have published, driven as their own examples do it.

pub mod cait_sith;
pub mod dkls;
pub mod frost;
