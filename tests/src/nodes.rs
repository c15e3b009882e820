//! Whole nodes without processes: the real service and store of every party over simulated links, clocks
//! and disks. One seed decides everything: who crashes where, what a disk forgets, which link breaks.
//!
//! What is watched on the way: every message that leaves a party goes to the nonce checker, and every
//! nonce point that leaves a party must be covered by a durable spend when that party comes back.

mod ask;
mod facts;
mod hsm;
mod policies;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_core::hash::Digest;
use quorate_core::secret::SecretBytes;
use quorate_hsm::KeyProtector;
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_node::audit::{Countersigned, Whose};
use quorate_node::entropy::Entropy;
use quorate_node::handle::KeyInfo;
use quorate_node::identity::IdentityKey;
use quorate_node::membership::Membership;
use quorate_node::message::PeerMessage;
use quorate_node::network::Event;
use quorate_node::service::{Deadlines, Keeping, Parts, Service};
use quorate_node::store::{MAX_AUDIT_PAGE, Store};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::disk::SimulatedDisk;
use crate::simulator::id;
use facts::SimulatedFacts;
use hsm::SimulatedHsm;
use wire::{SimulatedClock, SimulatedTransport, Wire};

pub use hsm::HsmWeather;

pub use ask::{Answer, RECIPIENT, Wanted, client, client_name, policy, transfer, transfer_from};
pub use policies::controlled;

/// When simulated worlds begin, Unix time.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// One party: what survives its crashes, and its service while it runs.
struct Node {
    identity: Arc<IdentityKey>,
    protector: Arc<dyn KeyProtector>,
    disk: SimulatedDisk,
    clock: SimulatedClock,
    hsm: SimulatedHsm,
    weather: HsmWeather,
    facts: SimulatedFacts,
    service: Option<Service>,
    /// R1 messages that left since the disk was last put back: (session, request hash).
    released: BTreeSet<Digest>,
}

fn stuck() -> Entropy {
    Entropy::of(|out| {
        out.fill(0);
        Ok(())
    })
}

fn seeded(seed: u64) -> Entropy {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    Entropy::of(move |out| {
        rng.fill_bytes(out);
        Ok(())
    })
}

/// A group of nodes.
pub struct World {
    /// Decides everything that happens.
    pub rng: ChaCha20Rng,
    membership: Arc<Membership>,
    nodes: BTreeMap<u16, Node>,
    wire: Arc<Mutex<Wire>>,
    stuck: bool,
    deadlines: Deadlines,
    /// How parties keep open shares, from their next start.
    pub keeping: Keeping,
    generations: u32,
    _keks: tempfile::TempDir,
}

