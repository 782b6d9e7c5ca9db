//! A packet buffer: one owning handle to a buffer of a [`Pool`](crate::Pool), with headroom and tailroom, and
//! with further segments chained behind it when a packet is longer than one buffer.
//!
//! Layout of a buffer: one 64-byte header, headroom, packet bytes, tailroom. The header's place in front of
//! the bytes means that a handle is one pointer, and that the line that every stage needs is found without a
//! table. The bytes start 256 past the buffer's start, as AF_XDP wants it.
//!
//! Invariants: a buffer has exactly one owner (the handle, or the segment in front of it, or its pool);
//! dropping the handle gives every segment back to its pool; the named bytes always lie inside the buffer;
//! every byte is initialised, because the pool's memory starts out zeroed.

mod fields;

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::memory;
use crate::pool::free_list::Shared;

/// Bytes from a buffer's start to its first packet byte when fresh.
pub const DATA_OFFSET: u16 = 256;
/// Bytes of headroom that a fresh buffer has: what precedes the data, less the header.
pub const HEADROOM: usize = DATA_OFFSET as usize - HEADER_LEN;
/// Most segments that one packet may have.
pub const MAX_SEGMENTS: u8 = 64;

pub(crate) const HEADER_LEN: usize = 64;

/// The line in front of the packet bytes. `packet_len` and `segments` count the whole chain in its first
/// header, and are not kept in the others.
#[repr(C, align(64))]
pub(crate) struct Header {
    pool: NonNull<Shared>,
    next: Option<NonNull<Header>>,
    rx_tick: u64,
    timestamp_ns: u64,
    offload: u64,
    data_offset: u16,
    room: u16,
    data_len: u16,
    segments: u8,
    l2_len: u8,
    packet_len: u32,
    number: u32,
    rx_status: u32,
    order: u32,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

/// An owned packet.
///
/// ```
/// # use pipeline::{Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() })?;
/// let mut packet = pool.alloc_copy(b"payload").unwrap();
/// packet.prepend(2).unwrap()[..2].copy_from_slice(b"l2");
/// packet.append(3).unwrap().copy_from_slice(b"icv");
/// assert_eq!(packet.data(), b"l2payloadicv");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Mbuf(NonNull<Header>);

// SAFETY: a handle is the only owner of its header and bytes, and its pool may be used from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only reads; all changes need `&mut Mbuf`.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership of a buffer that its pool has just handed out, and makes it an empty packet.
    ///
    /// # Safety
    /// `header` must point to a buffer of `pool`, with `room` bytes in all, that nobody else owns.
    #[inline(always)]
    pub(crate) unsafe fn fresh(header: NonNull<Header>, pool: NonNull<Shared>, room: u16) -> Self {
        // SAFETY: the caller hands over an exclusively owned buffer, at least a header long.
        unsafe {
            header.write(Header {
                pool,
                next: None,
                rx_tick: 0,
                timestamp_ns: 0,
                offload: 0,
                data_offset: DATA_OFFSET,
                room,
                data_len: 0,
                segments: 1,
                l2_len: 0,
                packet_len: 0,
                number: 0,
                rx_status: 0,
                order: 0,
            });
        }
        Self(header)
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: the handle owns the header, which stays in place until the handle is dropped.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and `&mut self` makes it exclusive.
        unsafe { self.0.as_mut() }
    }

