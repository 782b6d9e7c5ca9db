//! What a driver can do, as data: what placement decides by, and what tables are made from.

mod table;

use std::fmt;

use smallvec::SmallVec;

use crate::algorithm::{
    AeadAlgorithm, Algorithm, CipherAlgorithm, CompressionAlgorithm, DigestAlgorithm, IntegrityAlgorithm,
};
use crate::key::Key;
use crate::key_op::KeySupport;
use crate::transform::{SessionParams, Transform};

pub use table::table;

/// Key lengths in bytes that an algorithm takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLengths {
    /// Just these.
    OneOf(SmallVec<[usize; 4]>),
    /// Any from the first to the second, both included.
    Range(usize, usize),
}

impl KeyLengths {
    /// What an algorithm without a key takes.
    pub const NONE: Self = Self::Range(0, 0);

    /// True when a key of `len` bytes will do.
    #[must_use]
    pub fn allow(&self, len: usize) -> bool {
        match self {
            Self::OneOf(lengths) => lengths.contains(&len),
            Self::Range(least, most) => (*least..=*most).contains(&len),
        }
    }
}

/// In bits, as in `128, 192, 256` and `40 to 448`; nothing for an algorithm without a key.
impl fmt::Display for KeyLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(0, 0) => Ok(()),
            Self::Range(least, most) if least == most => write!(f, "{}", least * 8),
            Self::Range(least, most) => write!(f, "{} to {}", least * 8, most * 8),
            Self::OneOf(lengths) => {
                let bits: SmallVec<[String; 4]> = lengths.iter().map(|len| (len * 8).to_string()).collect();
                f.write_str(&bits.join(", "))
            }
        }
    }
}

/// What else is to be known of an algorithm on a driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlgorithmFlags {
    /// It is broken, and here only for those who must.
    pub legacy: bool,
    /// Packets of several segments, and lists of memory, are taken.
    pub scatter_gather: bool,
}

impl AlgorithmFlags {
    /// With both said.
    #[must_use]
    pub fn new(legacy: bool, scatter_gather: bool) -> Self {
        Self { legacy, scatter_gather }
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
    /// The longest packet that is taken, in bits; `None` for no limit.
    pub max_operand_bits: Option<u64>,
    /// What else is to be known.
    pub flags: AlgorithmFlags,
}

impl<A: Copy + Into<Algorithm>> Supported<A> {
    /// An algorithm without a tag, without a limit, and flagged as legacy where it is.
    #[must_use]
    pub fn new(algorithm: A, keys: KeyLengths) -> Self {
        let flags = AlgorithmFlags { legacy: algorithm.into().is_legacy(), ..AlgorithmFlags::default() };
        Self { algorithm, keys, tags: SmallVec::new(), max_operand_bits: None, flags }
    }

    /// Lists the lengths of the tag, in bytes.
    #[must_use]
    pub fn with_tags(self, tags: &[usize]) -> Self {
        Self { tags: SmallVec::from_slice(tags), ..self }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            algorithm: self.algorithm.into(),
            keys: &self.keys,
            tags: &self.tags,
            max_operand_bits: self.max_operand_bits,
            flags: self.flags,
        }
    }
}

/// One line of a driver's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Lengths of its keys.
    pub keys: &'a KeyLengths,
    /// Tag lengths in bytes, empty where there is no tag.
    pub tags: &'a [usize],
    /// The longest packet that is taken, in bits; `None` for no limit.
    pub max_operand_bits: Option<u64>,
    /// What else is to be known.
    pub flags: AlgorithmFlags,
}

