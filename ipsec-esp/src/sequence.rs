//! Sequence numbers: the counter of an outbound SA, and the inference of the half that does not travel.
//!
//! Numbers are 64 bits wide everywhere; an SA without extended numbers (ESN) has a high half of 0. Invariant: a
//! counter never gives a number twice and never wraps (RFC 4303 section 3.3.3): when it has given its last it gives
//! nothing. What was received before is the business of [`crate::replay`].

/// Last number of an SA without extended sequence numbers.
pub const LAST_32_BIT: u64 = u32::MAX as u64;

/// Last number of an SA with extended sequence numbers.
pub const LAST_64_BIT: u64 = u64::MAX;

/// The 64-bit number of a packet of which `low` travelled, given the highest number that was authenticated and the
/// replay window's size (RFC 4303 appendix A2.2): the one reading of `low` that lies within 2^32 numbers from the
/// window's lower end.
///
/// `window` is in packets, 1 to 2^31; 0 counts as 1. `None` means that no such number exists: before the very first
/// or after the very last. The packet's integrity decides whether the inference was right.
#[must_use]
pub const fn infer_high(highest: u64, window: u32, low: u32) -> Option<u64> {
    let window = if window == 0 { 1 } else { window };
    let high = highest >> 32;
    let top = highest as u32;
    let bottom = top.wrapping_sub(window - 1);
    let is_at_or_above_bottom = low >= bottom;
    let high = if top >= window - 1 {
        // The window lies within one subspace: what is below it belongs to the next.
        if is_at_or_above_bottom { Some(high) } else { next_subspace(high) }
    } else {
        // The window reaches back over a wrap: what is above its lower end belongs to the subspace before.
        if is_at_or_above_bottom { high.checked_sub(1) } else { Some(high) }
    };
    match high {
        Some(high) => Some(high << 32 | low as u64),
        None => None,
    }
}

const fn next_subspace(high: u64) -> Option<u64> {
    if high < u32::MAX as u64 { Some(high + 1) } else { None }
}

/// The half that travels in the packet.
#[must_use]
pub const fn low_half(sequence: u64) -> u32 {
    sequence as u32
}

/// The half that does not travel but is authenticated with extended numbers.
#[must_use]
pub const fn high_half(sequence: u64) -> u32 {
    (sequence >> 32) as u32
}

/// Consecutive numbers, given out together. An iterator over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    next: u64,
    left: u64,
}

impl Run {
    /// How many numbers are left in it.
    #[must_use]
    pub const fn count_left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Run {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let sequence = self.next;
        // Wraps only past the very last number, when none is left.
        self.next = sequence.wrapping_add(1);
        Some(sequence)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

/// The counter of an outbound SA.
///
/// ```
/// use ipsec_esp::sequence::{LAST_32_BIT, SequenceCounter};
///
/// let mut counter = SequenceCounter::starting_at(LAST_32_BIT, LAST_32_BIT);
/// assert_eq!(counter.take(), Some(0xffff_ffff));
/// assert_eq!(counter.take(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceCounter {
    /// The next number, 0 after [`LAST_64_BIT`]: 0 itself is never sent, so it can stand for the end.
    next: u64,
    last: u64,
}

impl SequenceCounter {
    /// A counter of a new SA: 1 comes first (RFC 4303 section 3.3.3). `esn` says whether numbers go on beyond 32 bits.
    #[must_use]
    pub const fn new(esn: bool) -> Self {
        Self::starting_at(1, if esn { LAST_64_BIT } else { LAST_32_BIT })
    }

    /// A counter that gives `first` next and `last` at the end. 0 is not a number to send: it is taken for 1.
    #[must_use]
    pub const fn starting_at(first: u64, last: u64) -> Self {
        Self { next: if first == 0 { 1 } else { first }, last }
    }

    /// The next number, or `None` when all were given.
    #[inline]
    #[must_use = "a number that is taken and not used leaves a hole"]
    pub const fn take(&mut self) -> Option<u64> {
        if self.left() == 0 {
            return None;
        }
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        Some(sequence)
    }

    /// The next `want` numbers, or as many as there are.
    #[inline]
    #[must_use = "numbers that are taken and not used leave a hole"]
    pub const fn take_many(&mut self, want: u64) -> Run {
        let left = self.left();
        let count = if want < left { want } else { left };
        let run = Run { next: self.next, left: count };
        self.next = self.next.wrapping_add(count);
        run
    }

