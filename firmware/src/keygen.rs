//! A holder's part in a key generation: judge the proposal, ask the person, run core's rounds, store the share.
//! [`confirm`] has what follows.

mod confirm;
mod run;

use heapless::{String, Vec};
use quorate_core::curve::Suite;
use quorate_core::device::link::Event;
use quorate_core::dkg::{Output, Peer};
use quorate_core::hash::Digest;
use quorate_core::identity::SessionKeyCertificate;
use quorate_core::key::{Confirmation, KeyTerms, PublicKey, ShareRecord};
use quorate_core::party::PartyId;
use quorate_core::policy::Policy;
use quorate_core::session::{Abort, Header, Refusal};
use quorate_core::wire;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::cause::Cause;
use crate::channels::{Inbox, Taken};
use crate::device::{About, Engine, Known, Work};
use crate::judge::can_judge;
use crate::message::{
    self, AcceptKey, Asking, CancelKey, Dkg, ProposeKey, RejectKey, StartKey, key_session,
};
use crate::platform::Platform;
use crate::store::{MAX_KEYS, Part, Slot};
use crate::{MAX_HOLDERS, MAX_NONCE_KEYS, MAX_QUORUM, PATIENCE};

pub(crate) use confirm::Confirming;
use run::Run;

/// A key's public side.
pub(crate) type Public = PublicKey<MAX_HOLDERS>;
/// This party's secrets of one key.
pub(crate) type Record = ShareRecord<MAX_HOLDERS, MAX_NONCE_KEYS>;
/// A party's word that it has its share.
pub(crate) type Confirmed = Confirmation<MAX_HOLDERS, MAX_NONCE_KEYS>;

/// A name has at most so many bytes.
pub(crate) const MAX_NAME: usize = 64;
/// No policy is longer: with all that is around it, it fits into one message.
pub const MAX_POLICY: usize = 2304;
/// A generation that has been accepted ends by itself, milliseconds.
const DEADLINE: u64 = 30_000;

/// Which key a number in the store is, written last.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyEntry {
    pub(crate) key: [u8; 16],
    pub(crate) name: String<MAX_NAME>,
    pub(crate) active: bool,
}

quorate_core::read_fields!(KeyEntry { key, name, active });
quorate_core::write_fields!(KeyEntry { key, name, active });

/// A key that a person is asked to forget: its number in the store, and what they read of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) place: u8,
    pub(crate) active: bool,
}

/// A key generation under way.
pub(crate) struct Generation {
    pub(crate) coordinator: PartyId,
    pub(crate) session: Digest,
    pub(crate) terms: KeyTerms,
    pub(crate) name: String<MAX_NAME>,
    /// The key's number in the store, if it comes to be.
    number: u8,
    /// Milliseconds.
    deadline: u64,
    round: u8,
    stage: Stage,
}

/// How far it is.
#[expect(clippy::large_enum_variant, reason = "no allocator: they share one place")]
enum Stage {
    /// The person is asked. The policy is stored when the answer is yes.
    Asking(Vec<u8, MAX_POLICY>),
    /// It waits for the start.
    Accepted,
    Running(Run),
}

