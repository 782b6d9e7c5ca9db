//! What a session does: a chain of transforms with their keys.
//!
//! The chain is in the order of encryption; decryption walks it backwards. For ESP that is cipher, then
//! integrity over the ciphertext, or one AEAD transform.

use smallvec::SmallVec;

use crate::algorithm::{
    AeadAlgorithm, Algorithm, CipherAlgorithm, CompressionAlgorithm, DigestAlgorithm, IntegrityAlgorithm,
};
use crate::key::Key;
use crate::step::IvBytes;

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
        /// First bytes of every counter block (RFC 3686 section 4), empty for plain use; the IV in the packet follows.
        salt: Key,
        /// An IV that is carried along; see [`Transform::with_iv`].
        iv: Option<IvBytes>,
    },
    /// Makes or checks the tag over the integrity range.
    Integrity {
        /// Which keyed hash.
        algorithm: IntegrityAlgorithm,
        /// Its key.
        key: Key,
        /// First bytes of every nonce (RFC 4543 section 3.2), for those that take one; the IV in the packet is the rest.
        salt: Key,
        /// Bytes of tag in the packet; the hash is cut to it.
        tag_len: usize,
        /// An IV that is carried along; see [`Transform::with_iv`].
        iv: Option<IvBytes>,
    },
    /// Makes or checks the digest over the integrity range.
    Digest {
        /// Which hash.
        algorithm: DigestAlgorithm,
        /// Bytes of digest in the packet; the hash is cut to it.
        digest_len: usize,
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
        /// An IV that is carried along; see [`Transform::with_iv`].
        iv: Option<IvBytes>,
    },
    /// Compresses (the way of encryption) or decompresses the cipher range, which the result takes the place of.
    Compression {
        /// Which compression.
        algorithm: CompressionAlgorithm,
    },
}

impl Transform {
    /// A cipher step.
    #[must_use]
    pub fn cipher(algorithm: CipherAlgorithm, key: Key) -> Self {
        Self::Cipher { algorithm, key, salt: Key::default(), iv: None }
    }

    /// An integrity step with a tag of `tag_len` bytes.
    #[must_use]
    pub fn integrity(algorithm: IntegrityAlgorithm, key: Key, tag_len: usize) -> Self {
        Self::Integrity { algorithm, key, salt: Key::default(), tag_len, iv: None }
    }

    /// A step with a digest of `digest_len` bytes.
    #[must_use]
    pub fn digest(algorithm: DigestAlgorithm, digest_len: usize) -> Self {
        Self::Digest { algorithm, digest_len }
    }

    /// An AEAD step with a tag of `tag_len` bytes.
    #[must_use]
    pub fn aead(algorithm: AeadAlgorithm, key: Key, salt: Key, tag_len: usize) -> Self {
        Self::Aead { algorithm, key, salt, tag_len, iv: None }
    }

    /// A compression step.
    #[must_use]
    pub fn compression(algorithm: CompressionAlgorithm) -> Self {
        Self::Compression { algorithm }
    }

    /// Says what every nonce begins with; no change to a transform that takes none.
    #[must_use]
    pub fn with_salt(mut self, first: Key) -> Self {
        match &mut self {
            Self::Cipher { salt, .. } | Self::Integrity { salt, .. } | Self::Aead { salt, .. } => {
                *salt = first
            }
            Self::Digest { .. } | Self::Compression { .. } => {}
        }
        self
    }

    /// Lets the session carry an IV. As with `cri_iv` of crypto(9), opening a session ignores it: what a request uses, it
    /// says itself. No change to a transform that takes none.
    #[must_use]
    pub fn with_iv(mut self, carried: IvBytes) -> Self {
        match &mut self {
            Self::Cipher { iv, .. } | Self::Integrity { iv, .. } | Self::Aead { iv, .. } => {
                *iv = Some(carried)
            }
            Self::Digest { .. } | Self::Compression { .. } => {}
        }
        self
    }

    /// The IV that is carried along.
    #[must_use]
    pub fn iv(&self) -> Option<IvBytes> {
        match self {
            Self::Cipher { iv, .. } | Self::Integrity { iv, .. } | Self::Aead { iv, .. } => *iv,
            Self::Digest { .. } | Self::Compression { .. } => None,
        }
    }

    /// What is computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Cipher { algorithm, .. } => Algorithm::Cipher(*algorithm),
            Self::Integrity { algorithm, .. } => Algorithm::Integrity(*algorithm),
            Self::Digest { algorithm, .. } => Algorithm::Digest(*algorithm),
            Self::Aead { algorithm, .. } => Algorithm::Aead(*algorithm),
            Self::Compression { algorithm } => Algorithm::Compression(*algorithm),
        }
    }

    /// The key, where there is one; its length in bits is [`Key::bits`].
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Cipher { key, .. } | Self::Integrity { key, .. } | Self::Aead { key, .. } => Some(key),
            Self::Digest { .. } | Self::Compression { .. } => None,
        }
    }

    /// Bytes of tag or digest in the packet, where there is one.
    #[must_use]
    pub fn tag_len(&self) -> Option<usize> {
        match self {
            Self::Integrity { tag_len, .. } | Self::Aead { tag_len, .. } => Some(*tag_len),
            Self::Digest { digest_len, .. } => Some(*digest_len),
            Self::Cipher { .. } | Self::Compression { .. } => None,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_tells_its_algorithm_key_length_in_bits_and_tag() {
        let seen = |transform: &Transform| {
            (transform.algorithm().name(), transform.key().map(Key::bits), transform.tag_len())
        };
        let key = |len| Key::new(&vec![0; len]);
        let cipher = Transform::cipher(CipherAlgorithm::AesCbc, key(24));
        assert_eq!(seen(&cipher), ("aes-cbc", Some(192), None));
        let hash = Transform::integrity(IntegrityAlgorithm::HmacSha1, key(20), 12);
        assert_eq!(seen(&hash), ("sha1-hmac", Some(160), Some(12)));
        let aead = Transform::aead(AeadAlgorithm::AesGcm, key(32), key(4), 16);
        assert_eq!(seen(&aead), ("aes-gcm", Some(256), Some(16)));
        assert_eq!(seen(&Transform::digest(DigestAlgorithm::Sha1, 20)), ("sha1", None, Some(20)));
        assert_eq!(seen(&Transform::compression(CompressionAlgorithm::Deflate)), ("deflate", None, None));
    }

    #[test]
    fn a_transform_carries_an_iv_where_it_takes_one() {
        let iv = IvBytes::new(&[9; 16]);
        let carried = |transform: Transform| transform.with_iv(iv.unwrap()).iv();
        assert_eq!(carried(Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[0; 16]))), iv);
        assert_eq!(carried(Transform::compression(CompressionAlgorithm::Deflate)), None);
    }
}
