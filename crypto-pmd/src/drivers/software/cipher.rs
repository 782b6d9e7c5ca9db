//! AES-CBC of the software driver.

use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, InnerIvInit as _, KeyInit as _};
use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, BlockSizeUser};

use crate::job::Operation;

/// A key schedule, both ways.
///
/// Boxed: a variant that is smaller than its enum would be copied to the heap with whatever the stack held behind
/// it, which may be a key, and dropping the variant would not wipe that.
#[derive(Debug)]
pub(super) enum Cipher {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    /// `None` for a key of another length than 16, 24 or 32 bytes.
    pub(super) fn aes(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Box::new).map(Self::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(Box::new).map(Self::Aes192),
            32 => Aes256::new_from_slice(key).ok().map(Box::new).map(Self::Aes256),
            _ => None,
        }
    }

    /// Works on `data` in place; false (and no change) unless its length is a multiple of 16 and the IV's is 16.
    pub(super) fn cbc(&self, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Self::Aes128(aes) => cbc_with(&**aes, operation, iv, data),
            Self::Aes192(aes) => cbc_with(&**aes, operation, iv, data),
            Self::Aes256(aes) => cbc_with(&**aes, operation, iv, data),
        }
    }
}

fn cbc_with<A>(aes: &A, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool
where
    A: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
{
    let Ok(iv) = <&Array<u8, U16>>::try_from(iv) else { return false };
    let (blocks, rest) = Array::<u8, U16>::slice_as_chunks_mut(data);
    if !rest.is_empty() {
        return false;
    }
    match operation {
        Operation::Encrypt => cbc::Encryptor::inner_iv_init(aes, iv).encrypt_blocks(blocks),
        Operation::Decrypt => cbc::Decryptor::inner_iv_init(aes, iv).decrypt_blocks(blocks),
    }
    true
}
