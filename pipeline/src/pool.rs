//! A pool of packet buffers in one mapped region, with a small stack of free buffers for every core and one
//! shared ring of batches between them.
//!
//! A core takes from and gives to its own stack, without atomics that others write; only when that runs empty
//! or full does a batch of 32 move from or to the shared ring. So a burst that another core frees costs a
//! thirty-second of a contended operation a packet, and last-freed buffers, still in cache, are used first.
//!
//! Invariants: each buffer is owned by one [`Mbuf`], or lies in one stack, or in the ring. The region and the
//! shared part live as long as any handle or any buffer: when the last [`Pool`] handle goes while packets are
//! still out, the memory stays mapped for good rather than vanish under them.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::burst::Burst;
use crate::lcore::{self, MAX_LCORES};
use crate::mbuf::{DATA_OFFSET, HEADER_LEN, Header, Mbuf};
use crate::memory::{Backing, Region};

/// Free buffers that move between a core's stack and the shared ring at once.
const BATCH: usize = 32;
/// Free buffers that a core keeps for itself at most.
const STACK: usize = 256;

/// Shape of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Buffers in the pool.
    pub buffers: usize,
    /// Bytes from one buffer to the next, a multiple of 64 from 512 to 65,472. An odd multiple of 64 spreads
    /// the buffers' first lines over all sets of the cache; a power of two puts them all in a few.
    pub stride: usize,
}

impl Default for PoolConfig {
    /// 4096 buffers of 2368 bytes: 2112 of them for the packet.
    fn default() -> Self {
        Self { buffers: 4096, stride: 2368 }
    }
}

/// A handle to a pool; clones share it.
///
/// ```
/// use pipeline::{Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig { buffers: 2, ..PoolConfig::default() })?;
/// let (a, b) = (pool.alloc().unwrap(), pool.alloc().unwrap());
/// assert!(pool.alloc().is_none(), "an empty pool says so");
/// drop(a);
/// assert!(pool.alloc().is_some());
/// # drop(b);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Handle>);

struct Handle(NonNull<Shared>);

// SAFETY: `Shared` is `Sync`, and the handle frees it only when no buffer and no other handle is left.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// The part that buffers point to.
pub(crate) struct Shared {
    region: Region,
    buffers: usize,
    stride: u16,
    ring: ArrayQueue<Batch>,
    /// Buffers freed by threads without an lcore number.
    strays: SegQueue<Free>,
    stray_count: AtomicUsize,
    stacks: Box<[Stack]>,
}

/// A free buffer.
#[derive(Clone, Copy, Debug)]
struct Free(NonNull<Header>);

// SAFETY: a free buffer is owned by whoever holds this value, on any thread.
unsafe impl Send for Free {}

type Batch = [Free; BATCH];

/// One core's free buffers; 128-aligned, so that neighbours' stacks share no line and no prefetched pair.
#[repr(align(128))]
struct Stack {
    len: AtomicUsize,
    items: UnsafeCell<[Free; STACK]>,
}

// SAFETY: `items` is touched only by the one live thread that has this stack's lcore number (`lcore`), and by
// `Handle::drop` never; `len` is atomic.
unsafe impl Sync for Stack {}

impl Pool {
    /// Maps the memory and fills the pool.
    ///
    /// # Errors
    /// A stride out of range, or memory that cannot be mapped.
    pub fn new(config: PoolConfig) -> io::Result<Self> {
        let stride = checked_stride(config.stride)?;
        let bytes = config
            .buffers
            .checked_mul(config.stride)
            .ok_or_else(|| invalid("pool larger than the address space"))?;
        let region = Region::map(bytes)?;
        let shared = Shared {
            ring: ArrayQueue::new(config.buffers / BATCH + 1),
            strays: SegQueue::new(),
            stray_count: AtomicUsize::new(0),
            stacks: (0..MAX_LCORES).map(|_| Stack::new()).collect(),
            buffers: config.buffers,
            stride,
            region,
        };
        shared.fill();
        Ok(Self(Arc::new(Handle(NonNull::from(Box::leak(Box::new(shared)))))))
    }

