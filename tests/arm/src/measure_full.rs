//! The same work over many secrets, where there is an allocator: FROST, keys of Ed25519, and what a key generation
//! does with the shares that it receives. Prints how many ticks of the system timer each took.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod fabricated;
mod frost_work;
mod group;
mod heap;

use core::hint::black_box;
use core::mem::MaybeUninit;

use cortex_m::peripheral::SYST;
use cortex_m_rt::entry;
use fabricated::{SECRETS, records, secret};
use group::{Confirmed, HOLDERS, Key, Meter, QUORUM, Run, party, terms};
use heapless::Vec;
use quorate_core::curve::{
    AnyGroup, Ed25519, Group, PointBytes, SchnorrGroup, SchnorrSecp256k1, Suite,
};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Output, Peer, SessionKey, SessionSigner as _};
use quorate_core::ecdsa;
use quorate_core::frost::FrostSuite;
use quorate_core::nonce::{Guard, MAX_MESSAGE};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{self, Tweak};
use quorate_core::secret::{HedgedRng, SecretBytes};
use semihosting::{println, process};

/// Ticks of the system timer until it begins again.
const AROUND: u32 = 1 << 24;

/// Times work that lets the timer begin again once.
pub(crate) struct Clock {
    timer: SYST,
    /// How lines begin.
    suite: &'static str,
}

impl Clock {
    pub(crate) fn ticks<R>(&mut self, work: impl FnOnce() -> R) -> (R, u32) {
        self.timer.clear_current();
        while SYST::get_current() == 0 {}
        self.timer.has_wrapped();
        let start = SYST::get_current();
        let result = black_box(work());
        let end = SYST::get_current();
        let again = self.timer.has_wrapped() && end <= start;
        (result, (start.wrapping_sub(end) & (AROUND - 1)) + if again { AROUND } else { 0 })
    }

    pub(crate) fn time<R>(&mut self, name: &str, work: impl FnOnce() -> R) -> R {
        let (result, ticks) = self.ticks(work);
        println!("{} {name}: {ticks}", self.suite);
        result
    }
}

#[entry]
fn main() -> ! {
    let Some(peripherals) = cortex_m::Peripherals::take() else { process::exit(1) };
    let mut timer = peripherals.SYST;
    timer.disable_counter();
    Meter::start_timer(timer);
    // SAFETY: the other one is gone.
    #[allow(unsafe_code, reason = "the timer, which was given away")]
    let timer = unsafe { cortex_m::Peripherals::steal() }.SYST;
    let mut clock = Clock { timer, suite: "bip340" };
    of_suite::<SchnorrSecp256k1>(&mut clock);
    clock.suite = "ed25519";
    of_suite::<Ed25519>(&mut clock);
    clock.suite = "ecdsa";
    for seed in 0..SECRETS {
        ecdsa(seed, &mut clock);
    }
    println!("end");
    process::exit(0)
}

#[inline(never)]
/// In the group of a chip with several curves; G is the one of this suite, for a coordinator.
fn of_suite<G: FrostSuite>(clock: &mut Clock) {
    for seed in 0..SECRETS {
        let any = AnyGroup::of(G::SUITE).unwrap();
        arithmetic(any, seed, clock);
        stateless(any, seed, clock);
        key_generation(any, seed, clock);
        let mut memory = [MaybeUninit::uninit(); 32 << 10];
        heap::start(&mut memory);
        frost_work::signature::<G>(seed, clock);
    }
}

#[inline(never)]
fn arithmetic<G: Group>(group: G, seed: u8, clock: &mut Clock) {
    let scalar = secret(group, seed, 0);
    clock.time("generator times secret", || G::mul_base(black_box(&scalar)));
    clock.time("secret inverse", || G::invert(black_box(&scalar)));
    let bytes = G::scalar_to_bytes(&scalar);
    let factor = bytes.iter().skip(1).take(7).fold(0i64, |sum, byte| sum << 8 | i64::from(*byte));
    let point = G::mul_base(&scalar);
    let (_, ticks) = clock.ticks(|| group.mul_small(&point, black_box(factor)));
    println!("{} variable-time control: {ticks}", clock.suite);
}

/// Who sees a point knows whether it is negated, and that takes its time.
fn odd(bytes: &[u8; 33]) -> u8 {
    if bytes[0] == 3 { 1 } else { 0 }
}

