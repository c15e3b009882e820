//! The device: what a board's main loop calls. It reads frames of the host, answers each exactly once, watches
//! the buttons, and drops everything when the host says `Hello` anew.

mod frames;
mod provision;
mod question;

use heapless::Vec;
use quorate_core::device::channel::{Channel, Greeted, MAX_SEALED};
use quorate_core::device::frame::Decoder;
use quorate_core::device::link::{MAX_MEMBERS, Member};
use quorate_core::dkg::SessionKey;
use quorate_core::hash::Digest;
use quorate_core::identity::{Identity, SessionKeyCertificate, session_key_digest};
use quorate_core::party::{Holders, PartyId};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use serde::{Deserialize, Serialize};

use crate::clock::Told;
use crate::entropy::Entropy;
use crate::keygen::{Confirming, Generation};
use crate::pin::{Pin, PinError};
use crate::platform::{Person as _, Platform};
use crate::signing::Signing;
use crate::store::{Slot, Store, StoreError};

pub(crate) use frames::put;
pub(crate) use question::{About, Question};

/// Other parties of a network that a device has room for.
pub const MAX_PEERS: usize = MAX_MEMBERS - 1;
/// Signing sessions at a time.
pub const SESSIONS: usize = 2;

/// What a board brings.
pub struct Parts<P: Platform> {
    /// The line to the host.
    pub link: P::Link,
    /// The flash for the store.
    pub flash: P::Flash,
    /// Raw noise.
    pub noise: P::Noise,
    /// Screen and buttons.
    pub person: P::Person,
    /// Time since boot.
    pub clock: P::Clock,
    /// SHA-256 of the firmware's image.
    pub firmware: Digest,
}

/// What takes most of a device's memory: for a static, since it is larger than a stack.
pub struct Room {
    rx: Decoder,
    tx: [u8; MAX_SEALED],
    work: Work,
    peers: Vec<Peer, MAX_PEERS>,
    open: Option<Open>,
    network: Option<Network>,
    candidate: Option<Network>,
}

// Of 32 KB of RAM, 11 are for the stack, and some bytes for what is not in here. Chips that make Ed25519 keys
// have more.
#[cfg(all(target_pointer_width = "32", not(feature = "ed25519")))]
const _: () = assert!(size_of::<Room>() <= 21 * 1024 - 32);

impl Room {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rx: Decoder::new(),
            tx: [0; MAX_SEALED],
            work: Work::Idle,
            peers: Vec::new(),
            open: None,
            network: None,
            candidate: None,
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// A device.
pub struct Device<'r, P: Platform> {
    rx: &'r mut Decoder,
    engine: Engine<'r, P>,
}

/// All but the buffer that frames come into.
pub(crate) struct Engine<'r, P: Platform> {
    pub(crate) firmware: Digest,
    pub(crate) link: P::Link,
    pub(crate) person: P::Person,
    pub(crate) known: Known<'r, P>,
    pub(crate) pin: Pin,
    pub(crate) entropy: Entropy<P::Noise>,
    /// What is sealed for a party, in place.
    pub(crate) tx: &'r mut [u8; MAX_SEALED],
    /// The last request's id, once the host has said `Hello`.
    pub(crate) greeted: Option<u32>,
    /// What a device that is unlocked has in memory.
    pub(crate) open: &'r mut Option<Open>,
    pub(crate) question: Option<Question>,
    /// The network that a person is asked about.
    pub(crate) candidate: &'r mut Option<Network>,
    pub(crate) work: &'r mut Work,
    /// When pending keys ask again, milliseconds.
    pub(crate) confirm_at: u64,
    /// Counts generators, so that no two are alike even with a dead source.
    pub(crate) counter: u64,
    pub(crate) stack: u32,
}

