//! AES-XCBC-MAC (RFC 3566) and AES-CMAC (RFC 4493), tags cut as in ESP (RFC 3566 section 4, RFC 4494) by the caller: CBC encryption of many
//! messages side by side, of which only the last block counts.
//!
//! Both add a key to the last block, one where it is whole, another where it was padded; they differ in how these keys are made. The
//! blocks before the last are read where they lie, the last ones are laid out apart.

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;

use std::cmp::Reverse;

use zeroize::{Zeroize as _, Zeroizing};

use super::aes_key::RoundKeys;
use super::cbc::{self, BLOCK, Slot};
use super::tag::Tag;
use crate::drivers::multibuffer::Level;

/// Messages that are put in order at a time.
const BATCH: usize = 64;

/// A key: that of the chain, and those for a last block. Wiped when it goes.
pub(in crate::drivers::multibuffer) struct CbcMacKey {
    chain: RoundKeys,
    whole: [u8; BLOCK],
    padded: [u8; BLOCK],
}

/// One message and its tag.
pub(in crate::drivers::multibuffer) struct CbcMacLane<'a> {
    pub(in crate::drivers::multibuffer) key: &'a CbcMacKey,
    /// The message, of any length and alignment.
    pub(in crate::drivers::multibuffer) data: &'a [u8],
    /// Four more bytes of the message behind `data`: the high half of an extended sequence number (RFC 4303 section 2.2.1).
    pub(in crate::drivers::multibuffer) extra: Option<[u8; 4]>,
    pub(in crate::drivers::multibuffer) tag: Tag<'a>,
}

