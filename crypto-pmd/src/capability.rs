//! What a driver can do, as data: what placement decides by, and what tables are made from.

use smallvec::SmallVec;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
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
