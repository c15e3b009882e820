//! One whole signature, per party, beside the published `cait-sith` crate in the same run.
//!
//! Ours: R1 and R2 of one member (opening the key apart), and the coordinator's combination, which
//! happens once per signature. Theirs: presign and sign of all parties in one thread, divided by their
//! number. Its two triples per signature are made beforehand, so they are counted and shown apart.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use cait_sith::protocol::{Action, Participant, Protocol};
use cait_sith::triples::{TriplePub, TripleShare};
use cait_sith::{FullSignature, KeygenOutput};
use criterion::{Criterion, criterion_group, criterion_main};
use k256::Secp256k1;
use k256::elliptic_curve::Field as _;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{Combiner, MAX_MESSAGE, Salt, SignTerms, Signature, Signer};
use quorate_core::key::OpenedKey;
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_tests::simulator::{Curve, Group, K, N, S, group, id, salt_of};
use rand_core::OsRng;

type Key = OpenedKey<Curve, N, K>;
type Message = (PartyId, Vec<u8>);

/// One signature of ours, with everything that the measured party receives.
struct Ours {
    group: Group,
    terms: SignTerms,
    salts: Vec<(PartyId, Salt)>,
    key: Key,
    /// R1 of all others.
    nonces: Vec<Message>,
    /// R2 of all.
    shares: Vec<Message>,
}

impl Ours {
    fn new(group: Group, signers: u8) -> Self {
        let quorum = PartySet::first(signers);
        let terms = SignTerms {
            session: [1; 32],
            quorum,
            coordinator: id(1),
            derivation: Derivation::Root,
            digest: [7; 32],
        };
        let salts: Vec<_> = quorum.iter().map(|party| (party, salt_of(party, 1))).collect();
        let open = |party| group[&party].open(party).expect("the key opens");
        let mut members: Vec<_> = quorum
            .iter()
            .map(|party| {
                let key = open(party);
                let signer: Signer<Curve, S> =
                    Signer::new(&key, terms, &salts, &salt_of(party, 1)).expect("terms hold");
                (party, key, signer)
            })
            .collect();
        let mut buffer = [0; MAX_MESSAGE];
        let all: Vec<Message> = members
            .iter()
            .map(|(party, _, s)| (*party, s.nonce_message(&mut buffer).expect("room").to_vec()))
            .collect();
        let mut shares = Vec::new();
        for (me, key, signer) in &mut members {
            for (from, bytes) in all.iter().filter(|(from, _)| from != me) {
                if let Some(share) = signer.handle_nonce(key, *from, bytes).expect("honest") {
                    shares.push((*me, share.encode(&mut buffer).expect("room").to_vec()));
                }
            }
        }
        let nonces = all.into_iter().filter(|(from, _)| *from != id(1)).collect();
        Self { terms, salts, key: open(id(1)), nonces, shares, group }
    }

    /// What one member computes.
    fn member(&self) -> usize {
        let own = salt_of(id(1), 1);
        let mut signer: Signer<Curve, S> =
            Signer::new(&self.key, self.terms, &self.salts, &own).expect("terms hold");
        let mut buffer = [0; MAX_MESSAGE];
        black_box(signer.nonce_message(&mut buffer).expect("room"));
        let mut share = None;
        for (from, bytes) in &self.nonces {
            share = signer.handle_nonce(&self.key, *from, bytes).expect("honest");
        }
        share.expect("complete").encode(&mut buffer).expect("room").len()
    }

    /// What the coordinator computes besides.
    fn coordinator(&self) -> Signature {
        let holders: Holders = self.key.terms().holders;
        let mut combiner: Combiner<Curve, S> =
            Combiner::new(&holders, &self.key.extended(), self.terms).expect("terms hold");
        let mut done = None;
        for (from, bytes) in &self.shares {
            done = combiner.handle_share(*from, bytes).expect("honest");
        }
        done.expect("a signature")
    }

    /// Decoding and checking a record that has been unsealed.
    fn open(&self) -> Key {
        self.group[&id(1)].open(id(1)).expect("the key opens")
    }
}

type Party<T> = (Participant, Box<dyn Protocol<Output = T>>);

