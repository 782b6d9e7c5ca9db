//! What all levels have in common; each puts its own vectors into it.

/// A double round of a level (RFC 8439 section 2.3) by its functions on vectors: columns, then diagonals, in pairs of quarter rounds, since
/// more at once do not fit into sixteen registers.
macro_rules! double_round {
    ($features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn double_round(x: [V; 3], x3: &mut V, y: [V; 12]) -> ([V; 3], [V; 12]) {
            let [mut a0, mut a1, mut a2] = x;
            let mut a3 = *x3;
            let [mut b0, mut b1, mut b2, mut b3, mut c0, mut c1, mut c2, mut c3, mut d0, mut d1, mut d2, mut d3] = y;
            quarter_rounds!(a0 b0 c0 d0, a1 b1 c1 d1);
            quarter_rounds!(a2 b2 c2 d2, a3 b3 c3 d3);
            quarter_rounds!(a0 b1 c2 d3, a1 b2 c3 d0);
            quarter_rounds!(a2 b3 c0 d1, a3 b0 c1 d2);
            *x3 = a3;
            ([a0, a1, a2], [b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3])
        }
    };
}

/// Quarter rounds side by side (RFC 8439 section 2.1).
macro_rules! quarter_rounds {
    ($($a:ident $b:ident $c:ident $d:ident),*) => {
        $($a = add($a, $b); $d = rotate_16(xor($d, $a));)*
        $($c = add($c, $d); $b = rotate_12(xor($b, $c));)*
        $($a = add($a, $b); $d = rotate_8(xor($d, $a));)*
        $($c = add($c, $d); $b = rotate_7(xor($b, $c));)*
    };
}

