//! Cipher block chaining, over every block cipher that the software driver has.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, InnerIvInit as _, KeyInit};
use aes::{Aes128, Aes192, Aes256};
#[cfg(feature = "legacy")]
use blowfish::Blowfish;
use camellia::{Camellia128, Camellia192, Camellia256};
#[cfg(feature = "legacy")]
use cast5::Cast5;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _};
#[cfg(feature = "legacy")]
use des::{Des, TdesEde3};

use crate::algorithm::CipherAlgorithm;
use crate::job::Operation;

use super::place::Place;
#[cfg(feature = "legacy")]
use super::skipjack::Skipjack;

/// A block cipher's key schedule, both ways.
pub(super) enum Cbc<P: Place> {
    Aes128(P::Of<Aes128>),
    Aes192(P::Of<Aes192>),
    Aes256(P::Of<Aes256>),
    Camellia128(P::Of<Camellia128>),
    Camellia192(P::Of<Camellia192>),
    Camellia256(P::Of<Camellia256>),
    #[cfg(feature = "legacy")]
    Des(P::Of<Des>),
    #[cfg(feature = "legacy")]
    TripleDes(P::Of<TdesEde3>),
    #[cfg(feature = "legacy")]
    Blowfish(P::Of<Blowfish>),
    #[cfg(feature = "legacy")]
    Cast(P::Of<Cast5>),
    #[cfg(feature = "legacy")]
    Skipjack(P::Of<Skipjack>),
}

impl<P: Place> Cbc<P> {
    /// `None` for a key that the cipher does not take, or a cipher that has no CBC or was not built.
    pub(super) fn new(algorithm: CipherAlgorithm, key: &[u8]) -> Option<Self> {
        match (algorithm, key.len()) {
            (CipherAlgorithm::AesCbc, 16) => put::<P, _>(key).map(Self::Aes128),
            (CipherAlgorithm::AesCbc, 24) => put::<P, _>(key).map(Self::Aes192),
            (CipherAlgorithm::AesCbc, 32) => put::<P, _>(key).map(Self::Aes256),
            (CipherAlgorithm::CamelliaCbc, 16) => put::<P, _>(key).map(Self::Camellia128),
            (CipherAlgorithm::CamelliaCbc, 24) => put::<P, _>(key).map(Self::Camellia192),
            (CipherAlgorithm::CamelliaCbc, 32) => put::<P, _>(key).map(Self::Camellia256),
            #[cfg(feature = "legacy")]
            (CipherAlgorithm::DesCbc, 8) => put::<P, _>(key).map(Self::Des),
            #[cfg(feature = "legacy")]
            (CipherAlgorithm::TripleDesCbc, 24) => put::<P, _>(key).map(Self::TripleDes),
            #[cfg(feature = "legacy")]
            (CipherAlgorithm::BlowfishCbc, 5..=56) => put::<P, _>(key).map(Self::Blowfish),
            #[cfg(feature = "legacy")]
            (CipherAlgorithm::CastCbc, 5..=16) => put::<P, _>(key).map(Self::Cast),
            #[cfg(feature = "legacy")]
            (CipherAlgorithm::SkipjackCbc, _) => Skipjack::new(key).map(P::put).map(Self::Skipjack),
            _ => None,
        }
    }

    /// Works on `data` in place; false (and no change) unless it is whole blocks and the IV is one.
    #[inline(always)]
    pub(super) fn run(&self, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Self::Aes128(aes) => run_with(&**aes, operation, iv, data),
            Self::Aes192(aes) => run_with(&**aes, operation, iv, data),
            Self::Aes256(aes) => run_with(&**aes, operation, iv, data),
            Self::Camellia128(camellia) => run_with(&**camellia, operation, iv, data),
            Self::Camellia192(camellia) => run_with(&**camellia, operation, iv, data),
            Self::Camellia256(camellia) => run_with(&**camellia, operation, iv, data),
            #[cfg(feature = "legacy")]
            Self::Des(des) => run_with(&**des, operation, iv, data),
            #[cfg(feature = "legacy")]
            Self::TripleDes(des) => run_with(&**des, operation, iv, data),
            #[cfg(feature = "legacy")]
            Self::Blowfish(blowfish) => run_with(&**blowfish, operation, iv, data),
            #[cfg(feature = "legacy")]
            Self::Cast(cast) => run_with(&**cast, operation, iv, data),
            #[cfg(feature = "legacy")]
            Self::Skipjack(skipjack) => skipjack.cbc(operation, iv, data),
        }
    }
}

fn put<P: Place, C: KeyInit + 'static>(key: &[u8]) -> Option<P::Of<C>> {
    C::new_from_slice(key).ok().map(P::put)
}

/// One copy for sessions and for keys of one request: what it calls is then called from one place, and inlined.
#[inline(never)]
fn run_with<C>(cipher: &C, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool
where
    C: BlockSizeUser + BlockCipherEncrypt + BlockCipherDecrypt,
{
    let Ok(iv) = <&Array<u8, C::BlockSize>>::try_from(iv) else { return false };
    let (blocks, rest) = Array::<u8, C::BlockSize>::slice_as_chunks_mut(data);
    if !rest.is_empty() {
        return false;
    }
    match operation {
        Operation::Encrypt => cbc::Encryptor::inner_iv_init(cipher, iv).encrypt_blocks(blocks),
        Operation::Decrypt => cbc::Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks),
    }
    true
}
