//! Random IVs of one queue pair: ChaCha20 under a key from the operating system, which is replaced with each refill, so that what
//! was handed out cannot be found again.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::algorithm::{Algorithm, CipherAlgorithm};
use crate::job::Status;

const KEY: usize = 32;
/// Bytes that are made at once, the next key among them.
const BATCH: usize = 512;

/// A source of random bytes.
pub(super) struct Random {
    key: Zeroizing<[u8; KEY]>,
    batch: Zeroizing<[u8; BATCH]>,
    used: usize,
    seeded: bool,
}

impl Random {
    /// A source with a seed from the operating system, if that has one now; if not, it is asked again when bytes are wanted.
    pub(super) fn new() -> Self {
        let mut source = Self {
            key: Zeroizing::new([0; KEY]),
            batch: Zeroizing::new([0; BATCH]),
            used: BATCH,
            seeded: false,
        };
        source.seed();
        source
    }

    fn seed(&mut self) -> bool {
        self.seeded = self.seeded || getrandom::fill(&mut *self.key).is_ok();
        self.seeded
    }

    /// Fills `to` with an IV. That of ChaCha20 begins with its block counter, which is zero.
    ///
    /// # Errors
    /// [`Status::Retry`] when the operating system has no seed.
    pub(super) fn iv(&mut self, algorithm: Algorithm, to: &mut [u8]) -> Result<(), Status> {
        if !self.seed() {
            return Err(Status::Retry);
        }
        self.fill(to);
        if algorithm == Algorithm::Cipher(CipherAlgorithm::ChaCha20) {
            to.iter_mut().take(4).for_each(|byte| *byte = 0);
        }
        Ok(())
    }

    fn fill(&mut self, to: &mut [u8]) {
        for byte in to {
            if self.used >= BATCH {
                self.refill();
            }
            *byte = self.batch.get_mut(self.used).map_or(0, std::mem::take);
            self.used += 1;
        }
    }

    fn refill(&mut self) {
        self.batch.zeroize();
        let mut cipher = ChaCha20::new((&*self.key).into(), (&[0; 12]).into());
        cipher.apply_keystream(&mut *self.batch);
        if let Some(next) = self.batch.first_chunk_mut::<KEY>() {
            *self.key = *next;
            next.zeroize();
        }
        self.used = KEY;
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_iv_comes_twice_and_no_two_sources_agree() {
        let cipher = Algorithm::Cipher(CipherAlgorithm::AesCbc);
        let (mut one, mut other, mut seen) = (Random::new(), Random::new(), BTreeSet::new());
        for _ in 0..1000 {
            for source in [&mut one, &mut other] {
                let mut iv = [0; 16];
                source.iv(cipher, &mut iv).unwrap();
                assert!(seen.insert(iv));
            }
        }
    }

    #[test]
    fn what_was_handed_out_is_not_kept() {
        let mut source = Random::new();
        let mut bytes = [0; 100];
        source.fill(&mut bytes);
        assert!(source.batch[..KEY + 100].iter().all(|&byte| byte == 0));
        assert!(bytes.iter().any(|&byte| byte != 0));
    }
}
