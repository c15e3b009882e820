//! A deterministic simulator: n parties of the core, one seeded generator that decides everything the
//! network does to their messages, and adversaries that rewrite what some parties send.

pub mod forge;
pub mod frost;
mod generate;
pub mod schnorr;
pub mod session;
mod sign;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::curve;
use quorate_core::dkg::{Peer, SessionSigner};
use quorate_core::hash::Digest;
use quorate_core::identity::Identity;
use quorate_core::key::{Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord};
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::wire::{self, Bytes64};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

pub use generate::{Generation, generate, generate_on, session_of};
pub use session::salt_of;
pub use sign::{Signing, sign, sign_derived, sign_with, sign_with_salts};

/// The curve of all tests that do not say another.
pub use quorate_core::curve::Secp256k1 as Curve;
/// Capacity for holders.
pub const N: usize = 16;
/// Capacity for nonce keys.
pub const K: usize = 512;
/// Capacity for a quorum.
pub const S: usize = 11;

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The authenticated sender.
    pub from: PartyId,
    /// The receiver.
    pub to: PartyId,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the network does to each packet, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Never arrives.
    pub drop: u32,
    /// Arrives twice.
    pub duplicate: u32,
    /// Arrives with one bit flipped.
    pub corrupt: u32,
    /// Whether packets overtake each other.
    pub reorder: bool,
}

/// Rewrites what a corrupt party sends: a packet in, packets out.
pub type Adversary<'a> = dyn FnMut(Packet) -> Vec<Packet> + 'a;

/// The simulated network.
pub struct Network {
    rng: ChaCha20Rng,
    weather: Weather,
    queue: Vec<Packet>,
    /// Every packet that ever left any party, for checkers.
    pub sent: Vec<Packet>,
}

impl Network {
    /// A network whose every decision follows from `seed`.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), weather, queue: Vec::new(), sent: Vec::new() }
    }

    /// Sends `packet` through `adversary` and the weather.
    pub fn send(&mut self, packet: Packet, adversary: &mut Adversary<'_>) {
        for mut packet in adversary(packet) {
            self.sent.push(packet.clone());
            if self.happens(self.weather.drop) {
                continue;
            }
            if self.happens(self.weather.duplicate) {
                self.queue.push(packet.clone());
            }
            if self.happens(self.weather.corrupt) {
                let bit = self.rng.next_u32() as usize % (packet.bytes.len() * 8);
                if let Some(byte) = packet.bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            self.queue.push(packet);
        }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.rng.next_u32() % 1000 < thousandths
    }

    /// The next packet to arrive.
    pub fn next_packet(&mut self) -> Option<Packet> {
        if self.queue.is_empty() {
            return None;
        }
        let place =
            if self.weather.reorder { self.rng.next_u32() as usize % self.queue.len() } else { 0 };
        Some(self.queue.remove(place))
    }
}

/// A session key in memory.
pub struct SessionKey(pub SigningKey);

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

/// The identity key of a simulated party.
#[must_use]
pub fn identity_key(party: PartyId) -> SigningKey {
    SigningKey::from_bytes(&[party.number() as u8; 32])
}

/// The session key of a simulated party.
#[must_use]
pub fn session_key(party: PartyId) -> SessionKey {
    let mut seed = [0x55; 32];
    seed[0] = party.number() as u8;
    SessionKey(SigningKey::from_bytes(&seed))
}

/// The public half.
#[must_use]
pub fn public(key: &SigningKey) -> Identity {
    Identity::Ed25519(key.verifying_key().to_bytes())
}

/// Party `number`.
///
/// # Panics
/// If there is no such party: the test is wrong.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn id(number: u16) -> PartyId {
    PartyId::new(number).expect("parties are 1 to 255")
}

/// Terms for `parties` with threshold `t`, everything else from `seed`.
///
/// # Errors
/// The rule that the holders break.
pub fn terms(
    parties: PartySet,
    t: u8,
    seed: u64,
) -> Result<KeyTerms, quorate_core::party::HoldersError> {
    terms_on::<Curve>(parties, t, seed)
}

/// [`terms`] for a key on another curve.
///
/// # Errors
/// The rule that the holders break.
pub fn terms_on<C: curve::Fixed>(
    parties: PartySet,
    t: u8,
    seed: u64,
) -> Result<KeyTerms, quorate_core::party::HoldersError> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x7e_4d);
    let (mut network, mut key, mut context) = ([0; 16], [0; 16], [0; 32]);
    rng.fill_bytes(&mut network);
    rng.fill_bytes(&mut key);
    rng.fill_bytes(&mut context);
    let holders = Holders::new(parties, t)?;
    Ok(KeyTerms { suite: C::SUITE, network, key, epoch: 0, holders, context })
}

/// All holders as peers.
#[must_use]
pub fn peers(parties: PartySet) -> Vec<Peer> {
    let peer = |party| Peer { party, session_key: public(&session_key(party).0) };
    parties.iter().map(peer).collect()
}

/// What one party keeps of a key.
pub struct Stored<C = Curve> {
    /// The public record.
    pub public: PublicKey<N>,
    /// The secret record, encoded as it would be sealed.
    pub sealed: Vec<u8>,
    /// This party's confirmation.
    pub confirmation: Confirmation<N, K>,
    curve: PhantomData<C>,
}

impl<C: curve::Group> Stored<C> {
    /// Signs this party's confirmation of a finished key.
    #[must_use]
    pub fn new(me: PartyId, public: PublicKey<N>, record: &ShareRecord<N, K>) -> Self {
        let mut confirmation = Confirmation::unsigned(&public, me, record);
        let digest = confirmation.digest(&public);
        confirmation.signature = Bytes64(identity_key(me).sign(&digest).to_bytes());
        let mut buffer = vec![0; 32 * (N + K + 2)];
        let sealed = wire::encode(record, &mut buffer).map(|b| b.to_vec()).unwrap_or_default();
        Self { public, sealed, confirmation, curve: PhantomData }
    }

    /// Opens the key for one session.
    ///
    /// # Errors
    /// What does not fit, for people.
    pub fn open(&self, me: PartyId) -> Result<OpenedKey<C, N, K>, String> {
        let record = wire::decode(&self.sealed).map_err(|e| e.to_string())?;
        OpenedKey::open(&self.public, me, record, &self.confirmation).map_err(|e| e.to_string())
    }
}

/// All parties' records of one key.
pub type Group<C = Curve> = BTreeMap<PartyId, Stored<C>>;

/// A finished key among parties 1 … n in fair weather.
#[must_use]
pub fn group(n: u8, t: u8, seed: u64) -> Group {
    group_of(PartySet::first(n), t, seed)
}

/// A finished key among `parties` in fair weather.
#[must_use]
pub fn group_of(parties: PartySet, t: u8, seed: u64) -> Group {
    group_on(parties, t, seed)
}

/// [`group_of`] on another curve.
#[must_use]
pub fn group_on<C: curve::Fixed>(parties: PartySet, t: u8, seed: u64) -> Group<C> {
    let Ok(terms) = terms_on::<C>(parties, t, seed) else { return Group::new() };
    let mut network = Network::new(seed, Weather { reorder: true, ..Weather::default() });
    generate_on(&terms, seed, &mut network, &mut |packet| vec![packet]).finished
}
