//! SHA-1 with the SHA extensions: blocks of up to four messages interleaved, because one alone waits for its own rounds.

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

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [&mut State; N], messages: [&&[[u8; BLOCK]]; N]) -> usize {
    let count = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    let zero = _mm_setzero_si128();
    let mut abcd = [zero; N];
    let mut e = [zero; N];
    let mut at = [std::ptr::null::<u8>(); N];
    for i in 0..N {
        let [front, back] = states[i].vectors();
        abcd[i] = _mm_shuffle_epi32::<0x1b>(front);
        e[i] = _mm_slli_si128::<12>(back);
        at[i] = messages[i].as_ptr().cast();
    }
    for _ in 0..count {
        let (abcd_before, e_before) = (abcd, e);
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
        rounds!(N, abcd, e, w, newest, 0, 0);
        rounds!(N, abcd, e, w, newest, 1, 0);
        rounds!(N, abcd, e, w, newest, 2, 0);
        rounds!(N, abcd, e, w, newest, 3, 0);
        rounds!(N, abcd, e, w, newest, 4, 0);
        rounds!(N, abcd, e, w, newest, 5, 1);
        rounds!(N, abcd, e, w, newest, 6, 1);
        rounds!(N, abcd, e, w, newest, 7, 1);
        rounds!(N, abcd, e, w, newest, 8, 1);
        rounds!(N, abcd, e, w, newest, 9, 1);
        rounds!(N, abcd, e, w, newest, 10, 2);
        rounds!(N, abcd, e, w, newest, 11, 2);
        rounds!(N, abcd, e, w, newest, 12, 2);
        rounds!(N, abcd, e, w, newest, 13, 2);
        rounds!(N, abcd, e, w, newest, 14, 2);
        rounds!(N, abcd, e, w, newest, 15, 3);
        rounds!(N, abcd, e, w, newest, 16, 3);
        rounds!(N, abcd, e, w, newest, 17, 3);
        rounds!(N, abcd, e, w, newest, 18, 3);
        rounds!(N, abcd, e, w, newest, 19, 3);
        for i in 0..N {
            e[i] = _mm_sha1nexte_epu32(e[i], e_before[i]);
            abcd[i] = _mm_add_epi32(abcd[i], abcd_before[i]);
            at[i] = at[i].wrapping_add(BLOCK);
        }
    }
    for ((state, abcd), e) in states.into_iter().zip(abcd).zip(e) {
        state.set_vectors([_mm_shuffle_epi32::<0x1b>(abcd), _mm_srli_si128::<12>(e)]);
    }
    count
}
