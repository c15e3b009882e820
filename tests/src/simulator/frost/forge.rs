//! The layouts of FROST's messages and of a stored pool, written down a second time: what they are on the
//! wire and on disk is noticed here when it changes.

use quorate_core::curve::{PointBytes, Suite};
use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::session::Header;
use serde::{Deserialize, Serialize};

/// One commitment and its place in its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The place.
    pub index: u16,
    /// D.
    pub hiding: PointBytes,
    /// E.
    pub binding: PointBytes,
}

/// R1; the header's session is the pool's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who, which pool.
    pub header: Header,
    /// ctx0.
    pub context: Digest,
    /// How often the party's state was restored.
    pub incarnation: u64,
    /// What is left.
    pub nonces: Vec<Offered>,
}

/// R2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Who, which session.
    pub header: Header,
    /// H("frost-terms", …).
    pub terms: Digest,
    /// Author, pool and commitment of each member.
    pub entries: Vec<(PartyId, Digest, Offered)>,
}

/// R3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Who, which session.
    pub header: Header,
    /// H("frost-list", …).
    pub inputs: Digest,
    /// z_i.
    pub response: [u8; 32],
}

/// A stored pool, unsealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Of the format.
    pub version: u8,
    /// Suite, network, key, epoch and ctx0.
    pub name: (Suite, [u8; 16], [u8; 16], u32, Digest),
    /// Whose.
    pub party: PartyId,
    /// How often its state was restored.
    pub incarnation: u64,
    /// The pool's id.
    pub id: Digest,
    /// How many nonces were taken.
    pub taken: u16,
    /// (d, e) by index.
    pub nonces: Vec<Option<([u8; 32], [u8; 32])>>,
}
