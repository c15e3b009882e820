//! One party's mind: which proposals it takes part in, which requests its policy allows, and what
//! each message means. It runs on one thread; [`crate::run`] feeds it.

mod coordinate;
mod keygen;
mod records;
mod signing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_core::curve::Secp256k1;
use quorate_core::dkg::SessionSigner;
use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::{Identity, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use quorate_hsm::KeyProtector;

use crate::entropy::Entropy;
use crate::handle::{Command, PeerInfo, ServiceError, Status};
use crate::identity::IdentityKey;
use crate::membership::Membership;
use crate::message::{PeerMessage, SessionKeyCertificate};
use crate::network::{Event, Network};
use crate::store::Store;

use coordinate::Coordination;
use keygen::{KeyCoordination, KeyRun};
use signing::Participation;

/// The curve of today's keys.
pub type Curve = Secp256k1;
/// Holders that this build has room for.
pub const MAX_PARTIES: usize = 16;
/// Nonce keys per party that this build has room for: groups up to 10 parties with T = 4.
pub const MAX_NONCE_KEYS: usize = 84;
/// Members of a quorum that this build has room for.
pub const MAX_QUORUM: usize = 11;

/// Sessions that one peer may have open here.
const SESSIONS_PER_PEER: usize = 64;

/// How long the phases of a session may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A whole key generation.
    pub key: Duration,
    /// For answers to a proposal.
    pub accept: Duration,
    /// For the two rounds of signing.
    pub sign: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            key: Duration::from_secs(20),
            accept: Duration::from_secs(3),
            sign: Duration::from_secs(4),
        }
    }
}

struct SessionKey(ed25519_dalek::SigningKey);

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        use ed25519_dalek::Signer as _;
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

/// What a node is made of.
pub struct Parts {
    /// This party.
    pub me: PartyId,
    /// The group.
    pub membership: Arc<Membership>,
    /// Who this party is.
    pub identity: Arc<IdentityKey>,
    /// What seals its shares.
    pub protector: Arc<dyn KeyProtector>,
    /// Its durable state.
    pub store: Store,
    /// Its peers.
    pub network: Network,
    /// Its randomness.
    pub entropy: Entropy,
}

/// One party's state.
pub struct Service {
    me: PartyId,
    network_id: [u8; 16],
    membership: Arc<Membership>,
    identity: Arc<IdentityKey>,
    protector: Arc<dyn KeyProtector>,
    store: Store,
    network: Network,
    entropy: Entropy,
    deadlines: Deadlines,
    hedge: SecretBytes,
    counter: u64,
    session_key: SessionKey,
    certificate: SessionKeyCertificate,
    /// Messages to this party itself: a coordinator is a participant like others.
    loopback: VecDeque<PeerMessage>,
    key_runs: BTreeMap<Digest, KeyRun>,
    key_coordinations: BTreeMap<Digest, KeyCoordination>,
    participations: BTreeMap<Digest, Participation>,
    coordinations: BTreeMap<Digest, Coordination>,
    last_confirm: Instant,
}

