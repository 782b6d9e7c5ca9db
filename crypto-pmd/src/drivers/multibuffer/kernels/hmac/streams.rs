//! Keeps an engine busy: as many packets at once as it has streams, the next one as soon as one is finished.
//!
//! A stream is a packet on its way: blocks of its data, then those of its tail, then the block of the outer hash. The engine takes as
//! many blocks of every stream as the one with the fewest has. Long packets go first, so that no long one is left alone at the end.

use super::MacLane;
use super::key::{Hash, HmacKey};
use super::tail::Tail;

/// Bytes of a block of SHA-1 and SHA-256.
pub(super) const BLOCK: usize = 64;

/// Bytes of a block of SHA-384 and SHA-512.
pub(super) const WIDE_BLOCK: usize = 128;

/// Packets that are put in order at a time.
const BATCH: usize = 64;

/// The words of a state, A first; SHA-1 has five, and zeros behind.
#[repr(align(32))]
#[derive(Clone, Copy)]
pub(super) struct State(pub(super) [u32; 8]);

/// The words of a state of SHA-384 or SHA-512.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(super) struct WideState(pub(super) [u64; 8]);

/// What is kept of a message between two blocks.
pub(super) trait Between: Copy {
    const ZERO: Self;
    /// Behind the key's block of the inner hash; zeros where the key was made for another kind of hash.
    fn inner(key: &HmacKey) -> Self;
    /// Behind the key's block of the outer hash.
    fn outer(key: &HmacKey) -> Self;
}

impl Between for State {
    const ZERO: Self = Self([0; 8]);
    #[inline]
    fn inner(key: &HmacKey) -> Self {
        key.inner()
    }
    #[inline]
    fn outer(key: &HmacKey) -> Self {
        key.outer()
    }
}

impl Between for WideState {
    const ZERO: Self = Self([0; 8]);
    #[inline]
    fn inner(key: &HmacKey) -> Self {
        key.wide_inner()
    }
    #[inline]
    fn outer(key: &HmacKey) -> Self {
        key.wide_outer()
    }
}

/// A digest, and what follows it in the outer hash up to half a block.
#[repr(align(32))]
#[derive(Clone, Copy)]
pub(super) struct Digest<const HALF: usize>(pub(super) [u8; HALF]);

