//! Every cipher of the software driver, behind one type.

use zeroize::Zeroizing;

use crate::algorithm::CipherAlgorithm;
use crate::job::Operation;

use super::aes_key::AesKey;
use super::cbc::Cbc;
use super::place::{Heap, Place};
use super::stream;
use super::xts::Xts;

/// A cipher with its key.
pub(super) enum Cipher<P: Place = Heap> {
    Null,
    Cbc(Cbc<P>),
    Ctr(AesKey<P>),
    Xts(Xts<P>),
    ChaCha20(P::Of<Zeroizing<[u8; 32]>>),
    #[cfg(feature = "legacy")]
    Arc4(P::Of<stream::Arc4Key>),
}

impl<P: Place> Cipher<P> {
    /// `None` for a key that the cipher does not take, or a cipher that was not built.
    pub(super) fn new(algorithm: CipherAlgorithm, key: &[u8]) -> Option<Self> {
        match algorithm {
            CipherAlgorithm::Null => key.is_empty().then_some(Self::Null),
            CipherAlgorithm::AesCtr => AesKey::new(key).map(Self::Ctr),
            CipherAlgorithm::AesXts => Xts::new(key).map(Self::Xts),
            CipherAlgorithm::ChaCha20 => Some(Self::ChaCha20(P::put(Zeroizing::new(key.try_into().ok()?)))),
            #[cfg(feature = "legacy")]
            CipherAlgorithm::Arc4 => stream::Arc4Key::new(key).map(P::put).map(Self::Arc4),
            _ => Cbc::new(algorithm, key).map(Self::Cbc),
        }
    }

    /// Works on `data` in place; false (and no change) when the IV's or the data's length does not fit the cipher, or its
    /// block counter would wrap.
    #[inline(always)]
    pub(super) fn run(&self, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Self::Cbc(cbc) => cbc.run(operation, iv, data),
            Self::Ctr(aes) => aes.ctr(iv, data),
            Self::Xts(xts) => xts.run(operation, iv, data),
            Self::ChaCha20(key) => stream::chacha20(key, iv, data),
            #[cfg(feature = "legacy")]
            Self::Arc4(key) => key.run(data),
            Self::Null => true,
        }
    }
}

impl<P: Place> std::fmt::Debug for Cipher<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher([redacted])")
    }
}
