//! Requests, and what they spend: once each, within the key's window.

use quorate_core::policy::Amount;
use redb::{ReadableTable, WriteTransaction};

use super::rows::{self, EXPIRIES, KEYS, KeyState, REQUESTS, RequestRow, WINDOWS, WindowKey};
use super::sums::Locked;
use super::{
    Contradiction, End, MAX_AUDIT_RECORD, MAX_OUTCOME, Store, StoreError, audit, bounded, keys,
    waiting,
};

/// No window is longer than 30 days, in seconds: older entries count nowhere.
pub const MAX_WINDOW: u32 = 30 * 24 * 60 * 60;
/// A request is remembered so many seconds beyond its expiry: clocks may be off.
pub(super) const MARGIN: u64 = 24 * 60 * 60;
/// [`Store::prune`] removes at most so many of a kind in one call.
const PRUNE_BATCH: usize = 512;

/// What a party is about to release for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The request's hash.
    pub request: [u8; 32],
    /// The key.
    pub key: [u8; 16],
    /// This party's clock, Unix seconds.
    pub now: u64,
    /// When the request expires, Unix seconds.
    pub expires: u64,
    /// The ways in which the policy allows it: the first that has room counts.
    pub grants: Vec<Grant>,
}

/// One way in which the policy allows a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it counts.
    pub charges: Vec<Charge>,
    /// The audit record of a release that counts so.
    pub audit: Vec<u8>,
}

/// What a request adds to a series of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is added up together.
    pub series: [u8; 16],
    /// How much this request adds, big-endian.
    pub amount: [u8; 32],
    /// A window in seconds, and the most that may be in it, big-endian; without, it is only counted.
    pub window: Option<(u32, [u8; 32])>,
}

/// What became of a spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// It counts from now on.
    Counted,
    /// The same request counted before.
    AlreadyCounted,
    /// No grant has room for it; this is about the first. Nothing was written.
    OverLimit {
        /// What the window holds already, big-endian.
        spent: [u8; 32],
        /// The most that it may hold, big-endian.
        limit: [u8; 32],
    },
}