    /// Bytes of the first segment (the whole packet, when it is not chained).
    #[inline(always)]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: the handle owns the segment.
        unsafe { bytes_of(self.0) }
    }

    /// Bytes of the first segment, mutable.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: the handle owns the segment, exclusively.
        unsafe { bytes_of_mut(self.0) }
    }

    /// Asks the processor to bring the packet's header closer, which everything else about it is read from.
    #[inline(always)]
    pub fn prefetch_header(&self) {
        crate::memory::prefetch_line(self.0.as_ptr().cast_const().cast());
    }

    /// Bytes of the whole packet, over all segments.
    #[inline(always)]
    #[must_use]
    pub fn packet_len(&self) -> usize {
        self.header().packet_len as usize
    }

    /// Segments in the chain; 1 for a packet that fits its buffer.
    #[inline(always)]
    #[must_use]
    pub fn segment_count(&self) -> usize {
        usize::from(self.header().segments)
    }

    /// True when the packet spans several segments.
    #[inline(always)]
    #[must_use]
    pub fn is_chained(&self) -> bool {
        self.header().segments > 1
    }

    /// Bytes that [`Mbuf::prepend`] can still add.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.header().data_offset).saturating_sub(HEADER_LEN)
    }

    /// Bytes that [`Mbuf::append`] can still add, in the last segment.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        // SAFETY: the last segment belongs to this handle's chain.
        let last = unsafe { self.last().as_ref() };
        last.tailroom()
    }

    /// Adds `count` bytes in front and returns the first segment from its new start; `None` when the headroom
    /// is too short. The new bytes hold what the buffer held before.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.headroom() {
            return None;
        }
        let header = self.header_mut();
        header.data_offset -= count as u16;
        header.data_len += count as u16;
        header.packet_len += count as u32;
        Some(self.data_mut())
    }

    /// Adds `count` bytes at the end of the last segment and returns them; `None` when its tailroom is too
    /// short. The new bytes hold what the buffer held before.
    #[inline(always)]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let mut last = if self.is_chained() { self.last() } else { self.0 };
        // SAFETY: the last segment belongs to this handle, exclusively.
        let segment = unsafe { last.as_mut() };
        if count > segment.tailroom() {
            return None;
        }
        let old_len = usize::from(segment.data_len);
        segment.data_len += count as u16;
        self.header_mut().packet_len += count as u32;
        // SAFETY: as above; the segment's length was raised within its room.
        unsafe { bytes_of_mut(last) }.get_mut(old_len..)
    }

    /// Adds a copy of `bytes` at the end of the last segment; false (and no change) when its tailroom is too short.
    #[inline(always)]
    #[must_use]
    pub fn append_copy(&mut self, bytes: &[u8]) -> bool {
        self.append(bytes.len()).map(|to| copy(bytes, to)).is_some()
    }

    /// Makes a fresh packet of one segment a copy of `bytes`; false (and no change) when they do not fit.
    #[inline(always)]
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> bool {
        let header = self.header_mut();
        if bytes.len() > usize::from(header.room).saturating_sub(usize::from(DATA_OFFSET)) {
            return false;
        }
        header.data_len = bytes.len() as u16;
        header.packet_len = bytes.len() as u32;
        copy(bytes, self.data_mut());
        true
    }

    /// Removes the first `count` bytes, which must lie in the first segment; false (and no change) otherwise.
    #[inline(always)]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let header = self.header_mut();
        if count > usize::from(header.data_len) {
            return false;
        }
        header.data_offset += count as u16;
        header.data_len -= count as u16;
        header.packet_len -= count as u32;
        true
    }

    /// Shortens the packet to `len` bytes; segments that become empty (but the first) go back to their pool.
    /// No change when the packet is not longer than `len`.
    #[inline(always)]
    pub fn truncate(&mut self, len: usize) {
        if len >= self.packet_len() {
            return;
        }
        if self.is_chained() {
            self.truncate_chain(len);
        } else {
            let header = self.header_mut();
            header.data_len = len as u16;
            header.packet_len = len as u32;
        }
    }

    #[cold]
    fn truncate_chain(&mut self, len: usize) {
        let mut left = len;
        let mut kept: u8 = 0;
        let mut at = Some(self.0);
        while let Some(mut pointer) = at {
            // SAFETY: every pointer of the chain is owned by this handle, exclusively.
            let segment = unsafe { pointer.as_mut() };
            let take = left.min(usize::from(segment.data_len));
            segment.data_len = take as u16;
            left -= take;
            kept += 1;
            at = if left == 0 { segment.next.take() } else { segment.next };
            if left == 0 {
                break;
            }
        }
        if let Some(rest) = at {
            // SAFETY: the rest was cut off the chain above, so this handle is its one owner.
            unsafe { free_chain(rest) };
        }
        let header = self.header_mut();
        header.packet_len = len as u32;
        header.segments = kept;
    }

    /// Makes a packet of one segment `keep` bytes long, then adds `front` bytes before and `back` bytes behind, and
    /// returns all of it: truncating, prepending and appending in one step. `None`, and no change, for a chained packet,
    /// one that is shorter than `keep`, or one without the room. The new bytes hold what the buffer held before.
    #[inline(always)]
    pub fn wrap(&mut self, keep: usize, front: usize, back: usize) -> Option<&mut [u8]> {
        let header = self.header_mut();
        let offset = usize::from(header.data_offset);
        let fits = front <= offset.saturating_sub(HEADER_LEN)
            && keep <= usize::from(header.data_len)
            && back <= usize::from(header.room).saturating_sub(offset + keep);
        if header.segments > 1 || !fits {
            return None;
        }
        let (start, len) = (offset - front, front + keep + back);
        header.data_offset = start as u16;
        header.data_len = len as u16;
        header.packet_len = len as u32;
        Some(self.data_mut())
    }

    /// Chains `tail` behind this packet.
    ///
    /// # Errors
    /// Gives `tail` back when the chain would have more than [`MAX_SEGMENTS`] segments.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let segments = self.header().segments.saturating_add(tail.header().segments);
        if segments > MAX_SEGMENTS {
            return Err(tail);
        }
        let tail = ManuallyDrop::new(tail);
        let more = tail.header().packet_len;
        let mut last = self.last();
        // SAFETY: the last segment belongs to this handle; `tail`'s ownership moves into the chain.
        unsafe { last.as_mut() }.next = Some(tail.0);
        let header = self.header_mut();
        header.segments = segments;
        header.packet_len += more;
        Ok(())
    }

    /// The bytes of each segment, in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.0), packet: std::marker::PhantomData }
    }

    /// The bytes of each segment, in order, mutable.
    #[inline]
    pub fn segments_mut(&mut self) -> SegmentsMut<'_> {
        SegmentsMut { next: Some(self.0), packet: std::marker::PhantomData }
    }

    /// Copies bytes from `offset` on into `to`; false (and `to` unspecified) when the packet ends before.
    #[must_use]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) -> bool {
        let mut skip = offset;
        let mut done = 0;
        for segment in self.segments() {
            let from = segment.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(segment.len());
            let room = to.len() - done;
            let count = from.len().min(room);
            if let (Some(to), Some(from)) = (to.get_mut(done..done + count), from.get(..count)) {
                to.copy_from_slice(from);
                done += count;
            }
        }
        done == to.len()
    }

    /// Overwrites bytes from `offset` on with `from`; false when the packet ends before (what fits is written).
    #[must_use]
    pub fn copy_in(&mut self, offset: usize, from: &[u8]) -> bool {
        let mut skip = offset;
        let mut done = 0;
        for segment in self.segments_mut() {
            let len = segment.len();
            let to = segment.get_mut(skip..).unwrap_or_default();
            skip = skip.saturating_sub(len);
            let count = to.len().min(from.len() - done);
            if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(done..done + count)) {
                to.copy_from_slice(from);
                done += count;
            }
        }
        done == from.len()
    }

    /// Brings the header's line and the first line of packet bytes closer.
    #[inline(always)]
    pub fn prefetch(&self) {
        let header = self.0.as_ptr().cast::<u8>().cast_const();
        memory::prefetch_line(header);
        memory::prefetch_line(header.wrapping_add(usize::from(DATA_OFFSET)));
    }

    #[inline(always)]
    pub(crate) fn pool(&self) -> NonNull<Shared> {
        self.header().pool
    }

    /// True for a packet in one segment, of this pool.
    #[inline(always)]
    pub(crate) fn is_plain_of(&self, pool: NonNull<Shared>) -> bool {
        let header = self.header();
        header.pool == pool && header.next.is_none()
    }

    /// Gives up ownership.
    #[inline(always)]
    pub(crate) fn into_header(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn last(&self) -> NonNull<Header> {
        let mut at = self.0;
        // SAFETY: every pointer of the chain is owned by this handle.
        while let Some(next) = unsafe { at.as_ref() }.next {
            at = next;
        }
        at
    }
}