/// Runs all of the peer's parties to the end, in one thread.
fn run<T>(mut parties: Vec<Party<T>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = parties.iter().map(|_| None).collect();
    while done.iter().any(Option::is_none) {
        for i in 0..parties.len() {
            while done[i].is_none() {
                let from = parties[i].0;
                match parties[i].1.poke().expect("honest") {
                    Action::Wait => break,
                    Action::SendMany(message) => {
                        for (_, party) in parties.iter_mut().filter(|(to, _)| *to != from) {
                            party.message(from, message.clone());
                        }
                    }
                    Action::SendPrivate(to, message) => {
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

fn boxed<T>(party: Participant, protocol: impl Protocol<Output = T> + 'static) -> Party<T> {
    (party, Box::new(protocol))
}

/// The peer, with a key, and triples that were made before.
struct Theirs {
    participants: Vec<Participant>,
    keys: Vec<KeygenOutput<Secp256k1>>,
    triples: [(TriplePub<Secp256k1>, Vec<TripleShare<Secp256k1>>); 2],
    digest: k256::Scalar,
}

impl Theirs {
    fn new(signers: u32) -> Self {
        let participants: Vec<Participant> = (1..=signers).map(Participant::from).collect();
        let threshold = participants.len();
        let keygen = participants.iter().map(|p| {
            boxed(*p, cait_sith::keygen(&participants, *p, threshold).expect("parameters"))
        });
        let keys = run(keygen.collect());
        let triples = [(); 2]
            .map(|()| cait_sith::triples::deal::<Secp256k1>(&mut OsRng, &participants, threshold));
        Self { keys, triples, digest: k256::Scalar::random(&mut OsRng), participants }
    }

    /// Presign and sign of all parties.
    fn all_parties(&self) -> Vec<FullSignature<Secp256k1>> {
        let all = &self.participants;
        let [(pub0, shares0), (pub1, shares1)] = &self.triples;
        let presigning = all.iter().zip(&self.keys).enumerate().map(|(i, (p, key))| {
            let args = cait_sith::PresignArguments {
                triple0: (shares0[i].clone(), pub0.clone()),
                triple1: (shares1[i].clone(), pub1.clone()),
                keygen_out: key.clone(),
                threshold: all.len(),
            };
            boxed(*p, cait_sith::presign(all, *p, args).expect("parameters"))
        });
        let presigned = run(presigning.collect());
        let key = self.keys[0].public_key;
        let signing = all.iter().zip(presigned).map(|(p, presigned)| {
            boxed(*p, cait_sith::sign(all, *p, key, presigned, self.digest).expect("parameters"))
        });
        run(signing.collect())
    }

    /// One triple among all parties, from the shared set-up to the end; a signature takes two.
    fn triple(&self) -> usize {
        let all = &self.participants;
        let making = all.iter().map(|p| {
            let protocol = cait_sith::triples::generate_triple::<Secp256k1>(all, *p, all.len());
            boxed(*p, protocol.expect("parameters"))
        });
        run(making.collect()).len()
    }
}

/// The median of `runs` runs.
fn median<T>(runs: usize, mut once: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(once());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}

/// The line for people, measured side by side.
fn compare(ours: &Ours, theirs: &Theirs) {
    let signers = theirs.participants.len();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let per_party = signers as f64;
    let member = micros(median(501, || ours.member()));
    let coordinator = micros(median(501, || ours.coordinator()));
    let peer = micros(median(101, || theirs.all_parties())) / per_party;
    let triples = 2.0 * micros(median(5, || theirs.triple())) / per_party;
    let worst = member + coordinator;
    println!(
        "{signers} signers, per party: quorate {member:.0} us, and {coordinator:.0} us more for the one that \
         coordinates; cait-sith {peer:.0} us and its two triples {triples:.0} us. \
         Ratio {:.1} ({:.1} for the coordinator), triples not counted.",
        peer / member,
        peer / worst,
    );
}

fn signature(c: &mut Criterion) {
    for (n, t) in [(4, 2), (7, 3)] {
        let signers = 2 * t - 1;
        let ours = Ours::new(group(n, t, 1), signers);
        let theirs = Theirs::new(signers.into());
        c.bench_function(&format!("quorate/member/{signers}"), |b| b.iter(|| ours.member()));
        c.bench_function(&format!("quorate/coordinator/{signers}"), |b| {
            b.iter(|| ours.coordinator());
        });
        c.bench_function(&format!("quorate/open-key/{signers}"), |b| b.iter(|| ours.open()));
        c.bench_function(&format!("cait-sith/all-parties-presign-sign/{signers}"), |b| {
            b.iter(|| theirs.all_parties());
        });
        compare(&ours, &theirs);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = signature
}
criterion_main!(benches);
