//! One transform of a session, ready to run.

use crate::algorithm::{AeadAlgorithm, Algorithm, CipherAlgorithm};
use crate::capability::Unsupported;
use crate::transform::Transform;

use super::aead::Aead;
use super::cipher::Cipher;
use super::integrity::Integrity;
use super::nonce::NonceRule;

/// A cipher.
#[derive(Debug)]
pub(in crate::drivers) struct CipherUnit {
    pub(super) algorithm: CipherAlgorithm,
    pub(super) cipher: Cipher,
    pub(super) nonce: NonceRule,
    /// Bits of a length that whole blocks do not have.
    pub(super) beyond_blocks: usize,
    pub(super) least_len: usize,
}

/// A hash, keyed or not.
#[derive(Debug)]
pub(in crate::drivers) struct IntegrityUnit {
    pub(super) algorithm: Algorithm,
    pub(super) integrity: Integrity,
    pub(super) nonce: NonceRule,
}

/// An AEAD.
#[derive(Debug)]
pub(in crate::drivers) struct AeadUnit {
    pub(super) algorithm: AeadAlgorithm,
    pub(super) aead: Aead,
    pub(super) nonce: NonceRule,
    pub(super) tag_len: usize,
}

/// Any of them.
#[derive(Debug)]
pub(in crate::drivers) enum Unit {
    Cipher(CipherUnit),
    Integrity(IntegrityUnit),
    Aead(AeadUnit),
}

impl Unit {
    /// A transform's unit; compression has none, since it is a chain by itself.
    pub(super) fn new(transform: &Transform) -> Result<Self, Unsupported> {
        let name = transform.algorithm().name();
        let bad_key =
            Unsupported::KeyLength { algorithm: name, len: transform.key().map_or(0, |key| key.len()) };
        match transform {
            Transform::Cipher { algorithm, key, salt, .. } => {
                let nonce = NonceRule::of_cipher(*algorithm, salt)?;
                let cipher = Cipher::new(*algorithm, key.bytes()).ok_or(bad_key)?;
                let (beyond_blocks, least_len) = (algorithm.block_len() - 1, algorithm.least_len());
                Ok(Self::Cipher(CipherUnit {
                    algorithm: *algorithm,
                    cipher,
                    nonce,
                    beyond_blocks,
                    least_len,
                }))
            }
            Transform::Integrity { algorithm, key, salt, tag_len, .. } => {
                let nonce = NonceRule::of_integrity(*algorithm, salt)?;
                let integrity = Integrity::new(*algorithm, key.bytes(), *tag_len).ok_or(bad_key)?;
                Ok(Self::Integrity(IntegrityUnit { algorithm: transform.algorithm(), integrity, nonce }))
            }
            Transform::Digest { algorithm, digest_len } => {
                let hash = Integrity::digest(*algorithm, *digest_len);
                let integrity = hash.ok_or(Unsupported::Algorithm(name))?;
                let (algorithm, nonce) = (transform.algorithm(), NonceRule::none());
                Ok(Self::Integrity(IntegrityUnit { algorithm, integrity, nonce }))
            }
            Transform::Aead { algorithm, key, salt, tag_len, .. } => {
                let nonce = NonceRule::of_aead(*algorithm, salt)?;
                let aead = Aead::new(*algorithm, key.bytes(), *tag_len).ok_or(bad_key)?;
                Ok(Self::Aead(AeadUnit { algorithm: *algorithm, aead, nonce, tag_len: *tag_len }))
            }
            Transform::Compression { .. } => Err(Unsupported::Chain),
        }
    }
}