/// Makes the tag of every lane. The level is one that the processor has, and not the portable one.
pub(in crate::drivers::multibuffer) fn run(level: Level, lanes: &mut [CbcMacLane<'_>]) {
    lanes.chunks_mut(BATCH).for_each(|batch| run_batch(level, batch));
}

fn run_batch(level: Level, lanes: &mut [CbcMacLane<'_>]) {
    let mut ends = [End::EMPTY; BATCH];
    ends.iter_mut().zip(&*lanes).for_each(|(end, lane)| end.fill(lane));
    let mut tags = [[0; BLOCK]; BATCH];
    // Messages with one size of keys go together; the longest begin.
    let mut order: [u8; BATCH] = std::array::from_fn(|place| place as u8);
    let order = &mut order[..lanes.len()];
    let rounds = |place: &u8| lanes[usize::from(*place)].key.chain.rounds();
    order.sort_unstable_by_key(|place| Reverse((rounds(place), ends[usize::from(*place)].before)));
    for group in order.chunk_by(|a, b| rounds(a) == rounds(b)) {
        let mut at_its_end = [false; BATCH];
        let slots = group.iter().map(|&place| {
            let CbcMacLane { key, data, .. } = &lanes[usize::from(place)];
            let (at, left) = (data.as_ptr().cast_mut(), ends[usize::from(place)].before);
            Slot { at, key: &key.chain, chain: [0; BLOCK], left, number: usize::from(place) }
        });
        let go_on = |slot: &mut Slot<'_>| {
            if std::mem::replace(&mut at_its_end[slot.number], true) {
                tags[slot.number] = slot.chain;
                return false;
            }
            let End { blocks, count, .. } = &ends[slot.number];
            (slot.at, slot.left) = (blocks[1..].as_ptr().cast_mut().cast(), *count);
            true
        };
        // SAFETY: a message has so many blocks before its end, its end so many more; both are borrowed until the last is read.
        unsafe { cbc::run::<false>(level, slots, go_on) };
    }
    lanes.iter_mut().zip(tags).for_each(|(lane, tag)| lane.tag.take(&tag));
}

/// The end of a message: its last block with a key added, and where extra bytes cross into that, the one before.
#[derive(Clone, Copy)]
struct End {
    /// Blocks of the message's data in front of it.
    before: usize,
    /// In the second and third; in the first, what is copied along, since a copy of fixed length costs less than one of the right length.
    blocks: [[u8; BLOCK]; 3],
    /// How many of them count: one or two.
    count: usize,
}

impl End {
    const EMPTY: Self = Self { before: 0, blocks: [[0; BLOCK]; 3], count: 0 };

    fn fill(&mut self, lane: &CbcMacLane<'_>) {
        let extra_len = lane.extra.map_or(0, |extra| extra.len());
        let total = lane.data.len() + extra_len;
        // The last block is held back, also a whole one.
        self.before = (total.saturating_sub(1) / BLOCK).min(lane.data.len() / BLOCK);
        let rest = &lane.data[self.before * BLOCK..];
        let bytes = self.blocks.as_flattened_mut();
        match lane.data.last_chunk::<BLOCK>() {
            Some(last) => bytes[rest.len()..][..BLOCK].copy_from_slice(last),
            None => bytes[BLOCK..][..rest.len()].copy_from_slice(rest),
        }
        let bytes = &mut bytes[BLOCK..];
        if let Some(extra) = lane.extra {
            bytes[rest.len()..][..4].copy_from_slice(&extra);
        }
        let len = rest.len() + extra_len;
        self.count = len.div_ceil(BLOCK).max(1);
        let is_whole = len == self.count * BLOCK;
        if !is_whole {
            bytes[len] = 0x80;
        }
        let key = if is_whole { &lane.key.whole } else { &lane.key.padded };
        let last = &mut self.blocks[self.count];
        *last = (u128::from_ne_bytes(*last) ^ u128::from_ne_bytes(*key)).to_ne_bytes();
    }
}

impl CbcMacKey {
    fn empty() -> Self {
        Self { chain: RoundKeys::empty(), whole: [0; BLOCK], padded: [0; BLOCK] }
    }

    /// For AES-XCBC-MAC (RFC 3566 section 4.1); `None` for a key of another length than 16 bytes, and where the processor has no AES
    /// instructions.
    pub(in crate::drivers::multibuffer) fn xcbc(key: &[u8]) -> Option<Self> {
        let mut own = RoundKeys::empty();
        if key.len() != BLOCK || !own.expand(key) {
            return None;
        }
        let mut made = Self::empty();
        made.chain.expand(&*encrypted(&own, [1; BLOCK]));
        made.whole = *encrypted(&own, [2; BLOCK]);
        made.padded = *encrypted(&own, [3; BLOCK]);
        Some(made)
    }

    /// For AES-CMAC (RFC 4493 section 2.3); `None` for a key of another length than 16, 24 or 32 bytes, and where the processor has no AES
    /// instructions.
    pub(in crate::drivers::multibuffer) fn cmac(key: &[u8]) -> Option<Self> {
        let mut made = Self::empty();
        if !made.chain.expand(key) {
            return None;
        }
        let zeros = encrypted(&made.chain, [0; BLOCK]);
        made.whole = doubled(&zeros);
        made.padded = doubled(&made.whole);
        Some(made)
    }
}

impl Drop for CbcMacKey {
    fn drop(&mut self) {
        self.whole.zeroize();
        self.padded.zeroize();
    }
}

/// One block, encrypted.
fn encrypted(key: &RoundKeys, block: [u8; BLOCK]) -> Zeroizing<[u8; BLOCK]> {
    let mut out = Zeroizing::new([0; BLOCK]);
    let slot = Slot { at: out.as_mut_ptr(), key, chain: block, left: 1, number: 0 };
    // SAFETY: the block is there; a key that was expanded is there only where the processor has that level.
    unsafe { cbc::run::<true>(Level::Sse, std::iter::once(slot), |_| false) };
    out
}

/// Twice a block, in the field with 2 to the 128 elements.
fn doubled(block: &[u8; BLOCK]) -> [u8; BLOCK] {
    let number = u128::from_be_bytes(*block);
    let carry = (number.cast_signed() >> 127).cast_unsigned();
    ((number << 1) ^ (carry & 0x87)).to_be_bytes()
}
