//! A group around one device: host parties that run the core and speak to it what nodes speak, each through a
//! channel of its own, over whatever link carries the frames. One of them coordinates. Everything but the device
//! follows from a seed.
//!
//! The device may lose its power at any moment: then a call ends with [`Failed::Gone`], and
//! [`ChipGroup::connect`] begins again with what there is by then. All that it ever said to anybody is kept.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

mod coordinate;
mod frost;
mod hosted;
mod link;
mod party;
mod suites;
mod traffic;
mod wires;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use quorate_core::curve::Suite;
use quorate_core::derive::Derivation;
use quorate_core::device::channel::Ends;
use quorate_core::device::link::{Event, MAX_KEYS, Member, Refused, Request, membership_digest};
use quorate_core::hash::Digest;
use quorate_core::identity::Identity;
use quorate_core::key::KeyTerms;
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::policy;
use quorate_core::request::{KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest};
use quorate_core::session::{Header, Protocol};
use quorate_node::message::{PeerMessage, SignedHead};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use crate::chip::{Gone, Reply};
use crate::nonce_checker::{NonceChecker, Report};
use coordinate::{Making, Signing};
use party::Party;
use wires::{Wire, Wires};

pub use coordinate::{Failed, Signed};
pub use frost::{List, Offered, Suite as FrostSuite};
pub use hosted::HostedDevice;
pub use link::DeviceLink;
pub use quorate_firmware::hosted::Flash;
pub use suites::Signature;

/// When the host parties think that it is, first of all: Unix seconds.
pub const NOW: u64 = 1_800_000_000;
/// What takes longer does not come any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing to do so many times in a row: what is pending is confirmed again, as nodes do.
const IDLE: u32 = 10;

/// What the person at the device does when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    /// Presses yes.
    Confirms,
    /// Presses no.
    Refuses,
    /// Does nothing.
    IsAway,
}

impl From<Gone> for Failed {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// See above. `L` is the link to the device.
pub struct ChipGroup<L> {
    /// The link; none while the device has no power.
    pub link: Option<L>,
    /// Which party the device is: the last.
    pub device: PartyId,
    /// What the person there does.
    pub person: Person,
    /// Unix seconds, by the clocks of the host parties.
    pub now: u64,
    /// What the device has told for people.
    pub events: Vec<Event>,
    /// Requests of the link that the device has refused.
    pub refused: Vec<Refused>,
    /// All that ever left the device, sealed or not, in order: to whom, and the frame.
    pub frames: Vec<(PartyId, Vec<u8>)>,
    /// All that it said in its channels, in order.
    pub said: Vec<(PartyId, PeerMessage)>,
    network: [u8; 16],
    identity: Option<Identity>,
    parties: BTreeMap<PartyId, Party>,
    wires: Wires,
    /// Messages among the host parties: from, to, message.
    queue: VecDeque<(PartyId, PartyId, PeerMessage)>,
    makings: BTreeMap<Digest, Making>,
    signings: BTreeMap<Digest, Signing>,
    /// Y and digest by D0, of everything that was ever started.
    abouts: BTreeMap<Digest, (Vec<u8>, Digest)>,
    /// The newest head of the device that each host party has kept.
    heads: BTreeMap<PartyId, Box<SignedHead>>,
    /// The device has shown a head below one that it signed before.
    rolled_back: Option<u32>,
    checker: NonceChecker,
    /// Whose frame was relayed last.
    turn: Option<PartyId>,
    /// Steps without anything to do, since the last with something.
    idle: u32,
    rng: ChaCha20Rng,
}

impl<L: DeviceLink> ChipGroup<L> {
    /// `members` parties, of which the last is the device.
    ///
    /// # Panics
    /// If there are no so many parties.
    #[must_use]
    pub fn new(seed: u64, members: u8) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut network = [0; 16];
        rng.fill_bytes(&mut network);
        let device = crate::simulator::id(members.into());
        let hosts = PartySet::first(members).without(device);
        let party = |me| (me, Party::new(seed, network, me));
        Self {
            link: None,
            device,
            person: Person::Confirms,
            now: NOW,
            events: Vec::new(),
            refused: Vec::new(),
            frames: Vec::new(),
            said: Vec::new(),
            network,
            identity: None,
            parties: hosts.iter().map(party).collect(),
            wires: Wires::new(),
            queue: VecDeque::new(),
            makings: BTreeMap::new(),
            signings: BTreeMap::new(),
            abouts: BTreeMap::new(),
            heads: BTreeMap::new(),
            rolled_back: None,
            checker: NonceChecker::new(),
            turn: None,
            idle: 0,
            rng,
        }
    }

