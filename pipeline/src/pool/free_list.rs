//! The free buffers of a pool: a small stack for every thread, and one shared ring of batches between them.
//!
//! A thread takes from and gives to its own stack, without atomics that others write; only when that runs empty or full
//! does a batch of 32 move from or to the ring. So a burst that another core frees costs a thirty-second of a contended
//! operation a packet, and last-freed buffers, still in cache, are used first.
//!
//! Here a buffer is its address; what lies in it is the business of [`crate::mbuf`]. Invariant: a buffer that is listed
//! is listed once and owned by nobody else.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};

use super::slot::{self, MAX_SLOTS};
use crate::memory::Region;

/// Free buffers that move between a thread's stack and the shared ring at once.
const BATCH: usize = 32;
/// Free buffers that a thread keeps for itself at most.
const STACK: usize = 256;

/// The part that buffers point to.
pub(crate) struct Shared {
    pub(super) region: Region,
    pub(super) buffers: usize,
    pub(super) stride: u16,
    ring: ArrayQueue<Batch>,
    /// Buffers freed by threads without a slot.
    strays: SegQueue<Free>,
    /// Wraps: below zero for a moment when a stray is taken before its free has counted it.
    stray_count: AtomicUsize,
    stacks: Box<[Stack]>,
}

/// A free buffer: its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free(pub(super) NonNull<u8>);

// SAFETY: a free buffer is owned by whoever holds this value, on any thread.
unsafe impl Send for Free {}

type Batch = [Free; BATCH];

/// One core's free buffers; 128-aligned, so that neighbours' stacks share no line and no prefetched pair.
#[repr(align(128))]
pub(super) struct Stack {
    len: AtomicUsize,
    items: UnsafeCell<[Free; STACK]>,
}

// SAFETY: `items` is touched only by the one live thread that has this stack's slot (see `slot`), and by
// `Handle::drop` never; `len` is atomic.
unsafe impl Sync for Stack {}

impl Shared {
    /// Lists every buffer of `region`, which must be long enough for `buffers` of them, `stride` bytes apart.
    pub(super) fn new(region: Region, buffers: usize, stride: u16) -> Self {
        let shared = Self {
            ring: ArrayQueue::new(buffers / BATCH + 1),
            strays: SegQueue::new(),
            stray_count: AtomicUsize::new(0),
            stacks: (0..MAX_SLOTS).map(|_| Stack::new()).collect(),
            buffers,
            stride,
            region,
        };
        shared.fill();
        shared
    }

    /// The calling thread's stack, if it has one.
    #[inline(always)]
    pub(super) fn stack(&self) -> Option<&Stack> {
        self.stacks.get(slot::current())
    }

    fn fill(&self) {
        let base = self.region.start();
        let mut batch = Vec::with_capacity(BATCH);
        for index in 0..self.buffers {
            // SAFETY: `index * stride` lies inside the region, which was mapped for `buffers` of them.
            let buffer = unsafe { base.add(index * usize::from(self.stride)) };
            batch.push(Free(buffer));
            if let Ok(full) = <Batch>::try_from(batch.as_slice()) {
                self.share(full);
                batch.clear();
            }
        }
        batch.into_iter().for_each(|free| self.stray(free));
    }

    /// The ring has a place for every full batch that the pool can make; should it refuse, nothing is lost.
    fn share(&self, batch: Batch) {
        if let Err(batch) = self.ring.push(batch) {
            batch.into_iter().for_each(|free| self.stray(free));
        }
    }

    /// Takes a free buffer.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<Free> {
        match self.stack() {
            // SAFETY: this thread has the stack's slot.
            Some(stack) => match unsafe { stack.pop() } {
                Some(free) => Some(free),
                // SAFETY: as above.
                None => unsafe { self.refill(stack) },
            },
            None => self.take_without_stack(),
        }
    }

    /// # Safety
    /// The calling thread must have the stack's slot.
    #[cold]
    pub(super) unsafe fn refill_to(&self, stack: &Stack, count: usize) {
        while stack.len.load(Ordering::Relaxed) < count {
            // SAFETY: passed on from the caller. A burst and a batch fit into a stack together.
            let Some(free) = (unsafe { self.refill(stack) }) else { return };
            // SAFETY: as above.
            unsafe { stack.push(free) };
        }
    }

    /// # Safety
    /// The calling thread must have the stack's slot.
    #[cold]
    unsafe fn refill(&self, stack: &Stack) -> Option<Free> {
        if let Some(batch) = self.ring.pop() {
            // SAFETY: passed on from the caller.
            unsafe { batch.into_iter().for_each(|free| stack.push(free)) };
            // SAFETY: passed on from the caller.
            return unsafe { stack.pop() };
        }
        self.take_stray()
    }

    #[cold]
    fn take_without_stack(&self) -> Option<Free> {
        self.take_stray().or_else(|| {
            let [first, rest @ ..] = self.ring.pop()?;
            rest.into_iter().for_each(|free| self.stray(free));
            Some(first)
        })
    }

    /// Puts a buffer back.
    ///
    /// # Safety
    /// `buffer` must be the start of a buffer of this pool that the caller owns and does not use afterwards.
    #[inline(always)]
    pub(crate) unsafe fn release(&self, buffer: NonNull<u8>) {
        let free = Free(buffer);
        match self.stack() {
            Some(stack) => {
                if stack.is_full() {
                    // SAFETY: this thread has the stack's slot.
                    unsafe { self.spill(stack) };
                }
                // SAFETY: this thread has the stack's slot; there is room after the spill.
                unsafe { stack.push(free) };
            }
            None => self.stray(free),
        }
    }

    /// # Safety
    /// The calling thread must have the stack's slot.
    #[cold]
    unsafe fn spill(&self, stack: &Stack) {
        let mut batch = [Free(NonNull::dangling()); BATCH];
        for place in &mut batch {
            // SAFETY: passed on from the caller.
            match unsafe { stack.pop() } {
                Some(free) => *place = free,
                None => return,
            }
        }
        self.share(batch);
    }

    #[cold]
    fn stray(&self, free: Free) {
        self.strays.push(free);
        // Last touch of the pool, like the length of a stack.
        self.stray_count.fetch_add(1, Ordering::Release);
    }

    fn take_stray(&self) -> Option<Free> {
        let free = self.strays.pop()?;
        self.stray_count.fetch_sub(1, Ordering::Relaxed);
        Some(free)
    }

    /// Free buffers. The order matters to `Handle::drop`: a buffer that a late free moves from a stack to the
    /// ring between the two looks is missed, never counted twice.
    pub(super) fn free_count(&self) -> usize {
        let ring = self.ring.len() * BATCH;
        // The stray count may be below zero, and the sum with it where nothing else is free.
        let shared = ring.wrapping_add(self.stray_count.load(Ordering::Acquire));
        let stacks = self.stacks.iter().map(|stack| stack.len.load(Ordering::Acquire));
        usize::try_from(stacks.fold(shared, usize::wrapping_add).cast_signed()).unwrap_or(0)
    }
}

