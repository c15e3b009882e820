//! The other holders of the device's keys: core's own state machines on the host.

use std::collections::VecDeque;

use quorate_core::curve::{EcdsaGroup, Fixed, Group, SchnorrGroup, Suite};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, Peer};
use quorate_core::hash::Digest;
use quorate_core::key::{
    Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord, check_certificate,
};
use quorate_core::nonce::{MAX_MESSAGE, Scheme, Signer};
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::policy::Policy;
use quorate_core::session::Refusal;
use quorate_core::{ecdsa, schnorr, wire};
use quorate_firmware::message::{self, kind};
use quorate_firmware::platform::Button;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::node::{NETWORK, id};
use super::world::{ME, World};

pub type Run<G> = Dkg<G, 7, 15>;
pub type Opened<G> = OpenedKey<G, 7, 15>;
type Word = Confirmation<7, 15>;

/// A key as the other holders have it.
pub struct Key<G: Group> {
    pub public: PublicKey<7>,
    pub members: Vec<Opened<G>>,
}

pub fn terms(suite: Suite, policy: &[u8], number: u8) -> KeyTerms {
    KeyTerms {
        suite,
        network: NETWORK,
        key: [number; 16],
        epoch: 0,
        holders: Holders::new(PartySet::first(4), 2).unwrap(),
        context: Policy::parse(policy).map_or([0; 32], |policy| policy.hash()),
    }
}

pub fn propose(world: &mut World, terms: KeyTerms, name: &str, policy: &[u8]) -> Digest {
    let session = message::key_session(&terms, id(1));
    let approval = &[][..];
    world.node(id(1)).send(&message::ProposeKey { session, terms, name, policy, approval });
    world.pump();
    session
}

/// A whole key generation, from the proposal to the certificate on all sides.
pub fn make_key<G: Fixed>(world: &mut World, policy: &[u8], name: &str, number: u8) -> Key<G> {
    make_key_with(world, policy, name, number, |_| {})
}

/// The same, with something that happens when the key is pending.
pub fn make_key_with<G: Fixed>(
    world: &mut World,
    policy: &[u8],
    name: &str,
    number: u8,
    pending: impl FnOnce(&mut World),
) -> Key<G> {
    let terms = terms(G::SUITE, policy, number);
    let session = propose(world, terms, name, policy);
    let asking: message::Asking = expect(world, kind::ASKING);
    assert_eq!((asking.session, asking.seconds), (session, 55));
    assert!(world.screen().starts_with("MAKE KEY?\n"), "{}", world.screen());
    world.press(Button::Confirm);
    let accepted: message::AcceptKey = expect(world, kind::ACCEPT_KEY);
    let mut runs = start_runs::<G>(world, terms, session, accepted);
    let made = drive(world, &mut runs);
    pending(world);
    confirm(world, made)
}

pub fn expect<T: message::Message + for<'a> wire::Read<'a>>(world: &mut World, kind: u8) -> T {
    let body = world.node(id(1)).next(kind).unwrap_or_else(|| panic!("no message {kind}"));
    message::read(&body).unwrap()
}

pub fn rejection(world: &mut World, kind: u8) -> String {
    let body = world.node(id(1)).next(kind).expect("a rejection");
    let reason = match kind {
        kind::REJECT_KEY => message::read::<message::RejectKey<'_>>(&body).unwrap().reason,
        _ => message::read::<message::RejectSign<'_>>(&body).unwrap().reason,
    };
    match reason {
        message::Rejection::Denied { rule, .. } => format!("denied: {rule}"),
        message::Rejection::BadRequest(what) => format!("bad: {what}"),
        message::Rejection::Failed(what) => format!("failed: {what}"),
        other => format!("{other:?}"),
    }
}

fn start_runs<G: Fixed>(
    world: &mut World,
    terms: KeyTerms,
    session: Digest,
    accepted: message::AcceptKey,
) -> Vec<(PartyId, Run<G>)> {
    let mut peers: heapless::Vec<_, 7> =
        world.nodes.iter().map(|node| node.certificate(&session)).collect();
    peers.push(accepted.certificate).unwrap();
    let known: Vec<Peer> =
        peers.iter().map(|c| Peer { party: c.party, session_key: c.key }).collect();
    world.node(id(1)).send(&message::StartKey { session, peers });
    let runs = world.nodes.iter().map(|node| {
        let mut rng = ChaCha20Rng::from_seed([node.id.number() as u8; 32]);
        let run = Run::new(terms, session, node.id, &known, &node.session_key, &mut rng);
        (node.id, run.unwrap())
    });
    runs.collect()
}

type Made = (PartyId, PublicKey<7>, ShareRecord<7, 15>);

