//! The journal's pages, a ring: each begins with a record that names it, and entries follow. The oldest
//! page is erased when a new one is needed, if all of its entries count nowhere any more.

use super::entry::{Entry, MAX_ENTRY};
use super::{Head, MARGIN, MAX_WINDOW};
use crate::store::{Area, Bank, Flash, Opened, PIECE, Record, StoreError, size, slots};

/// A page's first text: how often it was erased, and the number of its first entry.
const PAGE: usize = 8;
/// The slot [`slots::JOURNAL`]: the first page that counts, and the generation.
const STATE: usize = 8;

/// What is known of the journal in memory.
pub(crate) struct Ring {
    /// Pages that count, by number, from 1 on. Before the first entry there is none: `last` is 0.
    first: u32,
    last: u32,
    /// Where the next entry goes.
    end: u32,
    head: Head,
    latest: u64,
    erases: u32,
    /// Pages, by the last six bits of their number, on which something torn lies between or behind the
    /// entries: there each entry's tag must say that it is one.
    torn: u64,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        let head = Head { generation: 0, number: 0, hash: [0; 32] };
        Self { first: 1, last: 0, end: 0, head, latest: 0, erases: 0, torn: 0 }
    }

    pub(crate) fn erases(&self) -> u32 {
        self.erases
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Reads all of it.
    pub(crate) fn open<F: Flash>(
        on: &mut Opened<'_, F>,
        bank: &mut Bank,
    ) -> Result<Self, StoreError> {
        let mut ring = Self::new();
        let mut state = [0; STATE];
        if bank.load(on, slots::JOURNAL, &mut state)?.is_some() {
            (ring.first, ring.head.generation) = pair(state);
        }
        for position in 0..on.layout.ring {
            let Some((number, ..)) = Self::page(on, position)? else { continue };
            if number >= ring.first {
                ring.last = ring.last.max(number);
            }
        }
        // A page was given up only for a later one.
        if ring.last < ring.first && ring.first > 1 {
            return Err(StoreError::Damaged);
        }
        let mut next = None;
        for number in ring.first..=ring.last {
            let page = Self::page(on, number)?.filter(|(found, ..)| *found == number);
            let (_, erases, first) = page.ok_or(StoreError::Damaged)?;
            ring.erases = ring.erases.max(erases);
            // Each entry follows the one before: none was taken out.
            if next.is_some_and(|next| next != first) {
                return Err(StoreError::Damaged);
            }
            next = Some(ring.read_page(on, number, first)?);
        }
        // Nor was the last page: what a cut leaves where the next one goes are no new entries.
        let area = on.layout.ring(ring.last.checked_add(1).ok_or(StoreError::Damaged)?);
        let mut at = area.start;
        while let Some(record) = on.find(Area { start: at, end: area.end }, &mut 0, &mut [])? {
            at = record.end::<F>();
            if record.slot == slots::ENTRY && record.number >= next.unwrap_or(1) {
                return Err(StoreError::Damaged);
            }
        }
        Ok(ring)
    }

    /// Reads the entries of a page; gives the number after its last.
    fn read_page<F: Flash>(
        &mut self,
        on: &mut Opened<'_, F>,
        page: u32,
        first: u32,
    ) -> Result<u32, StoreError> {
        let mut next = Some(first);
        let (head, latest) = (&mut self.head, &mut self.latest);
        let area = on.layout.ring(page);
        let mut whole = area.start.saturating_add(size::<F>(PAGE));
        self.end = Self::visit_page(on, page, &mut |entry, record| {
            whole = if record.at == whole { record.end::<F>() } else { 0 };
            next =
                next.filter(|next| entry.number == u64::from(*next)).and_then(|n| n.checked_add(1));
            (head.number, head.hash) = (entry.number, entry.hash);
            head.generation = head.generation.max(entry.generation);
            *latest = entry.at;
        })?;
        if whole != self.end {
            self.torn |= 1 << (page % 64);
        }
        next.ok_or(StoreError::Damaged)
    }

    /// The number, erases and first entry of the page at a position of the ring.
    fn page<F: Flash>(
        on: &mut Opened<'_, F>,
        position: u32,
    ) -> Result<Option<(u32, u32, u32)>, StoreError> {
        let area = on.layout.ring(position);
        let end = area.start.saturating_add(size::<F>(PAGE));
        let mut text = [0; PAGE];
        let found = on.find(Area { start: area.start, end }, &mut 0, &mut text)?;
        let Some(record) = found.filter(|found| found.slot == slots::PAGE) else { return Ok(None) };
        if on.layout.ring(record.number).start != area.start {
            return Ok(None);
        }
        let (erases, first) = pair(text);
        Ok(Some((record.number, erases, first)))
    }

    /// Shows the entries whose beginning, as [`Entry::peek`] reads it, is wanted; the oldest first.
    pub(super) fn visit<F: Flash>(
        &self,
        on: &mut Opened<'_, F>,
        want: &dyn Fn(&Entry<'_>) -> bool,
        show: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<(), StoreError> {
        for page in self.first..=self.last {
            if self.torn >> (page % 64) & 1 == 0 {
                self.visit_whole(on, page, want, show)?;
            } else {
                Self::visit_page(on, page, &mut |entry, _| show(entry))?;
            }
        }
        Ok(())
    }

    /// As [`Self::visit_page`], of a page without torn entries, and without reading what is not wanted.
    fn visit_whole<F: Flash>(
        &self,
        on: &mut Opened<'_, F>,
        page: u32,
        want: &dyn Fn(&Entry<'_>) -> bool,
        show: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<(), StoreError> {
        let area = on.layout.ring(page);
        let mut at = area.start.saturating_add(size::<F>(PAGE));
        let mut first = [0; PIECE];
        while let Some(record) = on.peek(Area { start: at, end: area.end }, &mut first)? {
            at = record.end::<F>();
            if want(&Entry::peek(record.number.into(), &first)?) {
                let mut buffer = [0; MAX_ENTRY];
                show(&Entry::parse(record.number.into(), on.load(&record, &mut buffer)?)?);
            }
        }
        Ok(())
    }

    /// Shows the entries of a page; gives the place behind them. By a pointer, and not for each purpose
    /// anew: flash is scarcer than time here.
    fn visit_page<F: Flash>(
        on: &mut Opened<'_, F>,
        page: u32,
        show: &mut dyn FnMut(&Entry<'_>, &Record),
    ) -> Result<u32, StoreError> {
        let area = on.layout.ring(page);
        let mut at = area.start.saturating_add(size::<F>(PAGE));
        let mut end = at;
        let mut buffer = [0; MAX_ENTRY];
        while let Some(record) =
            on.find(Area { start: at, end: area.end }, &mut end, &mut buffer)?
        {
            at = record.end::<F>();
            if record.slot != slots::ENTRY {
                return Err(StoreError::Damaged);
            }
            let text = buffer.get(..record.length.into()).ok_or(StoreError::Damaged)?;
            show(&Entry::parse(record.number.into(), text)?, &record);
        }
        Ok(end)
    }

    /// Adds an entry, not earlier than the one before.
    pub(super) fn append<F: Flash>(
        &mut self,
        on: &mut Opened<'_, F>,
        bank: &mut Bank,
        entry: &Entry<'_>,
    ) -> Result<(), StoreError> {
        let entry = Entry {
            number: self.head.number.checked_add(1).ok_or(StoreError::Full)?,
            generation: self.head.generation,
            at: entry.at.max(self.latest),
            ..*entry
        };
        let mut buffer = [0; MAX_ENTRY];
        let (bytes, hash) = entry.encode(&self.head.hash, &mut buffer)?;
        let number = u32::try_from(entry.number).map_err(|_| StoreError::Full)?;
        let need = size::<F>(bytes.len());
        if self.last < self.first || self.end.saturating_add(need) > on.layout.ring(self.last).end {
            self.turn(on, bank, number, entry.at)?;
        }
        let (slot, length) = (slots::ENTRY, bytes.len() as u16);
        let record = Record { at: self.end, slot, length, number };
        on.append(record, bytes)?;
        self.end = record.end::<F>();
        (self.head.number, self.head.hash, self.latest) = (entry.number, hash, entry.at);
        Ok(())
    }

    /// Begins the next page, in the place of the oldest if there is no other.
    fn turn<F: Flash>(
        &mut self,
        on: &mut Opened<'_, F>,
        bank: &mut Bank,
        entry: u32,
        now: u64,
    ) -> Result<(), StoreError> {
        let number = self.last.checked_add(1).ok_or(StoreError::Full)?;
        if number.saturating_sub(self.first) >= on.layout.ring {
            let mut counts = false;
            Self::visit_page(on, self.first, &mut |entry, _| {
                counts |= entry.at.saturating_add(MAX_WINDOW.into()) > now
                    || entry.expires.saturating_add(MARGIN) >= now;
            })?;
            if counts {
                return Err(StoreError::Full);
            }
            // Before it is erased: what a cut leaves of it is not looked at.
            let first = self.first.saturating_add(1);
            self.save_state(on, bank, first, self.head.generation)?;
            self.first = first;
        }
        let area = on.layout.ring(number);
        // A page whose own count is lost was erased about as often as the others.
        let lost = if number > on.layout.ring { self.erases } else { 0 };
        let erases = Self::page(on, number)?.map_or(lost, |(_, erases, _)| erases);
        let erases = erases.saturating_add(1);
        on.erase(area)?;
        let mut text = [0; PAGE];
        let numbers = [erases, entry].map(u32::to_le_bytes);
        text.iter_mut().zip(numbers.as_flattened()).for_each(|(to, from)| *to = *from);
        let record = Record { at: area.start, slot: slots::PAGE, length: PAGE as u16, number };
        on.append(record, &text)?;
        (self.last, self.end) = (number, record.end::<F>());
        self.torn &= !(1 << (number % 64));
        self.erases = self.erases.max(erases);
        Ok(())
    }

    pub(super) fn begin_generation<F: Flash>(
        &mut self,
        on: &mut Opened<'_, F>,
        bank: &mut Bank,
        generation: u32,
    ) -> Result<(), StoreError> {
        self.save_state(on, bank, self.first, generation)?;
        self.head.generation = generation;
        Ok(())
    }

    fn save_state<F: Flash>(
        &self,
        on: &mut Opened<'_, F>,
        bank: &mut Bank,
        first: u32,
        generation: u32,
    ) -> Result<(), StoreError> {
        let mut text = [0; STATE];
        let numbers = [first, generation].map(u32::to_le_bytes);
        text.iter_mut().zip(numbers.as_flattened()).for_each(|(to, from)| *to = *from);
        bank.save(on, slots::JOURNAL, Some(&text))
    }
}

fn pair([a, b, c, d, e, f, g, h]: [u8; 8]) -> (u32, u32) {
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
