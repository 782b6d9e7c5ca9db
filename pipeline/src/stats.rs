//! Counters: every packet is accounted for, `in + made = out + dropped + absorbed + held`.
//!
//! Reasons belong to the floor that decides; here they are opaque keys of a fixed array ([`Tally`]), and become
//! names only in a [`Ledger`], which is filled in when somebody asks, never on the data path.

use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A closed set of reasons, usually a small enum.
pub trait Reason: Copy + 'static {
    /// Every reason; `ALL[n].index() == n`.
    const ALL: &'static [Self];
    /// Place in [`Reason::ALL`].
    fn index(self) -> usize;
    /// Name in reports, in snake case.
    fn name(self) -> &'static str;
}

const TALLY_SLOTS: usize = 32;

/// Counters by reason, one array, no heap.
#[derive(Clone, Debug)]
pub struct Tally<R> {
    counts: [u64; TALLY_SLOTS],
    reasons: PhantomData<R>,
}

impl<R: Reason> Default for Tally<R> {
    fn default() -> Self {
        const { assert!(R::ALL.len() <= TALLY_SLOTS, "more reasons than a tally holds") };
        Self { counts: [0; TALLY_SLOTS], reasons: PhantomData }
    }
}

impl<R: Reason> Tally<R> {
    /// Counts `count` packets under `reason`.
    #[inline(always)]
    pub fn add(&mut self, reason: R, count: u64) {
        if let Some(slot) = self.counts.get_mut(reason.index() & (TALLY_SLOTS - 1)) {
            *slot += count;
        }
    }

    /// Packets counted under `reason`.
    #[must_use]
    pub fn count(&self, reason: R) -> u64 {
        self.counts.get(reason.index()).copied().unwrap_or(0)
    }

    /// Packets counted under any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Reasons with their counts, those above zero.
    pub fn iter(&self) -> impl Iterator<Item = (R, u64)> + '_ {
        R::ALL.iter().map(|&reason| (reason, self.count(reason))).filter(|&(_, count)| count > 0)
    }

    /// Adds the counts of another tally.
    pub fn add_all(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
    }

    /// Sets every counter to zero.
    pub fn reset(&mut self) {
        self.counts = [0; TALLY_SLOTS];
    }
}

/// Counts by name.
pub type Named = BTreeMap<&'static str, u64>;

/// The books of a run.
///
/// ```
/// let mut ledger = pipeline::Ledger { received: 3, sent: 2, ..Default::default() };
/// assert!(!ledger.is_exact());
/// ledger.dropped.insert("no_policy", 1);
/// assert!(ledger.is_exact());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Packets that came in by a port.
    pub received: u64,
    /// Packets that went out by a port.
    pub sent: u64,
    /// Packets still inside.
    pub held: u64,
    /// Packets made inside, by reason.
    pub made: Named,
    /// Packets dropped, by reason.
    pub dropped: Named,
    /// Packets that did their duty inside, by reason.
    pub absorbed: Named,
    /// How the packets that left were treated; a breakdown, not a term of the balance.
    pub sent_by: Named,
    /// The drops by the stage or port in which they happened; a breakdown too.
    pub dropped_by_stage: BTreeMap<&'static str, Named>,
}

impl Ledger {
    /// Adds the counts of `tally` to one of the named terms.
    pub fn merge<R: Reason>(term: &mut Named, tally: &Tally<R>) {
        for (reason, count) in tally.iter() {
            *term.entry(reason.name()).or_insert(0) += count;
        }
    }

    /// Adds the drops of a stage, to the term and to the breakdown.
    pub fn drops_of<R: Reason>(&mut self, stage: &'static str, tally: &Tally<R>) {
        Self::merge(&mut self.dropped, tally);
        if tally.total() > 0 {
            Self::merge(self.dropped_by_stage.entry(stage).or_default(), tally);
        }
    }

    /// Adds the books of another core.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.held += other.held;
        let terms = [
            (&mut self.made, &other.made),
            (&mut self.dropped, &other.dropped),
            (&mut self.absorbed, &other.absorbed),
            (&mut self.sent_by, &other.sent_by),
        ];
        for (term, more) in terms {
            add_counts(term, more);
        }
        for (stage, more) in &other.dropped_by_stage {
            add_counts(self.dropped_by_stage.entry(stage).or_default(), more);
        }
    }

    /// What came in or was made less what is accounted for; zero when every packet is.
    #[must_use]
    pub fn difference(&self) -> i128 {
        let sum = |term: &Named| term.values().map(|&count| i128::from(count)).sum::<i128>();
        i128::from(self.received) + sum(&self.made)
            - i128::from(self.sent)
            - sum(&self.dropped)
            - sum(&self.absorbed)
            - i128::from(self.held)
    }

    /// True when every packet is accounted for.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.difference() == 0
    }
}

