//! SHA-256 with the SHA extensions: blocks of up to four messages interleaved, because one alone waits for its own rounds.

use std::arch::x86_64::*;

use super::super::cbc::Chain;
use super::beside::Beside;
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

impl Beside for Engine {
    unsafe fn compress_beside<const ROUNDS: usize>(
        self,
        state: &mut State,
        from: *const u8,
        count: usize,
        chain: &mut Chain<'_, ROUNDS>,
    ) {
        // SAFETY: who made the engine promised the instructions, and who calls the rest.
        unsafe { compress_beside(state, from, count, chain) }
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

/// Compresses a block of every stream from `$at` on, and does `$beside` behind each group of four rounds, whose number it may know: that
/// runs in the time in which rounds wait for each other.
macro_rules! block {
    ($n:ident, $abef:ident, $cdgh:ident, $at:ident, |$group_of:ident| $beside:expr) => {
        let (abef_before, cdgh_before) = ($abef, $cdgh);
        let mut w = Words::<$n>::new();
        let mut newest = [_mm_setzero_si128(); $n];
        for part in 0..4 {
            for i in 0..$n {
                // SAFETY: a block of 64 bytes begins there, says whoever uses this.
                let bytes = unsafe { _mm_loadu_si128($at[i].add(16 * part).cast()) };
                newest[i] = _mm_shuffle_epi8(bytes, swap_words());
                w.put(part, i, newest[i]);
            }
        }
        block!(@groups $n, $abef, $cdgh, w, newest, |$group_of| $beside, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for i in 0..$n {
            $abef[i] = _mm_add_epi32($abef[i], abef_before[i]);
            $cdgh[i] = _mm_add_epi32($cdgh[i], cdgh_before[i]);
            $at[i] = $at[i].wrapping_add(BLOCK);
        }
    };
    (@groups $n:ident, $abef:ident, $cdgh:ident, $w:ident, $newest:ident, |$group_of:ident| $beside:expr, $($group:literal),*) => {
        $(
            rounds!($n, $abef, $cdgh, $w, $newest, $group);
            {
                let $group_of: usize = $group;
                $beside
            }
        )*
    };
}

/// Turns the bytes of each word round.
#[inline]
#[target_feature(enable = "sse2")]
fn swap_words() -> __m128i {
    _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203)
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load(state: &State) -> (__m128i, __m128i) {
    let [front, back] = state.vectors();
    let (front, back) = (swap_pairs(front), swap_pairs(back));
    (_mm_unpacklo_epi64(back, front), _mm_unpackhi_epi64(back, front))
}

/// The words of a state from A on.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn words(abef: __m128i, cdgh: __m128i) -> [__m128i; 2] {
    [swap_pairs(_mm_unpackhi_epi64(abef, cdgh)), swap_pairs(_mm_unpacklo_epi64(abef, cdgh))]
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [&mut State; N], messages: [&&[[u8; BLOCK]]; N]) -> usize {
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let mut abef = [_mm_setzero_si128(); N];
    let mut cdgh = [_mm_setzero_si128(); N];
    let mut at = [std::ptr::null::<u8>(); N];
    for i in 0..N {
        (abef[i], cdgh[i]) = load(states[i]);
        at[i] = messages[i].as_ptr().cast();
    }
    for _ in 0..count {
        block!(N, abef, cdgh, at, |_group| ());
    }
    for ((state, abef), cdgh) in states.into_iter().zip(abef).zip(cdgh) {
        state.set_vectors(words(abef, cdgh));
    }
    count
}

/// Compresses blocks of one message and encrypts four blocks beside each.
///
/// # Safety
/// As [`Beside::compress_beside`].
#[target_feature(enable = "sha,aes,sse4.1,ssse3")]
unsafe fn compress_beside<const ROUNDS: usize>(
    state: &mut State,
    from: *const u8,
    count: usize,
    chain: &mut Chain<'_, ROUNDS>,
) {
    const ONE: usize = 1;
    let (front, back) = load(state);
    let (mut abef, mut cdgh, mut at) = ([front; ONE], [back; ONE], [from; ONE]);
    for _ in 0..count {
        // SAFETY: the caller says that the blocks are there.
        block!(ONE, abef, cdgh, at, |group| unsafe { chain.part::<4>(group) });
    }
    let ([abef], [cdgh]) = (abef, cdgh);
    state.set_vectors(words(abef, cdgh));
}