/// Passes all messages, the device's among them, until every host has its key.
fn drive<G: Fixed>(world: &mut World, runs: &mut [(PartyId, Run<G>)]) -> Vec<Made> {
    let mut queue: VecDeque<(PartyId, PartyId, Vec<u8>)> = VecDeque::new();
    let mut made = Vec::new();
    let mut buffer = vec![0; Run::<G>::MAX_MESSAGE];
    for _ in 0..200 {
        for (me, run) in runs.iter_mut() {
            let key = &world.nodes.iter().find(|node| node.id == *me).unwrap().session_key;
            let send = |to: Option<PartyId>, bytes: &[u8]| {
                let all = (1..=ME).map(id).filter(|party| party != me);
                for party in all.filter(|party| to.is_none_or(|to| to == *party)) {
                    queue.push_back((*me, party, bytes.to_vec()));
                }
            };
            if let Some((public, record)) = run.drive(key, &mut buffer, send).unwrap() {
                made.push((*me, public, record));
            }
        }
        for (from, to, bytes) in std::mem::take(&mut queue) {
            if to == id(ME) {
                world.node(from).send(&message::Dkg { bytes: &bytes });
            } else if !give(world, runs, from, to, &bytes) {
                queue.push_back((from, to, bytes));
            }
        }
        world.pump();
        for place in 0..world.nodes.len() {
            let to = world.nodes[place].id;
            let came = std::mem::take(&mut world.nodes[place].received);
            for message in came {
                if message[1] != kind::DKG {
                    world.nodes[place].received.push_back(message);
                    continue;
                }
                let bytes = message::read::<message::Dkg<'_>>(&message[2..]).unwrap().bytes;
                if !give(world, runs, id(ME), to, bytes) {
                    queue.push_back((id(ME), to, bytes.to_vec()));
                }
            }
        }
        if made.len() == runs.len() {
            return made;
        }
    }
    panic!("no key: {:?}", runs.iter().map(|(_, run)| run.waiting_for()).collect::<Vec<_>>());
}

/// Whether the run took it; it is given again else.
fn give<G: Fixed>(
    world: &World,
    runs: &mut [(PartyId, Run<G>)],
    from: PartyId,
    to: PartyId,
    bytes: &[u8],
) -> bool {
    let key = &world.nodes.iter().find(|node| node.id == to).unwrap().session_key;
    let (_, run) = runs.iter_mut().find(|(party, _)| *party == to).unwrap();
    match run.handle_message(from, bytes, key) {
        Err(Refusal::Early) => false,
        other => {
            other.unwrap();
            true
        }
    }
}

/// All confirm; the key becomes active on the device and here.
fn confirm<G: Fixed>(world: &mut World, made: Vec<Made>) -> Key<G> {
    let public = made[0].1.clone();
    let key = public.terms.key;
    let mut words: Vec<Word> = Vec::new();
    for (party, public, record) in &made {
        let node = world.node(*party);
        let word = Word::signed(public, *party, record, |digest| node.sign(digest));
        let mut buffer = [0; 1000];
        let confirmation = &*wire::encode(&word, &mut buffer).unwrap();
        node.send(&message::Confirm { key, confirmation, pending: true });
        words.push(word);
    }
    world.pass(1000);
    let body = world.node(id(1)).next(kind::CONFIRM).expect("the device confirms");
    let confirm: message::Confirm<'_> = message::read(&body).unwrap();
    assert_eq!(confirm.key, key);
    words.push(wire::decode(confirm.confirmation).unwrap());
    let active: message::KeyActive = expect(world, kind::KEY_ACTIVE);
    assert_eq!(active.key, key);
    let members: Vec<_> = world.nodes.iter().map(|node| node.member()).chain([world.me]).collect();
    let identity = |party| members.iter().find(|m| m.party == party).map(|m| m.identity);
    check_certificate(&public, &words, identity).unwrap();
    let open = made
        .into_iter()
        .zip(&words)
        .map(|((party, public, record), word)| Opened::open(&public, party, record, word).unwrap());
    let members = open.collect();
    Key { public, members }
}

/// How a proposal was answered.
pub fn propose_signature(world: &mut World, nonce: u8, request: &[u8]) -> Digest {
    let nonce = [nonce; 32];
    let session = message::sign_session(&NETWORK, id(1), &nonce, request);
    world.node(id(1)).send(&message::ProposeSign { nonce, request });
    world.pump();
    session
}

pub fn accepted_salt(world: &mut World, session: &Digest) -> [u8; 32] {
    let accepted: message::AcceptSign = expect(world, kind::ACCEPT_SIGN);
    assert_eq!(accepted.session, *session);
    accepted.salt
}

/// The quorum of parties 1, 2 and the device.
pub fn quorum() -> PartySet {
    [1, 2, ME].into_iter().filter_map(PartyId::new).collect()
}

pub fn salts(device: [u8; 32]) -> heapless::Vec<(PartyId, [u8; 32]), 7> {
    [(id(1), [0x11; 32]), (id(2), [0x22; 32]), (id(ME), device)].into_iter().collect()
}

