//! One party of a cluster: its folder, its addresses, its token, and its process while it runs.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::process::{self, Output};
use super::{Hsm, PATIENCE, binary, must};

/// One party.
pub(super) struct Party {
    pub(super) id: u16,
    pub(super) folder: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) api: SocketAddr,
    log: PathBuf,
    /// `SOFTHSM2_CONF` of its token, and the file with its PIN.
    token: Option<(PathBuf, PathBuf)>,
    child: Option<Child>,
}

/// Why a party did not start.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// Somebody else took one of its ports meanwhile.
    PortTaken(String),
    /// Anything else, with its log.
    Failed(String),
}

impl Party {
    /// Initialises a party under `root`.
    pub(super) fn new(root: &Path, id: u16, hsm: Hsm) -> Self {
        let token = match hsm {
            Hsm::Software => None,
            Hsm::SoftHsm => Some(make_token(&root.join(format!("token-{id}")))),
        };
        let party = Self {
            id,
            folder: root.join(format!("party-{id}")),
            listen: free_address(),
            api: free_address(),
            log: root.join(format!("party-{id}.log")),
            token,
            child: None,
        };
        let output = process::run(&mut party.init(root), PATIENCE);
        assert_eq!(output.code, Some(0), "party {id} cannot be initialised: {output:?}");
        party
    }

    /// The command that makes this party.
    pub(super) fn init(&self, root: &Path) -> Command {
        let mut init = self.command(&["init", "--party", &self.id.to_string()]);
        init.args(["--name", &format!("party-{}", self.id)]);
        init.args(["--listen", &self.listen.to_string(), "--api", &self.api.to_string()]);
        init.arg("--membership").arg(root.join("membership.toml"));
        match &self.token {
            None => init.args(["--hsm", "software"]),
            Some((_, pin)) => init
                .args(["--hsm", "pkcs11", "--token", "quorate", "--module"])
                .arg(module())
                .arg("--pin-file")
                .arg(pin),
        };
        init
    }

    /// A command of this party's operator.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--json").arg("--folder").arg(&self.folder).args(arguments);
        command.env_remove("QUORATE_FOLDER").env_remove("QUORATE_LOG");
        if let Some((config, _)) = &self.token {
            command.env("SOFTHSM2_CONF", config);
        }
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        process::run(&mut self.command(arguments), PATIENCE)
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.into_iter().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Starts the node's process; [`Party::ready`] waits for it.
    pub(super) fn spawn(&mut self) {
        assert!(self.child.is_none(), "party {} runs already", self.id);
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        let mut log = must("a log file", log);
        must("a log file", writeln!(log, "--- started ---"));
        let mut command = self.command(&["run"]);
        command.stdin(Stdio::null());
        command.stdout(must("a log file", log.try_clone())).stderr(log);
        self.child = Some(must("starting a node", command.spawn()));
    }

    /// Waits until the node says that it is ready, or has ended.
    pub(super) fn ready(&mut self) -> Result<(), NotStarted> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let said = log.rsplit("--- started ---").next().unwrap_or_default().to_owned();
            if said.contains("\"event\":\"ready\"") {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let what = match ended {
                Some(status) => format!("party {} ended at once ({status}):\n{said}", self.id),
                None if std::time::Instant::now() > until => {
                    format!("party {} is not ready in {PATIENCE:?}:\n{said}", self.id)
                }
                None => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            self.kill();
            let taken = what.contains("Address already in use") || what.contains("in use (os");
            return Err(match taken {
                true => NotStarted::PortTaken(what),
                false => NotStarted::Failed(what),
            });
        }
    }

    /// SIGKILL. Nothing happens if it does not run.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        process::signal(&child, "TERM");
        match process::wait(&mut child, PATIENCE) {
            Some(status) if status.success() => {}
            other => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("party {} did not end well at SIGTERM: {other:?}\n{}", self.id, self.log());
            }
        }
    }
}

/// A port that was free a moment ago and that no other cluster of this process has, from below the
/// range that outgoing connections use: one of those must not take the port of a node that is down
/// for a while.
fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..1000 {
        let port = 10_000 + (super::random() % 20_000) as u16;
        let new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if new && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port on 127.0.0.1");
}

fn module() -> PathBuf {
    let found = quorate_hsm::pkcs11::softhsm::find_module();
    found.unwrap_or_else(|| panic!("SoftHSM is missing: run tests/run"))
}

/// A SoftHSM token of its own, made by SoftHSM's tool: its configuration and the file with its PIN.
fn make_token(place: &Path) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    must("a token's folder", fs::create_dir_all(place));
    let config = must("a token", quorate_hsm::pkcs11::softhsm::write_config(place));
    let (pin, pin_file) = (super::random().to_string(), place.join("pin"));
    must("a PIN file", fs::write(&pin_file, &pin));
    must("a PIN file", fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)));
    let mut command = Command::new("softhsm2-util");
    command.args(["--init-token", "--free", "--label", "quorate"]);
    command.args(["--so-pin", &pin, "--pin", &pin]).env("SOFTHSM2_CONF", &config);
    let output = process::run(&mut command, PATIENCE);
    assert_eq!(output.code, Some(0), "softhsm2-util: {output:?}");
    (config, pin_file)
}
