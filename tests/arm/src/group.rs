//! A group of parties in one program, which makes a key and has nonces of it.
#![allow(dead_code, reason = "each program uses a part of it")]

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use ed25519_dalek::{Signer as _, SigningKey};
use heapless::Vec;
use quorate_core::curve::{Group, Suite};
use quorate_core::dkg::{Dkg, Output, Peer, SessionKey, SessionSigner};
use quorate_core::hash::Digest;
use quorate_core::identity::Identity;
use quorate_core::key::{Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord};
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;

// As the boards have it.
#[allow(unsafe_code, reason = "a program for a chip brings its own `memcpy`")]
mod copies {
    core::arch::global_asm!(include_str!("../../../firmware/boards/memory.s"), options(raw));
}

/// Chips serve groups of up to seven, with T = 3.
pub(crate) const HOLDERS: usize = 7;
/// C(6, 2).
pub(crate) const NONCE_KEYS: usize = 15;
/// 2T−1.
pub(crate) const QUORUM: usize = 5;

pub(crate) type Run<G> = Dkg<G, HOLDERS, NONCE_KEYS>;
pub(crate) type Key<G> = OpenedKey<G, HOLDERS, NONCE_KEYS>;
pub(crate) type Confirmed = Confirmation<HOLDERS, NONCE_KEYS>;
pub(crate) type Record = ShareRecord<HOLDERS, NONCE_KEYS>;
pub(crate) type Public = PublicKey<HOLDERS>;

/// The host's debugger stops here: what follows is measured.
#[inline(never)]
pub(crate) fn measured_from_here() {
    core::hint::black_box(1);
}

/// And here: it is over.
#[inline(never)]
pub(crate) fn measured_to_here() {
    core::hint::black_box(2);
}

/// Ticks of the system timer, over several stretches.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) ticks: u32,
}

impl Meter {
    /// Starts the timer; it counts down from 2^24.
    pub(crate) fn start_timer(mut timer: SYST) {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(0x00ff_ffff);
        timer.clear_current();
        timer.enable_counter();
    }

    pub(crate) fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        measured_from_here();
        let start = SYST::get_current();
        let result = work();
        let end = SYST::get_current();
        measured_to_here();
        self.ticks += start.wrapping_sub(end) & 0x00ff_ffff;
        result
    }
}

/// What a party signs with: the first is a device, the others are servers.
pub(crate) enum PartyKey {
    Device(SessionKey),
    Server(SigningKey),
}

impl PartyKey {
    fn of(id: PartyId) -> Self {
        let secret = [id.number() as u8; 32];
        if id == party(1) {
            Self::Device(SessionKey::new(&SecretBytes::new(secret)))
        } else {
            Self::Server(SigningKey::from_bytes(&secret))
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        match self {
            Self::Device(key) => key.identity(),
            Self::Server(key) => Identity::Ed25519(key.verifying_key().to_bytes()),
        }
    }
}

impl SessionSigner for PartyKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        match self {
            Self::Device(key) => key.sign(digest),
            Self::Server(key) => Bytes64(key.sign(digest).to_bytes()),
        }
    }
}

/// All that a key generation leaves.
pub(crate) struct Made {
    pub(crate) public: Public,
    pub(crate) records: Vec<Record, HOLDERS>,
    pub(crate) words: Vec<Confirmed, HOLDERS>,
    pub(crate) signers: Vec<PartyKey, HOLDERS>,
}

pub(crate) fn party(number: usize) -> PartyId {
    PartyId::new(number as u16).unwrap()
}

pub(crate) fn terms(suite: Suite, n: u8, threshold: u8) -> KeyTerms {
    let holders = Holders::new(PartySet::first(n), threshold).unwrap();
    KeyTerms { suite, network: [1; 16], key: [2; 16], epoch: 0, holders, context: [3; 32] }
}