impl Header {
    #[inline(always)]
    fn tailroom(&self) -> usize {
        usize::from(self.room).saturating_sub(usize::from(self.data_offset) + usize::from(self.data_len))
    }
}

impl Drop for Mbuf {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the handle is the one owner, and is gone after this.
        unsafe { free_chain(self.0) }
    }
}

/// Copies between slices of one length. Packets of 64 to 128 bytes are many, and two copies of known length, that may
/// overlap, are cheaper for them than a call.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        64..=80 => copy_ends::<64, 16>(from, to),
        81..=128 => copy_ends::<64, 64>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first `HEAD` and the last `TAIL` bytes.
#[inline(always)]
fn copy_ends<const HEAD: usize, const TAIL: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(head), Some(place)) = (from.first_chunk::<HEAD>(), to.first_chunk_mut()) {
        *place = *head;
    }
    if let (Some(tail), Some(place)) = (from.last_chunk::<TAIL>(), to.last_chunk_mut()) {
        *place = *tail;
    }
}

/// Gives a chain of buffers back to their pools.
///
/// # Safety
/// The caller owns the chain and does not use it afterwards.
#[inline(always)]
unsafe fn free_chain(first: NonNull<Header>) {
    let mut at = Some(first);
    while let Some(pointer) = at {
        // SAFETY: owned by the caller; the pool outlives its buffers (see `pool`).
        unsafe {
            at = pointer.as_ref().next;
            let pool = pointer.as_ref().pool;
            pool.as_ref().release(pointer.cast());
        }
    }
}

