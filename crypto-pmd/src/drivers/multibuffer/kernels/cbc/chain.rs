//! One packet's CBC encryption with AES-NI, a few rounds at a time: each round waits for the one before it, so whoever calls has time for
//! other work between them.

use std::arch::x86_64::*;

use super::sse::load;
use super::{AesKey, BLOCK};

/// Where the encryption of a packet is.
pub(in crate::drivers::multibuffer::kernels) struct Chain<'k, const ROUNDS: usize> {
    at: *mut u8,
    state: __m128i,
    keys: &'k [[u8; BLOCK]; 15],
}

impl<'k, const ROUNDS: usize> Chain<'k, ROUNDS> {
    /// From `at` on, with a key of this number of rounds.
    #[inline]
    #[target_feature(enable = "aes,sse4.1")]
    pub(in crate::drivers::multibuffer::kernels) fn new(
        key: &'k AesKey,
        iv: &[u8; BLOCK],
        at: *mut u8,
    ) -> Self {
        Self { at, state: load(iv), keys: key.enc().keys() }
    }

    /// Encrypts blocks.
    ///
    /// # Safety
    /// So many blocks from the place on are the caller's.
    #[inline]
    #[target_feature(enable = "aes,sse4.1")]
    pub(in crate::drivers::multibuffer::kernels) unsafe fn blocks(&mut self, count: usize) {
        for _ in 0..count {
            // SAFETY: passed on from the caller.
            unsafe { self.part::<1>(0) };
        }
    }

    /// Does one of the `PARTS` parts of a block, of which the number is `part` modulo `PARTS`.
    ///
    /// # Safety
    /// There is a block at the place that is the caller's.
    #[inline]
    #[target_feature(enable = "aes,sse4.1")]
    pub(in crate::drivers::multibuffer::kernels) unsafe fn part<const PARTS: usize>(&mut self, part: usize) {
        let part = part % PARTS;
        let until = |part| (ROUNDS - 1) * part / PARTS;
        if part == 0 {
            // SAFETY: the caller says that there is a block.
            let text = unsafe { _mm_loadu_si128(self.at.cast()) };
            self.state = _mm_xor_si128(self.state, _mm_xor_si128(text, load(&self.keys[0])));
        }
        for round in until(part)..until(part + 1) {
            self.state = _mm_aesenc_si128(self.state, load(&self.keys[round + 1]));
        }
        if part + 1 == PARTS {
            self.state = _mm_aesenclast_si128(self.state, load(&self.keys[ROUNDS]));
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(self.at.cast(), self.state) };
            self.at = self.at.wrapping_add(BLOCK);
        }
    }
}
