//! One member's signature, from its own key to its share, over and over: the host's debugger flips a bit at a
//! moment that the system timer chooses, and puts everything back before the next. The file `task` says which.
#![no_std]
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod group;

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, Ordering};

use bench::{refused, sent_nonce, sent_share};
use cortex_m_rt::entry;
use group::{Confirmed, Key, Meter, Public, QUORUM, Record, generate, party};
use heapless::Vec;
use quorate_core::curve::{
    AnyGroup, EcdsaGroup, Group, SchnorrGroup, SchnorrSecp256k1, Secp256k1, Suite,
};
use quorate_core::derive::{Derivation, Path};
use quorate_core::nonce::{Guard, MAX_MESSAGE, Salt, Scheme, Signer};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::{ecdsa, schnorr, wire};
use semihosting::fs::File;
use semihosting::io::Read as _;
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

/// What is signed.
#[derive(Clone, Copy)]
struct Task {
    holders: u8,
    threshold: u8,
    suite: Suite,
    derived: bool,
    /// In the group of a chip with several curves.
    any: bool,
}

/// The letter of the task, where no bit flips: a request is looked after by who made it.
static TASK: AtomicU8 = AtomicU8::new(0);

impl Task {
    fn read() -> Self {
        let mut task = [0];
        let file = File::open(c"task").and_then(|mut file| file.read_exact(&mut task));
        if file.is_err() {
            process::exit(1);
        }
        TASK.store(task[0], Ordering::Relaxed);
        Self::now()
    }

    fn now() -> Self {
        let small = |suite, derived| {
            let any = suite == Suite::SchnorrEd25519;
            Self { holders: 4, threshold: 2, suite, derived, any }
        };
        match TASK.load(Ordering::Relaxed) {
            b'e' => small(Suite::EcdsaSecp256k1, false),
            b'd' => small(Suite::EcdsaSecp256k1, true),
            b's' => small(Suite::SchnorrSecp256k1, false),
            b't' => small(Suite::SchnorrSecp256k1, true),
            b'a' => Self { any: true, ..small(Suite::EcdsaSecp256k1, true) },
            b'b' => Self { any: true, ..small(Suite::SchnorrSecp256k1, true) },
            b'g' => small(Suite::SchnorrEd25519, false),
            _ => Self { holders: 7, threshold: 3, ..small(Suite::EcdsaSecp256k1, false) },
        }
    }

    fn quorum(self) -> PartySet {
        PartySet::first(2 * self.threshold - 1)
    }

    fn derivation(self) -> Derivation {
        if self.derived { Derivation::Path(Path::new(&[7]).unwrap()) } else { Derivation::Root }
    }
}

#[entry]
fn main() -> ! {
    let (task, any) = (Task::read(), |suite| AnyGroup::of(suite).unwrap());
    match (task.suite, task.any) {
        (Suite::SchnorrSecp256k1, false) => signing::<BySchnorr<_>>(SchnorrSecp256k1),
        (Suite::EcdsaSecp256k1, false) => signing::<ByEcdsa<_>>(Secp256k1),
        (suite @ Suite::EcdsaSecp256k1, true) => signing::<ByEcdsa<_>>(any(suite)),
        (suite, _) => signing::<BySchnorr<_>>(any(suite)),
    }
}

#[inline(never)]
fn signing<S: Signs>(group: S::Group) -> ! {
    let length = bench::boot(|out| make::<S>(group, out));
    let Some(nonces) = nonces(length) else { process::exit(1) };
    bench::take_timer();
    let mut choices = bench::CHOICES;
    bench::ready(&mut choices);
    bench::start_timer(&choices);
    let guard = if choices[1] == 0 { Guard::Off } else { Guard::Recompute };
    if let Some(key) = open(length, guard) {
        sign::<S>(&key, &nonces, guard);
    }
    refused();
    process::exit(0)
}

/// What comes from the others.
#[inline(never)]
fn nonces(length: usize) -> Option<Nonces> {
    bench::load(length, |Inputs { nonces, .. }| nonces)
}

