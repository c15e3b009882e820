//! One party's mind: which proposals it takes part in, which requests its policy allows, and what
//! each message means. It runs on one thread; [`crate::run`] feeds it.

mod asking;
mod checked;
mod confirm;
mod coordinate;
mod countersign;
mod device_log;
mod distrust;
mod explained;
mod facts;
mod hsm_calls;
mod incidents;
mod judge;
mod keygen;
mod open_keys;
mod openings;
mod policies;
mod quorum;
#[doc(hidden)]
pub mod records;
mod refusals;
mod signed_head;
mod signing;
mod transport;
mod waiting;
mod witness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::curve::Secp256k1;
use quorate_core::dkg::SessionSigner;
use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::{Identity, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use quorate_hsm::KeyProtector;
use quorate_hsm::memory::Locked;

use crate::audit::IdentityHead;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::handle::{Command, PeerInfo, ServiceError, Status};
use crate::identity::IdentityKey;
use crate::membership::Membership;
use crate::message::{PeerMessage, SessionKeyCertificate, head_session};
use crate::network::Event;
use crate::store::Store;

use checked::PolicyHashes;
use coordinate::Coordination;
use facts::Inquiries;
use hsm_calls::Calls;
use incidents::{Incidents, Remembered};
use keygen::{KeyCoordination, KeyRun, Proposed};
use open_keys::OpenKeys;
use openings::Openings;
use policies::Policies;
use signed_head::HeadSigning;
use signing::{Early, Participation};
use waiting::Announcements;
use witness::Witness;

pub use asking::PATIENCE;
pub use facts::{FETCHES, FactsDone, FactsJob, FactsRunner};
pub use hsm_calls::{HSM_CALLS, HSM_THREADS, HsmDone, HsmJob, HsmRunner, SILENCE};
pub use open_keys::Keeping;
pub use signed_head::SIGN_HEAD_EVERY;
pub use transport::Transport;

/// The curve of today's keys.
pub type Curve = Secp256k1;
/// Holders that this build has room for.
pub const MAX_PARTIES: usize = 16;
/// Nonce keys per party that this build has room for: as many as there may be.
pub const MAX_NONCE_KEYS: usize = quorate_core::party::MAX_NONCE_KEYS;
/// Members of a quorum that this build has room for.
pub const MAX_QUORUM: usize = 11;

/// Sessions that one peer may have open here.
const SESSIONS_PER_PEER: usize = 64;
/// A pending key asks for confirmations so often.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// What is too old to count is dropped so often.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How long the phases of a session may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A whole key generation, once all accepted.
    pub key: Duration,
    /// For answers to a proposal, of a key or a signature.
    pub accept: Duration,
    /// For the two rounds of signing.
    pub sign: Duration,
    /// For one call of the HSM. The default is longer than any that works takes, also one behind a network
    /// that just fails over, and as long as a whole key generation.
    pub hsm: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            key: Duration::from_secs(20),
            accept: Duration::from_secs(3),
            sign: Duration::from_secs(4),
            hsm: Duration::from_secs(20),
        }
    }
}

struct SessionKey(Locked<ed25519_dalek::SigningKey>);

impl SessionKey {
    fn public(&self) -> Identity {
        Identity::Ed25519(self.0.verifying_key().to_bytes())
    }

