//! What a device says, in memory of its own.

use quorate_core::device::link::{Event, Hello, Refused, Status};

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who it is.
    Hello(Hello),
    /// It is done.
    Done,
    /// It is not done.
    Refused(Refused),
    /// How it stands.
    Status(Status),
    /// A key that it holds.
    Key(HeldKey),
    /// Nobody has asked.
    Unasked(Unasked),
}

/// A key that a device holds a share of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Which.
    pub key: [u8; 16],
    /// Its name.
    pub name: String,
    /// Whether all of its holders have it, as far as the device knows.
    pub active: bool,
}

/// What a device says unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// A frame for another party.
    Send {
        /// To whom.
        to: u16,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// What a person may want to see.
    Event(Event),
}
