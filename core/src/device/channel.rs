//! The party channel: from one party to another, end to end, whatever relays its frames.
//!
//! It is Noise_NN_25519_ChaChaPoly_SHA256, and then one greeting from each side: a session key that the
//! sender's identity key has certified, and that key's signature on the hash of this handshake. A relay
//! between the two has another handshake with each, and can sign for neither. Sequence numbers are implicit:
//! of what is dropped, repeated, reordered or altered nothing opens, and the channel is dead. A new one begins.
//!
//! A node begins ([`Initiator`]), a device answers ([`answer`]). Both then say who they are
//! ([`Pending::greet`]) and hear who the other is ([`Greeted::hear`]).

mod primitives;

use noise_protocol::patterns::noise_nn;
use noise_protocol::{CipherState, HandshakeState, U8Array as _};
use rand_core::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};

use self::primitives::{ChaChaPoly, Sha256, Wiped, X25519};
use super::link::MAX_MESSAGE;
use crate::dkg::SessionSigner;
use crate::hash::{Digest, Transcript};
use crate::identity::{Identity, SessionKeyCertificate};
use crate::party::PartyId;
use crate::wire::{self, Bytes64};

/// The first byte of a frame: what it is.
pub mod kind {
    /// The first of the handshake: the initiator's ephemeral key.
    pub const BEGIN: u8 = 0;
    /// The second: the responder's, and a tag.
    pub const REPLY: u8 = 1;
    /// A sealed message; the first of each side is its greeting.
    pub const SEALED: u8 = 2;
    /// There is no channel here, or no more: begin again.
    pub const LOST: u8 = 3;
}

const KEY: usize = 32;
const TAG: usize = 16;
/// Length of the first frame.
pub const BEGIN_LENGTH: usize = 1 + KEY;
/// Length of the second.
pub const REPLY_LENGTH: usize = 1 + KEY + TAG;
/// A sealed frame is so much longer than its message.
pub const OVERHEAD: usize = 1 + TAG;
/// No frame is longer.
pub const MAX_SEALED: usize = MAX_MESSAGE + OVERHEAD;
/// What whoever has no channel answers.
pub const LOST: [u8; 1] = [kind::LOST];
/// No greeting is longer, sealed.
pub const MAX_GREETING: usize = 256;

type Handshake = HandshakeState<X25519, ChaChaPoly, Sha256>;

/// Why there is no channel, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// Not a frame of the kind that is due, or one of a wrong length.
    Frame,
    /// The other's ephemeral key is no good, or its reply belongs to another handshake, network or party.
    Handshake,
    /// The frame does not open: it, or one before it, was altered, dropped, repeated or moved.
    Sealed,
    /// What opened is no greeting.
    Greeting,
    /// The greeting is by another party than this channel is to.
    Party,
    /// The greeting's session key is not certified by the identity key that is pinned for the party.
    Certificate,
    /// The session key did not sign this handshake.
    Signature,
    /// The message is longer than [`MAX_MESSAGE`].
    TooLong,
    /// The buffer is too short.
    NoRoom,
    /// Something did not open before.
    Dead,
}

impl core::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Frame => "not the frame that is due",
            Self::Handshake => "a reply to another handshake",
            Self::Sealed => "a frame that does not open: altered, dropped, repeated or moved",
            Self::Greeting => "not a greeting",
            Self::Party => "the greeting of another party",
            Self::Certificate => "a session key that the pinned identity has not certified",
            Self::Signature => "a greeting for another handshake",
            Self::TooLong => "the message is too long",
            Self::NoRoom => "the buffer is too short",
            Self::Dead => "the channel is dead",
        })
    }
}

impl core::error::Error for ChannelError {}

/// Whom a channel is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The network.
    pub network: [u8; 16],
    /// This side.
    pub me: PartyId,
    /// The other.
    pub peer: PartyId,
    /// The other's identity key, as it is pinned here.
    pub identity: Identity,
}

impl Ends {
    /// Both sides hash it before anything else.
    fn prologue(&self, initiator: PartyId, responder: PartyId) -> Digest {
        Transcript::new("channel-ends")
            .bytes(&self.network)
            .party(initiator)
            .party(responder)
            .finish()
    }

    /// What the session key of `from` signs in its greeting.
    fn greeting(&self, from: Side, initiator: bool, hash: &Digest, time: u64) -> Digest {
        let (from, to, initiator) = match from {
            Side::Me => (self.me, self.peer, initiator),
            Side::Peer => (self.peer, self.me, !initiator),
        };
        Transcript::new("channel")
            .bytes(&self.network)
            .party(from)
            .party(to)
            .bytes(&[u8::from(initiator)])
            .bytes(hash)
            .u64(time)
            .finish()
    }
}

