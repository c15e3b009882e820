//! What one key generation costs a party: the three rounds and the certificate of all, in one process,
//! divided by the number of parties.

#![expect(missing_docs, clippy::unwrap_used, reason = "a benchmark, not a library")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::Signer as _;
use quorate_core::dkg::{Dkg, Output};
use quorate_core::key::{Confirmation, KeyTerms, check_certificate};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::Bytes64;
use quorate_tests::simulator::{
    Curve, id, identity_key, peers, public, session_key, session_of, terms,
};

/// Capacities of a chip, so that what is measured is the protocol and no zeroing of unused room.
const N: usize = 7;
const K: usize = 15;

type Run = Dkg<Curve, N, K>;

fn start(terms: &KeyTerms, seed: u64) -> Vec<Run> {
    let parties = terms.holders.parties();
    let run = |me: PartyId| {
        let hedge = SecretBytes::new([me.number() as u8; 32]);
        let mut rng = HedgedRng::new(&[0; 32], &hedge, &session_of(seed), seed);
        let peers = peers(parties);
        Run::new(*terms, session_of(seed), me, &peers, &session_key(me), &mut rng).unwrap()
    };
    parties.iter().map(run).collect()
}

/// Runs to the end in order of sending; returns all confirmations' check as the last step.
fn finish(terms: &KeyTerms, runs: &mut [Run]) {
    let parties = terms.holders.parties();
    let mut queue: VecDeque<(PartyId, PartyId, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; Run::MAX_MESSAGE];
    let mut keys = Vec::new();
    let mut drain = |me: PartyId, run: &mut Run, queue: &mut VecDeque<_>| {
        while let Some(output) = run.poll_output(&session_key(me), &mut buffer).unwrap() {
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
    for (place, run) in runs.iter_mut().enumerate() {
        drain(id(place as u16 + 1), run, &mut queue);
    }
    while let Some((from, to, bytes)) = queue.pop_front() {
        let run = runs.get_mut(usize::from(to.number()) - 1).unwrap();
        run.handle_message(from, &bytes, &session_key(to)).unwrap();
        drain(to, run, &mut queue);
    }
    let confirmed: Vec<_> = keys
        .iter()
        .map(|(me, (public, record))| {
            let mut own = Confirmation::unsigned(public, *me, record);
            own.signature = Bytes64(identity_key(*me).sign(&own.digest(public)).to_bytes());
            own
        })
        .collect();
    for (_, (key, _)) in &keys {
        check_certificate(key, &confirmed, |party| Some(public(&identity_key(party)))).unwrap();
    }
    black_box(keys);
}

fn keygen(c: &mut Criterion) {
    let mut group = c.benchmark_group("keygen per party");
    for (n, t) in [(4, 2), (7, 3)] {
        group.bench_function(format!("{t} of {n}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for seed in 0..times {
                    let terms = terms(PartySet::first(n), t, seed).unwrap();
                    let begun = Instant::now();
                    let mut runs = start(&terms, seed);
                    finish(&terms, &mut runs);
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
