//! The inbound lookup: from SPI, and destination where two SAs share one, to the SA's slot.
//!
//! Open addressing with linear probing at half load at most, eight entries a cache line; an SPI of 0, which never
//! travels, marks a free place. Entries are added and removed one by one.

use crate::header::esp::Spi;
use crate::sa::SaSlot;

/// One place: an SPI and a slot.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    spi: u32,
    slot: u32,
}

const FREE: Entry = Entry { spi: 0, slot: 0 };

/// The table.
///
/// ```
/// use ipsec_esp::{header::esp::Spi, sa::SaSlot, sad::SpiTable};
/// let mut table = SpiTable::new();
/// table.insert(Spi(0x1001), SaSlot(7));
/// assert_eq!(table.find(Spi(0x1001)).next(), Some(SaSlot(7)));
/// assert_eq!(table.find(Spi(0x1002)).next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct SpiTable {
    entries: Vec<Entry>,
    used: usize,
}

impl Default for SpiTable {
    fn default() -> Self {
        Self::new()
    }
}

impl SpiTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: vec![FREE; 16], used: 0 }
    }

    /// Adds an entry; several may have one SPI.
    pub fn insert(&mut self, spi: Spi, slot: SaSlot) {
        if (self.used + 1) * 2 > self.entries.len() {
            self.grow();
        }
        self.place(Entry { spi: spi.0, slot: slot.0 });
        self.used += 1;
    }

    /// Removes an entry; false when there is none.
    pub fn remove(&mut self, spi: Spi, slot: SaSlot) -> bool {
        let matches = |entry: &Entry| entry.spi == spi.0 && entry.slot == slot.0;
        let Some(mut hole) = self.probe(spi).find(|&at| self.entries.get(at).is_some_and(matches)) else {
            return false;
        };
        self.used -= 1;
        // Entries behind the hole move up where they may, so that no probe ends too early.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let Some(&entry) = self.entries.get(at).filter(|entry| entry.spi != 0) else { break };
            let home = self.home(Spi(entry.spi));
            let distance = |from: usize, to: usize| to.wrapping_sub(from) & self.mask();
            if distance(home, hole) < distance(home, at) {
                self.set(hole, entry);
                hole = at;
            }
        }
        self.set(hole, FREE);
        true
    }

    /// The slots of this SPI, in no special order.
    #[inline(always)]
    pub fn find(&self, spi: Spi) -> impl Iterator<Item = SaSlot> + '_ {
        self.probe(spi)
            .map_while(|at| self.entries.get(at).filter(|entry| entry.spi != 0))
            .filter(move |entry| entry.spi == spi.0)
            .map(|entry| SaSlot(entry.slot))
    }

    /// The place where the search for this SPI begins, to be prefetched.
    #[inline(always)]
    #[must_use]
    pub fn first(&self, spi: Spi) -> Option<&Entry> {
        self.entries.get(self.home(spi))
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    #[inline(always)]
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    #[inline(always)]
    fn home(&self, spi: Spi) -> usize {
        (u64::from(spi.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask()
    }

    #[inline(always)]
    fn probe(&self, spi: Spi) -> impl Iterator<Item = usize> + use<> {
        let (home, mask) = (self.home(spi), self.mask());
        (0..=mask).map(move |step| (home + step) & mask)
    }

    fn place(&mut self, entry: Entry) {
        let free = |at: &usize| self.entries.get(*at).is_some_and(|entry| entry.spi == 0);
        if let Some(at) = self.probe(Spi(entry.spi)).find(free) {
            self.set(at, entry);
        }
    }

    fn set(&mut self, at: usize, entry: Entry) {
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }

    fn grow(&mut self) {
        let larger = vec![FREE; self.entries.len() * 2];
        let old = std::mem::replace(&mut self.entries, larger);
        old.into_iter().filter(|entry| entry.spi != 0).for_each(|entry| self.place(entry));
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
            let (mut table, mut model) = (SpiTable::new(), BTreeSet::new());
            for (insert, spi, slot) in steps {
                if insert && model.insert((spi, slot)) {
                    table.insert(Spi(spi), SaSlot(slot));
                } else if !insert {
                    prop_assert_eq!(table.remove(Spi(spi), SaSlot(slot)), model.remove(&(spi, slot)));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for spi in 256..300 {
                let found: BTreeSet<_> = table.find(Spi(spi)).map(|slot| (spi, slot.0)).collect();
                let expected: BTreeSet<_> = model.range((spi, 0)..=(spi, 9)).copied().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_hundred_thousand_sas_are_all_found() {
        let mut table = SpiTable::new();
        (0..100_000).for_each(|n| table.insert(Spi(0x100 + n), SaSlot(n)));
        assert!((0..100_000).all(|n| table.find(Spi(0x100 + n)).eq([SaSlot(n)])));
    }
}
