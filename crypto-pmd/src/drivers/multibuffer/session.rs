//! A session: the chain of the software driver, which does what is out of the ordinary, and what the kernels need for the rest.

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::drivers::software::Chain;
use crate::key::Key;
use crate::transform::{SessionParams, Transform};

use super::kernels::aes_key::AesKey;
use super::kernels::cbc::BLOCK;
use super::kernels::cbc_mac::CbcMacKey;
use super::kernels::chacha::ChaChaKey;
use super::kernels::gcm::GcmKey;
use super::kernels::hmac::{Hash, HmacKey};
use super::kernels::nonce::Nonce;

/// A session, ready to run.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) chain: Chain,
    pub(super) fast: Option<Fast>,
}

/// What kernels do, with all that can be computed once.
pub(super) enum Fast {
    /// AES-GCM.
    Gcm(Box<Gcm>),
    /// ChaCha20-Poly1305.
    ChaCha(Box<ChaCha>),
    /// A cipher, a keyed hash, or one after the other.
    Separate(Box<Separate>),
}

/// AES-GCM.
pub(super) struct Gcm {
    pub(super) key: GcmKey,
    pub(super) nonce: NonceRule,
    pub(super) tag_len: usize,
}

/// ChaCha20-Poly1305; its tags are whole.
pub(super) struct ChaCha {
    pub(super) key: ChaChaKey,
    pub(super) nonce: NonceRule,
}

/// A cipher, a keyed hash, or both.
pub(super) struct Separate {
    pub(super) cipher: Option<Cipher>,
    pub(super) integrity: Option<Integrity>,
}

/// A cipher.
pub(super) enum Cipher {
    /// AES-CBC, with a whole IV in the packet.
    Cbc(AesKey),
    /// AES in counter mode; with a salt the packet holds eight bytes, and the counter begins with 1 (RFC 3686 section 4), without one it
    /// holds the first counter block.
    Ctr(AesKey, Option<[u8; 4]>),
}

/// A keyed hash.
pub(super) struct Integrity {
    pub(super) hash: KeyedHash,
    pub(super) tag_len: usize,
}

/// Which, with its key.
pub(super) enum KeyedHash {
    Hmac(Hash, HmacKey),
    /// AES-XCBC-MAC or AES-CMAC.
    CbcMac(Box<CbcMacKey>),
    Gmac(Box<Gmac>),
}

/// GMAC.
pub(super) struct Gmac {
    pub(super) key: GcmKey,
    pub(super) nonce: NonceRule,
}

/// The nonces of a session: a salt, then what the packet holds. ESP has a salt of four bytes (RFC 4106 section 4), other users of an algorithm have
/// none.
pub(super) struct NonceRule {
    bytes: [u8; NONCE],
    salt: Nonce,
    salt_len: usize,
}

/// Bytes of a nonce of GCM and of ChaCha20-Poly1305.
const NONCE: usize = 12;

impl Cipher {
    /// Bytes of the packet's part of the IV.
    #[inline]
    pub(super) fn iv_len(&self) -> usize {
        match self {
            Self::Cbc(_) | Self::Ctr(_, None) => BLOCK,
            Self::Ctr(_, Some(_)) => 8,
        }
    }

    /// Whether a range of this length can be encrypted.
    #[inline]
    pub(super) fn takes(&self, len: usize) -> bool {
        matches!(self, Self::Ctr(..)) || len.is_multiple_of(BLOCK)
    }
}

impl Integrity {
    /// Bytes of the packet's part of the nonce, if there is one.
    #[inline]
    pub(super) fn iv_len(&self) -> Option<usize> {
        match &self.hash {
            KeyedHash::Gmac(gmac) => Some(gmac.nonce.in_packet()),
            KeyedHash::Hmac(..) | KeyedHash::CbcMac(_) => None,
        }
    }
}

impl NonceRule {
    fn new(salt: &[u8]) -> Option<Self> {
        let mut bytes = [0; NONCE];
        bytes.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(Self { bytes, salt: Nonce::from(&bytes), salt_len: salt.len() })
    }

    /// Bytes of the packet's part.
    fn in_packet(&self) -> usize {
        NONCE - self.salt_len
    }

