//! With VAES on 512 bits: thirty-two packets side by side, four in a register; thirty-two blocks of one packet for decryption.

#![allow(clippy::needless_range_loop, reason = "a lane is a number, which several arrays know")]

use std::arch::x86_64::*;

use super::sse::{load, store};
use super::{BLOCK, Slot};
use crate::drivers::multibuffer::kernels::aes_key::AesKey;

/// Packets side by side at most.
pub(super) const LANES: usize = 32;

/// Blocks in a register.
const QUAD: usize = 4;

/// Encrypts `blocks` blocks of each slot; 1, 2, 4, 8, 16 or 32 slots with keys of one size. Chains are moved on, places are not. Without `STORE` only the
/// chains are written.
///
/// # Safety
/// The processor has AVX-512 and VAES; so many blocks may be read from each place on, and with `STORE` are the caller's alone.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
pub(super) unsafe fn encrypt<const STORE: bool>(slots: &mut [Slot<'_>], blocks: usize) {
    let rounds = slots.first().map_or(0, |slot| slot.key.rounds());
    // SAFETY: passed on from the caller.
    unsafe {
        match (slots.len(), rounds) {
            (32, 10) => run::<8, 10, STORE>(slots, blocks),
            (16, 10) => run::<4, 10, STORE>(slots, blocks),
            (8, 10) => run::<2, 10, STORE>(slots, blocks),
            (4, 10) => run::<1, 10, STORE>(slots, blocks),
            (32, 12) => run::<8, 12, STORE>(slots, blocks),
            (16, 12) => run::<4, 12, STORE>(slots, blocks),
            (8, 12) => run::<2, 12, STORE>(slots, blocks),
            (4, 12) => run::<1, 12, STORE>(slots, blocks),
            (32, 14) => run::<8, 14, STORE>(slots, blocks),
            (16, 14) => run::<4, 14, STORE>(slots, blocks),
            (8, 14) => run::<2, 14, STORE>(slots, blocks),
            (4, 14) => run::<1, 14, STORE>(slots, blocks),
            _ => super::avx2::encrypt::<STORE>(slots, blocks),
        }
    }
}

/// # Safety
/// As [`encrypt`], for `4 * QUADS` slots.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
unsafe fn run<const QUADS: usize, const ROUNDS: usize, const STORE: bool>(
    slots: &mut [Slot<'_>],
    blocks: usize,
) {
    let Some(first) = slots.first().map(|slot| slot.key) else { return };
    if slots.iter().all(|slot| std::ptr::eq(slot.key, first)) {
        let mut keys = [_mm512_setzero_si512(); 15];
        for (key, from) in keys.iter_mut().zip(first.keys()) {
            *key = _mm512_broadcast_i32x4(load(from));
        }
        // SAFETY: passed on from the caller.
        unsafe { walk::<QUADS, ROUNDS, STORE>(slots, blocks, |_, round| keys[round]) };
    } else {
        let mut keys = [[_mm512_setzero_si512(); 15]; QUADS];
        for (keys, quad) in keys.iter_mut().zip(slots.chunks_exact(QUAD)) {
            for (round, key) in keys.iter_mut().enumerate() {
                let of = |lane: usize| load(&quad[lane].key.keys()[round]);
                *key = join(of(0), of(1), of(2), of(3));
            }
        }
        // SAFETY: passed on from the caller.
        unsafe { walk::<QUADS, ROUNDS, STORE>(slots, blocks, |quad, round| keys[quad][round]) };
    }
}

/// # Safety
/// As [`encrypt`], for `4 * QUADS` slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
unsafe fn walk<const QUADS: usize, const ROUNDS: usize, const STORE: bool>(
    slots: &mut [Slot<'_>],
    blocks: usize,
    key: impl Fn(usize, usize) -> __m512i,
) {
    let mut places = [std::ptr::null_mut::<u8>(); LANES];
    let mut states = [_mm512_setzero_si512(); QUADS];
    for (place, slot) in places.iter_mut().zip(slots.iter()) {
        *place = slot.at;
    }
    for (state, quad) in states.iter_mut().zip(slots.chunks_exact(QUAD)) {
        let of = |lane: usize| load(&quad[lane].chain);
        *state = join(of(0), of(1), of(2), of(3));
    }
    for block in 0..blocks {
        let offset = block * BLOCK;
        for quad in 0..QUADS {
            let at =
                |lane: usize| -> *const __m128i { places[QUAD * quad + lane].wrapping_add(offset).cast() };
            // SAFETY: the caller says that every place has so many blocks.
            let text = unsafe {
                join(
                    _mm_loadu_si128(at(0)),
                    _mm_loadu_si128(at(1)),
                    _mm_loadu_si128(at(2)),
                    _mm_loadu_si128(at(3)),
                )
            };
            // Three ways exclusive or.
            states[quad] = _mm512_ternarylogic_epi32::<0x96>(states[quad], text, key(quad, 0));
        }
        for round in 1..ROUNDS {
            for quad in 0..QUADS {
                states[quad] = _mm512_aesenc_epi128(states[quad], key(quad, round));
            }
        }
        for quad in 0..QUADS {
            let state = _mm512_aesenclast_epi128(states[quad], key(quad, ROUNDS));
            states[quad] = state;
            if !STORE {
                continue;
            }
            let at = |lane: usize| -> *mut __m128i { places[QUAD * quad + lane].wrapping_add(offset).cast() };
            // SAFETY: as above, and exclusively.
            unsafe {
                _mm_storeu_si128(at(0), _mm512_castsi512_si128(state));
                _mm_storeu_si128(at(1), _mm512_extracti32x4_epi32::<1>(state));
                _mm_storeu_si128(at(2), _mm512_extracti32x4_epi32::<2>(state));
                _mm_storeu_si128(at(3), _mm512_extracti32x4_epi32::<3>(state));
            }
        }
    }
    for (state, quad) in states.iter().zip(slots.chunks_exact_mut(QUAD)) {
        store(&mut quad[0].chain, _mm512_castsi512_si128(*state));
        store(&mut quad[1].chain, _mm512_extracti32x4_epi32::<1>(*state));
        store(&mut quad[2].chain, _mm512_extracti32x4_epi32::<2>(*state));
        store(&mut quad[3].chain, _mm512_extracti32x4_epi32::<3>(*state));
    }
}

/// Decrypts whole blocks in place.
///
/// # Safety
/// The processor has AVX-512 and VAES.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
pub(super) unsafe fn decrypt(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    match key.rounds() {
        10 => decrypt_rounds::<10>(key, iv, data),
        12 => decrypt_rounds::<12>(key, iv, data),
        _ => decrypt_rounds::<14>(key, iv, data),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn decrypt_rounds<const ROUNDS: usize>(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    let mut keys = [_mm512_setzero_si512(); 15];
    for (to, from) in keys.iter_mut().zip(key.dec().keys()) {
        *to = _mm512_broadcast_i32x4(load(from));
    }
    let mut chain = *iv;
    let mut wide = data.chunks_exact_mut(32 * BLOCK);
    for chunk in &mut wide {
        decrypt_quads::<8, ROUNDS>(&keys, &mut chain, chunk);
    }
    let mut rest = wide.into_remainder();
    if rest.len() >= 16 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(16 * BLOCK);
        decrypt_quads::<4, ROUNDS>(&keys, &mut chain, chunk);
        rest = behind;
    }
    if rest.len() >= 8 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(8 * BLOCK);
        decrypt_quads::<2, ROUNDS>(&keys, &mut chain, chunk);
        rest = behind;
    }
    if rest.len() >= 4 * BLOCK {
        let (chunk, behind) = std::mem::take(&mut rest).split_at_mut(4 * BLOCK);
        decrypt_quads::<1, ROUNDS>(&keys, &mut chain, chunk);
        rest = behind;
    }
    if !rest.is_empty() {
        // SAFETY: this processor has what a lower level wants.
        unsafe { super::avx2::decrypt(key, &chain, rest) };
    }
}

/// Decrypts `4 * QUADS` blocks, all of which are loaded before the first is overwritten; `chain` becomes the last block of ciphertext.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn decrypt_quads<const QUADS: usize, const ROUNDS: usize>(
    keys: &[__m512i; 15],
    chain: &mut [u8; BLOCK],
    chunk: &mut [u8],
) {
    const WIDTH: usize = QUAD * BLOCK;
    let mut states = [_mm512_setzero_si512(); QUADS];
    for (state, from) in states.iter_mut().zip(chunk.chunks_exact(WIDTH)) {
        *state = _mm512_xor_si512(load_quad(from), keys[0]);
    }
    for key in &keys[1..ROUNDS] {
        for state in &mut states {
            *state = _mm512_aesdec_epi128(*state, *key);
        }
    }
    let last = chunk.last_chunk::<BLOCK>().map_or(*chain, |block| *block);
    // From the last to the first, so that what a register is chained to is still there.
    for quad in (0..QUADS).rev() {
        let before = match quad {
            // One place up, with the chain in front.
            0 => _mm512_inserti32x4::<0>(
                _mm512_alignr_epi32::<12>(load_quad(chunk), _mm512_setzero_si512()),
                load(chain),
            ),
            _ => load_quad(chunk.get((QUAD * quad - 1) * BLOCK..).unwrap_or_default()),
        };
        let text = _mm512_xor_si512(_mm512_aesdeclast_epi128(states[quad], keys[ROUNDS]), before);
        if let Some(to) = chunk.get_mut(quad * WIDTH..).and_then(<[u8]>::first_chunk_mut::<WIDTH>) {
            // SAFETY: 64 bytes are there.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), text) };
        }
    }
    *chain = last;
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn join(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m512i {
    let low = _mm256_set_m128i(b, a);
    let high = _mm256_set_m128i(d, c);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_quad(from: &[u8]) -> __m512i {
    match from.first_chunk::<{ QUAD * BLOCK }>() {
        // SAFETY: 64 bytes are there.
        Some(bytes) => unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) },
        None => _mm512_setzero_si512(),
    }
}