/// What the device remembers and has heard: all that a judgement needs beside the request.
pub(crate) struct Known<'r, P: Platform> {
    pub(crate) store: Store<P::Flash>,
    pub(crate) clock: P::Clock,
    pub(crate) network: &'r mut Option<Network>,
    pub(crate) peers: &'r mut Vec<Peer, MAX_PEERS>,
    /// The generation of a head that peers have shown, and the journal does not have.
    pub(crate) rolled_back: Option<u32>,
}

/// What the device is busy with. A key generation is alone; it is the largest that there is.
///
/// With `Idle` as zero a [`Room`] is all zeros at first, and takes no flash.
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "no allocator: they share one place")]
pub(crate) enum Work {
    Idle = 0,
    Key(Generation),
    Confirm(Confirming),
    Sign(Sessions),
}

/// Signing sessions; their number, from 0, is their slot.
pub(crate) type Sessions = Vec<Option<Signing>, SESSIONS>;

/// As which party of which network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: [u8; 16],
    pub(crate) me: PartyId,
    pub(crate) members: Vec<Member, MAX_MEMBERS>,
}

quorate_core::read_fields!(Network { id, me, members });
quorate_core::write_fields!(Network { id, me, members });
quorate_core::read_fields!(Identities { seed, hedge });
quorate_core::write_fields!(Identities { seed, hedge });

impl Network {
    pub(crate) fn identity_of(&self, party: PartyId) -> Option<Identity> {
        self.members.iter().find(|member| member.party == party).map(|member| member.identity)
    }
}

/// The device's own long-term secrets, as they are stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct Identities {
    /// Of the identity key.
    pub(crate) seed: SecretBytes,
    /// Hedges generators.
    pub(crate) hedge: SecretBytes,
}

/// What a device that is unlocked has in memory.
pub(crate) struct Open {
    pub(crate) identity: SessionKey,
    pub(crate) hedge: SecretBytes,
    pub(crate) session_key: SessionKey,
    /// Random at each unlocking.
    pub(crate) boot: [u8; 16],
    /// The identity key's on the session key, for channels and for heads: once there is a network.
    pub(crate) certified: (Bytes64, Bytes64),
}

impl Open {
    /// The session key, certified by the identity key for a session.
    #[inline(never)]
    pub(crate) fn certify(&self, network: &Network, session: &Digest) -> SessionKeyCertificate {
        use quorate_core::dkg::SessionSigner as _;
        let (key, party) = (self.session_key.identity(), network.me);
        let digest = session_key_digest(&network.id, party, &self.boot, &key, session);
        let signature = self.identity.sign(&digest);
        SessionKeyCertificate { party, boot: self.boot, key, signature }
    }

    pub(crate) fn certificate(&self, me: PartyId, signature: Bytes64) -> SessionKeyCertificate {
        let key = self.session_key.identity();
        SessionKeyCertificate { party: me, boot: self.boot, key, signature }
    }
}

/// Another party, as this device sees it now.
pub(crate) struct Peer {
    pub(crate) party: PartyId,
    pub(crate) way: Way,
    /// It has said what it last saw of this device.
    pub(crate) heard: bool,
    /// Its log was shown to be shorter than it had been.
    pub(crate) distrusted: bool,
    pub(crate) told: Option<Told>,
    /// Since when its next frame is put back, milliseconds.
    pub(crate) held: Option<u64>,
}

/// How far the channel to a party is.
pub(crate) enum Way {
    Closed,
    Greeted(Greeted),
    Open(Channel),
}

