//! Every type that holds secrets, dropped: nothing of them stays in its memory.

use std::cell::RefCell;
use std::collections::BTreeSet;

use quorate_core::curve::{
    EcdsaGroup, Ed25519, Fixed, Group, P256, SchnorrGroup, SchnorrSecp256k1,
};
use quorate_core::curve::{PointBytes, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, Output, SessionKey};
use quorate_core::frost::{FrostKey, SecretRecord};
use quorate_core::hash::Transcript;
use quorate_core::key::{OpenedKey, PublicKey, ShareRecord};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes, SecretScalar};
use quorate_core::session::Header;
use quorate_core::vss::Polynomial;
use quorate_core::{ecdsa, schnorr, wire};
use quorate_tests::simulator::schnorr::terms_of;
use quorate_tests::simulator::{
    N, Packet, S, group_on, id, peers, salt_of, session_key, session_of, terms_on,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, RngCore, SeedableRng as _};

use super::probe::Probe;
use super::sources::secret_types;

type Needle = [u8; 32];

/// Eight bytes in a row are enough to call it a rest of the secret.
fn left_in(memory: &[u8], secret: &Needle) -> bool {
    let parts: BTreeSet<&[u8]> = secret.windows(8).collect();
    memory.windows(8).any(|window| parts.contains(window))
}

fn reversed(mut bytes: Needle) -> Needle {
    bytes.reverse();
    bytes
}

/// As a scalar lies in memory: little-endian words on all machines that run the tests.
fn in_memory<G: Fixed>(scalar: &G::Scalar) -> Needle {
    reversed(G::scalar_to_bytes(scalar))
}

