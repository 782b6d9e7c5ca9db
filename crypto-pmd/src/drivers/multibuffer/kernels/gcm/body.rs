//! The kernel that every level has, over the vectors of that level.
//!
//! A macro, because a function that is generic over vectors cannot carry `#[target_feature]`, and large functions that can are not inlined.
//! The file that uses it gives vectors `V` of `W` blocks (one, two or four) in `B` bytes, and small functions on them.
//!
//! How a packet is cut: full blocks, then a tail of 1 to 16 bytes, which is encrypted together with the block that masks the tag. The full blocks
//! go in groups of eight vectors, each with a reduction; what is left, with the tail and the lengths, is one more sum.

/// Defines `run` for the features named, with registers of the class named.
macro_rules! kernel {
    ($features:literal, $registers:ident) => {
        /// The ends of the counters of a group. The first block of data has counter 2, so that a group has the ends 2 to its size less 1, and
        /// then, with a carry in front, 0 and 1: with one addition for the whole group, what differs inside it is fixed.
        static COUNTER_ENDS: [[u8; B]; 8] = {
            let mut ends = [[0; B]; 8];
            let mut block = 0;
            while block < 8 * W {
                ends.as_flattened_mut()[16 * block + 15] = ((block + 2) % (8 * W)) as u8;
                block += 1;
            }
            ends
        };

        /// Encrypts or decrypts `data` in place; the tag is that of the ciphertext.
        #[target_feature(enable = $features)]
        pub(super) fn run<const SEAL: bool>(
            key: &GcmKey,
            nonce: Nonce,
            aad: &[u8],
            data: &mut [u8],
        ) -> [u8; 16] {
            match key.aes.rounds() {
                10 => rounds::<SEAL, 10>(key, nonce, aad, data),
                12 => rounds::<SEAL, 12>(key, nonce, aad, data),
                _ => rounds::<SEAL, 14>(key, nonce, aad, data),
            }
        }

        /// Powers of H from `from` down, and the sums of their halves, as vectors.
        #[inline]
        #[target_feature(enable = $features)]
        fn powers_from(key: &GcmKey, from: usize) -> (&[[u8; B]], &[[u8; B]]) {
            let at = POWERS - from;
            let powers = key.hash.power[at..].as_flattened().as_chunks().0;
            (powers, key.hash.sum[at..].as_flattened().as_chunks().0)
        }

        /// The same for a whole group.
        #[inline]
        #[target_feature(enable = $features)]
        fn group_powers(key: &GcmKey) -> (&[[u8; B]; 8], &[[u8; B]; 8]) {
            const AT: usize = POWERS - 8 * W;
            let powers = key.hash.power[AT..].as_flattened().as_chunks().0;
            let sums = key.hash.sum[AT..].as_flattened().as_chunks().0;
            match (powers.first_chunk(), sums.first_chunk()) {
                (Some(powers), Some(sums)) => (powers, sums),
                _ => (&[[0; B]; 8], &[[0; B]; 8]),
            }
        }

        /// One power of H.
        #[inline]
        #[target_feature(enable = $features)]
        fn power(key: &GcmKey, number: usize) -> __m128i {
            load_block(&key.hash.power[POWERS - number])
        }

        /// The sum of the halves of a power of H.
        #[inline]
        #[target_feature(enable = $features)]
        fn halves(key: &GcmKey, number: usize) -> __m128i {
            load_block(&key.hash.sum[POWERS - number])
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn first_product(x: V, power: V, halves: V) -> Sum {
            Sum {
                low: multiply_low(x, power),
                middle: multiply_low(fold(x), halves),
                high: multiply_high(x, power),
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn multiply(sum: Sum, x: V, power: V, halves: V) -> Sum {
            let product = first_product(x, power, halves);
            Sum {
                low: xor(sum.low, product.low),
                middle: xor(sum.middle, product.middle),
                high: xor(sum.high, product.high),
            }
        }

        /// The sum modulo the polynomial (Montgomery's way, from the low end), with all lanes added up.
        #[inline]
        #[target_feature(enable = $features)]
        fn reduce(sum: Sum) -> __m128i {
            let middle = xor(sum.middle, xor(sum.low, sum.high));
            let low = xor(sum.low, left_half(middle));
            let high = xor(sum.high, right_half(middle));
            let low = xor(swap_halves(low), multiply_low(low, polynomial()));
            let low = xor(swap_halves(low), multiply_low(low, polynomial()));
            add_lanes(xor(high, low))
        }

        /// Keeps the compiler from moving work over this point, which undoes interleaving.
        #[inline]
        #[target_feature(enable = $features)]
        fn pin(state: &mut [V; 8], sum: &mut Sum) {
            let [a, b, c, d, e, f, g, h] = state;
            // SAFETY: no instruction at all.
            unsafe {
                asm!(
                    "# {} {} {} {} {} {} {} {} {} {} {}",
                    inout($registers) *a, inout($registers) *b, inout($registers) *c, inout($registers) *d,
                    inout($registers) *e, inout($registers) *f, inout($registers) *g, inout($registers) *h,
                    inout($registers) sum.low, inout($registers) sum.middle, inout($registers) sum.high,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }

        /// The same for a few vectors.
        #[inline]
        #[target_feature(enable = $features)]
        fn pin_few<const N: usize>(state: &mut [V; N]) {
            for state in state {
                // SAFETY: no instruction at all.
                unsafe {
                    asm!("# {}", inout($registers) *state, options(nomem, nostack, preserves_flags));
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn nothing() -> Sum {
            Sum { low: zero(), middle: zero(), high: zero() }
        }

        /// The hash of associated data longer than one block, all in, behind what was hashed before.
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn hash_long(key: &GcmKey, mut hash: __m128i, aad: &[u8]) -> __m128i {
            let (groups, rest) = aad.as_chunks::<{ 8 * B }>();
            let (powers, sums) = group_powers(key);
            for group in groups {
                let mut sum = nothing();
                for (i, bytes) in group.as_chunks::<B>().0.iter().enumerate() {
                    let mut x = reverse(load(bytes));
                    if i == 0 {
                        x = xor(x, wide(hash));
                    }
                    sum = multiply(sum, x, load(&powers[i]), load(&sums[i]));
                }
                hash = reduce(sum);
            }
            if rest.is_empty() {
                return hash;
            }
            let mut at = rest.len().div_ceil(16);
            let mut sum = nothing();
            let (vectors, rest) = rest.as_chunks::<B>();
            let (powers, sums) = powers_from(key, at);
            for (bytes, (power, halves)) in vectors.iter().zip(powers.iter().zip(sums)) {
                let x = xor(reverse(load(bytes)), wide(hash));
                hash = _mm_setzero_si128();
                sum = multiply(sum, x, load(power), load(halves));
                at -= W;
            }
            let (blocks, tail) = rest.as_chunks::<16>();
            for bytes in blocks {
                let x = _mm_xor_si128(reverse_block(load_block(bytes)), hash);
                hash = _mm_setzero_si128();
                sum = multiply(sum, wide(x), wide(power(key, at)), wide(halves(key, at)));
                at -= 1;
            }
            if !tail.is_empty() {
                let x = _mm_xor_si128(reverse_block(load_short(tail)), hash);
                sum = multiply(sum, wide(x), wide(power(key, 1)), wide(halves(key, 1)));
            }
            reduce(sum)
        }

        /// The tag where all data are associated: a block in front, if there is one (its first byte the lowest), and the rest.
        #[target_feature(enable = $features)]
        pub(super) fn authenticate(
            key: &GcmKey,
            nonce: Nonce,
            front: Option<u128>,
            rest: &[u8],
        ) -> [u8; 16] {
            let keys = key.aes.keys();
            let mask = match key.aes.rounds() {
                10 => one_block::<10>(keys, first_counter(nonce)),
                12 => one_block::<12>(keys, first_counter(nonce)),
                _ => one_block::<14>(keys, first_counter(nonce)),
            };
            let times_h =
                |x| reduce(first_product(wide(x), wide(power(key, 1)), wide(halves(key, 1))));
            let (start, front_len) = match front {
                Some(front) => {
                    let front = _mm_set_epi64x((front >> 64) as i64, front as i64);
                    (times_h(reverse_block(front)), 16)
                }
                None => (_mm_setzero_si128(), 0),
            };
            let bits = 8 * (front_len + rest.len()) as u64;
            let lengths = reverse_block(_mm_set_epi64x(0, bits.swap_bytes() as i64));
            let hash = times_h(_mm_xor_si128(hash_long(key, start, rest), lengths));
            let mut tag = [0; 16];
            store_block(&mut tag, _mm_xor_si128(reverse_block(hash), mask));
            tag
        }

        #[target_feature(enable = $features)]
        fn rounds<const SEAL: bool, const ROUNDS: usize>(
            key: &GcmKey,
            nonce: Nonce,
            aad: &[u8],
            data: &mut [u8],
        ) -> [u8; 16] {
            let keys = key.aes.keys();

            /// Rounds of AES over some vectors, all but the last; behind each of the first eight comes
            /// `$between`, with `$i` from 0 up, behind the ninth `$finally`.
            macro_rules! middle_rounds {
                ($keys:ident, $state:ident, |$i:ident| $between:block, $finally:block) => {
                    middle_rounds!(@ $keys, $state, 0, $i, $between);
                    middle_rounds!(@ $keys, $state, 1, $i, $between);
                    middle_rounds!(@ $keys, $state, 2, $i, $between);
                    middle_rounds!(@ $keys, $state, 3, $i, $between);
                    middle_rounds!(@ $keys, $state, 4, $i, $between);
                    middle_rounds!(@ $keys, $state, 5, $i, $between);
                    middle_rounds!(@ $keys, $state, 6, $i, $between);
                    middle_rounds!(@ $keys, $state, 7, $i, $between);
                    middle_rounds!(@ $keys, $state, 8, $i, $finally);
                    if ROUNDS > 10 {
                        middle_rounds!(@ $keys, $state, 9, $i, {});
                        middle_rounds!(@ $keys, $state, 10, $i, {});
                    }
                    if ROUNDS > 12 {
                        middle_rounds!(@ $keys, $state, 11, $i, {});
                        middle_rounds!(@ $keys, $state, 12, $i, {});
                    }
                };
                (@ $keys:ident, $state:ident, $r:literal, $i:ident, $between:block) => {{
                    #[allow(dead_code)]
                    const $i: usize = $r;
                    let round_key = splat(load_block(&$keys[$r + 1]));
                    for state in &mut $state {
                        *state = encrypt(*state, round_key);
                    }
                    $between
                }};
            }
            /// The next `$n` vectors of counters, ready for the first round.
            macro_rules! counters {
                ($counter:ident, $n:literal) => {{
                    let first_key = splat(load_block(&keys[0]));
                    let mut state = [zero(); $n];
                    for state in &mut state {
                        *state = xor(reverse($counter), first_key);
                        $counter = count($counter, W as i32);
                    }
                    state
                }};
            }
            /// The counters of a group, ready for the first round; `$counter` is without what [`COUNTER_ENDS`] adds.
            macro_rules! group_states {
                ($keys:ident, $counter:ident) => {{
                    let first_key = splat(load_block(&$keys[0]));
                    let this = xor(reverse($counter), first_key);
                    $counter = count($counter, 8 * W as i32);
                    let next = xor(reverse($counter), first_key);
                    let mut state = [zero(); 8];
                    for (j, (state, ends)) in state.iter_mut().zip(&COUNTER_ENDS).enumerate() {
                        let base = match j * W + 2 {
                            at if at + W <= 8 * W => this,
                            at if at >= 8 * W => next,
                            _ => half_and_half(this, next),
                        };
                        *state = xor(base, load(ends));
                    }
                    state
                }};
            }
            /// The last round, into the data; then `$then`, with the vector's number and its ciphertext.
            macro_rules! last_round {
                ($keys:ident, $state:ident, $data:expr, |$j:ident, $x:ident| $then:block) => {
                    let last_key = splat(load_block(&$keys[ROUNDS]));
                    for ($j, (state, bytes)) in $state.into_iter().zip($data.iter_mut()).enumerate() {
                        let before = load(bytes);
                        let after = encrypt_last(state, xor(before, last_key));
                        store(bytes, after);
                        let $x = if SEAL { after } else { before };
                        $then
                    }
                };
            }

            let mask_block = first_counter(nonce);
            // Byte-reversed, the counter is the lowest word.
            let first = reverse_block(mask_block);

            let len = data.len();
            let full = len.saturating_sub(1) / 16;
            let lengths = reverse_block(_mm_set_epi64x(
                (len as u64 * 8).swap_bytes() as i64,
                (aad.len() as u64 * 8).swap_bytes() as i64,
            ));

            // What is hashed so far: one block that waits for its multiplication, or a result.
            let (mut hash, mut waits) = match aad.len() {
                0 => (_mm_setzero_si128(), 0),
                1..=16 => (reverse_block(load_short(aad)), 1),
                _ => (hash_long(key, _mm_setzero_si128(), aad), 0),
            };

            // The tail lies in a window of the last 16 bytes, so that nothing outside is touched. It is stored before all else: what is in front
            // of it in the window is still as it was.
            let tail = len - 16 * full;
            let tail_block = reverse_block(_mm_add_epi32(first, _mm_set_epi32(0, 0, 0, full as i32 + 1)));
            let (stream, mask) = two_blocks::<ROUNDS>(keys, tail_block, mask_block);
            let mut tail_text = _mm_setzero_si128();
            if tail > 0 {
                let mut short = [0; 16];
                let window = match data.last_chunk_mut::<16>() {
                    Some(window) => window,
                    None => {
                        short[16 - len..].copy_from_slice(data);
                        &mut short
                    }
                };
                let before = load_block(window);
                let after = _mm_xor_si128(before, _mm_shuffle_epi8(stream, to_the_end(tail)));
                store_block(window, after);
                if len < 16 {
                    data.copy_from_slice(&short[16 - len..]);
                }
                let text = if SEAL { after } else { before };
                tail_text = reverse_block(_mm_shuffle_epi8(text, to_the_front(tail)));
            }

            let mut counter = count(lanes(first), 1);
            let (groups, rest) = data[..16 * full].as_chunks_mut::<{ 8 * B }>();

            if !groups.is_empty() {
                let (powers, sums) = group_powers(key);
                if waits == 1 {
                    let product = first_product(wide(hash), wide(power(key, 1)), wide(halves(key, 1)));
                    (hash, waits) = (reduce(product), 0);
                }
                let mut sum = nothing();
                let mut group_counter = splat(_mm_sub_epi32(first, _mm_set_epi32(0, 0, 0, 1)));
                if SEAL {
                    let mut state = group_states!(keys, group_counter);
                    middle_rounds!(keys, state, |I| {}, {});
                    last_round!(keys, state, groups[0].as_chunks_mut::<B>().0, |_j, _x| {});
                }
                for i in usize::from(SEAL)..groups.len() {
                    let (keys, powers, sums) = (fresh(keys), fresh(powers), fresh(sums));
                    let (done, now) = groups.split_at_mut(i);
                    let now = now[0].as_chunks_mut::<B>().0;
                    let hashed = if SEAL { done[i - 1].as_chunks::<B>().0 } else { &*now };
                    let mut state = group_states!(keys, group_counter);
                    middle_rounds!(keys, state, |I| {
                        let x = reverse(load(&hashed[I]));
                        let (power, halves) = (load(&powers[I]), load(&sums[I]));
                        sum = if I == 0 {
                            first_product(xor(x, wide(hash)), power, halves)
                        } else {
                            multiply(sum, x, power, halves)
                        };
                        pin(&mut state, &mut sum);
                    }, {
                        hash = reduce(sum);
                    });
                    last_round!(keys, state, now, |_j, _x| {});
                }
                if SEAL {
                    let hashed = groups[groups.len() - 1].as_chunks::<B>().0;
                    sum = nothing();
                    for (j, bytes) in hashed.iter().enumerate() {
                        let mut x = reverse(load(bytes));
                        if j == 0 {
                            x = xor(x, wide(hash));
                        }
                        sum = multiply(sum, x, load(&powers[j]), load(&sums[j]));
                    }
                    hash = reduce(sum);
                }
                counter = count(counter, (8 * W * groups.len()) as i32);
            }

            // The last sum: what is hashed so far, with the odd blocks; the full blocks that are left; the tail and the lengths.
            let left = rest.len() / 16;
            let behind = usize::from(tail > 0) + 1;
            let at = left + behind + waits;
            let odd = odd_blocks(left);
            let even = left - odd;
            let (first_bytes, rest) = rest.split_at_mut(16 * odd);
            let mut sum = if first_bytes.is_empty() {
                first_product(wide(hash), wide(power(key, at)), wide(halves(key, at)))
            } else {
                odd_sum::<SEAL, ROUNDS>(key, first_bytes, counter, hash, [at, left + behind])
            };
            counter = count(counter, odd as i32);
            let mut rest = rest.as_chunks_mut::<B>().0;
            let (mut powers, mut sums) = powers_from(key, even + behind);
            macro_rules! some {
                ($n:literal) => {
                    if even / W & $n != 0
                        && let Some((now, more)) = std::mem::take(&mut rest).split_first_chunk_mut::<$n>()
                        && let Some((now_powers, more_powers)) = powers.split_first_chunk::<$n>()
                        && let Some((now_sums, more_sums)) = sums.split_first_chunk::<$n>()
                    {
                        let mut state = counters!(counter, $n);
                        middle_rounds!(keys, state, |I| { pin_few(&mut state) }, {});
                        last_round!(keys, state, now, |j, x| {
                            sum = multiply(sum, reverse(x), load(&now_powers[j]), load(&now_sums[j]));
                        });
                        (rest, powers, sums) = (more, more_powers, more_sums);
                    }
                };
            }
            some!(4);
            some!(2);
            some!(1);
            let _ = (rest, powers, sums, counter, waits);
            let hash = reduce(end(key, sum, tail_text, lengths));
            let mut tag = [0; 16];
            store_block(&mut tag, _mm_xor_si128(reverse_block(hash), mask));
            tag
        }
    };
}
