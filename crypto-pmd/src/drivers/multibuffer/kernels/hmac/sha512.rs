//! SHA-512 and SHA-384 (FIPS 180-4 section 6.4) over as many messages side by side as a register has words, over the vectors of a level.
//!
//! A macro, for the reason that GCM's kernel is one. The file that uses it gives vectors `V` of `STREAMS` words, and small functions on them.
//! States and blocks lie in memory as they are, and change between rows and columns on the way in and out.

/// Defines `Engine` for the features named.
macro_rules! engine {
    ($features:literal) => {
        /// Says that the processor has what this file uses; digests have `LEN` bytes.
        #[derive(Clone, Copy)]
        pub(super) struct Engine<const LEN: usize>(());

        impl<const LEN: usize> Engine<LEN> {
            /// # Safety
            /// The processor has what this file uses.
            pub(super) unsafe fn new() -> Self {
                Self(())
            }
        }

        impl<const LEN: usize> streams::Engine<WIDE_BLOCK, 64> for Engine<LEN> {
            const LEN: usize = LEN;
            type State = WideState;

            fn compress(self, states: &mut [WideState], messages: &[&[[u8; WIDE_BLOCK]]]) -> usize {
                // SAFETY: who made the engine promised the instructions.
                unsafe { few_or_all::<LEN>(states, messages) }
            }

            fn digest(self, state: &WideState, pad: &[u8; 64]) -> Digest<64> {
                portable::Sha512::<LEN>.digest(state, pad)
            }
        }

        /// The message word of the round that comes sixteen later, in the place of this one's (section 6.4.2, step 1).
        macro_rules! next_word {
            (false, $w:ident, $at:expr) => {};
            (true, $w:ident, $at:expr) => {{
                let (old, near) = ($w[($at + 1) % 16], $w[($at + 14) % 16]);
                let sigma0 = xor3(rotate::<1, 63>(old), rotate_8(old), shift::<7>(old));
                let sigma1 = xor3(rotate::<19, 45>(near), rotate::<61, 3>(near), shift::<6>(near));
                $w[$at % 16] = add(add(add($w[$at % 16], $w[($at + 9) % 16]), sigma0), sigma1);
            }};
        }

        /// One round; the caller names the words anew instead of moving them. `$bc` is where B and C differ, and then where A and B do.
        macro_rules! round {
            ($k:ident, $w:ident, $at:expr, $more:tt, $bc:ident,
             $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident) => {
                let sum1 = xor3(rotate::<14, 50>($e), rotate::<18, 46>($e), rotate::<41, 23>($e));
                let word = add($w[$at % 16], splat($k[$at]));
                let t1 = add(add($h, word), add(sum1, choose($e, $f, $g)));
                let sum0 = xor3(rotate::<28, 36>($a), rotate::<34, 30>($a), rotate::<39, 25>($a));
                let ab = xor($a, $b);
                $h = add(t1, add(sum0, majority($a, $b, $c, ab, $bc)));
                $bc = ab;
                $d = add($d, t1);
                next_word!($more, $w, $at);
            };
        }

        /// Eight rounds, after which every word is in its place again; and, where `$more`, message words for later.
        macro_rules! eight {
            ($k:ident, $w:ident, $at:literal, $more:tt, $bc:ident, $state:ident) => {
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $state;
                round!($k, $w, $at, $more, $bc, a, b, c, d, e, f, g, h);
                round!($k, $w, $at + 1, $more, $bc, h, a, b, c, d, e, f, g);
                round!($k, $w, $at + 2, $more, $bc, g, h, a, b, c, d, e, f);
                round!($k, $w, $at + 3, $more, $bc, f, g, h, a, b, c, d, e);
                round!($k, $w, $at + 4, $more, $bc, e, f, g, h, a, b, c, d);
                round!($k, $w, $at + 5, $more, $bc, d, e, f, g, h, a, b, c);
                round!($k, $w, $at + 6, $more, $bc, c, d, e, f, g, h, a, b);
                round!($k, $w, $at + 7, $more, $bc, b, c, d, e, f, g, h, a);
                $state = [a, b, c, d, e, f, g, h];
            };
        }

        /// Compresses `count` blocks of each message, of which there are one to `STREAMS`.
        ///
        /// # Safety
        /// Every message has so many blocks.
        #[target_feature(enable = $features)]
        unsafe fn compress(states: &mut [WideState], messages: &[&[[u8; WIDE_BLOCK]]], count: usize) {
            let ([state, ..], [message, ..], 1..=STREAMS) = (&*states, messages, states.len()) else { return };
            // Places without a message do the first one once more, and nobody looks at what becomes of it.
            let mut rows: [*const u8; STREAMS] = [state.0.as_ptr().cast(); STREAMS];
            rows.iter_mut().zip(&*states).for_each(|(to, state)| *to = state.0.as_ptr().cast());
            let mut at: [*const u8; STREAMS] = [message.as_ptr().cast(); STREAMS];
            at.iter_mut().zip(messages).for_each(|(to, message)| *to = message.as_ptr().cast());

            let mut state = [zero(); 8];
            for (part, words) in state.chunks_exact_mut(STREAMS).enumerate() {
                // SAFETY: a state is 64 bytes, and this is one of the parts of it.
                words.copy_from_slice(&unsafe { columns(rows, part) });
            }
            for _ in 0..count {
                let mut w = [zero(); 16];
                for (part, words) in w.chunks_exact_mut(STREAMS).enumerate() {
                    // SAFETY: there are `count` blocks of 128 bytes from where each message begins, and this is part of one of them.
                    words.copy_from_slice(&unsafe { columns(at, part) });
                }
                w = w.map(|word| swap(word));
                at = at.map(|at| at.wrapping_add(WIDE_BLOCK));
                let before = state;
                let mut bc = xor(state[1], state[2]);
                let [first @ .., last] = &K;
                for k in first {
                    eight!(k, w, 0, true, bc, state);
                    eight!(k, w, 8, true, bc, state);
                }
                eight!(last, w, 0, false, bc, state);
                eight!(last, w, 8, false, bc, state);
                for (word, before) in state.iter_mut().zip(before) {
                    *word = add(*word, before);
                }
            }
            for (part, words) in state.as_chunks::<STREAMS>().0.iter().enumerate() {
                for (state, row) in states.iter_mut().zip(transposed(*words)) {
                    // SAFETY: a state is 64 bytes with an alignment of 64, and this is one of the parts of it.
                    unsafe { state.0.as_mut_ptr().cast::<V>().add(part).write(row) };
                }
            }
        }

        /// So many words of each row as a register has, from the `part`-th register of them, as columns: a register holds one word of every row.
        ///
        /// # Safety
        /// There are such bytes to be read in every row.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn columns(rows: [*const u8; STREAMS], part: usize) -> [V; STREAMS] {
            // SAFETY: passed on from the caller.
            transposed(rows.map(|row| unsafe { row.cast::<V>().add(part).read_unaligned() }))
        }
    };
}
