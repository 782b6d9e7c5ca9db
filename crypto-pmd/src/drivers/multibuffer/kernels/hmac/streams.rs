//! Keeps an engine busy: as many packets at once as it has streams, the next one as soon as one is finished.
//!
//! A stream is a packet on its way: blocks of its data, then those of its tail, then the block of the outer hash. The engine takes as
//! many blocks of every stream as the one with the fewest has. Long packets go first, so that no long one is left alone at the end.

use super::MacLane;
use super::key::Hash;
use super::tail::Tail;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// Packets that are put in order at a time.
const BATCH: usize = 64;

/// The words of a state, A first; SHA-1 has five, and zeros behind.
#[repr(align(32))]
#[derive(Clone, Copy)]
pub(super) struct State(pub(super) [u32; 8]);

/// A digest, and what follows it in the outer hash up to 32 bytes.
#[repr(align(32))]
#[derive(Clone, Copy)]
pub(super) struct Digest(pub(super) [u8; 32]);

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
    /// Words of a digest.
    const WORDS: usize;

    /// Compresses the first blocks of each message into its state, as many as the shortest has; gives their number. Message and state of a
    /// stream have the same place; there are as many as [`run`] was told, or fewer.
    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize;

    /// The words of a state as bytes, with those of `pad` on them.
    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest;
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
struct Streams<'a, const N: usize> {
    states: [State; N],
    tails: [Tail; N],
    phases: [Phase<'a>; N],
    lanes: [usize; N],
}

/// Makes the tag of every lane, with `N` packets at once.
pub(super) fn run<const N: usize>(engine: impl Engine, lanes: &mut [MacLane<'_>]) {
    for batch in lanes.chunks_mut(BATCH) {
        run_batch::<N, _>(engine, batch);
    }
}

fn run_batch<const N: usize, E: Engine>(engine: E, lanes: &mut [MacLane<'_>]) {
    let mut places = [0; BATCH];
    let mut order = longest_first(lanes, &mut places).iter();
    let mut streams = Streams::<'_, N> {
        states: [State([0; 8]); N],
        tails: [Tail::EMPTY; N],
        phases: [Phase::Outer; N],
        lanes: [0; N],
    };
    let mut busy = 0;
    for &lane in order.by_ref().take(N) {
        streams.begin(busy, usize::from(lane), lanes);
        busy += 1;
    }
    while busy > 0 {
        let done = streams.compress(engine, busy);
        for stream in (0..busy).rev() {
            if streams.advance(engine, stream, done, lanes) {
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

impl<'a, const N: usize> Streams<'a, N> {
    fn begin(&mut self, stream: usize, lane: usize, lanes: &[MacLane<'a>]) {
        let MacLane { key, data, extra, .. } = &lanes[lane];
        let (data, extra): (&'a [u8], _) = (data, *extra);
        self.states[stream] = *key.inner();
        self.lanes[stream] = lane;
        let (blocks, tail) = self.tails[stream].fill(data, extra);
        self.phases[stream] =
            if blocks.is_empty() { Phase::Tail(0, tail) } else { Phase::Data(blocks, tail) };
    }

    fn compress<E: Engine>(&mut self, engine: E, busy: usize) -> usize {
        let mut messages: [&[[u8; BLOCK]]; N] = [&[]; N];
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
    fn advance<E: Engine>(
        &mut self,
        engine: E,
        stream: usize,
        done: usize,
        lanes: &mut [MacLane<'a>],
    ) -> bool {
        let lane = &mut lanes[self.lanes[stream]];
        self.phases[stream] = match self.phases[stream] {
            Phase::Data(blocks, tail) if done < blocks.len() => Phase::Data(&blocks[done..], tail),
            Phase::Data(_, tail) => Phase::Tail(0, tail),
            Phase::Tail(from, to) if from + done < to => Phase::Tail(from + done, to),
            Phase::Tail(..) => {
                self.tails[stream]
                    .fill_outer(&engine.digest(&self.states[stream], const { &pad(E::WORDS) }), 4 * E::WORDS);
                self.states[stream] = *lane.key.outer();
                Phase::Outer
            }
            Phase::Outer => {
                let digest = engine.digest(&self.states[stream], &[0; 32]);
                lane.tag[..4 * E::WORDS].copy_from_slice(&digest.0[..4 * E::WORDS]);
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

/// The bit behind a digest of `words` words, where it is one of the first 32 bytes.
const fn pad(words: usize) -> [u8; 32] {
    let mut pad = [0; 32];
    if words < 8 {
        pad[4 * words] = 0x80;
    }
    pad
}

const IN_ORDER: [u8; BATCH] = {
    let mut places = [0; BATCH];
    let mut place = 0;
    while place < BATCH {
        places[place] = place as u8;
        place += 1;
    }
    places
};

/// The places of the lanes, by length of the message from long to short, as powers of two of blocks.
fn longest_first<'p>(lanes: &[MacLane<'_>], places: &'p mut [u8; BATCH]) -> &'p [u8] {
    const CLASSES: usize = 16;
    let class = |lane: &MacLane<'_>| {
        let bits = usize::BITS - (lane.data.len() / BLOCK).leading_zeros();
        CLASSES - 1 - (bits as usize).min(CLASSES - 1)
    };
    if let [first, others @ ..] = lanes
        && others.iter().all(|lane| class(lane) == class(first))
    {
        return &IN_ORDER[..lanes.len()];
    }
    let mut starts = [0u8; CLASSES];
    lanes.iter().for_each(|lane| starts[class(lane)] += 1);
    let mut sum = 0;
    for start in &mut starts {
        (*start, sum) = (sum, sum + *start);
    }
    for (place, lane) in (0..).zip(lanes) {
        let at = &mut starts[class(lane)];
        places[usize::from(*at)] = place;
        *at += 1;
    }
    &places[..lanes.len()]
}
