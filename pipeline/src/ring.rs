//! A lock-free ring that carries whole bursts between cores, on `crossbeam_queue::ArrayQueue`.
//!
//! Invariant: a burst goes in whole and comes out whole and in order; a full ring gives it back. Moving bursts
//! instead of packets spreads the price of the hand-off (two contended cache lines) over up to 64 packets.
//!
//! A ring knows how many cores still put bursts in ([`Ring::open`], [`Ring::close`]), so that the core that takes them
//! out can tell an empty ring from one that stays empty; and whether a core still takes them out, so that the others can tell a full ring from
//! one that stays full.
//!
//! No call takes a lock or waits for room. A call that meets another one half-way spins for the few instructions that are left of that.

use crate::burst::{Burst, MAX_BURST};
use crate::mbuf::Mbuf;
use crate::sync::{ArrayQueue, AtomicBool, AtomicUsize, Ordering};

/// A bounded ring of bursts; any number of cores may push and pop.
///
/// ```
/// use pipeline::{Burst, Ring};
/// let ring = Ring::with_capacity(1);
/// let mut burst = Burst::new();
/// let _ = burst.push(7);
/// assert!(ring.push(burst).is_ok());
/// let mut second = Burst::new();
/// let _ = second.push(8);
/// let back = ring.push(second).unwrap_err();
/// assert_eq!(back.as_slice(), [8]);
/// assert_eq!(ring.pop().map(|b| b.len()), Some(1));
/// ```
#[derive(Debug)]
pub struct Ring<T = Mbuf, const INLINE: usize = MAX_BURST> {
    queue: ArrayQueue<Burst<T, INLINE>>,
    /// Cores that still push; written at the start and end of a run only.
    producers: AtomicUsize,
    /// Whether somebody takes bursts out; written as seldom.
    consumed: AtomicBool,
}

/// A ring of bursts that lie behind pointers.
pub type LargeRing<T> = Ring<T, 0>;

impl<T> Ring<T> {
    /// A ring with room for `bursts` bursts (at least one), into which nobody pushes yet.
    #[must_use]
    pub fn with_capacity(bursts: usize) -> Self {
        Self::new(bursts)
    }
}

impl<T> LargeRing<T> {
    /// As [`Ring::with_capacity`], for [`crate::LargeBurst`]s.
    #[must_use]
    pub fn of_large(bursts: usize) -> Self {
        Self::new(bursts)
    }
}

impl<T, const INLINE: usize> Ring<T, INLINE> {
    fn new(bursts: usize) -> Self {
        Self {
            queue: ArrayQueue::new(bursts.max(1)),
            producers: AtomicUsize::new(0),
            consumed: AtomicBool::new(false),
        }
    }

    /// Puts a burst in; an empty one is dropped without taking a place.
    ///
    /// # Errors
    /// A full ring gives the burst back, untouched.
    #[inline]
    pub fn push(&self, burst: Burst<T, INLINE>) -> Result<(), Burst<T, INLINE>> {
        if burst.is_empty() { Ok(()) } else { self.queue.push(burst) }
    }

    /// Takes the oldest burst out.
    #[inline]
    pub fn pop(&self) -> Option<Burst<T, INLINE>> {
        self.queue.pop()
    }

    /// Bursts inside, a snapshot.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when nothing was inside at the moment of asking.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bursts that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// One more core is going to push. To be said before the core that pops starts, or it may take the ring for
    /// finished.
    pub fn open(&self) {
        self.producers.fetch_add(1, Ordering::Relaxed);
    }

    /// A core that pushed has pushed its last.
    pub fn close(&self) {
        // Release: whoever sees the number also sees what was pushed before.
        self.producers.fetch_sub(1, Ordering::Release);
    }

    /// Says whether somebody is going to take bursts out in this run.
    pub fn set_consumed(&self, consumed: bool) {
        self.consumed.store(consumed, Ordering::Release);
    }

    /// True while somebody is going to.
    #[must_use]
    pub fn is_consumed(&self) -> bool {
        self.consumed.load(Ordering::Acquire)
    }

    /// True when the ring is empty and nobody will push any more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.producers.load(Ordering::Acquire) == 0 && self.is_empty()
    }

    /// Items in all the bursts inside. Right only while no core uses the ring: it takes every burst out and puts it
    /// back.
    #[must_use]
    pub fn count_items(&self) -> usize {
        let count = |_| {
            let burst = self.pop()?;
            let items = burst.len();
            // The place was just made free.
            drop(self.push(burst));
            Some(items)
        };
        (0..self.len()).filter_map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst_of(value: u32) -> Burst<u32> {
        let mut burst = Burst::new();
        burst.push(value).unwrap();
        burst
    }

    #[test]
    fn a_full_ring_gives_the_burst_back() {
        let ring = Ring::with_capacity(2);
        ring.push(burst_of(1)).unwrap();
        ring.push(burst_of(2)).unwrap();
        assert_eq!(ring.push(burst_of(3)).unwrap_err().as_slice(), [3]);
        assert_eq!(ring.len(), 2);
    }

    #[test]
    fn a_ring_is_finished_when_it_is_empty_and_every_producer_has_closed_it() {
        let ring = Ring::with_capacity(2);
        ring.open();
        ring.open();
        ring.push(burst_of(1)).unwrap();
        ring.close();
        ring.close();
        assert!(!ring.is_finished());
        assert_eq!(ring.count_items(), 1);
        assert_eq!(ring.pop().unwrap().as_slice(), [1]);
        assert!(ring.is_finished());
        ring.open();
        assert!(!ring.is_finished());
    }

    #[test]
    fn bursts_come_out_in_the_order_in_which_they_went_in_from_another_thread() {
        let ring = Ring::with_capacity(4);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..1000 {
                    let mut burst = burst_of(n);
                    while let Err(back) = ring.push(burst) {
                        burst = back;
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < 1000 {
                match ring.pop() {
                    Some(burst) => {
                        assert_eq!(burst.as_slice(), [expected]);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}
