//! SHA-512 with AVX2: four messages side by side.

use std::arch::x86_64::*;

use super::portable;
use super::sha512_constants::K;
use super::streams::{self, Digest, Engine as _, WIDE_BLOCK, WideState};

type V = __m256i;

/// Messages at once: words of a register.
pub(super) const STREAMS: usize = 4;

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident$(<$(const $n:ident: i32),*>)?($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $name$(<$(const $n: i32),*>)?($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn zero() -> V { _mm256_setzero_si256() }
    fn splat(word: u64) -> V { _mm256_set1_epi64x(word as i64) }
    fn add(a: V, b: V) -> V { _mm256_add_epi64(a, b) }
    fn xor(a: V, b: V) -> V { _mm256_xor_si256(a, b) }
    fn xor3(a: V, b: V, c: V) -> V { xor(xor(a, b), c) }
    /// Words shifted to the right by `BY`, to the left by `BACK`, which together are 64.
    fn rotate<const BY: i32, const BACK: i32>(v: V) -> V {
        _mm256_or_si256(_mm256_srli_epi64::<BY>(v), _mm256_slli_epi64::<BACK>(v))
    }
    fn rotate_8(v: V) -> V {
        _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_set_epi64x(0x080f0e0d0c0b0a09, 0x0007060504030201)))
    }
    fn shift<const BY: i32>(v: V) -> V { _mm256_srli_epi64::<BY>(v) }
    fn choose(e: V, f: V, g: V) -> V { xor(_mm256_and_si256(xor(f, g), e), g) }
    /// B, but C where A is not B and B is not C.
    fn majority(_a: V, b: V, _c: V, ab: V, bc: V) -> V { xor(_mm256_and_si256(ab, bc), b) }
    /// Words between bytes of memory and numbers.
    fn swap(v: V) -> V {
        _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607)))
    }
    /// Rows and columns exchanged.
    fn transposed(rows: [V; STREAMS]) -> [V; STREAMS] {
        let [a, b, c, d] = rows;
        let (low_ab, high_ab) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let (low_cd, high_cd) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
        [
            _mm256_permute2x128_si256::<0x20>(low_ab, low_cd),
            _mm256_permute2x128_si256::<0x20>(high_ab, high_cd),
            _mm256_permute2x128_si256::<0x31>(low_ab, low_cd),
            _mm256_permute2x128_si256::<0x31>(high_ab, high_cd),
        ]
    }
}

/// Compresses the blocks that all messages have; one message alone is done by the crate `sha2`, since all places take longer than one block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn few_or_all<const LEN: usize>(
    states: &mut [WideState],
    messages: &[&[[u8; WIDE_BLOCK]]],
) -> usize {
    if messages.len() < 2 {
        return portable::Sha512::<LEN>.compress(states, messages);
    }
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    // SAFETY: `count` is that of the shortest message.
    unsafe { compress(states, messages, count) };
    count
}

engine!("avx2");
