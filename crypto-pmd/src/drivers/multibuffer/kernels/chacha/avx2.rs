//! The kernel of [`Level::Avx2`](super::Level::Avx2): eight blocks at once.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Lane;
use super::blocks::{BLOCK, Block, CONSTANTS, Cursor, IN_ORDER, ROTATE_8, ROTATE_16, Rows, load, xor_part};
use super::mac::Macs;

type V = __m256i;
/// Blocks in a vector.
const W: usize = 8;
/// Chains of Poly1305 at once.
const STREAMS: usize = 2;

/// Blocks of each of them in a step.
const AT_ONCE: usize = 2;

/// Steps for tags behind a double round.
const fn steps(_round: usize) -> usize {
    1
}

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx2,bmi2")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn splat(word: u32) -> V { _mm256_set1_epi32(word as i32) }
    fn add(a: V, b: V) -> V { _mm256_add_epi32(a, b) }
    fn xor(a: V, b: V) -> V { _mm256_xor_si256(a, b) }
    fn words_low(a: V, b: V) -> V { _mm256_unpacklo_epi32(a, b) }
    fn words_high(a: V, b: V) -> V { _mm256_unpackhi_epi32(a, b) }
    fn pairs_low(a: V, b: V) -> V { _mm256_unpacklo_epi64(a, b) }
    fn pairs_high(a: V, b: V) -> V { _mm256_unpackhi_epi64(a, b) }
    fn join(parts: [__m128i; 2]) -> V { _mm256_set_m128i(parts[1], parts[0]) }
}

/// Writes rows `number` and `number + 4`, of which the vectors hold a quarter each.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn write_rows([a, b, c, d]: [V; 4], number: usize, rows: &mut [[u8; BLOCK]; W]) {
    store(
        &mut rows[number],
        _mm256_permute2x128_si256::<0x20>(a, b),
        _mm256_permute2x128_si256::<0x20>(c, d),
    );
    store(
        &mut rows[number + 4],
        _mm256_permute2x128_si256::<0x31>(a, b),
        _mm256_permute2x128_si256::<0x31>(c, d),
    );
}

