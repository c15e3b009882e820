//! Prints what work takes: the host divides ticks of the system timer by what it knows an instruction to take.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod fabricated;
mod group;
mod secret_work;

use cortex_m_rt::entry;
use group::{HOLDERS, Key, Meter, NONCE_KEYS, QUORUM, generate, party};
use heapless::Vec;
use quorate_core::curve::{SchnorrSecp256k1, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::identity::Identity;
use quorate_core::key::check_certificate_of;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::{ecdsa, schnorr};
use semihosting::fs::File;
use semihosting::io::Read as _;
use semihosting::{println, process};

type Salts = Vec<(PartyId, ecdsa::Salt), QUORUM>;
type Nonces = Vec<(PartyId, Vec<u8, { ecdsa::MAX_MESSAGE }>), QUORUM>;

#[entry]
fn main() -> ! {
    let Some(peripherals) = cortex_m::Peripherals::take() else { process::exit(1) };
    Meter::start_timer(peripherals.SYST);
    let mut task = [0];
    let read = File::open(c"task").and_then(|mut file| file.read_exact(&mut task));
    if read.is_err() {
        println!("the task cannot be read");
        process::exit(1);
    }
    match task {
        [b's'] => speed(),
        _ => secret_work::all(),
    }
    println!("end");
    process::exit(0)
}

fn report(name: &str, work: impl FnOnce(&mut Meter)) {
    println!("begin {name}");
    let mut meter = Meter::default();
    work(&mut meter);
    println!("ticks {}", meter.ticks);
}

fn speed() {
    for (n, threshold) in [(4, 2), (7, 3)] {
        report(if n == 4 { "dkg 2 of 4" } else { "dkg 3 of 7" }, |meter| {
            key_generation(n, threshold, meter);
        });
        ecdsa_of(n, threshold);
        schnorr_of(n, threshold);
    }
}

/// With the certificate's checks.
#[inline(never)]
fn key_generation(n: u8, threshold: u8, meter: &mut Meter) {
    let made = generate(Secp256k1, n, threshold, meter);
    let signers = &made.signers;
    let identity = |id: PartyId| Some(signers.get(usize::from(id.number()) - 1)?.identity());
    let identities: Vec<Identity, HOLDERS> =
        (1..=usize::from(n)).filter_map(|number| identity(party(number))).collect();
    let of = |id: PartyId| identities.get(usize::from(id.number()) - 1).copied();
    meter.time(|| check_certificate_of(&made.public, &made.words[0], &made.words, of)).unwrap();
}

fn quorum(threshold: u8) -> (PartySet, Salts) {
    let quorum = PartySet::first(2 * threshold - 1);
    let salts = quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect();
    (quorum, salts)
}

#[inline(never)]
fn ecdsa_of(n: u8, threshold: u8) {
    let mut made = generate(Secp256k1, n, threshold, &mut Meter::default());
    let (quorum, salts) = quorum(threshold);
    let mut keys: Vec<Key<Secp256k1>, HOLDERS> = Vec::new();
    for place in 0..quorum.len() {
        let record = group::copied(&made.records[place]);
        let _ = keys.push(group::open(&made, place, record));
    }
    report(if n == 4 { "open key 2 of 4" } else { "open key 3 of 7" }, |meter| {
        let record = made.records.swap_remove(0);
        let _ = meter.time(|| group::open::<Secp256k1>(&made, 0, record));
    });
    for guard in [ecdsa::Guard::Recompute, ecdsa::Guard::Off] {
        let terms = ecdsa::SignTerms {
            quorum,
            coordinator: party(2),
            derivation: Derivation::Root,
            digest: [7; 32],
        };
        let start = |place: usize, guard| {
            let (_, own) = &salts[place];
            ecdsa::Signer::<Secp256k1, QUORUM>::guarded(&keys[place], terms, &salts, own, guard)
        };
        let mut nonces = Nonces::new();
        for place in 1..quorum.len() {
            let signer = start(place, ecdsa::Guard::Off).unwrap();
            let mut buffer = [0; ecdsa::MAX_MESSAGE];
            let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
            let _ = nonces.push((party(place + 1), message));
        }
        let name = match (n, guard) {
            (4, ecdsa::Guard::Recompute) => "ecdsa 2 of 4",
            (4, ecdsa::Guard::Off) => "ecdsa 2 of 4 unguarded",
            (_, ecdsa::Guard::Recompute) => "ecdsa 3 of 7",
            (_, ecdsa::Guard::Off) => "ecdsa 3 of 7 unguarded",
        };
        report(name, |meter| {
            let mut buffer = [0; ecdsa::MAX_MESSAGE];
            meter.time(|| {
                let mut signer = start(0, guard).unwrap();
                signer.nonce_message(&mut buffer).unwrap();
                let share = signer.handle_nonces(&keys[0], &nonces).unwrap().unwrap();
                share.encode(&mut buffer).unwrap();
            });
        });
    }
}

#[inline(never)]
fn schnorr_of(n: u8, threshold: u8) {
    let made = generate(SchnorrSecp256k1, n, threshold, &mut Meter::default());
    let (quorum, salts) = quorum(threshold);
    let mut keys: Vec<Key<SchnorrSecp256k1>, HOLDERS> = Vec::new();
    for place in 0..quorum.len() {
        let record = group::copied(&made.records[place]);
        let _ = keys.push(group::open(&made, place, record));
    }
    let message = [5u8; 32];
    let terms = schnorr::SignTerms {
        quorum,
        coordinator: party(2),
        derivation: Derivation::Root,
        tweak: schnorr::Tweak::None,
        message: message.as_slice(),
    };
    let start = |place: usize, guard| {
        let (_, own) = &salts[place];
        schnorr::Signer::<SchnorrSecp256k1, &[u8], QUORUM>::guarded(
            &keys[place],
            terms,
            &salts,
            own,
            guard,
        )
    };
    let mut nonces = Nonces::new();
    for place in 1..quorum.len() {
        let signer = start(place, ecdsa::Guard::Off).unwrap();
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    report(if n == 4 { "bip340 2 of 4" } else { "bip340 3 of 7" }, |meter| {
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        meter.time(|| {
            let mut signer = start(0, ecdsa::Guard::Recompute).unwrap();
            signer.nonce_message(&mut buffer).unwrap();
            let share = signer.handle_nonces(&keys[0], &nonces).unwrap().unwrap();
            share.encode(&mut buffer).unwrap();
        });
    });
}

const _: () = assert!(NONCE_KEYS == 15);
