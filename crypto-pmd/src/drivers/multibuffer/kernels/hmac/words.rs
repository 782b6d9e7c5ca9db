//! What the SHA kernels of 128 bits share: states as vectors, and the message words.

use std::arch::x86_64::*;

use super::streams::{BLOCK, Digest, State};
use super::tail::Tail;

/// States are stored and loaded whole: a load of 16 bytes behind stores of 4 would wait until those have left the core.
impl State {
    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn vectors(&self) -> [__m128i; 2] {
        let from: *const __m128i = self.0.as_ptr().cast();
        // SAFETY: a state is 32 bytes with an alignment of 32.
        unsafe { [_mm_load_si128(from), _mm_load_si128(from.add(1))] }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn set_vectors(&mut self, [front, back]: [__m128i; 2]) {
        let to: *mut __m128i = self.0.as_mut_ptr().cast();
        // SAFETY: as above, and it is borrowed uniquely.
        unsafe {
            _mm_store_si128(to, front);
            _mm_store_si128(to.add(1), back);
        }
    }

    /// Its words as bytes.
    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn bytes(&self) -> [__m128i; 2] {
        let swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
        self.vectors().map(|words| _mm_shuffle_epi8(words, swap))
    }

    /// Its words as bytes, with those of `pad` on them.
    #[target_feature(enable = "ssse3")]
    pub(super) fn digest(&self, pad: &[u8; 32]) -> Digest<32> {
        let [front, back] = self.bytes();
        let mut digest = Digest([0; 32]);
        let pad: *const __m128i = pad.as_ptr().cast();
        // SAFETY: the pad is 32 bytes.
        let (one, other) = unsafe { (_mm_loadu_si128(pad), _mm_loadu_si128(pad.add(1))) };
        digest.put([_mm_or_si128(front, one), _mm_or_si128(back, other)]);
        digest
    }
}

impl Digest<32> {
    /// Takes its bytes.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn put(&mut self, [front, back]: [__m128i; 2]) {
        let to: *mut __m128i = self.0.as_mut_ptr().cast();
        // SAFETY: it is 32 bytes with an alignment of 32, borrowed uniquely.
        unsafe {
            _mm_store_si128(to, front);
            _mm_store_si128(to.add(1), back);
        }
    }
}

impl Tail<BLOCK> {
    /// Lays out the block of the outer hash: the words of a state that are its digest, of `len` bytes. Stored in vectors, because it is loaded in vectors
    /// at once.
    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn put_outer(&mut self, state: &State, len: usize) {
        let [front, back] = state.bytes();
        // The bit behind the digest is in the second vector or in the third.
        let (inside, behind) = if len < 32 { (0x80, 0) } else { (0, 0x80) };
        let length = (8 * (BLOCK + len) as u64).swap_bytes();
        let to: *mut __m128i = self.first_mut().as_mut_ptr().cast();
        // SAFETY: a block is four vectors, borrowed uniquely.
        unsafe {
            _mm_storeu_si128(to, front);
            _mm_storeu_si128(to.add(1), _mm_or_si128(back, _mm_set_epi32(0, 0, inside, 0)));
            _mm_storeu_si128(to.add(2), _mm_set_epi64x(0, behind));
            _mm_storeu_si128(to.add(3), _mm_set_epi64x(length as i64, 0));
        }
    }
}

/// The sixteen message words of `N` streams, four to a vector, overwritten on the way. From three on there are more words than registers. Volatile accesses keep them in memory then: left to itself, the
/// compiler would keep words in registers and the states in memory, where each of the rounds would wait for it.
pub(super) struct Words<const N: usize>([[__m128i; N]; 4]);

impl<const N: usize> Words<N> {
    const IN_MEMORY: bool = N > 2;

    #[inline]
    #[target_feature(enable = "sse4.1")]
    pub(super) fn new() -> Self {
        Self([[_mm_setzero_si128(); N]; 4])
    }

    /// The words of a group of four rounds.
    #[inline]
    #[target_feature(enable = "sse4.1")]
    pub(super) fn get(&self, group: usize, stream: usize) -> __m128i {
        let place = &self.0[group % 4][stream];
        // SAFETY: a reference is good to read from.
        if Self::IN_MEMORY { unsafe { std::ptr::from_ref(place).read_volatile() } } else { *place }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    pub(super) fn put(&mut self, group: usize, stream: usize, words: __m128i) {
        let place = &mut self.0[group % 4][stream];
        if Self::IN_MEMORY {
            // SAFETY: a unique reference is good to write to.
            unsafe { std::ptr::from_mut(place).write_volatile(words) }
        } else {
            *place = words
        }
    }
}
