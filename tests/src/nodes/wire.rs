//! Simulated links and clocks. Each direction of a link keeps its order, as TCP does; which one moves
//! next is the seed's decision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::curve::Secp256k1;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{Combiner, Salt, SignTerms};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::payload::Subject;
use quorate_core::request::SignedRequest;
use quorate_core::session::Header;
use quorate_node::clock::Clock;
use quorate_node::message::{PeerMessage, sign_session};
use quorate_node::network::{PeerStatus, SendError};
use quorate_node::service::records::Public;
use quorate_node::service::{MAX_QUORUM, Transport};

use crate::nonce_checker::{About, NonceChecker};
use crate::simulator::id;

pub(super) fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// Everything between the parties.
pub(super) struct Wire {
    parties: u16,
    network: [u8; 16],
    links: BTreeSet<(u16, u16)>,
    queues: BTreeMap<(u16, u16), VecDeque<Vec<u8>>>,
    /// Public records by key id, for the checker.
    pub(super) keys: BTreeMap<[u8; 16], Public>,
    /// What each session is about: key id, derivation and digest.
    about: BTreeMap<Digest, ([u8; 16], Derivation, Digest)>,
    requests: BTreeMap<Digest, Digest>,
    /// Sessions that a party has been told to start and has sent no nonce point in, by their D0 and in
    /// order: with a stuck generator, several may have the same.
    starting: BTreeMap<(u16, Digest), VecDeque<Digest>>,
    /// Which session a D0 stands for at a party, and whom it has sent its nonce point there.
    running: BTreeMap<(u16, Digest), (Digest, BTreeSet<u16>)>,
    released: BTreeMap<u16, BTreeSet<Digest>>,
    /// Nonce points that belong to none of these.
    pub(super) unknown: usize,
    pub(super) checker: NonceChecker,
}

fn pair(a: u16, b: u16) -> (u16, u16) {
    (a.min(b), a.max(b))
}

impl Wire {
    pub(super) fn new(parties: u16, network: [u8; 16]) -> Self {
        Self {
            parties,
            network,
            links: BTreeSet::new(),
            queues: BTreeMap::new(),
            keys: BTreeMap::new(),
            about: BTreeMap::new(),
            requests: BTreeMap::new(),
            starting: BTreeMap::new(),
            running: BTreeMap::new(),
            released: BTreeMap::new(),
            unknown: 0,
            checker: NonceChecker::new(),
        }
    }

    pub(super) fn link(&mut self, a: u16, b: u16) -> bool {
        self.links.insert(pair(a, b))
    }

    pub(super) fn unlink(&mut self, a: u16, b: u16) -> bool {
        self.queues.remove(&(a, b));
        self.queues.remove(&(b, a));
        self.links.remove(&pair(a, b))
    }

    /// Drops what is under way from and to a dead party.
    pub(super) fn forget(&mut self, party: u16) {
        self.queues.retain(|(from, to), _| *from != party && *to != party);
        self.starting.retain(|(starting, _), _| *starting != party);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.queues.values().all(VecDeque::is_empty)
    }

    pub(super) fn next_packet(&mut self, pick: u32) -> Option<(u16, u16, Vec<u8>)> {
        let busy: Vec<(u16, u16)> =
            self.queues.iter().filter(|(_, q)| !q.is_empty()).map(|(way, _)| *way).collect();
        let way = *busy.get(pick as usize % busy.len().max(1))?;
        let bytes = self.queues.get_mut(&way)?.pop_front()?;
        Some((way.0, way.1, bytes))
    }

    /// Y and h of a session, for the checker; a key that nobody has shown stands for itself by its id.
    pub(super) fn about(&self, session: &Digest) -> Option<About> {
        let (key, derivation, digest) = self.about.get(session)?;
        let known = self.keys.get(key).and_then(|public| public.group_key());
        let mut public = known.map_or_else(|| key.to_vec(), |point| point.0.to_vec());
        // Y follows from X and the derivation, and names it as well.
        public.extend(derivation.to_string().bytes());
        Some((public, *digest))
    }

    pub(super) fn take_released(&mut self, party: u16) -> BTreeSet<Digest> {
        self.released.remove(&party).unwrap_or_default()
    }

    /// A message is about to arrive: nonce points leave a party after it was told to start a session.
    pub(super) fn before(&mut self, from: u16, to: u16, bytes: &[u8]) {
        if let Ok(PeerMessage::StartSign { session, quorum, salts }) = PeerMessage::decode(bytes) {
            self.starts(from, to, session, quorum, &salts);
        }
    }

