//! What a device does with its own secrets, over many of them: PIN, store, randomness, channels, signatures and
//! a key generation until the deal. Prints how many ticks of the system timer each took.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod group;
mod memory;

use core::hint::black_box;

use cortex_m_rt::entry;
use group::{HOLDERS, Meter, Run, party, terms};
use heapless::Vec;
use memory::{Flash, Still, Xorshift};
use quorate_core::curve::{Fixed as _, Secp256k1};
use quorate_core::device::channel::{Ends, Initiator, MAX_GREETING, answer, channel_session};
use quorate_core::dkg::{Output, Peer, SessionKey, SessionSigner as _};
use quorate_core::identity::{SessionKeyCertificate, session_key_digest};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_firmware::entropy::Entropy;
use quorate_firmware::pin::{Pin, PinError};
use quorate_firmware::store::{Part, Slot, Store};
use semihosting::{println, process};
use subtle::ConstantTimeEq as _;

const SECRETS: u8 = 24;
/// As long as the share record of a key of seven.
const RECORD: usize = 600;
/// The root key, the salt and the PIN that [`NEARLY`] belong to.
const ROOT: [u8; 32] = [9; 32];
const SALT: [u8; 16] = [4; 16];
const PIN: &[u8] = b"12345678";
/// Wrong PINs whose verifier begins as that of [`PIN`]: in one byte, and in two. They were searched for.
const NEARLY: [&[u8]; 2] = [b"00000449", b"00090864"];

#[entry]
fn main() -> ! {
    let Some(peripherals) = cortex_m::Peripherals::take() else { process::exit(1) };
    Meter::start_timer(peripherals.SYST);
    for seed in 0..SECRETS {
        comparison(seed);
        pins(seed);
        store(seed);
        randomness(seed);
        channel(seed);
        signature(seed);
        key_generation(seed);
    }
    println!("end");
    process::exit(0)
}

fn said(name: &str, meter: &Meter) {
    println!("{name}: {}", meter.ticks);
}

fn timed<R>(name: &str, work: impl FnOnce() -> R) -> R {
    let mut meter = Meter::default();
    let result = meter.time(|| black_box(work()));
    said(name, &meter);
    result
}

/// 32 bytes: some with many zeros, some with many ones, most with neither.
fn bytes(seed: u8, kind: u8) -> [u8; 32] {
    match seed {
        0 => [0; 32].map(|zero: u8| zero + (kind & 1)),
        1 => [0xff; 32],
        _ => {
            let mut bytes = [0; 32];
            rand_core::RngCore::fill_bytes(&mut random(seed, kind), &mut bytes);
            bytes
        }
    }
}

fn secret(seed: u8, kind: u8) -> SecretBytes {
    SecretBytes::new(bytes(seed, kind))
}

fn random(seed: u8, kind: u8) -> HedgedRng {
    HedgedRng::new(&[seed; 32], &SecretBytes::new([kind; 32]), &[7; 32], 1)
}

/// The same bytes up to another place each time; the last are the same throughout.
#[inline(never)]
fn comparison(seed: u8) {
    let (one, mut other) = (bytes(seed, 1), bytes(seed, 1));
    if let Some(byte) = other.get_mut(usize::from(seed) * 32 / usize::from(SECRETS - 1)) {
        *byte ^= 1;
    }
    let (one, other) = (SecretBytes::new(one), SecretBytes::new(other));
    timed("comparison of secrets", || bool::from(one.ct_eq(&other)));
}

fn digits(seed: u8) -> [u8; 8] {
    bytes(seed.max(2), 2).first_chunk().unwrap().map(|byte| b'0' + byte % 10)
}

/// The right PIN of another device each time; and wrong PINs at the same device.
#[inline(never)]
fn pins(seed: u8) {
    let mut flash = Flash::new();
    let mut store = Store::open(&mut flash).unwrap();
    store.initialize(&bytes(seed, 3)).unwrap();
    let mut pin = Pin::start(&mut store, &Still).unwrap();
    pin.set(&mut store, bytes(seed, 4).first_chunk().unwrap(), &digits(seed)).unwrap();
    timed("right pin", || pin.enter(&mut store, &Still, &digits(seed))).unwrap();
    let mut flash = Flash::new();
    let mut store = Store::open(&mut flash).unwrap();
    store.initialize(&ROOT).unwrap();
    let mut pin = Pin::start(&mut store, &Still).unwrap();
    pin.set(&mut store, &SALT, PIN).unwrap();
    let digits = digits(seed);
    let wrong = NEARLY.get(usize::from(seed)).copied().unwrap_or(&digits);
    let verdict = timed("wrong pin", || pin.enter(&mut store, &Still, wrong));
    assert!(matches!(verdict, Err(PinError::Wrong { .. })));
}

/// What is sealed, and what it is sealed under.
#[inline(never)]
fn store(seed: u8) {
    let mut flash = Flash::new();
    let mut store = Store::open(&mut flash).unwrap();
    store.initialize(&bytes(seed, 5)).unwrap();
    let mut record = [0; RECORD];
    for (number, chunk) in record.chunks_mut(32).enumerate() {
        chunk.iter_mut().zip(bytes(seed, 6 + number as u8)).for_each(|(to, from)| *to = from);
    }
    let slot = Slot::Key(0, Part::Share);
    timed("record sealed", || store.save(slot, &record)).unwrap();
    let mut buffer = [0; RECORD];
    let opened = timed("record unsealed", || store.load(slot, &mut buffer).unwrap().is_some());
    assert!(opened && buffer == record);
    drop(store);
    timed("store opened", || Store::open(&mut flash)).unwrap();
}

