//! Sessions, with a single strange message and with a whole plan of operations.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use quorate_core::curve::{self, Ed25519, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, Early, Output};
use quorate_core::ecdsa;
use quorate_core::key::{OpenedKey, PublicKey};
use quorate_core::nonce::{Combine, Combiner, Failure, MAX_MESSAGE, Scheme, Signer};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr;
use quorate_core::session::{Abort, Header};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::plan::{Air, Plan, Step};
use crate::judge::{accepts, accepts_ed25519};
use crate::simulator::schnorr::terms_of;
use crate::simulator::{
    Curve, Group, K, N, Packet, S, group_on, id, peers, salt_of, session_key, session_of, terms,
};

pub(super) const HOLDERS: u8 = 4;
pub(super) const MESSAGE: &[u8] = b"what is signed";
pub(super) const DIGEST: [u8; 32] = [7; 32];

/// Whoever is blamed must be corrupt.
pub(super) fn judge(abort: Abort, corrupt: Option<PartyId>) {
    let (culprits, fault) = match abort {
        Abort::Culprit(party, fault) => (PartySet::EMPTY.with(party), fault),
        Abort::Culprits(parties, fault) => (parties, fault),
        _ => return,
    };
    let expected = corrupt.map(|party| PartySet::EMPTY.with(party));
    assert_eq!(Some(culprits), expected, "an honest party is blamed: {fault:?}");
}

type Run = Box<Dkg<Curve, N, K>>;

pub(super) fn dkg_runs() -> BTreeMap<PartyId, Run> {
    let parties = PartySet::first(HOLDERS);
    let Ok(terms) = terms(parties, 2, 1) else { return BTreeMap::new() };
    crate::simulator::forge::remember_holders(terms.holders);
    let start = |me: PartyId| {
        let mut rng = ChaCha20Rng::seed_from_u64(u64::from(me.number()));
        let (peers, signer) = (peers(parties), session_key(me));
        let run = Dkg::new(terms, session_of(1), me, &peers, &signer, &mut rng).ok()?;
        Some((me, Box::new(run)))
    };
    parties.iter().filter_map(start).collect()
}

/// One message of any round that arrives at once.
pub(super) fn dkg_message(input: &[u8]) {
    let parties = PartySet::first(HOLDERS);
    let Ok(terms) = terms(parties, 2, 1) else { return };
    let (me, signer) = (id(1), session_key(id(1)));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let Ok(run) =
        Dkg::<Curve, N, K>::new(terms, session_of(1), me, &peers(parties), &signer, &mut rng)
    else {
        return;
    };
    let mut run = Box::new(run);
    let from = Header::peek(input).map_or(id(2), |header| header.from);
    let before = run.waiting_for();
    let taken = run.handle_message(from, input, &signer);
    // A refusal changes nothing.
    assert!(taken.is_ok() || run.waiting_for() == before);
    let mut buffer = vec![0; Dkg::<Curve, N, K>::MAX_MESSAGE];
    while let Ok(Some(output)) = run.poll_output(&signer, &mut buffer) {
        if let Output::Failed(abort) = output {
            // Party 2 is the dealer whom the seeds' complaints convict, rightly.
            let convicted = matches!(abort, Abort::Culprit(party, _) if party == id(2));
            judge(abort, if convicted { Some(id(2)) } else { Some(from) });
        }
        assert_ne!(output, Output::Persist);
    }
}

pub(super) fn drain(
    me: PartyId,
    run: &mut Run,
    mut send: impl FnMut(Packet),
) -> Option<Result<(), Abort>> {
    let (mut buffer, mut end) = (vec![0; Dkg::<Curve, N, K>::MAX_MESSAGE], None);
    while let Ok(Some(output)) = run.poll_output(&session_key(me), &mut buffer) {
        match output {
            Output::Send { to, bytes } => {
                let all = PartySet::first(HOLDERS).without(me);
                for to in to.map_or(all, |to| [to].into_iter().collect()).iter() {
                    send(Packet { from: me, to, bytes: bytes.to_vec() });
                }
            }
            Output::Persist => end = Some(Ok(())),
            Output::Failed(abort) => end = Some(Err(abort)),
        }
    }
    end
}

