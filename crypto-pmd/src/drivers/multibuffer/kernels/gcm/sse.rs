//! The kernel of [`Level::Sse`](super::Level::Sse): vectors of one block, AES-NI and PCLMULQDQ; and the powers of H.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::*;
use super::super::nonce::Nonce;
use super::{GcmKey, POWERS, Powers, RoundKeys};

type V = __m128i;
/// Blocks in a vector.
const W: usize = 1;
/// Bytes in a vector.
const B: usize = 16;

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
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn zero() -> V { _mm_setzero_si128() }
    fn load(bytes: &[u8; B]) -> V { load_block(bytes) }
    fn xor(a: V, b: V) -> V { _mm_xor_si128(a, b) }
    fn reverse(v: V) -> V { reverse_block(v) }
    /// A block in every lane.
    fn splat(block: __m128i) -> V { block }
    /// A block in the lowest lane, zeros in the others.
    fn wide(block: __m128i) -> V { block }
    fn add_lanes(v: V) -> __m128i { v }
    /// Counters (byte-reversed) that follow each other, from the one given.
    fn lanes(first: __m128i) -> V { first }
    fn count(counters: V, by: i32) -> V { _mm_add_epi32(counters, _mm_set_epi32(0, 0, 0, by)) }
    fn encrypt(state: V, key: V) -> V { _mm_aesenc_si128(state, key) }
    fn encrypt_last(state: V, key: V) -> V { _mm_aesenclast_si128(state, key) }
    fn multiply_low(a: V, b: V) -> V { _mm_clmulepi64_si128::<0x00>(a, b) }
    fn multiply_high(a: V, b: V) -> V { _mm_clmulepi64_si128::<0x11>(a, b) }
    fn swap_halves(v: V) -> V { _mm_shuffle_epi32::<0b01_00_11_10>(v) }
    /// The sum of both halves, in both halves.
    fn fold(v: V) -> V { xor(v, swap_halves(v)) }
    /// The low half, moved to the high one.
    fn left_half(v: V) -> V { _mm_slli_si128::<8>(v) }
    /// The high half, moved to the low one.
    fn right_half(v: V) -> V { _mm_srli_si128::<8>(v) }
    /// The high half of the polynomial, which is all that a reduction multiplies by.
    fn polynomial() -> V { _mm_set1_epi64x(0xc200_0000_0000_0000_u64 as i64) }
    /// Vectors of one block are of one kind.
    fn half_and_half(_this: V, next: V) -> V { next }
    /// The tail and the lengths come last.
    fn end(key: &GcmKey, sum: Sum, tail: __m128i, lengths: __m128i) -> Sum {
        let sum = multiply(sum, tail, power(key, 2), halves(key, 2));
        multiply(sum, lengths, power(key, 1), halves(key, 1))
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(bytes: &mut [u8; B], v: V) {
    store_block(bytes, v);
}

/// Two blocks of AES.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn two_blocks<const ROUNDS: usize>(keys: &[[u8; 16]; 15], a: V, b: V) -> (V, V) {
    (one_block::<ROUNDS>(keys, a), one_block::<ROUNDS>(keys, b))
}

/// Blocks that make no whole vector: none.
const fn odd_blocks(_left: usize) -> usize {
    0
}

/// Not used where there are no odd blocks.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn odd_sum<const SEAL: bool, const ROUNDS: usize>(
    key: &GcmKey,
    _bytes: &mut [u8],
    _counters: V,
    hash: __m128i,
    [at, _]: [usize; 2],
) -> Sum {
    first_product(hash, power(key, at), halves(key, at))
}

kernel!("aes,pclmulqdq,ssse3,sse4.1", xmm_reg);

/// Computes the powers of H, the encryption of zeros.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn powers(aes: &RoundKeys, to: &mut Powers) {
    let h = match aes.rounds() {
        10 => one_block::<10>(aes.keys(), zero()),
        12 => one_block::<12>(aes.keys(), zero()),
        _ => one_block::<14>(aes.keys(), zero()),
    };
    // Times x: a shift, and the polynomial where a bit falls out.
    let h = reverse(h);
    let shifted = _mm_or_si128(_mm_add_epi64(h, h), left_half(_mm_srli_epi64::<63>(h)));
    let out = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0xff>(h));
    let h = xor(shifted, _mm_and_si128(out, _mm_set_epi64x(0xc200_0000_0000_0000_u64 as i64, 1)));
    let mut power = h;
    for (to, halves) in to.power.iter_mut().zip(&mut to.sum).rev() {
        store(to, power);
        store(halves, fold(power));
        power = reduce(multiply(nothing(), power, h, fold(h)));
    }
}