    fn sign_digest(&self, digest: &Digest) -> Bytes64 {
        use ed25519_dalek::Signer as _;
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        self.sign_digest(digest)
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
    /// What runs calls of the HSM, which may block.
    pub hsm: Box<dyn HsmRunner>,
    /// What asks the world.
    pub facts: Box<dyn FactsRunner>,
    /// The long-term secret that hedges its generators: a dead or replayed entropy source alone
    /// repeats nothing.
    pub hedge: SecretBytes,
    /// Its durable state.
    pub store: Store,
    /// Its peers.
    pub transport: Box<dyn Transport>,
    /// Its randomness.
    pub entropy: Entropy,
    /// Its clocks.
    pub clock: Box<dyn Clock>,
    /// How long it waits.
    pub deadlines: Deadlines,
    /// How it keeps opened shares.
    pub keeping: Keeping,
}

/// One party's state.
pub struct Service {
    me: PartyId,
    network_id: [u8; 16],
    membership: Arc<Membership>,
    identity: Arc<IdentityKey>,
    protector: Arc<dyn KeyProtector>,
    hsm: Box<dyn HsmRunner>,
    calls: Calls,
    facts: Box<dyn FactsRunner>,
    inquiries: Inquiries,
    store: Store,
    transport: Box<dyn Transport>,
    entropy: Entropy,
    clock: Box<dyn Clock>,
    deadlines: Deadlines,
    open_keys: OpenKeys,
    openings: Openings,
    policies: Policies,
    hashes: PolicyHashes,
    hedge: Locked<SecretBytes>,
    counter: u64,
    session_key: SessionKey,
    /// Random per boot.
    boot: [u8; 16],
    /// Messages to this party itself: a coordinator is a participant like others.
    loopback: VecDeque<PeerMessage>,
    key_runs: BTreeMap<Digest, KeyRun>,
    key_coordinations: BTreeMap<Digest, KeyCoordination>,
    participations: BTreeMap<Digest, Participation>,
    early: Vec<Early>,
    coordinations: BTreeMap<Digest, Coordination>,
    /// Failed sessions by party since its last good one: such parties are chosen last.
    strikes: BTreeMap<PartyId, u32>,
    remembered: Remembered,
    incidents: Incidents,
    witness: Witness,
    announcements: Announcements,
    head: HeadSigning,
    /// When pending keys were last asked about; `None` asks at the next tick.
    last_confirm: Option<Instant>,
    last_prune: Instant,
    device_log: Option<crate::device_log::Intake>,
}

impl Service {
    /// A service with a fresh session key. The identity key certifies it here and now: the one call of
    /// the HSM that is waited for, and the caller must bear that it may take for ever.
    ///
    /// # Errors
    /// [`ServiceError::Local`] if the randomness or the identity key fail, or no pages can be locked;
    /// [`ServiceError::Sealed`] if the signed head of the audit log cannot be read.
    pub fn new(parts: Parts) -> Result<Self, ServiceError> {
        let Parts { me, identity, mut entropy, clock, .. } = parts;
        let network_id = parts.membership.network();
        let hedge =
            Transcript::new("hedge").bytes(parts.hedge.expose()).bytes(&network_id).secret();
        let hedge = Locked::kept(hedge, parts.keeping.lock).map_err(ServiceError::local)?;
        let mut fresh = [0; 32];
        entropy.fill(&mut fresh).map_err(ServiceError::local)?;
        let nanoseconds = clock.unix().as_nanos() as u64;
        let mut rng = HedgedRng::new(&fresh, &hedge, &[0; 32], nanoseconds);
        let (mut seed, mut boot) = (zeroize::Zeroizing::new([0; 32]), [0; 16]);
        rand_core::RngCore::fill_bytes(&mut rng, seed.as_mut_slice());
        rand_core::RngCore::fill_bytes(&mut rng, &mut boot);
        let lock = parts.keeping.lock;
        let session_key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let session_key = SessionKey(Locked::kept(session_key, lock).map_err(ServiceError::local)?);
        let (public, session) = (session_key.public(), head_session(&network_id));
        let digest = session_key_digest(&network_id, me, &boot, &public, &session);
        let signature = Bytes64(identity.sign(&digest).map_err(ServiceError::local)?);
        let certificate = SessionKeyCertificate { party: me, boot, key: public, signature };
        let rolled_back = parts.store.rolled_back().map_err(ServiceError::local)?.is_some();
        let rolled_back_peers = parts.store.rolled_back_peers().map_err(ServiceError::local)?;
        let policies = Policies::load(&parts.store, network_id).map_err(ServiceError::local)?;
        let head = HeadSigning::new(IdentityHead::newest(&parts.store)?);
        Ok(Self {
            me,
            network_id,
            membership: parts.membership,
            identity,
            protector: parts.protector,
            hsm: parts.hsm,
            calls: Calls::default(),
            facts: parts.facts,
            inquiries: Inquiries::default(),
            store: parts.store,
            transport: parts.transport,
            entropy,
            last_prune: clock.instant(),
            clock,
            deadlines: parts.deadlines,
            open_keys: OpenKeys::new(parts.keeping),
            openings: Openings::default(),
            policies,
            hashes: PolicyHashes::default(),
            hedge,
            counter: 0,
            session_key,
            boot,
            loopback: VecDeque::new(),
            key_runs: BTreeMap::new(),
            key_coordinations: BTreeMap::new(),
            participations: BTreeMap::new(),
            early: Vec::new(),
            coordinations: BTreeMap::new(),
            strikes: BTreeMap::new(),
            remembered: Remembered::default(),
            incidents: Incidents::default(),
            witness: Witness::new(certificate, rolled_back, rolled_back_peers),
            announcements: Announcements::default(),
            head,
            last_confirm: None,
            device_log: None,
        })
    }

