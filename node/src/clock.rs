//! Time, behind a seam: the node reads the machine's clocks, a simulator brings its own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A party's own clocks.
pub trait Clock: Send {
    /// Monotonic time, for deadlines.
    fn instant(&self) -> Instant;
    /// Since the Unix epoch, for expiry and windows.
    fn unix(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