/// As the firmware opens a key: with a guard the records are read once more, and compared.
#[inline(never)]
fn open<G: Group>(length: usize, guard: Guard) -> Option<Key<G>> {
    let key = bench::load(length, |Inputs { public, record, word, .. }| {
        Key::<G>::open(&public, party(1), record, &word).ok()
    })??;
    let same = || bench::load(length, |Inputs { public, record, .. }| key.is_of(&public, &record));
    if guard == Guard::Off || same()? { Some(key) } else { None }
}

/// One of each member.
fn salts(task: Task) -> Vec<(PartyId, Salt), QUORUM> {
    task.quorum().iter().map(|id| (id, [id.number() as u8; 32])).collect()
}

/// A scheme with its group.
trait Signs {
    type Group: Group;
    type Scheme: Scheme<Group = Self::Group>;
    fn start(key: &Key<Self::Group>, guard: Guard) -> Option<Signer<Self::Scheme, QUORUM>>;
}

/// Of this party, among all.
fn own_salt(salts: &[(PartyId, Salt)], me: PartyId) -> Salt {
    salts[usize::from(me.number()) - 1].1
}

struct ByEcdsa<G>(PhantomData<G>);
struct BySchnorr<G>(PhantomData<G>);

impl<G: EcdsaGroup> Signs for ByEcdsa<G> {
    type Group = G;
    type Scheme = ecdsa::Ecdsa<G>;

    #[inline(never)]
    fn start(key: &Key<G>, guard: Guard) -> Option<Signer<Self::Scheme, QUORUM>> {
        let task = Task::now();
        let (salts, derivation) = (salts(task), task.derivation());
        let (quorum, coordinator, digest) = (task.quorum(), party(2), [7; 32]);
        let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest };
        let own = own_salt(&salts, key.party());
        ecdsa::Signer::guarded(key, terms, &salts, &own, guard).ok()
    }
}

impl<G: SchnorrGroup> Signs for BySchnorr<G> {
    type Group = G;
    type Scheme = schnorr::Schnorr<G, [u8; 32]>;

    #[inline(never)]
    fn start(key: &Key<G>, guard: Guard) -> Option<Signer<Self::Scheme, QUORUM>> {
        let task = Task::now();
        // As wallets have it: an address of the key, whose output has no scripts.
        let taproot = Tweak::Taproot { merkle_root: None };
        let tweak = if task.derived { taproot } else { Tweak::None };
        let (salts, derivation) = (salts(task), task.derivation());
        let (quorum, coordinator, message) = (task.quorum(), party(2), [5; 32]);
        let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
        let own = own_salt(&salts, key.party());
        schnorr::Signer::guarded(key, terms, &salts, &own, guard).ok()
    }
}

#[inline(never)]
fn make<S: Signs>(group: S::Group, out: &mut [u8]) -> &[u8] {
    let task = Task::now();
    let made = generate(group, task.holders, task.threshold, &mut Meter::default());
    let nonces = others::<S>(&made, task.quorum());
    wire::encode(&(&made.public, &made.records[0], &made.words[0], &nonces), out).unwrap()
}

#[inline(never)]
fn others<S: Signs>(made: &group::Made, quorum: PartySet) -> Nonces {
    let mut nonces = Nonces::new();
    for place in 1..quorum.len() {
        let key: Key<S::Group> = group::open(made, place, group::copied(&made.records[place]));
        let signer = S::start(&key, Guard::Off).unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let message = Vec::from_slice(signer.nonce_message(&mut buffer).unwrap()).unwrap();
        let _ = nonces.push((party(place + 1), message));
    }
    nonces
}

#[inline(never)]
fn sign<S: Signs>(key: &Key<S::Group>, nonces: &Nonces, guard: Guard) {
    let mut buffer: Message = [0; MAX_MESSAGE];
    let Some(mut signer) = S::start(key, guard) else { return };
    let Ok(message) = signer.nonce_message(&mut buffer) else { return };
    sent_nonce(message);
    let Ok(Some(share)) = signer.handle_nonces(key, nonces) else { return };
    let Ok(message) = share.encode(&mut buffer) else { return };
    sent_share(message);
}