/// The state before the first block (FIPS 180-4 section 5.3); of hashes with 32-bit words.
pub(super) fn initial(hash: Hash) -> State {
    State(match hash {
        Hash::Sha1 => [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0, 0, 0, 0],
        _ => [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
    })
}

/// The same for hashes with 64-bit words.
pub(super) fn wide_initial(hash: Hash) -> WideState {
    WideState(match hash {
        Hash::Sha384 => [
            0xcbbb9d5dc1059ed8,
            0x629a292a367cd507,
            0x9159015a3070dd17,
            0x152fecd8f70e5939,
            0x67332667ffc00b31,
            0x8eb44a8768581511,
            0xdb0c2e0d64f98fa7,
            0x47b5481dbefa4fa4,
        ],
        _ => [
            0x6a09e667f3bcc908,
            0xbb67ae8584caa73b,
            0x3c6ef372fe94f82b,
            0xa54ff53a5f1d36f1,
            0x510e527fade682d1,
            0x9b05688c2b3e6c1f,
            0x1f83d9abfb41bd6b,
            0x5be0cd19137e2179,
        ],
    })
}

/// Compresses blocks of several messages at once. A block has `B` bytes, half a block `HALF`.
pub(super) trait Engine<const B: usize, const HALF: usize>: Copy {
    /// Bytes of a digest.
    const LEN: usize;

    type State: Between;

    /// Compresses the first blocks of each message into its state, as many as the shortest has; gives their number. Message and state of a
    /// stream have the same place; there are as many as [`run`] was told, or fewer.
    fn compress(self, states: &mut [Self::State], messages: &[&[[u8; B]]]) -> usize;

    /// The words of a digest as bytes, with those of `pad` on them; zeros behind the digest.
    fn digest(self, state: &Self::State, pad: &[u8; HALF]) -> Digest<HALF>;
}

/// Where a packet is.
#[derive(Clone, Copy)]
enum Phase<'a, const B: usize> {
    /// These blocks of its data remain, and that many of its tail.
    Data(&'a [[u8; B]], usize),
    /// These blocks of its tail remain.
    Tail(usize, usize),
    /// The outer hash remains.
    Outer,
}

/// The packets on their way; those in front are busy.
struct Streams<'a, S, const N: usize, const B: usize> {
    states: [S; N],
    tails: [Tail<B>; N],
    phases: [Phase<'a, B>; N],
    lanes: [usize; N],
}

/// Makes the tag of every lane, with `N` packets at once.
pub(super) fn run<const N: usize, const B: usize, const HALF: usize>(
    engine: impl Engine<B, HALF>,
    lanes: &mut [MacLane<'_>],
) {
    for batch in lanes.chunks_mut(BATCH) {
        run_batch::<N, B, HALF, _>(engine, batch);
    }
}

fn run_batch<const N: usize, const B: usize, const HALF: usize, E: Engine<B, HALF>>(
    engine: E,
    lanes: &mut [MacLane<'_>],
) {
    let mut places = [0; BATCH];
    let mut order = longest_first::<B>(lanes, &mut places).iter();
    let mut streams = Streams::<'_, E::State, N, B> {
        states: [E::State::ZERO; N],
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

impl<'a, S: Between, const N: usize, const B: usize> Streams<'a, S, N, B> {
    fn begin(&mut self, stream: usize, lane: usize, lanes: &[MacLane<'a>]) {
        let MacLane { key, data, extra, .. } = &lanes[lane];
        let (data, extra): (&'a [u8], _) = (data, *extra);
        self.states[stream] = S::inner(key);
        self.lanes[stream] = lane;
        let (blocks, tail) = self.tails[stream].fill(data, extra);
        self.phases[stream] =
            if blocks.is_empty() { Phase::Tail(0, tail) } else { Phase::Data(blocks, tail) };
    }

    fn compress<const HALF: usize, E>(&mut self, engine: E, busy: usize) -> usize
    where
        E: Engine<B, HALF, State = S>,
    {
        let mut messages: [&[[u8; B]]; N] = [&[]; N];
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
    fn advance<const HALF: usize, E>(
        &mut self,
        engine: E,
        stream: usize,
        done: usize,
        lanes: &mut [MacLane<'a>],
    ) -> bool
    where
        E: Engine<B, HALF, State = S>,
    {
        let lane = &mut lanes[self.lanes[stream]];
        self.phases[stream] = match self.phases[stream] {
            Phase::Data(blocks, tail) if done < blocks.len() => Phase::Data(&blocks[done..], tail),
            Phase::Data(_, tail) => Phase::Tail(0, tail),
            Phase::Tail(from, to) if from + done < to => Phase::Tail(from + done, to),
            Phase::Tail(..) => {
                let digest = engine.digest(&self.states[stream], const { &pad(E::LEN) });
                self.tails[stream].fill_outer(&digest, E::LEN);
                self.states[stream] = S::outer(lane.key);
                Phase::Outer
            }
            Phase::Outer => {
                let digest = engine.digest(&self.states[stream], &[0; HALF]);
                lane.tag.take(&digest.0[..E::LEN]);
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

/// The bit behind a digest of `len` bytes, where it is in the first half of a block.
const fn pad<const HALF: usize>(len: usize) -> [u8; HALF] {
    let mut pad = [0; HALF];
    if len < HALF {
        pad[len] = 0x80;
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
fn longest_first<'p, const B: usize>(lanes: &[MacLane<'_>], places: &'p mut [u8; BATCH]) -> &'p [u8] {
    const CLASSES: usize = 16;
    let class = |lane: &MacLane<'_>| {
        let bits = usize::BITS - (lane.data.len() / B).leading_zeros();
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
