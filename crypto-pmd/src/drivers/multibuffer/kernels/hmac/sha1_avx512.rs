//! SHA-1 with AVX-512: sixteen messages side by side, one in each place of a register, so that a register holds one word of all of them.
//!
//! States and blocks lie in memory as they are, and change between rows and columns on the way in and out. When too few messages are left
//! to pay for sixteen, the SHA extensions do them four at a time.

use std::arch::x86_64::*;

use super::sha1_sse;
use super::streams::{self, BLOCK, Digest, State};

/// Messages at once.
pub(super) const STREAMS: usize = 16;

/// Messages from which on sixteen at once are faster than four at a time.
pub(super) const WORTH: usize = 8;

/// Says that the processor has what this file uses.
#[derive(Clone, Copy)]
pub(super) struct Engine(sha1_sse::Engine);

impl Engine {
    /// # Safety
    /// The processor has AVX-512 F and BW, SSSE3, SSE4.1 and the SHA extensions.
    pub(super) unsafe fn new() -> Self {
        // SAFETY: passed on from the caller.
        Self(unsafe { sha1_sse::Engine::new() })
    }
}

impl streams::Engine<BLOCK, 32> for Engine {
    const LEN: usize = 20;
    type State = State;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
        if messages.len() >= WORTH {
            // SAFETY: who made the engine promised the instructions; `count` is that of the shortest message.
            unsafe { compress(states, messages, count) };
        } else {
            let groups = states.chunks_mut(sha1_sse::STREAMS).zip(messages.chunks(sha1_sse::STREAMS));
            for (states, messages) in groups {
                let mut equal: [&[[u8; BLOCK]]; sha1_sse::STREAMS] = [&[]; sha1_sse::STREAMS];
                equal.iter_mut().zip(messages).for_each(|(to, message)| *to = &message[..count]);
                self.0.compress(states, &equal[..messages.len()]);
            }
        }
        count
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest<32> {
        self.0.digest(state, pad)
    }
}

/// Truth tables of the functions of three words (FIPS 180-4 section 4.1.1), for `vpternlogd`.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// The constants of twenty rounds each (FIPS 180-4 section 4.2.1).
const K: [u32; 4] = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];

/// One round, and from the sixteenth on the message word that it adds, in the place of the one sixteen rounds before.
macro_rules! round {
    ($a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $w:ident, $round:expr, $k:ident, $function:ident) => {
        if $round >= 16 {
            let near = _mm512_xor_si512($w[($round + 13) % 16], $w[($round + 8) % 16]);
            let word = _mm512_ternarylogic_epi32::<PARITY>(near, $w[($round + 2) % 16], $w[$round % 16]);
            $w[$round % 16] = _mm512_rol_epi32::<1>(word);
        }
        let sum = _mm512_add_epi32(_mm512_add_epi32($e, $k), $w[$round % 16]);
        let sum = _mm512_add_epi32(sum, _mm512_ternarylogic_epi32::<$function>($b, $c, $d));
        $e = _mm512_add_epi32(sum, _mm512_rol_epi32::<5>($a));
        $b = _mm512_rol_epi32::<30>($b);
    };
}

/// Five rounds, after which every word is in its place again.
macro_rules! five {
    ($state:ident, $w:ident, $first:literal, $k:literal, $function:ident) => {
        let k = _mm512_set1_epi32(K[$k] as i32);
        let [mut a, mut b, mut c, mut d, mut e] = $state;
        round!(a, b, c, d, e, $w, $first, k, $function);
        round!(e, a, b, c, d, $w, $first + 1, k, $function);
        round!(d, e, a, b, c, $w, $first + 2, k, $function);
        round!(c, d, e, a, b, $w, $first + 3, k, $function);
        round!(b, c, d, e, a, $w, $first + 4, k, $function);
        $state = [a, b, c, d, e];
    };
}