fn random(rng: &mut impl RngCore) -> Needle {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The value holds all `secrets`, and when it is dropped, its memory holds none.
fn wipes<T>(what: &str, value: T, secrets: &[Needle]) {
    let mut probe = Probe::new(value);
    let before = probe.memory();
    assert!(!secrets.is_empty(), "{what}");
    for secret in secrets {
        assert!(before.windows(32).any(|part| part == secret), "{what}: the secret is not in it");
    }
    probe.drop_value();
    let after = probe.memory();
    for secret in secrets {
        assert!(!left_in(&after, secret), "{what}: a secret is left");
    }
}

/// What holds secrets as one of the types that are probed, and in no other way.
const COMPOSED: [&str; 7] = [
    "dkg::evidence::Evidence",
    "dkg::message::Complaint",
    "dkg::message::SignedDeal",
    "frost::pool::Change",
    "frost::pool::NoncePool",
    "frost::sign::Consumed",
    "frost::sign::Reserved",
];

/// Every public type that holds secrets; what is in neither list fails the test below.
const DROPPED: [&str; 13] = [
    "frost::key::FrostKey",
    "frost::key::SecretRecord",
    "secret::SecretBytes",
    "secret::SecretScalar",
    "secret::HedgedRng",
    "vss::Polynomial",
    "key::ShareRecord",
    "key::opened::OpenedKey",
    "nonce::signer::Signer",
    "ecdsa::Signer",
    "schnorr::Signer",
    "dkg::Dkg",
    "dkg::session_key::SessionKey",
];

/// Types are found by their names: these hold what has the name of something secret (`frost::pool::Change`), and
/// is public itself.
const NAMED_ALIKE: [&str; 2] = ["policy::control::change::SignedChange", "request::SignedRequest"];

#[test]
fn no_type_that_holds_secrets_is_forgotten() {
    let found = secret_types();
    let public = found.iter().filter(|ty| ty.public).map(|ty| ty.path.as_str());
    let known = DROPPED.into_iter().chain(COMPOSED).chain(NAMED_ALIKE);
    assert_eq!(public.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn secrets_by_themselves() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = random(&mut rng);
    wipes("SecretBytes", SecretBytes::new(secret), &[secret]);
    fn scalar<G: Fixed>(rng: &mut ChaCha20Rng) {
        let secret = SecretScalar::random(G::default(), rng);
        let bytes = in_memory::<G>(secret.expose());
        wipes("SecretScalar", secret, &[bytes]);
        let polynomial = Polynomial::<G, N>::random(G::default(), 3, rng);
        let constant = in_memory::<G>(polynomial.constant().unwrap().expose());
        wipes("Polynomial", polynomial, &[constant]);
    }
    scalar::<Secp256k1>(&mut rng);
    scalar::<P256>(&mut rng);
    scalar::<Ed25519>(&mut rng);
}

#[test]
fn a_key_that_signs_for_a_party() {
    let odd = |secret: &Needle| {
        let scalar = SchnorrSecp256k1.scalar_from_digest(secret);
        SchnorrSecp256k1::name(&SchnorrSecp256k1::mul_base(&scalar)).unwrap().1
    };
    // Of a secret and its negative, it keeps the one whose point has even y.
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let secret = std::iter::repeat_with(|| random(&mut rng)).find(|secret| !odd(secret)).unwrap();
    let key = SessionKey::new(&SecretBytes::new(secret));
    wipes("SessionKey", key, &[reversed(secret)]);
}

#[test]
fn the_hedged_generator() {
    let (hedge, session) = ([2; 32], [3; 32]);
    let rng = HedgedRng::new(&[1; 32], &SecretBytes::new(hedge), &session, 4);
    let seed = Transcript::new("seed").bytes(&[1; 32]).bytes(&hedge).bytes(&session).u64(4);
    wipes("HedgedRng", rng, &[seed.finish()]);
}

fn group_of_four<G: Fixed>() -> quorate_tests::simulator::Group<G> {
    group_on(PartySet::first(4), 2, 9)
}

/// What fits four holders with T = 2 exactly: room that is not used holds whatever lay on the stack.
type Record = ShareRecord<3, 3>;

fn record<G: Fixed>() -> (Record, Vec<Needle>) {
    let record: Record = wire::decode(&group_of_four::<G>()[&id(1)].sealed).unwrap();
    let others = record.pair_seeds.iter().chain(&record.nonce_keys);
    let secrets = others.chain([&record.share]).map(|secret| *secret.expose()).collect();
    (record, secrets)
}

/// The same value with room for fewer.
fn fitted<A: serde::Serialize, B: serde::Serialize + serde::de::DeserializeOwned>(value: &A) -> B {
    let mut buffer = [0; 2048];
    wire::decode(wire::encode(value, &mut buffer).unwrap()).unwrap()
}

#[test]
fn records() {
    let (record, secrets) = record::<Secp256k1>();
    assert_eq!(secrets.len(), 3 + 3 + 1);
    wipes("ShareRecord", record, &secrets);
}

#[test]
fn opened_keys() {
    fn of<G: Fixed>() {
        let (record, mut secrets) = record::<G>();
        // The share is a scalar there.
        let share = secrets.pop().unwrap();
        secrets.push(reversed(share));
        let stored = &group_of_four::<G>()[&id(1)];
        let (public, own) = (fitted(&stored.public), fitted(&stored.confirmation));
        let opened: OpenedKey<G, 3, 3> = OpenedKey::open(&public, id(1), record, &own).unwrap();
        wipes("OpenedKey", opened, &secrets);
    }
    of::<Secp256k1>();
    of::<P256>();
    of::<Ed25519>();
}

/// A key opened for FROST, and its share as a record holds it.
pub fn frost_key() -> (FrostKey<Ed25519>, Needle) {
    let (record, secrets) = record::<Ed25519>();
    let stored = &group_of_four::<Ed25519>()[&id(1)];
    let own = fitted(&stored.confirmation);
    let public = fitted::<_, PublicKey<3>>(&stored.public);
    let opened: OpenedKey<Ed25519, 3, 3> = OpenedKey::open(&public, id(1), record, &own).unwrap();
    (FrostKey::of(&public, &opened).unwrap(), *secrets.last().unwrap())
}

#[test]
fn keys_opened_for_frost() {
    let (key, share) = frost_key();
    wipes("FrostKey", key, &[reversed(share)]);
    let (version, context, epoch) = (1, [0; 32], 0);
    let secret = SecretBytes::new(share);
    let record = SecretRecord { version, context, epoch, party: id(1), share: secret };
    wipes("SecretRecord", record, &[share]);
}

/// The scalars in `memory` whose point `message` shows by its x, or by its name: nonces.
fn nonces_in<G: Fixed>(memory: &[u8], message: &[u8]) -> Vec<Needle> {
    let shown = |scalar: &G::Scalar| {
        let Some(PointBytes(bytes)) = G::point_to_bytes(&G::mul_base(scalar)) else { return false };
        message.windows(32).any(|part| part == &bytes[1..])
    };
    let windows = memory.windows(32).map(|part| Needle::try_from(part).unwrap());
    // At any byte: scalars of Ed25519 have no alignment.
    let candidates = windows.filter(|part| part.iter().filter(|b| **b == 0).count() < 8);
    candidates
        .filter(|part| G::default().scalar_from_bytes(&reversed(*part)).is_some_and(|s| shown(&s)))
        .collect()
}

/// A signer holds its nonce until it is dropped, or until it has answered.
fn signer<G: Fixed, T>(
    make: impl Fn() -> T,
    message: impl Fn(&T) -> Vec<u8>,
    answer: impl Fn(&mut T),
) {
    let mut dropped = Probe::new(make());
    let shown = message(dropped.value());
    let nonces = nonces_in::<G>(&dropped.memory(), &shown);
    assert!(!nonces.is_empty(), "the nonce is not found in the signer");
    dropped.drop_value();
    assert!(!nonces.iter().any(|nonce| left_in(&dropped.memory(), nonce)), "left by the drop");

    let mut answered = Probe::new(make());
    answer(answered.value());
    let memory = answered.memory();
    assert!(!nonces.iter().any(|nonce| left_in(&memory, nonce)), "left by the answer");
}

const QUORUM: [u16; 3] = [1, 2, 4];

#[test]
fn ecdsa_signers() {
    fn of<G: EcdsaGroup + Fixed>() {
        let group = group_of_four::<G>();
        let quorum: PartySet = QUORUM.map(id).into_iter().collect();
        let salts: Vec<_> = quorum.iter().map(|party| (party, salt_of(party, 1))).collect();
        let terms = ecdsa::SignTerms {
            quorum,
            coordinator: id(1),
            derivation: Derivation::Root,
            digest: [5; 32],
        };
        let key = |me| group[&me].open(me).unwrap();
        let make =
            |me| ecdsa::Signer::<G, S>::new(&key(me), terms, &salts, &salt_of(me, 1)).unwrap();
        let message = |signer: &ecdsa::Signer<G, S>| {
            let mut buffer = [0; ecdsa::MAX_MESSAGE];
            signer.nonce_message(&mut buffer).unwrap().to_vec()
        };
        signer::<G, _>(
            || make(id(1)),
            message,
            |signer| {
                let key = key(id(1));
                let answers = [2, 4].map(id).map(|other| {
                    signer.handle_nonce(&key, other, &message(&make(other))).unwrap().is_some()
                });
                assert_eq!(answers, [false, true]);
            },
        );
    }
    of::<Secp256k1>();
    of::<P256>();
}

#[test]
fn schnorr_signers() {
    fn of<G: SchnorrGroup + Fixed>() {
        let group = group_of_four::<G>();
        let quorum: PartySet = QUORUM.map(id).into_iter().collect();
        let (terms, salts) = terms_of(quorum, b"message", schnorr::Tweak::None, 1);
        let key = |me| group[&me].open(me).unwrap();
        let make = |me| {
            let own = salt_of(me, 1);
            schnorr::Signer::<G, _, S>::new(&key(me), terms.clone(), &salts, &own).unwrap()
        };
        let message = |signer: &schnorr::Signer<G, Vec<u8>, S>| {
            let mut buffer = [0; schnorr::MAX_MESSAGE];
            signer.nonce_message(&mut buffer).unwrap().to_vec()
        };
        signer::<G, _>(
            || make(id(1)),
            message,
            |signer| {
                let key = key(id(1));
                let answers = [2, 4].map(id).map(|other| {
                    signer.handle_nonce(&key, other, &message(&make(other))).unwrap().is_some()
                });
                assert_eq!(answers, [false, true]);
            },
        );
    }
    of::<SchnorrSecp256k1>();
    of::<Ed25519>();
}

/// Remembers everything that is drawn: the dealer's secrets.
struct Recorder<'a> {
    rng: ChaCha20Rng,
    drawn: &'a RefCell<Vec<Vec<u8>>>,
}

impl RngCore for Recorder<'_> {
    fn next_u32(&mut self) -> u32 {
        self.rng.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.rng.fill_bytes(out);
        self.drawn.borrow_mut().push(out.to_vec());
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Recorder<'_> {}

/// Room for three holders: a run is large, and is moved here.
type Run<G> = Dkg<G, 3, 2>;

const HOLDERS: [u16; 3] = [1, 2, 3];

fn start<G: Fixed>(me: PartyId, drawn: &RefCell<Vec<Vec<u8>>>) -> Run<G> {
    let parties = PartySet::first(3);
    let rng = ChaCha20Rng::seed_from_u64(u64::from(me.number()));
    let mut rng = Recorder { rng, drawn };
    let terms = terms_on::<G>(parties, 2, 1).unwrap();
    Dkg::new(terms, session_of(1), me, &peers(parties), &session_key(me), &mut rng).unwrap()
}

fn outputs<G: Fixed>(me: PartyId, run: &mut Run<G>) -> Vec<Packet> {
    let (mut buffer, mut packets) = (vec![0; Run::<G>::MAX_MESSAGE], Vec::new());
    while let Some(output) = run.poll_output(&session_key(me), &mut buffer).unwrap() {
        let Output::Send { to, bytes } = output else { continue };
        let all = PartySet::first(3).without(me);
        for to in to.map_or(all, |to| [to].into_iter().collect()).iter() {
            packets.push(Packet { from: me, to, bytes: bytes.to_vec() });
        }
    }
    packets
}

/// A key generation to its end, in which party 1 can be looked at: its run, and all that was broadcast.
fn finished_run<G: Fixed>(drawn: &RefCell<Vec<Vec<u8>>>) -> (Probe<Run<G>>, Vec<u8>) {
    let mut runs = HOLDERS.map(|number| (id(number), Probe::new(start::<G>(id(number), drawn))));
    let (mut queue, mut broadcast) = (Vec::new(), Vec::new());
    for (me, run) in &mut runs {
        queue.extend(outputs(*me, run.value()));
    }
    while !queue.is_empty() {
        let packet = queue.remove(0);
        if Header::peek(&packet.bytes).unwrap().to.is_none() {
            broadcast.extend_from_slice(&packet.bytes);
        }
        let (me, run) = runs.iter_mut().find(|(me, _)| *me == packet.to).unwrap();
        run.value().handle_message(packet.from, &packet.bytes, &session_key(*me)).unwrap();
        queue.extend(outputs(*me, run.value()));
    }
    let [(_, first), ..] = runs;
    (first, broadcast)
}

/// Whatever anybody drew, the key's secrets, and the shares that were dealt: all that party 1 can hold.
fn candidates<G: Fixed>(drawn: &[Vec<u8>], key: &ShareRecord<3, 2>) -> Vec<Needle> {
    let wide = |bytes: &[u8]| Some(G::default().scalar_from_wide(bytes.try_into().ok()?));
    let scalars: Vec<G::Scalar> = drawn.iter().filter_map(|bytes| wide(bytes)).collect();
    // Two coefficients in a row: f(1) is their sum.
    let dealt = scalars.windows(2).map(|pair| pair[0] + pair[1]);
    let scalars: Vec<Needle> =
        scalars.iter().copied().chain(dealt).map(|s| in_memory::<G>(&s)).collect();
    let encoded = scalars.iter().map(|scalar| reversed(*scalar));
    let bytes = drawn.iter().filter_map(|bytes| Needle::try_from(bytes.as_slice()).ok());
    let key = key.pair_seeds.iter().chain(&key.nonce_keys).chain([&key.share]);
    let key = key.map(|secret| *secret.expose());
    bytes.chain(encoded).chain(key).chain(scalars.iter().copied()).collect()
}

#[test]
fn key_generations() {
    fn of<G: Fixed>() {
        let drawn = RefCell::new(Vec::new());
        let (mut other, _) = finished_run::<G>(&RefCell::new(Vec::new()));
        let before = other.memory();
        let (_, key) = other.value().take_key().unwrap();
        let after = other.memory();
        let share = [*key.share.expose(), reversed(*key.share.expose())];
        let others = key.pair_seeds.iter().chain(&key.nonce_keys).map(|secret| *secret.expose());
        for secret in others.chain(share) {
            assert!(before.windows(32).any(|part| part == secret));
            assert!(!left_in(&after, &secret), "the key is left in its run");
        }
        let (mut run, broadcast) = finished_run::<G>(&drawn);
        let before = run.memory();
        let mut secrets = candidates::<G>(&drawn.borrow(), &key);
        secrets.retain(|secret| {
            before.windows(32).any(|part| part == secret)
                && !broadcast.windows(32).any(|part| part == secret)
        });
        // Its polynomial and contributions, what others dealt to it, and the key.
        assert!(secrets.len() > 5, "{}", secrets.len());
        for secret in key.pair_seeds.iter().chain(&key.nonce_keys).chain([&key.share]) {
            assert!(secrets.contains(secret.expose()));
        }
        run.drop_value();
        let after = run.memory();
        let places = |memory: &[u8], secret: &Needle| {
            memory.windows(32).filter(|part| part == secret).count()
        };
        for secret in &secrets {
            // Moves before the drop left copies in room that the run does not use (an empty slot, a
            // variant that is not there): no drop reaches them. What the run holds must go.
            assert!(places(&after, secret) < places(&before, secret), "a secret is left");
        }
    }
    of::<Secp256k1>();
    of::<P256>();
    of::<Ed25519>();
}
