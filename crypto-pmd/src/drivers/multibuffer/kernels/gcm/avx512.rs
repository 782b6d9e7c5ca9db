//! The kernel of [`Level::Avx512`](super::Level::Avx512): vectors of four blocks, VAES and VPCLMULQDQ.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::*;
use super::super::nonce::Nonce;
use super::{GcmKey, POWERS};

type V = __m512i;
/// Blocks in a vector.
const W: usize = 4;
/// Bytes in a vector.
const B: usize = 64;

/// Products, not yet reduced: the low halves', the high halves', and Karatsuba's.
#[derive(Clone, Copy)]
struct Sum {
    low: V,
    middle: V,
    high: V,
}

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn zero() -> V { _mm512_setzero_si512() }
    fn xor(a: V, b: V) -> V { _mm512_xor_si512(a, b) }
    fn reverse(v: V) -> V {
        _mm512_shuffle_epi8(v, splat(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)))
    }
    /// A block in every lane.
    fn splat(block: __m128i) -> V { _mm512_broadcast_i32x4(block) }
    /// A block in the lowest lane, zeros in the others.
    fn wide(block: __m128i) -> V { _mm512_zextsi128_si512(block) }
    fn add_lanes(v: V) -> __m128i {
        let v = _mm256_xor_si256(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
        _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
    }
    /// Counters (byte-reversed) that follow each other, from the one given.
    fn lanes(first: __m128i) -> V {
        _mm512_add_epi32(splat(first), _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0))
    }
    fn count(counters: V, by: i32) -> V {
        _mm512_add_epi32(counters, splat(_mm_set_epi32(0, 0, 0, by)))
    }
    fn encrypt(state: V, key: V) -> V { _mm512_aesenc_epi128(state, key) }
    fn encrypt_last(state: V, key: V) -> V { _mm512_aesenclast_epi128(state, key) }
    fn multiply_low(a: V, b: V) -> V { _mm512_clmulepi64_epi128::<0x00>(a, b) }
    fn multiply_high(a: V, b: V) -> V { _mm512_clmulepi64_epi128::<0x11>(a, b) }
    fn swap_halves(v: V) -> V { _mm512_shuffle_epi32::<0b01_00_11_10>(v) }
    /// The sum of both halves, in both halves.
    fn fold(v: V) -> V { xor(v, swap_halves(v)) }
    /// The low half, moved to the high one.
    fn left_half(v: V) -> V { _mm512_bslli_epi128::<8>(v) }
    /// The high half, moved to the low one.
    fn right_half(v: V) -> V { _mm512_bsrli_epi128::<8>(v) }
    /// The high half of the polynomial, which is all that a reduction multiplies by.
    fn polynomial() -> V { _mm512_set1_epi64(0xc200_0000_0000_0000_u64 as i64) }
    /// Two blocks of the first, two of the second.
    fn half_and_half(this: V, next: V) -> V { _mm512_mask_blend_epi64(0b1111_0000, this, next) }
    /// The tail and the lengths come last.
    fn end(key: &GcmKey, sum: Sum, tail: __m128i, lengths: __m128i) -> Sum {
        let powers = _mm256_set_m128i(power(key, 1), power(key, 2));
        let sums = _mm256_set_m128i(halves(key, 1), halves(key, 2));
        let x = _mm512_zextsi256_si512(_mm256_set_m128i(lengths, tail));
        multiply(sum, x, _mm512_zextsi256_si512(powers), _mm512_zextsi256_si512(sums))
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; B]) -> V {
    // SAFETY: 64 bytes are there, and this load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; B], v: V) {
    // SAFETY: 64 bytes are there, and this store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), v) }
}

/// Two blocks of AES, side by side.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl")]
fn two_blocks<const ROUNDS: usize>(keys: &[[u8; 16]; 15], a: __m128i, b: __m128i) -> (__m128i, __m128i) {
    let splat = |i: usize| _mm256_broadcastsi128_si256(load_block(&keys[i]));
    let mut state = _mm256_xor_si256(_mm256_set_m128i(b, a), splat(0));
    for i in 1..ROUNDS {
        state = _mm256_aesenc_epi128(state, splat(i));
    }
    state = _mm256_aesenclast_epi128(state, splat(ROUNDS));
    (_mm256_castsi256_si128(state), _mm256_extracti128_si256::<1>(state))
}

/// Blocks that make no whole vector.
const fn odd_blocks(left: usize) -> usize {
    left % 4
}

/// Encrypts or decrypts one to three odd blocks, and hashes them with what was hashed before, whose power is `hash_at`; theirs begin
/// with `at`, which is at least 3.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl")]
fn odd_sum<const SEAL: bool, const ROUNDS: usize>(
    key: &GcmKey,
    bytes: &mut [u8],
    counters: V,
    hash: __m128i,
    [hash_at, at]: [usize; 2],
) -> Sum {
    let keys = key.aes.keys();
    // Two words of 64 bits for each block.
    let mask = !(u8::MAX << (bytes.len() / 8).min(6));
    // SAFETY: the mask lets no byte behind the slice be read.
    let before = unsafe { _mm512_maskz_loadu_epi64(mask, bytes.as_ptr().cast()) };
    let mut state = xor(reverse(counters), splat(load_block(&keys[0])));
    for round_key in &keys[1..ROUNDS] {
        state = encrypt(state, splat(load_block(round_key)));
    }
    let after = encrypt_last(state, xor(before, splat(load_block(&keys[ROUNDS]))));
    // SAFETY: the mask lets no byte behind the slice be written.
    unsafe { _mm512_mask_storeu_epi64(bytes.as_mut_ptr().cast(), mask, after) };
    let text = _mm512_maskz_mov_epi64(mask, if SEAL { after } else { before });
    // One lane up, with what was hashed before below.
    let x = _mm512_inserti32x4::<0>(_mm512_alignr_epi64::<6>(reverse(text), zero()), hash);
    match powers_from(key, at + 1) {
        ([powers, ..], [sums, ..]) => first_product(
            x,
            _mm512_inserti32x4::<0>(load(powers), power(key, hash_at)),
            _mm512_inserti32x4::<0>(load(sums), halves(key, hash_at)),
        ),
        _ => nothing(),
    }
}

kernel!("aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw,avx512dq,avx512vl", zmm_reg);