impl Stack {
    fn new() -> Self {
        Self { len: AtomicUsize::new(0), items: UnsafeCell::new([Free(NonNull::dangling()); STACK]) }
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Free buffers in it.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Free buffers that still fit.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        STACK.saturating_sub(self.len())
    }

    /// # Safety
    /// The calling thread must have this stack's slot.
    #[inline(always)]
    unsafe fn pop(&self) -> Option<Free> {
        let top = self.len.load(Ordering::Relaxed).checked_sub(1)?;
        // SAFETY: only this thread touches `items`.
        let free = unsafe { (*self.items.get()).get(top).copied() };
        self.len.store(top, Ordering::Release);
        free
    }

    /// # Safety
    /// The calling thread must have this stack's slot, and the stack must not be full.
    #[inline(always)]
    unsafe fn push(&self, free: Free) {
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: only this thread touches `items`.
        if let Some(place) = unsafe { (*self.items.get()).get_mut(len) } {
            *place = free;
            // Last touch of the pool: from here on its last handle may free it.
            self.len.store(len + 1, Ordering::Release);
        }
    }

    /// Hands the top `count` buffers (all, if there are fewer) to `take`, which owns them from then on.
    ///
    /// # Safety
    /// The calling thread must have this stack's slot, and `take` must not use the stack.
    #[inline(always)]
    pub(super) unsafe fn pop_many(&self, count: usize, take: impl FnOnce(&[Free])) {
        let len = self.len.load(Ordering::Relaxed);
        let left = len.saturating_sub(count);
        // SAFETY: only this thread touches `items`, and `take` does not reach them again.
        if let Some(top) = unsafe { (*self.items.get()).get(left..len) } {
            take(top);
        }
        self.len.store(left, Ordering::Release);
    }

    /// # Safety
    /// The calling thread must have this stack's slot, and the stack must have room for all.
    #[inline(always)]
    pub(super) unsafe fn push_all(&self, all: impl Iterator<Item = Free>) {
        let mut len = self.len.load(Ordering::Relaxed);
        for free in all {
            // SAFETY: only this thread touches `items`.
            if let Some(place) = unsafe { (*self.items.get()).get_mut(len) } {
                *place = free;
                len += 1;
            }
        }
        // Last touch of the pool, as in `push`.
        self.len.store(len, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: u16 = 512;

    fn shared(buffers: usize) -> Shared {
        Shared::new(Region::map(buffers * usize::from(STRIDE)).unwrap(), buffers, STRIDE)
    }

    #[test]
    fn without_a_stack_every_buffer_can_be_had_once_and_comes_back() {
        let shared = shared(100);
        for _ in 0..3 {
            let taken: Vec<_> = std::iter::from_fn(|| shared.take_without_stack()).collect();
            let places: std::collections::BTreeSet<_> = taken.iter().map(|free| free.0).collect();
            assert_eq!((taken.len(), places.len(), shared.free_count()), (100, 100, 0));
            taken.into_iter().for_each(|free| shared.stray(free));
            assert_eq!(shared.free_count(), 100);
        }
    }

    #[test]
    fn a_stray_that_is_taken_before_it_was_counted_does_not_upset_the_count() {
        for others in [0, 40] {
            let shared = shared(others + 1);
            let mut taken: Vec<_> = std::iter::from_fn(|| shared.take_without_stack()).collect();
            // The first half of a free, then a whole take.
            shared.strays.push(taken.pop().unwrap());
            let taken_early = shared.take_stray().unwrap();
            assert_eq!(shared.free_count(), 0);
            taken.into_iter().for_each(|free| shared.stray(free));
            assert_eq!(shared.free_count(), others.saturating_sub(1));
            // The other half of the free, then the next one.
            shared.stray_count.fetch_add(1, Ordering::Release);
            shared.stray(taken_early);
            assert_eq!(shared.free_count(), others + 1);
        }
    }
}
