//! With AES-NI on 128 bits: eight packets side by side; eight blocks of one packet for decryption.

#![allow(clippy::needless_range_loop, reason = "a lane is a number, which several arrays know")]

use std::arch::x86_64::*;

use super::{BLOCK, Chain, Slot};
use crate::drivers::multibuffer::kernels::aes_key::AesKey;

/// Packets side by side at most.
pub(super) const LANES: usize = 8;

/// Encrypts `blocks` blocks of each slot; 1, 2, 4 or 8 slots with keys of one size. Chains are moved on, places are not. Without `STORE` only the
/// chains are written.
///
/// # Safety
/// The processor has AES-NI; so many blocks may be read from each place on, and with `STORE` are the caller's alone.
#[target_feature(enable = "aes,sse4.1")]
pub(super) unsafe fn encrypt<const STORE: bool>(slots: &mut [Slot<'_>], blocks: usize) {
    let rounds = slots.first().map_or(0, |slot| slot.key.rounds());
    // SAFETY: passed on from the caller.
    unsafe {
        match (slots.len(), rounds) {
            (8, 10) => walk::<8, 10, STORE>(slots, blocks),
            (4, 10) => walk::<4, 10, STORE>(slots, blocks),
            (2, 10) => walk::<2, 10, STORE>(slots, blocks),
            (_, 10) => walk::<1, 10, STORE>(slots, blocks),
            (8, 12) => walk::<8, 12, STORE>(slots, blocks),
            (4, 12) => walk::<4, 12, STORE>(slots, blocks),
            (2, 12) => walk::<2, 12, STORE>(slots, blocks),
            (_, 12) => walk::<1, 12, STORE>(slots, blocks),
            (8, _) => walk::<8, 14, STORE>(slots, blocks),
            (4, _) => walk::<4, 14, STORE>(slots, blocks),
            (2, _) => walk::<2, 14, STORE>(slots, blocks),
            _ => walk::<1, 14, STORE>(slots, blocks),
        }
    }
}

/// # Safety
/// As [`encrypt`], for `WIDTH` slots.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
unsafe fn walk<const WIDTH: usize, const ROUNDS: usize, const STORE: bool>(
    slots: &mut [Slot<'_>],
    blocks: usize,
) {
    let mut places = [std::ptr::null_mut::<u8>(); WIDTH];
    let mut states = [_mm_setzero_si128(); WIDTH];
    let mut keys: [&[[u8; BLOCK]]; WIDTH] = [&[]; WIDTH];
    for (lane, slot) in slots.iter().enumerate().take(WIDTH) {
        (places[lane], states[lane], keys[lane]) = (slot.at, load(&slot.chain), &slot.key.keys()[..=ROUNDS]);
    }
    for block in 0..blocks {
        let offset = block * BLOCK;
        for lane in 0..WIDTH {
            // SAFETY: the caller says that every place has so many blocks.
            let text = unsafe { _mm_loadu_si128(places[lane].wrapping_add(offset).cast()) };
            states[lane] = _mm_xor_si128(_mm_xor_si128(states[lane], text), load(&keys[lane][0]));
        }
        for round in 1..ROUNDS {
            for lane in 0..WIDTH {
                states[lane] = _mm_aesenc_si128(states[lane], load(&keys[lane][round]));
            }
        }
        for lane in 0..WIDTH {
            states[lane] = _mm_aesenclast_si128(states[lane], load(&keys[lane][ROUNDS]));
            if STORE {
                // SAFETY: as above, and exclusively.
                unsafe { _mm_storeu_si128(places[lane].wrapping_add(offset).cast(), states[lane]) };
            }
        }
    }
    for (slot, state) in slots.iter_mut().zip(states) {
        store(&mut slot.chain, state);
    }
}

/// Encrypts whole blocks of one packet in place.
///
/// # Safety
/// The processor has AES-NI.
#[target_feature(enable = "aes,sse4.1")]
pub(super) unsafe fn encrypt_one(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    let (at, blocks) = (data.as_mut_ptr(), data.len() / BLOCK);
    // SAFETY: so many blocks are in `data`.
    unsafe {
        match key.rounds() {
            10 => Chain::<10>::new(key, iv, at).blocks(blocks),
            12 => Chain::<12>::new(key, iv, at).blocks(blocks),
            _ => Chain::<14>::new(key, iv, at).blocks(blocks),
        }
    }
}

/// Decrypts whole blocks in place.
///
/// # Safety
/// The processor has AES-NI.
#[target_feature(enable = "aes,sse4.1")]
pub(super) unsafe fn decrypt(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    match key.rounds() {
        10 => decrypt_rounds::<10>(key, iv, data),
        12 => decrypt_rounds::<12>(key, iv, data),
        _ => decrypt_rounds::<14>(key, iv, data),
    }
}

#[target_feature(enable = "aes,sse4.1")]
fn decrypt_rounds<const ROUNDS: usize>(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    let mut keys = [_mm_setzero_si128(); 15];
    for (to, from) in keys.iter_mut().zip(key.dec().keys()) {
        *to = load(from);
    }
    let mut chain = load(iv);
    let mut wide = data.chunks_exact_mut(8 * BLOCK);
    for chunk in &mut wide {
        chain = decrypt_blocks::<8, ROUNDS>(&keys, chain, chunk);
    }
    let mut rest = wide.into_remainder();
    if rest.len() >= 4 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(4 * BLOCK);
        chain = decrypt_blocks::<4, ROUNDS>(&keys, chain, chunk);
        rest = behind;
    }
    if rest.len() >= 2 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(2 * BLOCK);
        chain = decrypt_blocks::<2, ROUNDS>(&keys, chain, chunk);
        rest = behind;
    }
    if let Some(chunk) = rest.first_chunk_mut::<BLOCK>() {
        decrypt_blocks::<1, ROUNDS>(&keys, chain, chunk);
    }
}

/// Decrypts `COUNT` blocks, all of which are loaded before the first is overwritten; returns the last block of ciphertext.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn decrypt_blocks<const COUNT: usize, const ROUNDS: usize>(
    keys: &[__m128i; 15],
    mut chain: __m128i,
    chunk: &mut [u8],
) -> __m128i {
    let mut states = [_mm_setzero_si128(); COUNT];
    let (blocks, _) = chunk.as_chunks_mut::<BLOCK>();
    for (state, block) in states.iter_mut().zip(blocks.iter()) {
        *state = _mm_xor_si128(load(block), keys[0]);
    }
    for key in &keys[1..ROUNDS] {
        for state in &mut states {
            *state = _mm_aesdec_si128(*state, *key);
        }
    }
    for (state, block) in states.into_iter().zip(blocks) {
        let before = chain;
        chain = load(block);
        store(block, _mm_xor_si128(_mm_aesdeclast_si128(state, keys[ROUNDS]), before));
    }
    chain
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load(from: &[u8; BLOCK]) -> __m128i {
    // SAFETY: 16 bytes are there.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store(to: &mut [u8; BLOCK], value: __m128i) {
    // SAFETY: 16 bytes are there.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) }
}
