//! The inbound lookup: from SPI to the places of its SAs, several where they differ by destination. One table that control
//! code changes entry by entry, and that all polling cores read; and beside it the UDP ports on which ESP comes.
//!
//! Open addressing with linear probing, at half load at most, eight entries a cache line. An entry is one word, so that it is seen
//! whole or not at all. What is removed leaves a mark that a search steps over; when marks and entries fill half of the table, the control side
//! builds another one and publishes it, so that its cost is spread over as many changes as the table has entries. No core ever waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use pipeline::publish::{Reader, Table};

use crate::header::esp::Spi;
use crate::sa::SaSlot;

/// Entries of the smallest table.
const SMALLEST: usize = 16;

/// An entry that was never used; an SPI of 0 never travels.
const FREE: u64 = 0;

/// An entry that was removed.
const GONE: u64 = 1;

/// The table as cores read it.
#[derive(Debug)]
pub struct SpiTable {
    entries: Box<[AtomicU64]>,
}

impl SpiTable {
    fn with_entries(entries: usize) -> Self {
        Self { entries: (0..entries).map(|_| AtomicU64::new(FREE)).collect() }
    }

    /// The places of this SPI's SAs, in no special order.
    #[inline(always)]
    pub fn find(&self, spi: Spi) -> impl Iterator<Item = SaSlot> + '_ {
        self.words(spi)
            .map_while(|entry| Some(entry.load(Ordering::Acquire)).filter(|&word| word != FREE))
            .filter(move |word| (word >> 32) as u32 == spi.0 && spi.0 != 0)
            .map(|word| SaSlot(word as u32))
    }

    /// The entry at which the search for this SPI begins, to be prefetched.
    #[inline(always)]
    #[must_use]
    pub fn first(&self, spi: Spi) -> Option<&AtomicU64> {
        self.entries.get(self.home(spi))
    }

    #[inline(always)]
    fn home(&self, spi: Spi) -> usize {
        (u64::from(spi.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.entries.len() - 1)
    }

    #[inline(always)]
    fn words(&self, spi: Spi) -> impl Iterator<Item = &AtomicU64> {
        let (home, mask) = (self.home(spi), self.entries.len() - 1);
        (0..=mask).filter_map(move |step| self.entries.get((home + step) & mask))
    }

    /// For the control side, which sees to room.
    fn place(&self, word: u64) {
        let free = |entry: &&AtomicU64| entry.load(Ordering::Relaxed) == FREE;
        if let Some(entry) = self.words(Spi((word >> 32) as u32)).find(free) {
            entry.store(word, Ordering::Release);
        }
    }

    fn live(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|entry| entry.load(Ordering::Relaxed)).filter(|&word| word > GONE)
    }
}

const fn word(spi: Spi, slot: SaSlot) -> u64 {
    (spi.0 as u64) << 32 | slot.0 as u64
}

/// The control side.
///
/// ```
/// use ipsec_esp::{header::esp::Spi, sa::SaSlot, sad::Sad};
/// let mut sad = Sad::new();
/// let mut view = sad.view();
/// sad.insert(Spi(0x1001), SaSlot(7));
/// view.refresh();
/// assert_eq!(view.table().and_then(|table| table.find(Spi(0x1001)).next()), Some(SaSlot(7)));
/// ```
#[derive(Debug)]
pub struct Sad {
    published: Table<SpiTable>,
    /// The ports, in one entry.
    published_ports: Table<Box<[u16]>>,
    /// The same, and how many SAs listen to each.
    ports: BTreeMap<u16, usize>,
    entries: usize,
    live: usize,
    /// Entries that are not free: live ones and marks.
    filled: usize,
}

impl Default for Sad {
    fn default() -> Self {
        Self::new()
    }
}

