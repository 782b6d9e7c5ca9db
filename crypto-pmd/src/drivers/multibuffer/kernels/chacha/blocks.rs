//! Which blocks of which packets the lanes of a vector take, and where what they give goes.

use std::arch::x86_64::*;

use super::{BATCH, Lane};

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The first row of the state (RFC 8439 section 2.3), a text in words.
pub(super) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Where the bytes of words come from that are rotated by whole bytes, for `pshufb`. The kernels name it in assembly, because the compiler
/// takes shuffles that it can see apart, into two each.
#[repr(align(32))]
pub(super) struct Rotation(#[expect(dead_code, reason = "only assembly reads it")] [u8; 32]);

impl Rotation {
    const fn left(bytes: usize) -> Self {
        let mut from = [0; 32];
        let mut at = 0;
        while at < 32 {
            from[at] = ((at % 16) / 4 * 4 + (at + 4 - bytes) % 4) as u8;
            at += 1;
        }
        Self(from)
    }
}

pub(super) static ROTATE_8: Rotation = Rotation::left(1);
pub(super) static ROTATE_16: Rotation = Rotation::left(2);

/// The packets of a batch as they come.
pub(super) static IN_ORDER: [u8; BATCH] = {
    let mut places = [0; BATCH];
    let mut place = 0;
    while place < BATCH {
        places[place] = place as u8;
        place += 1;
    }
    places
};

/// A block: the packet's place, and the counter. Number 0 gives the packet's Poly1305 key, its data begins with 1 (RFC 8439 section 2.8).
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) lane: usize,
    pub(super) counter: u32,
}

/// What blocks give.
#[repr(align(64))]
pub(super) struct Rows<const W: usize>(pub(super) [[u8; BLOCK]; W]);

/// Walks through the blocks of packets.
pub(super) struct Cursor {
    /// Which packet is next.
    place: usize,
    counter: u32,
    first: u32,
    last: u32,
}

impl Cursor {
    /// All blocks.
    pub(super) const ALL: Self = Self { place: 0, counter: 0, first: 0, last: u32::MAX };
    /// Those that give keys.
    pub(super) const KEYS: Self = Self { last: 0, ..Self::ALL };
    /// Those for data.
    pub(super) const DATA: Self = Self { counter: 1, first: 1, ..Self::ALL };

    /// How many packets are behind it, all of them.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The next blocks of the packets that `order` names, as many as there is room for; gives their number. What is left of the room repeats one
    /// of them.
    #[inline(always)]
    pub(super) fn fill(&mut self, order: &[u8], lanes: &[Lane<'_>], room: &mut [Block]) -> usize {
        let mut count = 0;
        while count < room.len()
            && let Some(&lane) = order.get(self.place)
        {
            let lane = usize::from(lane);
            let last = self.last.min(lanes[lane].blocks() as u32);
            while count < room.len() && self.counter <= last {
                room[count] = Block { lane, counter: self.counter };
                self.counter += 1;
                count += 1;
            }
            if self.counter > last {
                self.place += 1;
                self.counter = self.first;
            }
        }
        if count > 0 {
            let first = room[0];
            room[count..].fill(first);
        }
        count
    }
}

impl Lane<'_> {
    /// Blocks of data.
    #[inline(always)]
    pub(super) fn blocks(&self) -> usize {
        self.data.len().div_ceil(BLOCK)
    }

    /// The bytes that a block of data is for.
    #[inline(always)]
    pub(super) fn part(&mut self, counter: u32) -> &mut [u8] {
        self.data.get_mut((counter as usize - 1) * BLOCK..).unwrap_or_default()
    }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are there, and this load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline(always)]
fn xor<const N: usize>(data: &mut [u8; N], row: &[u8; N]) {
    for (to, from) in data.iter_mut().zip(row) {
        *to ^= from;
    }
}

/// Fewer bytes than a block has, in steps of half the size.
#[inline(always)]
pub(super) fn xor_part(data: &mut [u8], row: &[u8; BLOCK]) {
    let mut at = 0;
    macro_rules! step {
        ($($size:literal)*) => {$(
            if data.len() & $size != 0
                && let Some(part) = data.get_mut(at..).and_then(|data| data.first_chunk_mut::<$size>())
                && let Some(from) = row.get(at..).and_then(|row| row.first_chunk())
            {
                xor(part, from);
                at += $size;
            }
        )*};
    }
    step!(32 16 8 4 2 1);
    debug_assert_eq!(at, data.len());
}