    /// An empty packet, or `None` when no buffer is free.
    #[inline(always)]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        let shared = self.shared();
        let free = shared.take()?;
        // SAFETY: `take` gave this thread an exclusively owned buffer of this pool.
        Some(unsafe { Mbuf::fresh(free.0, self.0.0, shared.stride) })
    }

    /// A packet with a copy of `bytes`, over as many segments as it needs; `None` when buffers run out.
    #[inline(always)]
    #[must_use]
    pub fn alloc_copy(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut packet = self.alloc()?;
        if packet.append_copy(bytes) { Some(packet) } else { self.copy_chained(packet, bytes) }
    }

    #[cold]
    pub(crate) fn copy_chained(&self, mut packet: Mbuf, bytes: &[u8]) -> Option<Mbuf> {
        let (first, mut rest) = bytes.split_at_checked(packet.tailroom())?;
        packet.append(first.len())?.copy_from_slice(first);
        while !rest.is_empty() {
            let mut segment = self.alloc()?;
            let (part, more) = rest.split_at(rest.len().min(segment.tailroom()));
            segment.append(part.len())?.copy_from_slice(part);
            packet.chain(segment).ok()?;
            rest = more;
        }
        Some(packet)
    }

    /// Adds up to `count` empty packets to `burst`, fewer when it or the pool runs out: cheaper than one by one.
    #[inline]
    pub fn alloc_burst(&self, burst: &mut Burst<Mbuf>, count: usize) {
        let shared = self.shared();
        let count = count.min(burst.room());
        // SAFETY: what the closures get are exclusively owned buffers of this pool.
        let fresh = |free: Free| unsafe { Mbuf::fresh(free.0, self.0.0, shared.stride) };
        match shared.stacks.get(lcore::current_slot()) {
            // SAFETY: this thread has the stack's lcore number.
            Some(stack) => unsafe {
                if stack.len.load(Ordering::Relaxed) < count {
                    shared.refill_to(stack, count);
                }
                stack.pop_many(count, |free| burst.extend(free.iter().map(|&free| fresh(free))));
            },
            None => {
                while let Some(packet) = (burst.len() < count).then(|| self.alloc()).flatten() {
                    drop(burst.push(packet));
                }
            }
        }
    }

    /// Gives a whole burst back: cheaper than one by one when its packets are whole and of one pool.
    #[inline]
    pub fn free_burst(burst: &mut Burst<Mbuf>) {
        let Some(pool) = burst.as_slice().first().map(Mbuf::pool) else { return };
        // SAFETY: the pool's shared part lives as long as the packet that points to it, which this function owns
        // until the stack's length says that it is free.
        let shared = unsafe { pool.as_ref() };
        let Some(stack) = shared.stacks.get(lcore::current_slot()) else { return burst.clear() };
        if STACK - stack.len.load(Ordering::Relaxed) < burst.len()
            || !burst.iter().all(|packet| packet.is_plain_of(pool))
        {
            return burst.clear();
        }
        // SAFETY: this thread has the stack's lcore number, and there is room for every packet.
        unsafe { stack.push_all(burst.drain().map(|packet| Free(packet.into_header()))) };
    }

    /// Packet bytes that one fresh buffer takes.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        usize::from(self.shared().stride.saturating_sub(DATA_OFFSET))
    }

    /// Buffers in the pool, free or not.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.shared().buffers
    }

    /// Free buffers; exact while no other core uses the pool.
    #[must_use]
    pub fn available(&self) -> usize {
        self.shared().free_count()
    }

    /// The pages the pool lies in.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.shared().region.backing()
    }

    /// The memory of the pool: address and bytes, for registering it with a device.
    #[must_use]
    pub fn memory(&self) -> (*const u8, usize) {
        (self.shared().region.start().as_ptr().cast_const(), self.shared().region.len())
    }

    #[inline(always)]
    fn shared(&self) -> &Shared {
        // SAFETY: `Shared` lives at least as long as any handle.
        unsafe { self.0.0.as_ref() }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn checked_stride(stride: usize) -> io::Result<u16> {
    match u16::try_from(stride) {
        Ok(fits) if (512..=65_472).contains(&stride) && stride.is_multiple_of(HEADER_LEN) => Ok(fits),
        _ => Err(invalid("a buffer stride is a multiple of 64 from 512 to 65472 bytes")),
    }
}

impl Shared {
    fn fill(&self) {
        let base = self.region.start();
        let mut batch = Vec::with_capacity(BATCH);
        for index in 0..self.buffers {
            // SAFETY: `index * stride` lies inside the region, which was mapped for `buffers` of them.
            let buffer = unsafe { base.add(index * usize::from(self.stride)) };
            batch.push(Free(buffer.cast()));
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
    fn take(&self) -> Option<Free> {
        match self.stacks.get(lcore::current_slot()) {
            // SAFETY: this thread has the stack's lcore number.
            Some(stack) => match unsafe { stack.pop() } {
                Some(free) => Some(free),
                // SAFETY: as above.
                None => unsafe { self.refill(stack) },
            },
            None => self.take_without_stack(),
        }
    }

    /// # Safety
    /// The calling thread must have the stack's lcore number.
    #[cold]
    unsafe fn refill_to(&self, stack: &Stack, count: usize) {
        while stack.len.load(Ordering::Relaxed) < count {
            // SAFETY: passed on from the caller. A burst and a batch fit into a stack together.
            let Some(free) = (unsafe { self.refill(stack) }) else { return };
            // SAFETY: as above.
            unsafe { stack.push(free) };
        }
    }

    /// # Safety
    /// The calling thread must have the stack's lcore number.
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
    /// `header` must be a buffer of this pool that the caller owns and does not use afterwards.
    #[inline(always)]
    pub(crate) unsafe fn release(&self, header: NonNull<Header>) {
        let free = Free(header);
        match self.stacks.get(lcore::current_slot()) {
            Some(stack) => {
                if stack.is_full() {
                    // SAFETY: this thread has the stack's lcore number.
                    unsafe { self.spill(stack) };
                }
                // SAFETY: this thread has the stack's lcore number; there is room after the spill.
                unsafe { stack.push(free) };
            }
            None => self.stray(free),
        }
    }

    /// # Safety
    /// The calling thread must have the stack's lcore number.
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
    fn free_count(&self) -> usize {
        let shared = self.ring.len() * BATCH + self.stray_count.load(Ordering::Acquire);
        self.stacks.iter().fold(shared, |sum, stack| sum + stack.len.load(Ordering::Acquire))
    }
}

impl Stack {
    fn new() -> Self {
        Self { len: AtomicUsize::new(0), items: UnsafeCell::new([Free(NonNull::dangling()); STACK]) }
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.len.load(Ordering::Relaxed) >= STACK
    }

    /// # Safety
    /// The calling thread must have this stack's lcore number.
    #[inline(always)]
    unsafe fn pop(&self) -> Option<Free> {
        let top = self.len.load(Ordering::Relaxed).checked_sub(1)?;
        // SAFETY: only this thread touches `items`.
        let free = unsafe { (*self.items.get()).get(top).copied() };
        self.len.store(top, Ordering::Release);
        free
    }

    /// # Safety
    /// The calling thread must have this stack's lcore number, and the stack must not be full.
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
}

impl Stack {
    /// Hands the top `count` buffers (all, if there are fewer) to `take`, which owns them from then on.
    ///
    /// # Safety
    /// The calling thread must have this stack's lcore number, and `take` must not use the stack.
    #[inline(always)]
    unsafe fn pop_many(&self, count: usize, take: impl FnOnce(&[Free])) {
        let len = self.len.load(Ordering::Relaxed);
        let left = len.saturating_sub(count);
        // SAFETY: only this thread touches `items`, and `take` does not reach them again.
        if let Some(top) = unsafe { (*self.items.get()).get(left..len) } {
            take(top);
        }
        self.len.store(left, Ordering::Release);
    }

    /// # Safety
    /// The calling thread must have this stack's lcore number, and the stack must have room for all.
    #[inline(always)]
    unsafe fn push_all(&self, all: impl Iterator<Item = Free>) {
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

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: this is the last handle; the shared part is freed only here, below.
        let shared = unsafe { self.0.as_ref() };
        if shared.free_count() == shared.buffers {
            // SAFETY: made by `Box::leak`; every buffer is home, so nothing points to it any more.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("buffers", &self.buffers())
            .field("available", &self.available())
            .field("backing", &self.backing())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_BURST;

    fn small(buffers: usize) -> Pool {
        Pool::new(PoolConfig { buffers, ..PoolConfig::default() }).unwrap()
    }

    #[test]
    fn every_buffer_can_be_taken_once_and_none_twice() {
        let pool = small(1000);
        let mut starts = std::collections::BTreeSet::new();
        let mut out = Vec::new();
        while let Some(mut packet) = pool.alloc() {
            starts.insert(packet.append(1).unwrap().as_ptr() as usize);
            out.push(packet);
        }
        assert_eq!((out.len(), starts.len(), pool.available()), (1000, 1000, 0));
        drop(out);
        assert_eq!(pool.available(), 1000);
    }

    #[test]
    fn buffers_freed_on_another_thread_come_home() {
        let pool = small(600);
        let out: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        std::thread::spawn(move || drop(out)).join().unwrap();
        assert_eq!(pool.available(), 600);
        // What lies in the other thread's stack is the price of having stacks; the rest can be had.
        assert!(std::iter::from_fn(|| pool.alloc()).take(600 - STACK).count() == 600 - STACK);
    }

    #[test]
    fn a_packet_outlives_the_last_handle_of_its_pool() {
        let packet = small(4).alloc_copy(b"still here").unwrap();
        assert_eq!(packet.data(), b"still here");
        drop(packet);
    }

    #[test]
    fn packets_come_in_bursts_until_the_burst_or_the_pool_is_full() {
        let pool = small(100);
        let (mut one, mut two) = (Burst::new(), Burst::new());
        pool.alloc_burst(&mut one, 1000);
        pool.alloc_burst(&mut two, 1000);
        assert_eq!((one.len(), two.len(), pool.available()), (MAX_BURST, 100 - MAX_BURST, 0));
        assert!(one.iter().all(|packet| packet.packet_len() == 0 && packet.segment_count() == 1));
        Pool::free_burst(&mut one);
        pool.alloc_burst(&mut two, 7);
        assert_eq!((two.len(), pool.available()), (100 - MAX_BURST + 7, MAX_BURST - 7));
    }

    #[test]
    fn a_burst_of_whole_and_chained_packets_of_two_pools_comes_home() {
        let (one, two) = (small(400), small(400));
        for turn in 0..50 {
            let mut burst = Burst::new();
            for n in 0..60 {
                let pool = if turn % 3 == 0 && n % 5 == 0 { &two } else { &one };
                let len = if turn % 2 == 0 && n % 7 == 0 { 5000 } else { 60 };
                burst.push(pool.alloc_copy(&vec![1; len]).unwrap()).unwrap();
            }
            Pool::free_burst(&mut burst);
            assert!(burst.is_empty());
            assert_eq!((one.available(), two.available()), (400, 400));
        }
    }

    #[test]
    fn a_bad_stride_is_refused() {
        for stride in [0, 448, 1000, 65_536] {
            assert!(Pool::new(PoolConfig { buffers: 1, stride }).is_err(), "{stride}");
        }
    }

    #[test]
    fn threads_that_pass_packets_around_lose_none() {
        let pool = small(2048);
        let ring = crate::Ring::with_capacity(8);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let mut burst = Burst::new();
                    while burst.len() < 32 {
                        match pool.alloc_copy(&[0x5a; 60]) {
                            Some(packet) => burst.push(packet).unwrap(),
                            None => std::thread::yield_now(),
                        }
                    }
                    while let Err(back) = ring.push(burst) {
                        burst = back;
                        std::thread::yield_now();
                    }
                }
            });
            let mut seen = 0;
            while seen < 2000 {
                match ring.pop() {
                    Some(burst) => {
                        assert!(burst.iter().all(|packet| packet.data() == [0x5a; 60]));
                        seen += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        assert_eq!(pool.available(), 2048);
    }
}
