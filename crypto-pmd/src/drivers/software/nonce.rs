//! How the IV or nonce of an operation is put together: the session's salt, what the packet holds, and for counter mode the
//! block counter.

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::capability::Unsupported;
use crate::key::Key;
use crate::step::IvBytes;

/// The first counter of RFC 3686 (section 4).
const FIRST_COUNTER: [u8; 4] = [0, 0, 0, 1];

/// The parts of a session's nonces; lengths in bytes, in as little room as they need, since each packet reads them.
#[derive(Debug)]
pub(super) struct NonceRule {
    salt: Key,
    in_packet: u8,
    counter: bool,
    /// Shortest and longest that is taken from the caller.
    whole: (u8, u8),
}

impl NonceRule {
    pub(super) fn none() -> Self {
        Self { salt: Key::default(), in_packet: 0, counter: false, whole: (0, 0) }
    }

    /// Counter mode takes a salt of 4, other ciphers none.
    pub(super) fn of_cipher(algorithm: CipherAlgorithm, salt: &Key) -> Result<Self, Unsupported> {
        let len = algorithm.iv_len();
        let counter = algorithm == CipherAlgorithm::AesCtr && salt.len() == FIRST_COUNTER.len();
        if !counter {
            return Self::of(algorithm.name(), salt, len, 0);
        }
        Ok(Self { salt: salt.clone(), in_packet: 8, counter, whole: (16, 16) })
    }

    /// Any salt that is no longer than the nonce, where there is a nonce.
    pub(super) fn of_integrity(algorithm: IntegrityAlgorithm, salt: &Key) -> Result<Self, Unsupported> {
        Self::of(algorithm.name(), salt, algorithm.nonce_len(), algorithm.nonce_len())
    }

    /// Any salt that is no longer than the nonce; for CCM, 3 as in ESP (RFC 4309 section 4) or none.
    pub(super) fn of_aead(algorithm: AeadAlgorithm, salt: &Key) -> Result<Self, Unsupported> {
        let len = algorithm.nonce_len();
        if algorithm != AeadAlgorithm::AesCcm {
            return Self::of(algorithm.name(), salt, len, len);
        }
        let (in_packet, whole) = match salt.len() {
            0 => (len as u8, (7, 13)),
            3 => (8, (11, 11)),
            other => return Err(Unsupported::SaltLength { algorithm: algorithm.name(), len: other }),
        };
        Ok(Self { salt: salt.clone(), in_packet, counter: false, whole })
    }

    fn of(algorithm: &'static str, salt: &Key, len: usize, longest_salt: usize) -> Result<Self, Unsupported> {
        if salt.len() > longest_salt {
            return Err(Unsupported::SaltLength { algorithm, len: salt.len() });
        }
        // No nonce is longer than a block.
        let (whole, in_packet) = (len as u8, (len - salt.len()) as u8);
        Ok(Self { salt: salt.clone(), in_packet, counter: false, whole: (whole, whole) })
    }

    /// True where the algorithm takes neither IV nor nonce.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.whole.1 == 0
    }

    /// Bytes that stand in the packet.
    #[inline]
    pub(super) fn in_packet(&self) -> usize {
        usize::from(self.in_packet)
    }

    /// Whether a caller may give a whole nonce of this length.
    #[inline]
    pub(super) fn allows(&self, len: usize) -> bool {
        (usize::from(self.whole.0)..=usize::from(self.whole.1)).contains(&len)
    }

    /// Whether an IV of this length may stand for the packet's part.
    pub(super) fn allows_part(&self, len: usize) -> bool {
        len == self.in_packet() || (self.salt.is_empty() && self.allows(len))
    }

    /// The whole from the packet's part; `None` for a part that is too long.
    #[inline(always)]
    pub(super) fn whole(&self, part: &[u8]) -> Option<IvBytes> {
        if self.salt.is_empty() {
            return IvBytes::new(part);
        }
        if let (Ok(salt), Ok(part)) = (self.salt.bytes().try_into(), part.try_into()) {
            return Some(self.esp(salt, part));
        }
        let mut nonce = IvBytes::new(self.salt.bytes())?;
        let fits = nonce.push(part) && (!self.counter || nonce.push(&FIRST_COUNTER));
        fits.then_some(nonce)
    }

    /// The whole as most suites of ESP have it.
    #[inline(always)]
    fn esp(&self, salt: [u8; 4], part: [u8; 8]) -> IvBytes {
        let both = u128::from(u32::from_le_bytes(salt)) | u128::from(u64::from_le_bytes(part)) << 32;
        match self.counter {
            false => IvBytes::from_word(both, 12),
            true => IvBytes::from_word(both | u128::from(u32::from_le_bytes(FIRST_COUNTER)) << 96, 16),
        }
    }
}
