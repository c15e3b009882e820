//! Sums of windows, kept in memory: without them each judgement would read all that a window holds.
//!
//! They are of what is committed, and whoever holds [`Sums::lock`] while it reads or writes keeps them so.
//! What cannot be followed is forgotten, and added up anew from the table when it is next asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use quorate_core::policy::Amount;
use redb::ReadableTable;

use super::rows::WindowKey;
use super::{Charge, MAX_WINDOW, StoreError, bounded};

/// Windows whose sums are kept. Policies have a few each.
const MAX_SUMS: usize = 1024;

/// A key's id, a series, the window's seconds.
type Window = ([u8; 16], [u8; 16], u32);

/// What lies at this time or later.
#[derive(Clone, Copy)]
struct Sum {
    from: u64,
    amount: Amount,
}

/// See above.
#[derive(Default)]
pub(super) struct Sums(Mutex<BTreeMap<Window, Sum>>);

pub(super) struct Locked<'s>(MutexGuard<'s, BTreeMap<Window, Sum>>);

impl Sums {
    pub(super) fn lock(&self) -> Locked<'_> {
        let sums = self.0.lock().unwrap_or_else(|error| {
            // After a panic half of a change may be in there.
            self.0.clear_poison();
            let mut sums = error.into_inner();
            sums.clear();
            sums
        });
        Locked(sums)
    }
}

impl Locked<'_> {
    /// The sum of what a series of a key holds later than `seconds` ago; `None` above 2^256 − 1. A time in
    /// the future counts too: a clock that was put back frees nothing.
    pub(super) fn spent(
        &mut self,
        windows: &impl ReadableTable<WindowKey, [u8; 32]>,
        (key, series): (&[u8; 16], &[u8; 16]),
        now: u64,
        seconds: u32,
    ) -> Result<Option<Amount>, StoreError> {
        bounded("a window", seconds as usize, MAX_WINDOW as usize)?;
        let from = now.checked_sub(u64::from(seconds)).map_or(0, |start| start.saturating_add(1));
        let window = (*key, *series, seconds);
        let kept = self.0.get(&window).filter(|sum| sum.from <= from);
        let amount = match kept {
            Some(sum) if sum.from == from => Some(sum.amount),
            Some(sum) => {
                // What has left the window since.
                let gone = added(windows, (key, series), sum.from, Some(from))?;
                gone.and_then(|gone| sum.amount.checked_sub(gone))
            }
            // Not known yet, or the clock was put back.
            None => added(windows, (key, series), from, None)?,
        };
        match amount {
            Some(amount) => {
                if self.0.len() >= MAX_SUMS {
                    self.0.clear();
                }
                self.0.insert(window, Sum { from, amount });
            }
            None => drop(self.0.remove(&window)),
        }
        Ok(amount)
    }

    /// Charges of a key at this time were committed.
    pub(super) fn add(&mut self, key: &[u8; 16], charges: &[Charge], at: u64) {
        // In the table, several charges of one series are one entry: the last.
        let entries: BTreeMap<_, _> = charges.iter().map(|one| (one.series, one.amount)).collect();
        for (series, amount) in entries {
            let (first, last) = ((*key, series, 0), (*key, series, u32::MAX));
            let windows: Vec<Window> =
                self.0.range(first..=last).map(|(window, _)| *window).collect();
            for window in windows {
                let Some(sum) = self.0.get_mut(&window).filter(|sum| sum.from <= at) else {
                    continue;
                };
                match sum.amount.checked_add(Amount::from_be_bytes(&amount)) {
                    Some(amount) => sum.amount = amount,
                    None => drop(self.0.remove(&window)),
                }
            }
        }
    }

    /// Nobody knows what the table holds now.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// What lies at this time or earlier was removed.
    pub(super) fn forget_from(&mut self, last: u64) {
        self.0.retain(|_, sum| sum.from > last);
    }
}

/// The sum from one time on, up to another, which is excluded; `None` above 2^256 − 1.
fn added(
    windows: &impl ReadableTable<WindowKey, [u8; 32]>,
    (key, series): (&[u8; 16], &[u8; 16]),
    from: u64,
    to: Option<u64>,
) -> Result<Option<Amount>, StoreError> {
    let first = (*key, *series, from, [0; 32]);
    let entries = match to {
        Some(to) => windows.range(first..(*key, *series, to, [0; 32]))?,
        None => windows.range(first..=(*key, *series, u64::MAX, [0xff; 32]))?,
    };
    let mut sum = Some(Amount::ZERO);
    for entry in entries {
        let amount = Amount::from_be_bytes(&entry?.1.value());
        sum = sum.and_then(|sum| sum.checked_add(amount));
    }
    Ok(sum)
}
