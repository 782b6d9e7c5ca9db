//! Latency histograms: how long packets stayed, recorded once per run of packets that came in together.
//!
//! Invariant: recording neither allocates nor fails; what exceeds the range is counted at its end.

use hdrhistogram::{CreationError, Histogram};

use crate::clock::{Clock, Tick};

/// Longest latency told apart, in nanoseconds: one minute.
pub const MAX_LATENCY_NS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of nanoseconds, three significant digits, 1 ns to [`MAX_LATENCY_NS`].
#[derive(Clone, Debug)]
pub struct Latency {
    clock: Clock,
    histogram: Histogram<u64>,
}

impl Latency {
    /// An empty histogram that reads ticks of `clock`.
    ///
    /// # Errors
    /// Only if `hdrhistogram` refused the constant bounds.
    pub fn new(clock: Clock) -> Result<Self, CreationError> {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_NS, SIGNIFICANT_DIGITS)?;
        Ok(Self { clock, histogram })
    }

    /// Records `count` packets that came at `start` and left at `end`.
    #[inline]
    pub fn record(&mut self, start: Tick, end: Tick, count: u64) {
        let nanoseconds = self.clock.nanoseconds(start, end);
        self.histogram.saturating_record_n(nanoseconds, count);
    }

    /// The histogram, in nanoseconds.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Forgets everything recorded.
    pub fn reset(&mut self) {
        self.histogram.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_packets_is_recorded_with_its_count_and_the_range_saturates() {
        let clock = Clock::new();
        let mut latency = Latency::new(clock.clone()).unwrap();
        latency.record(0, clock.ticks(1000), 32);
        latency.record(0, clock.ticks(100 * MAX_LATENCY_NS), 1);
        assert_eq!(latency.histogram().len(), 33);
        let median = latency.histogram().value_at_quantile(0.5);
        assert!((998..=1002).contains(&median), "{median}");
        assert!(latency.histogram().max() >= MAX_LATENCY_NS);
    }
}