enum Side {
    Me,
    Peer,
}

/// What session keys that sign greetings are certified for.
#[must_use]
pub fn channel_session(network: &[u8; 16]) -> Digest {
    Transcript::new("channel-session").bytes(network).finish()
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    certificate: SessionKeyCertificate,
    /// The sender's clock, Unix seconds.
    time: u64,
    signature: Bytes64,
}

crate::read_fields!(Greeting { certificate, time, signature });
crate::write_fields!(Greeting { certificate, time, signature });

/// What a greeting told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The other's boot, of its certificate.
    pub boot: [u8; 16],
    /// Its clock, Unix seconds.
    pub time: u64,
}

fn handshake(ends: &Ends, initiator: bool, rng: &mut (impl RngCore + CryptoRng)) -> Handshake {
    let mut ephemeral = Wiped::new();
    rng.fill_bytes(ephemeral.as_mut());
    let prologue = match initiator {
        true => ends.prologue(ends.me, ends.peer),
        false => ends.prologue(ends.peer, ends.me),
    };
    Handshake::new(noise_nn(), initiator, prologue, None, Some(ephemeral), None, None)
}

/// The side that has begun, and waits for the reply.
pub struct Initiator {
    ends: Ends,
    handshake: Handshake,
}

impl Initiator {
    /// Begins; the frame goes to the other side.
    ///
    /// # Errors
    /// None in practice.
    pub fn begin(
        ends: Ends,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<(Self, [u8; BEGIN_LENGTH]), ChannelError> {
        let mut handshake = handshake(&ends, true, rng);
        let mut frame = [kind::BEGIN; BEGIN_LENGTH];
        let body = frame.get_mut(1..).unwrap_or_default();
        handshake.write_message(&[], body).map_err(|_| ChannelError::Handshake)?;
        Ok((Self { ends, handshake }, frame))
    }

    /// The other's reply.
    ///
    /// # Errors
    /// [`ChannelError::Frame`] or [`ChannelError::Handshake`]: begin again.
    pub fn handle_reply(mut self, frame: &[u8]) -> Result<Pending, ChannelError> {
        let body = body_of(frame, kind::REPLY, REPLY_LENGTH)?;
        self.handshake.read_message(body, &mut []).map_err(|_| ChannelError::Handshake)?;
        Pending::new(self.ends, &self.handshake)
    }
}

/// Answers the first frame of an initiator; the frame that comes back is the reply.
///
/// # Errors
/// [`ChannelError::Frame`] or [`ChannelError::Handshake`].
pub fn answer(
    ends: Ends,
    frame: &[u8],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<(Pending, [u8; REPLY_LENGTH]), ChannelError> {
    let body = body_of(frame, kind::BEGIN, BEGIN_LENGTH)?;
    let mut handshake = handshake(&ends, false, rng);
    handshake.read_message(body, &mut []).map_err(|_| ChannelError::Handshake)?;
    let mut reply = [kind::REPLY; REPLY_LENGTH];
    let body = reply.get_mut(1..).unwrap_or_default();
    handshake.write_message(&[], body).map_err(|_| ChannelError::Handshake)?;
    Ok((Pending::new(ends, &handshake)?, reply))
}

fn body_of(frame: &[u8], kind: u8, length: usize) -> Result<&[u8], ChannelError> {
    match frame.split_first() {
        Some((first, body)) if *first == kind && frame.len() == length => Ok(body),
        _ => Err(ChannelError::Frame),
    }
}

/// Both ephemeral keys are there; neither side has said who it is.
pub struct Pending {
    ends: Ends,
    initiator: bool,
    hash: Digest,
    channel: Channel,
}

impl Pending {
    fn new(ends: Ends, handshake: &Handshake) -> Result<Self, ChannelError> {
        let initiator = handshake.get_is_initiator();
        let hash = handshake.get_hash().try_into().map_err(|_| ChannelError::Handshake)?;
        let (first, second) = handshake.get_ciphers();
        let (outward, inward) = if initiator { (first, second) } else { (second, first) };
        let channel = Channel { keys: Some((outward, inward)) };
        Ok(Self { ends, initiator, hash, channel })
    }

    /// Says who this side is: the certificate is for [`channel_session`], `signer` is its session key, `time`
    /// this side's clock in Unix seconds (0 if it has none). The frame goes to the other side; `buffer` has
    /// room for [`MAX_GREETING`] bytes.
    ///
    /// # Errors
    /// [`ChannelError::NoRoom`].
    pub fn greet<'b>(
        mut self,
        certificate: &SessionKeyCertificate,
        time: u64,
        signer: &impl SessionSigner,
        buffer: &'b mut [u8],
    ) -> Result<(Greeted, &'b mut [u8]), ChannelError> {
        let digest = self.ends.greeting(Side::Me, self.initiator, &self.hash, time);
        let signature = signer.sign(&digest);
        let greeting = Greeting { certificate: certificate.clone(), time, signature };
        let body = buffer.get_mut(1..).ok_or(ChannelError::NoRoom)?;
        let length = wire::write(&greeting, body).map_err(|_| ChannelError::NoRoom)?.len();
        let frame = self.channel.seal(buffer, length)?;
        Ok((Greeted(self), frame))
    }
}

/// This side has said who it is, and waits for the other's greeting.
pub struct Greeted(Pending);

impl Greeted {
    /// Opens the other's greeting, in place: then there is a channel to the pinned party, and nobody else.
    ///
    /// # Errors
    /// [`ChannelError`] says what was wrong; there is no channel.
    pub fn hear(self, frame: &mut [u8]) -> Result<(Channel, Heard), ChannelError> {
        let Pending { ends, initiator, hash, mut channel } = self.0;
        let greeting = channel.open(frame)?;
        let Greeting { certificate, time, signature } =
            wire::read(greeting).map_err(|_| ChannelError::Greeting)?;
        if certificate.party != ends.peer {
            return Err(ChannelError::Party);
        }
        let session = channel_session(&ends.network);
        if !certificate.is_signed_by(&ends.identity, &ends.network, &session) {
            return Err(ChannelError::Certificate);
        }
        let digest = ends.greeting(Side::Peer, initiator, &hash, time);
        if !certificate.key.verify(&digest, &signature) {
            return Err(ChannelError::Signature);
        }
        Ok((channel, Heard { boot: certificate.boot, time }))
    }
}

/// A channel to a party. Its keys are wiped as soon as anything does not open.
pub struct Channel {
    /// Outward, inward.
    keys: Option<(CipherState<ChaChaPoly>, CipherState<ChaChaPoly>)>,
}

impl Channel {
    /// Seals the message of `length` bytes that begins at the *second* byte of `buffer`, in place, and
    /// returns the frame: [`OVERHEAD`] more bytes, from the first of `buffer` on.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`], [`ChannelError::NoRoom`] (both change nothing) or [`ChannelError::Dead`].
    pub fn seal<'b>(
        &mut self,
        buffer: &'b mut [u8],
        length: usize,
    ) -> Result<&'b mut [u8], ChannelError> {
        if length > MAX_MESSAGE {
            return Err(ChannelError::TooLong);
        }
        let frame = buffer.get_mut(..length + OVERHEAD).ok_or(ChannelError::NoRoom)?;
        let (outward, _) = self.keys.as_mut().ok_or(ChannelError::Dead)?;
        let (first, body) = frame.split_first_mut().ok_or(ChannelError::NoRoom)?;
        *first = kind::SEALED;
        outward.encrypt_in_place(body, length);
        Ok(frame)
    }

    /// Opens a sealed frame in place, and returns the message. After an error the channel is dead.
    ///
    /// # Errors
    /// [`ChannelError::Frame`], [`ChannelError::Sealed`] or [`ChannelError::Dead`].
    pub fn open<'b>(&mut self, frame: &'b mut [u8]) -> Result<&'b mut [u8], ChannelError> {
        let (_, inward) = self.keys.as_mut().ok_or(ChannelError::Dead)?;
        let opened = open(inward, frame);
        if opened.is_err() {
            self.keys = None;
        }
        opened
    }

    /// What was opened last was not taken: nothing but the same frame opens next. For a receiver that has no
    /// room to keep a message of a round that has not come.
    pub fn put_back(&mut self) {
        self.keys = self.keys.take().map(|(outward, inward)| {
            let (key, number) = inward.extract();
            (outward, CipherState::new(key.as_slice(), number.saturating_sub(1)))
        });
    }

    /// Whether something did not open.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.keys.is_none()
    }
}

fn open<'b>(
    inward: &mut CipherState<ChaChaPoly>,
    frame: &'b mut [u8],
) -> Result<&'b mut [u8], ChannelError> {
    let fits = (OVERHEAD..=MAX_SEALED).contains(&frame.len());
    let (first, body) = frame.split_first_mut().ok_or(ChannelError::Frame)?;
    if !fits || *first != kind::SEALED {
        return Err(ChannelError::Frame);
    }
    let length = body.len();
    let length = inward.decrypt_in_place(body, length).map_err(|()| ChannelError::Sealed)?;
    body.get_mut(..length).ok_or(ChannelError::Frame)
}

#[cfg(test)]
mod tests;