impl World {
    /// `n` running parties, all linked. `stuck` gives every one of them a random generator that only
    /// says zero.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test may stop")]
    pub fn new(n: u16, seed: u64, stuck: bool) -> Self {
        let keks = tempfile::tempdir().expect("a temporary folder");
        let identities: Vec<_> =
            (1..=n).map(|party| Arc::new(IdentityKey::from_secret(&[party as u8; 32]))).collect();
        let member = |(party, identity): (u16, &Arc<IdentityKey>)| {
            let (public, port) = (identity.public(), 7000 + party);
            format!(
                "[[party]]\nid = {party}\nname = \"party-{party}\"\nidentity = \"{public}\"\naddress = \"127.0.0.1:{port}\"\n"
            )
        };
        let members: String = (1..=n).zip(&identities).map(member).collect();
        let membership = format!("network = \"{}\"\n{members}", "5e".repeat(16));
        let membership = Membership::parse(&membership).expect("a membership");
        let nodes = (1..=n).zip(identities).map(|(party, identity)| {
            let file = keks.path().join(party.to_string());
            let protector = SoftwareProtector::create(&file, SoftwareSecret::KeyFile);
            let node = Node {
                identity,
                protector: Arc::new(protector.expect("a key file")),
                disk: SimulatedDisk::new(),
                clock: SimulatedClock::new(EPOCH),
                hsm: SimulatedHsm::default(),
                weather: HsmWeather::default(),
                facts: SimulatedFacts::default(),
                service: None,
                released: BTreeSet::new(),
            };
            (party, node)
        });
        let nodes = nodes.collect();
        let wire = Arc::new(Mutex::new(Wire::new(n, membership.network())));
        let mut world = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            membership: Arc::new(membership),
            nodes,
            wire,
            stuck,
            deadlines: Deadlines::default(),
            keeping: Keeping::default(),
            generations: 0,
            _keks: keks,
        };
        (1..=n).for_each(|party| world.boot(party));
        world
    }

    /// All parties.
    #[must_use]
    pub fn parties(&self) -> Vec<u16> {
        self.nodes.keys().copied().collect()
    }

    /// Those that run.
    #[must_use]
    pub fn running(&self) -> Vec<u16> {
        self.nodes.iter().filter(|(_, n)| n.service.is_some()).map(|(p, _)| *p).collect()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound.max(1)
    }

    fn wire(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a party from its disk, and links it to all that run.
    #[expect(clippy::panic, reason = "a test may stop")]
    pub fn boot(&mut self, party: u16) {
        let entropy = self.rng.next_u64();
        let Some(node) = self.nodes.get_mut(&party) else { return };
        if node.service.is_some() {
            return;
        }
        let store = match Store::with_backend(node.disk.clone()) {
            Ok(store) => store,
            Err(error) => panic!("party {party}'s store does not open after a crash: {error}"),
        };
        // Whatever was under way died with the process.
        node.hsm = SimulatedHsm::default();
        node.facts.restart();
        let parts = Parts {
            me: id(party),
            membership: Arc::clone(&self.membership),
            identity: Arc::clone(&node.identity),
            protector: Arc::clone(&node.protector),
            hsm: Box::new(node.hsm.clone()),
            facts: Box::new(node.facts.clone()),
            hedge: SecretBytes::new([party as u8; 32]),
            store,
            transport: Box::new(SimulatedTransport { me: party, wire: Arc::clone(&self.wire) }),
            entropy: if self.stuck { stuck() } else { seeded(entropy) },
            clock: Box::new(node.clock.clone()),
            deadlines: self.deadlines,
            keeping: self.keeping,
        };
        match Service::new(parts) {
            Ok(service) => node.service = Some(service),
            Err(error) => panic!("party {party} does not start: {error}"),
        }
        for other in self.running() {
            self.link(party, other);
        }
    }

    /// Ends a party in an instant: what its disk has not synced may be lost.
    pub fn crash(&mut self, party: u16) {
        let seed = self.rng.next_u64();
        let Some(node) = self.nodes.get_mut(&party) else { return };
        if node.service.is_none() && !node.disk.crashed() {
            return;
        }
        node.disk.crash();
        // The service's store closes on a dead disk, and writes nothing more.
        node.service = None;
        node.disk = node.disk.after_crash(seed);
        for other in self.parties() {
            self.unlink(party, other);
        }
        self.wire().forget(party);
    }

    /// Tells a party that its node stops; the other half is dropped when it has finished.
    pub fn stop(&mut self, party: u16) -> oneshot::Receiver<()> {
        let (reply, finished) = oneshot::channel();
        self.feed(party, |service| service.stop(reply));
        finished
    }

    /// Lets a party's disk die after `changes` more changes, in the middle of whatever it does then.
    pub fn crash_soon(&mut self, party: u16, changes: u64) {
        if let Some(node) = self.nodes.get(&party).filter(|node| node.service.is_some()) {
            node.disk.crash_after(changes);
        }
    }

    /// A copy of a party's whole folder and of its clock.
    #[must_use]
    pub fn snapshot(&self, party: u16) -> Option<(Vec<u8>, Duration)> {
        let node = self.nodes.get(&party)?;
        Some((node.disk.bytes(), node.clock.unix_now()))
    }

    /// Puts a party's folder back to an older copy, and with `clock` its clock too.
    pub fn roll_back(&mut self, party: u16, copy: &(Vec<u8>, Duration), clock: bool) {
        self.crash(party);
        if let Some(node) = self.nodes.get_mut(&party) {
            node.disk = SimulatedDisk::from_bytes(copy.0.clone());
            // What left before is known to nobody here any more.
            node.released.clear();
            if clock {
                node.clock.set_unix(copy.1);
            }
        }
        self.boot(party);
    }

    /// The same by an operator who knows of it, and accepts the loss before the party starts again.
    ///
    /// # Panics
    /// If the copy is no store.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn roll_back_and_readmit(&mut self, party: u16, copy: &(Vec<u8>, Duration), clock: bool) {
        // Beyond all that the peers have seen of this party.
        self.generations += 1;
        let disk = SimulatedDisk::from_bytes(copy.0.clone());
        let readmitted = Store::with_backend(disk.clone())
            .and_then(|store| store.readmit(self.generations, &[], 0, b"accepted".to_vec()));
        if let Err(error) = readmitted {
            panic!("party {party}'s old store does not open: {error}");
        }
        self.roll_back(party, &(disk.bytes(), copy.1), clock);
    }

    /// Both ends learn of a link.
    pub fn link(&mut self, a: u16, b: u16) {
        if a == b || !self.wire().link(a, b) {
            return;
        }
        for (me, party) in [(a, b), (b, a)] {
            let address = wire::nowhere();
            self.feed(me, |service| service.handle_event(Event::Up { party, address }));
        }
    }

    /// Both ends lose a link, and what was under way on it.
    pub fn unlink(&mut self, a: u16, b: u16) {
        if a == b || !self.wire().unlink(a, b) {
            return;
        }
        for (me, party) in [(a, b), (b, a)] {
            let reason = "the test cut it".to_owned();
            self.feed(me, |service| service.handle_event(Event::Down { party, reason }));
        }
    }

    /// The network's identifier.
    #[must_use]
    pub fn network(&self) -> [u8; 16] {
        self.membership.network()
    }

    /// A message that `from` never sent: so lies a corrupt member.
    pub fn say(&mut self, from: u16, to: u16, message: &PeerMessage) {
        let bytes = message.encode();
        self.feed(to, |service| service.handle_event(Event::Message { party: from, bytes }));
    }

    /// Gives a party one input; if its disk dies on the way, the party dies.
    fn feed<T>(&mut self, party: u16, input: impl FnOnce(&mut Service) -> T) -> Option<T> {
        let result = self.nodes.get_mut(&party)?.service.as_mut().map(input);
        let left = self.wire().take_released(party);
        let node = self.nodes.get_mut(&party)?;
        node.released.extend(left);
        if node.disk.crashed() {
            self.crash(party);
        }
        self.answer_at_once(party);
        self.answer_facts(party);
        result
    }

    /// Delivers one message, or lets time pass if none is under way.
    pub fn step(&mut self) {
        self.answer_by_seed();
        let pick = self.rng.next_u32();
        let packet = self.wire().next_packet(pick);
        match packet {
            Some((from, to, bytes)) => {
                self.wire().before(from, to, &bytes);
                self.feed(to, |s| s.handle_event(Event::Message { party: from, bytes }));
            }
            None => self.tick(),
        }
    }

    /// Lets 50 ms pass at every party.
    pub fn tick(&mut self) {
        for party in self.parties() {
            if let Some(node) = self.nodes.get(&party) {
                node.clock.advance(Duration::from_millis(50));
            }
            self.feed(party, Service::handle_tick);
            self.answer_by_seed();
        }
    }

    /// Lets seconds pass.
    pub fn wait(&mut self, seconds: u32) {
        for _ in 0..seconds * 20 {
            self.tick();
            while !self.wire().is_quiet() {
                self.step();
            }
        }
    }

    /// Puts a party's clock, and nobody else's, ahead or back.
    pub fn move_clock(&mut self, party: u16, seconds: i64) {
        if let Some(node) = self.nodes.get(&party) {
            let now = node.clock.unix_now();
            let by = Duration::from_secs(seconds.unsigned_abs());
            node.clock.set_unix(if seconds < 0 { now.saturating_sub(by) } else { now + by });
        }
    }

    /// A party's clock, Unix seconds.
    #[must_use]
    pub fn time(&self, party: u16) -> u64 {
        self.nodes.get(&party).map_or(0, |node| node.clock.unix_now().as_secs())
    }

    /// The records of a party's audit log. The party restarts for it.
    ///
    /// # Panics
    /// If its log cannot be read to its end.
    #[expect(clippy::panic, reason = "a checker must stop the test")]
    pub fn audit_log(&mut self, party: u16) -> Vec<Value> {
        self.crash(party);
        let Some(node) = self.nodes.get(&party) else { return Vec::new() };
        let records = Store::with_backend(node.disk.clone())
            .and_then(|store| store.audit(0, usize::MAX))
            .unwrap_or_else(|error| panic!("party {party}'s audit log: {error}"));
        assert!(records.len() < MAX_AUDIT_PAGE, "party {party}'s log is not read to its end");
        self.boot(party);
        let read = |record: &[u8]| serde_json::from_slice(record).unwrap_or_default();
        records.iter().map(|entry| read(&entry.record)).collect()
    }

    /// Lets seconds pass at once: nobody does anything meanwhile.
    pub fn sleep(&mut self, seconds: u64) {
        self.nodes.values().for_each(|node| node.clock.advance(Duration::from_secs(seconds)));
    }

    /// Restarts everybody and checks what must hold after any run.
    ///
    /// # Panics
    /// If an invariant is broken; the text says which.
    #[expect(clippy::panic, reason = "a checker must stop the test")]
    pub fn check(&mut self) -> crate::nonce_checker::Report {
        for party in self.parties() {
            self.crash(party);
            let Some(node) = self.nodes.get(&party) else { continue };
            let Ok(store) = Store::with_backend(node.disk.clone()) else {
                panic!("party {party}'s store does not open");
            };
            for request in &node.released {
                let counted = store.request(*request).ok().flatten().is_some_and(|r| r.counted);
                assert!(
                    counted,
                    "party {party} sent a nonce point for a spend that is not durable"
                );
            }
            let (network, identity) = (self.membership.network(), node.identity.public());
            let whose = Whose { network, party: id(party), identity };
            let countersigned = match Countersigned::of_group(&store, &self.membership) {
                Ok(countersigned) => countersigned,
                Err(error) => panic!("party {party}: {error}"),
            };
            if let Err(error) = quorate_node::audit::check(&store, &whose, countersigned) {
                panic!("party {party}'s audit log: {error}");
            }
            drop(store);
            node.disk.disarm();
        }
        self.parties().into_iter().for_each(|party| self.boot(party));
        self.wait(3);
        self.check_keys();
        let wire = self.wire();
        assert_eq!(wire.unknown, 0, "nonce points of sessions that nobody was told to start");
        let report = wire.checker.report(|session| wire.about(session));
        assert!(report.reuses.is_empty(), "a nonce in two contexts: {:?}", report.reuses);
        report
    }

    /// No share of a confirmed key is lost: what one party has as active, all have, and alike.
    fn check_keys(&mut self) {
        let mut active = BTreeMap::new();
        for party in self.parties() {
            for key in self.keys(party).into_iter().filter(|key| key.state == "active") {
                active.entry(key.key).or_insert(key.public_key);
            }
        }
        for party in self.parties() {
            let keys = self.keys(party);
            for (key, public) in &active {
                let own = keys.iter().find(|own| own.key == *key);
                assert!(
                    own.is_some_and(|own| own.state == "active" && own.public_key == *public),
                    "party {party} lost its share of the active key {key}: {own:?}"
                );
            }
        }
    }

    /// What a party's audit log says it released with a key, wei by request. The party restarts for it.
    ///
    /// # Panics
    /// If its log cannot be read to its end.
    pub fn released(&mut self, party: u16, key: &KeyInfo) -> BTreeMap<String, u128> {
        let mut spent = BTreeMap::new();
        for record in self.audit_log(party) {
            let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
            if field("event") == "released" && field("key") == key.key {
                let amount: u128 = field("spend").parse().unwrap_or(u128::MAX);
                spent.insert(field("request").to_owned(), amount);
            }
        }
        spent
    }

    /// Adds up what each party's audit log says it released, each request once: never more than the
    /// limit. Call it after [`Self::check`]. Returns how many releases it saw: each signature takes three.
    ///
    /// # Panics
    /// If a party went over the limit, or its log is longer than what was read.
    pub fn check_limit(&mut self, key: &KeyInfo, ether: u32) -> usize {
        let mut releases = 0;
        let limit = u128::from(ether) * 1_000_000_000_000_000_000;
        for party in self.parties() {
            let spent = self.released(party, key);
            let total: u128 = spent.values().sum();
            assert!(total <= limit, "party {party} released {total} of {limit} wei");
            releases += spent.len();
        }
        releases
    }
}
