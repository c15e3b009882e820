//! What a device remembers, in NOR flash: a log that survives a power cut at any byte.
//!
//! | Pages | What |
//! |---|---|
//! | 0 | the root key, alone: all else is sealed under keys that come from it |
//! | 1 | how worn the flash is, and the mark of a wipe under way |
//! | two banks | the slots: one bank is in use; when it is full, what counts is copied to the other |
//! | the rest | the journal of releases, a ring ([`crate::journal`]) |
//!
//! What a function returns `Ok` for is written and read back, and no power cut takes it away again. What
//! a power cut has torn is not there. The store cannot see that all of the flash was put back to an
//! earlier state: peers can, by the journal's head.
//!
//! Why not `sequential-storage`: its map and its queue alone take 13 KB of a chip's flash, and all of this
//! takes 9; it removes entries by writing words twice, which not every flash allows; its words end at 32
//! bytes; and sealing, wear and wipe would come besides.

mod bank;
mod ledger;
mod record;
mod root;
mod seal;

use embedded_storage::nor_flash::NorFlash;
use quorate_core::secret::SecretBytes;

pub(crate) use bank::Bank;
pub use ledger::{MAX_ANSWER, MAX_POOL};
pub use quorate_core::device::link::MAX_KEYS;
pub(crate) use record::{Area, Flash, Record};
use seal::Keys;
pub(crate) use seal::PIECE;

use crate::journal::Ring;

/// No record is longer.
pub const MAX_RECORD: usize = 2560;
/// No bank is larger, in pages: what more there is goes to the journal.
const MAX_BANK: u32 = 24;
/// A store needs so many pages: two banks and a journal of two.
const MIN_PAGES: u32 = 8;

/// Why the store does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The flash failed, or did not give back what was written. Nothing is written until the store is
    /// opened again: nobody knows what is there now.
    Flash,
    /// The flash was changed by something else than this store and power cuts. It can only be wiped.
    Damaged,
    /// There is no room.
    Full,
    /// The record is longer than [`MAX_RECORD`].
    TooLong,
    /// The buffer is shorter than the record.
    NoRoom,
    /// There is no root key yet.
    NotInitialized,
    /// There is one already.
    Initialized,
    /// The flash is too small, or too large.
    Geometry,
    /// No such slot.
    Slot,
    /// The pool of nonces is not the one that is stored: another copy of it was used.
    Stale,
}

/// Where a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The device's own long-term secrets.
    Identity,
    /// The network, its parties, and which of them the device is.
    Membership,
    /// The newest head of another member's log, by the member's place, below 8.
    Head(u8),
    /// A part of one of the keys, by the key's number, below [`MAX_KEYS`].
    Key(u8, Part),
}

/// What is kept of a key, each replaced on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whether it is pending or active, and what else is to change at once: written last.
    State,
    /// The public key.
    Public,
    /// The share record, secret.
    Share,
    /// The policy.
    Policy,
    /// This party's own confirmation.
    Confirmation,
    /// A piece of the certificate, below 4.
    Certificate(u8),
    /// FROST: the pool of nonces and the last answer, by [`Store::consume`] and its like alone.
    Pool,
}

/// Slots as they are numbered in flash.
pub(crate) mod slots {
    /// The first record of a bank, written last: the bank counts from then on.
    pub(crate) const COMMIT: u8 = 0;
    /// The first record of a page of the journal.
    pub(crate) const PAGE: u8 = 1;
    /// An entry of the journal.
    pub(crate) const ENTRY: u8 = 2;
    /// The journal's first page, and its generation.
    pub(crate) const JOURNAL: u8 = 3;
    /// The PIN.
    pub(crate) const PIN: u8 = 4;
    /// Tries that are left.
    pub(crate) const TRIES: u8 = 5;
    /// Those before are the store's own.
    pub(crate) const OWN: u8 = 6;
    /// All of them.
    pub(crate) const COUNT: usize = 16 + 4 * 16;
}

