//! Latency histograms: how long packets stayed, recorded once per run of packets that came in together, by one core, and
//! merged by another without stopping it.
//!
//! Invariant: recording neither allocates nor fails; what exceeds the range is counted at its end. What a [`Watcher`] has
//! collected is no longer in the core's histogram, so every packet is counted once.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use hdrhistogram::{CreationError, Histogram};

use crate::clock::{Clock, Tick};

/// Longest latency told apart, in nanoseconds: one minute.
pub const MAX_LATENCY_NS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of nanoseconds, three significant digits, 1 ns to [`MAX_LATENCY_NS`].
#[derive(Debug)]
pub struct Latency {
    clock: Clock,
    histogram: Box<Histogram<u64>>,
    exchange: Option<Arc<Exchange>>,
}

/// Where a watcher leaves an empty histogram, and finds the core's full one in return.
#[derive(Debug)]
struct Exchange {
    empty: ArrayQueue<Box<Histogram<u64>>>,
    full: ArrayQueue<Box<Histogram<u64>>>,
}

fn empty() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, SIGNIFICANT_DIGITS)
}

impl Latency {
    /// An empty histogram that reads ticks of `clock`.
    ///
    /// # Errors
    /// Only if `hdrhistogram` refused the constant bounds.
    pub fn new(clock: Clock) -> Result<Self, CreationError> {
        Ok(Self { clock, histogram: Box::new(empty()?), exchange: None })
    }

    /// Records `count` packets that came at `start` and left at `end`.
    #[inline]
    pub fn record(&mut self, start: Tick, end: Tick, count: u64) {
        let nanoseconds = self.clock.nanoseconds(start, end);
        self.histogram.saturating_record_n(nanoseconds, count);
        if let Some(exchange) = &self.exchange
            && !exchange.empty.is_empty()
        {
            self.hand_over();
        }
    }

    /// Gives what was recorded to the watcher that asked, for an empty histogram.
    #[cold]
    fn hand_over(&mut self) {
        let Some(exchange) = &self.exchange else { return };
        if let Some(empty) = exchange.empty.pop() {
            let full = std::mem::replace(&mut self.histogram, empty);
            // One histogram goes round, so there is room.
            drop(exchange.full.push(full));
        }
    }

    /// The histogram, in nanoseconds: what was recorded and not yet collected by a watcher.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// A watcher for another thread; it replaces one that was made before.
    ///
    /// # Errors
    /// As [`Latency::new`].
    pub fn watch(&mut self) -> Result<Watcher, CreationError> {
        let exchange = Arc::new(Exchange { empty: ArrayQueue::new(1), full: ArrayQueue::new(1) });
        self.exchange = Some(Arc::clone(&exchange));
        Ok(Watcher { exchange, total: empty()?, spare: Some(Box::new(empty()?)) })
    }
}

/// Collects what a core records, while it records.
///
/// ```
/// use pipeline::{Clock, latency::Latency};
/// let clock = Clock::new();
/// let mut latency = Latency::new(clock.clone())?;
/// let mut watcher = latency.watch()?;
/// latency.record(0, clock.ticks(500), 32);
/// watcher.ask();
/// latency.record(0, clock.ticks(700), 32);
/// assert_eq!(watcher.collect().len(), 64);
/// assert!(latency.histogram().is_empty());
/// # Ok::<(), hdrhistogram::CreationError>(())
/// ```
#[derive(Debug)]
pub struct Watcher {
    exchange: Arc<Exchange>,
    total: Histogram<u64>,
    spare: Option<Box<Histogram<u64>>>,
}

impl Watcher {
    /// Asks the core for what it has; it answers when it records next.
    pub fn ask(&mut self) {
        if let Some(spare) = self.spare.take() {
            // The one histogram that goes round is here, so there is room.
            drop(self.exchange.empty.push(spare));
        }
    }

    /// Everything that the core has handed over so far.
    pub fn collect(&mut self) -> &Histogram<u64> {
        if let Some(mut full) = self.exchange.full.pop() {
            // Of the same bounds, so that everything fits.
            let _fits = self.total.add(&*full);
            full.reset();
            self.spare = Some(full);
        }
        &self.total
    }

    /// What was collected so far.
    #[must_use]
    pub fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    /// Everything: what was handed over, and what the core still has.
    #[must_use]
    pub fn finish(mut self, latency: &Latency) -> Histogram<u64> {
        self.collect();
        let _fits = self.total.add(latency.histogram());
        self.total
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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

    #[test]
    fn a_watcher_gets_every_record_once_while_the_core_goes_on() {
        const RECORDS: u64 = 200_000;
        let mut records = 0;
        let clock = Clock::new();
        let mut latency = Latency::new(clock.clone()).unwrap();
        let mut watcher = latency.watch().unwrap();
        // The core goes on until the watcher has something of it in hand, so that it was collected from a running core.
        let seen = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let records = &mut records;
            let core = scope.spawn({
                let (latency, seen, clock) = (&mut latency, &seen, &clock);
                move || {
                    while *records < RECORDS || !seen.load(Ordering::Relaxed) {
                        latency.record(0, clock.ticks(*records % RECORDS), 2);
                        *records += 1;
                    }
                }
            });
            let mut before = 0;
            while !core.is_finished() {
                watcher.ask();
                let now = watcher.collect().len();
                assert!(now >= before);
                seen.fetch_or(now > 0, Ordering::Relaxed);
                before = now;
            }
        });
        assert_eq!(watcher.finish(&latency).len(), 2 * records);
    }
}