/// Exclusive-or of a block into data.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn xor_block(data: &mut [u8; BLOCK], row: &[u8; BLOCK]) {
    let (to, from): (*mut V, *const V) = (data.as_mut_ptr().cast(), row.as_ptr().cast());
    // SAFETY: 64 bytes are there on both sides, and these loads and stores need no alignment.
    unsafe {
        let low = xor(_mm256_loadu_si256(to), _mm256_loadu_si256(from));
        let high = xor(_mm256_loadu_si256(to.add(1)), _mm256_loadu_si256(from.add(1)));
        _mm256_storeu_si256(to, low);
        _mm256_storeu_si256(to.add(1), high);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn store(row: &mut [u8; BLOCK], low: V, high: V) {
    let at: *mut V = row.as_mut_ptr().cast();
    // SAFETY: 64 bytes are there, and these stores need no alignment.
    unsafe {
        _mm256_storeu_si256(at, low);
        _mm256_storeu_si256(at.add(1), high);
    }
}

/// Half of four quarter rounds (RFC 8439 section 2.1), with a rotation by bytes and one by shifts. `a3` is in memory, so that besides fifteen
/// words there is a vector to work with.
macro_rules! half_rounds {
    ($b0:literal $b1:literal $b2:literal $b3:literal, $c0:literal $c1:literal $c2:literal $c3:literal,
     $d0:literal $d1:literal $d2:literal $d3:literal, $bytes:literal $left:literal $right:literal) => {
        concat!(
            "vpaddd {a0}, {a0}, {", $b0, "}\n vpaddd {a1}, {a1}, {", $b1, "}\n vpaddd {a2}, {a2}, {", $b2, "}\n",
            "vpaddd {t}, {", $b3, "}, ymmword ptr [{a3}]\n",
            "vpxor {", $d0, "}, {", $d0, "}, {a0}\n vpxor {", $d1, "}, {", $d1, "}, {a1}\n",
            "vpxor {", $d2, "}, {", $d2, "}, {a2}\n vpxor {", $d3, "}, {", $d3, "}, {t}\n",
            "vmovdqa ymmword ptr [{a3}], {t}\n",
            half_rounds!(@shuffle $bytes $d0), half_rounds!(@shuffle $bytes $d1),
            half_rounds!(@shuffle $bytes $d2), half_rounds!(@shuffle $bytes $d3),
            "vpaddd {", $c0, "}, {", $c0, "}, {", $d0, "}\n vpaddd {", $c1, "}, {", $c1, "}, {", $d1, "}\n",
            "vpaddd {", $c2, "}, {", $c2, "}, {", $d2, "}\n vpaddd {", $c3, "}, {", $c3, "}, {", $d3, "}\n",
            "vpxor {", $b0, "}, {", $b0, "}, {", $c0, "}\n vpxor {", $b1, "}, {", $b1, "}, {", $c1, "}\n",
            "vpxor {", $b2, "}, {", $b2, "}, {", $c2, "}\n vpxor {", $b3, "}, {", $b3, "}, {", $c3, "}\n",
            half_rounds!(@shift $left $right $b0), half_rounds!(@shift $left $right $b1),
            half_rounds!(@shift $left $right $b2), half_rounds!(@shift $left $right $b3),
        )
    };
    (@shuffle $bytes:literal $d:literal) => {
        concat!("vpshufb {", $d, "}, {", $d, "}, ymmword ptr [rip + {", $bytes, "}]\n")
    };
    (@shift $left:literal $right:literal $b:literal) => {
        concat!("vpslld {t}, {", $b, "}, ", $left, "\n vpsrld {", $b, "}, {", $b, "}, ", $right,
            "\n vpor {", $b, "}, {", $b, "}, {t}\n")
    };
}

/// A double round (RFC 8439 section 2.3): columns, then diagonals. It is in assembly because the compiler takes shuffles that it can see apart,
/// into two each, and keeps many more words in memory than one.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn double_round(x: [V; 3], a3: &mut V, y: [V; 12]) -> ([V; 3], [V; 12]) {
    let [mut a0, mut a1, mut a2] = x;
    let [mut b0, mut b1, mut b2, mut b3, mut c0, mut c1, mut c2, mut c3, mut d0, mut d1, mut d2, mut d3] = y;
    // SAFETY: reads and writes `a3`, and reads two constants of 32 bytes; all are aligned to that.
    unsafe {
        asm!(
            half_rounds!("b0" "b1" "b2" "b3", "c0" "c1" "c2" "c3", "d0" "d1" "d2" "d3", "r16" "12" "20"),
            half_rounds!("b0" "b1" "b2" "b3", "c0" "c1" "c2" "c3", "d0" "d1" "d2" "d3", "r8" "7" "25"),
            half_rounds!("b1" "b2" "b3" "b0", "c2" "c3" "c0" "c1", "d3" "d0" "d1" "d2", "r16" "12" "20"),
            half_rounds!("b1" "b2" "b3" "b0", "c2" "c3" "c0" "c1", "d3" "d0" "d1" "d2", "r8" "7" "25"),
            a0 = inout(ymm_reg) a0, a1 = inout(ymm_reg) a1, a2 = inout(ymm_reg) a2, a3 = in(reg) a3,
            b0 = inout(ymm_reg) b0, b1 = inout(ymm_reg) b1, b2 = inout(ymm_reg) b2, b3 = inout(ymm_reg) b3,
            c0 = inout(ymm_reg) c0, c1 = inout(ymm_reg) c1, c2 = inout(ymm_reg) c2, c3 = inout(ymm_reg) c3,
            d0 = inout(ymm_reg) d0, d1 = inout(ymm_reg) d1, d2 = inout(ymm_reg) d2, d3 = inout(ymm_reg) d3,
            t = out(ymm_reg) _, r8 = sym ROTATE_8, r16 = sym ROTATE_16,
            options(nostack, preserves_flags)
        );
    }
    ([a0, a1, a2], [b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3])
}

kernel!("avx2,bmi2");
