//! A session: the chain of the software driver, which does what is out of the ordinary, and what the kernels need for the rest.

use crate::algorithm::{AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm};
use crate::drivers::software::Chain;
use crate::key::Key;
use crate::transform::{SessionParams, Transform};

use super::kernels::aes_key::AesKey;
use super::kernels::chacha::ChaChaKey;
use super::kernels::gcm::GcmKey;
use super::kernels::hmac::{Hash, HmacKey};

/// A session, ready to run.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) chain: Chain,
    pub(super) fast: Option<Fast>,
}

/// What kernels do, with all that can be computed once.
pub(super) enum Fast {
    /// AES-GCM with the nonce of ESP: a salt of four bytes, then what the packet holds (RFC 4106 section 4).
    Gcm(Box<Gcm>),
    /// ChaCha20-Poly1305 with the nonce of ESP: a salt, then what the packet holds (RFC 7634 section 2).
    ChaCha(Box<ChaCha>),
    /// AES-CBC, HMAC, or one after the other.
    Separate(Box<Separate>),
}

/// AES-GCM.
pub(super) struct Gcm {
    pub(super) key: GcmKey,
    pub(super) salt: [u8; 4],
    pub(super) tag_len: usize,
}

/// ChaCha20-Poly1305; its tags are whole.
pub(super) struct ChaCha {
    pub(super) key: ChaChaKey,
    pub(super) salt: [u8; 4],
}

/// A cipher, a keyed hash, or both.
pub(super) struct Separate {
    pub(super) cipher: Option<AesKey>,
    pub(super) integrity: Option<Integrity>,
}

/// A keyed hash.
pub(super) struct Integrity {
    pub(super) hash: Hash,
    pub(super) key: HmacKey,
    pub(super) tag_len: usize,
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
                let (key, salt) = (GcmKey::new(key.bytes())?, salt.bytes().try_into().ok()?);
                return Some(Self::Gcm(Box::new(Gcm { key, salt, tag_len: *tag_len })));
            }
            [
                Transform::Aead {
                    algorithm: AeadAlgorithm::ChaCha20Poly1305, key, salt, tag_len: 16, ..
                },
            ] => {
                let (key, salt) = (ChaChaKey::new(key.bytes())?, salt.bytes().try_into().ok()?);
                return Some(Self::ChaCha(Box::new(ChaCha { key, salt })));
            }
            [cipher @ Transform::Cipher { .. }] => (Some(cbc(cipher)?), None),
            [hash @ Transform::Integrity { .. }] => (None, Some(integrity(hash)?)),
            [cipher @ Transform::Cipher { .. }, hash @ Transform::Integrity { .. }] => {
                (Some(cbc(cipher)?), Some(integrity(hash)?))
            }
            _ => return None,
        };
        Some(Self::Separate(Box::new(Separate { cipher, integrity })))
    }
}

fn cbc(transform: &Transform) -> Option<AesKey> {
    match transform {
        Transform::Cipher { algorithm: CipherAlgorithm::AesCbc, key, .. } => AesKey::new(key.bytes()),
        _ => None,
    }
}

fn integrity(transform: &Transform) -> Option<Integrity> {
    let Transform::Integrity { algorithm, key, tag_len, .. } = transform else { return None };
    let hash = match algorithm {
        IntegrityAlgorithm::HmacSha1 => Hash::Sha1,
        IntegrityAlgorithm::HmacSha256 => Hash::Sha256,
        _ => return None,
    };
    if *tag_len > hash.len() {
        return None;
    }
    Some(Integrity { hash, key: HmacKey::new(hash, Key::bytes(key)), tag_len: *tag_len })
}
