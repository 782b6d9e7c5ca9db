//! Keeps an engine busy: as many packets at once as it has streams, the next one as soon as one is finished.
//!
//! A stream is a packet on its way: blocks of its data, then those of its tail, then the block of the outer hash. The engine takes as
//! many blocks of every stream as the one with the fewest has. Long packets go first, so that no long one is left alone at the end.

use super::key::Hash;
use super::tail::Tail;
use super::{MacLane, TAG};

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// Packets that are put in order at a time.
const BATCH: usize = 64;

/// Streams of the widest engine.
const WIDEST: usize = 4;

/// The words of a state, A first; SHA-1 has five.
#[repr(align(32))]
#[derive(Clone, Copy)]
pub(super) struct State(pub(super) [u32; 8]);

/// The state before the first block (FIPS 180-4 section 5.3).
pub(super) fn initial(hash: Hash) -> State {
    State(match hash {
        Hash::Sha1 => [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0, 0, 0, 0],
        Hash::Sha256 => {
            [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]
        }
    })
}

/// Compresses blocks of several messages at once.
pub(super) trait Engine: Copy {
    /// Streams at once, four at most.
    const STREAMS: usize;
    /// Words of a digest.
    const WORDS: usize;

    /// Compresses the first blocks of each message into its state, as many as the shortest has; gives their number. Message and state of a
    /// stream have the same place; there are [`STREAMS`](Self::STREAMS) at most.
    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize;
}

/// Where a packet is.
#[derive(Clone, Copy)]
enum Phase<'a> {
    /// These blocks of its data remain, and that many of its tail.
    Data(&'a [[u8; BLOCK]], usize),
    /// These blocks of its tail remain.
    Tail(usize, usize),
    /// The outer hash remains.
    Outer,
}

/// The packets on their way; those in front are busy.
struct Streams<'a> {
    states: [State; WIDEST],
    tails: [Tail; WIDEST],
    phases: [Phase<'a>; WIDEST],
    lanes: [usize; WIDEST],
}

/// Makes the tag of every lane.
pub(super) fn run<E: Engine>(engine: E, lanes: &mut [MacLane<'_>]) {
    for batch in lanes.chunks_mut(BATCH) {
        run_batch(engine, batch);
    }
}

fn run_batch<E: Engine>(engine: E, lanes: &mut [MacLane<'_>]) {
    let mut places = [0; BATCH];
    let mut order = longest_first(lanes, &mut places).iter();
    let mut streams = Streams {
        states: [State([0; 8]); WIDEST],
        tails: [Tail::EMPTY; WIDEST],
        phases: [Phase::Outer; WIDEST],
        lanes: [0; WIDEST],
    };
    let mut busy = 0;
    for &lane in order.by_ref().take(E::STREAMS) {
        streams.begin(busy, usize::from(lane), lanes);
        busy += 1;
    }
    while busy > 0 {
        let done = streams.compress(engine, busy);
        for stream in (0..busy).rev() {
            if streams.advance(stream, done, E::WORDS, lanes) {
                continue;
            }
            match order.next() {
                Some(&lane) => streams.begin(stream, usize::from(lane), lanes),
                None => {
                    busy -= 1;
                    streams.take_from(busy, stream);
                }
            }
        }
    }
}

impl<'a> Streams<'a> {
    fn begin(&mut self, stream: usize, lane: usize, lanes: &[MacLane<'a>]) {
        let MacLane { key, data, extra, .. } = &lanes[lane];
        let (data, extra): (&'a [u8], _) = (data, *extra);
        self.states[stream] = key.inner();
        self.lanes[stream] = lane;
        let tail = self.tails[stream].fill(data, extra);
        let blocks = data.as_chunks().0;
        self.phases[stream] =
            if blocks.is_empty() { Phase::Tail(0, tail) } else { Phase::Data(blocks, tail) };
    }

    fn compress<E: Engine>(&mut self, engine: E, busy: usize) -> usize {
        let mut messages: [&[[u8; BLOCK]]; WIDEST] = [&[]; WIDEST];
        for ((to, phase), tail) in messages.iter_mut().zip(&self.phases).zip(&self.tails).take(busy) {
            *to = match *phase {
                Phase::Data(blocks, _) => blocks,
                Phase::Tail(from, to) => &tail.blocks()[from..to],
                Phase::Outer => &tail.blocks()[..1],
            };
        }
        engine.compress(&mut self.states[..busy], &messages[..busy])
    }

    /// Notes that `done` blocks of a stream have been compressed; false when its packet is finished.
    fn advance(&mut self, stream: usize, done: usize, words: usize, lanes: &mut [MacLane<'a>]) -> bool {
        let lane = &mut lanes[self.lanes[stream]];
        self.phases[stream] = match self.phases[stream] {
            Phase::Data(blocks, tail) if done < blocks.len() => Phase::Data(&blocks[done..], tail),
            Phase::Data(_, tail) => Phase::Tail(0, tail),
            Phase::Tail(from, to) if from + done < to => Phase::Tail(from + done, to),
            Phase::Tail(..) => {
                self.tails[stream].fill_outer(&self.states[stream].0, words);
                self.states[stream] = lane.key.outer();
                Phase::Outer
            }
            Phase::Outer => {
                write_words(&mut lane.tag, &self.states[stream].0[..words]);
                return false;
            }
        };
        true
    }

    /// Moves a packet to another stream.
    fn take_from(&mut self, from: usize, to: usize) {
        if from != to {
            self.states[to] = self.states[from];
            self.tails[to] = self.tails[from];
            self.phases[to] = self.phases[from];
            self.lanes[to] = self.lanes[from];
        }
    }
}

fn write_words(tag: &mut [u8; TAG], words: &[u32]) {
    for (to, word) in tag.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_be_bytes());
    }
}

/// The places of the lanes, by length of the message from long to short, as powers of two of blocks.
fn longest_first<'p>(lanes: &[MacLane<'_>], places: &'p mut [u8; BATCH]) -> &'p [u8] {
    let class =
        |lane: &MacLane<'_>| (usize::BITS - (lane.data.len() / BLOCK).leading_zeros()).min(15) as usize;
    let mut starts = [0u8; 17];
    lanes.iter().for_each(|lane| starts[16 - class(lane)] += 1);
    let mut sum = 0;
    for start in &mut starts {
        (*start, sum) = (sum, sum + *start);
    }
    for (place, lane) in (0..).zip(lanes) {
        let at = &mut starts[16 - class(lane)];
        places[usize::from(*at)] = place;
        *at += 1;
    }
    &places[..lanes.len()]
}
