//! Nodes that die by SIGKILL at random moments of key generation and signing: no panic, no hang, a
//! clear error or a signature; they rejoin; no share of a confirmed key is lost, no limit exceeded.
//!
//! The moments are spread over what these operations take on this machine, measured first. The seed
//! decides who dies, who coordinates and when; what the operating system does meanwhile it does not.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod books;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_node::client::ClientError;
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_tests::cluster::{Cluster, Deadlines, Hsm, PATIENCE, Transfer, seed};
use quorate_tests::transaction::judge;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use books::{Books, Request};

/// Kills in a run.
const KILLS: usize = 60;
/// Kills where tokens seal.
const KILLS_WITH_TOKENS: usize = 20;
/// After so many, all nodes stop and start again: links that break often are dialled ever more slowly.
const BATCH: usize = 6;
/// Transfers that the window of the tight key has room for.
const ROOM: u64 = 11;

struct Run {
    cluster: Cluster,
    random: ChaCha20Rng,
    books: Books,
    /// How long a key generation and a signature take here.
    usual: (Duration, Duration),
    tally: BTreeMap<String, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scene {
    coordinator: u16,
    victim: u16,
    delay: Duration,
}

impl Run {
    /// `choose` says which of the times that an operation took is the usual one.
    fn begin(hsm: Hsm, choose: fn(Duration, Duration) -> Duration) -> Self {
        let seed = seed();
        // A key whose party died after it was stored is waited for until the deadline.
        let deadlines = Deadlines { key: 4_000, accept: 4_000, sign: 4_000 };
        let cluster = Cluster::running(4, hsm, Some(deadlines));
        let free = cluster.create_key(1, "free", &cluster.policy());
        let policy = cluster.policy_with_window(ROOM, Transfer::default().value);
        let tight = cluster.create_key(1, "tight", &policy);
        let random = ChaCha20Rng::seed_from_u64(seed);
        let books = Books::new(free, tight);
        let usual = (Duration::ZERO, Duration::ZERO);
        let mut run = Self { cluster, random, books, usual, tally: BTreeMap::new() };
        run.usual = run.measure(choose);
        println!("key generation takes {:?} here, a signature {:?}", run.usual.0, run.usual.1);
        run
    }

    fn measure(&mut self, choose: fn(Duration, Duration) -> Duration) -> (Duration, Duration) {
        let (mut generation, mut signature) = (Vec::new(), Vec::new());
        for number in 0..4 {
            let start = Instant::now();
            let key = self.cluster.create_key(1, &format!("calm {number}"), &self.cluster.policy());
            generation.push(start.elapsed());
            self.books.made(key);
            let request = self.new_request(false);
            let start = Instant::now();
            let signed = self.cluster.client(1).sign(&request.bytes);
            signature.push(start.elapsed());
            self.books.signed(&request, signed.unwrap());
        }
        let of = |times: Vec<Duration>| times.into_iter().reduce(choose).unwrap();
        (of(generation), of(signature))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn any_party(&mut self) -> u16 {
        1 + self.below(4) as u16
    }

    /// From before the operation begins until a little after it should have ended.
    fn scene(&mut self, usual: Duration) -> Scene {
        let longest = usual.as_micros() as u64 * 5 / 4;
        let delay = Duration::from_micros(self.below(longest + 1));
        Scene { coordinator: self.any_party(), victim: self.any_party(), delay }
    }

    fn new_request(&mut self, tight: bool) -> Request {
        let key = self.books.key(tight).clone();
        let transfer = Transfer::number(self.books.next_nonce());
        let bytes = self.cluster.request(&key, &transfer);
        self.books.asked(Request { bytes, tight })
    }

    /// Starts `operation`, kills the victim in the middle, and waits for what comes of it.
    fn kill_during<T: Send + 'static>(
        &mut self,
        scene: Scene,
        operation: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(operation()));
        std::thread::sleep(scene.delay);
        self.cluster.kill(scene.victim);
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{scene:?} hangs"))
    }

    fn count<T>(&mut self, what: &str, scene: Scene, result: &Result<T, ClientError>) {
        let who = if scene.victim == scene.coordinator { "the coordinator" } else { "another" };
        let came = match result {
            Ok(_) => "done".to_owned(),
            Err(ClientError::Refused(error)) => {
                let error = serde_json::to_value(error).unwrap();
                error["code"].as_str().unwrap().to_owned()
            }
            Err(error) => error.to_string().split(' ').take(3).collect::<Vec<_>>().join(" "),
        };
        *self.tally.entry(format!("{what}, {who} killed: {came}")).or_default() += 1;
    }

