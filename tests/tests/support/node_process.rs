//! A few nodes as real processes of the release binary, each in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use quorate_node::client::Client;
use quorate_node::handle::Status;
use quorate_tests::cluster::process;
use serde_json::Value;

/// Nothing takes so long, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test. It is not built here: `tests/run` does.
pub fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/quorate");
    let binary = std::env::var_os("QUORATE_BIN").map_or_else(built, PathBuf::from);
    assert!(
        binary.is_file(),
        "no {}: run tests/run, or cargo build --release -p quorate-node",
        binary.display()
    );
    binary
}

/// An address that no other process uses: the loopback network has 2^24 of them, and connections that
/// leave from this machine take their ports on 127.0.0.1.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from((Ipv4Addr::new(127, 1 + high % 254, low, 1), port))
}

/// Waits for what `look` finds.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "in {PATIENCE:?} did not happen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The one JSON object of a success.
    pub fn object(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The error of a failure: one JSON object on standard error, with this exit code.
    pub fn error(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        // The log of a node comes before it.
        let line = self.stderr.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert_eq!(error["error"]["exit"], code, "{self:?}");
        error["error"].clone()
    }

    /// The error's text, which must contain all of `parts`.
    pub fn message(&self, code: i32, parts: &[&str]) -> String {
        let message = self.error(code)["message"].as_str().unwrap_or_default().to_owned();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        message
    }
}

/// One party's folder, and its process while it runs.
pub struct Node {
    pub party: u16,
    pub folder: PathBuf,
    pub listen: SocketAddr,
    pub api: SocketAddr,
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Node {
    /// A party that has no folder yet.
    pub fn new(root: &Path, party: u16) -> Self {
        let folder = root.join(format!("party-{party}"));
        let (listen, api) = (own_address(), own_address());
        Self { party, folder, listen, api, environment: Vec::new(), child: None }
    }

    pub fn prepare(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--json").arg("--folder").arg(&self.folder).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs one command to its end.
    pub fn ask(&self, arguments: &[impl AsRef<OsStr>]) -> Answer {
        self.ask_within(PATIENCE, arguments)
    }

    /// The same; what takes longer hangs.
    pub fn ask_within(&self, limit: Duration, arguments: &[impl AsRef<OsStr>]) -> Answer {
        let output = process::run(&mut self.prepare(arguments), limit);
        let (code, stdout, stderr) = (output.code.unwrap_or(-1), output.stdout, output.stderr);
        Answer { code, stdout, stderr }
    }

    /// `quorate init`, with the arguments that say what seals.
    pub fn init(&self, hsm: &[&str]) -> Answer {
        self.ask(&self.init_arguments(hsm))
    }

    pub fn init_arguments(&self, hsm: &[&str]) -> Vec<String> {
        let (party, name) = (self.party.to_string(), format!("party-{}", self.party));
        let (listen, api) = (self.listen.to_string(), self.api.to_string());
        let mut arguments = vec!["init", "--party", &party, "--name", &name];
        arguments.extend(["--listen", &listen, "--api", &api]);
        arguments.extend(["--membership", "../membership.toml"]);
        arguments.extend_from_slice(hsm);
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// `id,name,identity,address`, for the membership file.
    pub fn member(&self) -> String {
        self.ask(&["identity"]).object()["member"].as_str().unwrap().to_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default()
    }

    /// Starts the node and waits until it is ready.
    pub fn start(&mut self) {
        // What it said in an earlier life stays: a test may search all of it.
        let mut log = fs::File::options();
        let log = log.create(true).append(true).open(self.folder.with_extension("log")).unwrap();
        let mut command = self.prepare(&["run"]);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        wait_for("the node is ready", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "party {} stopped: {}", self.party, self.log());
            let client = self.client();
            client.status().map(drop).or_else(|_| client.relay_status().map(drop)).ok()
        });
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; how the process ended.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let mut signal = Command::new("kill");
        assert!(signal.args(["-TERM", &self.process().to_string()]).status().unwrap().success());
        // Still ours while it does not end: a test that fails leaves no process behind.
        wait_for("the node ends at SIGTERM", || self.child.as_mut().unwrap().try_wait().unwrap())
    }

    pub fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn client(&self) -> Client {
        Client::new(self.api, None)
    }

    /// With the operator's token.
    pub fn operator(&self) -> Client {
        let token = fs::read_to_string(self.folder.join("operator.token")).unwrap();
        Client::new(self.api, Some(token.trim().to_owned().into()))
    }

    pub fn status(&self) -> Status {
        self.client().status().unwrap_or_else(|e| panic!("party {}: {e}", self.party))
    }
}

/// Makes the membership file of these members (`id,name,identity,address`).
pub fn write_membership(root: &Path, node: &Node, members: &[String]) {
    let file = root.join("membership.toml");
    let mut arguments = vec!["group", "new", file.to_str().unwrap()];
    members.iter().for_each(|member| arguments.extend(["--member", member]));
    node.ask(&arguments).object();
}

/// Waits until each of `nodes` has links to all of `peers` but itself.
pub fn wait_for_links(nodes: &[Node], peers: &[u16]) {
    for node in nodes {
        wait_for(&format!("party {} is linked to {peers:?}", node.party), || {
            let status = node.status();
            let linked = |peer: &u16| status.peers.iter().any(|p| p.party == *peer && p.connected);
            peers.iter().filter(|peer| **peer != node.party).all(linked).then_some(())
        });
    }
}
