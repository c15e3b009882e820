//! Limits hold while a hundred requests at once go to four nodes that are killed and started again: checked
//! over all signatures that came back, and over what each party has in its store and in its log.
//!
//! The seed decides what is asked, who is killed and when; what the operating system does meanwhile it
//! does not.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checker;
mod keys;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate_node::client::{Client, ClientError};
use quorate_node::handle::ServiceError;
use quorate_tests::cluster::{Cluster, Deadlines, Hsm, seed};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use checker::Books;
use keys::{Asked, Keys, Kind, WINDOW};

/// The least amount of a request; some have up to four more.
const LEAST: u64 = 5;
/// Requests at once.
const AT_ONCE: usize = 100;
const ROUNDS: usize = 3;
/// Kills in a round.
const KILLS: usize = 4;
/// Coordinators that a request is shown to while it has neither a signature nor a denial.
const TRIES: usize = 3;
/// Between two of them: a node that was killed needs time to come back.
const PAUSE: Duration = Duration::from_millis(200);

struct Run {
    cluster: Cluster,
    keys: Keys,
    random: ChaCha20Rng,
    books: Books,
}

impl Run {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn ask_new(&mut self, kind: Kind) -> Asked {
        let amount = LEAST + self.below(5);
        let asked = self.keys.request(kind, amount);
        self.books.asked.push(asked.clone());
        asked
    }

    /// A hundred requests at once, and kills meanwhile.
    fn round(&mut self) {
        let requests: Vec<Asked> =
            (0..AT_ONCE).map(|n| self.ask_new(Kind::ALL[n % Kind::ALL.len()])).collect();
        let starts: Vec<usize> = requests.iter().map(|_| self.below(4) as usize).collect();
        let moments: Vec<(u16, [Duration; 2])> = (0..KILLS)
            .map(|_| {
                let victim = 1 + self.below(4) as u16;
                (victim, [200, 100].map(|bound| Duration::from_millis(self.below(bound))))
            })
            .collect();
        let clients: Vec<Client> =
            self.cluster.ids().into_iter().map(|party| self.cluster.client(party)).collect();
        let (answers, cluster) = (Mutex::new(Vec::new()), &mut self.cluster);
        std::thread::scope(|scope| {
            for (asked, start) in requests.iter().zip(&starts) {
                let (clients, answers) = (&clients, &answers);
                scope.spawn(move || {
                    for client in clients.iter().cycle().skip(*start).take(TRIES) {
                        let answer = client.sign(&asked.bytes);
                        let again = may_ask_again(&answer);
                        answers.lock().unwrap().push((asked.clone(), answer));
                        if !again {
                            return;
                        }
                        std::thread::sleep(PAUSE);
                    }
                });
            }
            for (victim, [before, dead]) in moments {
                std::thread::sleep(before);
                cluster.kill(victim);
                std::thread::sleep(dead);
                cluster.start(victim);
            }
        });
        self.cluster.wait_linked();
        for (asked, answer) in answers.into_inner().unwrap() {
            let _ = self.books.answer(&self.keys, asked, answer);
        }
    }

    /// With all parties up, asks for more of a kind until no coordinator gives any.
    fn use_up(&mut self, kind: Kind) {
        let parties = self.cluster.ids();
        let mut denied = 0;
        for turn in 0..400 {
            let coordinator = parties[turn % parties.len()];
            let answer = self.ask_calmly(kind, coordinator);
            denied = match answer.as_str() {
                "signed" => 0,
                "window" | "no key" => denied + 1,
                // On a slow machine a deadline may pass.
                _ => denied,
            };
            if denied == parties.len() {
                return;
            }
        }
        panic!("{kind:?}: 400 requests, and there is still room");
    }

    /// The least that is ever asked for.
    fn ask_calmly(&mut self, kind: Kind, coordinator: u16) -> String {
        let asked = self.keys.request(kind, LEAST);
        self.books.asked.push(asked.clone());
        let answer = self.cluster.client(coordinator).sign(&asked.bytes);
        self.books.answer(&self.keys, asked, answer)
    }
}

/// An answer that says neither yes nor no.
fn may_ask_again<T>(answer: &Result<T, ClientError>) -> bool {
    !matches!(answer, Ok(_) | Err(ClientError::Refused(ServiceError::Denied { .. })))
}

#[test]
fn no_limit_is_exceeded_by_a_hundred_at_once_through_kills() {
    let start = Instant::now();
    let random = ChaCha20Rng::seed_from_u64(seed());
    let deadlines = Deadlines { key: 20_000, accept: 1_500, sign: 2_000 };
    let cluster = Cluster::running(4, Hsm::Software, Some(deadlines));
    let keys = Keys::make(&cluster);
    let mut run = Run { cluster, keys, random, books: Books::default() };
    for round in 0..ROUNDS {
        run.round();
        println!("round {round} ended after {:?}", start.elapsed());
    }
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Sliding) {
        run.use_up(kind);
    }
    std::thread::sleep(Duration::from_secs(WINDOW));
    for coordinator in [1, 2, 3, 4, 1, 2, 3, 4] {
        run.ask_calmly(Kind::Sliding, coordinator);
    }
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    run.books.outcomes.iter().for_each(|(_, came)| *tally.entry(came.as_str()).or_default() += 1);
    println!("after {:?}: {tally:?}", start.elapsed());
    run.cluster.terminate_all();
    checker::check(&run.books, &run.cluster, &run.keys);
}