    /// The nonce from the bytes of a packet from where its part begins; `None` where they are too few.
    #[inline(always)]
    pub(super) fn whole(&self, part: &[u8]) -> Option<Nonce> {
        if self.salt_len == 4 {
            return Some(self.salt.with_end(part.first_chunk()?));
        }
        let mut nonce = self.bytes;
        let to = nonce.get_mut(self.salt_len..)?;
        to.copy_from_slice(part.get(..to.len())?);
        Some(Nonce::from(&nonce))
    }
}

impl std::fmt::Debug for Fast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gcm(_) => "Gcm([redacted])",
            Self::ChaCha(_) => "ChaCha([redacted])",
            Self::Separate(_) => "Separate([redacted])",
        })
    }
}

impl Fast {
    /// What the kernels can do of a chain; `None` for everything else.
    pub(super) fn new(params: &SessionParams) -> Option<Self> {
        let (cipher, integrity) = match params.transforms.as_slice() {
            [Transform::Aead { algorithm: AeadAlgorithm::AesGcm, key, salt, tag_len, .. }] => {
                let (key, nonce) = (GcmKey::new(key.bytes())?, NonceRule::new(salt.bytes())?);
                return Some(Self::Gcm(Box::new(Gcm { key, nonce, tag_len: *tag_len })));
            }
            [
                Transform::Aead {
                    algorithm: AeadAlgorithm::ChaCha20Poly1305, key, salt, tag_len: 16, ..
                },
            ] => {
                let (key, nonce) = (ChaChaKey::new(key.bytes())?, NonceRule::new(salt.bytes())?);
                return Some(Self::ChaCha(Box::new(ChaCha { key, nonce })));
            }
            [cipher @ Transform::Cipher { .. }] => (Some(self::cipher(cipher)?), None),
            [hash @ Transform::Integrity { .. }] => (None, Some(integrity(hash)?)),
            [cipher @ Transform::Cipher { .. }, hash @ Transform::Integrity { .. }] => {
                // A job without steps names one IV, which the cipher takes.
                let hash = integrity(hash).filter(|hash| hash.iv_len().is_none())?;
                (Some(self::cipher(cipher)?), Some(hash))
            }
            _ => return None,
        };
        Some(Self::Separate(Box::new(Separate { cipher, integrity })))
    }
}

fn cipher(transform: &Transform) -> Option<Cipher> {
    let Transform::Cipher { algorithm, key, salt, .. } = transform else { return None };
    match (algorithm, salt.bytes()) {
        (CipherAlgorithm::AesCbc, []) => AesKey::new(key.bytes()).map(Cipher::Cbc),
        (CipherAlgorithm::AesCtr, []) => AesKey::new(key.bytes()).map(|key| Cipher::Ctr(key, None)),
        (CipherAlgorithm::AesCtr, &[a, b, c, d]) => {
            AesKey::new(key.bytes()).map(|key| Cipher::Ctr(key, Some([a, b, c, d])))
        }
        _ => None,
    }
}

fn integrity(transform: &Transform) -> Option<Integrity> {
    let Transform::Integrity { algorithm, key, salt, tag_len, .. } = transform else { return None };
    let hmac = |hash| KeyedHash::Hmac(hash, HmacKey::new(hash, Key::bytes(key)));
    let cbc_mac = |key| KeyedHash::CbcMac(Box::new(key));
    let hash = match algorithm {
        IntegrityAlgorithm::HmacSha1 => hmac(Hash::Sha1),
        IntegrityAlgorithm::HmacSha256 => hmac(Hash::Sha256),
        IntegrityAlgorithm::HmacSha384 => hmac(Hash::Sha384),
        IntegrityAlgorithm::HmacSha512 => hmac(Hash::Sha512),
        IntegrityAlgorithm::AesXcbcMac => CbcMacKey::xcbc(key.bytes()).map(cbc_mac)?,
        IntegrityAlgorithm::AesCmac => CbcMacKey::cmac(key.bytes()).map(cbc_mac)?,
        IntegrityAlgorithm::AesGmac => {
            let (key, nonce) = (GcmKey::new(key.bytes())?, NonceRule::new(salt.bytes())?);
            KeyedHash::Gmac(Box::new(Gmac { key, nonce }))
        }
        _ => return None,
    };
    let whole = match &hash {
        KeyedHash::Hmac(hash, _) => hash.len(),
        KeyedHash::CbcMac(_) | KeyedHash::Gmac(_) => BLOCK,
    };
    (*tag_len <= whole).then_some(Integrity { hash, tag_len: *tag_len })
}