/// Key generation by all of n; `meter` counts the work of the first.
#[inline(never)]
pub(crate) fn generate<G: Group>(group: G, n: u8, threshold: u8, meter: &mut Meter) -> Made {
    let terms = terms(group.suite(), n, threshold);
    let parties = terms.holders.parties();
    let signers: Vec<PartyKey, HOLDERS> = parties.iter().map(PartyKey::of).collect();
    let peer = |(party, key): (PartyId, &PartyKey)| Peer { party, session_key: key.identity() };
    let peers: Vec<Peer, HOLDERS> = parties.iter().zip(&signers).map(peer).collect();
    // A run stays where it begins, as on a chip.
    let mut runs: Vec<Option<Run<G>>, HOLDERS> = (0..n).map(|_| None).collect();
    for ((id, signer), run) in parties.iter().zip(&signers).zip(&mut runs) {
        let hedge = SecretBytes::new([9; 32]);
        let mut rng = HedgedRng::new(&[id.number() as u8; 32], &hedge, &[7; 32], 1);
        let mut start = || Run::<G>::start(run, terms, [7; 32], id, &peers, signer, &mut rng);
        let started = if id == party(1) { meter.time(start) } else { start() };
        started.unwrap();
    }
    let mut made: Vec<Option<(Public, Record)>, HOLDERS> = (0..n).map(|_| None).collect();
    let mut buffer = [0; 4096];
    while made.iter().any(Option::is_none) {
        for me in 0..usize::from(n) {
            step(&mut runs, &signers, me, &mut made[me], &mut buffer, meter);
        }
    }
    let public = made[0].as_ref().unwrap().0.clone();
    let records: Vec<Record, HOLDERS> = made.into_iter().map(|one| one.unwrap().1).collect();
    let mut words = Vec::new();
    for ((id, record), signer) in parties.iter().zip(&records).zip(&signers) {
        let sign = || Confirmed::signed(&public, id, record, |digest| signer.sign(digest));
        let word = if words.is_empty() { meter.time(sign) } else { sign() };
        let _ = words.push(word);
    }
    Made { public, records, words, signers }
}

/// What is due, without the bytes.
enum Next {
    Nothing,
    Persist,
    Failed,
    Send(Option<PartyId>, usize),
}

/// Puts out all that is due at one party, and gives it to the others.
#[inline(never)]
fn step<G: Group>(
    runs: &mut [Option<Run<G>>],
    signers: &[PartyKey],
    me: usize,
    made: &mut Option<(Public, Record)>,
    buffer: &mut [u8],
    meter: &mut Meter,
) {
    loop {
        let run = runs[me].as_mut().unwrap();
        let mut next = || match run.poll_output(&signers[me], buffer).unwrap() {
            None => Next::Nothing,
            Some(Output::Persist) => Next::Persist,
            Some(Output::Failed(_)) => Next::Failed,
            Some(Output::Send { to, bytes }) => Next::Send(to, bytes.len()),
        };
        let next = if me == 0 { meter.time(next) } else { next() };
        let (to, length) = match next {
            Next::Nothing => return,
            Next::Persist => {
                *made = run.take_key();
                return;
            }
            Next::Failed => panic!("the key generation failed"),
            Next::Send(to, length) => (to, length),
        };
        for other in (0..runs.len()).filter(|other| *other != me) {
            if to.is_some_and(|to| to != party(other + 1)) {
                continue;
            }
            let bytes = &buffer[..length];
            let run = runs[other].as_mut().unwrap();
            let mut take = || run.handle_message(party(me + 1), bytes, &signers[other]);
            let taken = if other == 0 { meter.time(take) } else { take() };
            taken.unwrap();
        }
    }
}

/// The key of one party, opened.
#[inline(never)]
pub(crate) fn open<G: Group>(made: &Made, place: usize, record: Record) -> Key<G> {
    Key::<G>::open(&made.public, party(place + 1), record, &made.words[place]).unwrap()
}

/// A copy, which a record does not otherwise give.
#[inline(never)]
pub(crate) fn copied(record: &Record) -> Record {
    let mut bytes = [0; 1024];
    let bytes = quorate_core::wire::encode(record, &mut bytes).unwrap();
    quorate_core::wire::decode(bytes).unwrap()
}