    /// The number that [`SequenceCounter::take`] would give, or `None`.
    #[must_use]
    pub const fn peek(&self) -> Option<u64> {
        if self.left() == 0 { None } else { Some(self.next) }
    }

    /// The same counter with another last number: what was given is not given again.
    #[must_use]
    pub const fn up_to(&self, last: u64) -> Self {
        Self { next: self.next, last }
    }

    /// How many numbers were given since `first` was the next.
    #[must_use]
    pub const fn given_since(&self, first: u64) -> u64 {
        // Right also behind the very last number, where the next one has wrapped to 0.
        self.next.wrapping_sub(first)
    }

    /// Gives no number below `next` any more, 0 for none at all; a counter is never set back.
    pub const fn raise_to(&mut self, next: u64) {
        let given = next.wrapping_sub(1);
        if given > self.next.wrapping_sub(1) {
            self.next = next;
        }
    }

    /// The last number that it will give.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// How many numbers can still be given.
    #[must_use]
    pub const fn left(&self) -> u64 {
        // 0 minus 1 wraps above every last number, which is what marks the end.
        let given = self.next.wrapping_sub(1);
        self.last.saturating_sub(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_counter_with_another_end_goes_on_where_it_was() {
        let mut counter = SequenceCounter::starting_at(LAST_32_BIT, LAST_32_BIT);
        assert_eq!((counter.take(), counter.take()), (Some(LAST_32_BIT), None));
        let mut extended = counter.up_to(LAST_64_BIT);
        assert_eq!((extended.take(), extended.given_since(LAST_32_BIT)), (Some(LAST_32_BIT + 1), 2));
        assert_eq!(extended.up_to(LAST_32_BIT).take(), None);
        let mut last = SequenceCounter::starting_at(LAST_64_BIT, LAST_64_BIT);
        assert_eq!((last.take(), last.given_since(LAST_64_BIT)), (Some(LAST_64_BIT), 1));
    }

    #[test]
    fn a_counter_is_raised_and_never_set_back() {
        let mut counter = SequenceCounter::starting_at(10, LAST_32_BIT);
        counter.raise_to(9);
        assert_eq!(counter.peek(), Some(10));
        counter.raise_to(12);
        assert_eq!((counter.take(), counter.given_since(10)), (Some(12), 3));
        counter.raise_to(LAST_32_BIT + 1);
        assert_eq!(counter.take(), None);
        let mut last = SequenceCounter::starting_at(LAST_64_BIT, LAST_64_BIT);
        last.raise_to(0);
        assert_eq!(last.take(), None);
        last.raise_to(5);
        assert_eq!(last.take(), None, "it has come to its end");
    }

    #[test]
    fn a_counter_gives_one_first_and_stops_at_its_last() {
        assert_eq!(SequenceCounter::new(false).take(), Some(1));
        for (esn, last) in [(false, LAST_32_BIT), (true, LAST_64_BIT)] {
            let mut counter = SequenceCounter { next: last - 1, ..SequenceCounter::new(esn) };
            assert_eq!(counter.left(), 2);
            assert_eq!([counter.take(), counter.take(), counter.take()], [Some(last - 1), Some(last), None]);
            assert_eq!((counter.peek(), counter.left()), (None, 0));
            assert_eq!(counter.take_many(5).count(), 0);
            assert_eq!(counter.take(), None, "it stays at its end");
        }
    }

    #[test]
    fn an_extended_counter_goes_over_the_32_bit_wrap() {
        let mut counter = SequenceCounter { next: LAST_32_BIT, ..SequenceCounter::new(true) };
        assert_eq!(counter.take(), Some(LAST_32_BIT));
        let sequence = counter.take().unwrap();
        assert_eq!((high_half(sequence), low_half(sequence)), (1, 0));
    }

    #[test]
    fn a_start_beyond_the_last_gives_nothing_and_zero_is_not_sent() {
        for beyond in [LAST_32_BIT + 1, LAST_32_BIT + 2, LAST_64_BIT] {
            assert_eq!(SequenceCounter::starting_at(beyond, LAST_32_BIT).take(), None);
        }
        assert_eq!(SequenceCounter::starting_at(0, LAST_32_BIT).take(), Some(1));
    }

    #[test]
    fn many_are_the_same_as_one_by_one_and_fewer_at_the_end() {
        let mut counter = SequenceCounter::starting_at(LAST_64_BIT - 3, LAST_64_BIT);
        let run = counter.take_many(3);
        assert_eq!(run.size_hint(), (3, Some(3)));
        assert_eq!(run.collect::<Vec<_>>(), [LAST_64_BIT - 3, LAST_64_BIT - 2, LAST_64_BIT - 1]);
        let run = counter.take_many(3);
        assert_eq!(run.count_left(), 1);
        assert_eq!(run.collect::<Vec<_>>(), [LAST_64_BIT]);
        assert_eq!(counter.take(), None);
    }

    #[test]
    fn the_first_packets_of_an_sa_are_read_with_a_high_half_of_zero() {
        assert_eq!(infer_high(0, 64, 1), Some(1));
        assert_eq!(infer_high(0, 64, 0x8000_0000), Some(0x8000_0000));
        assert_eq!(infer_high(10, 64, 9), Some(9));
        assert_eq!(infer_high(10, 64, 0xffff_fff0), None, "it would lie before the first");
    }

    #[test]
    fn a_low_half_below_the_window_belongs_to_the_next_subspace() {
        assert_eq!(infer_high(0xffff_fff0, 64, 0xffff_ffff), Some(0xffff_ffff));
        assert_eq!(infer_high(0xffff_fff0, 64, 5), Some(0x1_0000_0005));
        assert_eq!(infer_high(1000, 64, 1000 - 63), Some(1000 - 63));
        assert_eq!(infer_high(1000, 64, 1000 - 64), Some(0x1_0000_0000 + 1000 - 64));
    }

    #[test]
    fn a_window_over_the_wrap_reads_late_packets_in_the_subspace_before() {
        let highest = 0x1_0000_0005;
        assert_eq!(infer_high(highest, 64, 0xffff_ffff), Some(0xffff_ffff));
        assert_eq!(infer_high(highest, 64, 0), Some(0x1_0000_0000));
        assert_eq!(infer_high(highest, 64, 0x7fff_ffff), Some(0x1_7fff_ffff));
        assert_eq!(infer_high(highest, 64, 5_u32.wrapping_sub(63)), Some(highest - 63));
        assert_eq!(infer_high(highest, 64, 5_u32.wrapping_sub(64)), Some(0x1_0000_0000 | 0xffff_ffc5));
    }

    #[test]
    fn after_the_very_last_subspace_there_is_no_number() {
        assert_eq!(infer_high(LAST_64_BIT - 5, 64, 0xffff_ffff), Some(LAST_64_BIT));
        assert_eq!(infer_high(LAST_64_BIT - 5, 64, 3), None);
    }

    fn highest() -> impl Strategy<Value = u64> {
        let near_wrap =
            (0_u64..4, -200_i64..200).prop_map(|(high, off)| (high << 32).saturating_add_signed(off));
        prop_oneof![any::<u64>(), near_wrap, (0_u64..300).prop_map(|below| u64::MAX - below)]
    }

    proptest! {
        /// By definition, not by cases: the number congruent to `low` among the 2^32 from the window's lower end on.
        #[test]
        fn the_inferred_number_is_the_one_within_reach_of_the_window(
            highest in highest(), window in prop_oneof![1_u32..200, Just(1 << 31)], low: u32, step in -300_i64..300, near: bool,
        ) {
            let low = if near { highest.wrapping_add_signed(step) as u32 } else { low };
            let bottom = i128::from(highest) - i128::from(window) + 1;
            let expected = bottom + (i128::from(low) - bottom).rem_euclid(1 << 32);
            prop_assert_eq!(infer_high(highest, window, low), u64::try_from(expected).ok());
        }

        #[test]
        fn a_number_inside_the_window_or_soon_after_is_always_found(highest in highest(), window in 1_u32..=65536, back: u32, ahead in 0_u32..1 << 31) {
            let late = highest.saturating_sub(u64::from(back % window));
            prop_assert_eq!(infer_high(highest, window, low_half(late)), Some(late));
            if let Some(early) = highest.checked_add(u64::from(ahead)) {
                prop_assert_eq!(infer_high(highest, window, low_half(early)), Some(early));
            }
        }
    }
}