#[inline(never)]
fn randomness(seed: u8) {
    let mut entropy = Entropy::start(Xorshift::new(seed));
    entropy.mix(&bytes(seed, 30));
    let fresh = timed("random bytes of a device", || entropy.fresh()).unwrap();
    let hedge = secret(seed, 31);
    timed("random bytes of a session", || {
        let mut rng = HedgedRng::new(fresh.expose(), &hedge, &[7; 32], 1);
        SecretBytes::random(&mut rng)
    });
}

/// The device answers a node. What it hears of the node is public, until the first message.
#[inline(never)]
fn channel(seed: u8) {
    let (node, device) = (party(1), party(4));
    let keys = [SessionKey::new(&secret(2, 40)), SessionKey::new(&secret(seed, 41))];
    let network = [1; 16];
    let ends = [(device, node, 0), (node, device, 1)].map(|(me, peer, other)| Ends {
        network,
        me,
        peer,
        identity: keys[other].identity(),
    });
    let certificates = [node, device].map(|party| {
        // Each certifies itself.
        let key = &keys[usize::from(party == device)];
        let (boot, session) = ([5; 16], channel_session(&network));
        let digest = session_key_digest(&network, party, &boot, &key.identity(), &session);
        let signature = key.sign(&digest);
        SessionKeyCertificate { party, boot, key: key.identity(), signature }
    });
    let (initiator, begin) = Initiator::begin(ends[1], &mut random(2, 42)).unwrap();
    let mut rng = random(seed, 43);
    let answered = timed("channel answered", || answer(ends[0], &begin, &mut rng));
    let (pending, reply) = answered.unwrap();
    let mut greeting = [0; MAX_GREETING];
    let greeted = timed("channel greeted", || {
        pending
            .greet(&certificates[1], 1, &keys[1], &mut greeting)
            .map(|(it, frame)| (it, frame.len()))
    });
    let (greeted, length) = greeted.unwrap();
    let mut buffer = [0; MAX_GREETING];
    let begun = initiator.handle_reply(&reply).unwrap();
    let (begun, bytes) = begun.greet(&certificates[0], 1, &keys[0], &mut buffer).unwrap();
    let (mut inward, _) = greeted.hear(bytes).unwrap();
    let (mut outward, _) = begun.hear(&mut greeting[..length]).unwrap();
    let mut frame = [seed; 1100];
    let sealed = outward.seal(&mut frame, 1000).unwrap();
    let opened = timed("message opened", || inward.open(sealed).map(|message| message.len()));
    assert_eq!(opened, Ok(1000));
    timed("message put back", || inward.put_back());
    timed("message sealed", || inward.seal(&mut frame, 1000).map(|frame| frame.len())).unwrap();
}

#[inline(never)]
fn signature(seed: u8) {
    let mut secret = bytes(seed, 50);
    // 0 is no key of this curve: its point has no encoding, and nobody draws it.
    if let Some(last) = secret.last_mut() {
        *last |= 1;
    }
    let secret = SecretBytes::new(secret);
    let key = timed("identity key", || SessionKey::new(&secret));
    timed("identity's signature", || key.sign(&[3; 32]));
}

/// A key generation until the deal has left: the other parties are the same each time.
#[inline(never)]
fn key_generation(seed: u8) {
    let terms = terms(Secp256k1::SUITE, 4, 2);
    let parties = terms.holders.parties();
    let signers: Vec<SessionKey, HOLDERS> =
        parties.iter().map(|id| SessionKey::new(&secret(2, 60 + id.number() as u8))).collect();
    let peers: Vec<Peer, HOLDERS> =
        parties.iter().zip(&signers).map(|(id, signer)| signer.peer(id)).collect();
    let begin = |place: usize, rng: &mut HedgedRng| {
        Run::<Secp256k1>::new(terms, [7; 32], party(place + 1), &peers, &signers[place], rng)
    };
    let mut runs: Vec<Run<Secp256k1>, HOLDERS> = Vec::new();
    let mut rng = random(seed, 70);
    let _ = runs.push(timed("dkg begun", || begin(0, &mut rng)).unwrap());
    for place in 1..parties.len() {
        let _ = runs.push(begin(place, &mut random(2, 70 + place as u8)).unwrap());
    }
    let mut buffer = [0; 4096];
    for name in ["dkg commitment", "dkg opening"] {
        for from in 0..runs.len() {
            let mut meter = Meter::default();
            let length = meter.time(|| sent(&mut runs[from], &signers[from], &mut buffer));
            let length = length.unwrap();
            if from == 0 {
                said(name, &meter);
            }
            for to in (0..runs.len()).filter(|to| *to != from) {
                let message = &buffer[..length];
                runs[to].handle_message(party(from + 1), message, &signers[to]).unwrap();
            }
        }
    }
    // In one stretch: each may read a tick too much.
    let deals = timed("dkg deals", || {
        let mut next = || sent(&mut runs[0], &signers[0], &mut buffer);
        core::iter::from_fn(&mut next).count()
    });
    assert_eq!(deals, parties.len() - 1);
}

/// The length of what is sent next.
fn sent(run: &mut Run<Secp256k1>, signer: &SessionKey, buffer: &mut [u8]) -> Option<usize> {
    match run.poll_output(signer, buffer).unwrap() {
        Some(Output::Send { bytes, .. }) => Some(bytes.len()),
        _ => None,
    }
}