/// Compresses `count` blocks of each message, of which there are one to sixteen.
///
/// # Safety
/// Every message has so many blocks.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn compress(states: &mut [State], messages: &[&[[u8; BLOCK]]], count: usize) {
    let ([state, ..], [message, ..], 1..=STREAMS) = (&*states, messages, states.len()) else { return };
    // Places without a message do the first one once more, and nobody looks at what becomes of it.
    let mut rows: [*const u8; STREAMS] = [state.0.as_ptr().cast(); STREAMS];
    rows.iter_mut().zip(&*states).for_each(|(to, state)| *to = state.0.as_ptr().cast());
    let mut at: [*const u8; STREAMS] = [message.as_ptr().cast(); STREAMS];
    at.iter_mut().zip(messages).for_each(|(to, message)| *to = message.as_ptr().cast());
    let swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));

    // SAFETY: a state is 32 bytes.
    let [[a, b, c, d], [e, ..]] = unsafe { [columns(rows, 0), columns(rows, 16)] };
    let mut state = [a, b, c, d, e];
    for _ in 0..count {
        // SAFETY: there are `count` blocks of 64 bytes from where each message begins, and this is one of them.
        let words = unsafe { [columns(at, 0), columns(at, 16), columns(at, 32), columns(at, 48)] };
        let mut w = [_mm512_setzero_si512(); 16];
        for (to, word) in w.iter_mut().zip(words.as_flattened()) {
            *to = _mm512_shuffle_epi8(*word, swap);
        }
        at = at.map(|at| at.wrapping_add(BLOCK));
        let before = state;
        five!(state, w, 0, 0, CHOOSE);
        five!(state, w, 5, 0, CHOOSE);
        five!(state, w, 10, 0, CHOOSE);
        five!(state, w, 15, 0, CHOOSE);
        five!(state, w, 20, 1, PARITY);
        five!(state, w, 25, 1, PARITY);
        five!(state, w, 30, 1, PARITY);
        five!(state, w, 35, 1, PARITY);
        five!(state, w, 40, 2, MAJORITY);
        five!(state, w, 45, 2, MAJORITY);
        five!(state, w, 50, 2, MAJORITY);
        five!(state, w, 55, 2, MAJORITY);
        five!(state, w, 60, 3, PARITY);
        five!(state, w, 65, 3, PARITY);
        five!(state, w, 70, 3, PARITY);
        five!(state, w, 75, 3, PARITY);
        for (word, before) in state.iter_mut().zip(before) {
            *word = _mm512_add_epi32(*word, before);
        }
    }
    let [a, b, c, d, e] = state;
    let zero = _mm512_setzero_si512();
    let halves = [transposed([a, b, c, d]), transposed([e, zero, zero, zero])];
    for (half, rows_of_half) in halves.iter().enumerate() {
        for (row, state) in states.iter_mut().enumerate() {
            // SAFETY: a state is 32 bytes, this is the first or second half, and a quarter of a register is 16 bytes.
            unsafe {
                let from = (&raw const rows_of_half[row % 4]).cast::<__m128i>().add(row / 4);
                state.0.as_mut_ptr().cast::<__m128i>().add(half).write(from.read());
            }
        }
    }
}

/// Four words of each row, `offset` bytes behind its start, as columns: a register holds one word of every row.
///
/// # Safety
/// There are 16 bytes to be read in every row.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn columns(rows: [*const u8; STREAMS], offset: usize) -> [__m512i; 4] {
    let mut quads = [_mm512_setzero_si512(); 4];
    for (row, quad) in quads.iter_mut().enumerate() {
        // SAFETY: passed on from the caller.
        let part = |quarter: usize| unsafe { _mm_loadu_si128(rows[row + 4 * quarter].add(offset).cast()) };
        let part = [part(0), part(1), part(2), part(3)];
        *quad = _mm512_castsi128_si512(part[0]);
        *quad = _mm512_inserti32x4::<1>(*quad, part[1]);
        *quad = _mm512_inserti32x4::<2>(*quad, part[2]);
        *quad = _mm512_inserti32x4::<3>(*quad, part[3]);
    }
    transposed(quads)
}

/// Rows and columns exchanged in each quarter of four registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (low_ab, high_ab) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low_cd, high_cd) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low_ab, low_cd),
        _mm512_unpackhi_epi64(low_ab, low_cd),
        _mm512_unpacklo_epi64(high_ab, high_cd),
        _mm512_unpackhi_epi64(high_ab, high_cd),
    ]
}