/// A key generation under a plan.
struct Generation {
    air: Air,
    runs: BTreeMap<PartyId, Run>,
    early: BTreeMap<PartyId, Early<Vec<u8>, N>>,
    made: BTreeMap<PartyId, PublicKey<N>>,
}

impl Generation {
    fn drain(&mut self, me: PartyId) {
        let Some(run) = self.runs.get_mut(&me) else { return };
        match drain(me, run, |packet| self.air.send(packet)) {
            Some(Err(abort)) if Some(me) != self.air.corrupt => judge(abort, self.air.corrupt),
            Some(Ok(())) => {
                let key = run.take_key();
                assert!(key.is_some(), "a key to store, and none there");
                self.made.extend(key.map(|(public, _)| (me, public)));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        if let Some(run) = self.runs.get_mut(&packet.to) {
            // As drivers do it: what is a round ahead is kept.
            let early = self.early.entry(packet.to).or_default();
            let signer = session_key(packet.to);
            early.handle(run, packet.from, packet.bytes.clone(), &signer, |_, _| {});
        }
        self.drain(packet.to);
    }

    fn time_out(&mut self, party: PartyId) {
        if let Some(run) = self.runs.get_mut(&party) {
            run.handle_timeout();
        }
        self.drain(party);
    }
}

/// Operations on a key generation.
pub(super) fn dkg_session(input: &[u8]) {
    let mut plan = Plan::new(input);
    let parties: Vec<PartyId> = PartySet::first(HOLDERS).iter().collect();
    let air = Air::new(parties.clone(), &mut plan);
    let (early, made) = (BTreeMap::new(), BTreeMap::new());
    let mut all = Generation { air, runs: dkg_runs(), early, made };
    for me in &parties {
        all.drain(*me);
    }
    while let Some(step) = all.air.step(&mut plan) {
        match step {
            Step::Deliver(packet) => all.deliver(&packet),
            Step::TimeOut(party) => all.time_out(party),
            Step::Meanwhile => {}
        }
    }
    while let Some(packet) = all.air.next_packet() {
        all.deliver(&packet);
    }
    // Whoever still waits has a deadline.
    for me in parties {
        all.time_out(me);
    }
    let mut keys = all.made.values();
    let first = keys.next();
    assert!(keys.all(|key| Some(key) == first), "two keys of one key generation");
    assert!(all.air.disturbed || all.made.len() == usize::from(HOLDERS), "{}", all.made.len());
}

pub(super) fn quorum() -> PartySet {
    [1, 2, 4].map(id).into_iter().collect()
}

type Opened<G> = BTreeMap<PartyId, OpenedKey<G, N, K>>;

fn opened<G: curve::Group>(group: &Group<G>) -> Opened<G> {
    group.iter().filter_map(|(me, stored)| Some((*me, stored.open(*me).ok()?))).collect()
}

/// The group of a coordinator's scheme.
type GroupOf<C> = <<C as Combine>::Scheme as Scheme>::Group;

/// A signing session of three of the four.
pub(super) struct SigningRun<C: Combine + 'static> {
    keys: &'static Opened<GroupOf<C>>,
    signers: BTreeMap<PartyId, Signer<C::Scheme, S>>,
    combiner: Combiner<C, S>,
}

/// What comes of a packet.
pub(super) enum Taken<T> {
    Nothing,
    Answer(Packet),
    Signature(T),
}

struct Keys<G: curve::Group> {
    public: PublicKey<N>,
    opened: Opened<G>,
}

fn keys<G: curve::Fixed>() -> Option<Keys<G>> {
    let group = group_on::<G>(PartySet::first(HOLDERS), 2, 1);
    let public = group.values().next()?.public.clone();
    Some(Keys { public, opened: opened(&group) })
}

fn ecdsa_keys() -> Option<&'static Keys<Secp256k1>> {
    static KEYS: OnceLock<Option<Keys<Secp256k1>>> = OnceLock::new();
    KEYS.get_or_init(keys).as_ref()
}

