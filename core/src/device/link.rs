//! The device link: requests of the host, and answers of the device, over a serial line.
//!
//! The host asks, the device answers each request exactly once, in order, under the request's id; ids grow
//! from 1 after each [`Request::Hello`]. The host has at most [`WINDOW`] requests without an answer under way,
//! so a device needs room for one frame. What the device says unasked ([`Answer::Send`], [`Answer::Event`]) has the
//! id 0, and may come at any time.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::hash::Digest;
use crate::identity::Identity;
use crate::party::PartyId;
use crate::wire::{Read, Reader, Write, Writer};

/// The versions of this link that this build speaks, the oldest and the newest.
pub const VERSIONS: (u8, u8) = (1, 1);
/// Requests that may be under way without an answer.
pub const WINDOW: u8 = 1;
/// No message between a device and another party is longer, before it is sealed. The longest of a key
/// generation of seven has 1,920 bytes; requests and policies take what is left.
pub const MAX_MESSAGE: usize = 2560;
/// No frame is longer, decoded: a sealed message with all that is around it.
pub const MAX_FRAME: usize = MAX_MESSAGE + 128;
/// Members of a network that a device has room for, itself among them.
pub const MAX_MEMBERS: usize = 8;
/// Keys that a device has room for, pending ones too: places from 0.
pub const MAX_KEYS: u8 = 4;
/// A PIN has so many bytes.
pub const PIN_LENGTHS: core::ops::RangeInclusive<usize> = 6..=32;

/// What a firmware can do, as bits of [`Hello::features`].
pub mod features {
    /// Stateless ECDSA over secp256k1.
    pub const ECDSA: u32 = 1;
    /// Stateless Schnorr, BIP-340.
    pub const BIP340: u32 = 1 << 1;
    /// Stateless Schnorr, Ed25519.
    pub const ED25519: u32 = 1 << 2;
    /// FROST, with a ledger of nonces.
    pub const FROST: u32 = 1 << 3;
    /// Peers whose identity keys are on P-256.
    pub const P256_IDENTITY: u32 = 1 << 4;
    /// EIP-712 typed data.
    pub const TYPED_DATA: u32 = 1 << 5;
    /// [`Request::Key`](super::Request::Key) and [`Request::Forget`](super::Request::Forget).
    pub const KEYS: u32 = 1 << 6;
}

/// Another party of the network, as the device pins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub party: PartyId,
    /// Its identity key.
    pub identity: Identity,
}

/// A frame from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToDevice<'a> {
    /// Greater than that of the request before; [`Request::Hello`] begins anew.
    pub id: u32,
    /// What is asked.
    #[serde(borrow)]
    pub request: Request<'a>,
}

/// What a host asks. A new kind gets a new variant at the end.
// No allocator here: the larger variant is the price.
#[expect(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// First on every connection: the device locks itself and drops all channels.
    Hello {
        /// The oldest version that the host speaks.
        min: u8,
        /// The newest.
        max: u8,
        /// From the host's own generator, mixed in with the device's: never instead of it.
        entropy: [u8; 32],
    },
    /// A device without an identity makes one, and gets its first PIN.
    Initialize {
        /// See [`PIN_LENGTHS`].
        pin: &'a [u8],
    },
    /// Until the link ends, or [`Request::Lock`].
    Unlock {
        /// The PIN.
        pin: &'a [u8],
    },
    /// Drops all that was opened.
    Lock,
    /// Needs the old PIN, and counts as a try of it.
    ChangePin {
        /// The PIN that holds now.
        old: &'a [u8],
        /// The one that shall.
        new: &'a [u8],
    },
    /// Joins a network as one of its parties. The person at the device compares
    /// [`membership_digest`] and presses the button.
    Join {
        /// The network.
        network: [u8; 16],
        /// Which party the device is.
        party: PartyId,
        /// All parties, the device among them, in increasing order.
        members: Vec<Member, MAX_MEMBERS>,
    },
    /// There is a way to this party now: a channel may begin.
    PeerUp(PartyId),
    /// There is none any more: its channel is dropped.
    PeerDown(PartyId),
    /// A frame of the channel from another party.
    Relay {
        /// Which way it came. Who sent it, the channel tells.
        from: PartyId,
        /// The frame.
        bytes: &'a [u8],
    },
    /// How it stands.
    Status,
    /// The operator accepts that the device was put back to an earlier state, and what it had counted
    /// since is lost. The person at the device presses the button.
    Readmit,
    /// Erases everything. No PIN is needed, the button is.
    Wipe,
    /// Which key is at this place, below [`MAX_KEYS`]; [`Refused::UnknownKey`] if none is.
    Key(u8),
    /// Erases what the device has of this key, pending or active. The person at the device presses the button.
    Forget([u8; 16]),
}

