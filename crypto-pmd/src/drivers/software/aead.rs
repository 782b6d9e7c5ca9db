//! Every AEAD of the software driver, behind one type.

use aes::Aes192;
use aes_gcm::aead::consts::{U8, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use chacha20poly1305::ChaCha20Poly1305;
use pipeline::memory::prefetch_whole;

use crate::algorithm::AeadAlgorithm;
use crate::job::{Operation, Status};

use super::aes_key::AesKey;
use super::ccm;
use super::place::{Heap, Place};

type Gcm<A, T> = AesGcm<A, U12, T>;

/// An AEAD with its key.
pub(super) enum Aead<P: Place = Heap> {
    Gcm128(P::Of<Aes128Gcm>),
    Gcm192(P::Of<Gcm<Aes192, U16>>),
    Gcm256(P::Of<Aes256Gcm>),
    Gcm128Tag12(P::Of<Gcm<aes::Aes128, U12>>),
    Gcm192Tag12(P::Of<Gcm<Aes192, U12>>),
    Gcm256Tag12(P::Of<Gcm<aes::Aes256, U12>>),
    Gcm128Tag8(P::Of<Gcm<aes::Aes128, U8>>),
    Gcm192Tag8(P::Of<Gcm<Aes192, U8>>),
    Gcm256Tag8(P::Of<Gcm<aes::Aes256, U8>>),
    Ccm(AesKey<P>),
    ChaCha20Poly1305(P::Of<ChaCha20Poly1305>),
}

impl<P: Place> Aead<P> {
    /// `None` for a key or tag that the AEAD does not take.
    pub(super) fn new(algorithm: AeadAlgorithm, key: &[u8], tag_len: usize) -> Option<Self> {
        match algorithm {
            AeadAlgorithm::AesGcm => Self::gcm(key, tag_len),
            AeadAlgorithm::AesCcm => AesKey::new(key).map(Self::Ccm),
            AeadAlgorithm::ChaCha20Poly1305 => put::<P, _>(key).map(Self::ChaCha20Poly1305),
        }
    }

    fn gcm(key: &[u8], tag_len: usize) -> Option<Self> {
        match (key.len(), tag_len) {
            (16, 16) => put::<P, _>(key).map(Self::Gcm128),
            (24, 16) => put::<P, _>(key).map(Self::Gcm192),
            (32, 16) => put::<P, _>(key).map(Self::Gcm256),
            (16, 12) => put::<P, _>(key).map(Self::Gcm128Tag12),
            (24, 12) => put::<P, _>(key).map(Self::Gcm192Tag12),
            (32, 12) => put::<P, _>(key).map(Self::Gcm256Tag12),
            (16, 8) => put::<P, _>(key).map(Self::Gcm128Tag8),
            (24, 8) => put::<P, _>(key).map(Self::Gcm192Tag8),
            (32, 8) => put::<P, _>(key).map(Self::Gcm256Tag8),
            _ => None,
        }
    }

    /// Asks for the key of the AEADs that traffic has most.
    #[inline]
    pub(super) fn prefetch(&self) {
        match self {
            Self::Gcm128(gcm) => prefetch_whole(&**gcm),
            Self::Gcm256(gcm) => prefetch_whole(&**gcm),
            Self::ChaCha20Poly1305(aead) => prefetch_whole(&**aead),
            _ => {}
        }
    }

    /// Works on `data` in place and writes or checks `tag`; nothing is changed unless the status is done.
    #[inline(always)]
    pub(super) fn run(
        &self,
        operation: Operation,
        nonce: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Status {
        match self {
            Self::Gcm128(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm192(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm256(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm128Tag12(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm192Tag12(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm256Tag12(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm128Tag8(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm192Tag8(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::Gcm256Tag8(gcm) => run_with(&**gcm, operation, nonce, aad, data, tag),
            Self::ChaCha20Poly1305(aead) => run_with(&**aead, operation, nonce, aad, data, tag),
            Self::Ccm(aes) => ccm::run(aes, operation, nonce, aad, data, tag),
        }
    }
}

fn put<P: Place, A: KeyInit + 'static>(key: &[u8]) -> Option<P::Of<A>> {
    A::new_from_slice(key).ok().map(P::put)
}

/// One copy for sessions and for keys of one request: what it calls is then called from one place, and inlined.
#[inline(never)]
fn run_with<A: AeadInOut>(
    aead: &A,
    operation: Operation,
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &mut [u8],
) -> Status {
    let Ok(nonce) = nonce.try_into() else { return Status::BadRange };
    match operation {
        Operation::Encrypt => match aead.encrypt_inout_detached(nonce, aad, data.into()) {
            Ok(made) if made.len() == tag.len() => {
                tag.copy_from_slice(&made);
                Status::Done
            }
            _ => Status::BadRange,
        },
        Operation::Decrypt => match (&*tag).try_into() {
            Ok(tag) if aead.decrypt_inout_detached(nonce, aad, data.into(), tag).is_ok() => Status::Done,
            _ => Status::IntegrityFailed,
        },
    }
}

impl<P: Place> std::fmt::Debug for Aead<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aead([redacted])")
    }
}