fn schnorr_keys() -> Option<&'static Keys<Ed25519>> {
    static KEYS: OnceLock<Option<Keys<Ed25519>>> = OnceLock::new();
    KEYS.get_or_init(keys).as_ref()
}

pub(super) fn ecdsa_start() -> Option<SigningRun<ecdsa::Shares<Secp256k1>>> {
    let Keys { public, opened } = ecdsa_keys()?;
    let (quorum, derivation) = (quorum(), Derivation::Root);
    let salts: Vec<_> = quorum.iter().map(|me| (me, salt_of(me, 1))).collect();
    let terms = ecdsa::SignTerms { quorum, coordinator: id(1), derivation, digest: DIGEST };
    let start =
        |me| Some((me, ecdsa::Signer::new(opened.get(&me)?, terms, &salts, &salt_of(me, 1)).ok()?));
    let combiner = ecdsa::Combiner::new(public, terms, &salts).ok()?;
    Some(SigningRun { keys: opened, signers: quorum.iter().filter_map(start).collect(), combiner })
}

pub(super) fn schnorr_start() -> Option<SigningRun<schnorr::Shares<Ed25519, Vec<u8>, S>>> {
    let Keys { public, opened } = schnorr_keys()?;
    let (terms, salts) = terms_of(quorum(), MESSAGE, schnorr::Tweak::None, 1);
    let start = |me| {
        let own = salt_of(me, 1);
        Some((me, schnorr::Signer::new(opened.get(&me)?, terms.clone(), &salts, &own).ok()?))
    };
    let signers = quorum().iter().filter_map(start).collect();
    let combiner = schnorr::Combiner::new(public, terms.clone(), &salts).ok()?;
    Some(SigningRun { keys: opened, signers, combiner })
}

impl<C: Combine> SigningRun<C> {
    pub(super) fn nonces(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for (me, signer) in &self.signers {
            let mut buffer = [0; MAX_MESSAGE];
            let bytes = signer.nonce_message(&mut buffer).unwrap_or_default();
            // The coordinator's combiner gets all of them, its own signer's too.
            packets.extend(quorum().without(*me).with(id(1)).iter().map(|to| Packet {
                from: *me,
                to,
                bytes: bytes.to_vec(),
            }));
        }
        packets
    }

    /// What comes of a packet: at the coordinator both of its ends see a nonce.
    pub(super) fn take(&mut self, packet: &Packet) -> Result<Taken<C::Signature>, Failure> {
        let round = Header::peek(&packet.bytes).map_or(0, |header| header.round);
        let mut combined = Ok(None);
        if packet.to == id(1) {
            combined = match round {
                2 => self.combiner.handle_share(packet.from, &packet.bytes),
                _ => self.combiner.handle_nonce(packet.from, &packet.bytes),
            };
        }
        let answer = self.sign(packet, round)?;
        match (combined?, answer) {
            (Some(signature), _) => Ok(Taken::Signature(signature)),
            (None, Some(answer)) => Ok(Taken::Answer(answer)),
            (None, None) => Ok(Taken::Nothing),
        }
    }

    fn sign(&mut self, packet: &Packet, round: u8) -> Result<Option<Packet>, Failure> {
        let key = self.keys.get(&packet.to);
        let Some((key, signer)) = key.zip(self.signers.get_mut(&packet.to)) else {
            return Ok(None);
        };
        if packet.to == id(1) && (round == 2 || packet.from == id(1)) {
            return Ok(None);
        }
        let Some(share) = signer.handle_nonce(key, packet.from, &packet.bytes)? else {
            return Ok(None);
        };
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = share.encode(&mut buffer).unwrap_or_default().to_vec();
        Ok(Some(Packet { from: packet.to, to: id(1), bytes }))
    }
}

