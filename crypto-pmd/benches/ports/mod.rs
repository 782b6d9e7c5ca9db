//! What the processor does of single instructions in a core cycle, found by loops of independent ones.
//!
//! Every loop has as many chains as registers allow, so that no instruction waits for a result; what is left is the ports.

use std::fmt;
use std::hint::black_box;

use crypto_pmd::drivers::multibuffer::Level;
use pipeline::Clock;

/// Rounds of a loop, and how often it is tried; the best counts, as one that was interrupted takes longer.
const ROUNDS: u64 = 4000;
const TRIES: usize = 25;

/// Core cycles an instruction takes away from its ports, at the width of a level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Bytes of a vector.
    pub(super) width: usize,
    /// A round of AES.
    pub(super) aes: f64,
    /// Ten rounds together with three, and with four carry-less products.
    pub(super) gcm_10_rounds: [f64; 2],
    /// Fourteen.
    pub(super) gcm_14_rounds: [f64; 2],
    /// An addition or exclusive or.
    pub(super) simple: f64,
    /// A shift; a rotation where there is one.
    pub(super) shift: f64,
    /// A product of 32 by 32 bits.
    pub(super) multiply: f64,
    /// A load from the first cache.
    pub(super) load: f64,
    /// SHA1RNDS4.
    pub(super) sha1_rounds: f64,
    /// SHA256RNDS2.
    pub(super) sha256_rounds: f64,
    /// All instructions of a block of SHA-1, and of SHA-256: rounds, and what prepares them.
    blocks: [f64; 2],
}

impl Ports {
    /// At `level`, if it has kernels; `core_cycles_per_tick` is asked around each loop.
    pub(super) fn measure(
        level: Level,
        clock: &Clock,
        core_cycles_per_tick: impl Fn() -> f64,
    ) -> Option<Self> {
        let cycles = |instructions: f64, run: &dyn Fn(u64)| {
            let one = |_| {
                let ratio = core_cycles_per_tick();
                let start = clock.tick();
                run(ROUNDS);
                let ticks = (clock.tick() - start) as f64;
                // A chain that was disturbed tells too few.
                ticks * ratio.max(core_cycles_per_tick()) / (ROUNDS as f64 * instructions)
            };
            (0..TRIES).map(one).fold(f64::INFINITY, f64::min)
        };
        let (mut sha1_rounds, mut sha256_rounds, mut blocks) = (0.0, 0.0, [0.0; 2]);
        if level >= Level::Sse {
            sha1_rounds = cycles(12.0, &sha::sha1);
            sha256_rounds = cycles(12.0, &sha::sha256);
            blocks = [cycles(0.25, &sha::quarter_of_sha1), cycles(0.25, &sha::quarter_of_sha256)];
        }
        macro_rules! of {
            ($level:ident, $width:literal) => {
                Self {
                    width: $width,
                    aes: cycles(12.0, &$level::aes),
                    gcm_10_rounds: [cycles(1.0, &$level::ten_and_three), cycles(1.0, &$level::ten_and_four)],
                    gcm_14_rounds: [
                        cycles(1.0, &$level::fourteen_and_three),
                        cycles(1.0, &$level::fourteen_and_four),
                    ],
                    simple: cycles(24.0, &$level::simple),
                    shift: cycles(12.0, &$level::shift),
                    multiply: cycles(12.0, &$level::multiply),
                    load: cycles(240.0, &$level::load),
                    sha1_rounds,
                    sha256_rounds,
                    blocks,
                }
            };
        }
        Some(match level {
            Level::Avx512 => of!(avx512, 64),
            Level::Avx2 => of!(avx2, 32),
            Level::Sse => of!(sse, 16),
            Level::Portable => return None,
        })
    }

    /// Cycles of so many simple operations and shifts; shifts go to some of the ports of the others.
    pub(super) fn mix(&self, simple: f64, shifts: f64) -> f64 {
        (shifts * self.shift).max((simple + shifts) * self.simple)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AES round {:.2}; 10 of them with 3 carry-less products {:.2}, with 4 {:.2}, 14 with 3 {:.2}, with 4 {:.2}; add or xor {:.2}, shift {:.2}, \
             32-bit product {:.2}, load {:.2}, SHA1RNDS4 {:.2}, SHA256RNDS2 {:.2}; all of a block of SHA-1 {:.1}, \
 of SHA-256 {:.1}",
            self.aes,
            self.gcm_10_rounds[0],
            self.gcm_10_rounds[1],
            self.gcm_14_rounds[0],
            self.gcm_14_rounds[1],
            self.simple,
            self.shift,
            self.multiply,
            self.load,
            self.sha1_rounds,
            self.sha256_rounds,
            self.blocks[0],
            self.blocks[1]
        )
    }
}

/// A function that runs a loop: every round, each vector of `$chains` becomes what `$step` makes of it, its place and a constant.
macro_rules! loops {
    ($features:literal, $vector:ty, $zero:path, { $($name:ident($chains:literal): $step:expr;)* }) => {
        $(
            pub(super) fn $name(rounds: u64) {
                #[target_feature(enable = $features)]
                fn run(rounds: u64) {
                    let constant = black_box($zero());
                    let mut chains: [$vector; $chains] = black_box([$zero(); $chains]);
                    for _ in 0..rounds {
                        $step(&mut chains, constant);
                    }
                    black_box(chains);
                }
                // SAFETY: only called for a level of this processor, which has these instructions.
                unsafe { run(rounds) }
            }
        )*
    };
}

