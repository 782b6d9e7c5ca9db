//! A lock-free ring that carries whole bursts between cores, on `crossbeam_queue::ArrayQueue`.
//!
//! Invariant: a burst goes in whole and comes out whole and in order; a full ring gives it back. Moving bursts
//! instead of packets spreads the price of the hand-off (two contended cache lines) over up to 64 packets.

use crossbeam_queue::ArrayQueue;

use crate::burst::Burst;
use crate::mbuf::Mbuf;

/// A bounded ring of bursts; any number of cores may push and pop.
///
/// ```
/// use pipeline::{Burst, Ring};
/// let ring: Ring<u32> = Ring::with_capacity(1);
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
pub struct Ring<T = Mbuf> {
    queue: ArrayQueue<Burst<T>>,
}

impl<T> Ring<T> {
    /// A ring with room for `bursts` bursts (at least one).
    #[must_use]
    pub fn with_capacity(bursts: usize) -> Self {
        Self { queue: ArrayQueue::new(bursts.max(1)) }
    }

    /// Puts a burst in; an empty one is dropped without taking a place.
    ///
    /// # Errors
    /// A full ring gives the burst back, untouched.
    #[inline]
    pub fn push(&self, burst: Burst<T>) -> Result<(), Burst<T>> {
        if burst.is_empty() { Ok(()) } else { self.queue.push(burst) }
    }

    /// Takes the oldest burst out.
    #[inline]
    pub fn pop(&self) -> Option<Burst<T>> {
        self.queue.pop()
    }

    /// Bursts inside, a snapshot.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when nothing was inside at the moment of asking.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bursts that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
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
