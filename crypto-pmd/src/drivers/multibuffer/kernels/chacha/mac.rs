//! The tags of many packets: as many chains of Poly1305 at once as there are streams, a block of each at a time.
//!
//! One block waits for the block before it in its own packet, so that the processor is idle most of the time that a chain alone takes.
//! Streams do not wait for each other, whatever lengths their packets have: a stream whose packet ends takes the next one.

use super::poly::{Poly, padded};
use super::{BATCH, Lane};

/// Bytes of a block.
const BLOCK: usize = 16;

/// A packet on its way.
#[derive(Clone, Copy)]
struct Stream {
    poly: Poly,
    /// The next of its whole blocks, and where they end.
    at: *const [u8; BLOCK],
    end: *const [u8; BLOCK],
    lane: usize,
    busy: bool,
}

/// The packets on their way, `AT_ONCE` blocks of each in a step, and where the others are.
pub(super) struct Macs<const STREAMS: usize, const AT_ONCE: usize> {
    streams: [Stream; STREAMS],
    busy: usize,
    /// So many steps can be made before a stream has too few blocks.
    together: usize,
    /// The first packet that no stream has had.
    next: usize,
    /// The first packet that no stream may have yet.
    ready: usize,
    /// Packets whose tags were right, in the order in which that was known, to be decrypted.
    genuine: [u8; BATCH],
    count: usize,
    /// How many blocks of ChaCha20 those have, all together.
    blocks: usize,
}

impl Stream {
    /// Whole blocks that are left.
    #[inline(always)]
    fn left(&self) -> usize {
        (self.end.addr() - self.at.addr()) / BLOCK
    }

    /// Absorbs a block.
    ///
    /// # Safety
    /// At least one is left, in data that can be read.
    #[inline(always)]
    unsafe fn absorb(&mut self) {
        // SAFETY: the caller has it so.
        self.poly.absorb(u128::from_le_bytes(unsafe { *self.at }));
        self.at = self.at.wrapping_add(1);
    }
}

impl<const STREAMS: usize, const AT_ONCE: usize> Macs<STREAMS, AT_ONCE> {
    pub(super) fn new() -> Self {
        let nowhere = std::ptr::null();
        let idle = Stream { poly: Poly::new(0), at: nowhere, end: nowhere, lane: 0, busy: false };
        Self {
            streams: [idle; STREAMS],
            busy: 0,
            together: 0,
            next: 0,
            ready: 0,
            genuine: [0; BATCH],
            count: 0,
            blocks: 0,
        }
    }

    /// Allows the packets in front of `ready`. From now on nobody changes their data as long as their tags are not known.
    pub(super) fn allow(&mut self, ready: usize) {
        self.ready = ready;
    }

    /// Packets that may be decrypted.
    pub(super) fn genuine(&self) -> &[u8] {
        self.genuine.get(..self.count).unwrap_or_default()
    }

    /// Blocks of ChaCha20 that all the packets ever found genuine have.
    pub(super) fn genuine_blocks(&self) -> usize {
        self.blocks
    }

    /// Whether there is nothing to do.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.next == self.ready
    }

    /// Some blocks of every stream; where one has too few, a block of it, or the end of its packet and the start of another.
    #[inline(always)]
    pub(super) fn step<const SEAL: bool>(&mut self, lanes: &mut [Lane<'_>]) {
        if self.together > 0 {
            self.together -= 1;
            for stream in &mut self.streams {
                for _ in 0..AT_ONCE {
                    // SAFETY: so many blocks are left, in a packet that its lane borrows for as long as this lasts.
                    unsafe { stream.absorb() };
                }
            }
        } else if !self.is_idle() {
            let mut together = usize::MAX;
            for number in 0..STREAMS {
                let stream = &mut self.streams[number];
                if stream.at == stream.end {
                    self.change::<SEAL>(number, lanes);
                } else {
                    // SAFETY: a block is left, in a packet that its lane borrows for as long as this lasts.
                    unsafe { stream.absorb() };
                }
                together = together.min(self.streams[number].left());
            }
            self.together = together / AT_ONCE;
        }
    }

    /// Ends the packet of a stream, and begins the next that may be begun.
    #[inline(always)]
    fn change<const SEAL: bool>(&mut self, number: usize, lanes: &mut [Lane<'_>]) {
        let stream = &mut self.streams[number];
        if stream.busy {
            let lane = &mut lanes[stream.lane];
            let tag = tag(stream.poly, lane);
            if SEAL {
                lane.tag = tag.to_le_bytes();
            } else if is_equal(tag, u128::from_le_bytes(lane.tag)) {
                lane.genuine = true;
                self.genuine[self.count % BATCH] = stream.lane as u8;
                self.count += 1;
                self.blocks += lane.blocks();
            }
            stream.busy = false;
            self.busy -= 1;
        }
        if self.next < self.ready {
            let lane = &lanes[self.next];
            stream.poly = Poly::new(lane.one_time[0]);
            lane.aad.chunks(BLOCK).for_each(|block| stream.poly.absorb(padded(block)));
            stream.at = lane.data.as_ptr().cast();
            stream.end = stream.at.wrapping_add(lane.data.len() / BLOCK);
            stream.lane = self.next;
            stream.busy = true;
            self.next += 1;
            self.busy += 1;
        }
    }
}

/// The tag of a packet (RFC 8439 section 2.8) of which the whole blocks are in a chain.
#[inline(always)]
fn tag(mut poly: Poly, lane: &Lane<'_>) -> u128 {
    let len = lane.data.len();
    let tail = lane.data.get(len - len % BLOCK..).unwrap_or_default();
    if !tail.is_empty() {
        poly.absorb(padded(tail));
    }
    poly.absorb(lane.aad.len() as u128 | (len as u128) << 64);
    poly.finish(lane.one_time[1])
}

/// Whether two tags are the same, in time that does not depend on where they differ: one word has all the differences, and is looked at once. (A
/// call to `subtle` would push the vectors of a kernel out of their registers.)
#[inline(always)]
fn is_equal(one: u128, other: u128) -> bool {
    let differences = one ^ other;
    (differences as u64 | (differences >> 64) as u64) == 0
}
