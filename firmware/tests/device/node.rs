//! Another party: its end of the channel, and what came over it.

use std::collections::VecDeque;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::device::channel::{
    Channel, Ends, Greeted, Initiator, MAX_GREETING, MAX_SEALED, channel_session, kind,
};
use quorate_core::device::link::Member;
use quorate_core::dkg::SessionKey;
use quorate_core::hash::Digest;
use quorate_core::identity::{Identity, SessionKeyCertificate, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::secret::SecretBytes;
use quorate_core::wire::Bytes64;
use quorate_firmware::message::{self, Message, Recall};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub const NETWORK: [u8; 16] = [7; 16];

pub fn id(number: u16) -> PartyId {
    PartyId::new(number).unwrap()
}

enum State {
    Closed,
    Begun(Box<Initiator>),
    Greeted(Box<Greeted>),
    Open(Box<Channel>),
}

pub struct Node {
    pub id: PartyId,
    identity: SigningKey,
    pub session_key: SessionKey,
    boot: [u8; 16],
    state: State,
    /// What it says that it last saw of the device.
    pub recall: Option<message::SignedHead>,
    /// Its clock.
    pub time: u64,
    /// Frames that wait for the device.
    pub frames: VecDeque<Vec<u8>>,
    /// Messages of the device.
    pub received: VecDeque<Vec<u8>>,
    rng: ChaCha20Rng,
}

impl Node {
    pub fn new(number: u8, time: u64) -> Self {
        Self {
            id: id(number.into()),
            identity: SigningKey::from_bytes(&[number; 32]),
            session_key: SessionKey::new(&SecretBytes::new([number + 50; 32])),
            boot: [number; 16],
            state: State::Closed,
            recall: None,
            time,
            frames: VecDeque::new(),
            received: VecDeque::new(),
            rng: ChaCha20Rng::from_seed([number; 32]),
        }
    }

    pub fn member(&self) -> Member {
        let identity = Identity::Ed25519(self.identity.verifying_key().to_bytes());
        Member { party: self.id, identity }
    }

    pub fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.identity.sign(digest).to_bytes())
    }

    pub fn certificate(&self, session: &Digest) -> SessionKeyCertificate {
        let (party, boot, key) = (self.id, self.boot, self.session_key.identity());
        let digest = session_key_digest(&NETWORK, party, &boot, &key, session);
        SessionKeyCertificate { party, boot, key, signature: self.sign(&digest) }
    }

    /// Begins a channel to the device.
    pub fn begin(&mut self, device: &Member) {
        let ends =
            Ends { network: NETWORK, me: self.id, peer: device.party, identity: device.identity };
        let (initiator, frame) = Initiator::begin(ends, &mut self.rng).unwrap();
        self.state = State::Begun(Box::new(initiator));
        self.frames = VecDeque::from([frame.to_vec()]);
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// A frame from the device.
    pub fn handle(&mut self, frame: &[u8]) {
        let mut frame = frame.to_vec();
        self.state = match (std::mem::replace(&mut self.state, State::Closed), frame[0]) {
            (State::Begun(initiator), kind::REPLY) => {
                let pending = initiator.handle_reply(&frame).unwrap();
                let certificate = self.certificate(&channel_session(&NETWORK));
                let mut buffer = [0; MAX_GREETING];
                let (greeted, bytes) =
                    pending.greet(&certificate, self.time, &self.session_key, &mut buffer).unwrap();
                self.frames.push_back(bytes.to_vec());
                State::Greeted(Box::new(greeted))
            }
            (State::Greeted(greeted), kind::SEALED) => {
                let (channel, _) = greeted.hear(&mut frame).unwrap();
                State::Open(Box::new(channel))
            }
            (State::Open(mut channel), kind::SEALED) => {
                let text = channel.open(&mut frame).unwrap();
                self.received.push_back(text.to_vec());
                State::Open(channel)
            }
            (_, kind::LOST) => State::Closed,
            (_, other) => panic!("a frame of kind {other}"),
        };
        if self.is_open() && self.received.is_empty() && frame[0] == kind::SEALED {
            // Its first message, as nodes say it.
            let head = self.recall.clone();
            self.send(&Recall { head });
        }
    }

    pub fn send<T: Message>(&mut self, message: &T) {
        let mut buffer = [0; MAX_SEALED];
        let length = message::write(message, &mut buffer[1..]).unwrap();
        self.send_sealed(&mut buffer, length);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let mut buffer = [0; MAX_SEALED];
        buffer[1..=bytes.len()].copy_from_slice(bytes);
        self.send_sealed(&mut buffer, bytes.len());
    }

    fn send_sealed(&mut self, buffer: &mut [u8], length: usize) {
        let State::Open(channel) = &mut self.state else { panic!("no channel") };
        let frame = channel.seal(buffer, length).unwrap();
        self.frames.push_back(frame.to_vec());
    }

    /// The next message of this kind; others before it are dropped.
    pub fn next(&mut self, kind: u8) -> Option<Vec<u8>> {
        while let Some(message) = self.received.pop_front() {
            if message[1] == kind {
                return Some(message[2..].to_vec());
            }
        }
        None
    }
}