/// A key and a member's session, as a guarded one.
#[inline(never)]
fn stateless<G: SchnorrGroup>(group: G, seed: u8, clock: &mut Clock) {
    let (quorum, coordinator, derivation) = (PartySet::first(3), party(2), Derivation::Root);
    let salts: Vec<(PartyId, schnorr::Salt), QUORUM> =
        quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect();
    let message = [5; 32];
    let (tweak, message) = (Tweak::None, message.as_slice());
    let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
    let mut nonces: Vec<(PartyId, Vec<u8, MAX_MESSAGE>), QUORUM> = Vec::new();
    for place in 1..quorum.len() {
        let key = fabricated::key(group, seed, place, &mut Meter::default());
        let own = &salts[place].1;
        let signer = schnorr::Signer::<_, &[u8], QUORUM>::new(&key, terms, &salts, own).unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    let (public, record) = records(group, seed, 0);
    let me = party(1);
    let word = clock.time("word for a record", || Confirmed::unsigned(&public, me, &record));
    let copy = group::copied(&record);
    let key = clock.time("key opened", || Key::<G>::open(&public, me, copy, &word)).unwrap();
    assert!(clock.time("key compared with its record", || key.is_of(&public, &record)));
    let (own, guard) = (&salts[0].1, Guard::Recompute);
    let start = || schnorr::Signer::<_, &[u8], QUORUM>::guarded(&key, terms, &salts, own, guard);
    let y = odd(key.group_key_bytes());
    let (signer, ticks) = clock.ticks(start);
    println!("{} nonce, y(Y) odd {y}: {ticks}", clock.suite);
    let (mut signer, mut buffer) = (signer.unwrap(), [0; MAX_MESSAGE]);
    let first =
        clock.time("nonce's message", || point(group, signer.nonce_message(&mut buffer).unwrap()));
    // R, on the line through the points of 1 and 2.
    let nonce = G::point_to_bytes(&(first + first - point(group, &nonces[0].1))).unwrap();
    let (share, ticks) = clock.ticks(|| signer.handle_nonces(&key, &nonces));
    println!("{} share, y(Y) odd {y} y(R) odd {}: {ticks}", clock.suite, odd(&nonce.0));
    let share = share.unwrap().unwrap();
    clock.time("share's message", || share.encode(&mut buffer).map(<[u8]>::len)).unwrap();
}

/// A member's session of ECDSA, as a guarded one.
#[inline(never)]
fn ecdsa(seed: u8, clock: &mut Clock) {
    let group = AnyGroup::of(Suite::EcdsaSecp256k1).unwrap();
    let (quorum, coordinator, derivation) = (PartySet::first(3), party(2), Derivation::Root);
    let salts: Vec<(PartyId, ecdsa::Salt), QUORUM> =
        quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect();
    let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest: [7; 32] };
    let mut nonces: Vec<(PartyId, Vec<u8, MAX_MESSAGE>), QUORUM> = Vec::new();
    let mut buffer = [0; MAX_MESSAGE];
    for place in 1..quorum.len() {
        let key = fabricated::key(group, seed, place, &mut Meter::default());
        let signer = ecdsa::Signer::<_, QUORUM>::new(&key, terms, &salts, &salts[place].1).unwrap();
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    let key = fabricated::key(group, seed, 0, &mut Meter::default());
    let (own, guard) = (&salts[0].1, Guard::Recompute);
    let start = || ecdsa::Signer::<_, QUORUM>::guarded(&key, terms, &salts, own, guard);
    let mut signer = clock.time("nonce", start).unwrap();
    let share = clock.time("share", || signer.handle_nonces(&key, &nonces)).unwrap().unwrap();
    clock.time("share's message", || share.encode(&mut buffer).map(<[u8]>::len)).unwrap();
}

/// The nonce point at the end of a message.
fn point<G: Group>(group: G, message: &[u8]) -> G::Point {
    group.nonce_from_bytes(&PointBytes(*message.last_chunk().unwrap())).unwrap()
}

/// One party's key generation, from the first share that it receives: everybody's secrets are others each time.
#[inline(never)]
fn key_generation<G: Group>(group: G, seed: u8, clock: &mut Clock) {
    let terms = terms(group.suite(), 4, 2);
    let parties = terms.holders.parties();
    let signers: Vec<SessionKey, HOLDERS> = parties
        .iter()
        .map(|id| SessionKey::new(&SecretBytes::new([id.number() as u8; 32])))
        .collect();
    let peers: Vec<Peer, HOLDERS> =
        parties.iter().zip(&signers).map(|(id, signer)| signer.peer(id)).collect();
    let mut runs: Vec<Run<G>, HOLDERS> = Vec::new();
    for (place, signer) in signers.iter().enumerate() {
        let hedge = SecretBytes::new([place as u8; 32]);
        let mut rng = HedgedRng::new(&[seed; 32], &hedge, &[7; 32], 1);
        let run = Run::<G>::new(terms, [7; 32], party(place + 1), &peers, signer, &mut rng);
        let _ = runs.push(run.unwrap());
    }
    let mut buffer = [0; 4096];
    // Commitments and openings, which all see.
    for _ in 0..2 {
        for from in 0..runs.len() {
            let (_, length) = sent(&mut runs[from], &signers[from], &mut buffer).unwrap();
            for to in (0..runs.len()).filter(|to| *to != from) {
                runs[to].handle_message(party(from + 1), &buffer[..length], &signers[to]).unwrap();
            }
        }
    }
    let names = ["first share of a key received", "second share received", "last share received"];
    for (from, name) in (1..runs.len()).zip(names) {
        while let Some((to, length)) = sent(&mut runs[from], &signers[from], &mut buffer) {
            if to != Some(party(1)) {
                continue;
            }
            let (run, from) = (&mut runs[0], party(from + 1));
            clock.time(name, || run.handle_message(from, &buffer[..length], &signers[0])).unwrap();
        }
    }
    // Its own shares leave first.
    while sent(&mut runs[0], &signers[0], &mut buffer).is_some() {}
    let (public, record) = clock.time("key taken", || runs[0].take_key()).unwrap();
    let sign = || Confirmed::signed(&public, party(1), &record, |digest| signers[0].sign(digest));
    clock.time("key confirmed", sign);
}

/// What is sent next, if anything: to whom, and how much of the buffer.
fn sent<G: Group>(
    run: &mut Run<G>,
    signer: &SessionKey,
    buffer: &mut [u8],
) -> Option<(Option<PartyId>, usize)> {
    match run.poll_output(signer, buffer).unwrap() {
        Some(Output::Send { to, bytes }) => Some((to, bytes.len())),
        Some(Output::Failed(abort)) => panic!("the key generation failed: {abort:?}"),
        Some(Output::Persist) | None => None,
    }
}
