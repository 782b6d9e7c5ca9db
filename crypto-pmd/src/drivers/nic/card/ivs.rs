//! IVs that nobody can predict (RFC 3602 section 3): AES-128 of a counter, under a key that the card drew when it was made.

use std::io;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use zeroize::Zeroizing;

pub(super) struct Ivs {
    aes: Aes128,
    counter: u128,
}

impl Ivs {
    pub(super) fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *key).map_err(io::Error::other)?;
        Ok(Self { aes: Aes128::new(&Array::from(*key)), counter: 0 })
    }

    pub(super) fn take(&mut self) -> [u8; 16] {
        let mut block = Array::from(self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        self.aes.encrypt_block(&mut block);
        block.0
    }
}

impl std::fmt::Debug for Ivs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ivs([redacted])")
    }
}