crate::read_fields!(Member { party, identity });
crate::write_fields!(Member { party, identity });
crate::read_fields!(ToDevice<'de> { id, request });

impl<'a> Read<'a> for Request<'a> {
    fn read(from: &mut Reader<'a>) -> Self {
        match from.variant(14) {
            0 => Self::Hello { min: from.field(), max: from.field(), entropy: from.field() },
            1 => Self::Initialize { pin: from.field() },
            2 => Self::Unlock { pin: from.field() },
            3 => Self::Lock,
            4 => Self::ChangePin { old: from.field(), new: from.field() },
            5 => {
                let (network, party, members) = (from.field(), from.field(), from.field());
                Self::Join { network, party, members }
            }
            6 => Self::PeerUp(from.field()),
            7 => Self::PeerDown(from.field()),
            8 => Self::Relay { from: from.field(), bytes: from.field() },
            9 => Self::Status,
            10 => Self::Readmit,
            11 => Self::Wipe,
            12 => Self::Key(from.field()),
            _ => Self::Forget(from.field()),
        }
    }
}

impl core::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Hello { .. } => "Hello",
            Self::Initialize { .. } => "Initialize",
            Self::Unlock { .. } => "Unlock",
            Self::Lock => "Lock",
            Self::ChangePin { .. } => "ChangePin",
            Self::Join { .. } => "Join",
            Self::PeerUp(_) => "PeerUp",
            Self::PeerDown(_) => "PeerDown",
            Self::Relay { .. } => "Relay",
            Self::Status => "Status",
            Self::Readmit => "Readmit",
            Self::Wipe => "Wipe",
            Self::Key(_) => "Key",
            Self::Forget(_) => "Forget",
        })
    }
}

/// A frame from the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromDevice<'a> {
    /// That of the request that is answered, or 0.
    pub id: u32,
    /// What the device says.
    #[serde(borrow)]
    pub answer: Answer<'a>,
}

/// What a device says. A new kind gets a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// It is done.
    Done,
    /// It is not done, and nothing has changed but what the error says.
    Refused(Refused),
    /// To [`Request::Status`].
    Status(Status),
    /// A frame of the channel to another party.
    Send {
        /// To whom.
        to: PartyId,
        /// The frame.
        bytes: &'a [u8],
    },
    /// What a host may want to show to a person.
    Event(Event),
    /// To [`Request::Key`].
    Key {
        /// Which.
        key: [u8; 16],
        /// Its name.
        name: &'a str,
        /// Whether all of its holders have it: a pending key signs nothing.
        active: bool,
    },
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the link that holds from now on.
    pub version: u8,
    /// [`MAX_FRAME`] of the device.
    pub max_frame: u16,
    /// [`WINDOW`] of the device.
    pub window: u8,
    /// [`features`].
    pub features: u32,
    /// SHA-256 of the firmware's image in flash.
    pub firmware: Digest,
    /// Who it is, once it is initialized.
    pub identity: Option<Identity>,
    /// As which party of which network, once it has joined one.
    pub joined: Option<([u8; 16], PartyId)>,
}

/// How a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it has an identity and a PIN.
    pub initialized: bool,
    /// Whether the PIN was entered.
    pub unlocked: bool,
    /// Wrong PINs before it wipes itself.
    pub pin_tries: u8,
    /// Keys that it holds shares of, active and pending.
    pub keys: u8,
    /// Parties that it has a channel to, as a bitmap by identifier, bit 0 for party 1.
    pub channels: u32,
    /// Whether peers have shown that it was put back to an earlier state.
    pub rolled_back: bool,
    /// Its log: generation and number of the last entry.
    pub log: (u32, u64),
    /// The most that any page of its flash has been erased.
    pub erases: u32,
    /// The clock that it judges by, Unix seconds, once enough peers have told it.
    pub now: Option<u64>,
    /// Bytes of stack that were ever used, where the board knows.
    pub stack: u32,
}

/// What happens in the device, for people; nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The person is asked, for at most so many seconds.
    Asking {
        /// How long.
        seconds: u16,
    },
    /// The person has agreed.
    Agreed,
    /// The person has refused, or did nothing.
    Declined,
    /// A key generation has come to this round.
    KeyRound(u8),
    /// A key is active.
    KeyActive([u8; 16]),
    /// This party's share of a signature has left.
    Signed(Digest),
    /// It has locked itself.
    Locked,
    /// A peer did what the protocol does not allow.
    Misbehaved(PartyId),
}