    fn kill_in_key_generation(&mut self, round: usize) {
        let scene = self.scene(self.usual.0);
        let name = format!("key {round}");
        let client = self.cluster.client(scene.coordinator);
        let policy = self.cluster.policy();
        let made = self.kill_during(scene, move || client.create_key(&name, 2, &[], &policy));
        self.count("key generation", scene, &made);
        match made {
            Ok(key) => {
                assert_eq!(key.state, "active");
                self.books.made(key);
            }
            Err(ClientError::Unreachable { .. }) if scene.victim == scene.coordinator => {}
            Err(ClientError::Refused(ServiceError::NotEnoughParties { reasons, .. })) => {
                let blamed: Vec<u16> = reasons.iter().map(|(party, _)| *party).collect();
                assert_eq!(blamed, [scene.victim], "{scene:?}: {reasons:?}");
            }
            Err(ClientError::Refused(ServiceError::Deadline { waiting_for, .. })) => {
                // For the victim, and for those whom its last messages did not reach.
                assert!(!waiting_for.is_empty(), "{scene:?}");
                assert!(!waiting_for.contains(&scene.coordinator), "{scene:?}: {waiting_for:?}");
            }
            Err(error) => panic!("{scene:?}: not a clear error: {error:?}"),
        }
        self.rejoin(scene);
    }