impl Entry<'_> {
    /// Checks key and tag of a transform that asks for this algorithm.
    fn check(&self, key: Option<&Key>, tag_len: Option<usize>) -> Result<(), Unsupported> {
        let algorithm = self.algorithm.name();
        let key_len = key.map_or(0, Key::len);
        if !self.keys.allow(key_len) {
            return Err(Unsupported::KeyLength { algorithm, len: key_len });
        }
        match tag_len {
            Some(len) if !self.tags.contains(&len) => Err(Unsupported::TagLength { algorithm, len }),
            _ => Ok(()),
        }
    }
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
    /// Hashes without a key.
    pub digests: Vec<Supported<DigestAlgorithm>>,
    /// AEADs.
    pub aeads: Vec<Supported<AeadAlgorithm>>,
    /// Compression.
    pub compression: Vec<Supported<CompressionAlgorithm>>,
    /// Key operations.
    pub key_operations: Vec<KeySupport>,
    /// Jobs that it likes to get at once, so that it is worth to wait a little for more; 0 and 1 for any number.
    pub batch_size: usize,
    /// Jobs that a queue pair holds at most, `None` where only the configuration of the queue pair bounds it.
    pub queue_depth: Option<usize>,
    /// Nanoseconds that a job takes in an engine that has nothing else to do. With it, a dispatcher keeps as many jobs in flight as hide
    /// that time, and no more; `None` for a driver that is given what it takes.
    pub latency_ns: Option<u64>,
    /// True when a queue pair gives jobs back in the order in which it took them.
    pub in_order: bool,
    /// Sessions that fit, `None` for as many as memory holds.
    pub max_sessions: Option<usize>,
    /// True when packets of several segments are taken.
    pub scatter_gather: bool,
    /// What the ids look like under which it keeps sessions itself.
    pub session_ids: SessionIdFormat,
}

/// What the ids look like under which a driver keeps sessions itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionIdFormat {
    /// It has none of its own and goes by the framework's handles.
    #[default]
    Handle,
    /// Numbers of so many bits, told by [`Driver::own_session_id`](crate::Driver::own_session_id).
    Bits(u8),
}

impl SessionIdFormat {
    /// Whether a number is such an id; none is where handles are used.
    ///
    /// ```
    /// use crypto_pmd::capability::SessionIdFormat;
    /// assert!(SessionIdFormat::Bits(12).fits(0xfff) && !SessionIdFormat::Bits(12).fits(0x1000));
    /// assert!(SessionIdFormat::Bits(64).fits(u64::MAX) && !SessionIdFormat::Handle.fits(0));
    /// ```
    #[must_use]
    pub fn fits(self, id: u64) -> bool {
        match self {
            Self::Handle => false,
            Self::Bits(bits) => id.checked_shr(bits.into()).unwrap_or(0) == 0,
        }
    }
}

/// As in `of its own, 16 bits`.
impl fmt::Display for SessionIdFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle => f.write_str("the framework's handles"),
            Self::Bits(bits) => write!(f, "of its own, {bits} bits"),
        }
    }
}

/// Why a driver will not take a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// No such algorithm here.
    #[error("{0} is not among the driver's algorithms")]
    Algorithm(&'static str),
    /// A broken algorithm, which this program was built without.
    #[error("{0} is broken and left out; who needs it builds with the cargo feature `legacy` of crypto-pmd")]
    Legacy(&'static str),
    /// Not any more.
    #[error("{0} was withdrawn")]
    Withdrawn(&'static str),
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
    /// Not with packets in several segments.
    #[error("it takes packets in one piece only; let a driver with scatter/gather stand by (`fallback`)")]
    Segments,
    /// Not this part in the traffic that passes.
    #[error(
        "it does not offer {0}; use a card whose profile lists that among its services, or offload = \"lookaside\""
    )]
    Service(&'static str),
    /// Not such an SA.
    #[error(
        "its firmware does not build such ESP packets: use a cipher of RFC 8221 with its usual IV, and both ends of a tunnel in one family"
    )]
    Association,
    /// Not in this combination.
    #[error(
        "this chain of transforms is not supported: use one to eight transforms, and compression only by itself"
    )]
    Chain,
}

