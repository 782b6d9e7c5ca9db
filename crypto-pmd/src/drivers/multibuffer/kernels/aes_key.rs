//! The round keys of AES (FIPS 197 section 5.2), for encryption and for the equivalent inverse cipher (section 5.3.5).
//!
//! They are made with AES-NI, in time that does not depend on the key. Whoever has an [`AesKey`] knows that the processor has at least
//! [`Level::Sse`].

use zeroize::Zeroize;

use super::super::level::Level;

/// Round keys in the order in which they are used: the first `rounds + 1` of them.
#[repr(C, align(64))]
pub(in crate::drivers::multibuffer) struct RoundKeys {
    keys: [[u8; 16]; 15],
    rounds: usize,
}

/// A key with its round keys both ways, wiped on drop.
pub(in crate::drivers::multibuffer) struct AesKey {
    enc: RoundKeys,
    dec: RoundKeys,
}

impl RoundKeys {
    /// Room for round keys, all zero.
    pub(in crate::drivers::multibuffer) const fn empty() -> Self {
        Self { keys: [[0; 16]; 15], rounds: 0 }
    }

    /// Expands `key` for encryption, in place. False, and no change, for a key of another length than 16, 24 or 32 bytes, and where the
    /// processor has no AES instructions.
    pub(in crate::drivers::multibuffer) fn expand(&mut self, key: &[u8]) -> bool {
        if !matches!(key.len(), 16 | 24 | 32) || Level::best() < Level::Sse {
            return false;
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the best level has AES-NI and SSE4.1.
        unsafe {
            x86::expand(key, self);
        }
        true
    }

    /// Makes these the keys of the equivalent inverse of `forward`, which was expanded.
    fn invert(&mut self, forward: &Self) {
        #[cfg(target_arch = "x86_64")]
        if forward.rounds > 0 {
            // SAFETY: keys were expanded, which only a processor with AES-NI does.
            unsafe { x86::invert(forward, self) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = forward;
    }

    /// How many rounds: 10, 12 or 14.
    pub(in crate::drivers::multibuffer) const fn rounds(&self) -> usize {
        self.rounds
    }

    /// All there is room for. The first lies at a multiple of 64 bytes, the others behind it without gaps.
    pub(in crate::drivers::multibuffer) const fn keys(&self) -> &[[u8; 16]; 15] {
        &self.keys
    }
}

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

impl AesKey {
    /// Room for a key.
    pub(in crate::drivers::multibuffer) const fn empty() -> Self {
        Self { enc: RoundKeys::empty(), dec: RoundKeys::empty() }
    }

    /// Expands `key` in place; fails as [`RoundKeys::expand`] does.
    pub(in crate::drivers::multibuffer) fn expand(&mut self, key: &[u8]) -> bool {
        let done = self.enc.expand(key);
        if done {
            self.dec.invert(&self.enc);
        }
        done
    }

    /// A key of 16, 24 or 32 bytes; `None` for other lengths, and where the processor has no AES instructions.
    pub(in crate::drivers::multibuffer) fn new(key: &[u8]) -> Option<Self> {
        let mut made = Self::empty();
        made.expand(key).then_some(made)
    }

    /// For encryption.
    pub(in crate::drivers::multibuffer) const fn enc(&self) -> &RoundKeys {
        &self.enc
    }

    /// For decryption with the equivalent inverse cipher, as `aesdec` wants it: the last key of encryption first.
    pub(in crate::drivers::multibuffer) const fn dec(&self) -> &RoundKeys {
        &self.dec
    }

    /// How many rounds: 10, 12 or 14.
    pub(in crate::drivers::multibuffer) const fn rounds(&self) -> usize {
        self.enc.rounds
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::RoundKeys;

    /// FIPS 197 section 5.2, word by word; a key of 16, 24 or 32 bytes.
    #[target_feature(enable = "aes,sse4.1")]
    pub(super) fn expand(key: &[u8], to: &mut RoundKeys) {
        let key_words = key.len() / 4;
        to.rounds = key_words + 6;
        let words = to.keys.as_flattened_mut();
        words[..key.len()].copy_from_slice(key);
        let (mut word, mut constant) = ([0; 4], 1_u8);
        for i in key_words..4 * (to.rounds + 1) {
            word.copy_from_slice(&words[4 * i - 4..4 * i]);
            let mut mixed = u32::from_le_bytes(word);
            if i % key_words == 0 {
                mixed = substitute(mixed).rotate_right(8) ^ u32::from(constant);
                constant = (constant << 1) ^ (if constant & 0x80 != 0 { 0x1b } else { 0 });
            } else if key_words > 6 && i % key_words == 4 {
                mixed = substitute(mixed);
            }
            word.copy_from_slice(&words[4 * (i - key_words)..4 * (i - key_words) + 4]);
            let new = mixed ^ u32::from_le_bytes(word);
            words[4 * i..4 * i + 4].copy_from_slice(&new.to_le_bytes());
        }
        zeroize::Zeroize::zeroize(&mut word);
    }

    /// The S-box for each byte of a word.
    #[target_feature(enable = "aes,sse4.1")]
    fn substitute(word: u32) -> u32 {
        _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word as i32))) as u32
    }

    #[target_feature(enable = "aes,sse4.1")]
    pub(super) fn invert(forward: &RoundKeys, to: &mut RoundKeys) {
        to.rounds = forward.rounds;
        for (i, (to, from)) in
            to.keys.iter_mut().zip(forward.keys[..=forward.rounds].iter().rev()).enumerate()
        {
            *to = *from;
            if i > 0 && i < forward.rounds {
                // SAFETY: both sides are 16 bytes, and these loads and stores need no alignment.
                unsafe {
                    let mixed = _mm_aesimc_si128(_mm_loadu_si128(from.as_ptr().cast()));
                    _mm_storeu_si128(to.as_mut_ptr().cast(), mixed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

    use super::*;

    /// FIPS 197 appendix A: the last round key of each of the three examples.
    #[test]
    fn the_round_keys_end_as_the_standard_prints_them() {
        for (key, last) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "d014f9a8c9ee2589e13f0cc8b6630ca6"),
            ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "e98ba06f448c773c8ecc720401002202"),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "fe4890d1e6188d0b046df344706c631e",
            ),
        ] {
            let key = hex::decode(key).unwrap();
            if let Some(made) = AesKey::new(&key) {
                assert_eq!(made.rounds(), key.len() / 4 + 6);
                assert_eq!(hex::encode(made.enc().keys()[made.rounds()]), last);
                assert_eq!(made.dec().keys()[0], made.enc().keys()[made.rounds()]);
                assert_eq!(made.dec().keys()[made.rounds()], made.enc().keys()[0]);
            } else {
                assert_eq!(Level::best(), Level::Portable);
            }
        }
    }

    #[test]
    fn a_key_of_another_length_is_none() {
        for len in (0..40).filter(|len| !matches!(len, 16 | 24 | 32)) {
            assert!(AesKey::new(&[7; 40][..len]).is_none(), "{len}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "aes,sse4.1")]
    fn one_block(keys: &RoundKeys, block: [u8; 16], decrypt: bool) -> [u8; 16] {
        use std::arch::x86_64::*;
        // SAFETY: 16 bytes each.
        let load = |bytes: &[u8; 16]| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        let mut state = _mm_xor_si128(load(&block), load(&keys.keys()[0]));
        for key in &keys.keys()[1..keys.rounds()] {
            state =
                if decrypt { _mm_aesdec_si128(state, load(key)) } else { _mm_aesenc_si128(state, load(key)) };
        }
        let last = load(&keys.keys()[keys.rounds()]);
        state = if decrypt { _mm_aesdeclast_si128(state, last) } else { _mm_aesenclast_si128(state, last) };
        let mut out = [0; 16];
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), state) };
        out
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_ways_agree_with_the_aes_crate() {
        fn judge<A: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt>(key: &[u8], made: &AesKey) {
            let judge = A::new_from_slice(key).unwrap();
            let plain: [u8; 16] = std::array::from_fn(|_| fastrand_byte());
            let mut expected = aes::cipher::Block::<A>::default();
            expected.copy_from_slice(&plain);
            judge.encrypt_block(&mut expected);
            // SAFETY: there is a key, so there is AES-NI.
            let (sealed, opened) = unsafe {
                let sealed = one_block(made.enc(), plain, false);
                (sealed, one_block(made.dec(), sealed, true))
            };
            assert_eq!(sealed[..], expected[..]);
            assert_eq!(opened, plain);
        }
        if Level::best() == Level::Portable {
            return;
        }
        for _ in 0..100 {
            let key: [u8; 32] = std::array::from_fn(|_| fastrand_byte());
            judge::<aes::Aes128>(&key[..16], &AesKey::new(&key[..16]).unwrap());
            judge::<aes::Aes192>(&key[..24], &AesKey::new(&key[..24]).unwrap());
            judge::<aes::Aes256>(&key, &AesKey::new(&key).unwrap());
        }
    }

    /// A byte of a fixed sequence.
    fn fastrand_byte() -> u8 {
        use std::cell::Cell;
        thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) });
        STATE.with(|state| {
            let next =
                state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.set(next);
            (next >> 56) as u8
        })
    }
}
