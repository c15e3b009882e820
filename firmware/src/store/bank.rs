//! The slots: records in one of two banks, the newest of a slot counts. When a bank is full, what counts
//! is copied to the other, which counts from its first record on, and that is written last.

use super::record::{Area, Flash, Record};
use super::{MAX_RECORD, Opened, StoreError, size, slots};

/// Below it, only the store's own slots are written: PIN tries work also in a full store.
const RESERVE: u32 = 4096;
/// A commit's text: the number of the first record that is not copied, and how often both banks were erased.
const COMMIT: usize = 12;
/// Marks a record that empties its slot: in the length's place there is nothing else to tell it by.
const REMOVED: u8 = 0x80;

/// The bank in use. Places are 0 where a slot is empty: no bank begins there.
pub(crate) struct Bank {
    second: bool,
    generation: u32,
    erases: [u32; 2],
    /// Where the next record goes, and its number.
    pub(super) end: u32,
    next: u32,
    places: [u32; slots::COUNT],
}

impl Bank {
    pub(super) const fn new() -> Self {
        let places = [0; slots::COUNT];
        Self { second: false, generation: 0, erases: [0; 2], end: 0, next: 1, places }
    }

    pub(super) fn erases(&self) -> u32 {
        let [first, second] = self.erases;
        first.max(second)
    }

    /// Begins with an empty bank; both are blank before.
    pub(super) fn create<F: Flash>(on: &mut Opened<'_, F>) -> Result<(), StoreError> {
        Self { second: true, ..Self::new() }.compact(on)
    }

    /// Finds the newer bank and reads it through.
    pub(super) fn open<F: Flash>(on: &mut Opened<'_, F>) -> Result<Self, StoreError> {
        let first = Self::committed(on, false)?;
        let second = Self::committed(on, true)?;
        let newest = match (first, second) {
            (Some(first), Some(second)) if first.generation > second.generation => Some(first),
            (first, second) => second.or(first),
        };
        let mut bank = newest.ok_or(StoreError::Damaged)?;
        bank.read(on)?;
        // Half a copy, or what a copy was made of.
        let other = on.layout.bank(!bank.second);
        if !on.is_blank(other)? {
            on.erase(other)?;
            bank.count_erase(!bank.second);
        }
        Ok(bank)
    }