/// Why a device does not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// The frame is not one: the next zero byte begins anew.
    Frame(FrameFault),
    /// No version in common: what the device speaks.
    Version {
        /// The oldest.
        min: u8,
        /// The newest.
        max: u8,
    },
    /// [`Request::Hello`] comes first.
    HelloFirst,
    /// The id is not greater than the last one's.
    OldId {
        /// The last one.
        last: u32,
    },
    /// It has no identity yet.
    NotInitialized,
    /// It has one already; wipe it first.
    Initialized,
    /// It belongs to a network already; wipe it first.
    Joined,
    /// It belongs to none yet.
    NotJoined,
    /// The PIN comes first.
    Locked,
    /// The PIN is wrong.
    WrongPin {
        /// Tries that are left.
        left: u8,
    },
    /// The PIN was wrong too often: everything has been erased.
    Wiped,
    /// After wrong PINs the next try must wait.
    PinTooSoon {
        /// How long.
        seconds: u16,
    },
    /// A PIN is too short or too long.
    PinLength,
    /// No such party, or the device itself.
    Stranger(PartyId),
    /// The members are not in order, do not include the device with its identity, or have bad keys.
    Members,
    /// The channel to this party is not there, or not for this frame: it was dropped, and must begin anew.
    Channel(PartyId),
    /// The person has refused, or did nothing.
    Declined,
    /// The person is being asked already, or a key is being made.
    Busy,
    /// The source of randomness fails its tests: no keys are made, and nothing that needs randomness is done.
    Entropy,
    /// The flash cannot be written or read.
    Storage,
    /// Peers have shown that the device was put back to an earlier state.
    RolledBack,
    /// This firmware does not do that.
    Unsupported,
    /// The frame is of a round that has not come yet, and a device has no room to keep it. Nothing has
    /// changed: the host gives the same frame again after the next frame from another party that was taken,
    /// and before any other of the same party.
    Later(PartyId),
    /// There is no such key.
    UnknownKey,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameFault {
    /// Longer than [`MAX_FRAME`].
    TooLong,
    /// Not COBS.
    Stuffing,
    /// The checksum does not fit.
    Checksum,
    /// Not a request, or one of a version that this build does not know.
    Malformed,
}

crate::write_fields!(FromDevice<'a> { id, answer });
crate::write_fields!(Hello { version, max_frame, window, features, firmware, identity, joined });
crate::write_fields!(Status {
    initialized,
    unlocked,
    pin_tries,
    keys,
    channels,
    rolled_back,
    log,
    erases,
    now,
    stack,
});

/// A variant's number, and its fields in order.
fn put(to: &mut Writer<'_>, number: u8, fields: &[&dyn Write]) {
    to.variant(number);
    fields.iter().for_each(|field| field.write(to));
}

impl Write for Answer<'_> {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Hello(hello) => put(to, 0, &[hello]),
            Self::Done => put(to, 1, &[]),
            Self::Refused(refused) => put(to, 2, &[refused]),
            Self::Status(status) => put(to, 3, &[status]),
            Self::Send { to: party, bytes } => put(to, 4, &[party, bytes]),
            Self::Event(event) => put(to, 5, &[event]),
            Self::Key { key, name, active } => put(to, 6, &[key, name, active]),
        }
    }
}

impl Write for Event {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Asking { seconds } => put(to, 0, &[seconds]),
            Self::Agreed => put(to, 1, &[]),
            Self::Declined => put(to, 2, &[]),
            Self::KeyRound(round) => put(to, 3, &[round]),
            Self::KeyActive(key) => put(to, 4, &[key]),
            Self::Signed(digest) => put(to, 5, &[digest]),
            Self::Locked => put(to, 6, &[]),
            Self::Misbehaved(party) => put(to, 7, &[party]),
        }
    }
}

impl Write for Refused {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Frame(fault) => put(to, 0, &[fault]),
            Self::Version { min, max } => put(to, 1, &[min, max]),
            Self::HelloFirst => put(to, 2, &[]),
            Self::OldId { last } => put(to, 3, &[last]),
            Self::NotInitialized => put(to, 4, &[]),
            Self::Initialized => put(to, 5, &[]),
            Self::Joined => put(to, 6, &[]),
            Self::NotJoined => put(to, 7, &[]),
            Self::Locked => put(to, 8, &[]),
            Self::WrongPin { left } => put(to, 9, &[left]),
            Self::Wiped => put(to, 10, &[]),
            Self::PinTooSoon { seconds } => put(to, 11, &[seconds]),
            Self::PinLength => put(to, 12, &[]),
            Self::Stranger(party) => put(to, 13, &[party]),
            Self::Members => put(to, 14, &[]),
            Self::Channel(party) => put(to, 15, &[party]),
            Self::Declined => put(to, 16, &[]),
            Self::Busy => put(to, 17, &[]),
            Self::Entropy => put(to, 18, &[]),
            Self::Storage => put(to, 19, &[]),
            Self::RolledBack => put(to, 20, &[]),
            Self::Unsupported => put(to, 21, &[]),
            Self::Later(party) => put(to, 22, &[party]),
            Self::UnknownKey => put(to, 23, &[]),
        }
    }
}

impl Write for FrameFault {
    fn write(&self, to: &mut Writer<'_>) {
        to.variant(match self {
            Self::TooLong => 0,
            Self::Stuffing => 1,
            Self::Checksum => 2,
            Self::Malformed => 3,
        });
    }
}

/// What a person compares before a device joins a network: of all identifiers and identity keys.
#[must_use]
pub fn membership_digest(network: &[u8; 16], party: PartyId, members: &[Member]) -> Digest {
    use crate::hash::Transcript;
    let start = Transcript::new("device-members").bytes(network).party(party);
    members.iter().fold(start, |t, m| m.identity.bind(t.party(m.party))).finish()
}
