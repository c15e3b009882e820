//! Processes: run to their end within a limit, signalled, and searched for.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How a process ended, and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// Its errors.
    pub stderr: String,
}

impl Output {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is none, or the command failed.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error object of a command that failed with `code`.
    ///
    /// # Panics
    /// If it ended otherwise, or standard error is no such object.
    #[must_use]
    pub fn error(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        let found: Result<Value, _> = serde_json::from_str(&self.stderr);
        let error = found.ok().and_then(|value| value.get("error").cloned());
        error.unwrap_or_else(|| panic!("no JSON error: {self:?}"))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it does not start, or does not end within `limit`: it hangs.
pub fn run(command: &mut Command, limit: Duration) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{command:?} does not start: {error}"),
    };
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = wait(&mut child, limit);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(status) => Output { code: status.code(), stdout, stderr },
        None => panic!("{command:?} hangs: no end in {limit:?}; it said: {stdout}{stderr}"),
    }
}

fn read(source: Option<impl std::io::Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// How `child` ended, if it does within `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() >= until => return None,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("waiting for a process: {error}"),
        }
    }
}

/// Sends a signal by its name (`TERM`, `INT`) to a process that this test started.
///
/// # Panics
/// If that is not possible.
pub fn signal(child: &Child, name: &str) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).arg(child.id().to_string());
    let output = run(&mut command, Duration::from_secs(10));
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Running processes, this one excepted, whose command line contains `text`.
///
/// # Panics
/// If the system does not list its processes under `/proc`.
#[must_use]
pub fn processes_with(text: &str) -> Vec<u32> {
    let entries = match std::fs::read_dir("/proc") {
        Ok(entries) => entries.flatten(),
        Err(error) => panic!("/proc cannot be read: {error}"),
    };
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |id: &u32| {
        // A process that has just ended has no command line any more.
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    ids.filter(|id| *id != std::process::id()).filter(named).collect()
}
