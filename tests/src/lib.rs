//! What the tests share: the deterministic simulator of the core, whole nodes in simulated trouble,
//! clusters of real processes, a disk that loses what was not synced, real chains and contracts, a web
//! server that says anything, and those who judge what comes out.

pub mod chain;
pub mod chip;
pub mod chip_group;
pub mod cluster;
pub mod controllers;
pub mod debugger;
pub mod disk;
pub mod fuzz;
pub mod glitched;
pub mod judge;
pub mod node_values;
pub mod nodes;
pub mod nonce_checker;
pub mod simulator;
pub mod transaction;
pub mod web;
pub mod world;
