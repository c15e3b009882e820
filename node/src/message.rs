//! What parties say to each other, inside the frames of the authenticated network: proposals, answers,
//! and the core's own messages, which travel opaque.

use quorate_core::hash::Digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::wire::{self, DecodeError};
use serde::{Deserialize, Serialize};

pub use quorate_core::head::{SignedHead, head_session};
pub use quorate_core::identity::SessionKeyCertificate;
pub use quorate_core::session::{key_session, sign_session};

use crate::audit::{Countersignature, IdentityHead};

/// Kinds of [`PeerMessage`]; the first byte after the version says which.
const KINDS: u8 = 25;

/// One message carries so many vetoes.
pub const MAX_VETOES: usize = 256;

/// No message is longer.
pub const MAX_MESSAGE: usize = crate::network::frame::MAX_PAYLOAD;

/// Why a party does not take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// Its own policy denies the request: the rule, and the sentence for people.
    Denied {
        /// The rule's stable name.
        rule: String,
        /// What a person sees.
        message: String,
    },
    /// The request or proposal is malformed or of another network.
    BadRequest(String),
    /// The session failed here: what this party saw.
    Failed(String),
    /// It has no active share of the key.
    UnknownKey,
    /// Too many sessions at once.
    Busy,
    /// A fault of its own: storage, HSM, or a damaged share. No details leave the party.
    Fault,
    /// Its HSM has not answered for so many seconds.
    HsmSilent {
        /// How long.
        seconds: u32,
    },
    /// The policy's delays are not over there; the request is on record.
    Waiting {
        /// When they are, by the party's own clock, Unix seconds.
        until: u64,
    },
}

