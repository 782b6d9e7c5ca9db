//! What every level does with single blocks: bytes in and out of registers, and parts of blocks.

use std::arch::asm;
use std::arch::x86_64::*;

use super::nonce::Nonce;

/// 16 times "nothing", the numbers of 16 bytes, 16 times "nothing", for `pshufb`.
static SLIDE: [u8; 48] = {
    let mut slide = [0x80; 48];
    let mut i = 0;
    while i < 16 {
        slide[16 + i] = i as u8;
        i += 1;
    }
    slide
};

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load_block(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are there, and this load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store_block(bytes: &mut [u8; 16], block: __m128i) {
    // SAFETY: 16 bytes are there, and this store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

/// At most 16 bytes, and zeros behind them. Those of ESP (8 or 12) take no detour over memory.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) fn load_short(bytes: &[u8]) -> __m128i {
    if let Ok(bytes) = bytes.try_into() {
        return _mm_set_epi64x(0, i64::from_le_bytes(bytes));
    }
    if let (12, Some((low, high))) = (bytes.len(), bytes.split_first_chunk::<8>()) {
        let high = high.first_chunk().map_or(0, |high| i32::from_le_bytes(*high));
        return _mm_insert_epi32::<2>(_mm_set_epi64x(0, i64::from_le_bytes(*low)), high);
    }
    let mut block = [0; 16];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    load_block(&block)
}

/// The nonce with counter 1 (SP 800-38D section 7.1, step 2).
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn first_counter(nonce: Nonce) -> __m128i {
    let (low, high) = nonce.words();
    _mm_set_epi64x(i64::from(high) | 1 << 56, low as i64)
}

/// The bytes of a block from back to front, as GHASH has its polynomials.
#[inline]
#[target_feature(enable = "ssse3")]
pub(super) fn reverse_block(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

/// The shuffle that moves the first `count` bytes of a block to its end, with zeros in front; `count` is 1 to 16.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn to_the_end(count: usize) -> __m128i {
    load_block(SLIDE[count..].first_chunk().unwrap_or(&[0; 16]))
}

/// The shuffle that moves the last `count` bytes of a block to its front, with zeros behind; `count` is 1 to 16.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn to_the_front(count: usize) -> __m128i {
    load_block(SLIDE[32 - count..].first_chunk().unwrap_or(&[0; 16]))
}

/// One block of AES.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn one_block<const ROUNDS: usize>(keys: &[[u8; 16]; 15], block: __m128i) -> __m128i {
    let mut state = _mm_xor_si128(block, load_block(&keys[0]));
    for key in &keys[1..ROUNDS] {
        state = _mm_aesenc_si128(state, load_block(key));
    }
    _mm_aesenclast_si128(state, load_block(&keys[ROUNDS]))
}

/// The same reference, of which the compiler forgets what it read there: it would load round keys and powers before a loop, and put them on the stack.
#[inline]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is done with it")]
pub(super) fn fresh<T>(there: &T) -> &T {
    let mut there = std::ptr::from_ref(there);
    // SAFETY: no instruction at all, so the pointer stays as it is.
    unsafe {
        asm!("# {}", inout(reg) there, options(nomem, nostack, preserves_flags));
        &*there
    }
}
