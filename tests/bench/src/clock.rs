//! How long something takes: the median of many runs, so that a busy machine disturbs little.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Microseconds, the median of at least `runs` runs and a quarter of a second.
pub fn median<T>(runs: usize, mut once: impl FnMut() -> T) -> f64 {
    let begin = Instant::now();
    let mut times = Vec::with_capacity(runs);
    while times.len() < runs || begin.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        black_box(once());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
