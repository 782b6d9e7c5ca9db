//! With VAES on 256 bits: sixteen packets side by side, two in a register; sixteen blocks of one packet for decryption.

#![allow(clippy::needless_range_loop, reason = "a lane is a number, which several arrays know")]

use std::arch::x86_64::*;

use super::sse::{load, store};
use super::{BLOCK, Slot};
use crate::drivers::multibuffer::kernels::aes_key::AesKey;

/// Packets side by side at most.
pub(super) const LANES: usize = 16;

/// Encrypts `blocks` blocks of each slot; 1, 2, 4, 8 or 16 slots with keys of one size. Chains are moved on, places are not. Without `STORE` only the
/// chains are written.
///
/// # Safety
/// The processor has AVX2 and VAES; so many blocks may be read from each place on, and with `STORE` are the caller's alone.
#[target_feature(enable = "avx2,vaes,aes")]
pub(super) unsafe fn encrypt<const STORE: bool>(slots: &mut [Slot<'_>], blocks: usize) {
    let rounds = slots.first().map_or(0, |slot| slot.key.rounds());
    // SAFETY: passed on from the caller.
    unsafe {
        match (slots.len(), rounds) {
            (16, 10) => run::<8, 10, STORE>(slots, blocks),
            (8, 10) => run::<4, 10, STORE>(slots, blocks),
            (4, 10) => run::<2, 10, STORE>(slots, blocks),
            (2, 10) => run::<1, 10, STORE>(slots, blocks),
            (16, 12) => run::<8, 12, STORE>(slots, blocks),
            (8, 12) => run::<4, 12, STORE>(slots, blocks),
            (4, 12) => run::<2, 12, STORE>(slots, blocks),
            (2, 12) => run::<1, 12, STORE>(slots, blocks),
            (16, 14) => run::<8, 14, STORE>(slots, blocks),
            (8, 14) => run::<4, 14, STORE>(slots, blocks),
            (4, 14) => run::<2, 14, STORE>(slots, blocks),
            (2, 14) => run::<1, 14, STORE>(slots, blocks),
            _ => super::sse::encrypt::<STORE>(slots, blocks),
        }
    }
}

/// # Safety
/// As [`encrypt`], for `2 * PAIRS` slots.
#[target_feature(enable = "avx2,vaes,aes")]
unsafe fn run<const PAIRS: usize, const ROUNDS: usize, const STORE: bool>(
    slots: &mut [Slot<'_>],
    blocks: usize,
) {
    let Some(first) = slots.first().map(|slot| slot.key) else { return };
    if slots.iter().all(|slot| std::ptr::eq(slot.key, first)) {
        let mut keys = [_mm256_setzero_si256(); 15];
        for (key, from) in keys.iter_mut().zip(first.keys()) {
            *key = _mm256_broadcastsi128_si256(load(from));
        }
        // SAFETY: passed on from the caller.
        unsafe { walk::<PAIRS, ROUNDS, STORE>(slots, blocks, |_, round| keys[round]) };
    } else {
        let mut keys = [[_mm256_setzero_si256(); 15]; PAIRS];
        for (keys, pair) in keys.iter_mut().zip(slots.chunks_exact(2)) {
            for (key, (low, high)) in keys.iter_mut().zip(pair[0].key.keys().iter().zip(pair[1].key.keys())) {
                *key = _mm256_set_m128i(load(high), load(low));
            }
        }
        // SAFETY: passed on from the caller.
        unsafe { walk::<PAIRS, ROUNDS, STORE>(slots, blocks, |pair, round| keys[pair][round]) };
    }
}

/// # Safety
/// As [`encrypt`], for `2 * PAIRS` slots.
#[inline]
#[target_feature(enable = "avx2,vaes,aes")]
unsafe fn walk<const PAIRS: usize, const ROUNDS: usize, const STORE: bool>(
    slots: &mut [Slot<'_>],
    blocks: usize,
    key: impl Fn(usize, usize) -> __m256i,
) {
    let mut places = [std::ptr::null_mut::<u8>(); LANES];
    let mut states = [_mm256_setzero_si256(); PAIRS];
    for (place, slot) in places.iter_mut().zip(slots.iter()) {
        *place = slot.at;
    }
    for (state, pair) in states.iter_mut().zip(slots.chunks_exact(2)) {
        *state = _mm256_set_m128i(load(&pair[1].chain), load(&pair[0].chain));
    }
    for block in 0..blocks {
        let offset = block * BLOCK;
        for pair in 0..PAIRS {
            // SAFETY: the caller says that every place has so many blocks.
            let text = unsafe {
                _mm256_loadu2_m128i(
                    places[2 * pair + 1].wrapping_add(offset).cast(),
                    places[2 * pair].wrapping_add(offset).cast(),
                )
            };
            states[pair] = _mm256_xor_si256(_mm256_xor_si256(states[pair], text), key(pair, 0));
        }
        for round in 1..ROUNDS {
            for pair in 0..PAIRS {
                states[pair] = _mm256_aesenc_epi128(states[pair], key(pair, round));
            }
        }
        for pair in 0..PAIRS {
            states[pair] = _mm256_aesenclast_epi128(states[pair], key(pair, ROUNDS));
            if !STORE {
                continue;
            }
            // SAFETY: as above, and exclusively.
            unsafe {
                _mm256_storeu2_m128i(
                    places[2 * pair + 1].wrapping_add(offset).cast(),
                    places[2 * pair].wrapping_add(offset).cast(),
                    states[pair],
                );
            }
        }
    }
    for (state, pair) in states.iter().zip(slots.chunks_exact_mut(2)) {
        store(&mut pair[0].chain, _mm256_castsi256_si128(*state));
        store(&mut pair[1].chain, _mm256_extracti128_si256::<1>(*state));
    }
}

/// Decrypts whole blocks in place.
///
/// # Safety
/// The processor has AVX2 and VAES.
#[target_feature(enable = "avx2,vaes,aes")]
pub(super) unsafe fn decrypt(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    match key.rounds() {
        10 => decrypt_rounds::<10>(key, iv, data),
        12 => decrypt_rounds::<12>(key, iv, data),
        _ => decrypt_rounds::<14>(key, iv, data),
    }
}

#[target_feature(enable = "avx2,vaes,aes")]
fn decrypt_rounds<const ROUNDS: usize>(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    let mut keys = [_mm256_setzero_si256(); 15];
    for (to, from) in keys.iter_mut().zip(key.dec().keys()) {
        *to = _mm256_broadcastsi128_si256(load(from));
    }
    let mut chain = load(iv);
    let mut wide = data.chunks_exact_mut(16 * BLOCK);
    for chunk in &mut wide {
        chain = decrypt_pairs::<8, ROUNDS>(&keys, chain, chunk);
    }
    let mut rest = wide.into_remainder();
    if rest.len() >= 8 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(8 * BLOCK);
        chain = decrypt_pairs::<4, ROUNDS>(&keys, chain, chunk);
        rest = behind;
    }
    if rest.len() >= 4 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(4 * BLOCK);
        chain = decrypt_pairs::<2, ROUNDS>(&keys, chain, chunk);
        rest = behind;
    }
    if rest.len() >= 2 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(2 * BLOCK);
        chain = decrypt_pairs::<1, ROUNDS>(&keys, chain, chunk);
        rest = behind;
    }
    if let Some(block) = rest.first_chunk_mut::<BLOCK>() {
        let mut state = _mm_xor_si128(load(block), _mm256_castsi256_si128(keys[0]));
        for key in &keys[1..ROUNDS] {
            state = _mm_aesdec_si128(state, _mm256_castsi256_si128(*key));
        }
        state = _mm_aesdeclast_si128(state, _mm256_castsi256_si128(keys[ROUNDS]));
        store(block, _mm_xor_si128(state, chain));
    }
}

