//! A cluster of real processes: the release binary, TLS over loopback, folders on disk.
//!
//! Whatever is missing or fails here panics with what there is to know. When a test fails, the ends of
//! the nodes' logs are printed; when it passes, no log may tell of a panic.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

mod binary;
mod client;
mod party;
pub mod process;

use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use quorate_core::policy::Measure;
use quorate_core::request::SignedRequest;
use quorate_node::client::{Client, read_client_key};
use quorate_node::handle::{KeyInfo, Status};
use quorate_node::membership::Membership;
use quorate_node::store::{Charge, Grant, MAX_WINDOW, Spend, SpendOutcome, Store};
use serde_json::Value;

pub use binary::binary;
pub use client::{CHAIN, FEE, RECIPIENT, STRANGER, Transfer, policy, policy_with_window};
use party::{NotStarted, Party};
pub use process::Output;

/// Far more than anything that works takes on a slow machine; what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Clusters that are made before a port that somebody took is believed to be no accident.
const TRIES: usize = 3;

/// What seals the shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsm {
    /// The emulation.
    Software,
    /// A SoftHSM token per party.
    SoftHsm,
}

/// How long the nodes wait for each other, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A whole key generation.
    pub key: u32,
    /// Answers to a proposal.
    pub accept: u32,
    /// The rounds of a signature.
    pub sign: u32,
}

/// n parties, and a client. Dropping it ends their processes and removes their folders.
pub struct Cluster {
    root: tempfile::TempDir,
    parties: Vec<Party>,
    network: [u8; 16],
    client_key: SigningKey,
    client: String,
}