impl Capabilities {
    /// Every algorithm with its particulars, family by family: what a table of the driver is made from.
    ///
    /// ```
    /// use crypto_pmd::{Driver as _, drivers::Software};
    /// let software = Software::new();
    /// let line = software.capabilities().entries().find(|entry| entry.algorithm.name() == "aes-cbc").unwrap();
    /// assert_eq!((line.keys.to_string().as_str(), line.flags.legacy), ("128, 192, 256", false));
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let ciphers = self.ciphers.iter().map(Supported::entry);
        let hashes = self.integrity.iter().map(Supported::entry);
        let digests = self.digests.iter().map(Supported::entry);
        let aeads = self.aeads.iter().map(Supported::entry);
        let compression = self.compression.iter().map(Supported::entry);
        ciphers.chain(hashes).chain(digests).chain(aeads).chain(compression)
    }

    /// What is said of one algorithm; `None` when the driver does not have it.
    #[must_use]
    pub fn entry(&self, algorithm: Algorithm) -> Option<Entry<'_>> {
        self.entries().find(|entry| entry.algorithm == algorithm)
    }

    /// Checks every algorithm, key and tag of a bundle, not its order.
    ///
    /// # Errors
    /// The first thing that the driver does not have.
    pub fn check(&self, params: &SessionParams) -> Result<(), Unsupported> {
        if self.anything {
            return Ok(());
        }
        params.transforms.iter().try_for_each(|transform| self.check_one(transform))
    }

    fn check_one(&self, transform: &Transform) -> Result<(), Unsupported> {
        let algorithm = transform.algorithm();
        let left_out = algorithm.is_legacy() && !cfg!(feature = "legacy");
        let missing = if left_out {
            Unsupported::Legacy(algorithm.name())
        } else {
            Unsupported::Algorithm(algorithm.name())
        };
        self.entry(algorithm).ok_or(missing)?.check(transform.key(), transform.tag_len())
    }

    /// The longest packet that every transform of a bundle takes, in bits; `None` for no limit.
    #[must_use]
    pub fn max_operand_bits(&self, params: &SessionParams) -> Option<u64> {
        let entries = params.transforms.iter().filter_map(|transform| self.entry(transform.algorithm()));
        entries.filter_map(|entry| entry.max_operand_bits).min()
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
            ciphers: vec![Supported::new(CipherAlgorithm::AesCbc, aes.clone()), {
                let mut des = Supported::new(CipherAlgorithm::DesCbc, KeyLengths::OneOf(smallvec![8]));
                des.max_operand_bits = Some(8000);
                des
            }],
            integrity: vec![
                Supported::new(IntegrityAlgorithm::HmacSha1, KeyLengths::Range(10, 64)).with_tags(&[12]),
            ],
            digests: vec![Supported::new(DigestAlgorithm::Sha1, KeyLengths::NONE).with_tags(&[20])],
            aeads: vec![Supported::new(AeadAlgorithm::AesGcm, aes).with_tags(&[8, 16])],
            compression: vec![Supported::new(CompressionAlgorithm::Deflate, KeyLengths::NONE)],
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

    #[test]
    fn a_digest_is_taken_with_its_lengths_and_compression_as_it_is() {
        let digest = |algorithm, len| check([Transform::digest(algorithm, len)]);
        assert_eq!(digest(DigestAlgorithm::Sha1, 20), Ok(()));
        assert_eq!(
            digest(DigestAlgorithm::Sha1, 16),
            Err(Unsupported::TagLength { algorithm: "sha1", len: 16 })
        );
        assert_eq!(digest(DigestAlgorithm::Sha256, 32), Err(Unsupported::Algorithm("sha2-256")));
        assert_eq!(check([Transform::compression(CompressionAlgorithm::Deflate)]), Ok(()));
        let none =
            Capabilities::default().check(&Transform::compression(CompressionAlgorithm::Deflate).into());
        assert_eq!(none, Err(Unsupported::Algorithm("deflate")));
    }

    #[test]
    fn entries_list_every_family_with_its_particulars() {
        let all = capabilities();
        let names: Vec<_> = all.entries().map(|entry| entry.algorithm.name()).collect();
        assert_eq!(names, ["aes-cbc", "des-cbc", "sha1-hmac", "sha1", "aes-gcm", "deflate"]);
        let legacy: Vec<_> = all.entries().filter(|entry| entry.flags.legacy).collect();
        assert_eq!(legacy, [all.entry(CipherAlgorithm::DesCbc.into()).unwrap()]);
        assert_eq!(legacy[0].max_operand_bits, Some(8000));
        let keys: Vec<_> = all.entries().map(|entry| entry.keys.to_string()).collect();
        assert_eq!(keys, ["128, 256", "64", "80 to 512", "", "128, 256", ""]);
    }

    #[test]
    fn the_largest_operand_of_a_bundle_is_the_least_of_its_parts() {
        let des = Transform::cipher(CipherAlgorithm::DesCbc, key(8));
        let hmac = Transform::integrity(IntegrityAlgorithm::HmacSha1, key(20), 12);
        let bits =
            |transforms: &[Transform]| capabilities().max_operand_bits(&transforms.iter().cloned().collect());
        assert_eq!(
            (bits(std::slice::from_ref(&hmac)), bits(&[hmac.clone(), des.clone()])),
            (None, Some(8000))
        );
        assert_eq!(bits(&[des, hmac]), Some(8000));
    }
}
