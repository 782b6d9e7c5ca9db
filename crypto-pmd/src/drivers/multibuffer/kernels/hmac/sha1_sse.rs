//! SHA-1 with the SHA extensions: blocks of up to three messages interleaved, because one alone waits for its own rounds.

use std::arch::x86_64::*;

use super::streams::{self, BLOCK, State};

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

impl streams::Engine for Engine {
    const STREAMS: usize = 3;
    const WORDS: usize = 5;

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
}

/// Four rounds of every stream. `$e` holds, for each, E of the four rounds before; it takes the A that becomes E later on.
macro_rules! rounds {
    ($n:ident, $abcd:ident, $e:ident, $w:ident, $group:literal, $function:literal) => {
        for i in 0..$n {
            let e = if $group == 0 {
                _mm_add_epi32($e[i], $w[0][i])
            } else {
                _mm_sha1nexte_epu32($e[i], $w[$group % 4][i])
            };
            $e[i] = $abcd[i];
            $abcd[i] = _mm_sha1rnds4_epu32::<$function>($abcd[i], e);
        }
        // The message words of four groups on take the place of these.
        if $group < 16 {
            for i in 0..$n {
                let older = _mm_sha1msg1_epu32($w[$group % 4][i], $w[($group + 1) % 4][i]);
                let older = _mm_xor_si128(older, $w[($group + 2) % 4][i]);
                $w[$group % 4][i] = _mm_sha1msg2_epu32(older, $w[($group + 3) % 4][i]);
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
        let [a, b, c, d, fifth, ..] = states[i].0;
        abcd[i] = _mm_set_epi32(a as i32, b as i32, c as i32, d as i32);
        e[i] = _mm_set_epi32(fifth as i32, 0, 0, 0);
        at[i] = messages[i].as_ptr().cast();
    }
    for _ in 0..count {
        let (abcd_before, e_before) = (abcd, e);
        let mut w = [[zero; N]; 4];
        for (word, part) in w.iter_mut().zip((0..64).step_by(16)) {
            for i in 0..N {
                // SAFETY: there are `count` blocks of 64 bytes from where the message begins, and this is one of them.
                let bytes = unsafe { _mm_loadu_si128(at[i].add(part).cast()) };
                word[i] = _mm_shuffle_epi8(bytes, swap);
            }
        }
        rounds!(N, abcd, e, w, 0, 0);
        rounds!(N, abcd, e, w, 1, 0);
        rounds!(N, abcd, e, w, 2, 0);
        rounds!(N, abcd, e, w, 3, 0);
        rounds!(N, abcd, e, w, 4, 0);
        rounds!(N, abcd, e, w, 5, 1);
        rounds!(N, abcd, e, w, 6, 1);
        rounds!(N, abcd, e, w, 7, 1);
        rounds!(N, abcd, e, w, 8, 1);
        rounds!(N, abcd, e, w, 9, 1);
        rounds!(N, abcd, e, w, 10, 2);
        rounds!(N, abcd, e, w, 11, 2);
        rounds!(N, abcd, e, w, 12, 2);
        rounds!(N, abcd, e, w, 13, 2);
        rounds!(N, abcd, e, w, 14, 2);
        rounds!(N, abcd, e, w, 15, 3);
        rounds!(N, abcd, e, w, 16, 3);
        rounds!(N, abcd, e, w, 17, 3);
        rounds!(N, abcd, e, w, 18, 3);
        rounds!(N, abcd, e, w, 19, 3);
        for i in 0..N {
            e[i] = _mm_sha1nexte_epu32(e[i], e_before[i]);
            abcd[i] = _mm_add_epi32(abcd[i], abcd_before[i]);
            at[i] = at[i].wrapping_add(BLOCK);
        }
    }
    for ((state, abcd), e) in states.into_iter().zip(abcd).zip(e) {
        state.0[0] = _mm_extract_epi32::<3>(abcd) as u32;
        state.0[1] = _mm_extract_epi32::<2>(abcd) as u32;
        state.0[2] = _mm_extract_epi32::<1>(abcd) as u32;
        state.0[3] = _mm_extract_epi32::<0>(abcd) as u32;
        state.0[4] = _mm_extract_epi32::<3>(e) as u32;
    }
    count
}
