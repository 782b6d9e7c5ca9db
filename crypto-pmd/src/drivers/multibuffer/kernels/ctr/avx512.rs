//! With VAES on 512 bits: thirty-two blocks at once, four in a register, the last of which may be in part.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::{fresh, load_block as load};
use super::BLOCK;
use super::sse::number;
use crate::drivers::multibuffer::kernels::aes_key::RoundKeys;

/// Bytes of a register.
const QUAD: usize = 4 * BLOCK;

/// Encrypts or decrypts `data` in place, without a carry out of the lowest 32 bits of `counter`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
pub(super) fn run(keys: &RoundKeys, counter: u128, data: &mut [u8]) {
    match keys.rounds() {
        10 => rounds::<10>(keys.keys(), counter, data),
        12 => rounds::<12>(keys.keys(), counter, data),
        _ => rounds::<14>(keys.keys(), counter, data),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn rounds<const ROUNDS: usize>(keys: &[[u8; BLOCK]; 15], counter: u128, data: &mut [u8]) {
    let numbers = _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0);
    let mut counter = _mm512_add_epi32(_mm512_broadcast_i32x4(number(counter)), numbers);
    let (groups, mut rest) = data.as_chunks_mut::<{ 8 * QUAD }>();
    for group in groups {
        counter = quads::<8, ROUNDS>(fresh(keys), counter, group);
    }
    macro_rules! some {
        ($n:literal) => {
            if rest.len() >= $n * QUAD {
                let (now, behind) = std::mem::take(&mut rest).split_at_mut($n * QUAD);
                counter = quads::<$n, ROUNDS>(keys, counter, now);
                rest = behind;
            }
        };
    }
    some!(4);
    some!(2);
    some!(1);
    if !rest.is_empty() {
        quads::<1, ROUNDS>(keys, counter, rest);
    }
}

/// `COUNT` registers of bytes, or for a `COUNT` of one what there is of them, at least one; returns the counters behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn quads<const COUNT: usize, const ROUNDS: usize>(
    keys: &[[u8; BLOCK]; 15],
    mut counter: __m512i,
    data: &mut [u8],
) -> __m512i {
    let key = |round: usize| _mm512_broadcast_i32x4(load(&keys[round]));
    let mut states = [_mm512_setzero_si512(); COUNT];
    for state in &mut states {
        *state = _mm512_xor_si512(reverse(counter), key(0));
        counter = _mm512_add_epi32(counter, _mm512_broadcast_i32x4(_mm_set_epi32(0, 0, 0, 4)));
    }
    for round in 1..ROUNDS {
        for state in &mut states {
            *state = _mm512_aesenc_epi128(*state, key(round));
        }
        pin(&mut states);
    }
    for (state, bytes) in states.into_iter().zip(data.chunks_mut(QUAD)) {
        let mask = u64::MAX >> (QUAD - bytes.len());
        // SAFETY: the mask lets no byte behind the slice be read or written.
        unsafe {
            let text = _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast());
            let text = _mm512_aesenclast_epi128(state, _mm512_xor_si512(text, key(ROUNDS)));
            _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, text);
        }
    }
    counter
}

/// Keeps the compiler from doing all rounds of one state before it begins the next, for which keys would take the registers of states.
#[inline]
#[target_feature(enable = "avx512f")]
fn pin<const COUNT: usize>(states: &mut [__m512i; COUNT]) {
    for state in states {
        // SAFETY: no instruction at all.
        unsafe {
            asm!("# {}", inout(zmm_reg) * state, options(nomem, nostack, preserves_flags));
        }
    }
}

/// The bytes of each counter from back to front, as they are encrypted.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn reverse(counters: __m512i) -> __m512i {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_shuffle_epi8(counters, _mm512_broadcast_i32x4(order))
}
