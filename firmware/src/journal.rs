//! The journal of releases: what a party's signatures have used of its policy's limits, one entry for
//! each request, written and read back before anything leaves that could become a signature. It means
//! what a node's store means by the same words (`node/src/store/spend.rs`).
//!
//! Entries form a chain; its [`Head`] is what peers keep of it.

mod entry;
mod ring;

use embedded_storage::nor_flash::NorFlash;
use quorate_core::hash::Digest;
use quorate_core::policy::Amount;

use crate::store::{Flash, Opened, Store, StoreError};
use entry::Entry;
pub(crate) use ring::Ring;

/// No window is longer than 30 days, in seconds: older entries count nowhere.
pub const MAX_WINDOW: u32 = 30 * 24 * 60 * 60;
/// A request is remembered so many seconds beyond its expiry: clocks may be off.
const MARGIN: u64 = 24 * 60 * 60;
/// No release charges more series.
pub const MAX_CHARGES: usize = 8;

/// What this party is about to release for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release<'a> {
    /// The request's hash.
    pub request: Digest,
    /// The key.
    pub key: [u8; 16],
    /// This party's clock, Unix seconds.
    pub at: u64,
    /// When the request expires, Unix seconds.
    pub expires: u64,
    /// What it counts.
    pub charges: &'a [Charge],
}

/// What a request adds to a series of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is added up together.
    pub series: [u8; 16],
    /// How much this request adds.
    pub amount: Amount,
    /// A window in seconds, and the most that may be in it; without, it is only counted.
    pub window: Option<(u32, Amount)>,
}

/// How far the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How often a loss of entries was accepted.
    pub generation: u32,
    /// Of the last entry; 0 if there is none.
    pub number: u64,
    /// Of the last entry; all zero if there is none.
    pub hash: Digest,
}

/// Why a release must not happen. Nothing was written, except perhaps with [`StoreError::Flash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseError {
    /// A limit has no room for it.
    OverLimit {
        /// What the window holds already.
        spent: Amount,
        /// The most that it may hold.
        limit: Amount,
    },
    /// The same request was released for another key, or with another expiry.
    Conflict,
    /// More than [`MAX_CHARGES`], or a window longer than [`MAX_WINDOW`].
    Unsupported,
    /// The store's; [`StoreError::Full`] until the oldest entries count nowhere any more.
    Store(StoreError),
}

impl From<StoreError> for ReleaseError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ReleaseError> for Option<StoreError> {
    fn from(error: ReleaseError) -> Self {
        if let ReleaseError::Store(error) = error { Some(error) } else { None }
    }
}

impl<F: NorFlash> Store<F> {
    /// How far the journal is.
    ///
    /// # Errors
    /// What stops the whole store.
    pub fn head(&mut self) -> Result<Head, StoreError> {
        self.opened(|_, _, ring| Ok(ring.head()))
    }

    /// The time of the last entry, Unix seconds: it is not earlier now.
    ///
    /// # Errors
    /// What stops the whole store.
    pub fn latest_time(&mut self) -> Result<u64, StoreError> {
        self.opened(|_, _, ring| Ok(ring.latest()))
    }

    /// Whether this head is one of this journal's past or present. Of entries that were erased since
    /// because they count nowhere any more, only that there were so many is known.
    ///
    /// # Errors
    /// What stops the whole store.
    pub fn is_own_head(&mut self, head: &Head) -> Result<bool, StoreError> {
        self.opened(|opened, _, ring| {
            let own = ring.head();
            if head.generation != own.generation || head.number >= own.number {
                return Ok(head.generation < own.generation || *head == own);
            }
            if head.number == 0 {
                return Ok(head.hash == [0; 32]);
            }
            let mut is_own = true;
            let want = |entry: &Entry<'_>| entry.number == head.number;
            ring.visit(opened, &want, &mut |entry| {
                is_own &= entry.number != head.number || entry.hash == head.hash;
            })?;
            Ok(is_own)
        })
    }

    /// Whether this request was released before: it is not counted again.
    ///
    /// # Errors
    /// As [`Self::release`]; nothing is written.
    pub fn check_release(&mut self, release: &Release<'_>) -> Result<bool, ReleaseError> {
        self.opened(|opened, _, ring| judge(opened, ring, release))
    }