impl Sad {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let published = Table::new();
        published.set(0, SpiTable::with_entries(SMALLEST));
        let (published_ports, ports) = (Table::new(), BTreeMap::new());
        Self { published, published_ports, ports, entries: SMALLEST, live: 0, filled: 0 }
    }

    /// A view for one polling core.
    #[must_use]
    pub fn view(&self) -> SadView {
        SadView { spis: self.published.reader(), ports: self.published_ports.reader() }
    }

    /// One more SA gets its packets over UDP to this port.
    pub fn listen(&mut self, port: u16) {
        let count = self.ports.entry(port).or_default();
        *count += 1;
        if *count == 1 {
            self.publish_ports();
        }
    }

    /// One SA fewer.
    pub fn unlisten(&mut self, port: u16) {
        let Some(count) = self.ports.get_mut(&port) else { return };
        *count -= 1;
        if *count == 0 {
            self.ports.remove(&port);
            self.publish_ports();
        }
    }

    fn publish_ports(&self) {
        self.published_ports.set(0, self.ports.keys().copied().collect());
    }

    /// Adds an entry; several may have one SPI.
    pub fn insert(&mut self, spi: Spi, slot: SaSlot) {
        if (self.filled + 1) * 2 > self.entries {
            self.rebuild();
        }
        self.with(|table| table.place(word(spi, slot)));
        self.live += 1;
        self.filled += 1;
    }

    /// Removes an entry; false when there is none.
    pub fn remove(&mut self, spi: Spi, slot: SaSlot) -> bool {
        let wanted = word(spi, slot);
        let removed = self.with(|table| {
            let entry = table.words(spi).find(|entry| entry.load(Ordering::Relaxed) == wanted);
            entry.inspect(|entry| entry.store(GONE, Ordering::Release)).is_some()
        });
        self.live -= usize::from(removed);
        removed
    }

    /// The places of this SPI's SAs.
    #[must_use]
    pub fn find(&self, spi: Spi) -> Vec<SaSlot> {
        self.with(|table| table.find(spi).collect())
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Frees tables that were replaced, as far as every core has passed a burst boundary since; how many still wait.
    pub fn collect(&self) -> usize {
        self.published.collect() + self.published_ports.collect()
    }

    /// Publishes a table without marks, with room for as many entries again.
    fn rebuild(&mut self) {
        self.entries = ((self.live + 1) * 4).next_power_of_two().max(SMALLEST);
        let table = SpiTable::with_entries(self.entries);
        self.with(|old| old.live().for_each(|word| table.place(word)));
        self.filled = self.live;
        self.published.set(0, table);
        self.published.collect();
    }

    fn with<R: Default>(&self, look: impl FnOnce(&SpiTable) -> R) -> R {
        self.published.with(0, |table| table.map_or_else(R::default, look))
    }
}

/// A core's side.
#[derive(Debug)]
pub struct SadView {
    spis: Reader<SpiTable>,
    ports: Reader<Box<[u16]>>,
}

impl SadView {
    /// A burst boundary.
    #[inline(always)]
    pub fn refresh(&mut self) {
        self.spis.refresh();
        self.ports.refresh();
    }

    /// The table, until the next burst boundary.
    #[inline(always)]
    #[must_use]
    pub fn table(&self) -> Option<&SpiTable> {
        self.spis.find(0)
    }

    /// UDP ports on which ESP comes, until the next burst boundary.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        self.ports.find(0).map_or(&[], |ports| ports)
    }

    /// The core goes to sleep or stops.
    pub fn offline(&mut self) {
        self.spis.offline();
        self.ports.offline();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_table_agrees_with_a_plain_set(
            steps in proptest::collection::vec((any::<bool>(), 256_u32..300, 0_u32..4), 0..400),
        ) {
            let (mut sad, mut model) = (Sad::new(), BTreeSet::new());
            let mut view = sad.view();
            for (insert, spi, slot) in steps {
                if insert && model.insert((spi, slot)) {
                    sad.insert(Spi(spi), SaSlot(slot));
                } else if !insert {
                    prop_assert_eq!(sad.remove(Spi(spi), SaSlot(slot)), model.remove(&(spi, slot)));
                }
                prop_assert_eq!(sad.len(), model.len());
                view.refresh();
            }
            view.refresh();
            prop_assert_eq!(sad.collect(), 0);
            let table = view.table().unwrap();
            for spi in 256..300 {
                let found: BTreeSet<_> = table.find(Spi(spi)).map(|slot| (spi, slot.0)).collect();
                let expected: BTreeSet<_> = model.range((spi, 0)..=(spi, 9)).copied().collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(table.find(Spi(0)).count(), 0);
        }
    }

    #[test]
    fn a_hundred_thousand_sas_are_all_found() {
        let mut sad = Sad::new();
        (0..100_000).for_each(|n| sad.insert(Spi(0x100 + n), SaSlot(n)));
        let mut view = sad.view();
        view.refresh();
        assert!((0..100_000).all(|n| view.table().unwrap().find(Spi(0x100 + n)).eq([SaSlot(n)])));
    }

    #[test]
    fn a_port_is_listened_to_as_long_as_an_sa_needs_it() {
        let mut sad = Sad::new();
        let mut view = sad.view();
        let mut ports = |sad: &Sad| {
            view.refresh();
            assert_eq!(sad.collect(), 0);
            view.ports().to_vec()
        };
        assert!(ports(&sad).is_empty());
        [4500, 4501, 4500].into_iter().for_each(|port| sad.listen(port));
        assert_eq!(ports(&sad), [4500, 4501]);
        [4500, 4501, 9].into_iter().for_each(|port| sad.unlisten(port));
        assert_eq!(ports(&sad), [4500]);
        sad.unlisten(4500);
        assert!(ports(&sad).is_empty());
    }

    #[test]
    fn coming_and_going_does_not_fill_the_table() {
        let mut sad = Sad::new();
        for n in 0..10_000 {
            sad.insert(Spi(0x100 + n), SaSlot(n));
            assert!(sad.remove(Spi(0x100 + n), SaSlot(n)));
        }
        assert_eq!((sad.entries, sad.len()), (SMALLEST, 0));
    }
}