    fn starts(
        &mut self,
        coordinator: u16,
        party: u16,
        session: Digest,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
    ) {
        let Some((key, derivation, digest)) = self.about.get(&session) else { return };
        let Some(public) = self.keys.get(key) else { return };
        let (derivation, digest, coordinator) = (*derivation, *digest, id(coordinator));
        let terms = SignTerms { quorum, coordinator, derivation, digest };
        let combiner = Combiner::<Secp256k1, MAX_QUORUM>::new(public, terms, salts);
        let Ok(combiner) = combiner else { return };
        let starting = self.starting.entry((party, *combiner.session())).or_default();
        if starting.back() != Some(&session) {
            starting.push_back(session);
        }
    }

    /// Every message that leaves a party passes here.
    fn watch(&mut self, from: u16, to: u16, bytes: &[u8]) {
        match PeerMessage::decode(bytes) {
            Ok(PeerMessage::ProposeSign { nonce, request }) => {
                let session = sign_session(&self.network, id(from), &nonce, &request);
                if let Ok(parsed) = SignedRequest::parse(&request) {
                    // What is not understood, nobody signs.
                    if let Ok(subject) = Subject::parse(&parsed.payload()) {
                        let (key, derivation) = (*parsed.key().as_bytes(), parsed.derivation());
                        let about = (key, *derivation, subject.digest());
                        self.about.insert(session, about);
                    }
                    self.requests.insert(session, parsed.hash());
                }
            }
            // A party tells itself without the wire.
            Ok(PeerMessage::StartSign { session, quorum, salts }) if quorum.contains(id(from)) => {
                self.starts(from, from, session, quorum, &salts);
            }
            Ok(PeerMessage::Ecdsa(message)) => {
                let Ok(Header { round, session: inputs, .. }) = Header::peek(&message) else {
                    return;
                };
                let known = self.running.get_mut(&(from, inputs));
                if round == 1
                    && known.is_none_or(|(_, sent)| !sent.insert(to))
                    && let Some(session) =
                        self.starting.get_mut(&(from, inputs)).and_then(VecDeque::pop_front)
                {
                    self.running.insert((from, inputs), (session, BTreeSet::from([to])));
                    if let Some(request) = self.requests.get(&session) {
                        self.released.entry(from).or_default().insert(*request);
                    }
                }
                match self.running.get(&(from, inputs)) {
                    Some((session, _)) => self.checker.record(*session, id(from), &message),
                    None => self.unknown += 1,
                }
            }
            _ => {}
        }
    }
}

/// One party's end.
pub(super) struct SimulatedTransport {
    pub(super) me: u16,
    pub(super) wire: Arc<Mutex<Wire>>,
}

impl Transport for SimulatedTransport {
    fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if !wire.links.contains(&pair(self.me, party)) {
            return Err(SendError::NotConnected);
        }
        wire.watch(self.me, party, &bytes);
        wire.queues.entry((self.me, party)).or_default().push_back(bytes);
        Ok(())
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let others = (1..=wire.parties).filter(|party| *party != self.me);
        let status = |party| PeerStatus {
            party,
            name: format!("party-{party}"),
            connected: wire.links.contains(&pair(self.me, party)),
            round_trip_micros: None,
            last_error: None,
        };
        others.map(status).collect()
    }

    fn address(&self) -> SocketAddr {
        nowhere()
    }
}

struct Times {
    start: Instant,
    passed: Duration,
    unix: Duration,
}

/// A party's clocks; clones are the same clocks.
#[derive(Clone)]
pub(super) struct SimulatedClock(Arc<Mutex<Times>>);

impl SimulatedClock {
    pub(super) fn new(unix: Duration) -> Self {
        let times = Times { start: Instant::now(), passed: Duration::ZERO, unix };
        Self(Arc::new(Mutex::new(times)))
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut times = self.times();
        times.passed += by;
        times.unix += by;
    }

    pub(super) fn unix_now(&self) -> Duration {
        self.times().unix
    }

    pub(super) fn set_unix(&self, unix: Duration) {
        self.times().unix = unix;
    }
}

impl Clock for SimulatedClock {
    fn instant(&self) -> Instant {
        let times = self.times();
        times.start + times.passed
    }

    fn unix(&self) -> Duration {
        self.times().unix
    }
}
