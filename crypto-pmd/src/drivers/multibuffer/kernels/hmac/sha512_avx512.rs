//! SHA-512 with AVX-512: eight messages side by side.

use std::arch::x86_64::*;

use super::sha512_constants::K;
use super::streams::{self, Digest, WIDE_BLOCK, WideState};
use super::{portable, sha512_avx2};

type V = __m512i;

/// Messages at once: words of a register.
pub(super) const STREAMS: usize = 8;

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident$(<$(const $n:ident: $int:ty),*>)?($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx2")]
        fn $name$(<$(const $n: $int),*>)?($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn zero() -> V { _mm512_setzero_si512() }
    fn splat(word: u64) -> V { _mm512_set1_epi64(word as i64) }
    fn add(a: V, b: V) -> V { _mm512_add_epi64(a, b) }
    fn xor(a: V, b: V) -> V { _mm512_xor_si512(a, b) }
    fn shift<const BY: u32>(v: V) -> V { _mm512_srli_epi64::<BY>(v) }
    fn xor3(a: V, b: V, c: V) -> V { _mm512_ternarylogic_epi64::<0x96>(a, b, c) }
    fn rotate<const BY: i32, const BACK: i32>(v: V) -> V { _mm512_ror_epi64::<BY>(v) }
    fn rotate_8(v: V) -> V { _mm512_ror_epi64::<8>(v) }
    fn choose(e: V, f: V, g: V) -> V { _mm512_ternarylogic_epi64::<0xca>(e, f, g) }
    fn majority(a: V, b: V, c: V, _ab: V, _bc: V) -> V { _mm512_ternarylogic_epi64::<0xe8>(a, b, c) }
    /// Words between bytes of memory and numbers.
    fn swap(v: V) -> V {
        let order = _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607);
        _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order))
    }
    /// Rows and columns exchanged: in pairs of words, then in pairs of quarters, then in halves.
    fn transposed(rows: [V; STREAMS]) -> [V; STREAMS] {
        let mut pairs = [zero(); STREAMS];
        for (to, rows) in pairs.as_chunks_mut().0.iter_mut().zip(rows.as_chunks().0) {
            let [a, b]: [V; 2] = *rows;
            *to = [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)];
        }
        // Of two rows: quarters 0 and 2 of the one and the other, or quarters 1 and 3.
        let even = |a: V, b: V| _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let odd = |a: V, b: V| _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        let mut columns = [zero(); STREAMS];
        for of_two in 0..2 {
            let [a, b, c, d] = [0, 2, 4, 6].map(|row| pairs[row + of_two]);
            let (low, high) = ([even(a, b), even(c, d)], [odd(a, b), odd(c, d)]);
            columns[of_two] = even(low[0], low[1]);
            columns[of_two + 2] = even(high[0], high[1]);
            columns[of_two + 4] = odd(low[0], low[1]);
            columns[of_two + 6] = odd(high[0], high[1]);
        }
        columns
    }
}

/// Messages from which on all places at once are faster than four.
const WORTH: usize = 4;

/// Compresses the blocks that all messages have; fewer than [`WORTH`] with AVX2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn few_or_all<const LEN: usize>(states: &mut [WideState], messages: &[&[[u8; WIDE_BLOCK]]]) -> usize {
    if messages.len() < WORTH {
        return sha512_avx2::few_or_all::<LEN>(states, messages);
    }
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    // SAFETY: `count` is that of the shortest message.
    unsafe { compress(states, messages, count) };
    count
}

engine!("avx512f,avx512bw,avx2");
