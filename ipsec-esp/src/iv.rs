//! Unpredictable IVs for CBC: AES-128 of a counter under a random key that lives as long as the core does.
//!
//! RFC 3602 section 3 wants IVs that nobody can predict, and no counter or previous ciphertext; a block cipher under
//! a secret key gives that, and repeats only after 2^128 packets. Counter modes need no such source: their IV is the
//! sequence number, which never repeats under one key.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _, consts::U16};
use zeroize::Zeroize as _;

/// Blocks made at once, so that the cipher works on many side by side.
const BATCH: usize = 32;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A source of IVs for one core.
pub struct IvSource {
    aes: Aes128,
    counter: u128,
    blocks: [Array<u8, U16>; BATCH],
    next: usize,
}

impl IvSource {
    /// A source with a key from the operating system.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn random() -> Result<Self, NoRandomness> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(NoRandomness)?;
        let source = Self::with_key(&key);
        key.zeroize();
        Ok(source)
    }

    /// A source with a known key, for tests that must repeat.
    #[must_use]
    pub fn with_key(key: &[u8; 16]) -> Self {
        let aes = Aes128::new(&Array::from(*key));
        Self { aes, counter: 0, blocks: [Array::default(); BATCH], next: BATCH }
    }

    /// The next IV.
    #[inline(always)]
    pub fn take(&mut self) -> [u8; 16] {
        if self.next >= BATCH {
            self.refill();
        }
        let iv = self.blocks.get(self.next).map_or([0; 16], |block| block.0);
        self.next += 1;
        iv
    }

    #[inline(never)]
    fn refill(&mut self) {
        for block in &mut self.blocks {
            block.0 = self.counter.to_be_bytes();
            self.counter = self.counter.wrapping_add(1);
        }
        self.aes.encrypt_blocks(&mut self.blocks);
        self.next = 0;
    }
}

impl fmt::Debug for IvSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IvSource([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ivs_differ_from_each_other_and_between_sources() {
        let mut one = IvSource::random().unwrap();
        let mut two = IvSource::random().unwrap();
        let ivs: std::collections::BTreeSet<_> = (0..500).flat_map(|_| [one.take(), two.take()]).collect();
        assert_eq!(ivs.len(), 1000);
    }

    #[test]
    fn ivs_are_the_cipher_of_a_counter() {
        // FIPS 197 appendix C.1 has this key; its cipher of the zero block is widely published.
        let mut source = IvSource::with_key(&[0; 16]);
        assert_eq!(hex::encode(source.take()), "66e94bd4ef8a2c3b884cfa59ca342b2e");
    }
}
