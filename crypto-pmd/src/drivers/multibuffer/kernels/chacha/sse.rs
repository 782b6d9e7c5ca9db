//! The kernel of [`Level::Sse`](super::Level::Sse): four blocks at once.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Lane;
use super::blocks::{BLOCK, Block, CONSTANTS, Cursor, IN_ORDER, ROTATE_8, ROTATE_16, Rows, load, xor_part};
use super::mac::Macs;

type V = __m128i;
/// Blocks in a vector.
const W: usize = 4;
/// Chains of Poly1305 at once.
const STREAMS: usize = 4;

/// Blocks of each of them in a step.
const AT_ONCE: usize = 1;

/// Steps for tags behind a double round: behind every other, since these rounds are for half as many blocks as with 256 bits.
const fn steps(round: usize) -> usize {
    round % 2
}

/// A small function on vectors.
macro_rules! on_vectors {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "ssse3,sse4.1")]
        fn $name($($arg: $type),*) -> $out $body
    )*};
}

on_vectors! {
    fn splat(word: u32) -> V { _mm_set1_epi32(word as i32) }
    fn add(a: V, b: V) -> V { _mm_add_epi32(a, b) }
    fn xor(a: V, b: V) -> V { _mm_xor_si128(a, b) }
    fn rotate_16(v: V) -> V {
        let mut v = v;
        // SAFETY: reads a constant of 16 bytes, which is aligned to them.
        unsafe {
            asm!("pshufb {}, xmmword ptr [rip + {}]", inout(xmm_reg) v, sym ROTATE_16,
                options(pure, readonly, nostack, preserves_flags));
        }
        v
    }
    fn rotate_12(v: V) -> V { _mm_or_si128(_mm_slli_epi32::<12>(v), _mm_srli_epi32::<20>(v)) }
    fn rotate_8(v: V) -> V {
        let mut v = v;
        // SAFETY: reads a constant of 16 bytes, which is aligned to them.
        unsafe {
            asm!("pshufb {}, xmmword ptr [rip + {}]", inout(xmm_reg) v, sym ROTATE_8,
                options(pure, readonly, nostack, preserves_flags));
        }
        v
    }
    fn rotate_7(v: V) -> V { _mm_or_si128(_mm_slli_epi32::<7>(v), _mm_srli_epi32::<25>(v)) }
    fn words_low(a: V, b: V) -> V { _mm_unpacklo_epi32(a, b) }
    fn words_high(a: V, b: V) -> V { _mm_unpackhi_epi32(a, b) }
    fn pairs_low(a: V, b: V) -> V { _mm_unpacklo_epi64(a, b) }
    fn pairs_high(a: V, b: V) -> V { _mm_unpackhi_epi64(a, b) }
    fn join(parts: [__m128i; 1]) -> V { parts[0] }
}

/// Writes row `number`, of which the vectors hold a quarter each.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn write_rows(quarters: [V; 4], number: usize, rows: &mut [[u8; BLOCK]; W]) {
    for (to, quarter) in rows[number].as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
        // SAFETY: 16 bytes are there, and this store needs no alignment.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), quarter) };
    }
}

/// Exclusive-or of a block into data.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn xor_block(data: &mut [u8; BLOCK], row: &[u8; BLOCK]) {
    for (to, from) in data.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0) {
        let block = xor(load(to), load(from));
        // SAFETY: 16 bytes are there, and this store needs no alignment.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), block) };
    }
}

double_round!("ssse3,sse4.1");
kernel!("ssse3,sse4.1");
