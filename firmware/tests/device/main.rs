//! One device on a board in memory, against a host and three other parties that core drives.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[cfg(feature = "frost")]
mod frost;
mod group;
mod keys;
mod node;
mod policies;
mod provisioning;
mod signatures;
mod world;
