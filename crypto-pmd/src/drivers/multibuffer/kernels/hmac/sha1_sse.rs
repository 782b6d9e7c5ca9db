//! SHA-1 with the SHA extensions: blocks of up to four messages interleaved, because one alone waits for its own rounds.

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
    const LEN: usize = 20;
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

/// Four rounds of every stream, and the message words of four groups on in the place of these. `$e` holds, for each, E of the four rounds
/// before; it takes the A that becomes E later on.
macro_rules! rounds {
    ($n:ident, $abcd:ident, $e:ident, $w:ident, $newest:ident, $group:literal, $function:literal) => {
        for i in 0..$n {
            let word = $w.get($group, i);
            let e = if $group == 0 { _mm_add_epi32($e[i], word) } else { _mm_sha1nexte_epu32($e[i], word) };
            $e[i] = $abcd[i];
            $abcd[i] = _mm_sha1rnds4_epu32::<$function>($abcd[i], e);
            if $group < 16 {
                let older = _mm_sha1msg1_epu32($w.get($group, i), $w.get($group + 1, i));
                let older = _mm_xor_si128(older, $w.get($group + 2, i));
                $newest[i] = _mm_sha1msg2_epu32(older, $newest[i]);
                $w.put($group, i, $newest[i]);
            }
        }
    };
}

/// Compresses a block of every stream from `$at` on, and does `$beside` behind each group of four rounds, whose number it may know: that
/// runs in the time in which rounds wait for each other.
macro_rules! block {
    ($n:ident, $abcd:ident, $e:ident, $at:ident, |$group_of:ident| $beside:expr) => {
        let (abcd_before, e_before) = ($abcd, $e);
        let mut w = Words::<$n>::new();
        let mut newest = [_mm_setzero_si128(); $n];
        for part in 0..4 {
            for i in 0..$n {
                // SAFETY: a block of 64 bytes begins there, says whoever uses this.
                let bytes = unsafe { _mm_loadu_si128($at[i].add(16 * part).cast()) };
                newest[i] = _mm_shuffle_epi8(bytes, reversal());
                w.put(part, i, newest[i]);
            }
        }
        block!(@groups $n, $abcd, $e, w, newest, |$group_of| $beside, 0 0, 1 0, 2 0, 3 0, 4 0, 5 1, 6 1, 7 1, 8 1, 9 1, 10 2, 11 2, 12 2, 13 2, 14 2, 15 3, 16 3, 17 3, 18 3, 19 3);
        for i in 0..$n {
            $e[i] = _mm_sha1nexte_epu32($e[i], e_before[i]);
            $abcd[i] = _mm_add_epi32($abcd[i], abcd_before[i]);
            $at[i] = $at[i].wrapping_add(BLOCK);
        }
    };
    (@groups $n:ident, $abcd:ident, $e:ident, $w:ident, $newest:ident, |$group_of:ident| $beside:expr, $($group:literal $function:literal),*) => {
        $(
            rounds!($n, $abcd, $e, $w, $newest, $group, $function);
            {
                let $group_of: usize = $group;
                $beside
            }
        )*
    };
}

/// Reverses the bytes of a vector: words of a block are in the registers from right to left, and so is a state.
#[inline]
#[target_feature(enable = "sse2")]
fn reversal() -> __m128i {
    _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f)
}

#[inline]
#[target_feature(enable = "ssse3")]
fn load(state: &State) -> (__m128i, __m128i) {
    let [front, back] = state.vectors();
    (_mm_shuffle_epi32::<0x1b>(front), _mm_slli_si128::<12>(back))
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [&mut State; N], messages: [&&[[u8; BLOCK]]; N]) -> usize {
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let mut abcd = [_mm_setzero_si128(); N];
    let mut e = [_mm_setzero_si128(); N];
    let mut at = [std::ptr::null::<u8>(); N];
    for i in 0..N {
        (abcd[i], e[i]) = load(states[i]);
        at[i] = messages[i].as_ptr().cast();
    }
    for _ in 0..count {
        block!(N, abcd, e, at, |_group| ());
    }
    for ((state, abcd), e) in states.into_iter().zip(abcd).zip(e) {
        state.set_vectors([_mm_shuffle_epi32::<0x1b>(abcd), _mm_srli_si128::<12>(e)]);
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
    let (mut abcd, mut e, mut at) = ([front; ONE], [back; ONE], [from; ONE]);
    for _ in 0..count {
        // SAFETY: the caller says that the blocks are there.
        block!(ONE, abcd, e, at, |group| unsafe { chain.part::<5>(group) });
    }
    let ([abcd], [e]) = (abcd, e);
    state.set_vectors([_mm_shuffle_epi32::<0x1b>(abcd), _mm_srli_si128::<12>(e)]);
}
