//! SIGKILL at random moments of sealing, of a rotation, and of provisioning: what was acknowledged opens,
//! no object of the token is lost, and what is left over is named with how to get rid of it.
//!
//! The moments are spread over what each of these takes here, measured first, and then over less or more as
//! kills come too late or not: a busy machine has another pace each second. Each test counts where its kills
//! fell, and fails if they missed. The seed decides the moments; what the operating system does
//! meanwhile it does not. Kills of whole nodes that generate keys are in `tests/tests/kills`.

#[path = "kills/provisioning.rs"]
mod provisioning;
#[path = "kills/rotation.rs"]
mod rotation;
#[path = "kills/sealing.rs"]
mod sealing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use tempfile::TempDir;

/// When to kill.
struct Moments(ChaCha20Rng);

impl Moments {
    fn begin() -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed()))
    }

    fn below(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.0.next_u64() % bound.as_micros().max(1) as u64)
    }
}

/// How long after it began something may be killed at most. The steps make about a fifth of the kills come too
/// late, whatever the pace.
struct Aim(Duration);

impl Aim {
    fn learn(&mut self, too_late: bool) {
        let next = if too_late { self.0 * 2 / 3 } else { self.0 * 10 / 9 };
        self.0 = next.clamp(Duration::from_micros(50), Duration::from_secs(5));
    }
}

/// The fastest of a few: a busy machine must not spread the kills beyond the end.
fn usual(mut operation: impl FnMut()) -> Duration {
    let time = |_| {
        let begin = Instant::now();
        operation();
        begin.elapsed()
    };
    (0..4).map(time).min().unwrap()
}

/// Lets the command run until `begun`, and for `delay` then. Whether it was still at work when it was killed.
fn kill(command: &mut Command, mut begun: impl FnMut() -> bool, delay: Duration) -> bool {
    let mut child = command.spawn().unwrap();
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(100));
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Where syncing costs nothing, if there is such a place: a kill takes nothing from the system's memory.
fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// All objects that SoftHSM has on disk below `tokens`.
struct Objects(BTreeMap<PathBuf, Vec<u8>>);

impl Objects {
    fn now(root: &Path) -> Self {
        let mut found = BTreeMap::new();
        for token in fs::read_dir(root.join("tokens")).unwrap() {
            for entry in fs::read_dir(token.unwrap().path()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|end| end == "object") {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        Self(found)
    }

    /// After a kill: each one that was there is there, to the byte. SoftHSM's description of its token is
    /// not a key of ours, and SoftHSM writes it anew, in place, at every login: a torn one is put back from
    /// what was kept, as docs/KEY_CEREMONY.md tells operators. Whether that was so.
    fn must_be_whole(&self) -> bool {
        let mut torn = false;
        for (path, before) in &self.0 {
            let now = fs::read(path).unwrap();
            if path.file_name().is_some_and(|name| name == "token.object") {
                if now.len() != before.len() {
                    fs::write(path, before).unwrap();
                    torn = true;
                }
            } else {
                assert!(now == *before, "{} changed", path.display());
            }
        }
        torn
    }
}
