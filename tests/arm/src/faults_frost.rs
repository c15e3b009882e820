//! As `faults`, of FROST: from the stored nonces and the list to the share, with a key that is opened before, or
//! meanwhile. What the store gets comes first.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod fabricated;
mod group;
mod heap;

use core::mem::MaybeUninit;

use bench::{refused, sent_nonce, sent_share};
use cortex_m_rt::entry;
use group::{Confirmed, Key, Meter, Public, Record, party};
use heapless::Vec;
use quorate_core::curve::{AnyGroup, Ed25519, SchnorrSecp256k1};
use quorate_core::frost::{
    Aggregator, FrostGroup, FrostKey, FrostSuite, Guard, MAX_MESSAGE, NoncePool, Offers, SignTerms,
    Signer,
};
use quorate_core::party::PartySet;
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire;
use semihosting::fs::File;
use semihosting::io::Read as _;
use semihosting::process;
use serde::{Deserialize, Serialize};

/// A key whose secrets have no pattern.
const SEED: u8 = 5;
const NONCES: usize = 2;
/// The length of a list of two.
const LIST: usize = 271;

/// A party's own key, its nonces, and the coordinator's list.
#[derive(Serialize, Deserialize)]
struct Inputs {
    public: Public,
    record: Record,
    word: Confirmed,
    pool: Vec<u8, 512>,
    list: Vec<u8, 512>,
}

#[entry]
fn main() -> ! {
    let mut task = [0];
    let file = File::open(c"task").and_then(|mut file| file.read_exact(&mut task));
    if file.is_err() {
        process::exit(1);
    }
    match task {
        [b'p'] => signing::<SchnorrSecp256k1, AnyGroup>(Tweak::None, false),
        [b'q'] => {
            signing::<SchnorrSecp256k1, AnyGroup>(Tweak::Taproot { merkle_root: None }, false)
        }
        [b'r'] => signing::<SchnorrSecp256k1, SchnorrSecp256k1>(Tweak::None, false),
        [b'o'] => signing::<SchnorrSecp256k1, AnyGroup>(Tweak::None, true),
        _ => signing::<Ed25519, AnyGroup>(Tweak::None, false),
    }
}

/// By a member in the group M; what comes from the others is made in G.
#[inline(never)]
fn signing<G: FrostSuite, M: FrostGroup>(tweak: Tweak, opens: bool) -> ! {
    let length = bench::boot(|out| make::<G>(tweak, out));
    bench::take_timer();
    // On the stack, where bits flip, and which the host puts back.
    let (mut for_key, mut for_session) =
        ([MaybeUninit::uninit(); 1 << 10], [MaybeUninit::uninit(); 6 << 10]);
    let before = (!opens).then(|| {
        heap::start(&mut for_key);
        let Some(key) = open::<M>(length, Guard::Off) else { process::exit(1) };
        key
    });
    let mut choices = bench::CHOICES;
    bench::ready(&mut choices);
    if opens {
        heap::start(&mut for_key);
    }
    bench::start_timer(&choices);
    let guard = if choices[1] == 0 { Guard::Off } else { Guard::Recompute };
    let meanwhile = if opens { open::<M>(length, guard) } else { None };
    heap::start(&mut for_session);
    if let Some(key) = before.as_ref().or(meanwhile.as_ref()) {
        let _ = sign(key, length, terms(tweak), guard);
    }
    refused();
    process::exit(0)
}

fn terms(tweak: Tweak) -> SignTerms<[u8; 32]> {
    let quorum = PartySet::first(2);
    SignTerms { session: [3; 32], quorum, coordinator: party(2), tweak, message: [5; 32] }
}

#[inline(never)]
fn make<G: FrostSuite>(tweak: Tweak, out: &mut [u8]) -> &[u8] {
    let mut memory = [MaybeUninit::uninit(); 16 << 10];
    heap::start(&mut memory);
    let (public, record) = fabricated::records(G::default(), SEED, 0);
    let word = Confirmed::unsigned(&public, party(1), &record);
    let keys = [0, 1].map(|place| {
        let key = fabricated::key(G::default(), SEED, place, &mut Meter::default());
        FrostKey::of(&public, &key).unwrap()
    });
    let pools = keys.each_ref().map(|key| {
        let hedge = SecretBytes::new([8; 32]);
        let mut rng = HedgedRng::new(&[key.party().number() as u8; 32], &hedge, &[7; 32], 1);
        NoncePool::generate(key, 0, NONCES, &mut rng).unwrap()
    });
    let terms = terms(tweak);
    let mut offers = Offers::new(keys[0].public(), terms.coordinator);
    let mut buffer = [0; 1024];
    for (key, pool) in keys.iter().zip(&pools) {
        let offer = pool.offer(terms.coordinator, &mut buffer).unwrap();
        offers.take(key.party(), offer).unwrap();
    }
    let list = Aggregator::new(keys[0].public(), terms, &mut offers).unwrap();
    let list = Vec::from_slice(list.list_message(&mut buffer).unwrap()).unwrap();
    assert_eq!(list.len(), LIST);
    let pool = Vec::from_slice(&pools[0].record().unwrap()).unwrap();
    wire::encode(&Inputs { public, record, word, pool, list }, out).unwrap()
}

/// As the firmware opens a key: with a guard the records are read once more, and compared.
#[inline(never)]
fn open<G: FrostGroup>(length: usize, guard: Guard) -> Option<FrostKey<G>> {
    let key = bench::load(length, |Inputs { public, record, word, .. }| {
        Key::<G>::open(&public, party(1), record, &word).ok()
    })??;
    let same = || bench::load(length, |Inputs { public, record, .. }| key.is_of(&public, &record));
    if guard == Guard::Recompute && !same()? {
        return None;
    }
    bench::load(length, |Inputs { public, .. }| FrostKey::of(&public, &key).ok())?
}

#[inline(never)]
fn sign<G: FrostGroup>(
    key: &FrostKey<G>,
    length: usize,
    terms: SignTerms<[u8; 32]>,
    guard: Guard,
) -> Option<()> {
    let mut signer = Signer::guarded(key, terms, guard).ok()?;
    // A list that is hit before it is read is another list. What brings it is looked after elsewhere: it lies last,
    // and is read where it lies.
    let list = bench::lent(length - LIST..length);
    let listed = signer.handle_list(party(2), list).ok()?;
    let mut pool = bench::load(length, |Inputs { pool, .. }| NoncePool::open(key, 0, &pool).ok())??;
    let reserved = listed.reserve(key, &mut pool).ok()?;
    let answered = reserved.answer(key, |change, _| {
        let replaces = bench::load(length, |Inputs { pool, .. }| change.replaces(&pool));
        if replaces != Some(true) {
            return Err(());
        }
        sent_nonce(change.record());
        Ok(())
    });
    let mut buffer = [0; MAX_MESSAGE];
    sent_share(answered.ok()?.ok()?.encode(&mut buffer).ok()?);
    Some(())
}
