//! A pool of packet buffers in one mapped region, with free buffers kept close to the cores that use them
//! (see `free_list`).
//!
//! Invariants: each buffer is owned by one [`Mbuf`], or is listed as free. The region and the free list
//! live as long as any handle or any buffer: when the last [`Pool`] handle goes while packets are
//! still out, the memory stays mapped for good rather than vanish under them.

pub(crate) mod free_list;
mod slot;

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::burst::Burst;
use crate::mbuf::{DATA_OFFSET, HEADER_LEN, Mbuf};
use crate::memory::{Backing, Region};

use free_list::{Free, Shared};

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

// SAFETY: `Shared` is `Send` and `Sync` (asserted below), and the handle frees it only when no other handle is left and
// every buffer is counted as home. Another core may then still be inside `Shared::release`, but past its last store,
// which is the one that made its buffer count; after it, it touches nothing of the shared part. That `&self` is still
// alive there does no harm: it is never used again, and it points to atomics, so the compiler may not invent a read.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// Compiles only for types that threads may share and hand on.
const fn assert_send_and_sync<T: Send + Sync>() {}
const _: () = assert_send_and_sync::<Shared>();

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
        // So that no page fault meets the data path; where the limit on locked memory is lower, faults come as they come.
        let _locked = region.lock();
        let shared = Shared::new(region, config.buffers, stride);
        Ok(Self(Arc::new(Handle(NonNull::from(Box::leak(Box::new(shared)))))))
    }

    /// An empty packet, or `None` when no buffer is free.
    #[inline(always)]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        let shared = self.shared();
        let free = shared.take()?;
        // SAFETY: `take` gave this thread an exclusively owned buffer of this pool.
        Some(unsafe { Mbuf::fresh(free.0.cast(), self.0.0, shared.stride) })
    }

    /// An empty packet from the pool that `packet` is of, or `None` when no buffer is free.
    #[must_use]
    pub fn alloc_like(packet: &Mbuf) -> Option<Mbuf> {
        let pool = packet.pool();
        // SAFETY: the pool's shared part lives as long as any packet that points to it.
        let shared = unsafe { pool.as_ref() };
        let free = shared.take()?;
        // SAFETY: `take` gave this thread an exclusively owned buffer of this pool.
        Some(unsafe { Mbuf::fresh(free.0.cast(), pool, shared.stride) })
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
        let fresh = |free: Free| unsafe { Mbuf::fresh(free.0.cast(), self.0.0, shared.stride) };
        match shared.stack() {
            // SAFETY: the stack is this thread's.
            Some(stack) => unsafe {
                if stack.len() < count {
                    shared.refill_to(stack, count);
                }
                stack.pop_many(count, |free| burst.extend(free.iter().map(|&free| fresh(free))));
            },
            None => {
                let full = burst.len() + count;
                while let Some(packet) = (burst.len() < full).then(|| self.alloc()).flatten() {
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
        let Some(stack) = shared.stack() else { return burst.clear() };
        if stack.room() < burst.len() || !burst.iter().all(|packet| packet.is_plain_of(pool)) {
            return burst.clear();
        }
        // SAFETY: the stack is this thread's, and there is room for every packet.
        unsafe { stack.push_all(burst.drain().map(|packet| Free(packet.into_header().cast()))) };
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
        // What lies in the other thread's stack, 256 at most, is the price of having stacks; the rest can be had.
        assert!(std::iter::from_fn(|| pool.alloc()).take(600 - 256).count() == 600 - 256);
    }

    #[test]
    fn a_packet_outlives_the_last_handle_of_its_pool() {
        let packet = small(4).alloc_copy(b"still here").unwrap();
        assert_eq!(packet.data(), b"still here");
        drop(packet);
    }

    #[test]
    fn a_packet_like_another_comes_from_its_pool_while_that_has_one_and_even_when_the_handle_is_gone() {
        let (pool, other) = (small(2), small(2));
        let packet = pool.alloc_copy(b"first").unwrap();
        let like = Pool::alloc_like(&packet).unwrap();
        assert_eq!((like.packet_len(), pool.available(), other.available()), (0, 0, 2));
        assert!(Pool::alloc_like(&packet).is_none());
        drop((like, pool));
        assert_eq!(Pool::alloc_like(&packet).unwrap().packet_len(), 0);
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
    fn a_thread_without_a_stack_adds_as_many_packets_to_a_burst_as_any_other() {
        let pool = small(100);
        let mut burst = Burst::new();
        pool.alloc_burst(&mut burst, 10);
        let theirs = pool.clone();
        let thread = std::thread::spawn(move || {
            slot::go_without();
            assert!(theirs.shared().stack().is_none());
            theirs.alloc_burst(&mut burst, 7);
            assert_eq!(burst.len(), 17);
            theirs.alloc_burst(&mut burst, 1000);
            burst
        });
        let burst = thread.join().unwrap();
        assert_eq!((burst.len(), pool.available()), (MAX_BURST, 100 - MAX_BURST));
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