    /// Seconds since the Unix epoch by this party's own clock.
    fn now(&self) -> u64 {
        self.clock.unix().as_secs()
    }

    /// A generator for one session, hedged with this party's long-term key.
    fn rng(&mut self, session: &Digest) -> Result<HedgedRng, ServiceError> {
        let mut fresh = [0; 32];
        self.entropy.fill(&mut fresh).map_err(ServiceError::local)?;
        self.counter += 1;
        // The counter restarts with the process; the clock keeps repeated sessions apart even if
        // the entropy source is stuck.
        let nanoseconds = self.clock.unix().as_nanos() as u64;
        let counter = self.counter ^ nanoseconds.rotate_left(20);
        Ok(HedgedRng::new(&fresh, &self.hedge, session, counter))
    }

    fn fresh_bytes<const L: usize>(&mut self, purpose: &str) -> Result<[u8; L], ServiceError> {
        let session = Transcript::new(purpose).finish();
        let mut bytes = [0; L];
        rand_core::RngCore::fill_bytes(&mut self.rng(&session)?, &mut bytes);
        Ok(bytes)
    }

    /// Sends to a party, this one included. Whether it got there is not known; `false` says that it
    /// surely did not.
    fn send(&mut self, to: PartyId, message: PeerMessage) -> bool {
        if to == self.me {
            self.loopback.push_back(message);
            return true;
        }
        match self.transport.send(to.number(), message.encode()) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(party = %to, %error, "message not sent");
                false
            }
        }
    }

    /// Handles one event of the network.
    pub fn handle_event(&mut self, event: Event) {
        match event {
            Event::Up { party, .. } => {
                tracing::info!(party, "connected");
                self.last_confirm = None;
                if let Some(party) = PartyId::new(party) {
                    self.tell_policies(party);
                    self.tell_what_waits(party);
                    self.recall_to(party);
                    self.ask_witness(party);
                    self.propose_again(party);
                }
            }
            Event::Down { party, reason } => {
                tracing::info!(party, %reason, "disconnected");
                if let Some(party) = PartyId::new(party) {
                    self.forget_told(party);
                    self.lose_key_coordinations(party);
                    self.lose_coordinations(party);
                    self.stop_telling(party);
                }
            }
            Event::Message { party, bytes } => {
                let Some(from) = PartyId::new(party) else { return };
                match PeerMessage::decode(&bytes) {
                    Ok(message) => self.handle_message(from, message),
                    Err(error) => self.incidents.add(from, format_args!("a message: {error}")),
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
            Command::SetPolicy(change, reply) => self.set_policy(&change, reply),
            Command::ShowPolicy(name, reply) => drop(reply.send(self.show_policy(&name))),
            Command::Sign(request, reply) => self.coordinate_signature(request, reply),
            Command::Veto(veto, reply) => drop(reply.send(self.veto(&veto))),
            Command::Waiting(after, reply) => drop(reply.send(self.waiting_page(after))),
            Command::WaitingRequest(hash, reply) => drop(reply.send(self.waiting_request(hash))),
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Audit(from, reply) => drop(reply.send(self.audit_page(from))),
        }
        self.drain_loopback();
    }

    /// Deadlines, and what is repeated until it is heard.
    pub fn handle_tick(&mut self) {
        let at = self.clock.instant();
        self.expire_hsm_calls(at);
        self.expire_openings(at);
        self.expire_inquiries(at);
        self.expire_key_runs(at);
        self.expire_coordinations(at);
        self.participations.retain(|_, participation| participation.deadline > at);
        self.expire_early(at);
        self.open_keys.close_idle(at);
        self.settle_policies();
        self.keep_heads();
        self.tell_more();
        self.witness.expire(at);
        self.take_device_log(at);
        self.sign_head_by_time(at);
        let due = |last: Instant, every: Duration| at.saturating_duration_since(last) >= every;
        if self.last_confirm.is_none_or(|last| due(last, CONFIRM_EVERY)) {
            self.last_confirm = Some(at);
            self.repeat_confirmations();
        }
        if due(self.last_prune, PRUNE_EVERY) {
            self.last_prune = at;
            if let Err(error) = self.store.prune(self.now()) {
                tracing::error!(%error, "the store could not be pruned");
            }
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
            PeerMessage::ProposeKey { session, terms, name, policy, approval } => {
                let proposed = Proposed { terms, name, policy, approval };
                self.handle_key_proposal(from, session, proposed);
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
            PeerMessage::Dkg(bytes) => self.handle_dkg(from, bytes),
            PeerMessage::Confirm { key, confirmation, pending } => {
                self.handle_confirmation(from, key, &confirmation, pending);
            }
            PeerMessage::KeyActive { key } => self.note_active(from, &key),
            PeerMessage::ProposeSign { nonce, request } => {
                self.handle_sign_proposal(from, &nonce, request);
            }
            PeerMessage::AcceptSign { session, salt } => self.handle_accept(from, session, salt),
            PeerMessage::AlreadySigned { session, outcome } => {
                self.handle_already_signed(from, &session, &outcome);
            }
            PeerMessage::RejectSign { session, reason } => {
                self.handle_reject(from, session, reason);
            }
            PeerMessage::StartSign { session, quorum, salts } => {
                self.handle_sign_start(from, session, quorum, &salts);
            }
            PeerMessage::CancelSign { session } => self.handle_sign_cancel(from, &session),
            PeerMessage::Ecdsa(bytes) => self.handle_ecdsa(from, &bytes),
            PeerMessage::Signed { session, request, outcome } => {
                self.handle_signed(from, session, &request, &outcome);
            }
            PeerMessage::PolicyStates { states, more } => {
                self.handle_policy_states(from, &states, more);
            }
            PeerMessage::PolicyChange { change, in_force } => {
                self.handle_policy_change(from, &change, in_force);
            }
            PeerMessage::Head(head) => self.handle_head(from, head),
            PeerMessage::Recall(head) => self.handle_recall(from, head.as_deref()),
            PeerMessage::Witness(head) => self.handle_witness(from, *head),
            PeerMessage::Countersigned(given) => self.handle_countersigned(from, &given),
            PeerMessage::Await { request } => self.handle_await(from, request),
            PeerMessage::Vetoes(vetoes) => self.handle_vetoes(from, &vetoes),
            PeerMessage::Asking { session, seconds } => {
                self.handle_asking(from, session, seconds);
            }
        }
    }

    fn status(&self) -> Status {
        let peer = |peer: crate::network::PeerStatus| {
            let (refused, last_refusal) = self.incidents.of(peer.party);
            PeerInfo {
                party: peer.party,
                name: peer.name,
                connected: peer.connected,
                round_trip_ms: peer.round_trip_micros.map(|micros| micros as f64 / 1000.0),
                last_error: peer.last_error,
                refused,
                last_refusal,
                rolled_back: PartyId::new(peer.party)
                    .is_some_and(|party| self.witness.distrusts(party)),
            }
        };
        Status {
            party: self.me.number(),
            name: self.membership.name_of(self.me.number()).unwrap_or_default(),
            network: hex::encode(self.network_id),
            membership: hex::encode(self.membership.digest()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hsm: self.protector.describe(),
            hsm_calls: self.calls.status(self.clock.instant(), self.now()),
            address: self.transport.address().to_string(),
            peers: self.transport.peers().into_iter().map(peer).collect(),
            keys: self.store.keys().map_or(0, |keys| keys.len()),
            sessions: self.participations.len() + self.key_runs.len(),
            open_shares: self.open_keys.count(),
            rolled_back: self.witness.is_rolled_back(),
            audit_entries: self.store.audit_head().map_or(0, |head| head.number),
            signed_head: self.head.info(),
            countersigned_by: self.countersigned(),
        }
    }

    fn identity_of(&self, party: PartyId) -> Option<Identity> {
        self.membership.identity_of(party.number()).map(crate::identity::IdentityPublic::key)
    }
}