/// The judge shares no code with ours.
fn check_ecdsa(signature: &ecdsa::Signature) {
    let key = ecdsa_keys().and_then(|keys| Some(keys.public.group_key()?.0));
    assert_eq!(key.map(|key| accepts(&key, DIGEST, signature)), Some(Ok(())));
}

fn check_schnorr(signature: &schnorr::Signature) {
    let name = |keys: &Keys<_>| <[u8; 32]>::try_from(keys.public.group_key()?.0.get(1..)?).ok();
    let judged =
        schnorr_keys().and_then(name).map(|key| accepts_ed25519(&key, MESSAGE, &signature.0));
    assert_eq!(judged, Some(Ok(())));
}

/// One message that arrives at a signer and at the coordinator.
fn one_message<T>(input: &[u8], mut take: impl FnMut(&Packet) -> Result<Taken<T>, Failure>) {
    let from = Header::peek(input).map_or(id(2), |header| header.from);
    for to in [id(1), id(4)].into_iter().filter(|to| *to != from) {
        match take(&Packet { from, to, bytes: input.to_vec() }) {
            Err(Failure::Aborted(abort)) => judge(abort, Some(from)),
            Ok(Taken::Nothing) | Err(Failure::Refused(_)) => {}
            Ok(_) => unreachable!("one message makes no share"),
        }
    }
}

/// One message of stateless ECDSA.
pub(super) fn ecdsa_message(input: &[u8]) {
    if let Some(mut run) = ecdsa_start() {
        one_message(input, |packet| run.take(packet));
    }
}

/// One message of stateless Schnorr.
pub(super) fn schnorr_message(input: &[u8]) {
    if let Some(mut run) = schnorr_start() {
        one_message(input, |packet| run.take(packet));
    }
}

/// Operations on a signing session.
pub(super) fn signing<T: PartialEq>(
    input: &[u8],
    parties: PartySet,
    nonces: Vec<Packet>,
    mut take: impl FnMut(&Packet) -> Result<Taken<T>, Failure>,
    check: impl Fn(&T),
) {
    let mut plan = Plan::new(input);
    let mut air = Air::new(parties.iter().collect(), &mut plan);
    nonces.into_iter().for_each(|packet| air.send(packet));
    let (mut first, mut silent) = (None, PartySet::EMPTY);
    loop {
        let packet = match air.step(&mut plan) {
            Some(Step::Deliver(packet)) => packet,
            // There is no deadline inside a signing session: its driver drops it.
            Some(Step::TimeOut(party)) => {
                silent = silent.with(party);
                continue;
            }
            Some(Step::Meanwhile) => continue,
            None => match air.next_packet() {
                Some(packet) => packet,
                None => break,
            },
        };
        if silent.contains(packet.to) {
            continue;
        }
        match take(&packet) {
            Ok(Taken::Answer(answer)) => air.send(answer),
            Ok(Taken::Signature(signature)) => {
                check(&signature);
                assert!(first.replace(signature).is_none(), "two signatures of one session");
            }
            Err(Failure::Aborted(abort)) if Some(packet.to) != air.corrupt => {
                judge(abort, air.corrupt)
            }
            Ok(Taken::Nothing) | Err(_) => {}
        }
    }
    assert!(first.is_some() || air.disturbed, "no signature, and nothing was in its way");
}

/// Operations on a session of stateless ECDSA.
pub(super) fn ecdsa_session(input: &[u8]) {
    if let Some(mut run) = ecdsa_start() {
        signing(input, quorum(), run.nonces(), |packet| run.take(packet), check_ecdsa);
    }
}

/// Operations on a session of stateless Schnorr.
pub(super) fn schnorr_session(input: &[u8]) {
    if let Some(mut run) = schnorr_start() {
        signing(input, quorum(), run.nonces(), |packet| run.take(packet), check_schnorr);
    }
}
