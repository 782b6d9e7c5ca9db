//! AES-GCM of the software driver.

use aes::Aes192;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit as _};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};

use crate::job::Operation;

/// A key schedule with its hash key.
///
/// Boxed: a variant that is smaller than its enum would be copied to the heap with whatever the stack held behind
/// it, which may be a key, and dropping the variant would not wipe that.
pub(super) enum Aead {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Aead {
    /// `None` for a key of another length than 16, 24 or 32 bytes.
    pub(super) fn aes_gcm(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Gcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes128),
            24 => AesGcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes192),
            32 => Aes256Gcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes256),
            _ => None,
        }
    }

    /// Works on `data` in place and writes or checks the 16 bytes of `tag`; false when the tag does not match
    /// (`data` is untouched then) or a length is wrong.
    pub(super) fn run(
        &self,
        operation: Operation,
        nonce: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> bool {
        match self {
            Self::Aes128(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Aes192(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Aes256(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
        }
    }
}

fn run_with<A: AeadInOut>(
    gcm: &A,
    operation: Operation,
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &mut [u8],
) -> bool {
    let Ok(nonce) = nonce.try_into() else { return false };
    match operation {
        Operation::Encrypt => match gcm.encrypt_inout_detached(nonce, aad, data.into()) {
            Ok(made) if made.len() == tag.len() => {
                tag.copy_from_slice(&made);
                true
            }
            _ => false,
        },
        Operation::Decrypt => match (&*tag).try_into() {
            Ok(tag) => gcm.decrypt_inout_detached(nonce, aad, data.into(), tag).is_ok(),
            Err(_) => false,
        },
    }
}

impl std::fmt::Debug for Aead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aead([redacted])")
    }
}
