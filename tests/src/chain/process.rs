//! A chain's process: started, heard until it names its port, killed with whatever it started itself.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loaded machine with two cores takes seconds; nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Enough of what a process said to see why it failed.
const KEPT_LINES: usize = 200;

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A child that dies with this value, and its children too.
pub(super) struct Process {
    child: Child,
    lines: Lines,
}

impl Process {
    /// Starts a command that was told to listen on port 0 of 127.0.0.1, and returns the port that it
    /// announces: nobody else can have it, as could happen with a port that we had found free before.
    pub(super) fn start(mut command: Command) -> (Self, u16) {
        // A group of its own, so that Drop reaches grandchildren.
        command.process_group(0);
        // Under `CI` some programs colour what nobody reads.
        command.env("NO_COLOR", "1").env("FORCE_COLOR", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?} ({error}): run tests/run"),
        };
        let lines = Lines::default();
        let (said, heard) = mpsc::channel();
        // They read as long as the child lives: it would block on a full pipe otherwise.
        listen(child.stdout.take(), Arc::clone(&lines), said.clone());
        listen(child.stderr.take(), Arc::clone(&lines), said);
        let process = Self { child, lines };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(port) = announced(&line) {
                        return (process, port);
                    }
                }
                Err(error) => panic!("{command:?} named no port ({error}):\n{}", process.output()),
            }
        }
    }

    /// The last lines that it wrote.
    pub(super) fn output(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The shell's own kill: the program is not everywhere. The group is ours, see `start`.
        let script = format!("kill -s KILL -- -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(from: Option<impl Read + Send + 'static>, lines: Lines, said: Sender<String>) {
    let Some(from) = from else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line.clone());
            // Nobody listens any more once the port is known.
            let _ = said.send(line);
        }
    });
}

/// Anvil: `Listening on 127.0.0.1:1234`. Hardhat: `Started … server at http://127.0.0.1:1234/`, in colour
/// if it feels like it.
fn announced(line: &str) -> Option<u16> {
    if !line.contains("Listening on ") && !line.contains("Started HTTP ") {
        return None;
    }
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_with_and_without_colour() {
        assert_eq!(announced("Listening on 127.0.0.1:1234"), Some(1234));
        let hardhat = "\u{1b}[32mStarted HTTP and WebSocket JSON-RPC server at http://127.0.0.1:99/\u{1b}[39m";
        assert_eq!(announced(hardhat), Some(99));
        assert_eq!(announced("Account #0: 0xf39F 127.0.0.1:1"), None);
    }
}