/// Sends the start, and R1 of the others: first of all, so that the device asks for them again.
pub fn start(world: &mut World, session: Digest, salt: [u8; 32], nonces: &[(PartyId, Vec<u8>)]) {
    if let Some((_, bytes)) = nonces.iter().find(|(party, _)| *party == id(2)) {
        world.node(id(2)).send(&message::Signing { bytes });
        world.pump();
        assert_eq!(world.node(id(2)).frames.len(), 1, "it is too early");
    }
    let salts = salts(salt);
    world.node(id(1)).send(&message::StartSign { session, quorum: quorum(), salts });
    if let Some((_, bytes)) = nonces.iter().find(|(party, _)| *party == id(1)) {
        world.node(id(1)).send(&message::Signing { bytes });
    }
    world.pump();
}

/// The hosts' R1, and their signers, which took the device's.
pub struct Hosts<'k, P: Scheme> {
    members: Vec<(&'k Opened<P::Group>, Signer<P, 5>)>,
}

impl<P: Scheme> Hosts<'_, P> {
    pub fn nonces(&self) -> Vec<(PartyId, Vec<u8>)> {
        let nonce = |(key, signer): &(&Opened<P::Group>, Signer<P, 5>)| {
            (key.party(), signer.nonce_message(&mut [0; MAX_MESSAGE]).unwrap().to_vec())
        };
        self.members.iter().map(nonce).collect()
    }

    /// All shares but the device's.
    fn shares(&mut self, nonces: &[(PartyId, Vec<u8>)]) -> Vec<(PartyId, Vec<u8>)> {
        let share = |(key, signer): &mut (&Opened<P::Group>, Signer<P, 5>)| {
            let share = signer.handle_nonces(key, nonces).unwrap().unwrap();
            (key.party(), share.encode(&mut [0; MAX_MESSAGE]).unwrap().to_vec())
        };
        self.members.iter_mut().map(share).collect()
    }
}

pub fn ecdsa_hosts<G: EcdsaGroup>(
    key: &Key<G>,
    derivation: Derivation,
    digest: Digest,
    salt: [u8; 32],
) -> (ecdsa::Combiner<G, 5>, Hosts<'_, ecdsa::Ecdsa<G>>) {
    let terms = ecdsa::SignTerms { quorum: quorum(), coordinator: id(1), derivation, digest };
    let salts = salts(salt);
    let combiner = ecdsa::Combiner::new(&key.public, terms, &salts).unwrap();
    let members = key.members[..2].iter().map(|member| {
        let own = &salts.iter().find(|(party, _)| *party == member.party()).unwrap().1;
        (member, ecdsa::Signer::new(member, terms, &salts, own).unwrap())
    });
    (combiner, Hosts { members: members.collect() })
}

type SchnorrHosts<'k, G> =
    (schnorr::Combiner<G, [u8; 32], 5>, Hosts<'k, schnorr::Schnorr<G, [u8; 32]>>);

pub fn schnorr_hosts<G: SchnorrGroup>(
    key: &Key<G>,
    message: [u8; 32],
    salt: [u8; 32],
) -> SchnorrHosts<'_, G> {
    let (derivation, tweak) = (Derivation::Root, schnorr::Tweak::None);
    let (quorum, coordinator) = (quorum(), id(1));
    let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
    let salts = salts(salt);
    let combiner = schnorr::Combiner::new(&key.public, terms, &salts).unwrap();
    let members = key.members[..2].iter().map(|member| {
        let own = &salts.iter().find(|(party, _)| *party == member.party()).unwrap().1;
        (member, schnorr::Signer::new(member, terms, &salts, own).unwrap())
    });
    (combiner, Hosts { members: members.collect() })
}

/// What the device sent: R1, with the head before it, and its share.
pub fn device_messages(world: &mut World) -> (Vec<u8>, Vec<u8>) {
    let head: message::Head = expect(world, kind::HEAD);
    assert_eq!(head.head.certificate.party, id(ME));
    let mut next = || {
        let body = world.node(id(1)).next(kind::SIGNING).expect("a message of the protocol");
        message::read::<message::Signing<'_>>(&body).unwrap().bytes.to_vec()
    };
    (next(), next())
}

/// The signature that all shares make.
pub fn combine<P, S, T>(
    mut hosts: Hosts<'_, P>,
    (first, share): (Vec<u8>, Vec<u8>),
    mut take_nonce: impl FnMut(PartyId, &[u8]),
    mut take_share: impl FnMut(PartyId, &[u8]) -> Result<Option<S>, T>,
) -> S
where
    P: Scheme,
    T: std::fmt::Debug,
{
    let mut nonces = hosts.nonces();
    nonces.push((id(ME), first));
    for (from, bytes) in &nonces {
        take_nonce(*from, bytes);
    }
    let mut shares = hosts.shares(&nonces);
    shares.push((id(ME), share));
    let mut signature = None;
    for (from, bytes) in shares {
        signature = take_share(from, &bytes).unwrap().or(signature);
    }
    signature.expect("a signature")
}