impl<P: Platform> Engine<'_, P> {
    #[inline(never)]
    pub(crate) fn handle_key_proposal(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let proposed: ProposeKey<'_> = message::read(body).ok()?;
        let session = proposed.session;
        match self.judge_key(from, &proposed) {
            Ok(number) => {
                self.consider_key(from, &proposed, number);
                self.send(from, &Asking { session, seconds: PATIENCE });
                self.ask(About::Key);
            }
            Err(reason) => drop(self.send(from, &RejectKey { session, reason: reason.told() })),
        }
        Some(())
    }

    #[inline(never)]
    fn consider_key(&mut self, from: PartyId, proposed: &ProposeKey<'_>, number: u8) {
        *self.work = Work::Key(Generation {
            coordinator: from,
            session: proposed.session,
            terms: proposed.terms,
            name: String::new(),
            number,
            deadline: u64::MAX,
            round: 0,
            stage: Stage::Asking(Vec::new()),
        });
        // Filled where they stay.
        let Work::Key(generation) = &mut *self.work else { return };
        let _ = generation.name.push_str(proposed.name);
        if let Stage::Asking(policy) = &mut generation.stage {
            let _ = policy.extend_from_slice(proposed.policy);
        }
    }

    #[inline(never)]
    fn judge_key(&mut self, from: PartyId, proposed: &ProposeKey<'_>) -> Result<u8, Cause> {
        let ProposeKey { session, terms, name, policy, approval } = proposed;
        let network = self.known.network.as_ref().ok_or(Cause::Fault)?;
        if terms.network != network.id || *session != key_session(terms, from) {
            return Err(Cause::KeySession);
        }
        if terms.epoch != 0 || name.is_empty() || name.len() > MAX_NAME {
            return Err(Cause::KeyRange);
        }
        if !run::supports(terms.suite) {
            return Err(Cause::Scheme);
        }
        let holders = &terms.holders;
        if holders.count() > MAX_HOLDERS
            || holders.quorum() > MAX_QUORUM
            || holders.nonce_keys() > MAX_NONCE_KEYS
        {
            return Err(Cause::Size);
        }
        let stranger = |party: PartyId| network.identity_of(party).is_none();
        if holders.parties().iter().any(stranger) || !holders.parties().contains(network.me) {
            return Err(Cause::Strangers);
        }
        if policy.len() > MAX_POLICY {
            return Err(Cause::LongPolicy);
        }
        let Ok(parsed) = Policy::parse(policy) else { return Err(Cause::BadPolicy) };
        if parsed.hash() != terms.context {
            return Err(Cause::OtherPolicy);
        }
        if !approval.is_empty() || !can_judge(&parsed) {
            return Err(Cause::Unjudged);
        }
        if parsed.unsatisfiable(holders).is_some() {
            return Err(Cause::NoQuorum);
        }
        self.has_room_for(terms, name)
    }

    /// The number of the next key.
    fn has_room_for(&mut self, terms: &KeyTerms, name: &str) -> Result<u8, Cause> {
        if self.known.rolled_back.is_some() {
            return Err(Cause::RolledBack);
        }
        if self.entropy.failed().is_some() {
            return Err(Cause::Noise);
        }
        if self
            .known
            .peers
            .iter()
            .any(|p| p.distrusted && terms.holders.parties().contains(p.party))
        {
            return Err(Cause::Holder);
        }
        if !matches!(self.work, Work::Idle | Work::Confirm(_)) || self.question.is_some() {
            return Err(Cause::Busy);
        }
        let same = |entry: &KeyEntry| entry.key == terms.key || entry.name.as_str() == name;
        if self.known.find_key(same).is_some() {
            return Err(Cause::SameKey);
        }
        let mut free = (0..MAX_KEYS).filter(|number| self.known.key_entry(*number).is_none());
        free.next().ok_or(Cause::Full)
    }

    pub(super) fn save_entry(&mut self, number: u8, entry: &KeyEntry) -> Option<()> {
        let mut buffer = [0; 16 + 1 + MAX_NAME + 1];
        let bytes = wire::write(entry, &mut buffer).ok()?;
        self.known.store.save(Slot::Key(number, Part::State), bytes).ok()
    }

    /// The person has said yes or no to the key.
    pub(crate) fn key_decided(&mut self, agreed: bool) {
        let Work::Key(generation) = &*self.work else { return };
        let (from, session) = (generation.coordinator, generation.session);
        let accepted = if agreed { self.accept_key() } else { Err(Cause::Person) };
        if let Err(reason) = accepted {
            *self.work = Work::Idle;
            self.send(from, &RejectKey { session, reason: reason.told() });
        }
    }

    #[inline(never)]
    fn accept_key(&mut self) -> Result<(), Cause> {
        let until = self.known.millis().saturating_add(DEADLINE);
        let Work::Key(generation) = &mut *self.work else { return Err(Cause::Fault) };
        let Stage::Asking(policy) = &generation.stage else { return Err(Cause::Fault) };
        let slot = Slot::Key(generation.number, Part::Policy);
        self.known.store.save(slot, policy).map_err(|_| Cause::Fault)?;
        (generation.stage, generation.deadline) = (Stage::Accepted, until);
        let (from, session) = (generation.coordinator, generation.session);
        let (Some(open), Some(network)) = (&*self.open, &*self.known.network) else {
            return Err(Cause::Fault);
        };
        let certificate = open.certify(network, &session);
        self.send(from, &AcceptKey { session, certificate });
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn handle_key_cancel(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let CancelKey { session } = message::read(body).ok()?;
        if matches!(&*self.work, Work::Key(g) if g.session == session && g.coordinator == from) {
            self.end_generation();
        }
        Some(())
    }

    fn end_generation(&mut self) {
        self.take_back(About::Key);
        *self.work = Work::Idle;
    }

    #[inline(never)]
    pub(crate) fn handle_key_start(&mut self, from: PartyId, inbox: Inbox<'_>) -> Option<()> {
        let start = self.read_key_start(from, inbox.body());
        self.check_peers(start.as_ref()?)?;
        self.start_run(start.as_ref()?)?;
        self.drive(inbox.buffer);
        Some(())
    }

    #[inline(never)]
    fn start_run(&mut self, start: &StartKey) -> Option<()> {
        let peer = |c: &SessionKeyCertificate| Peer { party: c.party, session_key: c.key };
        let peers: Vec<Peer, MAX_HOLDERS> = start.peers.iter().map(peer).collect();
        let session = start.session;
        let mut rng = self.rng(&session)?;
        let (Work::Key(generation), Some(open), Some(network)) =
            (&mut *self.work, &*self.open, &*self.known.network)
        else {
            return None;
        };
        let (terms, key) = (generation.terms, &open.session_key);
        let stage = &mut generation.stage;
        let started = Run::start(stage, terms, session, network.me, &peers, key, &mut rng);
        if started.is_none() {
            self.end_generation();
        }
        started
    }

    #[inline(never)]
    fn read_key_start(&mut self, from: PartyId, body: &[u8]) -> Option<StartKey> {
        let start: StartKey = message::read(body).ok()?;
        let Work::Key(generation) = &*self.work else { return None };
        let expected = generation.session == start.session
            && generation.coordinator == from
            && matches!(generation.stage, Stage::Accepted);
        expected.then_some(start)
    }

    /// Session keys count only with their identity key's signature for this session.
    #[inline(never)]
    fn check_peers(&mut self, StartKey { session, peers }: &StartKey) -> Option<()> {
        let network = self.known.network.as_ref()?;
        let certified = peers.iter().all(|c| {
            let identity = network.identity_of(c.party);
            identity.is_some_and(|identity| c.is_signed_by(&identity, &network.id, session))
        });
        if !certified {
            self.end_generation();
            return None;
        }
        Some(())
    }

    #[inline(never)]
    pub(crate) fn handle_dkg(&mut self, from: PartyId, inbox: Inbox<'_>) -> Taken {
        let Ok(Dkg { bytes }) = message::read(inbox.body()) else {
            self.misbehaved(from);
            return Taken::Yes;
        };
        let (Ok(header), Work::Key(generation), Some(open)) =
            (Header::peek(bytes), &mut *self.work, &*self.open)
        else {
            return Taken::Yes;
        };
        if header.session != generation.session {
            return Taken::Yes;
        }
        let taken = match &mut generation.stage {
            Stage::Asking(_) => return Taken::Yes,
            // Of a faster peer: the start is under way.
            Stage::Accepted => return Taken::Later,
            Stage::Running(run) => run.handle_message(from, bytes, &open.session_key),
        };
        match taken {
            Ok(()) => self.drive(inbox.buffer),
            Err(Refusal::Early) => return Taken::Later,
            Err(Refusal::Duplicate | Refusal::Over) => {}
            Err(_) => self.misbehaved(from),
        }
        Taken::Yes
    }

    /// Executes a run's outputs in order. They pass through `buffer`, since each receiver's copy is sealed
    /// in place.
    #[inline(never)]
    fn drive(&mut self, buffer: &mut [u8]) {
        loop {
            let (Work::Key(generation), Some(open)) = (&mut *self.work, &*self.open) else {
                return;
            };
            let Stage::Running(run) = &mut generation.stage else { return };
            let holders = generation.terms.holders.parties();
            let round = run.round();
            if round > generation.round {
                generation.round = round;
                self.event(Event::KeyRound(round));
                continue;
            }
            match run.poll_output(&open.session_key, buffer) {
                Ok(Some(Output::Send { to, bytes })) => {
                    let all = holders.iter().filter(|party| to.is_none_or(|to| to == *party));
                    for to in all {
                        self.send(to, &Dkg { bytes });
                    }
                }
                Ok(Some(Output::Persist)) => return self.keep_key(buffer),
                Ok(Some(Output::Failed(abort))) => return self.fail_key(abort),
                Ok(None) => return,
                Err(_) => return self.fail_key(Abort::Degenerate),
            }
        }
    }

    fn fail_key(&mut self, abort: Abort) {
        let Work::Key(generation) = &*self.work else { return };
        let (to, session) = (generation.coordinator, generation.session);
        self.end_generation();
        let reason = match abort {
            // Of silence it knows itself.
            Abort::Deadline { .. } => return,
            Abort::Culprit(party, _) => {
                self.misbehaved(party);
                Cause::Misbehaviour
            }
            Abort::EchoMismatch(..) => Cause::Broadcasts,
            _ => Cause::Generation,
        };
        self.send(to, &RejectKey { session, reason: reason.told() });
    }

    /// The share is stored as pending, durably, before anybody hears that it is there.
    fn keep_key(&mut self, buffer: &mut [u8]) {
        let Work::Key(generation) = &*self.work else { return };
        let (to, session, number) = (generation.coordinator, generation.session, generation.number);
        let kept = self.store_pending(number, buffer);
        buffer.zeroize();
        *self.work = Work::Idle;
        if kept.is_none() {
            self.send(to, &RejectKey { session, reason: Cause::Fault.told() });
            return;
        }
        self.begin_confirming(number, buffer);
        self.confirm_at = self.known.millis();
    }

    #[inline(never)]
    fn store_pending(&mut self, number: u8, buffer: &mut [u8]) -> Option<()> {
        use quorate_core::dkg::SessionSigner as _;
        let (Work::Key(generation), Some(open), Some(network)) =
            (&mut *self.work, &*self.open, &*self.known.network)
        else {
            return None;
        };
        let Stage::Running(run) = &mut generation.stage else { return None };
        let (public, record) = run.take_key()?;
        let sign = |digest: &Digest| open.identity.sign(digest);
        let own = Confirmed::signed(&public, network.me, &record, sign);
        let (key, name) = (public.terms.key, generation.name.clone());
        let mut save =
            |part, bytes: &[u8]| self.known.store.save(Slot::Key(number, part), bytes).ok();
        save(Part::Public, wire::write(&public, buffer).ok()?)?;
        save(Part::Share, wire::write(&record, buffer).ok()?)?;
        save(Part::Confirmation, wire::write(&own, buffer).ok()?)?;
        self.save_entry(number, &KeyEntry { key, name, active: false })
    }

    pub(crate) fn expire_generation(&mut self, now: u64) {
        let Work::Key(generation) = &mut *self.work else { return };
        if generation.deadline <= now {
            // Who was silent, the coordinator knows itself; nothing of the run is kept.
            self.end_generation();
        }
    }

    /// A person is asked at another holder: the start comes later.
    pub(crate) fn wait_for_key(&mut self, from: PartyId, session: &Digest, until: u64) -> bool {
        match &mut *self.work {
            Work::Key(g) if g.session == *session && g.coordinator == from => {
                if matches!(g.stage, Stage::Accepted) {
                    g.deadline = g.deadline.max(until.saturating_add(DEADLINE));
                }
                true
            }
            _ => false,
        }
    }
}

impl<P: Platform> Known<'_, P> {
    pub(crate) fn key_entry(&mut self, number: u8) -> Option<KeyEntry> {
        let mut buffer = [0; 16 + 1 + MAX_NAME + 1];
        let found = self.store.load(Slot::Key(number, Part::State), &mut buffer).ok()??;
        wire::read(found).ok()
    }

    pub(crate) fn find_key(&mut self, such: impl Fn(&KeyEntry) -> bool) -> Option<u8> {
        (0..MAX_KEYS).find(|number| self.key_entry(*number).is_some_and(|entry| such(&entry)))
    }

    pub(crate) fn count_keys(&mut self) -> u8 {
        (0..MAX_KEYS).filter(|number| self.key_entry(*number).is_some()).count() as u8
    }
}

/// Suites, for people.
pub(crate) fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::EcdsaSecp256k1 => "ECDSA secp256k1",
        Suite::EcdsaP256 => "ECDSA P-256",
        Suite::SchnorrSecp256k1 => "BIP-340",
        Suite::SchnorrEd25519 => "Ed25519",
    }
}