impl Cluster {
    /// `n` parties, initialised and with a membership file; none runs.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new(n: u16, hsm: Hsm) -> Self {
        let root = tempfile::Builder::new().prefix("quorate-test-").tempdir();
        let root = must("a temporary folder", root);
        let parties: Vec<Party> = (1..=n).map(|id| Party::new(root.path(), id, hsm)).collect();
        let (membership, key) =
            (root.path().join("membership.toml"), root.path().join("client.key"));
        let mut group = vec!["group".to_owned(), "new".to_owned(), text(&membership)];
        for party in &parties {
            let identity = party.run(&["identity"]).json();
            let member = identity.get("member").and_then(Value::as_str).unwrap_or_default();
            group.extend(["--member".to_owned(), member.to_owned()]);
        }
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        let Some(first) = parties.first() else { panic!("a cluster needs parties") };
        let _ = first.run(&group).json();
        let client = first.run(&["client", "new", &text(&key)]).json();
        let client = client.get("client").and_then(Value::as_str).unwrap_or_default().to_owned();
        let seed = must("the client's key", fs::read_to_string(&key));
        let client_key = must("the client's key", read_client_key(&seed));
        let network = must("the membership file", Membership::load(&membership)).network();
        Self { root, parties, network, client_key, client }
    }

    /// The same with these deadlines, running and linked.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn running(n: u16, hsm: Hsm, deadlines: Option<Deadlines>) -> Self {
        Self::running_with(n, hsm, deadlines, |_| String::new())
    }

    /// The same, and what `more` says stands at the end of each party's configuration.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn running_with(
        n: u16,
        hsm: Hsm,
        deadlines: Option<Deadlines>,
        more: impl Fn(u16) -> String,
    ) -> Self {
        let mut taken = String::new();
        for _ in 0..TRIES {
            let mut cluster = Self::new(n, hsm);
            if let Some(deadlines) = deadlines {
                cluster.set_deadlines(deadlines);
            }
            cluster.configure(&more);
            match cluster.try_start_all() {
                Ok(()) => {
                    cluster.wait_linked();
                    return cluster;
                }
                Err(NotStarted::PortTaken(why)) => taken = why,
                Err(NotStarted::Failed(why)) => panic!("{why}"),
            }
        }
        panic!("{TRIES} clusters in a row found a port taken: {taken}");
    }

    /// Appends deadlines to each party's configuration; they hold from its next start.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn set_deadlines(&self, Deadlines { key, accept, sign }: Deadlines) {
        self.configure(&|_| {
            format!("\n[deadlines]\nkey_ms = {key}\naccept_ms = {accept}\nsign_ms = {sign}\n")
        });
    }

    fn configure(&self, more: &dyn Fn(u16) -> String) {
        for party in &self.parties {
            let file = party.folder.join("quorate.toml");
            let mut config = must("a configuration", fs::read_to_string(&file));
            config.push_str(&more(party.id));
            must("a configuration", fs::write(&file, config));
        }
    }

    fn party(&self, id: u16) -> &Party {
        let found = self.parties.iter().find(|party| party.id == id);
        found.unwrap_or_else(|| panic!("no party {id}"))
    }

    fn party_mut(&mut self, id: u16) -> &mut Party {
        let found = self.parties.iter_mut().find(|party| party.id == id);
        found.unwrap_or_else(|| panic!("no party {id}"))
    }

    /// All identifiers.
    #[must_use]
    pub fn ids(&self) -> Vec<u16> {
        self.parties.iter().map(|party| party.id).collect()
    }

    /// The temporary folder of all.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A party's folder.
    #[must_use]
    pub fn folder(&self, id: u16) -> &Path {
        &self.party(id).folder
    }

    /// The address of a party's API.
    #[must_use]
    pub fn api(&self, id: u16) -> SocketAddr {
        self.party(id).api
    }

    /// What a party's node has said since the cluster was made.
    #[must_use]
    pub fn log(&self, id: u16) -> String {
        self.party(id).log()
    }

    fn try_start_all(&mut self) -> Result<(), NotStarted> {
        self.parties.iter_mut().filter(|party| !party.is_running()).for_each(Party::spawn);
        self.parties.iter_mut().try_for_each(Party::ready)
    }

    /// Starts all that do not run, and waits until each is ready.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start_all(&mut self) {
        if let Err(error) = self.try_start_all() {
            panic!("{error:?}");
        }
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(&mut self, id: u16) {
        let party = self.party_mut(id);
        party.spawn();
        if let Err(error) = party.ready() {
            panic!("{error:?}");
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u16) {
        self.party_mut(id).kill();
    }

    /// SIGTERM; waits for the end.
    ///
    /// # Panics
    /// If it does not end well.
    pub fn terminate(&mut self, id: u16) {
        self.party_mut(id).terminate();
    }

    /// [`Cluster::terminate`] for all.
    ///
    /// # Panics
    /// If one does not end well.
    pub fn terminate_all(&mut self) {
        self.parties.iter_mut().for_each(Party::terminate);
    }

    /// Waits until every running node is linked to every other running one.
    ///
    /// # Panics
    /// If that does not happen; the logs tell why.
    pub fn wait_linked(&self) {
        let running: Vec<u16> =
            self.parties.iter().filter(|party| party.is_running()).map(|party| party.id).collect();
        for id in &running {
            let others = running.iter().filter(|other| *other != id);
            let linked = |status: &Status| {
                others.clone().all(|other| {
                    status.peers.iter().any(|peer| peer.party == *other && peer.connected)
                })
            };
            self.wait_for(&format!("party {id} is linked to all of {running:?}"), || {
                let status = must(&format!("the status of party {id}"), self.client(*id).status());
                linked(&status).then_some(()).ok_or(Box::new(status))
            });
        }
    }

    /// Asks again and again until `what` is so.
    ///
    /// # Panics
    /// If it does not become so; with the last answer.
    pub fn wait_for<T, E: std::fmt::Debug>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> Result<T, E>,
    ) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            match ask() {
                Ok(found) => return found,
                Err(last) if Instant::now() > until => {
                    panic!("not in {PATIENCE:?}: {what}; the last answer: {last:?}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// A client of a party's API with its operator's token.
    ///
    /// # Panics
    /// If the token cannot be read.
    #[must_use]
    pub fn client(&self, id: u16) -> Client {
        let party = self.party(id);
        let token = must("a token", fs::read_to_string(party.folder.join("operator.token")));
        Client::new(party.api, Some(token.trim().to_owned().into()))
    }

    /// Runs a command as the operator of a party does.
    ///
    /// # Panics
    /// If it hangs.
    #[must_use]
    pub fn command(&self, id: u16, arguments: &[&str]) -> Output {
        self.party(id).run(arguments)
    }

    /// Runs the `init` again that made a party.
    ///
    /// # Panics
    /// If it hangs.
    #[must_use]
    pub fn init_again(&self, id: u16) -> Output {
        process::run(&mut self.party(id).init(self.root.path()), PATIENCE)
    }

    /// Copies a stopped party's folder aside.
    ///
    /// # Panics
    /// If that fails, or the party runs.
    #[must_use]
    pub fn copy_folder(&self, id: u16) -> PathBuf {
        let party = self.party(id);
        assert!(!party.is_running(), "party {id} runs");
        let copy = self.root.path().join(format!("copy-{id}-{}", random()));
        must("copying a folder", copy_all(&party.folder, &copy));
        copy
    }

    /// Puts a copy back in the place of a stopped party's folder.
    ///
    /// # Panics
    /// If that fails, or the party runs.
    pub fn restore_folder(&self, id: u16, copy: &Path) {
        let party = self.party(id);
        assert!(!party.is_running(), "party {id} runs");
        must("removing a folder", fs::remove_dir_all(&party.folder));
        must("copying a folder", copy_all(copy, &party.folder));
    }

    /// A stopped party's store.
    ///
    /// # Panics
    /// If it cannot be opened, or the party runs.
    #[must_use]
    pub fn store(&self, id: u16) -> Store {
        let party = self.party(id);
        assert!(!party.is_running(), "party {id} runs");
        must("a store", Store::open(&party.folder.join("store.redb")))
    }

    /// What a stopped party counted as spent from `key`, wei.
    ///
    /// # Panics
    /// If its store cannot be read, or it has no such active key.
    #[must_use]
    pub fn spent(&self, id: u16, key: &KeyInfo) -> u128 {
        // The store answers how much is spent when it is asked for more than there is.
        let asked = Spend {
            request: [0xff; 32],
            key: key_id(key),
            now: unix_now(),
            expires: u64::MAX,
            grants: vec![Grant {
                charges: vec![Charge {
                    series: Measure::Spend.series(None),
                    amount: [0xff; 32],
                    window: Some((MAX_WINDOW, [0; 32])),
                }],
                audit: Vec::new(),
            }],
        };
        match must("what is spent", self.store(id).check_spend(&asked)) {
            SpendOutcome::OverLimit { spent, limit: _ } => {
                let sum = spent.iter().try_fold(0u128, |sum, byte| {
                    sum.checked_mul(256)?.checked_add(u128::from(*byte))
                });
                sum.unwrap_or_else(|| panic!("party {id} counted more than there can be"))
            }
            other => panic!("no answer of a store: {other:?}"),
        }
    }

    /// Whether a stopped party counted this request.
    ///
    /// # Panics
    /// If its store cannot be read, or `request` is none.
    #[must_use]
    pub fn counted(&self, id: u16, request: &[u8]) -> bool {
        let hash = must("a request", SignedRequest::parse(request)).hash();
        must("a request", self.store(id).request(hash)).is_some_and(|row| row.counted)
    }

    /// The client whom [`Cluster::policy`] names: `ed25519:…`.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.client
    }

    /// The file with the client's key.
    #[must_use]
    pub fn client_file(&self) -> PathBuf {
        self.root.path().join("client.key")
    }

    /// A policy for this cluster's client, without a window.
    #[must_use]
    pub fn policy(&self) -> Value {
        policy(&self.client)
    }

    /// A policy with room for `count` transfers of `value` wei.
    #[must_use]
    pub fn policy_with_window(&self, count: u64, value: u64) -> Value {
        policy_with_window(&self.client, count, value)
    }

    /// A key among all parties with T = 2, through party `coordinator`, active everywhere.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn create_key(&self, coordinator: u16, name: &str, policy: &Value) -> KeyInfo {
        let made = self.client(coordinator).create_key(name, 2, &[], policy);
        let key = must(&format!("making the key {name}"), made);
        assert_eq!(key.state, "active");
        self.ids().into_iter().for_each(|id| drop(self.active_key(id, name)));
        key
    }

    /// Makes sure that all running parties have handled whatever `coordinator` sent them before: a key
    /// is made among them, and its messages come behind on every link.
    ///
    /// # Panics
    /// If that key cannot be made.
    pub fn fence(&self, coordinator: u16) {
        let running = self.parties.iter().filter(|party| party.is_running()).map(|party| party.id);
        let running: Vec<u16> = running.collect();
        let name = format!("fence {}", random());
        let made = self.client(coordinator).create_key(&name, 2, &running, &self.policy());
        let _ = must("making a key", made);
    }

    /// A key as party `id` shows it, once it is active there: its coordinator answers as soon as it has
    /// all confirmations, and another party may still wait for one.
    ///
    /// # Panics
    /// If it does not become active.
    #[must_use]
    pub fn active_key(&self, id: u16, name: &str) -> KeyInfo {
        self.wait_for(&format!("party {id} has the key {name} active"), || {
            match self.client(id).show_key(name) {
                Ok(key) if key.state == "active" => Ok(key),
                other => Err(Box::new(other)),
            }
        })
    }

    /// A signed request for a transfer under `key`. Each call makes another request.
    #[must_use]
    pub fn request(&self, key: &KeyInfo, transfer: &Transfer) -> Vec<u8> {
        transfer.request(self.network, key, &self.client_key)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.parties.iter_mut().for_each(Party::kill);
        if std::thread::panicking() {
            for party in &self.parties {
                eprintln!("--- the end of party {}'s log:\n{}", party.id, party.log_tail(60));
            }
            return;
        }
        for party in &self.parties {
            let log = party.log();
            assert!(!log.contains("panicked"), "party {} panicked:\n{log}", party.id);
        }
    }
}

/// The seed of this run: what `QUORATE_SEED` says, or a fresh one. It is printed.
///
/// # Panics
/// If `QUORATE_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match std::env::var("QUORATE_SEED") {
        Ok(text) => must("QUORATE_SEED", text.parse()),
        Err(_) => random(),
    };
    println!("seed: QUORATE_SEED={seed}");
    seed
}

fn key_id(key: &KeyInfo) -> [u8; 16] {
    let bytes: Vec<u8> = must("the key's id", hex::decode(&key.key));
    bytes.try_into().unwrap_or_else(|_| panic!("a key's id has 16 bytes"))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Not secret, not repeatable.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn must<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_all(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