    fn committed<F: Flash>(
        on: &mut Opened<'_, F>,
        second: bool,
    ) -> Result<Option<Self>, StoreError> {
        let area = on.layout.bank(second);
        let mut text = [0; COMMIT];
        let end = area.start.saturating_add(size::<F>(COMMIT));
        let found = on.find(Area { start: area.start, end }, &mut 0, &mut text)?;
        let Some(record) = found.filter(|found| found.slot == slots::COMMIT) else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l] = text;
        let [next, first, other] =
            [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes);
        let (generation, erases) = (record.number, [first, other]);
        Ok(Some(Self { second, generation, erases, end, next, places: [0; slots::COUNT] }))
    }

    fn read<F: Flash>(&mut self, on: &mut Opened<'_, F>) -> Result<(), StoreError> {
        let area = on.layout.bank(self.second);
        let (mut at, first) = (self.end, self.next);
        while let Some(record) =
            on.find(Area { start: at, end: area.end }, &mut self.end, &mut [])?
        {
            at = record.end::<F>();
            // Copies come first. Then each record follows the one before: none was taken out.
            if record.number >= first || self.next > first {
                if record.number != self.next {
                    return Err(StoreError::Damaged);
                }
                self.next = self.next.checked_add(1).ok_or(StoreError::Damaged)?;
            }
            self.place(&record)?;
        }
        Ok(())
    }

    /// From now on this record counts for its slot.
    fn place(&mut self, record: &Record) -> Result<(), StoreError> {
        let (slot, removed) = (record.slot & !REMOVED, record.slot & REMOVED != 0);
        let place = self.places.get_mut(usize::from(slot)).ok_or(StoreError::Damaged)?;
        *place = if removed { 0 } else { record.at };
        Ok(())
    }

    pub(crate) fn load<'b, F: Flash>(
        &self,
        on: &mut Opened<'_, F>,
        slot: u8,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b mut [u8]>, StoreError> {
        let place = self.places.get(usize::from(slot)).copied().ok_or(StoreError::Slot)?;
        if place == 0 {
            return Ok(None);
        }
        let record = on.header(place)?;
        if record.slot != slot {
            return Err(StoreError::Damaged);
        }
        on.load(&record, buffer).map(Some)
    }

    /// Writes a slot, or empties it.
    pub(crate) fn save<F: Flash>(
        &mut self,
        on: &mut Opened<'_, F>,
        slot: u8,
        text: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let length = text.map_or(0, <[u8]>::len);
        if length > MAX_RECORD {
            return Err(StoreError::TooLong);
        }
        let area = on.layout.bank(self.second);
        let reserve = if slot < slots::OWN || text.is_none() { 0 } else { RESERVE };
        let (need, limit) = (size::<F>(length), area.end.saturating_sub(reserve));
        if self.end.saturating_add(need) > limit {
            // Only where it helps: otherwise a full store would be worn out by trying.
            let counting = self.counting(on)?;
            let start = area.start.saturating_add(size::<F>(COMMIT));
            if start.saturating_add(counting).saturating_add(need) > limit {
                return Err(StoreError::Full);
            }
            self.compact(on)?;
        }
        let (length, number) = (length as u16, self.next);
        let slot = if text.is_some() { slot } else { slot | REMOVED };
        let record = Record { at: self.end, slot, length, number };
        let next = number.checked_add(1).ok_or(StoreError::Full)?;
        on.append(record, text.unwrap_or_default())?;
        (self.end, self.next) = (record.end::<F>(), next);
        self.place(&record)
    }

    /// Nothing counts any more for these slots, once the bank is compact.
    pub(super) fn empty(&mut self, slots: core::ops::Range<u8>) {
        let places = self.places.iter_mut().skip(slots.start.into()).take(slots.len());
        places.for_each(|place| *place = 0);
    }

    /// The bytes that all that counts takes.
    fn counting<F: Flash>(&self, on: &mut Opened<'_, F>) -> Result<u32, StoreError> {
        let places = self.places.iter().filter(|place| **place != 0);
        places.map(|place| Ok(on.header(*place)?.size::<F>())).sum()
    }

    /// Copies what counts to the other bank, and erases this one.
    pub(super) fn compact<F: Flash>(&mut self, on: &mut Opened<'_, F>) -> Result<(), StoreError> {
        let to = on.layout.bank(!self.second);
        on.erase(to)?;
        self.count_erase(!self.second);
        let mut end = to.start.saturating_add(size::<F>(COMMIT));
        let mut places = [0; slots::COUNT];
        for (new, old) in places.iter_mut().zip(&self.places).filter(|(_, old)| **old != 0) {
            let record = on.header(*old)?;
            if end.saturating_add(record.size::<F>()) > to.end {
                return Err(StoreError::Full);
            }
            let copied = on.copy(&record, end)?;
            (*new, end) = (end, copied.end::<F>());
        }
        let generation = self.generation.checked_add(1).ok_or(StoreError::Full)?;
        let old = on.layout.bank(self.second);
        // Counted before it is done: what follows may be cut.
        self.count_erase(self.second);
        let mut text = [0; COMMIT];
        let [first, second] = self.erases;
        let numbers = [self.next, first, second].map(u32::to_le_bytes);
        text.iter_mut().zip(numbers.as_flattened()).for_each(|(to, from)| *to = *from);
        let commit =
            Record { at: to.start, slot: slots::COMMIT, length: COMMIT as u16, number: generation };
        on.append(commit, &text)?;
        (self.second, self.generation, self.end) = (!self.second, generation, end);
        self.places = places;
        on.erase(old)
    }

    fn count_erase(&mut self, second: bool) {
        let [of_first, of_second] = &mut self.erases;
        let count = if second { of_second } else { of_first };
        *count = count.saturating_add(1);
    }
}