impl Store {
    /// What is remembered of a request.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn request(&self, hash: [u8; 32]) -> Result<Option<RequestRow>, StoreError> {
        find(&self.read()?.open_table(REQUESTS)?, &hash)
    }

    /// What [`Store::spend`] would answer now.
    ///
    /// # Errors
    /// Like [`Store::spend`].
    pub fn check_spend(&self, spend: &Spend) -> Result<SpendOutcome, StoreError> {
        let mut sums = self.sums.lock();
        let transaction = self.read()?;
        judge(
            &transaction.open_table(KEYS)?,
            &transaction.open_table(REQUESTS)?,
            (&transaction.open_table(WINDOWS)?, &mut sums),
            spend,
        )
        .map(|(outcome, _)| outcome)
    }

    /// Counts a request against its key's window, marks it as counted and appends the audit record:
    /// all of it, durably, or nothing. A request counts once; releasing it again is audited again.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Conflict`], [`StoreError::TooLarge`], or the disk's.
    pub fn spend(&self, spend: Spend) -> Result<SpendOutcome, StoreError> {
        for grant in &spend.grants {
            bounded("an audit record", grant.audit.len(), MAX_AUDIT_RECORD)?;
        }
        let mut sums = self.sums.lock();
        let done = self.write(|transaction| {
            let (outcome, grant) = judge(
                &transaction.open_table(KEYS)?,
                &transaction.open_table(REQUESTS)?,
                (&transaction.open_table(WINDOWS)?, &mut sums),
                &spend,
            )?;
            let charges = grant.map(|grant| grant.charges.as_slice()).unwrap_or_default();
            match outcome {
                SpendOutcome::OverLimit { .. } => return Ok(End::Unchanged((outcome, charges))),
                SpendOutcome::Counted => count(transaction, &spend, charges)?,
                SpendOutcome::AlreadyCounted => {}
            }
            let audit = grant.map(|grant| grant.audit.clone()).unwrap_or_default();
            audit::append(transaction, audit)?;
            Ok(End::Commit((outcome, charges)))
        });
        match &done {
            Ok((SpendOutcome::Counted, charges)) => sums.add(&spend.key, charges, spend.now),
            Ok(_) => {}
            // A commit that failed may have been one.
            Err(_) => sums.forget(),
        }
        done.map(|(outcome, _)| outcome)
    }

    /// Keeps a request's outcome and appends the audit record; it waits no more. If there is an outcome already, it
    /// stays, and nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Conflict`], [`StoreError::TooLarge`], or the disk's.
    pub fn finish(
        &self,
        request: [u8; 32],
        key: [u8; 16],
        expires: u64,
        outcome: Vec<u8>,
        audit: Vec<u8>,
    ) -> Result<(), StoreError> {
        bounded("an outcome", outcome.len(), MAX_OUTCOME)?;
        bounded("an audit record", audit.len(), MAX_AUDIT_RECORD)?;
        self.write(|transaction| {
            if transaction.open_table(KEYS)?.get(key)?.is_none() {
                return Err(StoreError::Unknown { key });
            }
            let known = recorded(&transaction.open_table(REQUESTS)?, &request, &key, expires)?;
            if known.as_ref().is_some_and(|row| row.outcome.is_some()) {
                return Ok(End::Unchanged(()));
            }
            let counted = known.is_some_and(|row| row.counted);
            let row = RequestRow { key, expires, counted, outcome: Some(outcome) };
            remember(transaction, &request, &row)?;
            waiting::forget(transaction, &request)?;
            audit::append(transaction, audit)?;
            Ok(End::Commit(()))
        })
    }

    /// Forgets what can count no more: requests that expired over a day ago, what was spent longer ago
    /// than any window reaches, requests that wait beyond their expiry, and their vetoes. Removes a bounded number, so call it again and again.
    ///
    /// `now` is believed here just as the windows believe it: a clock that is far ahead empties them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn prune(&self, now: u64) -> Result<(), StoreError> {
        let transaction = self.read()?;
        let requests = expired(&transaction.open_table(EXPIRIES)?, now)?;
        let spends = outlived(&transaction.open_table(WINDOWS)?, now)?;
        let outdated = waiting::Outdated::find(&transaction, now)?;
        drop(transaction);
        if requests.is_empty() && spends.is_empty() && outdated.is_empty() {
            return Ok(());
        }
        let mut sums = self.sums.lock();
        sums.forget_from(now.saturating_sub(MAX_WINDOW.into()));
        self.write(|transaction| {
            let mut rows = transaction.open_table(REQUESTS)?;
            let mut expiries = transaction.open_table(EXPIRIES)?;
            for entry in requests {
                expiries.remove(entry)?;
                rows.remove(entry.1)?;
            }
            let mut windows = transaction.open_table(WINDOWS)?;
            for entry in spends {
                windows.remove(entry)?;
            }
            outdated.remove(transaction)?;
            Ok(End::Commit(()))
        })
    }
}

pub(super) fn find(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    hash: &[u8; 32],
) -> Result<Option<RequestRow>, StoreError> {
    table.get(hash)?.map(|bytes| RequestRow::decode(hash, bytes.value())).transpose()
}

/// What is known of a request, whose hash binds its key and expiry.
fn recorded(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    request: &[u8; 32],
    key: &[u8; 16],
    expires: u64,
) -> Result<Option<RequestRow>, StoreError> {
    let row = find(table, request)?;
    if row.as_ref().is_some_and(|row| row.key != *key || row.expires != expires) {
        let with = Contradiction::Request { request: *request };
        return Err(StoreError::Conflict { key: *key, with });
    }
    Ok(row)
}