impl Slot {
    fn number(self) -> Result<u8, StoreError> {
        let (key, part) = match self {
            Self::Identity => return Ok(slots::OWN),
            Self::Membership => return Ok(slots::OWN + 1),
            Self::Head(place @ 0..=7) => return Ok(8 + place),
            Self::Head(_) => return Err(StoreError::Slot),
            Self::Key(key, part) => (key, part),
        };
        let part = match part {
            Part::State => 0,
            Part::Public => 1,
            Part::Share => 2,
            Part::Policy => 3,
            Part::Confirmation => 4,
            Part::Pool => 5,
            Part::Certificate(piece @ 0..=3) => 8 + piece,
            Part::Certificate(_) => return Err(StoreError::Slot),
        };
        if key < MAX_KEYS { Ok(16 + 16 * key + part) } else { Err(StoreError::Slot) }
    }
}

/// The pages of a flash, and what they are for.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    page: u32,
    bank: u32,
    /// Where the journal begins, and its pages.
    ring_start: u32,
    pub(crate) ring: u32,
}

impl Layout {
    fn of<F: Flash>(flash: &F) -> Option<Self> {
        let (page, capacity) = (F::PAGE, u32::try_from(flash.capacity()).ok()?);
        let pages = capacity / page;
        let bank = (pages.checked_sub(2)? / 3).min(MAX_BANK);
        let ring_start = bank.checked_mul(2)?.checked_add(2)?;
        let ring = pages.checked_sub(ring_start)?;
        (pages >= MIN_PAGES && bank > 0).then_some(Self { page, bank, ring_start, ring })
    }

    /// All of it lies in the flash, so nothing overflows.
    fn pages(&self, first: u32, count: u32) -> Area {
        let start = first.wrapping_mul(self.page);
        Area { start, end: start.wrapping_add(count.wrapping_mul(self.page)) }
    }

    fn root(&self) -> Area {
        self.pages(0, 1)
    }

    fn mark(&self) -> Area {
        self.pages(1, 1)
    }

    fn bank(&self, second: bool) -> Area {
        self.pages(if second { self.bank.wrapping_add(2) } else { 2 }, self.bank)
    }

    /// All but the root and the mark.
    fn data(&self) -> Area {
        Area { start: self.bank(false).start, end: self.pages(self.ring_start, self.ring).end }
    }

    /// A page of the journal, by its number in the ring.
    pub(crate) fn ring(&self, number: u32) -> Area {
        let position = number.checked_rem(self.ring).unwrap_or_default();
        self.pages(self.ring_start.wrapping_add(position), 1)
    }
}

/// The store, on a flash of its own.
pub struct Store<F: NorFlash> {
    flash: F,
    layout: Layout,
    keys: Option<Keys>,
    bank: Bank,
    ring: Ring,
    /// Why nothing is read or written any more.
    fault: Option<StoreError>,
    /// How often pages were erased before the last wipe, at most.
    worn: u32,
}

/// A flash with the keys to it.
pub(crate) struct Opened<'s, F> {
    flash: &'s mut F,
    keys: &'s Keys,
    pub(crate) layout: Layout,
}

impl<F: Flash> Opened<'_, F> {
    pub(crate) fn append(&mut self, record: Record, text: &[u8]) -> Result<(), StoreError> {
        record::append(self.flash, self.keys, record, text)
    }

    pub(crate) fn load<'b>(
        &mut self,
        record: &Record,
        buffer: &'b mut [u8],
    ) -> Result<&'b mut [u8], StoreError> {
        record::load(self.flash, self.keys, record, buffer)
    }

    pub(crate) fn find(
        &mut self,
        area: Area,
        written: &mut u32,
        text: &mut [u8],
    ) -> Result<Option<Record>, StoreError> {
        record::find(self.flash, self.keys, area, written, text)
    }

    pub(crate) fn peek(
        &mut self,
        area: Area,
        first: &mut [u8; PIECE],
    ) -> Result<Option<Record>, StoreError> {
        record::peek(self.flash, self.keys, area, first)
    }

    pub(crate) fn header(&mut self, at: u32) -> Result<Record, StoreError> {
        record::header(self.flash, at)
    }

    pub(crate) fn erase(&mut self, area: Area) -> Result<(), StoreError> {
        record::erase(self.flash, area)
    }

    fn is_blank(&mut self, area: Area) -> Result<bool, StoreError> {
        record::is_blank(self.flash, area)
    }

    fn copy(&mut self, record: &Record, to: u32) -> Result<Record, StoreError> {
        record::copy(self.flash, self.keys, record, to)
    }
}

