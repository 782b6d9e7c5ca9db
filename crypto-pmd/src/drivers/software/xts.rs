//! AES-XTS of the software driver (IEEE 1619), with ciphertext stealing. Both halves of the key may be equal, as in the
//! standard's own first vector.

use aes::cipher::KeyInit as _;
use aes::{Aes128, Aes256, Block};
use xts_mode::Xts128;

use crate::job::Operation;

use super::place::Place;

/// Two key schedules: one for the data, one for the tweak.
pub(super) enum Xts<P: Place> {
    Aes128(P::Of<Xts128<Aes128>>),
    Aes256(P::Of<Xts128<Aes256>>),
}

impl<P: Place> Xts<P> {
    /// `None` for a key of another length than 32 or 64 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let (data, tweak) = key.split_at(key.len() / 2);
        match key.len() {
            32 => {
                let aes = |key| Aes128::new_from_slice(key).ok();
                Some(Self::Aes128(P::put(Xts128::new(aes(data)?, aes(tweak)?))))
            }
            64 => {
                let aes = |key| Aes256::new_from_slice(key).ok();
                Some(Self::Aes256(P::put(Xts128::new(aes(data)?, aes(tweak)?))))
            }
            _ => None,
        }
    }

    /// Works on `data` in place; false (and no change) when it has less than a block, or the tweak is none.
    pub(super) fn run(&self, operation: Operation, tweak: &[u8], data: &mut [u8]) -> bool {
        let Ok(tweak) = Block::try_from(tweak) else { return false };
        // The mode's functions panic below one block.
        if data.len() < 16 {
            return false;
        }
        match (self, operation) {
            (Self::Aes128(xts), Operation::Encrypt) => xts.encrypt_sector(data, tweak),
            (Self::Aes128(xts), Operation::Decrypt) => xts.decrypt_sector(data, tweak),
            (Self::Aes256(xts), Operation::Encrypt) => xts.encrypt_sector(data, tweak),
            (Self::Aes256(xts), Operation::Decrypt) => xts.decrypt_sector(data, tweak),
        }
        true
    }
}
