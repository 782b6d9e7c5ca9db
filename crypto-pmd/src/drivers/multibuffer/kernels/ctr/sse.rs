//! With AES-NI on 128 bits: eight blocks at once.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::block::{fresh, load_block as load, reverse_block, store_block as store};
use super::BLOCK;
use crate::drivers::multibuffer::kernels::aes_key::RoundKeys;

/// Encrypts or decrypts `data` in place, without a carry out of the lowest 32 bits of `counter`.
#[target_feature(enable = "aes,sse4.1,ssse3")]
pub(super) fn run(keys: &RoundKeys, counter: u128, data: &mut [u8]) {
    match keys.rounds() {
        10 => rounds::<10>(keys.keys(), counter, data),
        12 => rounds::<12>(keys.keys(), counter, data),
        _ => rounds::<14>(keys.keys(), counter, data),
    }
}

#[target_feature(enable = "aes,sse4.1,ssse3")]
fn rounds<const ROUNDS: usize>(keys: &[[u8; BLOCK]; 15], counter: u128, data: &mut [u8]) {
    let mut counter = number(counter);
    let (groups, rest) = data.as_chunks_mut::<{ 8 * BLOCK }>();
    for group in groups {
        blocks::<8, ROUNDS>(fresh(keys), counter, group);
        counter = _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, 8));
    }
    short::<ROUNDS>(keys, counter, rest);
}

/// Less than eight blocks.
#[inline]
#[target_feature(enable = "aes,sse4.1,ssse3")]
pub(super) fn short<const ROUNDS: usize>(keys: &[[u8; BLOCK]; 15], mut counter: __m128i, data: &mut [u8]) {
    let mut rest = data;
    macro_rules! some {
        ($n:literal) => {
            if rest.len() >= $n * BLOCK {
                let (now, behind) = std::mem::take(&mut rest).split_at_mut($n * BLOCK);
                blocks::<$n, ROUNDS>(keys, counter, now);
                counter = _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, $n));
                rest = behind;
            }
        };
    }
    some!(4);
    some!(2);
    some!(1);
    if !rest.is_empty() {
        let [state] = stream::<1, ROUNDS>(keys, counter);
        finish(_mm_aesenclast_si128(state, load(&keys[ROUNDS])), rest);
    }
}

/// `COUNT` whole blocks.
#[inline]
#[target_feature(enable = "aes,sse4.1,ssse3")]
fn blocks<const COUNT: usize, const ROUNDS: usize>(
    keys: &[[u8; BLOCK]; 15],
    counter: __m128i,
    data: &mut [u8],
) {
    let last = load(&keys[ROUNDS]);
    let states = stream::<COUNT, ROUNDS>(keys, counter);
    for (state, block) in states.into_iter().zip(data.as_chunks_mut().0) {
        let text = _mm_aesenclast_si128(state, _mm_xor_si128(load(block), last));
        store(block, text);
    }
}

/// `COUNT` counters from the one given, through all rounds but the last.
#[inline]
#[target_feature(enable = "aes,sse4.1,ssse3")]
fn stream<const COUNT: usize, const ROUNDS: usize>(
    keys: &[[u8; BLOCK]; 15],
    counter: __m128i,
) -> [__m128i; COUNT] {
    let mut states = [counter; COUNT];
    for (state, number) in states.iter_mut().zip(0..) {
        let this = _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, number));
        *state = _mm_xor_si128(reverse_block(this), load(&keys[0]));
    }
    for key in &keys[1..ROUNDS] {
        let key = load(key);
        for state in &mut states {
            *state = _mm_aesenc_si128(*state, key);
        }
        pin(&mut states);
    }
    states
}

/// Keeps the compiler from doing all rounds of one state before it begins the next, for which keys would take the registers of states.
#[inline]
#[target_feature(enable = "sse2")]
fn pin<const COUNT: usize>(states: &mut [__m128i; COUNT]) {
    for state in states {
        // SAFETY: no instruction at all.
        unsafe {
            asm!("# {}", inout(xmm_reg) * state, options(nomem, nostack, preserves_flags));
        }
    }
}

/// Less than a block, in words: so nothing behind it is touched, and no later load waits for two stores.
#[inline]
#[target_feature(enable = "sse4.1")]
fn finish(stream: __m128i, data: &mut [u8]) {
    let mut word = _mm_cvtsi128_si64(stream) as u64;
    let mut rest = data;
    if rest.len() >= 8
        && let Some((eight, behind)) = std::mem::take(&mut rest).split_first_chunk_mut()
    {
        *eight = (u64::from_le_bytes(*eight) ^ word).to_le_bytes();
        (word, rest) = (_mm_extract_epi64::<1>(stream) as u64, behind);
    }
    if rest.len() >= 4
        && let Some((four, behind)) = std::mem::take(&mut rest).split_first_chunk_mut()
    {
        *four = (u32::from_le_bytes(*four) ^ word as u32).to_le_bytes();
        (word, rest) = (word >> 32, behind);
    }
    for (byte, stream) in rest.iter_mut().zip(word.to_le_bytes()) {
        *byte ^= stream;
    }
}

/// A counter with its lowest byte first, as it is added to.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn number(counter: u128) -> __m128i {
    _mm_set_epi64x((counter >> 64) as i64, counter as i64)
}
