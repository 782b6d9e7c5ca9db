//! What a session does: a chain of transforms with their keys.
//!
//! The chain is in the order of encryption; decryption walks it backwards. For ESP that is cipher, then
//! integrity over the ciphertext, or one AEAD transform.

use smallvec::SmallVec;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::key::Key;

/// One step of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transform {
    /// Encrypts or decrypts the cipher range.
    Cipher {
        /// Which cipher.
        algorithm: CipherAlgorithm,
        /// Its key.
        key: Key,
    },
    /// Makes or checks the tag over the integrity range.
    Integrity {
        /// Which keyed hash.
        algorithm: IntegrityAlgorithm,
        /// Its key.
        key: Key,
        /// Bytes of tag in the packet; the hash is cut to it.
        tag_len: usize,
    },
    /// Both at once: the cipher range is encrypted, the integrity range is associated data.
    Aead {
        /// Which AEAD.
        algorithm: AeadAlgorithm,
        /// Its key, without the salt.
        key: Key,
        /// First bytes of every nonce; the IV in the packet is the rest.
        salt: Key,
        /// Bytes of tag in the packet.
        tag_len: usize,
    },
}

impl Transform {
    /// Its key, without a salt.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Cipher { key, .. } | Self::Integrity { key, .. } | Self::Aead { key, .. } => key,
        }
    }

    /// A cipher step.
    #[must_use]
    pub fn cipher(algorithm: CipherAlgorithm, key: Key) -> Self {
        Self::Cipher { algorithm, key }
    }

    /// An integrity step with a tag of `tag_len` bytes.
    #[must_use]
    pub fn integrity(algorithm: IntegrityAlgorithm, key: Key, tag_len: usize) -> Self {
        Self::Integrity { algorithm, key, tag_len }
    }

    /// An AEAD step with a tag of `tag_len` bytes.
    #[must_use]
    pub fn aead(algorithm: AeadAlgorithm, key: Key, salt: Key, tag_len: usize) -> Self {
        Self::Aead { algorithm, key, salt, tag_len }
    }
}

/// What to open a session for; kept by the registry until the session is closed, then wiped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionParams {
    /// The chain, in the order of encryption.
    pub transforms: SmallVec<[Transform; 2]>,
}

impl From<Transform> for SessionParams {
    fn from(transform: Transform) -> Self {
        Self { transforms: SmallVec::from_iter([transform]) }
    }
}

impl FromIterator<Transform> for SessionParams {
    fn from_iter<I: IntoIterator<Item = Transform>>(transforms: I) -> Self {
        Self { transforms: transforms.into_iter().collect() }
    }
}
