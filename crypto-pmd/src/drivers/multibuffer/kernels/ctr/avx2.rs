//! With VAES on 256 bits: sixteen blocks at once, two in a register.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::{fresh, load_block as load};
use super::BLOCK;
use super::sse::{number, short};
use crate::drivers::multibuffer::kernels::aes_key::RoundKeys;

/// Bytes of a register.
const PAIR: usize = 2 * BLOCK;

/// Encrypts or decrypts `data` in place, without a carry out of the lowest 32 bits of `counter`.
#[target_feature(enable = "avx2,vaes,aes")]
pub(super) fn run(keys: &RoundKeys, counter: u128, data: &mut [u8]) {
    match keys.rounds() {
        10 => rounds::<10>(keys.keys(), counter, data),
        12 => rounds::<12>(keys.keys(), counter, data),
        _ => rounds::<14>(keys.keys(), counter, data),
    }
}

#[target_feature(enable = "avx2,vaes,aes")]
fn rounds<const ROUNDS: usize>(keys: &[[u8; BLOCK]; 15], counter: u128, data: &mut [u8]) {
    let one = _mm256_set_epi32(0, 0, 0, 1, 0, 0, 0, 0);
    let mut counter = _mm256_add_epi32(_mm256_broadcastsi128_si256(number(counter)), one);
    let (groups, mut rest) = data.as_chunks_mut::<{ 8 * PAIR }>();
    for group in groups {
        counter = pairs::<8, ROUNDS>(fresh(keys), counter, group);
    }
    macro_rules! some {
        ($n:literal) => {
            if rest.len() >= $n * PAIR {
                let (now, behind) = std::mem::take(&mut rest).split_at_mut($n * PAIR);
                counter = pairs::<$n, ROUNDS>(keys, counter, now);
                rest = behind;
            }
        };
    }
    some!(4);
    some!(2);
    some!(1);
    short::<ROUNDS>(keys, _mm256_castsi256_si128(counter), rest);
}

/// `COUNT` registers of blocks; returns the counters behind them.
#[inline]
#[target_feature(enable = "avx2,vaes,aes")]
fn pairs<const COUNT: usize, const ROUNDS: usize>(
    keys: &[[u8; BLOCK]; 15],
    mut counter: __m256i,
    data: &mut [u8],
) -> __m256i {
    let key = |round: usize| _mm256_broadcastsi128_si256(load(&keys[round]));
    let mut states = [_mm256_setzero_si256(); COUNT];
    for state in &mut states {
        *state = _mm256_xor_si256(reverse(counter), key(0));
        counter = _mm256_add_epi32(counter, _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2));
    }
    for round in 1..ROUNDS {
        for state in &mut states {
            *state = _mm256_aesenc_epi128(*state, key(round));
        }
        pin(&mut states);
    }
    for (state, bytes) in states.into_iter().zip(data.as_chunks_mut::<PAIR>().0) {
        // SAFETY: a register's bytes are there, and neither needs an alignment.
        unsafe {
            let text = _mm256_loadu_si256(bytes.as_ptr().cast());
            let text = _mm256_aesenclast_epi128(state, _mm256_xor_si256(text, key(ROUNDS)));
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), text);
        }
    }
    counter
}

/// Keeps the compiler from doing all rounds of one state before it begins the next, for which keys would take the registers of states.
#[inline]
#[target_feature(enable = "avx2")]
fn pin<const COUNT: usize>(states: &mut [__m256i; COUNT]) {
    for state in states {
        // SAFETY: no instruction at all.
        unsafe {
            asm!("# {}", inout(ymm_reg) * state, options(nomem, nostack, preserves_flags));
        }
    }
}

/// The bytes of each counter from back to front, as they are encrypted.
#[inline]
#[target_feature(enable = "avx2")]
fn reverse(counters: __m256i) -> __m256i {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm256_shuffle_epi8(counters, _mm256_broadcastsi128_si256(order))
}
