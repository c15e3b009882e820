//! `cait-sith`: ECDSA from triples. All parties in one thread, so the time is divided by their number.

use cait_sith::protocol::{Action, Participant, Protocol};
use cait_sith::triples::{TriplePub, TripleShare};
use cait_sith::{FullSignature, KeygenOutput};
use k256::Secp256k1;
use k256::elliptic_curve::Field as _;
use rand_core::OsRng;

type Party<T> = (Participant, Box<dyn Protocol<Output = T>>);

/// Runs all parties to the end.
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

fn participants(count: u32) -> Vec<Participant> {
    (1..=count).map(Participant::from).collect()
}

/// A key generation of `count` parties.
pub fn keygen(count: u32, threshold: usize) -> Vec<KeygenOutput<Secp256k1>> {
    let all = participants(count);
    let parties =
        all.iter().map(|p| boxed(*p, cait_sith::keygen(&all, *p, threshold).expect("parameters")));
    run(parties.collect())
}

/// A key, and triples that were made before.
pub struct Signers {
    all: Vec<Participant>,
    keys: Vec<KeygenOutput<Secp256k1>>,
    triples: [(TriplePub<Secp256k1>, Vec<TripleShare<Secp256k1>>); 2],
    digest: k256::Scalar,
}

impl Signers {
    pub fn new(count: u32) -> Self {
        let all = participants(count);
        let keys = keygen(count, all.len());
        let triples =
            [(); 2].map(|()| cait_sith::triples::deal::<Secp256k1>(&mut OsRng, &all, all.len()));
        Self { keys, triples, digest: k256::Scalar::random(&mut OsRng), all }
    }

    /// Presign and sign of all parties.
    pub fn sign(&self) -> Vec<FullSignature<Secp256k1>> {
        let all = &self.all;
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
    pub fn triple(&self) -> usize {
        let all = &self.all;
        let making = all.iter().map(|p| {
            let protocol = cait_sith::triples::generate_triple::<Secp256k1>(all, *p, all.len());
            boxed(*p, protocol.expect("parameters"))
        });
        run(making.collect()).len()
    }
}