    /// Counts a request against its limits and adds it to the journal: all of it, durably and read back,
    /// or nothing. A request counts once: if it was released before, nothing is written.
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing must leave then.
    pub fn release(&mut self, release: &Release<'_>) -> Result<Head, ReleaseError> {
        self.changed(|opened, bank, ring| {
            if !judge(opened, ring, release)? {
                ring.append(opened, bank, &Entry::of(release))?;
            }
            Ok(ring.head())
        })
    }

    /// Counts amounts without asking limits: what was spent, as peers say, and this journal has lost.
    ///
    /// # Errors
    /// [`ReleaseError::Unsupported`], or the store's.
    pub fn exhaust(
        &mut self,
        key: [u8; 16],
        at: u64,
        charges: &[Charge],
    ) -> Result<Head, ReleaseError> {
        if charges.len() > MAX_CHARGES {
            return Err(ReleaseError::Unsupported);
        }
        self.changed(|opened, bank, ring| {
            let release = Release { request: [0; 32], key, at, expires: at, charges };
            ring.append(opened, bank, &Entry::of(&release))?;
            Ok(ring.head())
        })
    }

    /// Begins a generation above this journal's and above `generation`, which peers have seen: the loss
    /// of what they saw is accepted.
    ///
    /// # Errors
    /// What stops the whole store.
    pub fn readmit(&mut self, generation: u32) -> Result<Head, StoreError> {
        self.changed(|opened, bank, ring| {
            let next = ring.head().generation.max(generation).checked_add(1);
            ring.begin_generation(opened, bank, next.ok_or(StoreError::Full)?)?;
            Ok(ring.head())
        })
    }
}

/// Whether the request is known already; if not, whether every limit has room for it.
fn judge<F: Flash>(
    opened: &mut Opened<'_, F>,
    ring: &Ring,
    release: &Release<'_>,
) -> Result<bool, ReleaseError> {
    let too_long = |charge: &Charge| charge.window.is_some_and(|(seconds, _)| seconds > MAX_WINDOW);
    if release.charges.len() > MAX_CHARGES || release.charges.iter().any(too_long) {
        return Err(ReleaseError::Unsupported);
    }
    let now = release.at.max(ring.latest());
    // As nodes count: a time in the future is in the window too.
    let is_in = |at: u64, seconds: u32| {
        now.checked_sub(u64::from(seconds)).is_none_or(|before| at > before)
    };
    let longest =
        release.charges.iter().filter_map(|charge| charge.window).map(|(seconds, _)| seconds);
    let longest = longest.max().unwrap_or(0);
    let want = |entry: &Entry<'_>| {
        let counts = entry.key == release.key && is_in(entry.at, longest);
        counts || entry.request == release.request
    };
    let (mut known, mut conflict) = (false, false);
    let mut sums = [Some(Amount::ZERO); MAX_CHARGES];
    ring.visit(opened, &want, &mut |entry| {
        if entry.request == release.request {
            known = true;
            conflict |= entry.key != release.key || entry.expires != release.expires;
        }
        if entry.key != release.key {
            return;
        }
        for (series, amount) in entry.charges() {
            for (sum, charge) in sums.iter_mut().zip(release.charges) {
                let window = charge.window.filter(|(seconds, _)| is_in(entry.at, *seconds));
                if series == charge.series && window.is_some() {
                    let amount = Amount::from_be_slice(amount);
                    *sum = sum.zip(amount).and_then(|(sum, amount)| sum.checked_add(amount));
                }
            }
        }
    })?;
    if conflict {
        return Err(ReleaseError::Conflict);
    }
    if known {
        return Ok(true);
    }
    for (spent, charge) in sums.into_iter().zip(release.charges) {
        let Some((_, limit)) = charge.window else { continue };
        let total = spent.and_then(|spent| spent.checked_add(charge.amount));
        if total.is_none_or(|total| total > limit) {
            return Err(ReleaseError::OverLimit { spent: spent.unwrap_or(Amount::MAX), limit });
        }
    }
    Ok(false)
}