macro_rules! level {
    ($level:ident, $features:literal, $vector:ident, $zero:ident, $add:ident, $xor:ident, $shift:ident, $multiply:ident, $aes:ident,
     $product:ident) => {
        mod $level {
            use super::black_box;
            use std::arch::x86_64::*;

            loops!($features, $vector, $zero, {
                aes(12): |chains: &mut [$vector; 12], key| {
                    for one in chains.iter_mut() {
                        *one = $aes(*one, key);
                    }
                };
                ten_and_three(13): |chains: &mut [$vector; 13], key| {
                    for (at, one) in chains.iter_mut().enumerate() {
                        *one = if at < 10 { $aes(*one, key) } else { $product::<0x10>(*one, key) };
                    }
                };
                ten_and_four(14): |chains: &mut [$vector; 14], key| {
                    for (at, one) in chains.iter_mut().enumerate() {
                        *one = if at < 10 { $aes(*one, key) } else { $product::<0x10>(*one, key) };
                    }
                };
                fourteen_and_three(13): |chains: &mut [$vector; 13], key| {
                    for (at, one) in chains.iter_mut().enumerate() {
                        *one = if at < 10 { $aes(*one, key) } else { $product::<0x10>(*one, key) };
                    }
                    for one in chains.iter_mut().take(4) {
                        *one = $aes(*one, key);
                    }
                };
                fourteen_and_four(14): |chains: &mut [$vector; 14], key| {
                    for (at, one) in chains.iter_mut().enumerate() {
                        *one = if at < 10 { $aes(*one, key) } else { $product::<0x10>(*one, key) };
                    }
                    for one in chains.iter_mut().take(4) {
                        *one = $aes(*one, key);
                    }
                };
                simple(12): |chains: &mut [$vector; 12], constant| {
                    for one in chains.iter_mut() {
                        *one = $xor($add(*one, constant), constant);
                    }
                };
                shift(12): |chains: &mut [$vector; 12], count| {
                    for one in chains.iter_mut() {
                        *one = $shift(*one, count);
                    }
                };
                multiply(12): |chains: &mut [$vector; 12], constant| {
                    for one in chains.iter_mut() {
                        *one = $multiply(*one, constant);
                    }
                };
            });

            pub(super) fn load(rounds: u64) {
                #[target_feature(enable = $features)]
                fn run(rounds: u64) {
                    // Two different operations, so that loads are not put together, and more than registers could keep.
                    let table = black_box([[[$zero(); 15]; 2]; 8]);
                    let mut chains = black_box([$zero(); 15]);
                    for _ in 0..rounds {
                        for [first, second] in &table {
                            for (one, loaded) in chains.iter_mut().zip(first) {
                                *one = $xor(*one, *loaded);
                            }
                            for (one, loaded) in chains.iter_mut().zip(second) {
                                *one = $add(*one, *loaded);
                            }
                        }
                    }
                    black_box(chains);
                }
                // SAFETY: as above.
                unsafe { run(rounds) }
            }
        }
    };
}

level!(
    sse,
    "aes,pclmulqdq,sse4.1",
    __m128i,
    _mm_setzero_si128,
    _mm_add_epi32,
    _mm_xor_si128,
    _mm_sll_epi32,
    _mm_mul_epu32,
    _mm_aesenc_si128,
    _mm_clmulepi64_si128
);
level!(
    avx2,
    "avx2,vaes,vpclmulqdq",
    __m256i,
    _mm256_setzero_si256,
    _mm256_add_epi32,
    _mm256_xor_si256,
    _mm256_sllv_epi32,
    _mm256_mul_epu32,
    _mm256_aesenc_epi128,
    _mm256_clmulepi64_epi128
);
level!(
    avx512,
    "avx512f,avx512bw,vaes,vpclmulqdq",
    __m512i,
    _mm512_setzero_si512,
    _mm512_add_epi32,
    _mm512_xor_si512,
    _mm512_rolv_epi32,
    _mm512_mul_epu32,
    _mm512_aesenc_epi128,
    _mm512_clmulepi64_epi128
);

mod sha {
    use super::black_box;
    use std::arch::x86_64::*;

    loops!("sha,sse4.1", __m128i, _mm_setzero_si128, {
        sha1(12): |chains: &mut [__m128i; 12], constant| {
            for one in chains.iter_mut() {
                *one = _mm_sha1rnds4_epu32::<0>(*one, constant);
            }
        };
        sha256(12): |chains: &mut [__m128i; 12], constant| {
            for one in chains.iter_mut() {
                *one = _mm_sha256rnds2_epu32(*one, constant, constant);
            }
        };
        quarter_of_sha1(15): |chains: &mut [__m128i; 15], constant| {
            for (at, one) in chains.iter_mut().enumerate() {
                *one = match at {
                    0..5 => _mm_sha1rnds4_epu32::<0>(*one, constant),
                    5..9 => _mm_sha1nexte_epu32(*one, constant),
                    9..12 => _mm_sha1msg1_epu32(*one, constant),
                    _ => _mm_sha1msg2_epu32(*one, constant),
                };
            }
            chains[5] = _mm_sha1nexte_epu32(chains[5], constant);
            chains[9] = _mm_sha1msg1_epu32(chains[9], constant);
            chains[12] = _mm_sha1msg2_epu32(chains[12], constant);
        };
        quarter_of_sha256(14): |chains: &mut [__m128i; 14], constant| {
            for (at, one) in chains.iter_mut().enumerate() {
                *one = match at {
                    0..8 => _mm_sha256rnds2_epu32(*one, constant, constant),
                    8..11 => _mm_sha256msg1_epu32(*one, constant),
                    _ => _mm_sha256msg2_epu32(*one, constant),
                };
            }
        };
    });
}
