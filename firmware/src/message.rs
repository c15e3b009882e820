//! What a device and the other parties say to each other: the same bytes as among nodes
//! (`node/src/message.rs`), of which a device reads and writes a part, in place and without an allocator.

use heapless::Vec;
use quorate_core::hash::Digest;
use quorate_core::identity::SessionKeyCertificate;
use quorate_core::key::KeyTerms;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::wire::{self, DecodeError, NoRoom, Read, Reader, Write, Writer};
use serde::{Deserialize, Serialize};

pub use quorate_core::head::{SignedHead, head_session};
pub use quorate_core::session::{key_session, sign_session};

use crate::MAX_HOLDERS;

/// Version and kind.
pub const HEADER: usize = 2;

/// The numbers of the kinds, as the nodes' list of them has them.
pub mod kind {
    #![allow(missing_docs)]
    pub const PROPOSE_KEY: u8 = 0;
    pub const ACCEPT_KEY: u8 = 1;
    pub const REJECT_KEY: u8 = 2;
    pub const START_KEY: u8 = 3;
    pub const CANCEL_KEY: u8 = 4;
    pub const DKG: u8 = 5;
    pub const CONFIRM: u8 = 6;
    pub const KEY_ACTIVE: u8 = 7;
    pub const PROPOSE_SIGN: u8 = 8;
    pub const ACCEPT_SIGN: u8 = 9;
    pub const REJECT_SIGN: u8 = 11;
    pub const START_SIGN: u8 = 12;
    pub const CANCEL_SIGN: u8 = 13;
    pub const SIGNING: u8 = 14;
    pub const SIGNED: u8 = 15;
    pub const HEAD: u8 = 16;
    pub const RECALL: u8 = 17;
    pub const ASKING: u8 = 24;
}

/// A message of one kind.
pub trait Message: Serialize + Write {
    /// Its kind.
    const KIND: u8;
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// There is nothing.
    Empty,
    /// Everything else.
    Decode(DecodeError),
}

/// The kind of a message, and its body. Whether the body is one, [`read`] tells; kinds that a device does not
/// know are for nodes.
///
/// # Errors
/// [`MessageError`].
pub fn open(bytes: &[u8]) -> Result<(u8, &[u8]), MessageError> {
    match bytes {
        [] => Err(MessageError::Empty),
        [wire::VERSION, kind, body @ ..] if *kind < 0x80 => Ok((*kind, body)),
        [wire::VERSION, ..] => Err(MessageError::Decode(DecodeError::Malformed)),
        [version, ..] => Err(MessageError::Decode(DecodeError::Version(*version))),
    }
}

/// Reads the body of a message of this kind.
///
/// # Errors
/// [`DecodeError`].
pub fn read<'a, T: Message + Read<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    wire::read(body)
}

/// Writes a whole message, and returns its length.
///
/// # Errors
/// [`NoRoom`].
pub fn write<T: Message>(message: &T, buffer: &mut [u8]) -> Result<usize, NoRoom> {
    write_as(T::KIND, message, buffer)
}

/// The same, of this kind.
#[inline(never)]
pub(crate) fn write_as(kind: u8, message: &dyn Write, buffer: &mut [u8]) -> Result<usize, NoRoom> {
    let (header, body) = buffer.split_at_mut_checked(HEADER).ok_or(NoRoom)?;
    header.copy_from_slice(&[wire::VERSION, kind]);
    Ok(HEADER + wire::write(message, body)?.len())
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? = $kind:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type),*
        }

        quorate_core::read_fields!($name $(<$life>)? { $($field),* });
        quorate_core::write_fields!($name $(<$life>)? { $($field),* });

        impl $(<$life>)? Message for $name $(<$life>)? {
            const KIND: u8 = kind::$kind;
        }
    )*};
}

