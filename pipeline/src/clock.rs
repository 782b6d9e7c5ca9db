//! The clock of the data path: ticks of the processor's time-stamp counter, calibrated by the `quanta` crate.
//!
//! Invariant: ticks are comparable within one process and never turned into time on the data path; reports do
//! that. Where the counter is unusable (not invariant, or another architecture without one), a tick is a
//! nanosecond of the system's monotonic clock.

use std::sync::Arc;

/// A point in time, in ticks.
pub type Tick = u64;

/// A calibrated clock; clones agree with each other.
///
/// ```
/// let clock = pipeline::Clock::new();
/// let (start, end) = (clock.tick(), clock.tick());
/// assert!(clock.nanoseconds(start, end) < 1_000_000_000);
/// assert!(clock.hz() >= 1_000_000.0);
/// ```
#[derive(Clone, Debug)]
pub struct Clock(quanta::Clock);

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Calibrates the counter the first time in a process (up to 0.2 s), and is cheap afterwards.
    #[must_use]
    pub fn new() -> Self {
        Self(quanta::Clock::new())
    }

    /// A clock that stands still unless its hand is moved: a tick is a nanosecond, and the first is 0. What is about time is tested with it.
    ///
    /// ```
    /// let (clock, hand) = pipeline::Clock::manual();
    /// let start = clock.tick();
    /// hand.advance(250);
    /// assert_eq!(clock.nanoseconds(start, clock.tick()), 250);
    /// ```
    #[must_use]
    pub fn manual() -> (Self, Hand) {
        let (clock, mock) = quanta::Clock::mock();
        (Self(clock), Hand(mock))
    }

    /// Now. Costs about 25 cycles in a virtual machine: read it once a burst.
    #[inline(always)]
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.0.raw()
    }

    /// Nanoseconds from `start` to `end`; 0 when `end` comes first.
    #[inline]
    #[must_use]
    pub fn nanoseconds(&self, start: Tick, end: Tick) -> u64 {
        self.0.delta_as_nanos(start, end)
    }

    /// Ticks in a second.
    #[must_use]
    pub fn hz(&self) -> f64 {
        const SPAN: u64 = 1 << 40;
        SPAN as f64 * 1e9 / self.nanoseconds(0, SPAN) as f64
    }

    /// Ticks in `nanoseconds`.
    #[must_use]
    pub fn ticks(&self, nanoseconds: u64) -> u64 {
        (nanoseconds as f64 * self.hz() / 1e9) as u64
    }
}

/// Moves the time of a manual clock and of its clones.
#[derive(Clone, Debug)]
pub struct Hand(Arc<quanta::Mock>);

impl Hand {
    /// Moves on by so many nanoseconds.
    pub fn advance(&self, nanoseconds: u64) {
        self.0.increment(nanoseconds);
    }

    /// Moves on to a time, which lies ahead; otherwise it stays.
    pub fn advance_to(&self, tick: Tick) {
        self.advance(tick.saturating_sub(self.0.value()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_nanoseconds_convert_both_ways() {
        let clock = Clock::new();
        let ticks = clock.ticks(1_000_000_000);
        let back = clock.nanoseconds(0, ticks);
        assert!((999_990_000..=1_000_010_000).contains(&back), "{back}");
    }

    #[test]
    fn time_that_runs_backwards_counts_as_none() {
        assert_eq!(Clock::new().nanoseconds(5, 3), 0);
    }
}