/// A core message that may carry a share (R3): it does not print, and is wiped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private(#[serde(with = "serde_bytes")] Vec<u8>);

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Private({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Private {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::ops::Deref for Private {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// One message between parties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// A coordinator proposes a key; every holder sees and stores the policy.
    ProposeKey {
        /// The session of this key generation.
        session: Digest,
        /// N, T and everything else that is agreed.
        terms: KeyTerms,
        /// The name for people.
        name: String,
        /// The policy's canonical bytes; `terms.context` is their hash.
        #[serde(with = "serde_bytes")]
        policy: Vec<u8>,
        /// What its controllers signed for this name and policy; empty if it has none.
        #[serde(with = "serde_bytes")]
        approval: Vec<u8>,
    },
    /// The holder takes part, with its session key.
    AcceptKey {
        /// The session.
        session: Digest,
        /// Its session key.
        certificate: SessionKeyCertificate,
    },
    /// The holder does not take part.
    RejectKey {
        /// The session.
        session: Digest,
        /// Why.
        reason: Rejection,
    },
    /// All holders accepted; these are their session keys.
    StartKey {
        /// The session.
        session: Digest,
        /// One of every holder, in increasing order.
        peers: Vec<SessionKeyCertificate>,
    },
    /// The coordinator gives up.
    CancelKey {
        /// The session.
        session: Digest,
    },
    /// A message of the key generation, opaque.
    Dkg(Private),
    /// A holder's signed confirmation of a key, its own or one that it passes on.
    Confirm {
        /// The key.
        key: [u8; 16],
        /// The encoded confirmation.
        #[serde(with = "serde_bytes")]
        confirmation: Vec<u8>,
        /// Whether the sender still waits for confirmations.
        pending: bool,
    },
    /// The sender has the whole certificate: the key is active there.
    KeyActive {
        /// The key.
        key: [u8; 16],
    },
    /// A coordinator proposes to sign; `request` is the client's own bytes. The session's id follows
    /// from [`sign_session`], so that no coordinator can take another's.
    ProposeSign {
        /// Fresh, so that sessions of one request differ.
        nonce: [u8; 32],
        /// The client's signed request.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// The party agrees and gives its salt.
    AcceptSign {
        /// The session.
        session: Digest,
        /// 32 fresh public bytes.
        salt: [u8; 32],
    },
    /// The request was signed before: here is the record.
    AlreadySigned {
        /// The session.
        session: Digest,
        /// The record.
        outcome: Outcome,
    },
    /// The party does not sign.
    RejectSign {
        /// The session.
        session: Digest,
        /// Why.
        reason: Rejection,
    },
    /// Enough accepted: this is the quorum, with everybody's salts.
    StartSign {
        /// The session.
        session: Digest,
        /// S.
        quorum: PartySet,
        /// In increasing order of S.
        salts: Vec<(PartyId, [u8; 32])>,
    },
    /// The session is not needed, or failed.
    CancelSign {
        /// The session.
        session: Digest,
    },
    /// A message of the signing protocol, opaque.
    Ecdsa(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The signature, for everybody's record.
    Signed {
        /// The session.
        session: Digest,
        /// The client's signed request, for parties that took no part.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
        /// The result.
        outcome: Outcome,
    },
    /// The sender's log has grown to this head, before it releases what the last entry tells of.
    Head(Box<SignedHead>),
    /// The newest head of the receiver's own log that the sender has seen: said first on every link.
    Recall(Option<Box<SignedHead>>),
    /// The newest head of the sender's log that its identity key has signed, to be countersigned.
    Witness(Box<IdentityHead>),
    /// The sender has countersigned a head of the receiver's log.
    Countersigned(Box<Countersignature>),
    /// The sender has put a request on record that waits for its delays: whoever would allow it but for
    /// them does so too, from then on.
    Await {
        /// The client's signed request.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Vetoes that the sender knows of, in their vetoers' own bytes; at most [`MAX_VETOES`].
    Vetoes(Vec<Vec<u8>>),
    /// How policies stand at the sender that the receiver has too: first on every link, and after each
    /// change.
    PolicyStates {
        /// One for each key.
        states: Vec<PolicyState>,
        /// Whether these are not all, or the last of all.
        more: bool,
    },
    /// A change that controllers signed.
    PolicyChange {
        /// The signed change's bytes.
        #[serde(with = "serde_bytes")]
        change: Vec<u8>,
        /// Whether it is in force at the sender: then its delay is over there.
        in_force: bool,
    },
    /// The answer to a proposal takes longer: a person is asked, at the sender or, if the coordinator says
    /// so, at another holder.
    Asking {
        /// The session of the key or the signature.
        session: Digest,
        /// At most for so long.
        seconds: u16,
    },
}

/// How a key's policy stands at a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// The key.
    pub key: [u8; 16],
    /// The version in force.
    pub version: u32,
    /// The newest version that the party has seen.
    pub announced: u32,
    /// Freezes and ends of freezes in force.
    pub holds: u32,
    /// The newest of them that the party has seen.
    pub held: u32,
}

/// A finished request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// r.
    pub r: [u8; 32],
    /// s, low.
    pub s: [u8; 32],
    /// Whether y(R) is odd.
    pub y_parity: bool,
    /// Who signed.
    pub quorum: PartySet,
    /// In which session.
    pub session: Digest,
}

/// Why a peer's bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// There is nothing.
    Empty,
    /// No such kind of message: a newer release at the peer, or nonsense.
    UnknownKind(u8),
    /// Everything else.
    Decode(DecodeError),
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("no bytes at all"),
            Self::UnknownKind(kind) => write!(f, "kind {kind}, which this build does not know"),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MessageError {}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl PeerMessage {
    /// The message as a network frame's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![wire::VERSION];
        wire::encode_to(self, |part| bytes.extend_from_slice(part));
        bytes
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`MessageError`] for another version or kind, trailing, malformed or too many bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(DecodeError::TooLong.into());
        }
        let (version, rest) = bytes.split_first().ok_or(MessageError::Empty)?;
        if *version != wire::VERSION {
            return Err(DecodeError::Version(*version).into());
        }
        match rest.first() {
            // A longer varint than one byte is none of ours either, but has a name of its own.
            Some(kind) if (KINDS..0x80).contains(kind) => Err(MessageError::UnknownKind(*kind)),
            _ => Ok(wire::decode(rest)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_message_does_not_print() {
        let secret = PeerMessage::Dkg(vec![0xab, 171, 0xab].into());
        assert_eq!(format!("{secret:?}"), "Dkg(Private(3 bytes))");
        assert_eq!(PeerMessage::decode(&secret.encode()), Ok(secret));
    }

    #[test]
    fn the_last_kind_is_known_and_the_next_is_not() {
        let outcome = Outcome {
            r: [1; 32],
            s: [2; 32],
            y_parity: true,
            quorum: PartySet::first(3),
            session: [3; 32],
        };
        let signed = PeerMessage::Signed { session: [4; 32], request: vec![5], outcome };
        assert_eq!(PeerMessage::decode(&signed.encode()), Ok(signed));
        let last = PeerMessage::Asking { session: [1; 32], seconds: 300 };
        let mut bytes = last.encode();
        assert_eq!(bytes.get(1), Some(&(KINDS - 1)));
        assert_eq!(PeerMessage::decode(&bytes), Ok(last));
        bytes[1] = KINDS;
        assert_eq!(PeerMessage::decode(&bytes), Err(MessageError::UnknownKind(KINDS)));
        assert_eq!(PeerMessage::decode(&[]), Err(MessageError::Empty));
        let malformed = Err(MessageError::Decode(DecodeError::Malformed));
        assert_eq!(PeerMessage::decode(&[wire::VERSION]), malformed);
    }
}