messages! {
    /// A coordinator proposes a key.
    ProposeKey<'a> = PROPOSE_KEY {
        /// The session of this key generation.
        session: Digest,
        /// N, T and everything else that is agreed.
        terms: KeyTerms,
        /// The name for people.
        #[serde(borrow)]
        name: &'a str,
        /// The policy's canonical bytes; `terms.context` is their hash.
        #[serde(borrow)]
        policy: &'a [u8],
        /// What its controllers signed; empty if it has none.
        #[serde(borrow)]
        approval: &'a [u8],
    }
    /// The holder takes part, with its session key.
    AcceptKey = ACCEPT_KEY {
        /// The session.
        session: Digest,
        /// Its session key.
        certificate: SessionKeyCertificate,
    }
    /// The holder does not take part.
    RejectKey<'a> = REJECT_KEY {
        /// The session.
        session: Digest,
        /// Why.
        #[serde(borrow)]
        reason: Rejection<'a>,
    }
    /// All holders accepted; these are their session keys, in increasing order.
    StartKey = START_KEY {
        /// The session.
        session: Digest,
        /// One of every holder.
        peers: Vec<SessionKeyCertificate, MAX_HOLDERS>,
    }
    /// The coordinator gives up.
    CancelKey = CANCEL_KEY {
        /// The session.
        session: Digest,
    }
    /// A message of the key generation.
    Dkg<'a> = DKG {
        /// Core's.
        #[serde(borrow)]
        bytes: &'a [u8],
    }
    /// A holder's signed confirmation of a key, its own or one that it passes on.
    Confirm<'a> = CONFIRM {
        /// The key.
        key: [u8; 16],
        /// The encoded confirmation.
        #[serde(borrow)]
        confirmation: &'a [u8],
        /// Whether the sender still waits for confirmations.
        pending: bool,
    }
    /// The sender has the whole certificate.
    KeyActive = KEY_ACTIVE {
        /// The key.
        key: [u8; 16],
    }
    /// A coordinator proposes to sign.
    ProposeSign<'a> = PROPOSE_SIGN {
        /// Fresh, so that sessions of one request differ.
        nonce: [u8; 32],
        /// The client's signed request.
        #[serde(borrow)]
        request: &'a [u8],
    }
    /// The party agrees and gives its salt.
    AcceptSign = ACCEPT_SIGN {
        /// The session.
        session: Digest,
        /// 32 fresh public bytes.
        salt: [u8; 32],
    }
    /// The party does not sign.
    RejectSign<'a> = REJECT_SIGN {
        /// The session.
        session: Digest,
        /// Why.
        #[serde(borrow)]
        reason: Rejection<'a>,
    }
    /// Enough accepted: this is the quorum, with everybody's salts in increasing order.
    StartSign = START_SIGN {
        /// The session.
        session: Digest,
        /// S.
        quorum: PartySet,
        /// One of every member.
        salts: Vec<(PartyId, [u8; 32]), MAX_HOLDERS>,
    }
    /// The session is not needed, or failed.
    CancelSign = CANCEL_SIGN {
        /// The session.
        session: Digest,
    }
    /// A message of a signing protocol, whichever: its own header says so.
    Signing<'a> = SIGNING {
        /// Core's.
        #[serde(borrow)]
        bytes: &'a [u8],
    }
    /// The sender's log has grown to this head.
    Head = HEAD {
        /// The head.
        head: SignedHead,
    }
    /// The newest head of the receiver's own log that the sender has seen.
    Recall = RECALL {
        /// The head; none if the sender has seen none.
        head: Option<SignedHead>,
    }
    /// The answer takes longer: a person is asked.
    Asking = ASKING {
        /// The session.
        session: Digest,
        /// At most for so long.
        seconds: u16,
    }
}

/// Why a party does not take part. What else nodes may say, devices neither say nor read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection<'a> {
    /// Its own policy, or the person, denies the request.
    Denied {
        /// The rule's stable name.
        rule: &'a str,
        /// What a person sees.
        message: &'a str,
    },
    /// The request or proposal is malformed, of another network, or more than a device can do.
    BadRequest(&'a str),
    /// The session failed here.
    Failed(&'a str),
    /// It has no active share of the key.
    UnknownKey,
    /// Too many sessions at once.
    Busy,
    /// A fault of its own.
    Fault,
}

impl<'a> Read<'a> for Rejection<'a> {
    fn read(from: &mut Reader<'a>) -> Self {
        match from.variant(6) {
            0 => Self::Denied { rule: from.field(), message: from.field() },
            1 => Self::BadRequest(from.field()),
            2 => Self::Failed(from.field()),
            3 => Self::UnknownKey,
            4 => Self::Busy,
            _ => Self::Fault,
        }
    }
}

impl Write for Rejection<'_> {
    fn write(&self, to: &mut Writer<'_>) {
        let (number, text) = match self {
            Self::Denied { rule, message } => {
                to.variant(0);
                (rule, message).write(to);
                return;
            }
            Self::BadRequest(what) => (1, Some(what)),
            Self::Failed(what) => (2, Some(what)),
            Self::UnknownKey => (3, None),
            Self::Busy => (4, None),
            Self::Fault => (5, None),
        };
        to.variant(number);
        if let Some(text) = text {
            text.write(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    use super::*;

    /// Whether a message is read as serde reads it, and written as serde writes it: bytes at random, most of them
    /// small, cut off anywhere.
    macro_rules! agree {
        ($($name:ty),* $(,)?) => {$({
            let (mut rng, mut found) = (ChaCha8Rng::seed_from_u64(3), 0);
            for _ in 0..1500 {
                let mut bytes = [0; 420];
                rng.fill_bytes(&mut bytes);
                for byte in &mut bytes {
                    *byte = if *byte >= 8 { *byte % 4 } else { *byte << 5 | *byte };
                }
                for end in 0..bytes.len() {
                    let bytes = &bytes[..end];
                    let (mut old, mut new) = ([0; 1024], [0; 1024]);
                    match (read::<$name>(bytes), wire::decode::<$name>(bytes)) {
                        (Ok(read), Ok(decoded)) => {
                            assert!(read == decoded, "{}", stringify!($name));
                            let old = wire::encode(&decoded, &mut old).unwrap();
                            let length = write(&read, &mut new).unwrap();
                            let head = [wire::VERSION, <$name as Message>::KIND];
                            assert_eq!(new[..length], [&head[..], old].concat());
                            found += 1;
                            break;
                        }
                        (read, decoded) => assert!(read.is_err() && decoded.is_err()),
                    }
                }
            }
            assert!(found > 10, "{}: {found}", stringify!($name));
        })*};
    }

    #[test]
    fn messages_are_read_and_written_as_serde_does() {
        agree!(ProposeKey<'_>, AcceptKey, RejectKey<'_>, StartKey, CancelKey, Dkg<'_>);
        agree!(Confirm<'_>, KeyActive, ProposeSign<'_>, AcceptSign, RejectSign<'_>, StartSign);
        agree!(CancelSign, Signing<'_>, Head, Recall, Asking);
    }
}
