//! Why a device does not do what it should, in words that say what to do.

use std::path::PathBuf;
use std::time::Duration;

use quorate_core::device::link::{FrameFault, PIN_LENGTHS, Refused};

use crate::exit::Exit;

/// Why a device does not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The serial port cannot be opened.
    Port {
        /// Which.
        port: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody listens there.
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// It says nothing.
    Silent(Duration),
    /// The line was closed.
    Closed,
    /// The line broke.
    Lost(String),
    /// What came is no frame.
    Frame(FrameFault),
    /// An answer that does not belong to the question.
    OtherAnswer,
    /// The request is longer than a frame may be.
    TooLong,
    /// The operating system gives no randomness.
    Randomness,
    /// The device says no.
    Refused(Refused),
    /// It has refused the PIN before, and it is not tried again.
    PinHeld(String),
    /// It is another device, or of another party or network, than the folder says.
    Other(String),
}

impl DeviceError {
    /// The process's exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Port { .. }
            | Self::Unreachable { .. }
            | Self::Silent(_)
            | Self::Closed
            | Self::Lost(_) => Exit::Hsm,
            Self::PinHeld(_) => Exit::Pin,
            Self::Refused(Refused::WrongPin { .. } | Refused::PinTooSoon { .. }) => Exit::Pin,
            Self::Refused(Refused::Wiped) => Exit::PinLocked,
            Self::Refused(Refused::PinLength | Refused::UnknownKey) => Exit::Usage,
            Self::Refused(Refused::Locked) => Exit::NotAuthorised,
            Self::Refused(Refused::Declined) => Exit::Denied,
            Self::Refused(Refused::Initialized | Refused::Joined) => Exit::Conflict,
            Self::Refused(Refused::Members | Refused::Stranger(_)) | Self::Other(_) => Exit::Config,
            Self::Frame(_) | Self::OtherAnswer | Self::TooLong | Self::Refused(_) => {
                Exit::ProtocolFailure
            }
            Self::Randomness => Exit::Local,
        }
    }

    /// Whether another try can help without a person doing something about it.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused(refused) => !matches!(
                refused,
                Refused::WrongPin { .. }
                    | Refused::PinTooSoon { .. }
                    | Refused::PinLength
                    | Refused::Wiped
                    | Refused::NotInitialized
                    | Refused::NotJoined
                    | Refused::Version { .. }
                    | Refused::Entropy
                    | Refused::Storage
                    | Refused::Unsupported
            ),
            Self::Other(_) | Self::Randomness | Self::PinHeld(_) => false,
            _ => true,
        }
    }
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port { port, reason } => write!(
                f,
                "the serial port {} cannot be opened: {reason}",
                port.display()
            ),
            Self::Unreachable { address, reason } => write!(
                f,
                "no device can be reached at {address}: {reason}; is its emulator, or whatever forwards its line, running?"
            ),
            Self::Silent(limit) => write!(
                f,
                "the device said nothing for {limit:?}; is another program using the line (a relay that runs), and is the firmware on it?"
            ),
            Self::Closed => f.write_str("the line to the device was closed"),
            Self::Lost(reason) => write!(f, "the line to the device broke: {reason}"),
            Self::Frame(fault) => write!(
                f,
                "what came from the device is no frame ({}); check the line and its speed",
                frame(*fault)
            ),
            Self::OtherAnswer => f.write_str(
                "the device answered something else than it was asked; its firmware may be another release",
            ),
            Self::TooLong => f.write_str("the request is longer than the device takes"),
            Self::Randomness => f.write_str("the operating system gives no randomness"),
            Self::Refused(why) => refused(f, *why),
            Self::Other(what) | Self::PinHeld(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DeviceError {}

fn frame(fault: FrameFault) -> &'static str {
    match fault {
        FrameFault::TooLong => "too long",
        FrameFault::Stuffing => "not stuffed",
        FrameFault::Checksum => "a wrong checksum",
        FrameFault::Malformed => "of no known kind",
    }
}

fn refused(f: &mut std::fmt::Formatter<'_>, why: Refused) -> std::fmt::Result {
    match why {
        Refused::Frame(fault) => write!(f, "the device got no whole frame ({})", frame(fault)),
        Refused::Version { min, max } => write!(
            f,
            "the device speaks versions {min} to {max} of the link, this program another; use the same release of both"
        ),
        Refused::HelloFirst => f.write_str("the device has restarted, and wants to be greeted"),
        Refused::OldId { last } => write!(f, "the device has answered request {last} already"),
        Refused::NotInitialized => {
            f.write_str("the device has no identity yet: `quorate device init` makes one")
        }
        Refused::Initialized => f.write_str(
            "the device has an identity already; `quorate device wipe` erases it, and every share with it",
        ),
        Refused::Joined => f.write_str(
            "the device belongs to a network already; `quorate device wipe` erases that, and every share with it",
        ),
        Refused::NotJoined => {
            f.write_str("the device belongs to no network yet: `quorate device join`")
        }
        Refused::Locked => f.write_str("the device is locked: its PIN comes first"),
        Refused::WrongPin { left } => write!(
            f,
            "the PIN is wrong; {left} tries are left before the device erases itself. It is not tried again"
        ),
        Refused::Wiped => f.write_str(
            "the PIN was wrong too often: the device has erased itself, its share is gone",
        ),
        Refused::PinTooSoon { seconds } => {
            write!(f, "after wrong PINs the next try must wait for {seconds} s")
        }
        Refused::PinLength => write!(
            f,
            "a PIN has {} to {} bytes",
            PIN_LENGTHS.start(),
            PIN_LENGTHS.end()
        ),
        Refused::Stranger(party) => write!(f, "the device knows no other party {party}"),
        Refused::Members => f.write_str(
            "the device does not take these members: it must be among them with its own identity, and there is room for few",
        ),
        Refused::Channel(party) => write!(f, "the device has no channel to party {party}"),
        Refused::Declined => f.write_str("nobody pressed the button that agrees"),
        Refused::Busy => f.write_str("the device is busy: it asks a person, or makes a key"),
        Refused::Entropy => f.write_str(
            "the device's source of randomness fails its tests; it makes no keys. Do not trust this board",
        ),
        Refused::Storage => f.write_str("the device's flash cannot be read or written"),
        Refused::RolledBack => f.write_str(
            "the device was put back to an earlier state; accept the loss with `quorate device readmit`",
        ),
        Refused::Unsupported => f.write_str("this firmware does not do that"),
        Refused::Later(party) => write!(f, "the device takes what party {party} says later"),
        Refused::UnknownKey => f.write_str("the device holds no such key"),
    }
}
