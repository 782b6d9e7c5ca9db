//! Messages of one number of blocks, four at a time: all begin and end together, so that nothing has to be looked at on the way.

#![allow(clippy::needless_range_loop, reason = "a message is a number, which several arrays know")]

use super::MacLane;
use super::streams::{BLOCK, Digest, Engine, State};
use super::tail::Tail;

/// Messages at once.
const WIDTH: usize = 4;
/// Bytes of the longest digest here.
const DIGEST: usize = 32;

/// A message as blocks, whole ones of its data and then those of its tail.
pub(super) struct Laid<'a> {
    /// The state before the blocks.
    pub(super) start: State,
    /// The state before the block of the outer hash.
    pub(super) outer: State,
    pub(super) blocks: &'a [[u8; BLOCK]],
    /// Its first block takes the outer hash when it is done.
    pub(super) tail: &'a mut Tail<BLOCK>,
    pub(super) tail_blocks: usize,
}

/// Makes the tags of lanes from the front on while there are some that are alike; gives the others. One lane alone is like itself.
///
/// # Safety
/// The processor has SSSE3, and what the engine needs.
#[target_feature(enable = "ssse3")]
pub(super) unsafe fn run<'l, 'a>(
    engine: impl Engine<BLOCK, 32, State = State>,
    mut lanes: &'l mut [MacLane<'a>],
) -> &'l mut [MacLane<'a>] {
    let mut tails = [Tail::<BLOCK>::EMPTY; WIDTH];
    while let Some((some, _)) = lanes.split_first_chunk_mut::<WIDTH>() {
        if !are_alike(some) {
            break;
        }
        let [one, two, three, four] = &some;
        let [a, b, c, d] = &mut tails;
        let mut digests = [Digest([0; DIGEST]); WIDTH];
        tags(engine, &mut [lay(one, a), lay(two, b), lay(three, c), lay(four, d)], &mut digests);
        for (lane, digest) in some.iter_mut().zip(&digests) {
            lane.tag.take(&digest.0);
        }
        (_, lanes) = lanes.split_at_mut(WIDTH);
    }
    if let [lane] = lanes {
        let [tail, ..] = &mut tails;
        let mut digest = [Digest([0; DIGEST])];
        tags(engine, &mut [lay(lane, tail)], &mut digest);
        lane.tag.take(&digest[0].0);
        return &mut [];
    }
    lanes
}

/// The tags of messages with the same numbers of blocks.
#[target_feature(enable = "ssse3")]
pub(super) fn tags<E: Engine<BLOCK, 32, State = State>, const N: usize>(
    engine: E,
    messages: &mut [Laid<'_>; N],
    digests: &mut [Digest<32>; N],
) {
    let mut states = [State([0; 8]); N];
    let mut blocks: [&[[u8; BLOCK]]; N] = [&[]; N];
    for i in 0..N {
        (states[i], blocks[i]) = (messages[i].start, messages[i].blocks);
    }
    if blocks.first().is_some_and(|blocks| !blocks.is_empty()) {
        engine.compress(&mut states, &blocks);
    }
    for i in 0..N {
        blocks[i] = &messages[i].tail.blocks()[..messages[i].tail_blocks];
    }
    engine.compress(&mut states, &blocks);
    let mut blocks: [&[[u8; BLOCK]]; N] = [&[]; N];
    for ((message, state), blocks) in messages.iter_mut().zip(&mut states).zip(&mut blocks) {
        message.tail.put_outer(state, E::LEN);
        (*state, *blocks) = (message.outer, &message.tail.blocks()[..1]);
    }
    engine.compress(&mut states, &blocks);
    for (digest, state) in digests.iter_mut().zip(&states) {
        digest.put(state.bytes());
    }
}

/// Whether lanes have the same numbers of blocks, in their data and in all.
fn are_alike([first, others @ ..]: &[MacLane<'_>; WIDTH]) -> bool {
    let blocks = |lane: &MacLane<'_>| Tail::<BLOCK>::blocks_of(lane.data.len(), lane.extra);
    let wanted = blocks(first);
    others.iter().all(|lane| blocks(lane) == wanted)
}

#[inline]
fn lay<'a>(lane: &MacLane<'a>, tail: &'a mut Tail<BLOCK>) -> Laid<'a> {
    let (blocks, tail_blocks) = tail.fill(lane.data, lane.extra);
    Laid { start: lane.key.inner(), outer: lane.key.outer(), blocks, tail, tail_blocks }
}