impl<'r, P: Platform> Device<'r, P> {
    /// A device, locked. A store that is damaged is no error: the host is told, and can wipe it.
    ///
    /// # Errors
    /// The store's, if there is no flash to work with.
    pub fn new(parts: Parts<P>, room: &'r mut Room) -> Result<Self, StoreError> {
        let Room { rx, tx, work, peers, open, network, candidate } = room;
        let Parts { link, flash, noise, person, clock, firmware } = parts;
        let mut store = Store::open(flash)?;
        let pin = match Pin::start(&mut store, &clock) {
            Ok(pin) => pin,
            // What was cut short is done now.
            Err(_) => Pin::closed(),
        };
        let mut engine: Engine<'r, P> = Engine {
            firmware,
            link,
            person,
            known: Known { store, clock, network, peers, rolled_back: None },
            pin,
            entropy: Entropy::start(noise),
            tx,
            greeted: None,
            open,
            question: None,
            candidate,
            work,
            confirm_at: 0,
            counter: 0,
            stack: 0,
        };
        engine.lock();
        engine.load_network();
        engine.person.show("");
        Ok(Self { rx, engine })
    }

    /// Does what is to be done now, and returns; to be called again and again.
    pub fn poll(&mut self) {
        self.read();
        self.engine.tick();
    }

    /// Tells the device how much stack was ever used, for [`quorate_core::device::link::Status`].
    pub fn note_stack(&mut self, bytes: u32) {
        self.engine.stack = bytes;
    }
}

impl<P: Platform> Engine<'_, P> {
    fn load_network(&mut self) {
        let found = self.known.store.load(Slot::Membership, &mut *self.tx);
        let network = found.ok().flatten().and_then(|bytes| quorate_core::wire::read(bytes).ok());
        self.take_network(network);
    }

    pub(crate) fn take_network(&mut self, network: Option<Network>) {
        self.known.peers.clear();
        if let Some(network) = &network {
            let others = network.members.iter().filter(|member| member.party != network.me);
            self.known.peers.extend(others.map(|member| Peer::new(member.party)).take(MAX_PEERS));
        }
        *self.known.network = network;
    }

    pub(crate) fn peer(&mut self, party: PartyId) -> Option<&mut Peer> {
        self.known.peers.iter_mut().find(|peer| peer.party == party)
    }

    /// A generator for one session, hedged with the long-term secret.
    pub(crate) fn rng(&mut self, session: &Digest) -> Option<HedgedRng> {
        let fresh = self.entropy.fresh().ok()?;
        self.counter += 1;
        let hedge = &self.open.as_ref()?.hedge;
        Some(HedgedRng::new(fresh.expose(), hedge, session, self.counter))
    }

    /// Forgets all that the PIN has opened.
    pub(crate) fn lock(&mut self) {
        *self.open = None;
        *self.work = Work::Idle;
        (*self.candidate, self.known.rolled_back) = (None, None);
        if self.question.take().is_some() {
            self.person.show("");
        }
        for peer in self.known.peers.iter_mut() {
            *peer = Peer::new(peer.party);
        }
        zeroize::Zeroize::zeroize(&mut *self.tx);
    }
}

impl<P: Platform> Known<'_, P> {
    /// Whether as many holders were heard as a quorum has besides this party: fewer than T of them lie, so
    /// one is honest, and has seen whatever this party last released.
    pub(crate) fn is_witnessed(&self, holders: &Holders) -> bool {
        let is_holder = |peer: &&Peer| holders.parties().contains(peer.party);
        let heard = self.peers.iter().filter(is_holder).filter(|peer| peer.heard);
        heard.count() + 1 >= holders.quorum()
    }
}

impl Peer {
    fn new(party: PartyId) -> Self {
        Self { party, way: Way::Closed, heard: false, distrusted: false, told: None, held: None }
    }
}

pub(crate) fn refused_pin(error: PinError) -> quorate_core::device::link::Refused {
    use quorate_core::device::link::Refused;
    match error {
        PinError::NotSet => Refused::NotInitialized,
        PinError::Set => Refused::Initialized,
        PinError::Length => Refused::PinLength,
        PinError::TooSoon { seconds } => Refused::PinTooSoon { seconds },
        PinError::Wrong { left } => Refused::WrongPin { left },
        PinError::Wiped => Refused::Wiped,
        PinError::Store(StoreError::NotInitialized) => Refused::NotInitialized,
        PinError::Store(_) => Refused::Storage,
    }
}
