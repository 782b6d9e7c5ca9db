//! The clock of the data path: ticks of the processor's time-stamp counter, calibrated by the `quanta` crate.
//!
//! Invariant: ticks are comparable within one process and never turned into time on the data path; reports do
//! that. Where the counter is unusable (not invariant, or another architecture without one), a tick is a
//! nanosecond of the system's monotonic clock.

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
