//! A bundle: the algorithms of a session with the lengths of their keys, under a name.
//!
//! Invariant: a bundle has keys of its own, which are no secrets; those of the session that it was made from are not kept.

use crate::algorithm::{AeadAlgorithm, Algorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::key::Key;
use crate::transform::{SessionParams, Transform};

/// What is measured as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    name: String,
    params: SessionParams,
}

impl Bundle {
    /// The bundle of these parameters. Salts and tags are as long as theirs, but not part of the name: speed hardly depends on
    /// them.
    ///
    /// ```
    /// use crypto_pmd::{AeadAlgorithm, Key, Transform, measure::Bundle};
    /// let gcm = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[1; 32]), Key::new(&[2; 4]), 16);
    /// assert_eq!(Bundle::of(&gcm.into()).name(), "aes-256-gcm");
    /// ```
    #[must_use]
    pub fn of(params: &SessionParams) -> Self {
        let names: Vec<_> = params.transforms.iter().map(name).collect();
        Self { name: names.join("+"), params: params.transforms.iter().map(alike).collect() }
    }

    /// Names of the algorithms in the order of encryption, joined by `+`, with the bits of the key where its length decides
    /// over the work: `aes-128-cbc+sha1-hmac`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a session of the bundle is opened with.
    #[must_use]
    pub fn params(&self) -> &SessionParams {
        &self.params
    }

    pub(super) fn transforms(&self) -> &[Transform] {
        &self.params.transforms
    }
}

fn name(transform: &Transform) -> String {
    let algorithm = transform.algorithm();
    match (transform.key(), algorithm.name().split_once('-')) {
        (Some(key), Some((first, rest))) if key_len_matters(algorithm) => {
            format!("{first}-{}-{rest}", key.bits())
        }
        _ => algorithm.name().to_owned(),
    }
}

/// True where a longer key means more rounds for each block.
fn key_len_matters(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Cipher(cipher) => matches!(
            cipher,
            CipherAlgorithm::AesCbc
                | CipherAlgorithm::AesCtr
                | CipherAlgorithm::AesXts
                | CipherAlgorithm::CamelliaCbc
        ),
        Algorithm::Integrity(hash) => matches!(
            hash,
            IntegrityAlgorithm::AesGmac | IntegrityAlgorithm::AesCbcMac | IntegrityAlgorithm::AesCmac
        ),
        Algorithm::Aead(aead) => matches!(aead, AeadAlgorithm::AesGcm | AeadAlgorithm::AesCcm),
        Algorithm::Digest(_) | Algorithm::Compression(_) => false,
    }
}

/// The same transform with keys of its own.
fn alike(transform: &Transform) -> Transform {
    match transform {
        Transform::Cipher { algorithm, key, salt, .. } => {
            Transform::cipher(*algorithm, own(key, 3)).with_salt(own(salt, 5))
        }
        Transform::Integrity { algorithm, key, salt, tag_len, .. } => {
            Transform::integrity(*algorithm, own(key, 7), *tag_len).with_salt(own(salt, 11))
        }
        Transform::Aead { algorithm, key, salt, tag_len, .. } => {
            Transform::aead(*algorithm, own(key, 13), own(salt, 17), *tag_len)
        }
        Transform::Digest { .. } | Transform::Compression { .. } => transform.clone(),
    }
}

/// A key as long as `key`. No two halves of it are the same, which XTS would not take.
fn own(key: &Key, step: u8) -> Key {
    let bytes: Vec<u8> = (0..key.len()).map(|n| (n as u8).wrapping_mul(step).wrapping_add(1)).collect();
    Key::new(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompressionAlgorithm, DigestAlgorithm};

    fn key(len: usize) -> Key {
        Key::new(&vec![0xa5; len])
    }

    fn bundle(transforms: &[Transform]) -> Bundle {
        Bundle::of(&transforms.iter().cloned().collect())
    }

    #[test]
    fn bits_stand_in_a_name_where_they_change_the_work() {
        let cipher = |algorithm, len| Transform::cipher(algorithm, key(len));
        let hmac = |len| Transform::integrity(IntegrityAlgorithm::HmacSha256, key(len), 16);
        let named = |transforms: &[Transform]| bundle(transforms).name().to_owned();
        assert_eq!(named(&[cipher(CipherAlgorithm::AesCbc, 24), hmac(32)]), "aes-192-cbc+sha2-256-hmac");
        assert_eq!(named(&[hmac(64)]), "sha2-256-hmac");
        assert_eq!(named(&[cipher(CipherAlgorithm::AesXts, 64)]), "aes-512-xts");
        assert_eq!(named(&[cipher(CipherAlgorithm::ChaCha20, 32)]), "chacha20");
        let gmac = Transform::integrity(IntegrityAlgorithm::AesGmac, key(16), 16);
        assert_eq!(named(&[gmac]), "aes-128-gmac");
        assert_eq!(named(&[Transform::digest(DigestAlgorithm::Sha1, 20)]), "sha1");
        assert_eq!(named(&[Transform::compression(CompressionAlgorithm::Deflate)]), "deflate");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn a_bundle_is_as_long_in_every_part_as_its_session_and_has_none_of_its_keys() {
        let salted = Transform::cipher(CipherAlgorithm::AesCtr, key(32)).with_salt(key(4));
        let aead = Transform::aead(AeadAlgorithm::AesCcm, key(16), key(3), 8);
        let hash = Transform::integrity(IntegrityAlgorithm::HmacSha1, key(20), 12);
        for given in [salted, aead, hash] {
            let made = bundle(std::slice::from_ref(&given)).params.transforms[0].clone();
            assert_eq!((made.algorithm(), made.tag_len()), (given.algorithm(), given.tag_len()));
            assert_eq!(made.key().map(Key::len), given.key().map(Key::len));
            assert_ne!(made.key(), given.key());
            assert_eq!(salt(&made).len(), salt(&given).len());
        }
    }

    fn salt(transform: &Transform) -> Key {
        match transform {
            Transform::Cipher { salt, .. }
            | Transform::Integrity { salt, .. }
            | Transform::Aead { salt, .. } => salt.clone(),
            _ => Key::default(),
        }
    }
}
