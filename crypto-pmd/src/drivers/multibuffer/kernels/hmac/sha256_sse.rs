//! SHA-256 with the SHA extensions: blocks of up to four messages interleaved, because one alone waits for its own rounds.

use std::arch::x86_64::*;

use super::streams::{self, BLOCK, Digest, State};
use super::words::Words;

/// Messages at once.
pub(super) const STREAMS: usize = 4;

/// Says that the processor has what this file uses.
#[derive(Clone, Copy)]
pub(super) struct Engine(());

impl Engine {
    /// # Safety
    /// The processor has SSSE3, SSE4.1 and the SHA extensions.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

impl streams::Engine<BLOCK, 32> for Engine {
    const LEN: usize = 32;
    type State = State;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        // SAFETY: who made the engine promised the instructions.
        unsafe {
            match (states, messages) {
                ([a], [m]) => compress([a], [m]),
                ([a, b], [m, n]) => compress([a, b], [m, n]),
                ([a, b, c], [m, n, o]) => compress([a, b, c], [m, n, o]),
                ([a, b, c, d], [m, n, o, p]) => compress([a, b, c, d], [m, n, o, p]),
                _ => 0,
            }
        }
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest<32> {
        // SAFETY: who made the engine promised the instructions.
        unsafe { state.digest(pad) }
    }
}

/// The constants of four rounds each (FIPS 180-4 section 4.2.2).
#[repr(align(16))]
struct Constants([[u32; 4]; 16]);

static K: Constants = Constants([
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
]);

/// Four rounds of every stream, and the message words of four groups on in the place of these.
macro_rules! rounds {
    ($n:ident, $abef:ident, $cdgh:ident, $w:ident, $newest:ident, $group:literal) => {
        for i in 0..$n {
            let wk = _mm_add_epi32($w.get($group, i), constants($group));
            $cdgh[i] = _mm_sha256rnds2_epu32($cdgh[i], $abef[i], wk);
            $abef[i] = _mm_sha256rnds2_epu32($abef[i], $cdgh[i], _mm_shuffle_epi32::<0x0e>(wk));
            if $group < 12 {
                let older = _mm_sha256msg1_epu32($w.get($group, i), $w.get($group + 1, i));
                let older = _mm_add_epi32(older, _mm_alignr_epi8::<4>($newest[i], $w.get($group + 2, i)));
                $newest[i] = _mm_sha256msg2_epu32(older, $newest[i]);
                $w.put($group, i, $newest[i]);
            }
        }
    };
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn constants(group: usize) -> __m128i {
    // SAFETY: a row is 16 bytes.
    unsafe { _mm_load_si128((&raw const K.0[group]).cast()) }
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn swap_pairs(words: __m128i) -> __m128i {
    _mm_shuffle_epi32::<0xb1>(words)
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [&mut State; N], messages: [&&[[u8; BLOCK]]; N]) -> usize {
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    let zero = _mm_setzero_si128();
    let mut abef = [zero; N];
    let mut cdgh = [zero; N];
    let mut at = [std::ptr::null::<u8>(); N];
    for i in 0..N {
        let [front, back] = states[i].vectors();
        let (front, back) = (swap_pairs(front), swap_pairs(back));
        abef[i] = _mm_unpacklo_epi64(back, front);
        cdgh[i] = _mm_unpackhi_epi64(back, front);
        at[i] = messages[i].as_ptr().cast();
    }
    for _ in 0..count {
        let (abef_before, cdgh_before) = (abef, cdgh);
        let mut w = Words::<N>::new();
        let mut newest = [zero; N];
        for part in 0..4 {
            for i in 0..N {
                // SAFETY: there are `count` blocks of 64 bytes from where the message begins, and this is one of them.
                let bytes = unsafe { _mm_loadu_si128(at[i].add(16 * part).cast()) };
                newest[i] = _mm_shuffle_epi8(bytes, swap);
                w.put(part, i, newest[i]);
            }
        }
        rounds!(N, abef, cdgh, w, newest, 0);
        rounds!(N, abef, cdgh, w, newest, 1);
        rounds!(N, abef, cdgh, w, newest, 2);
        rounds!(N, abef, cdgh, w, newest, 3);
        rounds!(N, abef, cdgh, w, newest, 4);
        rounds!(N, abef, cdgh, w, newest, 5);
        rounds!(N, abef, cdgh, w, newest, 6);
        rounds!(N, abef, cdgh, w, newest, 7);
        rounds!(N, abef, cdgh, w, newest, 8);
        rounds!(N, abef, cdgh, w, newest, 9);
        rounds!(N, abef, cdgh, w, newest, 10);
        rounds!(N, abef, cdgh, w, newest, 11);
        rounds!(N, abef, cdgh, w, newest, 12);
        rounds!(N, abef, cdgh, w, newest, 13);
        rounds!(N, abef, cdgh, w, newest, 14);
        rounds!(N, abef, cdgh, w, newest, 15);
        for i in 0..N {
            abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
            at[i] = at[i].wrapping_add(BLOCK);
        }
    }
    for ((state, abef), cdgh) in states.into_iter().zip(abef).zip(cdgh) {
        let back = swap_pairs(_mm_unpacklo_epi64(abef, cdgh));
        state.set_vectors([swap_pairs(_mm_unpackhi_epi64(abef, cdgh)), back]);
    }
    count
}
