//! What a driver can do, as data: what placement decides by, and what tables are made from.

use smallvec::SmallVec;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::key_op::KeySupport;
use crate::transform::{SessionParams, Transform};

/// Key lengths in bytes that an algorithm takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLengths {
    /// Just these.
    OneOf(SmallVec<[usize; 4]>),
    /// Any from the first to the second, both included.
    Range(usize, usize),
}

impl KeyLengths {
    /// True when a key of `len` bytes will do.
    #[must_use]
    pub fn allow(&self, len: usize) -> bool {
        match self {
            Self::OneOf(lengths) => lengths.contains(&len),
            Self::Range(least, most) => (*least..=*most).contains(&len),
        }
    }
}

/// One algorithm with its key lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supported<A> {
    /// The algorithm.
    pub algorithm: A,
    /// Lengths of its keys.
    pub keys: KeyLengths,
    /// Tag lengths in bytes, empty for a cipher.
    pub tags: SmallVec<[usize; 4]>,
}

/// What a driver can do.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// True for an engine outside the processor.
    pub hardware: bool,
    /// True when `submit` does the work, false when an engine does it in between.
    pub synchronous: bool,
    /// True when any bundle is taken and nothing is computed: the null driver.
    pub anything: bool,
    /// Ciphers.
    pub ciphers: Vec<Supported<CipherAlgorithm>>,
    /// Keyed hashes.
    pub integrity: Vec<Supported<IntegrityAlgorithm>>,
    /// AEADs.
    pub aeads: Vec<Supported<AeadAlgorithm>>,
    /// Key operations.
    pub key_operations: Vec<KeySupport>,
    /// Sessions that fit, `None` for as many as memory holds.
    pub max_sessions: Option<usize>,
    /// True when packets of several segments are taken.
    pub scatter_gather: bool,
}

/// Why a driver will not take a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// No such algorithm here.
    #[error("{0} is not among the driver's algorithms")]
    Algorithm(&'static str),
    /// Not with this key.
    #[error("{algorithm} takes no key of {len} bytes")]
    KeyLength {
        /// The algorithm.
        algorithm: &'static str,
        /// The key's length.
        len: usize,
    },
    /// Not with this tag.
    #[error("{algorithm} makes no tag of {len} bytes")]
    TagLength {
        /// The algorithm.
        algorithm: &'static str,
        /// The tag's length.
        len: usize,
    },
    /// Not with this salt.
    #[error("{algorithm} takes no salt of {len} bytes")]
    SaltLength {
        /// The algorithm.
        algorithm: &'static str,
        /// The salt's length.
        len: usize,
    },
    /// Not in this combination.
    #[error(
        "this chain of transforms is not supported: use a cipher, an integrity algorithm, the two in that order, or one AEAD"
    )]
    Chain,
}

impl Capabilities {
    /// Checks every algorithm, key and tag of a bundle, not its order.
    ///
    /// # Errors
    /// The first thing that the driver does not have.
    pub fn check(&self, params: &SessionParams) -> Result<(), Unsupported> {
        if self.anything {
            return Ok(());
        }
        params.transforms.iter().try_for_each(|transform| match transform {
            Transform::Cipher { algorithm, key } => {
                check_one(&self.ciphers, *algorithm, algorithm.name(), key.len(), None)
            }
            Transform::Integrity { algorithm, key, tag_len } => {
                check_one(&self.integrity, *algorithm, algorithm.name(), key.len(), Some(*tag_len))
            }
            Transform::Aead { algorithm, key, tag_len, .. } => {
                check_one(&self.aeads, *algorithm, algorithm.name(), key.len(), Some(*tag_len))
            }
        })
    }
}

fn check_one<A: Copy + PartialEq>(
    list: &[Supported<A>],
    wanted: A,
    algorithm: &'static str,
    key_len: usize,
    tag_len: Option<usize>,
) -> Result<(), Unsupported> {
    let found = list.iter().find(|supported| supported.algorithm == wanted);
    let supported = found.ok_or(Unsupported::Algorithm(algorithm))?;
    if !supported.keys.allow(key_len) {
        return Err(Unsupported::KeyLength { algorithm, len: key_len });
    }
    match tag_len {
        Some(len) if !supported.tags.contains(&len) => Err(Unsupported::TagLength { algorithm, len }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::key::Key;

    fn capabilities() -> Capabilities {
        let aes = KeyLengths::OneOf(smallvec![16, 32]);
        Capabilities {
            ciphers: vec![Supported {
                algorithm: CipherAlgorithm::AesCbc,
                keys: aes.clone(),
                tags: smallvec![],
            }],
            integrity: vec![Supported {
                algorithm: IntegrityAlgorithm::HmacSha1,
                keys: KeyLengths::Range(10, 64),
                tags: smallvec![12],
            }],
            aeads: vec![Supported { algorithm: AeadAlgorithm::AesGcm, keys: aes, tags: smallvec![8, 16] }],
            ..Capabilities::default()
        }
    }

    fn key(len: usize) -> Key {
        Key::new(&vec![0; len])
    }

    fn check(transforms: impl IntoIterator<Item = Transform>) -> Result<(), Unsupported> {
        capabilities().check(&transforms.into_iter().collect())
    }

    #[test]
    fn key_lengths_allow_what_they_list_and_no_neighbour() {
        let listed = KeyLengths::OneOf(smallvec![16, 24]);
        assert!([16, 24].iter().all(|&len| listed.allow(len)));
        assert!(![0, 15, 17, 20, 25].iter().any(|&len| listed.allow(len)));
        let range = KeyLengths::Range(10, 64);
        assert!([10, 11, 64].iter().all(|&len| range.allow(len)));
        assert!(![0, 9, 65, usize::MAX].iter().any(|&len| range.allow(len)));
    }

    #[test]
    fn a_bundle_is_taken_when_every_part_is() {
        let cipher = |len| Transform::cipher(CipherAlgorithm::AesCbc, key(len));
        let hmac = |len, tag| Transform::integrity(IntegrityAlgorithm::HmacSha1, key(len), tag);
        assert_eq!(check([cipher(16), hmac(20, 12)]), Ok(()));
        let wrong_key = |algorithm, len| Err(Unsupported::KeyLength { algorithm, len });
        assert_eq!(check([cipher(24), hmac(20, 12)]), wrong_key("aes-cbc", 24));
        assert_eq!(check([cipher(16), hmac(9, 12)]), wrong_key("sha1-hmac", 9));
        let wrong_tag = Err(Unsupported::TagLength { algorithm: "sha1-hmac", len: 20 });
        assert_eq!(check([cipher(16), hmac(20, 20)]), wrong_tag);
    }

    #[test]
    fn an_aead_is_taken_with_its_keys_and_tags() {
        let gcm = |len, tag| Transform::aead(AeadAlgorithm::AesGcm, key(len), key(4), tag);
        assert_eq!(check([gcm(32, 8)]), Ok(()));
        assert_eq!(check([gcm(24, 8)]), Err(Unsupported::KeyLength { algorithm: "aes-gcm", len: 24 }));
        assert_eq!(check([gcm(32, 12)]), Err(Unsupported::TagLength { algorithm: "aes-gcm", len: 12 }));
    }

    #[test]
    fn an_algorithm_that_is_not_listed_is_named() {
        let sha256 = Transform::integrity(IntegrityAlgorithm::HmacSha256, key(32), 16);
        assert_eq!(check([sha256.clone()]), Err(Unsupported::Algorithm("sha2-256-hmac")));
        let all = Capabilities { anything: true, ..Capabilities::default() };
        assert_eq!(all.check(&sha256.into()), Ok(()));
    }
}
