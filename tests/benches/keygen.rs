//! What one key generation costs a party: the three rounds and the certificate of all, in one process,
//! divided by the number of parties.

#![expect(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark, not a library"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::dkg::{Dkg, Output, Peer};
use quorate_core::identity::Identity;
use quorate_core::key::{Confirmation, KeyTerms, check_certificate};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use quorate_tests::simulator::{
    Curve, SessionKey, identity_key, peers, public, session_key, session_of, terms,
};

/// Capacities of a chip, so that what is measured is the protocol and no zeroing of unused room.
const N: usize = 7;
const K: usize = 15;

type Run = Dkg<Curve, N, K>;

/// What a node has at hand: making a key from its seed costs a multiplication.
struct Keys {
    peers: Vec<Peer>,
    session: Vec<SessionKey>,
    identity: Vec<SigningKey>,
    identities: Vec<Identity>,
}

impl Keys {
    fn new(parties: PartySet) -> Self {
        let identity: Vec<_> = parties.iter().map(identity_key).collect();
        Self {
            peers: peers(parties),
            session: parties.iter().map(session_key).collect(),
            identities: identity.iter().map(public).collect(),
            identity,
        }
    }
}

fn place(party: PartyId) -> usize {
    usize::from(party.number()) - 1
}

fn start(terms: &KeyTerms, keys: &Keys, seed: u64) -> Vec<Run> {
    let parties = terms.holders.parties();
    let run = |me: PartyId| {
        let hedge = SecretBytes::new([me.number() as u8; 32]);
        let mut rng = HedgedRng::new(&[0; 32], &hedge, &session_of(seed), seed);
        let signer = &keys.session[place(me)];
        Run::new(*terms, session_of(seed), me, &keys.peers, signer, &mut rng).unwrap()
    };
    parties.iter().map(run).collect()
}

/// Runs to the end in order of sending; returns all confirmations' check as the last step.
fn finish(terms: &KeyTerms, secret: &Keys, runs: &mut [Run]) {
    let parties = terms.holders.parties();
    let mut queue: VecDeque<(PartyId, PartyId, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; Run::MAX_MESSAGE];
    let mut keys = Vec::new();
    let mut drain = |me: PartyId, run: &mut Run, queue: &mut VecDeque<_>| {
        while let Some(output) = run.poll_output(&secret.session[place(me)], &mut buffer).unwrap() {
            match output {
                Output::Send { to: Some(to), bytes } => queue.push_back((me, to, bytes.to_vec())),
                Output::Send { to: None, bytes } => {
                    queue.extend(parties.without(me).iter().map(|to| (me, to, bytes.to_vec())))
                }
                Output::Persist => keys.push((me, run.take_key().unwrap())),
                Output::Failed(abort) => unreachable!("{abort}"),
            }
        }
    };
    for (me, run) in parties.iter().zip(runs.iter_mut()) {
        drain(me, run, &mut queue);
    }
    while let Some((from, to, bytes)) = queue.pop_front() {
        let run = &mut runs[place(to)];
        run.handle_message(from, &bytes, &secret.session[place(to)]).unwrap();
        drain(to, run, &mut queue);
    }
    let confirmed: Vec<_> = keys
        .iter()
        .map(|(me, (public, record))| {
            let mut own = Confirmation::unsigned(public, *me, record);
            own.signature =
                Bytes64(secret.identity[place(*me)].sign(&own.digest(public)).to_bytes());
            own
        })
        .collect();
    for (_, (key, _)) in &keys {
        check_certificate(key, &confirmed, |party| Some(secret.identities[place(party)])).unwrap();
    }
    black_box(keys);
}

fn keygen(c: &mut Criterion) {
    let mut group = c.benchmark_group("keygen per party");
    for (n, t) in [(4, 2), (7, 3)] {
        group.bench_function(format!("{t} of {n}"), |bencher| {
            let keys = Keys::new(PartySet::first(n));
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for seed in 0..times {
                    let terms = terms(PartySet::first(n), t, seed).unwrap();
                    let begun = Instant::now();
                    let mut runs = start(&terms, &keys, seed);
                    finish(&terms, &keys, &mut runs);
                    spent += begun.elapsed();
                }
                spent / u32::from(n)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, keygen);
criterion_main!(benches);