/// Seconds since the Unix epoch by this party's own clock.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Service {
    /// A service with a fresh session key.
    ///
    /// # Errors
    /// [`ServiceError::Local`] if the randomness or the identity key fail.
    pub fn new(parts: Parts) -> Result<Self, ServiceError> {
        let Parts { me, membership, identity, protector, store, network, mut entropy } = parts;
        let local = |what: &str| ServiceError::local(what);
        let network_id = membership.network();
        let hedge = SecretBytes::new(
            Transcript::new("hedge").bytes(&*identity.secret()).bytes(&network_id).finish(),
        );
        let mut fresh = [0; 32];
        entropy.fill(&mut fresh).map_err(|_| local("the operating system gives no randomness"))?;
        let mut rng = HedgedRng::new(&fresh, &hedge, &[0; 32], now());
        let (mut seed, mut boot) = ([0; 32], [0; 16]);
        rand_core::RngCore::fill_bytes(&mut rng, &mut seed);
        rand_core::RngCore::fill_bytes(&mut rng, &mut boot);
        let session_key = SessionKey(ed25519_dalek::SigningKey::from_bytes(&seed));
        let key = Identity::Ed25519(session_key.0.verifying_key().to_bytes());
        let digest = session_key_digest(&network_id, me, &boot, &key);
        let signature =
            identity.sign(&digest).map_err(|_| local("the identity key cannot sign"))?;
        let certificate =
            SessionKeyCertificate { party: me, boot, key, signature: Bytes64(signature) };
        Ok(Self {
            me,
            network_id,
            membership,
            identity,
            protector,
            store,
            network,
            entropy,
            deadlines: Deadlines::default(),
            hedge,
            counter: 0,
            session_key,
            certificate,
            loopback: VecDeque::new(),
            key_runs: BTreeMap::new(),
            key_coordinations: BTreeMap::new(),
            participations: BTreeMap::new(),
            coordinations: BTreeMap::new(),
            last_confirm: Instant::now(),
        })
    }

    /// A generator for one session, hedged with this party's long-term key.
    fn rng(&mut self, session: &Digest) -> Result<HedgedRng, ServiceError> {
        let mut fresh = [0; 32];
        self.entropy
            .fill(&mut fresh)
            .map_err(|_| ServiceError::local("the operating system gives no randomness"))?;
        self.counter += 1;
        // The counter restarts with the process; the clock keeps repeated sessions apart even if
        // the entropy source is stuck.
        let nanoseconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
        let counter = self.counter ^ nanoseconds.rotate_left(20);
        Ok(HedgedRng::new(&fresh, &self.hedge, session, counter))
    }

    fn fresh_bytes<const L: usize>(&mut self, purpose: &str) -> Result<[u8; L], ServiceError> {
        let session = Transcript::new(purpose).finish();
        let mut bytes = [0; L];
        rand_core::RngCore::fill_bytes(&mut self.rng(&session)?, &mut bytes);
        Ok(bytes)
    }

    /// Sends to a party, this one included. A peer that is not connected is found by the deadline.
    fn send(&mut self, to: PartyId, message: PeerMessage) {
        if to == self.me {
            self.loopback.push_back(message);
        } else if let Err(error) = self.network.send(to.number(), message.encode()) {
            tracing::debug!(party = %to, %error, "message not sent");
        }
    }

    /// Handles one event of the network.
    pub fn handle_event(&mut self, event: Event) {
        match event {
            Event::Up { party, .. } => {
                tracing::info!(party, "connected");
                self.last_confirm -= Duration::from_secs(60);
            }
            Event::Down { party, reason } => tracing::info!(party, %reason, "disconnected"),
            Event::Message { party, bytes } => {
                let Some(from) = PartyId::new(party) else { return };
                match PeerMessage::decode(&bytes) {
                    Ok(message) => self.handle_message(from, message),
                    Err(error) => tracing::warn!(party, %error, "a peer's message was refused"),
                }
            }
        }
        self.drain_loopback();
    }

    /// Handles one command of the API.
    pub fn handle_command(&mut self, command: Command) {
        match command {
            Command::CreateKey(create, reply) => self.coordinate_key(create, reply),
            Command::ListKeys(reply) => drop(reply.send(self.list_keys())),
            Command::ShowKey(name, reply) => drop(reply.send(self.show_key(&name))),
            Command::Sign(request, reply) => self.coordinate_signature(request, reply),
            Command::Status(reply) => drop(reply.send(self.status())),
        }
        self.drain_loopback();
    }

    /// Deadlines, and what is repeated until it is heard.
    pub fn handle_tick(&mut self, at: Instant) {
        self.expire_key_runs(at);
        self.expire_coordinations(at);
        self.participations.retain(|_, participation| participation.deadline > at);
        if at.duration_since(self.last_confirm) > Duration::from_secs(1) {
            self.last_confirm = at;
            self.repeat_confirmations();
        }
        self.drain_loopback();
    }

    fn drain_loopback(&mut self) {
        while let Some(message) = self.loopback.pop_front() {
            self.handle_message(self.me, message);
        }
    }

    fn handle_message(&mut self, from: PartyId, message: PeerMessage) {
        match message {
            PeerMessage::ProposeKey { session, terms, name, policy } => {
                self.handle_key_proposal(from, session, terms, name, policy);
            }
            PeerMessage::AcceptKey { session, certificate } => {
                self.handle_key_accept(from, session, certificate);
            }
            PeerMessage::RejectKey { session, reason } => {
                self.handle_key_reject(from, session, reason);
            }
            PeerMessage::StartKey { session, peers } => {
                self.handle_key_start(from, session, &peers);
            }
            PeerMessage::CancelKey { session } => self.handle_key_cancel(from, &session),
            PeerMessage::Dkg(bytes) => self.handle_dkg(from, &bytes),
            PeerMessage::Confirm { key, confirmation, pending } => {
                self.handle_confirmation(from, key, &confirmation, pending);
            }
            PeerMessage::ProposeSign { session, request } => {
                self.handle_sign_proposal(from, session, request);
            }
            PeerMessage::AcceptSign { session, salt } => self.handle_accept(from, session, salt),
            PeerMessage::AlreadySigned { session, outcome } => {
                self.handle_already_signed(&session, &outcome);
            }
            PeerMessage::RejectSign { session, reason } => {
                self.handle_reject(from, session, reason);
            }
            PeerMessage::StartSign { session, quorum, salts } => {
                self.handle_sign_start(from, session, quorum, &salts);
            }
            PeerMessage::CancelSign { session } => {
                let theirs =
                    self.participations.get(&session).is_some_and(|p| p.coordinator == from);
                if theirs {
                    self.participations.remove(&session);
                }
            }
            PeerMessage::Ecdsa(bytes) => self.handle_ecdsa(from, &bytes),
            PeerMessage::Signed { session, request, outcome } => {
                self.handle_signed(from, session, &request, &outcome);
            }
        }
    }

    fn status(&self) -> Status {
        let peer = |peer: crate::network::PeerStatus| PeerInfo {
            party: peer.party,
            name: peer.name,
            connected: peer.connected,
            round_trip_ms: peer.round_trip_micros.map(|micros| micros as f64 / 1000.0),
            last_error: peer.last_error,
        };
        Status {
            party: self.me.number(),
            name: self.membership.name_of(self.me.number()).unwrap_or_default(),
            network: hex::encode(self.network_id),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hsm: self.protector.describe(),
            address: self.network.local_addr().to_string(),
            peers: self.network.peers().into_iter().map(peer).collect(),
            keys: self.store.keys().map_or(0, |keys| keys.len()),
            sessions: self.participations.len() + self.key_runs.len(),
        }
    }

    fn identity_of(&self, party: PartyId) -> Option<Identity> {
        self.membership
            .identity_of(party.number())
            .map(|public| Identity::Ed25519(*public.as_bytes()))
    }
}