/// What becomes of a spend, and by which grant.
fn judge<'s>(
    keys: &impl ReadableTable<[u8; 16], &'static [u8]>,
    requests: &impl ReadableTable<[u8; 32], &'static [u8]>,
    (windows, sums): (&impl ReadableTable<WindowKey, [u8; 32]>, &mut Locked<'_>),
    spend: &'s Spend,
) -> Result<(SpendOutcome, Option<&'s Grant>), StoreError> {
    let key = spend.key;
    let row = keys::find(keys, &key)?.ok_or(StoreError::Unknown { key })?;
    if row.state != KeyState::Active {
        return Err(StoreError::Conflict { key, with: Contradiction::NotActive });
    }
    let known = recorded(requests, &spend.request, &key, spend.expires)?;
    if known.is_some_and(|row| row.counted) {
        return Ok((SpendOutcome::AlreadyCounted, spend.grants.first()));
    }
    let nothing = SpendOutcome::OverLimit { spent: [0; 32], limit: [0; 32] };
    let mut first = None;
    for grant in &spend.grants {
        match room(windows, sums, spend, grant)? {
            None => return Ok((SpendOutcome::Counted, Some(grant))),
            over => first = first.or(over),
        }
    }
    Ok((first.unwrap_or(nothing), None))
}

/// The first of the grant's charges that has no room.
fn room(
    windows: &impl ReadableTable<WindowKey, [u8; 32]>,
    sums: &mut Locked<'_>,
    spend: &Spend,
    grant: &Grant,
) -> Result<Option<SpendOutcome>, StoreError> {
    for Charge { series, amount, window } in &grant.charges {
        let Some((seconds, limit)) = *window else { continue };
        let spent = sums.spent(windows, (&spend.key, series), spend.now, seconds)?;
        let total = spent.and_then(|spent| spent.checked_add(Amount::from_be_bytes(amount)));
        if total.is_none_or(|total| total > Amount::from_be_bytes(&limit)) {
            let spent = spent.unwrap_or(Amount::MAX).to_be_bytes();
            return Ok(Some(SpendOutcome::OverLimit { spent, limit }));
        }
    }
    Ok(None)
}

fn count(
    transaction: &WriteTransaction,
    spend: &Spend,
    charges: &[Charge],
) -> Result<(), StoreError> {
    let mut windows = transaction.open_table(WINDOWS)?;
    // Also without a window: a later policy may have one. Several windows of one series are one entry.
    for charge in charges {
        let entry = (spend.key, charge.series, spend.now, spend.request);
        windows.insert(entry, charge.amount)?;
    }
    let known = find(&transaction.open_table(REQUESTS)?, &spend.request)?;
    let row = RequestRow {
        key: spend.key,
        expires: spend.expires,
        counted: true,
        outcome: known.and_then(|row| row.outcome),
    };
    remember(transaction, &spend.request, &row)
}

fn remember(
    transaction: &WriteTransaction,
    request: &[u8; 32],
    row: &RequestRow,
) -> Result<(), StoreError> {
    transaction.open_table(REQUESTS)?.insert(request, rows::encode(row).as_slice())?;
    transaction.open_table(EXPIRIES)?.insert((row.expires, *request), ())?;
    Ok(())
}

/// The first requests that expired more than [`MARGIN`] ago.
fn expired(
    table: &impl ReadableTable<(u64, [u8; 32]), ()>,
    now: u64,
) -> Result<Vec<(u64, [u8; 32])>, StoreError> {
    let before = now.saturating_sub(MARGIN);
    let entries = table.range(..(before, [0; 32]))?.take(PRUNE_BATCH);
    entries.map(|entry| Ok(entry?.0.value())).collect()
}

/// The first spends of each series that lie outside the longest window.
fn outlived(
    table: &impl ReadableTable<WindowKey, [u8; 32]>,
    now: u64,
) -> Result<Vec<WindowKey>, StoreError> {
    let Some(last) = now.checked_sub(u64::from(MAX_WINDOW)) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let of = |(key, series, ..): WindowKey| (key, series);
    let mut next = table.first()?.map(|(first, _)| of(first.value()));
    while let Some((key, series)) = next {
        for entry in table.range((key, series, 0, [0; 32])..=(key, series, last, [0xff; 32]))? {
            if found.len() == PRUNE_BATCH {
                return Ok(found);
            }
            found.push(entry?.0.value());
        }
        let mut later = table.range((key, series, u64::MAX, [0xff; 32])..)?;
        next = later
            .find_map(|entry| match entry {
                Ok((entry, _)) => {
                    let other = of(entry.value());
                    (other != (key, series)).then_some(Ok(other))
                }
                Err(error) => Some(Err(error)),
            })
            .transpose()?;
    }
    Ok(found)
}
