//! A burst: up to [`MAX_BURST`] items that travel together, because everything in the pipeline is called once
//! a burst and never once a packet.
//!
//! Small items lie in the burst itself. A burst of large items is better kept behind a pointer, so that it changes
//! hands without being copied: [`LargeBurst`]. It touches the heap when it is made, and never again.
//!
//! Invariant: a burst never grows past [`MAX_BURST`] items.

use smallvec::SmallVec;

use crate::mbuf::Mbuf;

/// The most items in one burst.
pub const MAX_BURST: usize = 64;

/// Items in the order in which they came; packets unless said otherwise.
///
/// ```
/// let mut burst: pipeline::Burst<u32> = pipeline::Burst::new();
/// for n in 0..64 {
///     assert!(burst.push(n).is_ok());
/// }
/// assert_eq!(burst.push(64), Err(64), "a full burst gives the item back");
/// ```
#[derive(Debug)]
pub struct Burst<T = Mbuf, const INLINE: usize = MAX_BURST>(SmallVec<[T; INLINE]>);

/// A burst behind a pointer: for items so large that moving the burst would cost more than reaching it.
pub type LargeBurst<T> = Burst<T, 0>;

impl<T, const INLINE: usize> Default for Burst<T, INLINE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const INLINE: usize> Burst<T, INLINE> {
    /// An empty burst.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        let mut items = SmallVec::new();
        if INLINE < MAX_BURST {
            items.reserve_exact(MAX_BURST);
        }
        Self(items)
    }

    /// Items in the burst.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without items.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items that still fit.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        MAX_BURST.saturating_sub(self.0.len())
    }

    /// Puts `item` at the end.
    ///
    /// # Errors
    /// A full burst gives the item back.
    #[inline(always)]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.0.len() < MAX_BURST {
            self.0.push(item);
            Ok(())
        } else {
            Err(item)
        }
    }

    /// Puts what `make` makes at the end; makes nothing when the burst is full. The item is built in its place, where
    /// [`Burst::push`] would build it and then move it.
    #[inline(always)]
    pub fn push_with(&mut self, make: impl FnOnce() -> T) {
        // `extend` makes the item after it has seen to room, so nothing can unwind past the item, and it needs no place
        // of its own to be dropped from.
        if self.0.len() < MAX_BURST {
            self.0.extend(std::iter::once_with(make));
        }
    }

    /// Puts items at the end while there is room; what does not fit stays in the iterator.
    #[inline(always)]
    pub fn extend(&mut self, items: impl ExactSizeIterator<Item = T>) {
        if items.len() <= self.room() {
            self.0.extend(items);
        } else {
            self.0.extend(items.take(MAX_BURST - self.0.len()));
        }
    }

    /// Takes the last item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Takes every item out, in order; what the iterator does not yield is dropped with it.
    #[inline(always)]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = T> + '_ {
        self.0.drain(..)
    }

    /// Takes the first `count` items out (all, if there are fewer); the rest moves up.
    #[inline]
    pub fn drain_front(&mut self, count: usize) -> impl ExactSizeIterator<Item = T> + '_ {
        let end = count.min(self.0.len());
        self.0.drain(..end)
    }

    /// Moves items from the front of `other` to the end of `self` until one is empty or the other full;
    /// returns how many moved.
    #[inline]
    pub fn take_from(&mut self, other: &mut Self) -> usize {
        self.take_some_from(other, MAX_BURST)
    }

    /// As [`Burst::take_from`], but at most `most` items.
    #[inline]
    pub fn take_some_from(&mut self, other: &mut Self, most: usize) -> usize {
        if INLINE < MAX_BURST && self.is_empty() && other.len() <= most {
            std::mem::swap(self, other);
            return self.len();
        }
        let count = self.room().min(other.len()).min(most);
        self.0.extend(other.0.drain(..count));
        count
    }

    /// Drops every item.
    #[inline]
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The items as a slice.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The items as a mutable slice.
    #[inline]
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }

    /// The items in order.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The items in order, mutable.
    #[inline]
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
}

impl<'a, T, const INLINE: usize> IntoIterator for &'a Burst<T, INLINE> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T, const INLINE: usize> IntoIterator for &'a mut Burst<T, INLINE> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(items: std::ops::Range<u32>) -> Burst<u32> {
        let mut burst = Burst::new();
        for item in items {
            burst.push(item).unwrap();
        }
        burst
    }

    #[test]
    fn taking_from_another_burst_keeps_order_and_stops_when_full() {
        let mut to = filled(0..40);
        let mut from = filled(40..80);
        assert_eq!(to.take_from(&mut from), 24);
        assert!(to.iter().copied().eq(0..64));
        assert!(from.iter().copied().eq(64..80));
    }

    #[test]
    fn a_large_burst_changes_hands_whole_and_in_order() {
        let (mut one, mut two) = (LargeBurst::new(), LargeBurst::new());
        (0..MAX_BURST).for_each(|n| one.push_with(|| n));
        one.push_with(|| panic!("a full burst makes nothing"));
        assert_eq!(two.take_from(&mut one), MAX_BURST);
        assert!(one.is_empty() && two.iter().copied().eq(0..MAX_BURST));
        one.push_with(|| 64);
        assert_eq!(one.take_from(&mut two), MAX_BURST - 1);
        assert_eq!((one.as_slice()[0], two.as_slice()), (64, &[63][..]));
    }

    #[test]
    fn draining_the_front_leaves_the_rest_in_order() {
        let mut burst = filled(0..10);
        assert!(burst.drain_front(4).eq(0..4));
        assert!(burst.iter().copied().eq(4..10));
        assert_eq!(burst.drain_front(100).count(), 6);
        assert!(burst.is_empty());
    }
}
