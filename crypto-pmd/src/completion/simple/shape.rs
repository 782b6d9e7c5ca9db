//! How the bytes of a request lie in its packet, and the job over them, for the bundle of a session.
//!
//! One order serves every bundle: associated data, IV, text, tag, each of which may be empty. With a cipher and a keyed hash that is ESP's
//! (RFC 4303 section 2): the tag covers all before it.

use pipeline::Mbuf;

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm};
use crate::job::{Job, Operation};
use crate::session::SessionId;
use crate::transform::{SessionParams, Transform};

/// What a bundle is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Encrypting without a tag: one cipher.
    Cipher,
    /// A tag over data: one keyed hash.
    Mac,
    /// A digest: one hash.
    Digest,
    /// Encrypting with a tag: one AEAD, or a cipher and then a keyed hash that takes no nonce.
    Seal,
}

/// The lengths that a session's bundle asks for, and helpers that build its jobs.
///
/// ```
/// use crypto_pmd::completion::RequestShape;
/// use crypto_pmd::completion::simple::Purpose;
/// use crypto_pmd::*;
/// let params = SessionParams::from_iter([
///     Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[1; 16])),
///     Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[2; 20]), 12),
/// ]);
/// let shape = RequestShape::of(&params).unwrap();
/// assert_eq!(shape.purpose(), Purpose::Seal);
/// assert_eq!((shape.iv_len(), shape.block_len(), shape.tag_len()), (16, 16, 12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestShape {
    purpose: Purpose,
    aead: bool,
    iv_len: usize,
    /// Shortest and longest whole nonce that may be given with the request instead.
    explicit_iv: Option<(usize, usize)>,
    block_len: usize,
    least_len: usize,
    tag_len: usize,
}

impl RequestShape {
    /// The shape for a bundle; `None` for one that has no purpose by itself, as compression, or a longer chain.
    #[must_use]
    pub fn of(params: &SessionParams) -> Option<Self> {
        match params.transforms.as_slice() {
            [one] => Self::of_one(one),
            [cipher @ Transform::Cipher { .. }, hash @ Transform::Integrity { .. }] => {
                let (cipher, hash) = (Self::of_one(cipher)?, Self::of_one(hash)?);
                let sealed = Self { purpose: Purpose::Seal, tag_len: hash.tag_len, ..cipher };
                (hash.iv_len == 0).then_some(sealed)
            }
            _ => None,
        }
    }

    fn of_one(transform: &Transform) -> Option<Self> {
        let plain = |purpose, iv_len| Self {
            purpose,
            aead: false,
            iv_len,
            explicit_iv: None,
            block_len: 1,
            least_len: 0,
            tag_len: transform.tag_len().unwrap_or_default(),
        };
        Some(match transform {
            Transform::Cipher { algorithm, salt, .. } => Self {
                block_len: algorithm.block_len(),
                least_len: algorithm.least_len(),
                ..plain(Purpose::Cipher, cipher_iv_len(*algorithm, salt.len()))
            },
            Transform::Integrity { algorithm, salt, .. } => {
                plain(Purpose::Mac, algorithm.nonce_len().checked_sub(salt.len())?)
            }
            Transform::Digest { .. } => plain(Purpose::Digest, 0),
            Transform::Aead { algorithm, salt, .. } => Self {
                aead: true,
                explicit_iv: explicit_iv(*algorithm, salt.len()),
                ..plain(Purpose::Seal, aead_iv_len(*algorithm, salt.len())?)
            },
            Transform::Compression { .. } => return None,
        })
    }

    /// What the bundle is good for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Bytes of IV or nonce in the packet: without the salt, which the session has.
    #[must_use]
    pub fn iv_len(&self) -> usize {
        self.iv_len
    }

    /// True for the length of a nonce that may be given with the request, in an [`Extension`](crate::Extension), instead of in the packet.
    #[must_use]
    pub fn takes_explicit(&self, len: usize) -> bool {
        self.explicit_iv.is_some_and(|(least, most)| (least..=most).contains(&len))
    }

    /// The text's length must be a multiple of this.
    #[must_use]
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Fewest bytes of text.
    #[must_use]
    pub fn least_len(&self) -> usize {
        self.least_len
    }

    /// Bytes of tag or digest.
    #[must_use]
    pub fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// The job over a packet that holds associated data, IV, text and tag (or room for it) in this order, the first two of the
    /// lengths given; where the purpose is not to seal, there are no associated data. `None` when the packet is shorter than that,
    /// or what precedes the text is longer than 65535 bytes.
    #[must_use]
    pub fn job(
        &self,
        packet: Mbuf,
        session: SessionId,
        operation: Operation,
        (associated, iv): (usize, usize),
    ) -> Option<Job> {
        let text_at = associated.checked_add(iv)?;
        let tag_at = packet.packet_len().checked_sub(self.tag_len)?;
        let text_len = u32::try_from(tag_at.checked_sub(text_at)?).ok()?;
        let (iv_at, start) = (u16::try_from(associated).ok()?, u16::try_from(text_at).ok()?);
        let tag_at = u32::try_from(tag_at).ok()?;
        let job = Job::new(packet, session, operation).with_iv(iv_at).with_tag(tag_at);
        Some(match self.purpose {
            Purpose::Cipher => job.with_cipher(start, text_len),
            Purpose::Mac | Purpose::Digest => job.with_integrity(start, text_len),
            Purpose::Seal if self.aead => {
                job.with_cipher(start, text_len).with_integrity(0, associated as u32)
            }
            Purpose::Seal => job.with_cipher(start, text_len).with_integrity(0, tag_at),
        })
    }
}

/// Counter mode with a salt takes the block counter from the driver (RFC 3686 section 4).
fn cipher_iv_len(algorithm: CipherAlgorithm, salt: usize) -> usize {
    match (algorithm, salt) {
        (CipherAlgorithm::AesCtr, 4) => 8,
        _ => algorithm.iv_len(),
    }
}

/// CCM's nonce has 11 bytes with a salt (RFC 4309 section 4).
fn aead_iv_len(algorithm: AeadAlgorithm, salt: usize) -> Option<usize> {
    let nonce = if algorithm == AeadAlgorithm::AesCcm && salt > 0 { 11 } else { algorithm.nonce_len() };
    nonce.checked_sub(salt)
}

/// Without a salt CCM has a choice (RFC 3610 section 2.1).
fn explicit_iv(algorithm: AeadAlgorithm, salt: usize) -> Option<(usize, usize)> {
    (algorithm == AeadAlgorithm::AesCcm && salt == 0).then_some((7, 13))
}