/// Decrypts `2 * PAIRS` blocks, all of which are loaded before the first is overwritten; returns the last block of ciphertext.
#[inline]
#[target_feature(enable = "avx2,vaes,aes")]
fn decrypt_pairs<const PAIRS: usize, const ROUNDS: usize>(
    keys: &[__m256i; 15],
    chain: __m128i,
    chunk: &mut [u8],
) -> __m128i {
    let mut states = [_mm256_setzero_si256(); PAIRS];
    for (state, from) in states.iter_mut().zip(chunk.chunks_exact(2 * BLOCK)) {
        *state = _mm256_xor_si256(load_pair(from), keys[0]);
    }
    for key in &keys[1..ROUNDS] {
        for state in &mut states {
            *state = _mm256_aesdec_epi128(*state, *key);
        }
    }
    let last = chunk.last_chunk::<BLOCK>().map_or(chain, |block| load(block));
    // From the last to the first, so that what a pair is chained to is still there.
    for pair in (0..PAIRS).rev() {
        let before = match pair {
            0 => _mm256_set_m128i(chunk.first_chunk::<BLOCK>().map_or(chain, |block| load(block)), chain),
            _ => load_pair(chunk.get((2 * pair - 1) * BLOCK..).unwrap_or_default()),
        };
        let text = _mm256_xor_si256(_mm256_aesdeclast_epi128(states[pair], keys[ROUNDS]), before);
        if let Some(to) = chunk.get_mut(2 * pair * BLOCK..).and_then(<[u8]>::first_chunk_mut::<{ 2 * BLOCK }>)
        {
            // SAFETY: 32 bytes are there.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), text) };
        }
    }
    last
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_pair(from: &[u8]) -> __m256i {
    match from.first_chunk::<{ 2 * BLOCK }>() {
        // SAFETY: 32 bytes are there.
        Some(bytes) => unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) },
        None => _mm256_setzero_si256(),
    }
}