/// The kernel of a level, which has types `V` (a vector of `W` words) and functions for it in scope.
macro_rules! kernel {
    ($features:literal) => {
        /// The state before the rounds, word by word. It holds keys, hence it is wiped.
        struct Start([V; 16]);

        impl Drop for Start {
            fn drop(&mut self) {
                // SAFETY: vectors of zeros are vectors, and whole vectors are written.
                unsafe { std::ptr::from_mut(self).cast::<[u64; 2 * W * 4]>().write_volatile([0; 2 * W * 4]) };
            }
        }

        /// Everything that a run works with.
        struct Work {
            macs: Macs<STREAMS, AT_ONCE>,
            blocks: [Block; W],
            rows: Rows<W>,
            start: Start,
        }

        /// Encrypts and makes tags, or checks tags and decrypts. There are at most [`BATCH`] packets.
        #[target_feature(enable = $features)]
        pub(super) fn run<const SEAL: bool>(lanes: &mut [Lane<'_>]) {
            let mut work = Work {
                macs: Macs::new(),
                blocks: [Block { lane: 0, counter: 0 }; W],
                rows: Rows([[0; 64]; W]),
                start: Start([splat(0); 16]),
            };
            if !SEAL
                && let [lane] = &*lanes
                && lane.blocks() < W
            {
                return open_one(&mut work, lanes);
            }
            let order = &IN_ORDER[..lanes.len()];
            let mut cursor = if SEAL { Cursor::ALL } else { Cursor::KEYS };
            loop {
                let used = cursor.fill(order, lanes, &mut work.blocks);
                if used == 0 {
                    break;
                }
                group::<SEAL>(&mut work, used, lanes);
                work.macs.allow(cursor.place());
            }
            work.macs.allow(lanes.len());
            if SEAL {
                while !work.macs.is_idle() {
                    work.macs.step::<SEAL>(lanes);
                }
            } else {
                decrypt(&mut work, lanes);
            }
        }

        /// Opens a packet that is alone, all blocks of which go into one group: they are made at once, and used when the tag is known to be right.
        #[inline]
        #[target_feature(enable = $features)]
        fn open_one(work: &mut Work, lanes: &mut [Lane<'_>]) {
            let used = { Cursor::ALL }.fill(&IN_ORDER[..1], lanes, &mut work.blocks);
            make::<false>(work, lanes);
            give(work, 1, lanes);
            work.macs.allow(1);
            while !work.macs.is_idle() {
                work.macs.step::<false>(lanes);
            }
            if !work.macs.genuine().is_empty() {
                give(work, used, lanes);
            }
        }

        /// Checks the tags that are left to check, and decrypts the packets that are genuine.
        #[inline]
        #[target_feature(enable = $features)]
        fn decrypt(work: &mut Work, lanes: &mut [Lane<'_>]) {
            let mut cursor = Cursor::DATA;
            let mut taken = 0;
            loop {
                let there = work.macs.genuine_blocks() - taken;
                if there < W && !work.macs.is_idle() {
                    work.macs.step::<false>(lanes);
                    continue;
                }
                let used = cursor.fill(work.macs.genuine(), lanes, &mut work.blocks);
                if used == 0 {
                    break;
                }
                taken += used;
                group::<false>(work, used, lanes);
            }
        }

        /// Makes the blocks of a group, and uses the first of them.
        #[target_feature(enable = $features)]
        fn group<const SEAL: bool>(work: &mut Work, used: usize, lanes: &mut [Lane<'_>]) {
            make::<SEAL>(work, lanes);
            give(work, used, lanes);
        }

        /// The blocks of a group (RFC 8439 section 2.3), with steps for the tags of other packets between the rounds.
        #[inline]
        #[target_feature(enable = $features)]
        fn make<const SEAL: bool>(work: &mut Work, lanes: &mut [Lane<'_>]) {
            let Work { macs, blocks, rows, start: Start(start) } = work;
            fill(start, blocks, lanes);
            let [a0, a1, a2, mut a3, others @ ..] = *start;
            let mut x = [a0, a1, a2];
            let mut y = others;
            for round in 0..10 {
                (x, y) = double_round(x, &mut a3, y);
                for _ in 0..steps(round) {
                    macs.step::<SEAL>(lanes);
                }
            }
            let ([a0, a1, a2], [b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3]) = (x, y);
            let mut x = [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3];
            for (x, start) in x.iter_mut().zip(start) {
                *x = add(*x, *start);
            }
            write(&x, rows);
        }

        /// Gives the first blocks of a group to the packets that they are for.
        #[inline]
        #[target_feature(enable = $features)]
        fn give(work: &mut Work, used: usize, lanes: &mut [Lane<'_>]) {
            let Work { blocks, rows, .. } = work;
            for (block, row) in blocks.iter().zip(&rows.0).take(used) {
                let lane = &mut lanes[block.lane];
                if block.counter == 0 {
                    let ([r, s, ..], _) = row.as_chunks() else { continue };
                    lane.one_time = [u128::from_le_bytes(*r), u128::from_le_bytes(*s)];
                    continue;
                }
                let data = lane.part(block.counter);
                match data.first_chunk_mut() {
                    Some(whole) => xor_block(whole, row),
                    None => xor_part(data, row),
                }
            }
        }

        /// Lays out the state of every block.
        #[inline]
        #[target_feature(enable = $features)]
        fn fill(start: &mut [V; 16], blocks: &[Block; W], lanes: &[Lane<'_>]) {
            let [constants, low, high, last] = start.as_chunks_mut().0 else { return };
            *constants = CONSTANTS.map(|word| splat(word));
            let mut parts = [[[load(&[0; 16]); W / 4]; 4]; 3];
            for (number, block) in blocks.iter().enumerate() {
                let (lane, group) = (&lanes[block.lane], number / 4);
                let ([low, high], _) = lane.key.0.as_chunks() else { return };
                parts[0][number % 4][group] = load(low);
                parts[1][number % 4][group] = load(high);
                parts[2][number % 4][group] =
                    _mm_or_si128(load(&lane.nonce), _mm_cvtsi32_si128(block.counter as i32));
            }
            *low = transposed(parts[0].map(|parts| join(parts)));
            *high = transposed(parts[1].map(|parts| join(parts)));
            *last = transposed(parts[2].map(|parts| join(parts)));
        }

        /// Exchanges rows and columns in squares of four words.
        #[inline]
        #[target_feature(enable = $features)]
        fn transposed([a, b, c, d]: [V; 4]) -> [V; 4] {
            let (ab, cd) = (words_low(a, b), words_low(c, d));
            let (ab_high, cd_high) = (words_high(a, b), words_high(c, d));
            [pairs_low(ab, cd), pairs_high(ab, cd), pairs_low(ab_high, cd_high), pairs_high(ab_high, cd_high)]
        }

        /// Writes the blocks one after the other.
        #[inline]
        #[target_feature(enable = $features)]
        fn write(x: &[V; 16], rows: &mut Rows<W>) {
            let ([a, b, c, d], _) = x.as_chunks() else { return };
            let quarters = [transposed(*a), transposed(*b), transposed(*c), transposed(*d)];
            for number in 0..4 {
                write_rows(quarters.map(|quarter| quarter[number]), number, &mut rows.0);
            }
        }
    };
}
