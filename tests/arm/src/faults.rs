//! One member's signature, from its own key to its share, over and over: the host's debugger flips a bit at a
//! moment that the system timer chooses, and puts everything back before the next.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod group;

use core::cell::RefCell;
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};

use cortex_m::interrupt::{Mutex, free};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use group::{Confirmed, HOLDERS, Key, Meter, Public, QUORUM, Record, generate, party};
use heapless::Vec;
use quorate_core::curve::Secp256k1;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{Guard, MAX_MESSAGE, Salt, SignTerms, Signer};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::wire;
use semihosting::fs::File;
use semihosting::io::{Read as _, Write as _};
use semihosting::process;
use serde::{Deserialize, Serialize};

type Nonces = Vec<(PartyId, Vec<u8, MAX_MESSAGE>), QUORUM>;
type Message = [u8; MAX_MESSAGE];

/// A party's own key, and what comes from the others.
#[derive(Serialize, Deserialize)]
struct Inputs {
    public: Public,
    record: Record,
    word: Confirmed,
    nonces: Nonces,
}

/// The host stops here and saves or restores everything. It puts a number of ticks into `moment`, after which
/// the bit flips, and whether to guard into `guarded`.
#[inline(never)]
fn ready(choices: &mut [u32; 2]) {
    black_box(choices);
}

/// R1 has left.
#[inline(never)]
fn sent_nonce(message: &[u8]) {
    black_box((message, 1));
}

/// R2 has left.
#[inline(never)]
fn sent_share(message: &[u8]) {
    black_box((message, 2));
}

/// Nothing more leaves.
#[inline(never)]
fn refused() {
    black_box(3);
}

/// The moment has come: the host flips a bit.
#[inline(never)]
fn moment() {
    black_box(4);
}

/// What a chip has in flash: bits flip in memory that is worked on, not there.
static FLASH: [AtomicU8; ROOM] = [const { AtomicU8::new(0) }; ROOM];
const ROOM: usize = 4096;

/// The timer, for its own handler: it fires once.
static TIMER: Mutex<RefCell<Option<SYST>>> = Mutex::new(RefCell::new(None));

#[exception]
fn SysTick() {
    moment();
    free(|token| {
        if let Some(timer) = TIMER.borrow(token).borrow_mut().as_mut() {
            timer.disable_counter();
        }
    });
}

#[entry]
fn main() -> ! {
    let mut inputs = [0; ROOM];
    let Ok(mut file) = File::open(c"inputs") else {
        // The first time: what all later runs begin with.
        let made = make(&mut inputs);
        let written = File::create(c"inputs").and_then(|mut file| file.write_all(made));
        process::exit(i32::from(written.is_err()))
    };
    let length = file.read(&mut inputs).unwrap_or_default();
    FLASH.iter().zip(inputs).for_each(|(to, byte)| to.store(byte, Ordering::Relaxed));
    let Inputs { nonces, .. } = wire::decode(&inputs[..length]).unwrap();
    let Some(peripherals) = cortex_m::Peripherals::take() else { process::exit(1) };
    free(|token| TIMER.borrow(token).replace(Some(peripherals.SYST)));
    let (terms, salts) = terms();
    let mut choices = [0x00ff_ffff, 1];
    ready(&mut choices);
    free(|token| {
        if let Some(timer) = TIMER.borrow(token).borrow_mut().as_mut() {
            timer.set_clock_source(SystClkSource::Core);
            timer.set_reload(black_box(choices[0]));
            timer.clear_current();
            timer.enable_counter();
            timer.enable_interrupt();
        }
    });
    let guard = if choices[1] == 0 { Guard::Off } else { Guard::Recompute };
    if let Some(key) = open(length, guard) {
        sign(&key, terms, &salts, &nonces, guard);
    }
    refused();
    process::exit(0)
}

/// The records as they come out of flash.
#[inline(never)]
fn load<T>(length: usize, take: impl FnOnce(Inputs) -> T) -> Option<T> {
    let mut buffer = [0; ROOM];
    buffer.iter_mut().zip(&FLASH).for_each(|(to, byte)| *to = byte.load(Ordering::Relaxed));
    wire::decode(buffer.get(..length)?).ok().map(take)
}

/// As the firmware opens a key: with a guard the records are read once more, and compared.
#[inline(never)]
fn open(length: usize, guard: Guard) -> Option<Key<Secp256k1>> {
    let key = load(length, |Inputs { public, record, word, .. }| {
        Key::<Secp256k1>::open(&public, party(1), record, &word).ok()
    })??;
    let same = || load(length, |Inputs { public, record, .. }| key.is_of(&public, &record));
    if guard == Guard::Off || same()? { Some(key) } else { None }
}

fn terms() -> (SignTerms, Vec<(PartyId, Salt), QUORUM>) {
    let quorum = PartySet::first(3);
    let salts = quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect();
    let (coordinator, derivation) = (party(2), Derivation::Root);
    (SignTerms { quorum, coordinator, derivation, digest: [7; 32] }, salts)
}

#[inline(never)]
fn make(out: &mut [u8]) -> &[u8] {
    let made = generate::<Secp256k1>(4, 2, &mut Meter::default());
    let (terms, salts) = terms();
    let nonces = others(&made, terms, &salts);
    wire::encode(&(&made.public, &made.records[0], &made.words[0], &nonces), out).unwrap()
}

#[inline(never)]
fn others(made: &group::Made, terms: SignTerms, salts: &[(PartyId, Salt)]) -> Nonces {
    let mut nonces = Nonces::new();
    for place in 1..terms.quorum.len() {
        let key: Key<Secp256k1> = group::open(made, place, group::copied(&made.records[place]));
        let signer = Signer::<Secp256k1, QUORUM>::new(&key, terms, salts, &salts[place].1).unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    nonces
}

#[inline(never)]
fn sign(
    key: &Key<Secp256k1>,
    terms: SignTerms,
    salts: &[(PartyId, Salt)],
    nonces: &Nonces,
    guard: Guard,
) {
    let mut buffer: Message = [0; MAX_MESSAGE];
    let own = salts[0].1;
    let started = Signer::<Secp256k1, QUORUM>::guarded(key, terms, salts, &own, guard);
    let Ok(mut signer) = started else { return };
    let Ok(message) = signer.nonce_message(&mut buffer) else { return };
    sent_nonce(message);
    let Ok(Some(share)) = signer.handle_nonces(key, nonces) else { return };
    let Ok(message) = share.encode(&mut buffer) else { return };
    sent_share(message);
}

const _: () = assert!(HOLDERS >= 4);