/// The bytes that a text of this length takes in flash.
pub(crate) fn size<F: Flash>(length: usize) -> u32 {
    record::size::<F>(length)
}

impl<F: NorFlash> Store<F> {
    /// Opens what is there; a wipe that was cut goes on. A store that is damaged opens too: it says so
    /// whenever it is asked, and can be wiped.
    ///
    /// # Errors
    /// [`StoreError::Geometry`], [`StoreError::Flash`].
    pub fn open(flash: F) -> Result<Self, StoreError> {
        let layout = Layout::of(&flash).ok_or(StoreError::Geometry)?;
        let (bank, ring) = (Bank::new(), Ring::new());
        let mut store = Self { flash, layout, keys: None, bank, ring, fault: None, worn: 0 };
        store.worn = root::worn(&mut store.flash, layout.mark())?;
        if root::is_wiping(&mut store.flash, layout.mark())? {
            store.wipe()?;
            return Ok(store);
        }
        match root::load(&mut store.flash, layout.root())? {
            root::Root::Key(root) => store.start(root.expose())?,
            root::Root::Blank => {}
            // Torn when it was made or erased: what it sealed, if anything, is gone already.
            root::Root::Torn => store.wipe()?,
        }
        Ok(store)
    }

    fn start(&mut self, root: &[u8; 32]) -> Result<(), StoreError> {
        self.keys = Some(Keys::new(root));
        self.fault = None;
        let (layout, flash) = (self.layout, &mut self.flash);
        let Some(keys) = &self.keys else { return Ok(()) };
        let mut opened = Opened { flash, keys, layout };
        let mut start = || {
            self.bank = Bank::open(&mut opened)?;
            self.ring = Ring::open(&mut opened, &mut self.bank)?;
            Ok(())
        };
        match start() {
            Err(StoreError::Flash) => Err(StoreError::Flash),
            Err(fault) => {
                self.fault = Some(fault);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// What needs the root key; after a failure of the flash nothing does.
    pub(crate) fn opened<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Opened<'_, F>, &mut Bank, &mut Ring) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let keys = self.keys.as_ref().ok_or(StoreError::NotInitialized)?;
        let mut opened = Opened { flash: &mut self.flash, keys, layout: self.layout };
        work(&mut opened, &mut self.bank, &mut self.ring)
    }

    /// As [`Self::opened`], and remembers if the flash fails.
    pub(crate) fn changed<T, E: From<StoreError> + Copy + Into<Option<StoreError>>>(
        &mut self,
        work: impl FnOnce(&mut Opened<'_, F>, &mut Bank, &mut Ring) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = self.opened(work);
        if let Err(error) = &done
            && (*error).into() == Some(StoreError::Flash)
        {
            self.fault = self.fault.or(Some(StoreError::Flash));
        }
        done
    }

    /// Why nothing is read or written any more, if so.
    #[must_use]
    pub fn fault(&self) -> Option<StoreError> {
        self.fault
    }

    /// Whether there is a root key.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.keys.is_some()
    }

    /// Makes an empty store under this root key, 32 fresh random bytes.
    ///
    /// # Errors
    /// [`StoreError::Initialized`], [`StoreError::Flash`].
    pub fn initialize(&mut self, root: &[u8; 32]) -> Result<(), StoreError> {
        if self.keys.is_some() {
            return Err(StoreError::Initialized);
        }
        // Also what another firmware may have left.
        self.wipe()?;
        let (flash, layout) = (&mut self.flash, self.layout);
        Bank::create(&mut Opened { flash, keys: &Keys::new(root), layout })?;
        // Last: where it is, the rest is.
        root::save(&mut self.flash, layout.root(), root)?;
        self.start(root)
    }

    /// What a slot holds.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] if `buffer` is too short, or what stops the whole store.
    pub fn load<'b>(
        &mut self,
        slot: Slot,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b mut [u8]>, StoreError> {
        let slot = slot.number()?;
        self.opened(|opened, bank, _| bank.load(opened, slot, buffer))
    }

    /// Replaces what a slot holds.
    ///
    /// # Errors
    /// [`StoreError::TooLong`], [`StoreError::Full`], or what stops the whole store. The slot holds what
    /// it held before; after [`StoreError::Flash`], the one or the other.
    pub fn save(&mut self, slot: Slot, record: &[u8]) -> Result<(), StoreError> {
        let slot = slot.number()?;
        self.changed(|opened, bank, _| bank.save(opened, slot, Some(record)))
    }

    /// Empties a slot. The sealed bytes stay in flash until [`Self::purge`].
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn remove(&mut self, slot: Slot) -> Result<(), StoreError> {
        let slot = slot.number()?;
        self.changed(|opened, bank, _| bank.save(opened, slot, None))
    }

    /// Erases all that is kept of a key, from the flash too: after a power cut all of it is there or nothing.
    ///
    /// # Errors
    /// [`StoreError::Slot`], or what stops the whole store.
    pub fn forget(&mut self, key: u8) -> Result<(), StoreError> {
        let first = Slot::Key(key, Part::State).number()?;
        self.changed(|opened, bank, _| {
            bank.empty(first..first.saturating_add(16));
            bank.compact(opened)
        })
    }

    /// Erases from the flash what was replaced and removed.
    ///
    /// # Errors
    /// What stops the whole store.
    pub fn purge(&mut self) -> Result<(), StoreError> {
        self.changed(|opened, bank, _| bank.compact(opened))
    }

    /// Erases everything, the root key first: from then on nothing else can be opened. If the power is
    /// cut, [`Self::open`] goes on.
    ///
    /// # Errors
    /// [`StoreError::Flash`]: it may not be complete. The keys are forgotten in any case.
    pub fn wipe(&mut self) -> Result<(), StoreError> {
        self.worn = self.erases();
        self.keys = None;
        (self.bank, self.ring, self.fault) = (Bank::new(), Ring::new(), None);
        let layout = self.layout;
        root::begin_wipe(&mut self.flash, layout.mark())?;
        record::erase(&mut self.flash, layout.root())?;
        record::erase(&mut self.flash, layout.data())?;
        self.worn = self.worn.saturating_add(1);
        root::end_wipe(&mut self.flash, layout.mark(), self.worn)
    }

    /// The most that any page was erased.
    #[must_use]
    pub fn erases(&self) -> u32 {
        self.worn.saturating_add(self.bank.erases().max(self.ring.erases()))
    }

    /// The key of the PIN's verifier.
    pub(crate) fn pin_key(&self) -> Result<&SecretBytes, StoreError> {
        self.keys.as_ref().map(Keys::pin).ok_or(StoreError::NotInitialized)
    }

    /// [`Self::load`], of the store's own slots.
    pub(crate) fn load_own<'b>(
        &mut self,
        slot: u8,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b mut [u8]>, StoreError> {
        self.opened(|opened, bank, _| bank.load(opened, slot, buffer))
    }

    /// [`Self::save`], of the store's own slots.
    pub(crate) fn save_own(&mut self, slot: u8, record: &[u8]) -> Result<(), StoreError> {
        self.changed(|opened, bank, _| bank.save(opened, slot, Some(record)))
    }
}

#[cfg(test)]
mod tests;