    /// From here on all that the host parties draw follows from this seed, as it did the last time.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = ChaCha20Rng::seed_from_u64(seed);
        for party in self.parties.values_mut() {
            party.rng = ChaCha20Rng::seed_from_u64(seed ^ u64::from(party.me.number()));
        }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> [u8; 16] {
        self.network
    }

    /// Gives a new device its PIN and its place in the network; the person there agrees.
    ///
    /// # Errors
    /// [`Gone`]; what the device refuses is a panic.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn pair(&mut self, link: &mut L, pin: &[u8]) -> Result<Digest, Gone> {
        let identity = match link.hello()?.identity {
            Some(identity) => identity,
            None => {
                done(link.ask(Request::Initialize { pin })?);
                link.hello()?.identity.unwrap_or_else(|| panic!("it has no identity"))
            }
        };
        done(link.ask(Request::Unlock { pin })?);
        let mut members = heapless::Vec::new();
        let hosts = self.parties.values().map(|party| (party.me, party.identity()));
        for (party, identity) in hosts.chain([(self.device, identity)]) {
            let added = members.push(Member { party, identity });
            assert!(added.is_ok(), "more members than a device has room for");
        }
        let digest = membership_digest(&self.network, self.device, &members);
        let (network, party) = (self.network, self.device);
        done(link.ask_person(Request::Join { network, party, members }, true)?);
        self.pin(identity);
        Ok(digest)
    }

    /// Pins the device's identity, as the membership file does.
    pub fn pin(&mut self, device: Identity) {
        self.identity = Some(device);
        let hosts = self.parties.values().map(|party| (party.me, party.identity()));
        let members: BTreeMap<_, _> = hosts.chain([(self.device, device)]).collect();
        for (me, party) in &mut self.parties {
            party.pin(members.clone());
            let (network, peer) = (self.network, self.device);
            let ends = Ends { network, me: *me, peer, identity: device };
            self.wires.insert(*me, Wire::new(ends));
        }
    }

    /// Greets, unlocks, and begins all channels anew; what is pending is confirmed again.
    ///
    /// # Errors
    /// [`Failed`]: also if the device refuses.
    pub fn connect(&mut self, mut link: L, pin: &[u8]) -> Result<(), Failed> {
        link.hello()?;
        match link.ask(Request::Unlock { pin })? {
            Reply::Done => {}
            reply => return Err(Failed::Session(format!("unlock: {reply:?}"))),
        }
        self.hear_of_keys(&mut link)?;
        self.link = Some(link);
        let hosts: Vec<PartyId> = self.parties.keys().copied().collect();
        for host in &hosts {
            self.peer_up(*host)?;
        }
        // The device has a channel when it has heard the greeting.
        let ready = |wire: &Wire| wire.is_up() && wire.frames.is_empty();
        self.run(|group| group.wires.values().all(ready), "the channels")
    }

    /// A device says once that a key is active, and its power may fail while it does. Nodes wait for no such word; here
    /// tests do.
    fn hear_of_keys(&mut self, link: &mut L) -> Result<(), Gone> {
        for place in 0..MAX_KEYS {
            if let Reply::Key { key, active: true, .. } = link.ask(Request::Key(place))? {
                let kept = self.parties.values_mut().filter_map(|party| party.keys.get_mut(&key));
                kept.for_each(|kept| kept.active = kept.active.with(self.device));
            }
        }
        Ok(())
    }

    /// A party's way to the device is there again, and its channel begins anew.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn peer_up(&mut self, host: PartyId) -> Result<(), Gone> {
        let Some(link) = &mut self.link else { return Err(Gone) };
        if let Reply::Refused(refused) = link.ask(Request::PeerUp(host))? {
            self.refused.push(refused);
        }
        if let (Some(wire), Some(party)) = (self.wires.get_mut(&host), self.parties.get_mut(&host))
        {
            wire.begin(party);
        }
        Ok(())
    }

    /// A party's way to the device is broken.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn peer_down(&mut self, host: PartyId) -> Result<(), Gone> {
        let Some(link) = &mut self.link else { return Err(Gone) };
        if let Reply::Refused(refused) = link.ask(Request::PeerDown(host))? {
            self.refused.push(refused);
        }
        if let Some(wire) = self.wires.get_mut(&host) {
            wire.drop_all();
        }
        Ok(())
    }

    /// What the device had said before its power failed.
    pub fn hear_out(&mut self) {
        while let Ok(true) = self.step() {}
    }

    /// The device has no power any more; sessions that were under way come to nothing.
    pub fn disconnect(&mut self) -> Option<L> {
        self.wires.values_mut().for_each(Wire::drop_all);
        // What was said by then reaches the others; what they answer does not reach the device.
        while let Some((from, to, message)) = self.queue.pop_front() {
            self.deliver(from, to, message);
        }
        self.makings.clear();
        self.signings.clear();
        self.link.take()
    }

    /// Makes a key of the first `n` − 1 host parties and the device, active at all.
    ///
    /// # Errors
    /// [`Failed`]. After [`Failed::Gone`] the key may be pending: see [`Self::finish_key`].
    pub fn make_key(
        &mut self,
        suite: Suite,
        n: u8,
        t: u8,
        policy: &[u8],
    ) -> Result<[u8; 16], Failed> {
        let key = self.begin_key(suite, n, t, policy);
        self.finish_key(&key)?;
        Ok(key)
    }

    /// Proposes a key, and does nothing more: [`Self::step`] and [`Self::finish_key`] do.
    ///
    /// # Panics
    /// If there are no such holders.
    pub fn begin_key(&mut self, suite: Suite, n: u8, t: u8, policy: &[u8]) -> [u8; 16] {
        let hosts = self.parties.keys().copied().take(usize::from(n) - 1);
        let parties: PartySet = hosts.chain([self.device]).collect();
        let holders = Holders::new(parties, t).unwrap_or_else(|error| panic!("{error}"));
        let mut key = [0; 16];
        self.rng.fill_bytes(&mut key);
        let (network, context) = (self.network, policy::hash_of(policy));
        let terms = KeyTerms { suite, network, key, epoch: 0, holders, context };
        let coordinator = self.coordinator();
        let mut outbox = Vec::new();
        let name = format!("key-{}", hex::encode(key));
        let making = Making::propose(coordinator, terms, &name, policy, &mut outbox);
        self.makings.insert(Making::session(&terms, coordinator), making);
        self.send_all(coordinator, outbox);
        key
    }

    /// Waits until a key is active at all; also one that was pending when the device lost its power.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn finish_key(&mut self, key: &[u8; 16]) -> Result<(), Failed> {
        let over = |group: &Self| group.is_active(key) || group.key_failure(key).is_some();
        self.run(over, "a key generation")?;
        match self.key_failure(key) {
            Some(failed) if !self.is_active(key) => Err(failed),
            _ => Ok(()),
        }
    }

    fn key_failure(&self, key: &[u8; 16]) -> Option<Failed> {
        self.makings.values().find(|making| making.terms.key == *key)?.failed.clone()
    }

    /// Whether every holder says that the key is active.
    #[must_use]
    pub fn is_active(&self, key: &[u8; 16]) -> bool {
        let mut holders = self.parties.values().filter_map(|party| party.keys.get(key)).peekable();
        holders.peek().is_some()
            && holders.all(|kept| {
                let all = kept.public.terms.holders.parties();
                kept.active.contains_all(&all)
            })
    }

    /// Whether the device has said that it holds its share: then it is there after a power cut too.
    #[must_use]
    pub fn has_confirmed(&self, key: &[u8; 16]) -> bool {
        let confirms = |message: &PeerMessage| match message {
            PeerMessage::Confirm { key: named, .. } => named == key,
            _ => false,
        };
        self.said.iter().any(|(_, message)| confirms(message))
    }

    /// Who asks: policies name it.
    #[must_use]
    pub fn client(&self) -> SigningKey {
        SigningKey::from_bytes(&[0xc1; 32])
    }

    /// A request of the client that expires in an hour.
    ///
    /// # Panics
    /// If it is too long.
    pub fn request(&mut self, key: &[u8; 16], payload: Payload<'_>) -> Vec<u8> {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        let request = SignRequest {
            network: NetworkId(self.network),
            key: KeyId(*key),
            derivation: Derivation::Root,
            payload,
            label: "",
            expires: self.now + 3600,
            nonce,
        };
        let mut buffer = vec![0; MAX_REQUEST];
        let signed = request.sign(&self.client(), &mut buffer);
        signed.unwrap_or_else(|error| panic!("{error:?}")).to_vec()
    }

    /// Makes a signature with the device in the quorum; independent judges have accepted it.
    ///
    /// # Errors
    /// [`Failed`]: also if the device denies the request.
    pub fn sign(&mut self, request: &[u8]) -> Result<Signed, Failed> {
        let session = self.begin_signature(request)?;
        self.finish_signature(&session)
    }

    /// Proposes a signature, and does nothing more. Several may be under way.
    ///
    /// # Errors
    /// [`Failed`]: no such key, or the device was put back to an earlier state.
    pub fn begin_signature(&mut self, request: &[u8]) -> Result<Digest, Failed> {
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let (id, ..) = party::asked(request).map_err(Failed::Session)?;
        if let Some(generation) = self.rolled_back {
            return Err(Failed::Session(format!("rolled back in generation {generation}")));
        }
        let coordinator = self.coordinator();
        let key = self.parties.get(&coordinator).and_then(|party| party.keys.get(&id));
        let key = key.ok_or_else(|| Failed::Session("no such key".to_owned()))?;
        let holders = key.public.terms.holders;
        let others = holders.parties().without(self.device).without(coordinator);
        let quorum: PartySet = [self.device, coordinator]
            .into_iter()
            .chain(others.iter())
            .take(holders.quorum())
            .collect();
        let mut outbox = Vec::new();
        let public = &key.public;
        let signing = Signing::propose(coordinator, quorum, nonce, request, public, &mut outbox);
        let signing = signing.map_err(Failed::Session)?;
        let session =
            quorate_node::message::sign_session(&self.network, coordinator, &nonce, request);
        self.signings.insert(session, signing);
        self.send_all(coordinator, outbox);
        Ok(session)
    }

    /// Waits for a signature.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn finish_signature(&mut self, session: &Digest) -> Result<Signed, Failed> {
        let over =
            |group: &Self| group.signings.get(session).is_none_or(|signing| signing.done.is_some());
        self.run(over, "a signature")?;
        let signing = self.signings.remove(session);
        signing.and_then(|signing| signing.done).unwrap_or(Err(Failed::Gone))
    }

    /// Gives a session up, and says so.
    pub fn cancel_signature(&mut self, session: &Digest) {
        let Some(signing) = self.signings.remove(session) else { return };
        let everybody = self.parties.keys().copied().chain([self.device]);
        let cancel = everybody.map(|to| (to, PeerMessage::CancelSign { session: *session }));
        self.send_all(signing.coordinator, cancel.collect());
    }

    /// How many signatures of the stateless mode the device ever released, by the first messages that it said;
    /// each to several members.
    #[must_use]
    pub fn releases(&self) -> u64 {
        let first = |(_, said): &(PartyId, PeerMessage)| match said {
            PeerMessage::Ecdsa(bytes) => Header::peek(bytes)
                .ok()
                .filter(|header| header.round == 1 && header.protocol != Protocol::Frost)
                .map(|header| header.session),
            _ => None,
        };
        self.said.iter().filter_map(first).collect::<BTreeSet<Digest>>().len() as u64
    }

    /// What the checker finds in all that the device ever said, whatever happened to it in between.
    #[must_use]
    pub fn nonces(&self) -> Report {
        self.checker.report(|inputs| self.abouts.get(inputs).cloned())
    }

    /// The newest head of the device's log that a host party has kept: generation and number.
    #[must_use]
    pub fn kept_head(&self) -> Option<(u32, u64)> {
        self.heads.values().map(|head| head.place()).max()
    }

    /// Whether the device has shown that it was put back to an earlier state, and was not re-admitted since.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        self.rolled_back.is_some()
    }

    /// What host parties did not like.
    #[must_use]
    pub fn incidents(&self) -> Vec<String> {
        self.parties.values().flat_map(|party| party.incidents.clone()).collect()
    }

    fn coordinator(&self) -> PartyId {
        self.parties.keys().next().copied().unwrap_or(self.device)
    }
}

fn done(reply: Reply) {
    assert_eq!(reply, Reply::Done, "the device refuses to be paired");
}
