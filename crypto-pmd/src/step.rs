//! One operation of a request: which bytes, which way, and where IV and digest are or go.
//!
//! A request may carry one step for each transform of its session (see [`crate::Extension`]); it then says for each what
//! crypto(9) says in a descriptor. Keys for one request do not lie in a step, so that copies of it hold no secret.

use crate::algorithm::Algorithm;
use crate::job::Operation;

/// Longest IV or nonce, in bytes.
pub const MAX_IV: usize = 16;

/// An IV's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IvBytes {
    place: [u8; MAX_IV],
    len: u8,
}

impl IvBytes {
    /// A copy of `bytes`; `None` when there are more than [`MAX_IV`].
    ///
    /// ```
    /// use crypto_pmd::step::IvBytes;
    /// assert_eq!(IvBytes::new(&[7; 8]).unwrap().bytes(), [7; 8]);
    /// assert_eq!(IvBytes::new(&[7; 17]), None);
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if let Ok(place) = bytes.try_into() {
            return Some(Self { place, len: MAX_IV as u8 });
        }
        let mut all = Self::default();
        all.push(bytes).then_some(all)
    }

    /// The first `len` bytes of a little-endian word, which are at most [`MAX_IV`]: written at once, since they are read at once.
    #[inline(always)]
    pub(crate) fn from_word(word: u128, len: u8) -> Self {
        Self { place: word.to_le_bytes(), len: len.min(MAX_IV as u8) }
    }

    /// Adds bytes at the end; false and no change when there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let start = usize::from(self.len);
        let Some(place) = self.place.get_mut(start..start + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.len += bytes.len() as u8;
        true
    }

    /// The bytes.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.place.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Where an operation's IV comes from. In every case a session's salt goes in front of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Iv {
    /// It is in the packet, and stays as it is.
    #[default]
    Present,
    /// It is given here. With `write`, encryption puts it into the packet.
    Explicit {
        /// The IV, as it would stand in the packet.
        bytes: IvBytes,
        /// Whether it is written into the packet on encryption.
        write: bool,
    },
    /// The driver makes a random one on encryption and writes it into the packet; on decryption it is there. Random IVs of
    /// 8 bytes may repeat after some 2^32 packets of one key: counter modes with a salt had better give theirs.
    Generated,
}

/// One operation of a request; offsets and lengths in bytes of the packet.
///
/// ```
/// use crypto_pmd::*;
/// let encrypt = Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, 24, 64).with_iv(8, Iv::Generated);
/// let hash = Step::new(IntegrityAlgorithm::HmacSha1, Operation::Encrypt, 0, 88).with_tag(88);
/// let mut extension = ExtensionPool::new(1).alloc().unwrap();
/// assert!(extension.push_step(encrypt) && extension.push_step(hash));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Must be the algorithm of the session's transform at this place.
    pub algorithm: Algorithm,
    /// Which way: encrypt, make the digest, compress; or decrypt, check the digest, decompress.
    pub operation: Operation,
    /// Where the operation starts.
    pub offset: u32,
    /// Over how many bytes it goes.
    pub len: u32,
    /// Where the IV is, or goes.
    pub iv_offset: u32,
    /// Where the digest or tag is, or goes.
    pub tag_offset: u32,
    /// Where its IV comes from.
    pub iv: Iv,
    /// Offset and length of an AEAD's associated data.
    pub associated: (u32, u32),
}

impl Step {
    /// An operation over `len` bytes from `offset` on, with IV and digest at the packet's begin and no associated data.
    #[must_use]
    pub fn new(algorithm: impl Into<Algorithm>, operation: Operation, offset: u32, len: u32) -> Self {
        Self {
            algorithm: algorithm.into(),
            operation,
            offset,
            len,
            iv_offset: 0,
            tag_offset: 0,
            iv: Iv::Present,
            associated: (0, 0),
        }
    }

    /// Says where the IV is or goes, and where it comes from.
    #[must_use]
    pub fn with_iv(self, iv_offset: u32, iv: Iv) -> Self {
        Self { iv_offset, iv, ..self }
    }

    /// Says where the digest or tag is or goes.
    #[must_use]
    pub fn with_tag(self, tag_offset: u32) -> Self {
        Self { tag_offset, ..self }
    }

    /// Names the associated data of an AEAD.
    #[must_use]
    pub fn with_associated(self, offset: u32, len: u32) -> Self {
        Self { associated: (offset, len), ..self }
    }
}
