//! The kernel of [`Level::Avx512`](super::Level::Avx512): sixteen blocks at once.

use std::arch::x86_64::*;

use super::Lane;
use super::blocks::{BLOCK, Block, CONSTANTS, Cursor, IN_ORDER, Rows, load, xor_part};
use super::mac::Macs;

type V = __m512i;
/// Blocks in a vector.
const W: usize = 16;
/// Chains of Poly1305 at once.
const STREAMS: usize = 4;

/// Blocks of each of them in a step.
const AT_ONCE: usize = 2;

/// Steps for tags behind a double round.
const fn steps(_round: usize) -> usize {
    1
}

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn splat(word: u32) -> V { _mm512_set1_epi32(word as i32) }
    fn add(a: V, b: V) -> V { _mm512_add_epi32(a, b) }
    fn xor(a: V, b: V) -> V { _mm512_xor_si512(a, b) }
    fn rotate_16(v: V) -> V { _mm512_rol_epi32::<16>(v) }
    fn rotate_12(v: V) -> V { _mm512_rol_epi32::<12>(v) }
    fn rotate_8(v: V) -> V { _mm512_rol_epi32::<8>(v) }
    fn rotate_7(v: V) -> V { _mm512_rol_epi32::<7>(v) }
    fn words_low(a: V, b: V) -> V { _mm512_unpacklo_epi32(a, b) }
    fn words_high(a: V, b: V) -> V { _mm512_unpackhi_epi32(a, b) }
    fn pairs_low(a: V, b: V) -> V { _mm512_unpacklo_epi64(a, b) }
    fn pairs_high(a: V, b: V) -> V { _mm512_unpackhi_epi64(a, b) }
    fn join(parts: [__m128i; 4]) -> V {
        let low = _mm512_zextsi256_si512(_mm256_set_m128i(parts[1], parts[0]));
        _mm512_inserti64x4::<1>(low, _mm256_set_m128i(parts[3], parts[2]))
    }
    /// Lanes 0 and 2 of both.
    fn even_lanes(a: V, b: V) -> V { _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b) }
    /// Lanes 1 and 3 of both.
    fn odd_lanes(a: V, b: V) -> V { _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b) }
}

/// Writes every fourth row from `number` on, of which the vectors hold a quarter each.
#[inline]
#[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn write_rows([a, b, c, d]: [V; 4], number: usize, rows: &mut [[u8; BLOCK]; W]) {
    let (even_low, odd_low) = (even_lanes(a, b), odd_lanes(a, b));
    let (even_high, odd_high) = (even_lanes(c, d), odd_lanes(c, d));
    store(&mut rows[number], even_lanes(even_low, even_high));
    store(&mut rows[number + 4], even_lanes(odd_low, odd_high));
    store(&mut rows[number + 8], odd_lanes(even_low, even_high));
    store(&mut rows[number + 12], odd_lanes(odd_low, odd_high));
}

/// Exclusive-or of a block into data.
#[inline]
#[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn xor_block(data: &mut [u8; BLOCK], row: &[u8; BLOCK]) {
    // SAFETY: 64 bytes are there on both sides, and these loads need no alignment.
    let block =
        unsafe { xor(_mm512_loadu_si512(data.as_ptr().cast()), _mm512_loadu_si512(row.as_ptr().cast())) };
    store(data, block);
}

#[inline]
#[target_feature(enable = "avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn store(row: &mut [u8; BLOCK], block: V) {
    // SAFETY: 64 bytes are there, and this store needs no alignment.
    unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), block) };
}

double_round!("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl");
kernel!("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl");