fn add_counts(term: &mut Named, more: &Named) {
    more.iter().for_each(|(reason, count)| *term.entry(reason).or_insert(0) += count);
}

/// Counts of rare pairs (an SA and a reason, say) in a fixed open-addressed table without heap use after
/// construction. When it is full, further pairs are counted together as [`SparseTally::overflow`].
#[derive(Clone, Debug)]
pub struct SparseTally<R> {
    entries: Vec<(u32, u16, u64)>,
    overflow: u64,
    reasons: PhantomData<R>,
}

impl<R: Reason> SparseTally<R> {
    /// A table for `pairs` pairs, rounded up to a power of two.
    #[must_use]
    pub fn with_capacity(pairs: usize) -> Self {
        Self { entries: vec![(0, 0, 0); pairs.next_power_of_two().max(2)], overflow: 0, reasons: PhantomData }
    }

    /// Counts one packet of `key` under `reason`.
    pub fn add(&mut self, key: u32, reason: R) {
        self.add_many(key, reason, 1);
    }

    /// Adds the counts of another tally.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(key, reason, count)| self.add_many(key, reason, count));
        self.overflow += other.overflow;
    }

    fn add_many(&mut self, key: u32, reason: R, count: u64) {
        let reason = reason.index() as u16;
        let mask = self.entries.len() - 1;
        let start = (u64::from(key) << 5 | u64::from(reason)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        for step in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut((start as usize + step) & mask) else { break };
            if entry.2 == 0 || (entry.0 == key && entry.1 == reason) {
                *entry = (key, reason, entry.2 + count);
                return;
            }
        }
        self.overflow += count;
    }

    /// Counted triples: key, reason, packets; in no special order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, R, u64)> + '_ {
        let live = self.entries.iter().filter(|entry| entry.2 > 0);
        live.filter_map(|&(key, reason, count)| Some((key, *R::ALL.get(usize::from(reason))?, count)))
    }

    /// Packets whose pair found no place.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Why {
        Late,
        Broken,
    }
    impl Reason for Why {
        const ALL: &'static [Self] = &[Self::Late, Self::Broken];
        fn index(self) -> usize {
            self as usize
        }
        fn name(self) -> &'static str {
            if self == Self::Late { "late" } else { "broken" }
        }
    }

    #[test]
    fn a_ledger_names_the_reasons_that_occurred() {
        let mut tally = Tally::default();
        tally.add(Why::Broken, 2);
        let mut ledger = Ledger { received: 5, sent: 2, held: 1, ..Ledger::default() };
        Ledger::merge(&mut ledger.dropped, &tally);
        assert_eq!(ledger.dropped, BTreeMap::from([("broken", 2)]));
        assert!(ledger.is_exact());
    }

    #[test]
    fn drops_are_counted_by_stage_and_in_all_over_every_core() {
        let mut tally = Tally::default();
        tally.add(Why::Late, 2);
        let mut ledger = Ledger { received: 6, ..Ledger::default() };
        ledger.drops_of("first", &tally);
        ledger.drops_of("second", &Tally::<Why>::default());
        let mut other = Ledger::default();
        other.drops_of("first", &tally);
        other.drops_of("third", &tally);
        ledger.add(&other);
        assert_eq!(ledger.dropped, BTreeMap::from([("late", 6)]));
        let late = |count| BTreeMap::from([("late", count)]);
        assert_eq!(ledger.dropped_by_stage, BTreeMap::from([("first", late(4)), ("third", late(2))]));
        assert!(ledger.is_exact());
    }

    #[test]
    fn sparse_tallies_add_up_pair_by_pair() {
        let (mut one, mut two) = (SparseTally::with_capacity(4), SparseTally::with_capacity(4));
        one.add(7, Why::Late);
        two.add(7, Why::Late);
        two.add(7, Why::Broken);
        one.add_all(&two);
        let mut all: Vec<_> = one.iter().map(|(key, why, count)| (key, why.name(), count)).collect();
        all.sort_unstable();
        assert_eq!(all, [(7, "broken", 1), (7, "late", 2)]);
    }

    #[test]
    fn a_full_sparse_tally_counts_the_rest_together() {
        let mut tally = SparseTally::with_capacity(4);
        for key in 0..6 {
            tally.add(key, Why::Late);
            tally.add(key, Why::Late);
        }
        assert_eq!(tally.iter().map(|(_, _, count)| count).sum::<u64>() + tally.overflow(), 12);
        assert_eq!(tally.iter().count(), 4);
    }
}
