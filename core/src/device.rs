//! Parties whose share lives in a device: what the device and its host say to each other ([`link`], in
//! frames of [`frame`]), and what it and the other parties do ([`channel`]).
//!
//! The host is a node that relays frames between the device and the other parties. It is not trusted: what
//! parties say to each other is sealed end to end, and the device judges every request by itself.

pub mod channel;
pub mod frame;
pub mod link;