    fn kill_in_signing(&mut self, tight: bool) {
        let mut scene = self.scene(self.usual.1);
        // Half of the time: its death leaves requests that are counted and not signed.
        if self.below(2) == 0 {
            scene.victim = scene.coordinator;
        }
        let request = self.new_request(tight);
        let (client, bytes) = (self.cluster.client(scene.coordinator), request.bytes.clone());
        let first = self.kill_during(scene, move || client.sign(&bytes));
        self.count(if tight { "tight signature" } else { "signature" }, scene, &first);
        let first = self.judged(scene, &request, first);
        self.rejoin(scene);

        // The same bytes again, at any party; and in another second, since of one second a second
        // count would not show.
        if first.is_none() {
            let second = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
            let asked = second();
            while second() == asked {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let again_at = self.any_party();
        let again = self.cluster.client(again_at).sign(&request.bytes);
        let unharmed = Scene { coordinator: again_at, victim: 0, ..scene };
        let again = self.judged(unharmed, &request, again);
        if let Some(first) = first {
            let again = again.unwrap_or_else(|| panic!("{scene:?}: signed once, not twice"));
            assert!(again.raw_transaction == first.raw_transaction || !again.repeated);
        }
    }

    /// A signature that is valid, or an error that may be; `None` for that.
    fn judged(
        &mut self,
        scene: Scene,
        request: &Request,
        result: Result<Signed, ClientError>,
    ) -> Option<Signed> {
        match result {
            Ok(signed) => {
                let verdict = judge(signed.raw_transaction.as_deref().unwrap());
                let key = self.books.key(request.tight);
                assert_eq!(verdict.sender, key.address.to_lowercase(), "{scene:?}");
                self.books.signed(request, signed.clone());
                Some(signed)
            }
            Err(ClientError::Unreachable { .. }) if scene.victim == scene.coordinator => None,
            Err(ClientError::Refused(ServiceError::Denied { rule, .. }))
                if rule == "window" && self.books.may_be_full(request) =>
            {
                None
            }
            // Three are there whenever the coordinator is.
            Err(error) => panic!("{scene:?}: not signed: {error:?}"),
        }
    }

    fn rejoin(&mut self, scene: Scene) {
        self.cluster.start(scene.victim);
        self.cluster.wait_linked();
    }

    /// What any party has as active, all have, and is what it was.
    fn all_agree_on_keys(&mut self) -> Vec<KeyInfo> {
        let lists = self.cluster.wait_for("all parties have the same active keys", || {
            let lists = self.cluster.ids().into_iter().map(|party| {
                let keys = self.cluster.client(party).list_keys().unwrap().into_iter();
                let active = keys.filter(|key| key.state == "active");
                let shown = |key: KeyInfo| (key.key.clone(), (key.public_key.clone(), key));
                active.map(shown).collect::<BTreeMap<_, _>>()
            });
            let lists: Vec<_> = lists.collect();
            let public = |list: &BTreeMap<String, (String, KeyInfo)>| {
                list.iter()
                    .map(|(id, (public, _))| (id.clone(), public.clone()))
                    .collect::<Vec<_>>()
            };
            let same = lists.iter().all(|list| public(list) == public(&lists[0]));
            if same { Ok(lists) } else { Err(lists.iter().map(public).collect::<Vec<_>>()) }
        });
        let first = lists.into_iter().next().unwrap();
        for (id, public_key) in self.books.made_keys() {
            let found = first.get(id).unwrap_or_else(|| panic!("the made key {id} is lost"));
            assert_eq!(found.0, *public_key);
        }
        first.into_values().map(|(_, key)| key).collect()
    }

    /// Each key signs with each quorum, also those that only a dying coordinator knew of.
    fn every_quorum_signs(&mut self, keys: &[KeyInfo]) {
        for away in self.cluster.ids() {
            self.cluster.kill(away);
            let there: Vec<u16> =
                self.cluster.ids().into_iter().filter(|party| *party != away).collect();
            for key in keys.iter().filter(|key| key.name != "tight") {
                let coordinator = there[self.below(3) as usize];
                let nonce = self.books.next_nonce();
                let bytes = self.cluster.request(key, &Transfer::number(nonce));
                let signed = self.cluster.client(coordinator).sign(&bytes);
                let signed = signed.unwrap_or_else(|e| panic!("{}, {away} away: {e}", key.name));
                assert_eq!(signed.signers, there);
                let verdict = judge(signed.raw_transaction.as_deref().unwrap());
                assert_eq!(hex::encode(verdict.public_key), key.public_key);
                if key.name == "free" {
                    let request = self.books.asked(Request { bytes, tight: false });
                    self.books.signed(&request, signed);
                }
            }
            self.cluster.start(away);
            self.cluster.wait_linked();
        }
    }

    /// Asks until the tight key gives no more.
    fn use_up_the_window(&mut self) {
        for coordinator in [1, 2, 3, 4].into_iter().cycle().take(4 * ROOM as usize) {
            let request = self.new_request(true);
            let result = self.cluster.client(coordinator).sign(&request.bytes);
            let scene = Scene { coordinator, victim: 0, delay: Duration::ZERO };
            if self.judged(scene, &request, result).is_none() {
                return;
            }
        }
        panic!("more requests were signed than all parties together have room for");
    }
}

#[test]
fn sixty_kills_lose_nothing_and_exceed_nothing() {
    let mut run = Run::begin(Hsm::Software, Duration::max);
    let start = Instant::now();
    for round in 0..KILLS {
        match round % 4 {
            0 | 2 => run.kill_in_key_generation(round),
            1 => run.kill_in_signing(false),
            _ => run.kill_in_signing(true),
        }
        if round % BATCH == BATCH - 1 {
            run.cluster.terminate_all();
            run.cluster.start_all();
            run.cluster.wait_linked();
        }
    }
    println!("{KILLS} kills in {:?}:", start.elapsed());
    run.tally.iter().for_each(|(what, count)| println!("{count:>4}  {what}"));
    let keys = run.all_agree_on_keys();
    run.every_quorum_signs(&keys);
    run.use_up_the_window();
    run.cluster.terminate_all();
    run.books.balance(&run.cluster, ROOM);
    println!("{} keys; all in {:?}", keys.len(), start.elapsed());
}

/// Nodes die while they generate keys and a token of each seals the shares.
#[test]
fn twenty_kills_lose_no_share_that_a_token_seals() {
    let mut run = Run::begin(Hsm::SoftHsm, Duration::min);
    // Not beyond the end: nothing here is about what comes after it.
    run.usual.0 = run.usual.0 * 4 / 5;
    let start = Instant::now();
    for round in 0..KILLS_WITH_TOKENS {
        run.kill_in_key_generation(round);
    }
    println!("{KILLS_WITH_TOKENS} kills in {:?}:", start.elapsed());
    run.tally.iter().for_each(|(what, count)| println!("{count:>4}  {what}"));
    let done = run.tally.iter().filter(|(what, _)| what.ends_with(": done"));
    let done: usize = done.map(|(_, count)| count).sum();
    assert!(done <= KILLS_WITH_TOKENS * 3 / 4, "the kills came too late: {done} keys were made");
    let keys = run.all_agree_on_keys();
    run.every_quorum_signs(&keys);
    println!("{} keys; all in {:?}", keys.len(), start.elapsed());
}