/// # Safety
/// `header` must be a live segment that nobody changes while the slice lives.
#[inline(always)]
unsafe fn bytes_of<'a>(header: NonNull<Header>) -> &'a [u8] {
    // SAFETY: offset and length lie within the buffer (invariant), whose bytes are initialised.
    unsafe {
        let segment = header.as_ref();
        let start = header.as_ptr().cast::<u8>().add(usize::from(segment.data_offset));
        std::slice::from_raw_parts(start, usize::from(segment.data_len))
    }
}

/// # Safety
/// `header` must be a live segment that nobody else uses while the slice lives.
#[inline(always)]
unsafe fn bytes_of_mut<'a>(header: NonNull<Header>) -> &'a mut [u8] {
    // SAFETY: as in `bytes_of`; the bytes and the header do not overlap, since an offset is at least a header.
    unsafe {
        let (offset, len) = (header.as_ref().data_offset, header.as_ref().data_len);
        let start = header.as_ptr().cast::<u8>().add(usize::from(offset));
        std::slice::from_raw_parts_mut(start, usize::from(len))
    }
}

/// Iterator over the segments of a packet; see [`Mbuf::segments`].
#[derive(Debug)]
pub struct Segments<'a> {
    next: Option<NonNull<Header>>,
    packet: std::marker::PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let header = self.next?;
        // SAFETY: the iterator borrows the packet that owns the chain.
        unsafe {
            self.next = header.as_ref().next;
            Some(bytes_of(header))
        }
    }
}

/// Iterator over the segments of a packet, mutable; see [`Mbuf::segments_mut`].
#[derive(Debug)]
pub struct SegmentsMut<'a> {
    next: Option<NonNull<Header>>,
    packet: std::marker::PhantomData<&'a mut Mbuf>,
}

impl<'a> Iterator for SegmentsMut<'a> {
    type Item = &'a mut [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a mut [u8]> {
        let header = self.next?;
        // SAFETY: the iterator borrows the packet exclusively, and yields each segment once.
        unsafe {
            self.next = header.as_ref().next;
            Some(bytes_of_mut(header))
        }
    }
}

impl fmt::Debug for Mbuf {
    /// Shape only: packet bytes may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("number", &self.number())
            .field("packet_len", &self.packet_len())
            .field("segments", &self.segment_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
