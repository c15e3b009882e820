//! One whole signature, per party, beside the published `cait-sith` crate in the same run.
//!
//! Ours: R1 and R2 of one member (opening the key apart), and the coordinator's combination. Theirs:
//! presign and sign of one run divided by the parties; its triples are counted apart, since it is
//! OT-based and makes them beforehand.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::time::Duration;

use cait_sith::protocol::{Action, Participant, Protocol};
use criterion::{Criterion, criterion_group, criterion_main};
use k256::Secp256k1;
use k256::elliptic_curve::Field as _;
use quorate_core::ecdsa::{Combiner, MAX_MESSAGE, Salt, SignTerms, Signer};
use quorate_core::party::PartySet;
use quorate_tests::simulator::{Curve, Group, S, group, id, salt_of};

fn terms(quorum: PartySet) -> (SignTerms, Vec<(quorate_core::party::PartyId, Salt)>) {
    let terms = SignTerms { session: [1; 32], quorum, coordinator: id(1), digest: [7; 32] };
    (terms, quorum.iter().map(|party| (party, salt_of(party, 1))).collect())
}

/// What one member computes for one signature.
fn member(c: &mut Criterion, group: &Group, signers: u8) {
    let quorum = PartySet::first(signers);
    let (terms, salts) = terms(quorum);
    let key = group[&id(1)].open(id(1)).expect("the key opens");
    let nonces: Vec<_> = quorum
        .without(id(1))
        .iter()
        .map(|party| {
            let key = group[&party].open(party).expect("the key opens");
            let signer: Signer<Curve, S> =
                Signer::new(&key, terms, &salts, &salt_of(party, 1)).expect("terms hold");
            let mut buffer = [0; MAX_MESSAGE];
            (party, signer.nonce_message(&mut buffer).expect("room").to_vec())
        })
        .collect();
    c.bench_function(&format!("quorate/member/{signers}"), |b| {
        b.iter(|| {
            let mut signer: Signer<Curve, S> =
                Signer::new(&key, terms, &salts, &salt_of(id(1), 1)).expect("terms hold");
            let mut buffer = [0; MAX_MESSAGE];
            black_box(signer.nonce_message(&mut buffer).expect("room"));
            let mut share = None;
            for (party, bytes) in &nonces {
                share = signer.handle_nonce(&key, *party, bytes).expect("honest");
            }
            black_box(share.expect("complete"))
        });
    });
    c.bench_function(&format!("quorate/open-key/{signers}"), |b| {
        b.iter(|| black_box(group[&id(1)].open(id(1)).expect("the key opens")));
    });
    combine(c, group, signers);
}

fn combine(c: &mut Criterion, group: &Group, signers: u8) {
    let quorum = PartySet::first(signers);
    let (terms, salts) = terms(quorum);
    let mut members: Vec<_> = quorum
        .iter()
        .map(|party| {
            let key = group[&party].open(party).expect("the key opens");
            let signer: Signer<Curve, S> =
                Signer::new(&key, terms, &salts, &salt_of(party, 1)).expect("terms hold");
            (party, key, signer)
        })
        .collect();
    let mut buffer = [0; MAX_MESSAGE];
    let nonces: Vec<_> = members
        .iter()
        .map(|(party, _, s)| (*party, s.nonce_message(&mut buffer).expect("room").to_vec()))
        .collect();
    let mut shares = Vec::new();
    for (me, key, signer) in &mut members {
        for (from, bytes) in nonces.iter().filter(|(from, _)| from != me) {
            if let Some(share) = signer.handle_nonce(key, *from, bytes).expect("honest") {
                shares.push((*me, share.encode(&mut buffer).expect("room").to_vec()));
            }
        }
    }
    let (holders, group_key) = {
        let (_, key, _) = &members[0];
        (key.terms().holders, key.group_key())
    };
    c.bench_function(&format!("quorate/coordinator/{signers}"), |b| {
        b.iter(|| {
            let mut combiner: Combiner<Curve, S> =
                Combiner::new(&holders, group_key, terms).expect("terms hold");
            let mut done = None;
            for (from, bytes) in &shares {
                done = combiner.handle_share(*from, bytes).expect("honest");
            }
            black_box(done.expect("a signature"))
        });
    });
}

/// Runs all of the peer's parties to the end, in one thread.
fn run<T>(mut parties: Vec<(Participant, Box<dyn Protocol<Output = T>>)>) -> Vec<T> {
    let mut done: Vec<Option<T>> = parties.iter().map(|_| None).collect();
    while done.iter().any(Option::is_none) {
        for i in 0..parties.len() {
            while done[i].is_none() {
                match parties[i].1.poke().expect("honest") {
                    Action::Wait => break,
                    Action::SendMany(message) => {
                        let from = parties[i].0;
                        for (j, party) in parties.iter_mut().enumerate() {
                            if j != i {
                                party.1.message(from, message.clone());
                            }
                        }
                    }
                    Action::SendPrivate(to, message) => {
                        let from = parties[i].0;
                        let party = parties.iter_mut().find(|(p, _)| *p == to).expect("a party");
                        party.1.message(from, message);
                    }
                    Action::Return(output) => done[i] = Some(output),
                }
            }
        }
    }
    done.into_iter().flatten().collect()
}

/// The peer: presign and sign of all parties; divide by their number.
fn peer(c: &mut Criterion, signers: u32) {
    let mut rng = rand_core::OsRng;
    let participants: Vec<Participant> = (1..=signers).map(Participant::from).collect();
    let threshold = signers as usize;
    let boxed =
        |p| -> (Participant, Box<dyn Protocol<Output = cait_sith::KeygenOutput<Secp256k1>>>) {
            (p, Box::new(cait_sith::keygen(&participants, p, threshold).expect("parameters")))
        };
    let keys = run(participants.iter().copied().map(boxed).collect());
    let deal = |rng: &mut rand_core::OsRng| {
        cait_sith::triples::deal::<Secp256k1>(rng, &participants, threshold)
    };
    let (pub0, shares0) = deal(&mut rng);
    let (pub1, shares1) = deal(&mut rng);
    let digest = k256::Scalar::random(&mut rng);
    let once = || {
        let presigning = participants.iter().zip(&keys).enumerate().map(|(i, (p, key))| {
            let arguments = cait_sith::PresignArguments {
                triple0: (shares0[i].clone(), pub0.clone()),
                triple1: (shares1[i].clone(), pub1.clone()),
                keygen_out: key.clone(),
                threshold,
            };
            let protocol = cait_sith::presign(&participants, *p, &participants, *p, arguments);
            let boxed: Box<dyn Protocol<Output = _>> = Box::new(protocol.expect("parameters"));
            (*p, boxed)
        });
        let presigned = run(presigning.collect());
        let signing = participants.iter().zip(presigned).map(|(p, presignature)| {
            let key = keys[0].public_key;
            let protocol = cait_sith::sign(&participants, *p, key, presignature, digest);
            let boxed: Box<dyn Protocol<Output = _>> = Box::new(protocol.expect("parameters"));
            (*p, boxed)
        });
        run(signing.collect())
    };
    c.bench_function(&format!("cait-sith/all-parties-presign-sign/{signers}"), |b| {
        b.iter(|| black_box(once()));
    });
    c.bench_function(&format!("cait-sith/dealt-triples/{signers}"), |b| {
        b.iter(|| black_box(deal(&mut rng)));
    });
}

fn signature(c: &mut Criterion) {
    member(c, &group(4, 2, 1), 3);
    member(c, &group(7, 3, 1), 5);
    peer(c, 3);
    peer(c, 5);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = signature
}
criterion_main!(benches);
