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
    /// Nobody has asked.
    Unasked(Unasked),
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
