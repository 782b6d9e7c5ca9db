//! The kernel of [`Level::Avx2`](super::Level::Avx2): vectors of two blocks, VAES and VPCLMULQDQ.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::*;
use super::super::nonce::Nonce;
use super::{GcmKey, POWERS};

type V = __m256i;
/// Blocks in a vector.
const W: usize = 2;
/// Bytes in a vector.
const B: usize = 32;

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
        #[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn zero() -> V { _mm256_setzero_si256() }
    fn xor(a: V, b: V) -> V { _mm256_xor_si256(a, b) }
    fn reverse(v: V) -> V {
        _mm256_shuffle_epi8(v, splat(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)))
    }
    /// A block in every lane.
    fn splat(block: __m128i) -> V { _mm256_broadcastsi128_si256(block) }
    /// A block in the lowest lane, zeros in the others.
    fn wide(block: __m128i) -> V { _mm256_zextsi128_si256(block) }
    fn low_lane(v: V) -> __m128i { _mm256_castsi256_si128(v) }
    fn join(low: __m128i, high: __m128i) -> V { _mm256_set_m128i(high, low) }
    fn add_lanes(v: V) -> __m128i { _mm_xor_si128(low_lane(v), _mm256_extracti128_si256::<1>(v)) }
    /// Counters (byte-reversed) that follow each other, from the one given.
    fn lanes(first: __m128i) -> V {
        _mm256_add_epi32(splat(first), _mm256_set_epi32(0, 0, 0, 1, 0, 0, 0, 0))
    }
    fn count(counters: V, by: i32) -> V {
        _mm256_add_epi32(counters, _mm256_set_epi32(0, 0, 0, by, 0, 0, 0, by))
    }
    fn encrypt(state: V, key: V) -> V { _mm256_aesenc_epi128(state, key) }
    fn encrypt_last(state: V, key: V) -> V { _mm256_aesenclast_epi128(state, key) }
    fn multiply_low(a: V, b: V) -> V { _mm256_clmulepi64_epi128::<0x00>(a, b) }
    fn multiply_high(a: V, b: V) -> V { _mm256_clmulepi64_epi128::<0x11>(a, b) }
    fn swap_halves(v: V) -> V { _mm256_shuffle_epi32::<0b01_00_11_10>(v) }
    /// The sum of both halves, in both halves.
    fn fold(v: V) -> V { xor(v, swap_halves(v)) }
    /// The low half, moved to the high one.
    fn left_half(v: V) -> V { _mm256_slli_si256::<8>(v) }
    /// The high half, moved to the low one.
    fn right_half(v: V) -> V { _mm256_srli_si256::<8>(v) }
    /// The high half of the polynomial, which is all that a reduction multiplies by.
    fn polynomial() -> V { _mm256_set1_epi64x(0xc200_0000_0000_0000_u64 as i64) }
    /// Both blocks of a vector are of one kind.
    fn half_and_half(_this: V, next: V) -> V { next }
    /// The tail and the lengths come last.
    fn end(key: &GcmKey, sum: Sum, tail: __m128i, lengths: __m128i) -> Sum {
        match powers_from(key, 2) {
            ([power], [halves]) => multiply(sum, join(tail, lengths), load(power), load(halves)),
            _ => sum,
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; B]) -> V {
    // SAFETY: 32 bytes are there, and this load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; B], v: V) {
    // SAFETY: 32 bytes are there, and this store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), v) }
}

/// Two blocks of AES, side by side.
#[inline]
#[target_feature(enable = "aes,avx2,vaes,vpclmulqdq")]
fn two_blocks<const ROUNDS: usize>(keys: &[[u8; 16]; 15], a: __m128i, b: __m128i) -> (__m128i, __m128i) {
    let mut state = xor(join(a, b), splat(load_block(&keys[0])));
    for key in &keys[1..ROUNDS] {
        state = encrypt(state, splat(load_block(key)));
    }
    state = encrypt_last(state, splat(load_block(&keys[ROUNDS])));
    (low_lane(state), _mm256_extracti128_si256::<1>(state))
}

/// Blocks that make no whole vector.
const fn odd_blocks(left: usize) -> usize {
    left % 2
}

/// Encrypts or decrypts the odd block, and hashes it with what was hashed before; their powers are those of `at`.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
fn odd_sum<const SEAL: bool, const ROUNDS: usize>(
    key: &GcmKey,
    bytes: &mut [u8],
    counters: V,
    hash: __m128i,
    at: [usize; 2],
) -> Sum {
    let mut text = _mm_setzero_si128();
    if let Some(bytes) = bytes.first_chunk_mut() {
        let before = load_block(bytes);
        let stream = one_block::<ROUNDS>(key.aes.keys(), low_lane(reverse(counters)));
        let after = _mm_xor_si128(before, stream);
        store_block(bytes, after);
        text = reverse_block(if SEAL { after } else { before });
    }
    let [powers, sums] = [at.map(|at| power(key, at)), at.map(|at| halves(key, at))];
    first_product(join(hash, text), join(powers[0], powers[1]), join(sums[0], sums[1]))
}

kernel!("aes,pclmulqdq,avx2,vaes,vpclmulqdq", ymm_reg);
